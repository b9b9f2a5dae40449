"""What worker processes and the process that owns them tell each other in shared memory.

Everything that matters lies here: a message may get lost, to an interrupt or to a death, but nobody
depends on one.
"""

from __future__ import annotations

import fcntl
from dataclasses import dataclass

import numpy as np

# What becomes of a task: nobody has it, a worker is about it, it is done, it has failed.
WAITS, TAKEN, DONE, FAILED = range(4)
# Whether a process is there, or has ended of its own accord.
WORKS, LEFT = range(2)
# Stands for a ticket and a task where there is none.
NOBODY = -1
# Whole numbers that say what a job is about.
PAYLOAD = 6
# Jobs that may be under way at most: a place is told in a byte.
MOST_JOBS = 64


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
        a_job, a_process = 1 + PAYLOAD, 1 + 2 * self.threads + self.notes
        return 8 * (self.jobs * a_job + self.processes * a_process) + self.jobs * self.tasks


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
    `claims` ``int64[processes, threads, 2]``: the place and task that a thread has taken.
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
            ((processes, layout.threads, 2), np.int64),
            ((processes,), np.int64),
            ((processes, layout.notes), np.float64),
            ((jobs, layout.tasks), np.uint8),
        ]
        arrays, place = [], 0
        for shape, dtype in parts:
            array = np.ndarray(shape, dtype, memory, place)
            arrays.append(array)
            place += array.nbytes
        self.tickets, self.payloads, self.claims, self.states, self.notes, self.flags = arrays

    def has_ended(self, place: int) -> bool:
        """Tell whether all tasks of the job at a place have been done, or have failed."""
        flags: bytes = self.flags[place].tobytes()
        return min(flags) >= DONE

    def waiting(self, place: int) -> list[int]:
        """Return the tasks of the job at a place that nobody has."""
        found: list[int] = np.flatnonzero(self.flags[place] == WAITS).tolist()
        return found
