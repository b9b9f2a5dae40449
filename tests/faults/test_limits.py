"""Machines that have little: shared memory, descriptors, memory.

Full disks are in tests/cache/test_faults.py.
"""

from __future__ import annotations

import subprocess

import pytest
from harness import run

# Batches of 16 MiB that a function makes, so that nothing of them lies in memory.
LARGE = """
    import os, resource
    import numpy as np
    import multifeed as mf
    from harness import injected, nothing_left, tell

    def wide(array):
        return np.full((2**20,), array[0], np.float32)

    data = mf.Dataset({"x": np.arange(64.0)}, inputs=mf.Array("x", shape=(1,), preprocess=wide))

    def serve(**options):
        with mf.Feed(data, 4, shuffle=True, seed=1, **options) as feed:
            for step, (batch,) in enumerate(feed):
                assert (batch == feed.rows(0, step)[:, None]).all()
        return step + 1
"""


def test_a_small_dev_shm_is_no_limit() -> None:
    """Row 11: with a `/dev/shm` of 8 MB, worker processes hand over batches of 16 MB."""
    script = (
        LARGE
        + """
    import subprocess
    # In a space of mounts of its own, which ends with this program.
    assert subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", "/dev/shm"]).returncode == 0
    room = os.statvfs("/dev/shm")
    assert room.f_blocks * room.f_frsize == 8 * 2**20
    injected("/dev/shm of 8 MB")
    assert serve(processes=2, workers=1) == 16
    assert os.listdir("/dev/shm") == []
    """
    )
    may_mount = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/dev/shm"]
    if subprocess.run(may_mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount")
    run(script, under=("unshare", "--mount"))


def test_shared_memory_that_cannot_be_had_is_told_in_figures() -> None:
    """Row 11: where no file may have more than 8 MB, the error says what is needed, and what to pass."""
    run(
        LARGE
        + """
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 * 2**20, 8 * 2**20))
    injected("files of at most 8 MB")
    try:
        serve(processes=1, workers=1, prefetch=1)
    except mf.MultifeedError as error:
        assert str(error) == (
            "batches of worker processes need 48 MiB more of shared memory, beside 0 MiB: "
            "File too large.\\n"
            "  Pass a smaller batch_size, prefetch or prefetch_bytes, or processes=0."
        ), error
    else:
        raise AssertionError("no error")
    assert serve() == 16
    """
    )


def test_descriptors_are_as_many_as_workers_not_as_batches() -> None:
    """Row 12: under a limit of 64, 400 batches that are all kept take no more descriptors than 40."""
    run(
        """
    import os, resource
    import numpy as np
    import multifeed as mf
    from harness import injected, nothing_left

    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    injected("64 descriptors")
    data = mf.Dataset({"x": np.ones((1600, 5000))}, inputs=mf.Array("x", preprocess=np.sqrt))
    data.plan()
    with nothing_left(memory=False):
        with mf.Feed(data, 4, processes=2) as feed:
            kept, used = [], {}
            for step, batch in enumerate(feed, 1):
                kept.append(batch)
                used[step] = len(os.listdir("/proc/self/fd"))
            assert step == 400
            # Memory grows by ever larger pieces, each of which takes one.
            assert used[400] <= used[40] + 6, used
            assert max(used.values()) < 40, used
        del kept, batch, feed
    """
    )


def test_prefetch_is_bounded_in_bytes() -> None:
    """Row 13: under a limit of memory, `prefetch_bytes` leaves room that 64 batches ahead do not."""
    run(
        LARGE
        + """
    import psutil, time

    made = 0

    def counted(array):
        global made
        made += 1
        return wide(array)

    data = mf.Dataset({"x": np.arange(400.0)}, inputs=mf.Array("x", shape=(1,), preprocess=counted))

    def wait_until_all_is_built():
        last, since = made, time.monotonic()
        while time.monotonic() < since + 2:
            time.sleep(0.05)
            if made != last:
                last, since = made, time.monotonic()

    def serve_slowly(**options):
        with mf.Feed(data, 4, workers=2, prefetch=64, **options) as feed:
            for step, (batch,) in enumerate(feed):
                if step == 0:
                    wait_until_all_is_built()
                assert batch[0, 0] == 4 * step
        data.family.free.clear()
        return step + 1

    data.plan()
    limit = psutil.Process().memory_info().vms + 600 * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    injected("600 MiB more")
    assert serve_slowly(prefetch_bytes=128 * 2**20) == 100
    try:
        serve_slowly(prefetch_bytes=2**40)
    except mf.MultifeedError as error:
        assert "memory" in str(error).lower(), error
    else:
        raise AssertionError("there was room for all of them")
    """
    )


def test_memory_that_cannot_be_had_is_told_in_figures() -> None:
    """Row 13: batches that are kept fill the memory: the error says how much, and training goes on."""
    run(
        LARGE
        + """
    import psutil

    serve(workers=1)
    data.family.free.clear()
    limit = psutil.Process().memory_info().vms + 200 * 2**20
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    injected("200 MiB more")
    feed = mf.Feed(data, 4, workers=1, prefetch=1)
    kept = []
    try:
        for batch in feed:
            kept.append(batch)
    except mf.MultifeedError as error:
        first, second = str(error).split("\\n  ")
        assert first.startswith("a batch takes 16.0 MiB more memory than there is; "), error
        assert first.endswith(" MiB are batches that are under way, built ahead, or in use."), error
        held = float(first.split("; ")[1].split(" ")[0])
        assert held >= 16 * len(kept) > 60, error
        assert second == "Pass a smaller batch_size or prefetch_bytes, or keep fewer batches.", error
    else:
        raise AssertionError("no error")
    finally:
        feed.close()
    # Some of what was kept goes to the next feed; the program itself needs a little, too.
    del kept, batch
    resource.setrlimit(resource.RLIMIT_AS, (limit + 100 * 2**20, hard))
    assert serve(workers=1, prefetch=1) == 16
    """
    )
