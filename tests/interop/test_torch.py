"""`to_torch`: tensors of PyTorch, where the batch was built."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch

import multifeed as mf

KINDS = (
    *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float16", "float32", "float64"),
)


def numbers(count: int, **options: object) -> mf.Dataset:
    """Return rows of their own number, and a target."""
    rows = {"x": np.arange(count * 300, dtype="float32").reshape(count, 300), "y": np.arange(count)}
    return mf.Dataset(rows, inputs={"x": mf.Array("x")}, targets=mf.Array("y"), **options)


def test_passes_are_epochs() -> None:
    """As those over the loader: the next one each time, the same one again if it was left."""
    feed = mf.Feed(numbers(10), 4, shuffle=True, seed=3, remainder="pad")
    batches = mf.to_torch(feed)
    assert len(batches) == 3
    assert repr(batches) == "TorchBatches of 10 samples: 3 batches of 4 an epoch, epoch 0 next"
    for epoch in range(2):
        for step, (inputs, targets, weights) in enumerate(batches):
            wanted = feed.batch(epoch, step)
            assert isinstance(targets, torch.Tensor)
            assert (inputs["x"].numpy() == wanted[0]["x"]).all()
            assert (targets.numpy() == wanted[1]).all()
            assert (weights.numpy() == wanted[2]).all()
            assert feed.state_dict() == feed.state_dict(
                (epoch, step + 1) if step < 2 else (epoch + 1, 0)
            )
    for _ in batches:
        break
    assert feed.epoch == 2
    feed.load_state_dict(feed.state_dict((5, 1)))
    assert len(list(batches)) == 2
    assert feed.epoch == 6


def test_every_dtype_is_what_it_was() -> None:
    """Those that few operations of PyTorch take included."""
    rows = {kind: np.arange(5).astype(kind) for kind in KINDS}
    data = mf.Dataset(rows, inputs={kind: mf.Array(kind, dtype=kind) for kind in KINDS})
    (inputs,) = next(iter(mf.to_torch(mf.Feed(data, 5))))
    for kind in KINDS:
        assert inputs[kind].dtype == getattr(torch, kind)
        assert (inputs[kind].numpy() == rows[kind]).all()


def test_tensors_are_the_memory_of_batches_and_stay_what_they_are() -> None:
    """No copy; while a tensor lives nobody writes to its memory, and afterwards it is used again."""
    feed = mf.Feed(numbers(320), 16, shuffle=True)
    batches = mf.to_torch(feed)
    kept = [inputs["x"] for _ in range(3) for inputs, _ in batches]
    places = [(lease.memory.ctypes.data, len(lease.memory)) for lease in feed._pool._leases.values()]
    for number, tensor in enumerate(kept):
        assert any(start <= tensor.data_ptr() < start + size for start, size in places)
        assert (tensor.numpy() == feed.batch(*divmod(number, 20))[0]["x"]).all()
    assert feed._pool.leased > 0
    del kept, tensor
    gc.collect()
    assert feed._pool.leased == 0


def test_a_tensor_may_be_changed_in_place() -> None:
    """Other batches, and the rows themselves, are what they were."""
    data = numbers(32)
    feed = mf.Feed(data, 4)
    batches = mf.to_torch(feed)
    for _ in range(2):
        for step, (inputs, targets) in enumerate(batches):
            assert targets.tolist() == list(range(4 * step, 4 * step + 4))
            assert (inputs["x"][:, 0] == 300 * targets).all()
            inputs["x"].zero_()
            targets.add_(1)


def test_fields_that_are_cut_are_views() -> None:
    """Of any length, without a copy."""
    rows = {"x": [[1] * length for length in (1, 2, 7, 8)]}
    data = mf.Dataset(rows, inputs=mf.Array("x", pad_to=9))
    feed = mf.Feed(data, 2, bucket_by="x", buckets=[2, 8])
    assert [x.shape for (x,) in mf.to_torch(feed)] == [(2, 2), (2, 8)]


def test_errors_name_what_was_passed() -> None:
    """A loader that is none, a dtype that PyTorch lacks, memory that cannot be pinned."""
    with pytest.raises(mf.DeclarationError) as caught:
        mf.to_torch([1])
    assert str(caught.value) == (
        "mf.to_torch takes a Loader or a Feed; received list.\n  Write mf.Loader(data, batch_size=32)."
    )
    rows = {"x": np.zeros((3, 2), np.longdouble)}
    with pytest.raises(mf.DeclarationError) as caught:
        mf.to_torch(mf.Feed(mf.Dataset(rows, inputs=mf.Array("x", dtype="longdouble")), 2))
    assert str(caught.value) == (
        "PyTorch has no float128, and 'x' is (2,) float128.\n  Declare 'x' with dtype=\"float32\"."
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_memory_is_not_pinned_without_a_gpu() -> None:
    """Rather than left as it is without a word."""
    with pytest.raises(mf.DeclarationError) as caught:
        mf.to_torch(mf.Feed(numbers(3), 2), pin_memory=True)
    assert str(caught.value) == (
        "pinned memory is for copies to a GPU, and PyTorch finds none.\n"
        "  Pass pin_memory=torch.cuda.is_available()."
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_pinned_tensors_reach_the_gpu_unchanged() -> None:
    """Also where the copy goes on while the next batch is built."""
    feed = mf.Feed(numbers(320), 16, shuffle=True)
    batches = mf.to_torch(feed, pin_memory=True)
    there = []
    for inputs, _ in batches:
        assert inputs["x"].is_pinned()
        there.append(inputs["x"].to("cuda", non_blocking=True))
        del inputs
    for step, tensor in enumerate(there):
        assert (tensor.cpu().numpy() == feed.batch(0, step)[0]["x"]).all()
