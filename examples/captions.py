"""Train on images and texts of many lengths: does the caption fit the picture?

Run it with ``python examples/captions.py``; ``--short`` is the same in a few seconds. It needs
scikit-image and scikit-learn for the photographs, and any Keras backend.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import keras
from captions_data import LONGEST, SIZE, write_captions
from evidence import accuracy, show_evidence
from keras import layers

import multifeed as mf

BATCH_SIZE = 32
BUCKETS = [10, 20, LONGEST]


def main() -> None:
    """Write the files, train on batches of few lengths, and show what was learned."""
    options = parse_options()
    count, epochs = (2048, 6) if options.short else (6144, 8)
    keras.utils.set_random_seed(0)
    print(f"Writing {count:,} cuts and their captions to {options.out}")
    write_captions(options.out, count)

    data = declare(options.out)
    train, val = data.split(0.8, 0.2, stratify="fits", seed=0)
    train.adapt()
    loader, val_loader = bucketed(train), bucketed(val)

    model = build_model(loader)
    mf.check_model(model, loader)
    model.fit(loader, epochs=epochs, verbose=2)

    print("\n" + "\n".join(loader.report().accounting))
    for shape, batches in sorted(Counter(inputs["caption"].shape for inputs, *_ in loader).items()):
        print(f"  {batches} batches of shape {shape}")
    show_evidence(
        model, loader, val_loader, accuracy(), target="fits", withhold=["picture", ("caption", "words")]
    )


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description="Train on pictures and captions.")
    parser.add_argument("--short", action="store_true", help="fewer pictures and epochs")
    parser.add_argument("--out", type=Path, default=Path("build/examples/captions"), help="folder")
    return parser.parse_args()


def declare(folder: Path) -> mf.Dataset:
    """Join pictures and table by key, and say what the model gets of them."""
    rows = mf.align("id", picture=folder / "cuts/{id}.jpg", table=folder / "captions.csv")
    return mf.Dataset(
        rows,
        key="id",
        inputs={
            "picture": mf.Image("picture", size=SIZE),
            "caption": mf.Text("caption", length=LONGEST, vocabulary_size=1_000),
            "words": mf.Mask("caption"),
        },
        targets={"fits": mf.Category("fits", vocabulary=["no", "yes"])},
    )


def bucketed(data: mf.Dataset) -> mf.Loader:
    """Feed batches of captions of similar length, each cut to the length of its bucket."""
    return mf.Loader(
        data,
        BATCH_SIZE,
        shuffle=True,
        seed=7,
        bucket_by="caption",
        buckets=BUCKETS,
        remainder="pad",  # one size of batch for each length, so that JAX compiles once for each
    )


def build_model(loader: mf.Loader) -> keras.Model:
    """Build a model that takes captions of any length, as the loader's batches have them."""
    x = mf.inputs(loader)
    picture = layers.Rescaling(1 / 127.5, offset=-1)(x["picture"])
    for filters in (16, 32, 32):
        picture = layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(picture)
    picture = layers.UnitNormalization()(layers.Dense(32)(layers.Flatten()(picture)))
    words = layers.Embedding(1_000, 64)(x["caption"])
    caption = layers.Dense(32)(layers.GlobalAveragePooling1D()(words, mask=x["words"]))
    agree = layers.Multiply()([picture, layers.UnitNormalization()(caption)])
    model = keras.Model(x, {"fits": layers.Dense(2, activation="softmax")(8 * agree)})
    model.compile(
        keras.optimizers.Adam(0.005), "sparse_categorical_crossentropy", weighted_metrics=["accuracy"]
    )
    return model


if __name__ == "__main__":
    main()
