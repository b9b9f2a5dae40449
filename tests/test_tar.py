"""`mf.tar`: archives in the layout of WebDataset are listed once, and read in place."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

import multifeed as mf
from multifeed.errors import one_line


def write(path: Path, members: dict[str, bytes] | list[tuple[str, bytes]], **options: Any) -> str:
    """Write an archive; return its name."""
    pairs = members.items() if isinstance(members, dict) else members
    with tarfile.open(path, "w", **options) as archive:
        for name, content in pairs:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return str(path)


def png(value: int) -> bytes:
    """Return an image of one colour."""
    stream = io.BytesIO()
    PILImage.fromarray(np.full((8, 9, 3), value, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def listed(folder: Path, shards: Any, **options: Any) -> Any:
    """Return the table of shards; what is found is kept beside them."""
    return mf.tar(shards, index=folder / "index", **options)


def refused(folder: Path, shards: Any, **options: Any) -> str:
    """Return what is said of shards that cannot be used."""
    with pytest.raises(mf.DeclarationError) as caught:
        listed(folder, shards, **options)
    return str(caught.value)


def test_samples_are_read_in_place_in_any_order(tmp_path: Path) -> None:
    """Images, arrays and labels of two shards, by key."""
    for shard in range(2):
        members = {}
        for number in range(3):
            stream = io.BytesIO()
            np.save(stream, np.arange(4.0) + number)
            key = f"deep/{shard}{number}"
            members |= {f"{key}.png": png(10 * shard + number), f"{key}.seg.npy": stream.getvalue()}
            members[f"{key}.cls"] = f"{number}\n".encode()
        write(tmp_path / f"s-{shard}.tar", members)
    rows = listed(tmp_path, f"{tmp_path}/s-{{0..1}}.tar")
    assert rows.column_names == ["shard", "key", "png", "seg.npy", "cls"]
    assert rows["key"].to_pylist() == [
        f"deep/{shard}{number}" for shard in range(2) for number in range(3)
    ]
    assert rows["cls"].to_pylist() == [0, 1, 2] * 2
    data = mf.Dataset(
        rows,
        key="key",
        inputs={"image": mf.Image("png", 4), "map": mf.Array("seg.npy", (4,))},
        targets=mf.Category("cls", vocabulary=[0, 1, 2]),
    )
    for row in (4, 0, 5):
        inputs, label = data[row]
        assert (inputs["image"] == 10 * (row // 3) + row % 3).all()
        assert inputs["map"].tolist() == [row % 3 + each for each in range(4)]
        assert label == row % 3
    with mf.Feed(data, 4, shuffle=True, processes=1, workers=1) as feed:
        assert sorted(int(value) for x, _ in feed for value in x["image"][:, 0, 0, 0]) == [
            0, 1, 2, 10, 11, 12,
        ]  # fmt: skip


def test_a_sample_may_lack_a_member(tmp_path: Path) -> None:
    """It is null there, also where a whole shard has none."""
    one = write(
        tmp_path / "1.tar", {"a.jpg": b"1", "b.txt": b"two", "c.jpg": b"3", "c.txt": b" three \n"}
    )
    two = write(tmp_path / "2.tar", {"d.jpg": b"4"})
    rows = listed(tmp_path, [one, two])
    assert rows["txt"].to_pylist() == [None, "two", "three", None]
    assert [cell is None for cell in rows["jpg"].to_pylist()] == [False, True, False, False]


def test_the_members_of_a_sample_need_not_be_neighbours(tmp_path: Path) -> None:
    """They are found by key; WebDataset would make two samples of them."""
    name = write(tmp_path / "x.tar", [("a.x", b"1"), ("b.x", b"2"), ("a.y", b"3")])
    rows = listed(tmp_path, name)
    assert rows["key"].to_pylist() == ["a", "b"]
    assert [cell is None for cell in rows["y"].to_pylist()] == [False, True]


def test_what_is_no_member_of_a_sample_is_left_out(tmp_path: Path) -> None:
    """Folders, what has no ending, and what begins with a dot, as on a Mac."""
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        folder = tarfile.TarInfo("deep")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name in ("README", "deep/.hidden.jpg", "._a.jpg", "deep/a.JPG"):
            archive.addfile(tarfile.TarInfo(name))
    rows = listed(tmp_path, tmp_path / "x.tar")
    assert rows["key"].to_pylist() == ["deep/a"]
    assert rows.column_names == ["shard", "key", "jpg"]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_all_forms_of_tar_are_read(tmp_path: Path, form: int) -> None:
    """With long names, and names that are no ASCII."""
    key = "/".join(["long" * 10] * 3) + "/æ"
    name = write(tmp_path / "x.tar", {f"{key}.txt": b"here", f"{key}.bin": b"there"}, format=form)
    rows = listed(tmp_path, name)
    assert rows.to_pydict() | {"bin": 0} == {"shard": [name], "key": [key], "txt": ["here"], "bin": 0}
    field = mf.Function("bin", lambda content: [len(content)], mf.Spec((1,), "int32"), files="bin")
    assert mf.Dataset(rows, inputs=field)[0][0].tolist() == [5]


def test_integers_are_those_of_all_shards(tmp_path: Path) -> None:
    """One that is a code leaves all as text; what `values` does not name is a file."""
    one = write(tmp_path / "1.tar", {"a.cls": b"7", "a.id": b"1"})
    two = write(tmp_path / "2.tar", {"b.cls": b"007", "b.id": b"-2"})
    rows = listed(tmp_path, [one, two], values=["cls", "id"])
    assert (rows["cls"].to_pylist(), rows["id"].to_pylist()) == (["7", "007"], [1, -2])
    signed = write(tmp_path / "3.tar", {"c.cls": b"+1"})
    assert listed(tmp_path, [one, signed])["cls"].to_pylist() == ["7", "+1"]
    assert listed(tmp_path, one, values=".CLS")["cls"].to_pylist() == [7]
    assert listed(tmp_path, one, values=())["cls"][0].as_py().startswith(f"{one}::a.cls@")


def test_objects_in_json_become_columns(tmp_path: Path) -> None:
    """Their keys after the ending, as in metadata files; what a sample lacks is null."""
    one = write(
        tmp_path / "1.tar",
        {"a.json": b'{"size": {"x": 3}, "words": "no"}', "b.txt": b"", "c.json": b'{"words": null}'},
    )
    two = write(tmp_path / "2.tar", {"d.json": b'{"size": {"x": 1.5}}'})
    rows = listed(tmp_path, [one, two])
    assert rows["json.size.x"].to_pylist() == [3, None, None, 1.5]
    assert rows["json.words"].to_pylist() == ["no", None, None, None]
    assert "json" not in rows.column_names
    assert listed(tmp_path, one, values=["txt"])["json"][0].as_py().startswith(f"{one}::a.json@")
    write(tmp_path / "3.tar", {"a.json": b"[1]"})
    assert refused(tmp_path, tmp_path / "3.tar").startswith(
        f"the shard '{tmp_path}/3.tar' cannot be used: it has a member 'a.json' that holds a value of "
        "type list, where an object of keys and values is due."
    )
    write(tmp_path / "4.tar", {"d.json": b'{"size": {"x": "wide"}}'})
    assert refused(tmp_path, [one, tmp_path / "4.tar"]).startswith(
        "shards hold values of one type under one name: "
    )


def test_a_shard_is_looked_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it changes; what is damaged in the index is found again."""
    name = write(tmp_path / "x.tar", {"a.txt": b"one"})
    looked: list[int] = []
    following = tarfile.TarFile.next
    monkeypatch.setattr(
        tarfile.TarFile, "next", lambda archive: (looked.append(1), following(archive))[1]
    )
    first = listed(tmp_path, name)
    count = len(looked)
    assert listed(tmp_path, name).equals(first)
    assert len(looked) == count
    (kept,) = (tmp_path / "index").iterdir()
    for damaged in (kept.read_bytes()[:200], b"", os.urandom(500)):
        kept.unlink()
        kept.write_bytes(damaged)
        assert listed(tmp_path, name).equals(first)
    assert len(looked) == 4 * count
    write(tmp_path / "x.tar", {"a.txt": b"two", "b.txt": b"three"})
    assert listed(tmp_path, name)["txt"].to_pylist() == ["two", "three"]


