"""Balance: passes in which rows come as often as is asked for, by class or by weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from multifeed.dataset import Dataset
from multifeed.errors import DeclarationError, lines, near, some
from multifeed.fields.shared import is_number
from multifeed.fields.weight import Weight
from multifeed.order import drawn, shuffled
from multifeed.slots import Slots
from multifeed.structure import check_field

Array = np.ndarray[Any, Any]

# A column; or, by column, the share of each of its values.
Balance = str | Mapping[str, Mapping[Any, float]]

# How many classes a report lists.
_LISTED = 10


def balanced(data: Dataset, balance: Balance, batch_size: int, *, drops: bool) -> Slots:
    """Return the slots of passes that have their share of each class.

    Args:
        data: The samples.
        balance: A column whose values come equally often; or a dict of one column with a dict of shares.
        batch_size: Samples a batch.
        drops: Whether a smaller last batch is left out.

    Raises:
        DeclarationError: If the column or a share cannot be.
    """
    name, given = _asked(balance)
    codes, labels = data.codes(name, "balance")
    counts = np.bincount(codes, minlength=len(labels))
    shares = (counts > 0).astype(np.float64) if given is None else _shares(name, given, labels, counts)
    shares /= shares.sum()
    rows, edges = _by_class(codes, counts, shares)
    quotas = len(data) * shares / np.maximum(counts, 1)
    listed = [
        f"{label!r}: {_each(counts[code], quotas[code])}"
        for code, label in sorted(enumerate(labels), key=lambda each: -quotas[each[0]])
        if counts[code]
    ]
    more = [f"and {len(listed) - _LISTED:,} more"] if len(listed) > _LISTED else []
    accounting = (
        f"an epoch draws {len(data):,} samples by {name!r}:",
        *(f"  {line}" for line in (*listed[:_LISTED], *more)),
    )
    return _drawn(rows, edges, batch_size, accounting, drops=drops)


def in_proportion(data: Dataset, column: str, batch_size: int, *, drops: bool) -> Slots:
    """Return the slots of passes in which each row comes in proportion to a column.

    Args:
        data: The samples.
        column: Its name.
        batch_size: Samples a batch.
        drops: Whether a smaller last batch is left out.

    Raises:
        DeclarationError: If there is no such column, or all of it is 0.
        SampleError: If a value is negative, or no number.
    """
    if not isinstance(column, str):
        raise DeclarationError(
            lines(
                f"sampling is a column of weights; received {column!r}.",
                "For shares of classes, pass balance={column: {label: share}}.",
            )
        )
    field = Weight(column)
    check_field(column, field, data.source.columns)
    weights = np.empty(len(data), np.float32)
    data.base_of(data.source, column, field).reader.gather(np.arange(len(data)), weights)  # type: ignore[union-attr]
    if not weights.any():
        raise DeclarationError(
            f"samples are drawn in proportion to {column!r}, which is 0 in every row."
        )
    # Rows that stand together may be alike: the shares lie in an order that has nothing to do with it.
    rows = shuffled(len(data))(0, 0, 0, len(data))
    ends = np.cumsum(weights[rows], dtype=np.float64)
    # Behind the last share is none, however the division rounds.
    edges = np.where(ends == ends[-1], len(data), ends * (len(data) / ends[-1]))
    quotas = len(data) * weights.astype(np.float64) / ends[-1]
    often, seldom = quotas.max(), quotas[quotas > 0].min()
    never = int((quotas == 0).sum())
    accounting = (
        f"an epoch draws {len(data):,} samples by {column!r}: each {seldom:.3g} to {often:.3g} times on "
        f"average" + (f", {never:,} never" if never else ""),
    )
    return _drawn(rows, edges, batch_size, accounting, drops=drops)


def _drawn(
    rows: Array, edges: Array, batch_size: int, accounting: tuple[str, ...], *, drops: bool
) -> Slots:
    count = len(rows)
    served = count - (count % batch_size if drops else 0)
    told = {"rows drawn": rows, "shares drawn": edges}
    return Slots(drawn(rows, edges), served, served, count, None, told, accounting)


def _asked(balance: object) -> tuple[str, Mapping[Any, float] | None]:
    """Return the column, and the share of each of its values if they are given."""
    if isinstance(balance, str):
        return balance, None
    if isinstance(balance, Mapping) and len(balance) == 1:
        name, given = next(iter(balance.items()))
        if isinstance(name, str) and isinstance(given, Mapping):
            return name, given
    raise DeclarationError(
        lines(
            "balance is a column whose values come equally often, or a dict of one column with the "
            "share of each value.",
            f"Received: {balance!r}.",
            'Write balance="kind", or balance={"kind": {"a": 3, "b": 1}}.',
        )
    )


def _shares(name: str, given: Mapping[Any, float], labels: list[Any], counts: Array) -> Array:
    """Return the share of each label, as it is given."""
    occurring = [label for label, count in zip(labels, counts, strict=True) if count]
    for label, share in given.items():
        if label not in occurring:
            raise DeclarationError(
                lines(
                    f"balance of {name!r} names a value that no sample has: {label!r}.",
                    near(str(label), map(str, occurring)),
                )
            )
        if not is_number(share) or not np.isfinite(share) or share < 0:
            raise DeclarationError(
                f"the share of a value is a finite number of 0 or more; balance of {name!r} has "
                f"{share!r} for {label!r}."
            )
    lacking = [label for label in occurring if label not in given]
    if lacking:
        raise DeclarationError(
            lines(
                f"balance of {name!r} says for each value how often it comes; it lacks {some(lacking)}.",
                "A value with the share 0 never comes.",
            )
        )
    if not any(given.values()):
        raise DeclarationError(f"a value has a share above 0; balance of {name!r} has none.")
    return np.array([float(given.get(label, 0.0)) for label in labels])


def _by_class(codes: Array, counts: Array, shares: Array) -> tuple[Array, Array]:
    """Return the rows, class after class, and where on the line of an epoch the share of each ends.

    The edges are not added up, which would round a million times: each is as exact as a number can be.
    """
    count = len(codes)
    # Rows that stand together may be alike: within a class their order has nothing to do with that.
    rows = shuffled(count)(0, 0, 0, count)
    rows = rows[np.argsort(codes[rows], kind="stable")]
    code = codes[rows]
    ends = count * np.cumsum(shares)
    ends[np.flatnonzero(shares)[-1] :] = count
    starts = np.concatenate([[0.0], ends[:-1]])
    first = np.cumsum(counts) - counts
    # 1 for the last of each class.
    within = (np.arange(1, count + 1) - first[code]) / counts[code]
    edges = starts[code] + (ends - starts)[code] * within
    last = within == 1
    edges[last] = ends[code][last]
    return rows, edges


def _each(count: int, quota: float) -> str:
    """Say how often each of the samples of a class comes."""
    times = "never" if not quota else f"each {np.floor(quota):.0f} to {np.ceil(quota):.0f} times"
    whole = f"each {quota:.0f} times" if quota and quota == np.floor(quota) else times
    average = f", {quota:.3g} on average" if whole == times and quota else ""
    return f"{count:,} samples, {whole}{average}"
