"""Files that stay open from sample to sample, where opening them costs more than reading."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from multifeed.errors import BadValue
from multifeed.files import is_limit_of_files
from multifeed.folder import Folder

# Open at a time, for each field and thread. Rows near each other are often of one file; in a shuffled
# epoch over thousands of files none would do better than a few.
_MOST = 4


class Handles(threading.local):
    """What a library has made of files that are open: a few for each thread, none in another process.

    Args:
        make: Opens a file: a function of the folder and the name, as `Folder.open` has them, that
            returns something with ``close()``, which closes itself too once it is dropped.
    """

    def __init__(self, make: Callable[[Folder, str], Any]) -> None:
        self._make = make
        self._open: OrderedDict[str, tuple[object, Any]] = OrderedDict()

    def get(self, folder: Folder, name: str) -> Any:
        """Return the one of a file, opened anew if the file is another one by now.

        It is valid until the next call of this thread.

        Raises:
            BadValue: If the name leads out of the folder, or what `make` raises.
        """
        stamp = folder.stamp(name)
        known, found = self._open.pop(name, (None, None))
        if found is None or known != stamp:
            self._close(found)
            found = self._made(folder, name)
            while len(self._open) >= _MOST:
                self._close_oldest()
        self._open[name] = stamp, found
        return found

    def _made(self, folder: Folder, name: str) -> Any:
        """Open a file; of those that are open as many are closed as that takes."""
        while True:
            try:
                return self._make(folder, name)
            except BadValue as error:
                if not self._open or not is_limit_of_files(error.__cause__):
                    raise
            self._close_oldest()

    def _close_oldest(self) -> None:
        self._close(self._open.popitem(last=False)[1][1])

    def __reduce__(self) -> tuple[type[Handles], tuple[Callable[[Folder, str], Any]]]:
        """Tell that a copy, in another process, opens files itself."""
        return Handles, (self._make,)

    @staticmethod
    def _close(found: Any) -> None:
        if found is not None:
            # Of a damaged file this may fail as well; nothing was written.
            with suppress(Exception):
                found.close()
