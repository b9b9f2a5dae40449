"""A table of 784 columns of pixels and a label: which digit is it?

Run it with ``python examples/pixel_table.py``; ``--short`` is the same in a few seconds. It needs
scikit-learn for the digits, pandas, and any Keras backend.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from evidence import accuracy, show_evidence
from PIL import Image
from sklearn.datasets import load_digits

import multifeed as mf

SIDE = 28  # pixels, both ways


def main() -> None:
    """Write the table, declare it, train, and show what was learned."""
    options = parse_options()
    epochs = 5 if options.short else 20
    keras.utils.set_random_seed(0)
    print(f"Writing {options.out / 'digits.csv'}")
    write_digits(options.out)

    data = declare(pd.read_csv(options.out / "digits.csv"))
    train, val = data.split(0.8, 0.2, stratify="label", seed=0)
    train.adapt()
    print(f"\n{data}\n{len(train):,} to train on, {len(val):,} to validate on\n")

    loader = mf.Loader(train, batch_size=32, shuffle=True, seed=7)
    val_loader = mf.Loader(val, batch_size=32, shuffle=True)
    for epoch in range(2):
        print(f"Epoch {epoch} begins with the rows {loader.rows(epoch, 0)[:6]}")

    model = mf.baseline_model(train)
    mf.check_model(model, train)
    model.fit(loader, validation_data=val_loader, epochs=epochs, verbose=2)
    show_evidence(model, loader, val_loader, accuracy(), target="label")


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description="Train on a table of pixels.")
    parser.add_argument("--short", action="store_true", help="fewer epochs")
    parser.add_argument(
        "--out", type=Path, default=Path("build/examples/pixel_table"), help="folder to write to"
    )
    return parser.parse_args()


def declare(frame: pd.DataFrame) -> mf.Dataset:
    """Say what the model gets of each row: an image of its pixels, from 0 to 1, and its label."""
    return mf.Dataset(
        frame,
        inputs={"digit": mf.Array("pixel*", shape=(SIDE, SIDE, 1), scale=1 / 255)},
        targets={"label": mf.Category("label", one_hot=True)},
    )


def write_digits(folder: Path) -> None:
    """Write ``digits.csv``: the columns pixel0 to pixel783, row by row of a picture, and label.

    The digits are the 1,797 that scikit-learn brings, of 8 x 8 pixels, enlarged.
    """
    digits = load_digits()
    large = [
        np.asarray(Image.fromarray((each * 255 / 16).astype(np.uint8)).resize((SIDE, SIDE)))
        for each in digits.images
    ]
    frame = pd.DataFrame(np.stack(large).reshape(len(large), -1)).add_prefix("pixel")
    folder.mkdir(parents=True, exist_ok=True)
    frame.assign(label=digits.target).to_csv(folder / "digits.csv", index=False)


if __name__ == "__main__":
    main()
