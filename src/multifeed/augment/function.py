"""The user's own transforms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np

from multifeed.augment.base import Draws, MakeGenerator, NDArray, Pointwise
from multifeed.errors import BadValue, DeclarationError, lines, near
from multifeed.fields.shared import one_of
from multifeed.fields.watch import Watch, name_of
from multifeed.spec import Spec


@dataclass(frozen=True)
class RandomFunction(Pointwise):
    """Change fields by a function of your own.

    The function takes what it changes and a ``numpy.random.Generator`` of that slot, its only source of
    random numbers. It may change the array in place and return None, or return another of the same
    shape and dtype; it must not keep the array, which is used again. It sees one sample, after all
    geometry; images as ``uint8[height, width, channels]``, before their `dtype`, `scale` and
    `preprocess`; numbers and arrays as the model sees them. It is called from several threads at once.

    Args:
        fields: What it changes. With a name, it is called as ``function(array, rng)``; with a list of
            names, even of one, as ``function({name: array}, rng)``, and returns such a dict or None.
            Names that it leaves out of what it returns stay as they are. A field that a sample lacks
            (see `missing` of fields) is not in the dict.
        function: The function.
        kind: What ``mf.Same(before=...)`` calls it, ``"color"`` or ``"noise"``.
        per_field: True calls ``function(array, rng)`` for each of a list of names in turn, each time
            with the generator in one and the same state, so that it does the same to all.

    Raises:
        DeclarationError: If the function cannot be called, or `per_field` is False for a single name.

    Warns:
        MultifeedWarning: Once, if the function uses the global random state of ``numpy.random`` or
            ``random``: batches are then no longer a function of their position.

    Example:
        >>> def invert(array, rng):
        ...     if rng.random() < 0.5:
        ...         return 255 - array
        >>> RandomFunction("photo", invert, kind="color").fields
        ('photo',)
    """

    function: Callable[[Any, np.random.Generator], Any]
    _: KW_ONLY
    # Not a variable of the class, as elsewhere: only the user knows.
    kind: str = "noise"  # type: ignore[misc]
    per_field: bool | None = None
    _watch: Watch = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        is_single = isinstance(self.fields, str)
        super().__post_init__()
        if not callable(self.function):
            raise DeclarationError(
                f"RandomFunction takes a function of (array, rng); received {self.function!r}."
            )
        one_of("kind", self.kind, ("color", "noise"))
        one_of("per_field", self.per_field, (None, True, False))
        if is_single and self.per_field is False:
            raise DeclarationError(
                lines(
                    "with a single name, the function is called with that field's array; received "
                    "per_field=False.",
                    f"For a dict, pass a list of names: [{self.fields[0]!r}].",
                )
            )
        object.__setattr__(self, "per_field", is_single or bool(self.per_field))
        remedy = "Use its second argument, e.g. rng.random(), which is each slot's own generator."
        object.__setattr__(self, "_watch", Watch(remedy))

    @property
    def count(self) -> int:
        return 0

    @property
    def compares(self) -> bool:
        return not self.per_field and len(self.fields) > 1

    def draw(self, numbers: NDArray) -> Draws:
        return {}

    def check(self, name: str, spec: Spec) -> None:
        # Any field will do.
        pass

    def apply(
        self, values: Mapping[str, NDArray], draws: Draws, place: int, generator: MakeGenerator
    ) -> None:
        if self.per_field:
            for name, each in values.items():
                self._store(name, each, self._call(each, generator()))
            return
        # In the order of the declaration, and a dict that is the function's own.
        given = {name: values[name] for name in self.fields if name in values}
        returned = self._call(dict(given), generator())
        if returned is None:
            return
        if not isinstance(returned, Mapping):
            raise _BadResult(
                next(iter(given)),
                f"becomes {_kind_of(returned)} by {self._name}, which was given a dict of arrays",
                "Let it return a dict of arrays by field, or change them in place and return None.",
            )
        for name in returned:
            if name not in given:
                raise _BadResult(
                    next(iter(given)),
                    f"comes with {name!r} from {self._name}, which was given "
                    f"{', '.join(map(repr, given))}",
                    near(str(name), given),
                )
        # Fields may be exchanged: what one of them shall become must not be written over before.
        apart = {name: _apart(name, each, given) for name, each in returned.items()}
        for name, each in apart.items():
            self._store(name, given[name], each)

    def _call(self, given: Any, rng: np.random.Generator) -> Any:
        return self._watch.call(self.function, given, rng)

    def _store(self, name: str, values: NDArray, returned: Any) -> None:
        """Write what the function returned over the values that it was given."""
        if returned is None or returned is values:
            return
        result = np.asarray(returned)
        if (result.shape, result.dtype) != (values.shape, values.dtype):
            raise _BadResult(
                name,
                f"was {Spec.of(values)} and becomes {Spec.of(result)} by {self._name}",
                "A function in augment= keeps shape and dtype; what changes them belongs into the "
                "field's preprocess=.",
            )
        # What was returned may be a view of what was given: NumPy sees that, and copies first.
        np.copyto(values, result)

    @property
    def _name(self) -> str:
        return name_of(self.function)


class _BadResult(BadValue):
    """What a function returned cannot be used; `field` says for which field."""

    def __init__(self, field: str, reason: str, remedy: str) -> None:
        super().__init__(reason, remedy)
        self.field = field


def _apart(name: str, returned: Any, given: Mapping[str, NDArray]) -> Any:
    """Return what a field shall become, copied if it is a view of another field's values."""
    shares = isinstance(returned, np.ndarray) and any(
        np.may_share_memory(returned, values) for other, values in given.items() if other != name
    )
    return returned.copy() if shares else returned


def _kind_of(value: Any) -> str:
    return repr(Spec.of(value)) if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
