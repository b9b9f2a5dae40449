"""Worker processes give the bytes of the plain loop, outlive their deaths, and leave nothing behind."""

from __future__ import annotations

import gc
import importlib.util
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pytest
from fields_table import COUNT, EXAMPLES, Example
from harness import shared_files
from test_augment import TRANSFORMS, samples
from test_engines import assert_same, columns, leaves

import multifeed as mf
from multifeed.batch import allocate
from multifeed.workers import crew
from multifeed.workers.memory import packed


def workers() -> list[psutil.Process]:
    """Return the worker processes of this process that are alive."""
    return [
        each
        for each in psutil.Process().children()
        if each.status() != psutil.STATUS_ZOMBIE and "multifeed.workers" in " ".join(each.cmdline())
    ]


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    """After each test, no worker process is left."""
    yield
    gc.collect()
    assert workers() == []


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(
    ("processes", "threads", "prefetch", "batch_size", "remainder"),
    [
        (1, 1, 1, 1, "keep"),
        (1, 3, None, 4, "pad"),
        (2, 1, 2, 4, "drop"),
        (2, 2, 9, 23, "keep"),
        (3, 1, 3, 100, "pad"),
    ],
)
def test_files_come_as_the_plain_loop_reads_them(
    pairs: mf.Dataset,
    batch_size: int,
    processes: int,
    threads: int,
    prefetch: int,
    remainder: str,
    shuffle: bool,
) -> None:
    """Three epochs equal the pure `batch`, for any processes, threads, prefetch and batch size."""
    plain = mf.Feed(pairs, batch_size, shuffle=shuffle, seed=3, remainder=remainder)
    feed = mf.Feed(pairs, batch_size, shuffle=shuffle, seed=3, remainder=remainder,
                   processes=processes, workers=threads, prefetch=prefetch)  # fmt: skip
    with feed:
        for epoch in range(3):
            for step, batch in enumerate(feed):
                assert_same(batch, plain.batch(epoch, step))
                assert_same(batch, feed.batch(epoch, step))
            assert step == len(plain) - 1


@pytest.mark.parametrize("batch_size", [7, 32, 999])
def test_columns_come_as_the_plain_loop_gathers_them(batch_size: int) -> None:
    """So do fields that lie in memory."""
    plain = mf.Feed(columns(), batch_size, shuffle=True, seed=5)
    with mf.Feed(columns(), batch_size, shuffle=True, seed=5, processes=2) as feed:
        for epoch in range(2):
            for step, batch in enumerate(feed):
                assert_same(batch, plain.batch(epoch, step))


def test_augmented_samples_are_the_same(photos: Path) -> None:
    """All transforms, in the worker processes as here."""
    data = samples(photos, range(23))
    for name in ("several", "CutMix", "RandomFunction", "RandomResizedCrop"):
        plain = mf.Feed(data, 5, shuffle=True, seed=1, augment=TRANSFORMS[name])
        options: dict[str, Any] = {"processes": 2, "workers": 1}
        with mf.Feed(data, 5, shuffle=True, seed=1, augment=TRANSFORMS[name], **options) as feed:
            for step, batch in enumerate(feed):
                assert_same(batch, plain.batch(0, step))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_every_field_can_be_handed_over(example: Example, tmp_path: Path) -> None:
    """What a field is bound to can be packed, and reads the same when it is unpacked."""
    plan = example.dataset(tmp_path).plan()
    read = []
    for each in (plan, packed(plan).unpack()):
        buffers = allocate(COUNT, each.specs)
        each.fill(np.arange(COUNT), buffers)
        read.append(buffers["x"].tobytes())
    assert read[0] == read[1]


def test_positions_may_be_taken_in_any_order(pairs: mf.Dataset) -> None:
    """`take` jumps, repeats and interleaves; each batch is still the pure one."""
    asked = [(0, 0), (0, 1), (5, 2), (0, 2), (5, 3), (0, 3), (0, 0), (0, 0), (1, 5), (2, 0), (0, 4)]
    with mf.Feed(pairs, 4, shuffle=True, seed=4, processes=2) as feed:
        for epoch, step in asked:
            assert_same(feed.take(epoch, step), feed.batch(epoch, step))


