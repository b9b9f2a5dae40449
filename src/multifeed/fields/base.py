"""What a field must do.

A `Field` is a declaration: frozen, cheap, without data. `bind` turns it, once per dataset, into a
reader in which everything is decided, and which then only executes: a `Columnar` reader gathers many
rows with one NumPy call, a `PerSample` reader writes one row at a time and may be called from many
threads at once, a `Derived` reader makes its values from those of another field. All write into memory
that exists already.

A new kind of field is one new file with a subclass of `Field` that passes `tests/conformance/`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from dataclasses import fields as dataclass_fields
from typing import Any, Self, cast

import numpy as np

from multifeed.errors import DeclarationError
from multifeed.fields.frame import Frame
from multifeed.fields.rows import NDArray, Rows, Source
from multifeed.remote.uri import Request
from multifeed.spec import Spec
from multifeed.spot import Spot
from multifeed.table import Columns

Learned = Mapping[str, Any]


# What `PerSample.decode` tells of a sample besides its values.
Told = int | Frame | None


@dataclass(frozen=True)
class Made:
    """What a field has just yielded for some rows, to those fields that are made from it.

    Args:
        rows: ``int64[n]``, the rows of the dataset.
        values: ``[n, ...]``, what it yielded.
        lengths: ``int64[n]``, how many items of each row are no padding, where it pads.
        marks: ``bool[n, length]``, True where an item is to be used, where it tells that.
        frames: Where it yields images: how each lies in what was yielded; None for one that is missing.
    """

    rows: NDArray
    values: NDArray
    lengths: NDArray | None = None
    marks: NDArray | None = None
    frames: Sequence[Frame | None] | None = None

    def at(self, places: NDArray) -> Made:
        """Return what was yielded for some of the rows: those at `places`, ``int64[m]``."""
        lengths, marks, frames = self.lengths, self.marks, self.frames
        return Made(
            self.rows[places],
            self.values[places],
            None if lengths is None else lengths[places],
            None if marks is None else marks[places],
            None if frames is None else [frames[place] for place in places],
        )

    @classmethod
    def told(cls, rows: NDArray, values: NDArray, told: Sequence[Told]) -> Made:
        """Return what was yielded, given what `PerSample.decode` told of each row."""
        lengths = np.array([each if isinstance(each, int) else 0 for each in told], np.int64)
        frames = None
        if any(isinstance(each, Frame) for each in told) or values.ndim >= 3:
            whole = Frame.whole(values.shape[1:3])
            frames = [
                each if isinstance(each, Frame) else whole if each is None else None for each in told
            ]
        return cls(rows, values, lengths, frames=frames)

    @classmethod
    def gathered(cls, rows: NDArray, values: NDArray, found: Gathered | None) -> Made:
        """Return what was yielded, given what `Columnar.gather` told of the rows."""
        if found is None:
            return cls(rows, values)
        return cls(rows, values, found.lengths, frames=found.frames)


@dataclass(frozen=True)
class Gathered:
    """What `Columnar.gather` tells of rows besides their values.

    Args:
        lengths: ``int64[n]``, how many items of each row are no padding, where the field pads.
        frames: Of images that do not lie as they were found: their frames; None for one that is missing.
        redone: How many of the rows a cache should have had, and had not.
    """

    lengths: NDArray | None = None
    frames: Sequence[Frame | None] | None = None
    redone: int = 0

    def told(self, place: int) -> Told:
        """Return what `PerSample.decode` would tell of one of the rows."""
        if self.lengths is not None:
            return int(self.lengths[place])
        if self.frames is None:
            return None
        frame = self.frames[place]
        return 0 if frame is None else frame


class RowError(Exception):
    """A `Columnar` reader had to read a row on its own, and that raised; the cause is the original.

    Args:
        row: The row.
        file: The file that it is read from, if there is one.
    """

    def __init__(self, row: int, file: str | None) -> None:
        super().__init__(row, file)
        self.row, self.file = row, file


class Columnar(ABC):
    """Reads many rows at once from memory. `spec` says what one row of it looks like."""

    spec: Spec

    @abstractmethod
    def gather(self, rows: NDArray, out: NDArray) -> Gathered | None:
        """Write the rows of the dataset at `rows`, ``int64[n]``, to `out`, ``[n, *spec.shape]``.

        Must be deterministic and safe to call from several threads.

        Returns:
            What is to be told of the rows, such as their lengths where the field pads; None if nothing.

        Raises:
            BadValue: If a row cannot be used; its `row` says which.
            RowError: If a row was read on its own, and that raised.
        """

    def view(self, row: int) -> NDArray | None:
        """Return row `row`, ``[*spec.shape]``, where it lies in memory as it is; None if it does not."""
        return None


class PerSample(ABC):
    """Reads one row at a time, usually from a file. `spec` says what it looks like.

    In two steps, because they wait for different things: `load` for a disk or a network, `decode` for
    a processor. Both must be deterministic and safe to call from several threads.
    """

    spec: Spec

    def requests(self, rows: NDArray) -> Iterable[Request]:
        """Return what `load` of these rows, ``int64[n]``, asks storage far away for.

        So that it can be asked for ahead. Who reads but a part of a file tells that part.
        """
        return ()

    @property
    def waits(self) -> bool:
        """Whether it waits for storage far away, for what `requests` cannot tell.

        So that more threads than processors are worth their while.
        """
        return False

    def expect(self, rows: NDArray) -> None:
        """Note that these rows, ``int64[n]``, will be read now, one after the other."""
        return

    def read_at_once(self, rows: NDArray, out: NDArray, spot: Spot) -> bool:
        """Write rows, ``int64[n]``, to `out`, ``[n, *spec.shape]``, all at once if that is quicker.

        A few microseconds a row are as much as threads of Python lose by taking turns.

        Args:
            rows: The rows.
            out: Where they are written.
            spot: Where it says which row it reads, wherever that may be what ends the process.

        Returns:
            Whether it has. If not, rows are to be loaded and decoded one by one: for what they are, or
            since one of them cannot be used, which is told then.
        """
        return False

    @abstractmethod
    def load(self, row: int) -> Any:
        """Return what row `row` of the dataset is made from: usually the bytes of a file.

        Raises:
            BadValue: If the row cannot be used. Any other exception is reported as the user's own.
        """

    @abstractmethod
    def decode(self, row: int, loaded: Any, out: NDArray) -> Told:
        """Write what was loaded for row `row` to `out`, ``[*spec.shape]``, every element of it.

        Returns:
            Where the field pads: how many items are no padding. Of an image: its frame. 0 for a sample
            that is missing and was filled. Else None.

        Raises:
            BadValue: As `load`.
        """

    def view(self, row: int, loaded: Any) -> tuple[NDArray, Told] | None:
        """Return what `decode` would write, where it lies in memory as it is, and what it would tell.

        None if it has to be decoded. Nobody writes to it.
        """
        return None

    def fill(self, row: int) -> NDArray | None:
        """Return what the field yields for row `row` if it is missing there; None if it is not.

        It is asked where `decode` gives a base of augmentation, which a missing row has not.
        """
        return None

    def file(self, row: int) -> str | None:
        """Return the file that row `row` is read from, if it is read from one."""
        return None

    def files(self, row: int) -> tuple[str, ...]:
        """Return all files that row `row` is read from."""
        file = self.file(row)
        return () if file is None else (file,)

    def describe(self, row: int, loaded: Any) -> dict[str, Any]:
        """Return what can be said about a sample as it was found, such as an image's own size."""
        return {}


