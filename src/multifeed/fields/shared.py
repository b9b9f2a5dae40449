"""What fields share: checks of a declaration, conversion, missing values, `preprocess`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence, Set
from typing import Any, cast

import numpy as np
import pyarrow as pa

from multifeed.errors import BadValue, DeclarationError, lines
from multifeed.fields.base import Field, PerSample, Told
from multifeed.fields.rows import NDArray
from multifeed.fields.watch import Watch
from multifeed.remote.uri import Request
from multifeed.spec import Spec
from multifeed.spot import Spot
from multifeed.table import is_text

Preprocess = Callable[[NDArray], Any]


def one_of(what: str, value: object, allowed: tuple[object, ...]) -> None:
    """Raise unless `value` is one of `allowed`."""
    if value not in allowed:
        listed = ", ".join(repr(each) for each in allowed)
        raise DeclarationError(f"{what} must be one of {listed}; received {value!r}.")


def column_names(value: str | Iterable[str]) -> tuple[str, ...]:
    """Return a declaration's columns as a tuple."""
    # The order of a set is another in each process.
    is_ordered = isinstance(value, Iterable) and not isinstance(value, str | bytes | Set)
    names = (value,) if isinstance(value, str) else tuple(value) if is_ordered else ()
    if not names or not all(isinstance(name, str) for name in names):
        raise DeclarationError(f"a field reads one or more columns by name; received {value!r}.")
    return names


def one_column(field: Field, column: object) -> None:
    """Raise unless `column` is the name of a single column."""
    if not isinstance(column, str):
        kind = type(field).__name__
        raise DeclarationError(f"mf.{kind} reads one column, by name; received {column!r}.")


def check_scale(scale: object, dtype: str) -> None:
    """Raise unless `scale` is None, or a finite number and `dtype` a float."""
    if scale is None:
        return
    is_number = isinstance(scale, int | float | np.number) and not isinstance(scale, bool)
    if not (is_number and np.isfinite(cast(float, scale)) and scale != 0):
        raise DeclarationError(f"scale is a finite number other than 0, e.g. 1/255; received {scale!r}.")
    if not dtype.startswith("float"):
        raise DeclarationError(
            lines(
                f"scale={scale} needs a float dtype; dtype is {dtype!r}.",
                'Pass dtype="float32", or better: rescale in the model with keras.layers.Rescaling, '
                "where it costs nothing.",
            )
        )


def checked_dtype(dtype: Any) -> str | None:
    """Return the name of a declared dtype, or None where none is given."""
    if dtype is None:
        return None
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if found is None or found.kind not in "biuf":
        raise DeclarationError(f"dtype must be a NumPy number's name; received {dtype!r}.")
    return str(found.name)


def is_number(value: object) -> bool:
    """Tell whether a value is one number, of Python or NumPy; booleans are none."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def whole_number(value: object) -> int | None:
    """Return an integer of Python or NumPy as Python's own; None for all else, booleans included."""
    return int(value) if isinstance(value, int | np.integer) and not isinstance(value, bool) else None


def at_least(what: str, value: object, least: int) -> int:
    """Return a whole number as Python's own, or say that it is none or too small."""
    number = whole_number(value)
    if number is None or number < least:
        raise DeclarationError(f"{what} must be a whole number of at least {least}; received {value!r}.")
    return number


def at_least_one(what: str, value: object) -> int | None:
    """Return a whole number of at least 1, or None where none is given."""
    return None if value is None else at_least(what, value, 1)


def checked_size(what: str, value: object) -> tuple[int, int]:
    """Return (height, width) of a pair, or of one number for a square."""
    pair = value if isinstance(value, Sequence) and len(value) == 2 else (value, value)
    height, width = (whole_number(pixels) or 0 for pixels in pair)
    if height < 1 or width < 1:
        raise DeclarationError(
            f"{what} is (height, width) in pixels, each at least 1; received {value!r}."
        )
    return height, width


def holds_text(kind: pa.DataType) -> bool:
    """Tell whether an Arrow column of this type holds text, categoricals of text included."""
    return is_text(kind.value_type if pa.types.is_dictionary(kind) else kind)


def wrap(
    reader: PerSample, *, missing: Any, is_null: NDArray | None, preprocess: Preprocess | None
) -> PerSample:
    """Add what every per-sample field has: `preprocess`, and the filling of missing values.

    Args:
        reader: The field's own reader.
        missing: ``"raise"``, ``"zero"`` or the value that fills a sample whose column is null.
        is_null: ``bool[n]``, True where the column is null; None if it never is.
        preprocess: The user's function of one sample's array, or None.

    Raises:
        BadValue: If a row is null and `missing` is ``"raise"``.
    """
    if preprocess is not None:
        reader = _Preprocessed(reader, preprocess)
    if is_null is None or not is_null.any():
        return reader
    if is_raise(missing):
        raise missing_value(is_null)
    return Filled(reader, is_null, fill_value(missing, reader.spec))


