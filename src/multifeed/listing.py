"""Path patterns: which files there are, and what their names say."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from string import Formatter

import pyarrow as pa

from multifeed.errors import DeclarationError, lines, some


class Pattern:
    """A path with braces, such as ``"photos/{label}/{id}.jpg"``.

    A brace stands for one or more characters of one file or folder name and becomes a column; a
    brace that occurs twice must say the same twice. ``*`` stands for any characters within a name and
    ``**`` for any depth of folders. ``{{`` and ``}}`` are literal. A trailing ``/`` asks for folders
    instead of files. As in a shell, names that begin with a dot are passed over, and where two braces
    share a name (``{a}_{b}.jpg``) the first takes as much as it can.
    """

    def __init__(self, text: str | os.PathLike[str]) -> None:
        self.text = os.fspath(text)
        self.wants_folders = self.text.endswith("/")
        parts = self.text.rstrip("/").split("/")
        self.names = _brace_names(self.text)
        # An absolute pattern begins with an empty part.
        self._start = "/" if parts[0] == "" else ""
        self._parts = [part for part in parts if part not in ("", ".")]

    def table(self, column: str) -> pa.Table:
        """List the matching files: their paths in `column`, and a column for each brace.

        Rows are sorted by path, so that a table does not depend on the file system's own order.
        """
        found = sorted(self._walk(self._start, self._parts, {}), key=lambda match: match[0])
        values = {column: [path for path, _ in found]}
        values |= {name: [groups[name] for _, groups in found] for name in self.names}
        return pa.table({name: pa.array(texts, pa.string()) for name, texts in values.items()})

    def path_of(self, values: Mapping[str, str]) -> str:
        """Return the path that the given brace values would have; other braces stay."""
        known = {name: values.get(name, f"{{{name}}}") for name in self.names}
        return self.text.format_map(known)

    def why_empty(self) -> str:
        """Say how far the file system follows the pattern."""
        folder = self._start
        for part in self._parts:
            if _is_variable(part):
                break
            if not os.path.isdir(os.path.join(folder, part)):
                break
            folder = os.path.join(folder, part)
        names = sorted(os.listdir(folder or "."))
        held = f"holds {some(names)}" if names else "is empty"
        return f"The folder {os.path.abspath(folder)!r} {held}."

    def _walk(
        self, folder: str, parts: list[str], groups: dict[str, str]
    ) -> Iterator[tuple[str, dict[str, str]]]:
        """Yield (path, brace values) of everything under `folder` that `parts` match."""
        part, rest = parts[0], parts[1:]
        if part == "**":
            yield from self._walk(folder, rest or ["*"], groups)
            for entry in _entries(folder):
                if entry.is_dir(follow_symlinks=False):
                    yield from self._walk(f"{entry.path}/", parts, groups)
            return
        if rest and not _is_variable(part):
            yield from self._walk(f"{folder}{_literal(part)}/", rest, groups)
            return
        matches = _compile(part, groups).fullmatch
        wants_folders = bool(rest) or self.wants_folders
        for entry in _entries(folder):
            match = matches(entry.name)
            if match is None or entry.is_dir() != wants_folders:
                continue
            found = match.groupdict()
            merged = {**groups, **found} if groups else found
            if rest:
                yield from self._walk(f"{folder}{entry.name}/", rest, merged)
            else:
                yield folder + entry.name, merged


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder or ".") as entries:
            yield from (entry for entry in entries if not entry.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return


def _brace_names(text: str) -> list[str]:
    names: list[str] = []
    try:
        for _, name, spec, conversion in Formatter().parse(text):
            if name is None:
                continue
            if not name.isidentifier() or spec or conversion:
                raise ValueError(f"{{{name}{':' + spec if spec else ''}}} is not a plain name")
            if name not in names:
                names.append(name)
    except ValueError as error:
        raise DeclarationError(
            lines(
                f"the pattern {text!r} cannot be understood: {error}.",
                "Write a brace as {id}, and a literal brace as {{ or }}.",
            )
        ) from error
    return names


def _is_variable(part: str) -> bool:
    return "*" in part or bool(_brace_names(part))


def _literal(part: str) -> str:
    return part.format()


def _compile(part: str, known: Mapping[str, str]) -> re.Pattern[str]:
    """Turn one part of a pattern into a regular expression, given the braces that are known."""
    pieces: list[str] = []
    seen: set[str] = set()
    for literal, name, _, _ in Formatter().parse(part):
        pieces += [".*".join(re.escape(text) for text in literal.split("*"))]
        if name is None:
            continue
        if name in known:
            pieces.append(re.escape(known[name]))
        elif name in seen:
            pieces.append(f"(?P={name})")
        else:
            pieces.append(f"(?P<{name}>.+)")
            seen.add(name)
    return re.compile("".join(pieces), re.DOTALL)
