"""A watch over functions of the user: whether they draw from the random state of the whole process."""

from __future__ import annotations

import random
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from multifeed.errors import MultifeedWarning, lines

# Of so many calls of a function, how often it may use random numbers that are not its own: another
# thread that does so in the meantime is no reason for a warning.
_WATCHED_CALLS = 64
_TOLERATED = 1
# One watched call at a time: those of two functions could not be told apart.
_WATCH = threading.Lock()


class Watch:
    """Calls a function, and warns once if it uses the global random state in its first calls.

    Args:
        remedy: What the warning tells the user to do.
    """

    def __init__(self, remedy: str) -> None:
        self._remedy = remedy
        self._calls = self._uses = 0

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Return what a function returns."""
        # Never waited for: the function may itself wait for another one.
        if self._calls >= _WATCHED_CALLS or not _WATCH.acquire(blocking=False):
            return function(*args)
        before = global_state()
        try:
            returned = function(*args)
            warns = self._saw(before != global_state())
        finally:
            _WATCH.release()
        if warns:
            warnings.warn(
                lines(
                    f"{name_of(function)} uses the global random state of numpy.random or random: its "
                    "batches differ from run to run, and with the number of workers.",
                    self._remedy,
                ),
                MultifeedWarning,
                stacklevel=3,
            )
        return returned

    def _saw(self, uses: bool) -> bool:
        """Count a call, and tell whether it is time for a warning."""
        self._calls += 1
        self._uses += uses
        warns = self._uses > _TOLERATED
        if warns:
            self._calls = _WATCHED_CALLS
        return warns


def name_of(function: Callable[..., Any]) -> str:
    """Return what a function is called."""
    return getattr(function, "__name__", type(function).__name__)


def global_state() -> tuple[Any, ...]:
    """Return where the random numbers of `random` and of numpy.random stand, to be compared."""
    state: Any = np.random.get_state(legacy=False)
    inner = state["state"]
    # Of the generator that is the default, the key is an array; others have numbers.
    found = [each.tobytes() if isinstance(each, np.ndarray) else each for each in inner.values()]
    return random.getstate(), *found, state.get("gauss")
