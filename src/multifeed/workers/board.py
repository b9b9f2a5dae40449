"""What worker processes and the process that owns them tell each other in shared memory.

Everything that matters lies here: a message may get lost, to an interrupt or to a death, but nobody
depends on one.
"""

from __future__ import annotations

import fcntl
import signal
from dataclasses import dataclass

import numpy as np

# What becomes of a task: nobody has it; nobody has it, and whoever takes it shall do nothing else
# meanwhile; a worker is about it; it is done; it has failed.
WAITS, ALONE, TAKEN, DONE, FAILED = range(5)
# Whether a process is there, or has ended of its own accord.
WORKS, LEFT = range(2)
# Stands for a ticket, a task and a subject where there is none.
NOBODY = -1
# Stands for the exit code of a process that was killed since it got nowhere.
STUCK = 2**32
# Whole numbers that say what a job is about.
PAYLOAD = 6
# Jobs that may be under way at most: a place is told in a byte.
MOST_JOBS = 64
# Subjects that are set aside at most: each has ended two processes.
MOST_ASIDE = 1_024


@dataclass(frozen=True)
class Layout:
    """How large a board is.

    Args:
        jobs: How many jobs may be under way.
        tasks: How many tasks a job has at most.
        processes: How many worker processes there are.
        threads: How many threads each has.
        notes: How many numbers each process keeps for its own purposes.
    """

    jobs: int
    tasks: int
    processes: int
    threads: int
    notes: int

    @property
    def size(self) -> int:
        """Bytes of the board."""
        a_job, a_process = 1 + PAYLOAD + self.tasks, 1 + 5 * self.threads + self.notes
        numbers = self.jobs * a_job + self.processes * a_process + 1 + 2 * MOST_ASIDE
        return 8 * numbers + self.jobs * self.tasks


class Claiming:
    """The lock under which tasks are taken, among processes; that of one that has died is free.

    Args:
        handle: The shared file of the board.
    """

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def __enter__(self) -> None:
        fcntl.lockf(self._handle, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self._handle, fcntl.LOCK_UN)


class Board:
    """Shared memory, by what stands in it.

    `tickets` ``int64[jobs]``: which job has a place; `payloads` ``int64[jobs, 6]``: what that is about.
    The owner writes them.
    `flags` ``uint8[jobs, tasks]``: what has become of each task. Taking one needs the lock on the
    board's file; whoever has taken it writes the rest.
    `receipts` ``int64[jobs, tasks]``: what doing a task has returned.
    `claims` ``int64[processes, threads, 2]``: the place and task that a thread has taken.
    `subjects` ``int64[processes, threads, 2]``: what it is about within that task, as its program says.
    `idents` ``int64[processes, threads]``: what the interpreter calls the thread.
    `aside` ``int64[MOST_ASIDE, 2]``: the subjects that are not to be touched any more, each with the
    exit code of the last process that it has ended; so many of them as `aside_count` ``int64[1]`` says.
    The owner adds them.
    `states` ``int64[processes]``: whether a process has left.
    `notes` ``float64[processes, notes]``: what a process adds up.

    Args:
        memory: ``uint8[size]``.
        layout: Its layout.
    """

    def __init__(self, memory: np.ndarray, layout: Layout) -> None:
        jobs, processes = layout.jobs, layout.processes
        parts: list[tuple[tuple[int, ...], type]] = [
            ((jobs,), np.int64),
            ((jobs, PAYLOAD), np.int64),
            ((jobs, layout.tasks), np.int64),
            ((processes, layout.threads, 2), np.int64),
            ((processes, layout.threads, 2), np.int64),
            ((processes, layout.threads), np.int64),
            ((1,), np.int64),
            ((MOST_ASIDE, 2), np.int64),
            ((processes,), np.int64),
            ((processes, layout.notes), np.float64),
            ((jobs, layout.tasks), np.uint8),
        ]
        arrays, place = [], 0
        for shape, dtype in parts:
            array = np.ndarray(shape, dtype, memory, place)
            arrays.append(array)
            place += array.nbytes
        self.tickets, self.payloads, self.receipts, self.claims, self.subjects, self.idents = arrays[:6]
        self.aside_count, self.aside, self.states, self.notes, self.flags = arrays[6:]

    def has_ended(self, place: int) -> bool:
        """Tell whether all tasks of the job at a place have been done, or have failed."""
        flags: bytes = self.flags[place].tobytes()
        return min(flags) >= DONE

    def waiting(self, place: int) -> list[int]:
        """Return the tasks of the job at a place that nobody has."""
        found: list[int] = np.flatnonzero(self.flags[place] <= ALONE).tolist()
        return found


def how_ended(code: int) -> str:
    """Say how a process has ended, as the end of a sentence; `code` is what `subprocess` calls it."""
    if code == STUCK:
        return "after it had been stuck for longer than timeout_s"
    if code >= 0:
        return f"with exit code {code}"
    try:
        return f"by {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"