class Derived(ABC):
    """Makes its values from those that another field has just yielded for the same rows."""

    spec: Spec

    def __init__(self, of: str) -> None:
        self.of = of

    @abstractmethod
    def derive(self, made: Made, out: NDArray) -> NDArray | None:
        """Write to `out`, ``[n, *spec.shape]``; deterministic and safe to call from several threads.

        Args:
            made: What the other field yielded.
            out: Where to write.

        Returns:
            Where the field `marks` its items: ``bool[n, length]``, True where one is to be used. Else
            None.

        Raises:
            BadValue: If a row cannot be used; its `row` counts from the first of these rows.
        """


Reader = Columnar | PerSample | Derived


@dataclass(frozen=True)
class Base:
    """What augmentation starts from, and how its result becomes the field's value.

    Args:
        reader: Reads the base: of an image, the base image.
        spec: What the transforms make of it, after all geometry.
        final: What the field yields.
        finish: Writes a transformed value to its place in the batch; None if it is transformed there.
        interpolation: Between pixels: ``"bilinear"`` or ``"nearest"``.
        antialias: Whether pixels are averaged wherever an axis shrinks.
    """

    reader: Columnar | PerSample
    spec: Spec
    final: Spec
    finish: Callable[[NDArray, NDArray], None] | None = None
    interpolation: str = "bilinear"
    antialias: bool = False


