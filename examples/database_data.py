"""Write a post office: a SQLite database of parcels, and pictures of their labels.

The handwritten digits on the labels are scikit-learn's `load_digits`; parcels and prices are made up.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

SERVICES = {"economy": 0.8, "standard": 1.0, "express": 1.6}  # factor of the price

_SCHEMA = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, service TEXT NOT NULL);
CREATE TABLE parcels (
    id TEXT PRIMARY KEY, customer INTEGER NOT NULL REFERENCES customers (id), day TEXT NOT NULL,
    weight_g INTEGER NOT NULL, label TEXT, postage_cents INTEGER
);
"""


def write_post_office(folder: Path, seed: int = 0) -> None:
    """Write ``post.sqlite`` and ``labels/{parcel}.png`` into `folder`, which is emptied first.

    Each of the 1,797 digits is the zone on a parcel's label. A parcel of a hundred has lost its label.

    Args:
        folder: Where to write.
        seed: Decides weights, customers and days.
    """
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "labels").mkdir(parents=True)
    rng = np.random.default_rng(seed)
    digits = load_digits()
    services = rng.choice(list(SERVICES), 120).tolist()
    parcels = []
    for number, (picture, zone) in enumerate(zip(digits.images, digits.target.tolist(), strict=True)):
        key, customer, weight_g = f"p{number:05d}", int(rng.integers(120)), int(rng.integers(100, 5_000))
        label = f"labels/{key}.png"
        Image.fromarray((picture * 15).astype(np.uint8)).save(folder / label)
        cents = round((200 + 80 * zone + 0.15 * weight_g) * SERVICES[services[customer]])
        day = f"2026-{rng.integers(1, 13):02d}-{rng.integers(1, 29):02d}"
        parcels.append((key, customer, day, weight_g, None if number % 100 == 99 else label, cents))
    with closing(sqlite3.connect(folder / "post.sqlite")) as connection, connection:
        connection.executescript(_SCHEMA)
        connection.executemany("INSERT INTO customers VALUES (?, ?)", enumerate(services))
        connection.executemany("INSERT INTO parcels VALUES (?, ?, ?, ?, ?, ?)", parcels)
