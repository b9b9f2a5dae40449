"""Fields that cost nothing but time asleep. Apart from the jobs, as processes must find them by name."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

import multifeed as mf
from multifeed.fields.base import Field, PerSample


@dataclass(frozen=True)
class _Costless(Field):
    """What is made of a row's number alone."""

    column: str

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    def check(self, columns: Any) -> None:
        pass


@dataclass(frozen=True)
class Idle(_Costless):
    """One number per sample that nobody writes, after a time asleep."""

    sleep_s: float = 0.0

    def spec_of(self, columns: Any, learned: Any) -> Any:
        return _SPEC

    def bind(self, source: Any, learned: Any) -> Any:
        return _Asleep(self.sleep_s) if self.sleep_s else _Nothing()


_SPEC = mf.Spec((1,), "float32")


class _Nothing(PerSample):
    spec = _SPEC

    def load(self, row: int) -> None:
        return None

    def decode(self, row: int, loaded: None, out: np.ndarray) -> None:
        return None


class _Asleep(_Nothing):
    def __init__(self, sleep_s: float) -> None:
        self.sleep_s = sleep_s

    def decode(self, row: int, loaded: None, out: np.ndarray) -> None:
        time.sleep(self.sleep_s)
        out[...] = row


@dataclass(frozen=True)
class Blank(_Costless):
    """An image of which one pixel is written."""

    def spec_of(self, columns: Any, learned: Any) -> Any:
        return _IMAGE

    def bind(self, source: Any, learned: Any) -> Any:
        return _Blank()


_IMAGE = mf.Spec((224, 224, 3), "uint8")


class _Blank(PerSample):
    spec = _IMAGE

    def load(self, row: int) -> None:
        return None

    def decode(self, row: int, loaded: None, out: np.ndarray) -> None:
        out[0, 0, 0] = row % 256


def images_data(samples: int) -> Any:
    """Return a data set of two such images, with a target."""
    columns = {"row": np.arange(samples), "target": np.zeros(samples, np.float32)}
    inputs = {"left": Blank("row"), "right": Blank("row")}
    return mf.Dataset(columns, inputs=inputs, targets=mf.Numeric("target"))


def idle_data(samples: int, sleep_s: float = 0.0) -> Any:
    """Return a data set of such samples, with a target."""
    columns = {"row": np.arange(samples), "target": np.zeros(samples, np.float32)}
    return mf.Dataset(columns, inputs=Idle("row", sleep_s), targets=mf.Numeric("target"))
