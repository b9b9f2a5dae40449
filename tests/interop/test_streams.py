"""Streams of batches: merged by position, each sample once, and checked where they can be."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest

import multifeed as mf
from multifeed.interop.merged import Merged

Array = np.ndarray[Any, Any]


def batches(*sizes: int, scale: int = 1, labels: bool = False) -> Callable[[], Iterator[Any]]:
    """Return a function that returns a generator of 0, 1, 2, … in batches of these sizes."""

    def begin() -> Iterator[Any]:
        start = 0
        for size in sizes:
            values = np.arange(start, start + size) * scale
            yield (values[:, None], values % 2) if labels else values[:, None]
            start += size

    return begin


class Sequence:
    """A `keras.utils.Sequence` as far as a stream is concerned: by index, with hooks."""

    def __init__(self, samples: int, batch_size: int) -> None:
        self.samples, self.batch_size = samples, batch_size
        self.said: list[str] = []

    def __len__(self) -> int:
        return -(-self.samples // self.batch_size)

    def __getitem__(self, index: int) -> Any:
        values = np.arange(self.samples)[index * self.batch_size :][: self.batch_size]
        return values[:, None], values % 2

    def on_epoch_begin(self) -> None:
        self.said.append("begin")

    def on_epoch_end(self) -> None:
        self.said.append("end")


class Flow(Sequence):
    """What `flow_from_directory` returns: by index as well, but without an end where it is iterated."""

    def __iter__(self) -> Flow:
        return self

    def __next__(self) -> Any:
        return self[0]


def flat(values: Any) -> list[int]:
    return np.concatenate(list(values)).ravel().tolist()


@pytest.mark.parametrize("sizes", [(10,), (1,) * 10, (3, 4, 3), (7, 0, 3)])
@pytest.mark.parametrize("batch_size", [1, 3, 4, 10, 16])
def test_each_sample_comes_once_in_the_order_of_its_stream(
    sizes: tuple[int, ...], batch_size: int
) -> None:
    """Whatever the sizes of a stream's batches, samples are cut anew without loss, pass after pass."""
    merged = Merged({"a": batches(*sizes), "b": batches(4, 6, scale=10)}, batch_size)
    for _ in range(2):
        found = [inputs for (inputs,) in merged]
        assert flat(inputs["a"] for inputs in found) == list(range(10))
        assert flat(inputs["b"] for inputs in found) == list(range(0, 100, 10))
        assert [len(inputs["a"]) for inputs in found[:-1]] == [batch_size] * (len(found) - 1)
    assert merged.steps() == len(found)


def test_a_stream_may_use_its_memory_again() -> None:
    """What is left of a batch is copied before the stream is asked for more."""

    def reuses() -> Iterator[Array]:
        memory = np.empty((3, 1), np.int64)
        for start in range(0, 12, 3):
            memory[:, 0] = range(start, start + 3)
            yield memory

    merged = Merged({"a": reuses}, 4)
    found = [inputs["a"] for (inputs,) in merged]
    assert flat(found) == list(range(12))


def test_epochs_of_so_many_steps_are_one_continuing_stream() -> None:
    """With steps_per_epoch, streams that end begin anew, all at the same sample; none is left out."""
    merged = Merged({"a": batches(3, 2), "b": Sequence(5, 2)}, 4, steps_per_epoch=3)
    found = [inputs["a"] for _ in range(4) for inputs, _ in merged]
    assert {len(each) for each in found} == {4}
    assert flat(found) == [number % 5 for number in range(48)]
    assert merged.steps() == 3


def test_one_without_end_goes_along_with_others_that_begin_anew() -> None:
    """With steps_per_epoch, a generator without an end need not end where the others do."""
    endless = iter(batches(*[3] * 1_000)())
    merged = Merged({"a": batches(5), "b": endless}, 2, steps_per_epoch=4)
    found = [inputs for _ in range(2) for (inputs,) in merged]
    assert flat(inputs["a"] for inputs in found) == [number % 5 for number in range(16)]
    assert flat(inputs["b"] for inputs in found) == list(range(16))


