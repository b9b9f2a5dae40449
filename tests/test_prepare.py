"""prepare: one sample, as it comes to a server. That all fields read it rightly: see conformance."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import multifeed as mf

ROWS = {
    "id": ["a", "b", "c"],
    "age": [40, 60, 50],
    "bmi": [21.5, 30.0, 25.0],
    "kind": ["cat", "dog", "cat"],
    "steps": [[7, 8], [9], [1, 2, 3]],
    "sick": [0, 1, 1],
}


def declare(rows: Any = ROWS, **options: Any) -> mf.Dataset:
    return mf.Dataset(
        rows,
        key="id",
        inputs={
            "vitals": mf.Numeric(["age", "bmi"], normalize=True),
            "kind": mf.Category("kind", oov=True),
            "steps": mf.Array("steps", pad_to=4),
            "mask": mf.Mask("steps"),
        },
        targets=mf.Category("sick"),
        **options,
    )


@pytest.fixture
def data() -> mf.Dataset:
    dataset = declare()
    dataset.adapt()
    return dataset


SAMPLE = {"age": 60, "bmi": 30.0, "kind": "dog", "steps": [9], "more": object()}


def refused(data: mf.Dataset, sample: Any) -> str:
    """Return what a SampleError says."""
    with pytest.raises(mf.SampleError) as caught:
        mf.prepare(data, sample)
    return str(caught.value)


def assert_equal(one: Any, other: Any) -> None:
    """Raise unless two dicts of arrays have the same bytes."""
    assert list(one) == list(other)
    for name in one:
        assert (one[name].dtype, one[name].shape) == (other[name].dtype, other[name].shape)
        assert one[name].tobytes() == other[name].tobytes()


def test_inputs_have_the_structure_of_the_declaration(data: mf.Dataset) -> None:
    """A dict, a tuple or one array, first axis 1; neither target, key nor other columns are needed."""
    with mf.Feed(data, batch_size=1) as feed:
        assert_equal(mf.prepare(data, SAMPLE), feed.batch(0, 1)[0])
    one = mf.Dataset(ROWS, inputs=mf.Numeric("age"))
    assert mf.prepare(one, {"age": 3}).tolist() == [[3.0]]
    two = mf.Dataset(ROWS, inputs=(mf.Numeric("age"), mf.Array("bmi")))
    assert [each.tolist() for each in mf.prepare(two, SAMPLE)] == [[[60.0]], [30.0]]


def test_a_list_of_samples_is_one_batch(data: mf.Dataset) -> None:
    """In its order; the arrays are the caller's own."""
    samples = pa.table(ROWS).to_pylist()
    with mf.Feed(data, batch_size=3) as feed:
        assert_equal(mf.prepare(data, samples), feed.batch(0, 0)[0])
    first, second = mf.prepare(data, samples), mf.prepare(data, samples[::-1])
    first["vitals"][:] = 0
    assert_equal(second, mf.prepare(data, samples[::-1]))


def test_a_number_may_have_a_fraction_where_the_dataset_has_none(data: mf.Dataset) -> None:
    """The one row that a server's table has need not look like all samples."""
    found = mf.prepare(data, SAMPLE | {"age": 51.5, "bmi": 30})
    wanted = (np.array([51.5, 30.0]) - [50.0, 25.5]) / [np.std([40, 60, 50]), np.std([21.5, 30, 25])]
    np.testing.assert_allclose(found["vitals"], [wanted], rtol=1e-6)


def test_labels_that_were_not_learned_are_unknown(data: mf.Dataset) -> None:
    """With oov=True as in training: number 0."""
    assert mf.prepare(data, SAMPLE | {"kind": "cow"})["kind"].tolist() == [0]


def test_what_is_learned_anew_counts(data: mf.Dataset) -> None:
    """A second adapt, and another part of the same split, are noticed."""
    before = mf.prepare(data, SAMPLE)["vitals"]
    data.select([0, 1]).adapt(again=True)
    after = mf.prepare(data, SAMPLE)["vitals"]
    assert (before != after).all()
    assert after.tolist() == data[1][0]["vitals"][None].tolist()


