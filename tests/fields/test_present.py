"""Whether a value was there: `Present`. That of every other field: conformance/test_fields.py."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

import multifeed as mf

COUNT = 8
ABSENT = {1, 4, 5}
THERE = np.array([[float(row not in ABSENT)] for row in range(COUNT)], np.float32)


def photographs(folder: Path) -> list[str | None]:
    """Write a picture for each row that has one, all of 200, and return the names."""
    names: list[str | None] = []
    for row in range(COUNT):
        path = folder / f"{row}.png"
        PILImage.fromarray(np.full((6, 8, 3), 200, np.uint8)).save(path)
        names.append(None if row in ABSENT else str(path))
    return names


def pictures(folder: Path, **more: Any) -> mf.Dataset:
    """Return pictures, some missing, what says so, and a class for each row."""
    rows = {"photo": photographs(folder), "kind": [row % 2 for row in range(COUNT)], **more}
    return mf.Dataset(
        rows,
        inputs={"photo": mf.Image("photo", (6, 8), missing="zero"), "there": mf.Present("photo")},
        targets={"kind": mf.Category("kind", vocabulary=[0, 1], one_hot=True)},
    )


def test_of_several_columns_each_number_tells_of_one() -> None:
    """Null, NaN and infinite numbers are filled one by one, and told one by one."""
    data = mf.Dataset(
        {"age": [40.0, None, 50.0], "bmi": np.array([np.nan, 20.0, np.inf])},
        inputs={"v": mf.Numeric(["age", "bmi"], missing="zero"), "there": mf.Present("v")},
    )
    (batch,) = mf.Feed(data, 3).batch(0, 0)
    assert data.spec[0]["there"] == mf.Spec((2,), "float32")
    assert batch["there"].tolist() == [[1, 0], [0, 1], [1, 0]]
    assert batch["v"].tolist() == [[40, 0], [0, 20], [50, 0]]


def test_an_array_of_several_columns_is_there_if_all_are() -> None:
    """One null fills the sample as a whole, so there is one number."""
    data = mf.Dataset(
        {"p0": [1, None, 3], "p1": [4, 5, 6]},
        inputs={"p": mf.Array("p*", missing="zero"), "there": mf.Present("p")},
    )
    (batch,) = mf.Feed(data, 3).batch(0, 0)
    assert (batch["p"].any(axis=1) == batch["there"][:, 0]).all()
    assert batch["there"].tolist() == [[1], [0], [1]]


def test_zeros_and_values_that_equal_the_filling_are_there() -> None:
    """It is told from the columns, not from the values."""
    data = mf.Dataset(
        {"x": [[0, 0], None, [7, 7]]},
        inputs={"x": mf.Array("x", (2,), missing=7), "there": mf.Present("x")},
    )
    assert [data[row][0]["there"].tolist() for row in range(3)] == [[1], [0], [1]]


def test_places_are_there_if_they_and_their_image_are(tmp_path: Path) -> None:
    """Points and boxes: null columns, and rows whose image is missing; an empty list is there."""
    points = [[[1, 2]], [[3, 4]], None, [], [[5, 5]], None, [[1, 1]], [[2, 2]]]
    boxes = [None if each is None else [[0, 0, 4, 4]] * len(each) for each in points]
    rows = {"photo": photographs(tmp_path), "points": points, "boxes": boxes}
    places: dict[str, Any] = {"image": "photo", "pad_to": 1, "missing": "zero"}
    data = mf.Dataset(
        rows,
        inputs={"photo": mf.Image("photo", (6, 8), missing="zero"), "of_points": mf.Present("points")},
        targets={
            "points": mf.Points("points", **places),
            "boxes": mf.Boxes("boxes", **places),
            "of_boxes": mf.Present("boxes"),
        },
    )
    expected = [[float(row not in ABSENT and row != 2)] for row in range(COUNT)]
    inputs, targets = mf.Feed(data, COUNT).batch(0, 0)
    assert inputs["of_points"].tolist() == targets["of_boxes"].tolist() == expected
    is_there = targets["boxes"].any(axis=(1, 2))
    # Row 3 has no boxes, and that is known.
    assert is_there.tolist() == [bool(each) and row != 3 for row, (each,) in enumerate(expected)]


@pytest.mark.parametrize("options", [{"workers": 3}, {"processes": 2}])
def test_augmented_images_tell_the_same(tmp_path: Path, options: dict[str, int]) -> None:
    """Geometry, colour and shuffling change no presence, on threads and in processes."""
    augment = [mf.RandomAffine("photo", rotation=20), mf.RandomColor("photo", brightness=0.2)]
    with mf.Feed(pictures(tmp_path), 3, shuffle=True, seed=2, augment=augment, **options) as feed:
        for step, (inputs, _) in enumerate(feed):
            np.testing.assert_array_equal(inputs["there"], THERE[feed.rows(0, step)])
            assert (inputs["photo"].any(axis=(1, 2, 3)) == inputs["there"][:, 0]).all()


@pytest.mark.parametrize("mix", [mf.MixUp, mf.CutMix])
@pytest.mark.parametrize("flips", [False, True])
@pytest.mark.parametrize("processes", [0, 2])
def test_a_mixture_tells_which_share_of_it_was_there(
    tmp_path: Path, mix: Any, flips: bool, processes: int
) -> None:
    """Pictures of 200 and missing ones of 0: the mean pixel over 200 is the presence."""
    augment = [mix(["photo", "kind"], alpha=1.0)]
    if flips:
        augment.insert(0, mf.RandomFlip("photo"))
    data = pictures(tmp_path)
    for each in (data, mf.cache(data, tmp_path / "cache")):
        with mf.Feed(each, 4, shuffle=True, seed=6, augment=augment, processes=processes) as feed:
            shares = []
            for step, (inputs, _) in enumerate(feed):
                mean = inputs["photo"].mean(axis=(1, 2, 3)) / 200
                # Mixtures of uint8 are rounded.
                np.testing.assert_allclose(inputs["there"][:, 0], mean, atol=0.5 / 200 + 1e-6)
                shares += inputs["there"][:, 0].tolist()
                assert inputs["there"].tobytes() == feed.batch(0, step)[0]["there"].tobytes()
    assert any(0 < share < 1 for share in shares)


def test_a_presence_that_is_kept_is_that_of_the_first(tmp_path: Path) -> None:
    """As a target it may be left out of the mixture, by its name."""
    data = mf.Dataset(
        {"photo": photographs(tmp_path)},
        inputs={"photo": mf.Image("photo", (6, 8), missing="zero")},
        targets={"there": mf.Present("photo")},
    )
    for keep, expected in (((), False), ("there", True)):
        feed = mf.Feed(data, COUNT, augment=mf.MixUp("photo", alpha=1.0, keep=keep))
        assert (feed.batch(0, 0)[1]["there"] == THERE).all() == expected


def test_what_is_not_mixed_keeps_its_presence(tmp_path: Path) -> None:
    """Mixing another field leaves it alone."""
    data = mf.Dataset(
        {"x": np.arange(8.0), "v": [1.0, None] * 4},
        inputs={"x": mf.Numeric("x"), "v": mf.Numeric("v", missing="zero"), "there": mf.Present("v")},
    )
    (batch,) = mf.Feed(data, 8, augment=mf.MixUp("x", alpha=1.0)).batch(0, 0)
    assert batch["there"].ravel().tolist() == [1, 0] * 4


def test_a_field_can_be_dropped_at_random_together_with_its_presence(tmp_path: Path) -> None:
    """A function of both drops a modality as if it were missing, by the draw of the slot."""

    def drop(given: dict[str, np.ndarray], rng: np.random.Generator) -> None:
        if rng.random() < 0.5:
            for array in given.values():
                array[...] = 0

    augment = mf.RandomFunction(["photo", "there"], drop)
    data = pictures(tmp_path)
    feed, there = mf.Feed(data, COUNT, augment=augment), []
    for epoch in range(16):
        (inputs, _) = feed.batch(epoch, 0)
        assert (inputs["photo"].any(axis=(1, 2, 3)) == inputs["there"][:, 0]).all()
        there.append(inputs["there"])
    assert (np.max(there, axis=0) == THERE).all()
    assert not np.min(there, axis=0).any()


def test_prepare_tells_what_a_sample_lacks(tmp_path: Path) -> None:
    """For a server: of texts, bytes and numbers that are None, whatever the dataset has."""
    content = Path(str(pictures(tmp_path).rows["photo"][0])).read_bytes()
    data = mf.Dataset(
        {"image": [content, None], "note": ["yes", "no"], "age": [4.0, 5.0]},
        inputs={
            "image": mf.Image("image", 4, missing="zero"),
            "has_image": mf.Present("image"),
            "note": mf.Text("note", 2, missing="zero"),
            "has_note": mf.Present("note"),
            "age": mf.Numeric("age", missing="zero"),
            "has_age": mf.Present("age"),
        },
    )
    data.adapt()
    samples = [
        {"image": content, "note": "yes", "age": 3},
        {"image": None, "note": "yes", "age": None},
        {"image": content, "note": None, "age": float("nan")},
    ]
    expected = {"has_image": [1, 0, 1], "has_note": [1, 1, 0], "has_age": [1, 0, 0]}
    together = mf.prepare(data, samples)
    for name, wanted in expected.items():
        assert together[name].tolist() == [[each] for each in wanted]
        alone = [mf.prepare(data, sample)[name].tolist() for sample in samples]
        assert alone == [[[each]] for each in wanted]


def test_check_and_show_know_it(tmp_path: Path) -> None:
    """A check reports what was filled once, of the field itself; a sheet says it in words."""
    data = pictures(tmp_path)
    table = mf.check(data).findings
    assert set(table["field"].to_pylist()) == {"photo"}
    assert table["kind"].to_pylist().count("filled") == len(ABSENT)
    field = data.fields["there"]
    said = [field.caption(np.array(value, np.float32), None) for value in ([1], [0], [0.25], [1, 0])]
    assert said == ["present", "missing", "25% present", "50% present"]
    assert mf.show(data, tmp_path / "sheet.png")
    assert os.path.getsize(tmp_path / "sheet.png")


def test_a_named_file_that_is_gone_is_no_missing_value(tmp_path: Path) -> None:
    """Whether it is there is told from the table: a deleted file is an error, with `missing=` or not."""
    data = pictures(tmp_path)
    (tmp_path / "2.png").unlink()
    assert data.plan().specs["there"] == mf.Spec((1,), "float32")
    with pytest.raises(mf.SampleError) as caught:
        data[2]
    assert str(caught.value) == (
        "'photo' of row 2 cannot be used: the file does not exist.\n"
        f"  File: {tmp_path}/2.png (row 2).\n"
        "  Replace the file, or leave the row out with data.select."
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"x": mf.Numeric("x"), "there": mf.Present("x")},
            "field 'there': mf.Present says which samples were filled by missing=, and 'x' (Numeric) "
            "fills none.\n  Declare 'x' with missing=, or leave this out: it would always be 1.",
        ),
        (
            {"x": mf.Numeric("x", missing=1), "y": mf.Same("x"), "there": mf.Present("y")},
            "field 'there': mf.Present says which samples were filled by missing=, and 'y' (Same) "
            "fills none.\n  Name a field that has missing=.",
        ),
        (
            {"there": mf.Present("there")},
            "field 'there': mf.Present says which samples were filled by missing=, and 'there' "
            "(Present) fills none.\n  Name a field that has missing=.",
        ),
        (
            {"x": mf.Numeric("x"), "there": mf.Present("xx")},
            "field 'there' is a Present of 'xx', which is no field of this dataset.\n"
            "  Did you mean 'x'?",
        ),
    ],
)
def test_bad_declarations_are_told(fields: dict[str, Any], message: str) -> None:
    """What would always be 1 is an error at once."""
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Dataset({"x": [1.0]}, inputs=fields)
    assert str(caught.value) == message


def test_it_is_mixed_with_its_field_alone() -> None:
    """Naming it in a mix is an error that tells which to name."""
    data = mf.Dataset(
        {"x": [1.0, None]},
        inputs={"x": mf.Numeric("x", missing="zero"), "there": mf.Present("x")},
    )
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Feed(data, 2, augment=mf.MixUp(["x", "there"])).batch(0, 0)
    assert str(caught.value) == "'there' is made from 'x' and mixed with it: name that one in MixUp."
