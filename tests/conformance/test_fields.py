"""Every field keeps every promise of `multifeed.fields.base`, whatever it reads."""

from __future__ import annotations

import dataclasses
import inspect
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fields_table import COUNT, EXAMPLES, FILE_EXAMPLES, KEYS, Example, halved

import multifeed as mf
from multifeed.batch import allocate
from multifeed.fields.base import PerSample
from multifeed.folder import PartName, split_member

ROWS = np.arange(COUNT)
BAD = 3  # the row whose file is bad

every = pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
every_file = pytest.mark.parametrize("example", FILE_EXAMPLES, ids=lambda example: example.name)
every_file_with_an_end = pytest.mark.parametrize(
    "example",
    [example for example in FILE_EXAMPLES if not example.is_plain],
    ids=lambda example: example.name,
)


def read(data: mf.Dataset, rows: Any = ROWS, garbage: int = 0) -> np.ndarray:
    """Return the values of rows, read into memory that is full of a byte."""
    plan = data.plan()
    buffers = allocate(len(rows), plan.specs)
    buffers["x"].view(np.uint8).fill(garbage)
    plan.fill(np.asarray(rows, np.int64), buffers)
    return buffers["x"]


def assert_same_bytes(one: np.ndarray, other: np.ndarray) -> None:
    """Raise unless two arrays have one dtype, shape and content, NaN included."""
    assert (one.dtype, one.shape) == (other.dtype, other.shape)
    assert one.tobytes() == other.tobytes()


@every
def test_the_spec_is_known_without_reading_a_file(example: Example, tmp_path: Path) -> None:
    """The spec told over files that do not exist is that of what is delivered over those that do."""
    delivered = example.dataset(tmp_path)
    if example.is_measured:
        pytest.skip("leaves it to the headers, which is what it is declared for")
    blind = example.declare(example.columns(tmp_path), tmp_path / "nothing")
    sample = np.asarray(delivered[0][0]["x"])
    assert blind.spec == ({"x": mf.Spec.of(sample)},)
    assert read(delivered).shape == (COUNT, *sample.shape)


@every
def test_two_readings_are_equal(example: Example, tmp_path: Path) -> None:
    """Reading again, and declaring again, gives the same bytes."""
    data = example.dataset(tmp_path)
    first = read(data)
    assert_same_bytes(first, read(data))
    assert_same_bytes(first, read(example.dataset(tmp_path)))


@every
def test_every_element_is_written(example: Example, tmp_path: Path) -> None:
    """What was in the memory before makes no difference."""
    data = example.dataset(tmp_path)
    assert_same_bytes(read(data, garbage=0x00), read(data, garbage=0xA5))


@every
def test_no_element_beside_is_written(example: Example, tmp_path: Path) -> None:
    """A field that writes to a part of a larger batch leaves the rest alone."""
    data = example.dataset(tmp_path)
    plan = data.plan()
    buffer = allocate(COUNT + 5, plan.specs)["x"]
    buffer.view(np.uint8).fill(0xA5)
    plan.fill(ROWS, {"x": buffer[2 : 2 + COUNT]})
    assert_same_bytes(buffer[2 : 2 + COUNT], read(data))
    for rest in (buffer[:2], buffer[2 + COUNT :]):
        assert set(rest.tobytes()) == {0xA5}


@every
def test_order_and_selection_change_no_value(example: Example, tmp_path: Path) -> None:
    """A row has the same bytes in any order, in any selection, and read alone."""
    data = example.dataset(tmp_path)
    whole = read(data)
    mixed = np.array([5, 2, 2, 6, 0])
    assert_same_bytes(read(data, mixed), whole[mixed])
    part = data.select(mixed).select([3, 0, 1])
    assert part.keys(np.arange(3)) == [KEYS[6], KEYS[5], KEYS[2]]
    assert_same_bytes(read(part, [0, 1, 2]), whole[[6, 5, 2]])
    for row in range(COUNT):
        assert_same_bytes(read(data, [row]), whole[[row]])
    assert_same_bytes(read(data, []), whole[:0])


