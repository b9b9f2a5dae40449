"""Stores: one request to a web server, an object store, or whatever fsspec knows; no second try."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from multifeed.errors import BadValue, DeclarationError, lines
from multifeed.extras import package
from multifeed.files import REPLACE
from multifeed.remote.uri import WEB, parts_of, shown

# Seconds until a server must have taken a connection up.
_CONNECT_S = 10.0
# Connections at a time, idle ones included.
MOST_REQUESTS = 256
# More of an object is taken in pieces of so many bytes, so that what breaks off is not all lost.
_PIECE = 2**22
_MOST_REDIRECTS = 5
# What a server says of its own state, and not of the file.
_MAY_PASS = (408, 425, 429, 500, 502, 503, 504)
_OBJECTS = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "adl")

# What fsspec reads files of this machine by, whatever kind they are of.
_OF_THIS_MACHINE = ("file", "local", "asynclocal", "generic", "git", "dask", "dvc")

CREDENTIALS = {
    "s3": "Set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN and AWS_REGION; of a public "
    "bucket, AWS_SKIP_SIGNATURE=true.",
    "gs": "Set GOOGLE_APPLICATION_CREDENTIALS; of a public bucket, GOOGLE_SKIP_SIGNATURE=true.",
    "az": "Set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY.",
}
_OF_THE_WEB = "Pass a URL that is signed anew, or one with user:password@; the server refuses this one."
RETRY = "Look whether the server is reachable and how busy it is; what was read so far is not lost."


class Passing(Exception):
    """A request failed, which may pass.

    Args:
        reason: Why, as the end of a sentence.
        after_s: Seconds that the server asks to be left alone.
        remedy: What to do if it does not pass.
    """

    def __init__(self, reason: str, after_s: float = 0.0, remedy: str = RETRY) -> None:
        super().__init__(reason)
        self.reason, self.after_s, self.remedy = reason, after_s, remedy


@dataclass(frozen=True)
class Answer:
    """What a server sends.

    Args:
        start: The first byte of the file that is sent.
        size: The bytes of the whole file; None if the server does not tell.
        stamp: What changes with the file; None if the server does not tell.
        chunks: The bytes.
        has_parts: Whether the server sends parts of files.
    """

    start: int
    size: int | None
    stamp: str | None
    chunks: AsyncIterator[Any]
    has_parts: bool = True


@dataclass(frozen=True)
class Listed:
    """A file in a listing.

    Args:
        path: Its path below the root of its store.
        size: Its bytes.
        stamp: What changes with it.
    """

    path: str
    size: int
    stamp: str


class Store(ABC):
    """Files of one bucket or host. All of its methods run in the one loop of this process."""

    @abstractmethod
    def get(
        self, path: str, start: int, stop: int | None, *, follows: bool
    ) -> AbstractAsyncContextManager[Answer]:
        """Ask for the bytes from `start` to `stop` of a file, by default all.

        Args:
            path: The file.
            start: The first byte.
            stop: The byte after the last; beyond the file's end means up to that.
            follows: Whether it may be fetched from another host, if the server says so.

        Raises:
            Passing: If that failed and may go better a moment later.
            BadValue: If it never will.
        """

    async def list(self, prefix: str) -> list[Listed]:
        """Return all files under a folder.

        Raises:
            Passing: As `get`.
            BadValue: As `get`.
        """
        raise BadValue("cannot be listed", "Name the files in a table.")

    async def put(self, path: str, data: Any) -> None:
        """Write a file, whole or not at all.

        Raises:
            Passing: As `get`.
            BadValue: As `get`.
        """
        raise BadValue("cannot be written", "Pass the URI of a bucket, or a folder.")


@cache
def store_of(root: str) -> Store:
    """Return the store of a bucket or host, such as ``"s3://bucket"``.

    Raises:
        DeclarationError: If its package is not installed, or nothing is known of the scheme.
    """
    scheme = parts_of(root).scheme
    if scheme in WEB:
        return _Web(root)
    if scheme in _OBJECTS:
        return _Objects(root, scheme)
    return _Other(root, scheme)


class _Web(Store):
    """Web servers, by aiohttp."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._aiohttp = package("aiohttp", extra="cloud", of="a path of http:// or https://")

    @asynccontextmanager
    async def get(
        self, path: str, start: int, stop: int | None, *, follows: bool
    ) -> AsyncIterator[Answer]:
        aiohttp = self._aiohttp
        # What is compressed on its way could unpack to anything, and has no ranges.
        headers = {"Accept-Encoding": "identity"}
        if start or stop is not None:
            headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        uri = f"{self._root}/{path}"
        try:
            for _ in range(_MOST_REDIRECTS):
                async with _session().get(
                    _as_written(uri),
                    headers=headers,
                    allow_redirects=False,
                    proxy=_proxy_of(parts_of(uri).root),
                ) as response:
                    if response.status in (301, 302, 303, 307, 308):
                        uri = _redirected(uri, response.headers.get("Location", ""), follows)
                        continue
                    _refuse_status(response.status, response.headers)
                    yield _answer(response.status, response.headers, response.content.iter_any(), start)
                    return
        except (aiohttp.ClientConnectorCertificateError, aiohttp.InvalidURL) as error:
            raise BadValue(f"cannot be asked for ({_short(error)})", "Correct the URI.") from error
        except aiohttp.ClientConnectorDNSError as error:
            raise Passing(
                "is on a host whose name cannot be resolved",
                remedy="Correct the name of the host, or look at the DNS of this machine.",
            ) from error
        except aiohttp.ClientPayloadError as error:
            raise Passing("broke off") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Passing(f"cannot be fetched ({_short(error)})") from error
        raise BadValue(f"is redirected more than {_MOST_REDIRECTS} times", "Correct the URI.")


