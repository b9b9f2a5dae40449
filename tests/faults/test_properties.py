"""Whatever keys, groups and classes a table has: nothing is mixed up, lost or on two sides.

Rows 28 and 29 of the table of faults. Oracle: plain sets and dicts. See also `test_align`, `test_order`
and `test_split`, which hold joins, orders and shares of classes against the same.
"""

from __future__ import annotations

import csv
import random as randoms
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import multifeed as mf

# What file systems, CSV, patterns and terminals each have a meaning for.
NAMES = st.text("ab01é世'\"{}[]*?,;:|&$%~-_ \\\t\n\x1b\u202e", min_size=1, max_size=6)


@settings(deadline=None, max_examples=60)
@given(st.lists(NAMES, min_size=1, max_size=12, unique=True), st.randoms(use_true_random=False))
def test_files_and_tables_are_joined_by_key_alone(keys: list[str], random: randoms.Random) -> None:
    """Row 29: every key is there once, with its own file, its own line and its own number."""

    def shuffled() -> list[str]:
        return random.sample(keys, len(keys))

    with tempfile.TemporaryDirectory() as folder:
        for key in keys:
            np.save(Path(folder, f"of {key}.npy"), np.array([keys.index(key)], np.float32))
        with Path(folder, "table.csv").open("w", newline="") as file:
            table = csv.writer(file, quoting=csv.QUOTE_ALL)
            table.writerow(["id", "line"])
            table.writerows([key, keys.index(key)] for key in shuffled())
        order = shuffled()
        rows = mf.align(
            "id",
            memory={"id": order, "number": [keys.index(key) for key in order]},
            file=f"{folder}/of {{id}}.npy",
            table=f"{folder}/table.csv",
        )
        assert rows["id"].to_pylist() == order
        numbers = [keys.index(key) for key in order]
        assert rows["number"].to_pylist() == rows["line"].to_pylist() == numbers
        data = mf.Dataset(rows, key="id", inputs={"x": mf.Array("file", (1,))})
        assert [int(data[row][0]["x"][0]) for row in range(len(data))] == numbers


@settings(deadline=None, max_examples=100)
@given(
    rows=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), min_size=40, max_size=120),
    fractions=st.sampled_from([(0.8, 0.2), (0.5, 0.5), (0.6, 0.2, 0.2)]),
    seed=st.integers(0, 10**6),
    stratified=st.booleans(),
)
def test_parts_are_disjoint_and_cover_all(
    rows: list[tuple[int, int]], fractions: tuple[float, ...], seed: int, stratified: bool
) -> None:
    """Every row is in one part, every group on one side, with classes or without; and so with folds."""
    # A group for each part at the least.
    rows = [*rows, *((100 + number, 0) for number in range(30))]
    table = {
        "n": list(range(len(rows))),
        "who": [f"p{group}" for group, _ in rows],
        "what": [label for _, label in rows],
    }
    data = mf.Dataset(table, inputs=mf.Numeric("n"))
    stratify = "what" if stratified else None

    def numbers(part: mf.Dataset) -> list[int]:
        return list(part.rows["n"].to_pylist())

    sides = [data.split(*fractions, by="who", stratify=stratify, seed=seed)]
    sides += data.folds(3, by="who", stratify=stratify, seed=seed)
    for parts in sides:
        assert sorted(number for part in parts for number in numbers(part)) == table["n"]
        groups = [{table["who"][number] for number in numbers(part)} for part in parts]
        assert sum(map(len, groups)) == len(set().union(*groups))
    held_out = [number for _, part in sides[1:] for number in numbers(part)]
    assert sorted(held_out) == table["n"]
