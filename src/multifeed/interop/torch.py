"""`to_torch`: the batches of a loader as tensors of PyTorch, for a loop of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from multifeed.errors import DeclarationError, lines
from multifeed.extras import package
from multifeed.feed import Feed
from multifeed.interop.feeds import check_dtypes, feed_of


def to_torch(loader: Any, *, pin_memory: bool = False) -> TorchBatches:
    """Return the batches of a loader as tensors of PyTorch, for a loop of one's own.

    Each pass over it is a pass over the loader: the next epoch. There is nothing to set before an epoch.

    Args:
        loader: A `Loader` or a `Feed`.
        pin_memory: Whether tensors lie in page-locked memory, from which
            ``tensor.to("cuda", non_blocking=True)`` copies while Python goes on. That is a copy; without
            it tensors lie where the batch was built.

    Returns:
        What has a length, and yields batches in their structure: ``(inputs,)``, ``(inputs, targets)`` or
        ``(inputs, targets, sample_weights)``. Tensors may be kept and changed: their memory is used
        again only once they are gone.

    Raises:
        DeclarationError: If PyTorch is not installed or has no dtype for a field, or memory shall be
            pinned and there is no GPU.

    Example:
        >>> import multifeed as mf
        >>> data = mf.Dataset({"x": [0.0, 1.0, 2.0]}, inputs=mf.Numeric("x"))
        >>> batches = to_torch(mf.Feed(data, batch_size=2))
        >>> len(batches), [x.ravel().tolist() for (x,) in batches]
        (2, [[0.0, 1.0], [2.0]])
    """
    feed = feed_of("to_torch", loader)
    torch = package("torch", extra="torch", of="mf.to_torch")
    check_dtypes(feed, "PyTorch", lambda dtype: torch.from_numpy(np.empty(0, dtype)) is not None)
    if pin_memory and not torch.cuda.is_available():
        raise DeclarationError(
            lines(
                "pinned memory is for copies to a GPU, and PyTorch finds none.",
                "Pass pin_memory=torch.cuda.is_available().",
            )
        )
    return TorchBatches(feed, torch, pin_memory)


class TorchBatches:
    """What `to_torch` returns.

    Args:
        feed: What makes the batches.
        torch: The package.
        pins: Whether tensors lie in page-locked memory.
    """

    def __init__(self, feed: Feed, torch: Any, pins: bool) -> None:
        self._feed, self._torch, self._pins = feed, torch, pins

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self._feed)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Serve one epoch; the next pass serves the next."""
        # No frame of ours keeps a batch while the next one is built.
        return map(self._tensors, self._feed)

    def __repr__(self) -> str:
        return repr(self._feed).replace(type(self._feed).__name__, type(self).__name__, 1)

    def _tensors(self, batch: tuple[Any, ...]) -> tuple[Any, ...]:
        structure = self._feed.structure
        # A tensor keeps the array that it was made of, and with it the lease of its memory.
        tensors = {
            name: self._torch.from_numpy(array) for name, array in structure.unpack(batch).items()
        }
        if self._pins:
            tensors = {name: tensor.pin_memory() for name, tensor in tensors.items()}
        return structure.pack(tensors)