def _as_written(uri: str) -> Any:
    # A URL that is signed must not be written in another way.
    from yarl import URL

    return URL(uri, encoded=True)


@cache
def _proxy_of(root: str) -> str | None:
    """Return the proxy that the environment names for a host; aiohttp would look at each request."""
    from urllib.request import getproxies, proxy_bypass

    scheme, _, host = root.partition("://")
    return None if proxy_bypass(host.rpartition("@")[2]) else getproxies().get(scheme)


_sessions: list[tuple[Any, Any]] = []


def _session() -> Any:
    """Return the session of the running loop."""
    import asyncio

    import aiohttp

    loop = asyncio.get_running_loop()
    if not _sessions or _sessions[0][0] is not loop:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S)
        connector = aiohttp.TCPConnector(limit=MOST_REQUESTS, ttl_dns_cache=60)
        session = aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        _sessions[:] = [(loop, session)]
    return _sessions[0][1]


async def close_session() -> None:
    """Close the connections of the running loop."""
    while _sessions:
        await _sessions.pop()[1].close()


def _redirected(uri: str, location: str, follows: bool) -> str:
    """Return where a server says that a file is."""
    target = urljoin(uri, location)
    there, here = parts_of(target), parts_of(uri)
    if not location or there.scheme not in WEB or (here.scheme, there.scheme) == ("https", "http"):
        raise BadValue("is redirected to what is no secure URL", "Correct the URI.")
    if not follows and there.root.partition("://")[2] != here.root.partition("://")[2]:
        raise BadValue(
            f"is redirected to another host, {shown(there.root)!r}",
            "File names from a table file stay under its folder: pass allow_outside=True if you trust "
            "the table and its server.",
        )
    return target


def _refuse_status(status: int, headers: Any) -> None:
    if status in (200, 206):
        return
    if status in (404, 410):
        raise BadValue(f"does not exist (HTTP {status})", REPLACE) from FileNotFoundError(status)
    if status in (401, 403, 407):
        raise BadValue(f"may not be read (HTTP {status})", _OF_THE_WEB)
    if status == 416:
        raise BadValue("is empty, or has shrunk (HTTP 416)", REPLACE)
    if status in _MAY_PASS:
        after = headers.get("Retry-After", "")
        raise Passing(f"cannot be had (HTTP {status})", float(after) if after.isdigit() else 0.0)
    raise BadValue(f"cannot be had (HTTP {status})", REPLACE)


def _answer(status: int, headers: Any, chunks: AsyncIterator[bytes], start: int) -> Answer:
    if headers.get("Content-Encoding", "identity").strip().lower() not in ("identity", ""):
        raise BadValue(
            f"comes compressed ({headers['Content-Encoding']}), though it was asked for as it is",
            "Let the server send files as they are: images and arrays gain nothing by it.",
        )
    stamp = headers.get("ETag") or headers.get("Last-Modified")
    if status == 200:
        length = headers.get("Content-Length", "")
        size = int(length) if length.isdigit() else None
        return Answer(0, size, stamp, chunks, has_parts=False)
    found = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", headers.get("Content-Range", ""))
    if found is None or int(found[1]) != start:
        raise BadValue("comes in another part than was asked for", "The server is at fault.")
    return Answer(start, int(found[2]) if found[2] != "*" else None, stamp, chunks)


