"""Shared by all tests: how long slow ones run, and small real data."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import servers
import simplejpeg
from hypothesis import settings
from skimage import data as photographs

import multifeed as mf

# No test is decided by time.
settings.register_profile("calm", deadline=None)
settings.load_profile("calm")


def pytest_collection_finish() -> None:
    """Keep modules and tests from being looked through each time that a test looks for garbage."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Let modules be taken apart in the end, which some complain of not to have been."""
    gc.unfreeze()


@pytest.fixture
def web() -> Iterator[servers.Web]:
    """A web server of this machine."""
    with servers.web() as server:
        yield server


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    """A client of boto3, of a server of this machine that has an empty bucket named ``bucket``."""
    from multifeed.remote.stores import store_of

    with servers.s3() as (environment, client), pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        store_of.cache_clear()
        client.create_bucket(Bucket="bucket")
        yield client
        store_of.cache_clear()


@pytest.fixture(scope="session")
def full_length() -> bool:
    """Whether slow tests run at full length (`make test-slow`)."""
    return bool(os.environ.get("MULTIFEED_SLOW"))


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 23 pairs of JPEG patches, left/p00.jpg and right/p00.jpg, cut from a photograph."""
    folder = tmp_path_factory.mktemp("photos")
    picture = photographs.coffee()
    for side, shift in (("left", 0), ("right", 40)):
        (folder / side).mkdir()
        for number in range(23):
            top, left = 7 * number, 11 * number + shift
            patch = np.ascontiguousarray(picture[top : top + 60, left : left + 80])
            data = simplejpeg.encode_jpeg(patch, quality=90)
            (folder / side / f"p{number:02}.jpg").write_bytes(data)
    return folder


@pytest.fixture
def pairs(photos: Path) -> mf.Dataset:
    """23 samples of two photographs, two numbers and a class, with a key."""
    keys = [f"p{number:02}" for number in range(23)]
    rows = mf.align(
        "id",
        left=f"{photos}/left/{{id}}.jpg",
        right=f"{photos}/right/{{id}}.jpg",
        table={
            "id": keys,
            "age": np.arange(23) * 1.5,
            "kind": [("a", "b", "c")[number % 3] for number in range(23)],
            "number": np.arange(23),
        },
    )
    return mf.Dataset(
        rows,
        key="id",
        inputs={
            "left": mf.Image("left", size=(24, 32)),
            "right": mf.Image("right", size=(20, 20), color_mode="grayscale"),
            "age": mf.Numeric("age"),
        },
        targets={"kind": mf.Category("kind", vocabulary=["a", "b", "c"]), "number": mf.Array("number")},
    )
