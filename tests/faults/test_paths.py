"""Row 28 of the table of faults: names of files that lead elsewhere, or to what is no file.

Oracle: each is refused by an error of ours that names field, key, row and file; the bytes of a file
outside are never among those that are read; nothing waits for a pipe, which the time limit would show.
"""

from __future__ import annotations

import csv
import io
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

import multifeed as mf
from multifeed import files
from multifeed.errors import BadValue, DeclarationError, SampleError, StateError
from multifeed.folder import Folder
from multifeed.remote.uri import localized

pytestmark = pytest.mark.timeout(60)

INSIDE, OUTSIDE = 1.0, 99.0
OUT = "leads out of the folder of its table, {top!r}"
REPLACE = "Replace the file, or leave the row out with data.select."
LEAVE = "Only regular files are read; leave the row out with data.select."
TRUST = (
    "File names from a table file stay under its folder: pass root= to mf.Dataset to move that folder, "
    "or allow_outside=True if you trust the table."
)


def saved(value: float, suffix: str) -> bytes:
    """Return a file that holds a value only."""
    stream = io.BytesIO()
    if suffix == ".npy":
        np.save(stream, np.full(2, value, np.float32))
    elif suffix == ".npz":
        np.savez(stream, x=np.full(2, value, np.float32))
    else:
        PILImage.fromarray(np.full((4, 4), value, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


FIELDS: dict[str, tuple[str, Callable[[], object]]] = {
    ".npy": ("", lambda: mf.Array("x", (2,))),
    ".npz": ("::x", lambda: mf.Array("x", (2,))),
    ".png": ("", lambda: mf.Image("x", 4, color_mode="grayscale")),
}


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """The folder of a table: with a good file, and links and things that are no files."""
    inside = tmp_path / "in"
    (inside / "deep").mkdir(parents=True)
    (tmp_path / "in-side").mkdir()
    for suffix in FIELDS:
        for folder in (inside, inside / "deep"):
            (folder / f"good{suffix}").write_bytes(saved(INSIDE, suffix))
        for folder in (tmp_path, tmp_path / "in-side"):
            (folder / f"secret{suffix}").write_bytes(saved(OUTSIDE, suffix))
        (inside / f"link{suffix}").symlink_to(f"../secret{suffix}")
        (inside / f"twice{suffix}").symlink_to(f"link{suffix}")
        (inside / f"zero{suffix}").symlink_to("/dev/zero")
        (inside / f"loop{suffix}").symlink_to(f"loop{suffix}")
        os.mkfifo(inside / f"pipe{suffix}")
        (inside / f"folder{suffix}").mkdir()
    (inside / "door").symlink_to(tmp_path)
    return inside


def declared(top: Path, name: str, suffix: str, **options: object) -> mf.Dataset:
    """Return a dataset of a table file that names a good file, and another one."""
    member, field = FIELDS[suffix]
    with (top / "table.csv").open("w", newline="", errors="surrogateescape") as file:
        csv.writer(file).writerows([["id", "x"], ["a", f"good{suffix}{member}"], ["b", name + member]])
    return mf.Dataset(top / "table.csv", key="id", inputs={"x": field()}, **options)


NAMES = {
    "../secret{suffix}": OUT,
    "deep/../../secret{suffix}": OUT,
    "{outside}/secret{suffix}": OUT,
    "../in-side/secret{suffix}": OUT,
    "door/secret{suffix}": OUT,
    "door/in-side/../secret{suffix}": OUT,
    "link{suffix}": OUT,
    "twice{suffix}": OUT,
    "zero{suffix}": OUT,
    "/dev/zero": OUT,
    "/dev/stdin": OUT,
    "/proc/self/environ": OUT,
    "/proc/self/fd/0": OUT,
    "../nothing{suffix}": OUT,
    "pipe{suffix}": "is not a regular file but a named pipe",
    "folder{suffix}": "is not a regular file but a folder",
    "loop{suffix}": "cannot be opened (Too many levels of symbolic links)",
    "deep": "is not a regular file but a folder",
    "no\\x1b[31m{suffix}": "does not exist",
    "http://localhost/x{suffix}": OUT,
    "S3://bucket/x{suffix}": OUT,
    "file://{outside}/secret{suffix}": OUT,
    "file:///dev/zero": OUT,
    "|echo{suffix}": "does not exist",
    "~/x{suffix}": "does not exist",
    "$HOME/x{suffix}": "does not exist",
    "a" * 1_000_000: "cannot be opened (File name too long)",
    "a/" * 500_000: "cannot be opened (File name too long)",
    "../" * 300_000: "cannot be opened (File name too long)",
}


@pytest.mark.parametrize("suffix", FIELDS)
@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:30])
def test_what_a_table_file_names_is_a_file_under_its_folder(top: Path, name: str, suffix: str) -> None:
    """Row 28: all else is refused, at once, with field, key, row and file; the others can be read."""
    plain = name.format(outside=top.parent, suffix=suffix).replace("\\x1b", "\x1b")
    data = declared(top, plain, suffix)
    assert data[0][0]["x"].max() == INSIDE
    reason = NAMES[name].format(top=str(top))
    remedy = TRUST if NAMES[name] == OUT else LEAVE if "regular" in reason else REPLACE
    with pytest.raises(SampleError) as caught:
        data[1]
    error = caught.value
    assert (error.field, error.key, error.row) == ("x", "b", 1)
    # What is a URI stands for itself.
    assert error.file == (
        localized(plain).replace("S3:", "s3:") if "://" in plain else os.path.join(top, plain)
    )
    first, _, last = (each.strip() for each in str(error).split("\n"))
    assert first == f"'x' of sample 'b' cannot be used: the file {reason}."
    assert last == remedy
    # Whatever the name is, it commands no terminal, and fits on a screen.
    assert len(str(error)) < 3_000
    assert "\x1b" not in str(error)


