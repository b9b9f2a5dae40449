"""What choosing rows costs: pairs, balanced classes and buckets, beside the same rows as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from job import BATCH_SIZE, WORKERS, Batch, Epoch, Job, Limit
from pyarrow import feather

_LONGEST, _GROUP = 128, 20  # items of a sequence; rows of a group


def write(folder: Path, samples: int) -> None:
    """Write sequences of many lengths, with their lengths, groups and an uneven class."""
    random = np.random.default_rng(0)
    lengths = random.geometric(0.03, samples).clip(1, _LONGEST)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    items = random.integers(1, 1_000, offsets[-1]).astype(np.int32)
    items[offsets[:-1]] = np.arange(samples)
    table = pa.table(
        {
            "tokens": pa.ListArray.from_arrays(offsets, items),
            "length": lengths,
            "group": np.arange(samples) // _GROUP,
            "kind": (random.random(samples) < 0.05).astype(np.int64),
        }
    )
    feather.write_feather(table, folder / "rows.arrow", compression="uncompressed")


def declare(folder: Path) -> Any:
    """Return the dataset; the first item of a sequence is its row number."""
    import multifeed as mf

    rows = feather.read_table(folder / "rows.arrow")
    return mf.Dataset(rows, inputs={"tokens": mf.Array("tokens", pad_to=_LONGEST)})


def of_pairs(data: Any) -> Any:
    """Return pairs of rows of one group or of two."""
    import multifeed as mf

    return mf.Pairs(data, by="group")


def of_rows(data: Any) -> Any:
    """Return the rows themselves."""
    return data


def feed(
    options: dict[str, Any], made: Callable[[Any], Any], batch_size: int, folder: Path, samples: int
) -> Epoch:
    """Set up a feed that chooses rows, or one that does not."""
    import multifeed as mf

    data = made(declare(folder))

    def epoch(number: int) -> Iterator[Batch]:
        with mf.Feed(data, batch_size, shuffle=True, seed=number, workers=WORKERS, **options) as feed:
            for inputs, *_ in feed:
                yield tuple(inputs.values())

    return epoch


def rows(batch: Batch) -> list[Any]:
    """Return the row numbers, which stand first."""
    return [np.asarray(batch[0])[:, 0]]


def job(
    about: str,
    options: dict[str, Any],
    made: Callable[[Any], Any] = of_rows,
    *,
    least: float | None = None,
) -> Job:
    """Return the job of one way to choose.

    Args:
        about: What is chosen.
        options: Of the feed.
        made: What the feed is of.
        least: How fast it shall be beside the rows as they are, of which a pair has two.
    """
    is_whole = not {"balance"} & set(options)
    return Job(
        about=f"{about}, of sequences of up to 128 integers, shuffled, batches of {BATCH_SIZE}",
        samples=200_000,
        quick=2_000,
        prepare=write,
        data="choosing",
        contestants={
            "multifeed": partial(feed, options, made, BATCH_SIZE),
            "plain": partial(feed, {}, of_rows, BATCH_SIZE),
        },
        limits=[Limit(figure=f"{about} ÷ the rows as they are", over=("plain",), least=least)],
        rows=rows if is_whole else None,
    )


JOBS = {
    "choosing_pairs": job("pairs", {}, of_pairs, least=0.4),
    "choosing_balance": job("balanced classes", {"balance": "kind"}, least=0.8),
    # Reported alone: each batch has its order by itself, which is much beside gathering a few integers,
    # and little beside a step of training.
    "choosing_buckets": job(
        "buckets by length", {"bucket_by": {"tokens": "length"}, "buckets": [16, 32, 64, _LONGEST]}
    ),
}
