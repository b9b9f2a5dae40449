"""Dataset: a row table and the fields that read it."""

from __future__ import annotations

import operator
import os
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from functools import partial
from typing import Any, SupportsIndex, TypeVar, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from multifeed.augment.base import Transform
from multifeed.augment.binding import augmented
from multifeed.augment.pipeline import checked
from multifeed.batch import Plan, allocate, bad_sample
from multifeed.errors import (
    BadValue,
    DeclarationError,
    MultifeedWarning,
    NotAdaptedError,
    SampleError,
    StateError,
    aligned,
    lines,
    near,
)
from multifeed.family import Family, learned_by, read_state, write_state
from multifeed.fields.base import Base, Field, Learned, Link, Reader
from multifeed.fields.category import Category
from multifeed.fields.chain import Chain
from multifeed.fields.rows import Rows, Source, refusals
from multifeed.fields.same import Same
from multifeed.fields.shared import column_names
from multifeed.fields.text import Text
from multifeed.fields.weight import Ones
from multifeed.keys import Keys, check_key
from multifeed.order import whole_seed
from multifeed.remote.uri import is_uri, localized
from multifeed.spec import Spec
from multifeed.split import split_rows
from multifeed.structure import (
    Fields,
    Structure,
    check_field,
    flat,
    linked,
    named,
    settled,
)
from multifeed.table import as_columns, as_table, is_path, kind_of
from multifeed.weights import (
    ClassWeights,
    Weights,
    axes_of,
    by_class,
    declared,
    structure_of,
    weight_name,
)

Array = np.ndarray[Any, Any]
T = TypeVar("T")


