"""Points and boxes: they lie where their image shows what they mark, whatever happens to it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image as PILImage

import multifeed as mf
from multifeed.augment.geometry import (
    CenterCrop,
    Geometry,
    RandomAffine,
    RandomCrop,
    RandomFlip,
    RandomResizedCrop,
)
from multifeed.fields.image import Image

# Of the images as they are upright, (height, width); their dots are of these many pixels.
HEIGHT, WIDTH, RADIUS = 240, 320, 9
# One dot in each channel, (x, y) as the upper left corner counts.
DOTS = [
    [[110.5, 80.5], [200.5, 90.5], [150.0, 170.0]],
    [[160.0, 120.0], [90.0, 150.0], [230.0, 60.0]],
    [[120.0, 70.0], [220.0, 180.0], [170.0, 110.0]],
]
# One rectangle in each channel.
BOXES = [
    [[100, 60, 180, 110], [150, 100, 230, 190], [80, 90, 130, 170]],
    [[140, 80, 200, 160], [90, 70, 150, 120], [170, 50, 260, 130]],
    [[110, 90, 170, 150], [60, 60, 160, 110], [190, 100, 240, 200]],
]
SMALL = 100, 140
TRANSFORMS: dict[str, list[Geometry]] = {
    "none": [],
    "affine": [RandomAffine("photo", rotation=25, shift=0.1, shear=10, zoom=0.2, flip="horizontal")],
    "flip": [RandomFlip("photo", mode="horizontal_and_vertical")],
    "crop": [RandomCrop("photo")],
    "center-crop": [CenterCrop("photo")],
    "resized-crop": [RandomResizedCrop("photo", scale=(0.4, 1.0))],
    "several": [
        RandomAffine("photo", rotation=15, zoom=(0.8, 1.1), fill="constant"),
        RandomResizedCrop("photo", scale=(0.6, 1.0)),
        RandomFlip("photo"),
        RandomAffine("photo", shift=0.05, shear=8, fill="constant"),
    ],
}
IMAGES = {
    "plain": mf.Image("photo", SMALL),
    "large": mf.Image("photo", (300, 410)),
    "base": mf.Image("photo", SMALL, base_size=(130, 170)),
    "crop": mf.Image("photo", SMALL, base_size=(120, 160), crop_to_aspect_ratio=True),
    "crop-square": mf.Image("photo", 90, base_size=(112, 107), crop_to_aspect_ratio=True),
    "pad": mf.Image("photo", (120, 100), base_size=(150, 130), pad_to_aspect_ratio=True),
    "antialias": mf.Image("photo", (71, 93), base_size=(83, 107), antialias=True),
    "nearest": mf.Image("photo", (150, 200), base_size=(180, 240), interpolation="nearest"),
    "float": mf.Image("photo", SMALL, base_size=(111, 151), dtype="float32", scale=1.0),
}


def dotted(dots: Sequence[Sequence[float]]) -> np.ndarray:
    """Return an image with a bright disc at each dot, in the channel of its number."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for channel, (across, down) in enumerate(dots):
        pixels[np.hypot(x - across, y - down) < RADIUS, channel] = 255
    return pixels


