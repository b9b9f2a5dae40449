"""A worker process as its owner sees it, and the pipes that all of them share."""

from __future__ import annotations

import os
import re
import subprocess
import time
from contextlib import suppress

from multifeed.workers import worker as workers
from multifeed.workers.memory import SharedFile

# Seconds that a worker is given to tell where its threads are.
_STACKS_S = 0.5


class Process:
    """A worker process, as its owner sees it.

    Args:
        number: Which of the workers it is.
        running: The process.
        errors: The end of a pipe on which it tells of errors.
    """

    def __init__(self, number: int, running: subprocess.Popen[bytes], errors: int) -> None:
        self.number, self.errors = number, errors
        self.was_stuck = False
        self._running = running
        self._heard = b""
        os.set_blocking(errors, False)

    def hear(self, errors: dict[int, dict[int, BaseException]]) -> bool:
        """Add what it says of errors, by ticket and task; return False if it will say no more."""
        with suppress(BlockingIOError):
            data = os.read(self.errors, 2**20)
            if not data:
                return False
            self._heard += data
        head = workers.ERROR_HEAD
        while len(self._heard) >= head.size:
            ticket, task, size = head.unpack_from(self._heard)
            end = head.size + size
            if len(self._heard) < end:
                break
            packet, self._heard = self._heard[head.size : end], self._heard[end:]
            errors.setdefault(ticket, {})[task] = workers.unpack_error(packet)
        return True

    def has_ended(self) -> bool:
        """Tell whether it has ended, without waiting."""
        return self._running.poll() is not None

    def kill(self) -> None:
        """End it at once."""
        self._running.kill()

    def stack_of(self, ident: int, file: SharedFile) -> str:
        """Return the stack of one of its threads, innermost first; empty if it does not answer.

        Args:
            ident: What the interpreter calls the thread.
            file: Where it writes those of all threads.
        """
        os.ftruncate(file.handle, 0)
        # Whoever has inherited the descriptor writes where this one stands.
        os.lseek(file.handle, 0, os.SEEK_SET)
        self._running.send_signal(workers.ASK_STACKS)
        until, size = time.monotonic() + _STACKS_S, -1
        while time.monotonic() < until and (size <= 0 or size != os.fstat(file.handle).st_size):
            size = os.fstat(file.handle).st_size
            time.sleep(_STACKS_S / 10)
        text = os.pread(file.handle, 2**20, 0).decode(errors="replace")
        of_threads = re.split(r"^(?=(?:Current thread|Thread) )", text, flags=re.MULTILINE)
        found = [each for each in of_threads if f"0x{ident:016x}" in each]
        return "\n".join(found[0].strip().splitlines()[1:]) if found else ""

    def wait(self, patience_s: float) -> int:
        """Wait for its end, and bring it about if that takes too long; return its exit code."""
        try:
            return self._running.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._running.kill()
            return self._running.wait()

    def close(self) -> None:
        """Close its pipe."""
        os.close(self.errors)


class Pipes:
    """The pipes that all workers share."""

    def __init__(self) -> None:
        self.queue_end, self.queue = os.pipe()
        self.woken, self.wake = os.pipe()
        self.life_end, self.life = os.pipe()
        for handle in (self.queue_end, self.woken, self.wake):
            os.set_blocking(handle, False)
        self.closed = False

    def end_queue(self) -> None:
        """Let the workers end once they have nothing to do."""
        self.closed = True
        os.close(self.queue)

    def close(self) -> None:
        """Close all but the queue, which has been ended."""
        for handle in (self.queue_end, self.woken, self.wake, self.life_end, self.life):
            os.close(handle)
