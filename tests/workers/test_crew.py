"""Crew: jobs that processes do, whatever becomes of the processes."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from multifeed.errors import WorkerError
from multifeed.workers import worker
from multifeed.workers.crew import RESTARTS, ClosedError, Crew
from multifeed.workers.memory import SharedFile, SharedView, packed

TASKS = 5


@dataclass(frozen=True)
class Squares:
    """A program: task t of a job (place, number) writes (number + t)² to the place.

    Args:
        fails: The sum for which it raises.
        dies: That for which it ends the process, once.
        mark: A file that tells that it has.
        pause_s: How long a task takes.
    """

    fails: int = -1
    dies: int = -1
    mark: str = ""
    pause_s: float = 0.0

    def open(
        self, memory: Sequence[SharedView], notes: memoryview
    ) -> Callable[[Sequence[int], int], None]:
        def square(payload: Sequence[int], task: int) -> None:
            place, number, *_ = payload
            time.sleep(self.pause_s)
            if number + task == self.fails:
                raise KeyError(number)
            if number + task == self.dies and not Path(self.mark).exists():
                Path(self.mark).touch()
                os._exit(7)
            memory[0].at(place, 8 * TASKS).view(np.int64)[task] = (number + task) ** 2
            notes[0] += 1

        return square


@dataclass(frozen=True)
class Broken:
    """A program that cannot begin."""

    def open(
        self, memory: Sequence[SharedView], notes: memoryview
    ) -> Callable[[Sequence[int], int], None]:
        raise OSError("no camera")


@contextmanager
def crew_of(
    program: worker.Program, processes: int = 2, threads: int = 1, idle_s: float = 60
) -> Iterator[tuple]:
    """A crew, and a function of a number that hands its job in."""
    file = SharedFile()
    memory = file.grow(1_000 * 8 * TASKS)
    crew = Crew(
        packed(program),
        [file],
        processes=processes,
        threads=threads,
        tasks=TASKS,
        notes=1,
        idle_s=idle_s,
    )
    handed = iter(range(1_000))

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
            crew.wait(ticket)
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


def test_an_error_is_that_of_the_first_task() -> None:
    """With the worker's traceback as its last cause; the other jobs are done."""
    with crew_of(Squares(fails=13)) as (crew, hand_in):
        jobs = [(number, *hand_in(number)) for number in range(8, 16)]
        for number, ticket, out in jobs:
            if number <= 13 < number + TASKS:
                with pytest.raises(KeyError) as caught:
                    crew.wait(ticket)
                assert caught.value.args == (number,)
                assert "in square" in str(caught.value.__cause__)
            else:
                crew.wait(ticket)
                assert out.view(np.int64).tolist() == squares(number)


def test_a_program_that_cannot_begin_is_told() -> None:
    """Its own error comes where a job is waited for."""
    with crew_of(Broken()) as (crew, hand_in):
        ticket, _ = hand_in(1)
        with pytest.raises(WorkerError, match="could not begin: OSError: no camera"):
            crew.wait(ticket)
        assert crew.is_closed


def test_deaths_lose_nothing(tmp_path) -> None:
    """A process that ends itself in a task, and ones that are killed from outside at any moment."""
    with crew_of(Squares(dies=40, mark=str(tmp_path / "mark"), pause_s=0.0005)) as (crew, hand_in):
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


def test_workers_that_always_die_are_an_error(tmp_path) -> None:
    """After so many deaths; and all are ended."""
    with crew_of(Squares(dies=3, mark="/nowhere/at/all")) as (crew, hand_in):
        ticket, _ = hand_in(1)
        with pytest.raises((WorkerError, FileNotFoundError)):
            crew.wait(ticket)
