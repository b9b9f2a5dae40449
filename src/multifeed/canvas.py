"""Arrays and words as small pictures. Knows nothing of data; draws with Pillow alone."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

Array = np.ndarray[Any, Any]
Picture = PIL.Image.Image
Font = PIL.ImageFont.FreeTypeFont | PIL.ImageFont.ImageFont
Colour = tuple[int, int, int]

# Pixels, all of these. A picture is so high, or else so wide; a text at most.
HEIGHT, WIDTH, NOTE_WIDTH = 120, 240, 150
SMALL, NORMAL, LARGE = 12, 13, 15
_LEADING = 4
_PLOT_HEIGHT, _PLOT_WIDTH, _BAR_WIDTH = 72, 140, 180
# Of a heat map, however long and thin the array.
_LEAST_SIDE = 48

MOST_LINES = HEIGHT // (NORMAL + _LEADING)

WHITE, INK, GREY, PALE = (255, 255, 255), (33, 37, 41), (115, 118, 123), (226, 228, 231)
BLUE, ORANGE, MAGENTA = (38, 98, 163), (190, 84, 16), (255, 0, 255)
# The lowest label, often the background, is dark.
_LABELS = [
    (38, 38, 46), (230, 159, 0), (0, 114, 178), (0, 158, 115), (213, 94, 0), (86, 180, 233),
    (240, 228, 66), (204, 121, 167), (160, 160, 160), (120, 80, 40), (148, 103, 189), (250, 250, 250),
]  # fmt: skip
# Viridis, sampled at equal steps.
_HEAT = [
    (68, 1, 84), (72, 40, 120), (62, 74, 137), (49, 104, 142), (38, 130, 142),
    (31, 158, 137), (53, 183, 121), (110, 206, 88), (181, 222, 43), (253, 231, 37),
]  # fmt: skip
# Pillow's own font has little beyond ASCII; these are asked for what it lacks, where they are there.
_FONTS = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "Arial Unicode.ttf",
    "Arial.ttf", "msyh.ttc", "malgun.ttf", "LiberationSans-Regular.ttf",
)  # fmt: skip


# Words.


@dataclass(frozen=True)
class Said:
    """Words in a colour and a size, in pixels."""

    text: str
    colour: Colour = INK
    size: int = NORMAL


def words(text: str, colour: Colour = INK) -> Picture:
    """Return a text, wrapped and cut to the size of a cell."""
    return paragraphs([Said(text, colour)])


def note(text: str) -> Picture:
    """Return a remark in small grey letters."""
    return paragraphs([Said(text, GREY, SMALL)], NOTE_WIDTH)


def paragraphs(said: Iterable[Said], width: int = WIDTH, most: int = MOST_LINES) -> Picture:
    """Return words below each other, each wrapped to `width` pixels and cut after `most` lines."""
    written: list[tuple[str, Font, Said]] = []
    for each in said:
        # No letter is thinner than a pixel: what is cut here would be cut below.
        text, font = _spelled(each.text[: (most + 1) * width], each.size)
        written += [(line, font, each) for line in _wrapped(text, font, width, most)]
    widest = max(font.getlength(line) for line, font, _ in written)
    height = sum(each.size + _LEADING for *_, each in written)
    picture = PIL.Image.new("RGB", (int(widest) + 2, height), WHITE)
    pen, top = PIL.ImageDraw.Draw(picture), 0
    for line, font, each in written:
        # By the baseline: fonts differ in what they leave above it.
        pen.text((0, top + each.size), line, fill=each.colour, font=font, anchor="ls")
        top += each.size + _LEADING
    return picture


def table(rows: Sequence[tuple[str, str, str]]) -> Picture:
    """Return names, values and remarks below each other; of many, the first and how many there are."""
    if len(rows) > MOST_LINES:
        hidden = len(rows) - MOST_LINES + 1
        rows = [*rows[: MOST_LINES - 1], (f"… {hidden:,} more", "", "")]
    columns = []
    for texts, colour in zip(zip(*rows, strict=True), (GREY, INK, GREY), strict=True):
        if any(texts):
            cells = [paragraphs([Said(text, colour)], WIDTH // 2, most=1) for text in texts]
            columns.append(stacked(cells))
    return beside(columns, gap=10)


def short(value: Any) -> str:
    """Return a number in a few characters."""
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, int | np.integer):
        return str(int(value))
    # A year is not rounded to tens.
    digits = 4 if abs(value) < 1000 else 6
    rounded = float(f"{float(value):.{digits}g}")
    return str(int(rounded)) if abs(rounded) < 1e7 and rounded.is_integer() else f"{rounded:.{digits}g}"


def _wrapped(text: str, font: Font, width: int, most: int) -> list[str]:
    """Return the lines of a text; of more than `most`, the last ends in a mark."""
    written: list[str] = []
    for line in _broken(text, font, width):
        if len(written) == most:
            last = written[-1]
            while last and font.getlength(last + "…") > width:
                last = last[:-1]
            return [*written[:-1], last + "…"]
        written.append(line)
    return written


def _broken(text: str, font: Font, width: int) -> Iterator[str]:
    """Yield the lines of a text, broken between words, and within those that fill more than a line."""
    line = ""
    for word in text.split(" "):
        joined = f"{line} {word}" if line else word
        if font.getlength(joined) <= width:
            line = joined
            continue
        if line:
            yield line
        line = word
        while font.getlength(line) > width:
            fits = _fitting(line, font, width)
            yield line[:fits]
            line = line[fits:]
    yield line


def _fitting(line: str, font: Font, width: int) -> int:
    """Return how many of the first characters of a line that is too long fit; at least one."""
    for end in range(2, len(line)):
        if font.getlength(line[:end]) > width:
            return end - 1
    return max(1, len(line) - 1)


def _spelled(text: str, size: int) -> tuple[str, Font]:
    """Return a text and a font that has all of it; what none has, or nobody can see, is escaped."""
    plain = "".join(each if each.isprintable() else _escaped(each) for each in text)
    fonts = _fonts(size)
    lacking = [{each for each in set(plain) if not _has(number, each)} for number in range(len(fonts))]
    best = min(range(len(fonts)), key=lambda number: len(lacking[number]))
    spelled = "".join(_escaped(each) if each in lacking[best] else each for each in plain)
    return spelled, fonts[best]


def _escaped(character: str) -> str:
    return ascii(character)[1:-1]


@lru_cache(maxsize=2**14)
def _has(number: int, character: str) -> bool:
    """Tell whether a font has a character: those that it lacks, it draws all alike."""
    font = _fonts(NORMAL)[number]
    return character == " " or bytes(font.getmask(character)) != bytes(font.getmask("\uffff"))


@cache
def _fonts(size: int) -> tuple[Font, ...]:
    """Return Pillow's own font, and of those that have more characters what this machine has."""
    found: list[Font] = [PIL.ImageFont.load_default(size)]
    for name in _FONTS:
        try:
            found.append(PIL.ImageFont.truetype(name, size))
        except OSError:
            continue
    return tuple(found)


