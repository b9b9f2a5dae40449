"""`to_tf_data`: a loader's batches as a `tf.data.Dataset`, as exact as TensorFlow can know them."""

from __future__ import annotations

import gc
import subprocess
import sys
from itertools import chain
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.data.experimental.ops.distribute import _AutoShardDataset

import multifeed as mf

# Loading TensorFlow takes longer than any test.
pytestmark = pytest.mark.xdist_group("tensorflow")

KINDS = (
    *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float16", "float32", "float64"),
)


def numbers(count: int) -> mf.Dataset:
    """Return rows of their own number, and a target."""
    rows = {"x": np.arange(count * 300, dtype="float32").reshape(count, 300), "y": np.arange(count)}
    return mf.Dataset(rows, inputs={"x": mf.Array("x")}, targets=mf.Array("y"))


def shapes(feed: mf.Feed) -> list[tuple[int | None, ...]]:
    """Return what `element_spec` says of each array."""
    return [tuple(each.shape) for each in tf.nest.flatten(mf.to_tf_data(feed).element_spec)]


def test_iterations_are_epochs() -> None:
    """Batches, structure and position are those of the loader; weights come along."""
    feed = mf.Feed(numbers(10), 4, shuffle=True, seed=3, remainder="pad")
    dataset = mf.to_tf_data(feed)
    assert int(dataset.cardinality()) == 3
    for epoch in range(2):
        for step, (inputs, targets, weights) in enumerate(dataset):
            wanted = feed.batch(epoch, step)
            assert (inputs["x"].numpy() == wanted[0]["x"]).all()
            assert (targets.numpy() == wanted[1]).all()
            assert (weights.numpy() == wanted[2]).all()
            assert feed.state_dict() == feed.state_dict(
                (epoch, step + 1) if step < 2 else (epoch + 1, 0)
            )
    for _ in dataset:
        break
    assert feed.epoch == 2
    assert [inputs["x"][0, 0].numpy() / 300 for inputs, *_ in dataset.repeat(2)] == [
        feed.rows(epoch, step)[0] for epoch in (2, 3) for step in range(3)
    ]
    assert feed.epoch == 4
    feed.epoch = 9
    assert len(list(dataset)) == 3
    assert feed.epoch == 10


@pytest.mark.parametrize(
    ("count", "options", "expected"),
    [
        (10, {}, (None, None)),
        (8, {}, (4, 4)),
        (3, {}, (3, 3)),
        (10, {"remainder": "drop"}, (4, 4)),
        (10, {"remainder": "pad"}, (4, 4)),
        (8, {"on_error": "drop"}, (None, None)),
        (8, {"on_error": "drop", "remainder": "pad"}, (4, 4)),
        (8, {"on_error": "mask"}, (4, 4)),
    ],
)
def test_the_spec_knows_the_batch_axis_where_it_is_fixed(
    count: int, options: dict[str, Any], expected: tuple[int | None, int | None]
) -> None:
    """It is None only where the last batch, or one with a bad sample, may be smaller."""
    feed = mf.Feed(numbers(count), 4, **options)
    assert shapes(feed)[:2] == [(expected[0], 300), (expected[1],)]
    for batch in mf.to_tf_data(feed):
        assert all(expected[0] in (None, len(each)) for each in tf.nest.flatten(batch))


@pytest.mark.parametrize(
    ("buckets", "batch_size", "expected"),
    [([2, 8], 3, (2, None)), ([1, 8], 2, (None, None)), ([9], 2, (2, 9)), ([7], 4, (4, 7))],
)
def test_the_spec_knows_the_length_of_buckets(
    buckets: list[int], batch_size: int, expected: tuple[int | None, ...]
) -> None:
    """Where all batches have one length it is that, though the field pads to another."""
    rows = {"x": [[1] * length for length in (1, 2, 6, 7)], "n": np.arange(4)}
    data = mf.Dataset(rows, inputs=(mf.Array("x", pad_to=9), mf.Mask("x"), mf.Array("n")))
    feed = mf.Feed(data, batch_size, bucket_by="x", buckets=buckets)
    assert shapes(feed) == [expected, expected, expected[:1]]
    for ((x, mask, n),) in mf.to_tf_data(feed):
        assert x.shape == mask.shape
        assert len(x) == len(n)
        assert (x.numpy().astype(bool) == mask.numpy()).all()


def test_every_dtype_is_what_it_was() -> None:
    """Nothing is widened or narrowed."""
    rows = {kind: np.arange(5).astype(kind) for kind in KINDS}
    data = mf.Dataset(rows, inputs={kind: mf.Array(kind, dtype=kind) for kind in KINDS})
    (inputs,) = next(iter(mf.to_tf_data(mf.Feed(data, 5))))
    for kind in KINDS:
        assert inputs[kind].dtype == kind
        assert (inputs[kind].numpy() == rows[kind]).all()