def test_many_passes_at_once(pairs: mf.Dataset) -> None:
    """More passes than the board has room for are served all the same."""
    with mf.Feed(pairs, 4, shuffle=True, seed=4, processes=1, prefetch=50) as feed:
        passes = [iter(feed) for _ in range(6)]
        for step in range(len(feed)):
            for each in passes:
                assert_same(next(each), feed.batch(0, step))


def test_no_batch_changes_after_it_was_handed_over(pairs: mf.Dataset) -> None:
    """Batches that are kept keep their bytes while hundreds more are built and recycled."""
    kept = []
    with mf.Feed(pairs, 4, shuffle=True, seed=8, processes=2) as feed:
        for epoch in range(30):
            for step, batch in enumerate(feed):
                if (epoch + step) % 7 == 0:
                    kept.append((epoch, step, batch))
        assert feed._pool.leased >= len(kept)
    # And after the workers, and the feed, are gone.
    plain = mf.Feed(pairs, 4, shuffle=True, seed=8)
    del feed
    gc.collect()
    for epoch, step, batch in kept:
        assert_same(batch, plain.batch(epoch, step))


def test_memory_is_recycled(pairs: mf.Dataset) -> None:
    """A loop that lets go of each batch maps no more memory, and needs no more descriptors."""
    with mf.Feed(pairs, 4, processes=2, prefetch=3) as feed:
        for _ in feed:
            pass
        size = sum(file.size for file in feed._shared.memory)
        descriptors = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            for _batch in feed:
                assert feed._pool.leased <= 5 * 2
        assert sum(file.size for file in feed._shared.memory) == size
        assert len(os.listdir("/proc/self/fd")) == descriptors


def test_workers_stay_over_epochs_and_end_with_the_feed(pairs: mf.Dataset) -> None:
    """They are started once; closing ends them; a closed feed starts others; dropping it ends those."""
    feed = mf.Feed(pairs, 4, processes=2)
    list(feed)
    first = {each.pid for each in workers()}
    list(feed)
    assert {each.pid for each in workers()} == first
    assert len(first) == 2
    feed.close()
    feed.close()
    assert workers() == []
    assert_same(feed.take(0, 0), feed.batch(0, 0))
    assert len(workers()) == 2
    report = feed.report()
    assert report.fields["left"].samples >= 2 * len(pairs)
    assert report.workers == 2 * feed.workers
    del feed


def test_nothing_accumulates() -> None:
    """Feeds that are left in the middle of an epoch, closed or not, give back all descriptors."""
    for number in range(12):
        feed = mf.Feed(columns(100), 4, processes=1, prefetch=2)
        next(iter(feed))
        if number % 2:
            feed.close()
        del feed
        gc.collect()
        if number == 1:
            before = len(os.listdir("/proc/self/fd"))
    assert len(os.listdir("/proc/self/fd")) == before


def test_closing_and_beginning_again_keeps_nothing() -> None:
    """Neither descriptors nor memory of the workers that were; what they have counted stays."""
    with mf.Feed(columns(100), 50, processes=1) as feed:
        for number in range(6):
            list(feed)
            feed.close()
            gc.collect()
            # What was made of the next epoch is among it.
            assert min(each.samples for each in feed.report().fields.values()) >= 100 * (number + 1)
            if number == 1:
                before = len(os.listdir("/proc/self/fd"))
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_pass_goes_on_though_another_ones_workers_kept_dying(monkeypatch: pytest.MonkeyPatch) -> None:
    """That one ends with an error; for this one there are new workers."""
    monkeypatch.setattr(crew, "RESTARTS", 0)
    # Nobody is done with all of it when the worker dies.
    data = mf.Dataset({"x": np.arange(400.0)[:, None]}, inputs=mf.Array("x", preprocess=slowly))
    with mf.Feed(data, 10, processes=1, workers=1) as feed:
        one, other = iter(feed), iter(feed)
        assert next(one)[0][0] == next(other)[0][0] == 0
        for worker in workers():
            worker.kill()
        with pytest.raises(mf.WorkerError, match="one more has ended by SIGKILL"):
            list(one)
        found = np.concatenate([batch[0].ravel() for batch in other])
    assert found.tolist() == list(range(10, 400))


