"""Files are read whole, if they are regular and lie where they may."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from multifeed import files
from multifeed.errors import BadValue
from multifeed.fields.handles import Handles
from multifeed.files import open_file, read_file
from multifeed.folder import Folder, PartName, part_of

REPLACE = "Replace the file, or leave the row out with data.select."


def refused(act: Callable[[], object]) -> tuple[str, str]:
    """Return the reason and the remedy of the refusal."""
    with pytest.raises(BadValue) as caught:
        act()
    return caught.value.reason, caught.value.remedy


@pytest.mark.parametrize("size", [1, 100, 1_000_000])
def test_a_file_is_read_whole(tmp_path: Path, size: int) -> None:
    """Byte by byte."""
    content = os.urandom(size)
    (tmp_path / "x").write_bytes(content)
    assert read_file(f"{tmp_path}/x") == content


def test_a_file_is_read_whole_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one call returns less than was asked for, as it does above 2 GiB."""
    content = os.urandom(1000)
    (tmp_path / "x").write_bytes(content)
    read = os.pread
    monkeypatch.setattr(
        files.os, "pread", lambda handle, size, start: read(handle, min(size, 300), start)
    )
    assert read_file(f"{tmp_path}/x") == content


def test_a_file_that_shrinks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of it would be something else."""
    path = tmp_path / "x"
    path.write_bytes(bytes(1000))
    read = os.pread

    def shrink(handle: int, size: int, start: int) -> bytes:
        os.truncate(path, 400)
        return read(handle, size, start)

    monkeypatch.setattr(files.os, "pread", shrink)
    assert refused(lambda: read_file(str(path))) == (
        "has shrunk while it was read, to 400 bytes",
        REPLACE,
    )


def test_any_part_of_a_file_is_read(tmp_path: Path) -> None:
    """By place and size, and as a file object; what lies beyond its end is refused."""
    content = os.urandom(200_000)
    (tmp_path / "x").write_bytes(content)
    with open_file(f"{tmp_path}/x") as file:
        assert (file.size, file.read(7, 100), file.read(199_990)) == (
            len(content),
            content[7:107],
            content[-10:],
        )
        stream = file.stream()
        assert (stream.seek(-5, os.SEEK_END), stream.read()) == (199_995, content[-5:])
        assert (stream.seek(150_000), stream.read(3)) == (150_000, content[150_000:150_003])
        assert Path(str(file.path)).read_bytes() == content
        reason = "ends after 200,000 bytes, where 2 are to be read from byte 199,999 on"
        assert refused(lambda: file.read(199_999, 2)) == (reason, REPLACE)


def test_a_name_may_be_that_of_a_part_of_a_file(tmp_path: Path) -> None:
    """Such as a member of an archive; it is read in place, and cannot reach beyond its file."""
    (tmp_path / "a::1.tar").write_bytes(b"0123456789")
    folder = Folder(str(tmp_path), True)
    name = str(PartName("a::1.tar", "deep::b@2.jpg", 3, 4))
    assert name == "a::1.tar::deep__b@2.jpg@3+4"
    assert folder.read(name) == b"3456"
    with folder.open(str(PartName("a::1.tar", "", 2, 8))) as file:
        assert (file.size, file.path, file.read(1, 2), file.stream().read()) == (
            8,
            None,
            b"34",
            b"23456789",
        )
    assert refused(lambda: folder.read("a::1.tar::x@8+3")) == (
        "ends after 10 bytes, where a part of it reaches to 11",
        "List its parts again, as mf.tar and mf.tfrecord do.",
    )
    assert refused(lambda: folder.read("../a.tar::x@0+1"))[0].startswith("leads out of the folder")
    assert (part_of("a.npz::scan"), part_of("photo@2+2"), part_of("a::b@1+")) == (None, None, None)


def test_a_part_of_a_file_that_has_changed_is_refused(tmp_path: Path) -> None:
    """Something else may stand there now: it would be another sample under the same key."""
    folder = Folder(str(tmp_path), True)
    (tmp_path / "a.tar").write_bytes(b"0123456789")
    with folder.open("a.tar") as file:
        name = str(PartName("a.tar", "x", 3, 4, file.stamp))
    assert folder.read(name) == b"3456"
    os.utime(tmp_path / "a.tar", ns=(1, 1))
    assert refused(lambda: folder.read(name)) == (
        "has changed since its parts were listed",
        "List its parts again, as mf.tar and mf.tfrecord do.",
    )


def test_the_files_of_a_folder_are_listed(tmp_path: Path) -> None:
    """Sorted, without its folders, and confined as they are."""
    (tmp_path / "series" / "deep").mkdir(parents=True)
    for name in "ba":
        (tmp_path / "series" / name).write_bytes(b"1")
    folder = Folder(str(tmp_path), True)
    assert folder.names("series") == ["series/a", "series/b"]
    assert refused(lambda: folder.names("none")) == (
        "cannot be listed (No such file or directory)",
        REPLACE,
    )
    assert refused(lambda: folder.names(".."))[0].startswith("leads out of the folder")


def test_handles_stay_open_until_the_file_is_another(tmp_path: Path) -> None:
    """A few for each thread; what is evicted or replaced is closed."""
    for name in "abcdef":
        (tmp_path / name).write_bytes(name.encode())
    folder, handles = Folder(str(tmp_path), True), Handles(Folder.open)
    first = handles.get(folder, "a")
    assert handles.get(folder, "a") is first
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "new").replace(tmp_path / "a")
    assert handles.get(folder, "a").read() == b"new"
    assert not os.path.exists(f"/proc/self/fd/{first._handle}")
    second = handles.get(folder, "b")
    for name in "cdef":
        handles.get(folder, name)
    assert second._handle == -1


@pytest.mark.timeout(10)
def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    """Without waiting for a writer, and without reading from a device."""
    os.mkfifo(tmp_path / "pipe")
    remedy = "Only regular files are read; leave the row out with data.select."
    for path, kind in (
        (f"{tmp_path}/pipe", "a named pipe"),
        (f"{tmp_path}", "a folder"),
        ("/dev/zero", "a device"),
    ):
        reason = refused(lambda path=path: read_file(path))
        assert reason == (f"is not a regular file but {kind}", remedy)


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot even be opened."""
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        reason, remedy = refused(lambda: read_file("socket"))
    assert reason == "cannot be opened (No such device or address)"
    assert remedy == REPLACE