def test_an_index_that_cannot_be_kept_is_a_warning(tmp_path: Path) -> None:
    """What was found is used all the same."""
    name = write(tmp_path / "x.tar", {"a.txt": b"one"})
    (tmp_path / "file").write_bytes(b"")
    with pytest.warns(mf.MultifeedWarning) as caught:
        rows = mf.tar(name, index=tmp_path / "file" / "index")
    assert rows["txt"].to_pylist() == ["one"]
    assert str(caught[0].message) == (
        f"what shards hold cannot be kept in '{tmp_path}/file/index' (Not a directory): it will be "
        "looked for anew each time.\n"
        "  Pass index=, a folder that can be written to."
    )
    assert caught[0].filename == __file__


def test_an_archive_that_changes_afterwards_is_an_error(tmp_path: Path) -> None:
    """Another sample may lie there now."""
    name = write(tmp_path / "x.tar", {"a.png": png(1)})
    data = mf.Dataset(listed(tmp_path, name), key="key", inputs={"x": mf.Image("png", 4)})
    assert (data[0][0]["x"] == 1).all()
    write(tmp_path / "x.tar", {"b.png": png(2)})
    os.utime(name, ns=(1, 1))
    with pytest.raises(mf.SampleError) as caught:
        data[0]
    file = str(caught.value.file)
    assert file.startswith(f"{name}::a.png@512+")
    assert str(caught.value) == (
        "'x' of sample 'a' cannot be used: the file has changed since its parts were listed.\n"
        f"  File: {one_line(file)} (row 0).\n"
        "  List its parts again, as mf.tar and mf.tfrecord do."
    )


