"""A page cache that is smaller than the data: a memory cgroup where one can be made."""

from __future__ import annotations

import atexit
import os
from contextlib import suppress
from functools import partial
from pathlib import Path

_NAME = "multifeed-benchmarks"
_V1 = Path("/sys/fs/cgroup/memory")
_V2 = Path("/sys/fs/cgroup")


def can_confine() -> bool:
    """Return whether this process may make a memory cgroup."""
    return _root() is not None


def confine(limit_bytes: int) -> None:
    """Bound the memory that this process and all others that call it take together from now on.

    Pages of files count, and are given up first. What the processes hold already counts elsewhere.
    """
    root = _root()
    if root is None:
        return
    group = root / _NAME
    group.mkdir(exist_ok=True)
    bound = "memory.limit_in_bytes" if root == _V1 else "memory.max"
    (group / bound).write_text(str(limit_bytes))
    (group / "cgroup.procs").write_text(str(os.getpid()))
    atexit.register(partial(_leave, root))


def _leave(root: Path) -> None:
    with suppress(OSError):  # others may still be in it: the last one removes it
        (root / "cgroup.procs").write_text(str(os.getpid()))
        (root / _NAME).rmdir()


def _root() -> Path | None:
    if os.access(_V1 / "cgroup.procs", os.W_OK):
        return _V1
    with suppress(OSError):
        if "memory" in (_V2 / "cgroup.subtree_control").read_text().split():
            return _V2 if os.access(_V2, os.W_OK) else None
    return None


def evict(folder: Path, samples: int) -> None:
    """Drop a folder's files from the page cache."""
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    _reclaim()


def _reclaim() -> None:
    """Have the kernel take back what the cgroup holds, mapped pages too, which advice leaves alone."""
    root = _root()
    if root is None:
        return
    group = root / _NAME
    with suppress(OSError):  # what cannot be taken back is an error to version 2
        if root == _V1:
            (group / "memory.force_empty").write_text("0")
        else:
            (group / "memory.reclaim").write_text((group / "memory.current").read_text())