def test_what_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with its own reason."""
    (tmp_path / "empty").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "x").write_bytes(b"x")
    for name, reason in (
        ("no", "does not exist"),
        ("no/no", "does not exist"),
        ("x/no", "cannot be opened (Not a directory)"),
        ("empty", "is empty (0 bytes)"),
        ("loop", "cannot be opened (Too many levels of symbolic links)"),
        ("a\0b", "cannot be opened (embedded null byte)"),
        ("y" * 300, "cannot be opened (File name too long)"),
    ):
        for folder in (Folder(None, confined=False), Folder(str(tmp_path), confined=True)):
            name_there = name if folder.confined else f"{tmp_path}/{name}"
            assert refused(lambda f=folder, n=name_there: f.read(n)) == (reason, REPLACE)

    def fail(handle: int, size: int, start: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(files.os, "pread", fail)
    reason = refused(lambda: read_file(f"{tmp_path}/x"))[0]
    assert reason == "cannot be read (Input/output error)"


def test_a_file_larger_than_memory_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its size."""
    (tmp_path / "x").write_bytes(bytes(12_345))

    def no_memory(handle: int, size: int, start: int) -> bytes:
        raise MemoryError

    monkeypatch.setattr(files.os, "pread", no_memory)
    reason = refused(lambda: read_file(f"{tmp_path}/x"))[0]
    assert reason == "does not fit into memory (12,345 bytes)"


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    """Neither by files that are read, nor by those that are refused."""
    (tmp_path / "x").write_bytes(b"x")
    (tmp_path / "empty").touch()
    before = len(os.listdir("/dev/fd"))
    for _ in range(20):
        read_file(f"{tmp_path}/x")
        for name in ("empty", "no", ""):
            refused(lambda name=name: read_file(f"{tmp_path}/{name}"))
    assert len(os.listdir("/dev/fd")) == before


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a folder 'in' beside a folder 'out', with links from one to the other."""
    for path in ("in/x", "in/deep/er/x", "out/x", "in-side/x"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(path.encode())
    (tmp_path / "in" / "link").symlink_to("deep/er/x")
    (tmp_path / "in" / "door").symlink_to(tmp_path / "out")
    (tmp_path / "in" / "window").symlink_to("../out/x")
    (tmp_path / "in" / "round").symlink_to("../in/deep")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x", "in/x"),
        ("./deep/../x", "in/x"),
        ("deep/er/x", "in/deep/er/x"),
        ("../in/x", "in/x"),
        ("link", "in/deep/er/x"),
        ("round/er/x", "in/deep/er/x"),
        ("{tree}/in/x", "in/x"),
        ("../out/x", None),
        ("deep/../../out/x", None),
        ("door/x", None),
        ("window", None),
        ("../in-side/x", None),
        ("round/../../out/x", None),
        ("{tree}/out/x", None),
        ("/etc/passwd", None),
        ("..", None),
        (".", None),
        ("", None),
        ("deep/../..", None),
        ("../out/nothing", None),
    ],
)
def test_confined_names_stay_under_their_folder(tree: Path, name: str, content: str | None) -> None:
    """Links are followed before it is decided; files outside are not told apart from none."""
    top = os.path.join(tree, "in")
    name = name.format(tree=tree)
    for _ in range(2):  # the second time, the folder is known
        if content is not None:
            assert Folder(top, confined=True).read(name).decode() == content
            continue
        assert refused(lambda: Folder(top, confined=True).read(name)) == (
            f"leads out of the folder of its table, {os.path.realpath(top)!r}",
            "File names from a table file stay under its folder: pass root= to mf.Dataset to move that "
            "folder, or allow_outside=True if you trust the table.",
        )


def test_a_folder_may_itself_be_a_link(tree: Path) -> None:
    """What counts is where it leads."""
    (tree / "alias").symlink_to("in")
    folder = Folder(f"{tree}/alias", confined=True)
    assert folder.read("x") == b"in/x"
    assert folder.read("link") == b"in/deep/er/x"
    assert folder.path("x") == f"{tree}/alias/x"


def test_the_root_of_all_folders_confines_nothing(tree: Path) -> None:
    """Everything lies under it."""
    assert Folder("/", confined=True).read(f"{tree}/out/x") == b"out/x"


def test_names_that_are_not_confined_go_anywhere(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative to the folder, or to the working directory."""
    assert Folder(f"{tree}/in", confined=False).read("../out/x") == b"out/x"
    monkeypatch.chdir(tree / "in")
    assert Folder(None, confined=False).read("door/x") == b"out/x"


def test_a_limit_of_open_files_is_not_the_fault_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 12: nobody shall replace it for that."""
    (tmp_path / "a").write_text("a")

    def opened(*arguments: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", opened)
        said = refused(lambda: open_file(str(tmp_path / "a")))
    assert said == (
        f"cannot be opened ({os.strerror(errno.EMFILE)})",
        "The file may be a good one: let the process open more (ulimit -n), or pass fewer workers.",
    )
