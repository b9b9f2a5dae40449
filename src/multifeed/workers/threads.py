"""An ordered, bounded map over threads."""

from __future__ import annotations

import atexit
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Job(Generic[T]):
    """Tasks that together make one result.

    Args:
        result: What is handed over when all tasks have run.
        tasks: Functions without arguments, in any order, on any thread.
    """

    __slots__ = ("errors", "pending", "result", "tasks")

    def __init__(self, result: T, tasks: Sequence[Callable[[], None]]) -> None:
        self.result = result
        self.tasks = tasks
        self.pending = len(tasks)
        self.errors: dict[int, BaseException] = {}


class OrderedThreads(Generic[T]):
    """Runs jobs on threads and hands their results over in the order of the jobs.

    A slow task does not idle the other threads: they go on with later jobs, up to `ahead` of them.
    Jobs are drawn from their iterator one at a time, when there is room, by whichever thread is free.
    The threads end when this object is closed, is dropped, or the interpreter exits.

    Args:
        jobs: Where jobs come from; may be endless. It must not refer to this object or its owner.
        threads: How many threads run tasks.
        ahead: How many jobs may be begun or finished but not yet handed over.
        name: What the threads are called.
    """

    def __init__(self, jobs: Iterator[Job[T]], *, threads: int, ahead: int, name: str) -> None:
        self._state: _State[T] = _State(jobs, ahead)
        # The threads refer to the state alone, so that an engine that is dropped can be collected.
        weakref.finalize(self, self._state.stop).atexit = False
        _running.add(self._state)
        try:
            for number in range(threads):
                self._state.start_thread(f"{name}-{number}")
        except BaseException:
            self.close()
            raise

    def get(self) -> T:
        """Return the next job's result, or raise the error of its first task that failed.

        Raises:
            StopIteration: If there are no more jobs.
        """
        job = self._state.wait_for_next()
        if job.errors:
            raise job.errors[min(job.errors)]
        return job.result

    def close(self) -> None:
        """Stop the threads, once their running tasks have ended, and drop all results."""
        self._state.stop()
        self._state.join()


class _State(Generic[T]):
    """What the threads of one engine share."""

    def __init__(self, jobs: Iterator[Job[T]], ahead: int) -> None:
        self._jobs = jobs
        self._ahead = ahead
        # Re-entrant, since the collector may run `stop` in a thread that holds it.
        self._changed = threading.Condition(threading.RLock())
        self._in_flight: deque[Job[T]] = deque()
        self._tasks: deque[tuple[Job[T], int]] = deque()
        self._exhausted = False
        self._stopped = False
        self._threads: list[threading.Thread] = []

    def start_thread(self, name: str) -> None:
        # Daemons, because a thread that is waiting must not keep the interpreter from exiting; they
        # are stopped and joined before it tears anything down (see `_close_all`).
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._tasks.clear()
            self._in_flight.clear()
            self._changed.notify_all()

    def join(self) -> None:
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def wait_for_next(self) -> Job[T]:
        with self._changed:
            while not (self._in_flight and self._in_flight[0].pending == 0):
                if self._stopped or (self._exhausted and not self._in_flight):
                    raise StopIteration
                self._changed.wait()
            job = self._in_flight.popleft()
            self._changed.notify_all()
            return job

    def _work(self) -> None:
        while (task := self._next_task()) is not None:
            job, number = task
            try:
                job.tasks[number]()
            except BaseException as error:
                job.errors[number] = error
            with self._changed:
                job.pending -= 1
                if not job.pending:
                    self._changed.notify_all()
            # A thread that waits must not keep a batch alive.
            del task, job

    def _next_task(self) -> tuple[Job[T], int] | None:
        with self._changed:
            while not self._stopped:
                if self._tasks:
                    return self._tasks.popleft()
                if self._exhausted or len(self._in_flight) >= self._ahead:
                    self._changed.wait()
                else:
                    self._draw()
            return None

    def _draw(self) -> None:
        """Take the next job in. An error in making it is handed over in its place."""
        try:
            job = next(self._jobs)
        except StopIteration:
            self._exhausted = True
            self._changed.notify_all()
            return
        except BaseException as error:
            job = Job.__new__(Job)
            job.tasks, job.pending, job.errors = (), 0, {0: error}
            self._exhausted = True
        self._in_flight.append(job)
        self._tasks.extend((job, number) for number in range(len(job.tasks)))
        self._changed.notify_all()


_running: weakref.WeakSet[_State[Any]] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """End all threads while the interpreter is whole: C code must not return into a half-dead one."""
    for state in list(_running):
        state.stop()
    for state in list(_running):
        state.join()
