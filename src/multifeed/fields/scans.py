"""Files of volumes: which format they have, and how much of them is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from multifeed.errors import BadValue
from multifeed.fields import dicom, nifti
from multifeed.fields.npy import read_header
from multifeed.fields.voxels import Box, Lying, Piece, Stored, Voxels, Whole
from multifeed.files import MAX_FILE_BYTES, REPLACE, File
from multifeed.folder import Folder, part_of

# By the end of a name, what the file must hold; where a name ends otherwise, the content tells.
_KINDS = {".nii": "NIfTI", ".nii.gz": "NIfTI", ".npy": ".npy", ".dcm": "DICOM"}
# Packed bytes in which the header of a NIfTI file is, whatever gzip says before it.
_PACKED_HEADER_BYTES = 4_096
# Files of a series that are named so must be DICOM; others that are none are passed over.
_SLICE_NAMES = (".dcm", ".ima")


@dataclass(frozen=True)
class Files:
    """The files of a series, loaded.

    Args:
        files: Name and content of each.
    """

    files: tuple[tuple[str, bytes], ...]

    @property
    def nbytes(self) -> int:
        """The bytes of all."""
        return sum(len(data) for _, data in self.files)


# The content of a file, the box of it that is needed, or the files of a series.
Loaded = bytes | Piece | Files


def load(
    folder: Folder, name: str, most_bytes: int, box_of: Callable[[Stored], Box] | None = None
) -> Loaded:
    """Return what is to be read of a volume.

    Args:
        folder: Where names start.
        name: The name of a file, or of the folder of a series.
        most_bytes: More are not read.
        box_of: Returns the box that is needed, if that may not be the whole volume. Of files that are
            not packed no more is read.

    Raises:
        BadValue: If the file cannot be read, or its header is damaged.
    """
    try:
        file = folder.open(name)
    except BadValue as error:
        return _series(folder, name, error)
    with file:
        if box_of is None:
            return file.read()
        head = file.read(0, min(nifti.HEADER_BYTES, file.size))
        if nifti.is_packed(head) or _kind(name, head) == "DICOM":
            return file.read()
        lying = _parse(name, head)
        box = box_of(lying.stored)
        lying.stored.refuse_more(most_bytes, box)
        return lying.read(file, box)


def opened(name: str, loaded: Loaded, most_bytes: int) -> Voxels:
    """Return the volume in what was loaded.

    Raises:
        BadValue: If it is damaged, or claims more bytes than `most_bytes`.
    """
    if isinstance(loaded, Piece):
        return loaded
    if isinstance(loaded, Files):
        return dicom.Series(loaded.files, most_bytes)
    if not nifti.is_packed(loaded) and _kind(name, loaded) == "DICOM":
        return dicom.Series([(name, loaded)], most_bytes)
    lying = _lying(name, loaded)
    lying.stored.refuse_more(most_bytes, lying.stored.whole)
    if nifti.is_packed(loaded):
        loaded = nifti.unpack(loaded, lying.start + lying.nbytes, whole=True)
    return Whole(lying.stored, lying.view(loaded))


def stored_in(name: str, loaded: Loaded, most_bytes: int) -> Stored:
    """Return what the header says of what was loaded.

    Raises:
        BadValue: If it is damaged.
    """
    if isinstance(loaded, bytes) and (nifti.is_packed(loaded) or _kind(name, loaded) != "DICOM"):
        return _lying(name, loaded).stored
    return opened(name, loaded, most_bytes).stored


def header(folder: Folder, name: str) -> Stored:
    """Return what the header of a file says; of a series, all files are read.

    Raises:
        BadValue: If it cannot be read.
    """
    try:
        file = folder.open(name)
    except BadValue as error:
        return dicom.Series(_series(folder, name, error).files, MAX_FILE_BYTES).stored
    with file:
        head = file.read(0, min(_PACKED_HEADER_BYTES, file.size))
        if not nifti.is_packed(head) and _kind(name, head) == "DICOM":
            head = file.read()
    return stored_in(name, head, MAX_FILE_BYTES)


def _series(folder: Folder, name: str, error: BadValue) -> Files:
    """Return the files of a series; raise the error that the folder is no file if it is no folder."""
    try:
        names = folder.names(name)
    except BadValue:
        names = []
    if not names:
        raise error
    files, count = [], 0
    for each in names:
        called = each.rpartition("/")[2].rpartition("\\")[2]
        if called.startswith("."):
            continue
        with folder.open(each) as file:
            if _is_slice(file, called):
                count += file.size
                if count > MAX_FILE_BYTES:
                    raise BadValue(
                        f"holds slices of more than {MAX_FILE_BYTES:,} bytes, which are not read",
                        REPLACE,
                    )
                files.append((called, file.read()))
    if not files:
        raise BadValue(
            f"is a folder without DICOM files ({len(names)} others)",
            "Name a file, or a folder that holds the slices of one series.",
        )
    return Files(tuple(files))


def _is_slice(file: File, called: str) -> bool:
    is_slice = dicom.is_dicom(file.read(0, min(dicom.HEAD_BYTES, file.size)))
    if not is_slice and called.lower().endswith(_SLICE_NAMES):
        raise BadValue(f"holds {called!r}, which is no DICOM file", REPLACE)
    return is_slice


def _lying(name: str, data: bytes) -> Lying:
    """Return what the header of a file of one piece says, which may be packed."""
    if nifti.is_packed(data):
        data = nifti.unpack(data[:_PACKED_HEADER_BYTES], nifti.HEADER_BYTES)
        if not nifti.is_nifti(data):
            raise BadValue("is packed by gzip, and no NIfTI file", "Unpack it.")
    return _parse(name, data[: nifti.HEADER_BYTES])


def _parse(name: str, head: bytes) -> Lying:
    if _kind(name, head) == "NIfTI":
        return nifti.parse_header(head)
    shape, fortran, dtype, start = read_header(head)
    if len(shape) not in (3, 4) or min(shape) < 1:
        raise BadValue(
            f"holds an array of shape {shape}, where a volume has three axes, or four with channels",
            "Read it with mf.Array, or save it with three axes.",
        )
    first, second, third, channels = (*shape, 1)[:4]
    order = (0, 1, 2, 3) if fortran else (3, 2, 1, 0)
    return Lying(Stored((first, second, third), channels, dtype), start, order)


def _kind(name: str, head: bytes) -> str:
    """Return the format of a file.

    Raises:
        BadValue: If it is none of those that are read, or not what its name says.
    """
    part = part_of(name)
    called = (name if part is None else part.member).lower()
    found = None
    if head.startswith(b"\x93NUMPY"):
        found = ".npy"
    elif nifti.is_nifti(head):
        found = "NIfTI"
    elif dicom.is_dicom(head):
        found = "DICOM"
    due = next((kind for end, kind in _KINDS.items() if called.endswith(end)), found)
    if found is None or found != due:
        raise BadValue(
            f"is no {due or 'NIfTI, DICOM or .npy'} file, or damaged at its start ({head[:8]!r})",
            REPLACE,
        )
    return found
