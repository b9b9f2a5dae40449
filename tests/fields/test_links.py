"""Fields that are made from other fields: `Same` and `Mask`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

import multifeed as mf

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 4, 5, 3), np.uint8)
LISTS = [[7, 8, 9], [4], [], [1, 2], [5, 6]]


def photographs(folder: Path) -> list[str]:
    """Write nine pictures and return their names."""
    names = []
    for number, pixels in enumerate(PIXELS):
        names.append(str(folder / f"{number}.png"))
        PILImage.fromarray(pixels).save(names[-1])
    return names


class TestSame:
    def test_a_copy_has_the_values_of_its_field_with_dtype_and_scale(self, tmp_path: Path) -> None:
        """From files, in order and shuffled, on threads: target = input x scale, row by row."""
        data = mf.Dataset(
            {"photo": photographs(tmp_path)},
            inputs=mf.Image("photo", size=(4, 5)),
            targets=mf.Same("photo", dtype="float32", scale=1 / 255),
        )
        assert data.spec == (mf.Spec((4, 5, 3), "uint8"), mf.Spec((4, 5, 3), "float32"))
        with mf.Feed(data, batch_size=4, shuffle=True, seed=3, workers=3) as feed:
            for step, (photo, target) in enumerate(feed):
                assert (photo == PIXELS[feed.rows(0, step)]).all()
                assert target.dtype == np.float32
                np.testing.assert_array_equal(target, photo * np.float32(1 / 255))

    def test_a_file_is_decoded_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """However many copies there are of a field, its file is read once."""
        from multifeed.folder import Folder

        reads: list[str] = []
        original = Folder.read
        monkeypatch.setattr(
            Folder, "read", lambda self, name: reads.append(name) or original(self, name)
        )
        data = mf.Dataset(
            {"photo": photographs(tmp_path)},
            inputs={"photo": mf.Image("photo", size=4)},
            targets={"a": mf.Same("photo", dtype="float32"), "b": mf.Same("photo", dtype="int16")},
        )
        data[2]
        assert len(reads) == 1

    def test_it_stands_wherever_it_is_declared(self) -> None:
        """An input may be a copy of a target, declared before or after it; names count on."""
        data = mf.Dataset(
            {"x": [1.0, 3.0]},
            inputs=(mf.Same("y"), mf.Same("y", dtype="int16")),
            targets={"y": mf.Numeric("x")},
        )
        (first, second), target = data[1]
        assert (first.tolist(), second.tolist(), target["y"].tolist()) == ([3.0], [3], [3.0])
        assert second.dtype == np.int16

    def test_what_a_field_has_learned_holds_for_its_copy(self) -> None:
        """A copy of normalised numbers is normalised, and restored as they are."""
        data = mf.Dataset(
            {"x": [1.0, 3.0]},
            inputs={"x": mf.Numeric("x", normalize=True)},
            targets={"copy": mf.Same("x", scale=10.0)},
        )
        with pytest.raises(mf.NotAdaptedError):
            data[0]
        data.adapt()
        assert data[0][1]["copy"].tolist() == [-10.0]
        assert data.restore("copy", np.array([[-10.0], [10.0]])).tolist() == [[1.0], [3.0]]

    def test_uint8_targets_are_warned_about(self) -> None:
        """A loss on pixels from 0 to 255 is seldom meant; a float copy is silent."""
        rows = {"photo": PIXELS}
        with pytest.warns(mf.MultifeedWarning) as caught:
            mf.Dataset(rows, inputs={"a": mf.Array("photo")}, targets=mf.Same("a"))
        assert str(caught[0].message) == (
            "the target 'a_same' is 'a' as (4, 5, 3) uint8: its loss is on integers up to 255.\n"
            "  Pass mf.Same('a', dtype=\"float32\", scale=1/255), and end the model in a sigmoid."
        )
        mf.Dataset(rows, inputs={"a": mf.Array("photo")}, targets=mf.Same("a", dtype="float32"))
        mf.Dataset(rows, inputs={"a": mf.Array("photo"), "b": mf.Same("a")})

    def test_a_value_that_the_dtype_cannot_hold_is_an_error(self) -> None:
        """The error names the copy, the sample and the value."""
        data = mf.Dataset(
            {"id": ["p", "q"], "x": [1.0, 300.0]},
            key="id",
            inputs={"x": mf.Numeric("x")},
            targets={"copy": mf.Same("x", dtype="uint8", before="noise")},
        )
        with pytest.raises(mf.SampleError) as caught:
            data.plan().fill(np.array([0, 1]), {
                "x": np.empty((2, 1), np.float32), "copy": np.empty((2, 1), np.uint8)
            })  # fmt: skip
        assert str(caught.value) == (
            "'copy' of sample 'q' cannot be used: it holds 300.0, which uint8 cannot hold.\n"
            "  Row: 1.\n"
            "  Pass mf.Same('x', dtype=...) a dtype that holds it."
        )

    @pytest.mark.parametrize(
        ("declare", "message"),
        [
            (
                lambda: mf.Same("y"),
                "field 'copy' is a Same of 'y', which is no field of this dataset.\n  There are: 'x'.",
            ),
            (
                lambda: mf.Same("copy"),
                "field 'copy': mf.Same('copy') is made from a field that reads columns; 'copy' is a "
                "Same itself.\n  Name the field that reads the columns.",
            ),
            (
                lambda: mf.Same("x", dtype="int16", scale=0.5),
                "scale=0.5 needs a float dtype; dtype is 'int16'.\n"
                '  Pass dtype="float32", or better: rescale in the model with keras.layers.Rescaling, '
                "where it costs nothing.",
            ),
            (lambda: mf.Same(3), "mf.Same takes the name of another field of the dataset; received 3."),
            (
                lambda: mf.Same("x", dtype="text"),
                "dtype must be a NumPy number's name; received 'text'.",
            ),
            (
                lambda: mf.Same("x", before=("color", "geometry")),
                "before= names kinds of augmentation, 'color', 'noise' and 'mix'; received 'geometry'.\n"
                "  Geometry is always shared: a copy with another one is a field of its own.",
            ),
        ],
    )
    def test_bad_declarations_are_told(self, declare: Any, message: str) -> None:
        """Each is an error at once."""
        with pytest.raises(mf.DeclarationError) as caught:
            mf.Dataset({"x": [1.0]}, inputs={"x": mf.Numeric("x")}, targets={"copy": declare()})
        assert str(caught.value) == message


class TestMask:
    @pytest.mark.parametrize("padding", ["post", "pre"])
    @pytest.mark.parametrize("truncating", ["post", "pre"])
    def test_it_is_true_where_the_items_are(self, padding: str, truncating: str) -> None:
        """Lists shorter than, as long as, and longer than the length, at either end."""
        field = mf.Array("steps", pad_to=2, padding=padding, truncating=truncating)
        data = mf.Dataset({"steps": LISTS}, inputs={"steps": field, "mask": mf.Mask("steps")})
        (batch,) = mf.Feed(data, batch_size=5).batch(0, 0)
        assert data.spec[0]["mask"] == mf.Spec((2,), "bool")
        # No item of these lists is 0.
        assert (batch["mask"] == (batch["steps"] != 0)).all()

    def test_a_value_of_zero_is_no_padding(self) -> None:
        """The mask comes from lengths, not from values."""
        data = mf.Dataset(
            {"steps": [[0, 0], [0]]}, inputs={"s": mf.Array("steps", pad_to=3), "m": mf.Mask("s")}
        )
        assert [data[row][0]["m"].tolist() for row in (0, 1)] == [
            [True, True, False],
            [True, False, False],
        ]

    def test_files_of_any_length_have_masks(self, tmp_path: Path) -> None:
        """Ragged .npy files, read on threads."""
        names = []
        for number in range(1, 6):
            names.append(str(tmp_path / f"{number}.npy"))
            np.save(names[-1], np.zeros((number, 2), np.float32))
        field = mf.Array("file", shape=(None, 2), pad_to=3)
        data = mf.Dataset({"file": names}, inputs={"x": field, "m": mf.Mask("x")})
        with mf.Feed(data, batch_size=2, workers=2) as feed:
            sums = np.concatenate([batch[0]["m"].sum(1) for batch in feed])
        assert sums.tolist() == [1, 2, 3, 3, 3]

    def test_a_missing_sample_has_no_item(self) -> None:
        """Filled with zeros or with a value, in lists and through preprocess."""
        rows = {"steps": [[1, 2], None]}
        for preprocess in (None, lambda steps: steps + 1):
            field = mf.Array("steps", pad_to=2, missing=9, preprocess=preprocess)
            data = mf.Dataset(rows, inputs={"s": field, "m": mf.Mask("s")})
            assert data[0][0]["m"].tolist() == [True, True]
            assert data[1][0]["m"].tolist() == [False, False]
            assert data[1][0]["s"].tolist() == [9, 9]

    def test_arrays_of_one_length_are_padded_and_cut_alike(self) -> None:
        """An N-D array is all items; the rest is padding."""
        data = mf.Dataset(
            {"x": np.ones((4, 2))},
            inputs={"x": mf.Array("x", pad_to=3, padding="pre"), "m": mf.Mask("x")},
        )
        assert data[0][0]["m"].tolist() == [False, True, True]

    def test_it_has_a_name_of_its_own(self) -> None:
        """In a tuple it is called after its field."""
        data = mf.Dataset({"x": LISTS}, inputs=(mf.Array("x", pad_to=2), mf.Mask("x")))
        assert data.structure.inputs == ("x", "x_mask")

    @pytest.mark.parametrize(
        ("field", "message"),
        [
            (
                mf.Array("x", (2,)),
                "field 'm': a mask says what is padding, and 'x' (Array) does not pad.\n"
                "  Name a Text, an Array with pad_to=<length>, Points or Boxes.",
            ),
            (
                mf.Array("x", pad_to=2, preprocess=lambda steps: steps.sum(keepdims=True)),
                "field 'm': a mask has one value for each item of 'x', which pads to 2 items and then "
                "becomes (1,) int32 by preprocess.\n"
                "  Leave the first axis as it is in preprocess, or leave the mask out.",
            ),
        ],
    )
    def test_bad_declarations_are_told(self, field: Any, message: str) -> None:
        """A mask needs a field that pads, and that keeps its items where they are."""
        with pytest.raises(mf.DeclarationError) as caught:
            mf.Dataset({"x": LISTS}, inputs={"x": field, "m": mf.Mask("x")})
        assert str(caught.value) == message
