"""`cache`: what is decoded once, and kept."""

from __future__ import annotations

import errno
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import platformdirs
import pyarrow as pa
from filelock import FileLock, Timeout

from multifeed.batch import ask_ahead, chunks
from multifeed.cache.bucket import Bucket
from multifeed.cache.digest import UnknownCodeError, decoding_code, digest, digest_column, new_hash
from multifeed.cache.layouts import JPEG_QUALITY, LAYOUTS, packing_of
from multifeed.cache.rows import Cached, digest_field
from multifeed.cache.shards import (
    FORMAT,
    KEY,
    MOST_ITEMS,
    ROW,
    Kept,
    Store,
    Values,
    as_one,
    found_in,
    schema_of,
    shard_bytes,
    shards_among,
    size_and_time,
    sweep,
    write_shard,
)
from multifeed.dataset import Dataset
from multifeed.errors import DeclarationError, MultifeedWarning, lines
from multifeed.family import learned_by
from multifeed.fields.base import Field, Learned, Link, PerSample
from multifeed.fields.rows import NDArray, Rows, Source
from multifeed.fields.shared import at_least, at_least_one, one_of
from multifeed.files import sync_folder
from multifeed.folder import file_of
from multifeed.keys import Keys
from multifeed.progress import bars_on_terminal
from multifeed.remote.uri import is_uri, joined, localized
from multifeed.workers.cpus import threads_for
from multifeed.workers.threads import Job, OrderedThreads

if TYPE_CHECKING:
    from multifeed.remote.ahead import Claim

_log = logging.getLogger("multifeed")

# Bytes of a shard's rows, decoded. Where shuffled batches first touch a shard, all of it is read; and a
# process may map some 65,000 files.
_SHARD_BYTES = 32 * 2**20
_MOST_SHARDS = 8_192
# Rows of a shard at most, however small they are.
_SHARD_ROWS = 65_536
# Shards that are decoded or written at a time.
_AHEAD = 2
# Rows that a thread decodes one after the other; Ctrl-C waits for no more than these.
_RUN = 16
# Seconds between two looks at whether another process is done.
_POLL_S = 0.2
_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


