"""Path patterns: which files there are, and what their names say."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import takewhile
from string import Formatter
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from multifeed.errors import BadValue, DeclarationError, lines, some
from multifeed.remote.uri import WEB, is_uri, localized, parts_of, shown

# So many paths are matched at once. An Arrow text array holds 2 GiB, and a path has up to 4 KiB.
_AT_ONCE = 2**19


class Pattern:
    """A path with braces, such as ``"photos/{label}/{id}.jpg"``.

    A brace stands for one or more characters of one file or folder name and becomes a column; a
    brace that occurs twice must say the same twice. ``*`` stands for any characters within a name and
    ``**`` for any depth of folders. ``{{`` and ``}}`` are literal. A trailing ``/`` asks for folders
    instead of files. As in a shell, ``*``, ``**`` and a brace at the beginning of a name pass over
    names that begin with a dot, and ``**`` does not follow symbolic links. Where a path can be read in
    several ways (``{a}_{b}.jpg``), what stands first takes as much as it can. It may be the URI of a
    bucket: what stands before its first brace or star is listed, once.
    """

    def __init__(self, text: str | os.PathLike[str]) -> None:
        self.text = localized(os.fspath(text))
        rest, self._start = self.text, ""
        if is_uri(self.text):
            _, root, rest = parts_of(self.text)
            self._start = f"{root}/"
            _refuse_unlisted(self.text, root)
        else:
            rest = self.text = self.text.replace(os.sep, "/")
            self._start = "/" if rest.startswith("/") else ""
        self.wants_folders = self.text.endswith("/")
        self.names = list(dict.fromkeys(_braces(self.text)))
        parts = [part for part in rest.split("/") if part not in ("", ".")]
        if not parts or parts[-1] == "**":
            parts.append("*")
        self._parts = [_Part(part) for part in parts]
        self._expression = re.escape(self._start) + _expression(parts)
        self._matches = re.compile(self._expression).fullmatch

    def table(self, column: str) -> pa.Table:
        """List the matching files: their paths in `column`, and a column for each brace.

        Rows are sorted by path, so that a table does not depend on the file system's own order.
        """
        found: list[str] = []
        self._list(self._start, 0, found)
        # Two `**` can lead to one file in several ways.
        paths = sorted(set(found) if sum(part.is_depth for part in self._parts) > 1 else found)
        starts = range(0, max(len(paths), 1), _AT_ONCE)
        return pa.concat_tables(self._read(paths[at : at + _AT_ONCE], column) for at in starts)

    @property
    def wanted(self) -> str:
        """What it matches."""
        return "folder" if self.wants_folders else "file"

    @property
    def folder(self) -> str:
        """The folder in which its first brace or star stands."""
        return self._start + "".join(f"{part}/" for part in self._literals())

    def _literals(self) -> list[str]:
        """Return the names of the folders that it begins with."""
        parts = takewhile(lambda part: part.literal is not None, self._parts[:-1])
        return [part.literal or "" for part in parts]

    def path_of(self, values: Mapping[str, str]) -> str:
        """Return the path that the given brace values would have; other braces stay."""
        known = {name: values.get(name, f"{{{name}}}") for name in self.names}
        return self.text.format_map(known)

    def why_empty(self) -> str:
        """Say how far the file system follows the pattern."""
        folder = self._start
        if not self._tree.has_any:
            return f"There is nothing in {shown(self.folder)!r}."
        for part in self._literals():
            if not self._tree.has(f"{folder}{part}", folders=True):
                return f"There is no folder {part!r} in {self._tree.contents(folder)}."
            folder += f"{part}/"
        return f"That is as far as it leads: {self._tree.contents(folder)}."

    @cached_property
    def _tree(self) -> _Tree:
        if not is_uri(self._start):
            return _Local()
        return _Far(self._start, self.folder)

    def _list(self, folder: str, depth: int, found: list[str]) -> None:
        """Add the paths in `folder` that may match from part `depth` on; `_read` looks closely."""
        part = self._parts[depth]
        is_last = depth == len(self._parts) - 1
        if part.is_depth:
            self._list(folder, depth + 1, found)
            for name in self._tree.names(folder, folders=True, follow=False):
                self._list(f"{folder}{name}/", depth, found)
        elif part.literal is not None:
            path = folder + part.literal
            if not is_last:
                self._list(f"{path}/", depth + 1, found)
            elif self._tree.has(path, folders=self.wants_folders):
                found.append(path)
        elif is_last:
            names = self._tree.names(folder, folders=self.wants_folders, hidden=part.is_hidden)
            found += [folder + name for name in names]
        else:
            names = self._tree.names(folder, folders=True, hidden=part.is_hidden)
            for name in filter(part.admits, names):
                self._list(f"{folder}{name}/", depth + 1, found)

    def _read(self, paths: list[str], column: str) -> pa.Table:
        """Return the paths that match and what they say, `paths` being a run of the sorted ones."""
        try:
            texts = pa.array(paths, pa.string())
        except UnicodeEncodeError:
            texts = self._only_utf8(paths)
        values = self._extract(texts)
        matches = pc.is_valid(values)
        named = {name: values.field(number).filter(matches) for number, name in enumerate(self.names)}
        return pa.table({column: texts.filter(matches), **named})

    def _only_utf8(self, paths: list[str]) -> pa.Array:
        """Return the paths as text, some of which are none; those matter only if they match."""
        try:
            return pa.array(filter(self._matches, paths), pa.string())
        except UnicodeEncodeError as error:
            raise DeclarationError(
                lines(
                    f"file names must be UTF-8: the pattern {self.text!r} matches {error.object!r}.",
                    "Rename the file (convmv does it for whole trees), or narrow the pattern.",
                )
            ) from error

    def _extract(self, paths: pa.Array) -> pa.StructArray:
        """Return what the braces stand for in each path, null where it does not match."""
        braces = _braces(self.text)
        if len(braces) == len(self.names):
            return pc.extract_regex(paths, f"^{self._expression}$")
        # Arrow's regular expressions cannot say that a brace stands for the same again.
        matches = map(self._matches, paths.to_pylist())
        kind = pa.struct([(group, pa.string()) for group in _groups(braces).values()])
        return pa.array([match and match.groupdict() for match in matches], kind)


class _Part:
    """What stands between two slashes of a pattern."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.is_depth = text == "**"
        self.is_hidden = text.startswith(".")
        self.literal = None if "*" in text or _braces(text) else text.format()
        self.admits = re.compile(_expression([text])).fullmatch