def test_names_of_shards_are_counted_out(tmp_path: Path) -> None:
    """Ranges of numbers, several of them, with leading zeros or none; stars too."""
    for name in ("a-08-x", "a-09-x", "a-10-x", "a-10-y"):
        write(tmp_path / f"{name}.tar", {f"{name}.txt": b""})
    found = listed(tmp_path, f"{tmp_path}/a-{{08..10}}-x.tar")
    assert [Path(shard).stem for shard in found["shard"].to_pylist()] == ["a-08-x", "a-09-x", "a-10-x"]
    assert len(listed(tmp_path, f"{tmp_path}/a-{{9..10}}*.tar")) == 2
    assert listed(tmp_path, [tmp_path / "a-10-y.tar", f"{tmp_path}/*-x.tar"])["key"].to_pylist() == [
        "a-10-y", "a-08-x", "a-09-x", "a-10-x",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("shards", "said"),
    [
        ("none-{0..1}.tar", "the shard 'none-0.tar' cannot be used: it does not exist.\n"
         "  Replace it, or leave it out."),
        ("none*.tar", "no tar archive is named by 'none*.tar'.\n  Write e.g. 'shards/{000..099}.tar'."),
        ([], "no tar archive is named by [].\n  Write e.g. 'shards/{000..099}.tar'."),
        (".", "the shard '.' cannot be used: it is not a regular file but a folder.\n"
         "  Replace it, or leave it out."),
        ("s-{9..1}.tar", "a range goes up, by less than a million: {9..1}."),
        ("s-{0..99999999}.tar", "a range goes up, by less than a million: {0..99999999}."),
    ],
)  # fmt: skip
def test_shards_that_are_not_there(tmp_path: Path, shards: Any, said: str) -> None:
    """Are told."""
    assert refused(tmp_path, shards) == said