@every
def test_threads_read_the_same(example: Example, tmp_path: Path) -> None:
    """Four threads that read all rows at once, each in its own order, get what one thread gets."""
    data = example.dataset(tmp_path)
    expected = read(data)
    data.plan()
    start = threading.Barrier(4)
    found: dict[int, np.ndarray] = {}

    def work(number: int) -> None:
        orders = [np.random.default_rng([number, turn]).permutation(COUNT) for turn in range(3)]
        start.wait()
        results = np.stack([read(data, order)[np.argsort(order)] for order in orders])
        found[number] = results

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for results in found.values():
        for result in results:
            assert_same_bytes(result, expected)


def with_null(example: Example, folder: Path) -> dict[str, Any]:
    """Return the column of an example, null in one row."""
    ((name, values),) = example.columns(folder).items()
    column = values if isinstance(values, pa.Array) else pa.array(values)
    is_tensor = isinstance(column, pa.ExtensionArray)
    storage = column.storage if is_tensor else column
    listed = storage.to_pylist()
    listed[BAD] = None
    nulled = pa.array(listed, storage.type)
    return {name: pa.ExtensionArray.from_storage(column.type, nulled) if is_tensor else nulled}


def takes(example: Example, option: str) -> bool:
    """Tell whether the field of an example has an option."""
    return option in {attribute.name for attribute in dataclasses.fields(example.field)}


filling = pytest.mark.parametrize(
    "example",
    [example for example in EXAMPLES if takes(example, "preprocess") and example.nullable],
    ids=lambda example: example.name,
)
preprocessing = pytest.mark.parametrize(
    "example",
    [example for example in EXAMPLES if takes(example, "preprocess")],
    ids=lambda example: example.name,
)


@filling
@pytest.mark.parametrize("missing", ["zero", 1])
def test_missing_fills_what_is_null(example: Example, tmp_path: Path, missing: Any) -> None:
    """A null gives what `missing` says, in every element; the other rows are as they were."""
    field = dataclasses.replace(example.field, missing=missing)
    whole = read(example.dataset(tmp_path))
    data = example.declare(with_null(example, tmp_path), tmp_path, field=field)
    found = read(data, garbage=0xA5)
    others = np.delete(ROWS, BAD)
    assert_same_bytes(found[others], whole[others])
    assert (found[BAD] == (0 if missing == "zero" else 1)).all()
    assert_same_bytes(read(data.select([0, BAD, 6]), [1, 0, 2]), found[[BAD, 0, 6]])


@filling
def test_a_null_is_refused_by_default(example: Example, tmp_path: Path) -> None:
    """Without `missing`, a null is an error before anything is read."""
    columns = with_null(example, tmp_path)
    with pytest.raises(mf.SampleError) as caught:
        example.declare(columns, tmp_path / "nothing").plan()
    assert str(caught.value) == (
        "'x' of sample 'k3' cannot be used: it is missing: the column is null.\n"
        "  Row: 3.\n"
        '  Fill it in, leave the row out with data.select, or declare the field with missing="zero" '
        "or a value."
    )
    assert (caught.value.field, caught.value.key, caught.value.row) == ("x", "k3", BAD)


@filling
@pytest.mark.parametrize("missing", ["mean", None, float("nan"), [1, 2, 3, 4, 5, 6, 7, 8], 1e300])
def test_missing_must_fit_the_spec(example: Example, tmp_path: Path, missing: Any) -> None:
    """A value for `missing` that cannot fill the sample is refused at declaration."""
    field = dataclasses.replace(example.field, missing=missing)
    columns = example.columns(tmp_path)
    spec = example.declare(columns, tmp_path).spec[0]["x"]
    if spec.dtype.startswith("float") and missing is not None and missing != missing:
        example.declare(columns, tmp_path, field=field)
        return
    with pytest.raises(mf.DeclarationError) as caught:
        example.declare(columns, tmp_path, field=field)
    assert str(caught.value) == (
        f'field \'x\': missing must be "raise", "zero" or a value that fills {spec}; '
        f"received {missing!r}."
    )


