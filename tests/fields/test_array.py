"""`mf.Array`: every way in which columns hold arrays, padding, conversion, and files that lie."""

from __future__ import annotations

import io
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import multifeed as mf
from multifeed.batch import allocate

FILE_REPLACE = "Replace the file, or leave the row out with data.select."


def dataset(values: Any, shape: Any = None, **options: Any) -> mf.Dataset:
    """Return a dataset of one Array, called x, over a column called scan."""
    columns = {"id": [f"p{row}" for row in range(len(values))], "scan": values}
    return mf.Dataset(columns, inputs={"x": mf.Array("scan", shape, **options)}, key="id")


def read(data: mf.Dataset) -> np.ndarray:
    """Return the values of all rows."""
    plan = data.plan()
    buffers = allocate(len(data), plan.specs)
    plan.fill(np.arange(len(data)), buffers)
    return buffers["x"]


def refused(data: mf.Dataset, row: int = 1) -> str:
    """Return the message of the error that reading raises, without its first words."""
    with pytest.raises(mf.SampleError) as caught:
        read(data)
    error = caught.value
    assert (error.field, error.key, error.row) == ("x", f"p{row}", row)
    start = f"'x' of sample 'p{row}' cannot be used: "
    assert str(error).startswith(start)
    return str(error).removeprefix(start)


def undeclared(values: Any, shape: Any = None, **options: Any) -> str:
    """Return the message of the error that declaring raises."""
    with pytest.raises(mf.DeclarationError) as caught:
        dataset(values, shape, **options)
    return str(caught.value).removeprefix("field 'x': ")


# In memory -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "kept"),
    [
        ("uint8", "uint8"), ("int8", "int8"), ("uint16", "uint16"), ("int32", "int32"),
        ("uint32", "uint32"), ("int64", "int32"), ("uint64", "int32"), ("bool", "bool"),
        ("float16", "float32"), ("float32", "float32"), ("float64", "float32"),
        ("longdouble", "float32"), (">f4", "float32"), (">i8", "int32"),
    ],
)  # fmt: skip
def test_integers_stay_and_floats_become_float32(stored: str, kept: str) -> None:
    """int64 becomes int32, whatever the byte order; `dtype` says otherwise."""
    values = np.array([[0, 1], [1, 0]], stored)
    for column in (
        (values, pa.array(list(values))) if stored[0] != ">" and stored != "longdouble" else (values,)
    ):
        data = dataset(column, (2,))
        assert data.spec == ({"x": mf.Spec((2,), kept)},)
        assert read(data).dtype == kept
        np.testing.assert_array_equal(read(data), values)
        np.testing.assert_array_equal(read(dataset(column, (2,), dtype="float64")), values)


def test_numbers_without_an_axis_stay_so() -> None:
    """A single column of numbers gives scalars, as NumPy array or as Arrow column."""
    for values in (np.array([3, 4]), [3, 4], pa.array([3, 4])):
        data = dataset(values)
        assert data.spec == ({"x": mf.Spec((), "int32")},)
        assert read(data).tolist() == [3, 4]
        assert dataset(values, (1,)).spec == ({"x": mf.Spec((1,), "int32")},)


def test_many_columns_are_the_elements_of_one_array() -> None:
    """In table order for a pattern, in the order given for a list; all in their common dtype."""
    columns = {"p1": [1, 2], "other": ["a", "b"], "p10": [5.5, 6], "p0": np.array([3, 4], np.uint8)}
    data = mf.Dataset(columns, inputs={"x": mf.Array("p*")})
    assert data.spec == ({"x": mf.Spec((3,), "float32")},)
    np.testing.assert_array_equal(read(data), [[1, 5.5, 3], [2, 6, 4]])
    listed = mf.Dataset(columns, inputs={"x": mf.Array(["p10", "p0"], (2, 1))})
    np.testing.assert_array_equal(read(listed), [[[5.5], [3]], [[6], [4]]])
    alone = mf.Dataset(columns, inputs={"x": mf.Array(["p0"])})
    assert alone.spec == ({"x": mf.Spec((1,), "uint8")},)