class _Objects(Store):
    """A bucket, by obstore."""

    def __init__(self, root: str, scheme: str) -> None:
        of = f"a path of {scheme}://"
        self._errors = package("obstore.exceptions", extra="cloud", of=of)
        # Of some it raises Python's own.
        self._failures = (self._errors.BaseError, OSError, ValueError)
        stores = package("obstore.store", extra="cloud", of=of)
        self._scheme = {"s3a": "s3", "s3": "s3", "gs": "gs"}.get(scheme, "az")
        options: dict[str, Any] = {
            # Where the endpoint is one without TLS, somebody has said so.
            "client_options": {
                "allow_http": True,
                "connect_timeout": f"{_CONNECT_S:g}s",
                "timeout": "1h",
            },
            # It is tried again here, and goes on where it broke off.
            "retry_config": {"max_retries": 0},
        }
        if self._scheme == "s3" and _has_profile():
            auth = package("obstore.auth.boto3", extra="cloud", of="a profile in ~/.aws")
            options["credential_provider"] = auth.Boto3CredentialProvider()
        try:
            self._store = stores.from_url(root, **options)
        except self._failures as error:
            raise DeclarationError(
                lines(f"{shown(root)!r} cannot be opened ({_short(error)}).", CREDENTIALS[self._scheme])
            ) from error

    @asynccontextmanager
    async def get(
        self, path: str, start: int, stop: int | None, *, follows: bool
    ) -> AsyncIterator[Answer]:
        options: dict[str, Any] = {}
        if stop is not None:
            options["range"] = (start, stop)
        elif start:
            options["range"] = {"offset": start}
        try:
            found = await self._store.get_async(path, options=options)
            meta = found.meta
            stamp = meta["e_tag"] or str(meta["last_modified"])
            yield Answer(found.range[0], meta["size"], stamp, _pieces(found))
        except self._failures as error:
            raise self._told(error) from error

    async def list(self, prefix: str) -> list[Listed]:
        found: list[Listed] = []
        try:
            async for batch in self._store.list(prefix or None, chunk_size=1_000):
                found += [
                    Listed(each["path"], each["size"], each["e_tag"] or str(each["last_modified"]))
                    for each in batch
                ]
        except self._failures as error:
            raise self._told(error) from error
        return found

    async def put(self, path: str, data: Any) -> None:
        try:
            await self._store.put_async(path, data)
        except self._failures as error:
            raise self._told(error) from error

    def _told(self, error: Exception) -> Exception:
        """Return what an error of the package comes down to."""
        errors, text = self._errors, str(error)
        status = re.search(r"status code: (\d\d\d)", text)
        if "NoSuchBucket" in text:
            return BadValue("is in a bucket that does not exist", "Correct the name of the bucket.")
        if isinstance(error, FileNotFoundError | errors.NotFoundError) or (
            status and status[1] == "404"
        ):
            return BadValue("does not exist", REPLACE)
        is_refused = isinstance(
            error, PermissionError | errors.PermissionDeniedError | errors.UnauthenticatedError
        )
        if is_refused or re.search(r"ExpiredToken|InvalidAccessKeyId|TokenRefreshRequired", text):
            code = re.search(r"<Code>(\w{1,60})</Code>", text)
            said = f" ({code[1]})" if code else ""
            return BadValue(f"may not be read or written{said}", CREDENTIALS[self._scheme])
        if isinstance(error, ValueError | errors.InvalidPathError):
            return BadValue("has a name that no object can have here", "Name the object otherwise.")
        if "range" in text.lower() and "start" in text.lower():
            return BadValue("is empty, or has shrunk", REPLACE)
        if isinstance(error, errors.NotSupportedError):
            return BadValue(f"cannot be had ({_short(error)})", REPLACE)
        if status and int(status[1]) not in _MAY_PASS:
            return BadValue(f"cannot be had (HTTP {status[1]})", REPLACE)
        if "dns error" in text:
            return Passing(
                "is on a host whose name cannot be resolved",
                remedy="Correct AWS_ENDPOINT_URL or AWS_REGION, or look at the DNS of this machine.",
            )
        return Passing(f"cannot be had (HTTP {status[1]})" if status else "cannot be fetched")