@pytest.mark.parametrize("kind", [Sequence, Flow])
def test_sequences_are_gone_through_with_their_hooks(kind: type[Sequence]) -> None:
    """What has an index begins and ends each pass as under Keras, and knows its length beforehand."""
    sequence = kind(10, 4)
    merged = Merged({"x": sequence}, 3)
    assert merged.steps() == 4
    for _ in range(2):
        assert flat(inputs["x"] for inputs, _ in merged) == list(range(10))
    assert sequence.said == ["begin", "end"] * 2


def test_a_pass_begins_an_iterable_once() -> None:
    """To begin it only to look would start the worker processes of a DataLoader for nothing."""

    class Begun:
        times = 0

        def __iter__(self) -> Iterator[Array]:
            self.times += 1
            return batches(2, 2)()

    begun = Begun()
    merged = Merged({"a": begun, "b": batches(4)}, 2, steps_per_epoch=4)
    assert flat(inputs["a"] for (inputs,) in merged) == [0, 1, 2, 3] * 2
    assert begun.times == 2


def test_names_are_those_of_streams_of_dicts_or_numbered() -> None:
    """An array has the name of its stream, those of a dict have their own, those of a tuple numbers."""
    one = np.zeros((2, 1))
    merged = Merged(
        {
            "image": [one],
            "table": [({"age": one + 1, "bmi": one + 2},)],
            "views": [((one + 3, one + 4), {"kind": one + 5}, one[:, 0])],
        },
        2,
    )
    ((inputs, targets, weights),) = merged
    assert {name: values[0, 0] for name, values in inputs.items()} == {
        "image": 0, "age": 1, "bmi": 2, "views_0": 3, "views_1": 4,
    }  # fmt: skip
    assert list(targets) == ["kind"]
    assert weights.tolist() == [0, 0]


def test_targets_are_those_that_are_named() -> None:
    """A stream named in targets= gives its targets, or is one; of others they are left out."""
    one = np.zeros((2, 1))
    streams = {"a": [(one, one[:, 0] + 1)], "b": [(one, one[:, 0] + 2, one[:, 0] + 3)], "c": [one + 4]}

    def told(targets: Any) -> Any:
        ((inputs, *rest),) = Merged(streams, 2, targets=targets)
        return list(inputs), rest

    inputs, rest = told("a")
    assert inputs == ["a", "b", "c"]
    assert [each.tolist() for each in rest] == [[1, 1]]
    inputs, rest = told("c")
    assert inputs == ["a", "b"]
    assert [each.tolist() for each in rest] == [[[4], [4]]]
    inputs, (targets, weights) = told(["b", "c"])
    assert {name: values.ravel().tolist() for name, values in targets.items()} == {
        "b": [2, 2], "c": [4, 4],
    }  # fmt: skip
    assert {name: values.tolist() for name, values in weights.items()} == {"b": [3, 3], "c": [1, 1]}
    inputs, (targets,) = told(["a", "c"])
    assert inputs == ["a", "b"]
    assert {name: values.ravel().tolist() for name, values in targets.items()} == {
        "a": [1, 1], "c": [4, 4],
    }  # fmt: skip
    ((inputs,),) = Merged({"a": [(one, None)]}, 2)
    assert list(inputs) == ["a"]


def test_weights_of_several_targets_are_one_array_or_named_as_they_are() -> None:
    """None is lost: one array is of all targets of its stream, and a name that is none is an error."""
    one, both = np.zeros((2, 1)), {"kind": np.zeros(2), "age": np.zeros(2)}
    for given, kind, age in (
        (one[:, 0] + 3, [3, 3], [3, 3]),
        ({"age": one[:, 0] + 4}, [1, 1], [4, 4]),
    ):
        ((_, _, weights),) = Merged({"a": [(one, both, given)]}, 2, targets=["a"])
        assert {name: values.tolist() for name, values in weights.items()} == {"kind": kind, "age": age}
    error = refused({"a": [(one, both, {"kinds": np.zeros(2)})]}, targets=["a"])
    assert str(error) == (
        "sample weights are of targets; the stream 'a' gives some of 'kinds'.\n  Did you mean 'kind'?"
    )


def refused(streams: dict[str, Any], batch_size: int = 4, **options: Any) -> mf.StreamError:
    """Return the error that two epochs of these streams end in."""
    merged = Merged(streams, batch_size, **options)
    with pytest.raises(mf.StreamError) as caught:
        flat(inputs[next(iter(inputs))] for _ in range(2) for inputs, *_ in merged)
    return caught.value