def filled(example: Example, column: Any) -> Any:
    """Return the field of an example, which fills what is null in its column."""
    is_category = isinstance(example.field, mf.Category)
    return dataclasses.replace(example.field, missing=column[0].as_py() if is_category else "zero")


@pytest.mark.parametrize(
    "example",
    [example for example in EXAMPLES if takes(example, "missing") and example.nullable],
    ids=lambda example: example.name,
)
def test_present_says_which_row_was_filled(example: Example, tmp_path: Path) -> None:
    """It is 0 for the null and 1 for all others: read plainly, selected, joined, cached, on threads."""
    columns = with_null(example, tmp_path)
    (column,) = columns.values()
    data = example.declare(
        columns, tmp_path, field=filled(example, column), more={"there": mf.Present("x")}
    )
    expected = np.ones((COUNT, 1), np.float32)
    expected[BAD] = 0
    mixed = np.array([5, BAD, BAD, 0])
    assert data.spec[0]["there"] == mf.Spec((1,), "float32")
    for each in (data, mf.cache(data, tmp_path / "cache")):
        for rows, some in ((ROWS, each), (mixed, each.select(mixed)), (ROWS, mf.concat([each] * 2))):
            with mf.Feed(some, 3, shuffle=True, workers=2) as feed:
                for step, (batch,) in enumerate(feed):
                    there = feed.rows(0, step) % len(rows)
                    assert_same_bytes(batch["there"], expected[rows[there]])


def test_every_kind_of_field_with_missing_is_asked_for_presence() -> None:
    """The test above has an example of each field that fills; places are tested in test_present.py."""
    fields = (each for each in vars(mf).values() if isinstance(each, type))
    filling = {each for each in fields if "missing" in getattr(each, "__dataclass_fields__", {})}
    asked = {type(each.field) for each in EXAMPLES if takes(each, "missing") and each.nullable}
    assert filling == asked | {mf.Points, mf.Boxes}


@preprocessing
def test_preprocess_sees_each_sample_alone(example: Example, tmp_path: Path) -> None:
    """A user's function gets the sample's own array, may keep and change it, and gives the result."""
    plain = dataclasses.replace(example.field, preprocess=None)
    whole = read(example.dataset(tmp_path, field=plain))
    kept: list[np.ndarray] = []

    def spoil(sample: np.ndarray) -> np.ndarray:
        kept.append(sample)
        result = sample.astype(np.float64) + 0.5
        sample[...] = 1
        return result

    data = example.dataset(tmp_path, field=dataclasses.replace(plain, preprocess=spoil))
    assert isinstance(next(iter(data.plan()._per_sample.values())), PerSample)
    found = read(data)
    assert_same_bytes(found, (whole.astype(np.float64) + 0.5).astype(np.float32))
    assert all((sample == 1).all() for sample in kept)
    assert len({id(sample) for sample in kept}) == len(kept)


def test_the_table_knows_every_field() -> None:
    """A new subclass of `Field` is tested as soon as it exists."""
    from multifeed.fields.base import Field, Link
    from multifeed.fields.weight import ClassWeight

    def kinds(base: type[Field]) -> set[type[Field]]:
        found = (
            {base}
            if not inspect.isabstract(base) and base.__module__.startswith("multifeed.fields")
            else set()
        )
        return found.union(*(kinds(each) for each in base.__subclasses__()))

    tested = {type(example.field) for example in EXAMPLES}
    # What is made from other fields is tested with them: see test_links.py and test_weight.py.
    assert kinds(Field) - kinds(Link) - {ClassWeight} == tested


# Files that cannot be used -----------------------------------------------------------------------


def removed(path: Path) -> None:
    path.unlink()


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def a_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def text(path: Path) -> None:
    path.write_text("It was a dark and stormy night; the rain fell in torrents.\n" * 20)


def noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(1).bytes(5000))


def zeros(path: Path) -> None:
    path.write_bytes(bytes(5000))


def the_other_kind(path: Path) -> None:
    """Put an array where an image belongs, and the other way round."""
    if path.suffix.startswith(".np"):
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    else:
        np.save(path.with_suffix(".npy"), np.zeros((24, 32, 3), np.uint8))
        path.with_suffix(".npy").rename(path)


