"""Reading small JSON files, one a sample, into a table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from job import Batch, Epoch, Job

_PER_FOLDER = 1_000


def write(folder: Path, samples: int) -> None:
    """Write SHARD/ID.json, of twelve keys each."""
    for row in range(samples):
        shard = folder / "meta" / f"{row // _PER_FOLDER:04d}"
        if not row % _PER_FOLDER:
            shard.mkdir(parents=True)
        scanner = {"name": f"scanner {row % 7}", "tesla": 1.5, "coil": {"channels": 32, "on": True}}
        found = {"age": row % 90, "weight": row / 7, "note": None, "sex": "F", "tags": ["a", "b"]}
        content = found | {"scanner": scanner, "spacing": [1, 1, 2.5], "slices": row % 50}
        (shard / f"{row:07d}.json").write_text(json.dumps(content))


def multifeed(folder: Path, samples: int) -> Epoch:
    """Set up nothing: all of the reading is timed."""
    import multifeed as mf

    def epoch(number: int) -> Iterator[Batch]:
        yield (mf.metadata(f"{folder}/meta/{{shard}}/{{id}}.json"),)

    return epoch


def json_loads(folder: Path, samples: int) -> Epoch:
    """Set up the floor: each file parsed by the standard library, and nothing made of it."""

    def epoch(number: int) -> Iterator[Batch]:
        yield ([json.loads(path.read_bytes()) for path in sorted((folder / "meta").glob("*/*.json"))],)

    return epoch


JOB = Job(
    about="seconds to read that many JSON files into a table",
    samples=100_000,
    quick=2_000,
    prepare=write,
    contestants={"multifeed": multifeed, "json_loads": json_loads},
)
