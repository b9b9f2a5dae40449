"""Every transform keeps the promise: a batch is a function of its position, augmented or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image as PILImage

import multifeed as mf
from multifeed.augment.base import Transform
from multifeed.fields.base import Base, Columnar


def darken(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A user's own transform."""
    return (array * rng.uniform(0.5, 1)).astype(array.dtype)


IMAGES = ["photo", "mask"]
VOLUMES = ["scan", "labels"]
TRANSFORMS: dict[str, Sequence[Transform]] = {
    "CenterCrop": [mf.CenterCrop(IMAGES)],
    "CenterCrop3D": [mf.CenterCrop3D(VOLUMES)],
    "CutMix": [mf.CutMix(["photo", "kind"])],
    "FrequencyMask": [mf.FrequencyMask("sound", 3)],
    "MixUp": [mf.MixUp(["photo", "sound", "kind"], alpha=1)],
    "Noise": [mf.Noise(["sound", "age"], 0.5)],
    "RandomAffine": [mf.RandomAffine(IMAGES, rotation=30, shift=0.1, zoom=0.2, flip="vertical")],
    "RandomAffine3D": [mf.RandomAffine3D(VOLUMES, rotation=30, shift=0.1, zoom=0.2, flip="depth")],
    "RandomBlur": [mf.RandomBlur("photo", (0.5, 2))],
    "RandomColor": [mf.RandomColor("photo", brightness=0.5, hue=0.1)],
    "RandomCrop": [mf.RandomCrop(IMAGES)],
    "RandomCrop3D": [mf.RandomCrop3D(VOLUMES)],
    "RandomErasing": [mf.RandomErasing("photo")],
    "RandomFlip": [mf.RandomFlip(IMAGES, mode="horizontal_and_vertical")],
    "RandomFlip3D": [mf.RandomFlip3D(VOLUMES, along=("depth", "width"))],
    "RandomFunction": [mf.RandomFunction("photo", darken)],
    "RandomJPEG": [mf.RandomJPEG("photo")],
    "RandomNoise": [mf.RandomNoise("photo", 9)],
    "RandomResizedCrop": [mf.RandomResizedCrop(IMAGES)],
    "RandomShift": [mf.RandomShift("sound", 3)],
    "RandomTurn3D": [mf.RandomTurn3D(VOLUMES)],
    "TimeMask": [mf.TimeMask("sound", 3)],
    "from_image_data_generator": mf.from_image_data_generator(
        "photo", rotation_range=20, width_shift_range=3, zoom_range=0.2, brightness_range=(0.5, 1.5)
    ),
    "several": [
        mf.RandomAffine(IMAGES, rotation=10),
        mf.RandomCrop(IMAGES),
        mf.RandomFlip("photo"),
        mf.RandomColor("photo", contrast=0.3),
        mf.RandomNoise("photo", 5),
        mf.TimeMask("sound", 2),
    ],
    "several3D": [
        mf.RandomAffine3D(VOLUMES, rotation=(20, 0, 0), fill="reflect"),
        mf.RandomCrop3D(VOLUMES),
        mf.RandomFlip3D("scan"),
        mf.RandomTurn3D(VOLUMES),
        mf.RandomColor("scan", contrast=0.3),
        mf.Noise("scan", 5),
    ],
}
# What is not random.
CENTRED = [TRANSFORMS["CenterCrop"], TRANSFORMS["CenterCrop3D"]]
each_transform = pytest.mark.parametrize("augment", TRANSFORMS.values(), ids=TRANSFORMS)


class Larger(mf.Array):
    """Volumes of which there are 5 x 8 x 8 voxels, and which are 4 x 6 x 6 for the model."""

    def spec_of(self, columns: Any, learned: Any) -> mf.Spec:
        return mf.Spec((4, 6, 6, 1), super().spec_of(columns, learned).dtype)

    def base(self, source: Any, learned: Any) -> Base:
        output = self.spec_of(source.columns, learned)
        whole = super().bind(source, learned)
        return replace(super().base(source, learned), reader=whole, spec=output, final=output)

    def bind(self, source: Any, learned: Any) -> Any:
        return Cropped(super().bind(source, learned), self.spec_of(source.columns, learned))