def cache(
    data: Dataset,
    directory: str | os.PathLike[str],
    *,
    layout: str = "raw",
    max_bytes: int | None = None,
    version: str | None = None,
    workers: int | None = None,
    progress: bool = True,
    local: str | os.PathLike[str] | None = None,
    local_bytes: int = 64 * 2**30,
) -> Dataset:
    """Decode images and other fields that are read a sample at a time once, and keep them on disk.

    Returned is a dataset of the same samples, which yields the same bytes, augmentation included, only
    sooner. Kept is the base image of an `Image`, before `preprocess`, and what other fields yield that
    read a sample at a time (`Text`, arrays from files, whatever has a `preprocess`); columns of numbers
    are fast as they are. A `Text` that has yet to learn is left out. Cache first, and split then: all
    parts share what is kept.

    What is intact is not written again, what was interrupted goes on, and of several processes that
    build one cache one writes and the others wait. A cache is only used for the same declaration,
    learned state, versions of the decoders, file names and values in memory, in the same order; and a
    row only while its file has the size and time of change that it had. Any other row is decoded from
    its source, as if there were no cache, and counted in `report`. What cannot be read is not kept, and
    raises when it is read.

    Args:
        data: The samples.
        directory: A folder for caches of any number of datasets; it is made if there is none. A cache
            lies in a folder of its own in it, and may be removed at any time that it is not in use. It
            may be the URI of one in a bucket; what is read is then copied to this machine first.
        layout: ``"raw"``: pixels and numbers as they are, read at the speed of memory. ``"zstd"``:
            compressed without loss, read more slowly. ``"jpeg"``: uint8 images of 1 or 3 channels as
            JPEG of quality 95, other fields and label maps (``interpolation="nearest"``) raw. **It is
            lossy: samples differ from those without a cache**, if little.
        max_bytes: What is kept takes no more than these; the rest is decoded each epoch.
        version: Stands for the code of functions such as `preprocess`: change it when they change.
            By default their code is looked at.
        workers: Threads that decode; by default one for each CPU this process may use, and 32 where
            parts of files far away are read.
        progress: Show on stderr how far it is, if that is a terminal.
        local: The folder for copies of what lies in a bucket; by default one of the user's own caches.
        local_bytes: What the copies of one cache may take; those that were not opened for the longest
            time go first.

    Raises:
        DeclarationError: If an argument is wrong, or it cannot be told what a function does.
        SampleError: If a value in memory cannot be used.

    Warns:
        MultifeedWarning: If the disk is full, or cannot be written: what there is is used.

    Example:
        >>> import tempfile, numpy as np, multifeed as mf
        >>> folder = tempfile.mkdtemp()
        >>> for number in range(3):
        ...     np.save(f"{folder}/{number}.npy", np.full(4, number, np.float32))
        >>> data = mf.Dataset(
        ...     {"scan": [f"{folder}/{number}.npy" for number in range(3)]},
        ...     inputs=mf.Array("scan", (4,)),
        ... )
        >>> cached = cache(data, f"{folder}/cache")
        >>> cached[2]
        (array([2., 2., 2., 2.], dtype=float32),)
    """
    if not isinstance(data, Dataset):
        raise DeclarationError(
            lines(
                f"mf.cache takes a dataset; received {type(data).__name__}.",
                "Cache the dataset that a loader or feed is made of.",
            )
        )
    if not isinstance(directory, str | os.PathLike) or isinstance(os.fspath(directory), bytes):
        raise DeclarationError(f"a cache is a folder, by its name; received {directory!r}.")
    one_of("layout", layout, LAYOUTS)
    if version is not None and not isinstance(version, str):
        raise DeclarationError(f"version is a text; received {version!r}.")
    max_bytes = at_least_one("max_bytes", max_bytes)
    workers = at_least_one("workers", workers)
    local_bytes = at_least("local_bytes", local_bytes, 1)
    chosen = _chosen(data, layout, version)
    if not chosen:
        _log.info("nothing of this dataset is read a sample at a time: there is nothing to cache.")
        return data
    per_shard = _rows_per_shard(chosen, len(data))
    name = _identity(data, chosen, layout, per_shard, version)
    folder, bucket = _place(localized(os.fspath(directory)), name, local, local_bytes)
    store = Store(folder, len(data), per_shard, {each.digest: each.kept for each in chosen}, bucket)
    try:
        is_whole = store.is_whole
    except OSError as error:
        raise DeclarationError(f"the cache in {store.place!r} cannot be looked at: {error}") from error
    if not is_whole:
        threads = workers or threads_for(waits=any(each.reader.waits for each in chosen))
        build = _Build(data, chosen, store, layout, max_bytes, threads)
        store = build.run(progress)
    return _cached(data, store, layout, version)


def _place(
    directory: str, name: str, local: str | os.PathLike[str] | None, local_bytes: int
) -> tuple[Path, Bucket | None]:
    """Return the folder of a cache on this machine, and where it lies if that is far away."""
    if not is_uri(directory):
        return Path(os.path.abspath(directory)) / name, None
    parent = platformdirs.user_cache_path("multifeed") / "shards" if local is None else Path(local)
    copies = Path(os.path.abspath(parent)) / name
    return copies, Bucket(joined(directory, name), copies, local_bytes)


@dataclass(frozen=True)
class _Chosen:
    """A field that is cached.

    Args:
        field: The field.
        kept: What is kept of it.
        reader: Reads that from the source.
        digest: Of all that decides what is kept, but for the columns' values.
    """

    field: Field
    kept: Kept
    reader: PerSample
    digest: bytes


def _cached(data: Dataset, store: Store, layout: str, version: str | None) -> Dataset:
    kind = "jpeg, lossy" if layout == "jpeg" else layout
    share = "" if store.is_whole else f"{store.rows:,} of {store.count:,} "
    title = f"{share}cached in {store.place} ({kind})"
    cached = copy(data)
    cached.source = Cached(data.source.original(), store, None, version, title)
    cached._plan = None
    cached.family.add(cached, data.family.title(data))
    return cached


