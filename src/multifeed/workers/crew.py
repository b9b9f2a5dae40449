"""Worker processes: jobs go to whichever is free, and what they write lies in shared memory.

The owner has no thread for them. It writes tasks to a pipe that all workers read from, and looks at the
board when it wants a result. A worker that dies takes nothing along: what it had claimed stands on the
board, and is given to another one. So is what one of them does that gets nowhere: it is killed.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import select
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass, field
from functools import partial
from itertools import count
from typing import IO, Any, cast

import numpy as np

from multifeed.errors import DeclarationError, WorkerError, lines
from multifeed.workers import board as boards
from multifeed.workers import worker as workers
from multifeed.workers.board import Board, Claiming, Layout
from multifeed.workers.memory import Packed, SharedFile, no_room
from multifeed.workers.process import Pipes, Process
from multifeed.workers.threads import LOOK_S
from multifeed.workers.watch import Watch

# How many workers are started anew after a death, before that is an error: so many in an epoch, and one
# more for each of so many jobs.
RESTARTS = 10
JOBS_A_RESTART = 20
# Seconds that workers are given to end by themselves; what they are about is wanted no more.
_PATIENCE_S = 2.0
# Words that fit into a pipe: 16 KiB is what all systems have.
_QUEUE_TASKS = 2**14

# What a worker is told comes by its standard input: a command line may be too long.
_BOOT = (
    "import json, sys; told = json.load(sys.stdin); sys.path[:] = told['path']; "
    "from multifeed.workers.worker import main; main(told['config'])"
)
# Worker processes share the cores: what each calls must not start a thread for every one of them.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


_log = logging.getLogger("multifeed")


class ClosedError(Exception):
    """A crew was closed while somebody waited for it."""


@dataclass
class Tally:
    """What has happened to workers.

    Args:
        restarts: How many were started anew after a death.
        recomputed: How many jobs were done again, in part or whole.
        aside: By subject that is not to be touched any more, the exit code of the last worker that has
            touched it.
    """

    restarts: int = 0
    recomputed: int = 0
    aside: dict[int, int] = field(default_factory=dict)

    def fatal(self) -> dict[int, str]:
        """Return what is set aside, with how the last worker ended that has touched it."""
        return {subject: boards.how_ended(code) for subject, code in self.aside.items()}


@dataclass(eq=False)
class Ticket:
    """A job that has been handed in.

    Args:
        number: Its number.
        place: Where it stands on the board.
        keeps: What must not be given back before all of them have ended.
        suspects: By task, what the last worker that ended in it was about, if about anything.
        is_recomputed: Whether a worker has ended in it.
    """

    number: int
    place: int
    keeps: Any
    suspects: dict[int, int] = field(default_factory=dict)
    is_recomputed: bool = False


class Crew:
    """Worker processes that do one program's jobs.

    They are started when there is something to do, in some 0.4 s, and end when this is closed or
    dropped, when the owner ends in whatever way, or when there was nothing to do for a minute.

    Args:
        program: A `worker.Program`, packed.
        memory: The shared files that results are written to.
        processes: How many workers.
        threads: How many threads each has.
        tasks: How many tasks a job has at most.
        notes: How many numbers each worker keeps for the owner.
        name_of: Says in words what the two numbers mean in which a task says what it is about.
        epoch_jobs: Jobs after which workers may be started anew as often again.
        timeout_s: Seconds without a change in what it is about after which a worker is killed; None for
            never.
        tally: Where to count what happens. What other workers have set aside there stays so.
        idle_s: Seconds after which a worker that has nothing to do ends; it is started anew when needed.
    """

    def __init__(
        self,
        program: Packed,
        memory: Sequence[SharedFile],
        *,
        processes: int,
        threads: int,
        tasks: int,
        notes: int,
        name_of: Callable[[int, int], str],
        epoch_jobs: int = 1_000,
        timeout_s: float | None = None,
        tally: Tally | None = None,
        idle_s: float = 60.0,
    ) -> None:
        self.processes = processes
        self._program, self._memory, self._idle_s = program, memory, idle_s
        self._name_of, self._epoch_jobs = name_of, epoch_jobs
        self._tally = tally or Tally()
        jobs = max(1, min(boards.MOST_JOBS, _QUEUE_TASKS // tasks))
        self._layout = Layout(jobs, tasks, processes, threads, notes)
        self._file, self._stacks = SharedFile(), SharedFile()
        self._memory_of_board = self._file.grow(self._layout.size)
        self._board = Board(self._memory_of_board, self._layout)
        self._board.tickets[:] = boards.NOBODY
        self._board.claims[:] = boards.NOBODY
        self._board.states[:] = boards.LEFT
        self._tell_aside()
        self._numbers = count()
        self._places = list(range(jobs))
        self._tickets: dict[int, Ticket] = {}
        # Jobs that nobody waits for any more, but some worker may still write for.
        self._dropped: list[Ticket] = []
        self._errors: dict[int, dict[int, BaseException]] = {}
        # Of this epoch.
        self._restarts, self._jobs = 0, 0
        self._watch = None if timeout_s is None else Watch(self._board, timeout_s)
        self._lock = threading.RLock()
        try:
            self._pipes = Pipes()
        except OSError as error:
            raise no_room(error) from error
        self._starting = threading.Lock()
        self._folder = os.getcwd()
        self._poll = select.poll()
        self._poll.register(self._pipes.woken, select.POLLIN)
        self._workers: list[Process | None] = [None] * processes
        self._stop = weakref.finalize(self, _stop, self._pipes, self._workers, 0.0)
        self._stop.atexit = False
        _running.add(self)

    @property
    def is_closed(self) -> bool:
        """Whether it has ended, by `close` or because workers kept dying."""
        return self._pipes.closed

    @property
    def jobs(self) -> int:
        """How many jobs may be under way."""
        return self._layout.jobs

    def notes(self) -> list[memoryview]:
        """Return where each worker notes its numbers; they stay when it has ended."""
        return [memoryview(each) for each in self._board.notes]

    def fatal(self) -> dict[int, str]:
        """Return the subjects that are set aside, with how the last worker ended that touched each."""
        return self._tally.fatal()

    def submit(
        self,
        payload: Sequence[int],
        tasks: int,
        keeps: Any,
        note: Callable[[Ticket], None] = lambda ticket: None,
    ) -> Ticket | None:
        """Hand a job in.

        Args:
            payload: What it is about: up to `board.PAYLOAD` whole numbers.
            tasks: How many tasks it has.
            keeps: What must live until all of them have ended.
            note: Called with the ticket before anything may be interrupted: whoever has it can drop it.

        Returns:
            Its ticket; None if there is no room for it now.
        """
        with self._lock:
            self._sweep()
            if self.is_closed:
                raise ClosedError
            if not self._places:
                return None
            ticket = Ticket(next(self._numbers), self._places.pop(), keeps)
            self._tickets[ticket.number] = ticket
            note(ticket)
            board, place = self._board, ticket.place
            board.payloads[place, : len(payload)] = payload
            board.receipts[place] = 0
            board.flags[place, tasks:] = boards.DONE
            board.flags[place, :tasks] = boards.WAITS
            board.tickets[place] = ticket.number
            self._jobs += 1
            if self._jobs > self._epoch_jobs:
                self._restarts, self._jobs = 0, 1
            os.write(self._pipes.queue, bytes([place]) * tasks)
            self._start_missing()
        return ticket

    def wait(self, ticket: Ticket) -> tuple[int, dict[int, BaseException]]:
        """Wait until a job has ended.

        Returns:
            The sum of what its tasks have returned, as an integer of 64 bits, and the errors of those
            that failed, by their number.

        Raises:
            WorkerError: If workers keep dying, or get nowhere.
            ClosedError: If this was closed meanwhile.
        """
        if self.is_closed:
            raise ClosedError
        try:
            while not self._board.has_ended(ticket.place):
                with self._lock:
                    if self.is_closed:
                        raise ClosedError
                    if not self._board.has_ended(ticket.place):
                        self._listen()
            flags = self._board.flags[ticket.place].tobytes()
            errors = {}
            if boards.FAILED in flags:
                failed = [task for task, flag in enumerate(flags) if flag == boards.FAILED]
                errors = self._errors_of(ticket, failed)
            return int(self._board.receipts[ticket.place].sum()), errors
        finally:
            self.drop(ticket)

    def drop(self, ticket: Ticket) -> None:
        """Forget a job; workers pass over those of its tasks that they have not begun."""
        with self._lock:
            if self.is_closed:
                return
            if self._tickets.pop(ticket.number, None) is not None:
                self._board.tickets[ticket.place] = boards.NOBODY
                self._dropped.append(ticket)
            self._errors.pop(ticket.number, None)
            self._sweep()

    def close(self) -> None:
        """End the workers, and wait until they have."""
        self._stop.detach()
        with self._lock:
            if self.is_closed:
                return
            # What waits in the queue is wanted no more.
            self._board.tickets[:] = boards.NOBODY
            _stop(self._pipes, self._workers, _PATIENCE_S)
            self._dropped.clear()

    def forget(self) -> None:
        """Leave the workers to their owner: this is another process, forked from that."""
        self._stop.detach()
        _running.discard(self)
        if not self.is_closed:
            # These are this process's own descriptors of what it must not touch.
            self._pipes.end_queue()
            self._pipes.close()
        self._tickets.clear()
        self._dropped.clear()

    def _sweep(self) -> None:
        """Take back the places of jobs that nobody writes for any more."""
        for ticket in self._dropped[:]:
            if self._board.has_ended(ticket.place):
                # The collector may end a run, and come here, in the middle of this.
                with suppress(ValueError):
                    self._dropped.remove(ticket)
                    self._places.append(ticket.place)

    def _listen(self) -> None:
        """Wait for a word from any worker, hear what they say of errors, and see who has died."""
        heard = self._poll.poll(1000 * LOOK_S)
        if self._watch is not None:
            self._look_who_is_stuck(self._watch)
        if not heard:
            # What a worker has started may hold its pipe, so that its end is not heard.
            for worker in self._workers:
                if worker is not None and worker.has_ended():
                    worker.hear(self._errors)
                    _undisturbed(partial(self._replace, worker))
        for handle, _ in heard:
            if handle == self._pipes.woken:
                with suppress(BlockingIOError):
                    os.read(handle, 65_536)
                continue
            found = [each for each in self._workers if each is not None and each.errors == handle]
            if not found:
                continue
            [process] = found
            lives = process.hear(self._errors)
            # Of jobs that were dropped meanwhile nobody wants to know.
            for number in self._errors.keys() - self._tickets.keys() - {workers.AT_START}:
                del self._errors[number]
            if not lives:
                _undisturbed(partial(self._replace, process))

    def _look_who_is_stuck(self, watch: Watch) -> None:
        """Kill a worker of which a thread gets nowhere; all of them if none takes what is to be done."""
        for number, thread in watch.look():
            process = self._workers[number]
            if process is None or process.was_stuck:
                continue
            if thread is None:
                _log.error("worker processes do not begin what is to be done")
            else:
                ident = int(self._board.idents[number, thread])
                stack = process.stack_of(ident, self._stacks)
                _log.error(
                    "%s has taken longer than timeout_s=%g. %s",
                    self._what(number, thread),
                    watch.timeout_s,
                    f"The worker is at (innermost first):\n{stack}"
                    if stack
                    else "The worker does not answer.",
                )
                # The other threads of the process are not to be blamed for its end.
                others = np.arange(self._layout.threads) != thread
                self._board.subjects[number, others] = boards.NOBODY
            process.was_stuck = True
            process.kill()

    def _what(self, number: int, thread: int) -> str:
        """Say what a thread of a worker is about."""
        subject, detail = self._board.subjects[number, thread].tolist()
        return "a worker's task" if subject == boards.NOBODY else self._name_of(subject, detail)

    def _replace(self, process: Process) -> None:
        """Give what a worker had claimed to others, after its end, and start another one."""
        code = self._ended(process)
        at_start = self._errors.pop(workers.AT_START, None)
        if at_start is not None:
            self._fail()
            raise WorkerError(
                lines(
                    f"a worker process could not begin: {type(at_start[0]).__name__}: {at_start[0]}.",
                    "Every module that your functions need must be found from sys.path; or pass "
                    "processes=0.",
                )
            ) from at_start[0]
        if self._board.states[process.number] == boards.LEFT:
            self._start_missing()
            return
        how = boards.how_ended(code)
        self._restarts += 1
        allowed = RESTARTS + self._jobs // JOBS_A_RESTART
        if self._restarts > allowed:
            self._fail()
            raise WorkerError(
                lines(
                    f"worker processes are started anew up to {RESTARTS} times in an epoch, and once "
                    f"more for every {JOBS_A_RESTART} batches; one more has ended {how}.",
                    "If one sample does it, mf.check(data) finds its file; if memory is short, pass a "
                    "smaller batch_size or fewer processes.",
                )
            )
        self._tally.restarts += 1
        was_about = self._return_claims(process.number, code)
        _log.warning(
            "a worker process ended %s%s; it is replaced, and its work is done again (%d of %d in this "
            "epoch)",
            how,
            f" while {', '.join(was_about)}" if was_about else "",
            self._restarts,
            allowed,
        )
        self._start_missing()

    def _return_claims(self, number: int, code: int) -> list[str]:
        """Give the tasks of a worker that has ended to others; return what it was about, in words."""
        board, was_about = self._board, []
        tickets = {each.place: each for each in (*self._tickets.values(), *self._dropped)}
        with Claiming(self._file.handle):
            for thread, (place, task) in enumerate(board.claims[number].tolist()):
                if place == boards.NOBODY or board.flags[place, task] != boards.TAKEN:
                    continue
                subject = int(board.subjects[number, thread, 0])
                ticket = tickets.get(place)
                board.flags[place, task] = boards.WAITS
                if ticket is None:
                    continue
                self._tally.recomputed += not ticket.is_recomputed
                ticket.is_recomputed = True
                if subject != boards.NOBODY:
                    was_about.append(self._what(number, thread))
                    if ticket.suspects.get(task) == subject:
                        self._tally.aside.setdefault(subject, code)
                        self._tell_aside()
                    ticket.suspects[task] = subject
                if task in ticket.suspects:
                    # The next one does it with nothing else under way. If that dies as well, it is known
                    # what did it.
                    board.flags[place, task] = boards.ALONE
            board.claims[number] = boards.NOBODY
            # A word on a task may have died with it.
            with suppress(BlockingIOError):
                while os.read(self._pipes.queue_end, 65_536):
                    pass
            for ticket in tickets.values():
                os.write(self._pipes.queue, bytes([ticket.place]) * len(board.waiting(ticket.place)))
        return was_about

    def _tell_aside(self) -> None:
        """Let no worker touch again what has ended two of them."""
        told = [*self._tally.aside.items()][: boards.MOST_ASIDE]
        self._board.aside[: len(told)] = np.reshape(told, (-1, 2))
        self._board.aside_count[0] = len(told)

    def _ended(self, process: Process) -> int:
        """Take a worker that has ended, or is about to, off the list; return its exit code."""
        code = process.wait(_PATIENCE_S)
        # It may have told of an error that nobody has waited for yet, and left.
        process.hear(self._errors)
        self._poll.unregister(process.errors)
        self._workers[process.number] = None
        process.close()
        return boards.STUCK if process.was_stuck else code

    def _start_missing(self) -> None:
        """Start the workers that are not there: not yet, or no longer, having had nothing to do."""
        missing = [
            number
            for number, process in enumerate(self._workers)
            if process is None or self._board.states[number] == boards.LEFT
        ]
        if missing:
            _undisturbed(partial(self._start, missing))

    def _start(self, numbers: Sequence[int]) -> None:
        with self._starting:
            for number in numbers:
                process = self._workers[number]
                if process is not None and self._board.states[number] == boards.LEFT:
                    self._ended(process)
                if self._workers[number] is None and not self.is_closed:
                    self._board.states[number] = boards.WORKS
                    try:
                        started = self._workers[number] = self._started(number)
                    except OSError as error:
                        raise no_room(error) from error
                    self._poll.register(started.errors, select.POLLIN)

    def _started(self, number: int) -> Process:
        if not sys.executable:
            raise DeclarationError("worker processes need Python's own program; pass processes=0.")
        errors, write_errors = os.pipe()
        handles = [each.handle for each in self._program.files]
        config = workers.Config(
            number=number,
            owner=os.getpid(),
            queue=self._pipes.queue_end,
            wake=self._pipes.wake,
            errors=write_errors,
            stacks=self._stacks.handle,
            life=self._pipes.life_end,
            board=self._file.handle,
            layout=astuple(self._layout),
            memory=[each.handle for each in self._memory],
            folder=self._folder,
            files=handles,
            program=self._program.parts,
            idle_s=self._idle_s,
        )
        told = {"path": [os.path.abspath(each) for each in sys.path], "config": asdict(config)}
        passed = {config.queue, config.wake, config.errors, config.stacks, config.life, config.board}
        passed |= {*config.memory, *handles, *self._program.handles}
        try:
            running = subprocess.Popen(
                [sys.executable, "-c", _BOOT],
                stdin=subprocess.PIPE,
                pass_fds=sorted(passed),
                env=_ONE_THREAD | os.environ,
                # Ctrl-C is for the owner, who decides what becomes of its workers.
                process_group=0,
            )
        except BaseException:
            os.close(errors)
            raise
        finally:
            os.close(write_errors)
        # One that dies at once closes it; its end is heard elsewhere.
        with suppress(BrokenPipeError), cast(IO[bytes], running.stdin) as pipe:
            pipe.write(json.dumps(told).encode())
        return Process(number, running, errors)

    def _errors_of(self, ticket: Ticket, failed: Sequence[int]) -> dict[int, BaseException]:
        """Return the errors of tasks that have failed, once all of them have been heard."""
        until = time.monotonic() + _PATIENCE_S
        while not self._errors.get(ticket.number, {}).keys() >= set(failed):
            with self._lock:
                if self.is_closed:
                    raise ClosedError
                self._listen()
            if time.monotonic() > until:
                raise WorkerError("a worker process failed, and what it said of it was lost.")
        return dict(sorted(self._errors[ticket.number].items()))

    def _fail(self) -> None:
        """End all workers, so that nothing is waited for that nobody does."""
        _stop(self._pipes, self._workers, 0.0)


def _stop(pipes: Pipes, processes: list[Process | None], patience_s: float) -> None:
    """End workers: those that have nothing to do at once, the others after their task, or by force."""
    if pipes.closed:
        return
    pipes.end_queue()
    until = time.monotonic() + patience_s
    for number, process in enumerate(processes):
        if process is not None:
            process.wait(max(0.0, until - time.monotonic()))
            process.close()
            processes[number] = None
    pipes.close()


def _undisturbed(act: Callable[[], None]) -> None:
    """Do something in a thread of its own, which no Ctrl-C interrupts, and wait for it."""
    errors: list[BaseException] = []

    def work() -> None:
        try:
            act()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, name="multifeed-start")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


def _forget_all() -> None:
    """Leave all workers to the process that this one was forked from."""
    for crew in list(_running):
        crew.forget()


_running: weakref.WeakSet[Crew] = weakref.WeakSet()


os.register_at_fork(after_in_child=_forget_all)


@atexit.register
def _close_all() -> None:
    """End all workers with the interpreter."""
    for crew in list(_running):
        crew.close()
