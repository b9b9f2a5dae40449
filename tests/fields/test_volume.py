"""Volumes against nibabel and pydicom, on the files that come with them."""

from __future__ import annotations

import gzip
import itertools
import shutil
import struct
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from nibabel.processing import resample_from_to, resample_to_output
from nibabel.testing import data_path
from pydicom.data import get_testdata_file

import multifeed as mf
from multifeed.fields.scans import header
from multifeed.files import _LocalFile
from multifeed.folder import Folder

PACKAGED = Path(data_path)
CT_FOLDER = Path(get_testdata_file("CT_small.dcm")).parent
SERIES = CT_FOLDER / "dicomdirtests/98892001/CT5N"
OBLIQUE = np.array([[-2, 0.1, 0, 9], [0.1, 1.5, -0.2, -8], [0, 0.2, 3, 1], [0, 0, 0, 1.0]])


def read(folder: Path, name: str, field: mf.Volume | None = None, **columns: Any) -> np.ndarray:
    """Return what a field yields of a file."""
    rows = {"scan": [name], **{each: [value] for each, value in columns.items()}}
    return mf.Dataset(rows, inputs=mf.Volume("scan") if field is None else field, root=folder)[0][0]


def refusal(folder: Path, name: str, **options: Any) -> str:
    """Return the whole message with which a file is refused, but for where it lies."""
    with pytest.raises(mf.SampleError) as caught:
        read(folder, name, mf.Volume("scan", **{"size": 4, **options}))
    first, _, *rest = str(caught.value).split("\n  ")
    return "\n".join([first.removeprefix("'scan' of row 0 cannot be used: the file "), *rest])


def saved(
    folder: Path, values: np.ndarray, affine: np.ndarray | None = None, name: str = "x.nii"
) -> str:
    """Write a volume with nibabel."""
    nibabel.save(nibabel.Nifti1Image(values, OBLIQUE if affine is None else affine), folder / name)
    return name


def numbers(*shape: int, dtype: str = "int16") -> np.ndarray:
    return np.random.default_rng(len(shape)).integers(0, 250, shape).astype(dtype)


# NIfTI -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["example4d.nii.gz", "anatomical.nii", "functional.nii", "standard.nii.gz",
     "example_nifti2.nii.gz", "reoriented_anat_moved.nii"],
)  # fmt: skip
def test_packaged_files_are_read_as_by_nibabel(name: str) -> None:
    """Oblique, of 4 axes, scaled, big-endian, NIfTI-2: the canonical volume, in its units."""
    image = nibabel.as_closest_canonical(nibabel.load(PACKAGED / name))
    expected = image.get_fdata(dtype=np.float32)
    found = read(PACKAGED, name)
    assert (found.shape, found.dtype) == ((*expected.shape, 1)[:4], np.float32)
    np.testing.assert_allclose(found, expected.reshape(found.shape), rtol=1e-6)


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SPL", "ILA", "AIR", "PSR"])
def test_axes_lead_where_the_letters_say(tmp_path: Path, orientation: str) -> None:
    """In any order and direction, as nibabel turns them."""
    values = numbers(4, 5, 6)
    image = nibabel.Nifti1Image(values, OBLIQUE[[1, 2, 0, 3]])
    name = saved(tmp_path, values, image.affine)
    wanted = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(image.affine), nibabel.orientations.axcodes2ornt(tuple(orientation))
    )
    found = read(tmp_path, name, mf.Volume("scan", orientation=orientation))
    assert np.array_equal(found[..., 0], image.as_reoriented(wanted).get_fdata())


def test_without_orientation_axes_stay_as_they_are_stored(tmp_path: Path) -> None:
    """Also those that lie in another order."""
    values = numbers(4, 5, 6)
    found = read(tmp_path, saved(tmp_path, values), mf.Volume("scan", orientation=None))
    assert np.array_equal(found[..., 0], values)


@pytest.mark.parametrize("spacing", [1.3, (0.9, 1.4, 2.9)])
def test_finer_voxels_are_those_of_nibabel(tmp_path: Path, spacing: Any) -> None:
    """Linear interpolation on a grid with the same middle."""
    image = nibabel.Nifti1Image(numbers(9, 8, 7, dtype="float32"), np.diag([2.0, 1.5, 3, 1]))
    nibabel.save(image, tmp_path / "x.nii")
    found = read(tmp_path, "x.nii", mf.Volume("scan", spacing=spacing))[..., 0]
    sizes = np.array([2.0, 1.5, 3])
    shape = np.floor(np.array(image.shape) * sizes / spacing + 0.5).astype(int)
    assert found.shape == tuple(shape)
    affine = np.diag([*np.broadcast_to(spacing, 3), 1])
    affine[:3, 3] = (sizes * (np.array(image.shape) - 1) - (shape - 1) * spacing) / 2
    expected = resample_from_to(image, (found.shape, affine), order=1, mode="nearest").get_fdata()
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_coarser_voxels_are_near_those_of_nibabel(tmp_path: Path) -> None:
    """On the same grid; they are averages, where nibabel takes every other voxel."""
    ramps = np.meshgrid(*(np.linspace(0, 3, count) for count in (33, 25, 29)), indexing="ij")
    image = nibabel.Nifti1Image(sum(np.sin(ramp) for ramp in ramps).astype(np.float32), np.eye(4))
    nibabel.save(image, tmp_path / "x.nii")
    found = read(tmp_path, "x.nii", mf.Volume("scan", spacing=2))[..., 0]
    expected = resample_to_output(image, 2.0, order=1).get_fdata()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found[1:-1, 1:-1, 1:-1], expected[1:-1, 1:-1, 1:-1], atol=0.02)