class Cropped(Columnar):
    """The volumes as they are read without augmentation: cut at the middle."""

    def __init__(self, inner: Any, spec: mf.Spec) -> None:
        self.inner, self.spec = inner, spec

    def gather(self, rows: np.ndarray, out: np.ndarray) -> None:
        whole = np.empty((len(rows), *self.inner.spec.shape), self.inner.spec.dtype)
        self.inner.gather(rows, whole)
        out[...] = whole[:, :4, 1:7, 1:7]


@pytest.fixture(scope="module")
def data(photos: Path) -> mf.Dataset:
    """23 samples of a photograph, its mask of half the size, a recording, volumes, a number, a class."""
    return samples(photos, range(23))


def samples(photos: Path, numbers: Sequence[int], **options: Any) -> mf.Dataset:
    """Return a dataset of some of the 23 samples; one without a photograph where a number is -1."""
    rng = np.random.default_rng(0)
    names = [str(photos / "left" / f"p{number:02}.jpg") if number >= 0 else None for number in numbers]
    return mf.Dataset(
        {
            "photo": names,
            "sound": rng.random((23, 8, 6))[list(numbers)],
            "scan": rng.integers(-900, 900, (23, 5, 8, 8, 1), np.int16)[list(numbers)],
            "labels": rng.integers(0, 4, (23, 5, 8, 8, 1), np.uint8)[list(numbers)],
            "age": np.arange(23.0)[list(numbers)],
            "kind": [number % 3 for number in numbers],
        },
        inputs={
            "photo": mf.Image("photo", (32, 48), base_size=(40, 60), **options),
            "mask": mf.Image(
                "photo", (16, 24), base_size=(20, 30), color_mode="grayscale", interpolation="nearest",
                **options,
            ),
            "sound": mf.Array("sound"),
            "scan": Larger("scan"),
            "labels": Larger("labels", interpolation="nearest"),
            "age": mf.Numeric("age"),
        },
        targets={"kind": mf.Category("kind", vocabulary=[0, 1, 2], one_hot=True)},
    )  # fmt: skip


def leaves(batch: Any) -> dict[str, np.ndarray]:
    """Return the arrays of a batch, which is made of dicts, by name."""
    return {f"{place} {name}": array for place, part in enumerate(batch) for name, array in part.items()}


def slots(feed: mf.Feed, epoch: int) -> list[dict[str, bytes]]:
    """Return each slot's bytes by name, as the pure `batch` has them."""
    found = []
    for step in range(len(feed)):
        batch = leaves(feed.batch(epoch, step))
        for place in range(len(feed.rows(epoch, step))):
            found.append({name: array[place].tobytes() for name, array in batch.items()})
    return found


def assert_same(one: Any, other: Any) -> None:
    """Raise unless two batches have the same bytes."""
    left, right = leaves(one), leaves(other)
    assert list(left) == list(right)
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def test_every_transform_is_tested_here() -> None:
    """The table has all that are exported."""
    exported = {
        name
        for name in mf.__all__
        if isinstance(vars(mf).get(name), type) and issubclass(vars(mf)[name], Transform)
    }
    assert exported <= set(TRANSFORMS)


@each_transform
def test_batches_are_the_same_on_any_threads(data: mf.Dataset, augment: Sequence[Transform]) -> None:
    """Three shuffled epochs with any workers, prefetch and batch size equal the pure `batch`."""
    for batch_size, workers, prefetch in ((4, 1, 1), (7, 3, 2), (23, 2, None)):
        with mf.Feed(
            data, batch_size, shuffle=True, seed=3, augment=augment, workers=workers, prefetch=prefetch
        ) as feed:
            for epoch in range(3):
                for step, batch in enumerate(feed):
                    assert_same(batch, feed.batch(epoch, step))


@each_transform
def test_a_slot_is_the_same_in_any_batch(data: mf.Dataset, augment: Sequence[Transform]) -> None:
    """Whatever the batch size, each slot of an epoch has the same bytes."""
    expected = slots(mf.Feed(data, 23, shuffle=True, seed=3, augment=augment), 1)
    assert len(expected) == 23
    for batch_size in (1, 5, 8):
        assert slots(mf.Feed(data, batch_size, shuffle=True, seed=3, augment=augment), 1) == expected


