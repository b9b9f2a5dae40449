"""Learned state, to JSON and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import multifeed as mf

ROWS = {"age": [40.0, 60.5, 71.25], "sick": ["no", "yes", "no"], "code": [3, 10, 3]}


def declare(rows: Any = ROWS, **changes: Any) -> mf.Dataset:
    fields: dict[str, Any] = {
        "age": mf.Numeric("age", normalize=True),
        "code": mf.Category("code"),
        "raw": mf.Numeric("age"),
    }
    return mf.Dataset(rows, inputs=fields | changes, targets={"sick": mf.Category("sick")})


def test_what_was_learned_comes_back(tmp_path: Path) -> None:
    """Another dataset that takes the state over yields the same bytes; labels keep their types."""
    data = declare()
    data.adapt()
    data.save_state(tmp_path / "state.json")
    other = declare()
    other.load_state(tmp_path / "state.json")
    for row in range(3):
        np.testing.assert_equal(other[row], data[row])
    assert (other.labels("code"), other.labels("sick")) == ((3, 10), ("no", "yes"))


def test_all_parts_of_a_split_take_it_over(tmp_path: Path) -> None:
    """As `adapt` does; and a part that cannot be read with it is told at once."""
    data = declare()
    data.adapt()
    data.save_state(tmp_path / "state.json")
    train, val = declare().split(2 / 3, 1 / 3)
    val.load_state(tmp_path / "state.json")
    train.plan()
    unseen = declare({**ROWS, "sick": ["no", "yes", "maybe"]})
    with pytest.raises(mf.SampleError, match="'maybe'"):
        unseen.load_state(tmp_path / "state.json")
    with pytest.raises(mf.NotAdaptedError):
        unseen[0]


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    """Nothing else is left in the folder, and the file may be read by others."""
    data = declare()
    data.adapt()
    for _ in range(2):
        data.save_state(tmp_path / "state.json")
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
    assert (tmp_path / "state.json").stat().st_mode & 0o444 == 0o444
    state = json.loads((tmp_path / "state.json").read_text())
    assert state["fields"]["sick"] == {
        "kind": "Category", "columns": ["sick"], "one_hot": False, "oov": False,
        "learned": {"vocabulary": ["no", "yes"]},
    }  # fmt: skip


def test_learning_twice_is_told(tmp_path: Path) -> None:
    """Loading over what was learned needs again=True, as adapting does."""
    data = declare()
    data.adapt()
    data.save_state(tmp_path / "state.json")
    with pytest.raises(mf.StateError) as caught:
        data.load_state(tmp_path / "state.json")
    assert str(caught.value) == (
        "the dataset has been learned from, and all parts of a split share what is learned.\n"
        "  Split anew for each fold, or pass again=True to replace what was learned."
    )
    data.load_state(tmp_path / "state.json", again=True)


def test_there_must_be_something_to_save(tmp_path: Path) -> None:
    """Before `adapt`, that is told; fields that learn nothing make an empty state."""
    with pytest.raises(mf.NotAdaptedError):
        declare().save_state(tmp_path / "state.json")
    plain = mf.Dataset({"x": [1.0]}, inputs=mf.Numeric("x"))
    plain.save_state(tmp_path / "state.json")
    plain.load_state(tmp_path / "state.json")
    assert plain[0][0].tolist() == [1.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the learned state cannot be read from {path}: Expecting property name"),
        ("[]", "{path} holds no learned state of format 1.\n"),
        ('{"format": 2, "fields": {}}', "{path} holds no learned state of format 1.\n"),
        (
            '{"format": 1, "fields": {"ages": {}}}',
            "{path} has nothing that field 'age' has learned.\n  Did you mean 'ages'?",
        ),
        (
            '{"format": 1, "fields": {"age": {"kind": "Category", "columns": ["a"], "learned": {}}}}',
            "field 'age' is declared otherwise than when {path} was saved: then kind='Category', now "
            "'Numeric' and columns=['a'], now ['age'].\n  Declare it as then, or adapt and save anew.",
        ),
        (
            '{"format": 1, "fields": {"age": {"kind": "Numeric", "columns": ["age"], "learned": 3}}}',
            "{path} holds a damaged state of field 'age'.\n",
        ),
        ('{"format": 1, "fields": {"age": []}}', "{path} holds a damaged state of field 'age'.\n"),
        ("[" * 100_000, "the learned state cannot be read from {path}: "),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """The error says which file, which field, and what it was saved as."""
    path = tmp_path / "state.json"
    path.write_text(text)
    with pytest.raises(mf.StateError) as caught:
        declare().load_state(path)
    assert str(caught.value).startswith(message.replace("{path}", str(path)))


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    data = declare()
    data.adapt()
    with pytest.raises(mf.StateError) as caught:
        data.save_state(tmp_path / "none" / "state.json")
    assert str(caught.value) == (
        "the learned state is written to a file in a folder that exists; "
        f"'{tmp_path / 'none' / 'state.json'}' is none.\n"
        "  Make the folder, or correct the path."
    )


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(mf.StateError, match="the file does not exist"):
        declare().load_state(tmp_path / "none.json")


DAMAGES: dict[str, tuple[mf.Dataset, list[Any]]] = {
    "numeric": (
        mf.Dataset({"x": [1.0, 3.0]}, inputs={"f": mf.Numeric("x", normalize=True)}),
        [
            {"mean": [2.0], "deviation": [0]},
            {"mean": [2.0], "deviation": [-1.0]},
            {"mean": [2.0, 2.0], "deviation": [1.0, 1.0]},
            {"mean": ["2"], "deviation": [1.0]},
            {"mean": [2.0]},
            {},
            [],
            None,
        ],
    ),
    "category": (
        mf.Dataset({"x": ["a", "b"]}, inputs={"f": mf.Category("x")}),
        [
            {"vocabulary": ["a", "b", "a"]},
            {"vocabulary": "ab"},
            {"vocabulary": [1, 2]},
            {"vocabulary": []},
            {"vocabulary": [["a"]]},
            {},
        ],
    ),
    "text": (
        mf.Dataset({"x": ["a b", "b"]}, inputs={"f": mf.Text("x", 3)}),
        [{"words": each} for each in (["a", "a"], "a", [], ["[PAD]", "a"], [1], [""])],
    ),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_state_is_refused(tmp_path: Path, kind: str) -> None:
    """Whatever stands where the learned values stood: nothing is read with it."""
    declared, damages = DAMAGES[kind]
    data = declared.select([0, 1])
    data.family = type(data.family)()
    data.adapt()
    data.save_state(tmp_path / "state.json")
    state = json.loads((tmp_path / "state.json").read_text())
    for damage in damages:
        state["fields"]["f"]["learned"] = damage
        (tmp_path / "state.json").write_text(json.dumps(state))
        with pytest.raises(mf.StateError, match="holds a damaged state of field 'f'"):
            data.load_state(tmp_path / "state.json", again=True)


def test_columns_in_another_order_are_another_field(tmp_path: Path) -> None:
    """A pattern takes them in the order of the table; means belong to columns."""
    inputs = {"b": mf.Numeric("b*", normalize=True)}
    data = mf.Dataset({"b1": [0.0, 2.0], "b2": [100.0, 300.0]}, inputs=inputs)
    data.adapt()
    data.save_state(tmp_path / "state.json")
    for rows in ({"b2": [1.0], "b1": [2.0]}, {"b1": [1.0]}, {"b1": [1.0], "b2": [1.0], "b3": [1.0]}):
        with pytest.raises(mf.StateError, match="columns="):
            mf.Dataset(rows, inputs=inputs).load_state(tmp_path / "state.json")


@pytest.mark.parametrize(
    "field",
    [mf.Category("x", oov=True), mf.Category("x", one_hot=True), mf.Category("x", vocabulary=["a"])],
)
def test_options_that_change_what_a_number_means_are_compared(
    tmp_path: Path, field: mf.Category
) -> None:
    """With them, class 1 is another class."""
    data = mf.Dataset({"x": ["a", "b"]}, inputs={"f": mf.Category("x")})
    data.adapt()
    data.save_state(tmp_path / "state.json")
    with pytest.raises(mf.StateError):
        mf.Dataset({"x": ["a"]}, inputs={"f": field}).load_state(tmp_path / "state.json")


def test_a_server_may_declare_less(tmp_path: Path) -> None:
    """It has no targets: what they learned is left in the file."""
    data = declare()
    data.adapt()
    data.save_state(tmp_path / "state.json")
    inputs = {"age": mf.Numeric("age", normalize=True)}
    server = mf.Dataset({"age": [1.0]}, inputs=inputs)
    server.load_state(tmp_path / "state.json")
    np.testing.assert_array_equal(mf.prepare(server, {"age": 40.0})["age"][0], data[0][0]["age"])