@pytest.mark.parametrize("ending", ["stop", "close"])
@pytest.mark.parametrize("is_late", [False, True])
def test_a_pass_that_another_thread_ends_begins_anew_where_it_was(
    ending: str, is_late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a callback of fit does that closes its loader: no batch is another one, or half of one."""
    data = mf.Dataset({"x": np.arange(60.0)[:, None]}, inputs=mf.Array("x", preprocess=slowly))
    with mf.Feed(data, 4, shuffle=True, processes=1, workers=1) as feed:
        waits: list[int] = []

        def end() -> None:
            if ending == "close":
                feed.close()
            for run in list(feed._borrowed):
                run.stop()

        def wait(crew: crew.Crew, ticket: crew.Ticket) -> Any:
            waits.append(ticket.number)
            thread = threading.Thread(target=end if len(waits) % 4 == 0 else lambda: None)
            found = of_crew(crew, ticket) if is_late else None
            thread.start()
            thread.join()
            return found if is_late else of_crew(crew, ticket)

        of_crew = crew.Crew.wait
        monkeypatch.setattr(crew.Crew, "wait", wait)
        for step in range(len(feed)):
            assert_same(feed.take(0, step), feed.batch(0, step))
        for step, batch in enumerate(feed):
            assert_same(batch, feed.batch(0, step))


def slowly(values: np.ndarray) -> np.ndarray:
    time.sleep(0.002)
    return values


def halve(array: np.ndarray) -> np.ndarray:
    return array / 2


@pytest.mark.parametrize("factor", [2, 3])
def test_functions_may_be_lambdas_and_closures(factor: int) -> None:
    """What is defined in the test, or looks at something outside, works."""
    for function in (halve, lambda x: x * factor):
        data = mf.Dataset({"x": np.arange(12.0)}, inputs=mf.Array("x", preprocess=function))
        with mf.Feed(data, 5, processes=1) as feed:
            for step, batch in enumerate(feed):
                assert_same(batch, feed.batch(0, step))


class Unhappy(Exception):
    """An exception whose constructor cannot be called as a copy would call it."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"unhappy with {one} and {other}")


def test_an_error_is_the_same_as_without_processes(photos: Path, tmp_path: Path) -> None:
    """A broken file, a user's exception, and one that cannot be copied name the sample; others come."""
    (tmp_path / "bad.jpg").write_bytes((photos / "left" / "p03.jpg").read_bytes()[:400])
    files = [str(photos / "left" / f"p{number:02}.jpg") for number in range(12)]
    files[7] = str(tmp_path / "bad.jpg")

    def fail(array: np.ndarray) -> np.ndarray:
        if array[0] == 4:
            raise Unhappy(1, 2)
        return array

    rows = {"file": files, "x": np.arange(12.0)}
    for field in (mf.Image("file", size=16), mf.Array("x", shape=(1,), preprocess=fail)):
        data = mf.Dataset(rows, inputs=field)
        plain = mf.Feed(data, 3)
        with mf.Feed(data, 3, processes=2) as feed:
            for step in range(4):
                try:
                    expected: Any = plain.batch(0, step)
                except mf.SampleError as error:
                    expected = error
                if not isinstance(expected, mf.SampleError):
                    assert_same(feed.take(0, step), expected)
                    continue
                with pytest.raises(mf.SampleError) as caught:
                    feed.take(0, step)
                found = caught.value
                assert str(found) == str(expected)
                for name in ("field", "key", "row", "file"):
                    assert getattr(found, name) == getattr(expected, name)
                assert found.__cause__ is not None
                assert "Traceback (most recent call last)" in str(root_of(found))


def root_of(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def test_what_cannot_be_handed_over_is_told() -> None:
    """A lock in a user's function is an error at declaration, with the remedy."""
    import threading

    lock = threading.Lock()

    def guarded(array: np.ndarray) -> np.ndarray:
        with lock:
            return array

    data = mf.Dataset({"x": np.arange(12.0)}, inputs=mf.Array("x", preprocess=guarded))
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Feed(data, 5, processes=1)
    assert str(caught.value) == (
        "worker processes get a copy of what they need, and something cannot be copied: TypeError: "
        "cannot pickle '_thread.lock' object.\n  Open files, locks and connections inside of your "
        "function, when it is called; or pass processes=0."
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"processes": -1}, "processes must be a whole number of at least 0; received -1."),
        ({"processes": 1.5}, "processes must be a whole number of at least 0; received 1.5."),
    ],
)
def test_bad_arguments_are_told(pairs: mf.Dataset, arguments: dict[str, Any], message: str) -> None:
    """Each is an error at declaration."""
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Feed(pairs, 4, **arguments)
    assert str(caught.value) == message


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_killed_worker_is_replaced_and_the_stream_goes_on(pairs: mf.Dataset, number: int) -> None:
    """Killed at every batch, workers are started anew; every batch is the pure one."""
    plain = mf.Feed(pairs, 4, shuffle=True, seed=4)
    with mf.Feed(pairs, 4, shuffle=True, seed=4, processes=2) as feed:
        for step, batch in enumerate(feed):
            assert_same(batch, plain.batch(0, step))
            for worker in workers()[:1]:
                os.kill(worker.pid, number)


