"""Generations: after a kill, a full disk or a flipped bit, there is a whole one, and the right one."""

from __future__ import annotations

import pickle
import random
import re
import resource
import signal
import subprocess
import sys
import time
import warnings
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import multifeed as mf
from multifeed.generations import Generations

ARRAYS = {"weights/0": np.arange(300, dtype=np.float32).reshape(20, 15), "optimizer/0": np.array(3)}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_found(generations: Generations, step: int) -> None:
    """Raise unless the newest generation is the one of a step."""
    found = generations.newest()
    assert found is not None
    note, arrays = found
    assert note == {"step": step}
    assert list(arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array + step, strict=True)


def save(generations: Generations, step: int) -> None:
    generations.save({"step": step}, {name: array + step for name, array in ARRAYS.items()})


@pytest.fixture
def generations(tmp_path: Path) -> Generations:
    """Two generations in a folder, of steps 1 and 2."""
    made = Generations(tmp_path / "run")
    for step in (1, 2):
        save(made, step)
    return made


def test_what_is_saved_is_found_by_anybody(generations: Generations) -> None:
    """The newest one is found, by another object too, and two are kept."""
    for step in range(3, 8):
        save(generations, step)
        assert_found(generations, step)
        assert_found(Generations(generations.folder), step)
        assert len(names(generations.folder)) == 2


def test_an_empty_folder_and_none_have_no_generation(tmp_path: Path) -> None:
    """None is found, and nothing is made, until something is saved."""
    assert Generations(tmp_path).newest() is None
    assert Generations(tmp_path / "none").newest() is None
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint32", "float16", "float64", "complex64", "bfloat16"]
)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 3)], ids=str)
def test_numbers_of_every_type_come_back(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    """With shape and bytes; what NumPy has no name for comes as bytes to be viewed."""
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    array = np.ones(shape).astype(kind)
    generations = Generations(tmp_path)
    generations.save({}, {"x": array})
    found = generations.newest()
    assert found is not None
    np.testing.assert_array_equal(found[1]["x"].view(kind), array, strict=True)


def test_a_flipped_bit_is_noticed(generations: Generations, full_length: bool) -> None:
    """Wherever it is: the one before is used with a warning, unless the bit says nothing."""
    newest = max(generations.folder.iterdir())
    whole = newest.read_bytes()
    draw = random.Random(0)
    noticed = 0
    for _ in range(3_000 if full_length else 300):
        place = draw.randrange(len(whole))
        flipped = bytearray(whole)
        flipped[place] ^= 1 << draw.randrange(8)
        newest.write_bytes(flipped)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", mf.MultifeedWarning)
            found = Generations(generations.folder).newest()
        assert found is not None
        assert found[0]["step"] == (1 if caught else 2)
        noticed += bool(caught)
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(found[1][name], array + found[0]["step"], strict=True)
    assert noticed


def test_a_file_that_was_cut_is_left_out(generations: Generations) -> None:
    """At any length; the next generation replaces it, and the intact one before that is kept."""
    newest = max(generations.folder.iterdir())
    whole = newest.read_bytes()
    for length in range(0, len(whole), 97):
        newest.write_bytes(whole[:length])
        found = Generations(generations.folder)
        with pytest.warns(mf.MultifeedWarning) as caught:
            assert_found(found, 1)
        first, last = str(caught[0].message).split("\n  ")
        assert first.startswith(
            f"a generation in '{found.folder}' is damaged, and was left out: generation-0000000001.npz ("
        )
        assert last == "Training goes on from generation-0000000000.npz, which is older."
    save(found, 9)
    assert names(found.folder) == ["generation-0000000000.npz", "generation-0000000002.npz"]
    assert_found(Generations(found.folder), 9)


def test_a_folder_of_damaged_ones_is_no_begin(generations: Generations) -> None:
    """Training does not start anew without a word where something was saved."""
    for path in generations.folder.iterdir():
        path.write_bytes(b"")
    message = (
        f"all generations in '{generations.folder}' are damaged: generation-0000000001.npz (BadZipFile: "
        "File is not a zip file); generation-0000000000.npz (BadZipFile: File is not a zip file).\n"
        "  Remove the folder to train from the beginning."
    )
    with pytest.raises(mf.StateError, match=re.escape(message)):
        generations.newest()


class Payload:
    """Runs code where it is unpickled."""

    def __reduce__(self) -> Any:
        return (exec, ("raise SystemExit('unpickled')",))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    """An array of objects in the archive is refused, and its payload never runs."""
    with zipfile.ZipFile(tmp_path / "generation-0000000000.npz", "w") as archive:
        archive.writestr("note.json", "{}")
        with archive.open("x.npy", "w") as member:
            np.lib.format.write_array_header_1_0(
                member, {"descr": "|O", "fortran_order": False, "shape": (1,)}
            )
            member.write(pickle.dumps(np.array([Payload()], object)))
    with pytest.raises(mf.StateError, match="Object arrays cannot be loaded when allow_pickle=False"):
        Generations(tmp_path).newest()


def test_a_full_disk_leaves_what_there_is(generations: Generations) -> None:
    """Writing raises, nothing torn stays, and the newest one is that from before."""
    before = names(generations.folder)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limits[1]))
        with pytest.raises(OSError, match="File too large"):
            save(generations, 3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert names(generations.folder) == before
    assert_found(Generations(generations.folder), 2)


SAVING = """
import itertools, sys
import numpy as np
from multifeed.generations import Generations
generations = Generations(sys.argv[1])
found = generations.newest()
print("ready", flush=True)
for step in itertools.count(found[0]["step"] + 1 if found else 0):
    generations.save({"step": step}, {"x": np.full(200_000, step)})
"""


@pytest.mark.slow
def test_killed_at_any_moment_of_a_save_the_newest_is_whole(tmp_path: Path, full_length: bool) -> None:
    """kill -9 while it saves without a pause: an intact one each time, no older one, no litter."""
    draw, last, torn = random.Random(1), -1, 0
    folder = tmp_path / "run"
    for _ in range(60 if full_length else 8):
        process = subprocess.Popen([sys.executable, "-c", SAVING, str(folder)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(draw.uniform(0.01, 0.2))
        process.kill()
        process.wait(timeout=20)
        process.stdout.close()
        found = Generations(folder).newest()
        if found is None:
            continue
        assert found[0]["step"] >= last
        last = found[0]["step"]
        assert (found[1]["x"] == last).all()
        # What was being written, and at most one generation too many.
        assert len(names(folder)) <= 4
        torn += any(not name.endswith(".npz") for name in names(folder))
    assert last > 0
    assert torn, "no save was interrupted"
    Generations(folder).save({"step": last + 1}, {})
    assert all(name.endswith(".npz") for name in names(folder))
