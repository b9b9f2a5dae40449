"""`mf.tfrecord`: examples are listed once, and their images read in place, without TensorFlow."""

from __future__ import annotations

import gzip
import io
import struct
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from PIL import Image as PILImage

import multifeed as mf
from multifeed.errors import BadValue
from multifeed.protobuf import parse_example


def messages() -> Any:
    """Return the class of examples, as TensorFlow's example.proto and feature.proto declare them."""
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="t", syntax="proto3")
    one, many = 1, 3

    def message(name: str) -> Any:
        return file.message_type.add(name=name)

    for name, kind in (("BytesList", 12), ("FloatList", 2), ("Int64List", 3)):
        message(name).field.add(name="value", number=1, label=many, type=kind)
    feature = message("Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, kind) in enumerate(
        (("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List")), 1
    ):
        feature.field.add(
            name=name, number=number, label=one, type=11, type_name=f".t.{kind}", oneof_index=0
        )
    features = message("Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.field.add(name="key", number=1, label=one, type=9)
    entry.field.add(name="value", number=2, label=one, type=11, type_name=".t.Feature")
    entry.options.map_entry = True
    features.field.add(
        name="feature", number=1, label=many, type=11, type_name=".t.Features.FeatureEntry"
    )
    message("Example").field.add(name="features", number=1, label=one, type=11, type_name=".t.Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Example"))


EXAMPLE = messages()


def example(**features: Any) -> bytes:
    """Return an example: bytes and texts, floats, integers, or lists of one of these."""
    found = EXAMPLE()
    for name, given in features.items():
        values = given if isinstance(given, list) else [given]
        feature = found.features.feature[name]
        if not values:
            feature.float_list.SetInParent()
        elif isinstance(values[0], bytes | str):
            feature.bytes_list.value.extend(v.encode() if isinstance(v, str) else v for v in values)
        else:
            kind = feature.float_list if isinstance(values[0], float) else feature.int64_list
            kind.value.extend(values)
    return found.SerializeToString()


def masked(data: bytes) -> bytes:
    """Return the checksum of bytes as it stands in a file."""
    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def write(path: Path, records: list[bytes]) -> str:
    """Write a TFRecord file; return its name."""
    with path.open("wb") as file:
        for data in records:
            length = struct.pack("<Q", len(data))
            file.write(length + masked(length) + data + masked(data))
    return str(path)


def listed(folder: Path, shards: Any, **options: Any) -> Any:
    """Return the table of files; what is found is kept beside them."""
    return mf.tfrecord(shards, index=folder / "index", **options)


def refused(folder: Path, *records: bytes, **options: Any) -> str:
    """Return what is said of a file that cannot be used, after its name."""
    name = write(folder / "x.tfrecord", list(records))
    with pytest.raises(mf.DeclarationError) as caught:
        listed(folder, name, **options)
    return str(caught.value).removeprefix(f"the shard {name!r} cannot be used: it ")