def test_images_of_pixel_columns() -> None:
    """784 columns are 28 x 28 pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, 784), np.uint8)
    columns = {f"pixel{place}": pixels[:, place] for place in range(784)}
    data = mf.Dataset(columns, inputs={"x": mf.Array("pixel*", (28, 28), scale=1 / 255)})
    assert data.spec == ({"x": mf.Spec((28, 28), "float32")},)
    np.testing.assert_allclose(read(data), pixels.reshape(3, 28, 28) / 255, rtol=1e-6)


def arrays() -> np.ndarray:
    """Return small arrays of three samples."""
    return np.arange(3 * 2 * 4, dtype=np.float32).reshape(3, 2, 4)


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values,
        np.asfortranarray,
        lambda values: np.repeat(values, 2, axis=0)[::2],
        lambda values: values[:, ::-1][:, ::-1],
        lambda values: values.astype(">f4"),
        lambda values: np.broadcast_to(values, values.shape),
        lambda values: np.frombuffer(b"x" + values.tobytes(), np.uint8)[1:].view("<f4").reshape(3, 2, 4),
        lambda values: pa.FixedShapeTensorArray.from_numpy_ndarray(values),
        lambda values: pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 8),
        lambda values: pa.array(list(values.reshape(3, 8)), pa.list_(pa.float32())),
        lambda values: pa.array(list(values.reshape(3, 8)), pa.large_list(pa.float32())),
        lambda values: pa.chunked_array([[*values.reshape(3, 8)][:1], [*values.reshape(3, 8)][1:]]),
        lambda values: pa.array([*values.reshape(3, 8)] * 2, pa.list_(pa.float32(), 8))[3:],
    ],
)  # fmt: skip
def test_however_arrays_lie_in_memory(change: Callable[[np.ndarray], Any]) -> None:
    """Order, strides, alignment, offsets and chunks make no difference, nor does a selection."""
    data = dataset(change(arrays()), (2, 4))
    np.testing.assert_array_equal(read(data), arrays())
    np.testing.assert_array_equal(read(data.select([2, 0, 2])), arrays()[[2, 0, 2]])


def test_the_axes_of_tensors_may_be_permuted() -> None:
    """A tensor that lies in memory in another order is what it is meant to be."""
    kind = pa.fixed_shape_tensor(pa.int32(), [2, 3], permutation=[1, 0])
    storage = pa.array([[0, 1, 2, 3, 4, 5]] * 2, pa.list_(pa.int32(), 6))
    data = dataset(pa.ExtensionArray.from_storage(kind, storage))
    assert data.spec == ({"x": mf.Spec((3, 2), "int32")},)
    np.testing.assert_array_equal(read(data)[1], [[0, 3], [1, 4], [2, 5]])


def test_a_memmap_is_not_read_beyond_the_rows_that_are_asked_for(tmp_path: Path) -> None:
    """Nor is a view of one, in any order: there would be no memory for 256 GiB."""
    holes = np.memmap(tmp_path / "holes", np.uint8, "w+", shape=(2**28, 32, 32))
    holes[5, 0, :3] = [7, 8, 9]
    for values in (holes, holes[:, :, ::-1], holes.transpose(0, 2, 1), holes.view(">u2")):
        data = mf.Dataset({"scan": values}, inputs={"x": mf.Array("scan")}).select([5, 2])
        np.testing.assert_array_equal(data[0][0]["x"], values[5])
        assert not data[1][0]["x"].any()


def test_scale_makes_floats() -> None:
    """A multiplied array is float32, unless `dtype` is another float."""
    values = np.array([[0, 51, 255]], np.uint8)
    data = dataset(values, scale=1 / 255)
    assert data.spec == ({"x": mf.Spec((3,), "float32")},)
    np.testing.assert_allclose(read(data), [[0, 0.2, 1]], rtol=1e-6)
    doubled = dataset(values, scale=1 / 255, dtype="float64")
    np.testing.assert_allclose(read(doubled), values / 255, rtol=1e-15)
    halved = dataset(values, scale=0.5, dtype="float16")
    np.testing.assert_array_equal(read(halved), [[0, 25.5, 127.5]])


@pytest.mark.parametrize(
    ("values", "options", "told"),
    [
        (np.array([[1, 2], [3, 2**31]]), {}, ("2147483648", "int32", "int64")),
        (pa.array([[1, 2], [3, 2**31]]), {"shape": (2,)}, ("2147483648", "int32", "int64")),
        (pa.array([[1], [2**31]]), {"pad_to": 3}, ("2147483648", "int32", "int64")),
        (np.array([1, 2**64 - 1], np.uint64), {}, ("18446744073709551615", "int32", "uint64")),
        (np.array([[1, 2], [3, 256]], np.int16), {"dtype": "uint8"}, ("256", "uint8", "int16")),
        (np.array([[1, 2], [3, -1]], np.int16), {"dtype": "uint8"}, ("-1", "uint8", "int16")),
        (np.array([[1, 0], [1, 2]]), {"dtype": "bool"}, ("2", "bool", "int64")),
        (np.array([[1.0, 2], [3, 2.5]]), {"dtype": "int32"}, ("2.5", "int32", "float64")),
        (np.array([[1.0, 2], [3, np.nan]]), {"dtype": "int32"}, ("nan", "int32", "float64")),
        (np.array([[1.0, 2], [3, np.inf]]), {"dtype": "int32"}, ("inf", "int32", "float64")),
        (np.array([[1.0, 2], [3, 1e300]]), {}, ("1e+300", "float32", "float64")),
        (np.array([1, 70_000]), {"dtype": "float16"}, ("70000", "float16", "int64")),
        (np.array([1.0, 1e30]), {"scale": 1e10}, ("1e+40", "float32", "float64")),
        (np.float32([1, 2.0**120]), {"scale": 2.0**20}, (str(2.0**140), "float32", "float32")),
    ],
)
def test_a_number_that_the_dtype_cannot_hold_is_told(
    values: Any, options: dict[str, Any], told: tuple[str, str, str]
) -> None:
    """Nothing wraps around or is cut off: the error names the row and the number."""
    number, kept, stored = told
    message = (
        f"it holds {number}, which {kept} cannot hold.\n"
        "  Row: 1.\n"
        f'  Pass dtype="{stored}", or correct the value.'
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = dataset(values, **options)
        assert refused(data) == message
        # The row of the dataset, not of the table.
        part = data.select([1, 0])
        with pytest.raises(mf.SampleError) as caught:
            part[0]
        assert (caught.value.row, caught.value.key) == (0, "p1")


def test_what_a_dtype_can_hold_is_converted() -> None:
    """Whole floats become integers, floats are rounded, infinity and NaN stay."""
    assert read(dataset(np.array([1e300, 2e300]), scale=1e-300)).tolist() == [1, 2]
    assert read(dataset(np.array([1.0, -2.0]), dtype="int8")).tolist() == [1, -2]
    assert read(dataset(np.array([1, 0]), dtype="bool")).tolist() == [True, False]
    found = read(dataset(np.array([0.1, np.nan, np.inf, 1e-300])))
    np.testing.assert_array_equal(found, np.float32([0.1, np.nan, np.inf, 0]))


# Padding -------------------------------------------------------------------------------------------


def pad_sequences(
    samples: list[np.ndarray], length: int, padding: str, truncating: str
) -> list[np.ndarray]:
    """Pad and cut as `keras.utils.pad_sequences` documents it, one sample at a time."""
    padded = []
    for sample in samples:
        kept = (
            sample[:length] if truncating == "post" else sample[len(sample) - min(len(sample), length) :]
        )
        zeros = np.zeros((length - len(kept), *sample.shape[1:]), sample.dtype)
        padded.append(np.concatenate([kept, zeros] if padding == "post" else [zeros, kept]))
    return padded


@pytest.mark.parametrize("padding", ["post", "pre"])
@pytest.mark.parametrize("truncating", ["post", "pre"])
@pytest.mark.parametrize("length", [1, 3, 4, 9])
@pytest.mark.parametrize("scale", [None, 0.5])
def test_padding_is_that_of_keras(
    tmp_path: Path, padding: str, truncating: str, length: int, scale: float | None
) -> None:
    """Lists, arrays in memory and files are padded and cut at the ends that are asked for."""
    options = {"pad_to": length, "padding": padding, "truncating": truncating, "scale": scale}
    random = np.random.default_rng(0)
    sequences = [random.integers(1, 100, count) for count in (3, 0, 4, 7, 1)]
    expected = np.stack(pad_sequences(sequences, length, padding, truncating)) * (scale or 1)
    lists = pa.array([list(sequence) for sequence in sequences], pa.list_(pa.int64()))
    data = dataset(lists, **options)
    assert data.spec == ({"x": mf.Spec((length,), "float32" if scale else "int32")},)
    np.testing.assert_array_equal(read(data), expected)
    np.testing.assert_array_equal(read(dataset(lists, (None,), **options)), expected)

    steps = [random.integers(1, 100, (count, 2)) for count in (3, 0, 4, 7, 1)]
    expected = np.stack(pad_sequences(steps, length, padding, truncating)) * (scale or 1)
    names = []
    for number, step in enumerate(steps):
        names.append(str(tmp_path / f"{number}.npy"))
        np.save(names[-1], step)
    files = dataset(names, (None, 2), **options)
    np.testing.assert_array_equal(read(files), expected)

    stacked = random.integers(1, 100, (5, 4, 2))
    expected = np.stack(pad_sequences(list(stacked), length, padding, truncating)) * (scale or 1)
    for shape in (None, (None, 2), (4, 2)):
        np.testing.assert_array_equal(read(dataset(stacked, shape, **options)), expected)


def test_lists_that_are_all_empty_are_padded() -> None:
    """There is nothing in them, and so there is nothing but padding."""
    empty = pa.array([[], []], pa.list_(pa.float32()))
    np.testing.assert_array_equal(read(dataset(empty, pad_to=3)), np.zeros((2, 3)))


def test_a_number_that_does_not_fit_is_told_where_it_is() -> None:
    """Not in a row of which it fills the padding."""
    lists = pa.array([[2**40, 1], [1], [1]])
    data = dataset(lists, pad_to=2).select([1, 2])
    assert read(data).tolist() == [[1, 0], [1, 0]]
    assert refused(dataset(lists, pad_to=2), 0).startswith("it holds 1099511627776, ")


def test_nulls_in_lists() -> None:
    """A null list is missing; a null inside a list has no remedy but the user's."""
    lists = pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int64()))
    for options in ({"shape": (2,)}, {"pad_to": 2}):
        found = read(dataset(lists, missing=-1, **options))
        assert found.tolist() == [[1, 2], [-1, -1], [3, 4]]
    message = (
        "it has a null inside its list (2 nulls in such lists of the column).\n"
        "  Row: 2.\n"
        "  Fill them in before building the dataset."
    )
    for kind in (pa.list_(pa.int64()), pa.list_(pa.int64(), 2)):
        holey = pa.array([[2**60 + 1, 2], None, [None, None]], kind)
        assert refused(dataset(holey, (2,), missing="zero"), 2) == message
        whole = pa.array([[2**60 + 1, 2], None], kind)
        found = read(dataset(whole, (2,), missing="zero", dtype="int64"))
        assert found.tolist() == [[2**60 + 1, 2], [0, 0]]


