"""Objects of a bucket, on a real server: names, patterns, parts, folders and what cannot be had."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import multifeed as mf
from multifeed.errors import AlignError, BadValue, DeclarationError, SampleError
from multifeed.folder import Folder
from multifeed.remote import fetch
from multifeed.remote.stores import store_of

REPLACE = "Replace the file, or leave the row out with data.select."
NO_BUCKET = "is in a bucket that does not exist"
NO_NAME = "has a name that no object can have here"


@pytest.fixture(scope="module")
def photographs(bucket: Any, photos: Path) -> Path:
    """The bucket has the photographs, under names as odd as keys may be, and a table of them."""
    for side in ("left", "right"):
        for number in range(4):
            data = (photos / side / f"p{number:02}.jpg").read_bytes()
            bucket.put_object(Bucket="bucket", Key=f"d/{side}/p {number}#%20?.jpg", Body=data)
    rows = "".join(f"p {n}#%20?,left/p {n}#%20?.jpg,{n}\n" for n in range(4))
    bucket.put_object(Bucket="bucket", Key="d/t.csv", Body=f"id,file,age\n{rows}".encode())
    for key in ("d/left/.hidden.jpg", "d/left/deep/p 0#%20?.jpg", "d/left/other.txt"):
        bucket.put_object(Bucket="bucket", Key=key, Body=b"x")
    bucket.put_object(Bucket="bucket", Key="d/made/", Body=b"")
    bucket.put_object(Bucket="bucket", Key="d/empty.jpg", Body=b"")
    return photos


def test_a_bucket_is_joined_and_read_as_a_folder_is(photographs: Path) -> None:
    """The pixels of the same files here; names are taken literally, hidden ones are passed over."""
    rows = mf.align(
        "id",
        left="s3://bucket/d/left/{id}.jpg",
        right="s3://bucket/d/right/{id}.jpg",
        table="s3://bucket/d/t.csv",
    )
    assert rows["left"].to_pylist() == [f"s3://bucket/d/left/p {n}#%20?.jpg" for n in range(4)]
    fields = {name: mf.Image(name, (24, 32)) for name in ("left", "right", "file")}
    data = mf.Dataset(rows, key="id", inputs=fields)
    for row in range(4):
        here = [str(photographs / side / f"p{row:02}.jpg") for side in ("left", "right", "left")]
        near = mf.Dataset({"x": here}, inputs=mf.Image("x", (24, 32)))
        for place, name in enumerate(("left", "right", "file")):
            assert np.array_equal(data[row][0][name], near[place][0])


def test_patterns_mean_the_same_as_here(photographs: Path) -> None:
    """Braces, stars, any depth, hidden names, folders; sorted."""

    def found(pattern: str) -> list[str]:
        return mf.align("id", x=f"s3://bucket/d/{pattern}")["x"].to_pylist()

    assert found("{id}/other.txt") == ["s3://bucket/d/left/other.txt"]
    assert found("left/{id}.txt") == ["s3://bucket/d/left/other.txt"]
    assert found("l*t/.{id}.jpg") == ["s3://bucket/d/left/.hidden.jpg"]
    assert found("{id}/") == ["s3://bucket/d/left", "s3://bucket/d/made", "s3://bucket/d/right"]
    both = mf.align(("dir", "id"), x="s3://bucket/d/**/{dir}/{id} 0#%20?.jpg")
    assert both["dir"].to_pylist() == ["deep", "left", "right"]
    assert Folder("s3://bucket/d", True).names("left")[:2] == ["left/.hidden.jpg", "left/other.txt"]


def test_a_pattern_that_matches_nothing_says_how_far_it_leads(photographs: Path) -> None:
    """As it does here, or that there is no such bucket."""
    for pattern, reason in {
        "s3://bucket/d/lft/{id}.jpg": "There is nothing in 's3://bucket/d/lft/'.",
        "s3://bucket/d/{a}/lft/{id}": (
            "That is as far as it leads: 's3://bucket/d/', which holds 'left', 'made', 'right' and 2 "
            "more."
        ),
    }.items():
        with pytest.raises(AlignError) as caught:
            mf.align("id", x=pattern)
        assert str(caught.value) == f"the pattern of 'x' matches no file: {pattern!r}.\n  {reason}"
    with pytest.raises(DeclarationError) as declared:
        mf.align("id", x="s3://nobody/{id}.jpg")
    assert str(declared.value) == (
        "'s3://nobody/' cannot be listed: it is in a bucket that does not exist.\n"
        "  Correct the name of the bucket."
    )
    with pytest.raises(DeclarationError, match="the bucket of a pattern is written out"):
        mf.align("id", x="s3://{id}/x.jpg")


@pytest.mark.parametrize(
    ("name", "reason", "remedy"),
    [
        ("s3://bucket/none.jpg", "does not exist", REPLACE),
        ("s3://nobody/x.jpg", NO_BUCKET, "Correct the name of the bucket."),
        ("s3://bucket/d/empty.jpg", "is empty (0 bytes)", REPLACE),
        (
            "s3://bucket/d//x.jpg",
            "has a name that no object can have here",
            "Name the object otherwise.",
        ),
    ],
)
def test_an_object_that_cannot_be_had_is_told(
    photographs: Path, name: str, reason: str, remedy: str
) -> None:
    """Each cause with its own remedy; nothing of what the package says in a page."""
    data = mf.Dataset({"id": ["a"], "x": [name]}, key="id", inputs=mf.Image("x", 8))
    with pytest.raises(SampleError) as caught:
        data[0]
    assert str(caught.value) == (
        f"'x' of sample 'a' cannot be used: the file {reason}.\n  File: {name} (row 0).\n  {remedy}"
    )


def test_parts_of_objects_are_read_as_such(bucket: Any) -> None:
    """Ranges, from the beginning and from behind; a version that changed meanwhile is noticed."""
    content = np.random.default_rng(0).bytes(300_000)
    bucket.put_object(Bucket="bucket", Key="big", Body=content)
    folder = Folder("s3://bucket", True)
    with folder.open("big") as file:
        assert (file.size, file.path) == (len(content), None)
        assert file.read(200_000, 7) == content[200_000:200_007]
        bucket.put_object(Bucket="bucket", Key="big", Body=content[::-1])
        with pytest.raises(BadValue, match="has changed while it was read"):
            file.read(100_000, 7)
    assert folder.read("big::x@5+10") == content[::-1][5:15]
    with pytest.raises(BadValue, match="ends after 300,000 bytes, where a part of it reaches"):
        folder.read("big::x@299995+10")
    with pytest.raises(BadValue, match="cannot be had|is empty, or has shrunk"):
        folder.read("big::x@900000+10")


def test_a_large_object_comes_in_pieces(bucket: Any) -> None:
    """So that of what breaks off only a piece is lost."""
    content = np.random.default_rng(0).bytes(9 * 2**20)
    bucket.put_object(Bucket="bucket", Key="large", Body=content)
    assert Folder("s3://bucket", True).read("large") == content


def test_an_object_is_written_as_a_whole(bucket: Any) -> None:
    """For caches."""
    fetch.put("s3://bucket/written/x", b"abc")
    assert bucket.get_object(Bucket="bucket", Key="written/x")["Body"].read() == b"abc"
    assert [each.path for each in fetch.listed("s3://bucket/written")] == ["written/x"]
    with pytest.raises(BadValue, match="is in a bucket that does not exist"):
        fetch.put("s3://nobody/x", b"abc")


def test_credentials_that_are_refused_or_lacking_are_told(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what to set; the credentials themselves are in no message."""
    import servers

    with servers.web() as web:
        monkeypatch.setenv("AWS_ENDPOINT_URL", web.url)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
        store_of.cache_clear()
        web.faults["/bucket/x.jpg"] = [403, 401]
        for _ in range(2):
            with pytest.raises(SampleError) as caught:
                mf.Dataset({"x": ["s3://bucket/x.jpg"]}, inputs=mf.Image("x", 8))[0]
            assert re.fullmatch(
                r"'x' of row 0 cannot be used: the file may not be read or written\.\n"
                r"  File: s3://bucket/x\.jpg \(row 0\)\.\n"
                r"  Set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN and AWS_REGION; of "
                r"a public bucket, AWS_SKIP_SIGNATURE=true\.",
                str(caught.value),
            )
    store_of.cache_clear()