def test_spacing_is_cut_or_padded_to_a_size(tmp_path: Path) -> None:
    """Around the middle, with what lies outside; without spacing, a volume is stretched."""
    values = numbers(4, 6, 5)
    name = saved(tmp_path, values, np.eye(4))
    found = read(tmp_path, name, mf.Volume("scan", (6, 3, 5), spacing=1, pad_value=-7))[..., 0]
    assert np.array_equal(found[1:5], values[:, 1:4])
    assert (found[[0, 5]] == -7).all()
    stretched = read(tmp_path, name, mf.Volume("scan", (4, 6, 10)))[..., 0]
    assert np.array_equal(stretched[..., 0], values[..., 0])
    assert np.allclose(stretched[..., 1], 0.75 * values[..., 0] + 0.25 * values[..., 1])
    crop = mf.Volume("scan", (2, 6, 5), fit="crop_or_pad")
    assert np.array_equal(read(tmp_path, name, crop)[..., 0], values[1:3])


def test_a_fourth_axis_is_that_of_channels(tmp_path: Path) -> None:
    """Also where it is the fifth; how many they are is declared, or told by the headers."""
    values = numbers(4, 5, 6, 3)
    for shape in ((4, 5, 6, 3), (4, 5, 6, 1, 3)):
        name = saved(tmp_path, values.reshape(shape), np.eye(4))
        assert np.array_equal(read(tmp_path, name), values)
    assert read(tmp_path, name, mf.Volume("scan", 4, channels=3)).shape == (4, 4, 4, 3)
    assert refusal(tmp_path, name) == (
        "has 3 channels, where 1 are declared.\nPass channels=3, or correct the file."
    )
    flat = saved(tmp_path, numbers(4, 5), np.eye(4))
    assert read(tmp_path, flat).shape == (4, 5, 1, 1)