def test_what_a_null_list_hides_is_not_looked_at() -> None:
    """Neither a number that does not fit, nor a null."""
    items = pa.array([1, 2, 2**40, None, 5, 6])
    hidden = pa.FixedSizeListArray.from_arrays(items, 2, mask=pa.array([False, True, False]))
    assert read(dataset(hidden, missing="zero")).tolist() == [[1, 2], [0, 0], [5, 6]]


def test_nulls_in_scalar_columns() -> None:
    """A sample is missing as soon as one of its elements is."""
    columns = {"a": [1, None, 3], "b": np.array([4, 5, 6])}
    data = mf.Dataset(columns, inputs={"x": mf.Array(["a", "b"], missing=9)})
    assert read(data).tolist() == [[1, 4], [9, 9], [3, 6]]


def test_lists_of_unequal_length_are_told() -> None:
    """With the row that has another length."""
    assert refused(dataset(pa.array([[1, 2], [3]]), (2,))) == (
        "it has 1 values where shape=(2,) needs 2.\n"
        "  Row: 1.\n"
        "  Correct the row, or pass pad_to=<length> to pad and cut."
    )


# Declarations --------------------------------------------------------------------------------------

SHAPE = "shape is a tuple of sizes of at least 1, of which only the first may be None; received "


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": 5}, f"{SHAPE}5."),
        ({"shape": (0, 2)}, f"{SHAPE}(0, 2)."),
        ({"shape": (2, None), "pad_to": 2}, f"{SHAPE}(2, None)."),
        ({"shape": (2.0,)}, f"{SHAPE}(2.0,)."),
        (
            {"shape": (None, 2)},
            "samples of unequal length cannot share a batch: shape=(None, 2).\n"
            "  Pass pad_to=<length>: shorter samples are filled with 0, longer ones cut.",
        ),
        (
            {"pad_to": 0},
            "pad_to is the length of the first axis, at least 1; received pad_to=0, shape=None.",
        ),
        (
            {"pad_to": 2, "shape": ()},
            "pad_to is the length of the first axis, at least 1; received pad_to=2, shape=().",
        ),
        ({"padding": "left"}, "padding must be one of 'post', 'pre'; received 'left'."),
        ({"truncating": "left"}, "truncating must be one of 'post', 'pre'; received 'left'."),
        ({"dtype": "complex64"}, "dtype must be a NumPy number's name; received 'complex64'."),
        ({"dtype": "text"}, "dtype must be a NumPy number's name; received 'text'."),
        ({"scale": "1/255"}, "scale is a finite number other than 0, e.g. 1/255; received '1/255'."),
        (
            {"scale": 0.5, "dtype": "uint8"},
            "scale=0.5 needs a float dtype; dtype is 'uint8'.\n"
            '  Pass dtype="float32", or better: rescale in the model with keras.layers.Rescaling, where '
            "it costs nothing.",
        ),
        ({"column": ()}, "a field reads one or more columns by name; received ()."),
    ],
)
def test_a_wrong_declaration_is_told_at_once(options: dict[str, Any], message: str) -> None:
    """Options are checked before there is a dataset."""
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Array(**{"column": "scan"} | options)
    assert str(caught.value) == message


