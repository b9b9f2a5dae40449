"""What the parts of one split share: the learned state of each field; and that state as JSON."""

from __future__ import annotations

import json
import os
import tempfile
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from multifeed.errors import StateError, lines, near
from multifeed.fields.base import Field, Learned, Link

# Of the file that `write_state` writes.
_FORMAT = 1


class Family:
    """The parts of one split, and the learned state that they share.

    Args:
        learned: The learned state of each field, by name; None if nobody has learned yet.
        learned_from: What it was learned from, to be named in errors.
        is_split: Whether its members are parts of a split; parts of a part then belong to it.
    """

    # A part is a `Dataset`, which stands above this module.

    def __init__(
        self, learned: dict[str, Any] | None = None, learned_from: str = "", *, is_split: bool = False
    ) -> None:
        self.learned = learned
        self.learned_from = learned_from
        self._is_split = is_split
        self._titles: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()

    def add(self, part: Any, title: str) -> None:
        """Add a part; `title` is how errors call it."""
        self._titles[part] = title

    def parts(self) -> list[tuple[Any, str]]:
        """Return all parts that are still in use, and their titles."""
        return list(self._titles.items())

    def title(self, part: Any) -> str:
        """Return how errors call a part."""
        return self._titles.get(part, "the dataset")

    def learn(self, learned: dict[str, Any], learned_from: str) -> None:
        """Take over what was learned."""
        self.learned, self.learned_from = learned, learned_from

    def for_parts(self) -> Family:
        """Return the family of a new split: its own, unless this is one of a split already."""
        if self._is_split:
            return self
        return Family(self.learned, self.learned_from, is_split=True)


def learned_by(learned: Mapping[str, Any] | None, name: str, field: Field) -> Learned | None:
    """Return what a field has learned, or the field that it is made from."""
    return (learned or {}).get(field.of if isinstance(field, Link) else name)


def write_state(path: str | os.PathLike[str], fields: Mapping[str, Field], learned: Any) -> None:
    """Write what fields have learned to a JSON file, whole or not at all."""
    state = {
        "format": _FORMAT,
        "fields": {
            name: {"kind": type(field).__name__, "reads": field.reads, "learned": learned[name]}
            for name, field in fields.items()
            if field.learns
        },
    }
    target = Path(path)
    if not target.parent.is_dir():
        raise StateError(
            lines(
                f"the learned state is written to a folder that exists; '{target.parent}' does not.",
                "Make the folder, or correct the path.",
            )
        )
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(state, file, indent=1, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        # What `open` would have given: `mkstemp` keeps it from everyone else.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        Path(temporary).replace(target)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise


def read_state(path: str | os.PathLike[str], fields: Mapping[str, Field]) -> dict[str, Any]:
    """Return what fields have learned from a JSON file.

    Raises:
        StateError: If it is none of ours, or was learned by other fields.
    """
    try:
        state = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise StateError(
            lines(
                f"the learned state cannot be read from {os.fspath(path)}: {error}.",
                "It is a file that data.save_state(path) has written.",
            )
        ) from error
    saved = state.get("fields") if isinstance(state, dict) else None
    if not isinstance(saved, dict) or state.get("format") != _FORMAT:
        raise StateError(
            lines(
                f"{os.fspath(path)} holds no learned state of format {_FORMAT}.",
                "It is a file that data.save_state(path) has written, with this version of multifeed.",
            )
        )
    wanted = {name: field for name, field in fields.items() if field.learns}
    for name, field in wanted.items():
        found = saved.get(name)
        if found is None:
            raise StateError(
                lines(
                    f"{os.fspath(path)} has nothing that field {name!r} has learned.", near(name, saved)
                )
            )
        declared = {"kind": type(field).__name__, "reads": list(field.reads)}
        if {key: found.get(key) for key in declared} != declared:
            raise StateError(
                lines(
                    f"field {name!r} is declared otherwise than when {os.fspath(path)} was saved: then "
                    f"{found.get('kind')} of {found.get('reads')}, now {declared['kind']} of "
                    f"{declared['reads']}.",
                    "Declare it as then, or adapt and save anew.",
                )
            )
        if not isinstance(found.get("learned"), dict):
            raise StateError(
                lines(
                    f"{os.fspath(path)} holds a damaged state of field {name!r}.", "Adapt and save anew."
                )
            )
    return {name: saved[name]["learned"] for name in wanted}
