"""Crew: jobs that processes do, whatever becomes of the processes."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from multifeed.errors import WorkerError
from multifeed.workers import watch, worker
from multifeed.workers.board import ALONE, NOBODY, TAKEN, WAITS
from multifeed.workers.crew import RESTARTS, ClosedError, Crew, Tally
from multifeed.workers.memory import SharedFile, SharedView, packed

TASKS = 5


@dataclass(frozen=True)
class Squares:
    """A program: task t of a job (place, number) writes (number + t)² to the place.

    Args:
        fails: The sum for which it raises.
        dies: Those for which it ends the process, once; always if there is no mark.
        mark: A file that tells that it has.
        hangs: That for which it never ends.
        pause_s: How long a task takes.
    """

    fails: int = -1
    dies: Collection[int] = ()
    mark: str = ""
    hangs: int = -1
    pause_s: float = 0.0

    def open(self, memory: Sequence[SharedView], notes: memoryview) -> worker.Do:
        def square(
            payload: Sequence[int], task: int, about: memoryview, aside: Mapping[int, str]
        ) -> int:
            place, number, *_ = payload
            about[0] = number + task
            if number + task in aside:
                raise LookupError(f"{number + task} ended two, the last {aside[number + task]}")
            time.sleep(self.pause_s)
            if number + task == self.fails:
                raise KeyError(number)
            while number + task == self.hangs:
                pass
            if number + task in self.dies and not (self.mark and Path(self.mark).exists()):
                if self.mark:
                    Path(self.mark).touch()
                os._exit(7)
            memory[0].at(place, 8 * TASKS).view(np.int64)[task] = (number + task) ** 2
            notes[0] += 1
            return number + task

        return square


@dataclass(frozen=True)
class Broken:
    """A program that cannot begin."""

    def open(self, memory: Sequence[SharedView], notes: memoryview) -> worker.Do:
        raise OSError("no camera")


@contextmanager
def crew_of(
    program: worker.Program, processes: int = 2, threads: int = 1, idle_s: float = 60, **options
) -> Iterator[tuple]:
    """A crew, and a function of a number that hands its job in."""
    file = SharedFile()
    memory = file.grow(2_000 * 8 * TASKS)
    crew = Crew(
        packed(program),
        [file],
        processes=processes,
        threads=threads,
        tasks=TASKS,
        notes=1,
        name_of=lambda subject, detail: f"number {subject}",
        idle_s=idle_s,
        **options,
    )
    handed = iter(range(2_000))

    def hand_in(number: int):
        place = 8 * TASKS * next(handed)
        return crew.submit([place, number], TASKS, memory), memory[place : place + 8 * TASKS]

    try:
        yield crew, hand_in
    finally:
        crew.close()
        gc.collect()
        assert not [each for each in psutil.Process().children() if each.status() != "zombie"]


def squares(number: int) -> list[int]:
    return [(number + task) ** 2 for task in range(TASKS)]


@pytest.mark.parametrize(("processes", "threads"), [(1, 1), (2, 3)])
def test_results_are_there_when_a_job_has_ended(processes: int, threads: int) -> None:
    """In the order of waiting, whatever that is; each task is done once."""
    with crew_of(Squares(), processes, threads) as (crew, hand_in):
        jobs = [(number, *hand_in(number)) for number in range(50)]
        for number, ticket, out in reversed(jobs):
            assert crew.wait(ticket) == (sum(range(number, number + TASKS)), {})
            assert out.view(np.int64).tolist() == squares(number)
        assert sum(notes[0] for notes in crew.notes()) == 50 * TASKS


def test_there_is_room_for_so_many_jobs() -> None:
    """One more is not taken; waiting for one makes room; dropped ones too, once nobody writes."""
    with crew_of(Squares(pause_s=0.001)) as (crew, hand_in):
        tickets = [hand_in(number)[0] for number in range(crew.jobs)]
        assert None not in tickets
        assert hand_in(0)[0] is None
        crew.wait(tickets.pop())
        assert hand_in(0)[0] is not None
        for ticket in tickets:
            crew.drop(ticket)
        limit = time.monotonic() + 10
        while hand_in(0)[0] is None:
            assert time.monotonic() < limit
            time.sleep(0.01)


def test_an_error_is_told_with_its_task() -> None:
    """With the worker's traceback as its last cause; the other jobs are done."""
    with crew_of(Squares(fails=13)) as (crew, hand_in):
        jobs = [(number, *hand_in(number)) for number in range(8, 16)]
        for number, ticket, out in jobs:
            if number <= 13 < number + TASKS:
                _, errors = crew.wait(ticket)
                [(task, error)] = errors.items()
                assert (number + task, error.args) == (13, (number,))
                assert "in square" in str(error.__cause__)
            else:
                crew.wait(ticket)
                assert out.view(np.int64).tolist() == squares(number)