@dataclass(frozen=True)
class Remark:
    """What `mf.check` shall say of some rows of a field; see `Field.examine`.

    Args:
        kind: What it is, in a word or two, such as ``"outlier"``.
        rows: ``int64[n]``, the rows; None if it is about the field as a whole.
        detail: What was found, as the end of a sentence: one for all rows, or one for each.
        is_bad: Whether reading such a row raises.
    """

    kind: str
    rows: NDArray | None
    detail: str | Sequence[str]
    is_bad: bool = False


@dataclass(frozen=True)
class Tally:
    """How many rows have each value, which `mf.check` shall list; see `Field.examine`.

    Args:
        counts: The number of rows by value, most frequent first.
    """

    counts: Mapping[Any, int]


class Field(ABC):
    """A declared input or target: which columns it reads and what it yields."""

    @property
    @abstractmethod
    def reads(self) -> tuple[str, ...]:
        """Names of the columns it reads, or patterns such as ``"pixel*"``."""

    @property
    def learns(self) -> bool:
        """Whether `adapt` must have seen the training rows before it can be read."""
        return False

    @property
    def options(self) -> dict[str, Any]:
        """The options that decide, beside what was learned, what the values mean; JSON can hold them."""
        return {}

    @property
    def decoding(self) -> dict[str, Any]:
        """All that decides what `base` reads, besides the columns' values and what was learned.

        What is equal in this may share a place in a cache. A sample that is missing has none there, so
        what fills it does not count.
        """
        names = [each.name for each in dataclass_fields(cast(Any, self)) if each.compare]
        declared = {name: getattr(self, name) for name in names if name != "missing"}
        return {"numpy": np.__version__, **declared}

    @property
    def pads(self) -> tuple[int, str] | None:
        """The length that it pads its first axis to, and the end: ``"post"`` or ``"pre"``."""
        return None

    @property
    def marks(self) -> bool:
        """Whether it tells which of its items are to be used, so that there can be a mask of them."""
        return self.pads is not None

    @property
    def fills_each(self) -> bool:
        """Whether `missing` fills each of its columns by itself, and not the sample as a whole."""
        return False

    @property
    def canvas(self) -> tuple[int, int] | None:
        """The (height, width) of its images before `preprocess`; None where that is what it yields."""
        return None

    @property
    def name(self) -> str:
        """The name it gets where no dict key gives one."""
        return self.reads[0] if len(self.reads) == 1 else type(self).__name__.lower()

    def settled(self, columns: Columns) -> Self:
        """Return the declaration with what it leaves to the columns decided, such as which it reads.

        It is what a dataset keeps.
        """
        return self

    def measured(self, source: Source) -> Self:
        """Return the declaration with what it leaves to the headers of its files decided.

        It is asked after `settled`, and the only time that a declaration reads files.

        Raises:
            DeclarationError: If the headers do not agree.
        """
        return self

    @abstractmethod
    def check(self, columns: Columns) -> None:
        """Raise `DeclarationError` if these columns cannot be read; looks at types, not at values."""

    @abstractmethod
    def spec_of(self, columns: Columns, learned: Learned | None) -> Spec:
        """Return what one sample looks like, without reading values.

        Raises:
            NotAdaptedError: If that depends on what `adapt` has yet to learn.
        """

    @abstractmethod
    def bind(self, source: Source, learned: Learned | None) -> Reader:
        """Return the reader for a dataset's rows.

        Args:
            source: The columns and the rows.
            learned: What `learn` returned, where the field `learns`.

        Raises:
            BadValue: If a row in memory cannot be used.
        """

    def absent(self, source: Source) -> NDArray:
        """Return ``bool[n, k]``, True where there is no value, so that `missing` fills it.

        k is the number of columns; whatever it is where `fills_each` is False.
        """
        names = source.columns.all_matching(self.reads)
        return np.stack([source.nulls(name) for name in names], axis=1)

    def accepts(self, learned: Any, columns: Columns) -> bool:
        """Tell whether something is what `learn` may return for these columns; it comes from a file."""
        return learned is None

    def base(self, source: Source, learned: Learned | None) -> Base:
        """Return what augmentation starts from: what the field yields, unless it says otherwise."""
        reader = self.bind(source, learned)
        if isinstance(reader, Derived):
            raise DeclarationError(
                f"{type(self).__name__} is made from another field and augmented with it: name "
                f"{getattr(self, 'of', 'that one')!r}."
            )
        return Base(reader, reader.spec, reader.spec)

    def learn(self, rows: Rows) -> Learned | None:
        """Return what the training rows teach, as a dict that JSON can hold; asked if it `learns`.

        Raises:
            BadValue: If they teach nothing.
        """
        return None

    def restore(self, values: NDArray, learned: Learned | None) -> NDArray:
        """Turn values as the model predicts them back into the column's own units."""
        return values

    def caption(self, value: NDArray, learned: Learned | None) -> str | None:
        """Return what one sample's value, ``[*spec.shape]``, says in words; None if it needs none.

        It is for people to read, as in `multifeed.show`.
        """
        return None

    def examine(self, rows: Rows, learned: Learned | None) -> Iterable[Remark | Tally]:
        """Return what `mf.check` shall say of the columns, from a look at their values.

        Only what it does not find by itself: it reads every row, and reports nulls, rows that cannot be
        read, repeated files, what `PerSample.describe` says of few rows only, and values that are
        blank, NaN or infinite.

        Args:
            rows: All rows of the dataset.
            learned: What `learn` returned; None if nobody has learned yet.
        """
        return ()


@dataclass(frozen=True)
class Link(Field):
    """A field that is made from another field of the dataset, and maybe from columns as well.

    Args:
        of: The name of the other field.
    """

    of: str
    # Known once the dataset is declared, see `linked`.
    other: Field = dataclass_field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.of, str) or not self.of:
            kind = type(self).__name__
            raise DeclarationError(
                f"mf.{kind} takes the name of another field of the dataset; received {self.of!r}."
            )

    def linked(self, other: Field) -> Self:
        """Return this declaration, knowing the other field."""
        link = copy(self)
        object.__setattr__(link, "other", other)
        return link

    @property
    def reads(self) -> tuple[str, ...]:
        return ()

    @property
    def name(self) -> str:
        return f"{self.of}_{type(self).__name__.lower()}"

    @abstractmethod
    def bind(self, source: Source, learned: Learned | None) -> Derived | Columnar:
        """Return the reader; `learned`, as for `spec` and `restore`, is what the other field learned."""
