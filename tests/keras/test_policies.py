"""Samples that cannot be used, inside fit, evaluate and predict."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import multifeed as mf

COUNT = 24
BAD = [3, 4, 17]


def read(values: np.ndarray) -> np.ndarray:
    if values[1] > 0:
        raise ValueError("a bad one")
    return values


def declared(rows: object = None) -> mf.Dataset:
    """Return 24 samples of two numbers; those with a second one above 0 cannot be read."""
    numbers = np.arange(COUNT)
    table = {
        "id": [f"s{number}" for number in numbers],
        "x": np.stack([np.sin(numbers), np.isin(numbers, BAD)], axis=1),
        "y": np.cos(numbers)[:, None],
    }
    data = mf.Dataset(table, key="id", inputs=mf.Array("x", preprocess=read), targets=mf.Array("y"))
    return data if rows is None else data.select(rows)


GOOD = np.setdiff1d(np.arange(COUNT), BAD)


def small_model() -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)])
    model.compile(
        keras.optimizers.SGD(0.1),
        "mse",
        metrics=[keras.metrics.MeanAbsoluteError(name="counts_copies")],
        weighted_metrics=[keras.metrics.MeanAbsoluteError(name="mae")],
    )
    return model


def test_the_loss_of_a_masked_batch_is_that_of_its_good_samples() -> None:
    """And so is the step of the optimizer, and what is among the weighted metrics."""
    with mf.Loader(declared(), 8, on_error="mask", max_bad=0.2) as loader:
        masked, plain = small_model(), small_model()
        for step in range(len(loader)):
            x, y, weights = loader.batch(0, step)
            rows = np.setdiff1d(loader.rows(0, step), BAD)
            good = mf.Feed(declared(rows), len(rows)).batch(0, 0)
            found = masked.train_on_batch(x, y, weights, return_dict=True)
            wanted = plain.train_on_batch(*good, return_dict=True)
            assert float(found["loss"]) == pytest.approx(float(wanted["loss"]), rel=1e-5)
            assert float(found["mae"]) == pytest.approx(float(wanted["mae"]), rel=1e-5)
        for one, other in zip(masked.get_weights(), plain.get_weights(), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("policy", ["drop", "mask"])
@pytest.mark.parametrize("processes", [0, 1])
def test_fit_and_evaluate_go_on_without_them(policy: str, processes: int) -> None:
    """All steps of all epochs; the report has each bad sample once, and every slot counted."""
    model = small_model()
    with mf.Loader(
        declared(), 8, shuffle=True, on_error=policy, max_bad=0.2, processes=processes
    ) as loader:
        seen = []
        count = keras.callbacks.LambdaCallback(on_train_batch_end=lambda step, logs: seen.append(step))
        model.fit(loader, epochs=3, verbose=0, callbacks=[count])
        assert seen == [0, 1, 2] * 3
        model.evaluate(loader, verbose=0)
        report = loader.report()
    assert {each.key for each in report.bad} == {f"s{row}" for row in BAD}
    assert (report.dropped + report.masked) % 3 == 0
    assert report.passes >= 3


def test_too_many_of_them_end_fit() -> None:
    """Whatever the backend makes of the exception, `last_error` has the original, with its list."""
    with mf.Loader(declared(), 8, on_error="drop", max_bad=0.09) as loader:
        with pytest.raises(Exception, match="3 of 24 samples cannot be used"):
            small_model().fit(loader, epochs=1, verbose=0)
        assert isinstance(loader.last_error, mf.BadSamplesError)
        assert [each.row for each in loader.last_error.samples] == BAD


@pytest.mark.parametrize("policy", ["drop", "mask"])
@pytest.mark.parametrize("batch_size", [1, 8, 5])
@pytest.mark.parametrize("remainder", ["keep", "pad"])
def test_predictions_of_them_are_left_out(policy: str, batch_size: int, remainder: str) -> None:
    """Every other sample has its own, under its key; a warning says how many have none."""
    model = small_model()
    options = {"on_error": policy, "max_bad": 0.2, "remainder": remainder, "shuffle": True}
    wanted = model.predict(mf.Feed(declared(GOOD), len(GOOD)).batch(0, 0)[0], verbose=0)[:, 0]
    loader = mf.Loader(declared(), batch_size, **options)
    with loader, pytest.warns(mf.MultifeedWarning) as caught:
        table = mf.predict(model, loader, verbose=0)
    assert [str(each.message) for each in caught if each.category is mf.MultifeedWarning] == [
        "3 samples cannot be used, and are left out of the table.\n"
        "  loader.report().bad says which, and why."
    ]
    found = dict(zip(table["id"].to_pylist(), table["y"].to_pylist(), strict=True))
    assert found.keys() == {f"s{row}" for row in GOOD}
    for row, value in zip(GOOD, wanted, strict=True):
        assert found[f"s{row}"] == pytest.approx(value, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("policy", ["drop", "mask"])
def test_predictions_are_of_what_was_served_to_predict(policy: str) -> None:
    """A sample that could not be read before, and can be now, has its own prediction, under its key."""
    is_gone = [True]

    def read_back(values: np.ndarray) -> np.ndarray:
        if is_gone and values[1] > 0:
            raise OSError("the network is gone")
        return values

    table = {
        "id": [f"s{row}" for row in range(COUNT)],
        "x": np.stack([np.sin(np.arange(COUNT)), np.isin(np.arange(COUNT), BAD)], axis=1),
    }
    data = mf.Dataset(table, key="id", inputs=mf.Array("x", preprocess=read_back))
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="y")])
    with mf.Loader(data, 8, on_error=policy, max_bad=0.2) as loader:
        list(loader)
        loader.close()
        is_gone.clear()
        found = mf.predict(model, loader, verbose=0)
        assert [each.row for each in loader.report().bad] == BAD
    assert found["id"].to_pylist() == table["id"]
    wanted = model.predict(table["x"], verbose=0)[:, 0]
    np.testing.assert_allclose(found["y"].to_numpy(), wanted, rtol=1e-5, atol=1e-6)