def test_labels_stay_what_they_are(tmp_path: Path) -> None:
    """int32 unless declared; in another size, of the nearest voxel; floats if they are whole numbers."""
    labels = numbers(5, 6, 7, dtype="uint8")
    name = saved(tmp_path, labels, np.eye(4))
    field = mf.Volume("scan", (10, 6, 3), interpolation="nearest")
    found = read(tmp_path, name, field)[..., 0]
    assert found.dtype == np.int32
    assert np.array_equal(found, labels[np.arange(10) // 2][..., [1, 3, 5]])
    saved(tmp_path, labels.astype(np.float64), np.eye(4))
    assert np.array_equal(read(tmp_path, name, field)[..., 0], found)
    saved(tmp_path, labels + np.float32(0.5), np.eye(4))
    assert refusal(tmp_path, name, interpolation="nearest").endswith(
        '.5, which int32 cannot hold.\nPass dtype="float32", or correct the value.'
    )


def test_a_window_makes_shares_of_it(tmp_path: Path) -> None:
    """From 0 to 1, or to 255 in uint8; what is outside is padded with its low end; and it is undone."""
    values = np.array([-1000, -100, 0, 100, 300, 3000], np.int16).reshape(1, 1, 6)
    name = saved(tmp_path, values, np.eye(4))
    field = mf.Volume("scan", (1, 1, 8), window=(-100, 300), fit="crop_or_pad")
    found = read(tmp_path, name, field).ravel()
    assert found.tolist() == [0, 0, 0, 0.25, 0.5, 1, 1, 0]
    assert field.restore(found, None).tolist() == [-100, -100, -100, 0, 100, 300, 300, -100]
    small = mf.Volume("scan", (1, 1, 6), window=(-100, 300), dtype="uint8")
    assert read(tmp_path, name, small).ravel().tolist() == [0, 0, 64, 128, 255, 255]
    plain = mf.Volume("scan", (1, 1, 6))
    assert plain.restore(found, None) is found


def test_integers_are_rounded_and_refused_where_they_do_not_fit(tmp_path: Path) -> None:
    """A mean of 0 and 3 is 2 in int16; 3,000 is not in uint8."""
    name = saved(tmp_path, np.array([0, 3], np.int16).reshape(1, 1, 2), np.eye(4))
    assert read(tmp_path, name, mf.Volume("scan", (1, 1, 1), dtype="int16")).tolist() == [[[[2]]]]
    saved(tmp_path, np.full((4, 4, 4), 3000, np.int16), np.eye(4))
    assert refusal(tmp_path, name, dtype="uint8") == (
        'holds 3000.0, which uint8 cannot hold.\nPass dtype="float32", or correct the value.'
    )
    saved(tmp_path, np.full((4, 4, 4), 1e300), np.eye(4))
    assert refusal(tmp_path, name) == (
        "holds a number that float32 cannot hold.\nCorrect the file, or leave the row out."
    )


# Patches -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("interpolation", ["trilinear", "nearest"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".npy"])
@pytest.mark.parametrize("spacing", [None, 0.7, 3.1])
def test_a_patch_is_a_part_of_the_whole(
    tmp_path: Path, interpolation: str, suffix: str, spacing: float | None
) -> None:
    """To the last bit, wherever it lies, oriented and resampled, and with what is outside."""
    values = numbers(11, 12, 10, 2)
    name = f"x{suffix}"
    if suffix == ".npy":
        np.save(tmp_path / name, values)
        spacing = None
    else:
        saved(tmp_path, values, name=name)
    options: dict[str, Any] = {
        "spacing": spacing, "orientation": "SLP", "interpolation": interpolation, "channels": 2
    }  # fmt: skip
    if interpolation == "nearest":
        options["pad_value"] = 9
    whole = read(tmp_path, name, mf.Volume("scan", **options))
    pad = options.get("pad_value", 0)
    wide = np.pad(whole, [(20, 20)] * 3 + [(0, 0)], constant_values=pad)
    field = mf.Volume("scan", patch=(5, 4, 6), **options)
    for corner in ((0, 0, 0), (2, 1, 3), (-3, 2, 1), (1, -2, 6), tuple(np.array(whole.shape[:3]) - 1)):
        places = {f"patch_{axis}": int(at) for axis, at in enumerate(corner)}
        if any(at >= count for at, count in zip(corner, whole.shape[:3], strict=True)):
            continue
        first, second, third = (at + 20 for at in corner)
        expected = wide[first : first + 5, second : second + 4, third : third + 6]
        assert np.array_equal(read(tmp_path, name, field, **places), expected), corner
    middle = [(count - wanted) // 2 + 20 for count, wanted in zip(whole.shape, (5, 4, 6), strict=False)]
    expected = wide[tuple(slice(at, at + size) for at, size in zip(middle, (5, 4, 6), strict=True))]
    assert np.array_equal(read(tmp_path, name, field), expected)


@pytest.mark.parametrize("name", ["x.nii", "x.npy", "y.npy"])
def test_a_patch_reads_the_rows_that_it_needs(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each slice that it touches as many whole rows as it has, and the header: no byte more."""
    values = numbers(40, 41, 42)
    order = "C" if name == "y.npy" else "F"
    np.save(tmp_path / name, np.asarray(values, order=order)) if name.endswith(".npy") else saved(
        tmp_path, values, np.eye(4), name
    )
    field = mf.Volume("scan", patch=(5, 6, 7))
    rows = {"scan": [name], "patch_0": [3], "patch_1": [9], "patch_2": [11]}
    data = mf.Dataset(rows, inputs=field, root=tmp_path)
    data.plan()
    counted: list[int] = []
    original = _LocalFile.read

    def count(file: _LocalFile, start: int = 0, size: int | None = None) -> bytes:
        data = original(file, start, size)
        counted.append(len(data))
        return data

    monkeypatch.setattr(_LocalFile, "read", count)
    assert np.array_equal(data[0][0][..., 0], values[3:8, 9:15, 11:18])
    slices, row = (5, 42) if order == "C" else (7, 40)
    assert counted == [1_024, *[6 * row * 2] * slices]
    with mf.Feed(data, 1) as feed:
        list(feed)
        read_of = feed.report().fields["scan"]
        # The next epoch may have been begun.
        assert read_of.loaded_bytes == (1_024 + 6 * row * 2 * slices) * read_of.samples


def test_a_patch_that_has_nothing_of_the_volume_is_refused(tmp_path: Path) -> None:
    """The message says where the volume ends."""
    name = saved(tmp_path, numbers(4, 5, 6), np.eye(4))
    with pytest.raises(mf.SampleError) as caught:
        read(tmp_path, name, mf.Volume("scan", patch=2), patch_0=1, patch_1=5, patch_2=0)
    assert str(caught.value) == (
        "'scan' of row 0 cannot be used: the file has (4, 5, 6) voxels, outside of which lies the patch "
        "at (1, 5, 0).\n"
        f"  File: {tmp_path}/x.nii (row 0).\n"
        "  Correct the row: patches are counted in voxels of the volume, oriented and resampled."
    )


def test_where_a_patch_begins_is_a_column_or_not(tmp_path: Path) -> None:
    """Of the default names if they are there, of others if they are given; a null is missing."""
    values = numbers(4, 5, 6)
    name = saved(tmp_path, values, np.eye(4))
    rows = {"scan": [name] * 3, **{f"patch_{axis}": [0, 1, None] for axis in range(3)}, "z": [2, 2, 2]}
    field = mf.Volume("scan", patch=2, missing=-1)
    data = mf.Dataset(rows, inputs={"x": field, "there": mf.Present("x")}, root=tmp_path)
    assert data.fields["x"].reads == ("scan", "patch_0", "patch_1", "patch_2")
    assert np.array_equal(data[1][0]["x"][..., 0], values[1:3, 1:3, 1:3])
    assert (data[2][0]["x"] == -1).all()
    assert [sample[0]["there"].tolist() for sample in data] == [[1], [1], [0]]
    own = mf.Volume("scan", patch=2, patch_at=("z", "z", "z"))
    assert np.array_equal(
        mf.Dataset(rows, inputs=own, root=tmp_path)[0][0][..., 0], values[2:4, 2:4, 2:4]
    )
    centred = mf.Dataset(rows, inputs=mf.Volume("scan", patch=2, patch_at=None), root=tmp_path)
    assert np.array_equal(centred[2][0][..., 0], values[1:3, 1:3, 2:4])
    for wrong, message in (
        ({"patch_0": [0.5] * 3}, "a patch begins at a whole voxel, and 'patch_0' holds double.\n"
         "  Convert the column, name others in patch_at, or pass patch_at=None."),
        ({"patch_0": None}, "patch_0"),
    ):  # fmt: skip
        changed = {each: value for each, value in (rows | wrong).items() if value is not None}
        with pytest.raises(mf.DeclarationError) as caught:
            mf.Dataset(changed, inputs=mf.Volume("scan", patch=2), root=tmp_path)
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("unit", "millimetres"), [("meter", 1_000), ("mm", 1), ("micron", 0.001), (0, 1)]
)
def test_units_of_nifti_become_millimetres(tmp_path: Path, unit: str | int, millimetres: float) -> None:
    """Where none is told, they are taken for millimetres."""
    image = nibabel.Nifti1Image(numbers(4, 5, 6), np.diag([2, 3, 4, 1]))
    image.header.set_xyzt_units(unit, "sec")
    nibabel.save(image, tmp_path / "x.nii")
    assert nibabel.load(tmp_path / "x.nii").header.get_xyzt_units()[0] == (unit or "unknown")
    found = header(Folder(str(tmp_path), False), "x.nii").spacing
    assert found == pytest.approx((2 * millimetres, 3 * millimetres, 4 * millimetres))


def test_an_unknown_unit_of_nifti_is_refused(tmp_path: Path) -> None:
    """With what makes it a known one."""
    image = nibabel.Nifti1Image(numbers(4, 5, 6), np.eye(4))
    image.header["xyzt_units"] = 5
    (tmp_path / "x.nii").write_bytes(image.to_bytes())
    with pytest.raises(mf.errors.SampleError) as caught:
        mf.Dataset({"scan": ["x.nii"]}, inputs=mf.Volume("scan", size=4), root=tmp_path)[0]
    assert str(caught.value) == (
        "'scan' of row 0 cannot be used: the file has voxels measured in an unknown unit (5 in "
        f"xyzt_units).\n  File: {tmp_path}/x.nii (row 0).\n"
        '  Correct the header, e.g. with nibabel\'s header.set_xyzt_units("mm"), and save the file.'
    )


# DICOM -------------------------------------------------------------------------------------------


def slices_of(folder: Path) -> list[Any]:
    """Return the slices of a folder from the lowest to the highest."""
    found = [pydicom.dcmread(path) for path in folder.iterdir()]
    return sorted(found, key=lambda each: float(each.ImagePositionPatient[2]))


def units(each: Any) -> np.ndarray:
    """Return the pixels of a slice in Hounsfield units."""
    return each.pixel_array * float(each.RescaleSlope) + float(each.RescaleIntercept)


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """A folder that holds a copy of a packaged series."""
    shutil.copytree(SERIES, tmp_path / "ct")
    return tmp_path / "ct"


def changed(path: Path, **values: Any) -> None:
    """Write a slice with other values of some elements."""
    found = pydicom.dcmread(path)
    for name, value in values.items():
        setattr(found, name, value)
    found.save_as(path)


def test_a_series_is_ordered_by_where_its_slices_lie(series: Path, tmp_path: Path) -> None:
    """Whatever files are called and in which order they lie; in Hounsfield units; axes as oriented."""
    slices = slices_of(series)
    expected = np.stack([units(each) for each in slices])
    stored = mf.Volume("scan", orientation=None)
    assert np.array_equal(read(tmp_path, "ct", stored)[..., 0], expected)
    # Rows of this series lead to the left, columns to the back.
    assert np.array_equal(read(tmp_path, "ct")[..., 0], expected.transpose(2, 1, 0)[::-1, ::-1])
    upright = mf.Volume("scan", orientation="SPL")
    assert np.array_equal(read(tmp_path, "ct", upright)[..., 0], expected)
    for order in itertools.islice(itertools.permutations(range(5)), 0, 120, 31):
        shuffled = tmp_path / "shuffled"
        shutil.rmtree(shuffled, ignore_errors=True)
        shuffled.mkdir()
        for place, each in zip(order, slices, strict=True):
            each.InstanceNumber = 1
            each.save_as(shuffled / f"{place}.dcm")
        assert np.array_equal(read(tmp_path, "shuffled", stored)[..., 0], expected)


def test_a_series_has_voxels_of_a_size_in_mm(series: Path, tmp_path: Path) -> None:
    """Between slices it is told by their positions, within them by the pixels' spacing."""
    data = mf.Dataset({"scan": ["ct"]}, inputs=mf.Volume("scan", 4), root=tmp_path)
    reader = data.plan()._per_sample["scan"]
    described = reader.describe(0, reader.load(0))
    assert described == {"size": (5, 16, 16), "dtype": "int16", "spacing in mm": (2.5, 0.488, 0.488)}
    field = mf.Volume("scan", spacing=(0.488281, 0.488281, 1.25))
    assert read(tmp_path, "ct", field).shape == (16, 16, 10, 1)


def test_patches_and_labels_of_a_series(series: Path, tmp_path: Path) -> None:
    """Only the slices of the patch are decoded: those damaged elsewhere do no harm."""
    expected = np.stack([units(each) for each in slices_of(series)])
    last = max(series.iterdir(), key=lambda path: pydicom.dcmread(path).ImagePositionPatient[2])
    changed(last, PixelData=b"\0\0")
    field = mf.Volume("scan", patch=(3, 4, 5), orientation="SPL")
    found = read(tmp_path, "ct", field, patch_0=1, patch_1=2, patch_2=3)
    assert np.array_equal(found[..., 0], expected[1:4, 2:6, 3:8])
    assert refusal(tmp_path, "ct").startswith(f"has a damaged DICOM file {last.name!r} (")


def test_slices_may_be_scaled_each_in_their_own_way(series: Path, tmp_path: Path) -> None:
    """As those of PET are."""
    for number, path in enumerate(series.iterdir()):
        changed(path, RescaleSlope=1 + number, RescaleIntercept=-number)
    expected = np.stack([units(each) for each in slices_of(series)])
    assert np.allclose(read(tmp_path, "ct", mf.Volume("scan", orientation=None))[..., 0], expected)


def test_what_is_no_slice_is_passed_over(series: Path, tmp_path: Path) -> None:
    """An index, a text, a hidden file, a folder; what is called .dcm must be DICOM."""
    expected = read(tmp_path, "ct")
    shutil.copy(CT_FOLDER / "dicomdirtests/DICOMDIR", series)
    (series / "report.txt").write_text("nothing unusual")
    (series / ".hidden").write_text("")
    (series / "more").mkdir()
    assert np.array_equal(read(tmp_path, "ct"), expected)
    (series / "slice.dcm").write_text("an error page")
    assert refusal(tmp_path, "ct") == (
        "holds 'slice.dcm', which is no DICOM file.\n"
        "Replace the file, or leave the row out with data.select."
    )
    for path in series.iterdir():
        if path.is_file() and path.suffix != ".txt":
            path.unlink()
    assert refusal(tmp_path, "ct") == (
        "is a folder without DICOM files (1 others).\n"
        "Name a file, or a folder that holds the slices of one series."
    )


def test_a_series_with_a_gap_is_refused(series: Path, tmp_path: Path) -> None:
    """The message names the slices beside the gap."""
    (series / "2693").unlink()
    assert refusal(tmp_path, "ct") == (
        "lacks slices: between '3023' and '2392' lie 5 mm, between most others 2.5.\n"
        "Complete the series, or leave the row out with data.select."
    )


def test_doubled_slices_are_refused(series: Path, tmp_path: Path) -> None:
    """Two points in time in one folder, for example."""
    shutil.copy(series / "2693", series / "again")
    assert refusal(tmp_path, "ct") == (
        "holds two slices at one place, '2693' and 'again' (1 such pairs).\n"
        "Put each series, phase or point in time into a folder of its own."
    )


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"SeriesInstanceUID": "1.2.3"}, "series"),
        ({"Rows": 8, "Columns": 32}, "size"),
        ({"PixelSpacing": [1, 1]}, "voxel size"),
        ({"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]}, "direction"),
    ],
)
def test_slices_of_no_one_volume_are_refused(
    series: Path, tmp_path: Path, values: dict[str, Any], what: str
) -> None:
    """Another series, size, voxel size or direction: the message names two files."""
    changed(series / "3353", **values)
    assert refusal(tmp_path, "ct") == (
        f"holds slices that are no one volume: '2062' and '3353' differ in their {what}.\n"
        "Put each series into a folder of its own, without scouts."
    )


def test_packaged_scouts_and_rotating_slices_are_refused() -> None:
    """Series that are no volume: two views of a body, slices around an axis."""
    for name in ("98892001/CT2N", "98892003/MR700"):
        said = refusal(CT_FOLDER / "dicomdirtests", name)
        assert "differ in their direction" in said


def test_a_slice_out_of_its_row_is_refused(series: Path, tmp_path: Path) -> None:
    """Moved sideways, though its distance is right; a tilt that moves all alike is none."""
    for path in series.iterdir():
        x, y, z = pydicom.dcmread(path).ImagePositionPatient
        changed(path, ImagePositionPatient=[x, y + 0.3 * z, z])
    assert read(tmp_path, "ct").shape == (16, 16, 5, 1)
    x, y, z = pydicom.dcmread(series / "2693").ImagePositionPatient
    changed(series / "2693", ImagePositionPatient=[x + 9, y, z])
    assert refusal(tmp_path, "ct").startswith(
        "holds a slice that does not lie in a row with the others, '2693'."
    )


@pytest.mark.parametrize(
    "name", ["MR_small_RLE", "MR_small_bigendian", "MR_small_implicit", "MR_small_jp2klossless"]
)
def test_packed_slices_are_read_as_by_pydicom(name: str) -> None:
    """One file is a volume of one slice; RLE and JPEG 2000 without a loss are as what is not packed."""
    expected = pydicom.dcmread(CT_FOLDER / "MR_small.dcm").pixel_array
    found = read(CT_FOLDER, f"{name}.dcm", mf.Volume("scan", orientation=None))
    assert np.array_equal(found[0, ..., 0], expected)


REFUSED = {
    "MR_small_jpeg_ls_lossless.dcm": (
        "has a slice 'MR_small_jpeg_ls_lossless.dcm' that is encoded as JPEG-LS Lossless Image "
        "Compression, which is not read.\n"
        "Decompress the series (gdcmconv --raw, dcmdjpeg), or convert it to NIfTI (dcm2niix)."
    ),
    "image_dfl.dcm": (
        "has a slice 'image_dfl.dcm' that is encoded as Deflated Explicit VR Little Endian, which is "
        "not read.\n"
        "Decompress the series (gdcmconv --raw, dcmdjpeg), or convert it to NIfTI (dcm2niix)."
    ),
    "rtdose.dcm": (
        "has a file 'rtdose.dcm' of 15 frames, where one is a slice.\n"
        "Convert the series to NIfTI (dcm2niix)."
    ),
    "rtplan.dcm": (
        "has a slice 'rtplan.dcm' without pixels.\nName a folder of images alone."
    ),
    "SC_rgb_rle.dcm": (
        "has a slice 'SC_rgb_rle.dcm' that does not say where it lies (ImagePositionPatient, "
        "ImageOrientationPatient).\n"
        "Only slices of a scanner make a volume; read single pictures as files of mf.Image."
    ),
    "MR_truncated.dcm": None,
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_packaged_files_that_are_no_slices_are_refused(name: str) -> None:
    """Other encodings, many frames, plans, screens, truncated: each with its own reason."""
    said = refusal(CT_FOLDER, name)
    assert said == REFUSED[name] or (
        REFUSED[name] is None and said.startswith(f"has a damaged DICOM file {name!r} (")
    )


@pytest.mark.parametrize("name", ["MR_small_jp2klossless.dcm", "MR_small_RLE.dcm"])
def test_packed_pixels_must_be_those_of_the_header(tmp_path: Path, name: str) -> None:
    """A header that claims more or less than is packed is damaged, before anything is unpacked."""
    # pydicom takes RLE of more pixels than a header claims for padding.
    for rows in (32, 65_535) if "jp2" in name else (65_535,):
        shutil.copy(CT_FOLDER / name, tmp_path)
        changed(tmp_path / name, Rows=rows, Columns=rows)
        said = refusal(tmp_path, name)
        assert said.startswith((f"has a damaged DICOM file {name!r} (", "claims too many voxels"))


def test_a_slice_that_has_changed_makes_its_series_stale(series: Path, tmp_path: Path) -> None:
    """In a cache, though the folder itself is as it was."""
    data = mf.Dataset({"scan": ["ct"]}, inputs=mf.Volume("scan", 4), root=tmp_path)
    cached = mf.cache(data, tmp_path / "cache", progress=False)
    before = cached[0][0]
    changed(series / "2693", RescaleSlope=3)
    assert not np.array_equal(data[0][0], before)
    assert np.array_equal(cached[0][0], data[0][0])


# Declaration -------------------------------------------------------------------------------------


def test_without_a_size_the_headers_say_it(tmp_path: Path) -> None:
    """As oriented and resampled; files that cannot be read are told when they are."""
    names = [saved(tmp_path, numbers(4, 5, 6, 2), np.diag([1.0, 2, 3, 1]), f"{n}.nii") for n in range(3)]
    (tmp_path / "broken.nii").write_bytes(b"none of ours")
    rows = {"scan": [names[0], "broken.nii", *names, "gone.nii"]}
    data = mf.Dataset(rows, inputs=mf.Volume("scan", spacing=1, orientation="SAR"), root=tmp_path)
    assert data.spec == (mf.Spec((18, 10, 4, 2), "float32"),)
    assert data.fields["scan"].size == (18, 10, 4)
    assert data[0][0].shape == (18, 10, 4, 2)
    saved(tmp_path, numbers(4, 5, 7, 2), np.eye(4), "2.nii")
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Dataset(rows, inputs=mf.Volume("scan"), root=tmp_path)
    assert str(caught.value) == (
        "field 'scan': the files in 'scan' differ, so none of them says what a sample is: '0.nii' has "
        "(4, 5, 6, 2), '2.nii' has (4, 5, 7, 2).\n"
        "  Pass size=(…), to which they are brought, or patch=(…), which is cut out of them."
    )
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Dataset({"scan": ["gone.nii"]}, inputs=mf.Volume("scan"), root=tmp_path)
    assert str(caught.value) == (
        "field 'scan': no file in 'scan' says what a sample is: 'gone.nii' does not exist.\n"
        "  Pass size=(…), to which they are brought, or patch=(…), which is cut out of them."
    )
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Dataset({"scan": names[:1]}, inputs=mf.Volume("scan", channels=1), root=tmp_path)
    assert str(caught.value) == (
        "field 'scan': the volumes in 'scan' have 2 channels, where channels=1."
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size is three numbers of voxels, each at least 1, or one for a cube; "
         "received 0."),
        ({"size": (3, 4)}, "size is three numbers of voxels, each at least 1, or one for a cube; "
         "received (3, 4)."),
        ({"spacing": (1, 0, 1)}, "spacing is three sizes in mm, each above 0, or one for a cube; "
         "received (1, 0, 1)."),
        ({"orientation": "RLS"}, "orientation is three letters, one of R and L, one of A and P, one of "
         'S and I, in any order, such as "RAS"; received \'RLS\'.\n'
         "  Pass None to leave volumes as they are stored."),
        ({"window": (400, 40)}, "window is (low, high), two finite numbers, the first one less; "
         "received (400, 40).\n  The window of centre c and width w is (c - w / 2, c + w / 2)."),
        ({"window": (0, 1), "dtype": "int16"}, "a window makes numbers from 0 to 1, or to 255 in uint8; "
         "dtype is int16, interpolation 'trilinear'."),
        ({"patch": 4, "size": 5}, "a patch is cut out of a volume, which is brought to no size.\n"
         "  Pass patch alone, without size, base_size and fit."),
        ({"base_size": 4}, "base_size is the size of what becomes size; pass size as well."),
        ({"size": 4, "spacing": 1, "fit": "resize"}, 'fit="resize" gives voxels another size than '
         "spacing; leave one of them out."),
        ({"interpolation": "cubic"}, "interpolation must be one of 'trilinear', 'nearest'; received "
         "'cubic'."),
        ({"pad_value": float("nan")}, "pad_value must be a finite number; received nan."),
        (
            {"pad_value": -5, "dtype": "uint8"},
            "pad_value is a value that voxels can have; uint8 cannot hold -5.",
        ),
        (
            {"pad_value": 0.5, "interpolation": "nearest"},
            "pad_value is a value that voxels can have; int32 cannot hold 0.5.",
        ),
        ({"patch": 4, "patch_at": ("z", "y")}, "patch_at names three columns of corners, or is None; "
         "received ('z', 'y')."),
    ],
)  # fmt: skip
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    """Where they are written."""
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Volume("scan", **options)
    assert str(caught.value) == message


def test_the_header_of_two_files_is_told(tmp_path: Path) -> None:
    """It is whole, and has no voxels."""
    nibabel.save(nibabel.Nifti1Pair(np.zeros((2, 2, 2), np.int16), np.eye(4)), tmp_path / "a.img")
    with pytest.raises(mf.SampleError) as caught:
        read(tmp_path, "a.hdr", mf.Volume("scan", 2))
    assert caught.value.reason == "is not a single NIfTI file: its voxels are in an .img file"


def test_a_column_of_no_names_is_refused() -> None:
    """Volumes in memory are arrays."""
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Dataset({"scan": np.zeros((2, 4, 4, 4))}, inputs=mf.Volume("scan"))
    assert str(caught.value) == (
        "field 'scan': a Volume column holds names of files or folders; 'scan' holds float64.\n"
        "  Declare volumes that are in memory already as mf.Array('scan')."
    )


# What is damaged ---------------------------------------------------------------------------------


NO_SIZE = "has a damaged header: its voxels have no size"
DAMAGE = {
    "a shape below zero": (42, "<h", -4, "has a damaged NIfTI header (a shape of (-4, 5, 6))"),
    "no axes": (40, "<h", 0, "has a damaged NIfTI header (a shape of ())"),
    "many axes": (40, "<h", 9, "has a damaged NIfTI header ("),
    "a shape of too many": (42, "<hhh", (32_000, 32_000, 32_000), "claims too many voxels"),
    "a place of no number": (280, "<f", float("nan"), NO_SIZE),
    "axes of no length": (280, "<12f", (0.0,) * 12, NO_SIZE),
    "axes of one direction": (280, "<8f", (1, 0, 0, 0) * 2, NO_SIZE),
    "data at no byte": (108, "<f", np.nan, "has a damaged NIfTI header (its data begin at byte nan)"),
    "data far behind": (108, "<f", 3e9, "has a damaged NIfTI header (its data begin at byte 3e+09)"),
    "data in the header": (108, "<f", 8.0, "has a damaged NIfTI header (its data begin at byte 8)"),
    "an unknown type": (70, "<h", 77, "has a damaged NIfTI header (77)"),
    "colours": (70, "<h", 128, "holds [('R', 'u1'), ('G', 'u1'), ('B', 'u1')], not numbers"),
    "complex numbers": (70, "<h", 32, "holds complex64, not numbers that are read"),
    "two files": (344, "<3s", b"ni1", "is not a single NIfTI file: its voxels are in an .img file"),
    "no mark": (344, "<3s", b"\0\0\0", "is not a single NIfTI file"),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGE)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_damaged_headers_are_refused(tmp_path: Path, what: str, suffix: str) -> None:
    """Before anything is allocated, and with what is wrong."""
    place, layout, value, reason = DAMAGE[what]
    content = bytearray((tmp_path / saved(tmp_path, numbers(4, 5, 6))).read_bytes())
    struct.pack_into(layout, content, place, *(value if isinstance(value, tuple) else (value,)))
    packed = gzip.compress(content) if suffix == ".nii.gz" else bytes(content)
    (tmp_path / f"damaged{suffix}").write_bytes(packed)
    for options in ({"size": 4}, {"size": None, "patch": 2}):
        said = refusal(tmp_path, f"damaged{suffix}", **options)
        if what != "a shape of too many" or "patch" not in options or suffix == ".nii.gz":
            assert said.startswith(reason), said
        else:
            assert said.startswith("is damaged: 240 bytes of data do not make int16 of shape"), said


def test_several_volumes_in_one_file_are_refused(tmp_path: Path) -> None:
    """Of five axes that count, two would have to be channels."""
    name = saved(tmp_path, numbers(4, 5, 6, 2, 3))
    assert refusal(tmp_path, name) == (
        "holds an array of shape (4, 5, 6, 2, 3), where a volume has three axes and one of channels.\n"
        "Save each of its volumes as a file."
    )


def test_a_file_must_be_what_its_name_says(tmp_path: Path) -> None:
    """A name with another ending says nothing, and the content tells."""
    content = (tmp_path / saved(tmp_path, numbers(4, 4, 4))).read_bytes()
    expected = read(tmp_path, "x.nii")
    (tmp_path / "scan").write_bytes(content)
    assert np.array_equal(read(tmp_path, "scan"), expected)
    (tmp_path / "x.npy").write_bytes(content)
    assert refusal(tmp_path, "x.npy").startswith("is no .npy file, or damaged at its start (b'\\\\\\x01")
    (tmp_path / "note").write_text("It was a dark and stormy night")
    assert refusal(tmp_path, "note").startswith("is no NIfTI, DICOM or .npy file, or damaged at its")
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"a note"))
    assert refusal(tmp_path, "x.gz") == "is packed by gzip, and no NIfTI file.\nUnpack it."