def _has_profile() -> bool:
    """Tell whether the credentials of AWS are in a file, which boto3 alone reads."""
    if os.environ.get("AWS_ACCESS_KEY_ID") or os.environ.get("AWS_SKIP_SIGNATURE"):
        return False
    file = os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")
    return bool(os.environ.get("AWS_PROFILE")) or Path(file).expanduser().is_file()


async def _pieces(found: Any) -> AsyncIterator[Any]:
    """Yield what an object store sends: what is small in one piece, which costs half."""
    start, stop = found.range
    if stop - start <= _PIECE:
        yield await found.bytes_async()
        return
    async for piece in found.stream(min_chunk_size=_PIECE):
        yield piece


class _Other(Store):
    """Whatever fsspec knows, on threads."""

    def __init__(self, root: str, scheme: str) -> None:
        fsspec = package("fsspec", extra="cloud", of=f"a path of {scheme}://")
        self._root = root
        try:
            kind = fsspec.get_filesystem_class(scheme)
            # Archives, caches and the like: what they stand on would be files of this machine.
            stands_on = {"fo", "target_protocol"} & set(signature(kind.__init__).parameters)
            if stands_on or scheme in _OF_THIS_MACHINE or getattr(kind, "local_file", False):
                raise ValueError("it stands on another one")
            self._files, _ = fsspec.url_to_fs(root)
        except (ImportError, ValueError, TypeError, OSError) as error:
            raise DeclarationError(
                lines(
                    f"a path of {scheme}:// cannot be opened: {_short(error)}.",
                    "There are s3://, gs://, az://, https://, file://, and what fsspec reads.",
                )
            ) from error

    @asynccontextmanager
    async def get(
        self, path: str, start: int, stop: int | None, *, follows: bool
    ) -> AsyncIterator[Answer]:
        name = self._name(path)
        info = await self._do(self._files.info, name)
        if info.get("type") == "directory":
            raise BadValue("is not a regular file but a folder", REPLACE)
        size = info.get("size")
        stop = size if stop is None else stop if size is None else min(stop, size)

        async def chunks() -> AsyncIterator[bytes]:
            at = start
            while stop is None or at < stop:
                end = None if stop is None else min(stop, at + _PIECE)
                yield await self._do(self._files.cat_file, name, start=at, end=end)
                if end is None:
                    return
                at = end

        yield Answer(start, size, _stamp(info), chunks())

    async def list(self, prefix: str) -> list[Listed]:
        found = await self._do(self._files.find, self._name(prefix), detail=True)
        top = self._name("").rstrip("/")
        return [
            Listed(path.removeprefix(top).lstrip("/"), info.get("size") or 0, _stamp(info))
            for path, info in found.items()
        ]

    async def put(self, path: str, data: Any) -> None:
        name = self._name(path)
        await self._do(self._files.makedirs, name.rpartition("/")[0], exist_ok=True)
        await self._do(self._files.pipe_file, name, bytes(data))

    def _name(self, path: str) -> str:
        name: str = self._files._strip_protocol(f"{self._root}/{path}")
        return name

    async def _do(self, act: Any, *given: Any, **options: Any) -> Any:
        import asyncio

        try:
            return await asyncio.to_thread(act, *given, **options)
        except FileNotFoundError as error:
            raise BadValue("does not exist", REPLACE) from error
        except (PermissionError, NotImplementedError, TypeError, ValueError) as error:
            raise BadValue(f"cannot be had ({_short(error)})", REPLACE) from error
        except Exception as error:
            raise Passing(f"cannot be fetched ({_short(error)})") from error


def _stamp(info: Any) -> str:
    named = (info.get(name) for name in ("ETag", "etag", "mtime", "LastModified", "created"))
    return f"{next((each for each in named if each), '')} {info.get('size')}"


def _short(error: BaseException) -> str:
    """Return what a package says, in a few words, and without what may be a secret."""
    said = str(error).strip().splitlines()
    text = re.sub(r"[a-z0-9+]+://\S+", "…", said[0], flags=re.IGNORECASE) if said else ""
    return (text or type(error).__name__)[:200]
