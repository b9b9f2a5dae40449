"""Workers are killed, crash, stop or loop: the stream is that of a clean run, and nobody waits for long.

Each program compares every batch with the pure one, ``feed.batch(epoch, step)``, computed in its own
process, so a batch that is lost, late or made of other samples is an error there.
"""

from __future__ import annotations

import pytest
from harness import run

HEAD = """
    import logging, os, signal, time
    import numpy as np
    import psutil
    import multifeed as mf
    from harness import injected, nothing_left, tell

    HOME = os.getpid()

    def declared(read, count=400):
        rows = {"id": [f"s{number}" for number in range(count)], "x": np.arange(float(count))[:, None]}
        return mf.Dataset(rows, key="id", inputs=mf.Array("x", preprocess=read))

    def same(feed, epoch, step, batch):
        assert (batch[0] == feed.batch(epoch, step)[0]).all(), (epoch, step)

    def workers():
        return [each for each in psutil.Process().children() if each.status() != "zombie"]

    def plain(values):
        return values * 2
"""


@pytest.mark.parametrize("number", ["SIGKILL", "SIGSEGV", "SIGTERM"])
@pytest.mark.parametrize("processes", [1, 2])
def test_a_worker_killed_at_every_batch(number: str, processes: int) -> None:
    """Row 1: at each step of an epoch one worker is killed while it works: same stream, nothing left.

    The longest that any batch was waited for is told: it is the time to recover.
    """
    ended = run(
        HEAD
        + f"""
    def slow(values):
        time.sleep(0.001)
        return values * 2

    def main():
        longest = 0.0
        # Ten restarts an epoch, and one more for every 20 batches.
        with mf.Feed(declared(slow, 90), 10, shuffle=True, processes={processes}, workers=2) as feed:
            for epoch in range(3):
                for step in range(len(feed)):
                    begin = time.monotonic()
                    batch = feed.take(epoch, step)
                    longest = max(longest, time.monotonic() - begin)
                    same(feed, epoch, step, batch)
                    for worker in workers()[:1]:
                        os.kill(worker.pid, signal.{number})
                        injected("{number}")
            report = feed.report()
            assert report.restarts > 0
            assert report.passes == 3
        tell(longest)

    with nothing_left(memory=False):
        main()
    """,
        limit_s=100,
    )
    print(f"the longest wait: {ended.told[0]:.2f} s")


def test_workers_killed_every_fifty_batches(full_length: bool) -> None:
    """Row 2: over and over, for as long as there are batches in between: the epochs complete.

    Whoever dies without getting anything done is an error after a while: see `test_a_crash_loop`.
    """
    epochs = 10 if full_length else 2
    run(
        HEAD
        + f"""
    def main():
        with mf.Feed(declared(plain, 2_000), 2, shuffle=True, processes=2, workers=1) as feed:
            for epoch in range({epochs}):
                for step, batch in enumerate(feed):
                    same(feed, epoch, step, batch)
                    if step % 50 == 49:
                        for worker in workers()[:1]:
                            os.kill(worker.pid, signal.SIGKILL)
                            injected("SIGKILL")
            assert feed.report().restarts >= 15 * {epochs}
            assert feed.report().passes == {epochs}

    with nothing_left(memory=False):
        main()
    """,
        limit_s=100,
    )


def test_a_crash_loop_is_an_error() -> None:
    """Row 2: workers that die at whatever they are given: a clear error, not a run that never ends."""
    ended = run(
        HEAD
        + """
    def die(values):
        if os.getpid() != HOME:
            injected("os._exit")
            os._exit(11)
        return values

    def main():
        feed = mf.Feed(declared(die), 4, processes=2)
        try:
            feed.take(0, 0)
        except (mf.WorkerError, mf.SampleError) as error:
            tell(str(error))
        feed.close()

    with nothing_left(memory=False):
        main()
    """
    )
    assert "ended two worker processes, the last one with exit code 11" in ended.told[0]


FATAL = """
    import ctypes

    def fatal(values):
        if values[0] == 37 and os.getpid() != HOME:
            injected("{fault}")
            {fault}
        return values * 2
"""


@pytest.mark.parametrize(
    ("fault", "how"),
    [
        ("ctypes.string_at(0)", "by SIGSEGV"),
        ("os._exit(0)", "with exit code 0"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "by SIGKILL"),
        ("os.abort()", "by SIGABRT"),
    ],
)
@pytest.mark.parametrize(("processes", "workers"), [(1, 1), (2, 4)])
def test_a_sample_that_ends_workers(fault: str, how: str, processes: int, workers: int) -> None:
    """Rows 3 and 4: it is named, and nothing else is, however many samples were under way with it.

    With on_error="drop" the epoch completes without it, and every other sample is there.
    """
    head = HEAD + FATAL.format(fault=fault)
    options = f"processes={processes}, workers={workers}"
    ended = run(
        head
        + f"""
    def main():
        with mf.Feed(declared(fatal), 8, shuffle=True, {options}) as feed:
            try:
                for batch in feed:
                    pass
            except mf.SampleError as error:
                tell([error.field, error.key, error.row, error.reason])
            assert feed.report().restarts == 2
        with mf.Feed(declared(fatal), 8, shuffle=True, on_error="drop", {options}) as feed:
            found = np.concatenate([batch[0].ravel() for batch in feed]) / 2
            assert sorted(found) == [number for number in range(400) if number != 37]
            report = feed.report()
        assert [each.key for each in report.bad] == ["s37"]
        assert (report.dropped, report.restarts, report.passes) == (1, 2, 1)

    with nothing_left(memory=False):
        main()
    """,
        limit_s=100,
    )
    reason = f"has ended two worker processes, the last one {how}"
    assert ended.told == [["x", "s37", 37, reason]]


