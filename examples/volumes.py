"""Train on patches of scans and a table: where are lesions, and of which kind?

Run it with ``python examples/volumes.py``; ``--short`` is the same in a few seconds. It needs nibabel
(``pip install "multifeed[medical]"``), and any Keras backend.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import keras
import numpy as np
import pyarrow as pa
from evidence import Metric, show_evidence
from keras import layers
from PIL import Image
from volumes_data import EXTENT, KINDS, write_scans

import multifeed as mf

SPACING = 2  # mm: voxels are cubes
PATCH = (24, 24, 16)
BATCH_SIZE = 8
COLOURS = np.array([[32, 32, 32], [230, 120, 40], [80, 140, 230]])  # of the labels 0, 1 and 2


def main() -> None:
    """Write the files, declare them, train, and show what was learned."""
    options = parse_options()
    count, epochs = (16, 8) if options.short else (64, 15)
    keras.utils.set_random_seed(0)
    print(f"Writing {count} scans, their labels and a table to {options.out}")
    write_scans(options.out, count)

    data = declare(options.out)
    train, val = data.split(0.75, 0.25, by="id", seed=0)
    train.adapt()
    print(f"\n{data}\n{len(train):,} patches to train on, {len(val):,} to validate on\n")

    model = build_model(train)
    mf.check_model(model, train)
    loader = mf.Loader(train, batch_size=BATCH_SIZE, shuffle=True, seed=7, augment=augmentation())
    val_loader = mf.Loader(val, batch_size=BATCH_SIZE, shuffle=True)
    model.fit(loader, validation_data=val_loader, epochs=epochs, verbose=2)
    show_evidence(model, loader, val_loader, overlap(), target="labels")
    write_picture(options.out / "found.png", model, val_loader)
    print(f"Slices, their labels, and what was found: {options.out / 'found.png'}")


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description="Train on patches of volumes and a table.")
    parser.add_argument("--short", action="store_true", help="fewer scans and epochs")
    parser.add_argument(
        "--out", type=Path, default=Path("build/examples/volumes"), help="folder to write to"
    )
    return parser.parse_args()


def declare(folder: Path) -> mf.Dataset:
    """Join scans, labels and the table by key, and say what the model gets of each patch."""
    scans = mf.align(
        "id",
        scan=folder / "scans/{id}.nii",
        labels=folder / "labels/{id}.nii",
        table=folder / "patients.csv",
    )
    grid = {"patch": PATCH, "spacing": SPACING, "orientation": "RAS"}
    return mf.Dataset(
        cut_patches(scans),
        key="patch",
        inputs={
            "scan": mf.Volume("scan", window=(0, 200), **grid),
            "delay": mf.Numeric("delay_s", normalize=True),
        },
        targets={"labels": mf.Volume("labels", interpolation="nearest", **grid)},
    )


def cut_patches(scans: pa.Table) -> pa.Table:
    """Return a row for each patch of each scan: the first voxel of each stands in three columns."""
    starts = [range(0, round(mm / SPACING), step) for mm, step in zip(EXTENT, PATCH, strict=True)]
    corners = np.array(list(product(*starts)))
    patches = scans.take(np.repeat(np.arange(len(scans)), len(corners)))
    for axis, places in enumerate(np.tile(corners, (len(scans), 1)).T):
        patches = patches.append_column(f"patch_{axis}", pa.array(places))
    names = [f"{name}/{number}" for name in scans["id"].to_pylist() for number in range(len(corners))]
    return patches.append_column("patch", pa.array(names))


def augmentation() -> list[mf.RandomAffine3D | mf.Noise]:
    """Return what moves a scan and its labels together, and what changes the scan alone."""
    both = ["scan", "labels"]
    return [
        mf.RandomAffine3D(both, rotation=(0, 0, 20), zoom=0.1, flip=("depth", "height", "width")),
        mf.Noise("scan", sigma=0.03),
    ]


def build_model(data: mf.Dataset) -> keras.Model:
    """Build a model that sees the scan at half its resolution, multiplied by what the table says."""
    x = mf.inputs(data)
    scan = layers.Rescaling(5, offset=-2.5)(x["scan"])
    coarse = layers.Conv3D(16, 3, strides=2, padding="same", activation="relu")(scan)
    delay = layers.Dense(16)(x["delay"])
    coarse = coarse * layers.Reshape((1, 1, 1, 16))(delay)
    coarse = layers.Conv3D(16, 3, padding="same", activation="relu")(coarse)
    joined = layers.Concatenate()([layers.UpSampling3D(2)(coarse), scan])
    joined = layers.Dense(16, activation="relu")(joined)
    model = keras.Model(x, {"labels": layers.Dense(len(KINDS), activation="softmax")(joined)})
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    return model


def overlap() -> Metric:
    """Return the mean Dice coefficient of both kinds of lesions; the guess is the commonest label."""

    def score(true: np.ndarray, predicted: np.ndarray) -> float:
        true, found = true[..., 0], predicted.argmax(axis=-1)
        kinds = range(1, len(KINDS))
        shared = [2 * np.sum((true == kind) & (found == kind)) for kind in kinds]
        return float(np.mean(shared / np.array([np.sum(true == k) + np.sum(found == k) for k in kinds])))

    def guess(true: np.ndarray) -> np.ndarray:
        commonest = np.eye(len(KINDS))[np.bincount(true.ravel()).argmax()]
        return np.broadcast_to(commonest, (*PATCH, len(KINDS)))

    return Metric("overlap (Dice)", score, guess, "{:.1%}")


def write_picture(file: Path, model: keras.Model, loader: mf.Loader) -> None:
    """Write the middle slices of the first patches, their labels, and below them what was found."""
    inputs, targets = loader.batch(0, 0)
    found = model.predict_on_batch(inputs)["labels"].argmax(axis=-1)
    scans = np.repeat(255 * inputs["scan"], 3, axis=-1)
    lines = [scans, COLOURS[targets["labels"][..., 0]], COLOURS[found]]
    # Slices across the third axis, seen from below as usual: the front on top, the right on the left.
    slices = [line[:, :, ::-1, PATCH[2] // 2].swapaxes(1, 2)[:, :, ::-1] for line in lines]
    sheet = np.concatenate([np.concatenate(list(line), axis=1) for line in slices])
    picture = Image.fromarray(sheet.astype(np.uint8))
    picture.resize((4 * picture.width, 4 * picture.height), Image.Resampling.NEAREST).save(file)


if __name__ == "__main__":
    main()
