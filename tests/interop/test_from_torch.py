"""`from_torch`: samples of a map-style dataset of PyTorch."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import multifeed as mf


class Pairs(torch.utils.data.Dataset):  # type: ignore[misc]
    """Two views and two numbers, and a class; it counts how often each sample is asked for."""

    def __init__(self, count: int = 10) -> None:
        self.count = count
        self.asked: Counter[int] = Counter()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        self.asked[index] += 1
        if index >= self.count:
            raise IndexError(index)
        pixels = np.full((4, 6, 3), index, np.uint8)
        inputs = {
            "left": Image.fromarray(pixels),
            "right": torch.from_numpy(pixels).permute(2, 0, 1),
            "numbers": torch.tensor([index, 0.5], dtype=torch.float64),
        }
        return inputs, index % 3


def test_samples_are_those_of_the_dataset() -> None:
    """Names, structure and values; floats become float32, integers of 64 bits int32."""
    data = mf.from_torch(Pairs())
    assert data.spec == (
        {
            "left": mf.Spec((4, 6, 3), "uint8"),
            "right": mf.Spec((3, 4, 6), "uint8"),
            "numbers": mf.Spec((2,), "float32"),
        },
        mf.Spec((), "int32"),
    )
    inputs, target = data[7]
    assert (inputs["left"] == 7).all()
    assert (inputs["right"] == 7).all()
    assert inputs["numbers"].tolist() == [7.0, 0.5]
    assert target == 1


@pytest.mark.parametrize("workers", [1, 3])
def test_a_sample_of_a_batch_is_fetched_once(workers: int) -> None:
    """Whatever number of fields it has; in each epoch anew."""
    source = Pairs(12)
    data = mf.from_torch(source)
    with mf.Feed(data, 4, shuffle=True, workers=workers, steps_per_epoch=3) as feed:
        source.asked.clear()
        for epoch in range(2):
            for step, (inputs, targets) in enumerate(feed):
                rows = feed.rows(epoch, step)
                assert inputs["numbers"][:, 0].tolist() == rows.tolist()
                assert inputs["left"][:, 0, 0, 0].tolist() == rows.tolist()
                assert targets.tolist() == (rows % 3).tolist()
    # What is built ahead of a third epoch may have begun.
    assert set(source.asked) == set(range(12))
    assert all(2 <= each <= 3 for each in source.asked.values())


def test_processes_yield_what_threads_yield() -> None:
    """The dataset goes to the workers; the bytes are the same."""
    data = mf.from_torch(Pairs())
    with mf.Feed(data, 4, shuffle=True, processes=1, workers=2) as feed:
        for step, (inputs, targets) in enumerate(feed):
            wanted, labels = feed.batch(0, step)
            assert (targets == labels).all()
            assert all((inputs[name] == wanted[name]).all() for name in wanted)


SAMPLES: dict[str, tuple[Any, Any, Any]] = {
    "one": (torch.zeros(2, 3), None, ("(2, 3) float32",)),
    "number": (5, None, ("() int32",)),
    "list": ([1.0, 2.0], None, ("(2,) float32",)),
    "list of numpy's": (list(np.arange(3, dtype="float32")), None, ("(3,) float32",)),
    "half": (torch.zeros(2, dtype=torch.bfloat16), None, ("(2,) float32",)),
    "pair": ((np.zeros(3, np.uint16), True), None, ("(3,) uint16", "() bool")),
    "tuple": (((1.0, np.zeros(2)), [1, 2]), None, (("() float32", "(2,) float32"), "(2,) int32")),
    "list of parts": ([torch.zeros(1), 2], None, ("(1,) float32", "() int32")),
    "dict": ({"a": 1, "b": 2.0}, None, ({"a": "() int32", "b": "() float32"},)),
    "a target": ({"a": 1, "b": 2.0}, "b", ({"a": "() int32"}, "() float32")),
    "targets": ({"a": 1, "b": 2.0}, ["b"], ({"a": "() int32"}, {"b": "() float32"})),
    "places": ((1, 2.0, {"x": 3}), 2, (("() int32", "() float32"), {"x": "() int32"})),
    "first": ((1, 2.0), 0, ("() float32", "() int32")),
    "grey": (Image.new("L", (5, 4)), None, ("(4, 5, 1) uint8",)),
    "bits": (Image.new("1", (5, 4)), None, ("(4, 5, 1) bool",)),
}  # fmt: skip


def told(part: Any) -> Any:
    """Return specs as texts, in their structure."""
    if isinstance(part, dict):
        return {name: told(each) for name, each in part.items()}
    return tuple(map(told, part)) if isinstance(part, tuple) else str(part)


@pytest.mark.parametrize("case", SAMPLES)
def test_what_a_sample_is(case: str) -> None:
    """Structure in is structure out, one level deep."""
    sample, targets, spec = SAMPLES[case]
    data = mf.from_torch([sample, sample], targets=targets)
    assert told(data.spec) == spec
    assert told(tuple(map(spec_of, data[1]))) == spec


def spec_of(part: Any) -> Any:
    """Return the specs of a part of a sample, in its structure."""
    if isinstance(part, dict):
        return {name: spec_of(each) for name, each in part.items()}
    return tuple(map(spec_of, part)) if isinstance(part, tuple) else mf.Spec.of(np.asarray(part))


def test_columns_serve_splits_and_balance() -> None:
    """Parts know the samples by their numbers in the dataset, which are the key."""
    kinds = np.arange(30) % 3
    data = mf.from_torch(Pairs(30), columns={"kind": kinds})
    train, rest = data.split(0.5, 0.5, stratify="kind", seed=3)
    assert np.bincount(kinds[np.array(train.keys(np.arange(15)), int)]).tolist() == [5, 5, 5]
    for row in range(15):
        assert rest[row][0]["numbers"][0] == int(rest.keys(np.array([row]))[0])
    assert len(list(mf.Feed(train, 5, shuffle=True, balance="kind"))) == 3


def test_threads_take_turns_unless_they_need_not() -> None:
    """A dataset that is not made for threads is never called by two at once."""

    class Alone(Pairs):
        def __init__(self) -> None:
            super().__init__(64)
            self.inside = self.most = 0
            self.lock = threading.Lock()
            self.both = threading.Event()

        def __getitem__(self, index: int) -> Any:
            with self.lock:
                self.inside += 1
                self.most = max(self.most, self.inside)
                if self.inside > 1:
                    self.both.set()
            if index:
                self.both.wait(0.01)
            with self.lock:
                self.inside -= 1
            return np.zeros(3), index

    for threadsafe in (False, True):
        source = Alone()
        with mf.Feed(mf.from_torch(source, threadsafe=threadsafe), 16, workers=4) as feed:
            assert len(list(feed)) == 4
        assert (source.most > 1) == threadsafe


class Stream(torch.utils.data.IterableDataset):  # type: ignore[misc]
    """A stream with a length."""

    def __iter__(self) -> Any:
        return iter(range(3))

    def __len__(self) -> int:
        return 3


class Broken(Pairs):
    """A dataset whose sample 3 is another each time: a shape, a dtype, a structure, an error."""

    def __init__(self, value: Any) -> None:
        super().__init__(5)
        self.value = value

    def __getitem__(self, index: int) -> Any:
        if index == 3:
            if isinstance(self.value, Exception):
                raise self.value
            return self.value
        return {"x": torch.zeros(2, dtype=torch.uint8)}, 0


class Raises:
    """A dataset none of whose samples can be had."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        raise OSError(f"no sample {index}")


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "stream": (
        Stream(), {},
        "a map-style dataset has len(dataset) and dataset[i]; received Stream.\n"
        "  A stream is fed with mf.from_generator.",
    ),
    "generator": (
        iter([1]), {},
        "a map-style dataset has len(dataset) and dataset[i]; received list_iterator.\n"
        "  A stream is fed with mf.from_generator.",
    ),
    "empty": ([], {}, "a dataset has at least one sample; this list has 0."),
    "raises": (
        Raises(), {},
        "sample 0 raised OSError: no sample 0.\n"
        "  It is read at declaration, to find what a sample is.",
    ),
    "three": (
        [(1, 2, 3)], {},
        "a sample of two parts is (inputs, targets); sample 0 has 3.\n"
        "  Say which are targets, by their places: targets=[2].",
    ),
    "text": (
        [({"name": "x"}, 1)], {},
        "[0]['name'] of sample 0 is a str that holds no array of numbers.\n"
        "  Let the dataset return numbers, arrays, tensors or PIL images.",
    ),
    "ragged": (
        [[[1], [2, 3]]], {},
        "sample 0 is a list that holds no array of numbers.\n"
        "  Let the dataset return numbers, arrays, tensors or PIL images.",
    ),
    "none": (
        [(1, None)], {},
        "[1] of sample 0 is None.\n"
        "  Let the dataset return a value for every sample; a filter() of Grain leaves None.",
    ),
    "sparse": (
        [torch.eye(2).to_sparse()], {},
        "sample 0 is a Tensor that holds no array of numbers.\n"
        "  Let the dataset return numbers, arrays, tensors or PIL images.",
    ),
    "numbered otherwise": (
        [1, 2], {"columns": {"index": [1, 0]}},
        "the column 'index' numbers the samples; columns= holds another one of that name.\n"
        "  Give yours another name.",
    ),
    "nested": (
        [({"a": {"b": 1}}, 1)], {},
        "[0]['a'] of sample 0 is a dict of further parts.\n"
        "  Let the dataset return inputs and targets as one value each, a tuple or a dict of values.",
    ),
    "palette": (
        [Image.new("P", (2, 2))], {},
        "sample 0 is a PIL image of mode 'P', whose numbers are no colours.\n"
        '  Let the dataset return image.convert("RGB").',
    ),
    "no such target": (
        [{"image": 1, "label": 2}], {"targets": "labels"},
        "targets names parts of a sample; sample 0 has no 'labels'.\n"
        "  Did you mean 'label'?",
    ),
    "nothing left": (
        [{"image": 1}], {"targets": "image"},
        "a sample has inputs besides its targets; received targets='image' of ['image'].",
    ),
    "no parts": (
        [np.zeros(2)], {"targets": "image"},
        "targets names parts of a sample; sample 0 is one ndarray.\n"
        "  Leave targets out, or let the dataset return (inputs, targets).",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_dataset_of_numbers_is_refused(case: str) -> None:
    """At the call, with what came."""
    dataset, options, message = REFUSED[case]
    with pytest.raises(mf.DeclarationError) as caught:
        mf.from_torch(dataset, **options)
    assert str(caught.value) == message


WRONG: dict[str, tuple[Any, str]] = {
    "shape": (
        ({"x": torch.zeros(3, dtype=torch.uint8)}, 0),
        "'x' of sample '3' cannot be used: it is (3,) uint8, where that of sample 0 is (2,) uint8.\n"
        "  Row: 3.\n"
        "  Let the dataset return one shape for every sample, as for a batch of PyTorch.",
    ),
    "dtype": (
        ({"x": torch.full((2,), 300)}, 0),
        "'x' of sample '3' cannot be used: it holds 300, which uint8 cannot hold.\n"
        "  Row: 3.\n"
        "  Let the dataset return one dtype for every sample.",
    ),
    "structure": (
        ({"y": 1}, 0),
        "'x' of sample '3' cannot be used: it lacks ['x'], which sample 0 has.\n"
        "  Row: 3.\n"
        "  Let the dataset return the same parts for every sample.",
    ),
    "error": (
        RuntimeError("torn"),
        "reading 'x' of sample '3' raised RuntimeError: torn.\n"
        "  Row: 3.\n"
        "  The exception above is the original. If it came from a function of yours, that must accept "
        "every sample.",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_sample_unlike_the_first_is_an_error_that_names_it(case: str) -> None:
    """Its number in the dataset is its key."""
    value, message = WRONG[case]
    data = mf.from_torch(Broken(value)).select([2, 3])
    with pytest.raises(mf.SampleError) as caught:
        data[1]
    assert str(caught.value) == message.replace("Row: 3", "Row: 1")
    assert caught.value.key == "3"
    with mf.Feed(mf.from_torch(Broken(value)), 5, on_error="drop", max_bad=0.2) as feed:
        assert [targets.tolist() for _, targets in feed] == [[0] * 4]


@pytest.mark.parametrize("draw", [lambda: torch.rand(1), lambda: np.random.rand(1)])
def test_a_dataset_that_draws_is_warned_about(draw: Any) -> None:
    """Its batches would be no function of their position."""

    class Random(Pairs):
        def __getitem__(self, index: int) -> Any:
            return draw(), 0

    with pytest.warns(mf.MultifeedWarning) as caught:
        mf.from_torch(Random())
    assert str(caught[0].message) == (
        "sample 0 draws from a global random state, so it is another sample each time: its batches "
        "differ from run to run.\n"
        "  What is random belongs into augment=, which is given each slot's own generator."
    )
    assert caught[0].filename == __file__
