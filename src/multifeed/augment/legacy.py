"""Keras' ``ImageDataGenerator`` in terms of transforms."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import cv2
import numpy as np

from multifeed.augment.base import Draws, MakeGenerator, NDArray, Pointwise, Size, Transform, span
from multifeed.augment.color import look_up
from multifeed.augment.draws import between
from multifeed.augment.function import RandomFunction
from multifeed.augment.geometry import RandomAffine, flips
from multifeed.errors import BadValue, DeclarationError, lines, near
from multifeed.spec import Spec

_LEVELS = np.arange(256, dtype=np.float64)


def from_image_data_generator(
    fields: str | Sequence[str],
    *,
    rotation_range: float = 0,
    width_shift_range: float | Sequence[float] = 0.0,
    height_shift_range: float | Sequence[float] = 0.0,
    brightness_range: Sequence[float] | None = None,
    shear_range: float = 0.0,
    zoom_range: float | Sequence[float] = 0.0,
    channel_shift_range: float = 0.0,
    fill_mode: str = "nearest",
    cval: float = 0.0,
    horizontal_flip: bool = False,
    vertical_flip: bool = False,
    preprocessing_function: Callable[[NDArray], NDArray] | None = None,
    **others: Any,
) -> list[Transform]:
    """Return the transforms that do what Keras' ``ImageDataGenerator`` does with these arguments.

    All arguments of it are understood; those that say nothing about augmentation (`rescale`,
    `samplewise_center`, `validation_split` …) may stand at their defaults, and are else errors that say
    what to write instead. Fields share each draw, so an image and its mask need no two generators with
    equal seeds. It means the same by its arguments (distributions included), with these exceptions,
    in which Keras' code does not do what its documentation says:

    - It turns, shears and zooms an image of height h and width w about column h / 2 and row w / 2,
      which is its centre only where h = w. Here it is the centre.
    - ``height_shift_range`` moves along the width by a fraction of the height, and the other way round.
      Here each moves along its own axis.
    - A list of shifts that are all below 1 is fractions there, even ``[-40]``. Here that are pixels.
    - ``fill_mode="wrap"`` repeats there with a period of one pixel less than the image has, and
      ``"constant"`` leaves out the pixels that are partly outside. Here images repeat as they are, and
      their edge is mixed with `cval`.

    Args:
        fields: The image, or the images that move and change together.
        rotation_range: Degrees, for -r to r.
        width_shift_range: A float below 1 is a fraction of the width, one from 1 on pixels, both for -s
            to s; an int n is whole pixels from -(n - 1) to n - 1; a list is what is chosen from, with
            either sign (fractions if all are below 1, else pixels). Pixels are those of the base image.
        height_shift_range: The same along the height.
        brightness_range: (least, most) factor of each value.
        shear_range: Degrees, for -s to s.
        zoom_range: A number z for 1 - z to 1 + z, or (least, most): the share of height and of width
            that is shown, drawn for each axis. Above 1 is smaller, as in Keras, unlike `RandomAffine`.
        channel_shift_range: Levels that are added to all values, for -c to c; they stay between the
            least and the greatest that the image has.
        fill_mode: What stands where the image does not reach, see `RandomAffine`.
        cval: The value there with ``fill_mode="constant"``.
        horizontal_flip: Whether half of the images are mirrored left to right.
        vertical_flip: Whether half of them are turned upside down.
        preprocessing_function: A function of one image, ``float32[height, width, channels]`` from 0 to
            255, that returns the like. One that returns other values (means subtracted, say) belongs
            into ``mf.Image(preprocess=..., dtype="float32")``, which comes after all transforms as well.
        **others: Its other arguments.

    Raises:
        DeclarationError: If an argument is unknown, cannot be a transform, or is out of its range.

    Example:
        >>> [type(each).__name__ for each in from_image_data_generator(
        ...     ["image", "mask"], rotation_range=20, zoom_range=0.1, horizontal_flip=True)]
        ['GeneratorAffine']
    """
    _check_others(others)
    transforms: list[Transform] = []
    zoom = _factors("zoom_range", zoom_range, centre=1.0)
    affine = GeneratorAffine(
        fields,
        rotation=_number("rotation_range", rotation_range),
        shear=_number("shear_range", shear_range),
        flip=_flip(horizontal_flip, vertical_flip),
        fill=fill_mode,
        fill_value=cval,
        down=Offset.of("height_shift_range", height_shift_range),
        right=Offset.of("width_shift_range", width_shift_range),
        shown=zoom,
    )
    if affine != GeneratorAffine(fields, fill=fill_mode, fill_value=cval):
        transforms.append(affine)
    shift = _number("channel_shift_range", channel_shift_range)
    factors = (1.0, 1.0)
    if brightness_range is not None:
        if not isinstance(brightness_range, Sequence) or len(brightness_range) != 2:
            raise DeclarationError(
                f"brightness_range is a pair (least, most) of factors; received {brightness_range!r}."
            )
        factors = span("brightness_range", brightness_range, least=0.0)
    if shift or factors != (1.0, 1.0):
        transforms.append(GeneratorColor(fields, shift=shift, brightness=factors))
    if preprocessing_function is not None:
        transforms.append(
            RandomFunction(fields, _OnFloats(preprocessing_function), kind="color", per_field=True)
        )
    return transforms


@dataclass(frozen=True)
class Offset:
    """By how much an image moves along one axis, in one of the forms that Keras knows.

    Args:
        most: For -most to most; 0 if `choices` are given.
        choices: What is chosen from, with either sign.
        in_pixels: Whether these are pixels, and not fractions.
    """

    most: float = 0.0
    choices: tuple[float, ...] = ()
    in_pixels: bool = False

    @classmethod
    def of(cls, what: str, value: Any) -> Offset:
        """Return the offset that an argument of Keras' means."""
        if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str):
            numbers = tuple(value)
            if numbers and all(_is_number(each) for each in numbers):
                floats = tuple(float(each) for each in numbers)
                return cls(choices=floats, in_pixels=max(map(abs, floats)) >= 1)
        elif _is_number(value) and value >= 0:
            if isinstance(value, int | np.integer) and value > 0:
                return cls(choices=tuple(float(each) for each in range(value)), in_pixels=True)
            return cls(most=float(value), in_pixels=value >= 1)
        raise DeclarationError(
            lines(
                f"{what} is a number of 0 or more or a list of numbers; received {value!r}.",
                "A float below 1 is a fraction, an int is pixels.",
            )
        )

    def draw(self, size: NDArray, sign: NDArray) -> NDArray:
        """Return offsets, given random numbers from 0 to 1."""
        if not self.choices:
            return between(size, -self.most, self.most)
        chosen = np.asarray(self.choices)[(size * len(self.choices)).astype(np.int64)]
        drawn: NDArray = chosen * np.where(sign < 0.5, -1.0, 1.0)
        return drawn