def test_a_name_with_a_nul_is_refused(top: Path) -> None:
    """Row 28: such a name would end early in C."""
    rows = {"x": ["good.npy", "../secret.npy\0good.npy"]}
    data = mf.Dataset(rows, inputs={"x": mf.Array("x", (2,))}, root=top)
    with pytest.raises(SampleError) as caught:
        data[1]
    assert str(caught.value) == (
        "'x' of row 1 cannot be used: the file cannot be opened (embedded null byte).\n"
        f"  File: {top}/../secret.npy\\x00good.npy (row 1).\n"
        f"  {REPLACE}"
    )


def joined(top: Path, how: str) -> mf.Dataset:
    """Return a dataset whose second row names a file outside, in a table that went through more."""
    declared(top, "../secret.npy", ".npy")
    table, field = top / "table.csv", mf.Array("x", (2,))
    plain = mf.Dataset(table, key="id", inputs={"x": field})
    if how == "align":
        return mf.Dataset(
            mf.align("id", y={"id": ["a", "b"]}, table=table), key="id", inputs={"x": field}
        )
    if how == "lookup":
        rows = mf.align("n", main={"n": ["1", "2"], "id": ["a", "b"]}, more=mf.lookup(table, on="id"))
        return mf.Dataset(rows, key="id", inputs={"x": field})
    if how == "concat":
        return mf.concat([plain.select([0]), plain.select([1])])
    if how == "select":
        return plain.select([0, 1]).select([0, 1])
    if how == "cache":
        return mf.cache(plain, top / "cache", progress=False)
    assert how == "root"
    names = {"id": ["a", "b"], "x": ["good.npy", "../secret.npy"]}
    return mf.Dataset(names, key="id", inputs={"x": field}, root=top)


@pytest.mark.parametrize("how", ["align", "lookup", "concat", "select", "cache", "root"])
def test_a_name_is_confined_whatever_its_table_goes_through(top: Path, how: str) -> None:
    """Row 28: joins, selections, parts and caches know where the names came from."""
    data = joined(top, how)
    assert data[0][0]["x"].max() == INSIDE
    with pytest.raises(SampleError, match="leads out of the folder of its table"):
        data[1]


def test_what_others_send_is_confined_like_the_table(top: Path) -> None:
    """Row 28: names in the samples of a server, too."""
    data = declared(top, "good.npy", ".npy")
    assert mf.prepare(data, {"x": "deep/good.npy"})["x"].max() == INSIDE
    for name in ("../secret.npy", f"{top.parent}/secret.npy", "link.npy"):
        with pytest.raises(SampleError, match="leads out of the folder of its table"):
            mf.prepare(data, {"x": name})


def test_a_check_refuses_them_too(top: Path) -> None:
    """Row 28: a health report reads no file outside, and waits for none."""
    for name, kind in (("../secret.npy", "unreadable file"), ("pipe.npy", "unreadable file")):
        report = mf.check(declared(top, name, ".npy"))
        bad = [each for each in report.findings.to_pylist() if each["severity"] == "bad"]
        assert [(each["kind"], each["row"]) for each in bad] == [(kind, 1)]


def test_outside_is_read_where_that_is_asked_for(top: Path) -> None:
    """Row 28: `allow_outside` and `root` are the user's own words; pipes and devices stay refused."""
    assert declared(top, "../secret.npy", ".npy", allow_outside=True)[1][0]["x"].max() == OUTSIDE
    assert declared(top, "link.npy", ".npy", allow_outside=True)[1][0]["x"].max() == OUTSIDE
    data = mf.Dataset({"x": ["in/good.npy", "secret.npy"]}, inputs=mf.Array("x", (2,)), root=top.parent)
    assert data[1][0].max() == OUTSIDE
    for name, kind in (
        ("pipe.npy", "a named pipe"),
        ("/dev/zero", "a device"),
        ("zero.npy", "a device"),
    ):
        with pytest.raises(SampleError, match=f"is not a regular file but {kind}"):
            declared(top, name, ".npy", allow_outside=True)[1]


