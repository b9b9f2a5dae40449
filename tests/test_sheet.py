"""show: what is drawn of each kind of value, how large, in which colours, with which words."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest

import multifeed as mf
from multifeed.canvas import BLUE, INK, MAGENTA, MOST_LINES, PALE
from multifeed.fields.array import Array

ROLES = ("input", "target", "weight")
RED, GREEN = (255, 0, 0), (0, 255, 0)
# The colours of the first labels, and both ends of the heat map.
FIRST_LABEL, SECOND_LABEL, DARK, BRIGHT = (38, 38, 46), (230, 159, 0), (68, 1, 84), (253, 231, 37)
CELL = 120  # pixels, the height of a picture


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All lines of words that are drawn, in order."""
    found: list[str] = []
    draw = PIL.ImageDraw.ImageDraw.text

    def text(self: Any, place: Any, words: str, *args: Any, **options: Any) -> None:
        found.append(words)
        draw(self, place, words, *args, **options)

    monkeypatch.setattr(PIL.ImageDraw.ImageDraw, "text", text)
    return found


def last(drawn: list[str]) -> list[str]:
    """Return the words of all columns but the last one's heading, which is drawn after its cells."""
    return drawn[: max(place for place, word in enumerate(drawn) if word in ROLES)]


def dataset(values: Any, field: Any = None) -> mf.Dataset:
    """Return a dataset of one column 'x', with the row numbers as keys."""
    rows = {"id": [f"k{row}" for row in range(len(values))], "x": values}
    data = mf.Dataset(rows, key="id", inputs={"x": mf.Array("x") if field is None else field})
    data.adapt()
    return data


def colours(sheet: PIL.Image.Image) -> np.ndarray:
    return np.asarray(sheet)