@dataclass(frozen=True)
class GeneratorAffine(RandomAffine):
    """The geometry of an ``ImageDataGenerator``, see `from_image_data_generator`.

    Args:
        fields: The image, or the images that move together.
        down: Shift along the height.
        right: Shift along the width.
        shown: (least, most) share of height and of width that is shown, drawn for each axis.
    """

    _: KW_ONLY
    down: Offset = Offset()
    right: Offset = Offset()
    shown: tuple[float, float] = (1.0, 1.0)

    @property
    def count(self) -> int:
        return 10

    def draw(self, numbers: NDArray) -> Draws:
        rotation, shear, down, down_sign, right, right_sign, tall, wide, first, second = numbers.T
        shown = np.stack([between(tall, *self.shown), between(wide, *self.shown)], 1)
        return {
            "rotation": between(rotation, *self.rotation),  # type: ignore[misc]
            "shear": between(shear, *self.shear),  # type: ignore[misc]
            # In pixels or fractions, as was declared.
            "shift": np.stack([self.down.draw(down, down_sign), self.right.draw(right, right_sign)], 1),
            "zoom": 1 / shown,
            "flip": flips(self.flip, first, second),
        }

    def matrices(self, draws: Draws, before: Size, after: Size) -> NDArray:
        offsets = (self.down, self.right)
        units = [side if offset.in_pixels else 1 for side, offset in zip(before, offsets, strict=True)]
        return super().matrices({**draws, "shift": draws["shift"] / units}, before, after)


@dataclass(frozen=True)
class GeneratorColor(Pointwise):
    """The changes of values of an ``ImageDataGenerator``, see `from_image_data_generator`.

    Args:
        fields: The image, or the images that change together.
        shift: Levels, for -shift to shift, added to all channels alike.
        brightness: (least, most) factor.
    """

    _: KW_ONLY
    shift: float = 0.0
    brightness: tuple[float, float] = (1.0, 1.0)

    kind: ClassVar[str] = "color"
    makes_colors: ClassVar[bool] = True

    @property
    def count(self) -> int:
        return 2

    def draw(self, numbers: NDArray) -> Draws:
        shift, brightness = numbers.T
        return {
            "channel_shift": between(shift, -self.shift, self.shift),
            "brightness": between(brightness, *self.brightness),
        }

    def check(self, name: str, spec: Spec) -> None:
        if spec.dtype != "uint8" or len(spec.shape) != 3:
            raise DeclarationError(
                lines(
                    "brightness_range and channel_shift_range change images uint8[height, width, "
                    f"channels]; field {name!r} is {spec}.",
                    "Name such fields alone, in a call of its own.",
                )
            )

    def apply(
        self, values: Mapping[str, NDArray], draws: Draws, place: int, generator: MakeGenerator
    ) -> None:
        shift, factor = float(draws["channel_shift"][place]), float(draws["brightness"][place])
        for pixels in values.values():
            # Pillow's ImageEnhance.Brightness, which Keras calls, cuts fractions off, once before it.
            if not self.shift:
                # Rounded, less nearly a half, is cut off; a fifth of the time of a table.
                cv2.convertScaleAbs(pixels, dst=pixels, alpha=factor, beta=-0.4995)
                continue
            levels = np.clip(_LEVELS + shift, pixels.min(), pixels.max())
            if self.brightness != (1.0, 1.0):
                levels = np.clip(np.floor(np.floor(levels) * factor), 0, 255)
            look_up(pixels, np.rint(levels).astype(np.uint8))


