"""Grain: a dataset as a random access source of its pipelines, and such a source as a dataset."""

from __future__ import annotations

import pickle
from typing import Any

import cloudpickle
import grain
import numpy as np
import pytest

import multifeed as mf


def declared(count: int = 10) -> mf.Dataset:
    """Return a dataset of numbers, a function and classes, which has learned."""
    data = mf.Dataset(
        {"x": np.arange(count), "kind": ["a", "b"] * (count // 2)},
        inputs={"x": mf.Numeric("x", normalize=True), "square": mf.Function("x", lambda x: [x * x])},
        targets=mf.Category("kind"),
    )
    data.adapt()
    return data


def test_a_dataset_is_a_random_access_source() -> None:
    """Its elements are the dataset's samples, in the protocol that Grain asks for."""
    data = declared()
    source = mf.to_grain(data)
    assert isinstance(source, grain.sources.RandomAccessDataSource)
    assert len(source) == 10
    for row in (0, 7, np.int64(9)):
        inputs, target = source[row]
        expected, kind = data[row]
        assert {name: values.tolist() for name, values in inputs.items()} == {
            name: values.tolist() for name, values in expected.items()
        }
        assert target == kind
    with pytest.raises(IndexError, match="^sample 10 of a source of 10$"):
        source[10]


def test_a_pipeline_has_the_batches_of_a_feed() -> None:
    """In the same order, the same bytes in the same structure; shuffled, each sample once."""
    data = declared()
    pipeline = grain.MapDataset.source(mf.to_grain(data)).batch(4)
    for (inputs, target), (expected, kinds) in zip(pipeline, mf.Feed(data, 4), strict=True):
        assert inputs.keys() == expected.keys()
        for name, values in inputs.items():
            assert values.dtype == expected[name].dtype
            assert values.tobytes() == np.ascontiguousarray(expected[name]).tobytes()
        assert target.tolist() == kinds.tolist()
    shuffled = grain.MapDataset.source(mf.to_grain(data)).shuffle(seed=3)
    squares = [int(inputs["square"][0]) for inputs, _ in shuffled]
    assert squares != sorted(squares)
    assert sorted(squares) == [number**2 for number in range(10)]


def test_a_source_can_be_handed_to_workers() -> None:
    """Pickled, as Grain hands it to its processes, it has the same samples and the same name."""
    source = mf.to_grain(declared())
    again = cloudpickle.loads(cloudpickle.dumps(source))
    assert again[3][0]["square"].tolist() == source[3][0]["square"].tolist() == [9.0]
    # By it Grain knows its source where it goes on from a checkpoint.
    assert repr(again) == repr(source)
    assert repr(source).startswith("GrainSource of Dataset of 10 samples\n")
    # Without functions of the user's own, plain pickle does.
    plain = mf.to_grain(mf.Dataset({"x": [1.0, 2.0]}, inputs=mf.Numeric("x")))
    assert pickle.loads(pickle.dumps(plain))[1][0].tolist() == [2.0]


def test_grain_goes_on_from_its_own_state() -> None:
    """The position of a pipeline over a dataset can be saved and restored by Grain."""
    pipeline = (
        grain.MapDataset.source(mf.to_grain(declared())).shuffle(seed=1).batch(3).to_iter_dataset()
    )
    batches = iter(pipeline)
    next(batches)
    state = batches.get_state()
    rest = [kinds.tolist() for _, kinds in batches]
    again = iter(pipeline)
    again.set_state(state)
    assert [kinds.tolist() for _, kinds in again] == rest


def test_what_is_learned_later_changes_no_source() -> None:
    """A source has what its dataset had learned when it was made, and must have learned."""
    data = mf.Dataset({"x": [1.0, 3.0]}, inputs=mf.Numeric("x", normalize=True))
    with pytest.raises(mf.NotAdaptedError):
        mf.to_grain(data)
    data.adapt()
    source = mf.to_grain(data)
    data.select([0]).adapt(again=True)
    assert source[0][0].tolist() == [-1.0]


@pytest.mark.parametrize("given", [None, [1, 2]])
def test_only_datasets_are_sources(given: Any) -> None:
    """Anything else is an error."""
    with pytest.raises(mf.DeclarationError, match="^mf.to_grain takes a Dataset; received "):
        mf.to_grain(given)


def test_a_source_is_a_dataset() -> None:
    """There and back the samples are the same; a pipeline's own steps are part of them."""
    data = declared()
    again = mf.from_grain(mf.to_grain(data))
    assert again.spec == data.spec
    for (inputs, target), (expected, kinds) in zip(mf.Feed(again, 4), mf.Feed(data, 4), strict=True):
        assert {name: values.tolist() for name, values in inputs.items()} == {
            name: values.tolist() for name, values in expected.items()
        }
        assert target.tolist() == kinds.tolist()
    pipeline = grain.MapDataset.range(6).map(lambda number: {"x": [number, 1], "y": number % 2})
    named = mf.from_grain(pipeline, targets="y", columns={"group": list("aabbcc")})
    inputs, target = named[5]
    assert (inputs["x"].tolist(), target) == ([5, 1], 1)
    assert [len(part) for part in named.split(0.5, 0.5, by="group")] in ([4, 2], [2, 4])


def test_what_has_no_elements_by_number_is_refused() -> None:
    """As is what has no end."""
    pipeline = grain.MapDataset.range(6)
    with pytest.raises(
        mf.DeclarationError,
        match="^a source has len\\(source\\) and source\\[i\\]; a PrefetchIterDataset has not.\n"
        "  Pass the MapDataset before to_iter_dataset\\(\\); or feed a stream with "
        "mf.from_generator.$",
    ):
        mf.from_grain(pipeline.to_iter_dataset())
    with pytest.raises(
        mf.DeclarationError,
        match="^a dataset has an end; this RepeatMapDataset repeats for ever.\n"
        "  Leave repeat\\(\\) out: epochs are the loader's.$",
    ):
        mf.from_grain(pipeline.repeat())