def test_compressed_archives_are_refused(tmp_path: Path) -> None:
    """By content, with what to do."""
    name = write(tmp_path / "x.tar", {"a.txt": b"one"})
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(Path(name).read_bytes()))
    assert refused(tmp_path, f"{name}.gz") == (
        f"the shard '{name}.gz' cannot be used: it is compressed (gzip), and no part of it can be read "
        "by itself.\n"
        "  Unpack it once (gunzip); images are compressed already."
    )
    for mode, packing in (("w:bz2", "bzip2"), ("w:xz", "xz")):
        with tarfile.open(tmp_path / "y.tar", mode) as archive:
            archive.add(name, "a.txt")
        assert f"compressed ({packing})" in refused(tmp_path, tmp_path / "y.tar")


def test_links_and_doubles_are_refused(tmp_path: Path) -> None:
    """A link leads elsewhere, and of two members of one name nobody knows which is meant."""
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        link = tarfile.TarInfo("a.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert refused(tmp_path, tmp_path / "x.tar") == (
        f"the shard '{tmp_path}/x.tar' cannot be used: it has a member 'a.jpg' that is no plain file.\n"
        "  Pack it again with the files themselves: tar --dereference --hard-dereference."
    )
    write(tmp_path / "y.tar", [("a.jpg", b"1"), ("a.JPG", b"2")])
    assert "it has two members 'a.JPG'" in refused(tmp_path, tmp_path / "y.tar")
    write(tmp_path / "z.tar", {"a.key": b"1"})
    assert "whose ending is the name of another column" in refused(tmp_path, tmp_path / "z.tar")


def test_names_of_members_may_have_colons(tmp_path: Path) -> None:
    """What stands between a file and its part in a name is also a name that a member can have."""
    members = {f"{key}.png": png(value) for value, key in enumerate(["a::b", ":c", "12:30", "::/d:::e"])}
    rows = listed(tmp_path, write(tmp_path / "x.tar", members))
    assert rows["key"].to_pylist() == ["a::b", ":c", "12:30", "::/d:::e"]
    data = mf.Dataset(rows, key="key", inputs=mf.Image("png", 4))
    assert [data[row][0][0, 0, 0] for row in range(4)] == [0, 1, 2, 3]


def test_an_ending_that_is_a_key_in_json_is_refused(tmp_path: Path) -> None:
    """Both would be one column."""
    write(tmp_path / "x.tar", {"a.json": b'{"b": 1}', "a.json.b": b"2"})
    assert refused(tmp_path, tmp_path / "x.tar") == (
        f"the shard '{tmp_path}/x.tar' cannot be used: it has members that end in 'json.b', which is a "
        "key of members in JSON as well.\n  Pass values= without 'json', or rename one of them."
    )


def test_a_key_in_json_is_no_member_of_another_shard(tmp_path: Path) -> None:
    """The text of one would be taken for the place of the other."""
    first = write(tmp_path / "a.tar", {"a.json": b'{"b": "x"}'})
    second = write(tmp_path / "b.tar", {"a.json.b": b"2"})
    assert refused(tmp_path, [first, second]) == (
        f"'json.b' holds values in the shard '{first}', and names parts of the shard '{second}'.\n"
        "  Rename one of them, or leave that name out of values=."
    )


def test_values_are_small_texts(tmp_path: Path) -> None:
    """A large one, or one that is no text, is told by its name."""
    write(tmp_path / "x.tar", {"a.txt": bytes(2**20 + 1)})
    assert refused(tmp_path, tmp_path / "x.tar") == (
        f"the shard '{tmp_path}/x.tar' cannot be used: it has a member 'a.txt' of 1,048,577 bytes, "
        "where a value has at most 1,048,576.\n"
        "  Leave its ending out of values=: fields then read it as a file."
    )
    write(tmp_path / "y.tar", {"a.txt": b"ab\xff"})
    assert "a member 'a.txt' that is no text in UTF-8 (byte 2)" in refused(tmp_path, tmp_path / "y.tar")