def test_an_error_is_heard_though_its_worker_has_left() -> None:
    """Of a job that nobody has waited for yet, by a worker that then had nothing to do."""
    with crew_of(Squares(fails=13), processes=1, idle_s=0.0) as (crew, hand_in):
        jobs = [(number, *hand_in(number)) for number in (1, 12)]
        limit = time.monotonic() + 10
        while any(each.status() != "zombie" for each in psutil.Process().children()):
            assert time.monotonic() < limit
            time.sleep(0.02)
        hand_in(30)
        for number, ticket, _ in jobs:
            _, errors = crew.wait(ticket)
            assert [error.args for error in errors.values()] == ([] if number == 1 else [(12,)])


def test_a_program_that_cannot_begin_is_told() -> None:
    """Its own error comes where a job is waited for."""
    with crew_of(Broken()) as (crew, hand_in):
        ticket, _ = hand_in(1)
        with pytest.raises(WorkerError, match="could not begin: OSError: no camera"):
            crew.wait(ticket)
        assert crew.is_closed


def test_deaths_lose_nothing(tmp_path) -> None:
    """A process that ends itself in a task, and ones that are killed from outside at any moment."""
    with crew_of(Squares(dies=(40,), mark=str(tmp_path / "mark"), pause_s=0.0005)) as (crew, hand_in):
        random = np.random.default_rng(0)
        killed = 0
        for start in range(0, 400, 40):
            jobs = [(number, *hand_in(number)) for number in range(start, start + 40)]
            if killed < RESTARTS - 2:
                time.sleep(random.uniform(0, 0.05))
                children = psutil.Process().children()
                os.kill(random.choice([each.pid for each in children]), signal.SIGKILL)
                killed += 1
            for number, ticket, out in jobs:
                crew.wait(ticket)
                assert out.view(np.int64).tolist() == squares(number)
        assert (tmp_path / "mark").exists()


def test_a_worker_with_nothing_to_do_ends_and_another_one_comes() -> None:
    """Idle ones leave by themselves, which is no death; a job that comes then is done."""
    with crew_of(Squares(), processes=1, idle_s=0.0) as (crew, hand_in):
        for number in range(2):
            ticket, out = hand_in(number)
            crew.wait(ticket)
            assert out.view(np.int64).tolist() == squares(number)
            limit = time.monotonic() + 10
            while any(each.status() != "zombie" for each in psutil.Process().children()):
                assert time.monotonic() < limit
                time.sleep(0.02)
        assert crew._restarts == 0


def test_a_closed_crew_takes_nothing_and_hands_nothing_over() -> None:
    """Whoever waits, or comes, is told."""
    with crew_of(Squares(pause_s=0.01)) as (crew, hand_in):
        ticket, _ = hand_in(1)
        crew.close()
        with pytest.raises(ClosedError):
            crew.wait(ticket)
        with pytest.raises(ClosedError):
            hand_in(2)


@pytest.mark.parametrize(("processes", "threads"), [(1, 1), (2, 1), (2, 4)])
def test_what_has_ended_two_workers_is_set_aside(processes: int, threads: int) -> None:
    """And nothing else, although several threads were about something when their process ended."""
    program, tally = Squares(dies=(53,), pause_s=0.002), Tally()
    with crew_of(program, processes, threads, tally=tally) as (crew, hand_in):
        for number in range(0, 100, TASKS):
            ticket, out = hand_in(number)
            _, errors = crew.wait(ticket)
            if number <= 53 < number + TASKS:
                [(task, error)] = errors.items()
                assert number + task == 53
                assert error.args == ("53 ended two, the last with exit code 7",)
            else:
                assert not errors
                assert out.view(np.int64).tolist() == squares(number)
        assert (tally.restarts, tally.recomputed) == (2, 1)


def test_what_is_set_aside_stays_so_for_the_next_workers() -> None:
    """Of crews that share a tally, only the first one loses workers to it."""
    tally = Tally()
    for _ in range(3):
        with crew_of(Squares(dies=(13,)), processes=1, tally=tally) as (crew, hand_in):
            [error] = crew.wait(hand_in(12)[0])[1].values()
            assert error.args == ("13 ended two, the last with exit code 7",)
            assert crew.fatal() == {13: "with exit code 7"}
        assert tally.restarts == 2