def test_an_input_must_have_learned() -> None:
    """The error is that of reading the dataset; targets need not have learned."""
    with pytest.raises(mf.NotAdaptedError) as caught:
        mf.prepare(declare(), SAMPLE)
    assert str(caught.value) == (
        "'vitals' has to learn from the training rows before it can be read (it is a Numeric).\n"
        "  Call train.adapt() on the training part of the split, or data.adapt() if there is none."
    )
    unlearned = mf.Dataset(ROWS, inputs=mf.Numeric("age"), targets=mf.Category("sick"))
    assert mf.prepare(unlearned, SAMPLE).tolist() == [[60.0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"age": "40"},
            "'vitals' of the sample cannot be used: it is '40' (str), where column 'age' of the dataset "
            "holds int64.\n"
            "  Pass what the dataset's own rows have there, or None if there is no value.",
        ),
        (
            {"kind": 3},
            "'kind' of the sample cannot be used: it is 3 (int), where column 'kind' of the dataset "
            "holds string.\n"
            "  Pass what the dataset's own rows have there, or None if there is no value.",
        ),
        (
            {"kind": b"dog"},
            "'kind' of the sample cannot be used: it is of type bytes, where column 'kind' of the "
            "dataset holds string.\n"
            "  Pass what the dataset's own rows have there, or None if there is no value.",
        ),
        (
            {"steps": [1.5]},
            "'steps' of the sample cannot be used: it is of type list, where column 'steps' of the "
            "dataset holds list<item: int64>.\n"
            "  Pass what the dataset's own rows have there, or None if there is no value.",
        ),
        (
            {"age": None},
            "'vitals' of the sample cannot be used: it is missing: column 'age' holds no finite "
            "number.\n"
            '  Fill it in, or declare the field with missing="zero", "mean" or a number.',
        ),
        (
            {"id": "p7", "bmi": float("inf")},
            "'vitals' of sample 'p7' cannot be used: it is infinite: column 'bmi' holds no finite "
            "number.\n"
            '  Fill it in, or declare the field with missing="zero", "mean" or a number.',
        ),
    ],
)
def test_a_value_that_cannot_be_used_is_told(
    data: mf.Dataset, change: dict[str, Any], message: str
) -> None:
    """Field, column, value, and the sample's key if it has one."""
    assert refused(data, SAMPLE | change) == message


def test_a_missing_column_is_told(data: mf.Dataset) -> None:
    """It is no null: the caller may have forgotten or misspelt it."""
    sample = {"Age" if name == "age" else name: value for name, value in SAMPLE.items()}
    message = (
        "'vitals' of {} cannot be used: it reads column 'age', which the sample lacks.\n"
        "  {}Did you mean 'Age'? Pass None for it if there is no value."
    )
    assert refused(data, sample) == message.format("the sample", "")
    assert refused(data, [SAMPLE, sample]) == message.format("row 1", "Row: 1.\n  ")


def test_a_target_that_an_input_is_made_from_is_needed() -> None:
    """The mask of a padded target reads the target's column."""
    data = mf.Dataset(ROWS, inputs=mf.Mask("steps"), targets=mf.Array("steps", pad_to=3))
    assert mf.prepare(data, {"steps": [5, 6]}).tolist() == [[True, True, False]]
    assert refused(data, {"age": 1}) == (
        "'steps' of the sample cannot be used: it reads column 'steps', which the sample lacks.\n"
        "  There are: 'age'. Pass None for it if there is no value."
    )


@pytest.mark.parametrize(("sample", "kind"), [("abc", "str"), ([], "list"), ([1], "list"), (3, "int")])
def test_a_sample_is_a_mapping(data: mf.Dataset, sample: Any, kind: str) -> None:
    """Everything else is told."""
    with pytest.raises(mf.DeclarationError) as caught:
        mf.prepare(data, sample)
    assert str(caught.value) == (
        "a sample is a dict of values by column; several are a list of such dicts.\n"
        f"  Received: {kind}.\n"
        "  Pass e.g. dict(row), or table.to_pylist()."
    )