def test_a_truncated_archive_is_an_error(tmp_path: Path) -> None:
    """Wherever it is cut, between two members too, or goes on where it should end."""
    name = write(tmp_path / "x.tar", {"a.bin": bytes(1000), "b.bin": bytes(700)})
    content = Path(name).read_bytes()
    for size in (1, 100, 511, 512, 513, 1500, 1536, 1600, 2047, 2048, 2049, 2700, 3072, 3500):
        Path(name).write_bytes(content[:size])
        assert f"the shard '{name}' cannot be used: it " in refused(tmp_path, name), size
    Path(name).write_bytes(content[:3072])
    assert refused(tmp_path, name) == (
        f"the shard '{name}' cannot be used: it was cut short, or never closed: the mark of its end is "
        "missing.\n"
        "  Replace it, or leave it out."
    )
    for size in (3584, 4096, len(content)):
        Path(name).write_bytes(content[:size])
        assert len(listed(tmp_path, name)) == 2, size
    for more in (content, bytes(2**21)):
        Path(name).write_bytes(content + more)
        assert refused(tmp_path, name) == (
            f"the shard '{name}' cannot be used: it is damaged at byte 3,072, or goes on there with "
            "another archive.\n"
            "  Replace it, or write one file for each archive."
        )
    spoiled = bytearray(content)
    spoiled[1536 + 10] ^= 1
    Path(name).write_bytes(spoiled)
    assert "is damaged at byte 1,536" in refused(tmp_path, name)


@pytest.mark.timeout(60)
def test_damaged_archives_are_errors_or_tables(tmp_path: Path) -> None:
    """Whatever bytes are changed: no crash, no endless loop, no gigabytes."""
    name = write(
        tmp_path / "x.tar", {"a" * 150 + ".bin": bytes(600), "æ.txt": b"one"}, format=tarfile.PAX_FORMAT
    )
    content = np.frombuffer(Path(name).read_bytes()[:5000], np.uint8)
    random = np.random.default_rng(0)
    refusals = 0
    for _ in range(300):
        mutated = content.copy()
        places = random.integers(0, len(content), random.integers(1, 8))
        mutated[places] = random.integers(0, 256, len(places))
        # With checksums that are right again, so that all else is looked at.
        for start in range(0, len(mutated) - 512, 512):
            block = mutated[start : start + 512].copy()
            if b"ustar" in block.tobytes():
                block[148:156] = 32
                mutated[start + 148 : start + 156] = np.frombuffer(b"%06o\0 " % block.sum(), np.uint8)
        Path(name).write_bytes(mutated.tobytes())
        with suppress(mf.DeclarationError):
            listed(tmp_path, name)
            refusals -= 1
        refusals += 1
    assert refusals > 50


@pytest.mark.timeout(20)
@pytest.mark.parametrize("size", [-512, -(2**62), 2**40, 2**62])
def test_sizes_that_lie_are_refused(tmp_path: Path, size: int) -> None:
    """Negative ones lead `tarfile` round in circles, and large ones beyond the end."""
    member = tarfile.TarInfo("a.bin")
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = (
        b"\xff" * 4 + size.to_bytes(8, "big", signed=True)
        if size < 0
        else (b"\x80\0\0\0" + size.to_bytes(8, "big"))
    )
    for kind in (b"0", b"x", b"L"):
        header[156:157] = kind
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        (tmp_path / "x.tar").write_bytes(bytes(header) + bytes(2048))
        assert f"the shard '{tmp_path}/x.tar' cannot be used: it " in refused(
            tmp_path, tmp_path / "x.tar"
        )
