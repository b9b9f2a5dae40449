"""Transforms bound to a dataset: which fields are read how, and what is done to them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from multifeed.augment.base import Transform
from multifeed.augment.geometry import Geometry
from multifeed.augment.mix import Mix, bind_mixes
from multifeed.augment.pipeline import Augmentation, Clean, by_columns
from multifeed.errors import DeclarationError, MultifeedWarning, lines
from multifeed.fields.base import Base, Derived, Field, Reader
from multifeed.fields.mask import Mask
from multifeed.fields.same import Same
from multifeed.structure import Structure, flat


def augmented(
    transforms: Sequence[Transform],
    fields: Mapping[str, Field],
    structure: Structure,
    count: int,
    bind: Callable[[str, Field], Reader],
    base_of: Callable[[str, Field], Base],
) -> tuple[dict[str, Reader], Augmentation]:
    """Return the readers of the fields that are read as ever, and what does the rest.

    Args:
        transforms: The transforms, in order.
        fields: All fields by name, those of sample weights included.
        structure: Where they stand in a batch.
        count: How many rows the dataset has.
        bind: Function of a field's name and the field that returns its reader.
        base_of: The same, which returns what transforms of it start from.

    Raises:
        DeclarationError: If a transform cannot act on its fields.
    """
    # What is only mixed is read as ever.
    named = {name for each in transforms if not isinstance(each, Mix) for name in each.fields}
    readers = {name: bind(name, field) for name, field in fields.items() if name not in named}
    bases = {name: base_of(name, field) for name, field in fields.items() if name in named}
    for each in transforms:
        for name in each.fields if not isinstance(each, Mix) else ():
            each.check(name, bases[name].spec)
            _check_use(each, name, bases[name], fields)
    _warn_of_masks(transforms, bases, structure)
    specs = {name: reader.spec for name, reader in readers.items()}
    specs |= {name: base.final for name, base in bases.items()}
    mixings = bind_mixes(transforms, fields, specs, structure, count)
    unmixed = set()
    copies: dict[str, list[Clean]] = {}
    for name, reader in readers.items():
        same = fields.get(name)
        if isinstance(reader, Derived) and isinstance(same, Same) and same.before:
            copies.setdefault(same.of, []).append(Clean(name, reader, same.before))
            if "mix" in same.before and same.of not in bases:
                unmixed.add(name)
    columns = by_columns(transforms, bases, copies)
    readers |= {name: bases.pop(name).reader for name in columns}
    return readers, Augmentation(transforms, bases, copies, mixings, unmixed, columns)


def _check_use(transform: Transform, name: str, base: Base, fields: Mapping[str, Field]) -> None:
    """Raise if what a transform does makes no sense for a field of this kind, among all fields."""
    kind = type(transform).__name__
    if transform.makes_colors and base.interpolation == "nearest":
        raise DeclarationError(
            lines(
                f"{kind} makes colours that an image did not have, and {name!r} is a label map "
                '(interpolation="nearest"): it would get other labels.',
                f"Name the pictures alone in {kind}; geometry may name them together.",
            )
        )
    masks = [other for other, each in fields.items() if isinstance(each, Mask) and each.of == name]
    if transform.moves_items and masks:
        raise DeclarationError(
            lines(
                f"{kind} moves items to where padding stood, and {name!r} is padded: its mask "
                f"{masks[0]!r} would be wrong.",
                "Leave the mask out, or move the items in preprocess= before they are padded.",
            )
        )


def _warn_of_masks(
    transforms: Sequence[Transform], bases: Mapping[str, Base], structure: Structure
) -> None:
    """Warn of targets that look like masks and are interpolated: between labels 0 and 2 there is a 1."""
    targets = () if structure.targets is None else flat(structure.targets)
    moved = {name for each in transforms if isinstance(each, Geometry) for name in each.fields}
    for name in (each for each in targets if each in moved):
        base = bases[name]
        shape = base.final.shape
        channels = shape[3:] if len(shape) == 4 else shape[2:]
        has_labels = np.dtype(base.final.dtype).kind in "biu" and channels in ((), (1,))
        if has_labels and base.interpolation != "nearest":
            warnings.warn(
                lines(
                    f"the target {name!r}, {base.final}, is interpolated where it is moved: between "
                    "labels 0 and 2 appears a 1.",
                    'If it is a mask or label map, declare it with interpolation="nearest"; if it is a '
                    'picture, with dtype="float32".',
                ),
                MultifeedWarning,
                stacklevel=6,
            )
