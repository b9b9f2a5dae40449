"""Which rows go to which part of a split. Pure NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from multifeed.order import shuffled

Array = np.ndarray[Any, Any]


def split_rows(fractions: Array, groups: Array | None, classes: Array, seed: int) -> list[Array]:
    """Deal rows out to parts, so that each part has its fraction of each class.

    Without groups, each part gets its share of each class to within one row. With groups, all rows of a
    group go to one part; the largest groups are dealt first, each to the part that lacks its classes
    most, so that what remains uneven is of the size of the smallest groups.

    Args:
        fractions: ``float[p]``, the share of each part; their sum is 1.
        groups: ``int[n]``, the group of each row, or None if each row stands alone.
        classes: ``int[n]``, the class of each row; zeros where there is none.
        seed: Which of the many such splits.

    Returns:
        The row numbers of each part, ascending.
    """
    if groups is None or len(np.unique(groups)) == len(groups):
        part = _deal_rows(fractions, classes, seed)
    else:
        part = _deal_groups(fractions, groups, classes, seed)[groups]
    return [np.flatnonzero(part == number) for number in range(len(fractions))]


def _deal_rows(fractions: Array, classes: Array, seed: int) -> Array:
    count = len(classes)
    part = np.empty(count, np.int64)
    order = shuffled(count)(seed, 0, 0, count)
    debt = np.zeros(len(fractions))
    # Stable, so that the rows of a class stay in shuffled order.
    by_class = order[np.argsort(classes[order], kind="stable")]
    sizes = np.bincount(classes)
    for members in np.split(by_class, np.cumsum(sizes)[:-1]):
        shares, debt = _round_shares(len(members) * fractions, debt)
        part[members] = np.repeat(np.arange(len(fractions)), shares)
    return part


def _round_shares(ideal: Array, debt: Array) -> tuple[Array, Array]:
    """Round shares to whole numbers of the same sum, each up or down by less than one.

    What rounding owes to a part is carried from class to class as `debt`, so that the parts as a whole
    come out right as well.
    """
    # A hair is added, so that 0.1 + 0.2 of 10 rows counts as the 3 it is meant to be.
    shares = np.floor(ideal + 1e-9).astype(np.int64)
    left = round(float(ideal.sum())) - int(shares.sum())
    fraction = ideal - shares
    # A part whose share is whole already gets no more: it would be off by one.
    wish = np.where(fraction > 1e-9, fraction + debt, -np.inf)
    shares[np.argsort(-wish, kind="stable")[:left]] += 1
    return shares, debt + ideal - shares


def _deal_groups(fractions: Array, groups: Array, classes: Array, seed: int) -> Array:
    """Return the part of each group."""
    group_count = int(groups.max()) + 1
    class_count = int(classes.max()) + 1
    held = np.zeros((group_count, class_count))
    np.add.at(held, (groups, classes), 1)
    totals = held.sum(axis=0)
    # A row counts for more where its class is rare: all classes weigh the same.
    weight = 1.0 / totals
    lacking = fractions[:, None] * totals
    part = np.empty(group_count, np.int64)
    # Shuffled first, so that the seed decides among groups of one size.
    order = shuffled(group_count)(seed, 0, 0, group_count)
    for group in order[np.argsort(-held[order].sum(axis=1), kind="stable")]:
        rows = held[group]
        # The squared imbalance changes by rows * (rows - 2 * lacking): the part where it falls most.
        change = ((rows * (rows - 2 * lacking)) * weight).sum(axis=1)
        chosen = int(np.argmin(change))
        lacking[chosen] -= rows
        part[group] = chosen
    return part