@each_transform
def test_epochs_seeds_and_slots_differ(data: mf.Dataset, augment: Sequence[Transform]) -> None:
    """Of one sample in all slots, each epoch and seed makes others; what is not random is all alike."""
    # Mixed with itself, a sample stays as it is.
    mixes = any(each.kind == "mix" for each in augment)
    one = data if mixes else data.select([5] * 23)
    here = slots(mf.Feed(one, 23, seed=3, augment=augment), 0)
    again = slots(mf.Feed(one, 23, seed=3, augment=augment), 0)
    others = [
        slots(mf.Feed(one, 23, seed=3, augment=augment), 1),
        slots(mf.Feed(one, 23, seed=4, augment=augment), 0),
    ]
    assert here == again
    is_random = augment not in CENTRED
    for other in others:
        assert (here != other) == is_random
    distinct = len({tuple(sorted(slot.items())) for slot in here})
    assert distinct > 1 if is_random else distinct == 1


@each_transform
def test_draw_0_is_the_batch_and_others_are_not(data: mf.Dataset, augment: Sequence[Transform]) -> None:
    """`redraw` with draw 0 equals the batch; with another draw it differs, the same each time."""
    feed = mf.Feed(data, 9, shuffle=True, seed=3, augment=augment)
    assert_same(feed.redraw(1, 1, 0), feed.batch(1, 1))
    first, second = leaves(feed.redraw(1, 1, 1)), leaves(feed.redraw(1, 1, 1))
    assert all((first[name] == second[name]).all() for name in first)
    batch = leaves(feed.batch(1, 1))
    is_random = augment not in CENTRED
    assert any((first[name] != batch[name]).any() for name in first) == is_random


@each_transform
def test_draws_are_those_of_the_batch(data: mf.Dataset, augment: Sequence[Transform]) -> None:
    """One dict of parameters for each transform, a row for each sample, the same for any batch size."""
    whole = mf.Feed(data, 23, seed=3, augment=augment).draws(2, 0)
    part = mf.Feed(data, 10, seed=3, augment=augment).draws(2, 1)
    assert len(whole) == len(part) == len(augment)
    for one, other in zip(whole, part, strict=True):
        assert list(one) == list(other)
        for name in one:
            np.testing.assert_array_equal(one[name][10:20], other[name])


@each_transform
def test_parts_and_joined_datasets_are_augmented(
    data: mf.Dataset, photos: Path, augment: Sequence[Transform]
) -> None:
    """Of a selection, a part of a split, and a concatenation: threads equal the pure `batch`."""
    twice = mf.concat([data, samples(photos, range(23))])
    for some in (data.select([3, 1, 1, 20]), data.split(0.5, 0.5)[1], twice):
        with mf.Feed(some, 4, shuffle=True, seed=1, augment=augment, workers=2) as feed:
            for step, batch in enumerate(feed):
                assert_same(batch, feed.batch(0, step))


def test_a_joined_dataset_is_augmented_as_a_whole_one(data: mf.Dataset, photos: Path) -> None:
    """Two halves that are concatenated give the bytes of the whole; draws belong to slots."""
    for name, augment in TRANSFORMS.items():
        halves = mf.concat([data.select(range(10)), samples(photos, range(23)).select(range(10, 23))])
        joined = slots(mf.Feed(halves, 6, seed=1, augment=augment), 0)
        assert joined == slots(mf.Feed(data, 6, seed=1, augment=augment), 0), name


@each_transform
def test_padding_repeats_the_first_row_of_the_batch(
    data: mf.Dataset, augment: Sequence[Transform]
) -> None:
    """With remainder="pad", the rows that fill the last batch up are copies of weight 0."""
    with mf.Feed(data, 8, seed=1, remainder="pad", augment=augment, workers=2) as feed:
        *_, last = feed
        expected = mf.Feed(data, 8, seed=1, augment=augment).batch(0, 2)
    assert last[2]["kind"].tolist() == [1.0] * 7 + [0.0]
    for name, array in leaves(last[:2]).items():
        np.testing.assert_array_equal(array[:7], leaves(expected)[name])
        np.testing.assert_array_equal(array[7], array[0])


