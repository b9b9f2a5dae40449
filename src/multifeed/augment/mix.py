"""Mixing: each sample with another one, and what it is labelled with as well.

A sample is mixed with a partner: a row of the dataset, drawn for each slot, which is augmented by a draw
of its own. So a mixed sample does not depend on which others share its batch.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from typing import ClassVar

import cv2
import numpy as np

from multifeed.augment.base import Draws, NDArray, Transform
from multifeed.errors import DeclarationError, lines, near, some
from multifeed.fields.base import Field, Link
from multifeed.fields.category import Category
from multifeed.fields.image import Image
from multifeed.fields.points import Places
from multifeed.fields.present import Present
from multifeed.fields.raster import Raster
from multifeed.fields.shared import column_names
from multifeed.spec import Spec
from multifeed.structure import Structure, flat

# Of larger values of alpha all mixtures are halves.
_MOST_ALPHA = 1_000
# Two pixels that differ by all of 255 are rounded to the one of them if the other's share is below this.
_LEAST_SHARE = 0.5 / 255


@dataclass(frozen=True)
class Mix(Transform):
    """A transform that mixes each sample with another one.

    Args:
        fields: The fields that are mixed: inputs, and all targets.
        alpha: Lambda, the share of the first sample, is drawn from Beta(alpha, alpha).
        keep: Targets that stay those of the first sample.
    """

    _: KW_ONLY
    alpha: float = 1.0
    keep: str | Sequence[str] = ()

    kind: ClassVar[str] = "mix"

    def __post_init__(self) -> None:
        super().__post_init__()
        is_number = isinstance(self.alpha, int | float | np.number) and not isinstance(self.alpha, bool)
        if not is_number or not 0 < self.alpha <= _MOST_ALPHA:
            raise DeclarationError(
                lines(
                    f"alpha is a number above 0, up to {_MOST_ALPHA:,}; received {self.alpha!r}.",
                    "Near 0 one of the two samples prevails, at 1 any share is as likely, above it "
                    "halves are likeliest.",
                )
            )
        object.__setattr__(self, "keep", column_names(self.keep) if self.keep else ())

    def check(self, name: str, spec: Spec) -> None:
        if self.pastes(spec) or spec.dtype.startswith("float"):
            return
        if spec.dtype == "uint8" and len(spec.shape) > 1:
            return
        raise DeclarationError(
            lines(
                f"{type(self).__name__} takes averages, which integers cannot hold; {name!r} is {spec}.",
                'Declare it as floats, dtype="float32", if averages of it mean anything; else leave it '
                "out.",
            )
        )

    def pastes(self, spec: Spec) -> bool:
        """Tell whether values of `spec` are pasted into each other, not blended."""
        return False

    def bound(self, drawn: Mapping[str, NDArray], specs: Sequence[Spec]) -> dict[str, NDArray]:
        """Return what `draw` returned, as it is for fields of these specs."""
        return dict(drawn)

    @abstractmethod
    def mix(self, values: NDArray, partners: NDArray, draws: Draws, slots: slice, spec: Spec) -> None:
        """Mix the values of some slots with those of their partners, in place.

        Args:
            values: ``[n, *spec.shape]``.
            partners: The same; may be changed.
            draws: The parameters of all slots of the batch.
            slots: Which of them are these.
            spec: One sample.
        """


@dataclass(frozen=True)
class MixUp(Mix):
    """Blend each sample with another one: lambda · first + (1 - lambda) · second, labels included.

    As in "mixup: Beyond Empirical Risk Minimization" (Zhang et al., ICLR 2018), with lambda drawn from
    Beta(alpha, alpha). All named fields of a slot, and the sample weights of the named targets, share
    their lambda and their partner: any row of the dataset, drawn for each slot, augmented by the
    transforms before this one with a draw of its own. Where files are read in every epoch, twice as many
    are: a partner's files are read for it, unless its share is none.

    Inputs that are not named stay those of the first sample: name all images that belong together. Mixed
    are values as the batch has them, after `dtype`, `scale` and `preprocess`; mixtures of uint8 images
    are rounded. Mixing comes after all other transforms of a field. Several mixes apply one after the
    other; no partner is itself mixed.

    Args:
        fields: The inputs that are mixed, and all targets: floats, categories with ``one_hot=True``,
            and inputs that are images in uint8.
        alpha: Above 0: 0.1 to 0.4 for weak mixing, 1 for any share alike.
        keep: Targets that stay those of the first sample.

    Raises:
        DeclarationError: If `alpha` is out of its range.

    Example:
        >>> import multifeed as mf
        >>> data = mf.Dataset({"x": [0.0, 1.0], "kind": ["a", "b"]}, inputs=mf.Numeric("x"),
        ...                   targets=mf.Category("kind", vocabulary=["a", "b"], one_hot=True))
        >>> feed = mf.Feed(data, 2, augment=MixUp(["x", "kind"], alpha=1.0))
        >>> x, kind = feed.batch(0, 0)
        >>> bool((abs(x[:, 0] - kind[:, 1]) < 1e-6).all())
        True
    """

    _: KW_ONLY
    alpha: float = 0.2

    @property
    def count(self) -> int:
        return 2

    def draw(self, numbers: NDArray) -> Draws:
        partner, share = numbers.T
        return {"partner": partner, "lambda": symmetric_beta(share, float(self.alpha))}

    def mix(self, values: NDArray, partners: NDArray, draws: Draws, slots: slice, spec: Spec) -> None:
        blend(values, partners, draws["lambda"][slots])


@dataclass(frozen=True)
class CutMix(Mix):
    """Paste a box of another sample's images into each sample's, and mix the labels by its area.

    As in "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features" (Yun et
    al., ICCV 2019): the box has the share 1 - lambda' of the area, with lambda' drawn from Beta(alpha,
    alpha), its centre is anywhere in the image, and what reaches beyond is cut off. Lambda, by which
    everything but images is mixed (and the sample weights of the named targets), is 1 - the area that is
    left of the box. The box is the same for all images that are named, in shares of their height and
    width. Its edges lie between the pixels of the smallest; lambda is exact for that one, and for those
    whose sizes are multiples of it.

    What is an image: fields of three axes, and label maps (two axes of whole numbers), whose values stay
    as they are. Other fields of two axes are blended. Inputs that are not named stay those of the first
    sample: name all images that belong together. For the partners, and what they cost, see `MixUp`.

    Args:
        fields: The images that are cut, other inputs that are mixed by area, and all targets: images,
            floats, and categories with ``one_hot=True``.
        alpha: Above 0; 1 for boxes of any area alike.
        keep: Targets that stay those of the first sample.

    Raises:
        DeclarationError: If `alpha` is out of its range.

    Example:
        >>> import numpy as np, multifeed as mf
        >>> rows = {"photo": np.stack([np.zeros((8, 8, 1)), np.ones((8, 8, 1))]), "kind": [0, 1]}
        >>> data = mf.Dataset(rows, inputs=mf.Array("photo"),
        ...                   targets=mf.Category("kind", vocabulary=[0, 1], one_hot=True))
        >>> photo, kind = mf.Feed(data, 2, augment=CutMix(["photo", "kind"])).batch(0, 0)
        >>> bool((abs(photo.mean((1, 2, 3)) - kind[:, 1]) < 1e-6).all())
        True
    """

    _: KW_ONLY
    alpha: float = 1.0

    @property
    def count(self) -> int:
        return 4

    def pastes(self, spec: Spec) -> bool:
        # Of two axes, floats are sequences and tables, and integers label maps.
        return len(spec.shape) == 3 or (len(spec.shape) == 2 and np.dtype(spec.dtype).kind in "biu")

    def draw(self, numbers: NDArray) -> Draws:
        partner, share, down, right = numbers.T
        wanted = symmetric_beta(share, float(self.alpha))
        half = np.sqrt(1 - wanted)[:, None] / 2
        centre = np.stack([down, right], 1)
        box = np.concatenate([np.maximum(centre - half, 0), np.minimum(centre + half, 1)], 1)
        return {"partner": partner, "lambda": wanted, "box": box}

    def bound(self, drawn: Mapping[str, NDArray], specs: Sequence[Spec]) -> dict[str, NDArray]:
        # (top, left, bottom, right), at edges of pixels of the smallest image.
        sizes = [spec.shape[:2] for spec in specs if self.pastes(spec)]
        grid = np.array(np.min(sizes, axis=0).tolist() * 2)
        box = np.rint(drawn["box"] * grid) / grid
        height, width = (box[:, 2:] - box[:, :2]).T
        return {**drawn, "lambda": 1 - height * width, "box": box}

    def mix(self, values: NDArray, partners: NDArray, draws: Draws, slots: slice, spec: Spec) -> None:
        if not self.pastes(spec):
            blend(values, partners, draws["lambda"][slots])
            return
        edges = np.rint(draws["box"][slots] * (*spec.shape[:2], *spec.shape[:2])).astype(np.int64)
        for value, partner, (top, left, bottom, right) in zip(
            values, partners, edges.tolist(), strict=True
        ):
            value[top:bottom, left:right] = partner[top:bottom, left:right]


class Mixing:
    """A mix, bound to a dataset.

    Args:
        number: Which transform of its list it is.
        mix: The mix.
        specs: What is mixed, by name: also weights of targets, and what says whether fields were there.
        rows: How many rows the dataset has.
    """

    def __init__(self, number: int, mix: Mix, specs: Mapping[str, Spec], rows: int) -> None:
        self.number = number
        self.specs = dict(specs)
        self._mix, self._rows = mix, rows

    def draw(self, numbers: NDArray) -> Draws:
        """Return the parameters of slots: rows of partners, lambdas, and boxes if there are any."""
        drawn = self._mix.bound(self._mix.draw(numbers), list(self.specs.values()))
        # Below `_rows`, since the numbers are at most 1 - 2^-53.
        drawn["partner"] = np.floor(drawn["partner"] * self._rows).astype(np.int64)
        return drawn

    def matters(self, spec: Spec, draws: Draws, slot: int) -> bool:
        """Tell whether values of `spec` differ by the partner of a slot, so that it must be read."""
        least = _LEAST_SHARE if spec.dtype == "uint8" and not self._mix.pastes(spec) else 0.0
        return bool(1 - draws["lambda"][slot] > least)

    def mix(self, spec: Spec, values: NDArray, partners: NDArray, draws: Draws, slots: slice) -> None:
        """Mix values, ``[n, *spec.shape]``, with those of their partners, in place; see `Mix.mix`."""
        self._mix.mix(values, partners, draws, slots, spec)


def blend(values: NDArray, partners: NDArray, shares: NDArray) -> None:
    """Turn values into ``share * value + (1 - share) * partner``, in place.

    Args:
        values: ``[n, ...]``; integers are rounded.
        partners: The same; changed.
        shares: ``float64[n]``.
    """
    if values.dtype == np.uint8:
        for value, partner, share in zip(values, partners, shares.tolist(), strict=True):
            # A fifth of the time of float32 in NumPy, and less than half that of uint16.
            flat_value = value.reshape(1, -1)
            cv2.addWeighted(flat_value, share, partner.reshape(1, -1), 1 - share, 0, dst=flat_value)
        return
    is_float = values.dtype.kind == "f"
    # In the precision of the values, 1 - first is exact, and so are the sums of mixed one-hot vectors.
    precision = np.result_type(values.dtype, np.float32) if is_float else np.float64
    first = shares.astype(precision).reshape(-1, *(1,) * (values.ndim - 1))
    if is_float:
        values *= first
        partners *= 1 - first
        values += partners
    else:
        np.copyto(values, np.rint(first * values + (1 - first) * partners), casting="unsafe")


def symmetric_beta(numbers: NDArray, alpha: float) -> NDArray:
    """Return numbers from Beta(alpha, alpha), given uniform ones: by the inverse of its distribution.

    By arithmetic of our own, because NumPy may change what its generators return.
    """
    table, places = _inverse(alpha)
    # The distribution is symmetric: the lower half of it is all that is needed.
    lower = np.minimum(numbers, 1 - numbers)
    found = np.interp((2 * lower) ** (1 / alpha), places, table)
    shares: NDArray = np.where(numbers < 0.5, found, 1 - found)
    return shares


@lru_cache(maxsize=32)
def _inverse(alpha: float) -> tuple[NDArray, NDArray]:
    """Return values x of Beta(alpha, alpha) from 0 to 1/2, and (2 F(x))^(1 / alpha) for each.

    F is its distribution function; near 0 that power of it is nearly linear in x, so that a table holds
    it. With DLMF 8.17.8, F(x) is proportional to (x (1 - x))^a S(x), S(x) the sum over n of
    x^n (2a)_n / (a + 1)_n, whose terms are all positive; and 2 F(1/2) is 1.
    """
    deviation = 0.5 / np.sqrt(2 * alpha + 1)
    near_half = 0.5 - deviation * np.linspace(0, 8, 2049)
    x = np.unique(np.concatenate([np.linspace(0, 0.5, 4097), near_half[near_half > 0]]))
    # S(x) - 1, so that small alphas keep their digits.
    rest, term, n = np.zeros_like(x), np.ones_like(x), 0
    while (term > 1e-17 * (1 + rest)).any():
        term = term * x * (2 * alpha + n) / (alpha + 1 + n)
        rest += term
        n += 1
    log_sum = np.log1p(rest)
    places = 4 * x * (1 - x) * np.exp((log_sum - log_sum[-1]) / alpha)
    return x, places


def bind_mixes(
    transforms: Sequence[Transform],
    fields: Mapping[str, Field],
    specs: Mapping[str, Spec],
    structure: Structure,
    rows: int,
) -> list[Mixing]:
    """Return the mixes of a list of transforms, bound.

    Args:
        transforms: All transforms, in order.
        fields: The fields of the dataset, by name.
        specs: What each of them yields, and the sample weights.
        structure: What is input, target and weight.
        rows: How many rows the dataset has.

    Raises:
        DeclarationError: If a mix cannot act on its fields, or leaves a target out.
    """
    mixings = []
    for number, mix in enumerate(transforms):
        if not isinstance(mix, Mix):
            continue
        for name in mix.fields:
            _check_field(mix, name, fields[name], specs[name])
        _check_last(mix, transforms[number + 1 :])
        _check_targets(mix, fields, specs, structure)
        if isinstance(mix, CutMix) and not any(mix.pastes(specs[name]) for name in mix.fields):
            raise DeclarationError(
                lines(
                    "CutMix pastes boxes of images, of three axes, or of two with whole numbers; "
                    f"none of the fields that it names is one: {some(mix.fields)}.",
                    "Name an image as well, or use mf.MixUp.",
                )
            )
        names = [*mix.fields, *_weights_of(mix, structure), *_presences_of(mix, fields)]
        mixings.append(Mixing(number, mix, {name: specs[name] for name in names}, rows))
    return mixings


def _check_field(mix: Mix, name: str, field: Field, spec: Spec) -> None:
    """Raise unless mixtures of a field's values are values of it."""
    kind = type(mix).__name__
    if isinstance(field, Places):
        raise DeclarationError(
            lines(
                f"{kind} does not mix places in images: {name!r} is a {type(field).__name__}.",
                f"Pass keep={name!r} if it shall stay that of the first sample.",
            )
        )
    if isinstance(field, Link):
        raise DeclarationError(
            f"{name!r} is made from {field.of!r} and mixed with it: name that one in {kind}."
        )
    if isinstance(field, Category) and not field.one_hot:
        raise DeclarationError(
            lines(
                f"{kind} mixes labels as vectors: between two class numbers is another class; {name!r} "
                f"is a Category that yields {spec}.",
                "Declare it with one_hot=True, and give the model a loss for vectors, such as "
                "categorical_crossentropy.",
            )
        )
    if isinstance(field, Image | Raster) and field.interpolation == "nearest" and not mix.pastes(spec):
        raise DeclarationError(
            lines(
                f"{kind} takes averages, which label maps do not have; {name!r} is declared with "
                'interpolation="nearest".',
                "Use mf.CutMix, which pastes them.",
            )
        )
    mix.check(name, spec)


