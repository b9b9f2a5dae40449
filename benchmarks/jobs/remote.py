"""The cold job from a server of this machine that answers after 50 ms: the web, and a bucket."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import numpy as np
import psutil
from data import NUMBERS, SIDES, read_samples, write_samples
from job import BATCH_SIZE, WORKERS, Batch, Epoch, Job, Limit

from . import cold

_DELAY_S = 0.05
_SERVER = Path(__file__).parents[1] / "serve.py"


def local(folder: Path, samples: int) -> Epoch:
    """Set up the same from this machine."""
    return _epoch(folder, str(folder), None)


def web(folder: Path, samples: int) -> Epoch:
    """Set up a feed over URLs."""
    port, server = _serve(folder)
    return _epoch(folder, f"http://127.0.0.1:{port}", server)


def bucket(folder: Path, samples: int) -> Epoch:
    """Set up a feed over the keys of a bucket."""
    port, server = _serve(folder.parent)
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_REGION": "us-east-1",
    }
    return _epoch(folder, f"s3://{folder.name}", server)


def _serve(folder: Path) -> tuple[str, psutil.Process]:
    """Start the server; return its port."""
    command = [sys.executable, str(_SERVER), str(folder), str(_DELAY_S)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    atexit.register(server.kill)
    assert server.stdout is not None
    return server.stdout.readline().strip(), psutil.Process(server.pid)


def _epoch(folder: Path, root: str, server: psutil.Process | None) -> Epoch:
    import multifeed as mf

    left, right, numbers = read_samples(folder)
    rows = dict(zip(NUMBERS, numbers.T, strict=True))
    for side, paths in zip(SIDES, (left, right), strict=True):
        rows[side] = [f"{side}/{Path(path).name}" for path in paths]
    inputs = {side: mf.Image(side, size=cold.SIZE) for side in SIDES}
    data = mf.Dataset(rows, inputs={**inputs, "numbers": mf.Numeric(NUMBERS)}, root=root)

    def epoch(number: int) -> Generator[Batch, None, dict[str, float]]:
        before = _cpu_s(server)
        # Exactly one epoch: without what would be asked for of the next one.
        with mf.Feed(data, BATCH_SIZE, shuffle=True, seed=number, workers=WORKERS) as feed:
            for (batch,) in feed:
                yield batch["left"], batch["right"], np.asarray(batch["numbers"])
        return {"server_cpu_seconds": _cpu_s(server) - before}

    return epoch


def _cpu_s(server: psutil.Process | None) -> float:
    if server is None:
        return 0.0
    times = server.cpu_times()
    return float(times.user + times.system)


JOB = Job(
    about="the cold job, its images from a server that answers after 50 ms, and takes its share of the "
    "same two cores",
    samples=2_000,
    quick=64,
    prepare=write_samples,
    data="cold",
    contestants={"multifeed": web, "bucket": bucket, "local": local},
    limits=[
        Limit(figure="web at 50 ms ÷ local", over=("local",), least=0.8),
        Limit(figure="bucket at 50 ms ÷ local", of="bucket", over=("local",), least=0.8),
        Limit(figure="processor time of the server", value="server_cpu_seconds", unit="s"),
    ],
    rows=cold.rows,
    images=cold.images,
    reference="local",
)