def preprocessed_spec(spec: Spec, preprocess: Preprocess | None) -> Spec:
    """Return what `preprocess` makes of a sample, found on a blank one."""
    if preprocess is None:
        return spec
    blank = np.zeros(spec.shape, spec.dtype)
    try:
        # That a mean or a logarithm of zeros is none need not worry anyone.
        with np.errstate(all="ignore"):
            found = np.asarray(preprocess(blank))
    except Exception as error:
        raise DeclarationError(
            lines(
                f"preprocess raised {type(error).__name__} on a blank sample of {spec}: "
                f"{first_line(error)}.",
                "It is called at declaration with zeros, to find the shape and dtype that it returns.",
            )
        ) from error
    if found.dtype.kind not in "biuf":
        raise DeclarationError(
            f"preprocess must return an array of numbers; it returned dtype {found.dtype} for a "
            f"blank sample of {spec}."
        )
    return kept_spec(found)


def kept_dtype(name: str) -> str:
    """Return the dtype that arrays have in a batch: float32 for floats, int32 for int64."""
    if name.startswith(("float", "longdouble")):
        return "float32"
    return {"int64": "int32", "uint64": "int32"}.get(name, name)


def kept_spec(array: NDArray) -> Spec:
    """Return the spec that what a function returned has in a batch."""
    return Spec(array.shape, kept_dtype(array.dtype.name))


def watch_over_preprocess() -> Watch:
    """Return what calls a `preprocess`, and tells if it draws random numbers."""
    return Watch(
        "A preprocess must depend on its argument alone; what is drawn belongs into "
        "augment=mf.RandomFunction(field, function), which is given each slot's own generator."
    )


def apply_preprocess(
    preprocess: Preprocess, watch: Watch, sample: NDArray, spec: Spec, out: NDArray
) -> None:
    """Write what the user's function makes of a sample, which is a fresh array, to `out`.

    Raises:
        BadValue: If that is not `spec`, as it was for a blank sample.
    """
    result = np.asarray(watch.call(preprocess, sample))
    if kept_spec(result) != spec:
        raise BadValue(
            f"becomes {Spec.of(result)} by preprocess, which made {spec} of a blank sample",
            "Let preprocess return one shape and dtype for every sample.",
        )
    store(result, out, remedy="Let preprocess return values of that range, or floats.")


class _Preprocessed(PerSample):
    def __init__(self, inner: PerSample, preprocess: Preprocess) -> None:
        self.spec = preprocessed_spec(inner.spec, preprocess)
        self._inner, self._preprocess = inner, preprocess
        self._watch = watch_over_preprocess()

    def requests(self, rows: NDArray) -> Iterable[Request]:
        return self._inner.requests(rows)

    @property
    def waits(self) -> bool:
        return self._inner.waits

    def load(self, row: int) -> Any:
        return self._inner.load(row)

    def decode(self, row: int, loaded: Any, out: NDArray) -> Told:
        # A fresh array each time: the user's function may keep what it is given.
        sample = np.empty(self._inner.spec.shape, self._inner.spec.dtype)
        told = self._inner.decode(row, loaded, sample)
        apply_preprocess(self._preprocess, self._watch, sample, self.spec, out)
        return told

    def file(self, row: int) -> str | None:
        return self._inner.file(row)

    def files(self, row: int) -> tuple[str, ...]:
        return self._inner.files(row)

    def describe(self, row: int, loaded: Any) -> dict[str, Any]:
        return self._inner.describe(row, loaded)