NESTED = pa.array([[[1, 2], [3]], [[4]]])


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (
            pa.array([[1], [2, 3]]),
            {},
            "samples of unequal length cannot share a batch: 'scan' holds lists of any length.\n"
            "  Pass pad_to=<length>: shorter samples are filled with 0, longer ones cut; or shape=..., "
            "if all have one.",
        ),
        (
            pa.array([[1], [2, 3]]),
            {"pad_to": 2, "shape": (None, 2)},
            "lists that are padded have any length; 'scan' is declared with shape=(None, 2).\n"
            "  Leave shape out, or its first size None.",
        ),
        (
            NESTED,
            {"pad_to": 2},
            "'scan' holds lists within lists, of shape (None, None) where None is any size, and is "
            "declared with shape=None.\n"
            "  Pass 2 sizes, the first of them None if pad_to= shall make it one.",
        ),
        (
            ["a.npy", "b.npy"],
            {},
            "'scan' holds file names, and no file is read at declaration.\n"
            "  Pass shape=... of one sample (None as first size, with pad_to=, if it varies), and "
            "dtype=... if it is not float32.",
        ),
        (
            np.zeros((2, 3)),
            {"shape": (4,)},
            "the samples of 'scan' have shape (3,), which is not (4,) and cannot be reshaped to it.\n"
            "  Pass shape=(3,), or leave shape out.",
        ),
        (
            np.zeros((2, 6)),
            {"shape": (2, 3), "pad_to": 4},
            "the samples of 'scan' have shape (6,), which is not (2, 3).\n"
            "  Pass shape=(6,), or leave shape out.",
        ),
        (
            np.zeros(2),
            {"pad_to": 4},
            "pad_to is the length of the first axis; a sample of 'scan' is a single number.",
        ),
        (
            np.zeros((2, 3), np.complex64),
            {},
            "an Array column holds arrays, lists, numbers or file names; 'scan' holds complex64.\n"
            "  Convert the column, or read it with another field.",
        ),
        (
            [{"a": 1}, {"a": 2}],
            {},
            "an Array column holds arrays, lists, numbers or file names; 'scan' holds "
            "struct<a: int64>.\n"
            "  Convert the column, or read it with another field.",
        ),
        (
            np.zeros((2, 3)),
            {"column": "scam"},
            "the row table has no column 'scam'.\n  Did you mean 'scan'?",
        ),
        (
            np.zeros((2, 3)),
            {"column": ["scan", "scan"]},
            "several columns make one Array if each holds one number a sample; 'scan' holds arrays of "
            "shape (3,).",
        ),
        (
            [1, 2],
            {"column": ["scan", "id"]},
            "several columns make one Array if each holds one number a sample; 'id' holds string.",
        ),
        (
            np.zeros((2, 3), np.uint8),
            {"missing": 256},
            'missing must be "raise", "zero" or a value that fills (3,) uint8; received 256.',
        ),
    ],
)
def test_a_column_that_holds_no_such_arrays_is_told(
    values: Any, options: dict[str, Any], message: str
) -> None:
    """The types of the columns are checked when the dataset is declared."""
    columns = {"id": ["a", "b"], "scan": values}
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Dataset(columns, inputs={"x": mf.Array(**{"column": "scan"} | options)})
    assert str(caught.value) == f"field 'x': {message}"