REASONS: dict[Callable[[Path], None], str] = {
    removed: "does not exist",
    emptied: "is empty (0 bytes)",
    a_folder: "is not a regular file but a folder",
    a_pipe: "is not a regular file but a named pipe",
    a_dangling_link: "does not exist",
    a_loop: "cannot be opened (Too many levels of symbolic links)",
    text: "",
    noise: "",
    zeros: "",
    the_other_kind: "",
}


def path_of(name: str, folder: Path) -> Path:
    """Return the file that a value of the file column names."""
    return folder / name.partition("::")[0]


def refused(data: mf.Dataset, file: Path | str) -> str:
    """Return the reason why a file is refused, having checked all else about the error."""
    with pytest.raises(mf.SampleError) as caught:
        read(data, [0, BAD, 1], garbage=0xA5)
    error = caught.value
    assert (error.field, error.key, error.row, error.file) == ("x", "k3", BAD, str(file))
    first, second, *rest = str(error).split("\n  ")
    start = "'x' of sample 'k3' cannot be used: the file "
    assert first.startswith(start)
    assert first.endswith(".")
    assert second == f"File: {file} (row 3)."
    assert len(rest) == 1
    assert len(rest[0]) > 20
    return first.removeprefix(start).removesuffix(".")


@every_file
@pytest.mark.parametrize("spoil", REASONS, ids=lambda spoil: spoil.__name__)
@pytest.mark.timeout(20)
def test_a_bad_file_is_told_and_harms_no_other(
    example: Example, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    """A file that is not what it should be is an error that names it; all other rows read as before."""
    if example.is_plain and spoil is text:
        pytest.skip("a text like any other")
    columns = example.columns(tmp_path)
    data = example.declare(columns, tmp_path)
    whole = read(data)
    path = path_of(columns[example.file][BAD], tmp_path)
    spoil(path)
    reason = refused(data, path)
    assert reason == REASONS[spoil] or not REASONS[spoil]
    others = np.delete(ROWS, BAD)
    assert_same_bytes(read(data, others), whole[others])


@every_file_with_an_end
@pytest.mark.timeout(20)
def test_a_truncated_file_is_an_error_wherever_it_ends(example: Example, tmp_path: Path) -> None:
    """A file cut at every 5 % is an error, and the next sample has nothing of it."""
    columns = example.columns(tmp_path)
    data = example.declare(columns, tmp_path)
    whole = read(data)
    path = path_of(columns[example.file][BAD], tmp_path)
    content = path.read_bytes()
    for percent in range(0, 100, 5):
        path.write_bytes(content[: len(content) * percent // 100])
        refused(data, path)
        assert_same_bytes(read(data, [2, 4]), whole[[2, 4]])
    path.write_bytes(content)
    assert_same_bytes(read(data), whole)


@every_file
@pytest.mark.timeout(20)
def test_a_device_is_refused_even_where_allowed_outside(example: Example, tmp_path: Path) -> None:
    """`allow_outside` lifts the folder, never the rule that only regular files are read."""
    columns = example.columns(tmp_path)
    member = "::scan" if "::" in columns[example.file][BAD] else ""
    columns[example.file][BAD] = f"/dev/zero{member}"
    data = example.declare(columns, tmp_path, allow_outside=True)
    assert refused(data, "/dev/zero") == "is not a regular file but a device"


@every_file
def test_a_name_that_leads_outside_is_refused(example: Example, tmp_path: Path) -> None:
    """`..`, absolute names and links out of the folder are refused, and read once allowed."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    example.columns(outside)
    columns = example.columns(inside)
    whole = read(example.declare(columns, inside))
    name = columns[example.file][BAD]
    (inside / "link").symlink_to(outside)
    (inside / f"link-{path_of(name, Path()).name}").symlink_to(path_of(name, outside))
    for lead in (f"../outside/{name}", f"{outside}/{name}", f"link/{name}", f"link-{name}"):
        names = [*columns[example.file]]
        names[BAD] = lead
        data = example.declare(columns | {example.file: names}, inside)
        path = os.path.join(inside, lead.partition("::")[0])
        assert refused(data, path) == f"leads out of the folder of its table, {str(inside)!r}"
        free = example.declare(columns | {example.file: names}, inside, allow_outside=True)
        assert_same_bytes(read(free), whole)


@every_file
def test_a_part_of_a_file_is_read_as_a_file(example: Example, tmp_path: Path) -> None:
    """A member of an archive has the bytes of the file that was packed, on threads as well."""
    columns = example.columns(tmp_path)
    whole = read(example.declare(columns, tmp_path))
    parts, content = [], b"before"
    for name in columns[example.file]:
        file, member = split_member(name)
        if (tmp_path / file).is_dir():
            pytest.skip("a folder")
        packed = (tmp_path / file).read_bytes()
        part = str(PartName("all.tar", file, len(content), len(packed)))
        parts.append(f"{part}::{member}" if member else part)
        content += packed + b"between"
    (tmp_path / "all.tar").write_bytes(content)
    data = example.declare({**columns, example.file: parts}, tmp_path)
    assert_same_bytes(read(data), whole)
    with mf.Feed(data, 3, workers=2) as feed:
        assert_same_bytes(np.concatenate([batch["x"] for (batch,) in feed]), whole)


MUTATE = """
import sys, resource
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[1])
from fields_table import EXAMPLES
import multifeed as mf

name, folder, count = sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
example = next(example for example in EXAMPLES if example.name == name)
columns = example.columns(folder)
data = example.declare(columns, folder)
whole = np.stack([data[row][0]["x"] for row in range(2)])
path = folder / columns["file"][0].partition("::")[0]
content = np.frombuffer(path.read_bytes(), np.uint8)
limit = 3 * 2**30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
refused = 0
for seed in range(count):
    random = np.random.default_rng(seed)
    mutated = content.copy()
    # Headers first: half of the mutations fall into the first 100 bytes.
    reach = 100 if seed % 2 else len(mutated)
    places = random.integers(0, reach, random.integers(1, 8))
    mutated[places] = random.integers(0, 256, len(places))
    path.write_bytes(mutated.tobytes())
    try:
        data[0]
    except mf.SampleError as error:
        assert error.file == str(path), error
        assert "raised" not in str(error).splitlines()[0], error
        refused += 1
assert (data[1][0]["x"] == whole[1]).all()
print(refused)
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "name",
    ["image", "image-padded-rgba", "image-cropped-webp", "image-gif", "image-tiff-cmyk", "image-bmp",
     "image-jpeg2000", "array-npy", "array-npz", "raster", "raster-masked", "raster-windows",
     "audio-wav-stereo", "audio-flac",
     "audio-ogg-spectrogram", "video-mp4", "video-webm-rate"],
)  # fmt: skip
def test_mutated_files_are_errors_or_images(name: str, tmp_path: Path, full_length: bool) -> None:
    """Whatever bytes are changed: an error that names the file, or a sample; never a crash."""
    count = 10_000 if full_length else 200
    arguments = [str(Path(__file__).parent), name, str(tmp_path), str(count)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MUTATE, *arguments],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > count / 20


def test_preprocess_may_not_change_its_mind(tmp_path: Path) -> None:
    """A function that returns another shape on a later sample is told with the sample's name."""
    example = next(example for example in EXAMPLES if example.name == "image")
    seen: list[int] = []

    def fickle(sample: np.ndarray) -> np.ndarray:
        seen.append(1)
        return sample[:5] if len(seen) > 6 else halved(sample)

    field = mf.Image("file", 8, preprocess=fickle)
    data = example.dataset(tmp_path, field=field)
    data.plan()
    seen.clear()
    with pytest.raises(mf.SampleError) as caught:
        read(data)
    assert str(caught.value) == (
        "'x' of sample 'k6' cannot be used: the file becomes (5, 8, 3) uint8 by preprocess, which made "
        "(4, 8, 3) float32 of a blank sample.\n"
        f"  File: {tmp_path}/image6.jpeg (row 6).\n"
        "  Let preprocess return one shape and dtype for every sample."
    )