def test_a_sample_that_ends_workers_is_an_error() -> None:
    """After the second death the error names it; nothing hangs, nothing is left."""

    def die(array: np.ndarray) -> np.ndarray:
        if array[0] == 4 and os.getpid() != home:
            os._exit(3)
        return array

    home = os.getpid()
    data = mf.Dataset({"x": np.arange(12.0)}, inputs=mf.Array("x", shape=(1,), preprocess=die))
    with mf.Feed(data, 3, processes=1, workers=1) as feed:
        assert_same(feed.take(0, 0), feed.batch(0, 0))
        with pytest.raises(mf.SampleError) as caught:
            feed.take(0, 1)
        assert str(caught.value) == (
            "'x' of row 4 cannot be used: it has ended two worker processes, the last one with exit "
            "code 3.\n  Row: 4.\n  Read data[row] in a process that may end to see why; or leave the "
            'row out: data.select, or on_error="drop" or "mask".'
        )
        assert feed.report().restarts == 2
        assert feed.report().recomputed >= 1
        assert_same(feed.take(0, 2), feed.batch(0, 2))


def test_tables_are_shared_not_copied() -> None:
    """A table costs one copy, for all processes and all parts; the second feed adds nothing."""
    count = 500_000
    table = pa.table({"name": pa.array([f"sample {number:09d}" for number in range(count)])})
    table = table.append_column("x", pa.array(np.arange(count, dtype=np.float32)))
    data = mf.Dataset(table, key="name", inputs=mf.Numeric("x"))
    train, test = data.split(0.8, 0.2)
    before = pa.total_allocated_bytes()
    size = table.nbytes
    del table
    with mf.Feed(train, 64, processes=1) as one, mf.Feed(test, 64, processes=1) as other:
        assert pa.total_allocated_bytes() < before - 0.8 * size
        files = {id(file) for feed in (one, other) for file in feed._shared.program.files}
        assert len(files) == 3
        assert one._shared.program.memory.nbytes < size
        for feed in (one, other):
            assert_same(next(iter(feed)), feed.batch(0, 0))
    assert data.rows.column("name")[7].as_py() == "sample 000000007"


def test_memmaps_are_opened_again_not_copied(tmp_path: Path) -> None:
    """Views of memmaps, too; one that was deleted meanwhile, or is copy-on-write, is copied."""
    np.save(tmp_path / "x.npy", np.arange(60_000.0).reshape(1_000, 60))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    private = np.load(tmp_path / "x.npy", mmap_mode="c")
    private[3] = -1
    for values, is_copied in ((mapped, False), (mapped[10:, ::2], False), (private, True)):
        data = mf.Dataset({"x": values}, inputs=mf.Array("x"))
        with mf.Feed(data, 50, processes=1) as feed:
            assert (feed._shared.program.memory.nbytes > values.nbytes // 2) == is_copied
            for step, batch in enumerate(feed):
                np.testing.assert_array_equal(batch[0], values[50 * step : 50 * (step + 1)])


def run(script: str, *, limit_s: float = 60, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options.pop("arguments", ["-c", textwrap.dedent(script)])],
        capture_output=True, text=True, timeout=limit_s, check=False, **options,
    )  # fmt: skip


