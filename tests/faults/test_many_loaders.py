"""Several loaders at once, in Keras. Also in tests/keras/test_loader.py."""

from __future__ import annotations

import pytest
from harness import run


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("processes", [0, 1])
def test_loaders_do_not_disturb_each_other(processes: int, full_length: bool) -> None:
    """Row 37: validation inside training, an evaluate inside a callback, an early stop, loops at once.

    Every loader serves its own positions, each once; afterwards nothing is left.
    """
    if not processes and not full_length:
        pytest.skip("processes have all that threads have, and more")
    run(
        f"""
    import gc, threading
    import keras
    import numpy as np
    import multifeed as mf
    from harness import injected, nothing_left

    def same(array):
        return array


    def declared(start):
        x = np.arange(start, start + 60.0)[:, None]
        field = mf.Array("x", preprocess=same)
        return mf.Dataset({{"x": x, "y": x}}, inputs=field, targets=mf.Array("y"))

    def loader(start, **options):
        return mf.Loader(declared(start), 4, shuffle=True, seed=start, processes={processes}, workers=2)

    def model():
        inputs = keras.Input((1,))
        made = keras.Model(inputs, keras.layers.Dense(1)(inputs))
        made.compile("sgd", "mae", jit_compile=False)
        return made

    class Evaluate(keras.callbacks.Callback):
        def __init__(self, other):
            super().__init__()
            self.other = other
        def on_train_batch_end(self, batch, logs=None):
            if batch == 5:
                injected("a nested evaluate")
                assert np.isfinite(observer.evaluate(self.other, verbose=0))

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 7:
                injected("an early stop")
                self.model.stop_training = True

    # Keras has no room for an evaluate of the very model that is trained.
    trained, observer = model(), model()
    observer.evaluate(loader(0), verbose=0)
    trained.fit(loader(0), epochs=1, verbose=0)
    gc.collect()
    # TensorFlow keeps every dataset that it has seen, and starts threads as it likes.
    keeps = keras.backend.backend() == "tensorflow"
    with nothing_left(memory=False, of=("children", *(() if keeps else ("threads", "descriptors")))):
        train, val, other = loader(0), loader(1000), loader(2000)
        inside = [Evaluate(other), Evaluate(train)]
        trained.fit(train, validation_data=val, epochs=3, verbose=0, callbacks=inside)
        assert (train.epoch, val.epoch, other.epoch) == (3, 0, 0)
        trained.fit(train, epochs=2, verbose=0, callbacks=[Stop()])
        assert train.epoch == 3
        # The epoch that was stopped is served whole.
        trained.fit(train, epochs=1, verbose=0)
        assert train.epoch == 4

        # Two loops at once over one loader, and two loaders, in threads.
        failed = []
        def loop(each, epochs):
            try:
                for epoch in epochs:
                    for step in range(len(each)):
                        x, _ = each.feed.take(epoch, step)
                        assert (x[:, 0] == each.data.rows["x"][each.rows(epoch, step), 0]).all()
            except BaseException as error:
                failed.append(error)
        threads = [threading.Thread(target=loop, args=(each, range(n, n + 3)))
                   for n, each in enumerate([train, train, val, other])]
        injected("four threads")
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed, failed
        # One inside the other.
        for outer, inner in zip(train, zip(train, val), strict=False):
            pass
        for each in (train, val, other):
            each.close()
        del train, val, other, each, threads, outer, inner, inside
    """,
        limit_s=180,
    )