def test_a_packed_file_is_checked_to_its_end(tmp_path: Path) -> None:
    """Its checksum counts; it may consist of several streams."""
    content = (tmp_path / saved(tmp_path, numbers(9, 9, 9))).read_bytes()
    expected = read(tmp_path, "x.nii")
    several = b"".join(gzip.compress(content[at : at + 300]) for at in range(0, len(content), 300))
    (tmp_path / "y.nii.gz").write_bytes(several)
    assert refusal(tmp_path, "y.nii.gz", max_bytes=9).startswith(
        "claims too many voxels (9 x 9 x 9 x 1 of"
    )
    packed = gzip.compress(content)
    (tmp_path / "z.nii.gz").write_bytes(packed[:-8] + bytes(4) + packed[-4:])
    assert refusal(tmp_path, "z.nii.gz").startswith("is not a readable gzip file (")
    (tmp_path / "z.nii.gz").write_bytes(packed[:-3])
    assert refusal(tmp_path, "z.nii.gz").startswith("is not a readable gzip file (it ends too early)")
    assert np.array_equal(read(tmp_path, "y.nii.gz"), expected)


def test_arrays_do_not_say_how_large_voxels_are(tmp_path: Path) -> None:
    """They are taken to lie as declared; a size in mm cannot be made of them."""
    values = numbers(4, 5, 6)
    np.save(tmp_path / "x.npy", values)
    assert np.array_equal(read(tmp_path, "x.npy")[..., 0], values)
    assert refusal(tmp_path, "x.npy", spacing=1) == (
        "is an array, which does not say what the size of its voxels is, where spacing= wants one.\n"
        "Leave spacing out for arrays that have it already, or save NIfTI files."
    )
    np.save(tmp_path / "x.npy", values[0])
    assert refusal(tmp_path, "x.npy") == (
        "holds an array of shape (5, 6), where a volume has three axes, or four with channels.\n"
        "Read it with mf.Array, or save it with three axes."
    )


