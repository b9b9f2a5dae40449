"""Messages of `tf.train.Example` in the wire format of Protocol Buffers: values, and where bytes lie.

The format is told at https://protobuf.dev/programming-guides/encoding, the messages in TensorFlow's
``example.proto`` and ``feature.proto``. A parser that copies every image to say how long it is would
not do: an index needs to know where they lie.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from multifeed.errors import BadValue
from multifeed.files import REPLACE

# Kinds of a field on the wire.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# (start, stop) of bytes within a message.
Span = tuple[int, int]


@dataclass
class Feature:
    """What an example has under one name.

    Args:
        kind: ``"bytes"``, ``"float"`` or ``"int64"``; empty if it has no value.
        spans: Of bytes: where each value lies.
        pieces: Of numbers: arrays of them, one after the other.
    """

    kind: str = ""
    spans: list[Span] = field(default_factory=list)
    pieces: list[np.ndarray[Any, Any]] = field(default_factory=list)

    def numbers(self) -> np.ndarray[Any, Any]:
        """Return the numbers, ``float32[n]`` or ``int64[n]``."""
        if len(self.pieces) == 1:
            return self.pieces[0]
        return np.concatenate(self.pieces or [np.empty(0, _DTYPES[self.kind])])


_KINDS = {1: "bytes", 2: "float", 3: "int64"}
_DTYPES = {"float": "<f4", "int64": "<i8"}


def parse_example(data: bytes) -> dict[str, Feature]:
    """Return the features of an example.

    Raises:
        BadValue: If the bytes are no such message.
    """
    features: dict[str, Feature] = {}
    for number, kind, span in _fields(data, 0, len(data)):
        if number != 1 or kind != _BYTES:
            raise BadValue(
                "is no tf.train.Example",
                "Of tf.train.SequenceExample, write Examples with padded lists.",
            )
        for entry in _messages(data, span):
            name, feature = "", Feature()
            for part, inner, at in _fields(data, *entry):
                if (part, inner) == (1, _BYTES):
                    name = _text(data, at)
                elif (part, inner) == (2, _BYTES):
                    feature = _feature(data, at)
            # Of one that comes twice the last counts, as everywhere in Protocol Buffers.
            features[name] = feature
    return features


def _feature(data: bytes, span: Span) -> Feature:
    found = Feature()
    for number, kind, at in _fields(data, *span):
        if number not in _KINDS or kind != _BYTES:
            raise _damaged()
        if found.kind != _KINDS[number]:
            found = Feature(_KINDS[number])
        for part, inner, place in _fields(data, *at):
            if part != 1:
                raise _damaged()
            _add(data, found, inner, place)
    return found


def _add(data: bytes, found: Feature, kind: int, span: Span) -> None:
    """Add a value, or several that are packed, to a feature."""
    start, stop = span
    if found.kind == "bytes" and kind == _BYTES:
        found.spans.append(span)
    elif found.kind == "float" and kind in (_BYTES, _FIXED32) and (stop - start) % 4 == 0:
        found.pieces.append(np.frombuffer(data, "<f4", (stop - start) // 4, start))
    elif found.kind == "int64" and kind in (_BYTES, _VARINT):
        found.pieces.append(_varints(data, start, stop))
    else:
        raise _damaged()


def _messages(data: bytes, span: Span) -> Iterator[Span]:
    """Yield where the messages lie that are field 1, again and again, of another message."""
    for number, kind, at in _fields(data, *span):
        if number != 1 or kind != _BYTES:
            raise _damaged()
        yield at


def _fields(data: bytes, start: int, stop: int) -> Iterator[tuple[int, int, Span]]:
    """Yield the fields of a message: number, kind, and where the value lies."""
    while start < stop:
        tag, start = _varint(data, start, stop)
        kind = tag & 7
        if kind == _BYTES:
            size, start = _varint(data, start, stop)
        elif kind == _VARINT:
            size = _varint(data, start, stop)[1] - start
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise _damaged()
        end = start + size
        if end > stop:
            raise _damaged()
        yield tag >> 3, kind, (start, end)
        start = end


def _varint(data: bytes, start: int, stop: int) -> tuple[int, int]:
    """Return a number of up to 64 bits, and where it ends."""
    value = 0
    for place in range(start, min(stop, start + 10)):
        byte = data[place]
        value |= (byte & 0x7F) << 7 * (place - start)
        if byte < 0x80:
            return value, place + 1
    raise _damaged()


def _varints(data: bytes, start: int, stop: int) -> np.ndarray[Any, Any]:
    """Return packed numbers, ``int64[n]``."""
    given = np.frombuffer(data, np.uint8, stop - start, start)
    ends = np.flatnonzero(given < 0x80)
    if not len(given):
        return np.empty(0, np.int64)
    if not len(ends) or ends[-1] != len(given) - 1:
        raise _damaged()
    starts = np.concatenate([[0], ends[:-1] + 1])
    if (ends - starts).max() >= 10:
        raise _damaged()
    shifts = 7 * (np.arange(len(given)) - np.repeat(starts, ends - starts + 1))
    bits = (given & 0x7F).astype(np.uint64) << shifts.astype(np.uint64)
    return np.bitwise_or.reduceat(bits, starts).view(np.int64)


def _text(data: bytes, span: Span) -> str:
    try:
        return data[slice(*span)].decode()
    except UnicodeDecodeError as error:
        raise _damaged() from error


def _damaged() -> BadValue:
    return BadValue("is no tf.train.Example", REPLACE)
