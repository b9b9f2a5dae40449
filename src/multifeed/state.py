"""The state of a feed as JSON: where it stands, and what data and order that position is one of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import MISSING, is_dataclass
from dataclasses import Field as DataclassField
from dataclasses import fields as dataclass_fields
from fractions import Fraction
from functools import cached_property, partial
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from multifeed.augment.base import Transform
from multifeed.cache.digest import new_hash
from multifeed.dataset import Dataset
from multifeed.errors import StateError, lines
from multifeed.fields.base import Field
from multifeed.fields.category import Category
from multifeed.fields.rows import Rows
from multifeed.fields.shared import holds_text, whole_number
from multifeed.fields.text import Text
from multifeed.spec import Spec
from multifeed.structure import Names, flat
from multifeed.table import is_bytes
from multifeed.weights import ClassWeights

# To be raised when what it holds changes, or another default of a field or transform: only what a
# declaration says otherwise than the default is told.
FORMAT = 1
# Rows whose keys are hashed at once; other cuts would make other hashes.
_ROWS = 65_536
# Characters of a declared part that are kept to be shown in errors, and of all parts together.
_PART_CHARS, _ALL_CHARS = 160, 5_000


class Identity:
    """What a position is one of: these samples, declared so, in this order. It is read once, when asked.

    Not part of it is what leaves batches as they are: where files lie, formats of tables, workers,
    processes, prefetching, caches.

    Args:
        data: The samples.
        specs: What each field yields.
        order: The options that decide which batch stands at a position; JSON can hold them, but for
            arrays, of which digests are told.
        class_weight: The weights of classes, as they were declared.
        augment: The transforms.
    """

    def __init__(
        self,
        data: Dataset,
        specs: Mapping[str, Spec],
        *,
        order: Mapping[str, Any],
        class_weight: ClassWeights | None,
        augment: Sequence[Transform],
    ) -> None:
        # What is learned later changes no feed that there is already.
        self._data, self._learned = data, data.family.learned or {}
        self._specs, self._order = specs, order
        self._class_weight, self._augment = class_weight, augment

    def state(self, epoch: int, step: int) -> dict[str, Any]:
        """Return the state of a feed that goes on at a position."""
        state = {"format": FORMAT, "epoch": epoch, "step": step, **self._told}
        return {**state, "checksum": _checksum(state)}

    def position(self, state: Any, steps: int) -> tuple[int, int]:
        """Return the position of a state.

        Args:
            state: What claims to be one.
            steps: Steps of an epoch.

        Raises:
            StateError: If it is none, is damaged, or belongs to other data or another order.
        """
        _check_whole(state)
        told = self._told
        options = [
            f"{name}={state['order'].get(name)!r}, now {value!r}"
            for name, value in told["order"].items()
            if state["order"].get(name) != value
        ]
        if options:
            raise StateError(
                lines(
                    "a state counts batches in the order of then; this feed has another one: then "
                    f"{' and '.join(options)}.",
                    "Make the feed as it was then, or begin an epoch anew: set epoch, load no state.",
                )
            )
        for what in ("samples", "declared", "keys"):
            if state[what] != told[what]:
                raise self._other(what, state)
        epoch, step = whole_number(state["epoch"]), whole_number(state["step"])
        if epoch is None or step is None or epoch < 0 or not 0 <= step < steps:
            raise _damaged(f"position ({state['epoch']!r}, {state['step']!r}) is none of this feed")
        return epoch, step

    def _other(self, what: str, state: Mapping[str, Any]) -> StateError:
        """Return the error for a state of other samples, or of others declared otherwise."""
        then, now = state[what], self._told[what]
        if what == "samples":
            return StateError(
                lines(
                    f"the state belongs to another dataset: that had {then:,} samples, this one has "
                    f"{now:,}.",
                    "Load it into a feed of the same rows, in the same order.",
                )
            )
        if what == "keys":
            key = self._data.key
            differs = (
                f"its keys ({'/'.join(key)!r}) are others, or stand in another order"
                if key
                else "the values in its columns are others, or stand in another order"
            )
            return StateError(
                lines(
                    f"the state belongs to another dataset: {differs}.",
                    "Load it into a feed of the same rows, in the same order: a split has to have the "
                    "same seed.",
                )
            )
        parts, before = self._told["parts"], state["parts"]
        differing = [part for part in {**parts, **before} if parts.get(part) != before.get(part)]
        if not differing:
            return StateError(
                lines(
                    "the state belongs to a dataset that is declared otherwise, or has learned other "
                    "things.",
                    "Declare it as it was then.",
                )
            )
        part = differing[0]
        return StateError(
            lines(
                f"the state belongs to a dataset that is declared otherwise: {part} is not what it was.",
                f"Then: {before.get(part, 'none')}; now: {parts.get(part, 'none')}.",
                "Load what it had learned then, with data.load_state(path)."
                if part.startswith("what ")
                else "Declare it as it was then.",
            )
        )

    @cached_property
    def _told(self) -> dict[str, Any]:
        parts = self._parts()
        return {
            "order": {
                name: _digest_of_array(value) if isinstance(value, np.ndarray) else value
                for name, value in self._order.items()
            },
            "samples": len(self._data),
            "keys": _digest_of_keys(self._data),
            "declared": _digest(json.dumps(parts, sort_keys=True)),
            # To say what differs; what decides is the line above.
            "parts": _shortened(parts),
        }

    def _parts(self) -> dict[str, str]:
        """Return all that is declared and learned, part by part, as errors call it."""
        data, structure = self._data, self._data.structure
        found = {"the structure of inputs": _names(structure.inputs)}
        if structure.targets is not None:
            found["the structure of targets"] = _names(structure.targets)
        for name, field in data.all_fields().items():
            read = data.source.columns.all_matching(field.reads)
            matched = f" of {', '.join(read)}" if read != list(field.reads) else ""
            found[f"field {name!r}"] = f"{declared(field)}{matched}, {self._specs[name]!r}"
            if name in self._learned:
                learned = json.dumps(_rounded(self._learned[name]), sort_keys=True)
                found[f"what field {name!r} has learned"] = f"#{_digest(learned)}"
        if self._class_weight:
            found["class_weight"] = declared(self._class_weight)
        for number, transform in enumerate(self._augment):
            found[f"augment[{number}]"] = declared(transform)
        return found


def _check_whole(state: Any) -> None:
    """Raise unless something is a state, as `Identity.state` has returned it."""
    if not isinstance(state, Mapping) or "format" not in state:
        lacks = " without a format" if isinstance(state, Mapping) else ""
        raise StateError(
            lines(
                "a feed loads what state_dict() returned, which JSON can hold; received a "
                f"{type(state).__name__}{lacks}.",
                "Pass json.loads(text), not the text." if isinstance(state, str | bytes) else "",
            )
        )
    if state["format"] != FORMAT:
        raise StateError(
            lines(
                f"this version of multifeed loads states of format {FORMAT}; this one is of format "
                f"{state['format']!r}.",
                "Load it with the version that saved it, or begin an epoch anew.",
            )
        )
    rest = {key: value for key, value in state.items() if key != "checksum"}
    try:
        is_whole = state.get("checksum") == _checksum(rest)
    except (TypeError, ValueError, RecursionError):
        is_whole = False
    if not is_whole:
        raise _damaged("its checksum is not that of its content")


def _damaged(reason: str) -> StateError:
    return StateError(
        lines(
            f"the state is damaged, or was edited: {reason}.",
            "Load an older one. To begin with another epoch, set epoch; a state is not to be edited.",
        )
    )


def _checksum(state: Mapping[str, Any]) -> str:
    return _digest(json.dumps(state, sort_keys=True))


def _digest(text: str) -> str:
    into = new_hash()
    into.update(text.encode())
    found: str = into.hexdigest()
    return found[:16]


def _digest_of_array(values: np.ndarray) -> str:
    into = new_hash()
    into.update(np.ascontiguousarray(values))
    return f"#{into.hexdigest()[:16]}"


def _shortened(parts: Mapping[str, str]) -> dict[str, str]:
    """Return parts of which long ones are digests; none if there are too many to be told."""

    def cut(text: str) -> str:
        return text if len(text) <= _PART_CHARS else f"{text[: _PART_CHARS // 2]}… #{_digest(text)}"

    def brief(text: str) -> str:
        return f"#{_digest(text)}"

    for shorten in (cut, brief):
        short = {part: shorten(text) for part, text in parts.items()}
        if len(json.dumps(short)) <= _ALL_CHARS:
            return short
    return {}


# What is declared -----------------------------------------------------------------------------------


def declared(value: object) -> str:
    """Return a declaration as a text, equal in every process: functions and objects by name alone."""
    if is_dataclass(value) and not isinstance(value, type):
        options = ", ".join(
            f"{each.name}={declared(getattr(value, each.name))}"
            for each in dataclass_fields(value)
            if each.compare and not _is_default(each, getattr(value, each.name))
        )
        return f"{type(value).__qualname__}({options})"
    if isinstance(value, Mapping):
        items = sorted((declared(key), declared(each)) for key, each in value.items())
        return f"{{{', '.join(f'{key}: {each}' for key, each in items)}}}"
    if isinstance(value, AbstractSet):
        return f"{{{', '.join(sorted(map(declared, value)))}}}"
    if isinstance(value, list | tuple):
        return f"({', '.join(map(declared, value))})"
    if isinstance(value, np.generic):
        return repr(value.item())
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape} #{_digest(repr(value.tolist()))}"
    if isinstance(value, str | bytes | int | float | complex | Fraction | None):
        return repr(value)
    if isinstance(value, partial):
        return f"partial({declared(value.func)}, {declared(value.args)}, {declared(value.keywords)})"
    return str(getattr(value, "__qualname__", type(value).__qualname__))


def _is_default(option: DataclassField[Any], value: object) -> bool:
    # An option whose default is its own name is a column that may be there: if it is, that is told.
    default = None if option.default == option.name else option.default
    return default is not MISSING and declared(default) == declared(value)


def _names(names: Names) -> str:
    """Return a structure as a text; the order of a dict makes no difference to a model."""
    return declared(names if isinstance(names, str | dict) else tuple(flat(names)))


def _rounded(learned: Any) -> Any:
    """Return what was learned with floats of 9 digits: other processors add up to another last one."""
    if isinstance(learned, Mapping):
        return {str(key): _rounded(value) for key, value in learned.items()}
    if isinstance(learned, list | tuple):
        return [_rounded(value) for value in learned]
    return f"{learned:.9g}" if isinstance(learned, float) else learned


# Which samples --------------------------------------------------------------------------------------


def _digest_of_keys(data: Dataset) -> str:
    """Return the digest of the samples' keys in their order; without a key, of their values."""
    into, rows = new_hash(), data.source
    if data.key:
        for name in data.key:
            _add_texts(into, rows.arrow(name), is_name=False)
        return str(into.hexdigest())
    columns: dict[str, bool] = {}
    for field in data.all_fields().values():
        for name in rows.columns.all_matching(field.reads):
            columns[name] = columns.get(name, True) and _may_name_files(field)
    for name, is_name in sorted(columns.items()):
        into.update(name.encode())
        _add_values(into, rows, name, is_name)
    return str(into.hexdigest())