class _Tree(ABC):
    """Folders, and the files in them."""

    # Whether there is anything at all.
    has_any = True

    @abstractmethod
    def names(
        self, folder: str, *, folders: bool, hidden: bool = False, follow: bool = True
    ) -> list[str]:
        """Return the sorted names of a folder's sub-folders, or of all else in it."""

    @abstractmethod
    def has(self, path: str, *, folders: bool) -> bool:
        """Tell whether there is a folder, or something else, of this path."""

    @abstractmethod
    def contents(self, folder: str) -> str:
        """Say which folder this is and what it holds."""


class _Local(_Tree):
    """Those of this machine."""

    def names(
        self, folder: str, *, folders: bool, hidden: bool = False, follow: bool = True
    ) -> list[str]:
        try:
            with os.scandir(folder or ".") as entries:
                return sorted(
                    entry.name
                    for entry in entries
                    if entry.is_dir(follow_symlinks=follow) == folders
                    and (hidden or entry.name[0] != ".")
                )
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise DeclarationError(
                lines(
                    f"the folder {folder!r} cannot be listed ({error.strerror}).",
                    "Make it readable, or narrow the pattern.",
                )
            ) from error

    def has(self, path: str, *, folders: bool) -> bool:
        return os.path.lexists(path) and os.path.isdir(path) == folders

    def contents(self, folder: str) -> str:
        return _contents(os.path.abspath(folder), sorted(os.listdir(folder or ".")))


