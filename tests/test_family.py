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
        "kind": "Category", "reads": ["sick"], "learned": {"vocabulary": ["no", "yes"]},
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
            '{"format": 1, "fields": {"age": {"kind": "Category", "reads": ["age"], "learned": {}}}}',
            "field 'age' is declared otherwise than when {path} was saved: then Category of ['age'], "
            "now Numeric of ['age'].\n  Declare it as then, or adapt and save anew.",
        ),
        (
            '{"format": 1, "fields": {"age": {"kind": "Numeric", "reads": ["age"], "learned": 3}}}',
            "{path} holds a damaged state of field 'age'.\n",
        ),
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
        f"the learned state is written to a folder that exists; '{tmp_path / 'none'}' does not.\n"
        "  Make the folder, or correct the path."
    )


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(mf.StateError, match="No such file"):
        declare().load_state(tmp_path / "none.json")
