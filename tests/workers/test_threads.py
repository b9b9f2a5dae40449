"""OrderedThreads: results in order, bounded, and nothing left behind."""

from __future__ import annotations

import gc
import itertools
import threading
import time
from collections.abc import Iterator

import pytest

from multifeed.workers.threads import Job, OrderedThreads


def alive() -> int:
    return sum(thread.name.startswith("test") for thread in threading.enumerate())


def wait_until(condition, seconds: float = 5.0) -> bool:
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            return False
        time.sleep(0.005)
    return True


def slow_first(count: int) -> Iterator[Job[int]]:
    """Jobs of which every fifth takes longest."""
    for number in range(count):
        pause = 0.02 if number % 5 == 0 else 0.0
        yield Job(number, [lambda pause=pause: time.sleep(pause)] * 3)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("ahead", [1, 3, 50])
def test_results_come_in_the_order_of_the_jobs(threads: int, ahead: int) -> None:
    """Whatever finishes first, job 0 is handed over first; the end is a StopIteration."""
    engine = OrderedThreads(slow_first(30), threads=threads, ahead=ahead, name="test")
    assert [engine.get() for _ in range(30)] == list(range(30))
    with pytest.raises(StopIteration):
        engine.get()
    engine.close()


def test_no_more_jobs_are_begun_than_allowed() -> None:
    """With room for four, the fifth job is not drawn before one was handed over."""
    drawn = itertools.count()
    seen = []

    def jobs() -> Iterator[Job[int]]:
        while True:
            seen.append(next(drawn))
            yield Job(seen[-1], [lambda: None])

    engine = OrderedThreads(jobs(), threads=3, ahead=4, name="test")
    assert wait_until(lambda: len(seen) == 4)
    time.sleep(0.05)
    assert len(seen) == 4
    engine.get()
    assert wait_until(lambda: len(seen) == 5)
    engine.close()


def test_a_slow_task_does_not_idle_the_others() -> None:
    """While the first job waits, later ones run."""
    gate = threading.Event()
    ran = []

    def jobs() -> Iterator[Job[int]]:
        yield Job(0, [lambda: (gate.wait(5), None)[1]])
        for number in range(1, 6):
            yield Job(number, [lambda number=number: ran.append(number)])

    engine = OrderedThreads(jobs(), threads=2, ahead=6, name="test")
    assert wait_until(lambda: ran == [1, 2, 3, 4, 5])
    gate.set()
    assert engine.get() == 0
    engine.close()


def fail(number: int) -> None:
    raise ValueError(f"task {number}")


def test_an_error_comes_in_its_place_and_the_rest_goes_on() -> None:
    """The error of a job's first failed task is raised when its turn comes; the next job is served."""

    def jobs() -> Iterator[Job[int]]:
        yield Job(0, [lambda: None])
        yield Job(1, [lambda: None, lambda: fail(1), lambda: fail(2)])
        yield Job(2, [lambda: None])

    with_error = OrderedThreads(jobs(), threads=2, ahead=3, name="test")
    assert with_error.get() == 0
    with pytest.raises(ValueError, match="^task 1$"):
        with_error.get()
    assert with_error.get() == 2
    with_error.close()


def test_an_error_in_drawing_a_job_comes_in_its_place() -> None:
    """What the iterator of jobs raises reaches the consumer after the jobs before it."""

    def jobs() -> Iterator[Job[int]]:
        yield Job(0, [lambda: None])
        raise MemoryError("no room for job 1")

    engine = OrderedThreads(jobs(), threads=2, ahead=3, name="test")
    assert engine.get() == 0
    with pytest.raises(MemoryError, match="^no room for job 1$"):
        engine.get()
    with pytest.raises(StopIteration):
        engine.get()
    engine.close()


def test_closing_twice_leaves_no_thread() -> None:
    """After close all threads have ended."""
    engine = OrderedThreads(slow_first(1000), threads=4, ahead=8, name="test")
    engine.get()
    assert alive() == 4
    engine.close()
    engine.close()
    assert alive() == 0
    with pytest.raises(StopIteration):
        engine.get()


def test_dropping_it_leaves_no_thread() -> None:
    """An engine that nobody refers to ends its threads."""
    engine = OrderedThreads(slow_first(1000), threads=4, ahead=8, name="test")
    engine.get()
    del engine
    gc.collect()
    assert wait_until(lambda: alive() == 0)


def test_waiting_threads_hold_no_result() -> None:
    """A result that was handed over and dropped is gone, though the threads wait on."""

    class Result:
        pass

    held = []

    def jobs() -> Iterator[Job[Result]]:
        result = Result()
        held.append(__import__("weakref").ref(result))
        job = Job(result, [lambda: None])
        del result
        yield job
        del job
        threading.Event().wait(0)

    engine = OrderedThreads(jobs(), threads=2, ahead=2, name="test")
    engine.get()
    assert wait_until(lambda: gc.collect() >= 0 and held[0]() is None)
    engine.close()


def test_idle_threads_end_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """When nobody asks for some time no thread is left; the next request is served all the same."""
    monkeypatch.setattr("multifeed.workers.threads.IDLE_S", 0.02)
    engine = OrderedThreads(slow_first(60), threads=3, ahead=4, name="test")
    for number in range(60):
        if number % 7 == 0:
            assert wait_until(lambda: alive() == 0)
        assert engine.get() == number
    with pytest.raises(StopIteration):
        engine.get()
    engine.close()
    assert alive() == 0
