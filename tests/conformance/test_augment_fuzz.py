"""Any list of transforms over any fields: a batch is a function of its position."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

import multifeed as mf
from multifeed.augment.base import Transform

COUNT = 11
PICTURES = ["photo", "grey", "rgba"]
IMAGES = [*PICTURES, "mask"]
VOLUMES = ["scan", "labels"]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Images with masks, volumes, arrays, sequences, points and boxes; one photo is missing."""
    folder = tmp_path_factory.mktemp("fuzz")
    rng = np.random.default_rng(0)
    names: dict[str, list[str | None]] = {"photo": [], "mask": [], "rgba": []}
    for number in range(COUNT):
        height, width = rng.integers(50, 120, 2)
        coarse = rng.integers(0, 256, (9, 9, 3), np.uint8)
        picture = PILImage.fromarray(coarse).resize((int(width), int(height)))
        mask = (np.asarray(picture.convert("L")) // 64).astype(np.uint8)
        made = {"photo": picture, "mask": PILImage.fromarray(mask)}
        made["rgba"] = PILImage.fromarray(np.dstack([np.asarray(picture), mask * 60]))
        for name, image in made.items():
            path = folder / f"{name}{number}.{'jpg' if name == 'photo' else 'png'}"
            image.save(path)
            names[name].append(str(path))
    names["photo"][3] = None
    return {
        **names,
        "kind": ["abc"[number % 3] for number in range(COUNT)],
        "num": rng.normal(size=(COUNT, 5)).astype(np.float32),
        "arr": rng.normal(size=(COUNT, 20, 20, 2)).astype(np.float32),
        "scan": rng.integers(-900, 900, (COUNT, 6, 10, 10, 2), np.int16),
        "labels": rng.integers(0, 3, (COUNT, 3, 5, 5, 1), np.uint8),
        "seq": [np.arange(number % 7 + 1.0).tolist() for number in range(COUNT)],
        "pts": [[[10.0, 20.0], [30.0, 40.0], [5.0, 5.0]]] * COUNT,
        "box": [[[10.0, 20.0, 30.0, 40.0]], []] * (COUNT // 2) + [[]],
    }


def declared(rows: dict[str, Any], chance: random.Random) -> mf.Dataset:
    """Return a dataset of fields of every kind, with options by chance."""
    flip = chance.choice([None, lambda pixels: pixels[::-1]])
    before = {name: [k for k in ("color", "noise", "mix") if chance.random() < 0.5] for name in "ab"}
    return mf.Dataset(
        rows,
        inputs={
            "photo": mf.Image("photo", 24, base_size=chance.choice([None, 28, 40]), preprocess=flip,
                              dtype=chance.choice(["uint8", "float32", "float16"]), missing="zero"),
            "grey": mf.Image("mask", 32, base_size=40, color_mode="grayscale"),
            "rgba": mf.Image("rgba", 24, base_size=30, color_mode="rgba",
                             pad_to_aspect_ratio=chance.random() < 0.5),
            "num": mf.Array("num"),
            "arr": mf.Array("arr"),
            "scan": mf.Array("scan", dtype=chance.choice([None, "float32"])),
            "seq": mf.Array("seq", pad_to=8),
        },
        targets={
            "mask": mf.Image("mask", 12, base_size=chance.choice([None, 14, 20]),
                             color_mode="grayscale", interpolation="nearest"),
            "labels": mf.Array("labels", interpolation="nearest"),
            "kind": mf.Category("kind", vocabulary=["a", "b", "c"], one_hot=True),
            "clean": mf.Same("photo", dtype="float32", before=before["a"]),
            "still": mf.Same("num", dtype="float32", before=before["b"]),
            "pts": mf.Points("pts", image="photo", pad_to=3),
            "seen": mf.Mask("pts"),
            "box": mf.Boxes("box", image="rgba", pad_to=2, relative=True),
        },
    )  # fmt: skip


def rolled(values: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    """A user's function of several fields, in place."""
    for name in values:
        values[name][...] = np.roll(values[name], int(rng.integers(3)), 0)


def transforms(chance: random.Random) -> Iterator[Transform]:
    """Yield geometry, then all else, then mixes; maybe one of them twice."""

    def some(names: list[str]) -> list[str]:
        return chance.sample(names, chance.randint(1, len(names)))

    geometry: list[Callable[[], Transform]] = [
        lambda: mf.RandomAffine(some(IMAGES), rotation=chance.choice([0, 20]), shift=0.1, zoom=0.2,
                                flip="horizontal_and_vertical", fill="reflect"),
        lambda: mf.RandomFlip(some([*IMAGES, "arr"])),
        lambda: mf.RandomResizedCrop(some(IMAGES)),
        lambda: mf.RandomCrop(some(["grey", "rgba"])),
        lambda: mf.RandomAffine3D(some(VOLUMES), rotation=chance.choice([0, (20, 0, 0), 30]), shift=0.1,
                                  flip="depth", fill=chance.choice(["nearest", "reflect", "wrap"])),
        lambda: mf.RandomFlip3D(some(VOLUMES), along=some(["depth", "height", "width"])),
        lambda: mf.RandomTurn3D(some(VOLUMES)),
    ]  # fmt: skip
    others: list[Callable[[], Transform]] = [
        lambda: mf.RandomColor(some(PICTURES), brightness=0.2, hue=0.1, contrast=0.3, gamma=0.2),
        lambda: mf.RandomNoise(some(PICTURES), sigma=(0, 9)),
        lambda: mf.RandomJPEG(some(PICTURES)),
        lambda: mf.RandomErasing(some([*IMAGES, "arr"])),
        lambda: mf.Noise(some(["num", "arr", "scan"]), sigma=0.3),
        lambda: mf.RandomColor("scan", brightness=0.2, contrast=0.2),
        lambda: mf.RandomFunction(["photo", "arr", "num"], rolled),
        lambda: mf.RandomShift(some(["arr", "num"]), most=2),
        lambda: mf.TimeMask(some(["seq", "arr"]), most=0.3),
    ]
    chosen = [chance.choice(geometry)() for _ in range(chance.randint(0, 3))]
    chosen += [chance.choice(others)() for _ in range(chance.randint(0, 4))]
    if chosen and chance.random() < 0.3:
        chosen.append(chosen[-1])
    for _ in range(chance.choice([0, 0, 1, 2])):
        kind = chance.choice([mf.MixUp, mf.CutMix])
        named = ["photo", *chance.choice([[], ["num"], ["num", "seq"], ["grey", "rgba"]]), "kind"]
        chosen.append(kind(named, keep=["pts", "mask", "box", "labels"]))
    yield from chosen


def leaves(batch: Any) -> dict[str, np.ndarray]:
    """Return the arrays of a batch, inputs, targets and weights, by role and name."""
    return {f"{number}/{name}": each[name] for number, each in enumerate(batch) for name in each}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::multifeed.MultifeedWarning")
def test_batches_depend_on_their_position_alone(rows: dict[str, Any], full_length: bool) -> None:
    """Iterated, taken and computed; on any number of threads; each slot as in batches of one."""
    wanted, number = (400 if full_length else 12), 0
    while wanted:
        number += 1
        chance = random.Random(number)
        data, augment = declared(rows, chance), list(transforms(chance))
        options: dict[str, Any] = {
            "shuffle": chance.random() < 0.7, "seed": chance.choice([0, -3, 2**63]), "augment": augment,
            "class_weight": chance.choice([None, {"kind": {"a": 2.0}}]),
        }  # fmt: skip
        try:
            single = mf.Feed(data, 1, workers=1, **options)
        except mf.DeclarationError:
            continue  # Not every list makes sense.
        wanted -= 1
        size, workers = chance.choice([2, 3, 5]), chance.choice([1, 2, 5])
        remainder = chance.choice(["keep", "drop", "pad"])
        what = f"seed {number}, {augment}"
        with single, mf.Feed(data, size, workers=workers, remainder=remainder, **options) as feed:
            feed.epoch = 1
            for step, batch in enumerate(feed):
                found = leaves(batch)
                for same in (feed.batch(1, step), feed.take(1, step)):
                    for name, array in leaves(same).items():
                        assert found[name].tobytes() == array.tobytes(), (name, what)
                for place in range(len(feed.rows(1, step))):
                    alone = leaves(single.batch(1, step * size + place))
                    for name, array in alone.items():
                        assert found[name][place].tobytes() == array[0].tobytes(), (name, what)
                assert set(np.unique(batch[1]["mask"])) <= {0, 1, 2, 3}, what
                assert set(np.unique(batch[1]["labels"])) <= {0, 1, 2}, what