# Pictures.


def photograph(pixels: Array) -> Picture:
    """Return an image, ``uint8[H, W, channels]`` of 1, 3 or 4 channels, in the size of a cell."""
    picture = PIL.Image.fromarray(
        np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    )
    picture = fitted(picture)
    if picture.mode != "RGBA":
        return picture.convert("RGB")
    ground = _checkerboard(*picture.size)
    ground.paste(picture, mask=picture)
    return ground


def _checkerboard(width: int, height: int) -> Picture:
    """Return what shows where an image is transparent."""
    across, down = np.arange(width) // 6, np.arange(height) // 6
    grey = np.where((down[:, None] + across) % 2, 205, 245).astype(np.uint8)
    return PIL.Image.fromarray(grey).convert("RGB")


def fitted(picture: Picture, *, smooth: bool = True) -> Picture:
    """Bring a picture to the height of a cell, or to its width if it would be wider.

    Args:
        picture: What is reduced, or enlarged; from twice the size on so that its pixels can be seen.
        smooth: Whether colours in between may come up.
    """
    size = _cell_size(picture)
    if not smooth or size[1] >= 2 * picture.height:
        return picture.resize(size, PIL.Image.Resampling.NEAREST)
    return picture.resize(size, PIL.Image.Resampling.LANCZOS, reducing_gap=3.0)


