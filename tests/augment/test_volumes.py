"""Volumes: moved as images are, by matrices of three axes; copied wherever no voxel is mixed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage, stats

import multifeed as mf
from multifeed.augment import warp3d
from multifeed.augment.draws import uniforms
from multifeed.augment.geometry import Geometry
from multifeed.augment.warp import DTYPES
from multifeed.augment.warp3d import MAX_SIDE, Warp3D
from multifeed.fields.base import Base
from multifeed.spec import Spec

SCIPY = {"nearest": "nearest", "constant": "grid-constant", "reflect": "reflect", "wrap": "grid-wrap"}
ALL = ("depth", "height", "width")
SIZE = (12, 15, 14)


def smooth(dtype: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Return smooth values that use much of a dtype's range."""
    noise = np.random.default_rng(seed).random(shape)
    blurred = ndimage.gaussian_filter(noise, (1.5, 1.5, 1.5, 0))
    share = 0.1 + 0.8 * (blurred - blurred.min()) / np.ptp(blurred)
    kind = np.dtype(dtype)
    if dtype == "bool":
        return share > 0.5
    if kind.kind == "f":
        return ((share - 0.5) * 1_000).astype(dtype)
    limits = np.iinfo(kind)
    return np.rint(limits.min + share * (float(limits.max) - limits.min)).astype(dtype)


def drawn(transform: Geometry, slots: int, seed: int = 0) -> Any:
    """Return the draws of some slots."""
    return transform.draw(uniforms(seed, 0, 0, 0, slots, transform.count))