def test_samples_that_end_workers_never_end_the_trainer() -> None:
    """Row 3: nor do those next to it, which an empty batch would take a copy of, nor what asks for keys.

    What is set aside stays so when the feed is closed and used again.
    """
    run(
        HEAD
        + """
    def fatal(values):
        if values[0] in (5, 6):
            injected("os.abort()")
            os.abort()
        return values * 2

    def main():
        with mf.Feed(
            declared(fatal, 200), 1, on_error="drop", max_bad=0.1, processes=1, workers=1, prefetch=1
        ) as feed:
            for again in range(2):
                found = [batch[0].item() / 2 for batch in feed]
                assert found == [7 if n in (5, 6) else n for n in range(200)], found
                assert [feed.keys(0, step) for step in (4, 5, 6, 7)] == [["s4"], [], [], ["s7"]]
                assert feed.batch(0, 5)[0].item() == 14
                feed.close()
            report = feed.report()
        assert [each.key for each in report.bad] == ["s5", "s6"]
        assert (report.dropped, report.restarts, report.passes) == (4, 4, 2)

    with nothing_left(memory=False):
        main()
    """,
        limit_s=100,
    )


@pytest.mark.parametrize("fault", ["loops", "stops"])
def test_a_worker_that_gets_nowhere(fault: str) -> None:
    """Row 5: `while True` in a function, or SIGSTOP from outside: killed after `timeout_s`, named.

    A function that loops for one sample does so again: that sample cannot be used. A worker that was
    stopped is replaced, and the stream is that of a clean run.
    """
    body = (
        """
    def read(values):
        if values[0] == 37 and os.getpid() != HOME:
            injected("while True")
            while True:
                pass
        return values * 2
"""
        if fault == "loops"
        else """
    def read(values):
        time.sleep(0.01)
        return values * 2
"""
    )
    ended = run(
        HEAD
        + body
        + f"""
    logging.basicConfig()
    def main():
        with mf.Feed(
            declared(read), 20, shuffle=True, on_error="drop", processes=2, workers=1, timeout_s=1.0
        ) as feed:
            found = []
            for step, batch in enumerate(feed):
                found += (batch[0].ravel() / 2).tolist()
                if "{fault}" == "stops" and step in (3, 9):
                    os.kill(workers()[0].pid, signal.SIGSTOP)
                    injected("SIGSTOP")
            left_out = [37.0] if "{fault}" == "loops" else []
            assert sorted(found + left_out) == list(range(400))
            tell([each.reason for each in feed.report().bad])
            assert feed.report().restarts >= 1

    with nothing_left(memory=False):
        main()
    """,
        limit_s=100,
    )
    if fault == "loops":
        assert ended.told == [
            [
                "has ended two worker processes, the last one after it had been stuck for longer than "
                "timeout_s"
            ]
        ]
        # Where it was: the file is the program's own.
        assert "reading 'x' of sample 's37' has taken longer than timeout_s=1." in ended.err
        assert "in read" in ended.err
    else:
        assert ended.told == [[]]
        assert "The worker does not answer." in ended.err


@pytest.mark.parametrize("share", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("policy", ["drop", "mask"])
@pytest.mark.parametrize("processes", [0, 2])
def test_a_share_of_bad_samples(share: float, policy: str, processes: int) -> None:
    """Row 32: 1 %, 10 % or all samples bad: within the limit the same steps, and an exact report.

    Above the limit an error with the list; if nothing is left, an error as well.
    """
    run(
        HEAD
        + f"""
    bad = set(np.random.default_rng(0).permutation(400)[: int(400 * {share})].tolist())

    def read(values):
        if int(values[0]) in bad and (values[0] or {share} < 1):
            raise ValueError("bad")
        return values * 2

    def declared_bad():
        # The blank sample at declaration is a zero, too.
        rows = {{"id": [f"s{{n}}" for n in range(400)], "x": np.arange(400.0)[:, None]}}
        return mf.Dataset(rows, key="id", inputs=mf.Array("x", preprocess=read))

    bad.discard(0)
    injected(f"{{len(bad)}} bad samples")
    options = dict(shuffle=True, on_error="{policy}", processes={processes})
    def main():
        with mf.Feed(declared_bad(), 20, max_bad=1.0, **options) as feed:
            assert sum(1 for batch in feed) == 20
            report = feed.report()
        assert {{each.row for each in report.bad}} == bad
        assert report.samples == 400 - len(bad) and report.dropped + report.masked == len(bad)
        assert report.passes == 1
        limit = (len(bad) - 1) / 400
        with mf.Feed(declared_bad(), 20, max_bad=limit, **options) as feed:
            try:
                for batch in feed:
                    pass
                raise AssertionError("no error")
            except mf.BadSamplesError as error:
                # All that had been found by the end of that batch.
                assert len(bad) - 1 < len(error.samples) <= len(bad)

    with nothing_left(memory=False):
        main()
    """,
        limit_s=100,
    )
