"""The program that trains ends, or stops using a loader: nothing is left, and the next run just starts.

Also in tests/conformance/test_processes.py: whatever becomes of the owner, its workers end.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import time

import pytest
from harness import Program, run

# A trainer whose workers are busy with a slow function.
TRAINER = """
    import time
    import numpy as np
    import multifeed as mf
    from harness import injected, nothing_left, tell

    def slow(array):
        time.sleep({pause_s})
        return array * 2

    data = mf.Dataset({{"x": np.arange(400.0)}}, inputs=mf.Array("x", shape=(1,), preprocess=slow))
    options = dict(shuffle=True, seed=3, processes={processes}, workers=2)
"""


@pytest.mark.parametrize("pause_s", [0.002, 0.3])
@pytest.mark.parametrize("processes", [0, 2])
def test_a_killed_trainer_leaves_nothing(pause_s: float, processes: int) -> None:
    """Row 7: `kill -9` of the trainer alone: its workers are gone in two seconds, and all they had."""
    trainer = Program(
        TRAINER.format(pause_s=pause_s, processes=processes)
        + """
    feed = mf.Feed(data, 4, **options)
    for step, batch in enumerate(feed):
        tell(step)
    """
    )
    trainer.wait_for(2)
    trainer.inject("SIGKILL", lambda: trainer.signal(signal.SIGKILL))
    ended = trainer.end()
    assert ended.code == -signal.SIGKILL
    assert ended.err == ""


@pytest.mark.parametrize("between_s", [0.0, 0.1])
@pytest.mark.parametrize("processes", [0, 2])
def test_ctrl_c_twice_needs_no_cleaning_up(between_s: float, processes: int) -> None:
    """Row 8: two interrupts of the whole group, the second at once or while all is being closed.

    It ends, nothing is left, and the next program serves what it would have served.
    """
    script = (
        TRAINER.format(pause_s=0.01, processes=processes)
        + """
    feed = mf.Feed(data, 4, **options)
    for step, batch in enumerate(feed):
        assert (batch[0] == 2 * feed.rows(0, step)[:, None]).all()
        tell(step)
    """
    )
    trainer = Program(script)
    trainer.wait_for(3)
    trainer.inject("SIGINT", lambda: trainer.signal(signal.SIGINT, group=True))
    time.sleep(between_s)
    # It may have ended already.
    trainer.inject("SIGINT", lambda: trainer.signal(signal.SIGINT, group=True))
    ended = trainer.end()
    assert ended.code != 0
    assert "KeyboardInterrupt" in ended.err
    following = Program(script.replace("0.01", "0"), limit_s=30)
    following.inject("the next run", lambda: None)
    assert following.end().told == list(range(100))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["threads", "processes", "columns"])
def test_epochs_that_are_left_early_leave_nothing(engine: str, full_length: bool) -> None:
    """Row 9: a thousand times, a pass is broken out of, its iterator dropped, or its feed closed."""
    cycles = 1_000 if full_length else 30
    run(
        f"""
    import gc
    import numpy as np
    import multifeed as mf
    from harness import injected, nothing_left

    field = mf.Array("x", preprocess=None if "{engine}" == "columns" else np.sqrt)
    data = mf.Dataset({{"x": np.ones((64, 20_000))}}, inputs=field)
    def feed_of():
        return mf.Feed(data, 4, shuffle=True, workers=2, processes=2 * ("{engine}" == "processes"))

    def cycle(number, feed):
        # Out of the loop; an iterator that is dropped, and one that is kept; closed in between.
        for batch in feed:
            break
        kept, dropped = iter(feed), iter(feed)
        next(kept), next(dropped)
        del dropped
        if number % 10 == 0:
            feed.close()
        assert len(list(kept)) == 15

    # All that is set up once: threads of NumPy, memory that is recycled.
    with feed_of() as feed:
        for number in range(10):
            cycle(number, feed)
    del feed
    data.family.free.clear()
    with nothing_left():
        feed = feed_of()
        for number in range({cycles}):
            cycle(number, feed)
            injected("left early")
        del feed
        data.family.free.clear()
    """,
        limit_s=600 if full_length else 100,
    )


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("backend", ["jax", "tensorflow", "torch"])
def test_workers_start_though_a_backend_has_threads(backend: str, full_length: bool) -> None:
    """Row 10: the backend has computed, and has threads: nothing is forked, and all is served."""
    if not full_length and backend != os.environ.get("KERAS_BACKEND", "jax"):
        pytest.skip("one backend will do in the short form")
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    ended = run(
        TRAINER.format(pause_s=0.0, processes=2)
        + """
    import os, psutil, sys, warnings
    warnings.filterwarnings("error", message=".*fork")
    import keras
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(512), keras.layers.Dense(8)])
    model.predict(np.ones((4096, 64), "float32"), verbose=0)
    assert psutil.Process().num_threads() > 2
    injected(f"{psutil.Process().num_threads()} threads of the backend")

    def forked():
        tell("forked")

    # Python calls this before any fork that copies its threads' locks.
    os.register_at_fork(before=forked)
    with mf.Feed(data, 4, **options) as feed:
        for step, batch in enumerate(feed):
            assert (batch[0] == 2 * feed.rows(0, step)[:, None]).all()
            if step == 50:
                model.predict(np.ones((4096, 64), "float32"), verbose=0)
    assert step == 99
    """,
        env={"KERAS_BACKEND": backend},
        limit_s=150,
    )
    assert ended.told == []