def warped(warp: Warp3D, volume: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return one volume warped by a matrix in relative places, and the matrix of voxels."""
    out = np.full((*warp.size, volume.shape[3]), 77).astype(volume.dtype)
    (voxels,) = warp.moves(warp.pixels(matrix[None]))
    warp.apply(volume, voxels, out)
    return out, voxels


def as_scipy(volume: np.ndarray, voxels: np.ndarray, size: Any, **options: Any) -> np.ndarray:
    """Return what scipy makes of a volume and a matrix of voxels, ``float64``."""
    channels = [
        ndimage.affine_transform(channel, voxels[:, :3], voxels[:, 3], size, **options)
        for channel in np.moveaxis(volume.astype(np.float64), 3, 0)
    ]
    return np.stack(channels, 3)


def fed(
    values: np.ndarray, augment: Any, seed: int = 0, **options: Any
) -> tuple[np.ndarray, list[dict[str, np.ndarray]]]:
    """Return all samples of one field of volumes as a feed augments them, and the draws."""
    data = mf.Dataset({"scan": values}, inputs=mf.Array("scan", **options))
    feed = mf.Feed(data, len(values), seed=seed, augment=augment)
    return feed.batch(0, 0)[0], feed.draws(0, 0)


@pytest.mark.parametrize("fill", list(SCIPY))
@pytest.mark.parametrize("rotation", [30, (30, 0, 0), 0])
def test_affines_are_those_of_scipy(fill: str, rotation: Any) -> None:
    """Turned, in the plane or not, moved, zoomed, of another size: to 1/10,000 of the values' range."""
    volume = smooth("float32", (*SIZE, 1))
    affine = mf.RandomAffine3D(
        "x",
        rotation=rotation,
        shift=0.4,
        zoom=0.3,
        flip=ALL,
        spacing=(2, 1, 1),
        fill=fill,
        fill_value=90,
    )
    for size in (SIZE, (9, 16, 20)):
        matrices = affine.matrices(drawn(affine, 8), SIZE, size)
        for matrix in matrices:
            found, voxels = warped(Warp3D(SIZE, size, "bilinear", fill, 90), volume, matrix)
            expected = as_scipy(volume, voxels, size, order=1, mode=SCIPY[fill], cval=90)
            np.testing.assert_allclose(found, expected, atol=0.1)
            found, voxels = warped(Warp3D(SIZE, size, "nearest", fill, 90), volume, matrix)
            expected = as_scipy(volume, voxels, size, order=0, mode=SCIPY[fill], cval=90)
            assert (np.abs(found - expected) < 1e-3).mean() > 0.999


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_every_dtype_and_number_of_channels(dtype: str, channels: int) -> None:
    """Interpolated to 1/10,000 of the range or half a step; label volumes keep their values."""
    volume = smooth(dtype, (*SIZE, channels))
    spread = float(volume.max()) - float(volume.min())
    step = 0.51 if np.dtype(dtype).kind in "iu" else 0.25 if dtype == "float16" else 0.0
    for rotation in (25, (25, 0, 0)):
        affine = mf.RandomAffine3D("x", rotation=rotation, zoom=(0.8, 0.9), fill="reflect")
        (matrix,) = affine.matrices(drawn(affine, 1), SIZE, SIZE)
        found, voxels = warped(Warp3D(SIZE, SIZE, fill="reflect"), volume, matrix)
        expected = as_scipy(volume, voxels, SIZE, order=1, mode="reflect")
        if dtype == "bool":
            expected = np.where(np.abs(expected - 0.5) < 1e-3, found, expected > 0.5)
        difference = np.abs(found.astype(np.float64) - expected)
        assert difference.max() <= max(spread / 10_000, step)
        labels, _ = warped(Warp3D(SIZE, SIZE, "nearest", "reflect"), volume, matrix)
        assert np.isin(labels, volume).all()


def test_values_at_the_ends_of_a_dtype_stay_there() -> None:
    """A volume of nothing but the least or the most value is so when it was turned."""
    for dtype in ("uint8", "int16", "uint16", "int8"):
        for value in (np.iinfo(dtype).min, np.iinfo(dtype).max):
            volume = np.full((*SIZE, 1), value, dtype)
            found, _ = fed(volume[None], mf.RandomAffine3D("scan", rotation=30), dtype=dtype)
            assert (found == value).all()
    for dtype in ("int32", "uint32"):
        most = np.iinfo(dtype).max
        found, _ = fed(
            np.full((1, *SIZE, 1), most, dtype), mf.RandomAffine3D("scan", rotation=30), dtype=dtype
        )
        assert (found >= most - 256).all()


@pytest.mark.parametrize("dtype", [*DTYPES, "int64"])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_flips_and_quarter_turns_are_numpys(dtype: str, interpolation: str) -> None:
    """To the bit, one after the other, of any dtype, and of volumes that are not contiguous."""
    values = np.random.default_rng(0).integers(0, 120, (6, 7, 7, 7, 2)).astype(dtype)
    flip, turn = mf.RandomFlip3D("x", along=ALL), mf.RandomTurn3D("x", about=ALL)
    flips, turns = drawn(flip, 6)["flip"], drawn(turn, 6)["turns"]
    matrices = turn.matrices({"turns": turns}, (7, 7, 7), (7, 7, 7)) @ flip.matrices(
        {"flip": flips}, (7, 7, 7), (7, 7, 7)
    )
    warp = Warp3D((7, 7, 7), (7, 7, 7), interpolation)
    for number, volume in enumerate(values):
        expected = volume
        for axes, count in zip(((1, 2), (0, 2), (0, 1)), turns[number], strict=True):
            expected = np.rot90(expected, count, axes)
        expected = np.flip(expected, np.flatnonzero(flips[number]))
        for base in (volume, np.asfortranarray(volume), np.repeat(volume, 2, axis=2)[:, :, ::2]):
            np.testing.assert_array_equal(warped(warp, base, matrices[number])[0], expected)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_feed_flips_and_turns_as_its_draws_say(seed: int, tmp_path: Path) -> None:
    """Of memmaps and of files: NumPy's flip of NumPy's quarter turn, sample by sample."""
    values = np.random.default_rng(0).integers(-900, 900, (8, 4, 6, 6, 1), np.int16)
    np.save(tmp_path / "all.npy", values)
    names = [str(tmp_path / f"{number}.npy") for number in range(len(values))]
    for name, volume in zip(names, values, strict=True):
        np.save(name, volume)
    augment = [mf.RandomTurn3D("scan"), mf.RandomFlip3D("scan", along=("depth", "height"))]
    stored = np.load(tmp_path / "all.npy", mmap_mode="r")
    for column, options in ((stored, {}), (names, {"shape": (4, 6, 6, 1), "dtype": "int16"})):
        found, (turns, flips) = fed(column, augment, seed, **options)
        assert len(set(turns["turns"][:, 0])) > 1
        for number, volume in enumerate(values):
            turned = np.rot90(volume, turns["turns"][number, 0], (1, 2))
            expected = np.flip(turned, np.flatnonzero(flips["flip"][number]))
            np.testing.assert_array_equal(found[number], expected)


class Larger(mf.Array):
    """Volumes that become smaller: `base_size` of mf.Volume, without files."""

    @property
    def output(self) -> Spec:
        size = {"scan": (8, 9, 10), "labels": (4, 4, 5)}[str(self.column)]
        return Spec((*size, 1), "int16")

    def spec_of(self, columns: Any, learned: Any) -> Spec:
        return self.output

    def base(self, source: Any, learned: Any) -> Base:
        return replace(super().base(source, learned), spec=self.output, final=self.output)


def test_crops_are_slices_of_the_base_volume() -> None:
    """At random places and in the middle, flipped and turned: NumPy's slices, to the bit."""
    values = np.random.default_rng(0).integers(-900, 900, (9, *SIZE, 1), np.int16)
    data = mf.Dataset({"scan": values}, inputs=Larger("scan"))
    feed = mf.Feed(data, 9, augment=[mf.RandomCrop3D("scan"), mf.RandomFlip3D("scan")])
    (found,), (crop, flip) = feed.batch(0, 0), feed.draws(0, 0)
    for number, volume in enumerate(values):
        first = np.rint(crop["place"][number] * (4, 6, 4)).astype(int)
        window = volume[tuple(slice(low, low + n) for low, n in zip(first, (8, 9, 10), strict=True))]
        expected = np.flip(window, np.flatnonzero(flip["flip"][number]))
        np.testing.assert_array_equal(found[number], expected)
    (centre,) = mf.Feed(data, 9, augment=mf.CenterCrop3D("scan")).batch(0, 0)
    np.testing.assert_array_equal(centre, values[:, 2:10, 3:12, 2:12])


def test_a_crop_that_is_turned_is_interpolated_from_what_it_shows() -> None:
    """Crop and affine are one interpolation: the whole base volume warped, and then cut, is the same."""
    volume = smooth("float32", (40, 40, 40, 1))
    affine, crop = (
        mf.RandomAffine3D("x", rotation=20, fill="constant", fill_value=-600),
        mf.RandomCrop3D("x"),
    )
    turn = affine.matrices(drawn(affine, 4), (40,) * 3, (40,) * 3)
    places = {"place": np.rint(drawn(crop, 4)["place"] * 30) / 30}
    cut = crop.matrices(places, (40,) * 3, (10,) * 3)
    for number, place in enumerate(places["place"]):
        whole, _ = warped(
            Warp3D((40,) * 3, (40,) * 3, "bilinear", "constant", -600), volume, turn[number]
        )
        part, _ = warped(
            Warp3D((40,) * 3, (10,) * 3, "bilinear", "constant", -600),
            volume,
            turn[number] @ cut[number],
        )
        top, left, first = np.rint(place * 30).astype(int)
        expected = whole[top : top + 10, left : left + 10, first : first + 10]
        np.testing.assert_allclose(part, expected, atol=0.05)


def test_a_turn_about_the_depth_is_that_of_images() -> None:
    """Slice by slice, RandomAffine3D turns, moves, zooms and flips as RandomAffine does."""
    shift, zoom, angle = np.array([[0.1, -0.05]]), np.array([1.2]), np.array([17.0])
    image = mf.RandomAffine("x").matrices(
        {
            "rotation": angle,
            "shear": np.zeros(1),
            "shift": shift,
            "zoom": np.stack([zoom, zoom], 1),
            "flip": np.array([[False, True]]),
        },
        (40, 50),
        (40, 50),
    )[0]
    draws = {
        "rotation": np.array([[17.0, 0, 0]]),
        "shift": np.insert(shift, 0, 0.0, axis=1),
        "zoom": zoom,
        "flip": np.array([[False, False, True]]),
    }
    size = (3, 40, 50)
    (matrix,) = mf.RandomAffine3D("x").matrices(draws, size, size)
    # The image's matrix is of (x, y), the volume's of (depth, height, width).
    np.testing.assert_allclose(matrix[1:3, 1:3], image[:2, :2][::-1, ::-1], atol=1e-12)
    np.testing.assert_allclose(matrix[1:3, 3], image[:2, 2][::-1], atol=1e-12)
    assert matrix[0].tolist() == [1 / 1.2, 0, 0, 0]


def test_spacing_keeps_angles_of_voxels_that_are_no_cubes() -> None:
    """Of slices 2 mm apart, a quarter turn about the width shows a row twice as long as the depth."""
    affine = mf.RandomAffine3D("x", spacing=(2, 1, 1))
    quarter = {
        "rotation": np.array([[0.0, 0, 90]]),
        "shift": np.zeros((1, 3)),
        "zoom": np.ones(1),
        "flip": np.zeros((1, 3), bool),
    }
    volume = smooth("float32", (10, 20, 6, 1))
    size = volume.shape[:3]
    (matrix,) = affine.matrices(quarter, size, size)
    _, voxels = warped(Warp3D(size, size), volume, matrix)
    # A step of 2 mm in depth is two voxels of 1 mm in height.
    np.testing.assert_allclose(voxels[:, :3], [[0, 0.5, 0], [-2, 0, 0], [0, 0, 1]], atol=1e-12)


@pytest.mark.parametrize("seed", [0, 1])
def test_draws_fill_their_ranges_evenly(seed: int) -> None:
    """Angles, shifts and zooms by Kolmogorov-Smirnov; flips and turns as likely each way."""
    affine = mf.RandomAffine3D("x", rotation=(5, (-3, 9), 0), shift=(0.1, 0.2, 0), zoom=0.25, flip=ALL)
    draws = drawn(affine, 10_000, seed)
    columns = {
        "about the depth": (draws["rotation"][:, 0], -5, 10),
        "about the height": (draws["rotation"][:, 1], -3, 12),
        "along the depth": (draws["shift"][:, 0], -0.1, 0.2),
        "along the height": (draws["shift"][:, 1], -0.2, 0.4),
        "zoom": (draws["zoom"], 0.75, 0.5),
    }
    for what, (values, low, width) in columns.items():
        assert stats.kstest(values, "uniform", (low, width)).pvalue > 1e-3, what
    assert not draws["rotation"][:, 2].any()
    assert not draws["shift"][:, 2].any()
    counts = np.bincount(draws["flip"] @ [1, 2, 4], minlength=8)
    assert stats.chisquare(counts).pvalue > 1e-3
    turns = drawn(mf.RandomTurn3D("x", about=("depth", "width")), 10_000, seed)["turns"]
    assert not turns[:, 1].any()
    assert stats.chisquare(np.bincount(turns[:, 0] * 4 + turns[:, 2], minlength=16)).pvalue > 1e-3
    only = drawn(mf.RandomFlip3D("x"), 10_000, seed)["flip"].mean(0)
    assert (only[:2] == 0).all()
    assert 0.47 < only[2] < 0.53


def test_a_volume_and_labels_of_another_size_stay_together() -> None:
    """A marker in 24 x 32 x 32 voxels is where it is among 12 x 16 x 16, to 1 of those."""
    scan = np.zeros((10, 24, 32, 32, 1), np.float32)
    scan[:, 8:12, 12:18, 18:22] = 200
    labels = (scan[:, ::2, ::2, ::2] > 0).astype(np.uint8) * 7
    data = mf.Dataset(
        {"scan": scan, "labels": labels},
        inputs=mf.Array("scan"),
        targets=mf.Array("labels", interpolation="nearest"),
    )
    both = ["scan", "labels"]
    augment = [
        mf.RandomAffine3D(both, rotation=40, shift=0.1, zoom=0.1, flip="depth", fill="constant"),
        mf.RandomTurn3D(both),
        mf.RandomFlip3D(both, along=ALL),
    ]
    inputs, targets = mf.Feed(data, 10, seed=3, augment=augment).batch(0, 0)
    places = []
    for volume, label in zip(inputs[..., 0], targets[..., 0], strict=True):
        assert np.isin(label, [0, 7]).all()
        centre = np.array(ndimage.center_of_mass(volume))
        found = np.argwhere(label).mean(0)
        assert np.abs((centre + 0.5) / 2 - (found + 0.5)).max() <= 1
        places.append(tuple(np.round(centre)))
    assert len(set(places)) == 10


def test_long_voxels_are_not_averaged_because_they_turn() -> None:
    """Where a step along the depth leads over many rows, all of them are shown: nothing is smoothed."""
    volume = np.random.default_rng(0).random((6, 40, 8, 1)).astype(np.float32)
    size = volume.shape[:3]
    affine = mf.RandomAffine3D("x", rotation=(0, 0, 20), spacing=(9, 1, 1))
    for matrix in affine.matrices(drawn(affine, 5), size, size):
        found, voxels = warped(Warp3D(size, size), volume, matrix)
        expected = as_scipy(volume, voxels, size, order=1, mode="nearest")
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_nothing_is_skipped_when_a_volume_shrinks() -> None:
    """Slices, rows and columns one voxel wide become grey, whichever way they lie, turned or not."""
    for axis in range(3):
        volume = np.zeros((32, 32, 32, 1), np.uint8)
        np.moveaxis(volume, axis, 0)[::2] = 200
        for rotation in (0, 20):
            affine = mf.RandomAffine3D("x", rotation=rotation, fill="reflect")
            (matrix,) = affine.matrices(drawn(affine, 1), (32,) * 3, (8,) * 3)
            found, _ = warped(Warp3D((32,) * 3, (8,) * 3, fill="reflect"), volume, matrix)
            assert np.abs(found[1:-1, 1:-1, 1:-1] - 100.0).max() <= 30


def test_a_base_of_another_size_is_resized_where_nothing_moves() -> None:
    """A volume that only gets noise is brought to its size as one that is moved by nothing."""
    values = np.random.default_rng(0).integers(-900, 900, (2, *SIZE, 1), np.int16)
    data = mf.Dataset({"scan": values}, inputs=Larger("scan"))
    (noisy,) = mf.Feed(data, 2, augment=mf.Noise("scan", 0)).batch(0, 0)
    (moved,) = mf.Feed(data, 2, augment=mf.RandomAffine3D("scan")).batch(0, 0)
    assert noisy.shape == (2, 8, 9, 10, 1)
    np.testing.assert_array_equal(noisy, moved)


def test_large_slices_are_worked_out_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where few slices are as many rows as OpenCV takes, smaller parts give the same values."""
    volume = smooth("float32", (*SIZE, 3))
    affine = mf.RandomAffine3D("x", rotation=40)
    (matrix,) = affine.matrices(drawn(affine, 1), SIZE, SIZE)
    expected, _ = warped(Warp3D(SIZE, SIZE), volume, matrix)
    for most in (1, 60, 90):
        monkeypatch.setattr(warp3d, "_MOST_ROWS", most)
        found, _ = warped(Warp3D(SIZE, SIZE), volume, matrix)
        np.testing.assert_allclose(found, expected, atol=0.02)


def test_very_long_slices() -> None:
    """Volumes of the most rows and columns that are allowed can be turned."""
    for size in ((3, MAX_SIDE, 2), (3, 2, MAX_SIDE)):
        volume = smooth("float32", (*size, 1))
        affine = mf.RandomAffine3D("x", rotation=(0, 1, 1), spacing=(3_000, 1, 1))
        (matrix,) = affine.matrices(drawn(affine, 1), size, size)
        found, voxels = warped(Warp3D(size, size), volume, matrix)
        expected = as_scipy(volume, voxels, size, order=1, mode="nearest")
        assert np.abs(found - expected).mean() < 0.1


def test_colour_of_volumes() -> None:
    """Brightness, then contrast about each channel's mean, rounded and cut off at the dtype's ends."""
    values = smooth("int16", (*SIZE, 2))[None]
    color = mf.RandomColor("scan", brightness=(1.1, 1.1), contrast=(1.5, 1.5))
    found, _ = fed(values, color)
    mean = 1.1 * values.mean((1, 2, 3), keepdims=True)
    expected = np.clip(np.rint(mean + 1.5 * (1.1 * values - mean)), -(2**15), 2**15 - 1)
    assert np.abs(found - expected).max() <= 1
    assert (expected == 2**15 - 1).any()
    floats, _ = fed(values.astype(np.float32), color)
    np.testing.assert_allclose(floats, mean + 1.5 * (1.1 * values - mean), rtol=1e-4, atol=1)


def test_noise_of_volumes() -> None:
    """Of whole numbers, it is rounded and cut off; of floats as ever; each voxel has its own."""
    for dtype in ("uint8", "int16", "float32"):
        values = np.full((2, *SIZE, 1), 100, dtype)
        found, _ = fed(values, mf.Noise("scan", 9))
        difference = found.astype(float) - 100
        assert 8.5 < difference.std() < 9.5
        assert abs(difference.mean()) < 0.5
        assert (found[0] != found[1]).any()
    dark, _ = fed(np.zeros((1, *SIZE, 1), np.uint8), mf.Noise("scan", 9))
    assert 0.4 < (dark == 0).mean() < 0.6
    assert dark.max() < 50


def test_volumes_are_blended() -> None:
    """MixUp of augmented volumes and their labels as vectors, by one share."""
    values = np.stack([np.zeros((4, 4, 4, 1)), np.ones((4, 4, 4, 1))])
    data = mf.Dataset(
        {"scan": values, "kind": [0, 1]},
        inputs=mf.Array("scan"),
        targets=mf.Category("kind", vocabulary=[0, 1], one_hot=True),
    )
    augment = [mf.RandomFlip3D("scan"), mf.MixUp(["scan", "kind"], alpha=1)]
    scan, kind = mf.Feed(data, 2, seed=4, augment=augment).batch(0, 0)
    np.testing.assert_allclose(scan.mean((1, 2, 3, 4)), kind[:, 1], atol=1e-6)


def test_a_cache_and_processes_change_nothing(tmp_path: Path) -> None:
    """Volumes of files, moved or not: the bytes of a cache, and of a process, are those of threads."""
    names = [str(tmp_path / f"{number}.npy") for number in range(5)]
    for number, name in enumerate(names):
        np.save(name, smooth("float32", (6, 8, 8, 1), number))
    data = mf.Dataset({"scan": names}, inputs=mf.Array("scan", shape=(6, 8, 8, 1)))
    cached = mf.cache(data, tmp_path / "cache")
    affine, noise = mf.RandomAffine3D("scan", rotation=20, fill="wrap"), mf.Noise("scan", 3)
    for augment in ([affine, noise], noise, mf.RandomTurn3D("scan")):
        plain = mf.Feed(data, 5, seed=1, augment=augment).batch(0, 0)[0].tobytes()
        assert mf.Feed(cached, 5, seed=1, augment=augment).batch(0, 0)[0].tobytes() == plain
    plain = mf.Feed(data, 5, seed=1, augment=[affine, noise]).batch(0, 0)[0].tobytes()
    with mf.Feed(data, 5, seed=1, augment=[affine, noise], processes=1) as feed:
        assert next(iter(feed))[0].tobytes() == plain


def declared(shape: tuple[int, ...], **options: Any) -> mf.Dataset:
    """Return a dataset of one volume, or of something else."""
    values = np.zeros((2, *shape), options.pop("stored", np.float32))
    return mf.Dataset({"scan": values}, inputs=mf.Array("scan", **options))


NO_3D = "RandomFlip moves the pixels of images, (height, width) or (height, width, channels);"
SPACING = "spacing is three lengths above 0, of a voxel's edges along depth, height and width; received"
REFUSED: list[tuple[Callable[[], object], str]] = [
    (
        lambda: mf.Feed(declared((4, 5, 6, 1)), 1, augment=mf.RandomFlip("scan")),
        f"{NO_3D} field 'scan' is {Spec((4, 5, 6, 1), 'float32')}.\n  Volumes are moved by "
        "mf.RandomAffine3D, mf.RandomFlip3D, mf.RandomTurn3D, mf.RandomCrop3D and mf.CenterCrop3D.",
    ),
    (
        lambda: mf.Feed(declared((4, 5, 6)), 1, augment=mf.RandomFlip3D("scan")),
        "RandomFlip3D moves the voxels of volumes, (depth, height, width, channels); field 'scan' is "
        f"{Spec((4, 5, 6), 'float32')}.\n  A volume of one channel is declared with it, "
        "shape=(4, 5, 6, 1); images are moved by mf.RandomAffine and others without 3D.",
    ),
    (
        lambda: mf.Feed(declared((4,)), 1, augment=mf.RandomTurn3D("scan")),
        "RandomTurn3D moves the voxels of volumes, (depth, height, width, channels); field 'scan' is "
        f"{Spec((4,), 'float32')}.\n  Name the fields that are volumes.",
    ),
    (
        lambda: mf.RandomFlip3D("x").check("x", Spec((4, 4, 4, 1), "int64")),
        f"RandomFlip3D moves pixels of {', '.join(DTYPES)}; field 'x' is "
        f'{Spec((4, 4, 4, 1), "int64")}.\n  Declare it with another dtype, e.g. dtype="int32".',
    ),
    (
        lambda: mf.Feed(declared((4, 5, 6, 1)), 1, augment=mf.RandomTurn3D("scan")),
        "a quarter turn puts height in the place of width, so they are of one length; 'scan' is "
        "4 x 5 x 6.\n  Leave the axis across them out of RandomTurn3D, or declare another size.",
    ),
    (
        lambda: mf.Feed(declared((4, 5, 6, 1)), 1, augment=mf.RandomCrop3D("scan")),
        "RandomCrop3D cuts volumes of `size` out of a larger base volume; that of 'scan' is 4 x 5 x 6 "
        "of 4 x 5 x 6.\n  Declare it with a larger base_size, e.g. base_size=(5, 6, 7).",
    ),
    (
        lambda: mf.Feed(declared((4, 5, 6, 1)), 1, augment=mf.RandomNoise("scan", 5)),
        "RandomNoise changes images, (height, width, channels) uint8 of 1, 3 or 4 channels; field "
        f"'scan' is {Spec((4, 5, 6, 1), 'float32')}.\n  Of volumes, mf.RandomColor changes brightness "
        "and contrast, and mf.Noise adds noise; all else can be an mf.RandomFunction.",
    ),
    (
        lambda: mf.Feed(
            declared((4, 5, 6, 1)), 1, augment=mf.RandomColor("scan", brightness=0.2, hue=0.1, gamma=0.1)
        ),
        "of volumes, RandomColor changes brightness and contrast alone; field 'scan' is "
        f"{Spec((4, 5, 6, 1), 'float32')}, and hue, gamma is asked for.\n  Give 'scan' a RandomColor of "
        "its own, or write your own as mf.RandomFunction.",
    ),
    (
        lambda: mf.Feed(
            declared((4, 5, 6, 1), stored=np.uint8, interpolation="nearest"),
            1,
            augment=mf.Noise("scan", 1),
        ),
        "Noise makes colours that an image did not have, and 'scan' is a label map "
        '(interpolation="nearest"): it would get other labels.\n  Name the pictures alone in Noise; '
        "geometry may name them together.",
    ),
    (
        lambda: mf.RandomAffine3D("x", fill="constant", fill_value=300).check(
            "x", Spec((5, 5, 5, 1), "uint8")
        ),
        f"fill_value is a value that pixels can have; 'x' is {Spec((5, 5, 5, 1), 'uint8')}, whole "
        "numbers from 0 to 255, and fill_value is 300.\n  Pass one that suits all fields of the "
        "transform.",
    ),
    (
        lambda: mf.RandomFlip3D("x", along="horizontal"),
        "along names one or more of 'depth', 'height', 'width'; received 'horizontal'.",
    ),
    (
        lambda: mf.RandomTurn3D("x", about=()),
        "about names one or more of 'depth', 'height', 'width'; received ().",
    ),
    (
        lambda: mf.RandomAffine3D("x", flip=["z"]),
        "flip names one or more of 'depth', 'height', 'width'; received ['z'].",
    ),
    (
        lambda: mf.RandomAffine3D("x", rotation=(1, 2, 3, 4)),
        "rotation is a number of 0 or more, or a pair (least, most); received (1, 2, 3, 4).",
    ),
    (
        lambda: mf.RandomAffine3D("x", rotation=(5, 5, -5)),
        "rotation is a number of 0 or more, or a pair (least, most); received -5.",
    ),
    (
        lambda: mf.RandomAffine3D("x", zoom=1),
        "zoom is a magnification above 0; it reaches 0.\n  Write a pair such as zoom=(1, 1.5).",
    ),
    (
        lambda: mf.RandomAffine3D("x", shift=(0.1, 0.1)),
        "shift is the fraction of depth, height and width by which the volume moves at most, or three "
        "of them; received (0.1, 0.1).\n  Write e.g. shift=0.1.",
    ),
    (
        lambda: mf.RandomAffine3D("x", spacing=(3, 1, 0)),
        f"{SPACING} (3, 1, 0).",
    ),
    (
        lambda: mf.RandomAffine3D("x", spacing=2),  # type: ignore[arg-type]
        f"{SPACING} 2.",
    ),
    (
        lambda: mf.RandomAffine3D("x", fill="mirror"),
        "fill must be one of 'nearest', 'constant', 'reflect', 'wrap'; received 'mirror'.",
    ),
    (
        lambda: Warp3D((2, 20_000, 2), (2, 2, 2)),
        "volumes that are moved are at most 10,000 voxels high and wide; received (2, 20000, 2) for the "
        "base volume, and (2, 2, 2) for what becomes of it.",
    ),
]


@pytest.mark.parametrize(("declare", "message"), REFUSED, ids=[message[:30] for _, message in REFUSED])
def test_what_cannot_be_is_refused_at_declaration(declare: Callable[[], object], message: str) -> None:
    """Transforms of images on volumes and the other way round, options and sizes that do not fit."""
    with pytest.raises(mf.DeclarationError) as caught:
        declare()
    assert str(caught.value) == message


def test_volumes_that_cannot_stay_together_are_refused() -> None:
    """One aspect ratio in each plane in which they turn, and no more; one share of what is cut."""
    rows = {"scan": np.zeros((2, *SIZE, 1)), "labels": np.zeros((2, 6, 15, 14, 1))}
    data = mf.Dataset(rows, inputs={"scan": mf.Array("scan"), "labels": mf.Array("labels")})
    both = ["scan", "labels"]
    mf.Feed(data, 1, augment=mf.RandomAffine3D(both, rotation=(20, 0, 0)))
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Feed(data, 1, augment=mf.RandomAffine3D(both, rotation=20))
    assert str(caught.value) == (
        "volumes that turn together have one aspect ratio: 'scan' is 12 x 15 x 14 and 'labels' "
        "6 x 15 x 14.\n  Declare them with sizes of one aspect ratio, or give 'labels' a RandomAffine3D "
        "of its own."
    )
    data = mf.Dataset(rows, inputs={"scan": Larger("scan"), "labels": Larger("labels")})
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Feed(data, 1, augment=mf.RandomCrop3D(both))
    assert str(caught.value) == (
        "volumes that are cut together show the same part: 'scan' keeps 67%, 60% and 71% of its depth, "
        "height and width, 'labels' 67%, 27% and 36%.\n  Declare each base_size in proportion to its "
        "size."
    )


def test_a_target_that_looks_like_labels_is_warned_of() -> None:
    """Whole numbers of one channel that are interpolated where they are moved."""
    data = mf.Dataset(
        {"scan": np.zeros((2, 4, 4, 4, 1), np.float32), "labels": np.zeros((2, 4, 4, 4, 1), np.uint8)},
        inputs=mf.Array("scan"),
        targets=mf.Array("labels"),
    )
    with pytest.warns(mf.MultifeedWarning, match="the target 'labels', .* is interpolated where"):
        mf.Feed(data, 1, augment=mf.RandomFlip3D(["scan", "labels"]))