def test_dtypes_and_shapes_may_come_in_any_form() -> None:
    """As NumPy's dtypes and integers, and as lists."""
    field = mf.Array("scan", [np.int64(2), 3], dtype=np.float64, pad_to=np.int32(2))
    assert repr(field) == repr(mf.Array("scan", (2, 3), dtype="float64", pad_to=2))
    assert hash(field) == hash(mf.Array("scan", (2, 3), dtype="float64", pad_to=2))


# Files ---------------------------------------------------------------------------------------------


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.write_text, (self.path, "run")


def npy(array: np.ndarray) -> bytes:
    """Return an array as the content of a file."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def npz(member: str, content: bytes, **options: Any) -> bytes:
    """Return an archive of one member."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **options) as archive:
        archive.writestr(member, content)
    return stream.getvalue()


def header(text: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    """Return a .npy file with a header of one's own."""
    size = struct.pack("<H" if version[0] == 1 else "<I", len(text) + 1)
    return b"\x93NUMPY" + version + size + text.encode() + b"\n" + data


def described(descr: str = "'<f4'", shape: str = "(2,)", fortran: str = "False") -> str:
    """Return the text of a header."""
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}"


def file_refused(folder: Path, content: bytes, name: str = "1.npy", **options: Any) -> str:
    """Return the reason why the second of two files is refused."""
    np.save(folder / "0.npy", np.float32([1, 2]))
    path = folder / name.partition("::")[0]
    path.write_bytes(content)
    names = [str(folder / "0.npy"), str(folder / name)]
    data = dataset(names, options.pop("shape", (2,)), **options)
    message = refused(data).splitlines()
    assert message[1] == f"  File: {path} (row 1)."
    return message[0].removeprefix("the file ").removesuffix(".") + " | " + message[2].strip()