def png(value: int) -> bytes:
    """Return an image of one colour."""
    stream = io.BytesIO()
    PILImage.fromarray(np.full((8, 9, 3), value, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def test_features_are_columns_and_images_are_read_in_place(tmp_path: Path) -> None:
    """Numbers, lists, texts that were asked for; what is missing or empty is null."""
    for shard in range(2):
        records = [
            example(**{
                "image": png(10 * shard + number),
                "image/format": "png",
                "label": -number,
                "vector": [0.5, 2.0, float(number)][: 1 + number],
                "big": [2**40, -1, 0, 127, 128],
                "none": [],
            } | ({"rare": 1.5} if number else {}))
            for number in range(3)
        ]  # fmt: skip
        write(tmp_path / f"s-{shard:05d}-of-00002", records)
    rows = listed(tmp_path, f"{tmp_path}/s-{{00000..00001}}-of-00002", values="image/format")
    assert rows.drop_columns(["shard", "image"]).to_pydict() == {
        "record": [0, 1, 2] * 2,
        "big": [[2**40, -1, 0, 127, 128]] * 6,
        "image/format": ["png"] * 6,
        "label": [0, -1, -2] * 2,
        "none": [None] * 6,
        "rare": [None, 1.5, 1.5] * 2,
        "vector": [[0.5], [0.5, 2.0], [0.5, 2.0, 2.0]] * 2,
    }
    data = mf.Dataset(
        rows,
        key=("shard", "record"),
        inputs={"image": mf.Image("image", 4), "vector": mf.Array("vector", pad_to=3)},
        targets=mf.Category("label", vocabulary=[0, -1, -2]),
    )
    inputs, label = data[4]
    assert (inputs["image"] == 11).all()
    assert (inputs["vector"].tolist(), label) == ([0.5, 2.0, 0.0], 1)
    assert listed(tmp_path, f"{tmp_path}/s-*-of-00002", values="image/format").equals(rows)


@pytest.mark.parametrize("seed", [0, 1])
def test_examples_are_parsed_as_the_library_writes_them(seed: int) -> None:
    """Random ones, with numbers of all lengths, and unpacked lists, which are as valid."""
    random = np.random.default_rng(seed)
    for _ in range(50):
        integers = [
            int(each) for each in random.integers(-(2**63), 2**63, 5) >> random.integers(0, 64, 5)
        ]
        floats = [float(each) for each in random.standard_normal(random.integers(0, 9)).astype("f4")]
        texts = [random.bytes(random.integers(0, 300)) for _ in range(3)]
        data = example(i=integers, f=floats, b=texts)
        found = parse_example(data)
        assert found["i"].numbers().tolist() == integers
        assert (found["f"].numbers().tolist() if floats else []) == floats
        assert [data[start:stop] for start, stop in found["b"].spans] == texts


def test_lists_need_not_be_packed() -> None:
    """Each number may be a field of its own; both are valid."""

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    integers = field(3, b"\x08\x05\x08\xac\x02")
    floats = field(2, b"\x0d" + struct.pack("<f", 0.5) + b"\x0d" + struct.pack("<f", -2))
    entries = [
        field(1, field(1, name) + field(2, value)) for name, value in ((b"i", integers), (b"f", floats))
    ]
    found = parse_example(field(1, b"".join(entries)))
    assert found["i"].numbers().tolist() == [5, 300]
    assert found["f"].numbers().tolist() == [0.5, -2]


def test_a_file_that_is_none_of_examples_is_told(tmp_path: Path) -> None:
    """By the first record that is something else."""
    assert refused(tmp_path, example(a=1), b"no message") == (
        "has a record 1 that is no tf.train.Example.\n  Replace it, or leave it out."
    )
    sequence = example(a=1) + b"\x12\x00"
    assert refused(tmp_path, sequence) == (
        "has a record 0 that is no tf.train.Example.\n"
        "  Of tf.train.SequenceExample, write Examples with padded lists."
    )


def test_features_that_do_not_agree_are_told(tmp_path: Path) -> None:
    """Of several kinds, of several files, of another column's name, or no text."""
    assert refused(tmp_path, example(a=1), example(a=1.5)) == (
        "has a record 1 that has float values of 'a', which others have as int64.\n  Write them alike."
    )
    assert refused(tmp_path, example(a=["x", "y"])) == (
        "has a record 0 that has 2 values of 'a', and one file can be named.\n"
        "  If they are texts, pass values=['a']; else write a feature for each."
    )
    assert refused(tmp_path, example(record=1)) == (
        "has a record 0 that has a feature 'record', the name of another column.\n  Rename the feature."
    )
    assert refused(tmp_path, example(a=b"\xff"), values=["*"]) == (
        "has a record 0 that has no text in UTF-8 for 'a' (byte 0).\n"
        "  Leave it out of values=: fields then read it as a file."
    )
    one, two = write(tmp_path / "1", [example(a=1)]), write(tmp_path / "2", [example(a="x")])
    with pytest.raises(mf.DeclarationError) as caught:
        listed(tmp_path, [one, two], values=["a"])
    assert str(caught.value).startswith("shards hold values of one type under one name: ")


def test_damaged_and_compressed_files_are_refused(tmp_path: Path) -> None:
    """A byte that has changed, a file that was cut, a length that lies, GZIP."""
    records = [example(a=number, b=bytes(50)) for number in range(3)]
    name = write(tmp_path / "x.tfrecord", records)
    content = Path(name).read_bytes()
    record = len(content) // 3

    def said(data: bytes) -> str:
        Path(name).write_bytes(data)
        with pytest.raises(mf.DeclarationError) as caught:
            listed(tmp_path, name)
        return str(caught.value).splitlines()[0].removeprefix(f"the shard {name!r} cannot be used: it ")

    for place, reason in (
        (0, "is no TFRecord file, or damaged at byte 0."),
        (record + 9, f"is no TFRecord file, or damaged at byte {record}."),
        (record + 20, f"is damaged: the record at byte {record} has changed."),
        (2 * record - 1, f"is damaged: the record at byte {record} has changed."),
    ):
        spoiled = bytearray(content)
        spoiled[place] ^= 0x40
        assert said(bytes(spoiled)) == reason
    for cut in (record + 5, record + 12, 2 * record - 1):
        assert said(content[:cut]) in (
            f"ends within a record that begins at byte {record}.",
            f"is no TFRecord file, or damaged at byte {record}.",
        )
    huge = struct.pack("<Q", 2**62)
    assert said(huge + masked(huge) + bytes(100)) == "ends within a record that begins at byte 0."
    assert said(gzip.compress(content)) == "is compressed, and no part of it can be read by itself."


@pytest.mark.timeout(60)
def test_mutated_examples_are_errors_or_examples() -> None:
    """With checksums that are right: whatever the bytes say, no crash and no endless loop."""
    content = np.frombuffer(example(a=[1, 2, 300], b=bytes(30), c=[0.5, 2.0], d="x" * 20), np.uint8)
    random = np.random.default_rng(0)
    refusals = 0
    for _ in range(3000):
        mutated = content.copy()
        places = random.integers(0, len(content), random.integers(1, 6))
        mutated[places] = random.integers(0, 256, len(places))
        try:
            for feature in parse_example(mutated.tobytes()).values():
                if feature.kind and feature.kind != "bytes":
                    feature.numbers()
        except BadValue:
            refusals += 1
    assert refusals > 300