class _Far(_Tree):
    """Those that the names of a bucket's objects make up, listed once.

    Args:
        root: The bucket, as it begins each path.
        folder: The folder below which all is that matters.

    Raises:
        DeclarationError: If it cannot be listed.
    """

    def __init__(self, root: str, folder: str) -> None:
        from multifeed.remote.fetch import listed

        try:
            found = listed(folder)
        except BadValue as error:
            raise DeclarationError(
                lines(f"{shown(folder)!r} cannot be listed: it {error.reason}.", error.remedy)
            ) from error
        # By folder, the names of its sub-folders and of its files.
        self._held: dict[str, tuple[set[str], set[str]]] = {}
        self.has_any = bool(found)
        for each in found:
            # Consoles write an empty object for a folder that was made by hand.
            is_folder = not each.size and "." not in each.path.rpartition("/")[2]
            self._add(root, f"{each.path}/" if is_folder else each.path)

    def _add(self, root: str, path: str) -> None:
        *folders, name = path.split("/")
        folder = root
        for part in folders:
            self._held.setdefault(folder, (set(), set()))[0].add(part)
            folder += f"{part}/"
        if name:
            self._held.setdefault(folder, (set(), set()))[1].add(name)

    def names(
        self, folder: str, *, folders: bool, hidden: bool = False, follow: bool = True
    ) -> list[str]:
        held = self._held.get(folder, (set(), set()))[not folders]
        return sorted(name for name in held if name and (hidden or name[0] != "."))

    def has(self, path: str, *, folders: bool) -> bool:
        folder, _, name = path.rpartition("/")
        return name in self._held.get(f"{folder}/", (set(), set()))[not folders]

    def contents(self, folder: str) -> str:
        return _contents(
            shown(folder),
            self.names(folder, folders=True, hidden=True)
            + self.names(folder, folders=False, hidden=True),
        )


def _contents(folder: str, names: Sequence[str]) -> str:
    held = f"holds {some(names)}" if names else "is empty"
    return f"{folder!r}, which {held}"


def _refuse_unlisted(text: str, root: str) -> None:
    """Raise if a pattern is the URI of something that cannot be listed."""
    if parts_of(text).scheme in WEB:
        raise DeclarationError(
            lines(
                f"a pattern needs a listing, which web servers have not: {unquote(shown(text))!r}.",
                "Name the files in a table: its relative names start at the table's own URL, or at "
                "mf.Dataset(root=...).",
            )
        )
    if set(root) & set("{}*"):
        raise DeclarationError(
            lines(
                f"the bucket of a pattern is written out: {shown(text)!r}.",
                "Pass a pattern for each bucket, and join the datasets with mf.concat.",
            )
        )


def _braces(text: str) -> list[str]:
    """Return the names in braces, with repetitions."""
    names: list[str] = []
    try:
        for _, name, spec, conversion in Formatter().parse(text):
            if name is None:
                continue
            if not name.isidentifier() or spec or conversion:
                shown = name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
                raise ValueError(f"{{{shown}}} is not a plain name")
            names.append(name)
    except ValueError as error:
        raise DeclarationError(
            lines(
                f"the pattern {text!r} cannot be understood: {error}.",
                "Write a brace as {id}, and a literal brace as {{ or }}.",
            )
        ) from error
    return names


def _groups(names: Sequence[str]) -> dict[str, str]:
    """Return the regular expression's group of each brace; Arrow takes only plain ASCII names."""
    return {name: f"g{number}" for number, name in enumerate(dict.fromkeys(names))}


def _expression(parts: Sequence[str]) -> str:
    """Turn parts of a pattern into a regular expression that Python and Arrow both understand."""
    groups = _groups(_braces("/".join(parts)))
    seen: set[str] = set()
    pieces = []
    for part in parts:
        if part == "**":
            pieces.append("(?:[^/]+/)*")
            continue
        for literal, name, _, _ in Formatter().parse(part):
            pieces.append("[^/]*".join(re.escape(text) for text in literal.split("*")))
            if name is not None:
                pieces.append(f"(?P={groups[name]})" if name in seen else f"(?P<{groups[name]}>[^/]+)")
                seen.add(name)
        pieces.append("/")
    return "".join(pieces).removesuffix("/")
