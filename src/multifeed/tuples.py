"""Samples of several rows: pairs and triplets, drawn anew in every epoch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from multifeed.augment.base import Transform
from multifeed.augment.draws import uniforms
from multifeed.branches import ALIKE_SPEC, SAME, TuplePlan
from multifeed.dataset import Dataset
from multifeed.errors import DeclarationError, lines, some
from multifeed.fields.base import Field, Learned, Link
from multifeed.fields.category import Category
from multifeed.fields.rows import Rows
from multifeed.fields.shared import at_least, first_line, is_number, one_of
from multifeed.fields.watch import name_of
from multifeed.order import Order, sequential, shuffled
from multifeed.slots import IMPURE_REMEDY, Slots
from multifeed.spec import Spec
from multifeed.structure import Names, Structure, flat, pack
from multifeed.weights import ClassWeights, weight_name

Array = np.ndarray[Any, Any]
# Function of the rows chosen so far, int64[n, j], and of candidates, int64[n, c]; it returns how good a
# negative each of these is, float[n, c].
Negatives = Callable[[Array, Array], Array]

# The number under which partners are drawn: the last of 32 bits, which no transform has.
_PARTNERS = 2**32 - 1
# Slots for which a function of the user is called at once, and for how many it is tried at declaration.
_AT_ONCE, _TRIED = 1_024, 8
_ALIKE = Category(SAME, vocabulary=["different", "same"])


class Tuples(ABC):
    """Samples of several rows each; what `Pairs` and `Triplets` have in common.

    Args:
        data: The rows, and the fields that read each of them.
        by: The column of groups.
        singles: What becomes of groups that have a single row.
        negatives: Says which row of another group is taken; drawn at random by default.
        candidates: How many rows that chooses from.
    """

    branches: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        data: Dataset,
        by: str,
        *,
        singles: str,
        negatives: Negatives | None,
        candidates: int,
        has_negatives: bool,
    ) -> None:
        if not isinstance(data, Dataset):
            kind = type(self).__name__
            raise DeclarationError(f"mf.{kind} takes a dataset; received {type(data).__name__}.")
        one_of("singles", singles, ("raise", "negative", "drop"))
        self.data, self.by = data, by
        codes, names = data.codes(by, "group")
        self.groups = Groups.of(codes, leaves_out_singles=singles == "drop")
        alone = self.groups.singles(names)
        if alone and singles == "raise":
            raise DeclarationError(
                lines(
                    f"a positive partner is another row of the same group: {len(alone):,} of "
                    f"{len(np.unique(codes)):,} groups of {by!r} have a single row: {some(alone)}.",
                    'Pass singles="negative" to take these as partners of other groups alone, or "drop" '
                    "to leave them out.",
                )
            )
        if not len(self.groups.anchors):
            raise DeclarationError(
                f"a positive partner is another row of the same group; no group of {by!r} has two rows."
            )
        if has_negatives and self.groups.count < 2:
            raise DeclarationError(
                f"a negative partner is a row of another group; {by!r} has a single group with rows to "
                "take."
            )
        self._has_weights = data.structure.weights is not None
        self._singles = singles
        if negatives is not None and not callable(negatives):
            raise DeclarationError(
                f"negatives= is a function of rows and candidates; received {negatives!r}."
            )
        count = 1 if negatives is None else at_least("candidates", candidates, 1)
        self.partners = Partners(self.groups, negatives, count)
        if negatives is not None:
            self._try(negatives)

    def __len__(self) -> int:
        """Return the number of samples of an epoch: one for each row that can come first."""
        return len(self.groups.anchors)

    @property
    def options(self) -> dict[str, Any]:
        """All that decides which rows are drawn, besides the groups."""
        return {
            "kind": type(self).__name__,
            "by": self.by,
            "singles": self._singles,
            "negatives": self.partners.negatives,
            "candidates": self.partners.candidates,
        }

    @property
    def structure(self) -> Structure:
        """What stands where in a batch."""
        whole = self.data.structure
        inputs = _branched(whole.inputs, self.branches)
        targets: Names | None = None
        if whole.targets is not None:
            named = _branched(whole.targets, self.branches)
            own = {name: name for name in self._own_names}
            # Beside a target of ours, those of the rows are told by name.
            targets = own | {name: name for name in flat(named)} if own else named
        elif self._own_names:
            targets = self._own_names[0]
        weights: Names | None = None
        if self._has_weights and targets is not None:
            weights = pack(targets, {name: weight_name(name) for name in flat(targets)})
        return Structure(inputs, targets, weights)

    @property
    def spec(self) -> tuple[Any, ...]:
        """The `Spec` of each value of a sample, in the structure of a batch."""
        specs = _by_name(self.data)
        made = {f"{name}_{branch}": specs[name] for branch in self.branches for name in specs}
        return self.structure.pack(made | dict.fromkeys(self._own_names, ALIKE_SPEC) | self._ones)

    @property
    def fields(self) -> dict[str, Field]:
        """The fields by the names that they have in a batch."""
        found: dict[str, Field] = dict.fromkeys(self._own_names, _ALIKE)
        for branch in self.branches:
            for name, field in self.data.fields.items():
                if isinstance(field, Link):
                    field = replace(field, of=f"{field.of}_{branch}")
                found[f"{name}_{branch}"] = field
        return found

    @property
    def source(self) -> Rows:
        """The rows."""
        return self.data.source

    def keys(self, rows: Array) -> list[Any]:
        """Return for each sample of ``int64[n, k]`` rows a tuple of their keys, or row numbers."""
        return list(zip(*(self.data.keys(each) for each in rows.T), strict=True))

    def labels(self, name: str) -> tuple[Any, ...]:
        """Return the labels of a `Category`, in the order of their class numbers."""
        return _ALIKE.labels(None) if name in self._own_names else self.data.labels(self._origin(name))

    def learned(self, name: str) -> Learned | None:
        """Return what a field has learned; None if nothing."""
        return None if name in self._own_names else self.data.learned(self._origin(name))

    def restore(self, name: str, values: Array) -> Array:
        """Turn a field's values as a model predicts them back into the column's own units."""
        return values if name in self._own_names else self.data.restore(self._origin(name), values)

    def weighted(
        self, class_weight: ClassWeights | None = None, *, among: Array | None = None
    ) -> Tuples:
        """Return the same samples with a weight for every target; see `Dataset.weighted`."""
        weighted = copy(self)
        if self.data.structure.targets is not None:
            weighted.data = self.data.weighted(class_weight, among=among)
        elif class_weight is not None:
            raise DeclarationError(
                lines(
                    "class weights are of the dataset's own targets, and it has none.",
                    f"How many pairs are {SAME!r} is said by positive=.",
                )
            )
        weighted._has_weights = True
        return weighted

    def replaced(self, rows: Collection[int]) -> Tuples:
        """Return as many samples, where rows are replaced as by `Dataset.replaced`."""
        replaced = copy(self)
        replaced.data = self.data.replaced(rows)
        return replaced

    def plan(self, augment: Transform | Sequence[Transform] = ()) -> TuplePlan:
        """Return the samples compiled for reading; see `Dataset.plan`."""
        plan = self.data.plan(augment)
        if plan.augmentation is not None and plan.augmentation.mixings:
            raise DeclarationError(
                lines(
                    f"{type(self).__name__} are of one group or of two, which a mixture of samples is "
                    "not.",
                    "Leave MixUp and CutMix out.",
                )
            )
        codes = self.groups.codes if self._own_names else None
        return TuplePlan(plan, self.branches, self.structure, codes, list(self._ones))

    def slots(self, batch_size: int, *, shuffles: bool, drops: bool) -> Slots:
        """Return the slots of a pass: each row that can come first does so in one of them."""
        order, anchors = self.order(shuffles=shuffles), self.groups.anchors
        slots = Slots.of(order, len(self), batch_size, drops=drops, anchors=anchors)
        negatives = self.partners.negatives
        chooser = "" if negatives is None else _named(negatives)
        return replace(slots, told={"groups": self.groups.codes}, chooser=chooser)

    @abstractmethod
    def order(self, *, shuffles: bool) -> Order:
        """Return which rows stand in which slots, ``int64[n, k]``; it does not keep the dataset.

        Args:
            shuffles: Whether each epoch has another order, and other partners.
        """

    def _try(self, negatives: Negatives) -> None:
        """Tell now what a function of the user cannot do, not in the middle of an epoch."""
        order, count = self.order(shuffles=False), min(_TRIED, len(self))
        once = order(0, 0, 0, count)
        again = np.concatenate([order(0, 0, 0, count // 2), order(0, 0, count // 2, count)])
        others = int((once != again).any(1).sum())
        if others:
            raise DeclarationError(
                lines(
                    f"{_named(negatives)} must be a function of row numbers alone, slot by slot: asked "
                    f"again, for fewer slots at once, it chose other rows in {others} of {count}.",
                    IMPURE_REMEDY,
                )
            )

    @property
    def _own_names(self) -> tuple[str, ...]:
        """The targets that are not of the rows themselves."""
        return ()

    @property
    def _ones(self) -> dict[str, Spec]:
        """The weights that are 1: those of targets that are not of the rows themselves."""
        names = self._own_names if self._has_weights else ()
        return {weight_name(name): Spec((), "float32") for name in names}

    def _origin(self, name: str) -> str:
        """Return the field of the dataset that a name in a batch is of."""
        branch = next(each for each in self.branches if name.endswith(f"_{each}"))
        return name.removesuffix(f"_{branch}")


class Pairs(Tuples):
    """Pairs of samples, and whether the two are of one group: for siamese models.

    Every row that has another one in its group comes first in exactly one pair of an epoch. The second
    is drawn: another row of the group (a positive pair), or a row of another group (a negative one).
    Which pairs there are is a function of (seed, epoch, slot) alone: with ``shuffle=True`` every epoch
    has other ones, without it all have the same, so that two evaluations are of the same pairs.

    It goes where a dataset goes: into `Loader` and `Feed`, `inputs`, `check_model`, `show` and
    `predict`. Both rows are read by the same fields. Of an input ``photo`` a batch has ``photo_a`` and
    ``photo_b`` (without names: ``(a, b)``); the target is ``same``, int32: 1 for a positive pair, 0 for
    a negative one. If the dataset has targets, they come along in a dict: ``same``, ``kind_a``,
    ``kind_b``. Transforms name the dataset's fields and draw for each of the two rows on their own.

    Args:
        data: The dataset; adapt it first, if it learns.
        by: The column of groups: text or whole numbers, such as a person.
        positive: The share of positive pairs, above 0 and up to 1. Any run of slots, so each batch and
            each epoch, has its share to within one pair.
        singles: What becomes of rows that are alone in their group: ``"raise"``; ``"negative"``: they
            come second in negative pairs, never first; or ``"drop"``.
        negatives: A function that chooses the second row of negative pairs: of rows, ``int64[n, 1]``
            (those that come first), and candidates, ``int64[n, candidates]`` (drawn from other groups),
            it returns how good each candidate is, ``float[n, candidates]``; the best is taken. It must
            be a function of these row numbers alone, slot by slot, such as the distance in a table of
            embeddings that stays as it is: it is called in worker processes too, for up to 1,024 slots
            at once.
        candidates: How many it chooses from.

    Raises:
        DeclarationError: If groups have a single row and `singles` does not say what to do, there is but
            one group, or an argument is out of its range.

    Example:
        >>> import multifeed as mf
        >>> data = mf.Dataset(
        ...     {"x": [0.0, 0.1, 5.0, 5.1], "person": ["ann", "ann", "bob", "bob"]},
        ...     inputs={"x": mf.Numeric("x")},
        ... )
        >>> inputs, same = mf.Feed(Pairs(data, by="person"), batch_size=4).batch(0, 0)
        >>> list(inputs), same.tolist()
        (['x_a', 'x_b'], [1, 0, 1, 0])
        >>> [bool(far) for far in abs(inputs["x_a"] - inputs["x_b"]) > 1]
        [False, True, False, True]
    """

    branches = ("a", "b")

    def __init__(
        self,
        data: Dataset,
        by: str,
        *,
        positive: float = 0.5,
        singles: str = "raise",
        negatives: Negatives | None = None,
        candidates: int = 16,
    ) -> None:
        if not is_number(positive) or not 0 < positive <= 1:
            raise DeclarationError(
                f"positive is a share of the pairs, above 0 and up to 1; received {positive!r}."
            )
        self._positive = float(positive)
        super().__init__(
            data,
            by,
            singles=singles,
            negatives=negatives,
            candidates=candidates,
            has_negatives=positive < 1,
        )

    @property
    def options(self) -> dict[str, Any]:
        """All that decides which rows are drawn, besides the groups."""
        return {**super().options, "positive": self._positive}

    @property
    def _own_names(self) -> tuple[str, ...]:
        return (SAME,)

    def order(self, *, shuffles: bool) -> Order:
        """Return which rows stand in which slots, ``int64[n, 2]``."""
        partners, positive = self.partners, self._positive

        def pairs(anchors: Array, slots: Array, numbers: Array) -> Array:
            # As a line with this slope crosses whole numbers: at even distances.
            before, after = (np.floor(each * positive + 0.5) for each in (slots, slots + 1))
            same, other = np.flatnonzero(after > before), np.flatnonzero(after == before)
            rows = np.stack([anchors, anchors], 1)
            rows[same, 1] = partners.groups.mates(anchors[same], numbers[same, 0])
            rows[other, 1] = partners.negative(rows[other, :1], numbers[other, 1:])
            return rows

        return partners.order(pairs, shuffles=shuffles)


class Triplets(Tuples):
    """Triplets of samples: an anchor, another row of its group, and a row of another group.

    Every row that has another one in its group is the anchor of exactly one triplet of an epoch; the
    other two are drawn, as those of `Pairs` are. Of an input ``photo`` a batch has ``photo_anchor``,
    ``photo_positive`` and ``photo_negative`` (without names: a tuple of three). There is no target but
    those of the dataset, if it has any.

    Args:
        data: The dataset; adapt it first, if it learns.
        by: The column of groups: text or whole numbers, such as a person.
        singles: What becomes of rows that are alone in their group: ``"raise"``; ``"negative"``: they
            are only ever the negative; or ``"drop"``.
        negatives: A function that chooses the negative, as for `Pairs`; its rows are ``int64[n, 2]``,
            the anchors and the positives.
        candidates: How many it chooses from.

    Raises:
        DeclarationError: As for `Pairs`.

    Example:
        >>> import multifeed as mf
        >>> data = mf.Dataset(
        ...     {"x": [0.0, 0.1, 5.0, 5.1], "person": ["ann", "ann", "bob", "bob"]},
        ...     inputs={"x": mf.Numeric("x")},
        ... )
        >>> feed = mf.Feed(Triplets(data, by="person"), batch_size=4)
        >>> list(feed.batch(0, 0)[0]), feed.rows(0, 0).shape
        (['x_anchor', 'x_positive', 'x_negative'], (4, 3))
    """

    branches = ("anchor", "positive", "negative")

    def __init__(
        self,
        data: Dataset,
        by: str,
        *,
        singles: str = "raise",
        negatives: Negatives | None = None,
        candidates: int = 16,
    ) -> None:
        super().__init__(
            data,
            by,
            singles=singles,
            negatives=negatives,
            candidates=candidates,
            has_negatives=True,
        )

    def order(self, *, shuffles: bool) -> Order:
        """Return which rows stand in which slots, ``int64[n, 3]``."""
        partners = self.partners

        def triplets(anchors: Array, slots: Array, numbers: Array) -> Array:
            rows = np.stack([anchors, partners.groups.mates(anchors, numbers[:, 0])], 1)
            return np.column_stack([rows, partners.negative(rows, numbers[:, 1:])])

        return partners.order(triplets, shuffles=shuffles)


@dataclass(frozen=True)
class Groups:
    """Which rows belong together.

    Args:
        codes: ``int64[n]``, the group of each row.
        members: ``int64[m]``, the rows that may be drawn, group after group.
        first: ``int64[g]``, where in them each group begins.
        sizes: ``int64[g]``, how many of them each has.
        places: ``int64[n]``, where in them each row stands; -1 for rows that are left out.
        anchors: ``int64[a]``, the rows that have another one in their group.
    """

    codes: Array
    members: Array
    first: Array
    sizes: Array
    places: Array
    anchors: Array

    @classmethod
    def of(cls, codes: Array, *, leaves_out_singles: bool) -> Groups:
        """Return the groups that codes, ``int64[n]``, say."""
        sizes = np.bincount(codes)
        anchors = np.flatnonzero(sizes[codes] > 1)
        drawable = anchors if leaves_out_singles else np.arange(len(codes))
        members = drawable[np.argsort(codes[drawable], kind="stable")]
        sizes = np.bincount(codes[drawable], minlength=len(sizes))
        places = np.full(len(codes), -1, np.int64)
        places[members] = np.arange(len(members))
        return cls(codes, members, np.cumsum(sizes) - sizes, sizes, places, anchors)

    @property
    def count(self) -> int:
        """How many groups have rows that may be drawn."""
        return int((self.sizes > 0).sum())

    def singles(self, names: Sequence[Any]) -> list[Any]:
        """Return the names of the groups that have a single row."""
        return [names[code] for code in np.flatnonzero(np.bincount(self.codes) == 1).tolist()]

    def mates(self, rows: Array, numbers: Array) -> Array:
        """Return another row of the group of each, ``int64[n]``; numbers, ``float64[n]``, say which."""
        code = self.codes[rows]
        first, size = self.first[code], self.sizes[code]
        # Below size - 1, since the numbers are at most 1 - 2^-53.
        step = 1 + np.floor(numbers * (size - 1)).astype(np.int64)
        found: Array = self.members[first + (self.places[rows] - first + step) % size]
        return found

    def others(self, rows: Array, numbers: Array) -> Array:
        """Return rows of other groups for each, ``int64[n, c]``; ``float64[n, c]`` numbers say which."""
        code = self.codes[rows]
        first, size = self.first[code][:, None], self.sizes[code][:, None]
        place = np.floor(numbers * (len(self.members) - size)).astype(np.int64)
        # The members of all groups but its own: its own are stepped over.
        found: Array = self.members[place + np.where(place >= first, size, 0)]
        return found


@dataclass(frozen=True)
class Partners:
    """Draws the rows that are put together.

    Args:
        groups: The groups.
        negatives: Says how good candidates are as negatives; None if there is nothing to choose.
        candidates: How many rows of other groups it chooses from.
    """

    groups: Groups
    negatives: Negatives | None
    candidates: int

    def order(self, draw: Callable[[Array, Array, Array], Array], *, shuffles: bool) -> Order:
        """Return an order in which every anchor comes first in one slot.

        Args:
            draw: Function of anchors, ``int64[n]``, of the numbers of their slots, ``int64[n]``, and of
                random numbers, ``float64[n, 1 + candidates]`` from 0 to below 1; it returns the rows of
                the slots, ``int64[n, k]``.
            shuffles: Whether each epoch has another order, and other partners.
        """
        anchors = self.groups.anchors
        places = (shuffled if shuffles else sequential)(len(anchors))
        count = 1 + self.candidates

        def rows(seed: int, epoch: int, start: int, stop: int) -> Array:
            epoch = epoch if shuffles else 0
            numbers = uniforms(seed, epoch, _PARTNERS, start, stop, count)
            return draw(anchors[places(seed, epoch, start, stop)], np.arange(start, stop), numbers)

        return rows

    def negative(self, rows: Array, numbers: Array) -> Array:
        """Return a row of another group for each slot, ``int64[n]``.

        Args:
            rows: ``int64[n, j]``, those chosen so far; the first is the anchor.
            numbers: ``float64[n, candidates]``.
        """
        candidates = self.groups.others(rows[:, 0], numbers)
        if self.negatives is None:
            first: Array = candidates[:, 0]
            return first
        found = np.empty(len(rows), np.int64)
        for start in range(0, len(rows), _AT_ONCE):
            here = slice(start, start + _AT_ONCE)
            best = _best(self.negatives, rows[here], candidates[here])
            found[here] = np.take_along_axis(candidates[here], best[:, None], 1)[:, 0]
        return found


def _by_name(data: Dataset) -> Mapping[str, Spec]:
    return data.structure.unpack(data.spec)


def _branched(names: Names, branches: Sequence[str]) -> Names:
    """Return a structure in which each name comes once for each branch."""
    if isinstance(names, dict):
        return {
            f"{label}_{branch}": f"{name}_{branch}"
            for branch in branches
            for label, name in names.items()
        }
    return tuple(f"{name}_{branch}" for branch in branches for name in flat(names))


def _best(negatives: Negatives, rows: Array, candidates: Array) -> Array:
    """Return which candidate of each slot a function of the user finds best, ``int64[n]``."""
    try:
        found = np.asarray(negatives(rows, candidates))
    except Exception as error:
        raise DeclarationError(
            lines(
                f"{_named(negatives)} raised {type(error).__name__}: {first_line(error)}.",
                f"It was given rows of shape {rows.shape} and candidates of shape {candidates.shape}, "
                f"row numbers up to {max(rows.max(), candidates.max()):,}, and must accept all of the "
                "dataset.",
                "The exception above is the original.",
            )
        ) from error
    if found.shape != candidates.shape or found.dtype.kind not in "biuf" or np.isnan(found).any():
        is_nan = found.shape == candidates.shape and found.dtype.kind == "f"
        received = "NaN" if is_nan else f"{found.dtype} of shape {found.shape}"
        raise DeclarationError(
            lines(
                f"{_named(negatives)} must return how good each candidate is: a number for each, of "
                f"shape {candidates.shape}.",
                f"Received: {received}.",
            )
        )
    best: Array = found.argmax(1)
    return best


def _named(negatives: Negatives) -> str:
    """Say in a message whose function it is that cannot do what it should."""
    return f"your function {name_of(negatives)!r}, given as negatives=,"
