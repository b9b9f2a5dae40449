"""Training through a neighbour comes to the same losses as through the loader."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest

import multifeed as mf

BACKEND = keras.config.backend()


def loader_of(count: int = 22, **options: Any) -> mf.Loader:
    """Return a loader of numbers, shuffled, with weights of its samples."""
    x = np.random.default_rng(0).random((count, 3), np.float32)
    rows = {"x": x, "z": x[:, 0] * 2, "y": x.sum(1), "w": np.arange(count) % 3 + 0.5}
    data = mf.Dataset(
        rows,
        inputs={"x": mf.Array("x"), "z": mf.Numeric("z")},
        targets={"y": mf.Numeric("y")},
        sample_weight="w",
    )
    return mf.Loader(data, 4, shuffle=True, seed=5, **options)


def model_of(loader: mf.Loader) -> keras.Model:
    """Return a model that begins with the same weights each time."""
    keras.utils.set_random_seed(0)
    x = mf.inputs(loader)
    hidden = keras.layers.Dense(4, "tanh")(keras.layers.Concatenate()([x["x"], x["z"]]))
    model = keras.Model(x, {"y": keras.layers.Dense(1, name="y")(hidden)})
    model.compile("sgd", "mse")
    return model


def losses(loader: mf.Loader, batches: Any) -> list[float]:
    """Return the loss of each epoch."""
    return model_of(loader).fit(batches, epochs=3, verbose=0).history["loss"]


def test_fit_on_a_tf_dataset_is_fit_on_the_loader() -> None:
    """On every backend, to the same losses; the epoch goes on as it does for the loader."""
    loader = loader_of()
    wanted = losses(loader, loader)
    again = loader_of()
    dataset = mf.to_tf_data(again)
    np.testing.assert_allclose(losses(again, dataset), wanted, rtol=1e-6)
    assert again.epoch == 3
    model = model_of(again)
    evaluated = model.evaluate(mf.to_tf_data(loader_of()), verbose=0)
    np.testing.assert_allclose(evaluated, model.evaluate(loader_of(), verbose=0), rtol=1e-6)


def test_the_original_of_an_error_is_kept() -> None:
    """TensorFlow raises one of its own; the loader has the other."""

    def fails(value: float) -> float:
        raise KeyError("no good")

    field = mf.Function("v", fails, mf.Spec((), "float32"))
    loader = mf.Loader(mf.Dataset({"v": np.arange(4.0)}, inputs=field), 2)
    with pytest.raises(Exception, match="raised KeyError: 'no good'"):
        next(iter(mf.to_tf_data(loader)))
    assert isinstance(loader.last_error, mf.SampleError)
    assert isinstance(loader.last_error.__cause__, KeyError)


def steps(loader: mf.Loader, batches: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Yield the batches of three epochs."""
    for epoch in range(3):
        assert loader.epoch == epoch
        yield from batches
    assert loader.epoch == 3


@pytest.mark.skipif(BACKEND != "torch", reason="a loop of PyTorch")
@pytest.mark.parametrize("neighbour", [lambda loader: loader, mf.to_torch])
def test_a_loop_of_pytorch_is_fit(neighbour: Callable[[mf.Loader], Any]) -> None:
    """A plain loop over tensors, with an optimizer of PyTorch, ends in the same weights."""
    import torch

    loader = loader_of()
    model = model_of(loader)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for inputs, targets, weights in steps(loader, neighbour(loader)):
        inputs, targets, weights = keras.tree.map_structure(
            keras.ops.convert_to_tensor, (inputs, targets, weights)
        )
        errors = (model(inputs)["y"] - targets["y"]).square().mean(1)
        optimizer.zero_grad()
        (errors * weights["y"]).mean().backward()
        optimizer.step()
    fitted = model_of(loader)
    fitted.fit(loader_of(), epochs=3, verbose=0)
    for found, wanted in zip(model.get_weights(), fitted.get_weights(), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(BACKEND != "jax", reason="a loop of JAX")
@pytest.mark.parametrize("neighbour", [lambda loader: loader, mf.to_jax])
def test_a_loop_of_jax_is_fit(neighbour: Callable[[mf.Loader], Any]) -> None:
    """A plain loop over arrays, with gradients of JAX, ends in the same weights."""
    import jax

    loader = loader_of()
    model = model_of(loader)

    @jax.jit
    def step(variables: Any, inputs: Any, targets: Any, weights: Any) -> Any:
        def loss(variables: Any) -> Any:
            outputs, _ = model.stateless_call(variables, [], inputs)
            return (((outputs["y"] - targets["y"]) ** 2).mean(1) * weights["y"]).mean()

        slopes = jax.grad(loss)(variables)
        return [each - 0.01 * slope for each, slope in zip(variables, slopes, strict=True)]

    variables = [each.value for each in model.trainable_variables]
    for inputs, targets, weights in steps(loader, neighbour(loader)):
        variables = step(variables, inputs, targets, weights)
    fitted = model_of(loader)
    fitted.fit(loader_of(), epochs=3, verbose=0)
    for found, wanted in zip(variables, fitted.get_weights(), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