def _cell_size(picture: Picture) -> tuple[int, int]:
    """Return the width and height of a picture in a cell."""
    ratio = min(HEIGHT / picture.height, WIDTH / picture.width)
    return max(1, round(picture.width * ratio)), max(1, round(picture.height * ratio))


def levels(values: Array, low: float, high: float) -> Array:
    """Return values as ``uint8``, `low` as 0 and `high` as 255."""
    with np.errstate(all="ignore"):
        precise = np.asarray(values, np.result_type(values.dtype, np.float32))
        scaled = (precise - low) * (255 / (high - low or 1.0))
    whole: Array = np.nan_to_num(scaled, posinf=255, neginf=0).clip(0, 255).round().astype(np.uint8)
    return whole


def label_colours(count: int) -> Array:
    """Return colours that differ, ``uint8[count, 3]``."""
    colours = _LABELS[:count]
    for rank in range(len(_LABELS), count):
        # Steps of the golden ratio around the circle come near no hue that was there before.
        hue, saturation, value = rank * 0.618034 % 1, 0.55 + rank % 3 * 0.2, 0.95 - rank % 2 * 0.3
        red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return np.array(colours, np.uint8)


def heat(values: Array, low: float, high: float) -> Picture:
    """Return a 2-D array in colours from dark (`low`) to bright (`high`), magenta where it is NaN."""
    picture = PIL.Image.fromarray(levels(values, low, high))
    width, height = _cell_size(picture)
    # The axes of an array need not have one scale, and a line of two pixels shows nothing.
    size = max(width, _LEAST_SIDE), max(height, _LEAST_SIDE)
    # This averages what is reduced, and repeats what is enlarged.
    pixels = _heat_colours()[np.asarray(picture.resize(size, PIL.Image.Resampling.BOX))]
    is_number = np.isfinite(values)
    if not is_number.all():
        pixels[~np.asarray(PIL.Image.fromarray(is_number).resize(size))] = MAGENTA
    return PIL.Image.fromarray(pixels)


@cache
def _heat_colours() -> Array:
    """Return the colours of the levels 0 to 255, ``uint8[256, 3]``."""
    steps = np.linspace(0, 255, len(_HEAT))
    channels = [np.interp(np.arange(256), steps, channel) for channel in zip(*_HEAT, strict=True)]
    return np.stack(channels, axis=1).round().astype(np.uint8)


def heat_scale(low: str, high: str) -> Picture:
    """Return the colours of a heat map between what their ends stand for."""
    strip = PIL.Image.fromarray(_heat_colours()[None]).resize((44, 9))
    framed = PIL.Image.new("RGB", (strip.width + 10, SMALL + _LEADING), WHITE)
    framed.paste(strip, (5, 4))
    return beside([note(low), framed, note(high)])


def legend(labels: Iterable[str], colours: Array) -> Picture:
    """Return patches of colour, ``uint8[n, 3]``, with what they stand for."""
    rows: list[list[Picture]] = [[]]
    for label, colour in zip(labels, colours.tolist(), strict=True):
        text = note(label)
        chip = PIL.Image.new("RGB", (13 + text.width + 8, text.height), WHITE)
        PIL.ImageDraw.Draw(chip).rectangle((0, 3, 9, 12), fill=tuple(colour), outline=GREY)
        chip.paste(text, (13, 0))
        if sum(each.width for each in rows[-1]) + chip.width > NOTE_WIDTH:
            rows.append([])
        rows[-1].append(chip)
    return stacked([beside(row) for row in rows])


def bar(marks: Array) -> Picture:
    """Return ``bool[n]`` as a bar, dark where it is True."""
    count = len(marks)
    colours = np.where(marks[None, :, None], BLUE, PALE).astype(np.uint8)
    fits = count <= _BAR_WIDTH
    width = _BAR_WIDTH // count * count if fits else _BAR_WIDTH
    method = PIL.Image.Resampling.NEAREST if fits else PIL.Image.Resampling.BOX
    return PIL.Image.fromarray(colours).resize((width, NORMAL), method)