SCRIPT = """
import helper
import multifeed as mf
print("top level")

factor = 3

def triple(array):
    return helper.same(array) * factor

data = mf.Dataset({"x": [1.0, 2.0, 3.0]}, inputs=mf.Array("x", shape=(1,), preprocess=triple))
with mf.Loader(data, 2, processes=2) as loader:
    print([batch[0].ravel().tolist() for batch in loader])
"""


@pytest.mark.parametrize("way", ["file", "command", "notebook"])
def test_a_script_needs_no_guard(tmp_path: Path, way: str) -> None:
    """Functions of a script without ``if __name__ == "__main__"`` work, and it runs once."""
    (tmp_path / "helper.py").write_text("def same(array):\n    return array\n")
    (tmp_path / "script.py").write_text(SCRIPT)
    arguments = {
        "file": ["script.py"],
        "command": ["-c", SCRIPT],
        # As IPython does it: cells are executed in the namespace of __main__.
        "notebook": ["-c", f"exec(compile({SCRIPT!r}, '<ipython-input-1>', 'exec'), globals())"],
    }[way]
    env = os.environ | {"KERAS_BACKEND": "numpy"}
    ended = run("", arguments=arguments, cwd=tmp_path, env=env)
    assert (ended.stdout, ended.stderr) == ("top level\n[[3.0, 6.0], [9.0]]\n", "")


LONG = """
    import os, sys, time
    import numpy as np
    import multifeed as mf

    def slow(array):
        time.sleep({pause})
        return array

    data = mf.Dataset({{"x": np.arange(1000.0)}}, inputs=mf.Array("x", shape=(1,), preprocess=slow))
    feed = mf.Feed(data, 4, processes=2)
    batches = iter(feed)
    next(batches)
    import psutil
    print(*[each.pid for each in psutil.Process().children()], flush=True)
    {end}
"""


@pytest.mark.parametrize(
    "end",
    [
        "",
        "sys.exit(0)",
        "del feed, batches",
        "kept = next(batches)",
        "os._exit(0)",
        "os.kill(os.getpid(), 9)",
    ],
)
@pytest.mark.parametrize("pause", [0.001, 0.5])
def test_whatever_becomes_of_the_owner_its_workers_end(end: str, pause: float) -> None:
    """It exits, or is killed, while its workers are busy: they are gone in 3 seconds."""
    before = set(shared_files())
    ended = run(LONG.format(end=end, pause=pause))
    assert ended.stderr == ""
    pids = [int(each) for each in ended.stdout.split()]
    assert len(pids) == 2
    limit = time.monotonic() + 3
    while left := [pid for pid in pids if psutil.pid_exists(pid)] + sorted(set(shared_files()) - before):
        assert time.monotonic() < limit, left
        time.sleep(0.02)


def test_ctrl_c_ends_all(tmp_path: Path) -> None:
    """One interrupt of the whole group: the owner tells it once, and no worker says anything."""
    script = textwrap.dedent(LONG.format(pause=0.01, end="time.sleep(60)"))
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    pids = [int(each) for each in process.stdout.readline().split()]
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert errors.count("KeyboardInterrupt") == 1
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_workers_load_no_keras_and_no_backend() -> None:
    """A worker process has imported neither, whatever its owner has."""

    def modules(array: np.ndarray) -> np.ndarray:
        heavy = {"keras", "tensorflow", "jax", "torch"} & set(sys.modules)
        return array + len(heavy) + (os.getpid() == home)

    home = os.getpid()
    data = mf.Dataset({"x": np.zeros(4)}, inputs=mf.Array("x", shape=(1,), preprocess=modules))
    with mf.Feed(data, 4, processes=1) as feed:
        assert next(iter(feed))[0].sum() == 0


