"""The structure of a batch: which fields stand where, and under which names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from multifeed.errors import DeclarationError, NotAdaptedError, lines, near
from multifeed.fields.base import Field, Link
from multifeed.fields.rows import Source
from multifeed.table import Columns

# One field, or several in the structure in which a batch shall have them.
Fields = Field | Sequence[Field] | Mapping[str, Field]

# What the names of sample weights begin with; the rest is the target.
WEIGHT = "sample_weight:"

# One field's name, or several in the structure in which they were declared.
Names = str | tuple[str, ...] | dict[str, str]


@dataclass(frozen=True)
class Structure:
    """The structure of a batch: which names stand where.

    Args:
        inputs: Names of the inputs.
        targets: Names of the targets, or None.
        weights: Names of the sample weights, in the structure of the targets, or None.
    """

    inputs: Names
    targets: Names | None
    weights: Names | None

    @cached_property
    def parts(self) -> tuple[Names, ...]:
        """Inputs, targets and weights, as far as there are any."""
        return tuple(each for each in (self.inputs, self.targets, self.weights) if each is not None)

    def pack(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return the values by name in this structure."""
        return tuple([pack(part, values) for part in self.parts])

    def unpack(self, batch: Sequence[Any]) -> dict[str, Any]:
        """Return the values of a batch by name."""
        found: dict[str, Any] = {}
        for names, part in zip(self.parts, batch, strict=True):
            found |= unpack(names, part)
        return found

    def pack_many(self, values: Mapping[str, Sequence[Any]]) -> list[tuple[Any, ...]]:
        """Return many batches, given each name's values in all of them; faster than one by one."""
        return list(zip(*(_pack_many(part, values) for part in self.parts), strict=True))


def flat(names: Names) -> list[str]:
    """Return all names of a structure, in order."""
    if isinstance(names, str):
        return [names]
    return list(names.values() if isinstance(names, dict) else names)


def pack(names: Names, values: Mapping[str, Any]) -> Any:
    """Return the values by name in the structure of `names`."""
    if isinstance(names, str):
        return values[names]
    if isinstance(names, dict):
        return {label: values[name] for label, name in names.items()}
    return tuple([values[name] for name in names])


def unpack(names: Names, part: Any) -> dict[str, Any]:
    """Return the values in the structure of `names` by name."""
    if isinstance(names, str):
        return {names: part}
    if isinstance(names, dict):
        return {name: part[label] for label, name in names.items()}
    return dict(zip(names, part, strict=True))


def _pack_many(names: Names, values: Mapping[str, Sequence[Any]]) -> Sequence[Any]:
    if isinstance(names, str):
        return values[names]
    together = zip(*(values[name] for name in flat(names)), strict=True)
    if isinstance(names, dict):
        labels = list(names)
        return [dict(zip(labels, each, strict=True)) for each in together]
    return list(together)


def named(role: str, fields: Fields, known: dict[str, Field]) -> Names:
    """Name the fields of one role, add them to `known`, and return their structure of names."""
    if isinstance(fields, Field):
        return _add(fields.name, fields, known, renames=True)
    if isinstance(fields, Mapping) and fields:
        return {label: _add(label, _field(role, f), known) for label, f in fields.items()}
    if isinstance(fields, Sequence) and not isinstance(fields, str) and fields:
        return tuple(_add(_field(role, f).name, f, known, renames=True) for f in fields)
    raise DeclarationError(
        lines(
            f"{role} must be a field, a tuple of fields, or a dict of fields by name.",
            f"Received: {fields!r}.",
            'Write e.g. inputs={"image": mf.Image("file", size=224)}.',
        )
    )


def _field(role: str, field: object) -> Field:
    if isinstance(field, Field):
        return field
    raise DeclarationError(
        lines(
            f"{role} holds fields; received {field!r}.",
            "Wrap the column's name: mf.Numeric, mf.Category, mf.Image, mf.Text or mf.Array.",
        )
    )


def _add(name: str, field: Field, known: dict[str, Field], *, renames: bool = False) -> str:
    chosen = name
    number = 0
    while renames and chosen in known:
        number += 1
        chosen = f"{name}_{number}"
    if not isinstance(chosen, str) or not chosen:
        raise DeclarationError(f"the name of a field is a text that is not empty; received {name!r}.")
    if chosen.startswith(WEIGHT):
        raise DeclarationError(
            lines(
                f"names that begin with {WEIGHT!r} are those of sample weights; received {name!r}.",
                "Rename it in its dict.",
            )
        )
    if chosen in known:
        raise DeclarationError(
            lines(
                f"names are unique over inputs and targets; {name!r} is used twice.",
                "Rename one of the two in its dict.",
            )
        )
    known[chosen] = field
    return chosen


def linked(known: dict[str, Field]) -> None:
    """Tell the fields that are made from other fields which those are; in place."""

    def is_chained(item: tuple[str, Field]) -> bool:
        field = item[1]
        return isinstance(field, Link) and isinstance(known.get(field.of), Link)

    # Last those of fields that are made from others themselves, as a mask of points: they know them.
    for name, field in sorted(known.items(), key=is_chained):
        if not isinstance(field, Link):
            continue
        other = known.get(field.of)
        if other is None:
            kind = type(field).__name__
            raise DeclarationError(
                lines(
                    f"field {name!r} is a {kind} of {field.of!r}, which is no field of this dataset.",
                    near(field.of, [each for each in known if each != name]),
                )
            )
        try:
            known[name] = field.linked(other)
        except DeclarationError as error:
            raise DeclarationError(f"field {name!r}: {error}") from error


def settled(known: dict[str, Field], source: Source) -> None:
    """Let the columns, and the headers of files, decide what the fields leave to them; in place."""
    for name, field in known.items():
        try:
            known[name] = field.settled(source.columns).measured(source)
        except DeclarationError as error:
            raise DeclarationError(f"field {name!r}: {error}") from error


def check_field(name: str, field: Field, columns: Columns) -> None:
    """Raise if the columns do not suit a field; the error names it."""
    try:
        for each in columns.all_matching(field.reads):
            column = columns[each]
            if not isinstance(column, np.ndarray) and pa.types.is_null(column.type):
                raise DeclarationError(
                    lines(
                        f"column {each!r} has no value in any of its rows.",
                        "Correct the table, or leave the field out.",
                    )
                )
        field.check(columns)
        field.spec_of(columns, None)
    except NotAdaptedError:
        pass
    except DeclarationError as error:
        # The field knows the column; only the dataset knows under which name it was declared.
        raise DeclarationError(f"field {name!r}: {error}") from error
