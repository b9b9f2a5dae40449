"""Buckets: batches of samples of similar length, each no longer than it has to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from multifeed.batch import allocate
from multifeed.dataset import Dataset
from multifeed.errors import DeclarationError, lines, near, some
from multifeed.fields.base import Field
from multifeed.fields.mask import Mask
from multifeed.fields.numeric import check_numbers, numbers
from multifeed.fields.same import Same
from multifeed.fields.shared import whole_number
from multifeed.meter import Meter
from multifeed.order import permuted
from multifeed.policy import Policy
from multifeed.receipt import receipt_of_all
from multifeed.slots import Slots
from multifeed.spot import Spot
from multifeed.workers.cpus import usable_cpus

Array = np.ndarray[Any, Any]

# A padded field, several of them, a column of lengths, or such columns by field.
BucketBy = str | Sequence[str] | Mapping[str, str]

# How many buckets there are unless it is said, and what a task of reading lengths takes at most.
_BUCKETS = 4
_ROWS, _BYTES = 1_024, 4 * 2**20

# Lengths that were read, by the names of fields, with what had been learned then.
_measured: WeakKeyDictionary[Dataset, dict[tuple[str, ...], tuple[object, Array]]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Layout:
    """Which rows are in which batches: a batch is of one bucket.

    Batches are numbered from 0 on: full ones, bucket by bucket, and after them the rest of each bucket.

    Args:
        batch_size: Samples a batch; also how many slots each has, of which the rest of a bucket fills
            the first ones.
        members: ``int64[n]``, the rows, bucket after bucket.
        counts: ``int64[b]``, how many each has.
        buckets: ``int64[m]``, of which bucket each batch is.
        places: ``int64[m]``, the how many-th of that bucket it is.
        served: How many batches a pass has: all, or the full ones.
        shuffles: Whether each pass has them, and the rows of each bucket, in another order.
    """

    batch_size: int
    members: Array
    counts: Array
    buckets: Array
    places: Array
    served: int
    shuffles: bool

    @classmethod
    def of(cls, bucket: Array, count: int, batch_size: int, *, shuffles: bool, drops: bool) -> Layout:
        """Return the layout of rows that are each in a bucket, ``int64[n]``, of `count` buckets."""
        counts = np.bincount(bucket, minlength=count)
        full, rest = counts // batch_size, np.flatnonzero(counts % batch_size)
        within = np.arange(full.sum()) - np.repeat(np.cumsum(full) - full, full)
        return cls(
            batch_size,
            np.argsort(bucket, kind="stable"),
            counts,
            np.concatenate([np.repeat(np.arange(count), full), rest]),
            np.concatenate([within, full[rest]]),
            len(within) + (0 if drops else len(rest)),
            shuffles,
        )

    @property
    def samples(self) -> int:
        """How many samples a pass serves."""
        return int(self.sizes.sum())

    @property
    def sizes(self) -> Array:
        """How many samples each batch has, ``int64[served]``."""
        return self._sizes(np.arange(self.served))

    def _sizes(self, batches: Array) -> Array:
        buckets, places = self.buckets[batches], self.places[batches]
        found: Array = np.minimum(self.counts[buckets] - places * self.batch_size, self.batch_size)
        return found

    def sizes_of(self, seed: int, epoch: int, steps: Array) -> Array:
        """Return how many samples each of some batches of a pass has, ``int64[n]``."""
        return self._sizes(self._batches(seed, epoch, steps))

    def buckets_of(self, seed: int, epoch: int, steps: Array) -> Array:
        """Return the bucket of each of some batches of a pass, ``int64[n]``."""
        found: Array = self.buckets[self._batches(seed, epoch, steps)]
        return found

    def rows(self, seed: int, epoch: int, start: int, stop: int) -> Array:
        """Return the rows of slots, ``int64[n]``; the rest of a bucket leaves some empty."""
        steps, within = np.divmod(np.arange(start, stop), self.batch_size)
        batch = self._batches(seed, epoch, steps)
        bucket, at = self.buckets[batch], self.places[batch] * self.batch_size + within
        exists = at < self.counts[bucket]
        bucket, at = bucket[exists], at[exists]
        if self.shuffles:
            for each in np.unique(bucket).tolist():
                here = bucket == each
                # Stream 1 is that of the batches.
                at[here] = permuted(at[here], int(self.counts[each]), seed, epoch, 2 + each)
        first = np.cumsum(self.counts) - self.counts
        found: Array = self.members[first[bucket] + at]
        return found

    def _batches(self, seed: int, epoch: int, steps: Array) -> Array:
        """Return which batches are served at some steps of a pass; those left out stand behind it."""
        return _order(len(self.buckets), self.served, seed, epoch)[steps] if self.shuffles else steps


# Each batch of a pass asks, several times; two passes may be under way, of a few loaders.
@lru_cache(maxsize=8)
def _order(count: int, served: int, seed: int, epoch: int) -> Array:
    """Return which of so many batches is served at each step; those left out stand behind."""
    steps = np.arange(count)
    steps[:served] = permuted(steps[:served], served, seed, epoch, 1)
    steps.flags.writeable = False
    return steps


@dataclass(frozen=True)
class Buckets(Slots):
    """Slots of batches that are of one bucket each.

    Args:
        layout: Which rows are in which batches.
        boundaries: ``int64[b]``, how long a batch of each bucket is.
    """

    layout: Layout = field(kw_only=True)
    boundaries: Array = field(kw_only=True)

    def sizes(self, batch_size: int) -> frozenset[int]:
        """Return how many samples batches have, the rest of each bucket included."""
        return frozenset(np.unique(self.layout.sizes).tolist())

    def counts(self, seed: int, epoch: int, steps: Array, batch_size: int) -> Array:
        """Return how many samples the batches of some steps of a pass have, ``int64[n]``."""
        return self.layout.sizes_of(seed, epoch, steps)

    def lengths(self, seed: int, epoch: int, steps: Array) -> Array:
        """Return how long the batches of some steps of a pass are, ``int64[n]``."""
        found: Array = self.boundaries[self.layout.buckets_of(seed, epoch, steps)]
        return found


def bucketed(
    data: Dataset,
    bucket_by: BucketBy,
    buckets: int | Sequence[int] | None,
    batch_size: int,
    *,
    shuffles: bool,
    drops: bool,
    on_error: str,
) -> Buckets:
    """Return the slots of passes whose batches are of samples of similar length.

    Args:
        data: The samples.
        bucket_by: What tells their lengths.
        buckets: How many buckets there are, or how long the samples of each are at most.
        batch_size: Samples a batch.
        shuffles: Whether each pass has another order.
        drops: Whether the smaller last batch of each bucket is left out.
        on_error: What becomes of samples that cannot be used; where they are borne, they are taken for
            short ones.

    Raises:
        DeclarationError: If there is no such field or column, samples have no bucket, or no batch would
            be left.
        SampleError: If a sample cannot be read.
    """
    names, columns = _asked(data, bucket_by)
    longest = max(_padded(data, name) for name in names)
    lengths = _told(data, columns) if columns else lengths_of(data, names, on_error)
    # What a field cuts off is not in the batch.
    lengths = np.minimum(lengths, longest)
    boundaries = _boundaries(buckets, lengths, longest, names)
    bucket = np.searchsorted(boundaries, lengths)
    layout = Layout.of(bucket, len(boundaries), batch_size, shuffles=shuffles, drops=drops)
    if not layout.served:
        raise DeclarationError(
            lines(
                f"an epoch has at least one batch: no bucket has batch_size={batch_size:,} samples, and "
                "remainder='drop' drops the rest of each.",
                "Pass a smaller batch_size, fewer buckets, or remainder='keep'.",
            )
        )
    return Buckets(
        layout.rows,
        layout.samples,
        layout.served * batch_size,
        len(layout.buckets) * batch_size,
        receipt_of_all(len(data)),
        {"lengths": bucket, "boundaries": boundaries},
        _accounting(names, lengths, boundaries, layout),
        _cuts(data, names),
        dict.fromkeys(names, boundaries[bucket]),
        layout=layout,
        boundaries=boundaries,
    )


def lengths_of(data: Dataset, names: Sequence[str], on_error: str = "raise") -> Array:
    """Return how many items of each sample are no padding, ``int64[n]``: the most of some padded fields.

    Each sample is read, once for each dataset and what it has learned.

    Args:
        data: The samples.
        names: The fields.
        on_error: What becomes of samples that cannot be used; those that are borne have the length 0.

    Raises:
        SampleError: If a sample cannot be used, and that is not to be borne.
    """
    known = _measured.setdefault(data, {})
    learned, found = known.get(tuple(names), (None, None))
    if found is None or learned is not data.family.learned:
        found = _read_lengths(data, names, Policy(on_error))
        known[tuple(names)] = data.family.learned, found
    return found


def _read_lengths(data: Dataset, names: Sequence[str], policy: Policy) -> Array:
    masks = {f"mask of {name}": Mask(name).linked(data.fields[name]) for name in names}
    fields: dict[str, Field] = {name: data.fields[name] for name in names}
    plan = data.plan_of(fields | masks)
    found = np.zeros(len(data), np.int64)

    def read(start: int) -> None:
        rows = np.arange(start, min(start + size, len(data)))
        out, meter = allocate(len(rows), plan.specs), Meter(plan.specs)

        def fill(first: int, last: int) -> None:
            plan.fill_columns(rows, out, first, last, meter)
            plan.fill_samples(rows, out, first, last, meter, None, Spot())

        bad = policy.fill(fill, rows, 0, len(rows))
        found[rows] = np.max([out[mask].sum(1) for mask in masks], axis=0)
        found[rows[list(bad)]] = 0

    size = max(1, min(_ROWS, _BYTES // max(1, plan.row_bytes)))
    with ThreadPoolExecutor(usable_cpus()) as threads:
        list(threads.map(read, range(0, len(data), size)))
    return found


def _asked(data: Dataset, bucket_by: object) -> tuple[list[str], list[str]]:
    """Return the fields that are cut, and the columns of their lengths, if these are not to be read."""
    if isinstance(bucket_by, Mapping) and bucket_by:
        columns = list(bucket_by.values())
        if all(isinstance(each, str) for each in (*bucket_by, *columns)):
            return list(bucket_by), columns
    if isinstance(bucket_by, str):
        declared = data.fields.get(bucket_by)
        if declared is not None and declared.pads is not None:
            return [bucket_by], []
        return [_only_padded(data, bucket_by)], [bucket_by]
    if (
        isinstance(bucket_by, Sequence)
        and bucket_by
        and all(isinstance(each, str) for each in bucket_by)
    ):
        return list(bucket_by), []
    raise DeclarationError(
        lines(
            "bucket_by names a padded field, several of them, or the column of each one's lengths.",
            f"Received: {bucket_by!r}.",
            'Write bucket_by="notes", or bucket_by={"notes": "n_words"}.',
        )
    )


def _only_padded(data: Dataset, column: str) -> str:
    """Return the field whose lengths a column tells, where none is named: the only one that pads."""
    padded = [name for name, each in data.fields.items() if each.pads is not None]
    if column not in data.source.columns:
        raise DeclarationError(
            lines(
                f"bucket_by names a padded field, or a column of lengths; there is no {column!r}.",
                near(column, {*padded, *data.source.columns.names}),
            )
        )
    if len(padded) == 1:
        return padded[0]
    what = f"{len(padded)} fields that pad: {some(padded)}" if padded else "no field that pads"
    raise DeclarationError(
        lines(
            f"bucket_by={column!r} is a column of lengths, and the dataset has {what}.",
            f"Say whose lengths they are: bucket_by={{{padded[0]!r}: {column!r}}}."
            if padded
            else "Declare a Text, or an Array with pad_to=<length>.",
        )
    )


def _padded(data: Dataset, name: str) -> int:
    """Return the length that a field pads to."""
    declared = data.fields.get(name)
    if declared is None:
        raise DeclarationError(
            lines(f"bucket_by names no field of the dataset: {name!r}.", near(name, data.fields))
        )
    if declared.pads is None:
        raise DeclarationError(
            lines(
                f"bucket_by names fields that pad; {name!r} ({type(declared).__name__}) does not.",
                "Name a Text, or an Array with pad_to=<length>.",
            )
        )
    length, _ = declared.pads
    shape = data.structure.unpack(data.spec)[name].shape
    if shape[:1] != (length,):
        raise DeclarationError(
            lines(
                f"a bucket cuts padding off, and preprocess makes {shape} of the {length:,} items of "
                f"{name!r}.",
                "Leave the first axis as it is in preprocess.",
            )
        )
    return length


def _told(data: Dataset, columns: Sequence[str]) -> Array:
    """Return the lengths that columns tell, ``int64[n]``: the most of them."""
    for name in columns:
        check_numbers(name, data.source.columns, "a column of lengths")
    told = np.max([numbers(data.source, name) for name in columns], axis=0)
    wrong = np.flatnonzero(~(told >= 0) | (told != np.floor(told)))
    if wrong.size:
        row = int(wrong[0])
        raise DeclarationError(
            f"lengths are whole numbers of 0 or more; {some(columns)} has {told[row]} in row {row}."
        )
    # What is beyond any field's length is cut to that.
    lengths: Array = np.minimum(told, 2**31).astype(np.int64)
    return lengths


def _boundaries(
    buckets: int | Sequence[int] | None, lengths: Array, longest: int, names: Sequence[str]
) -> Array:
    """Return how long the samples of each bucket are at most, ``int64[b]``, ascending."""
    count = whole_number(_BUCKETS if buckets is None else buckets)
    if count is not None and count > 0:
        # Each of as many samples; the last is as long as the longest.
        ends = -(-np.arange(1, count + 1) * len(lengths) // count) - 1
        return np.unique(np.maximum(np.sort(lengths)[ends], 1))
    is_list = isinstance(buckets, Sequence | np.ndarray) and not isinstance(buckets, str)
    given = [whole_number(each) for each in buckets] if is_list else []  # type: ignore[union-attr]
    found = np.array([each or 0 for each in given], np.int64)
    if not len(found) or found[0] < 1 or (np.diff(found) < 1).any():
        raise DeclarationError(
            lines(
                "buckets is how many there are, or a list of lengths, from short to long.",
                f"Received: {buckets!r}.",
                f"Write buckets=4, or e.g. buckets={[max(1, longest // 4), longest]}.",
            )
        )
    if found[-1] > longest:
        raise DeclarationError(
            f"a bucket is no longer than its field: {some(names)} has a length of {longest:,}; received "
            f"buckets={found.tolist()}."
        )
    beyond = lengths > found[-1]
    if beyond.any():
        raise DeclarationError(
            lines(
                f"every sample has a bucket: {beyond.sum():,} of {len(lengths):,} are longer than the "
                f"last boundary, {found[-1]:,}; the longest has {lengths.max():,} items.",
                f"Pass buckets={[*found.tolist(), int(lengths.max())]}, or declare {some(names)} with a "
                "smaller length.",
            )
        )
    return found


def _cuts(data: Dataset, names: Sequence[str]) -> dict[str, str]:
    """Return the names of a batch that are cut, with the end that their padding stands at."""
    ends = {name: padding[1] for name in names if (padding := data.fields[name].pads) is not None}
    for name, each in data.fields.items():
        if isinstance(each, Mask | Same) and each.of in names:
            ends[name] = ends[each.of]
    return ends


def _accounting(
    names: Sequence[str], lengths: Array, boundaries: Array, layout: Layout
) -> tuple[str, ...]:
    batches = np.bincount(layout.buckets[: layout.served], minlength=len(boundaries))
    listed = [
        f"  up to {boundary:,} items: {count:,} samples, {number:,} batches"
        for boundary, count, number in zip(boundaries, layout.counts, batches, strict=True)
        if count
    ]
    items = max(1, int((layout.counts * boundaries).sum()))
    padding = 1 - lengths.sum() / items
    one = 1 - lengths.sum() / (len(lengths) * max(1, int(boundaries[-1])))
    return (
        f"batches by the length of {some(names)}:",
        *listed,
        f"  {padding:.0%} of their items are padding; of one length, {one:.0%} would be",
    )