def test_pickles_never_run(tmp_path: Path) -> None:
    """Object arrays are refused from their header; the payload of the pickle is not looked at."""
    mark = tmp_path / "mark"
    objects = np.empty(2, object)
    objects[:] = [Payload(mark), Payload(mark)]
    expected = "holds Python objects, which are never unpickled | Save it as an array of numbers."
    assert file_refused(tmp_path, npy(objects)) == expected
    assert file_refused(tmp_path, npz("x.npy", npy(objects)), "1.npz::x") == expected
    mixed = np.zeros(2, [("a", "f4"), ("b", "O")])
    mixed["b"] = objects
    assert file_refused(tmp_path, npy(mixed)) == expected
    assert file_refused(tmp_path, pickle.dumps(Payload(mark))).startswith(
        "is not a readable .npy file ("
    )
    assert file_refused(tmp_path, npz("x.npy", pickle.dumps(Payload(mark))), "1.npz::x").startswith(
        "is not a readable .npy file ("
    )
    code = f"open({str(mark)!r}, 'w')"
    for text in (code, described(shape=code), described(descr=code)):
        assert file_refused(tmp_path, header(text)).startswith("is not a readable .npy file (")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (npy(np.float32([1, 2]))[:-1], "is damaged: 7 bytes of data do not make float32 of shape (2,)"),
        (
            npy(np.float32([1, 2])) + b"x",
            "is damaged: 9 bytes of data do not make float32 of shape (2,)",
        ),
        (
            npy(np.float32([1, 2, 3])),
            "holds an array of shape (3,) where the declaration says (2,)",
        ),
        (npy(np.float32(1)), "holds an array of shape () where the declaration says (2,)"),
        (npy(np.array(["a", "b"])), "holds <U1, not numbers"),
        (npy(np.array([1j, 2])), "holds complex128, not numbers"),
        (npy(np.zeros(2, "M8[s]")), "holds datetime64[s], not numbers"),
        (npy(np.array([0.0, 1e300])), "holds 1e+300, which float32 cannot hold"),
        (
            header(described(shape="(-2, -1)"), bytes(8)),
            "is damaged: 8 bytes of data do not make float32 of shape (-2, -1)",
        ),
        (
            header(described(shape=f"(2, {10**30})"), bytes(8)),
            f"is damaged: 8 bytes of data do not make float32 of shape (2, {10**30})",
        ),
        (
            header(described(shape=f"(0, {10**30})")),
            f"is damaged: 0 bytes of data do not make float32 of shape (0, {10**30})",
        ),
        (
            header(described(shape=f"({'1, ' * 70})"), bytes(4)),
            f"is damaged: 4 bytes of data do not make float32 of shape {(1,) * 70}",
        ),
        (
            npz("x.npy", npy(np.float32([1, 2]))),
            "is an .npz archive, without the name of a member",
        ),
    ],
    ids=range(13),
)
def test_a_bad_npy_file_is_told(tmp_path: Path, content: bytes, reason: str) -> None:
    """What it holds, and what it should."""
    assert file_refused(tmp_path, content).split(" | ")[0] == reason


