"""Caches in a bucket: the same bytes by way of copies, which are bounded, checked and shared."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import multifeed as mf
from multifeed.cache import build
from multifeed.cache.bucket import Bucket
from multifeed.errors import DeclarationError, MultifeedWarning


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> mf.Dataset:
    """40 arrays of files, in shards of 8."""
    for number in range(40):
        np.save(tmp_path / f"{number}.npy", np.full(1_000, number, np.float32))
    monkeypatch.setattr(build, "_SHARD_BYTES", 8 * 4_000)
    rows = {"x": [str(tmp_path / f"{number}.npy") for number in range(40)]}
    return mf.Dataset(rows, inputs=mf.Array("x", (1_000,)))


def keys(bucket: Any, prefix: str) -> list[str]:
    """Return the names of the objects that a cache has."""
    found = bucket.list_objects_v2(Bucket="bucket", Prefix=f"{prefix}/").get("Contents", [])
    return [each["Key"] for each in found]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged."""
    return [record.message for record in caplog.records if record.name == "multifeed"]


def values(data: mf.Dataset, processes: int = 0) -> np.ndarray:
    """Return an epoch, in the order of the rows."""
    with mf.Feed(data, 8, processes=processes) as feed:
        return np.concatenate([batch[0].copy() for batch in feed])


def test_a_cache_in_a_bucket_yields_the_same_bytes(
    data: mf.Dataset, bucket: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Here where it was written, on another machine, and in worker processes."""
    uri = "s3://bucket/same"
    cached = mf.cache(data, uri, local=tmp_path / "here", progress=False)
    assert f"cached in {uri}/" in repr(cached)
    assert len(keys(bucket, "same")) == 5
    assert (values(cached) == values(data)).all()
    there = mf.cache(data, uri, local=tmp_path / "there", progress=False)
    assert not list((tmp_path / "there").rglob("*.arrow"))
    assert (values(there, processes=1) == values(data)).all()
    assert len(list((tmp_path / "there").rglob("*.arrow"))) == 5
    assert said(caplog) == []


def test_copies_are_bounded(data: mf.Dataset, bucket: Any, tmp_path: Path) -> None:
    """Those that were not opened for the longest time go first; nothing is lost by it."""
    mf.cache(data, "s3://bucket/bound", local=tmp_path / "here", progress=False)
    size = max(path.stat().st_size for path in (tmp_path / "here").rglob("*.arrow"))
    cached = mf.cache(
        data, "s3://bucket/bound", local=tmp_path / "there", local_bytes=2 * size, progress=False
    )
    for row in (0, 39, 3, 20, 10, 0, 39):
        assert cached[row][0].tolist() == [row] * 1_000
        copies = [path.stat().st_size for path in (tmp_path / "there").rglob("*.arrow")]
        assert sum(copies) <= 2 * size
    with mf.Feed(cached, 8, shuffle=True, seed=1) as feed:
        for step, (batch,) in enumerate(feed):
            assert (batch[:, 0] == feed.rows(0, step)).all()


def test_a_damaged_copy_is_made_anew_and_a_damaged_shard_is_not_used(
    data: mf.Dataset, bucket: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By the checksum in its name; its samples are then decoded from their source."""
    uri = "s3://bucket/damaged"
    mf.cache(data, uri, local=tmp_path / "here", progress=False)
    for path in (tmp_path / "here").rglob("*.arrow"):
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    again = mf.cache(data, uri, local=tmp_path / "here", progress=False)
    assert (values(again) == values(data)).all()
    assert said(caplog) == []
    key = keys(bucket, "damaged")[2]
    bucket.put_object(Bucket="bucket", Key=key, Body=b"no shard at all")
    other = mf.cache(data, uri, local=tmp_path / "there", progress=False)
    assert (values(other) == values(data)).all()
    assert said(caplog) == [
        f"s3://bucket/{key} is damaged (its bytes do not fit the checksum in its name): its samples are "
        "decoded from their source; remove it there."
    ]


def test_what_is_missing_in_the_bucket_is_written(data: mf.Dataset, bucket: Any, tmp_path: Path) -> None:
    """And nothing else: what there is is what is listed."""
    uri = "s3://bucket/missing"
    mf.cache(data, uri, local=tmp_path / "here", progress=False)
    before = keys(bucket, "missing")
    bucket.delete_object(Bucket="bucket", Key=before[1])
    mf.cache(data, uri, local=tmp_path / "there", progress=False)
    assert keys(bucket, "missing") == before
    assert len(list((tmp_path / "there").rglob("*.arrow"))) == 1


def test_a_bucket_that_is_not_there_is_told(data: mf.Dataset, bucket: Any, tmp_path: Path) -> None:
    """Before anything is decoded."""
    with pytest.raises(DeclarationError) as caught:
        mf.cache(data, "s3://nobody/cache", local=tmp_path / "here", progress=False)
    assert re.fullmatch(
        r"the cache in 's3://nobody/cache/\w{32}' cannot be looked at: s3://nobody/cache/\w{32} is in a "
        r"bucket that does not exist\. Correct the name of the bucket\.",
        str(caught.value),
    )


def test_a_bucket_that_cannot_be_written_is_told(
    data: mf.Dataset, bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a warning; samples are decoded from their source."""

    def refused(self: Bucket, name: str) -> None:
        raise OSError("s3://bucket/cache may not be read or written (AccessDenied). Ask for more.")

    monkeypatch.setattr(Bucket, "send", refused)
    with pytest.warns(MultifeedWarning, match="is not complete: it cannot be written .*AccessDenied"):
        cached = mf.cache(data, "s3://bucket/refused", local=tmp_path / "here", progress=False)
    assert cached[3][0][0] == 3