def test_a_stream_that_ends_early_is_an_error_with_the_counts() -> None:
    """It names the stream, and tells how many samples each gave."""
    error = refused({"a": batches(4, 4, 4), "b": batches(5, 4), "c": batches(20)})
    assert str(error) == (
        "streams that are merged have as many samples each: 'b' ends after 9.\n"
        "  Samples in this pass: 'a' 12 or more, 'b' 9, 'c' 20 or more.\n"
        "  They belong together by position alone: look which sample is missing before you cut the "
        "others. If one has no end, pass steps_per_epoch=."
    )
    assert error.stream == "b"
    error = refused({"a": batches(4), "b": batches(5)}, 3, steps_per_epoch=2)
    assert str(error).startswith(
        "streams that are merged have as many samples each: 'a' ends after 4.\n"
        "  Samples in this pass: 'a' 4, 'b' 5.\n"
    )
    assert str(error).endswith("If one has no end, pass it as a generator, which does not begin anew.")


def test_lengths_are_compared_before_anything_is_trained() -> None:
    """Sequences tell how long they are: one that is shorter is an error at once."""
    merged = Merged({"a": Sequence(10, 4), "b": Sequence(9, 2)}, 4)
    with pytest.raises(
        mf.StreamError, match=r"'b' ends after 9.\n  Samples in this pass: 'b' 9, 'a' 10."
    ):
        merged.steps()


def test_nobody_knows_the_length_of_a_function() -> None:
    """It takes steps_per_epoch, or a pass that counts."""
    merged = Merged({"a": batches(4, 3)}, 4)
    with pytest.raises(
        mf.DeclarationError,
        match="^fit must know how many batches an epoch has, and no stream tells its length.\n"
        "  Pass steps_per_epoch= to from_generator; or go through them once before, so that they are "
        "counted: for batch in streams: pass.$",
    ):
        merged.steps()
    for _ in merged:
        pass
    assert merged.steps() == 2


def test_a_length_that_was_told_is_held_to() -> None:
    """A sequence whose middle batches are smaller than its first has told a wrong length."""

    class Uneven(Sequence):
        def __getitem__(self, index: int) -> Any:
            return super().__getitem__(index)[0][: 3 if index == 1 else 4]

    merged = Merged({"a": Uneven(12, 4)}, 4)
    assert merged.steps() == 3
    with pytest.raises(
        mf.StreamError,
        match="^each pass has as many samples; this one had 11, where 12 were told by the first and "
        "last batches of the streams, or counted before.\n"
        "  Pass steps_per_epoch=: epochs then have so many steps, however long a pass is.$",
    ):
        list(merged)


def test_a_generator_can_be_gone_through_once() -> None:
    """A second pass would be of what is left over: an error with the remedy."""
    assert str(refused({"a": batches(4), "b": batches(4)()})) == (
        "a generator can be gone through once: 'b' has been begun before.\n"
        "  Pass the function that returns it in place of what it returns, so that each pass has a new "
        "one; or steps_per_epoch=, with which epochs go on where the last one ended."
    )
    assert str(refused({"a": batches(4), "b": batches(4)()}, steps_per_epoch=3)) == (
        "with steps_per_epoch= a stream goes on for ever, or begins anew; 'b' ended after 4 samples.\n"
        "  A generator can be gone through once: pass the function that returns it, which is called "
        "again at each end."
    )


def test_what_a_stream_raises_is_chained_and_located() -> None:
    """The error names the stream, its batch, and how far it had come."""

    def fails() -> Iterator[Array]:
        yield np.zeros((3, 1))
        yield np.zeros((3, 1))
        raise KeyError("lost")

    error = refused({"a": batches(12), "b": fails})
    assert str(error) == (
        "the stream 'b' raised KeyError in batch 2: 'lost'.\n"
        "  Before that it gave 6 samples in this pass."
    )
    assert isinstance(error.__cause__, KeyError)
    assert (error.stream, error.batch) == ("b", 2)