@pytest.mark.parametrize(
    "name", ["RandomAffine", "RandomCrop", "several", "RandomColor", "RandomErasing"]
)
def test_a_missing_image_is_not_augmented(photos: Path, name: str) -> None:
    """It is filled as without augmentation, and its neighbours are as if it were there."""
    numbers = [0, 1, -1, 3, 4]
    some = samples(photos, numbers, missing=7)
    batch = mf.Feed(some, 5, seed=2, augment=TRANSFORMS[name]).batch(0, 0)
    whole = mf.Feed(samples(photos, range(5)), 5, seed=2, augment=TRANSFORMS[name]).batch(0, 0)
    for field in IMAGES:
        assert (batch[0][field][2] == 7).all()
        for place in (0, 1, 3, 4):
            np.testing.assert_array_equal(batch[0][field][place], whole[0][field][place])


def markers(folder: Path, count: int = 12) -> mf.Dataset:
    """Return a dataset of one picture: a bright square on black, as photo, label map and small mask."""
    pixels = np.zeros((256, 256, 3), np.uint8)
    pixels[96:112, 144:160] = 255
    PILImage.fromarray(pixels).save(folder / "marker.png")
    return mf.Dataset(
        {"photo": [str(folder / "marker.png")] * count},
        inputs={
            "photo": mf.Image("photo", 224, base_size=256),
            "mask": mf.Image("photo", 56, base_size=64, color_mode="grayscale", interpolation="nearest"),
        },
    )


@pytest.mark.parametrize(
    "augment",
    [
        [mf.RandomAffine(IMAGES, rotation=180, shift=0.1, zoom=0.2, shear=10, flip="vertical")],
        [mf.RandomCrop(IMAGES)],
        [mf.CenterCrop(IMAGES)],
        [mf.RandomFlip(IMAGES, mode="horizontal_and_vertical")],
        [mf.RandomResizedCrop(IMAGES, scale=(0.6, 1))],
        [mf.RandomAffine(IMAGES, rotation=180), mf.RandomCrop(IMAGES), mf.RandomFlip(IMAGES)],
        mf.from_image_data_generator(IMAGES, rotation_range=90, zoom_range=0.2, height_shift_range=0.1),
    ],
    ids=lambda augment: type(augment[-1]).__name__ if len(augment) == 1 else "several",
)
def test_images_of_other_sizes_stay_together(tmp_path: Path, augment: Sequence[Transform]) -> None:
    """A marker in a 224² photograph is where it is in its 56² mask, to 1 of the mask's pixels."""
    feed = mf.Feed(markers(tmp_path), 12, seed=5, augment=augment)
    places = []
    for epoch in range(3):
        (batch,) = feed.batch(epoch, 0)
        assert np.isin(batch["mask"], [0, 255]).all()
        for photo, mask in zip(batch["photo"][..., 0], batch["mask"][..., 0], strict=True):
            # Where it is whole, and not at the frame.
            edges = np.concatenate([mask[[0, -1]].ravel(), mask[:, [0, -1]].ravel()])
            if edges.any() or not mask.any():
                continue
            weights = photo.astype(float)
            rows, columns = np.indices(photo.shape)
            total = weights.sum()
            centre = np.array([(rows * weights).sum(), (columns * weights).sum()]) / total
            found = np.argwhere(mask).mean(0)
            places.append(tuple(np.round(centre)))
            assert np.abs((centre + 0.5) / 4 - (found + 0.5)).max() <= 1.0
    assert len(places) > 10
    assert len(set(places)) > 1 or isinstance(augment[0], mf.CenterCrop)


