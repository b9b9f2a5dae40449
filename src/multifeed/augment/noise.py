"""Noise: Gaussian noise, blur, compression, erased rectangles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any, ClassVar

import cv2
import numpy as np
import simplejpeg

from multifeed.augment.base import (
    Columnwise,
    Draws,
    MakeGenerator,
    NDArray,
    Pointwise,
    settle,
    span,
)
from multifeed.augment.color import check_pixels, probability
from multifeed.augment.draws import between
from multifeed.errors import DeclarationError, lines
from multifeed.fields.shared import whole_number
from multifeed.spec import Spec

# Quantiles of the normal distribution that noise is made of: one for each value of 16 bits.
_QUANTILES = 2**16


@dataclass(frozen=True)
class _Gaussian(Pointwise):
    """What has a standard deviation, drawn for each sample."""

    sigma: float | Sequence[float]

    kind: ClassVar[str] = "noise"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "sigma", _one_or_pair("sigma", self.sigma))

    @property
    def count(self) -> int:
        return 1

    def draw(self, numbers: NDArray) -> Draws:
        return {"sigma": between(numbers[:, 0], *self.sigma)}  # type: ignore[misc]


@dataclass(frozen=True)
class RandomNoise(_Gaussian):
    """Add Gaussian noise to images of 8 bits.

    All named fields share the standard deviation; each has noise of its own, in every channel but
    alpha.

    Args:
        fields: The image or images, ``uint8[height, width, channels]`` of 1, 3 or 4 channels.
        sigma: Standard deviation in levels of 255: a number, or a pair (least, most) to draw from.

    Raises:
        DeclarationError: If `sigma` is below 0 or the wrong way round, or a field is no such image.

    Example:
        >>> RandomNoise("photo", sigma=(0, 12)).sigma
        (0.0, 12.0)
    """

    makes_colors: ClassVar[bool] = True

    def check(self, name: str, spec: Spec) -> None:
        check_pixels(self, name, spec)

    def apply(
        self, values: Mapping[str, NDArray], draws: Draws, place: int, generator: MakeGenerator
    ) -> None:
        sigma = float(draws["sigma"][place])
        if not sigma:
            return
        # What is added to integers and rounded can be rounded first.
        levels = np.rint(quantiles() * sigma).astype(np.int16)
        for name, pixels in values.items():
            (index,) = indices(pixels.size, generator, self.fields.index(name))
            alpha = cv2.extractChannel(pixels, 3) if pixels.shape[2] == 4 else None
            flat = pixels.reshape(len(pixels), -1)
            noise = levels.take(index, mode="clip").reshape(flat.shape)
            cv2.add(flat, noise, dst=flat, dtype=cv2.CV_8U)
            if alpha is not None:
                cv2.insertChannel(alpha, pixels, 3)


@dataclass(frozen=True)
class Noise(_Gaussian, Columnwise):
    """Add Gaussian noise to numbers, arrays of floats, and volumes.

    All named fields share the standard deviation; each element has noise of its own. It is never more
    than 4.3 standard deviations: the numbers are one of 65,536 quantiles.

    Args:
        fields: The field or fields, of a float dtype; volumes, ``[depth, height, width, channels]``, of
            any: of whole numbers, sums are rounded, and cut off where the dtype ends.
        sigma: Standard deviation, in the units that the model sees (of ``mf.Numeric(...,
            normalize=True)``, in deviations of the column): a number, or a pair (least, most) from which
            each sample's is drawn.

    Raises:
        DeclarationError: If `sigma` is below 0 or the wrong way round, or a field is neither floats nor
            a volume.

    Example:
        >>> import numpy as np, multifeed as mf
        >>> data = mf.Dataset({"x": np.zeros((2, 3), np.float32)}, inputs=mf.Array("x"))
        >>> feed = mf.Feed(data, 2, augment=Noise("x", sigma=0.1))
        >>> feed.batch(0, 0)[0].shape
        (2, 3)
    """

    makes_colors: ClassVar[bool] = True

    def check(self, name: str, spec: Spec) -> None:
        is_volume = len(spec.shape) == 4 and spec.dtype != "bool"
        if not spec.dtype.startswith("float") and not is_volume:
            instead = "mf.RandomNoise changes images of 8 bits." if spec.dtype == "uint8" else ""
            raise DeclarationError(
                lines(
                    f"Noise is added to floats; field {name!r} is {spec}.",
                    instead or 'Declare the field with dtype="float32".',
                )
            )

    def apply_all(
        self,
        values: Mapping[str, NDArray],
        draws: Draws,
        start: int,
        stop: int,
        generator: MakeGenerator,
    ) -> None:
        sigma = draws["sigma"][start:stop, None].astype(np.float32)
        for name, each in values.items():
            flat = each.reshape(len(each), -1)
            index = indices(flat.shape[1], generator, self.fields.index(name))
            noise = quantiles().take(index, mode="clip")
            noise *= sigma
            if each.dtype.kind == "f":
                np.add(flat, noise, out=flat, casting="same_kind")
            else:
                settle(noise + flat, flat)


@dataclass(frozen=True)
class RandomBlur(_Gaussian):
    """Blur images by a Gaussian.

    Args:
        fields: The image or images, ``uint8[height, width, channels]`` of 1, 3 or 4 channels; alpha
            stays as it is.
        sigma: Standard deviation in pixels: a number, or a pair (least, most) to draw from. Edges are
            mirrored, and the Gaussian is cut off at 3 sigma.

    Raises:
        DeclarationError: If `sigma` is below 0 or the wrong way round, or a field is no such image.

    Example:
        >>> RandomBlur("photo", sigma=(0, 2)).sigma
        (0.0, 2.0)
    """

    makes_colors: ClassVar[bool] = True

    def check(self, name: str, spec: Spec) -> None:
        check_pixels(self, name, spec)

    def apply(
        self, values: Mapping[str, NDArray], draws: Draws, place: int, generator: MakeGenerator
    ) -> None:
        sigma = float(draws["sigma"][place])
        # OpenCV's Gaussian has round(6·sigma + 1) | 1 pixels; one pixel changes nothing.
        if round(6 * sigma + 1) | 1 == 1:
            return
        for pixels in values.values():
            alpha = cv2.extractChannel(pixels, 3) if pixels.shape[2] == 4 else None
            target = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
            cv2.GaussianBlur(target, (0, 0), sigma, dst=target)
            if alpha is not None:
                cv2.insertChannel(alpha, pixels, 3)


@dataclass(frozen=True)
class RandomJPEG(Pointwise):
    """Compress images as JPEG, and decode them again.

    Args:
        fields: The image or images, ``uint8[height, width, channels]`` of 1, 3 or 4 channels; alpha
            stays as it is.
        quality: libjpeg's quality from 1 to 100: a whole number, or a pair (least, most), both
            included. Colour is subsampled (4:2:0), as in most photographs.

    Raises:
        DeclarationError: If `quality` is out of range or the wrong way round, or a field is no such
            image.

    Example:
        >>> RandomJPEG("photo", quality=(40, 90)).quality
        (40, 90)
    """

    _: KW_ONLY
    quality: int | Sequence[int] = (30, 95)

    kind: ClassVar[str] = "noise"
    makes_colors: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        given = tuple(self.quality) if isinstance(self.quality, Sequence) else (self.quality,) * 2
        pair = tuple(whole_number(each) or 0 for each in given)
        if len(pair) != 2 or not 1 <= pair[0] <= pair[1] <= 100:
            raise DeclarationError(
                lines(
                    "quality is a whole number from 1 to 100, or a pair (least, most) of them; received "
                    f"{self.quality!r}.",
                    "Write e.g. quality=(30, 95).",
                )
            )
        object.__setattr__(self, "quality", pair)

    @property
    def count(self) -> int:
        return 1

    def draw(self, numbers: NDArray) -> Draws:
        least, most = self.quality  # type: ignore[misc]
        return {"quality": whole(numbers[:, 0], least, most)}

    def check(self, name: str, spec: Spec) -> None:
        check_pixels(self, name, spec)

    def apply(
        self, values: Mapping[str, NDArray], draws: Draws, place: int, generator: MakeGenerator
    ) -> None:
        quality = int(draws["quality"][place])
        for pixels in values.values():
            is_grey = pixels.shape[2] == 1
            colour = cv2.cvtColor(pixels, cv2.COLOR_RGBA2RGB) if pixels.shape[2] == 4 else pixels
            space, subsampling = ("GRAY", "Gray") if is_grey else ("RGB", "420")
            data = simplejpeg.encode_jpeg(colour, quality, space, subsampling)
            simplejpeg.decode_jpeg(data, space, buffer=colour)
            if colour is not pixels:
                cv2.mixChannels([colour], [pixels], [0, 0, 1, 1, 2, 2])


@dataclass(frozen=True)
class RandomErasing(Pointwise):
    """Erase a rectangle at a random place (Zhong et al., "Random erasing data augmentation", AAAI 2020).

    The rectangle is relative to the size of each field, so that of an image and a mask the same part is
    erased. Unlike the paper's, windows that would not fit are not drawn again: their shape is brought
    to one that fits, their area kept.

    Args:
        fields: The image or images, ``[height, width]`` or ``[height, width, channels]`` of any dtype.
        probability: Probability that anything is erased.
        scale: (least, most) share of the area that is erased.
        ratio: (least, most) width ÷ height of the rectangle, where that of the whole image is 1; drawn
            so that r and 1 / r are as likely.
        value: What is written: a number for all channels, or one for each. Of an `Image`, in levels of
            255.

    Raises:
        DeclarationError: If an argument is out of its range, or a field is no image or cannot hold
            `value`.

    Example:
        >>> RandomErasing(["photo", "mask"], probability=0.25).scale
        (0.02, 0.33)
    """

    _: KW_ONLY
    probability: float = 0.5
    scale: Sequence[float] = (0.02, 0.33)
    ratio: Sequence[float] = (0.3, 3.3)
    value: float | Sequence[float] = 0

    kind: ClassVar[str] = "noise"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "probability", probability("probability", self.probability))
        for what in ("scale", "ratio"):
            object.__setattr__(self, what, _pair(what, getattr(self, what), least=1e-6))
        if self.scale[1] > 1:
            raise DeclarationError(
                f"scale is a share of the image's area, up to 1; received {self.scale}."
            )
        if isinstance(self.value, Sequence) and not isinstance(self.value, str):
            object.__setattr__(self, "value", tuple(self.value))

    @property
    def count(self) -> int:
        return 5

    def draw(self, numbers: NDArray) -> Draws:
        happens, area, shape, down, right = numbers.T
        areas = between(area, *self.scale)
        ratios = np.exp(between(shape, *np.log(self.ratio)))
        # At most as wide and as high as the image.
        ratios = np.clip(ratios, areas, 1 / areas)
        height, width = np.sqrt(areas / ratios), np.sqrt(areas * ratios)
        return {
            "erases": happens < self.probability,
            "window": np.stack([down * (1 - height), right * (1 - width), height, width], 1),
        }

    def check(self, name: str, spec: Spec) -> None:
        if len(spec.shape) not in (2, 3):
            raise DeclarationError(
                lines(
                    "RandomErasing erases a part of images, (height, width) or (height, width, "
                    f"channels); field {name!r} is {spec}.",
                    "Name the fields that are images.",
                )
            )
        try:
            value = np.asarray(self.value)
            fits = value.dtype.kind in "biuf" and value.ndim <= 1
            stored = np.broadcast_to(value, spec.shape[2:] if value.ndim else ()).astype(spec.dtype)
            fits = fits and (spec.dtype.startswith("float") or bool((stored == value).all()))
        except ValueError:
            fits = False
        if not fits:
            raise DeclarationError(
                f"value is a number that {spec} can hold, or one for each channel of it; field {name!r} "
                f"cannot be erased with {self.value!r}."
            )

    def apply(
        self, values: Mapping[str, NDArray], draws: Draws, place: int, generator: MakeGenerator
    ) -> None:
        if not draws["erases"][place]:
            return
        top, left, height, width = draws["window"][place].tolist()
        for pixels in values.values():
            rows, columns = pixels.shape[:2]
            first_row, first_column = round(top * rows), round(left * columns)
            last_row, last_column = round((top + height) * rows), round((left + width) * columns)
            pixels[first_row:last_row, first_column:last_column] = self.value


@lru_cache(maxsize=1)
def quantiles() -> NDArray:
    """Return quantiles of the normal distribution, ``float32[65536]``, each as likely as any other.

    They are the middles of 65,536 shares of equal probability. A normal number is then 16 random bits
    and a look-up: nine times as fast as NumPy's, which counts where every pixel needs one, and the same
    on every processor.
    """
    normal = NormalDist()
    half = [normal.inv_cdf((place + 0.5) / _QUANTILES) for place in range(_QUANTILES // 2)]
    table = np.array(half + [-each for each in reversed(half)], np.float32)
    table.flags.writeable = False
    return table


def indices(count: int, generator: MakeGenerator, stream: int) -> NDArray:
    """Return random places in a table of 65,536, ``uint16[slots, count]``."""
    words = generator.words(-(-count // 4), stream)
    # Little-endian whatever the machine, so that it is one sequence everywhere.
    places: NDArray = words.astype("<u8", copy=False).view("<u2")[:, :count]
    return places


def whole(numbers: NDArray, least: int, most: int) -> NDArray:
    """Return whole numbers from `least` to `most`, each as likely, given some from 0 to below 1."""
    drawn: NDArray = least + np.floor(numbers * (most - least + 1)).astype(np.int64)
    return drawn


def _one_or_pair(what: str, value: Any) -> tuple[float, float]:
    """Return the bounds of something that is not below 0: a pair, or twice a number."""
    if isinstance(value, int | float | np.number) and value >= 0:
        value = (value, value)
    elif not isinstance(value, Sequence) or isinstance(value, str):
        raise DeclarationError(
            f"{what} is a number of 0 or more, or a pair (least, most); received {value!r}."
        )
    return span(what, value, least=0.0)


def _pair(what: str, value: Any, *, least: float) -> tuple[float, float]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise DeclarationError(f"{what} is a pair (least, most); received {value!r}.")
    return span(what, value, least=least)
