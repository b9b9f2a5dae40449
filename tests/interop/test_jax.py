"""`to_jax`: arrays on JAX's devices, ahead of their use."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

import multifeed as mf


def numbers(count: int) -> mf.Dataset:
    """Return rows of their own number, and a target."""
    rows = {"x": np.arange(count * 300, dtype="float32").reshape(count, 300), "y": np.arange(count)}
    return mf.Dataset(rows, inputs={"x": mf.Array("x")}, targets=mf.Array("y"))


@pytest.mark.parametrize("ahead", [0, 2, 9])
def test_passes_are_epochs_however_far_ahead(ahead: int) -> None:
    """The position is that of the batch that was yielded last; an epoch that is left begins anew."""
    feed = mf.Feed(numbers(20), 4, shuffle=True, seed=3)
    batches = mf.to_jax(feed, ahead=ahead)
    assert len(batches) == 5
    assert repr(batches) == "JaxBatches of 20 samples: 5 batches of 4 an epoch, epoch 0 next"
    for epoch in range(2):
        for step, (inputs, targets) in enumerate(batches):
            wanted = feed.batch(epoch, step)
            assert isinstance(targets, jax.Array)
            assert (np.asarray(inputs["x"]) == wanted[0]["x"]).all()
            assert (np.asarray(targets) == wanted[1]).all()
            assert feed.state_dict() == feed.state_dict(
                (epoch, step + 1) if step < 4 else (epoch + 1, 0)
            )
    for _ in batches:
        break
    assert feed.position == (2, 0)
    assert not feed._runs
    feed.load_state_dict(feed.state_dict((5, 2)))
    assert [targets.tolist() for _, targets in batches] == [
        feed.rows(5, step).tolist() for step in (2, 3, 4)
    ]
    assert feed.epoch == 6


def test_no_array_changes_after_it_was_yielded() -> None:
    """JAX uses the memory that a batch was built in; it is used again once the arrays are gone."""
    feed = mf.Feed(numbers(320), 16, shuffle=True)
    batches = mf.to_jax(feed)
    kept = [inputs["x"] for _ in range(3) for inputs, _ in batches]
    places = [(lease.memory.ctypes.data, len(lease.memory)) for lease in feed._pool._leases.values()]
    for number, array in enumerate(kept):
        if jax.default_backend() == "cpu":
            start_of = array.unsafe_buffer_pointer()
            assert any(start <= start_of < start + size for start, size in places)
        assert (np.asarray(array) == feed.batch(*divmod(number, 20))[0]["x"]).all()
    del kept, array
    gc.collect()
    assert feed._pool.leased == 0


SHARDED = """
import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding

import multifeed as mf

rows = {"x": np.arange(42.0).reshape(21, 2), "y": np.arange(21)}
data = mf.Dataset(rows, inputs=mf.Array("x"), targets=mf.Array("y"))
mesh = jax.make_mesh((4, 2), ("data", "model"))
assert len(jax.devices()) == 8
split, whole = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())

# Each device has its part of each batch, whatever becomes of the last one.
for options, count in (({"remainder": "pad"}, 24), ({"remainder": "drop"}, 16)):
    feed = mf.Feed(data, 8, shuffle=True, **options)
    seen = []
    for step, (x, y, *_) in enumerate(mf.to_jax(feed, split)):
        assert x.sharding == split and x.sharding.shard_shape(x.shape) == (2, 2)
        parts = {each.index[0].start or 0: np.asarray(each.data) for each in y.addressable_shards}
        seen += np.concatenate([parts[start] for start in sorted(parts)]).tolist()
        assert (np.asarray(x) == feed.batch(0, step)[0]).all()
    assert len(seen) == count and len(set(seen)) == min(count, 21)
    assert feed.epoch == 1

# What is not divided may have any size.
for sharding in (whole, SingleDeviceSharding(jax.devices()[3])):
    assert [x.shape for x, _ in mf.to_jax(mf.Feed(data, 8), sharding)] == [(8, 2), (8, 2), (5, 2)]

for options in ({}, {"batch_size": 6, "remainder": "pad"}, {"on_error": "drop", "remainder": "drop"}):
    try:
        mf.to_jax(mf.Feed(data, **({"batch_size": 8} | options)), split)
    except mf.DeclarationError as error:
        print(error)
mf.to_jax(mf.Feed(data, 8, on_error="drop", remainder="pad"), split)
try:
    mf.to_jax(mf.Feed(data, 8, remainder="pad"), NamedSharding(mesh, PartitionSpec("data", "model")))
except mf.DeclarationError as error:
    print(str(error).splitlines()[0])
"""

REFUSED = """\
each of 4 parts of a batch has as many rows; this loader has batches of 5 rows.
  Pass a batch_size that 4 divides, with remainder="pad" or "drop".
each of 4 parts of a batch has as many rows; this loader has batches of 6 rows.
  Pass a batch_size that 4 divides, with remainder="pad" or "drop".
each of 4 parts of a batch has as many rows; this loader has samples dropped from some batches.
  Pass a batch_size that 4 divides, with remainder="pad".
the sharding is that of every array of a batch, and 'y' has the shape (8,).
"""


def test_batches_are_divided_among_devices() -> None:
    """Among eight, in a process of their own; what cannot be divided is refused at the call."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    ended = subprocess.run(
        [sys.executable, "-c", SHARDED], capture_output=True, text=True, timeout=110, check=False,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-4000:]
    assert ended.stdout == REFUSED


def test_errors_name_what_was_passed() -> None:
    """No loader, no sharding, a number of batches below 0, 64 bits."""
    feed = mf.Feed(numbers(4), 2)
    messages = []
    wide = mf.Dataset({"x": np.zeros(3)}, inputs=mf.Array("x", dtype="float64"))
    for options in (
        {"loader": numbers(4)},
        {"sharding": 8},
        {"ahead": -1},
        {"loader": mf.Feed(wide, 2)},
    ):
        with pytest.raises(mf.DeclarationError) as caught:
            mf.to_jax(**({"loader": feed} | options))
        messages.append(str(caught.value))
    assert messages == [
        "mf.to_jax takes a Loader or a Feed; received Dataset.\n  Write mf.Loader(data, batch_size=32).",
        "sharding is a jax.sharding.Sharding; received int.\n"
        "  Write jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(axis)).",
        "ahead must be a whole number of at least 0; received -1.",
        "JAX has no float64, and 'x' is () float64.\n"
        '  Declare it with a dtype of 32 bits, or call jax.config.update("jax_enable_x64", True).',
    ]
