"""Two folders of photographs, aligned by name: has anything changed between the two pictures?

Run it with ``python examples/two_folders.py``; ``--short`` is the same in a few seconds. It needs
scikit-image for the photographs, and any Keras backend.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import pyarrow as pa
from evidence import accuracy, show_evidence
from keras import layers
from two_folders_data import write_pairs

import multifeed as mf

SIZE = 48  # pixels, both ways


def main() -> None:
    """Write the files, declare them in two ways, train, and show what was learned."""
    options = parse_options()
    count, epochs = (1280, 5) if options.short else (4000, 10)
    keras.utils.set_random_seed(0)
    print(f"Writing {count:,} pairs of photographs to {options.out}")
    write_pairs(options.out, count)

    data = declare(from_folders(options.out))
    train, val = data.split(0.8, 0.2, by="place", stratify="change", seed=0)
    train.adapt()
    print(f"\n{data}\n{len(train):,} to train on, {len(val):,} to validate on\n")
    loader = mf.Loader(train, batch_size=32, shuffle=True, seed=7, augment=augmentation())
    val_loader = mf.Loader(val, batch_size=32, shuffle=True)
    check_that_lists_do_the_same(options.out, loader)

    model = build_model(train)
    mf.check_model(model, train)
    model.fit(loader, validation_data=val_loader, epochs=epochs, verbose=2)
    show_evidence(model, loader, val_loader, accuracy(), target="change")
    mf.show(loader, options.out / "batch.png", samples=4)
    print(f"The first samples, as the model saw them: {options.out / 'batch.png'}")


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description="Train on two folders of photographs.")
    parser.add_argument("--short", action="store_true", help="fewer photographs and epochs")
    parser.add_argument("--out", type=Path, default=Path("build/examples/two_folders"), help="folder")
    return parser.parse_args()


def from_folders(folder: Path) -> pa.Table:
    """Join both folders and the table by the name that a pair has in all of them."""
    return mf.align(
        "id",
        before=folder / "before/{id}.jpg",
        after=folder / "after/{id}.png",
        table=folder / "pairs.csv",
    )


def from_lists(
    before: Sequence[Path], after: Sequence[Path], labels: Sequence[str], places: Sequence[str]
) -> pa.Table:
    """Join two lists of paths by the names of the files; `labels` and `places` belong to `before`."""
    return mf.align(
        "id",
        before={
            "id": [path.stem for path in before],
            "before": [str(path) for path in before],
            "change": labels,
            "place": places,
        },
        after={"id": [path.stem for path in after], "after": [str(path) for path in after]},
    )


def declare(rows: pa.Table) -> mf.Dataset:
    """Say what the model gets of the photographs: each is read in its own way."""
    return mf.Dataset(
        rows,
        key="id",
        inputs={
            "before": mf.Image("before", size=SIZE),  # uint8, in colour; the model rescales
            "after": mf.Image(
                "after", size=SIZE, color_mode="grayscale", dtype="float32", preprocess=standardize
            ),
        },
        targets={"change": mf.Category("change")},
    )


def standardize(pixels: np.ndarray) -> np.ndarray:
    """Take the exposure out of a picture: its mean becomes 0, its deviation 1."""
    return (pixels - pixels.mean()) / max(pixels.std(), 1.0)


def augmentation() -> list[mf.RandomAffine | mf.RandomColor]:
    """Return what changes the photographs at random."""
    return [
        # Both named in one transform: they move together, or every pair would look changed.
        mf.RandomAffine(
            ["before", "after"],
            rotation=15,
            shift=0.1,
            zoom=0.1,
            flip="horizontal_and_vertical",
            fill="reflect",
        ),
        # One transform each: the light of one picture says nothing of that of the other.
        mf.RandomColor("before", brightness=0.2, contrast=0.2, hue=0.05),
        mf.RandomColor("after", contrast=0.3),
    ]


def check_that_lists_do_the_same(folder: Path, loader: mf.Loader) -> None:
    """Declare the same samples by lists of paths, and compare some batches."""
    rows = from_folders(folder)
    before = [Path(path) for path in rows["before"].to_pylist()]
    after = list((folder / "after").iterdir())  # in any order
    listed = from_lists(before, after, rows["change"].to_pylist(), rows["place"].to_pylist())
    train, _ = declare(listed).split(0.8, 0.2, by="place", stratify="change", seed=0)
    train.adapt()
    others = mf.Loader(train, batch_size=32, shuffle=True, seed=7, augment=augmentation())
    for step in range(3):
        keras.tree.map_structure(
            np.testing.assert_array_equal, loader.batch(0, step), others.batch(0, step)
        )
    print("Folders and lists of paths give the same batches.\n")


def build_model(data: mf.Dataset) -> keras.Model:
    """Build a model that sees both pictures as the channels of one."""
    x = mf.inputs(data)
    both = layers.Concatenate()([layers.Rescaling(1 / 127.5, offset=-1)(x["before"]), x["after"]])
    for filters in (16, 32, 64):
        both = layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(both)
    seen = layers.GlobalMaxPooling2D()(both)
    change = layers.Dense(len(data.labels("change")), activation="softmax")(seen)
    model = keras.Model(x, {"change": change})
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


if __name__ == "__main__":
    main()
