"""Rows 16 and 23 of the table of faults: shards of a cache that fit their checksum, and lie.

Oracle: what is not of the form that it must have is decoded from its source, or an error that names the
sample; never the bytes of another sample, and never a crash.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import simplejpeg
import xxhash

import multifeed as mf
from multifeed.errors import SampleError

COUNT = 6


@pytest.fixture
def data(photos: Path) -> mf.Dataset:
    """Photographs."""
    files = [str(photos / f"left/p{number:02}.jpg") for number in range(COUNT)]
    return mf.Dataset({"x": files}, inputs=mf.Image("x", 16))


def rewritten(
    folder: Path, change: Callable[[pa.RecordBatch], pa.RecordBatch], patch: bytes = b""
) -> None:
    """Put another shard in the place of the only one, under the checksum that it has.

    Args:
        folder: Where the cache is.
        change: Makes its rows.
        patch: What stands where the first names of files begin.
    """
    (shard,) = folder.glob("*/*.arrow")
    with pa.ipc.open_file(shard.read_bytes()) as reader:
        batch = change(reader.get_batch(0))
    stream = pa.BufferOutputStream()
    with pa.ipc.new_file(stream, batch.schema) as sink:
        sink.write_batch(batch)
    content = bytes(stream.getvalue())
    if patch:
        starts = np.arange(COUNT + 1, dtype=np.int32).tobytes()
        assert content.count(starts) == 1
        content = content.replace(starts, patch)
    shard.unlink()
    shard.with_name(f"00000-{xxhash.xxh3_64(content).hexdigest()}.arrow").write_bytes(content)


def replaced(name: str, column: pa.Array) -> Callable[[pa.RecordBatch], pa.RecordBatch]:
    """Return what puts another column in the place of one."""
    return lambda batch: batch.set_column(batch.schema.get_field_index(name), name, column)


def tensors(count: int, shape: tuple[int, ...], dtype: str = "uint8") -> pa.Array:
    """Return a column of arrays."""
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((count, *shape), dtype))


LIES: dict[str, Callable[[pa.RecordBatch], pa.RecordBatch]] = {
    "fewer rows": lambda batch: batch.slice(0, 3),
    "more rows": lambda batch: pa.concat_batches([batch, batch]),
    "smaller images": replaced("x", tensors(COUNT, (8, 8, 3))),
    "another dtype": replaced("x", tensors(COUNT, (16, 16, 3), "int8")),
    "numbers for images": replaced("x", pa.array(range(COUNT))),
    "texts for sizes": replaced("multifeed:size:x", pa.array(["1"] * COUNT)),
    "no file names": lambda batch: batch.drop_columns(["multifeed:file:x"]).append_column(
        "multifeed:file:x", pa.nulls(COUNT)
    ),
    "no sizes": lambda batch: batch.drop_columns(["multifeed:size:x"]),
    "no images": lambda batch: batch.drop_columns(["x"]),
    "file names with a NUL": replaced("multifeed:file:x", pa.array([b"a\0b"] * COUNT, pa.binary())),
    "short frames": replaced(
        "multifeed:frame:x", pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(2 * COUNT)), 2)
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_shard_of_another_form_is_not_read(lie: str, data: mf.Dataset, tmp_path: Path) -> None:
    """Row 16: whatever its checksum says; all samples are those of their source."""
    mf.cache(data, tmp_path, progress=False)
    rewritten(tmp_path, LIES[lie])
    cached = mf.cache(data, tmp_path, progress=False)
    for row in range(COUNT):
        np.testing.assert_array_equal(cached[row][0], data[row][0])


def test_names_of_files_that_end_elsewhere_are_not_followed(data: mf.Dataset, tmp_path: Path) -> None:
    """Row 16: beyond the memory of the shard."""
    mf.cache(data, tmp_path, progress=False)
    names = pa.array([b"x"] * COUNT, pa.binary())
    far = np.array([0, *[10**9] * COUNT], np.int32).tobytes()
    rewritten(tmp_path, replaced("multifeed:file:x", names), far)
    cached = mf.cache(data, tmp_path, progress=False)
    np.testing.assert_array_equal(cached[3][0], data[3][0])


def test_a_shard_that_is_believed_shows_in_the_samples(data: mf.Dataset, tmp_path: Path) -> None:
    """Of the right form, it is believed: the shards above were refused for what they lie about."""
    mf.cache(data, tmp_path, progress=False)
    rewritten(tmp_path, replaced("x", tensors(COUNT, (16, 16, 3))))
    cached = mf.cache(data, tmp_path, progress=False)
    assert not cached[0][0].any()


def test_a_cached_jpeg_of_another_size_is_an_error(data: mf.Dataset, tmp_path: Path) -> None:
    """Row 23: a smaller one would leave what another sample had in the rest of its place."""
    mf.cache(data, tmp_path, layout="jpeg", progress=False)
    small = simplejpeg.encode_jpeg(np.zeros((8, 8, 3), np.uint8))
    rewritten(tmp_path, replaced("x", pa.array([small] * COUNT, pa.large_binary())))
    cached = mf.cache(data, tmp_path, layout="jpeg", progress=False)
    with pytest.raises(SampleError) as caught:
        cached[2]
    assert (caught.value.row, caught.value.field) == (2, "x")
    assert "the cached JPEG has shape (8, 8, 3), where (16, 16, 3) is due" in str(caught.value)