@pytest.mark.parametrize(
    "content",
    [
        b"\x93NUMPY",
        b"\x93NUMPX\x01\x00",
        header("{}"),
        header("{'descr': '<f4'"),
        header("((((((((" * 50),
        header("{" * 5000 + "}" * 5000),
        header("-" * 9000 + "1"),
        header("'" + "x" * 20_000 + "'", version=b"\x02\x00"),
        header(described(descr="'nonsense'")),
        header(described(shape="2")),
        header(described(fortran="3")),
        header("'''"),
        header("1L\n  2"),
        header(described(), bytes(8), version=b"\x03\x00"),
        header(described(), bytes(8), version=b"\x09\x00"),
    ],
    ids=range(15),
)
def test_a_damaged_npy_header_is_told(tmp_path: Path, content: bytes) -> None:
    """However NumPy's parser fails, it is an unreadable file."""
    reason = file_refused(tmp_path, content)
    assert reason.startswith("is not a readable .npy file (")
    assert reason.endswith(f") | {FILE_REPLACE}")


def test_both_versions_and_orders_of_npy_are_read(tmp_path: Path) -> None:
    """Of any byte order, and of no elements at all."""
    values = np.arange(6, dtype=">i2").reshape(2, 3)
    for number, version in enumerate([(1, 0), (2, 0)]):
        with (tmp_path / f"{number}.npy").open("wb") as stream:
            np.lib.format.write_array(stream, np.asfortranarray(values) if number else values, version)
    names = [str(tmp_path / "0.npy"), str(tmp_path / "1.npy")]
    assert read(dataset(names, (2, 3))).tolist() == [values.tolist()] * 2
    np.save(tmp_path / "0.npy", np.zeros((0, 3)))
    assert not read(dataset(names[:1], (None, 3), pad_to=2)).any()


