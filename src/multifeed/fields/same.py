"""Same: a field once more, as an autoencoder's target is its input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np

from multifeed.errors import BadValue, DeclarationError, lines
from multifeed.fields.base import Derived, Field, Learned, Link, Made
from multifeed.fields.rows import NDArray, Source
from multifeed.fields.shared import check_scale, checked_dtype, store
from multifeed.spec import Spec
from multifeed.table import Columns

# Kinds of augmentation that a copy can be taken before.
KINDS = ("color", "noise", "mix")


@dataclass(frozen=True)
class Same(Link):
    """The values of another field once more: read once, with a dtype and scale of its own.

    Where the input of a model is its target as well (autoencoders, denoising, inpainting), the file is
    read and decoded once.

    Args:
        of: The name of the other field.
        dtype: Dtype of the copy; that of the other field by default. A loss on uint8 pixels from 0 to
            255 is seldom meant, and warned about in targets: see the example.
        scale: Multiplied with every value where `dtype` is a float, e.g. ``1/255``.
        before: Kinds of augmentation that the copy is taken before, ``"color"``, ``"noise"`` and
            ``"mix"``: it then has the same geometry as the other field, but is clean. By default it has
            all of them; of a mixed field it is the mixture.

    Raises:
        DeclarationError: If there is no such field, or an option is unknown.

    Example:
        >>> import numpy as np, multifeed as mf
        >>> data = mf.Dataset(
        ...     {"photo": np.full((4, 2, 2, 1), 255, np.uint8)},
        ...     inputs=mf.Array("photo"),
        ...     targets=Same("photo", dtype="float32", scale=1 / 255),
        ... )
        >>> photo, target = data[0]
        >>> photo[0, 0], target[0, 0]
        (array([255], dtype=uint8), array([1.], dtype=float32))
    """

    _: KW_ONLY
    dtype: str | None = None
    scale: float | None = None
    before: str | Sequence[str] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "dtype", checked_dtype(self.dtype))
        check_scale(self.scale, self.dtype or "float32")
        is_list = isinstance(self.before, Sequence) and not isinstance(self.before, str)
        kinds = tuple(self.before) if is_list else (self.before,)
        for kind in kinds:
            if kind not in KINDS:
                listed = "{!r}, {!r} and {!r}".format(*KINDS)
                raise DeclarationError(
                    lines(
                        f"before= names kinds of augmentation, {listed}; received {kind!r}.",
                        "Geometry is always shared: a copy with another one is a field of its own.",
                    )
                )
        object.__setattr__(self, "before", kinds)

    def linked(self, other: Field) -> Same:
        if isinstance(other, Link):
            raise DeclarationError(
                lines(
                    f"mf.Same({self.of!r}) is made from a field that reads columns; {self.of!r} is a "
                    f"{type(other).__name__} itself.",
                    "Name the field that reads the columns."
                    if other.of == self.of
                    else f"Name the field that it is made from: mf.Same({other.of!r}).",
                )
            )
        return super().linked(other)

    def check(self, columns: Columns) -> None:
        pass

    def spec_of(self, columns: Columns, learned: Learned | None) -> Spec:
        other = self.other.spec_of(columns, learned)
        dtype = self.dtype or other.dtype
        check_scale(self.scale, dtype)
        return Spec(other.shape, dtype)

    def bind(self, source: Source, learned: Learned | None) -> Derived:
        return _Copy(self.of, self.spec_of(source.columns, learned), self.scale)

    def restore(self, values: NDArray, learned: Learned | None) -> NDArray:
        """Undo the scale, then what the other field does."""
        return self.other.restore(values if self.scale is None else values / self.scale, learned)


class _Copy(Derived):
    def __init__(self, of: str, spec: Spec, scale: float | None) -> None:
        super().__init__(of)
        self.spec = spec
        self._scale = scale

    def derive(self, made: Made, out: NDArray) -> None:
        try:
            store(made.values, out, scale=self._scale, rows=np.arange(len(out)))
        except BadValue as error:
            remedy = f"Pass mf.Same({self.of!r}, dtype=...) a dtype that holds it."
            raise BadValue(error.reason, remedy, row=error.row) from error