def test_crops_and_flips_are_slices_of_the_base_image(photos: Path) -> None:
    """Crop and flip, alone and together, give NumPy's slices of the base image, to the bit."""
    names = [str(photos / "left" / f"p{number:02}.jpg") for number in range(6)]
    rows = {"photo": names}
    (whole,) = mf.Feed(mf.Dataset(rows, inputs=mf.Image("photo", (60, 80))), 6).batch(0, 0)
    decoded = simplejpeg.decode_jpeg(Path(names[0]).read_bytes(), fastdct=True, fastupsample=True)
    assert decoded.shape == whole[0].shape
    small = mf.Dataset(rows, inputs=mf.Image("photo", (40, 50), base_size=(60, 80)))
    same = mf.Dataset(rows, inputs=mf.Image("photo", (60, 80)))
    flip = mf.RandomFlip("photo", mode="horizontal_and_vertical")
    for epoch in range(4):
        feed = mf.Feed(same, 6, seed=1, augment=flip)
        (flipped,) = feed.batch(epoch, 0)
        for place, ways in enumerate(feed.draws(epoch, 0)[0]["flip"]):
            down, right = (-1 if way else 1 for way in ways)
            np.testing.assert_array_equal(flipped[place], whole[place][::down, ::right])
        feed = mf.Feed(small, 6, seed=1, augment=[mf.RandomCrop("photo"), flip])
        (cut,) = feed.batch(epoch, 0)
        crops, flips = feed.draws(epoch, 0)
        for place in range(6):
            top, left = np.rint(crops["place"][place] * (20, 30)).astype(int)
            down, right = (-1 if way else 1 for way in flips["flip"][place])
            expected = whole[place][top : top + 40, left : left + 50][::down, ::right]
            np.testing.assert_array_equal(cut[place], expected)
    (centre,) = mf.Feed(small, 6, augment=mf.CenterCrop("photo")).batch(0, 0)
    np.testing.assert_array_equal(centre, whole[:, 10:50, 15:65])


def test_one_draw_for_linked_fields_and_another_for_each_transform(data: mf.Dataset) -> None:
    """Fields of one transform share its draw; equal transforms of two fields draw apart."""
    feed = mf.Feed(data, 23, seed=3, augment=[mf.RandomFlip("photo"), mf.RandomFlip("mask")])
    photo, mask = (draws["flip"] for draws in feed.draws(0, 0))
    assert (photo != mask).any()


@pytest.mark.parametrize("seeds", [(0, 1)])
def test_what_is_not_augmented_stays_as_it_is(data: mf.Dataset, seeds: Sequence[int]) -> None:
    """Fields that no transform names have the bytes that they have without augmentation."""
    plain = leaves(mf.Feed(data, 23).batch(0, 0))
    for seed in seeds:
        for name, augment in TRANSFORMS.items():
            found = leaves(mf.Feed(data, 23, seed=seed, augment=augment).batch(0, 0))
            touched = {field for each in augment for field in each.fields}
            for place, array in found.items():
                if place.split()[1] not in touched:
                    np.testing.assert_array_equal(array, plain[place], err_msg=f"{name}: {place}")


def test_dtype_scale_and_preprocess_come_after_all_transforms(photos: Path) -> None:
    """A float field is the uint8 field's augmented pixels, scaled, then preprocessed."""
    rows = {"photo": [str(photos / "left" / "p00.jpg")] * 4}
    augment = [mf.RandomAffine("photo", rotation=30), mf.RandomColor("photo", brightness=0.5)]
    pixels = mf.Image("photo", (32, 48))
    floats = mf.Image("photo", (32, 48), dtype="float32", scale=1 / 255, preprocess=lambda x: x - 0.5)
    (one,) = mf.Feed(mf.Dataset(rows, inputs=pixels), 4, augment=augment).batch(0, 0)
    (other,) = mf.Feed(mf.Dataset(rows, inputs=floats), 4, augment=augment).batch(0, 0)
    np.testing.assert_array_equal(other, one * np.float32(1 / 255) - np.float32(0.5))


