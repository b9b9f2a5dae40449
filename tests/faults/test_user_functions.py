"""Functions of the user that raise, or draw random numbers that are not theirs.

Also in tests/conformance/test_processes.py and tests/augment/test_function.py.
"""

from __future__ import annotations

import pytest
from harness import run


@pytest.mark.parametrize("processes", [0, 2])
@pytest.mark.parametrize("place", ["preprocess", "transform"])
def test_an_exception_is_chained_with_the_sample_and_a_traceback(processes: int, place: str) -> None:
    """Row 6: also one that cannot be pickled, from a worker process; all other batches come."""
    run(
        f"""
    import threading, traceback
    import numpy as np
    import multifeed as mf
    from harness import injected, nothing_left, tell

    class Unhappy(Exception):
        # No copy of it can be made: its constructor takes two, and it holds a lock.
        def __init__(self, one, other):
            super().__init__(f"unhappy with {{one}} and {{other}}")
            self.lock = threading.Lock()

    def fail(array, rng=None):
        if array[0] == 17:
            injected("an exception")
            raise Unhappy(1, 2)
        return array

    rows = {{"id": [f"s{{row}}" for row in range(40)], "x": np.arange(40.0)[:, None]}}
    is_preprocess = "{place}" == "preprocess"
    field = mf.Array("x", preprocess=fail if is_preprocess else None)
    augment = [] if is_preprocess else [mf.RandomFunction("x", fail)]
    with nothing_left(memory=False):
        data = mf.Dataset(rows, key="id", inputs=field)
        feed = mf.Feed(data, 4, augment=augment, processes={processes}, workers=2)
        bad = []
        for step in range(10):
            try:
                (batch,) = feed.take(0, step)
                assert (batch[:, 0] == np.arange(4 * step, 4 * step + 4)).all()
            except mf.SampleError as error:
                bad.append(step)
                assert (error.field, error.key, error.row) == ("x", "s17", 17)
                assert "raised Unhappy" in str(error) and "unhappy with 1 and 2" in str(error)
                assert 'in fail' in "".join(traceback.format_exception(error)), error
        feed.close()
        assert bad == [4]
        del feed, data, batch
    """
    )


@pytest.mark.parametrize(
    ("processes", "place", "draw"),
    [
        (0, "preprocess", "np.random.rand()"),
        (1, "preprocess", "random.random()"),
        (0, "preprocess of an augmented image", "random.random()"),
        (1, "transform", "np.random.rand()"),
        (0, "transform", "random.random()"),
    ],
)
def test_global_random_numbers_are_warned_about(processes: int, place: str, draw: str) -> None:
    """Row 36: once, with the way to the slot's own generator, also from worker processes."""
    ended = run(
        f"""
    import io, random
    import numpy as np
    from PIL import Image
    import multifeed as mf
    from harness import injected

    def noisy(array, rng=None):
        global told
        if not told:
            injected("{draw}")
            told = True
        return (array + {draw}).astype(array.dtype)

    told = False
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "PNG")
    kind, augment = "{place}", []
    if kind == "preprocess":
        data = mf.Dataset({{"x": np.zeros((40, 3))}}, inputs={{"x": mf.Array("x", preprocess=noisy)}})
    elif kind == "transform":
        data = mf.Dataset({{"x": np.zeros((40, 3))}}, inputs={{"x": mf.Array("x")}})
        augment = mf.RandomFunction("x", noisy)
    else:
        field = mf.Image("x", 8, dtype="float32", preprocess=noisy)
        data = mf.Dataset({{"x": [stream.getvalue()] * 40}}, inputs={{"x": field}})
        augment = mf.RandomFlip("x")
    with mf.Feed(data, 4, augment=augment, processes={processes}, workers=1) as feed:
        assert len(list(feed)) == 10
    """,
    )
    remedy = {
        "transform": "Use its second argument, e.g. rng.random(), which is each slot's own generator.",
    }.get(
        place,
        "A preprocess must depend on its argument alone; what is drawn belongs into "
        "augment=mf.RandomFunction(field, function), which is given each slot's own generator.",
    )
    warning = (
        "MultifeedWarning: noisy uses the global random state of numpy.random or random: its batches "
        f"differ from run to run, and with the number of workers.\n  {remedy}\n"
    )
    assert ended.err.count("MultifeedWarning") == 1
    assert warning in ended.err


def test_what_draws_from_the_slots_generator_is_the_same_everywhere() -> None:
    """Row 36: no slot has another's numbers, whoever makes it; the user's own state is left alone."""
    run(
        """
    import random
    import numpy as np
    import multifeed as mf
    from harness import injected

    def noisy(array, rng):
        return array + rng.random(array.shape).astype(array.dtype)

    data = mf.Dataset({"x": np.zeros((40, 3))}, inputs=mf.Array("x"))
    before = random.getstate(), np.random.get_state()[1].tobytes()
    streams = []
    for options in (dict(workers=1), dict(workers=3), dict(processes=2)):
        augment = mf.RandomFunction("x", noisy)
        with mf.Feed(data, 4, shuffle=True, augment=augment, **options) as feed:
            streams.append(np.concatenate([batch[0] for batch in feed]))
        injected(str(options))
    assert all((stream == streams[0]).all() for stream in streams)
    assert len(np.unique(streams[0])) == 120
    assert before == (random.getstate(), np.random.get_state()[1].tobytes())
    """
    )