class Dataset:
    """Samples: rows of a table, and the fields that turn a row into arrays.

    Declaring reads no file, but for the headers of those whose size is declared nowhere. The structure
    that goes in comes out: a sample, and each batch, is ``(inputs,)``, ``(inputs, targets)`` or
    ``(inputs, targets, sample_weights)``, each one array, a tuple or a dict of arrays, as declared.

    Args:
        rows: The row table: what `align` returns, anything with ``__arrow_c_stream__``, the name of a
            table file or of a folder of such, a dataset of Hugging Face, or a dict of arrays (N-D arrays
            and memmaps are used in place).
        inputs: One field, a tuple of fields, or a dict of fields by name.
        targets: The same for the targets; None if there are none.
        sample_weight: A column of weights for all targets, or a dict of columns by target (the
            others get the weight 1).
        key: The column, or tuple of columns, that names a sample in errors and predictions; row
            numbers do where it is None.
        root: Folder, or URI, where relative file names start. By default that is the working directory,
            or, for names from a table file, the folder of that file.
        allow_outside: Whether file names may lead out of the folder of their table, or out of `root`.

    Raises:
        DeclarationError: If the table has no rows, a column does not exist or does not suit its field,
            or a name is used twice.

    Example:
        >>> import multifeed as mf
        >>> data = Dataset(
        ...     {"id": ["a", "b"], "age": [40, 60], "sick": [0, 1]},
        ...     key="id",
        ...     inputs={"age": mf.Numeric("age")},
        ...     targets=mf.Category("sick", vocabulary=[0, 1]),
        ... )
        >>> data[1]
        ({'age': array([60.], dtype=float32)}, np.int32(1))
    """

    def __init__(
        self,
        rows: Any,
        *,
        inputs: Fields,
        targets: Fields | None = None,
        sample_weight: str | Mapping[str, str] | None = None,
        key: str | tuple[str, ...] | None = None,
        root: str | os.PathLike[str] | None = None,
        allow_outside: bool = False,
    ) -> None:
        self.key = () if key is None else column_names(key)
        if is_path(rows):
            rows = as_table(rows, "rows", text=self.key)
        columns = as_columns(rows, "rows")
        if not columns.count:
            raise DeclarationError(
                lines("a dataset has at least one sample; this row table has 0 rows.")
            )
        for name in self.key:
            if name not in columns:
                raise DeclarationError(
                    lines(f"the row table has no key column {name!r}.", near(name, columns.names))
                )
            check_key(name, columns[name])
        self._rows: Any = rows
        if isinstance(rows, pa.Table):
            # It may be moved to shared memory: only one place must know it.
            self._rows, columns.given = None, rows
        source = Source(columns, None, None if root is None else _place(root), allow_outside)
        self.source: Rows = source
        self._declare(source, inputs, targets, sample_weight)
        self.family = Family()
        self.family.add(self, "the dataset")
        self._plan: tuple[object, Plan] | None = None

    def _declare(
        self,
        source: Source,
        inputs: Fields,
        targets: Fields | None,
        sample_weight: str | Mapping[str, str] | None,
    ) -> None:
        self.fields: dict[str, Field] = {}
        input_names = named("inputs", inputs, self.fields)
        target_names = None if targets is None else named("targets", targets, self.fields)
        columns = source.columns
        settled(self.fields, source)
        linked(self.fields)
        for name, field in self.fields.items():
            check_field(name, field, columns)
        self.structure = Structure(input_names, target_names, None)
        self._weights = declared(sample_weight, target_names, self._weight_axes())
        self.structure = Structure(input_names, target_names, structure_of(self._weights, target_names))
        for name, weight in self._weights.items():
            check_field(weight_name(name), weight, columns)
        for name in self._targets():
            self._warn_of_pixels(name, self.fields[name])

    def _targets(self) -> list[str]:
        return [] if self.structure.targets is None else flat(self.structure.targets)

    def _weight_axes(self) -> dict[str, int]:
        """Return how many axes the weights of each target have."""
        axes = {}
        for name in self._targets():
            # What is known after adapt alone are one-hot classes, of one axis.
            axes[name] = 0
            with suppress(NotAdaptedError):
                axes[name] = axes_of(len(self.fields[name].spec_of(self.source.columns, None).shape))
        return axes

    def _warn_of_pixels(self, name: str, field: Field) -> None:
        """Warn of a target that is an image as it comes; seldom is its loss meant to be on integers."""
        if not isinstance(field, Same) or field.dtype is not None:
            return
        with suppress(NotAdaptedError):
            spec = field.spec_of(self.source.columns, None)
            if spec.dtype != "uint8":
                return
            warnings.warn(
                lines(
                    f"the target {name!r} is {field.of!r} as {spec}: its loss is on integers up to 255.",
                    f'Pass mf.Same({field.of!r}, dtype="float32", scale=1/255), and end the model in a '
                    "sigmoid.",
                ),
                MultifeedWarning,
                stacklevel=4,
            )

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.source)

    def __getitem__(self, index: SupportsIndex) -> tuple[Any, ...]:
        """Return one sample, in the structure of a batch but without its first axis."""
        if not isinstance(index, SupportsIndex):
            raise DeclarationError(
                lines(
                    f"a sample is one row, by its number; received {index!r}.",
                    "Several rows are a dataset of their own: data.select(rows).",
                )
            )
        position = operator.index(index)
        row = position + len(self) if position < 0 else position
        if not 0 <= row < len(self):
            raise IndexError(f"sample {position} of a dataset of {len(self):,}")
        plan = self.plan()
        buffers = allocate(1, plan.specs)
        plan.fill(np.array([row]), buffers)
        return plan.structure.pack({name: buffer[0] for name, buffer in buffers.items()})

    @property
    def rows(self) -> Any:
        """The row table as it was given, or the selected rows of it."""
        return self.source.table() if self._rows is None else self._rows

    @property
    def spec(self) -> tuple[Any, ...]:
        """The `Spec` of each value of a sample, in the structure of a batch.

        Raises:
            NotAdaptedError: If a shape depends on what `adapt` has yet to learn.
        """
        specs = {name: self._spec(name, field) for name, field in self.all_fields().items()}
        return self.structure.pack(specs)

    def keys(self, rows: Array) -> list[Any]:
        """Return the keys of rows, ``int64[n]``; the row numbers themselves if there is no key."""
        if not self.key:
            return [int(row) for row in rows]
        return Keys(self.source, self.key).many(rows)

    def select(self, rows: Any) -> Dataset:
        """Return the dataset of some rows, which shares what is learned.

        Args:
            rows: Row numbers (any order, repetitions allowed), a slice, or a boolean mask.

        Raises:
            DeclarationError: If a row does not exist, or none is selected.
        """
        return self._part(_row_numbers(rows, len(self)), self.family, "the selection")

    def split(
        self,
        *fractions: float,
        by: str | None = None,
        stratify: str | None = None,
        seed: int = 0,
    ) -> tuple[Dataset, ...]:
        """Split into parts at random.

        The parts share one learned state: adapt the first and all can be read. Parts of an adapted
        dataset keep what it learned; parts of a part belong to the same split.

        Args:
            *fractions: The share of each part; their sum is 1.
            by: A column of groups (patients, sites); no group is in two parts.
            stratify: A column of classes; each part gets its share of each class to within one sample,
                or as nearly as the groups allow.
            seed: Which of the many such splits.

        Raises:
            DeclarationError: If the fractions do not add up to 1, a column does not exist, or a part
                would be empty.

        Example:
            >>> import multifeed as mf
            >>> data = Dataset({"x": list(range(10))}, inputs=mf.Numeric("x"))
            >>> [len(part) for part in data.split(0.8, 0.2)]
            [8, 2]
        """
        numbers = all(isinstance(each, int | float | np.number) for each in fractions)
        shares = np.asarray(fractions if numbers else (), np.float64)
        if not len(shares) or not (shares > 0).all() or abs(shares.sum() - 1) > 1e-6:
            rest = 1 - shares.sum() if len(shares) and (shares > 0).all() else 0
            raise DeclarationError(
                lines(
                    f"the fractions of a split are above 0 and add up to 1; received {fractions}.",
                    f"Write data.split({', '.join(f'{each:g}' for each in (*shares, rest))})."
                    if 0 < rest < 1
                    else "",
                )
            )
        parts = self._deal(shares, by, stratify, seed)
        family = self.family.for_parts()
        return tuple(
            self._part(part, family, f"part {number} of {len(parts)}")
            for number, part in enumerate(parts, 1)
        )

    def folds(
        self, count: int, *, by: str | None = None, stratify: str | None = None, seed: int = 0
    ) -> list[tuple[Dataset, Dataset]]:
        """Split for cross-validation: each sample is in the second part of exactly one fold.

        Each fold is a split of its own, which has learned nothing yet: adapt its first part.

        Args:
            count: How many folds, at least 2.
            by: A column of groups; no group is in both parts of a fold.
            stratify: A column of classes; each second part gets its share of each class.
            seed: Which of the many such splits.

        Returns:
            For each fold, the part to train on and the part to validate on.

        Raises:
            DeclarationError: If there are fewer than 2 folds, a column does not exist, or a part would
                be empty.

        Example:
            >>> import multifeed as mf
            >>> data = Dataset({"x": list(range(10))}, inputs=mf.Numeric("x"))
            >>> [(len(train), len(val)) for train, val in data.folds(5)]
            [(8, 2), (8, 2), (8, 2), (8, 2), (8, 2)]
        """
        if not isinstance(count, int) or count < 2:
            raise DeclarationError(f"cross-validation has 2 or more folds; received {count!r}.")
        held_out = self._deal(np.full(count, 1 / count), by, stratify, seed)
        folds = []
        for rows in held_out:
            family = Family(is_split=True)
            rest = np.setdiff1d(np.arange(len(self)), rows)
            folds.append(
                (self._part(rest, family, "part 1 of 2"), self._part(rows, family, "part 2 of 2"))
            )
        return folds

    def _deal(self, shares: Array, by: str | None, stratify: str | None, seed: int) -> list[Array]:
        """Return the rows of each part; none of them is empty."""
        groups = None if by is None else self.codes(by, "split")[0]
        classes = np.zeros(len(self), np.int64) if stratify is None else self.codes(stratify, "split")[0]
        parts = split_rows(shares, groups, classes, whole_seed(seed))
        for number, part in enumerate(parts):
            if not len(part):
                raise DeclarationError(
                    lines(
                        f"each part of a split has a sample; part {number + 1} of {len(parts)} "
                        f"({shares[number]:.3g} of {len(self):,} samples) would be empty.",
                        "Pass larger fractions"
                        + ("." if by is None else f", or a column with more groups than {by!r}."),
                    )
                )
        return parts

    def weighted(
        self, class_weight: ClassWeights | None = None, *, among: Array | None = None
    ) -> Dataset:
        """Return the same samples with a weight for every target.

        Args:
            class_weight: For each target that is a `Category`: the weight of each label (1 for those
                that are left out), or ``"balanced"``: samples / (labels that occur x samples of the
                label), as scikit-learn has it. Sample weights are multiplied with it. Targets that are
                left out keep their weights.
            among: ``int64[n]``, the rows whose labels count for ``"balanced"``; all by default.

        Raises:
            DeclarationError: If there are no targets, or a target, label or weight cannot be.
            NotAdaptedError: If the labels have yet to be learned.

        Example:
            >>> import multifeed as mf
            >>> data = Dataset({"x": [1, 2, 3], "sick": [0, 0, 1]}, inputs=mf.Numeric("x"),
            ...     targets=mf.Category("sick", vocabulary=[0, 1]))
            >>> [sample[2].item() for sample in data.weighted({"sick": "balanced"})]
            [0.75, 0.75, 1.5]
        """
        targets = {name: self.fields[name] for name in self._targets()}
        if not targets:
            raise DeclarationError(
                lines("class weights weigh the loss of targets, and there are none.", "Pass targets=.")
            )

        def known(name: str) -> Category:
            category = cast(Category, targets[name])
            return replace(category, vocabulary=self.labels(name))

        def count(name: str, category: Category) -> Array:
            rows = self.source if among is None else self.source.take(among)
            return self._guard(name, partial(category.counts, rows))

        axes = self._weight_axes()
        given: Weights = {name: Ones(axes=axes[name]) for name in targets} | self._weights
        weighted = copy(self)
        weighted._weights = by_class(class_weight, given, targets, known, count)
        names = structure_of(weighted._weights, self.structure.targets)
        weighted.structure = replace(self.structure, weights=names)
        weighted._plan = None
        return weighted

    def adapt(self, *, again: bool = False) -> None:
        """Learn means and vocabularies from these rows; all parts of the split share them.

        The other parts are checked at once: a label that they alone have is an error now, not after
        the first epoch.

        Args:
            again: Allow it although something has been learned before, which is then replaced.

        Raises:
            StateError: If the split has been adapted before and `again` is not set.
            SampleError: If a row of this or another part cannot be used with what was learned.
        """
        self._refuse_again(again)
        learned = {
            name: self._guard(name, partial(field.learn, self.source))
            for name, field in self.fields.items()
            if field.learns
        }
        self._take_over(learned, self.family.title(self))

    def _take_over(self, learned: dict[str, Any], learned_from: str) -> None:
        """Share what was learned with the other parts, once all of them have been read with it."""
        for part, title in self.family.parts():
            # Selections of a part may be there to leave its bad rows out: they are no parts themselves.
            if part is self or title.startswith("part"):
                for name in learned:
                    part._bind(name, part.fields[name], learned, title)
        self.family.learn(learned, learned_from)

    def save_state(self, path: str | os.PathLike[str]) -> None:
        """Write what was learned to a JSON file: all that a server needs besides the declaration.

        Args:
            path: The file; it is replaced as a whole.

        Raises:
            NotAdaptedError: If a field has to learn first.
        """
        for name, field in self.fields.items():
            if field.learns and self.family.learned is None:
                raise _not_adapted(name, field)
        write_state(path, self.fields, self.source.columns, self.family.learned or {})

    def load_state(self, path: str | os.PathLike[str], *, again: bool = False) -> None:
        """Take over what `save_state` has written, in place of `adapt`.

        Args:
            path: The file.
            again: Allow it although something has been learned before, which is then replaced.

        Raises:
            StateError: If it is no such file, its fields were declared otherwise, or something has been
                learned before and `again` is not set.
            SampleError: If a row of this or another part cannot be used with what was learned.
        """
        self._refuse_again(again)
        self._take_over(read_state(path, self.fields, self.source.columns), os.fspath(path))

    def _refuse_again(self, again: bool) -> None:
        if self.family.learned is not None and not again:
            raise StateError(
                lines(
                    f"{self.family.learned_from} has been learned from, and all parts of a split share "
                    "what is learned.",
                    "Split anew for each fold, or pass again=True to replace what was learned.",
                )
            )

    def restore(self, name: str, values: Array) -> Array:
        """Turn a field's values as a model predicts them back into the column's own units.

        Args:
            name: The field.
            values: ``float[n, ...]``, e.g. one output of ``model.predict``.

        Raises:
            DeclarationError: If there is no such field.
            NotAdaptedError: If the field has yet to learn, as in the dataset that a split was made of:
                ask one of the parts.
        """
        if name not in self.fields:
            raise DeclarationError(lines(f"there is no field {name!r}.", near(name, self.fields)))
        field, learned = self.fields[name], self.learned(name)
        teacher = self.fields[field.of] if isinstance(field, Link) else field
        if teacher.learns and learned is None:
            raise _not_adapted(name, field)
        return field.restore(values, learned)

    def learned(self, name: str) -> Learned | None:
        """Return what a field has learned, as it is kept in JSON; None if nothing."""
        return learned_by(self.family.learned, name, self.fields[name])

    def labels(self, name: str) -> tuple[Any, ...]:
        """Return the labels of a `Category` field, in the order of their class numbers."""
        field = self.fields.get(name)
        if not isinstance(field, Category):
            known = [each for each, other in self.fields.items() if isinstance(other, Category)]
            raise DeclarationError(lines(f"{name!r} is no Category of this dataset.", near(name, known)))
        try:
            return field.labels(self.learned(name))
        except NotAdaptedError:
            raise _not_adapted(name, field) from None

    def vocabulary(self, name: str) -> tuple[str, ...]:
        """Return the tokens of a `Text` field, in the order of their ids.

        Raises:
            NotAdaptedError: If the words have yet to be learned.
        """
        field = self.fields.get(name)
        if not isinstance(field, Text):
            known = [each for each, other in self.fields.items() if isinstance(other, Text)]
            raise DeclarationError(lines(f"{name!r} is no Text of this dataset.", near(name, known)))
        try:
            return field.vocabulary(self.learned(name))
        except NotAdaptedError:
            raise _not_adapted(name, field) from None

    def plan(self, augment: Transform | Sequence[Transform] = ()) -> Plan:
        """Return the dataset compiled for reading; kept until something else is learned.

        Args:
            augment: Transforms of its fields; a plan with any is not kept.

        Raises:
            NotAdaptedError: If a field has to learn first.
            SampleError: If a value in memory cannot be used.
            DeclarationError: If a transform cannot act on its fields.
        """
        if augment:
            return self._augmented(checked(augment, self.fields))
        learned = self.family.learned
        if self._plan is None or self._plan[0] is not learned:
            readers = {
                name: self._bind(name, field, learned) for name, field in self.all_fields().items()
            }
            self._plan = (learned, Plan(readers, self.structure, self._key_of()))
        return self._plan[1]

    def plan_of(self, fields: Mapping[str, Field]) -> Plan:
        """Return some fields of these rows compiled for reading, as `plan`."""
        readers = {name: self._bind(name, each, self.family.learned) for name, each in fields.items()}
        return Plan(readers, Structure(tuple(fields), None, None), self._key_of())

    def refused(self) -> dict[int, SampleError]:
        """Return why rows cannot be used of which that can be told from memory; reads no file."""
        found: dict[int, SampleError] = {}
        for name, field in self.all_fields().items():
            try:
                self._bind(name, field, self.family.learned)
            except SampleError as error:
                if error.row is None:
                    raise
                learned = learned_by(self.family.learned, name, field)

                def attempt(rows: Array, field: Field = field, learned: Any = learned) -> object:
                    return self.source.take(rows).bind(field, learned)

                for row, fact in refusals(attempt, np.arange(len(self))):
                    found.setdefault(row, bad_sample(fact, name, row, None, self._key_of()(row)))
        return found

    def replaced(self, rows: Collection[int]) -> Dataset:
        """Return as many samples, where each of some rows is replaced by the next one that is not."""
        index = np.arange(len(self))
        bad = np.fromiter(rows, np.int64)
        good = np.setdiff1d(index, bad)
        index[bad] = good[np.searchsorted(good, bad) % len(good)]
        return self.select(index)

    def move_rows(self, mover: Callable[[pa.Table], pa.Table]) -> None:
        """Let the row table stand elsewhere, such as in shared memory, for all parts that look at it.

        Args:
            mover: Function of a table that returns an equal one.
        """
        for source, _ in self.source.pieces():
            source.columns.move(mover)
        # What was compiled looks at the old one.
        for part in (self, *(part for part, _ in self.family.parts())):
            part._plan = None

    def _augmented(self, transforms: Sequence[Transform]) -> Plan:
        """Return the dataset compiled for reading with transforms."""
        learned = self.family.learned
        readers, augmentation = augmented(
            transforms,
            self.all_fields(),
            self.structure,
            len(self),
            lambda name, field: self._bind(name, field, learned),
            partial(self.base_of, self.source),
        )
        return Plan(readers, self.structure, self._key_of(), augmentation=augmentation)

    def base_of(self, rows: Rows, name: str, field: Field) -> Base:
        """Return what augmentation of a field starts from in some rows, as `Rows.base`.

        Raises:
            NotAdaptedError: If the field has to learn first.
            SampleError: If a value in memory cannot be used.
        """
        if field.learns and name not in (self.family.learned or {}):
            raise _not_adapted(name, field)
        known = learned_by(self.family.learned, name, field)
        return self._guard(name, partial(rows.base, field, known))

    def __repr__(self) -> str:
        key = f", key {'/'.join(self.key)!r}" if self.key else ""
        note = f", {self.source.note}" if self.source.note else ""
        table = [("", "name", "field", "columns", "sample")]
        for role, part in (("input", self.structure.inputs), ("target", self.structure.targets)):
            for name in flat(part) if part is not None else ():
                field = self.fields[name]
                table.append(
                    (role, name, type(field).__name__, ", ".join(field.reads), self._shown(name))
                )
        for target, field in self._weights.items():
            name = weight_name(target)
            kind = type(field).__name__
            table.append(("weight", name, kind, ", ".join(field.reads), self._shown(name)))
        return "\n".join([f"Dataset of {len(self):,} samples{key}{note}", *aligned(table)])

    def _shown(self, name: str) -> str:
        try:
            return repr(self._spec(name, self.all_fields()[name]))
        except NotAdaptedError:
            return "known after adapt()"

    def all_fields(self) -> dict[str, Field]:
        """Return the fields by name, those of the sample weights included."""
        return self.fields | {weight_name(target): field for target, field in self._weights.items()}

    def _spec(self, name: str, field: Field) -> Spec:
        learned = learned_by(self.family.learned, name, field)
        try:
            return field.spec_of(self.source.columns, learned)
        except NotAdaptedError:
            raise _not_adapted(name, field) from None

    def _bind(
        self, name: str, field: Field, learned: Mapping[str, Any] | None, title: str = ""
    ) -> Reader:
        if field.learns and name not in (learned or {}):
            raise _not_adapted(name, field)
        read = partial(self.source.bind, field, learned_by(learned, name, field))
        return self._guard(name, read, title)

    def _guard(self, name: str, act: Callable[[], T], title: str = "") -> T:
        """Run a field's own code, and tell its small facts in the user's words."""
        try:
            return act()
        except BadValue as error:
            where = f" (in {title} of the split)" if title.startswith("part") else ""
            if error.row is None:
                raise SampleError(
                    lines(f"{name!r} cannot be used{where}: it {error.reason}.", error.remedy),
                    field=name,
                ) from error
            told = BadValue(error.reason + where, error.remedy)
            raise bad_sample(told, name, error.row, None, self._key_of()(error.row)) from error

    def _key_of(self) -> Any:
        """Return the function that names a row; it must not keep this dataset's plan alive."""
        if not self.key:
            return _no_key
        return Keys(self.source, self.key).one

    def codes(self, name: str, purpose: str) -> tuple[Array, list[Any]]:
        """Return a column's values as numbers 0, 1, … in order of appearance, and what they stand for.

        Args:
            name: The column.
            purpose: What is done by its values, as errors call it: ``"split"``.

        Raises:
            DeclarationError: If there is no such column, it has several values a sample, or it is null.
        """
        column = self.source.columns[name]
        if isinstance(column, np.ndarray) and column.ndim != 1:
            raise DeclarationError(
                f"a {purpose} is by a column with one value a sample; {name!r} has shape "
                f"{column.shape[1:]} a sample."
            )
        values = pc.dictionary_encode(self.source.arrow(name))
        if values.null_count:
            row = pc.indices_nonzero(pc.is_null(values))[0].as_py()
            raise DeclarationError(
                lines(
                    f"every sample needs a value to {purpose} by: {name!r} is null in "
                    f"{values.null_count:,} rows, first in row {row}.",
                    "Fill it in, or leave these rows out with data.select.",
                )
            )
        codes: Array = values.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        return codes, values.dictionary.to_pylist()

    def _refuse_unlike(self, other: Dataset, number: int) -> None:
        """Raise unless another dataset, the `number`-th of those to be joined, is declared alike."""
        declared = other._declaration()
        for what, here in self._declaration().items():
            there = declared.get(what)
            if not _is_same(here, there):
                raise DeclarationError(
                    lines(
                        f"datasets that are joined are declared alike; the {what} of number {number} "
                        "differs from that of number 1.",
                        f"Number 1: {here!r}.",
                        f"Number {number}: {there!r}.",
                    )
                )

    def _declaration(self) -> dict[str, Any]:
        """Return all that makes one dataset's samples unlike another's."""
        columns = self.source.columns
        found: dict[str, Any] = {"structure": self.structure, "key": self.key}
        for name in self.key:
            found[f"kind of column {name!r}"] = kind_of(columns[name])
        for name, field in self.all_fields().items():
            found[f"field {name!r}"] = field
            read = columns.all_matching(field.reads)
            found[f"columns of {name!r}"] = read
            if isinstance(field, Category):
                found |= {f"kind of column {column!r}": kind_of(columns[column]) for column in read}
            with suppress(NotAdaptedError):
                found[f"spec of {name!r}"] = field.spec_of(columns, None)
        return found

    def _part(self, rows: Array, family: Family, title: str) -> Dataset:
        part = copy(self)
        part._rows, part.source = None, self.source.take(rows)
        part.family = family
        part._plan = None
        family.add(part, title)
        return part


