"""Generations: snapshots in a folder, each of which is there as a whole or not at all."""

from __future__ import annotations

import io
import json
import os
import re
import secrets
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from multifeed.errors import MultifeedWarning, StateError, lines
from multifeed.files import whole_file

Array = np.ndarray[Any, Any]

_NAME = re.compile(r"generation-(\d{10})\.npz")
# What was being written when a process was killed.
_TORN = re.compile(r"generation-\d{10}\.npz\.[0-9a-f]{8}")
_NOTE = "note.json"


class Generations:
    """Snapshots in a folder: a note and arrays, in one ``.npz`` file each.

    A file is written under another name, brought to the disk, and renamed. Kept are the newest one and
    the one before it, should the newest be damaged, which the checksums of the archive tell. Nothing is
    pickled. One process at a time may write.

    Args:
        folder: The folder; it is made when something is saved.

    Example:
        >>> import tempfile
        >>> generations = Generations(tempfile.mkdtemp())
        >>> generations.save({"step": 3}, {"weights": np.arange(2)})
        >>> generations.newest()
        ({'step': 3}, {'weights': array([0, 1])})
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        # The newest that is known to be intact.
        self._intact: Path | None = None

    def save(self, note: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        """Add a generation.

        Args:
            note: What JSON can hold.
            arrays: Numbers, of any shape.

        Raises:
            OSError: If it cannot be written; what there is stays.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        numbers = [int(each.name[11:21]) for each in self._files()]
        target = self.folder / f"generation-{max(numbers, default=-1) + 1:010}.npz"
        temporary = target.with_name(f"{target.name}.{secrets.token_hex(4)}")
        with whole_file(target, temporary) as file:
            _write(file, note, arrays)
        kept = {target, self._intact}
        torn = [each for each in self.folder.iterdir() if _TORN.fullmatch(each.name)]
        for file_name in [*self._files(), *torn]:
            if file_name not in kept:
                file_name.unlink(missing_ok=True)
        self._intact = target

    def newest(self) -> tuple[dict[str, Any], dict[str, Array]] | None:
        """Return note and arrays of the newest generation that is intact; None if there is none at all.

        Raises:
            StateError: If there are some, but all are damaged.

        Warns:
            MultifeedWarning: If the newest one is damaged, and an older one is used.
        """
        damaged: list[str] = []
        for path in self._files():
            try:
                found = _read(path)
            except Exception as error:
                # A damaged archive may raise anything.
                damaged.append(f"{path.name} ({type(error).__name__}: {error})")
                continue
            if damaged:
                warnings.warn(
                    lines(
                        f"a generation in '{self.folder}' is damaged, and was left out: "
                        f"{'; '.join(damaged)}.",
                        f"Training goes on from {path.name}, which is older.",
                    ),
                    MultifeedWarning,
                    stacklevel=2,
                )
            self._intact = path
            return found
        if damaged:
            raise StateError(
                lines(
                    f"all generations in '{self.folder}' are damaged: {'; '.join(damaged)}.",
                    "Remove the folder to train from the beginning.",
                )
            )
        return None

    def _files(self) -> list[Path]:
        """Return the files of all generations, the newest first."""
        if not self.folder.is_dir():
            return []
        return sorted(
            (each for each in self.folder.iterdir() if _NAME.fullmatch(each.name)), reverse=True
        )


def _write(file: Any, note: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
        archive.writestr(_NOTE, json.dumps(note))


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    with zipfile.ZipFile(path) as archive:
        # Read whole, since the checksum of a member is looked at only where its end is read.
        note: dict[str, Any] = json.loads(archive.read(_NOTE))
        arrays = {
            name.removesuffix(".npy"): np.lib.format.read_array(
                io.BytesIO(archive.read(name)), allow_pickle=False
            )
            for name in archive.namelist()
            if name != _NOTE
        }
    return note, arrays