def curve(values: Array, low: float, high: float) -> Picture:
    """Return numbers, ``[n]``, over their index, between `low` and `high`; a NaN leaves a gap."""
    # Drawn larger and reduced: Pillow's lines are not smoothed.
    scale, width = 3, min(WIDTH, max(_PLOT_WIDTH, len(values)))
    canvas = PIL.Image.new("RGB", (width * scale, _PLOT_HEIGHT * scale), WHITE)
    pen, edge = PIL.ImageDraw.Draw(canvas), 4 * scale
    pen.rectangle((0, 0, canvas.width - 1, canvas.height - 1), outline=PALE, width=scale)

    def height_of(number: Any) -> Any:
        share = (number - low) / (high - low or 1.0)
        return canvas.height - edge - share * (canvas.height - 2 * edge)

    if low <= 0 <= high:
        pen.line([(0, height_of(0)), (canvas.width, height_of(0))], fill=PALE, width=scale)
    places, numbers = _thinned(values.astype(np.float64), width)
    across = edge + places / max(1, len(values) - 1) * (canvas.width - 2 * edge)
    points = list(zip(across.tolist(), height_of(numbers).tolist(), strict=True))
    runs = np.split(np.arange(len(points)), np.flatnonzero(~np.isfinite(numbers)))
    for run in runs:
        joined = [points[place] for place in run if np.isfinite(numbers[place])]
        for start, end in pairwise(joined):
            pen.line([start, end], fill=BLUE, width=scale + 1)
        # A number between two gaps has no line; of few, each is marked.
        for x, y in joined if len(joined) == 1 or len(points) <= width // 5 else ():
            pen.ellipse((x - 5, y - 5, x + 5, y + 5), fill=BLUE)
    return canvas.reduce(scale)


def _thinned(values: Array, most: int) -> tuple[Array, Array]:
    """Return the places and numbers of a curve; of a long one, the extremes of each of `most` pieces."""
    if len(values) <= 2 * most:
        return np.arange(len(values)), values
    starts = np.arange(most) * len(values) // most
    extremes = [np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)]
    return np.repeat(starts, 2), np.stack(extremes, axis=1).ravel()


def marked(picture: Picture, places: Array, colours: Array) -> Picture:
    """Return a picture with points or boxes drawn over it.

    Args:
        picture: The picture.
        places: ``float[n, 2]``, (x, y), or ``float[n, 4]``, (left, top, right, bottom), in shares of the
            picture's width and height.
        colours: ``uint8[n, 3]``, the colour of each.
    """
    # Drawn larger and reduced: Pillow's lines are not smoothed.
    scale = 3
    canvas = picture.convert("RGB").resize((picture.width * scale, picture.height * scale))
    pen = PIL.ImageDraw.Draw(canvas)
    sizes = np.tile(canvas.size, places.shape[1] // 2)
    for place, colour in zip((places * sizes).tolist(), colours.tolist(), strict=True):
        if len(place) == 2:
            x, y = place
            pen.ellipse((x - 8, y - 8, x + 8, y + 8), fill=tuple(colour), outline=WHITE, width=2)
        else:
            left, top, right, bottom = place
            # All of the line inside, where the edge of the picture does not cut it.
            box = left, top, max(right - 1, left), max(bottom - 1, top)
            pen.rectangle(box, outline=WHITE, width=8)
            pen.rectangle(box, outline=tuple(colour), width=5)
    return canvas.reduce(scale)


# Pictures together.


def stacked(pictures: Sequence[Picture]) -> Picture:
    """Return pictures below each other."""
    size = max(each.width for each in pictures), sum(each.height for each in pictures)
    together, top = PIL.Image.new("RGB", size, WHITE), 0
    for each in pictures:
        together.paste(each, (0, top))
        top += each.height
    return together


def beside(pictures: Sequence[Picture], gap: int = 0) -> Picture:
    """Return pictures side by side."""
    width = sum(each.width + gap for each in pictures) - gap
    together = PIL.Image.new("RGB", (width, max(each.height for each in pictures)), WHITE)
    left = 0
    for each in pictures:
        together.paste(each, (left, 0))
        left += each.width + gap
    return together