def test_a_member_of_an_archive(tmp_path: Path) -> None:
    """Is found by its name, and its absence told by the names that there are."""
    np.savez(tmp_path / "all.npz", scan=np.float32([1, 2]), mask=np.float32([3, 4]))
    names = [f"{tmp_path}/all.npz::scan", f"{tmp_path}/all.npz::mask", f"{tmp_path}/all.npz::mark"]
    data = dataset(names, (2,))
    assert read(data.select([0, 1])).tolist() == [[1, 2], [3, 4]]
    assert refused(data, 2) == (
        "the file has no member 'mark'; it has 'scan', 'mask'.\n"
        f"  File: {tmp_path}/all.npz (row 2).\n"
        "  Correct the name after '::'."
    )


def test_a_member_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    """A small archive of many zeros is told from its directory, and costs no memory."""
    bomb = npz("x.npy", bytes(50_000_000), compression=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000
    assert file_refused(tmp_path, bomb, "1.npz::x") == (
        "has a member 'x' of 50,000,000 bytes, where at most 65,568 are due | Correct the file or the "
        "declared shape."
    )


def test_a_damaged_archive_is_told(tmp_path: Path) -> None:
    """A wrong checksum, an unknown method, a password: each in its own words."""
    content = bytearray(npz("x.npy", npy(np.float32([1, 2]))))
    content[-100] ^= 0xFF
    changes = {"data": 60, "method": 8, "flags": 6}
    for place in changes.values():
        damaged = bytearray(npz("x.npy", npy(np.float32([1, 2]))))
        directory = damaged.index(b"PK\x01\x02")
        damaged[place] ^= 0x01
        if place < 30:
            damaged[directory + place + 2] ^= 0x01
        reason = file_refused(tmp_path, bytes(damaged), "1.npz::x")
        assert reason.startswith("is not a readable .npz file ("), reason


def test_a_member_that_is_no_array_is_not_found(tmp_path: Path) -> None:
    """Only what NumPy wrote as .npy is a member."""
    assert file_refused(tmp_path, npz("x", b"text"), "1.npz::x") == (
        "has no member 'x'; it has none | Correct the name after '::'."
    )


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """With the name that was looked for."""
    data = dataset([f"{tmp_path}/no.npy"], (2,))
    assert refused(data, 0) == (
        f"the file does not exist.\n  File: {tmp_path}/no.npy (row 0).\n  {FILE_REPLACE}"
    )


# preprocess ----------------------------------------------------------------------------------------


def test_preprocess_results_must_fit() -> None:
    """int64 becomes int32, and a number that it cannot hold is told, not wrapped."""
    data = dataset(np.array([[1, 2], [3, 4]]), preprocess=lambda sample: sample.astype(np.int64) * 2**30)
    assert data.spec == ({"x": mf.Spec((2,), "int32")},)
    assert refused(data, 0) == (
        "it holds 2147483648, which int32 cannot hold.\n"
        "  Row: 0.\n"
        "  Let preprocess return values of that range, or floats."
    )


def test_preprocess_may_return_floats_of_any_width() -> None:
    """A sample in float64 and another in float32 are both float32."""

    def vary(sample: np.ndarray) -> np.ndarray:
        return sample / 2 if sample[0] % 2 else (sample / 2).astype(np.float32)

    found = read(dataset(np.array([[1, 2], [2, 4]]), preprocess=vary))
    assert found.dtype == np.float32
    assert found.tolist() == [[0.5, 1], [1, 2]]


def test_preprocess_may_divide_by_the_mean_of_zeros() -> None:
    """Trying it on a blank sample warns of nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = dataset(np.array([[1.0, 3.0]]), preprocess=lambda sample: np.log(sample / sample.mean()))
        np.testing.assert_allclose(read(data), np.log([[0.5, 1.5]]), rtol=1e-6)