def box(sheet: PIL.Image.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Return left, top, width and height of all pixels of a colour."""
    down, across = np.nonzero((colours(sheet) == colour).all(axis=2))
    assert len(down), f"no pixel is {colour}"
    left, top = int(across.min()), int(down.min())
    return left, top, int(across.max()) - left + 1, int(down.max()) - top + 1


def count(sheet: PIL.Image.Image, colour: tuple[int, int, int]) -> int:
    return int((colours(sheet) == colour).all(axis=2).sum())


def plain(shape: tuple[int, ...], *fill: float, dtype: str = "uint8") -> np.ndarray:
    """Return one sample that is the same everywhere."""
    return np.full((1, *shape, len(fill)), fill, dtype)


class TestPictures:
    """Arrays that are drawn as pictures: size and colours of the cell."""

    @pytest.mark.parametrize(
        ("height", "width", "size"),
        [
            (8, 8, (CELL, CELL)),
            (120, 120, (CELL, CELL)),
            (70, 70, (CELL, CELL)),
            (300, 300, (CELL, CELL)),
            (600, 300, (60, CELL)),
            (10, 40, (240, 60)),
            (500, 4000, (240, 30)),
        ],
    )
    def test_all_have_one_height_as_far_as_they_are_not_too_wide(
        self, height: int, width: int, size: tuple[int, int]
    ) -> None:
        """Large ones are reduced and small ones enlarged; the aspect ratio stays."""
        sheet = mf.show(dataset(plain((height, width), *RED)))
        assert box(sheet, RED)[2:] == size

    def test_small_ones_show_their_pixels(self) -> None:
        """Each pixel becomes a square of one colour; none is mixed with its neighbour."""
        image = np.zeros((1, 8, 8, 3), np.uint8)
        image[0, 2, 3] = RED
        image[0, 2, 4] = GREEN
        sheet = mf.show(dataset(image))
        left, top, width, height = box(sheet, RED)
        assert (width, height, count(sheet, RED)) == (15, 15, 15 * 15)
        assert box(sheet, GREEN) == (left + 15, top, 15, 15)

    def test_grey_is_drawn_grey(self) -> None:
        """One channel, with the same level in each colour."""
        sheet = mf.show(dataset(plain((12, 12), 77)))
        assert box(sheet, (77, 77, 77))[2:] == (CELL, CELL)

    def test_alpha_shows_a_checkerboard(self) -> None:
        """What is transparent shows the ground, what is not does not."""
        image = plain((10, 10), *RED, 255)
        image[0, :, 5:, 3] = 0
        sheet = mf.show(dataset(image))
        left, top, width, height = box(sheet, RED)
        assert (width, height) == (CELL // 2, CELL)
        ground = colours(sheet)[top : top + CELL, left + CELL // 2 : left + CELL].reshape(-1, 3)
        assert np.unique(ground, axis=0).tolist() == [[205] * 3, [245] * 3]

    @pytest.mark.parametrize(
        ("low", "high", "told"),
        [
            (0.0, 1.0, "pixels from 0 to 1"),
            (0.2, 0.9, "pixels from 0 to 1"),
            (-0.9, 0.9, "pixels from -1 to 1"),
            (0.0, 200.0, "pixels from 0 to 255"),
            (0.0, 0.01, "pixels from 0 to 0.01"),
            (-3.0, 1500.0, "pixels from -3 to 1500"),
        ],
    )
    def test_floats_are_drawn_over_a_range_that_is_told(
        self, drawn: list[str], low: float, high: float, told: str
    ) -> None:
        """The usual ranges where the values fill them, else from the least to the greatest."""
        image = np.full((1, 8, 8, 1), low, np.float32)
        image[0, :4] = high
        sheet = mf.show(dataset(image))
        assert told in drawn
        least, greatest = (float(word) for word in told.split()[2::2])
        for value in (low, high):
            level = round((value - least) / (greatest - least) * 255)
            assert count(sheet, (level, level, level)) >= CELL * CELL // 2

    def test_one_range_serves_all_samples(self) -> None:
        """A dark sample stays darker than a bright one."""
        images = np.zeros((2, 8, 8, 3), np.float32)
        images[1] = 1.0
        images[0] = 0.2
        images[0, 0, 0] = 0.0
        sheet = mf.show(dataset(images))
        assert count(sheet, (51, 51, 51)) == 63 * 15 * 15

    @pytest.mark.parametrize("channels", [1, 3, 4])
    def test_pixels_without_a_number_are_magenta(self, channels: int) -> None:
        """NaN and infinity cannot be mistaken for black."""
        image = np.zeros((1, 8, 8, channels), np.float32)
        image[0, :2] = 1.0
        image[0, 3, 3, 0] = np.nan
        image[0, 3, 4, 0] = np.inf
        sheet = mf.show(dataset(image))
        assert box(sheet, MAGENTA)[2:] == (30, 15)

    def test_labels_have_a_colour_each(self, drawn: list[str]) -> None:
        """A 2-D array of few integers; the heading names them."""
        maps = np.zeros((1, 10, 10), np.int64)
        maps[0, :, 5:] = 60
        sheet = mf.show(dataset(maps))
        left, _, width, height = box(sheet.crop((0, 100, *sheet.size)), FIRST_LABEL)
        assert (width, height) == (CELL // 2, CELL)
        assert box(sheet.crop((0, 100, *sheet.size)), SECOND_LABEL)[0] == left + CELL // 2
        assert {"0", "60"} <= set(drawn)

    @pytest.mark.parametrize(("labels", "is_map"), [(12, True), (13, False)])
    def test_integers_of_many_values_are_no_labels(
        self, drawn: list[str], labels: int, is_map: bool
    ) -> None:
        """Unless declared as such, they are measured."""
        mf.show(dataset((np.arange(260) % labels).reshape(1, 13, 20)))
        assert (f"{labels} labels, 0 to {labels - 1}" in drawn) == is_map
        assert (str(labels - 1) in drawn) != is_map

    def test_images_of_labels_are_not_mixed(self, drawn: list[str]) -> None:
        """An Image with nearest interpolation is a label map, however many labels it has."""
        labels = np.repeat(np.arange(20, dtype=np.uint8)[:, None] * 10, 400, axis=1).repeat(20, axis=0)
        stream = io.BytesIO()
        PIL.Image.fromarray(labels).save(stream, "PNG")
        field = mf.Image("x", size=400, color_mode="grayscale", interpolation="nearest")
        sheet = mf.show(dataset([stream.getvalue()], field))
        assert "20 labels, 0 to 190" in drawn
        left, top, *_ = box(sheet, FIRST_LABEL)
        cell = colours(sheet)[top : top + CELL, left : left + CELL].reshape(-1, 3)
        assert len(np.unique(cell, axis=0)) == 20

    def test_other_2d_arrays_are_heat_maps(self, drawn: list[str]) -> None:
        """From dark to bright; NaN is magenta; the heading has a scale."""
        values = np.linspace(-2, 6, 100).reshape(1, 10, 10)
        values[0, 5, 5] = np.nan
        sheet = mf.show(dataset(values)).crop((0, 100, 400, 300))
        assert box(sheet, DARK)[2:] == box(sheet, BRIGHT)[2:] == box(sheet, MAGENTA)[2:] == (12, 12)
        assert {"-2", "6"} <= set(drawn)

    def test_thin_arrays_can_be_seen(self) -> None:
        """A 2-D array of 2 x 1,000 is no line of one pixel."""
        values = np.zeros((1, 2, 1000))
        values[0, 1] = 1.0
        assert box(mf.show(dataset(values)).crop((0, 100, 400, 300)), BRIGHT)[2:] == (240, 24)

    def test_a_copy_is_drawn_as_what_it_copies(self) -> None:
        """Same: a photograph once more, as floats."""
        image = mf.Array("x")
        sheet = mf.show(
            mf.Dataset(
                {"x": plain((8, 8), *RED)},
                inputs={"x": image},
                targets={"y": mf.Same("x", dtype="float32", scale=1 / 255)},
            )
        )
        assert count(sheet, RED) == 2 * CELL * CELL


class TestOneAxis:
    """1-D arrays: curves and bars."""

    def test_arrays_are_curves(self, drawn: list[str]) -> None:
        """The range is told; a rising line goes from the lower left to the upper right."""
        sheet = mf.show(dataset(np.linspace(-1, 3, 50)[None])).crop((60, 90, 400, 300))
        assert "from -1 to 3" in drawn
        width, height = box(sheet, BLUE)[2:]
        assert width > 125
        assert height > 55
        down, across = np.nonzero((colours(sheet) == BLUE).all(axis=2))
        assert np.corrcoef(down, across)[0, 1] < -0.99

    def test_a_nan_is_a_gap(self) -> None:
        """Nothing is drawn over it."""
        values = np.zeros((1, 101))
        values[0, :30] = 1.0
        values[0, 40:80] = np.nan
        whole = mf.show(dataset(np.nan_to_num(values)))
        broken = mf.show(dataset(values))
        assert count(broken, BLUE) < count(whole, BLUE)

    def test_long_curves_keep_their_extremes(self) -> None:
        """One spike among 100,000 values can be seen."""
        values = np.zeros((1, 100_000))
        values[0, 50_000] = 1.0
        sheet = mf.show(dataset(values)).crop((60, 90, 400, 300))
        assert box(sheet, BLUE)[3] > 55

    def test_long_curves_take_no_time(self) -> None:
        """Two million numbers are not two million strokes, which take some ten seconds."""
        data = dataset(np.random.default_rng(0).normal(size=(1, 2_000_000)))
        begin = time.process_time()
        mf.show(data)
        assert time.process_time() - begin < 2.0

    def test_masks_are_bars(self, drawn: list[str]) -> None:
        """Dark where it is True, and counted."""
        data = mf.Dataset(
            {"x": [[1] * 5, [2] * 20]},
            inputs={"x": mf.Array("x", pad_to=20), "mask": mf.Mask("x")},
        )
        mf.show(data)
        assert {"5 of 20", "20 of 20"} <= set(drawn)
        marks = np.arange(20)[None] < 5
        sheet = mf.show(dataset(marks)).crop((0, 85, 400, 200))
        assert box(sheet, BLUE)[2:] == (45, 13)

    def test_long_masks_fit(self) -> None:
        """A mask of 5,000 is no wider than others."""
        sheet = mf.show(dataset(np.ones((1, 5_000), bool))).crop((0, 85, 400, 200))
        assert box(sheet, BLUE)[2:] == (180, 13)

    def test_long_masks_show_shares(self) -> None:
        """Where a pixel stands for True and False, its colour lies in between."""
        marks = np.arange(3_600)[None] % 2 == 0
        between = tuple(round((blue + pale) / 2) for blue, pale in zip(BLUE, PALE, strict=True))
        bar = colours(mf.show(dataset(marks)).crop((0, 85, 400, 200))).astype(int)
        assert (abs(bar - between).max(axis=2) <= 1).sum() == 180 * 13


class TestWords:
    """Values that are drawn in words."""

    def test_numbers_are_told_in_their_units_and_as_fed(self, drawn: list[str]) -> None:
        """By column; only once where both are the same."""
        rows = {"age": [40.0, 60.0], "bmi": [20.5, 30.5]}
        data = mf.Dataset(rows, inputs=mf.Numeric(["age", "bmi"], normalize=True))
        data.adapt()
        mf.show(data)
        assert [word for word in drawn if word in ("age", "bmi")] == ["age", "bmi"] * 2
        assert {"40", "60", "20.5", "30.5", "(-1)", "(1)", "own units (as fed)"} <= set(drawn)
        drawn.clear()
        mf.show(mf.Dataset(rows, inputs=mf.Numeric("*")))
        assert {"age", "40", "20.5"} <= set(drawn)
        assert not any("(" in word for word in drawn if word != "(2,) float32")

    def test_a_zero_stays_one(self, drawn: list[str]) -> None:
        """What float32 leaves of it when the mean is taken off and added is not shown."""
        data = dataset([0.0, 1.1, 2.3, 7.7], mf.Numeric("x", normalize=True))
        mf.show(data)
        assert "0" in drawn
        assert not any("e-" in word for word in drawn)

    def test_of_many_numbers_the_first_are_told(self, drawn: list[str]) -> None:
        """And how many there are besides."""
        rows = {f"n{number:02}": [1.0] for number in range(30)}
        mf.show(mf.Dataset(rows, inputs=mf.Numeric("n*")))
        assert f"… {30 - MOST_LINES + 1} more" in drawn
        assert f"n{MOST_LINES - 2:02}" in drawn
        assert f"n{MOST_LINES - 1:02}" not in drawn

    @pytest.mark.parametrize("one_hot", [False, True])
    def test_classes_have_their_label_and_number(self, drawn: list[str], one_hot: bool) -> None:
        """One-hot likewise; what the vocabulary lacks is said to be so."""
        mf.show(dataset(["cat", "dog"], mf.Category("x", one_hot=one_hot)))
        assert last(drawn)[-4:] == ["cat", "class 0", "dog", "class 1"]
        field = mf.Category("x", vocabulary=["dog"], oov=True, one_hot=one_hot)
        mf.show(dataset(["cat", "dog"], field))
        assert last(drawn)[-4:] == ["out of vocabulary", "class 0", "dog", "class 1"]

    def test_mixtures_of_classes_have_their_shares(self, drawn: list[str]) -> None:
        """The largest first, as after MixUp; no class at all is said to be so."""
        data = dataset(["cat", "dog", "fox"], mf.Category("x", one_hot=True))
        feed = Stub(data, ({"x": np.array([[0.25, 0.0, 0.75], [0, 0, 0], [0, 0, 0]], np.float32)},))
        mf.show(feed)
        assert last(drawn)[-6:] == [
            "0.75  fox",
            "class 2",
            "0.25  cat",
            "class 0",
            "no class",
            "no class",
        ]

    def test_texts_are_the_words_that_the_model_sees(self, drawn: list[str]) -> None:
        """Unknown words as such, padding left out, wrapped and cut with a mark."""
        field = mf.Text("x", length=300, vocabulary_size=5)
        mf.show(dataset(["a b a", "a b c d a b", "", "a b " * 140], field))
        said = last(drawn)[drawn.index("a b a") :]
        assert said[1:3] == ["a b c [UNK] a b", "no words"]
        assert len(said[3:]) == MOST_LINES
        assert said[-1].endswith("…")

    def test_a_field_says_what_its_values_are(self, drawn: list[str]) -> None:
        """A new kind of field needs one method, `caption`, and nothing here."""

        class Degrees(Array):
            def caption(self, value: np.ndarray, learned: Any) -> str | None:
                return f"{value[0]} degrees" if value[0] >= 0 else None

        mf.show(dataset(np.array([[20, 0], [30, 0]]), Degrees("x")))
        assert last(drawn)[-2:] == ["20 degrees", "30 degrees"]
        mf.show(dataset(np.array([[20, 0], [-3, 0]]), Degrees("x")))
        assert "from -3 to 20" in drawn

    def test_ids_that_are_none_any_more_are_drawn_as_numbers(self, drawn: list[str]) -> None:
        """A text after preprocess= is an array as any other."""
        mf.show(dataset(["a b a"], mf.Text("x", length=4, preprocess=lambda ids: ids / 2)))
        assert "from 0 to 1.5" in drawn

    def test_anything_else_is_summed_up(self, drawn: list[str]) -> None:
        """Least, mean and greatest, and how many are no number; shape and dtype in the heading."""
        volume = np.zeros((1, 2, 3, 5), np.float32)
        volume[0, 0, 0, :3] = 12.0, np.nan, np.inf
        mf.show(dataset(volume))
        assert "(2, 3, 5) float32" in drawn
        found = last(drawn)[drawn.index("min") :]
        assert found == ["min", "mean", "max", "no number", "0", "0.4286", "12", "2"]

    def test_single_numbers_and_weights_are_told(self, drawn: list[str]) -> None:
        """Integers in full; weights under their target's name; empty arrays too."""
        data = mf.Dataset(
            {"x": [1234567890], "y": np.zeros((1, 0)), "w": [0.5]},
            inputs=mf.Array("x"),
            targets={"y": mf.Array("y")},
            sample_weight="w",
        )
        mf.show(data)
        assert {"1234567890", "no values", "weight", "0.5"} <= set(drawn)
        assert drawn.count("y") == 2

    @pytest.mark.parametrize(
        ("value", "told"),
        [(2019.0, "2019"), (0.123456, "0.1235"), (12345.6, "12345.6"), (1e-9, "1e-09"), (3e12, "3e+12")],
    )
    def test_numbers_are_short(self, drawn: list[str], value: float, told: str) -> None:
        """Four digits, or six where a year would be rounded."""
        mf.show(dataset(np.array([value])))
        assert last(drawn)[-1] == told

    def test_booleans_are_told(self, drawn: list[str]) -> None:
        """True is no 1."""
        mf.show(dataset(np.array([True, False])))
        assert last(drawn)[-2:] == ["True", "False"]


class Stub(mf.Feed):
    """A feed whose batch is a given one, or a function of the draw."""

    def __init__(self, data: mf.Dataset, given: Any) -> None:
        super().__init__(data, len(data))
        self.given = given

    def redraw(self, epoch: int, step: int, draw: int, *, count: int | None = None) -> Any:
        return self.given(draw) if callable(self.given) else self.given


class TestSamples:
    """Which samples are shown, and what they are called."""

    def test_a_feed_shows_its_batch(self, drawn: list[str]) -> None:
        """The samples of (epoch, step) in the batch's order, as many as asked for."""
        data = dataset(np.arange(30))
        feed = mf.Feed(data, 5, shuffle=True, seed=1)
        mf.show(feed, samples=3, epoch=2, step=4)
        keys = [word for word in drawn if word.startswith("k") and word != "key"]
        assert keys == feed.keys(2, 4)[:3]
        assert last(drawn)[-3:] == [str(row) for row in feed.rows(2, 4)[:3]]
        assert "epoch 2, step 4" in drawn

    def test_small_batches_are_joined(self, drawn: list[str]) -> None:
        """Up to the samples asked for, or to the end of the epoch."""
        feed = mf.Feed(dataset(np.arange(7)), 2)
        mf.show(feed, samples=3)
        assert last(drawn)[-3:] == ["0", "1", "2"]
        mf.show(feed, step=2)
        assert last(drawn)[-3:] == ["4", "5", "6"]

    def test_a_dataset_shows_its_first_rows(self, drawn: list[str]) -> None:
        """Without a key, by row number."""
        mf.show(mf.Dataset({"x": np.arange(30)}, inputs=mf.Array("x")))
        assert last(drawn)[-8:] == [str(row) for row in range(8)]
        assert {"row", "first rows"} <= set(drawn)

    def test_a_loader_is_shown_by_its_feed(self, drawn: list[str]) -> None:
        """Anything with a `feed`: this room knows no Keras."""

        class Loader:
            feed = mf.Feed(dataset(np.arange(3)), 3)

        mf.show(Loader())
        assert last(drawn)[-3:] == ["0", "1", "2"]

    def test_rows_that_pad_a_batch_are_left_out(self, drawn: list[str]) -> None:
        """They have no key."""
        mf.show(mf.Feed(dataset(np.arange(5) + 70), 4, remainder="pad"), step=1)
        assert drawn.count("74") == 1

    def test_weights_of_classes_are_shown(self, drawn: list[str]) -> None:
        """Although the dataset has none."""
        data = mf.Dataset(
            {"x": [1.0, 2.0], "y": ["a", "b"]},
            inputs=mf.Numeric("x"),
            targets={"y": mf.Category("y", vocabulary=["a", "b"])},
        )
        mf.show(mf.Feed(data, 2, class_weight={"y": {"a": 7.5}}))
        assert last(drawn)[-2:] == ["7.5", "1"]
        assert "weight" in drawn

    def test_structures_are_unpacked(self, drawn: list[str]) -> None:
        """One field, a tuple and a dict, each with its name, role and spec."""
        x, y = mf.Array("x"), mf.Array("y")
        rows = {"x": [1, 2], "y": [3, 4]}
        mf.show(mf.Dataset(rows, inputs=(x, y), targets={"z": y}))
        heads = [word for word in drawn if word in ("input", "target", "x", "y", "z")]
        assert heads == ["input", "x", "input", "y", "target", "z"]
        assert drawn.count("() int32") == 3
        for targets in (y, (y, x)):
            drawn.clear()
            mf.show(mf.Dataset(rows, inputs=x, targets=targets, sample_weight="x"))
            assert drawn.count("weight") == drawn.count("target") == len(np.atleast_1d(targets))


class TestKeys:
    """Keys as captions, in whatever writing."""

    def test_keys_are_drawn_as_they_are(self, drawn: list[str]) -> None:
        """What cannot be seen or is in no font is escaped, so that no two keys look alike."""
        keys = ["p0412", "a\nb", "a b", "tab\there", "\U00101234", "\U00013000"]
        mf.show(mf.Dataset({"id": keys, "x": range(6)}, key="id", inputs=mf.Array("x")))
        assert [word for word in drawn if word in ("p0412", "a\\nb", "a b", "tab\\there")] == [
            "p0412", "a\\nb", "a b", "tab\\there",
        ]  # fmt: skip
        # Of no use to anybody, and a hieroglyph.
        assert {"\\U00101234", "\\U00013000"} <= set(drawn)

    @pytest.mark.parametrize("key", ["Schädel", "Кот", "患者", "é" * 3])
    def test_other_writing_is_drawn_or_escaped(self, drawn: list[str], key: str) -> None:
        """As letters where a font has them, else by code; never as boxes that are all alike."""
        mf.show(mf.Dataset({"id": [key], "x": [1]}, key="id", inputs=mf.Array("x")))
        assert key in drawn or ascii(key)[1:-1] in "".join(drawn)

    def test_long_keys_are_wrapped_and_cut(self, drawn: list[str]) -> None:
        """Within words if need be; the mark says that there is more."""
        key = "scans/2024/" + "w" * 400
        sheet = mf.show(mf.Dataset({"id": [key], "x": [1]}, key="id", inputs=mf.Array("x")))
        written = drawn[: next(place for place, word in enumerate(drawn) if word.endswith("…")) + 1]
        assert len(written) == 4
        assert key.startswith("".join(written).removesuffix("…"))
        assert sheet.width < 400


class TestDraws:
    """draws: the same samples under several draws."""

    @pytest.fixture
    def feed(self) -> Any:
        """A feed whose pictures are brighter with each draw, and nothing else differs."""
        data = mf.Dataset(
            {"x": plain((8, 8), 10, 10, 10), "n": [5]},
            inputs={"x": mf.Array("x"), "n": mf.Array("n")},
        )

        class Redrawn(mf.Feed):
            def redraw(self, epoch: int, step: int, draw: int, *, count: int | None = None) -> Any:
                (batch,) = super().redraw(epoch, step, draw, count=count)
                return ({**batch, "x": batch["x"] + np.uint8(50 * draw)},)

        return Redrawn(data, 1)

    def test_pictures_stand_side_by_side(self, feed: Any, drawn: list[str]) -> None:
        """Draw 0 is the batch; what is the same in each is drawn once."""
        sheet = mf.show(feed, draws=3)
        boxes = [box(sheet, (level,) * 3) for level in (10, 60, 110)]
        assert [each[2:] for each in boxes] == [(CELL, CELL)] * 3
        assert len({top for _, top, *_ in boxes}) == 1
        assert boxes[0][0] < boxes[1][0] < boxes[2][0]
        groups = [word for word in drawn if "draw" in word]
        assert groups == ["draw 0", "draw 1", "draw 2", "the same in every draw"]
        assert drawn.count("n") == 1

    def test_whatever_differs_is_repeated(self, drawn: list[str]) -> None:
        """A number with noise stands under each draw."""
        stub = Stub(dataset(np.arange(2)), lambda draw: ({"x": np.array([1, 2 + draw])},))
        mf.show(stub, draws=2)
        assert [word for word in drawn if word.isdigit()] == ["1", "2", "1", "3"]

    def test_without_augmentation_all_draws_are_the_batch(self) -> None:
        """Four times the same."""
        images = np.concatenate([plain((8, 8), *RED), plain((8, 8), *GREEN)])
        sheet = mf.show(dataset(images), draws=4)
        assert count(sheet, RED) == count(sheet, GREEN) == 4 * CELL * CELL

    def test_one_draw_has_no_groups(self, feed: Any, drawn: list[str]) -> None:
        """Nothing speaks of draws where there is one."""
        mf.show(feed)
        assert not any("draw" in word for word in drawn)


class TestFiles:
    """path: the sheet as PNG."""

    def test_the_sheet_is_written(self, tmp_path: Path) -> None:
        """The same image as is returned."""
        for path in (tmp_path / "a.png", str(tmp_path / "b.PNG")):
            sheet = mf.show(dataset(plain((8, 8), *RED)), path)
            with PIL.Image.open(path) as written:
                assert written.format == "PNG"
                np.testing.assert_array_equal(np.asarray(written), np.asarray(sheet))

    def test_notebooks_can_show_it(self) -> None:
        """It is an RGB image of Pillow's, which has what Jupyter asks for."""
        sheet = mf.show(dataset(np.arange(3)))
        assert isinstance(sheet, PIL.Image.Image)
        assert sheet.mode == "RGB"
        assert count(sheet, INK)

    def test_the_same_samples_give_the_same_sheet(self) -> None:
        """Nothing in it is random."""
        data = dataset(np.arange(12.0).reshape(3, 4))
        assert mf.show(data).tobytes() == mf.show(data).tobytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples must be a whole number of at least 1; received 0."),
        ({"samples": 2.5}, "samples must be a whole number of at least 1; received 2.5."),
        ({"draws": 0}, "draws must be a whole number of at least 1; received 0."),
        ({"draws": True}, "draws must be a whole number of at least 1; received True."),
        ({"epoch": -1}, "epoch must be a whole number of at least 0; received -1."),
        (
            {"path": "sheet.jpg"},
            "a sheet is written as PNG, to a name with .png; received 'sheet.jpg'.",
        ),
        (
            {"path": "no/such/folder/sheet.png"},
            "a sheet is written to a folder that exists; 'no/such/folder' does not.",
        ),
        ({"loader": 3}, "mf.show draws a Loader, a Feed or a Dataset; received 3."),
    ],
)
def test_bad_arguments_are_told(options: dict[str, Any], message: str) -> None:
    """Before anything is read, with what came."""
    with pytest.raises(mf.DeclarationError) as caught:
        mf.show(**{"loader": mf.Feed(dataset(np.arange(3)), 2), **options})
    assert str(caught.value) == message