def _chosen(data: Dataset, layout: str, version: str | None) -> list[_Chosen]:
    """Return the fields that are cached; two that keep the same share one place."""
    found: dict[bytes, _Chosen] = {}
    rows = data.source.original()
    for name, field in data.all_fields().items():
        learned = learned_by(data.family.learned, name, field)
        if isinstance(field, Link) or (field.learns and learned is None):
            continue
        base = data.base_of(rows, name, field)
        spec = base.reader.spec
        is_small_enough = spec.nbytes > 0 and int(np.prod(spec.shape)) <= MOST_ITEMS
        if not isinstance(base.reader, PerSample) or not is_small_enough:
            continue
        try:
            key = digest_field(field, learned, version)
        except UnknownCodeError as error:
            raise DeclarationError(
                lines(
                    f"a cache is only good for the code that made it, and what {name!r} does cannot be "
                    f"told: one of its functions uses {_shown(error.value)}.",
                    'Pass mf.cache(..., version="1"), and another version whenever that code changes.',
                )
            ) from error
        kept = Kept(name, spec, packing_of(layout, base))
        first = found.setdefault(key, _Chosen(field, kept, base.reader, key))
        if version is not None and not _is_same(first.field, field, learned):
            raise DeclarationError(
                lines(
                    f"{first.kept.name!r} and {name!r} cannot be told apart: all that differs is what "
                    f"version={version!r} stands for.",
                    "Give their functions other names, or pass both the same function.",
                )
            )
    return list(found.values())


def _is_same(one: Field, other: Field, learned: Learned | None) -> bool:
    """Tell whether two fields of one digest, under a version, are the same without it."""
    with suppress(UnknownCodeError):
        return digest_field(one, learned, None) == digest_field(other, learned, None)
    there, plain = other.decoding, (str, int, float, bool, tuple, list, dict)
    return all(
        each is there[name] or (type(each) in plain and each == there[name])
        for name, each in one.decoding.items()
    )


def _shown(value: object) -> str:
    if isinstance(value, ModuleType):
        return f"the module {value.__name__!r} otherwise than as module.name, imported outside of it"
    return f"an object of type {type(value).__module__}.{type(value).__qualname__}"


