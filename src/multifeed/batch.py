"""Rows to one batch, written into buffers that exist already."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from functools import partial
from itertools import zip_longest
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from multifeed.augment.mix import Mixing
from multifeed.augment.pipeline import Augmentation, Shot, TransformError
from multifeed.errors import BadValue, MultifeedError, SampleError, lines, one_line
from multifeed.fields.base import (
    Columnar,
    Derived,
    Gathered,
    Made,
    PerSample,
    Reader,
    RowError,
    Told,
)
from multifeed.fields.scratch import Scratch
from multifeed.fields.shared import first_line
from multifeed.files import bytes_read
from multifeed.meter import Meter, Spent
from multifeed.spec import Spec
from multifeed.spot import Spot
from multifeed.structure import Structure

if TYPE_CHECKING:
    from multifeed.remote.ahead import Claim

Array = np.ndarray[Any, Any]
Buffers = dict[str, Array]

# Partners that are gathered at once: as many as stay in a processor's cache.
_PARTNER_BYTES = 2**20
# What a sample may raise. A function that calls sys.exit must not end the training without a word.
_OF_A_SAMPLE = (Exception, SystemExit)


class Plan:
    """A dataset compiled for reading: what each field does, decided once.

    Args:
        readers: A bound reader for each field, by name.
        structure: Where each name stands in a batch.
        name_row: Function of a row that returns its key, or None.
        numbered: Whether errors tell the number of a row.
        augmentation: Transforms, and the fields that they act on; these have no reader.
    """

    def __init__(
        self,
        readers: Mapping[str, Reader],
        structure: Structure,
        name_row: Callable[[int], str | None],
        *,
        numbered: bool = True,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.structure = structure
        self.augmentation = augmentation
        self.specs: dict[str, Spec] = {name: reader.spec for name, reader in readers.items()}
        if augmentation is not None:
            self.specs |= augmentation.specs
        self._numbers = {name: number for number, name in enumerate(self.specs)}
        self._columnar = {n: r for n, r in readers.items() if isinstance(r, Columnar)}
        self._per_sample = {n: r for n, r in readers.items() if isinstance(r, PerSample)}
        self._derived: dict[str, list[tuple[str, Derived]]] = {}
        self._unmixed: dict[str, list[tuple[str, Derived]]] = {}
        for name, reader in readers.items():
            if isinstance(reader, Derived) and not (augmentation and augmentation.makes(name)):
                is_unmixed = augmentation is not None and name in augmentation.unmixed
                derived = self._unmixed if is_unmixed else self._derived
                derived.setdefault(reader.of, []).append((name, reader))
        # Which mixes act on fields that are not augmented otherwise.
        mixings = () if augmentation is None else augmentation.mixings
        self._mixings: dict[str, list[Mixing]] = {
            name: [each for each in mixings if name in each.specs] for name in readers
        }
        self._scratch = Scratch()
        # How many items rows have at most, where what is beyond is cut off.
        self._most: Mapping[str, Array] = {}
        self._name_row = name_row
        self._numbered = numbered

    def limited(self, most: Mapping[str, Array]) -> Plan:
        """Return the same plan, for which a row is bad that has more items than it should.

        Args:
            most: By padded field, how many each row has at most, ``int64[n]``.
        """
        limited = copy(self)
        limited._most = most
        return limited

    @property
    def read(self) -> dict[str, Spec]:
        """What is read of each row, by field: what costs are counted by."""
        return self.specs

    @property
    def augments(self) -> bool:
        """Whether anything is drawn."""
        return self.augmentation is not None

    def shoot(self, seed: int, epoch: int, start: int, stop: int, *, draw: int = 0) -> Shot | None:
        """Return the draws of the slots `start` to `stop`, if anything is drawn."""
        if self.augmentation is None:
            return None
        return self.augmentation.shoot(seed, epoch, start, stop, draw=draw)

    def draws(self, shot: Shot) -> Sequence[Mapping[str, Array]]:
        """Return the parameters of each transform, ``[n, ...]`` by name."""
        return shot.draws

    @property
    def reads_samples(self) -> bool:
        """Whether any field reads one row at a time, so that threads are worth their while."""
        augments = self.augmentation is not None and bool(self.augmentation.pipelines)
        return bool(self._per_sample) or augments

    @property
    def waits(self) -> bool:
        """Whether any field waits for storage far away, whatever is asked for ahead."""
        return any(reader.waits for reader in self._read_one_by_one)

    @property
    def _read_one_by_one(self) -> list[PerSample]:
        readers = list(self._per_sample.values())
        if self.augmentation is not None:
            readers += [each.reader for each in self.augmentation.pipelines.values()]
        return readers

    @property
    def kinds(self) -> int:
        """How many kinds of tasks each row is part of: gathering from memory, reading on its own."""
        return bool(self._columnar) + self.reads_samples

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of the batch, all fields together."""
        return sum(spec.nbytes for spec in self.specs.values())

    @property
    def gathered_row_bytes(self) -> int:
        """Bytes of those fields of one row that are gathered from memory."""
        return sum(reader.spec.nbytes for reader in self._columnar.values())

    def fill(self, rows: Array, out: Buffers, shot: Shot | None = None) -> None:
        """Write everything that the rows, ``int64[n]``, have into buffers of n rows.

        Args:
            rows: The rows.
            out: The buffers.
            shot: The draws of their slots, where fields are augmented.
        """
        meter = Meter(self.specs)
        claim = self.begin(rows, lambda: shot)
        self.fill_columns(rows, out, 0, len(rows), meter, shot)
        self.fill_samples(rows, out, 0, len(rows), meter, shot, Spot())
        del claim

    def begin(self, rows: Array, shot_of: Callable[[], Shot | None]) -> Claim | None:
        """Ask storage far away for all that these rows, ``int64[n]``, are made from.

        Args:
            rows: The rows.
            shot_of: Returns the draws of their slots, asked where fields are mixed: partners are needed
                too.

        Returns:
            What the requests last as long as; None if nothing is far away.
        """
        mixings = () if self.augmentation is None else self.augmentation.mixings
        shot = shot_of() if mixings else None
        if shot is not None:
            partners = [shot.draws[each.number]["partner"][: len(rows)] for each in mixings]
            rows = np.concatenate([rows, *partners]).astype(np.int64)
        return ask_ahead(self._read_one_by_one, rows)

    def tell(self, row: int, field: int) -> str:
        """Say in words what a `Spot` tells: which field of which sample is read, and from what file."""
        name = list(self.specs)[field]
        reader = self._per_sample.get(name)
        if reader is None and self.augmentation is not None:
            reader = self.augmentation.pipelines[name].reader
        file = None if reader is None else reader.file(row)
        key = self._name_row(row)
        return f"reading {name!r} of {_sample(key, row)}" + (f" ({one_line(file)})" if file else "")

    def fill_columns(
        self,
        rows: Array,
        out: Buffers,
        start: int,
        stop: int,
        meter: Meter,
        shot: Shot | None = None,
    ) -> None:
        """Write the fields that are gathered from memory, for the slots `start` to `stop` at once."""
        rows = rows[start:stop]
        for name, reader in self._columnar.items():
            values = out[name][start:stop]
            begin = perf_counter()
            found = self._gather(name, reader, rows, values)
            redone = 0 if found is None else found.redone
            meter.add(name, len(rows), copy_s=perf_counter() - begin, redone=redone)
            if name in self._most and found is not None:
                self._check_lengths(name, rows, found.lengths)
            if shot is not None and self.augmentation is not None:
                begin = perf_counter()
                self.augmentation.apply_columns(name, values, shot, start)
                meter.add(name, copy_s=perf_counter() - begin)
            if name in self._unmixed:
                made = Made.gathered(rows, values, found)
                self._derive(name, made, out, start, meter, self._unmixed)
            if shot is not None and self._mixings[name]:
                self._mix_columns(name, reader, values, found, start, shot, meter)
            if name in self._derived:
                self._derive(name, Made.gathered(rows, values, found), out, start, meter)

    def _gather(self, name: str, reader: Columnar, rows: Array, out: Array) -> Gathered | None:
        try:
            return reader.gather(rows, out)
        except BadValue as error:
            raise self._explain_row(error, name, rows) from error
        except RowError as error:
            cause = cast(Exception, error.__cause__)
            raise self._explain(cause, name, error.file, error.row) from cause

    def fill_samples(
        self,
        rows: Array,
        out: Buffers,
        start: int,
        stop: int,
        meter: Meter,
        shot: Shot | None,
        spot: Spot,
    ) -> None:
        """Write the fields that are read one row at a time, for the slots `start` to `stop`.

        Where it is, it says at the `spot`.
        """
        if self.augmentation is not None and self.augmentation.pipelines and shot is not None:
            self._fill_augmented(self.augmentation, rows, out, start, stop, meter, shot, spot)
        for name, reader in self._per_sample.items():
            buffer, spent = out[name], Spent()
            here = rows[start:stop], buffer[start:stop]
            told = self._read_at_once(name, reader, *here, spent, spot)
            if told is None:
                places = _slots(buffer, start, stop)
                told = self._read(name, reader, rows[start:stop], places, spent, spot)
            meter.add_all({name: spent})
            if name in self._most:
                self._check_lengths(name, rows[start:stop], told)
            if name in self._unmixed:
                made = Made.told(rows[start:stop], buffer[start:stop], told)
                self._derive(name, made, out, start, meter, self._unmixed)
            if shot is not None and self._mixings[name]:
                self._mix_samples(name, reader, buffer, told, start, shot, meter, spot)
            if name in self._derived:
                made = Made.told(rows[start:stop], buffer[start:stop], told)
                self._derive(name, made, out, start, meter)

    def _fill_augmented(
        self,
        augmentation: Augmentation,
        rows: Array,
        out: Buffers,
        start: int,
        stop: int,
        meter: Meter,
        shot: Shot,
        spot: Spot,
    ) -> None:
        """Write the fields that are augmented: all of a slot's together, which one may compare."""
        told: dict[str, list[Told]] = {name: [] for name in augmentation.pipelines}
        spent = {name: Spent() for name in augmentation.pipelines}
        for pipeline in augmentation.pipelines.values():
            pipeline.reader.expect(rows[start:stop])
        slots = {name: _slots(out[name], start, stop) for name in augmentation.written}
        for slot in range(start, stop):
            places = {name: each[slot - start] for name, each in slots.items()}
            make = partial(self._make_augmented, augmentation, slot, spent, spot)
            found = make(list(augmentation.pipelines), int(rows[slot]), shot, places)
            for mixing in augmentation.mixings:
                names, number = augmentation.companions[mixing.number], mixing.number
                if not names or not augmentation.matters(mixing, shot, slot):
                    continue
                partner = augmentation.partner(mixing)
                row = int(shot.draws[number]["partner"][slot])
                others = make(names, row, shot.partners[number], partner)
                augmentation.mix(mixing, partner, shot, slot, places)
                for name in names:
                    if name in mixing.specs:
                        found[name] = _of_both(found[name], others[name])
            for name, each in found.items():
                told[name].append(each)
        meter.add_all(spent)
        for name, pipeline in augmentation.pipelines.items():
            if name in self._most:
                self._check_lengths(name, rows[start:stop], told[name])
            if name in self._derived:
                frames = [
                    pipeline.frame(each, shot, start + number) for number, each in enumerate(told[name])
                ]
                made = Made.told(rows[start:stop], out[name][start:stop], frames)
                self._derive(name, made, out, start, meter)

    def _make_augmented(
        self,
        augmentation: Augmentation,
        slot: int,
        spent: Mapping[str, Spent],
        spot: Spot,
        names: Sequence[str],
        row: int,
        shot: Shot,
        places: Mapping[str, Array],
    ) -> dict[str, Told]:
        """Write some augmented fields of a row to their places; return what their readers told of it."""
        values: dict[str, Array] = {}
        told: dict[str, Told] = {}
        for name in names:
            pipeline = augmentation.pipelines[name]
            begin, read = perf_counter(), bytes_read()
            try:
                spot.place[0], spot.place[1] = row, self._numbers[name]
                if row in spot.fatal:
                    spot.refuse(row)
                filled = pipeline.reader.fill(row)
                if filled is not None:
                    augmentation.fill(name, filled, places)
                    told[name] = 0
                    continue
                loaded = pipeline.reader.load(row)
                between = perf_counter()
                values[name], told[name] = pipeline.start(row, loaded, shot, slot, places[name])
            except _OF_A_SAMPLE as error:
                raise self._explain(error, name, pipeline.reader.file(row), row) from error
            spent[name].count(loaded, bytes_read() - read, begin, between, perf_counter())
        try:
            augmentation.finish(values, shot, slot, places)
        except TransformError as error:
            raise self._explain_transform(error, row) from error.__cause__
        return told

    def _mix_columns(
        self,
        name: str,
        reader: Columnar,
        values: Array,
        found: Gathered | None,
        first: int,
        shot: Shot,
        meter: Meter,
    ) -> None:
        """Mix a field that was gathered for the slots from `first` on with that of the partners.

        In place, its lengths too.
        """
        spec, begin = reader.spec, perf_counter()
        lengths = None if found is None else found.lengths
        redone = 0
        at_once = max(1, min(_PARTNER_BYTES // max(1, spec.nbytes), 4_096))
        for mixing in self._mixings[name]:
            draws = shot.draws[mixing.number]
            memory = self._scratch.array(name, (at_once, *spec.shape), spec.dtype)
            for start in range(0, len(values), at_once):
                here = slice(start, min(start + at_once, len(values)))
                slots = slice(first + here.start, first + here.stop)
                rows = draws["partner"][slots]
                partners = memory[: len(rows)]
                others = self._gather(name, reader, rows, partners)
                theirs = shot.partners.get(mixing.number)
                if self.augmentation is not None and theirs is not None:
                    self.augmentation.apply_columns(name, partners, theirs, slots.start)
                mixing.mix(spec, values[here], partners, draws, slots)
                if others is not None:
                    redone += others.redone
                    if lengths is not None and others.lengths is not None:
                        lengths[here] = np.maximum(lengths[here], others.lengths)
        meter.add(name, copy_s=perf_counter() - begin, redone=redone)

    def _mix_samples(
        self,
        name: str,
        reader: PerSample,
        buffer: Array,
        told: list[Told],
        start: int,
        shot: Shot,
        meter: Meter,
        spot: Spot,
    ) -> None:
        """Mix a field that was read row by row with that of the partners, in place.

        What was `told` of the slots from `start` on becomes what holds of both.
        """
        partner = self._scratch.array(name, reader.spec.shape, reader.spec.dtype)
        spent = Spent()
        for mixing in self._mixings[name]:
            draws = shot.draws[mixing.number]
            for slot in range(start, start + len(told)):
                if not mixing.matters(reader.spec, draws, slot):
                    continue
                row = draws["partner"][slot : slot + 1]
                [other] = self._read(name, reader, row, [partner], spent, spot)
                told[slot - start] = _of_both(told[slot - start], other)
                slots = slice(slot, slot + 1)
                mixing.mix(reader.spec, buffer[slots], partner[None], draws, slots)
        meter.add_all({name: spent})

    def _read_at_once(
        self, name: str, reader: PerSample, rows: Array, out: Array, spent: Spent, spot: Spot
    ) -> list[Told] | None:
        """Write rows of a field to `out` at once; None if they have to be read one by one."""
        if spot.fatal or not len(rows):
            return None
        spot.place[0], spot.place[1] = int(rows[0]), self._numbers[name]
        begin, read = perf_counter(), bytes_read()
        try:
            if not reader.read_at_once(rows, out, spot):
                return None
        except _OF_A_SAMPLE:
            return None
        spent.count_all(len(rows), bytes_read() - read, perf_counter() - begin)
        return [None] * len(rows)

    def _read(
        self,
        name: str,
        reader: PerSample,
        rows: Array,
        places: Sequence[Array],
        spent: Spent,
        spot: Spot,
    ) -> list[Told]:
        """Write rows of a field to their places; return what the reader told of each."""
        told: list[Told] = []
        at, fatal = spot.place, spot.fatal
        at[1] = self._numbers[name]
        row, end = 0, perf_counter()
        reader.expect(rows)
        try:
            for row, place in zip(rows.tolist(), places, strict=True):
                at[0] = row
                if row in fatal:
                    spot.refuse(row)
                begin, read = end, bytes_read()
                loaded = reader.load(row)
                between = perf_counter()
                told.append(reader.decode(row, loaded, place))
                end = perf_counter()
                spent.count(loaded, bytes_read() - read, begin, between, end)
        except _OF_A_SAMPLE as error:
            raise self._explain(error, name, reader.file(row), row) from error
        return told

    def _check_lengths(self, name: str, rows: Array, lengths: Any) -> None:
        """Raise if one of some rows has more items than it should, of which the last would be lost."""
        most = self._most[name][rows]
        beyond = np.flatnonzero(np.asarray(lengths) > most)
        if beyond.size:
            place = int(beyond[0])
            error = BadValue(
                f"has {int(lengths[place]):,} items, and is in a bucket of up to {int(most[place]):,}",
                "Correct the column of its length. If the file has changed since, make the loader anew.",
                row=place,
            )
            raise self._explain_row(error, name, rows, counts=True) from error

    def _derive(
        self,
        of: str,
        made: Made,
        out: Buffers,
        start: int,
        meter: Meter,
        derived: Mapping[str, Sequence[tuple[str, Derived]]] | None = None,
    ) -> None:
        """Write the fields that are made from field `of`, for the slots from `start` on."""
        stop = start + len(made.rows)
        for name, reader in (self._derived if derived is None else derived)[of]:
            begin = perf_counter()
            values = out[name][start:stop]
            try:
                marks = reader.derive(made, values)
            except BadValue as error:
                raise self._explain_row(error, name, made.rows, counts=True) from error
            meter.add(name, len(made.rows), copy_s=perf_counter() - begin)
            if name in self._derived:
                self._derive(name, Made(made.rows, values, marks=marks), out, start, meter)

    def _explain_row(
        self, error: BadValue, name: str, rows: Array, *, counts: bool = False
    ) -> SampleError:
        """Tell what is wrong with one of `rows`; `counts` if the error counts from the first of them."""
        row = int(rows[0]) if error.row is None else int(rows[error.row]) if counts else error.row
        return bad_sample(error, name, row if self._numbered else None, None, self._name_row(row))

    def _explain_transform(self, error: TransformError, row: int) -> Exception:
        cause, key = error.__cause__, self._name_row(row)
        if isinstance(cause, MultifeedError):
            return cause
        if isinstance(cause, BadValue):
            return bad_sample(cause, error.field, row, None, key)
        return SampleError(
            lines(
                f"{error.transform} of {error.field!r} raised {type(cause).__name__} for "
                f"{_sample(key, row)}: {cause}.",
                _place(None, row),
                "The exception above is the original. If it came from a function of yours, that must "
                "accept every sample.",
            ),
            field=error.field,
            key=key,
            row=row,
            reason=f"{error.transform} raises {type(cause).__name__}: {cause}",
        )

    def _explain(self, error: BaseException, name: str, file: str | None, row: int) -> Exception:
        if isinstance(error, MultifeedError):
            return error
        key = self._name_row(row)
        number = row if self._numbered else None
        if isinstance(error, BadValue):
            return bad_sample(error, name, number, file, key)
        said = first_line(error)
        return SampleError(
            lines(
                f"reading {name!r} of {_sample(key, number)} raised {type(error).__name__}: {said}.",
                _place(file, number),
                "The exception above is the original. If it came from a function of yours, that must "
                "accept every sample.",
            ),
            field=name,
            key=key,
            row=number,
            file=file,
            reason=f"raises {type(error).__name__}: {said}",
        )


def ask_ahead(readers: Iterable[PerSample], rows: Array) -> Claim | None:
    """Ask storage far away for what these rows, ``int64[n]``, are made from.

    Returns:
        What the requests last as long as; None if nothing is far away.
    """
    asked = [reader.requests(rows) for reader in readers]
    # Row by row, as they will be read.
    requests = [each for row in zip_longest(*asked) for each in row if each is not None]
    if not requests:
        return None
    from multifeed.remote import ahead

    return ahead.begin(requests)


def bad_sample(
    error: BadValue, field: str, row: int | None, file: str | None, key: str | None
) -> SampleError:
    """Tell a small fact about a value in the user's words: field, key, row (if it has one) and file."""
    subject = "the file" if file else "it"
    return SampleError(
        lines(
            f"{field!r} of {_sample(key, row)} cannot be used: {subject} {error.reason}.",
            _place(file, row),
            error.remedy,
        ),
        field=field,
        key=key,
        row=row,
        file=file,
        reason=error.reason,
    )


def _of_both(first: Told, other: Told) -> Told:
    """Return what holds of a sample and another one that were mixed: an item of either is no padding."""
    return max(first, other) if isinstance(first, int) and isinstance(other, int) else first


def _slots(buffer: Array, start: int, stop: int) -> list[Array]:
    """Return the places of slots in a buffer: views, also where scalar fields would give numbers."""
    if buffer.ndim > 1:
        return list(buffer[start:stop])
    return [buffer[slot : slot + 1].reshape(()) for slot in range(start, stop)]


def _sample(key: str | None, row: int | None) -> str:
    if key is not None:
        return f"sample {key!r}"
    return "the sample" if row is None else f"row {row}"


def _place(file: str | None, row: int | None) -> str:
    """Return the line that tells where a value stands; empty if there is nothing to tell."""
    if file is None:
        return "" if row is None else f"Row: {row}."
    return f"File: {one_line(file)}." if row is None else f"File: {one_line(file)} (row {row})."


def allocate(count: int, specs: Mapping[str, Spec]) -> Buffers:
    """Return fresh buffers of `count` rows."""
    return {name: np.empty((count, *spec.shape), spec.dtype) for name, spec in specs.items()}


def cut(buffers: Buffers, count: int) -> Buffers:
    """Return the first `count` rows of buffers."""
    return {name: buffer[:count] for name, buffer in buffers.items()}


def chunks(count: int, pieces: int) -> Sequence[tuple[int, int]]:
    """Cut `count` slots into at most `pieces` runs (start, stop) of nearly one length."""
    size = -(-count // pieces)
    return [(start, min(start + size, count)) for start in range(0, count, size)]