ODD = (
    "a batch is (inputs,), (inputs, targets) or (inputs, targets, sample_weights): arrays of numbers, "
    "with one row a sample.\n  Batch 1 of the stream 'a': "
)
ALIKE = (
    "\n  Batches are cut to another size, so all have one shape and dtype a sample: pad sequences to "
    "one length, and convert."
)


@pytest.mark.parametrize(
    ("batch", "told"),
    [
        (
            (np.zeros((2, 3)), np.zeros(1, int)),
            "it has 2 of inputs, 1 of targets.\n  All parts of a batch are of the same samples.",
        ),
        (
            (np.zeros((2, 4)), np.zeros(2, int)),
            f"its inputs are (4,) float64, where those of the first batch are (3,) float64.{ALIKE}",
        ),
        (
            (np.zeros((2, 3), "float32"), np.zeros(2, int)),
            f"its inputs are (3,) float32, where those of the first batch are (3,) float64.{ALIKE}",
        ),
        (
            np.zeros((2, 3)),
            f"its targets are not there, where those of the first batch are () int64.{ALIKE}",
        ),
        ((np.zeros((2, 3)), ["x", "y"]), "its targets 0 are () str32."),
        ((np.zeros((2, 3)), None, 1, 2), "it is a tuple of 4."),
        (
            (np.zeros((2, 3)), {"kind": [[1], [1, 2]]}),
            "its targets 'kind' are no array (setting an array element with a sequence. The requested "
            "array has an inhomogeneous shape after 1 dimensions. The detected shape was (2,) + "
            "inhomogeneous part).",
        ),
        (
            ([[1.0], [1.0, 2.0]], np.zeros(2)),
            "it has 1 of inputs 0, 2 of inputs 1, 2 of targets.\n"
            "  All parts of a batch are of the same samples.",
        ),
    ],
)  # fmt: skip
def test_a_batch_unlike_those_before_it_is_an_error(batch: Any, told: str) -> None:
    """The error names stream and batch, and what is odd about it."""
    error = refused({"a": [(np.zeros((2, 3)), np.zeros(2, int)), batch]})
    assert error.batch == 1
    assert str(error) == ODD + told


def test_targets_of_several_streams_are_compared() -> None:
    """That is the one thing by which streams that are not aligned can be noticed."""

    def other() -> Iterator[Any]:
        for values in np.split(np.arange(8), 4):
            yield values[:, None], np.where(values == 5, 0, values % 2)

    assert str(refused({"a": batches(8, labels=True), "b": other})) == (
        "streams that all give targets give the same; 'a' and 'b' differ in sample 5.\n"
        "  They are not aligned, or do not name their classes in the same order.\n"
        "  If they need not be the same, say whose to use: targets='a'."
    )
    merged = Merged({"a": batches(8, labels=True), "b": other}, 4, targets="b")
    assert flat(targets for _, targets in merged) == [0, 1, 0, 1, 0, 0, 0, 1]
    merged = Merged({"a": batches(8, labels=True), "b": batches(3, 5, labels=True)}, 4)
    assert flat(targets for _, targets in merged) == [0, 1] * 4


@pytest.mark.parametrize("other", [np.zeros((4, 2)), {"kind": np.zeros(4)}])
def test_targets_of_another_form_are_not_the_same(other: Any) -> None:
    """Classes as numbers here and one-hot there, or under a name, cannot be one target."""
    one = np.zeros((4, 1))
    error = refused({"a": [(one, np.zeros(4))], "b": [(one, other)]})
    assert "'a' and 'b' differ in sample 0.\n" in str(error)
    error = refused({"a": [(one, np.zeros(4))], "b": [(one, np.zeros(4), np.ones(4))]})
    assert str(error) == (
        "streams that all give targets give the same; 'a' and 'b' differ in sample 0.\n"
        "  One of them gives sample weights, too.\n"
        "  If they need not be the same, say whose to use: targets='a'."
    )


def test_streams_without_samples_are_an_error() -> None:
    """Rather than an epoch that does nothing, or one that never ends."""
    told = "an epoch has at least one batch; the streams end before their first sample."
    assert str(refused({"a": list})) == told
    assert str(refused({"a": list}, steps_per_epoch=2)) == told
    with pytest.raises(mf.StreamError, match=f"^{told}$"):
        Merged({"a": []}, 2).steps()