def concat(datasets: Sequence[Dataset]) -> Dataset:
    """Put the samples of several datasets, declared alike, one after the other.

    Each table is read as it is: file names start where those of their own table do, and memmaps stay
    where they are. What is learned is learned anew, unless all are parts of one split.

    Args:
        datasets: Two or more datasets with equal fields, structure, key and sample weights.

    Raises:
        DeclarationError: If they are declared differently.

    Example:
        >>> import multifeed as mf
        >>> inputs = {"age": mf.Numeric("age")}
        >>> rome = Dataset({"age": [40, 60]}, inputs=inputs)
        >>> bonn = Dataset({"age": [50]}, inputs=inputs)
        >>> len(concat([rome, bonn]))
        3
    """
    is_list = isinstance(datasets, Sequence) and len(datasets) > 0
    if not is_list or not all(isinstance(each, Dataset) for each in datasets):
        raise DeclarationError(f"mf.concat joins a list of datasets; received {datasets!r}.")
    first = datasets[0]
    for number, other in enumerate(datasets[1:], 2):
        first._refuse_unlike(other, number)
    joined = copy(first)
    joined._rows, joined.source = None, Chain.of([each.source for each in datasets])
    joined._plan = None
    if any(each.family is not first.family for each in datasets):
        joined.family = Family()
    joined.family.add(joined, "the dataset")
    return joined


