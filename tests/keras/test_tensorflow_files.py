"""TFRecord files that TensorFlow itself has written, and reads."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

import multifeed as mf

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="needs TensorFlow")


def test_files_of_tensorflow_are_read_as_tensorflow_reads_them(tmp_path: Path) -> None:
    """Numbers, lists and bytes of some hundred random examples."""
    import tensorflow as tf

    random = np.random.default_rng(0)
    name = str(tmp_path / "x.tfrecord")
    with tf.io.TFRecordWriter(name) as writer:
        for _ in range(200):
            features = {
                "n": tf.train.Feature(int64_list=tf.train.Int64List(value=random.integers(-9, 9, 1))),
                "v": tf.train.Feature(float_list=tf.train.FloatList(value=random.standard_normal(5))),
                "b": tf.train.Feature(bytes_list=tf.train.BytesList(value=[random.bytes(300)])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())
    rows = mf.tfrecord(name, index=tmp_path / "index")
    content = mf.Function("b", lambda data: list(data), mf.Spec((300,), "uint8"), files="b")
    data = mf.Dataset(rows, inputs={"b": content, "n": mf.Array("n"), "v": mf.Array("v", (5,))})
    kinds = {
        "n": tf.io.FixedLenFeature((), tf.int64),
        "v": tf.io.FixedLenFeature((5,), tf.float32),
        "b": tf.io.FixedLenFeature((), tf.string),
    }
    for row, record in enumerate(tf.data.TFRecordDataset(name)):
        wanted = tf.io.parse_single_example(record, kinds)
        (found,) = data[row]
        assert found["n"] == wanted["n"]
        assert found["v"].tobytes() == wanted["v"].numpy().tobytes()
        assert found["b"].tobytes() == wanted["b"].numpy()