class _OnFloats:
    """A function of float images, as one of uint8 images.

    Args:
        function: The user's.
    """

    def __init__(self, function: Callable[[NDArray], NDArray]) -> None:
        if not callable(function):
            raise DeclarationError(
                f"preprocessing_function is a function of one image; received {function!r}."
            )
        self._function = function

    def __call__(self, pixels: NDArray, rng: np.random.Generator) -> NDArray:
        given = pixels.astype(np.float32)
        returned = self._function(given)
        changed = given if returned is None else np.asarray(returned)
        is_whole = pixels.dtype.kind in "iu"
        least, most = (np.iinfo(pixels.dtype).min, np.iinfo(pixels.dtype).max) if is_whole else (0, 0)
        fits = not is_whole or bool(changed.min() >= least - 0.5 and changed.max() < most + 0.5)
        if changed.shape != pixels.shape or not fits:
            rule = f" and values from {least} to {most}" if is_whole else ""
            raise BadValue(
                f"becomes {Spec(changed.shape, changed.dtype.name)} from {changed.min():.4g} to "
                f"{changed.max():.4g} by preprocessing_function, and a transform keeps its shape{rule}",
                'Declare the field with mf.Image(..., dtype="float32", preprocess=<your function>) '
                "instead: that comes after all transforms as well.",
            )
        whole: NDArray = (np.rint(changed) if is_whole else changed).astype(pixels.dtype)
        return whole


# What is no transform: the value that asks for nothing, and what to write instead.
_ELSEWHERE: dict[str, tuple[tuple[Any, ...], str]] = {
    "rescale": (
        (None, 0, 1),
        'Write mf.Image(..., dtype="float32", scale=1/255), or begin the model with '
        "keras.layers.Rescaling(1/255).",
    ),
    "samplewise_center": (
        (False,),
        'Write mf.Image(..., dtype="float32", preprocess=lambda image: image - image.mean()).',
    ),
    "samplewise_std_normalization": (
        (False,),
        'Write mf.Image(..., dtype="float32", preprocess=standardize), where standardize(image) returns '
        "(image - image.mean()) / (image.std() + 1e-6).",
    ),
    "featurewise_center": (
        (False,),
        "Begin the model with keras.layers.Normalization(), adapted to training images.",
    ),
    "featurewise_std_normalization": (
        (False,),
        "Begin the model with keras.layers.Normalization(), adapted to training images.",
    ),
    "zca_whitening": (
        (False,),
        "Compute the whitening matrix from flattened training images, and begin the model with a frozen "
        "keras.layers.Dense of it; batch normalisation has made it rare.",
    ),
    "zca_epsilon": ((None, 1e-6), "It belongs to zca_whitening, which is no transform either."),
    "validation_split": (
        (None, 0),
        "Write train, validation = data.split(0.8, 0.2, seed=0), and augment train alone.",
    ),
    "data_format": (
        (None, "channels_last"),
        "Images are (height, width, channels) on every backend: drop it; a model that wants channels "
        "first begins with keras.layers.Permute((3, 1, 2)).",
    ),
    "interpolation_order": (
        (1,),
        'The field says how its pixels are interpolated: 0 is mf.Image(..., interpolation="nearest"), 1 '
        "the default; higher orders are not offered.",
    ),
    "dtype": ((None,), 'The field says its dtype: mf.Image(..., dtype="float32").'),
}


def _check_others(others: Mapping[str, Any]) -> None:
    """Raise if there is an argument that is unknown, or asks for something that is no transform."""
    known = inspect.signature(from_image_data_generator).parameters
    for name, value in others.items():
        if name not in _ELSEWHERE:
            names = [*known, *_ELSEWHERE]
            offered = near(name, [each for each in names if each not in ("fields", "others")])
            raise DeclarationError(lines(f"ImageDataGenerator has no argument {name!r}.", offered))
        idle, remedy = _ELSEWHERE[name]
        if not any(value is each or value == each for each in idle):
            raise DeclarationError(lines(f"{name}={value!r} is no transform of an image.", remedy))


def _flip(horizontal: bool, vertical: bool) -> str | None:
    if horizontal and vertical:
        return "horizontal_and_vertical"
    return "horizontal" if horizontal else "vertical" if vertical else None


def _factors(what: str, value: Any, *, centre: float) -> tuple[float, float]:
    low, high = span(what, value, centre=centre)
    if low <= 0:
        raise DeclarationError(f"{what} is above 0; received {value!r}, which reaches {low:g}.")
    return low, high


def _number(what: str, value: Any) -> float:
    if not _is_number(value) or value < 0:
        raise DeclarationError(f"{what} is a number of 0 or more; received {value!r}.")
    return float(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and bool(np.isfinite(value))
