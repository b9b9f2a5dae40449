"""Colour: what changes each pixel by a rule of its own.

Whatever is linear is one matrix, whatever is not is one lookup table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import cv2
import numpy as np

from multifeed.augment.base import Draws, MakeGenerator, NDArray, Pointwise, settle, span
from multifeed.augment.draws import between
from multifeed.errors import DeclarationError, lines
from multifeed.spec import Spec

# The share of each channel, red, green and blue, in luma: ITU-R BT.601.
LUMA = np.array([0.299, 0.587, 0.114])
_LEVELS = np.arange(256, dtype=np.float64)


@dataclass(frozen=True)
class RandomColor(Pointwise):
    """Change brightness, contrast, saturation, hue and more at random.

    The first four mean what they mean in torchvision's ``ColorJitter``, but for hue, which is turned
    in the plane of chroma and not in HSV: that is linear. They apply in the order of the arguments;
    values are cut off at 0 and 255 at the end, and before `gamma`, not in between. Luma is that of
    ITU-R BT.601. All named fields are changed alike.

    A field is an image ``uint8[height, width, channels]`` of 1, 3 or 4 channels; a fourth is alpha and
    stays as it is. An image of 1 channel has neither saturation nor hue, and the first of the three
    channel shifts.

    Of volumes, ``[depth, height, width, channels]`` of any dtype, `brightness` and `contrast` alone can
    be changed: contrast about the mean of each channel, and values are cut off where their dtype ends.

    Args:
        fields: The image, or the images that are changed together.
        brightness: Factor of every value: a number x for 1 - x (at least 0) to 1 + x, or a pair
            (least, most).
        contrast: Factor of every value's distance from the mean luma of the image; as `brightness`.
        saturation: Factor of every value's distance from its pixel's luma, 0 for grey; as `brightness`.
        hue: Turns by which the colours move around the wheel, from red towards green, luma kept: a
            number up to 0.5 for either way, or a pair (least, most).
        grayscale: Probability of an image without colour.
        channel_shift: Levels of 255 that are added, to each channel a number of its own: a number x for
            -x to x, or a pair (least, most).
        gamma: Exponent of every value's share of 255: above 1 darkens; as `brightness`, above 0.

    Raises:
        DeclarationError: If a range is the wrong way round or reaches too far, or a field is no such
            image.

    Example:
        >>> RandomColor(["left", "right"], brightness=0.2, hue=0.05).brightness
        (0.8, 1.2)
    """

    _: KW_ONLY
    brightness: float | Sequence[float] = 0.0
    contrast: float | Sequence[float] = 0.0
    saturation: float | Sequence[float] = 0.0
    hue: float | Sequence[float] = 0.0
    grayscale: float = 0.0
    channel_shift: float | Sequence[float] = 0.0
    gamma: float | Sequence[float] = 0.0

    kind: ClassVar[str] = "color"
    makes_colors: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for what in ("brightness", "contrast", "saturation", "gamma"):
            object.__setattr__(self, what, _factors(what, getattr(self, what)))
        if self.gamma[0] <= 0:  # type: ignore[index]
            raise DeclarationError(f"gamma is an exponent above 0; it reaches {self.gamma[0]:g}.")  # type: ignore[index]
        object.__setattr__(self, "hue", span("hue", self.hue, least=-0.5))
        if self.hue[1] > 0.5:  # type: ignore[index]
            raise DeclarationError(
                lines(
                    f"hue is in turns, at most half of one either way; it reaches {self.hue[1]:g}.",  # type: ignore[index]
                    "Write e.g. hue=0.1 for 36 degrees.",
                )
            )
        object.__setattr__(self, "channel_shift", span("channel_shift", self.channel_shift))
        object.__setattr__(self, "grayscale", probability("grayscale", self.grayscale))

    @property
    def count(self) -> int:
        return 9

    def draw(self, numbers: NDArray) -> Draws:
        brightness, contrast, saturation, hue, grey, red, green, blue, gamma = numbers.T
        low, high = self.channel_shift  # type: ignore[misc]
        changes = {
            "brightness": between(brightness, *self.brightness),  # type: ignore[misc]
            "contrast": between(contrast, *self.contrast),  # type: ignore[misc]
            "saturation": between(saturation, *self.saturation),  # type: ignore[misc]
            "hue": between(hue, *self.hue),  # type: ignore[misc]
            "grayscale": grey < self.grayscale,
            "channel_shift": between(np.stack([red, green, blue], 1), low, high),
            "gamma": between(gamma, *self.gamma),  # type: ignore[misc]
        }
        # Made here, of all slots at once: one at a time it takes longer than to apply it.
        return {**changes, "matrix": matrices(changes)}

    def check(self, name: str, spec: Spec) -> None:
        if len(spec.shape) != 4 or spec.dtype == "bool":
            check_pixels(self, name, spec)
        elif self._needs_colours:
            raise DeclarationError(
                lines(
                    "of volumes, RandomColor changes brightness and contrast alone; field "
                    f"{name!r} is {spec}, and {', '.join(self._needs_colours)} is asked for.",
                    f"Give {name!r} a RandomColor of its own, or write your own as mf.RandomFunction.",
                )
            )

    def apply(
        self, values: Mapping[str, NDArray], draws: Draws, place: int, generator: MakeGenerator
    ) -> None:
        gamma = float(draws["gamma"][place])
        gain = float(draws["contrast"][place] * draws["brightness"][place])
        pivot = (1 - float(draws["contrast"][place])) * float(draws["brightness"][place])
        for pixels in values.values():
            if pixels.ndim == 4:
                _scale(pixels, gain, pivot)
                continue
            if pixels.shape[2] == 1:
                offset = float(draws["channel_shift"][place, 0])
                if pivot:
                    offset += pivot * cv2.mean(pixels)[0]
                look_up(pixels, _table(gain, offset, gamma))
                continue
            if self._is_linear:
                matrix = draws["matrix"][place]
                if pivot:
                    matrix = matrix.copy()
                    matrix[:, 3] += pivot * (LUMA @ cv2.mean(pixels)[:3])
                recolor(pixels, matrix)
            if gamma != 1:
                look_up(pixels, _table(1.0, 0.0, gamma))

    @property
    def _needs_colours(self) -> list[str]:
        """The options that are asked for, and that mean something of images of 8 bits alone."""
        neutral = {
            "saturation": (1.0, 1.0),
            "hue": (0.0, 0.0),
            "grayscale": 0.0,
            "channel_shift": (0.0, 0.0),
            "gamma": (1.0, 1.0),
        }
        return [what for what, value in neutral.items() if getattr(self, what) != value]

    @property
    def _is_linear(self) -> bool:
        """Whether anything but gamma can change."""
        factors = (self.brightness, self.contrast, self.saturation)
        sums = (self.hue, self.channel_shift)
        return bool(
            any(pair != (1.0, 1.0) for pair in factors)
            or any(pair != (0.0, 0.0) for pair in sums)
            or self.grayscale
        )


def matrices(draws: Draws) -> NDArray:
    """Return what the linear changes are together, ``float64[slots, 3, 4]``, but for contrast's mean.

    Hue and saturation keep greys as they are. So contrast, which moves values away from a grey, is a
    factor before them, and a number that is added after them: (1 - contrast)·brightness·(mean luma).
    """
    saturation = np.where(draws["grayscale"], 0.0, draws["saturation"])[:, None, None]
    colour = saturation * turns(draws["hue"]) + (1 - saturation) * LUMA
    gain = (draws["brightness"] * draws["contrast"])[:, None, None]
    return np.concatenate([gain * colour, draws["channel_shift"][:, :, None]], 2)


def turns(hue: NDArray) -> NDArray:
    """Return the matrices that turn chroma, ``float64[slots, 3, 3]``, given turns.

    Chroma is U = 0.492 (B - Y), V = 0.877 (R - Y) of ITU-R BT.470 and is turned about the axis of
    greys, as the hue control of television does; with Y, that is a change of base, a rotation, and
    back. (Haeberli, "Matrix operations for image processing", 1993, turns about the same axis.)
    """
    blue, red = np.eye(3)[2] - LUMA, np.eye(3)[0] - LUMA
    to_chroma = np.stack([LUMA, 0.492 * blue, 0.877 * red])
    angle = 2 * np.pi * hue
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.zeros((len(hue), 3, 3))
    rotation[:, 0, 0] = 1.0
    rotation[:, 1, 1] = rotation[:, 2, 2] = cos
    rotation[:, 1, 2], rotation[:, 2, 1] = -sin, sin
    turned: NDArray = np.linalg.inv(to_chroma) @ rotation @ to_chroma
    return turned


def recolor(pixels: NDArray, matrix: NDArray) -> None:
    """Multiply the colours of an image, ``uint8[h, w, 3 or 4]``, by ``float64[3, 4]``, in place."""
    if pixels.shape[2] == 3:
        # OpenCV reads a pixel before it writes it, so source and target may be one.
        cv2.transform(pixels, matrix, dst=pixels)
        return
    # One matrix of 4 x 5 would do, and takes ten times as long.
    changed = cv2.transform(cv2.cvtColor(pixels, cv2.COLOR_RGBA2RGB), matrix)
    cv2.mixChannels([changed], [pixels], [0, 0, 1, 1, 2, 2])


def _scale(volume: NDArray, gain: float, pivot: float) -> None:
    """Multiply the values of a volume by `gain`, and add `pivot` times each channel's mean, in place."""
    # Of 8 and 16 bits float32 holds all values, of 32 float64 does.
    kind = np.result_type(volume.dtype, np.float32)
    changed = np.multiply(volume, gain, dtype=kind)
    if pivot:
        changed += (pivot * volume.mean((0, 1, 2), dtype=np.float64)).astype(kind)
    settle(changed, volume)


