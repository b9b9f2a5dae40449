"""`from_torch`: the samples of what has a length and samples by number, as datasets of PyTorch."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from multifeed.dataset import Dataset
from multifeed.errors import BadValue, DeclarationError, MultifeedWarning, lines, near
from multifeed.fields.base import Field, Learned, PerSample
from multifeed.fields.rows import NDArray, Source
from multifeed.fields.shared import first_line, kept_spec, store
from multifeed.fields.watch import global_state
from multifeed.spec import Spec
from multifeed.structure import Fields
from multifeed.table import Columns

# Where a value is in a sample: keys and places, from the outside in.
Path = tuple[Any, ...]

_INDEX = "index"


def from_torch(
    dataset: Any,
    *,
    targets: str | int | Sequence[str | int] | None = None,
    columns: Mapping[str, Any] | None = None,
    threadsafe: bool = False,
) -> Dataset:
    """Return the samples of a map-style dataset of PyTorch: of anything with ``len`` and ``dataset[i]``.

    ``dataset[0]`` is read here, and says what all samples are. A tuple of two is ``(inputs, targets)``;
    of a dict all parts are inputs, unless `targets` names some; anything else is one input. Inputs and
    targets may each be one value, a tuple or a dict: tensors, arrays, numbers, or PIL images, which come
    as ``(height, width, channels)``. Shapes are kept as they are, channels first included; floats become
    float32, integers of 64 bits int32.

    ``dataset[i]`` is called once for each sample of a batch, and must depend on ``i`` alone: what is
    drawn at random belongs into ``augment=``. It runs in worker processes where a loader is given
    ``processes=``.

    Args:
        dataset: The dataset. An `IterableDataset` has no ``dataset[i]`` and is refused.
        targets: The key or place of the part of a sample that is the target; several of them in a list.
        columns: Columns of as many rows, by name: for ``split(by=)``, ``stratify=``, ``balance=``.
        threadsafe: Whether several threads of a process may call ``dataset[i]`` at once. By default they
            take turns, since a dataset that holds an open file would return wrong samples.

    Returns:
        A dataset whose rows have a column ``"index"``, which is its key.

    Raises:
        DeclarationError: If the dataset is empty or not map-style, ``dataset[0]`` raises or holds what
            is no number, `targets` names no part of it, or `columns` has an ``"index"``.

    Warns:
        MultifeedWarning: If ``dataset[0]`` draws from a global random state.

    Example:
        >>> import multifeed as mf
        >>> squares = [({"x": [float(n), 1.0]}, n * n) for n in range(4)]
        >>> data = from_torch(squares)
        >>> data.spec, data[3]
        (({'x': (2,) float32}, () int32), ({'x': array([3., 1.], dtype=float32)}, np.int32(9)))
    """
    count = _count(dataset)
    if columns and _INDEX in columns:
        raise DeclarationError(
            lines(
                f"the column {_INDEX!r} numbers the samples; columns= holds another one of that name.",
                "Give yours another name.",
            )
        )
    samples = _Samples(dataset, threadsafe)
    first = _first(samples)
    inputs, outputs = _sides(first, targets)
    return Dataset(
        {_INDEX: np.arange(count), **(columns or {})},
        key=_INDEX,
        inputs=_fields(samples, first, inputs, "input"),
        targets=None if outputs is None else _fields(samples, first, outputs, "target"),
    )


def _count(dataset: Any) -> int:
    """Return how many samples there are."""
    torch = sys.modules.get("torch")
    # It has a __getitem__, which raises, and may have a length.
    is_stream = torch is not None and isinstance(dataset, torch.utils.data.IterableDataset)
    if is_stream or not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
        raise DeclarationError(
            lines(
                "a map-style dataset has len(dataset) and dataset[i]; received "
                f"{type(dataset).__name__}.",
                "A stream is fed with mf.from_generator.",
            )
        )
    count = len(dataset)
    if not count:
        raise DeclarationError(
            f"a dataset has at least one sample; this {type(dataset).__name__} has 0."
        )
    return count


def _first(samples: _Samples) -> Any:
    """Return the first sample, having seen whether random numbers are drawn for it."""
    before = _random_states()
    try:
        first = samples[0]
    except Exception as error:
        raise DeclarationError(
            lines(
                f"sample 0 raised {type(error).__name__}: {first_line(error).rstrip('.')}.",
                "It is read at declaration, to find what a sample is.",
            )
        ) from error
    if _random_states() != before:
        warnings.warn(
            lines(
                "sample 0 draws from a global random state, so it is another sample each time: its "
                "batches differ from run to run.",
                "What is random belongs into augment=, which is given each slot's own generator.",
            ),
            MultifeedWarning,
            stacklevel=3,
        )
    return first


def _random_states() -> tuple[Any, ...]:
    torch = sys.modules.get("torch")
    return *global_state(), None if torch is None else torch.get_rng_state().numpy().tobytes()


# What a sample is made of -----------------------------------------------------------------------------


def _sides(sample: Any, targets: Any) -> tuple[Any, Any]:
    """Return where inputs and targets are: each a path, or a tuple or dict of paths; None for none."""
    if targets is not None:
        return _named(sample, targets)
    if not _is_tuple(sample):
        return _within(sample, ()), None
    if len(sample) > 2:
        raise DeclarationError(
            lines(
                f"a sample of two parts is (inputs, targets); sample 0 has {len(sample)}.",
                f"Say which are targets, by their places: targets=[{len(sample) - 1}].",
            )
        )
    sides = [_within(part, (place,)) for place, part in enumerate(sample)]
    return sides[0], sides[1] if len(sides) == 2 else None


def _named(sample: Any, targets: Any) -> tuple[Any, Any]:
    """Return where inputs and targets are, given the keys or places of the targets."""
    is_one = isinstance(targets, str | int)
    wanted = [targets] if is_one else list(targets)
    if not isinstance(sample, Mapping) and not _is_tuple(sample):
        raise DeclarationError(
            lines(
                f"targets names parts of a sample; sample 0 is one {type(sample).__name__}.",
                "Leave targets out, or let the dataset return (inputs, targets).",
            )
        )
    known = list(sample) if isinstance(sample, Mapping) else list(range(len(sample)))
    for each in wanted:
        if each not in known:
            raise DeclarationError(
                lines(
                    f"targets names parts of a sample; sample 0 has no {each!r}.",
                    near(str(each), map(str, known)),
                )
            )
    rest = [each for each in known if each not in wanted]
    if not rest or not wanted:
        raise DeclarationError(
            f"a sample has inputs besides its targets; received targets={targets!r} of {known!r}."
        )
    outputs = _within(sample[targets], (targets,)) if is_one else _together(sample, wanted)
    if len(rest) == 1 and not isinstance(sample, Mapping):
        return _within(sample[rest[0]], (rest[0],)), outputs
    return _together(sample, rest), outputs


def _together(sample: Any, names: Sequence[Any]) -> Any:
    """Return the paths of several parts of a sample, in the structure that it has."""
    if isinstance(sample, Mapping):
        return {name: (name,) for name in names}
    return tuple([(place,) for place in names])


def _within(part: Any, path: Path) -> Any:
    """Return the path of a part of a sample, or those of its own parts."""
    if isinstance(part, Mapping):
        return {key: (*path, key) for key in part}
    if _is_tuple(part):
        return tuple([(*path, place) for place in range(len(part))])
    return path


def _is_tuple(value: object) -> bool:
    """Tell whether something is a tuple of parts; a list of numbers, or of lists, is one value."""
    if isinstance(value, list):
        return not all(isinstance(each, int | float | np.generic | list) for each in value)
    return isinstance(value, tuple)


def _fields(samples: _Samples, first: Any, paths: Any, name: str) -> Fields:
    """Return a field for each path, in their structure."""
    if isinstance(paths, dict):
        return {key: Part.of(samples, first, path, str(key)) for key, path in paths.items()}
    if any(isinstance(each, tuple) for each in paths):
        numbered = enumerate(paths)
        return tuple([Part.of(samples, first, path, f"{name}_{place}") for place, path in numbered])
    return Part.of(samples, first, paths, name)


# Reading -----------------------------------------------------------------------------------------------


class _Samples:
    """The samples of a dataset, each fetched once for all fields that are read together.

    Args:
        dataset: The dataset.
        threadsafe: Whether several threads may ask it at once.
    """

    def __init__(self, dataset: Any, threadsafe: bool) -> None:
        self._dataset, self._threadsafe = dataset, threadsafe
        self._turn: Any = nullcontext() if threadsafe else threading.Lock()
        self._run = _Run()

    def __reduce__(self) -> tuple[Any, ...]:
        return _Samples, (self._dataset, self._threadsafe)

    def expect(self, path: Path, indices: list[int]) -> None:
        """Note which samples a field will ask for now: those of the field before it, or others."""
        run = self._run
        if run.indices != indices or path in run.paths:
            run.indices, run.paths, run.samples = indices, set(), dict.fromkeys(indices)
        run.paths.add(path)

    def __getitem__(self, index: int) -> Any:
        known = self._run.samples
        sample = known.get(index)
        if sample is None:
            with self._turn:
                sample = self._dataset[index]
            if index in known:
                known[index] = sample
        return sample


class _Run(threading.local):
    """The samples that the fields of a thread read now, one field after the other."""

    def __init__(self) -> None:
        self.indices: list[int] = []
        self.paths: set[Path] = set()
        self.samples: dict[int, Any] = {}


@dataclass(frozen=True)
class Part(Field):
    """A part of the samples of a dataset.

    Args:
        samples: The samples.
        path: Where the part is.
        label: What it is called where no dict key says so.
        spec: What it is.
    """

    samples: _Samples
    path: Path
    label: str
    spec: Spec

    @classmethod
    def of(cls, samples: _Samples, first: Any, path: Path, label: str) -> Part:
        """Return the field of a part, which is what it is in the first sample."""
        try:
            return cls(samples, path, label, kept_spec(_array(_at(first, path))))
        except BadValue as error:
            where = "".join(f"[{each!r}]" for each in path) + " of " * bool(path) + "sample 0"
            raise DeclarationError(lines(f"{where} {error.reason}.", error.remedy)) from error

    @property
    def reads(self) -> tuple[str, ...]:
        return (_INDEX,)

    @property
    def name(self) -> str:
        return self.label

    def check(self, columns: Columns) -> None:
        # The column is one that `from_torch` has made.
        return

    def spec_of(self, columns: Columns, learned: Learned | None) -> Spec:
        return self.spec

    def bind(self, source: Source, learned: Learned | None) -> PerSample:
        return _Reader(self, source)


class _Reader(PerSample):
    def __init__(self, part: Part, source: Source) -> None:
        self.spec = part.spec
        self._samples, self._path = part.samples, part.path
        indices = cast(NDArray, source.columns[_INDEX])
        self._indices = indices if source.index is None else indices[source.index]

    def expect(self, rows: NDArray) -> None:
        self._samples.expect(self._path, self._indices[rows].tolist())

    def load(self, row: int) -> Any:
        return self._samples[int(self._indices[row])]

    def decode(self, row: int, loaded: Any, out: NDArray) -> None:
        values = _array(_at(loaded, self._path))
        if values.shape != self.spec.shape:
            raise BadValue(
                f"is {Spec.of(values)}, where that of sample 0 is {self.spec}",
                "Let the dataset return one shape for every sample, as for a batch of PyTorch.",
            )
        store(values, out, remedy="Let the dataset return one dtype for every sample.")


def _at(sample: Any, path: Path) -> Any:
    """Return a part of a sample."""
    part = sample
    for each in path:
        try:
            part = part[each]
        except (KeyError, IndexError, TypeError) as error:
            raise BadValue(
                f"lacks [{each!r}], which sample 0 has",
                "Let the dataset return the same parts for every sample.",
            ) from error
    return part


def _array(value: Any) -> NDArray:
    """Return a value of a sample as an array of numbers."""
    found: NDArray | None = None
    if value is None:
        raise BadValue(
            "is None",
            "Let the dataset return a value for every sample; a filter() of Grain leaves None.",
        )
    if hasattr(value, "detach"):
        found = _elements(value.detach().cpu())
    elif hasattr(value, "getbands"):
        found = _pixels(value)
    elif isinstance(value, Mapping) or _is_tuple(value):
        raise BadValue(
            f"is a {type(value).__name__} of further parts",
            "Let the dataset return inputs and targets as one value each, a tuple or a dict of values.",
        )
    else:
        with suppress(ValueError):
            found = np.asarray(value)
    if found is None or found.dtype.kind not in "biuf":
        raise BadValue(
            f"is a {type(value).__name__} that holds no array of numbers",
            "Let the dataset return numbers, arrays, tensors or PIL images.",
        )
    return found


def _elements(tensor: Any) -> NDArray | None:
    """Return a tensor as an array; None if it holds its numbers in another way, such as sparsely."""
    with suppress(TypeError):
        # NumPy has no bfloat16.
        is_half = str(tensor.dtype) == "torch.bfloat16"
        return cast(NDArray, (tensor.float() if is_half else tensor).numpy())
    return None


def _pixels(image: Any) -> NDArray:
    """Return a PIL image as ``(height, width, channels)``."""
    if image.mode in ("P", "PA"):
        raise BadValue(
            f"is a PIL image of mode {image.mode!r}, whose numbers are no colours",
            'Let the dataset return image.convert("RGB").',
        )
    pixels = np.asarray(image)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels
