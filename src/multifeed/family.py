"""What the parts of one split share: the learned state of each field; and that state as JSON."""

from __future__ import annotations

import json
import os
import secrets
import weakref
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multifeed.errors import BadValue, StateError, lines, near
from multifeed.fields.base import Field, Learned, Link
from multifeed.files import read_file, whole_file
from multifeed.table import Columns

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
        # Memory of batches that feeds of the parts have left for the next one, by its size.
        self.free: dict[tuple[int, int], deque[Any]] = {}
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


def write_state(
    path: str | os.PathLike[str], fields: Mapping[str, Field], columns: Columns, learned: Any
) -> None:
    """Write what fields have learned to a JSON file, whole or not at all."""
    state = {
        "format": _FORMAT,
        "fields": {
            name: {**_declared(field, columns), "learned": learned[name]}
            for name, field in fields.items()
            if field.learns
        },
    }
    target = Path(path)
    if not target.parent.is_dir() or target.is_dir():
        raise StateError(
            lines(
                f"the learned state is written to a file in a folder that exists; '{target}' is none.",
                "Make the folder, or correct the path.",
            )
        )
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    with whole_file(target, temporary) as file:
        file.write(json.dumps(state, indent=1, ensure_ascii=False, allow_nan=False).encode())


def read_state(
    path: str | os.PathLike[str], fields: Mapping[str, Field], columns: Columns
) -> dict[str, Any]:
    """Return what fields have learned from a JSON file.

    Raises:
        StateError: If it is none of ours, is damaged, or was learned by other fields.
    """
    name_of_file = os.fspath(path)
    saved = _saved(name_of_file)
    learned = {}
    for name, field in fields.items():
        found = saved.get(name)
        if not field.learns:
            if found is not None:
                raise StateError(
                    lines(
                        f"field {name!r} has learned something in {name_of_file}, and is declared so "
                        "that it learns nothing.",
                        "Declare it as then, or adapt and save anew.",
                    )
                )
            continue
        if found is None:
            raise StateError(
                lines(f"{name_of_file} has nothing that field {name!r} has learned.", near(name, saved))
            )
        declared = _declared(field, columns)
        if isinstance(found, dict) and {key: found.get(key) for key in declared} != declared:
            raise _unlike(name, name_of_file, found, declared)
        if not isinstance(found, dict) or not field.accepts(found.get("learned"), columns):
            raise StateError(
                lines(f"{name_of_file} holds a damaged state of field {name!r}.", "Adapt and save anew.")
            )
        learned[name] = found["learned"]
    return learned


def _saved(path: str) -> dict[str, Any]:
    """Return the entries of the fields in a file."""
    try:
        state = json.loads(read_file(path).decode())
        # JSON can spell half a character, which no text in a table or tokenizer can have.
        json.dumps(state, ensure_ascii=False).encode()
    except BadValue as error:
        raise _unreadable(path, f"the file {error.reason}") from error
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, str(error)) from error
    saved = state.get("fields") if isinstance(state, dict) else None
    if not isinstance(saved, dict) or state.get("format") != _FORMAT:
        raise StateError(
            lines(
                f"{path} holds no learned state of format {_FORMAT}.",
                "It is a file that data.save_state(path) has written, with this version of multifeed.",
            )
        )
    return saved


def _declared(field: Field, columns: Columns) -> dict[str, Any]:
    """Return what a field's learned state is only good for."""
    read = columns.all_matching(field.reads)
    return {"kind": type(field).__name__, "columns": read, **field.options}


def _unlike(name: str, path: str, found: Mapping[str, Any], declared: Mapping[str, Any]) -> StateError:
    then = {key: found.get(key) for key in declared}
    differs = [key for key in declared if then[key] != declared[key]]
    told = " and ".join(f"{key}={then[key]!r}, now {declared[key]!r}" for key in differs)
    return StateError(
        lines(
            f"field {name!r} is declared otherwise than when {path} was saved: then {told}.",
            "Declare it as then, or adapt and save anew.",
        )
    )


def _unreadable(path: str, reason: str) -> StateError:
    return StateError(
        lines(
            f"the learned state cannot be read from {path}: {reason}.",
            "It is a file that data.save_state(path) has written.",
        )
    )
