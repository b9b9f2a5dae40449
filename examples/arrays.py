"""Two arrays of numbers in memory, and a third for the target: what do two digits add up to?

Run it with ``python examples/arrays.py``; ``--short`` is the same in a few seconds. It needs
scikit-learn for the digits, and any Keras backend.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import numpy as np
from evidence import mean_error, show_evidence
from sklearn.datasets import load_digits

import multifeed as mf


def main() -> None:
    """Write the arrays, declare them, train, and show what was learned."""
    options = parse_options()
    count, epochs = (3840, 6) if options.short else (15360, 15)
    keras.utils.set_random_seed(0)
    print(f"Writing {count:,} pairs of digits to {options.out}")
    write_pairs(options.out, count)

    names = ("left", "right", "total", "pool")
    data = declare(*(np.load(options.out / f"{name}.npy") for name in names))
    train, val = data.split(0.8, 0.2, by="pool", seed=0)
    print(f"\n{data}\n{len(train):,} to train on, {len(val):,} to validate on\n")

    model = mf.baseline_model(train)
    mf.check_model(model, train)
    loader = mf.Loader(train, batch_size=64, shuffle=True, seed=7, augment=augmentation())
    val_loader = mf.Loader(val, batch_size=64, shuffle=True)
    model.fit(loader, validation_data=val_loader, epochs=epochs, verbose=2)
    show_evidence(model, loader, val_loader, mean_error(), target="total")


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description="Train on two arrays in memory.")
    parser.add_argument("--short", action="store_true", help="fewer pairs and epochs")
    parser.add_argument(
        "--out", type=Path, default=Path("build/examples/arrays"), help="folder to write to"
    )
    return parser.parse_args()


def declare(left: np.ndarray, right: np.ndarray, total: np.ndarray, pool: np.ndarray) -> mf.Dataset:
    """Say what the model gets of arrays of as many rows; none of them is copied.

    Args:
        left: ``uint8[n, 64]``.
        right: ``uint8[n, 64]``.
        total: ``int64[n]``.
        pool: ``int64[n]``; no field reads it, but the split does.
    """
    return mf.Dataset(
        {"left": left, "right": right, "total": total, "pool": pool},
        inputs={
            "left": mf.Array("left", scale=1 / 16),
            "right": mf.Array("right", scale=1 / 16),
        },
        targets={"total": mf.Array("total", dtype="float32")},
    )


def augmentation() -> list[mf.Noise]:
    """Return what changes the numbers at random: each array on its own."""
    return [mf.Noise("left", sigma=0.05), mf.Noise("right", sigma=0.05)]


def write_pairs(folder: Path, count: int, seed: int = 0) -> None:
    """Write ``left.npy``, ``right.npy``, ``total.npy`` and ``pool.npy`` into `folder`.

    The digits are the 1,797 that scikit-learn brings, 8 x 8 numbers from 0 to 16 each. They are dealt
    into ten pools, and both digits of a pair are of one pool: no digit is in two of them.
    """
    digits = load_digits()
    rng = np.random.default_rng(seed)
    pools = np.array_split(rng.permutation(len(digits.target)), 10)
    pool = np.arange(count) % len(pools)
    left, right = np.transpose([rng.choice(pools[each], 2) for each in pool])
    arrays = {
        "left": digits.data[left].astype(np.uint8),
        "right": digits.data[right].astype(np.uint8),
        "total": digits.target[left] + digits.target[right],
        "pool": pool,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


if __name__ == "__main__":
    main()