class TestFiles:
    """Columns of files: names by the rules of the dataset, or bytes."""

    @pytest.fixture
    def folder(self, photos: Path, tmp_path: Path) -> Path:
        """Two photographs inside, beside table files that name and that hold them; one outside."""
        inside = tmp_path / "inside"
        inside.mkdir()
        names = ["p00.jpg", "p01.jpg"]
        for name in names:
            (inside / name).write_bytes((photos / "left" / name).read_bytes())
        (tmp_path / "secret.jpg").write_bytes((photos / "left" / "p02.jpg").read_bytes())
        content = [(inside / name).read_bytes() for name in names]
        pq.write_table(pa.table({"photo": names, "id": names}), inside / "names.parquet")
        pq.write_table(pa.table({"photo": content}), inside / "bytes.parquet")
        return inside

    @pytest.mark.parametrize("table", ["names.parquet", "bytes.parquet"])
    def test_names_and_bytes_may_stand_for_each_other(self, folder: Path, table: str) -> None:
        """Whichever the dataset has: names, paths, bytes, and what can be read as bytes."""
        data = mf.Dataset(folder / table, inputs=mf.Image("photo", size=(20, 30)))
        content = (folder / "p01.jpg").read_bytes()
        wanted = data[1][0][None]
        for value in ("p01.jpg", Path("p01.jpg"), content, bytearray(content), memoryview(content)):
            assert mf.prepare(data, {"photo": value}).tobytes() == wanted.tobytes()
        both = mf.prepare(data, [{"photo": "p00.jpg"}, {"photo": "p01.jpg"}])
        assert both.tobytes() == data[0][0].tobytes() + data[1][0].tobytes()
        told = refused(data, [{"photo": "p00.jpg"}, {"photo": content}])
        assert told.startswith("'photo' of row ")

    @pytest.mark.parametrize("table", ["names.parquet", "bytes.parquet"])
    @pytest.mark.parametrize("name", ["../secret.jpg", "{outside}/secret.jpg", "link.jpg"])
    def test_names_stay_in_the_folder_of_the_table(self, folder: Path, table: str, name: str) -> None:
        """As those of the table itself; also where the table holds bytes and has no names at all."""
        (folder / "link.jpg").symlink_to(folder.parent / "secret.jpg")
        name = name.format(outside=folder.parent)
        field = mf.Image("photo", size=8)
        for sample in ({"photo": name}, [{"photo": name}]):
            told = refused(mf.Dataset(folder / table, inputs=field), sample).splitlines()
            assert told[0].endswith(
                f"cannot be used: the file leads out of the folder of its table, {str(folder)!r}."
            )
        free = mf.Dataset(folder / table, inputs=field, allow_outside=True)
        assert mf.prepare(free, {"photo": name}).shape == (1, 8, 8, 3)

    def test_root_is_where_names_start(self, folder: Path) -> None:
        """And where they end."""
        data = mf.Dataset({"photo": ["p00.jpg"]}, inputs=mf.Image("photo", size=8), root=folder)
        assert mf.prepare(data, {"photo": "p01.jpg"}).shape == (1, 8, 8, 3)
        assert refused(data, {"photo": "../secret.jpg"}) == (
            "'photo' of the sample cannot be used: the file leads out of the folder of its table, "
            f"{str(folder)!r}.\n"
            f"  File: {folder}/../secret.jpg.\n"
            "  File names from a table file stay under its folder: pass root= to mf.Dataset to move "
            "that folder, or allow_outside=True if you trust the table."
        )

    def test_a_file_that_cannot_be_read_is_told(self, folder: Path) -> None:
        """With its path; of bytes, that they are none of an image."""
        data = mf.Dataset(folder / "names.parquet", key="id", inputs=mf.Image("photo", size=8))
        assert refused(data, {"photo": "p09.jpg", "id": "p09"}) == (
            "'photo' of sample 'p09' cannot be used: the file does not exist.\n"
            f"  File: {folder}/p09.jpg.\n"
            "  Replace the file, or leave the row out with data.select."
        )
        told = refused(data, {"photo": b"noise", "id": "p09"})
        assert told.startswith("'photo' of sample 'p09' cannot be used: it ")
        assert "File:" not in told

    def test_an_exception_of_preprocess_is_chained(self, folder: Path) -> None:
        """As in a batch, without a row."""

        def fails(image: np.ndarray) -> np.ndarray:
            if image.any():
                raise KeyError("oops")
            return image

        data = mf.Dataset(folder / "names.parquet", inputs=mf.Image("photo", size=8, preprocess=fails))
        assert refused(data, {"photo": "p00.jpg"}) == (
            "reading 'photo' of the sample raised KeyError: 'oops'.\n"
            f"  File: {folder}/p00.jpg.\n"
            "  The exception above is the original. If it came from a function of yours, that "
            "must accept every sample."
        )

    def test_threads_prepare_each_its_own(self, folder: Path) -> None:
        """A server's threads share one dataset."""
        data = mf.Dataset(folder / "names.parquet", inputs=mf.Image("photo", size=20))
        wanted = [data[row][0].tobytes() for row in range(2)]
        found: dict[int, set[bytes]] = {0: set(), 1: set()}
        start = threading.Barrier(2)

        def work(row: int) -> None:
            start.wait()
            for _ in range(50):
                found[row].add(mf.prepare(data, {"photo": f"p0{row}.jpg"}).tobytes())

        threads = [threading.Thread(target=work, args=(row,)) for row in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == {0: {wanted[0]}, 1: {wanted[1]}}


SERVER = """
import json, sys
import multifeed as mf

def declare(rows):
    return mf.Dataset(rows, inputs={
        "photo": mf.Image("photo", size=(20, 30)),
        "again": mf.Same("photo", dtype="float32", scale=1 / 255),
        "vitals": mf.Numeric(["age", "bmi"], normalize=True),
        "kind": mf.Category("kind", one_hot=True),
        "note": mf.Text("note", length=6),
        "mask": mf.Mask("note"),
    }, targets=mf.Category("sick"))

if __name__ == "__main__":
    folder = sys.argv[1]
    data = declare(
        {"photo": [""], "age": [0], "bmi": [0.0], "kind": ["cat"], "note": [""], "sick": ["yes"]}
    )
    data.load_state(f"{folder}/state.json")
    request = json.load(open(f"{folder}/request.json"))
    photo = open(f"{folder}/photo.jpg", "rb").read()
    inputs = mf.prepare(data, {**request, "photo": photo})
    assert not {"keras", "jax", "torch", "tensorflow"} & set(sys.modules)
    print(json.dumps({name: [str(a.dtype), a.shape, a.tobytes().hex()] for name, a in inputs.items()}))
"""


def test_a_server_prepares_what_training_read(photos: Path, tmp_path: Path) -> None:
    """State saved, declared anew in another process over one row of no sense: the same bytes."""
    rows = {
        "photo": [str(photos / "left" / f"p{number:02}.jpg") for number in range(4)],
        "age": [40.5, 50.0, 60.0, 70.0],
        "bmi": [21.0, 25.0, 30.0, 28.0],
        "kind": ["cat", "dog", "cat", "cow"],
        "note": ["No fever. No pain.", "Severe pain!", "well", "fever again, and pain"],
        "sick": ["no", "yes", "no", "yes"],
    }
    server = tmp_path / "server.py"
    server.write_text(SERVER)
    names: dict[str, Any] = {"__name__": "server"}
    exec(compile(SERVER, str(server), "exec"), names)
    data = names["declare"](rows)
    data.adapt()
    data.save_state(tmp_path / "state.json")
    with mf.Feed(data, batch_size=1) as feed:
        wanted = feed.batch(0, 3)[0]
    request = {name: rows[name][3] for name in ("age", "bmi", "kind", "note")}
    (tmp_path / "request.json").write_text(json.dumps(request))
    (tmp_path / "photo.jpg").write_bytes(Path(rows["photo"][3]).read_bytes())
    done = subprocess.run(
        [sys.executable, str(server), str(tmp_path)], capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = {
        name: np.frombuffer(bytes.fromhex(content), kind).reshape(shape)
        for name, (kind, shape, content) in json.loads(done.stdout).items()
    }
    assert_equal(found, wanted)
