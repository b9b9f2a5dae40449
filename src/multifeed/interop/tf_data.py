"""`to_tf_data`: the batches of a loader as a `tf.data.Dataset`."""

from __future__ import annotations

from typing import Any

import numpy as np

from multifeed.errors import StateError, lines
from multifeed.extras import package
from multifeed.feed import Feed
from multifeed.interop.feeds import check_dtypes, feed_of

Array = np.ndarray[Any, Any]


def to_tf_data(loader: Any) -> Any:
    """Return the batches of a loader as a `tf.data.Dataset`.

    Each iteration of it is the next epoch of the loader, as a pass over the loader is: once its last
    batch was taken, ``loader.epoch`` is one higher. An iteration that is left earlier leaves the epoch
    where it is, and the next one begins it anew. What TensorFlow is told to prefetch is taken then.

    Its elements are batches, in their structure: ``(inputs,)``, ``(inputs, targets)`` or
    ``(inputs, targets, sample_weights)``. Its ``element_spec`` has all sizes; an axis is None only where
    batches differ in it: the first one if the last batch is smaller (``remainder="drop"`` or ``"pad"``
    makes it fixed) or samples may be dropped, the second one of fields that ``bucket_by=`` cuts. Its
    cardinality is ``len(loader)``. Python is called once a batch, and arrays are not copied.

    Under `tf.distribute`, a batch of the dataset is the global batch, which is split among the replicas;
    among several workers batches are sharded by data, so each needs a loader of the same arguments, and
    each sample is used once.

    If a batch raises, TensorFlow raises an error of its own with the text; `Loader.last_error` is the
    original one. `loader.close` stops what builds batches ahead.

    Args:
        loader: A `Loader` or a `Feed`.

    Raises:
        DeclarationError: If TensorFlow is not installed, or has no dtype for a field.
        StateError: If the loader stands within an epoch, as after `load_state_dict`.

    Example:
        >>> import multifeed as mf
        >>> data = mf.Dataset({"x": [0.0, 1.0, 2.0]}, inputs=mf.Numeric("x"))
        >>> feed = mf.Feed(data, batch_size=2)
        >>> dataset = to_tf_data(feed)
        >>> dataset.element_spec
        (TensorSpec(shape=(None, 1), dtype=tf.float32, name=None),)
        >>> [x.numpy().ravel().tolist() for (x,) in dataset]
        [[0.0, 1.0], [2.0]]
        >>> feed.epoch
        1
    """
    feed = feed_of("to_tf_data", loader)
    tf = package("tensorflow", extra="tensorflow", of="mf.to_tf_data")
    check_dtypes(feed, "TensorFlow", lambda dtype: bool(tf.as_dtype(dtype)))
    source = _Source(loader, feed)
    source.check()
    names, shapes = list(feed.specs), feed.shapes
    kinds = [tf.as_dtype(feed.specs[name].dtype) for name in names]

    def batch(epoch: Any, step: Any) -> Any:
        tensors = tf.numpy_function(source.take, [epoch, step], kinds)
        for name, tensor in zip(names, tensors, strict=True):
            tensor.set_shape(shapes[name])
        return feed.structure.pack(dict(zip(names, tensors, strict=True)))

    def epoch(_: Any) -> Any:
        begun = tf.numpy_function(source.begin, [], tf.int64)
        begun.set_shape(())
        return begun

    # All is a function of position, so that nothing is left over from an iteration that was left.
    epochs = tf.data.Dataset.from_tensors(0).map(epoch)
    steps = tf.data.Dataset.range(len(feed))
    batches = epochs.flat_map(lambda epoch: steps.map(lambda step: batch(epoch, step)))
    options = tf.data.Options()
    # It would take batches that nobody may ask for; the feed has its own, which are built ahead.
    options.experimental_optimization.inject_prefetch = False
    # There are no files that could be shared out instead.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    counted = batches.apply(tf.data.experimental.assert_cardinality(len(feed)))
    return counted.with_options(options)


class _Source:
    """What TensorFlow calls: once an iteration, and once a batch.

    Args:
        loader: What the user has passed.
        feed: Its feed.
    """

    def __init__(self, loader: Any, feed: Feed) -> None:
        self._loader, self._feed = loader, feed

    def check(self) -> None:
        """Raise if the next pass is not of a whole epoch, whose length TensorFlow has been told."""
        epoch, step = self._feed.position
        if step:
            raise StateError(
                lines(
                    "a tf.data.Dataset has whole epochs, and this loader goes on at step "
                    f"{step} of epoch {epoch}.",
                    "Serve the rest in a pass over the loader itself: for batch in loader.",
                    f"Or set loader.epoch = {epoch}, to begin that epoch anew.",
                )
            )

    def begin(self) -> Array:
        """Return the epoch that an iteration serves, ``int64[]``."""
        self._note(None)
        try:
            self.check()
        except StateError as error:
            self._note(error)
            raise
        return np.int64(self._feed.begin()[0])  # type: ignore[return-value]

    def take(self, epoch: Array, step: Array) -> list[Array]:
        """Return the arrays of a batch, by the order of names."""
        position = int(epoch), int(step)
        try:
            batch = self._feed.take(*position)
        except BaseException as error:
            self._note(error)
            raise
        self._feed.delivered(*position)
        values = self._feed.structure.unpack(batch)
        return [values[name] for name in self._feed.specs]

    def _note(self, error: BaseException | None) -> None:
        if self._loader is not self._feed:
            self._loader.last_error = error