def _may_name_files(field: Field) -> bool:
    """Tell whether texts that a field reads may name files: of these, the folder does not count."""
    return not isinstance(field, Category | Text)


def _add_values(into: Any, rows: Rows, name: str, is_name: bool) -> None:
    """Add a column: numbers and texts by value, what is large by how much there is of it."""
    column = rows.columns[name]
    if isinstance(column, np.ndarray) and (column.ndim > 1 or isinstance(column, np.memmap)):
        into.update(f"{column.dtype.name}{column.shape[1:]}".encode())
        return
    values = rows.arrow(name)
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        _add_numbers(into, values)
    elif is_bytes(kind) and not pa.types.is_dictionary(values.type):
        into.update(np.asarray(pc.fill_null(pc.binary_length(values), -1)).astype(np.int64))
    elif holds_text(kind) or pa.types.is_temporal(kind) or pa.types.is_decimal(kind):
        _add_texts(into, values, is_name=is_name)


def _add_numbers(into: Any, values: pa.Array) -> None:
    """Add numbers whatever their type, since a CSV file and a data frame have others for the same."""
    for start in range(0, len(values), _ROWS):
        part = values.slice(start, _ROWS).cast(pa.float64(), safe=False)
        numbers = np.array(pc.fill_null(part, np.nan))
        # There are many NaN.
        numbers[np.isnan(numbers)] = np.nan
        into.update(numbers)


def _add_texts(into: Any, values: pa.Array, *, is_name: bool) -> None:
    """Add values as texts, whatever type of Arrow holds them; of a file's name, the last part."""
    for start in range(0, len(values), _ROWS):
        texts = values.slice(start, _ROWS).cast(pa.large_string())
        if is_name:
            texts = pc.replace_substring_regex(texts, r"^(?s:.*)[/\\]", "")
        into.update(np.asarray(pc.fill_null(pc.binary_length(texts), -1)).astype(np.int64))
        into.update(_content(pc.fill_null(texts, "")))


def _content(texts: pa.Array) -> memoryview | bytes:
    """Return the bytes of all texts of an array without nulls, one after the other."""
    _, offsets, data = cast("list[Any]", texts.buffers())
    if data is None or not len(texts):
        return b""
    places = np.frombuffer(offsets, np.int64)
    return memoryview(data)[int(places[texts.offset]) : int(places[texts.offset + len(texts)])]