def look_up(pixels: NDArray, table: NDArray) -> None:
    """Replace the values of an image, but for alpha, by those of a table ``uint8[256]``, in place."""
    if pixels.shape[2] == 4:
        alpha = cv2.extractChannel(pixels, 3)
        look_up(pixels.reshape(len(pixels), -1, 1), table)
        cv2.insertChannel(alpha, pixels, 3)
        return
    # One table for all channels: to OpenCV, the image is a wider one of one channel.
    flat = pixels.reshape(len(pixels), -1)
    cv2.LUT(flat, table, dst=flat)


def _table(gain: float, offset: float, gamma: float) -> NDArray:
    """Return what becomes of each level, ``uint8[256]``."""
    values = np.clip(gain * _LEVELS + offset, 0, 255)
    if gamma != 1:
        values = 255 * (values / 255) ** gamma
    table: NDArray = np.rint(values).astype(np.uint8)
    return table


def _factors(what: str, value: Any) -> tuple[float, float]:
    """Return the bounds of a factor: a pair, or one number to either side of 1, but not below 0."""
    low, high = span(what, value, centre=1.0)
    if low < 0 and not isinstance(value, Sequence):
        low = 0.0
    return span(what, (low, high), least=0.0)


def probability(what: str, value: Any) -> float:
    """Return a probability, or say that it is none."""
    if not isinstance(value, int | float | np.number) or not 0 <= value <= 1:
        raise DeclarationError(f"{what} is a probability, from 0 to 1; received {value!r}.")
    return float(value)


def check_pixels(transform: Pointwise, name: str, spec: Spec) -> None:
    """Raise unless a field is an image of 8 bits a channel."""
    is_image = len(spec.shape) == 3 and spec.shape[2] in (1, 3, 4)
    if spec.dtype != "uint8" or not is_image:
        of_volumes = (
            "Of volumes, mf.RandomColor changes brightness and contrast, and mf.Noise adds noise; all "
            "else can be an mf.RandomFunction."
        )
        raise DeclarationError(
            lines(
                f"{type(transform).__name__} changes images, (height, width, channels) uint8 of 1, 3 or "
                f"4 channels; field {name!r} is {spec}.",
                of_volumes
                if len(spec.shape) == 4
                else "Name the fields that are such images, or write your own as mf.RandomFunction.",
            )
        )
