"""baseline_model: an encoder for every field, a head for every kind of target, and it learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from fields_table import EXAMPLES, Example

import multifeed as mf
from multifeed.structure import flat

COUNT = 12


def one_of_each_kind() -> list[Any]:
    """Return an example of each kind of field, and one that a preprocess turns into something else."""
    found: dict[Any, Example] = {}
    for example in EXAMPLES:
        is_changed = getattr(example.field, "preprocess", None) is not None
        found.setdefault((type(example.field), is_changed), example)
    return [pytest.param(example, id=example.name) for example in found.values()]


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="is the same on each backend; PyTorch builds it fastest"
)
@pytest.mark.parametrize("example", one_of_each_kind())
def test_every_field_has_an_encoder(example: Example, tmp_path: Path) -> None:
    """A model of any field fits the dataset."""
    columns = example.columns(tmp_path) | {"kind": [0, 1, 0, 1, 0, 1, 0]}
    target = mf.Category("kind", vocabulary=[0, 1])
    data = example.declare(columns, tmp_path, targets={"kind": target})
    mf.check_model(mf.baseline_model(data), data)


def rows_of() -> dict[str, Any]:
    """Return columns of all shapes, in memory."""
    random = np.random.default_rng(0)
    return {
        "kind": list("abc" * (COUNT // 3)),
        "note": ["no fever", "fever", "pain and fever"] * (COUNT // 3),
        "age": random.normal(50, 9, COUNT),
        "wave": random.normal(size=(COUNT, 1_100)),
        "steps": [list(range(1 + number % 4)) for number in range(COUNT)],
        "photo": random.integers(0, 256, (COUNT, 8, 6, 3), np.uint8),
        "scan": random.normal(size=(COUNT, 4, 3, 2, 1)).astype(np.float16),
        "is_open": random.random((COUNT, 3)) < 0.5,
        "eyes": [[[3.0, 4.0], [5.0, 7.0]], None] * (COUNT // 2),
    }


def every_input() -> dict[str, Any]:
    """Return a field for every encoder."""
    return {
        "kind": mf.Category("kind"),
        "note": mf.Text("note", 4),
        "note_mask": mf.Mask("note"),
        "raw": mf.Numeric("age"),
        "steps": mf.Array("steps", pad_to=3),
        "steps_mask": mf.Mask("steps"),
        "photo": mf.Array("photo"),
        "scan": mf.Array("scan"),
        "is_open": mf.Array("is_open"),
        "eyes": mf.Points("eyes", image="photo", pad_to=2, missing="zero"),
        "has_eyes": mf.Present("eyes"),
    }


def test_every_encoder_is_saved_and_trains(tmp_path: Path) -> None:
    """All in one model, whose tokens attend to each other; what is loaded is the same, and trains."""
    target = mf.Category("kind", vocabulary=["a", "b", "c"])
    data = mf.Dataset(rows_of(), inputs=every_input(), targets={"label": target})
    data.adapt()
    model = mf.baseline_model(data, fusion="attention")
    mf.check_model(model, data)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.to_json() == model.to_json()
    for weight, again in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, again)
    with mf.Loader(data, 6) as loader:
        losses = loaded.fit(loader, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    pairs = zip(model.get_weights(), loaded.get_weights(), strict=True)
    changed = [not np.array_equal(weight, again) for weight, again in pairs]
    # What is added to all keys of an attention alike has no effect.
    assert changed.count(False) <= 1


def test_every_head_trains() -> None:
    """Loss and metric by kind; each number has a loss of about 1 in the sum, whatever its unit."""
    rows = rows_of()
    targets = {
        "kind": mf.Category("kind"),
        "one_hot": mf.Category("kind", one_hot=True),
        "age": mf.Numeric("age"),
        "normalized": mf.Numeric("age", normalize=True),
        "eyes": mf.Points("eyes", image="photo", pad_to=2, missing="zero"),
        "seen": mf.Mask("eyes"),
        "has_eyes": mf.Present("eyes"),
        "photo_again": mf.Same("photo", dtype="float32", scale=1 / 255),
        "pixels": mf.Array("small"),
        "size": mf.Array("number"),
    }
    rows |= {"small": rows["photo"][:, :2, :2], "number": np.arange(COUNT)}
    inputs = {"photo": mf.Array("photo"), "wave": mf.Array("wave")}
    data = mf.Dataset(rows, inputs=inputs, targets=targets)
    data.adapt()
    model = mf.baseline_model(data)
    mf.check_model(model, data)
    assert model.loss == {
        "kind": "sparse_categorical_crossentropy",
        "one_hot": "categorical_crossentropy",
        "seen": "binary_crossentropy",
        "has_eyes": "binary_crossentropy",
    } | dict.fromkeys(["age", "normalized", "eyes", "photo_again", "pixels", "size"], "mse")
    with mf.Loader(data, 6, class_weight={"kind": "balanced"}) as loader:
        told = model.evaluate(loader, return_dict=True, verbose=0)
    assert {"kind_accuracy", "one_hot_accuracy", "age_mae", "seen_binary_accuracy"} <= set(told)
    variance = np.var(rows["age"])
    assert model.get_compile_config()["loss_weights"]["age"] == pytest.approx(1 / variance)
    # It begins near the mean.
    assert told["age_loss"] < 3 * variance


def test_mixed_precision_has_numbers_in_full() -> None:
    """Neither inputs nor targets beyond the 65,504 of 16 bits become infinite."""
    rows = {"income": 1e6 + 1e5 * np.arange(4), "wave": np.ones((4, 6)), "kind": list("abab")}
    data = mf.Dataset(
        rows,
        inputs={"income": mf.Numeric("income"), "wave": mf.Array("wave")},
        targets={"again": mf.Same("income"), "kind": mf.Category("kind")},
    )
    data.adapt()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = mf.baseline_model(data)
    finally:
        keras.config.set_dtype_policy("float32")
    with mf.Loader(data, 2) as loader:
        told = model.evaluate(loader, return_dict=True, verbose=0)
        predicted = model.predict(loader, verbose=0)
    assert np.isfinite(list(told.values())).all()
    assert {name: values.dtype.name for name, values in predicted.items()} == {
        "again": "float32", "kind": "float32",
    }  # fmt: skip


def part(kind: str, fields: dict[str, Any]) -> Any:
    """Return fields in a structure."""
    if kind == "one":
        return next(iter(fields.values()))
    return tuple(fields.values()) if kind == "tuple" else fields


@pytest.mark.parametrize("kind", ["one", "tuple", "dict"])
def test_the_structure_is_that_of_the_dataset(kind: str) -> None:
    """Of inputs and of targets: what is declared together is trained together."""
    rows = {name: np.arange(4.0) for name in "bazy"}
    inputs, targets = ({name: mf.Numeric(name) for name in names} for names in ("ba", "zy"))
    data = mf.Dataset(rows, inputs=part(kind, inputs), targets=part(kind, targets))
    model = mf.baseline_model(data)
    mf.check_model(model, data)
    model.fit(mf.Loader(data, 2), verbose=0)
    assert {tensor.name for tensor in model.inputs} == set(flat(data.structure.inputs))
    assert set(model.output_names) == set(flat(data.structure.targets or ()))


def test_it_learns_from_two_inputs() -> None:
    """In three epochs it tells the class that needs both, and a number in its own unit."""
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    is_bright, is_old = random.integers(0, 2, (2, 320))
    rows = {
        "photo": (
            random.integers(0, 120, (320, 16, 16, 1)) + 100 * is_bright[:, None, None, None]
        ).astype(np.uint8),
        "age": 40 + 30 * is_old + random.normal(0, 3, 320),
        "kind": is_bright + 2 * is_old,
        "income": 50_000 + 20_000 * (is_bright + is_old),
    }
    data = mf.Dataset(
        rows,
        inputs={"photo": mf.Array("photo"), "age": mf.Numeric("age")},
        targets={"kind": mf.Category("kind"), "income": mf.Numeric("income")},
    )
    train, val = data.split(0.8, 0.2, seed=0)
    train.adapt()
    model = mf.baseline_model(train)
    model.fit(mf.Loader(train, 8, shuffle=True), epochs=3, verbose=0)
    told = model.evaluate(mf.Loader(val, 32), return_dict=True, verbose=0)
    assert told["kind_accuracy"] > 0.9
    assert told["income_mae"] < 6_000


def test_pairs_share_one_encoder() -> None:
    """Exchanging the two rows changes no prediction; targets of the rows come along."""
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    people = np.repeat(np.arange(5), 12)
    x = 3 * random.normal(size=(5, 4))[people] + 0.1 * random.normal(size=(60, 4))
    rows = {"x": x, "person": people, "size": x.sum(1)}
    alone = mf.Pairs(mf.Dataset(rows, inputs={"x": mf.Array("x")}), by="person")
    model = mf.baseline_model(alone)
    mf.check_model(model, alone)
    loader = mf.Loader(alone, 6, shuffle=True)
    accuracy = model.fit(loader, epochs=12, verbose=0).history["accuracy"]
    assert accuracy[-1] > 0.85
    inputs = loader.batch(0, 0)[0]
    turned = {"x_a": inputs["x_b"], "x_b": inputs["x_a"]}
    same, again = (keras.ops.convert_to_numpy(model(each)) for each in (inputs, turned))
    np.testing.assert_allclose(same, again, atol=1e-5)

    data = mf.Dataset(rows, inputs=mf.Array("x"), targets=mf.Numeric("size"))
    pairs = mf.Pairs(data, by="person")
    model = mf.baseline_model(pairs, fusion="attention")
    mf.check_model(model, pairs)
    model.fit(mf.Loader(pairs, 30), verbose=0)
    assert list(model.output) == ["same", "size_a", "size_b"]


def test_padding_changes_nothing() -> None:
    """Of a field with its mask, in batches of several lengths; a sample without items is no NaN."""
    rows = {
        "items": [[1.0, 5.0], [2.0, 7.0, 3.0, 8.0, 4.0], [9.0] * 48, None],
        "text": ["a b", "c a b c a", "a " * 48, None],
        "y": [1.0, 2.0, 3.0, 4.0],
    }
    inputs = {
        "items": mf.Array("items", (None,), pad_to=48, missing="zero"),
        "items_mask": mf.Mask("items"),
        "text": mf.Text("text", 48, missing="zero"),
    }
    data = mf.Dataset(rows, inputs=inputs, targets=mf.Numeric("y"))
    data.adapt()
    loader = mf.Loader(data, 1, bucket_by=["items", "text"], buckets=[7, 48])
    model = mf.baseline_model(loader)
    mf.check_model(model, loader)
    whole = model.predict(mf.Loader(data, 4), verbose=0)
    assert np.isfinite(whole).all()
    for step in range(len(loader)):
        batch, _ = loader.batch(0, step)
        told = keras.ops.convert_to_numpy(model(batch))
        np.testing.assert_allclose(told, whole[loader.rows(0, step)], atol=1e-5)
    model.fit(loader, verbose=0)


def refusal(act: Any) -> str:
    """Return what a declaration that cannot be says."""
    with pytest.raises((mf.DeclarationError, mf.NotAdaptedError)) as caught:
        act()
    return str(caught.value)


def test_what_cannot_be_built_is_told() -> None:
    """What is no fusion or dataset, what has no target, learned nothing, or has no encoder or head."""
    rows = {"x": [1.0, 2.0, 3.0, 4.0], "who": list("aabb"), "big": np.zeros((4, 2, 2, 2, 2, 2))}
    x, who = mf.Numeric("x"), mf.Category("who")
    data = mf.Dataset(rows, inputs=x, targets=who)
    assert refusal(lambda: mf.baseline_model(data, fusion="sum")) == (
        "fusion must be one of 'concat', 'attention'; received 'sum'."
    )
    assert refusal(lambda: mf.baseline_model(rows)) == (  # type: ignore[arg-type]
        "mf.baseline_model takes a dataset; received dict."
    )
    assert refusal(lambda: mf.baseline_model(mf.Dataset(rows, inputs=x))) == (
        "mf.baseline_model predicts targets, and this dataset has none.\n"
        "  Declare targets=, or build the model yourself with mf.inputs(data)."
    )
    assert refusal(lambda: mf.baseline_model(mf.Triplets(data, by="who"))) == (
        "mf.baseline_model predicts targets, and Triplets are trained by a loss of distances instead.\n"
        "  Pass mf.Pairs of the same rows, or build the model yourself with mf.inputs(data)."
    )
    assert refusal(lambda: mf.baseline_model(data)) == (
        "'who' has to learn from the training rows before it can be read (it is a Category).\n"
        "  Call train.adapt() on the training part of the split, or data.adapt() if there is none."
    )
    deep = mf.Dataset(rows, inputs=mf.Array("big"), targets=x)
    assert refusal(lambda: mf.baseline_model(deep)) == (
        "mf.baseline_model encodes samples of up to 4 axes; input 'big' yields (2, 2, 2, 2, 2) "
        "float32.\n"
        "  Merge axes with preprocess=, or build the model yourself with mf.inputs(data)."
    )
    text = mf.Dataset(rows, inputs=x, targets={"note": mf.Text("who", 3)})
    text.adapt()
    assert refusal(lambda: mf.baseline_model(text)) == (
        "mf.baseline_model predicts classes, and up to 4,096 numbers; target 'note' (Text) yields (3,) "
        "int32.\n"
        "  Leave the target out, or build the model yourself with mf.inputs(data)."
    )