def test_what_is_no_stream_is_refused_at_declaration() -> None:
    """Arrays would be taken row by row; names must be texts that are there."""
    with pytest.raises(
        mf.DeclarationError,
        match="^a stream gives batches: it is a generator, a function that returns one, a "
        "keras.utils.Sequence, or another iterable.\n"
        "  Received: a ndarray for 'a'.\n  Arrays and tables need no stream: mf.Dataset takes them.$",
    ):
        Merged({"a": np.zeros((10, 3))}, 2)
    with pytest.raises(mf.DeclarationError, match="^the name of a stream is a text that is not empty; "):
        Merged({1: batches(3)}, 2)  # type: ignore[dict-item]
    with pytest.raises(mf.DeclarationError, match="^streams are a dict, by name; received"):
        Merged([batches(3)], 2)  # type: ignore[arg-type]
    with pytest.raises(
        mf.DeclarationError, match="^targets names streams; 'b' is none.\n  There are: 'a'.$"
    ):
        Merged({"a": batches(3)}, 2, targets="b")
    with pytest.raises(mf.DeclarationError, match="^a model has at least one input; targets names all"):
        next(iter(Merged({"a": batches(3)}, 2, targets="a")))
    with pytest.raises(
        mf.DeclarationError, match="^the streams give 'x' twice, the second time in 'b'.\n  Give one"
    ):
        next(iter(Merged({"x": batches(3), "b": lambda: [{"x": np.zeros((3, 1))}]}, 2)))
    with pytest.raises(mf.DeclarationError, match="that of 'a' returned a NoneType.$"):
        next(iter(Merged({"a": lambda: None}, 2)))


def test_generators_are_closed() -> None:
    """At the end of a pass or its error, where a pass is left, by close, and when all is dropped."""
    closed: list[str] = []

    def watched(name: str, count: int) -> Iterator[Array]:
        try:
            for _ in range(count):
                yield np.zeros((2, 1))
        finally:
            closed.append(name)

    for _ in islice(Merged({"left": lambda: watched("left", 9)}, 2), 1):
        pass
    gc.collect()
    assert closed == ["left"]
    refused({"long": lambda: watched("long", 9), "short": lambda: watched("short", 2)}, 2)
    assert sorted(closed) == ["left", "long", "short"]
    closed.clear()
    given = [watched("one", 9), watched("two", 9), watched("unused", 9)]
    merged = Merged({"one": given[0], "two": given[1]}, 2, steps_per_epoch=2)
    next(iter(merged))
    merged.close()
    assert sorted(closed) == ["one", "two"]
    unused = Merged({"unused": given[2]}, 2)
    del unused
    gc.collect()
    with pytest.raises(StopIteration):
        next(given[2])


def test_after_an_error_nothing_goes_on_out_of_step() -> None:
    """Streams of which one raised while others had gone on begin anew together."""
    fails = [True]

    def once() -> Iterator[Array]:
        yield np.arange(2)[:, None]
        if fails.pop():
            fails.append(False)
            raise OSError("gone")
        yield np.arange(2, 4)[:, None]

    merged = Merged({"a": batches(1, 3), "b": once}, 2, steps_per_epoch=2)
    with pytest.raises(mf.StreamError, match="^the stream 'b' raised OSError in batch 1: gone.\n"):
        list(merged)
    assert [(x["a"].ravel().tolist(), x["b"].ravel().tolist()) for (x,) in merged] == [
        ([0, 1], [0, 1]),
        ([2, 3], [2, 3]),
    ]


def test_the_repr_says_what_a_stream_cannot_promise() -> None:
    """Before its first batch and after it."""
    merged = Merged({"a": batches(4, 3, labels=True), "b": Sequence(7, 2)}, 4)
    last = "aligned by position alone: a stream promises no exactly-once, random access or resume"
    assert repr(merged) == (
        "2 streams in batches of 4, epochs as long as a pass\n"
        "stream  a  function, known after its first batch\n"
        "stream  b  Sequence, known after its first batch\n" + last
    )
    for _ in merged:
        pass
    assert repr(merged) == (
        "2 streams in batches of 4, epochs of 2 steps\n"
        "input   a  (1,) int64\n"
        "input   b  (1,) int64\n"
        "target     () int64\n" + last
    )
