"""Watch: which workers get nowhere, as their owner sees on the board."""

from __future__ import annotations

import time

import numpy as np

from multifeed.workers.board import NOBODY, Board
from multifeed.workers.threads import LOOK_S

# Seconds that workers are given to begin at least, whatever the time limit of a task.
_BEGIN_S = 30.0


class Watch:
    """Looks whether threads of workers get anywhere with what they are about.

    Args:
        board: The board.
        timeout_s: Seconds without a change that are too long.
    """

    def __init__(self, board: Board, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._board = board
        self._seen = self._state()
        self._still_s = np.zeros(board.claims.shape[:2])
        self._idle_s = 0.0
        self._looked = time.monotonic()

    def look(self) -> list[tuple[int, int | None]]:
        """Return the workers that are stuck, each with its thread: None where it does not begin."""
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return []
        # If this process was stopped meanwhile, so may the others have been.
        passed_s = min(now - self._looked, 2 * LOOK_S)
        self._looked = now
        state = self._state()
        is_busy = state[..., 0] != NOBODY
        is_same = (state == self._seen).all(axis=-1)
        self._seen = state
        self._still_s = np.where(is_busy & is_same, self._still_s + passed_s, 0.0)
        self._idle_s = 0.0 if is_busy.any() or not is_same.all() else self._idle_s + passed_s
        if self._idle_s >= max(self.timeout_s, _BEGIN_S):
            self._idle_s = 0.0
            return [(number, None) for number in range(len(state))]
        stuck = [int(each) for each in np.flatnonzero(self._still_s.max(axis=1) >= self.timeout_s)]
        return [(number, int(self._still_s[number].argmax())) for number in stuck]

    def _state(self) -> np.ndarray:
        """Return what each thread is about, ``int64[processes, threads, 5]``."""
        board = self._board
        places = board.claims[..., 0]
        tickets = np.where(places == NOBODY, NOBODY, board.tickets[places])
        return np.concatenate([board.claims, board.subjects, tickets[..., None]], axis=-1)