def _rows_per_shard(chosen: Sequence[_Chosen], count: int) -> int:
    row_bytes = sum(each.kept.spec.nbytes for each in chosen)
    fitting = min(_SHARD_ROWS, max(1, _SHARD_BYTES // row_bytes))
    return max(fitting, -(-count // _MOST_SHARDS))


def _identity(
    data: Dataset, chosen: Sequence[_Chosen], layout: str, per_shard: int, version: str | None
) -> str:
    """Return the name of a cache: equal for all, and only, what it is good for."""
    rows = data.source.original()
    columns: dict[str, Any] = {}
    named: dict[str, None] = dict.fromkeys(data.key)
    folders: list[object] = []
    for each in chosen:
        reads = rows.columns.all_matching(each.field.reads)
        named |= dict.fromkeys(reads)
        if _reads_files(each.reader, rows):
            folders += [_starts(rows, column) for column in reads]
    for name in named:
        into = new_hash()
        for source, places in rows.pieces():
            into.update(places if len(places) < len(rows) else b"all")
            digest_column(source, name, into)
        columns[name] = into.hexdigest()
    told = {
        "format": FORMAT,
        "layout": (layout, JPEG_QUALITY if layout == "jpeg" else None),
        "rows": (len(rows), per_shard),
        "fields": [(each.kept.name, each.digest, repr(each.kept.spec)) for each in chosen],
        "columns": columns,
        "key": data.key,
        "folders": folders,
        "code": decoding_code(),
        "version": version,
    }
    return digest(told).hex()


def _reads_files(reader: PerSample, rows: Rows) -> bool:
    # Of several tables, one may have names and another the contents themselves.
    for _, places in rows.pieces():
        row = next((int(row) for row in places if reader.fill(int(row)) is None), None)
        if row is not None and reader.files(row):
            return True
    return False


def _starts(rows: Rows, column: str) -> list[str]:
    """Return where relative file names of a column start: another folder has other files."""
    starts = []
    for source, _ in rows.pieces():
        if not isinstance(source.columns[column], np.ndarray):
            starts.append(_real(source, source.folder(column).start or "."))
    return starts


def _real(source: Source, name: str) -> str:
    return name if is_uri(name) else os.path.realpath(os.path.join(source.home or "", name))


class _Build:
    """One cache being written.

    Args:
        data: The samples.
        chosen: What is kept of them.
        store: Where.
        layout: How.
        max_bytes: What it may take.
        threads: How many threads decode.
    """

    def __init__(
        self,
        data: Dataset,
        chosen: Sequence[_Chosen],
        store: Store,
        layout: str,
        max_bytes: int | None,
        threads: int,
    ) -> None:
        self._data, self._chosen, self._store = data, chosen, store
        self._layout, self._max_bytes, self._threads = layout, max_bytes, threads
        self._bad: list[int] = []
        # The table of each row, and where relative file names of a table start.
        pieces = data.source.original().pieces()
        self._tables = np.zeros(len(data), np.intp)
        for number, (_, places) in enumerate(pieces):
            self._tables[places] = number
        self._homes = [source.home or "" for source, _ in pieces]
        # Memory of shards that have been written, for the next ones.
        self._spare: list[list[NDArray | None]] = []

    def run(self, progress: bool) -> Store:
        """Write what is not there yet, and return the store as it is then."""
        store = self._store
        try:
            store.folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            paths = (store.folder, *store.folder.parents)
            files = (path for path in paths if os.path.lexists(path) and not path.is_dir())
            found = next(files, store.folder)
            raise DeclarationError(
                lines(
                    f"a cache is a folder, and there is a file in its place: '{found}'.",
                    "Remove it, or pass the name of another folder.",
                )
            ) from error
        except OSError as error:
            self._give_up(error)
            return store
        try:
            lock = self._alone()
            try:
                store = self._renewed()
                if not store.is_whole:
                    sweep(store.folder)
                    self._write(store, progress)
            finally:
                lock.release()
        except OSError as error:
            self._give_up(error)
        return self._renewed()

    def _renewed(self) -> Store:
        return self._store.renewed()

    def _alone(self) -> FileLock:
        """Return the lock of the one process that writes, held; it ends with its process."""
        lock = FileLock(self._store.folder.parent / f"{self._store.folder.name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            _log.warning("another process writes %s: waiting for it.", self._store.place)
            lock.acquire(poll_interval=_POLL_S)
        return lock

    def _write(self, store: Store, progress: bool) -> None:
        missing = [number for number in range(store.shards) if number not in store.names]
        taken = sum(size for _, size in store.names.values())
        if self._is_full(store, missing[0], taken):
            self._tell_full(store.rows)
            return
        rows = store.rows
        with bars_on_terminal(progress) as bars:
            task = bars.add_task("caching", total=store.count, completed=rows)
            jobs = self._jobs(store, missing, partial(bars.advance, task))
            engine = OrderedThreads(jobs, threads=self._threads, ahead=_AHEAD, name="multifeed-cache")
            try:
                with suppress(StopIteration):
                    while True:
                        number, values, memory, claim = engine.get()
                        batch = self._batch(number, values)
                        if self._max_bytes is not None and taken + shard_bytes(batch) > self._max_bytes:
                            self._tell_full(rows)
                            return
                        taken += write_shard(store.folder, number, batch)
                        if store.bucket is not None:
                            store.bucket.send(shards_among(found_in(store.folder))[number][0])
                        rows += batch.num_rows
                        del batch, values, claim
                        self._spare.append(memory)
            finally:
                # It does not wait for what the threads are reading: that may be on a slow network.
                engine.stop()
                sync_folder(store.folder)
        if self._bad:
            _log.warning(
                "%d samples could not be decoded and are not in %s; mf.check(data) says why.",
                len(self._bad),
                store.place,
            )

    def _is_full(self, store: Store, number: int, taken: int) -> bool:
        """Tell, before anything is decoded for it, whether a shard would be one too many."""
        if self._max_bytes is None:
            return False
        start = number * store.per_shard
        rows = min(store.per_shard, store.count - start)
        # What is packed takes what the others took, as far as is known.
        sizes = [each.kept.spec.nbytes for each in self._chosen if each.kept.packing is None]
        known = [size for _, size in store.names.values()] or [0]
        next_bytes = rows * sum(sizes)
        if len(sizes) < len(self._chosen):
            next_bytes = max(next_bytes, min(known))
        return taken + next_bytes > self._max_bytes

    def _tell_full(self, rows: int) -> None:
        _log.info(
            "%s of %s samples are cached in %s, which takes max_bytes=%s; the others are decoded each "
            "epoch.",
            f"{rows:,}",
            f"{self._store.count:,}",
            self._store.place,
            f"{self._max_bytes:,}",
        )

    def _give_up(self, error: OSError) -> None:
        reason = "the disk is full" if error.errno in _FULL else "it cannot be written"
        warnings.warn(
            lines(
                f"the cache in {self._store.place} is not complete: {reason} "
                f"({error.strerror or error}).",
                "What is there is used, and the other samples are decoded from their source.",
            ),
            MultifeedWarning,
            stacklevel=4,
        )

    def _jobs(
        self, store: Store, missing: Sequence[int], advance: Callable[[int], None]
    ) -> Iterator[Job[tuple[int, list[Values], list[NDArray | None], Claim | None]]]:
        """Yield each shard as a job: one task for each run of rows."""
        for number in missing:
            start = number * store.per_shard
            count = min(store.per_shard, store.count - start)
            memory = self._spare.pop() if self._spare else self._room(store.per_shard)
            values = [
                Values.room(each.kept, count, place)
                for each, place in zip(self._chosen, memory, strict=True)
            ]
            runs = chunks(count, -(-count // _RUN))
            tasks = [partial(self._decode, values, start, *run, advance) for run in runs]
            # What is asked for ahead lasts as long as the job.
            claim = ask_ahead([each.reader for each in self._chosen], np.arange(start, start + count))
            yield Job((number, values, memory, claim), tasks)
            del values, memory, tasks, claim

    def _room(self, rows: int) -> list[NDArray | None]:
        return [
            None if each.kept.packing else np.empty((rows, *each.kept.spec.shape), each.kept.spec.dtype)
            for each in self._chosen
        ]

    def _decode(
        self, values: Sequence[Values], first: int, start: int, stop: int, advance: Callable[[int], None]
    ) -> None:
        """Fill the places `start` to `stop` of a shard whose first row is `first`."""
        for each, into in zip(self._chosen, values, strict=True):
            spec = each.kept.spec
            pixels = np.empty(spec.shape, spec.dtype) if into.raw is None else None
            for place in range(start, stop):
                out = pixels
                if into.raw is not None:
                    out = into.raw[place : place + 1].reshape(spec.shape)
                try:
                    home = self._homes[self._tables[first + place]]
                    is_there = _keep(each.reader, first + place, home, into, place, out)
                except Exception:
                    # It will be told when the row is read.
                    is_there = False
                    self._bad.append(first + place)
                if not is_there and into.raw is not None:
                    into.raw[place] = 0
        advance(stop - start)

    def _batch(self, number: int, values: Sequence[Values]) -> pa.RecordBatch:
        """Return a shard as Arrow has it."""
        start = number * self._store.per_shard
        rows = np.arange(start, start + len(values[0].valid))
        columns: dict[str, pa.Array] = {ROW: pa.array(rows)}
        if self._data.key:
            columns[KEY] = pa.array(Keys(self._data.source, self._data.key).many(rows))
        for each in values:
            columns |= each.columns()
        batch = pa.record_batch(columns)
        about = {"layout": self._layout, "rows": self._store.count}
        schema = schema_of(batch, [each.kept for each in values], about)
        return pa.record_batch(batch.columns, schema=schema)


def _keep(reader: PerSample, row: int, home: str, into: Values, place: int, out: NDArray | None) -> bool:
    """Decode a row into its place of a shard; return False if it is missing."""
    if reader.fill(row) is not None or out is None:
        return False
    # One far away is not asked again whether it has changed: that would cost what reading it does.
    near = [file for file in reader.files(row) if not is_uri(file)]
    if near:
        # Before they are read: if one changes meanwhile, what is kept is older than it, and stale.
        files = as_one(os.path.abspath(os.path.join(home, file_of(file))) for file in near)
        into.sizes[place], into.mtimes[place] = size_and_time(files)
        into.files[place] = files
    into.told[place] = reader.decode(row, reader.load(row), out)
    packing = into.kept.packing
    if packing is not None:
        into.packed[place] = packing.pack(out)
    into.valid[place] = True
    return True
