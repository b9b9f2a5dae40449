"""URIs: which names are such, how they are joined, and what of them is shown."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, replace
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

# Two letters at least: one is a drive of Windows.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(?=://)")
# What may stand in a URI as it is: the rest is escaped, and what is escaped stays so.
_AS_IT_IS = "%/:=&?~+!$,;'@()*[]#"
WEB = ("http", "https")
# Headers of formats lie at the beginning.
HEAD_BYTES = 2**16


@dataclass(frozen=True, slots=True)
class Request:
    """A file, or some bytes of one, far away.

    Args:
        uri: The file.
        start: The first byte.
        count: How many; None for all.
        follows: Whether it may be fetched from another host, if its own one says so.
        stamp: The `File.stamp` that it must have; empty if that is not known.
    """

    uri: str
    start: int = 0
    count: int | None = None
    follows: bool = True
    stamp: str = ""

    @property
    def head(self) -> Request:
        """What a file that is read in part is asked for when it is opened: its beginning."""
        return replace(self, count=HEAD_BYTES)


class Parts(NamedTuple):
    """The parts of a URI.

    Args:
        scheme: Such as ``"s3"``, in small letters.
        root: All up to the bucket or host, such as ``"s3://bucket"``.
        path: The rest, without a slash at its beginning; of the web, with its query.
    """

    scheme: str
    root: str
    path: str


def is_uri(name: str) -> bool:
    """Tell whether a name is a URI."""
    return "://" in name and _SCHEME.match(name) is not None


def parts_of(uri: str) -> Parts:
    """Return the parts of a URI."""
    scheme, _, rest = uri.partition("://")
    host, _, path = rest.partition("/")
    scheme = scheme.lower()
    if scheme not in WEB:
        # A key may hold whatever it likes: in a bucket nothing is a query.
        return Parts(scheme, f"{scheme}://{host}", path)
    bare = re.split(r"[?#]", host, maxsplit=1)[0]
    if bare != host:
        host, path = bare, host[len(bare) :]
    return Parts(scheme, f"{scheme}://{host}", quote(path.partition("#")[0], safe=_AS_IT_IS))


def localized(name: str) -> str:
    """Return the path that a ``file://`` URI stands for, and any other name as it is."""
    if name[:7].lower() != "file://":
        return name
    # It brings all of HTTP and TLS with it.
    from urllib.request import url2pathname

    return url2pathname(urlsplit(name).path)


def shown(name: str) -> str:
    """Return a name as messages have it: without what may be a secret, users and queries."""
    if not is_uri(name):
        return name
    scheme, root, path = parts_of(name)
    host = root.partition("://")[2].rpartition("@")[2]
    if scheme in WEB:
        path = path.partition("?")[0]
    return f"{scheme}://{host}/{path}"


def parent(uri: str) -> str:
    """Return the folder that a URI lies in."""
    scheme, root, path = parts_of(uri)
    if scheme in WEB:
        path = path.partition("?")[0]
    return f"{root}/{posixpath.dirname(path)}".rstrip("/")


def joined(folder: str, name: str) -> str:
    """Return the URI of a relative name; ``..`` leads up, as far as there is a folder."""
    scheme, root, path = parts_of(folder)
    if scheme in WEB:
        # It is a name, no query: whatever it holds stands for itself.
        name = quote(name)
    path = posixpath.normpath(f"/{path}/{name}")
    return root + "/" + path.lstrip("/")


def is_under(folder: str, uri: str) -> bool:
    """Tell whether a URI lies under another one, on the same host or in the same bucket."""
    scheme, root, top = parts_of(folder)
    _, other, path = parts_of(uri)
    if scheme in WEB:
        path = path.partition("?")[0]
        # Servers take %2e%2e for what it stands for.
        steps = re.split(r"[/\\]", unquote(path))
    else:
        steps = path.split("/")
    return (
        root == other and ".." not in steps and f"{path}/".startswith(f"{top.rstrip('/')}/".lstrip("/"))
    )