def _is_same(here: Any, there: Any) -> bool:
    """Tell whether two parts of declarations are equal; some hold arrays or NaN."""
    if type(here) is not type(there):
        return False
    if isinstance(here, Field):
        names = [each.name for each in dataclass_fields(cast(Any, here)) if each.compare]
        return all(_is_same(getattr(here, name), getattr(there, name)) for name in names)
    if isinstance(here, np.ndarray | float):
        return bool(np.array_equal(here, there, equal_nan=True))
    return bool(here == there)


def _no_key(row: int) -> None:
    """Return that a row has no name; a function that can be pickled, unlike a lambda."""


def _not_adapted(name: str, field: Field) -> NotAdaptedError:
    return NotAdaptedError(
        lines(
            f"{name!r} has to learn from the training rows before it can be read "
            f"(it is a {type(field).__name__}).",
            "Call train.adapt() on the training part of the split, or data.adapt() if there is none.",
        )
    )


def _place(root: str | os.PathLike[str]) -> str:
    """Return a folder as an absolute path, and a URI as it is."""
    name = localized(os.fspath(root))
    return name if is_uri(name) else os.path.abspath(name)


def _row_numbers(rows: Any, count: int) -> Array:
    if isinstance(rows, slice):
        numbers = np.arange(count)[rows]
    else:
        numbers = np.asarray(rows)
        if numbers.shape == (0,):
            numbers = numbers.astype(np.int64)
        if numbers.dtype == bool and numbers.shape == (count,):
            numbers = np.flatnonzero(numbers)
        elif numbers.dtype.kind not in "iu" or numbers.ndim != 1:
            raise DeclarationError(
                f"rows are selected by row numbers, a slice, or a boolean mask of {count:,} values; "
                f"received {numbers.dtype} of shape {numbers.shape}."
            )
    outside = numbers[(numbers < 0) | (numbers >= count)]
    if len(outside):
        raise DeclarationError(
            f"a dataset of {count:,} samples has rows 0 to {count - 1:,}; received row {outside[0]}."
        )
    if not len(numbers):
        raise DeclarationError("a dataset has at least one sample; no row was selected.")
    return numbers.astype(np.int64)
