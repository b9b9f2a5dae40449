"""What all neighbours have in common: they are loaded when they are used, if they are installed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import multifeed as mf


@pytest.mark.parametrize(
    ("neighbour", "package"),
    [(mf.to_tf_data, "tensorflow"), (mf.to_torch, "torch"), (mf.to_jax, "jax")],
)
def test_a_neighbour_that_is_not_installed_is_named(
    neighbour: Callable[[Any], Any], package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the line that installs it."""
    monkeypatch.setitem(sys.modules, package, None)
    feed = mf.Feed(mf.Dataset({"x": np.arange(3.0)}, inputs=mf.Array("x")), 2)
    with pytest.raises(mf.DeclarationError) as caught:
        neighbour(feed)
    assert str(caught.value) == (
        f"mf.{neighbour.__name__} is run by the package {package}, which is not installed.\n"
        f'  Run pip install "multifeed[{package}]".'
    )