class Filled(PerSample):
    """Reads with another reader, and has a value for the rows that are null.

    Args:
        inner: The other reader.
        is_null: ``bool[n]``, True where a row is null.
        fill: That value. Of a base of augmentation, that of the field, and never decoded.
    """

    def __init__(self, inner: PerSample, is_null: NDArray, fill: NDArray) -> None:
        self.spec = inner.spec
        self._inner, self._is_null, self._fill = inner, is_null, fill

    def fill(self, row: int) -> NDArray | None:
        return self._fill if self._is_null[row] else None

    def requests(self, rows: NDArray) -> Iterable[Request]:
        return self._inner.requests(rows[~self._is_null[rows]])

    @property
    def waits(self) -> bool:
        return self._inner.waits

    def read_at_once(self, rows: NDArray, out: NDArray, spot: Spot) -> bool:
        return not self._is_null[rows].any() and self._inner.read_at_once(rows, out, spot)

    def load(self, row: int) -> Any:
        return None if self._is_null[row] else self._inner.load(row)

    def decode(self, row: int, loaded: Any, out: NDArray) -> Told:
        if not self._is_null[row]:
            return self._inner.decode(row, loaded, out)
        out[...] = self._fill
        return 0

    def file(self, row: int) -> str | None:
        return None if self._is_null[row] else self._inner.file(row)

    def files(self, row: int) -> tuple[str, ...]:
        return () if self._is_null[row] else self._inner.files(row)

    def describe(self, row: int, loaded: Any) -> dict[str, Any]:
        return {} if self._is_null[row] else self._inner.describe(row, loaded)


def is_raise(missing: Any) -> bool:
    """Tell whether `missing` asks for an error. Compared with care: it may be an array."""
    return isinstance(missing, str) and missing == "raise"


def fill_value(missing: Any, spec: Spec) -> NDArray:
    """Return what fills a missing sample of `spec`.

    Raises:
        DeclarationError: If it has another shape, or is nothing that the dtype can hold.
    """
    filled = np.empty(spec.shape, spec.dtype)
    try:
        value = np.asarray(0 if isinstance(missing, str) and missing == "zero" else missing)
        if value.dtype.kind in "biuf":
            store(np.broadcast_to(value, spec.shape), filled)
            return filled
    except (ValueError, BadValue):
        pass
    raise DeclarationError(
        f'missing must be "raise", "zero" or a value that fills {spec}; received {missing!r}.'
    )


def missing_value(is_null: NDArray) -> BadValue:
    """Return the fact that a row is null where nothing says what then."""
    return BadValue(
        f"is missing: the column is null{such_rows(int(is_null.sum()))}",
        'Fill it in, leave the row out with data.select, or declare the field with missing="zero" or '
        "a value.",
        row=int(np.flatnonzero(is_null)[0]),
    )


def such_rows(count: int) -> str:
    """Say how many rows are like the one that a message is about, if there are more."""
    return f" ({count:,} such rows)" if count > 1 else ""


def first_line(error: BaseException) -> str:
    """Return the first line of what a library says, or else the name of its exception."""
    # Where an object lies in memory tells nobody anything, and is another place each time.
    said = re.sub(r" at 0x[0-9a-f]+", "", str(error)).strip()
    return said.splitlines()[0] if said else type(error).__name__


def store(
    values: NDArray,
    out: NDArray,
    *,
    scale: float | None = None,
    rows: NDArray | None = None,
    remedy: str = "",
) -> None:
    """Write numbers of any dtype to `out`, refusing those that its dtype cannot hold.

    Floats are rounded to the precision of `out`; integers must be held exactly.

    Args:
        values: The numbers, in the shape of `out`.
        out: Where they are written.
        scale: Multiplied with every number, where `out` holds floats.
        rows: ``int64[n]``, the row that each entry of the first axis is, to be named in an error.
        remedy: What an error tells the user to do.

    Raises:
        BadValue: If a number does not fit: it is too large, or not an integer where `out` holds those.
    """
    try:
        with np.errstate(over="raise", invalid="ignore"):
            if scale is None:
                np.copyto(out, values, casting="unsafe")
            else:
                precision = np.result_type(out.dtype, values.dtype, np.float32)
                np.multiply(values, scale, out=out, dtype=precision, casting="unsafe")
        fits = out.dtype.kind == "f" or np.can_cast(values.dtype, out.dtype) or (out == values).all()
    except FloatingPointError:
        fits = False
    if not fits:
        raise _unfit(values, out.dtype, scale, rows, remedy)


def _unfit(
    values: NDArray, dtype: np.dtype[Any], scale: float | None, rows: NDArray | None, remedy: str
) -> BadValue:
    with np.errstate(all="ignore"):
        wanted = values if scale is None else np.multiply(values, scale, dtype=np.float64)
        kept = wanted.astype(dtype)
        lost = np.isinf(kept) & np.isfinite(wanted) if dtype.kind == "f" else kept != wanted
    place = tuple(np.argwhere(lost)[0])
    return BadValue(
        f"holds {wanted[place]}, which {dtype} cannot hold",
        remedy or f'Pass dtype="{values.dtype.name}", or correct the value.',
        row=None if rows is None else int(rows[place[0]]),
    )
