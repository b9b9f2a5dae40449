"""A long run of all that may happen: workers killed, files broken, the run ended and resumed.

Oracle: every batch is the pure one of its position; every good sample comes exactly once an epoch; and
whatever is held — memory, descriptors, threads, processes, files in ``/dev/shm`` — does not grow with
the epochs: its slope is 0.
"""

from __future__ import annotations

import numpy as np
import pytest
from harness import run

SCRIPT = """
    import gc, json, os, random, signal, threading
    import numpy as np
    import psutil
    import multifeed as mf
    from harness import injected, shared_files, tell
    from PIL import Image

    EPOCHS, BAD = {epochs}, {{3, 40}}
    pixels = np.random.default_rng(0)
    for number in range(60):
        Image.fromarray(pixels.integers(0, 255, (40, 40, 3), np.uint8)).save(f"{{number}}.png")
    for number in BAD:
        with open(f"{{number}}.png", "r+b") as file:
            file.truncate(200)

    def halved(values):
        return values // 2

    def feed_of(choice):
        rows = {{"id": [f"s{{n}}" for n in range(60)], "file": [f"{{n}}.png" for n in range(60)]}}
        data = mf.Dataset(rows, key="id", inputs=mf.Image("file", 32, preprocess=halved))
        engines = [dict(processes=2, workers=2), dict(processes=1, workers=1), dict(workers=2)]
        options = dict(shuffle=True, seed=2, on_error="drop", max_bad=0.1)
        return mf.Feed(data, 5, **options, **engines[choice % 3])

    def held():
        gc.collect()
        this = psutil.Process()
        children = [each for each in this.children() if each.status() != "zombie"]
        counts = [this.num_fds(), this.num_threads(), len(children), len(shared_files())]
        return [this.memory_info().rss, *counts]

    def kill_one():
        children = psutil.Process().children()
        if children:
            os.kill(chance.choice(children).pid, signal.SIGKILL)
            injected("SIGKILL")

    def passes():
        plain, state, choice, seen = feed_of(2), None, 0, []
        for epoch in range(EPOCHS):
            seen = []
            for part in range(2):
                # Each epoch is cut at a random step: the run ends, and another one goes on.
                feed, choice = feed_of(choice), choice + 1
                if state is not None:
                    feed.load_state_dict(json.loads(state))
                cut = chance.randrange(1, len(feed)) if part == 0 else len(feed)
                first = 0 if state is None else json.loads(state)["step"]
                for step, batch in enumerate(feed, first):
                    assert (batch[0] == plain.batch(epoch, step)[0]).all()
                    seen += feed.keys(epoch, step)
                    if chance.random() < 0.1:
                        kill_one()
                    if step + 1 == cut:
                        break
                state = json.dumps(feed.state_dict())
                report = feed.report()
                assert {{each.row for each in report.bad}} <= BAD
                feed.close()
                del feed, batch
            assert sorted(seen) == sorted(f"s{{n}}" for n in range(60) if n not in BAD), epoch
            yield epoch
        plain.close()

    chance = random.Random(1)
    injected(f"{{len(BAD)}} broken files")
    for epoch in passes():
        tell(held())
"""


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_soak(full_length: bool) -> None:
    """200 epochs (16 in the short form), each cut and resumed; a worker killed at every tenth batch."""
    epochs = 200 if full_length else 16
    ended = run(SCRIPT.format(epochs=epochs), limit_s=1_500 if full_length else 110)
    held = np.array(ended.told, np.float64)
    assert len(held) == epochs
    # The first epochs fill what is kept for good: caches of modules, of allocators.
    held = held[epochs // 4 :]
    slopes = np.polyfit(np.arange(len(held)), held, 1)[0] * len(held)
    memory, descriptors, threads, processes, shared = slopes
    print(f"over {len(held)} epochs: {memory / 2**20:+.1f} MiB, {descriptors:+.2f} descriptors")
    assert memory < 12 * 2**20
    assert abs(descriptors) < 0.5
    assert threads < 0.5
    assert abs(processes) < 1e-9
    # What other programs have there may become less meanwhile.
    assert shared < 1e-9