def test_a_part_of_a_file_is_a_volume(tmp_path: Path) -> None:
    """As a member of an archive is, packed or not, whole or a patch of it."""
    for suffix in (".nii", ".nii.gz"):
        content = (tmp_path / saved(tmp_path, numbers(6, 5, 4), name=f"x{suffix}")).read_bytes()
        (tmp_path / "shard").write_bytes(bytes(700) + content + bytes(50))
        name = f"shard::x{suffix}@700+{len(content)}"
        assert np.array_equal(read(tmp_path, name), read(tmp_path, f"x{suffix}"))
        patch = mf.Volume("scan", patch=3)
        assert np.array_equal(read(tmp_path, name, patch), read(tmp_path, f"x{suffix}", patch))


def test_a_base_is_larger_than_what_is_made_of_it(tmp_path: Path) -> None:
    """Without augmentation it is resized; its window comes after."""
    name = saved(tmp_path, numbers(8, 8, 8), np.eye(4))
    field = mf.Volume("scan", 4, base_size=8, window=(0, 250))
    expected = read(tmp_path, name).reshape(4, 2, 4, 2, 4, 2).mean((1, 3, 5)) / 250
    found = read(tmp_path, name, field)
    assert np.allclose(found[..., 0], expected, atol=1e-6)
    data = mf.Dataset({"scan": [name]}, inputs=field, root=tmp_path)
    base = data.source.base(field, None)
    assert base.reader.spec == mf.Spec((8, 8, 8, 1), "float32")
    assert (base.spec, base.final) == (mf.Spec((4, 4, 4, 1), "float32"),) * 2


