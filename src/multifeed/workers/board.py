"""What worker processes and the process that owns them tell each other in shared memory.

Everything that matters lies here, in places that one side alone writes: a message may get lost, to an
interrupt or to a death, but nobody depends on one.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# What a worker takes from the queue: ticket, place on the board, task, and what the task is about.
# Its size divides that of a page, so a read of one never takes a part of two.
_RECORD = struct.Struct("<qii6q")
RECORD_BYTES = 64
PAYLOAD = 6

# What is written of a task.
WAITS, DONE, FAILED = 0, 1, 2
# What is written of a process.
WORKS, LEFT = 0, 1
# Who has taken no task.
NOBODY = -1


def record(ticket: int, place: int, task: int, payload: Sequence[int]) -> bytes:
    """Return a task as it stands in the queue."""
    numbers = (*payload, *[0] * (PAYLOAD - len(payload)))
    return _RECORD.pack(ticket, place, task, *numbers).ljust(RECORD_BYTES, b"\0")


def read_record(data: bytes) -> tuple[int, int, int, tuple[int, ...]]:
    """Return ticket, place, task and payload."""
    ticket, place, task, *payload = _RECORD.unpack_from(data)
    return ticket, place, task, tuple(payload)


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
        return 8 * (self.jobs + self.processes * (1 + self.notes + 2 * self.threads)) + self._flags

    @property
    def _flags(self) -> int:
        return -(-self.jobs * self.tasks // 8) * 8


class Board:
    """Shared memory, by what stands in it.

    `tickets` ``int64[jobs]``: which job has a place; the owner writes it.
    `flags` ``uint8[jobs, tasks]``: what has become of each task; whoever does the task writes it.
    `states` ``int64[processes]``: whether a process has left.
    `claims` ``int64[processes, threads, 2]``: the ticket and task that a thread is about.
    `notes` ``float64[processes, notes]``: what a process adds up.

    Args:
        memory: ``uint8[size]``.
        layout: Its layout.
    """

    def __init__(self, memory: np.ndarray, layout: Layout) -> None:
        jobs, processes, threads, notes = layout.jobs, layout.processes, layout.threads, layout.notes
        shapes = [(jobs,), (processes,), (processes, threads, 2), (processes, notes)]
        dtypes = [np.int64, np.int64, np.int64, np.float64]
        arrays, place = [], 0
        for shape, dtype in zip(shapes, dtypes, strict=True):
            size = 8 * int(np.prod(shape))
            arrays.append(memory[place : place + size].view(dtype).reshape(shape))
            place += size
        self.tickets, self.states, self.claims, self.notes = arrays
        flags = memory[place : place + jobs * layout.tasks]
        self.flags = flags.reshape(jobs, layout.tasks)
