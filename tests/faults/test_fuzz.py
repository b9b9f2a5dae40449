"""Rows 22, 23 and 24 of the table of faults: damaged files of every format that is read.

Oracle: each is read or refused by an error of ours that names field, key, row and file; what is read
does not depend on what was read before, nor on what stood in the memory; no crash, no hang, and no more
memory than a bound. `fuzzing.py` reads them, in a process of its own, with limits of memory and time.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import fuzzing
import numpy as np
import pytest
from fuzzing import FORMATS, GROWTH_BYTES, Picture

# What is slow: these, in the short form.
FEW = {
    "AVIF": 200,
    "JPEG2000": 200,
    "WEBP": 300,
    "sound, WAV": 300,
    "sound, RF64": 200,
    "sound, FLAC": 300,
    "sound, OGG": 300,
    "video, mp4": 150,
    "video, webm": 150,
    "shard, raw": 300,
    "shard, zstd": 100,
    "shard, jpeg": 200,
}


@pytest.mark.slow
@pytest.mark.timeout(700)
@pytest.mark.parametrize("name", FORMATS)
def test_mutations_are_read_or_refused(name: str, tmp_path: Path, full_length: bool) -> None:
    """Row 24: 10,000 seeded mutations of a format: no crash, hang or blow-up, and the same twice."""
    count = 10_000 if full_length else FEW.get(name, 1_000)
    program = [sys.executable, fuzzing.__file__, name, str(tmp_path), str(count), "0"]
    run = subprocess.run(program, capture_output=True, timeout=600, check=False)
    assert run.returncode == 0, run.stderr.decode(errors="replace")[-4_000:]
    told = json.loads(run.stdout)
    assert sum(told["outcomes"].values()) == count
    # Both must occur, or nothing has been tested.
    is_bad = {"refused", "unusable", "decoded anew"} & told["outcomes"].keys()
    assert is_bad, told
    assert "read" in told["outcomes"], told
    assert told["growth"] < GROWTH_BYTES


@pytest.mark.parametrize("kind", [name for name in FORMATS if name.isupper() or name == "JPEG2000"])
def test_truncated_images_are_errors(kind: str, tmp_path: Path) -> None:
    """Row 22: cut at every 5 %, an image is an error, or lacks nothing that its pixels are made of."""
    picture = Picture(tmp_path, kind)
    refused = 0
    for number, content in enumerate(picture.whole()):
        picture.path.write_bytes(content)
        clean = picture.filled(2, 0)
        for share in range(5, 100, 5):
            outcome = picture.read(content[: len(content) * share // 100])
            refused += outcome == "refused"
            if outcome == "read":
                assert picture.filled(2, 0) == clean, (number, share)
            if kind == "JPEG":
                assert outcome == "refused", (number, share)
    assert refused > 10


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_damaged_image_shows_nothing_of_the_one_before(kind: str, tmp_path: Path) -> None:
    """Row 23: whatever is read of it, a white image before and a black one give the same bytes."""
    picture = Picture(tmp_path, kind)
    whole = picture.whole()
    outcomes = set()
    for place in range(len(whole[0]) // 2, len(whole[0]), 97):
        content = bytearray(whole[0])
        content[place] ^= 0x10
        # `read` compares what it finds after each of two other images.
        outcomes.add(picture.read(picture.seal(bytes(content))))
    assert outcomes


def test_a_finding_is_told(tmp_path: Path) -> None:
    """The program ends with an error if a format raises what is none of ours, and keeps the file."""
    code = (
        "import fuzzing\n"
        "fuzzing.mutation = lambda *rest: b'culprit'\n"
        "def fails(self, content):\n"
        "    if content == b'culprit': raise KeyError('not ours')\n"
        "    return 'read'\n"
        "fuzzing.Npy.read = fails\n"
        "fuzzing.Npy.seal = lambda self, content: content\n"
        f"fuzzing.main('npy', {str(tmp_path)!r}, 3, 0)\n"
    )
    folder = Path(fuzzing.__file__).parent
    program = [sys.executable, "-c", code]
    run = subprocess.run(program, capture_output=True, timeout=60, check=False, cwd=folder)
    assert run.returncode == 1
    assert b"mutation 0 of npy, seed 0" in run.stderr
    assert (tmp_path / "culprit").read_bytes() == b"culprit"


def test_mutations_are_a_function_of_their_seed() -> None:
    """The same seed gives the same mutation, another one another; none is the whole file."""
    whole = [bytes(range(200)), bytes(300)]
    made = [
        [
            fuzzing.mutation(whole, fuzzing.MUTATIONS, np.random.default_rng([seed, each]))
            for each in range(50)
        ]
        for seed in (0, 0, 1)
    ]
    assert made[0] == made[1]
    assert made[0] != made[2]
    assert not set(whole) & set(made[0])
