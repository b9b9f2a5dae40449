"""Train on films and sounds: which way does the belt go, and is its bearing worn?

Run it with ``python examples/views.py``; ``--short`` is the same in a few seconds. It needs PyAV and
soundfile (``pip install "multifeed[video,audio]"``), scikit-image for the photograph of the pebbles, and
any Keras backend.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
from evidence import accuracy, show_evidence
from keras import layers, ops
from views_data import write_films

import multifeed as mf

# Both counts of films below make whole batches, which saves JAX from compiling a smaller one.
BATCH_SIZE = 32


def main() -> None:
    """Write the files, declare them, train, and show what was learned."""
    options = parse_options()
    count, epochs = (512, 10) if options.short else (1536, 20)
    keras.utils.set_random_seed(0)
    print(f"Writing {count:,} films and sounds, and a table, to {options.out}")
    write_films(options.out, count)

    # Decoding is most of the work, and need not be done anew in each epoch.
    data = mf.cache(declare(options.out), options.out / "cache")
    train, val = data.split(0.75, 0.25, by="belt", seed=0)
    train.adapt()
    print(f"\n{data}\n{len(train):,} to train on, {len(val):,} to validate on\n")

    model = build_model(train)
    mf.check_model(model, train)
    loader = mf.Loader(train, batch_size=BATCH_SIZE, shuffle=True, seed=7, augment=augmentation())
    val_loader = mf.Loader(val, batch_size=BATCH_SIZE, shuffle=True)
    model.fit(loader, validation_data=val_loader, epochs=epochs, verbose=2)
    show_evidence(model, loader, val_loader, accuracy(), target="state")
    mf.show(loader, options.out / "batch.png", samples=4)
    print(f"The first samples, as the model saw them: {options.out / 'batch.png'}")


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description="Train on films and sounds.")
    parser.add_argument("--short", action="store_true", help="fewer films and epochs")
    parser.add_argument(
        "--out", type=Path, default=Path("build/examples/views"), help="folder to write to"
    )
    return parser.parse_args()


def declare(folder: Path) -> mf.Dataset:
    """Join films, sounds and the table by key, and say what the model gets of them."""
    rows = mf.align(
        "id",
        film=folder / "films/{id}.mp4",
        sound=folder / "sounds/{id}.wav",
        table=folder / "belts.csv",
    )
    spectrogram = mf.Spectrogram(n_fft=512, hop=256, mels=32, fmax=6_000)
    return mf.Dataset(
        rows,
        key="id",
        inputs={
            "film": mf.Video("film", frames=8, size=(24, 32), rate=8),
            "sound": mf.Audio("sound", rate=16_000, length=16_000, spectrogram=spectrogram),
        },
        targets={"state": mf.Category("state")},
    )


def augmentation() -> list[mf.RandomFlip3D | mf.RandomColor | mf.TimeMask]:
    """Return what changes films and sounds; nothing that changes which way the belt goes."""
    return [
        mf.RandomFlip3D("film", along="height"),
        mf.RandomColor("film", brightness=0.2, contrast=0.2),
        mf.TimeMask("sound", most=10, value=-5.0),
    ]


def build_model(data: mf.Dataset) -> keras.Model:
    """Build a model of two branches: that of films has grey frames for channels, and so sees motion."""
    x = mf.inputs(data)
    film = ops.mean(layers.Rescaling(1 / 127.5, offset=-1)(x["film"]), axis=-1)
    film = layers.Permute((2, 3, 1))(film)
    film = layers.Conv2D(32, 5, strides=2, activation="relu")(film)
    film = layers.Conv2D(32, 3, strides=2, activation="relu")(film)
    film = layers.GlobalAveragePooling2D()(film)
    sound = layers.Rescaling(1 / 5, offset=1)(x["sound"])
    sound = layers.Conv2D(16, 5, strides=2, activation="relu")(sound)
    sound = layers.Conv2D(16, 3, strides=2, activation="relu")(sound)
    sound = layers.GlobalMaxPooling2D()(sound)
    joined = layers.Dense(32, activation="relu")(layers.Concatenate()([film, sound]))
    states = len(data.labels("state"))
    model = keras.Model(x, {"state": layers.Dense(states, activation="softmax")(joined)})
    model.compile(keras.optimizers.Adam(0.003), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


if __name__ == "__main__":
    main()