def _check_last(mix: Mix, later: Sequence[Transform]) -> None:
    """Raise if a field is transformed after it was mixed."""
    for other in later:
        for name in other.fields:
            if not isinstance(other, Mix) and name in mix.fields:
                raise DeclarationError(
                    lines(
                        f"samples are mixed once they are done; {type(other).__name__} of {name!r} "
                        f"stands after {type(mix).__name__}.",
                        f"Put {type(mix).__name__} behind it.",
                    )
                )


def _check_targets(
    mix: Mix, fields: Mapping[str, Field], specs: Mapping[str, Spec], structure: Structure
) -> None:
    """Raise unless it is clear for each target which sample it belongs to."""
    kind, inputs = type(mix).__name__, flat(structure.inputs)
    targets = [] if structure.targets is None else flat(structure.targets)
    if not any(name in inputs for name in mix.fields):
        raise DeclarationError(
            lines(
                f"{kind} mixes inputs, and their targets with them; it names no input.", near("", inputs)
            )
        )
    for name in mix.keep:
        if name not in targets or name in mix.fields:
            raise DeclarationError(
                lines(
                    f"keep= of {kind} names targets that are not mixed; received {name!r}.",
                    "It is mixed: leave it out of one of the two."
                    if name in mix.fields
                    else near(name, [each for each in targets if each not in mix.fields]),
                )
            )
    for name in targets:
        field, spec = fields[name], specs[name]
        # As an input that is an image; as a target, bytes are classes, seldom grey levels.
        if name in mix.fields and spec.dtype == "uint8" and not mix.pastes(spec):
            raise DeclarationError(
                lines(
                    f"{kind} takes averages, which label maps do not have; the target {name!r} is "
                    f"{spec}.",
                    "Use mf.CutMix, which pastes them; or, if it is an image, declare it with "
                    'dtype="float32".',
                )
            )
        # What is made of a field goes with it; but for places in an image, which are not mixed.
        follows = isinstance(field, Link) and not (isinstance(field, Places) and field.of in mix.fields)
        if name in mix.fields or name in mix.keep or follows:
            continue
        remedy = "It cannot be mixed:" if isinstance(field, Link) else "Name it as well, or"
        raise DeclarationError(
            lines(
                f"where inputs are mixed, targets are too; {kind} leaves out the target {name!r}.",
                f"{remedy} pass keep={name!r} if it shall stay that of the first sample.",
            )
        )


def _presences_of(mix: Mix, fields: Mapping[str, Field]) -> list[str]:
    """Return the names of what says whether fields that are mixed were there."""
    presences = {name: each.of for name, each in fields.items() if isinstance(each, Present)}
    return [name for name, of in presences.items() if of in mix.fields and name not in mix.keep]


def _weights_of(mix: Mix, structure: Structure) -> list[str]:
    """Return the names of the sample weights of the targets that are mixed."""
    if structure.targets is None or structure.weights is None:
        return []
    pairs = zip(flat(structure.targets), flat(structure.weights), strict=True)
    return [weight for target, weight in pairs if target in mix.fields]