def test_no_tensor_changes_after_it_was_yielded() -> None:
    """TensorFlow uses the memory that a batch was built in; it is used again once tensors are gone."""
    feed = mf.Feed(numbers(320), 16, shuffle=True)
    dataset = mf.to_tf_data(feed)
    kept = [inputs["x"] for _ in range(3) for inputs, _ in dataset]
    places = [(lease.memory.ctypes.data, len(lease.memory)) for lease in feed._pool._leases.values()]
    for number, tensor in enumerate(kept):
        start_of = np.asarray(memoryview(tensor)).ctypes.data
        assert any(start <= start_of < start + size for start, size in places)
        assert (tensor.numpy() == feed.batch(*divmod(number, 20))[0]["x"]).all()
    del kept, tensor
    gc.collect()
    assert feed._pool.leased < 60


# Of its own process: the number of devices is set before TensorFlow does anything.
STRATEGY = """
from itertools import chain

import numpy as np
import tensorflow as tf

import multifeed as mf

devices = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
rows = {"x": np.ones((42, 3)), "y": np.arange(42)}
data = mf.Dataset(rows, inputs=mf.Array("x"), targets=mf.Array("y"))
for options in ({}, {"remainder": "drop"}, {"remainder": "pad"}):
    feed = mf.Feed(data, 4, shuffle=True, **options)
    distributed = strategy.experimental_distribute_dataset(mf.to_tf_data(feed))
    for epoch in range(2):
        seen = []
        for _, targets, *_ in distributed:
            parts = strategy.experimental_local_results(targets)
            assert len(parts) == 2
            seen += np.concatenate([part.numpy() for part in parts]).tolist()
        assert seen == [*chain(*(feed.batch(epoch, step)[1].tolist() for step in range(len(feed))))]
        assert feed.epoch == epoch + 1
print("done")
"""


def test_a_strategy_divides_each_batch_among_replicas() -> None:
    """Epoch after epoch, nothing is lost or repeated but what the loader itself leaves out or pads."""
    ended = subprocess.run(
        [sys.executable, "-c", STRATEGY], capture_output=True, text=True, timeout=110, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "done\n"), ended.stderr[-4000:]


def test_workers_share_the_batches_out() -> None:
    """As TensorFlow shards for several workers, each of which has a loader like the others'."""
    parts = []
    for worker in range(2):
        dataset = mf.to_tf_data(mf.Feed(numbers(42), 4, shuffle=True))
        assert dataset.options().experimental_distribute.auto_shard_policy.name == "DATA"
        parts += [y.numpy().tolist() for _, y in _AutoShardDataset(dataset, 2, worker)]
    assert sorted(chain(*parts)) == list(range(42))


def fails(value: float) -> float:
    """Raise for one of the rows."""
    if value == 5:
        raise RuntimeError("no good")
    return value


def test_an_error_says_what_the_loader_says() -> None:
    """TensorFlow's own has its text; the next iteration begins the same epoch."""
    data = mf.Dataset({"v": np.arange(8.0)}, inputs=mf.Function("v", fails, mf.Spec((), "float32")))
    feed = mf.Feed(data, 2)
    dataset = mf.to_tf_data(feed)
    seen = []
    with pytest.raises(tf.errors.OpError) as caught:
        seen = [seen.append(x.numpy().tolist()) for (x,) in dataset]
    assert seen == [[0, 1], [2, 3]]
    assert "reading 'v' of row 5 raised RuntimeError: no good.\n  Row: 5." in str(caught.value)
    assert feed.epoch == 0


def test_a_dtype_that_tensorflow_lacks_is_refused_at_the_call() -> None:
    """With field, dtype and remedy."""
    rows = {"x": np.zeros((3, 2), np.longdouble)}
    data = mf.Dataset(rows, inputs=mf.Array("x", dtype="longdouble"))
    with pytest.raises(mf.DeclarationError) as caught:
        mf.to_tf_data(mf.Feed(data, 2))
    assert str(caught.value) == (
        "TensorFlow has no float128, and 'x' is (2,) float128.\n  Declare 'x' with dtype=\"float32\"."
    )
    with pytest.raises(mf.DeclarationError) as caught:
        mf.to_tf_data(data)
    assert str(caught.value) == (
        "mf.to_tf_data takes a Loader or a Feed; received Dataset.\n"
        "  Write mf.Loader(data, batch_size=32)."
    )


def test_an_epoch_that_has_begun_is_refused() -> None:
    """TensorFlow has been told how long each is; a pass over the loader itself serves the rest."""
    feed = mf.Feed(numbers(10), 4)
    dataset = mf.to_tf_data(feed)
    feed.load_state_dict(feed.state_dict((1, 2)))
    message = (
        "a tf.data.Dataset has whole epochs, and this loader goes on at step 2 of epoch 1.\n"
        "  Serve the rest in a pass over the loader itself: for batch in loader.\n"
        "  Or set loader.epoch = 1, to begin that epoch anew."
    )
    with pytest.raises(mf.StateError) as caught:
        mf.to_tf_data(feed)
    assert str(caught.value) == message
    with pytest.raises(tf.errors.OpError) as later:
        next(iter(dataset))
    assert message in str(later.value)
    assert len(list(feed)) == 1
    assert len(list(dataset)) == 3
    assert feed.epoch == 3