def test_a_link_that_is_exchanged_after_the_check_is_noticed(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 28: between the check and the opening, a file becomes a link to outside: refused."""
    opened: list[bytes] = []
    real = os.open

    def exchange_first(path: str, flags: int) -> int:
        Path(path).unlink()
        Path(path).symlink_to("../secret.npy")
        handle = real(path, flags)
        opened.append(os.pread(handle, 1_000, 0))
        return handle

    monkeypatch.setattr(files.os, "open", exchange_first)
    with pytest.raises(BadValue) as caught:
        Folder(str(top), confined=True).read("good.npy")
    assert caught.value.reason == OUT.format(top=str(top))
    # The fault did happen: what was opened is the file outside.
    assert opened == [saved(OUTSIDE, ".npy")]


def test_an_exchanged_link_is_noticed_where_no_system_tells_of_open_files(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 28: without /proc, the name is followed again once the file is open."""
    real = os.open

    def exchange_first(path: str, flags: int) -> int:
        Path(path).unlink()
        Path(path).symlink_to("../secret.npy")
        return real(path, flags)

    def is_not_there(path: str) -> str:
        raise FileNotFoundError(2, "No such file or directory", path)

    folder = Folder(str(top), confined=True)
    readlink = os.readlink
    monkeypatch.setattr(
        files.os, "readlink", lambda path: is_not_there(path) if "proc" in path else readlink(path)
    )
    assert folder.read("deep/good.npy") == saved(INSIDE, ".npy")
    monkeypatch.setattr(files.os, "open", exchange_first)
    with pytest.raises(BadValue, match="leads out of the folder of its table"):
        folder.read("good.npy")


def test_a_folder_that_is_exchanged_for_a_link_is_noticed(top: Path) -> None:
    """Row 28: a folder that was under the top when it was first read, and is a link out now."""
    folder = Folder(str(top), confined=True)
    (top / "deep/secret.npy").write_bytes(saved(INSIDE, ".npy"))
    assert folder.read("deep/secret.npy") == saved(INSIDE, ".npy")
    (top / "deep").rename(top / "gone")
    (top / "deep").symlink_to(top.parent)
    with pytest.raises(BadValue, match="leads out of the folder of its table"):
        folder.read("deep/secret.npy")


def test_a_racing_exchange_never_shows_what_is_outside(top: Path) -> None:
    """Row 28: while a thread exchanges a file and a link, all reads give the file or an error."""
    good, secret = saved(INSIDE, ".npy"), saved(OUTSIDE, ".npy")
    stop = threading.Event()

    def exchange() -> None:
        number = 0
        while not stop.is_set():
            spare = top / f"spare{number % 2}"
            if number % 2:
                spare.symlink_to("../secret.npy")
            else:
                spare.write_bytes(good)
            spare.replace(top / "good.npy")
            number += 1

    thread = threading.Thread(target=exchange)
    thread.start()
    found: set[object] = set()
    try:
        folder, reads = Folder(str(top), confined=True), 0
        expected = {good, OUT.format(top=str(top))}
        # Both must have been met, or nothing has been exchanged.
        while reads < 3_000 or not expected <= found:
            reads += 1
            try:
                found.add(folder.read("good.npy"))
            except BadValue as error:
                found.add(error.reason)
    finally:
        stop.set()
        thread.join()
    # Where the link was exchanged while it was followed.
    assert found <= expected | {"cannot be opened (Invalid argument)"}
    assert secret not in found


@pytest.mark.parametrize("kind", ["pipe", "socket", "folder", "/dev/zero"])
def test_no_file_of_any_kind_is_waited_for(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 28: tables, learned states and tokenizers are regular files as well."""
    monkeypatch.chdir(tmp_path)
    tables = ("table.csv", "table.parquet", "table.arrow", "table.jsonl")
    for name in (*tables, "state.json"):
        if kind == "pipe":
            os.mkfifo(name)
        elif kind == "socket":
            with socket.socket(socket.AF_UNIX) as each:
                each.bind(name)
        elif kind == "folder":
            Path(name).mkdir()
        else:
            Path(name).symlink_to(kind)
    # A folder may be a table: of table files, of which these have none.
    said = "table files of one kind" if kind == "folder" else "regular file"
    for name in tables:
        with pytest.raises(DeclarationError, match=said):
            mf.Dataset(name, inputs=mf.Numeric("x"))
    with pytest.raises(StateError, match="the learned state cannot be read"):
        mf.Dataset({"x": [1.0]}, inputs=mf.Numeric("x", normalize=True)).load_state("state.json")
    with pytest.raises(DeclarationError, match="the tokenizer cannot be read"):
        mf.Text("x", 4, tokenizer="state.json")
