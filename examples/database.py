"""Train on rows of a database and files on disk: what does it cost to send the parcel?

Run it with ``python examples/database.py``; ``--short`` is the same in a few seconds. It needs
scikit-learn for the handwritten digits, and any Keras backend; Python itself brings SQLite.
"""

from __future__ import annotations

import argparse
import sqlite3
from contextlib import closing
from pathlib import Path

import keras
import numpy as np
import pyarrow as pa
from database_data import write_post_office
from evidence import mean_error, show_evidence
from keras import layers

import multifeed as mf

BATCH_SIZE = 32

QUERY = """
SELECT parcels.id, day, weight_g, service, label, postage_cents
FROM parcels JOIN customers ON customers.id = parcels.customer
WHERE day >= :since AND label IS NOT NULL
ORDER BY parcels.id
"""


def main() -> None:
    """Write the files, train, and write predictions back into the database."""
    options = parse_options()
    epochs = 12 if options.short else 60
    keras.utils.set_random_seed(0)
    print(f"Writing a database, and pictures of labels, to {options.out}")
    write_post_office(options.out)
    database = options.out / "post.sqlite"

    rows = mf.sql(QUERY, database, params={"since": "2026-01-01"})
    data = declare(rows)
    train, val = data.split(0.8, 0.2, seed=0)
    train.adapt()
    print(f"\n{data}\n")
    loader = mf.Loader(train, BATCH_SIZE, shuffle=True, seed=7)
    val_loader = mf.Loader(val, BATCH_SIZE, shuffle=True)

    model = build_model(train)
    mf.check_model(model, train)
    model.fit(loader, validation_data=val_loader, epochs=epochs, verbose=2)
    error = mean_error("cents", one_unit(train))
    show_evidence(model, loader, val_loader, error, target="postage_cents")
    write_back(database, mf.predict(model, mf.Loader(val, BATCH_SIZE), verbose=0))


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description="Train on rows of a database and files on disk.")
    parser.add_argument("--short", action="store_true", help="fewer epochs")
    parser.add_argument("--out", type=Path, default=Path("build/examples/database"), help="folder")
    return parser.parse_args()


def declare(rows: pa.Table) -> mf.Dataset:
    """Say what the model gets of a parcel."""
    return mf.Dataset(
        rows,
        key="id",
        inputs={
            # Names of files in the table are relative to the database's own folder.
            "label": mf.Image("label", size=8, color_mode="grayscale"),
            "weight": mf.Numeric("weight_g", normalize=True),
            "service": mf.Category("service"),
        },
        targets={"postage_cents": mf.Numeric("postage_cents", normalize=True)},
    )


def build_model(data: mf.Dataset) -> keras.Model:
    """Build a branch for each kind of input."""
    x = mf.inputs(data)
    label = layers.Rescaling(1 / 127.5, offset=-1)(x["label"])
    label = layers.Conv2D(32, 3, padding="same", activation="relu")(label)
    label = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(label)
    label = layers.Dense(32, activation="relu")(layers.Flatten()(label))
    service = layers.Flatten()(layers.Embedding(len(data.labels("service")), 2)(x["service"]))
    joined = layers.Concatenate()([label, x["weight"], service])
    for units in (64, 32):
        joined = layers.Dense(units, activation="relu")(joined)
    model = keras.Model(x, {"postage_cents": layers.Dense(1)(joined)})
    model.compile(keras.optimizers.Adam(0.002), "mse")
    return model


def one_unit(data: mf.Dataset) -> float:
    """Return how many cents a normalised postage of 1 is more than one of 0."""
    return float(np.ptp(data.restore("postage_cents", np.array([[0.0], [1.0]]))))


def write_back(database: Path, table: pa.Table) -> None:
    """Write predictions into a table of their own, by the keys of their parcels."""
    values = zip(table["id"].to_pylist(), table["postage_cents"].to_pylist(), strict=True)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE estimates (parcel TEXT PRIMARY KEY, cents REAL NOT NULL)")
        connection.executemany("INSERT INTO estimates VALUES (?, ?)", values)
        said = connection.execute(
            "SELECT count(*), avg(abs(cents - postage_cents)) "
            "FROM estimates JOIN parcels ON parcels.id = estimates.parcel"
        ).fetchone()
    print("In the database: {:,} estimates, on average {:.0f} cents away.".format(*said))


if __name__ == "__main__":
    main()
