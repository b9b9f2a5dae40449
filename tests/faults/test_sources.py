"""Files that change, vanish or are slow while an epoch runs.

With a cache: tests/conformance/test_cache.py and tests/cache/test_faults.py.
"""

from __future__ import annotations

import pytest
from harness import run

# Images of one value each, and the plain loop as the clean run.
IMAGES = """
    import os
    import numpy as np
    import threading
    from PIL import Image as PILImage
    import multifeed as mf
    from harness import injected, nothing_left, tell

    folder = os.getcwd()

    def write(row, value):
        pixels = np.full((32, 32, 3), value, np.uint8)
        # A new file in its place: whoever reads the old one goes on reading that.
        PILImage.fromarray(pixels).save(f"{folder}/new.png")
        os.replace(f"{folder}/new.png", f"{folder}/{row}.png")

    for row in range(40):
        write(row, row)
    rows = {"id": [f"s{row}" for row in range(40)], "file": [f"{folder}/{row}.png" for row in range(40)]}
    data = mf.Dataset(rows, key="id", inputs=mf.Image("file", 32))
"""


@pytest.mark.parametrize(
    ("fault", "processes"), [("deleted", 0), ("deleted", 2), ("cut", 0), ("emptied", 2)]
)
def test_a_file_that_is_damaged_in_mid_epoch_is_told(fault: str, processes: int) -> None:
    """Row 19: the error names field, key, row and file; all other batches are those of a clean run."""
    run(
        IMAGES
        + f"""
    acts = dict(
        deleted=lambda path: os.remove(path),
        cut=lambda path: os.truncate(path, os.path.getsize(path) // 2),
        emptied=lambda path: os.truncate(path, 0),
    )
    feed = mf.Feed(data, 4, shuffle=True, seed=1, processes={processes}, workers=1, prefetch=1)
    victim = int(feed.rows(0, 7)[2])
    bad = []
    with feed:
        for step in range(10):
            try:
                (batch,) = feed.take(0, step)
            except mf.SampleError as error:
                assert (error.field, error.key, error.row) == ("file", f"s{{victim}}", victim), error
                assert error.file == f"{{folder}}/{{victim}}.png"
                assert f"{{folder}}/{{victim}}.png" in str(error)
                bad.append(step)
                continue
            assert (batch == feed.rows(0, step)[:, None, None, None]).all()
            if step == 2:
                acts["{fault}"](f"{{folder}}/{{victim}}.png")
                injected("{fault}")
    assert bad == [7]
    """
    )


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("processes", [0, 2])
def test_a_file_that_is_replaced_in_mid_epoch_is_read_anew(cached: bool, processes: int) -> None:
    """Row 19: a batch has the pixels that were in the file when it was read, cached or not."""
    run(
        IMAGES
        + f"""
    if {cached}:
        data = mf.cache(data, f"{{folder}}/cache")
    with mf.Feed(data, 4, processes={processes}, workers=1, prefetch=1) as feed:
        for epoch in range(2):
            for step, (batch,) in enumerate(feed):
                old = np.arange(4 * step, 4 * step + 4)
                new = old + 100 * (step > 5)
                # What is gathered from a cache is gathered for many batches at once.
                read = (new,) if epoch or step < 6 or not {cached} else (old, new)
                assert any((batch == each[:, None, None, None]).all() for each in read), (epoch, step)
                if (epoch, step) == (0, 2):
                    for row in range(24, 40):
                        write(row, row + 100)
                    injected("replaced")
        if {cached}:
            assert feed.report().fields["file"].redone >= 16
    """
    )


def test_a_slow_file_holds_up_no_other() -> None:
    """Row 20: while one read hangs, later batches are read; batches still come in order.

    The slow read ends only when a row that stands three batches later has been read: if the order were
    kept inside, it never would.
    """
    run(
        IMAGES
        + """
    later = threading.Event()

    def slow(pixels):
        row = int(pixels[0, 0, 0])
        if row == 1:
            injected("slow")
            assert later.wait(30), "nobody read on"
        if row == 14:
            later.set()
        return pixels

    data = mf.Dataset(rows, inputs=mf.Image("file", 32, preprocess=slow))
    with mf.Feed(data, 4, workers=2, prefetch=6) as feed:
        for step, (batch,) in enumerate(feed):
            assert (batch == np.arange(4 * step, 4 * step + 4)[:, None, None, None]).all()
    assert step == 9
    """
    )
