"""Every field passes through the cache: same bytes, same errors, same everything."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fields_table import COUNT, EXAMPLES, FILE_EXAMPLES, Example
from test_fields import BAD, ROWS, assert_same_bytes, read, takes, with_null

import multifeed as mf
from multifeed.fields.base import PerSample

every = pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
every_file = pytest.mark.parametrize("example", FILE_EXAMPLES, ids=lambda example: example.name)
layouts = pytest.mark.parametrize("layout", ["raw", "zstd"])


def is_cached(data: mf.Dataset) -> bool:
    """Tell whether anything of a dataset is read from a cache."""
    return "cached in" in repr(data).splitlines()[0]


@every
@layouts
def test_a_cached_field_yields_the_same_bytes(example: Example, tmp_path: Path, layout: str) -> None:
    """Written, opened again, in any order and selection, read alone; and nothing was decoded again."""
    data = example.dataset(tmp_path)
    whole = read(data)
    reads_samples = bool(data.plan()._per_sample)
    for _ in range(2):
        cached = mf.cache(data, tmp_path / "cache", layout=layout)
        assert is_cached(cached) == reads_samples
        assert cached.spec == data.spec
        assert_same_bytes(read(cached, garbage=0xA5), whole)
    mixed = np.array([5, 2, 2, 6, 0])
    assert_same_bytes(read(cached, mixed), whole[mixed])
    assert_same_bytes(read(cached.select(mixed).select([3, 0, 1]), [0, 1, 2]), whole[[6, 5, 2]])
    assert_same_bytes(
        read(mf.concat([cached, data, cached]), np.arange(3 * COUNT)),
        np.tile(whole, (3, *[1] * (whole.ndim - 1))),
    )
    with mf.Feed(cached, 3, shuffle=True, workers=2) as feed:
        for step, (values,) in enumerate(feed):
            assert_same_bytes(values["x"], whole[feed.rows(0, step)])
        assert feed.report().fields["x"].redone == 0


@every
@pytest.mark.parametrize("missing", ["zero", 1])
@layouts
def test_a_missing_sample_stays_missing(
    example: Example, tmp_path: Path, missing: Any, layout: str
) -> None:
    """It is filled by the field's rule, which may change without a new cache."""
    if not takes(example, "preprocess") or not example.nullable:
        pytest.skip("has no missing samples")
    columns = with_null(example, tmp_path)
    for fill in (missing, 1):
        field = dataclasses.replace(example.field, missing=fill)
        data = example.declare(columns, tmp_path, field=field)
        cached = mf.cache(data, tmp_path / "cache", layout=layout)
        assert_same_bytes(read(cached, garbage=0xA5), read(data))
        with mf.Feed(cached, 3) as feed:
            assert len(list(feed)) == 3
            assert feed.report().fields["x"].redone == 0
    if cached.fields["x"].learns or not data.plan()._per_sample:
        return
    with pytest.raises(mf.SampleError, match="it is missing: the column is null"):
        mf.cache(example.declare(columns, tmp_path, adapt=False), tmp_path / "cache")


@every_file
@layouts
def test_a_bad_sample_raises_as_without_a_cache(example: Example, tmp_path: Path, layout: str) -> None:
    """It is left out of the cache, and the error that reads it is the same, file and all."""
    data = example.dataset(tmp_path)
    names = example.columns(tmp_path)[example.file]
    whole = read(data)
    path = tmp_path / names[BAD].partition("::")[0]
    # No file of any kind: no text in UTF-8 nor, with its odd number of bytes, in UTF-16 either.
    path.write_bytes(b"none of ours \xff\xfe")
    cached = mf.cache(data, tmp_path / "cache", layout=layout)
    errors = []
    for each in (data, cached, cached.select(ROWS)):
        with pytest.raises(mf.SampleError) as caught:
            read(each)
        errors.append((str(caught.value), caught.value.key, caught.value.file))
    assert len(set(errors)) == 1
    others = np.delete(ROWS, BAD)
    assert_same_bytes(read(cached, others), whole[others])


@every_file
@layouts
def test_a_changed_file_is_read_anew(example: Example, tmp_path: Path, layout: str) -> None:
    """In the open dataset and after opening again; counted; and back again if the file is."""
    data = example.dataset(tmp_path)
    names = example.columns(tmp_path)[example.file]
    path, other = (tmp_path / names[row].partition("::")[0] for row in (BAD, 5))
    whole = read(data)
    cached = mf.cache(data, tmp_path / "cache", layout=layout)
    path.write_bytes(other.read_bytes())
    changed = read(data)
    assert not np.array_equal(changed, whole)
    for each in (cached, mf.cache(data, tmp_path / "cache", layout=layout)):
        assert_same_bytes(read(each), changed)
        with mf.Feed(each, 2) as feed:
            assert len(list(feed)) == 4
            # Once more, if the next epoch has been begun.
            assert feed.report().fields["x"].redone in (1, 2)
    path.unlink()
    with pytest.raises(mf.SampleError, match="does not exist"):
        read(cached, [BAD])


def test_readers_of_the_cache_are_as_promised(tmp_path: Path) -> None:
    """Raw and whole, base images are gathered like columns; else they are shared among threads."""
    (image, *_) = EXAMPLES
    data = image.dataset(tmp_path)
    assert mf.cache(data, tmp_path / "cache").plan()._columnar.keys() == {"x"}
    for options in ({"layout": "zstd"}, {"layout": "jpeg"}, {"max_bytes": 1}):
        plan = mf.cache(data, tmp_path / "other", **options).plan()
        assert isinstance(plan._per_sample["x"], PerSample)