def same(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return values


def test_a_base_is_augmented_with_its_labels(tmp_path: Path) -> None:
    """A crop of both is of one place; what is not moved is as without augmentation, cached or not."""
    values = numbers(8, 9, 10, dtype="uint8")
    saved(tmp_path, values, np.eye(4))
    saved(tmp_path, values, np.eye(4), "labels.nii.gz")
    options: dict[str, Any] = {"size": 5, "base_size": (8, 9, 10)}
    scan = mf.Volume("scan", window=(0, 255), dtype="uint8", **options)
    labels = mf.Volume("labels", interpolation="nearest", **options)
    rows = {"scan": ["x.nii"], "labels": ["labels.nii.gz"]}
    data = mf.Dataset(rows, inputs={"scan": scan, "labels": labels}, root=tmp_path)
    cached = mf.cache(data, tmp_path / "cache", progress=False)
    crop = [mf.RandomCrop3D(["scan", "labels"]), mf.RandomFlip3D(["scan", "labels"])]
    for epoch in range(3):
        (batch,) = mf.Feed(data, 1, seed=1, augment=crop).batch(epoch, 0)
        assert np.array_equal(batch["scan"], batch["labels"])
        (again,) = mf.Feed(cached, 1, seed=1, augment=crop).batch(epoch, 0)
        assert np.array_equal(batch["scan"], again["scan"])
    still = [mf.RandomFunction("scan", same), mf.RandomFunction("labels", same)]
    for each in (data, cached):
        (batch,) = mf.Feed(each, 1, augment=still).batch(0, 0)
        for name in ("scan", "labels"):
            assert np.array_equal(batch[name][0], data[0][0][name])
