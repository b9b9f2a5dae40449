"""How many processors there are to work with."""

from __future__ import annotations

import os

# Threads where most of the time they wait for storage far away.
_WAITING = 32


def threads_for(*, waits: bool) -> int:
    """Return how many threads are worth their while, where they wait for storage far away or not."""
    return max(_WAITING, usable_cpus()) if waits else usable_cpus()


def usable_cpus() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