def filled(boxes: Sequence[Sequence[int]]) -> np.ndarray:
    """Return an image with each box filled, in the channel of its number."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for channel, (left, top, right, bottom) in enumerate(boxes):
        pixels[top:bottom, left:right, channel] = 255
    return pixels


# The inverses of how an image with an EXIF orientation is set upright.
STORED = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: image.swapaxes(0, 1)[::-1],
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: lambda image: image.swapaxes(0, 1)[:, ::-1],
}


def encoded(pixels: np.ndarray, kind: str = "PNG", orientation: int = 1) -> bytes:
    """Return an image as the content of a file."""
    stream, exif = io.BytesIO(), PILImage.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](pixels))
    options: dict[str, Any] = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    PILImage.fromarray(stored).save(stream, kind, exif=exif, **options)
    return stream.getvalue()


def dots_data(image: mf.Image, images: list[bytes], **options: Any) -> mf.Dataset:
    """Return a dataset of dotted images and their dots."""
    return mf.Dataset(
        {"photo": images, "dots": DOTS[: len(images)]},
        inputs={"photo": image},
        targets={"dots": mf.Points("dots", "photo", pad_to=4, **options), "seen": mf.Mask("dots")},
    )


def centre(channel: np.ndarray) -> tuple[np.ndarray, float]:
    """Return where the bright disc of an image is, (x, y), and how much of it there is."""
    weights = channel.astype(np.float64)
    weights[weights < 40] = 0
    y, x = np.mgrid[: channel.shape[0], : channel.shape[1]] + 0.5
    total = max(weights.sum(), 1.0)
    return np.array([(x * weights).sum(), (y * weights).sum()]) / total, weights.sum() / 255


def far_from_edge(place: np.ndarray, shape: tuple[int, ...], margin: float) -> bool:
    """Tell whether a place is at least some pixels from all edges."""
    size = np.array(shape[1::-1])
    return bool(((place > margin) & (place < size - margin)).all())


def assert_dots_are_there(photo: np.ndarray, dots: np.ndarray, seen: np.ndarray) -> int:
    """Raise unless each dot that is well inside is shown within half a pixel; return how many are."""
    looked_at = 0
    margin = 3 + 1.5 * RADIUS * max(photo.shape[0] / HEIGHT, photo.shape[1] / WIDTH)
    inside = np.all((dots >= 0) & (dots < photo.shape[1::-1]), axis=1, keepdims=True)[:, 0]
    assert seen[:3].tolist() == inside[:3].tolist()
    assert not seen[3:].any()
    assert not dots[3:].any()
    for channel, place in enumerate(dots[:3]):
        if far_from_edge(place, photo.shape, margin):
            found, amount = centre(photo[:, :, channel])
            assert amount > 1
            assert np.abs(found - place).max() < 0.5, (found, place)
            looked_at += 1
    return looked_at


def assert_follows(data: mf.Dataset, augment: list[Geometry], *, count: int = 12) -> None:
    """Raise unless the dots of several draws are where they are shown."""
    feed = mf.Feed(data, batch_size=len(data), augment=augment)
    looked_at = 0
    for draw in range(count if augment else 1):
        (photo,), (dots, seen) = (list(part.values()) for part in feed.redraw(0, 0, draw))
        for row in range(len(data)):
            looked_at += assert_dots_are_there(photo[row], dots[row], seen[row])
    assert looked_at >= 3 * (len(data) if not augment else 2)


def is_flipped(feed: mf.Feed, draw: int) -> bool:
    """Tell whether the first image of a feed is mirrored under a draw."""
    shot = feed._recipe.shot(0, draw=draw)
    return shot is not None and bool(shot.draws[0]["flip"][0, 1])


def fits(image: mf.Image, transforms: list[Geometry]) -> bool:
    """Tell whether a base image is large enough to be cut."""
    return image.base_size is not None or not any(each.cuts for each in transforms)


class TestPoints:
    @pytest.mark.parametrize("name", TRANSFORMS)
    @pytest.mark.parametrize("kind", IMAGES)
    def test_dots_are_yielded_where_they_are_shown(self, kind: str, name: str) -> None:
        """For each way to make a base image and each transform, and several: within half a pixel."""
        image, augment = IMAGES[kind], TRANSFORMS[name]
        if not fits(image, augment):
            pytest.skip("there is no larger base image to cut from")
        assert_follows(dots_data(image, [encoded(dotted(dots)) for dots in DOTS]), augment)

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("size", [(200, 270), (60, 80), (41, 55), (67, 80)])
    @pytest.mark.parametrize("kind", ["JPEG", "PNG"])
    def test_dots_follow_exif_and_scaled_decoding(
        self, kind: str, size: tuple[int, int], orientation: int
    ) -> None:
        """An image is set upright first; a JPEG that is decoded at a scale has the size it says."""
        images = [encoded(dotted(dots), kind, orientation) for dots in DOTS]
        for image in (mf.Image("photo", size), mf.Image("photo", size, crop_to_aspect_ratio=True)):
            assert_follows(dots_data(image, images), [])
        assert_follows(dots_data(mf.Image("photo", size), images), TRANSFORMS["affine"])

    def test_the_image_is_decoded_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """However many points and boxes there are of it."""
        from multifeed.fields import image
        from multifeed.fields.decode import decode

        calls: list[int] = []

        def counted(*given: Any) -> Any:
            calls.append(1)
            return decode(*given)

        monkeypatch.setattr(image, "decode", counted)
        data = mf.Dataset(
            {"photo": [encoded(dotted(DOTS[0]))], "dots": [DOTS[0]], "boxes": [BOXES[0]]},
            inputs=mf.Image("photo", SMALL),
            targets=[
                mf.Points("dots", "photo", pad_to=3),
                mf.Boxes("boxes", "photo", pad_to=3),
                mf.Mask("dots"),
            ],
        )
        data[0]
        mf.Feed(data, 1, augment=TRANSFORMS["affine"]).batch(0, 0)
        assert len(calls) == 2

    def test_batches_do_not_depend_on_workers_and_batch_size(self) -> None:
        """Of an augmented feed, row by row."""
        data = dots_data(IMAGES["base"], [encoded(dotted(dots)) for dots in DOTS])
        data = data.select([0, 1, 2, 2, 1, 0, 2])
        augment = TRANSFORMS["several"]
        whole = mf.Feed(data, 7, shuffle=True, seed=3, augment=augment).batch(2, 0)[1]
        for size, workers in ((1, 1), (3, 2), (7, 4)):
            with mf.Feed(data, size, shuffle=True, seed=3, augment=augment, workers=workers) as feed:
                batches = [batch[1] for epoch in range(3) for batch in feed][-len(feed) :]
            for name in ("dots", "seen"):
                found = np.concatenate([batch[name] for batch in batches])
                np.testing.assert_array_equal(found, whole[name])

    def test_points_outside_stay_and_are_masked(self) -> None:
        """They keep their number and coordinates; those on the right and lower edge are outside."""
        places: list[list[list[float]]] = [[[-3, 5], [8, 2], [7.99, 3.99], [4, 4], [0, 0]]]
        data = mf.Dataset(
            {"photo": np.zeros((1, 4, 8), np.uint8), "dots": places},
            inputs={"photo": mf.Array("photo")},
            targets={"dots": mf.Points("dots", "photo", pad_to=5), "seen": mf.Mask("dots")},
        )
        found = data[0][1]
        np.testing.assert_allclose(found["dots"], places[0])
        assert found["seen"].tolist() == [False, False, True, False, True]

    def test_relative_points_are_shares_of_the_size(self) -> None:
        """From 0 to 1 over width and height."""
        images = [encoded(dotted(DOTS[0]))]
        plain = dots_data(IMAGES["pad"], images)[0][1]["dots"]
        shares = dots_data(IMAGES["pad"], images, relative=True)[0][1]["dots"]
        np.testing.assert_allclose(shares * [100, 120], plain, rtol=1e-6)

    def test_pairs_change_places_where_the_image_is_mirrored(self) -> None:
        """Not where it is turned by half; without pairs, points keep their numbers."""
        pictures = np.zeros((64, 10, 20), np.uint8)
        places = np.tile([[2.0, 3.0], [15.0, 3.0], [9.0, 8.0]], (64, 1, 1))
        places[0, 0] = np.nan
        for mode, pairs in (
            ("horizontal", [(0, 1)]),
            ("horizontal_and_vertical", [(1, 0)]),
            ("vertical", ()),
        ):
            data = mf.Dataset(
                {"photo": pictures, "dots": places},
                inputs={"photo": mf.Array("photo")},
                targets={
                    "dots": mf.Points("dots", "photo", flip_pairs=pairs),
                    "seen": mf.Mask("dots"),
                },
            )
            feed = mf.Feed(data, 64, augment=[RandomFlip("photo", mode=mode)])
            flips = feed.draws(0, 0)[0]["flip"]
            assert len(np.unique(flips, axis=0)) == (4 if mode.startswith("hor") and "_" in mode else 2)
            found = feed.batch(0, 0)[1]
            for row, (vertical, horizontal) in enumerate(flips):
                expected = places[row].copy()
                if horizontal:
                    expected[:, 0] = 20 - expected[:, 0]
                if vertical:
                    expected[:, 1] = 10 - expected[:, 1]
                if pairs and vertical != horizontal:
                    expected = expected[[1, 0, 2]]
                seen = np.isfinite(expected).all(axis=1)
                np.testing.assert_allclose(found["dots"][row], np.nan_to_num(expected), atol=1e-5)
                assert found["seen"][row].tolist() == seen.tolist()

    @pytest.mark.parametrize(
        "column",
        [
            [[[1, 2], [3, 4]], [[5, 6], [7, 8]]],
            [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]],
            pa.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], pa.list_(pa.list_(pa.float32(), 2), 2)),
            pa.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], pa.large_list(pa.list_(pa.int16(), 2))),
            pa.array([[1, 2, 3, 4], [5, 6, 7, 8]], pa.list_(pa.float64(), 4)),
            np.arange(1, 9).reshape(2, 2, 2),
            np.arange(1.0, 9.0).reshape(2, 4),
            pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(1.0, 9.0).reshape(2, 2, 2)),
        ],
    )
    def test_columns_may_hold_points_in_many_ways(self, column: Any) -> None:
        """Lists, flat lists, lists of fixed size, tensors and arrays; of some rows too, in any order."""
        data = mf.Dataset(
            {"photo": np.zeros((2, 9, 9), np.uint8), "dots": column},
            inputs={"photo": mf.Array("photo")},
            targets=mf.Points("dots", "photo", pad_to=3),
        )
        for rows in ([0, 1], [1], [1, 0, 1]):
            part = data.select(rows)
            for number, row in enumerate(rows):
                expected = np.array([[1, 2], [3, 4], [0, 0]]) + 4 * row * np.array([[1], [1], [0]])
                np.testing.assert_array_equal(part[number][1], expected)

    def test_numbers_may_stand_in_columns_of_their_own(self) -> None:
        """In the order x, y, x, y; what lacks a number is masked, without any all are null."""
        rows = {
            "photo": np.zeros((3, 9, 9), np.uint8),
            "x0": [1.0, None, None],
            "y0": [2, 3, None],
            "x1": [4.0, 5.0, None],
            "y1": [6, 7, None],
        }
        fields = {"photo": mf.Array("photo")}
        points = mf.Points(["x0", "y0", "x1", "y1"], "photo", missing="zero")
        data = mf.Dataset(rows, inputs=fields, targets={"dots": points, "seen": mf.Mask("dots")})
        assert [data[row][1]["dots"].tolist() for row in range(3)] == [
            [[1, 2], [4, 6]],
            [[0, 0], [5, 7]],
            [[0, 0], [0, 0]],
        ]
        assert [data[row][1]["seen"].tolist() for row in range(3)] == [
            [True, True],
            [False, True],
            [False, False],
        ]

    def test_a_missing_image_has_no_points(self) -> None:
        """Its points are 0 and masked, with and without augmentation."""
        data = mf.Dataset(
            {"photo": [encoded(dotted(DOTS[0])), None], "dots": DOTS[:2], "boxes": BOXES[:2]},
            inputs={"photo": mf.Image("photo", SMALL, missing="zero")},
            targets={
                "dots": mf.Points("dots", "photo", pad_to=3),
                "seen": mf.Mask("dots"),
                "boxes": mf.Boxes("boxes", "photo", pad_to=3),
                "kept": mf.Mask("boxes"),
            },
        )
        for augment in ([], TRANSFORMS["flip"]):
            found = mf.Feed(data, 2, augment=augment).batch(0, 0)[1]
            for name in found:
                assert found[name][0].any()
                assert not found[name][1].any()

    def test_missing_points_are_none(self) -> None:
        """With missing="zero"; an empty list has none either."""
        data = mf.Dataset(
            {"photo": np.zeros((3, 4, 4), np.uint8), "dots": [[[1, 2]], None, []]},
            inputs={"photo": mf.Array("photo")},
            targets={
                "dots": mf.Points("dots", "photo", pad_to=1, missing="zero"),
                "seen": mf.Mask("dots"),
            },
        )
        assert [data[row][1]["seen"].tolist() for row in range(3)] == [[True], [False], [False]]

    def test_joined_datasets_have_their_own_points(self) -> None:
        """Rows of several tables, mixed: each gets its own points, and its own errors."""
        one = dots_data(IMAGES["base"], [encoded(dotted(dots)) for dots in DOTS])
        two = dots_data(IMAGES["base"], [encoded(dotted(dots)) for dots in DOTS[:2]])
        joined = mf.concat([one, two]).select([4, 0, 3, 2, 1])
        assert_follows(joined, [])
        assert_follows(joined, TRANSFORMS["several"])
        assert joined[1][1]["seen"].tolist() == [True, True, True, False]

    def test_inputs_may_be_points(self) -> None:
        """A sample that comes later is prepared with its image, though that is no input by itself."""
        data = mf.Dataset(
            {"photo": [encoded(dotted(dots)) for dots in DOTS], "dots": DOTS},
            inputs={"seen": mf.Mask("dots"), "dots": mf.Points("dots", "photo", pad_to=3)},
            targets={"photo": mf.Image("photo", SMALL)},
        )
        (expected, _) = data[1]
        found = mf.prepare(data, {"photo": encoded(dotted(DOTS[1])), "dots": DOTS[1]})
        for name in ("dots", "seen"):
            np.testing.assert_array_equal(found[name][0], expected[name])

    def test_check_reads_them(self) -> None:
        """A health check of good data finds nothing to say of them; of bad boxes, which they are."""
        photos = [encoded(dotted(dots)) for dots in DOTS]
        boxes = [BOXES[0], [[5, 5, 1, 9]], BOXES[2]]
        data = mf.Dataset(
            {"photo": photos, "dots": DOTS, "boxes": boxes},
            inputs={"photo": mf.Image("photo", SMALL)},
            targets={
                "dots": mf.Points("dots", "photo", pad_to=3),
                "boxes": mf.Boxes("boxes", "photo", pad_to=3),
            },
        )
        found = mf.check(data, progress=False).findings.to_pylist()
        assert [(each["field"], each["row"]) for each in found] == [("boxes", 1)]


class TestBoxes:
    @pytest.mark.parametrize("name", TRANSFORMS)
    @pytest.mark.parametrize("kind", ["plain", "crop", "pad", "nearest"])
    def test_rectangles_are_yielded_where_they_are_shown(self, kind: str, name: str) -> None:
        """The box around all pixels of a rectangle, within a pixel, clipped to the image."""
        image, augment = IMAGES[kind], TRANSFORMS[name]
        if not fits(image, augment):
            pytest.skip("there is no larger base image to cut from")
        # What is repeated beyond the edge is no part of a box.
        augment = [
            RandomAffine(each.fields, rotation=25, shift=0.1, shear=10, zoom=0.2, fill="constant")
            if name == "affine"
            else each
            for each in augment
        ]
        data = mf.Dataset(
            {"photo": [encoded(filled(boxes)) for boxes in BOXES], "boxes": BOXES},
            inputs={"photo": image},
            targets={"boxes": mf.Boxes("boxes", "photo", pad_to=3), "kept": mf.Mask("boxes")},
        )
        # The tip of a turned corner is dim; of an image that is not interpolated, edges are moved twice.
        is_exact = kind != "nearest" and name not in ("affine", "several")
        feed = mf.Feed(data, 3, augment=augment)
        for draw in range(12 if augment else 1):
            (photo,), (boxes, kept) = (list(part.values()) for part in feed.redraw(0, 0, draw))
            for row, channel in np.ndindex(3, 3):
                shown, box = photo[row, :, :, channel], boxes[row, channel]
                self.assert_box(shown, box, kept[row, channel], 1.0 if is_exact else 1.6)

    def assert_box(self, pixels: np.ndarray, box: np.ndarray, kept: bool, bound: float) -> None:
        """Raise unless a box is around what is bright, to within some pixels."""
        rows, columns = np.flatnonzero(pixels.max(1) > 127), np.flatnonzero(pixels.max(0) > 127)
        if not kept:
            assert not box.any()
            assert min(len(rows), len(columns)) <= 1
            return
        if min(box[2] - box[0], box[3] - box[1]) < 4:
            return
        shown = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        assert np.abs(box - shown).max() < bound, (box, shown)

    def data(self, boxes: Any, **options: Any) -> mf.Dataset:
        """Return a dataset of one image of 20 x 10 pixels with boxes."""
        return mf.Dataset(
            {"id": ["p"], "photo": np.zeros((1, 10, 20), np.uint8), "boxes": [boxes]},
            key="id",
            inputs={"photo": mf.Array("photo")},
            targets={"boxes": mf.Boxes("boxes", "photo", **options), "kept": mf.Mask("boxes")},
        )

    def test_boxes_are_clipped_or_dropped_and_keep_their_places(self) -> None:
        """Without area inside, or less of it than `min_visible`, a box becomes 0 and is masked."""
        boxes = [[-5, 2, 5, 6], [15, 0, 35, 4], [20, 0, 24, 4], [3, 3, 3, 8], [0, 0, 20, 10]]
        found = self.data(boxes, pad_to=6)[0][1]
        kept = [[0, 2, 5, 6], [15, 0, 20, 4], [0] * 4, [0] * 4, [0, 0, 20, 10], [0] * 4]
        assert found["boxes"].tolist() == kept
        assert found["kept"].tolist() == [True, True, False, False, True, False]
        for least, expected in ((0.25, True), (0.26, False)):
            assert self.data(boxes, pad_to=6, min_visible=least)[0][1]["kept"][1] == expected
        assert self.data(boxes, pad_to=2)[0][1]["boxes"].tolist() == kept[:2]

    @pytest.mark.parametrize("relative", [False, True])
    @pytest.mark.parametrize("name", ["xyxy", "xywh", "center_xywh"])
    def test_formats_are_those_of_keras(self, name: str, relative: bool) -> None:
        """In the column and in the batch, as `keras.utils.bounding_boxes.convert_format` has them."""
        convert = pytest.importorskip("keras").utils.bounding_boxes.convert_format
        boxes = np.array([[2.0, 1.0, 12.0, 9.0], [5.0, 4.0, 8.0, 6.0]])
        given = np.asarray(convert(boxes, "xyxy", name))
        data = self.data(given.tolist(), pad_to=2, format=name, relative=relative)
        flipped = np.array([[8.0, 1.0, 18.0, 9.0], [12.0, 4.0, 15.0, 6.0]])
        target = f"rel_{name}" if relative else name
        for augment, expected in (([], boxes), ([RandomFlip("photo")], flipped)):
            feed = mf.Feed(data, 1, augment=augment, seed=4)
            draws = range(1) if not augment else [
                draw for draw in range(9) if is_flipped(feed, draw)
            ]  # fmt: skip
            assert len(draws)
            wanted = np.asarray(convert(expected, "xyxy", target, height=10, width=20))
            found = feed.redraw(0, 0, draws[0])[1]["boxes"][0]
            np.testing.assert_allclose(found, wanted, rtol=1e-6)

    def test_clipping_is_that_of_keras(self) -> None:
        """`keras.utils.bounding_boxes.clip_to_image_size` gives the same boxes."""
        clip = pytest.importorskip("keras").utils.bounding_boxes.clip_to_image_size
        corners = np.random.default_rng(0).uniform(-15, 30, (50, 2, 2))
        boxes = np.concatenate([corners.min(1), corners.max(1)], 1).astype(np.float32)
        found = self.data(boxes.tolist(), pad_to=50)[0][1]
        theirs = clip({"boxes": boxes, "labels": np.arange(50)}, height=10, width=20)
        kept = np.asarray(theirs["labels"]) >= 0
        assert found["kept"].tolist() == kept.tolist()
        assert 0 < kept.sum() < 50
        np.testing.assert_allclose(found["boxes"][kept], np.asarray(theirs["boxes"])[kept], rtol=1e-6)

    def test_bad_boxes_are_told(self) -> None:
        """With the sample, the box and the formats there are."""
        for boxes, message in (
            (
                [[1, 1, 4, 4], [9, 9, 3, 3]],
                "'boxes' of sample 'p' cannot be used: it has the box (9, 9, 3, 3), which as 'xyxy' "
                "ends before it begins.\n  Row: 0.\n  Correct the row, or pass the format= that boxes "
                "have: 'xyxy', 'xywh', 'center_xywh'.",
            ),
            (
                [[1, 1, None, 4]],
                "'boxes' of sample 'p' cannot be used: it has the box (1, 1, nan, 4), which is not of "
                "finite numbers.\n  Row: 0.\n  Correct the row.",
            ),
            (
                [[1, 1, 4, 4], [1, 2, 3]],
                "'boxes' of sample 'p' cannot be used: it has an item of 3 numbers where each has 4.\n"
                "  Row: 0.\n  Correct the row.",
            ),
            (
                [1, 1, 4, 4, 5],
                "'boxes' of sample 'p' cannot be used: it has 5 numbers, which make no whole number of "
                "items of 4.\n  Row: 0.\n  Correct the row.",
            ),
        ):
            with pytest.raises(mf.SampleError) as caught:
                self.data(boxes, pad_to=3)[0]
            assert str(caught.value) == message


PICTURES = np.zeros((2, 4, 8), np.uint8)


@pytest.mark.parametrize(
    ("rows", "declare", "message"),
    [
        (
            {"p": [[[1, 2]], []]},
            lambda: mf.Points("p", "photo"),
            "field 't': samples of unequal length cannot share a batch: 'p' holds any number of "
            "points.\n  Pass pad_to=<most points of a sample>: shorter samples are filled with 0, "
            "longer ones cut.",
        ),
        (
            {"p": ["a", "b"]},
            lambda: mf.Boxes("p", "photo", pad_to=2),
            "field 't': boxes are lists of 4 numbers each, arrays of shape (any number, 4), or columns "
            "of one number each; 'p' holds string.\n  Convert the column.",
        ),
        (
            {"p": np.zeros((2, 5, 3))},
            lambda: mf.Points("p", "photo"),
            "field 't': points have 2 numbers each; a sample of 'p' has shape (5, 3).\n"
            "  Store them as (any number, 2), or flat.",
        ),
        (
            {"p": [1, 2], "q": ["a", "b"]},
            lambda: mf.Points(["p", "q"], "photo"),
            "field 't': several columns make the points of a sample if each holds one number; 'q' holds "
            "string.",
        ),
        (
            {"p": [[[1, 2]], None]},
            lambda: mf.Points("p", "photo", pad_to=1),
            "'t' of row 1 cannot be used: it is missing: the column is null.\n  Row: 1.\n"
            "  Fill it in, leave the row out with data.select, or declare the field with "
            'missing="zero".',
        ),
        (
            {"p": [[[1, 2]], []]},
            lambda: mf.Points("p", "foto", pad_to=1),
            "field 't' is a Points of 'foto', which is no field of this dataset.\n"
            "  Did you mean 'photo'?",
        ),
        (
            {"p": [[[1, 2]], []]},
            lambda: mf.Points("p", "age", pad_to=1),
            "field 't': points follow an image, (height, width) or (height, width, channels); 'age' is "
            '(1,) float32.\n  Name the field of their image, as in image="photo".',
        ),
        (
            {"p": [[[1, 2]], []]},
            lambda: mf.Points("p", "copy", pad_to=1),
            "field 't': points follow an image; 'copy' is made from another field.\n"
            "  Name the field that it is made from: image='photo'.",
        ),
        (
            {"p": [[[1, 2]], []]},
            lambda: mf.Points("p", image=cast(Any, 7), pad_to=1),
            "mf.Points takes the name of the field that is their image, image=...; received 7.",
        ),
        (
            {"p": [[[1, 2]], []]},
            lambda: mf.Points("p", "photo", pad_to=2, flip_pairs=[(0, 2)]),
            "field 't': flip_pairs has point 2; a sample has the points 0 to 1.",
        ),
        (
            {"p": [[[1, 2]], []]},
            lambda: mf.Points("p", "photo", flip_pairs=[(0, 1), (1, 2)]),
            "flip_pairs are pairs of numbers of points, from 0 on and each in one pair, e.g. [(0, 1)]; "
            "received [(0, 1), (1, 2)].",
        ),
        (
            {"p": [[[1, 2]], []]},
            lambda: mf.Boxes("p", "photo", pad_to=0),
            "pad_to must be a whole number of at least 1; received 0.",
        ),
        (
            {"p": [[[1, 2]], []]},
            lambda: mf.Boxes("p", "photo", format="yxyx"),
            "format must be one of 'xyxy', 'xywh', 'center_xywh'; received 'yxyx'.",
        ),
        (
            {"p": [[[1, 2]], []]},
            lambda: mf.Boxes("p", "photo", min_visible=30),
            "min_visible is a share from 0 to 1; received 30.",
        ),
        (
            {"p": [[[1, 2]], []]},
            lambda: mf.Boxes("p", "photo", missing=cast(Any, 0)),
            "missing must be one of 'raise', 'zero'; received 0.",
        ),
    ],
)
def test_bad_declarations_are_told(rows: dict[str, Any], declare: Any, message: str) -> None:
    """Each is an error at once, or when the rows are first read."""
    with pytest.raises(mf.MultifeedError) as caught:
        mf.Dataset(
            {"photo": PICTURES, "age": [1, 2], **rows},
            inputs={"photo": mf.Array("photo"), "age": mf.Numeric("age"), "copy": mf.Same("photo")},
            targets={"t": declare()},
        ).plan()
    assert str(caught.value) == message


def test_a_transform_names_the_image_and_not_its_points() -> None:
    """Points follow by themselves; to name them is an error that says so."""
    data = dots_data(IMAGES["base"], [encoded(dotted(DOTS[0]))])
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Feed(data, 1, augment=[RandomFlip(["photo", "dots"])])
    assert str(caught.value) == (
        "Points is made from another field and augmented with it: name 'photo'."
    )


def test_a_sheet_shows_them_over_their_image(tmp_path: Path) -> None:
    """Each in a column of its own, one picture a sample, marked where the points and boxes are."""
    data = mf.Dataset(
        {"photo": [encoded(np.zeros((100, 160, 3), np.uint8))], "dots": [[[40, 25]]],
         "boxes": [[[80, 50, 140, 90]]]},
        inputs={"photo": Image("photo", (50, 80))},
        targets={
            "dots": mf.Points("dots", "photo", pad_to=2),
            "boxes": mf.Boxes("boxes", "photo", pad_to=2, relative=True),
        },
    )  # fmt: skip
    from multifeed.sheet import _drawing, _exhibits

    values = {name: value[None, None] for name, value in data.structure.unpack(data[0]).items()}
    for exhibit in _exhibits(data, values):
        if exhibit.name == "photo":
            continue
        picture = np.asarray(_drawing(exhibit).cell(exhibit.values[0, 0], values["photo"][0, 0]))
        assert picture.shape == (120, 192, 3)
        rows, columns = np.nonzero(picture.max(axis=2) > 100)
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        expected = [48 - 3, 30 - 3, 48 + 3, 30 + 3] if exhibit.name == "dots" else [96, 60, 168, 108]
        assert np.abs(np.subtract(found, expected)).max() <= 1
    mf.show(data, tmp_path / "sheet.png")
