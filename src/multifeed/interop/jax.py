"""`to_jax`: the batches of a loader on JAX's devices, ahead of their use."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from multifeed.errors import DeclarationError, lines
from multifeed.extras import package
from multifeed.feed import Feed
from multifeed.fields.shared import at_least
from multifeed.interop.feeds import check_dtypes, feed_of


def to_jax(loader: Any, sharding: Any = None, *, ahead: int = 2) -> JaxBatches:
    """Return the batches of a loader as JAX arrays, placed on devices ahead of their use.

    Each pass over it is a pass over the loader: the next epoch. ``loader.epoch`` and
    ``loader.state_dict()`` are those of the batch that was yielded last, not of what was placed ahead.

    Args:
        loader: A `Loader` or a `Feed`.
        sharding: A `jax.sharding.Sharding` of every array of a batch, whose first axis is that of
            samples; by default, all lies on the default device.
        ahead: How many batches are on their way to the devices before they are asked for, 0 or more.

    Returns:
        What has a length, and yields batches in their structure: ``(inputs,)``, ``(inputs, targets)`` or
        ``(inputs, targets, sample_weights)``. On a CPU, JAX uses the memory in which a batch was built.

    Raises:
        DeclarationError: If JAX is not installed or has no dtype for a field, or a batch cannot be
            divided as `sharding` says.

    Example:
        >>> import multifeed as mf
        >>> data = mf.Dataset({"x": [0.0, 1.0, 2.0]}, inputs=mf.Numeric("x"))
        >>> batches = to_jax(mf.Feed(data, batch_size=2))
        >>> len(batches), [x.ravel().tolist() for (x,) in batches]
        (2, [[0.0, 1.0], [2.0]])
    """
    feed = feed_of("to_jax", loader)
    ahead = at_least("ahead", ahead, 0)
    jax = package("jax", extra="jax", of="mf.to_jax")
    check_dtypes(
        feed,
        "JAX",
        # Without a word, it would make 32 bits of 64.
        lambda dtype: bool(jax.device_put(np.empty(0, dtype)).dtype == dtype),
        remedy='Declare it with a dtype of 32 bits, or call jax.config.update("jax_enable_x64", True).',
    )
    if sharding is not None:
        _check_sharding(feed, jax, sharding)
    return JaxBatches(feed, jax, sharding, ahead)


class JaxBatches:
    """What `to_jax` returns.

    Args:
        feed: What makes the batches.
        jax: The package.
        sharding: How arrays lie on devices; None for the default device.
        ahead: How many batches are placed before they are asked for.
    """

    def __init__(self, feed: Feed, jax: Any, sharding: Any, ahead: int) -> None:
        self._feed, self._jax, self._sharding, self._ahead = feed, jax, sharding, ahead

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self._feed)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Serve one epoch, or after `load_state_dict` the rest of one; the next pass serves the next."""
        feed, steps = self._feed, len(self._feed)
        epoch, first = feed.begin()
        placed: deque[tuple[Any, ...]] = deque()
        coming = first
        try:
            for step in range(first, steps):
                while coming < steps and len(placed) <= self._ahead:
                    placed.append(self._jax.device_put(feed.take(epoch, coming), self._sharding))
                    coming += 1
                feed.delivered(epoch, step)
                yield placed.popleft()
        finally:
            if placed or coming < steps:
                feed.leave(epoch, coming)

    def __repr__(self) -> str:
        return repr(self._feed).replace(type(self._feed).__name__, type(self).__name__, 1)


def _check_sharding(feed: Feed, jax: Any, sharding: Any) -> None:
    """Raise unless every batch can be divided as a sharding says."""
    if not isinstance(sharding, jax.sharding.Sharding):
        raise DeclarationError(
            lines(
                f"sharding is a jax.sharding.Sharding; received {type(sharding).__name__}.",
                "Write jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(axis)).",
            )
        )
    for name, shape in feed.shapes.items():
        parts = _parts(sharding, name, shape)
        uneven = [size for size in sorted(feed.sizes or ()) if size % parts]
        if parts > 1 and (uneven or feed.sizes is None):
            rows = f"batches of {uneven[0]:,} rows" if uneven else "samples dropped from some batches"
            raise DeclarationError(
                lines(
                    f"each of {parts} parts of a batch has as many rows; this loader has {rows}.",
                    f"Pass a batch_size that {parts} divides, with "
                    + ('remainder="pad" or "drop".' if uneven else 'remainder="pad".'),
                )
            )


def _parts(sharding: Any, name: str, shape: tuple[int | None, ...]) -> int:
    """Return into how many parts a sharding divides the first axis of an array."""
    # Where the sizes of axes vary, they do in such that can be divided.
    rows = len(sharding.device_set)
    tried = (rows, *(rows if size is None else size for size in shape[1:]))
    try:
        return rows // int(sharding.shard_shape(tried)[0])
    except (IndexError, ValueError) as error:
        raise DeclarationError(
            lines(
                f"the sharding is that of every array of a batch, and {name!r} has the shape {shape}.",
                f"Received: {sharding}.",
                "Shard the first axis alone, and place what is to be divided further on your own.",
            )
        ) from error