def test_few_descriptors_are_enough(photos: Path) -> None:
    """With 64 descriptors, large batches that are kept, and epochs, do not run out."""
    run_of = f"""
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        import multifeed as mf
        rows = {{"file": ["{photos}/left/p00.jpg"] * 400}}
        data = mf.Dataset(rows, inputs=mf.Image("file", size=224))
        with mf.Feed(data, 8, processes=2) as feed:
            kept = list(feed)
            assert len(kept) == 50
            assert (kept[0][0] == feed.batch(0, 0)[0]).all()
    """
    ended = run(run_of)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_forked_child_serves_on(pairs: mf.Dataset) -> None:
    """After os.fork the child starts workers of its own, and leaves those of its parent alone."""
    with mf.Feed(pairs, 4, processes=1) as feed:
        batches = iter(feed)
        next(batches)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                feed.take(0, 5)
                feed.close()
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        assert len(list(batches)) == len(feed) - 1


def slots(feed: mf.Feed) -> list[int]:
    return [int(number) for batch in feed for number in leaves(batch)[-1]]


def test_a_slow_sample_does_not_idle_the_others(tmp_path: Path) -> None:
    """While one worker waits for a sample, the other goes on with later batches.

    The sample comes only when all of the next seven batches have been read.
    """

    def read(array: np.ndarray) -> np.ndarray:
        (tmp_path / f"{array[0]:.0f}").touch()
        limit = time.monotonic() + 30
        while array[0] == 1 and not all((tmp_path / f"{number}").exists() for number in range(5, 33)):
            assert time.monotonic() < limit
            time.sleep(0.01)
        return array

    data = mf.Dataset({"x": np.arange(1.0, 65.0)}, inputs=mf.Array("x", shape=(1,), preprocess=read))
    with mf.Feed(data, 4, processes=2, workers=1, prefetch=8) as feed:
        assert np.concatenate([batch[0].ravel() for batch in feed]).tolist() == list(range(1, 65))


@pytest.mark.parametrize("end", ["os._exit(0)", "sys.exit(0)", "feed.close(); os._exit(0)"])
def test_a_forked_child_that_ends_changes_no_batch_of_its_parent(end: str) -> None:
    """However it ends, and whether it used the feed: workers, and held batches, are its parent's."""
    script = f"""
        import os, sys, warnings
        warnings.simplefilter("ignore")
        import numpy as np
        import multifeed as mf
        data = mf.Dataset({{"x": np.arange(400.0)}}, inputs=mf.Array("x", preprocess=lambda a: a + 1))
        feed = mf.Feed(data, 4, shuffle=True, processes=2)
        batches = iter(feed)
        held = next(batches)[0]
        before = held.copy()
        if os.fork() == 0:
            {end}
        if os.fork() == 0:
            for epoch in range(3):
                feed.take(epoch, 3)
            {end}
        for step, batch in enumerate(batches, 1):
            assert (batch[0] == feed.batch(0, step)[0]).all()
        for _ in range(2):
            os.wait()
        assert (held == before).all()
        assert step == 99
        feed.close()
    """
    ended = run(script)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_an_error_that_is_its_own_cause_ends() -> None:
    """``raise error from error`` is a circle of causes."""

    def fail(array: np.ndarray) -> np.ndarray:
        try:
            raise ValueError("no")
        except ValueError as error:
            raise error from error

    data = mf.Dataset(
        {"x": np.arange(4.0)}, inputs=mf.Array("x", shape=(1,), preprocess=fail_later(fail))
    )
    with mf.Feed(data, 2, processes=1) as feed, pytest.raises(mf.SampleError, match="no"):
        next(iter(feed))