@pytest.mark.parametrize("dtype", ["uint8", "bool", "int16", "int32", "float32", "float16"])
@pytest.mark.parametrize("shape", [(12, 16), (12, 16, 1), (12, 16, 5)])
def test_arrays_in_memory_are_images_too(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    """Memmaps and sliced arrays of any dtype, with and without channels: flips equal NumPy's."""
    values = np.random.default_rng(0).integers(0, 2, (9, *shape)).astype(dtype)
    np.save(tmp_path / "x.npy", values)
    stored = np.load(tmp_path / "x.npy", mmap_mode="r")
    wide = np.repeat(values, 2, axis=2)
    for column in (stored, wide[:, :, ::2]):
        data = mf.Dataset({"x": column}, inputs=mf.Array("x", dtype=dtype))
        flip = mf.RandomFlip("x", mode="horizontal_and_vertical")
        with mf.Feed(data, 4, seed=2, augment=flip) as feed:
            for step, (batch,) in enumerate(feed):
                assert batch.dtype == dtype
                rows = feed.rows(0, step)
                for place, ways in enumerate(feed.draws(0, step)[0]["flip"]):
                    down, right = (-1 if way else 1 for way in ways)
                    np.testing.assert_array_equal(batch[place], values[rows[place]][::down, ::right])
        turned = mf.Feed(data, 9, augment=mf.RandomAffine("x", rotation=30)).batch(0, 0)[0]
        assert turned.dtype == dtype


def photo(size: Any, base_size: Any = None) -> mf.Image:
    return mf.Image("photo", size, base_size=base_size)


REFUSED: list[tuple[dict[str, mf.Image], Any, str]] = [
    (
        {"a": photo(32)},
        mf.RandomFlip("b"),
        "RandomFlip names no field of the dataset: 'b'.\n  There are: 'a'.",
    ),
    (
        {"left": photo(32)},
        [mf.RandomFlip("lfet")],
        "RandomFlip names no field of the dataset: 'lfet'.\n  Did you mean 'left'?",
    ),
    (
        {"a": photo(32)},
        [len],
        "augment holds transforms; received <built-in function len>.\n"
        '  Write e.g. augment=[mf.RandomFlip("photo")]; a function of yours goes into '
        "mf.RandomFunction(fields, function).",
    ),
    (
        {"a": photo((32, 48)), "b": photo((32, 32))},
        mf.RandomAffine(["a", "b"], rotation=5),
        "images that turn together have one aspect ratio: 'a' is 32 x 48 and 'b' 32 x 32.\n"
        "  Declare them with sizes of one aspect ratio, or give 'b' a RandomAffine of its own.",
    ),
    (
        {"a": photo(32, 64), "b": photo(32, 40)},
        mf.RandomCrop(["a", "b"]),
        "images that are cut together show the same part: 'a' keeps 50% and 50% of its height and "
        "width, 'b' 80% and 80%.\n  Declare each base_size in proportion to its size.",
    ),
    (
        {"a": photo(32)},
        mf.RandomCrop("a"),
        "RandomCrop cuts images of `size` out of a larger base image; that of 'a' is 32 x 32 of "
        "32 x 32.\n  Declare it with a larger base_size, e.g. base_size=(37, 37).",
    ),
    (
        {"a": photo(32)},
        [mf.RandomAffine("a", fill="wrap"), mf.RandomAffine("a", fill="reflect")],
        "all geometry of a field is one interpolation, with one fill; those of 'a' have 'reflect', "
        "'wrap'.",
    ),
    (
        {"a": photo(32)},
        [mf.RandomNoise("a", 5), mf.RandomFlip("a")],
        "all geometry of a field is one interpolation from its base image, which comes first; for 'a', "
        "RandomFlip stands after RandomNoise.\n  Put RandomFlip before it.",
    ),
]


@pytest.mark.parametrize(("inputs", "augment", "message"), REFUSED, ids=lambda value: str(value)[:30])
def test_what_cannot_be_is_told_at_declaration(inputs: Any, augment: Any, message: str) -> None:
    """Names that do not exist, images that cannot stay together, orders that cannot be."""
    data = mf.Dataset({"photo": ["nowhere.jpg"]}, inputs=inputs)
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Feed(data, 1, augment=augment)
    assert str(caught.value) == message


def test_sizes_that_differ_by_rounding_have_one_aspect_ratio() -> None:
    """A photograph may turn with its mask of a sixth of its size; a crop may be along one axis."""
    rows = {"photo": ["nowhere.jpg"]}
    data = mf.Dataset(
        rows, inputs={"a": photo((375, 500)), "b": photo((62, 83)), "c": photo(32, (32, 40))}
    )
    mf.Feed(data, 1, augment=mf.RandomAffine(["a", "b"], rotation=5))
    mf.Feed(data, 1, augment=mf.RandomAffine(["b", "a"], rotation=5))
    mf.Feed(data, 1, augment=mf.RandomCrop("c"))
