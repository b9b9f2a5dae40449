"""A cached dataset is the dataset: augmentation, links, parts, checks, whatever engine reads it."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

import multifeed as mf
from multifeed.cache.shards import Store

# The name of the room is that of the function as well.
build = sys.modules["multifeed.cache.build"]

COUNT = 23
SIZES = {"plain": {}, "base": {"base_size": (48, 60)}, "float": {"dtype": "float32", "scale": 1 / 255}}
SIZES["crop"] = {"base_size": (48, 60), "crop_to_aspect_ratio": True}


def declared(photos: Path, missing: bool = False, **image: Any) -> mf.Dataset:
    """Return samples of linked and derived fields, of which some may be missing."""
    left: list[str | None] = [f"{photos}/left/p{number:02}.jpg" for number in range(COUNT)]
    if missing:
        left[4] = left[17] = None
        image["missing"] = "zero"
    boxes = [[[5, 6, 40 + number, 50]] for number in range(COUNT)]
    return mf.Dataset(
        {
            "id": [f"s{number}" for number in range(COUNT)],
            "left": left,
            "right": [f"{photos}/right/p{number:02}.jpg" for number in range(COUNT)],
            "boxes": boxes,
            "words": ["no pain here " * (number % 3 + 1) for number in range(COUNT)],
            "age": np.arange(COUNT) * 1.5,
        },
        key="id",
        inputs={
            "left": mf.Image("left", (32, 40), **image),
            "again": mf.Image("left", (32, 40), **(image | {"dtype": "float16", "scale": 0.5})),
            "right": mf.Image("right", (32, 40), color_mode="grayscale", interpolation="nearest"),
            "words": mf.Text("words", 5),
            "mask": mf.Mask("words"),
            "age": mf.Numeric("age", normalize=True),
        },
        targets={
            "copy": mf.Same("left", dtype="float32", before="noise"),
            "boxes": mf.Boxes("boxes", image="left", pad_to=2),
            "kept": mf.Mask("boxes"),
        },
    )


AUGMENTS: dict[str, list[Any]] = {
    "none": [],
    "affine": [mf.RandomAffine(["left", "right"], rotation=20, zoom=0.2, flip="horizontal")],
    "noise": [mf.RandomColor("left", brightness=0.2), mf.RandomNoise("left", 0.1)],
}


def assert_same(one: Any, other: Any) -> None:
    """Raise unless two batches have the same structure and the same bytes."""
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.tobytes() == other.tobytes()
        return
    pairs = (
        zip(one.values(), other.values(), strict=True)
        if isinstance(one, dict)
        else zip(one, other, strict=True)
    )
    for left, right in pairs:
        assert_same(left, right)


def assert_same_epochs(data: mf.Dataset, cached: mf.Dataset, **options: Any) -> mf.Feed:
    """Raise unless two datasets give the same batches in two epochs; return the feed of the second."""
    plain = mf.Feed(data, 5, shuffle=True, seed=3, workers=1, prefetch=1, **options)
    feed = mf.Feed(cached, 5, shuffle=True, seed=3, **options)
    with plain, feed:
        for _ in range(2):
            for one, other in zip(plain, feed, strict=True):
                assert_same(one, other)
    return feed


@pytest.mark.parametrize("augment", AUGMENTS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("layout", ["raw", "zstd"])
def test_batches_are_equal_byte_for_byte(
    photos: Path, tmp_path: Path, augment: str, size: str, missing: bool, layout: str
) -> None:
    """With augmentation, boxes that follow, copies, masks and missing samples; nothing decoded again."""
    data = declared(photos, missing, **SIZES[size])
    data.adapt()
    cached = mf.cache(data, tmp_path, layout=layout)
    transforms = AUGMENTS[augment]
    feed = assert_same_epochs(data, cached, augment=transforms)
    assert {spent.redone for spent in feed.report().fields.values()} == {0}
    assert_same_epochs(
        data.select([3, 4, 17, 2, 2]), cached.select([3, 4, 17, 2, 2]), augment=transforms
    )


def test_mixes_are_equal_byte_for_byte(photos: Path, tmp_path: Path) -> None:
    """Partners come from the cache as well, those of gathered and of other fields."""
    data = mf.Dataset(
        {"left": [f"{photos}/left/p{number:02}.jpg" for number in range(COUNT)], "y": np.eye(COUNT)},
        inputs={"left": mf.Image("left", 16, dtype="float32"), "same": mf.Image("left", 16)},
        targets={"y": mf.Array("y", dtype="float32")},
    )
    for layout in ("raw", "zstd"):
        cached = mf.cache(data, tmp_path, layout=layout)
        for augment in (mf.MixUp(["left", "y"]), [mf.RandomFlip("left"), mf.CutMix(["left", "y"])]):
            assert_same_epochs(data, cached, augment=augment)


def test_the_parts_share_the_cache(photos: Path, tmp_path: Path) -> None:
    """Split, folded, joined: equal, and read from the cache; and learning goes on as before."""
    data = declared(photos)
    cached = mf.cache(data, tmp_path)
    head = f"Dataset of 23 samples, key 'id', cached in {tmp_path}"
    assert repr(cached).splitlines()[0].startswith(head)
    both = [each.split(0.6, 0.4, seed=1) for each in (data, cached)]
    for train, _ in both:
        train.adapt()
    for one, other in zip(*both, strict=True):
        feed = assert_same_epochs(one, other)
        assert feed.report().fields["left"].redone == 0
        assert "left" in other.plan()._columnar
    folds = [each.folds(3) for each in (data, cached)]
    for (one, _), (other, _) in zip(*folds, strict=True):
        one.adapt(), other.adapt()
        assert_same_epochs(one, other)
    joined = [mf.concat([one, other.select([2, 1])]) for one, other in (both[0], both[1])]
    assert_same_epochs(*joined)
    again = mf.cache(joined[1], tmp_path)
    assert_same_epochs(joined[0], again)
    assert again.source.original().__class__.__name__ == "Chain"


def test_what_was_learned_later_is_not_in_the_cache(photos: Path, tmp_path: Path) -> None:
    """A text that has yet to learn is left out; one that learned otherwise is read from its source."""
    data = declared(photos)
    cached = mf.cache(data, tmp_path)
    data.adapt()
    assert_same_epochs(data, cached)
    assert "words" not in {kept.name for kept in cached.source._store.kept.values()}
    learned = mf.cache(data, tmp_path)
    assert "words" in {kept.name for kept in learned.source._store.kept.values()}
    assert_same_epochs(data, learned)
    part = data.select(range(1))
    part.adapt(again=True)
    assert_same_epochs(data, learned)


def test_what_looks_at_a_dataset_sees_the_sources(photos: Path, tmp_path: Path) -> None:
    """check, prepare and show are as without a cache; errors and keys too."""
    data = declared(photos, missing=True)
    data.adapt()
    cached = mf.cache(data, tmp_path / "cache")
    assert str(mf.check(cached, progress=False)) == str(mf.check(data, progress=False))
    names = ("left", "again", "right", "words", "age")
    sample = {name: data.rows[name][3] for name in ("left", "right", "words", "age")}
    assert_same(mf.prepare(cached, sample), mf.prepare(data, sample))
    assert set(names) < set(cached[3][0])
    mf.show(mf.Feed(cached, 4), tmp_path / "sheet.png", samples=2)
    assert cached.keys(np.arange(3)) == data.keys(np.arange(3))


def test_equal_fields_share_one_column(photos: Path, tmp_path: Path) -> None:
    """Images that differ in what is done after the base image are kept once."""
    cached = mf.cache(declared(photos), tmp_path)
    assert [kept.name for kept in cached.source._store.kept.values()] == ["left", "right"]


@pytest.mark.parametrize("shuffle", [False, True, "block"])
@pytest.mark.parametrize("remainder", ["keep", "pad"])
@pytest.mark.parametrize(("workers", "prefetch"), [(1, 1), (3, 2)])
@pytest.mark.parametrize("share", [None, 40_000])
def test_any_engine_gives_the_bytes_of_the_plain_loop(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    shuffle: Any, remainder: str, workers: int, prefetch: int, share: int | None,
) -> None:  # fmt: skip
    """Whole or in part cached, in small shards, for any workers, prefetch, order and remainder."""
    monkeypatch.setattr(build, "_SHARD_BYTES", 4 * 32 * 40 * 4)
    data = declared(photos)
    data.adapt()
    cached = mf.cache(data, tmp_path, max_bytes=share)
    assert cached.source._store.is_whole == (share is None)
    plain = mf.Feed(data, 4, shuffle=shuffle, remainder=remainder, workers=1, prefetch=1)
    feed = mf.Feed(cached, 4, shuffle=shuffle, remainder=remainder, workers=workers, prefetch=prefetch)
    with plain, feed:
        for one, other in zip(plain, feed, strict=True):
            assert_same(one, other)


def test_a_lossy_cache_says_so_and_makes_no_difference_by_what_is_in_it(
    photos: Path, tmp_path: Path
) -> None:
    """JPEG: near the original, label maps exact; a row has the same bytes whether it was cached."""
    data = declared(photos)
    data.adapt()
    cached = mf.cache(data, tmp_path, layout="jpeg")
    assert repr(cached).splitlines()[0].endswith("(jpeg, lossy)")
    none = mf.cache(data, tmp_path / "none", layout="jpeg", max_bytes=1)
    assert "0 of 23 cached in" in repr(none)
    assert_same_epochs(none, cached)
    exact, lossy = (np.stack([each[row][0]["left"] for row in range(COUNT)]) for each in (data, cached))
    difference = exact.astype(float) - lossy
    assert 0 < np.sqrt((difference**2).mean()) < 5
    assert all((data[row][0]["right"] == cached[row][0]["right"]).all() for row in range(COUNT))
    assert len(list(tmp_path.glob("*.lock"))) == 1
    mf.cache(data, tmp_path)
    assert len(list(tmp_path.glob("*.lock"))) == 2


def test_a_store_goes_to_another_process_as_a_path(photos: Path, tmp_path: Path) -> None:
    """Pickled, it is small, whatever was opened; the copy reads the same."""
    data = declared(photos)
    data.adapt()
    cached = mf.cache(data, tmp_path)
    cached[0]
    store: Store = cached.source._store
    sent = pickle.dumps(store)
    assert len(sent) < 2_000
    copy = pickle.loads(sent)
    one, other = (each.column(0, "left") for each in (store, copy))
    np.testing.assert_array_equal(one.values, other.values)


def test_nothing_to_cache_is_no_error(tmp_path: Path) -> None:
    """Columns are as fast as they are: the dataset comes back, and nothing is written."""
    data = mf.Dataset({"x": [1.0, 2.0]}, inputs=mf.Numeric("x"))
    assert mf.cache(data, tmp_path / "cache") is data
    assert not (tmp_path / "cache").exists()


def test_anyone_can_read_the_shards(photos: Path, tmp_path: Path) -> None:
    """With PyArrow alone: pixels as tensors, specs in the metadata, keys, files, sizes and times."""
    import json

    import pyarrow as pa

    data = declared(photos)
    mf.cache(data, tmp_path)
    (path,) = tmp_path.glob("*/*.arrow")
    with pa.memory_map(str(path)) as file:
        table = pa.ipc.open_file(file).read_all()
    pixels = table["left"].chunk(0).to_numpy_ndarray()
    for row in range(COUNT):
        image = np.asarray(PILImage.open(f"{photos}/left/p{row:02}.jpg"))
        assert abs(pixels[row].mean() - image.mean()) < 3
    told = json.loads(table.schema.metadata[b"multifeed"])
    assert told["fields"]["left"] == {"shape": [32, 40, 3], "dtype": "uint8", "packing": None}
    assert table["multifeed:key"].to_pylist() == [f"s{number}" for number in range(COUNT)]
    assert table["multifeed:file:left"][2].as_py() == f"{photos}/left/p02.jpg".encode()
