"""An ordered, bounded map over threads.

Built on `queue.SimpleQueue` alone, whose operations are atomic: whoever consumes may be interrupted by
Ctrl-C, or run a finaliser, between any two of them. A `threading.Condition` is Python code, and an
interrupt inside it leaves its lock held for ever.
"""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")

# Seconds after which a thread that has nothing to do ends; it is started anew when there is. A host may
# keep an engine for ever (TensorFlow keeps every dataset that it has seen).
IDLE_S = 10.0
# Seconds that the exit of the interpreter waits for tasks that are running.
_EXIT_WAIT_S = 5.0
# Seconds between two looks at what is waited for, here and in worker processes.
LOOK_S = 0.1


class Job(Generic[T]):
    """Tasks that together make one result.

    Args:
        result: What is handed over when all tasks have run.
        tasks: Functions without arguments, in any order, on any thread.
    """

    __slots__ = ("ended", "errors", "pending", "result", "tasks")

    def __init__(self, result: T, tasks: Sequence[Callable[[], None]]) -> None:
        self.result = result
        self.tasks = tasks
        self.pending = len(tasks)
        self.errors: dict[int, BaseException] = {}
        # Gets True when all tasks have run, False if they never will.
        self.ended: SimpleQueue[bool] = SimpleQueue()
        if not tasks:
            self.ended.put(True)

    @classmethod
    def failed(cls, error: BaseException) -> Job[Any]:
        """Return a job that hands an error over."""
        job: Job[Any] = cls(None, ())  # type: ignore[arg-type]
        job.errors[0] = error
        return job


class OrderedThreads(Generic[T]):
    """Runs jobs on threads and hands their results over in the order of the jobs.

    A slow task does not idle the other threads: they go on with later jobs, up to `ahead` of them.
    Jobs are drawn from their iterator one at a time, when there is room, by whichever thread is free.
    The threads end when this object is closed or dropped, when nothing is asked for some seconds, or
    when the interpreter exits.

    Args:
        jobs: Where jobs come from; may be endless. It must not refer to this object or its owner.
        threads: How many threads run tasks.
        ahead: How many jobs may be begun or finished but not yet handed over.
        name: What the threads are called.
    """

    def __init__(self, jobs: Iterator[Job[T]], *, threads: int, ahead: int, name: str) -> None:
        self._state: _State[T] = _State(jobs, threads, ahead, name)
        # The threads refer to the state alone, so that an engine that is dropped can be collected.
        weakref.finalize(self, self._state.stop).atexit = False
        _running.add(self._state)
        try:
            self._state.start_threads()
        except BaseException:
            self.stop()
            raise

    def get(self, look: Callable[[T], None] = lambda result: None) -> T:
        """Return the next job's result, or raise the error of its first task that failed.

        Args:
            look: Called with the result from time to time while it is waited for; what it raises ends
                the wait.

        Raises:
            StopIteration: If there are no more jobs, or this was stopped.
        """
        job = self._state.next_ended(look)
        if job.errors:
            raise job.errors[min(job.errors)]
        return job.result

    def stop(self) -> None:
        """Let the threads end after their running tasks, and drop all results; does not wait."""
        self._state.stop()

    def close(self, timeout_s: float | None = None) -> None:
        """Stop, and wait until the threads have ended.

        Args:
            timeout_s: How long that may take, where one of them may never end.
        """
        self._state.stop()
        self._state.join(timeout_s)


class _State(Generic[T]):
    """What the threads of one engine share."""

    def __init__(self, jobs: Iterator[Job[T]], threads: int, ahead: int, name: str) -> None:
        self._jobs = jobs
        self._wanted, self._name = threads, name
        # What the threads are to do, in order: a task of a job, or None: draw the next job. There are
        # as many None under way as there is room for jobs.
        self._to_do: SimpleQueue[tuple[Job[T], int] | None] = SimpleQueue()
        for _ in range(ahead):
            self._to_do.put(None)
        # The jobs in the order in which they were drawn; None is the end.
        self._drawn: SimpleQueue[Job[T] | None] = SimpleQueue()
        self._awaited: Job[T] | None = None
        self._stopped = False
        # For the worker threads among themselves, which no interrupt reaches.
        self._drawing = threading.Lock()
        self._counting = threading.Lock()
        self._threads: list[threading.Thread] = []

    def start_threads(self) -> None:
        """Start as many threads as are wanted and not there."""
        while len(self._threads) < self._wanted and not self._stopped:
            # Daemons, because a thread that is waiting must not keep the interpreter from exiting;
            # they are stopped and joined before it tears anything down (see `_close_all`).
            thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        self._stopped = True
        for waiting in (self._to_do, self._drawn):
            with suppress(Empty):
                while True:
                    waiting.get_nowait()
        for _ in range(self._wanted):
            self._to_do.put(None)
        self._drawn.put(None)
        awaited = self._awaited
        if awaited is not None:
            awaited.ended.put(False)

    def join(self, timeout_s: float | None = None) -> None:
        until = None if timeout_s is None else time.monotonic() + timeout_s
        for thread in list(self._threads):
            if thread is not threading.current_thread() and thread.ident is not None:
                thread.join(None if until is None else max(0.0, until - time.monotonic()))

    def next_ended(self, look: Callable[[T], None]) -> Job[T]:
        self.start_threads()
        job = self._drawn.get()
        if job is None:
            self._drawn.put(None)
            raise StopIteration
        self._awaited = job
        # `stop` sets the flag before it looks at who is awaited: one of the two sees the other.
        if self._stopped or not self._has_ended(job, look):
            raise StopIteration
        self._awaited = None
        self._to_do.put(None)
        # After the put: a thread that ends for want of work looks once more before it does.
        self.start_threads()
        return job

    def _has_ended(self, job: Job[T], look: Callable[[T], None]) -> bool:
        """Wait for a job; return False if it never will end."""
        while True:
            try:
                return job.ended.get(timeout=LOOK_S)
            except Empty:
                look(job.result)

    def _work(self) -> None:
        while True:
            try:
                task = self._to_do.get(timeout=IDLE_S)
            except Empty:
                if self._leaves():
                    return
                continue
            if self._stopped:
                return
            if task is None:
                self._draw()
                continue
            job, number = task
            try:
                job.tasks[number]()
            except BaseException as error:
                job.errors[number] = error
            with self._counting:
                job.pending -= 1
                has_ended = job.pending == 0
            if has_ended:
                job.ended.put(True)
            # A thread that waits must not keep a batch alive.
            del task, job

    def _leaves(self) -> bool:
        """Take this thread off the list, unless something came to do meanwhile."""
        this = threading.current_thread()
        self._threads.remove(this)
        if self._to_do.empty():
            return True
        self._threads.append(this)
        return False

    def _draw(self) -> None:
        """Take the next job in. An error in making it is handed over in its place."""
        with self._drawing:
            try:
                job: Job[T] | None = next(self._jobs)
            except StopIteration:
                job = None
            except BaseException as error:
                job = Job.failed(error)
            self._drawn.put(job)
        if job is not None:
            for number in range(len(job.tasks)):
                self._to_do.put((job, number))


_running: weakref.WeakSet[_State[Any]] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """End all threads while the interpreter is whole: C code must not return into a half-dead one."""
    for state in list(_running):
        state.stop()
    until = time.monotonic() + _EXIT_WAIT_S
    for state in list(_running):
        state.join(max(0.0, until - time.monotonic()))