def test_a_step_that_does_not_exist_is_told() -> None:
    """As by the feed."""
    with pytest.raises(IndexError, match="^step 7 of an epoch of 2 steps$"):
        mf.show(mf.Feed(dataset(np.arange(3)), 2), step=7)


def test_a_sheet_takes_well_under_a_second(photos: Path) -> None:
    """8 samples of 5 fields, reading included."""
    numbers = [f"{number:02}" for number in range(8)]
    rows = {
        "left": [f"{photos}/left/p{number}.jpg" for number in numbers],
        "right": [f"{photos}/right/p{number}.jpg" for number in numbers],
        "wave": np.random.default_rng(0).normal(size=(8, 20_000)),
        "age": np.arange(8.0),
        "kind": list("abcdefgh"),
    }
    data = mf.Dataset(
        rows,
        inputs=(
            mf.Image("left", size=(300, 400)),
            mf.Image("right", size=(224, 224), dtype="float32", scale=1 / 255),
            mf.Array("wave"),
            mf.Numeric("age"),
        ),
        targets=mf.Category("kind", vocabulary=list("abcdefgh")),
    )
    mf.show(data)
    begin = time.process_time()
    mf.show(data)
    # It takes 0.15 s, whatever else the machine is about.
    assert time.process_time() - begin < 1.0