def test_a_suspect_stays_one_though_it_had_not_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that ends while a task waits to be alone was about nothing in that one."""
    with crew_of(Squares()) as (crew, hand_in):
        monkeypatch.setattr(crew, "_start_missing", lambda: None)
        ticket, _ = hand_in(3)
        board = crew._board
        for subject in (NOBODY, 4, NOBODY):
            board.flags[ticket.place, 1] = TAKEN
            board.claims[0, 0], board.subjects[0, 0, 0] = (ticket.place, 1), subject
            crew._return_claims(0, -9)
            assert board.flags[ticket.place, 1] == (ALONE if ticket.suspects else WAITS)
        assert ticket.suspects == {1: 4}
        assert not crew.fatal()


def test_workers_that_always_die_are_an_error() -> None:
    """After so many deaths; and all are ended."""
    with crew_of(Squares(dies=range(1_000))) as (crew, hand_in):
        tickets = [hand_in(number)[0] for number in range(20)]

        def wait_for_all() -> None:
            for ticket in tickets:
                crew.wait(ticket)

        with pytest.raises(WorkerError) as caught:
            wait_for_all()
        assert str(caught.value) == (
            "worker processes are started anew up to 10 times in an epoch, and once more for every 20 "
            "batches; one more has ended with exit code 7.\n"
            "  If one sample does it, mf.check(data) finds its file; if memory is short, pass a smaller "
            "batch_size or fewer processes."
        )
        assert crew.is_closed


def test_a_worker_may_be_killed_again_and_again() -> None:
    """As long as there are jobs done in between: one restart for every 20 of them."""
    tally, numbers = Tally(), iter(range(900))
    with crew_of(Squares(), tally=tally, epoch_jobs=10_000) as (crew, hand_in):

        def do() -> None:
            number = next(numbers)
            ticket, out = hand_in(number)
            crew.wait(ticket)
            assert out.view(np.int64).tolist() == squares(number)

        for deaths in range(1, RESTARTS + 5):
            for _ in range(25):
                do()
            alive = [each for each in psutil.Process().children() if each.status() != "zombie"]
            os.kill(alive[0].pid, signal.SIGKILL)
            # A process takes its time to die, which is heard while some job is waited for.
            while tally.restarts < deaths:
                do()
                time.sleep(0.05)
        assert tally.restarts == RESTARTS + 4


def test_what_never_ends_is_set_aside(caplog: pytest.LogCaptureFixture) -> None:
    """After two workers have been killed that were at it; the log says where they were."""
    tally = Tally()
    with crew_of(Squares(hangs=13), timeout_s=0.5, tally=tally) as (crew, hand_in):
        jobs = [(number, *hand_in(number)) for number in (10, 20)]
        for number, ticket, out in jobs:
            _, errors = crew.wait(ticket)
            assert [str(error) for error in errors.values()] == (
                ["13 ended two, the last after it had been stuck for longer than timeout_s"]
                if number == 10
                else []
            )
            assert number == 10 or out.view(np.int64).tolist() == squares(number)
    assert tally.restarts == 2
    stuck = [each for each in caplog.messages if "timeout_s" in each and "is at" in each]
    assert len(stuck) == 2
    assert stuck[0].startswith("number 13 has taken longer than timeout_s=0.5.")
    assert "in square" in stuck[0].splitlines()[1]


def test_a_worker_that_was_stopped_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """By SIGSTOP: it does not answer, and is killed; what it was about is done by another one."""
    monkeypatch.setattr(watch, "_BEGIN_S", 5.0)
    tally = Tally()
    with crew_of(Squares(pause_s=0.05), 1, timeout_s=0.5, tally=tally) as (crew, hand_in):
        ticket, out = hand_in(1)
        time.sleep(0.1)
        while not psutil.Process().children():
            time.sleep(0.01)
        os.kill(psutil.Process().children()[0].pid, signal.SIGSTOP)
        assert crew.wait(ticket) == (15, {})
        assert out.view(np.int64).tolist() == squares(1)
    assert tally.restarts <= 1


def test_workers_that_do_not_begin_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped before they have taken anything."""
    monkeypatch.setattr(watch, "_BEGIN_S", 5.0)
    tally = Tally()
    with crew_of(Squares(), 1, timeout_s=0.5, tally=tally) as (crew, hand_in):
        ticket, out = hand_in(1)
        os.kill(psutil.Process().children()[0].pid, signal.SIGSTOP)
        assert crew.wait(ticket) == (15, {})
        assert out.view(np.int64).tolist() == squares(1)
    assert tally.restarts >= 1