def fail_later(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that lets the zeros pass with which fields try it at declaration."""
    return lambda array: function(array) if array.any() else array


def test_a_worker_is_missed_though_another_process_holds_its_pipes(tmp_path: Path) -> None:
    """Its death is seen, not only heard: what it has forked may live on."""

    def fork(array: np.ndarray) -> np.ndarray:
        if array[0] == 5 and os.getpid() != home and not mark.exists():
            mark.touch()
            if os.fork() == 0:
                time.sleep(20)
                os._exit(0)
            os._exit(1)
        return array

    home, mark = os.getpid(), tmp_path / "mark"
    data = mf.Dataset({"x": np.arange(12.0)}, inputs=mf.Array("x", shape=(1,), preprocess=fork))
    start = time.monotonic()
    with mf.Feed(data, 3, processes=1) as feed:
        assert len(list(feed)) == 4
    assert mark.exists()
    assert time.monotonic() - start < 10


def test_names_start_where_the_dataset_was_declared(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative names mean the same files whatever becomes of the working directory, in any process."""
    monkeypatch.chdir(photos / "left")
    names = {"file": [f"p{number:02}.jpg" for number in range(12)]}
    data = mf.Dataset(names, inputs=mf.Image("file", size=16))
    expected = mf.Feed(data, 3).batch(0, 1)
    monkeypatch.chdir(photos / "right")
    for processes in (0, 1):
        with mf.Feed(data, 3, processes=processes) as feed:
            assert_same(feed.batch(0, 1), expected)
            assert_same(feed.take(0, 1), expected)
            for worker in workers():
                worker.kill()
            assert_same(feed.take(0, 1), expected)


def test_a_memmap_is_what_was_mapped_whatever_has_its_name_by_now(tmp_path: Path) -> None:
    """Another file of the same name is not taken for it."""
    np.save(tmp_path / "x.npy", np.arange(40.0))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    np.save(tmp_path / "new.npy", -np.arange(40.0))
    (tmp_path / "new.npy").replace(tmp_path / "x.npy")
    with mf.Feed(mf.Dataset({"x": mapped}, inputs=mf.Numeric("x")), 40, processes=1) as feed:
        np.testing.assert_array_equal(next(iter(feed))[0].ravel(), np.arange(40.0))


def test_modules_that_nobody_else_finds_go_along(tmp_path: Path) -> None:
    """A plug-in that was loaded from its file is no module that a worker could import."""
    (tmp_path / "plug.py").write_text("def half(array):\n    return array / 2\n")
    spec = importlib.util.spec_from_file_location("plug_of_a_test", tmp_path / "plug.py")
    assert spec is not None
    plug = importlib.util.module_from_spec(spec)
    sys.modules["plug_of_a_test"] = plug
    assert spec.loader is not None
    spec.loader.exec_module(plug)
    data = mf.Dataset({"x": np.arange(4.0)}, inputs=mf.Array("x", shape=(1,), preprocess=plug.half))
    with mf.Feed(data, 4, processes=1) as feed:
        np.testing.assert_array_equal(next(iter(feed))[0].ravel(), [0, 0.5, 1, 1.5])


def test_kept_labels_keep_no_images() -> None:
    """Large fields and small ones lie in files of their own, also when the feed is gone."""
    data = mf.Dataset(
        {"x": np.zeros((64, 4096), np.uint8), "y": np.arange(64.0)},
        inputs=mf.Array("x", preprocess=lambda array: array + 1),
        targets=mf.Numeric("y"),
    )
    with mf.Feed(data, 8, processes=1) as feed:
        kept = [batch[1] for batch in feed]
        large, small = (weakref.ref(file) for file in feed._shared.memory)
    del feed
    gc.collect()
    assert large() is None
    assert small() is not None
    assert np.concatenate(kept).ravel().tolist() == list(range(64))


def test_numbers_that_no_message_can_hold_are_made_here() -> None:
    """An epoch beyond all counting is served all the same."""
    with mf.Feed(columns(100), 10, shuffle=True, processes=1) as feed:
        assert_same(feed.take(2**61, 3), feed.batch(2**61, 3))


def test_a_closed_feed_holds_its_program_alone(pairs: mf.Dataset) -> None:
    """No batches, no board: hosts that keep loaders for ever keep little; its counts go on."""

    def opened() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    feed = mf.Feed(pairs, 4, processes=1)
    before = opened()
    for epoch in range(3):
        assert len(list(feed)) == 6
        feed.close()
        assert opened() == before
        report = feed.report()
        assert report.samples == 23 * (epoch + 1)
        # Batches of the next epoch that were built ahead are among them.
        assert report.fields["left"].samples >= report.samples
    assert feed.report().passes == 3
