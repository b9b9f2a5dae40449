"""A worker process: takes tasks from a queue, does them, and says so on the board.

It is started as a program of its own, never forked, and imports what its program needs: no script, no
Keras and no backend. It ends when its owner closes the queue, or ends itself.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import select
import signal
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import cloudpickle
import numpy as np

from multifeed.workers.board import (
    ALONE,
    DONE,
    FAILED,
    LEFT,
    NOBODY,
    TAKEN,
    WAITS,
    Board,
    Claiming,
    Layout,
    how_ended,
)
from multifeed.workers.memory import SharedView, unpacked

# Seconds between two looks at whether the owner is still there, beside what the pipe says.
_LOOK_S = 1.0
# Of an error: its ticket, its task, and how many bytes its pickle has.
ERROR_HEAD = struct.Struct("<qqq")
# Causes of an error that are told of.
_MOST_CAUSES = 20
# Stands for the ticket of an error in getting ready.
AT_START = -1
# Asks a worker for the stacks of its threads.
ASK_STACKS = signal.SIGUSR1
# Seconds between two looks at whether the other threads of this process have nothing to do.
_TURN_S = 0.001

# Does a task: payload, number of the task, two whole numbers in which it says what it is about, and
# the subjects that it shall not touch, with what each has done. It returns any whole number of 64 bits.
Do = Callable[[Sequence[int], int, memoryview, Mapping[int, str]], int]


class Program(Protocol):
    """What worker processes do."""

    def open(self, memory: Sequence[SharedView], notes: memoryview) -> Do:
        """Get ready, once in each process.

        Args:
            memory: The files that results are written to.
            notes: Doubles that the owner can read.

        Returns:
            A function of a job's payload and the number of one of its tasks, which does the task; it is
            called by several threads. Whatever it writes first of the two numbers is blamed if it ends
            the process, and set aside if it does so again.
        """


@dataclass(frozen=True)
class Config:
    """All that a worker process is told: descriptors, and what to do with them.

    Args:
        number: Which of the processes it is.
        owner: The process that it works for.
        queue: Where tasks come from.
        wake: Where to say that a job has ended.
        errors: Where to write errors.
        stacks: Where to write the stacks of all threads when `ASK_STACKS` comes.
        life: Ends when the owner does.
        board: The shared file of the board.
        layout: The layout of that, as a list.
        memory: The shared files of results.
        folder: Where relative file names start.
        files: The shared files of the program.
        program: Where it stands in them, see `memory.Packed`.
        idle_s: Seconds after which a process that nobody asks for anything ends.
    """

    number: int
    owner: int
    queue: int
    wake: int
    errors: int
    stacks: int
    life: int
    board: int
    layout: Sequence[int]
    memory: Sequence[int]
    folder: str
    files: Sequence[int]
    program: Sequence[int]
    idle_s: float


def main(config: Mapping[str, Any]) -> None:
    """Work until there is nothing to do for good.

    Args:
        config: A `Config`, by name.
    """
    # Workers are a group of their own, but others may send it to all there are.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.register(ASK_STACKS, config["stacks"], all_threads=True)
    worker = _Worker(Config(**config))
    threading.Thread(target=worker.watch_owner, daemon=True).start()
    worker.run()
    # Whatever has been written is in shared memory: nothing is left that taking Python apart would do.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


class _Worker:
    def __init__(self, config: Config) -> None:
        self._config = config
        layout = Layout(*config.layout)
        self._threads = layout.threads
        self._board = Board(SharedView(config.board, writes=True).at(0, layout.size), layout)
        # Among the threads of this process; among processes, the lock on the board's file.
        self._claiming, self._telling = threading.Lock(), threading.Lock()
        self._do: Do
        subjects = self._board.subjects[config.number]
        # As numbers of Python's own: they are written once for each sample of each field.
        self._abouts = [memoryview(each) for each in subjects]
        self._known_aside: dict[int, str] = {}

    def watch_owner(self) -> None:
        """End this process when its owner ends, whatever it is about."""
        life = select.poll()
        life.register(self._config.life, select.POLLIN)
        # A process that the owner has forked may hold the other end of the pipe.
        while not life.poll(1000 * _LOOK_S) and os.getppid() == self._config.owner:
            pass
        os._exit(1)

    def run(self) -> None:
        config = self._config
        # Where that is gone, no relative name is to be had by anybody.
        with suppress(OSError):
            os.chdir(config.folder)
        try:
            views = [SharedView(each, writes=False).at for each in config.files]
            program: Program = unpacked(views, config.program)
            notes = memoryview(self._board.notes[config.number])
            memory = [SharedView(each, writes=True) for each in config.memory]
            self._do = program.open(memory, notes)
        except BaseException as error:
            self._tell(AT_START, 0, error)
            return
        others = [
            threading.Thread(target=self._work, args=(number,), daemon=True)
            for number in range(1, self._threads)
        ]
        for thread in others:
            thread.start()
        self._work(0)
        for thread in others:
            thread.join()

    def _work(self, thread: int) -> None:
        """Do tasks until the queue is closed, or this process has been idle for long."""
        queue = select.poll()
        queue.register(self._config.queue, select.POLLIN)
        self._board.idents[self._config.number, thread] = threading.get_ident()
        idle_since = time.monotonic()
        while True:
            if not queue.poll(1000 * _LOOK_S):
                if time.monotonic() - idle_since > self._config.idle_s:
                    self._leave()
                continue
            try:
                with self._claiming:
                    claimed = self._claim(thread)
                    if claimed is None:
                        continue
                    place, task, is_alone = claimed
                    if is_alone:
                        # If this ends the process, it is known what did.
                        self._wait_for_others(thread)
                        self._do_task(thread, place, task)
                if not is_alone:
                    self._do_task(thread, place, task)
            except EOFError:
                return
            idle_since = time.monotonic()

    def _claim(self, thread: int) -> tuple[int, int, bool] | None:
        """Take a task and say so on the board, as one act: none is lost if this process dies.

        Returns:
            The place of its job, the task, and whether it is to be done alone; None if somebody else was
            quicker.

        Raises:
            EOFError: If the queue is closed.
        """
        board = self._board
        with Claiming(self._config.board):
            try:
                told = os.read(self._config.queue, 1)
                if not told:
                    raise EOFError
                place = told[0]
                flags = board.flags[place].tobytes()
                for waits in (WAITS, ALONE):
                    task = flags.find(waits)
                    if task >= 0:
                        board.subjects[self._config.number, thread] = NOBODY
                        board.claims[self._config.number, thread] = place, task
                        board.flags[place, task] = TAKEN
                        return place, task, waits == ALONE
            except BlockingIOError:
                pass
            return None

    def _wait_for_others(self, thread: int) -> None:
        """Wait until no other thread of this process has a task; none can take one meanwhile."""
        others = np.arange(self._threads) != thread
        while (self._board.claims[self._config.number, others, 0] != NOBODY).any():
            time.sleep(_TURN_S)
            # Whoever watches this thread shall see that it is not stuck.
            self._board.subjects[self._config.number, thread, 1] -= 1

    def _do_task(self, thread: int, place: int, task: int) -> None:
        board, flag = self._board, DONE
        ticket = int(board.tickets[place])
        # A job that is wanted no more keeps its place until nobody writes for it.
        if ticket != NOBODY:
            try:
                payload = board.payloads[place].tolist()
                done = self._do(payload, task, self._abouts[thread], self._aside())
                board.receipts[place, task] = done
            except BaseException as error:
                try:
                    self._tell(ticket, task, error)
                except OSError:
                    # Nobody hears it: whoever owns this process takes it for dead.
                    os._exit(1)
                flag = FAILED
        board.flags[place, task] = flag
        board.claims[self._config.number, thread] = NOBODY
        if board.has_ended(place):
            # Two may see each other's flag, or neither: the owner looks from time to time.
            with suppress(BlockingIOError, BrokenPipeError):
                os.write(self._config.wake, b"\0")

    def _aside(self) -> Mapping[int, str]:
        """Return what is not to be touched, with how the last process ended that has touched it."""
        count = int(self._board.aside_count[0])
        if count != len(self._known_aside):
            found = self._board.aside[:count].tolist()
            self._known_aside = {subject: how_ended(code) for subject, code in found}
        return self._known_aside

    def _leave(self) -> None:
        """End this process, unless some thread of it has something to do, or something has just come.

        If it comes in between, the owner sees that this process has ended, and starts another one.
        """
        with self._claiming:
            is_busy = (self._board.claims[self._config.number, :, 0] != NOBODY).any()
            if not is_busy and not select.select([self._config.queue], [], [], 0)[0]:
                self._board.states[self._config.number] = LEFT
                os._exit(0)

    def _tell(self, ticket: int, task: int, error: BaseException) -> None:
        data = pack_error(error)
        with self._telling, open(self._config.errors, "wb", closefd=False) as pipe:
            pipe.write(ERROR_HEAD.pack(ticket, task, len(data)) + data)


class WorkerTraceback(Exception):
    """The traceback of an exception in the worker process that raised it."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def pack_error(error: BaseException) -> bytes:
    """Return an exception and its causes as bytes; those that cannot be copied as what they say."""
    text = "".join(traceback.format_exception(error))
    chain: list[bytes] = []
    each: BaseException | None = error
    seen: set[int] = set()
    # An exception may be raised from itself, in a circle.
    while each is not None and id(each) not in seen and len(chain) < _MOST_CAUSES:
        seen.add(id(each))
        chain.append(_copied(each))
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
    return pickle.dumps((text, chain))


def unpack_error(data: bytes) -> BaseException:
    """Return what `pack_error` packed; its last cause is the traceback in the worker process."""
    text, chain = pickle.loads(data)
    errors: list[BaseException] = []
    for each in chain:
        try:
            errors.append(pickle.loads(each))
        except Exception:
            # It can be read in the worker process alone.
            errors.append(RuntimeError(text.strip().splitlines()[-1]))
    errors.append(WorkerTraceback(text))
    for error, cause in pairwise(errors):
        error.__cause__ = cause
    return errors[0]


def _copied(error: BaseException) -> bytes:
    try:
        data: bytes = cloudpickle.dumps(error)
        # Many an exception can be written and not be read: its constructor wants more than its message.
        pickle.loads(data)
    except Exception:
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    return data
