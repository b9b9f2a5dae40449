"""`show`: some samples as a contact sheet, to be looked at before anything is trained."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw

from multifeed.canvas import (
    BLUE,
    GREY,
    INK,
    LARGE,
    MAGENTA,
    MOST_LINES,
    NOTE_WIDTH,
    ORANGE,
    PALE,
    SMALL,
    WHITE,
    Colour,
    Picture,
    Said,
    bar,
    beside,
    curve,
    fitted,
    heat,
    heat_scale,
    label_colours,
    legend,
    levels,
    marked,
    note,
    paragraphs,
    photograph,
    short,
    stacked,
    table,
    words,
)
from multifeed.dataset import Dataset
from multifeed.errors import DeclarationError
from multifeed.feed import Feed
from multifeed.fields.audio import Audio
from multifeed.fields.base import Field, Learned
from multifeed.fields.category import Category
from multifeed.fields.image import Image
from multifeed.fields.numeric import Numeric
from multifeed.fields.points import Places
from multifeed.fields.raster import Raster
from multifeed.fields.same import Same
from multifeed.fields.shared import at_least
from multifeed.fields.video import Video
from multifeed.spec import Spec
from multifeed.structure import WEIGHT, flat
from multifeed.tuples import Tuples

Array = np.ndarray[Any, Any]

# Pixels.
_MARGIN, _GAP, _PADDING, _GROUP, _KEY_WIDTH = 14, 16, 8, 22, 130
_ROLES = {"input": BLUE, "target": ORANGE, "weight": GREY}
# How many labels a legend names; how many an integer array may have to be drawn as a label map, if it
# is not declared as one, and if it is.
_NAMED_LABELS, _FEW_LABELS, _MOST_LABELS = 8, 12, 2**16
# Of a sound, that are drawn.
_MOST_CHANNELS = 2
# Shorter sides have no picture in them, unless declared as an Image.
_LEAST_PICTURE = 8


def show(
    loader: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    samples: int = 8,
    epoch: int = 0,
    step: int = 0,
    draws: int = 1,
) -> Picture:
    """Draw some samples as the model is fed them: a contact sheet.

    One line a sample, with its key; one column for each input, target and sample weight, with its
    `Spec`. Photographs and 2-D arrays are drawn as pictures, 1-D arrays and sounds as curves,
    spectrograms with their time to the right, videos by three frames, classes with their labels,
    numbers in their own units and as fed. Pictures are 120 pixels high, and lower where they would be
    more than 240 wide; small ones are enlarged so that their pixels can be seen. What is no uint8 image
    is drawn over the range that its heading tells, that of all the samples shown; pixels that are NaN
    or infinite are magenta.

    Args:
        loader: A `Loader` or `Feed`; or a `Dataset`, whose first rows are shown.
        path: Where to write the sheet as PNG as well; None for nowhere.
        samples: How many samples, from the start of the batch on; the batches that follow it in the
            epoch are used too where it has too few.
        epoch: Of the batch to start with.
        step: Of the batch to start with.
        draws: How often each sample is drawn, with other random numbers for its augmentation each time:
            draw 0 is what the batch has. Pictures, and whatever differs, are repeated side by side.

    Returns:
        The sheet, an RGB image; notebooks show it.

    Raises:
        DeclarationError: If an argument is out of its range, `loader` is none, or `path` is no PNG file
            in a folder that exists.
        IndexError: If the epoch has no such step.

    Example:
        >>> import multifeed as mf
        >>> data = mf.Dataset(
        ...     {"id": ["a", "b"], "age": [40, 60], "sick": [0, 1]},
        ...     key="id",
        ...     inputs=mf.Numeric("age"),
        ...     targets=mf.Category("sick", vocabulary=[0, 1]),
        ... )
        >>> sheet = show(mf.Feed(data, batch_size=2, shuffle=True))
        >>> sheet.mode
        'RGB'
    """
    samples, draws = at_least("samples", samples, 1), at_least("draws", draws, 1)
    target = None if path is None else _checked_path(path)
    feed = _feed_of(loader, samples)
    keys, values = _read(feed, samples, epoch, step, draws)
    is_start = isinstance(loader, Dataset) and step == 0
    where = "first rows" if is_start else f"epoch {epoch}, step {step}"
    sheet = _laid_out(_columns(keys, _exhibits(feed.data, values), draws, where))
    if target is not None:
        sheet.save(target, format="PNG")
    return sheet


def _checked_path(path: str | os.PathLike[str]) -> Path:
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise DeclarationError(f"a sheet is written as PNG, to a name with .png; received '{target}'.")
    if not target.parent.is_dir():
        raise DeclarationError(
            f"a sheet is written to a folder that exists; '{target.parent}' does not."
        )
    return target


def _feed_of(loader: Any, samples: int) -> Feed:
    """Return what has the batches: a loader's feed, a feed, or one made of a dataset's first rows."""
    if isinstance(loader, Dataset | Tuples):
        return Feed(loader, min(samples, len(loader)))
    feed = getattr(loader, "feed", loader)
    if not isinstance(feed, Feed):
        raise DeclarationError(f"mf.show draws a Loader, a Feed or a Dataset; received {loader!r}.")
    return feed


def _read(
    feed: Feed, count: int, epoch: int, step: int, draws: int
) -> tuple[list[Any], dict[str, Array]]:
    """Return the keys of some samples, and their values by name: ``[draws, samples, ...]``."""
    keys: list[Any] = []
    pieces: dict[str, list[Array]] = {}
    while True:
        # Rows that pad a batch have no key.
        found = feed.keys(epoch, step)[: count - len(keys)]
        keys += found
        several = [_drawn(feed, epoch, step, draw, len(found)) for draw in range(draws)]
        for name in several[0]:
            piece = np.stack([values[name] for values in several])
            pieces.setdefault(name, []).append(piece)
        step += 1
        # Batches of other lengths do not go below each other.
        if len(keys) >= count or step >= len(feed) or feed.varying:
            return keys, {name: np.concatenate(each, axis=1) for name, each in pieces.items()}


def _drawn(feed: Feed, epoch: int, step: int, draw: int, count: int) -> dict[str, Array]:
    """Return the first samples of a batch under a draw of its augmentation, by name."""
    batch = feed.redraw(epoch, step, draw, count=count)
    return {name: np.asarray(each) for name, each in feed.structure.unpack(batch).items()}


# How each kind of value is drawn.


@dataclass(frozen=True)
class _Exhibit:
    """All that is shown of one name of a batch.

    Args:
        name: What it is called; for a weight, its target.
        role: ``"input"``, ``"target"`` or ``"weight"``.
        data: The dataset.
        declared: Its field; None for weights.
        learned: What that has learned.
        values: ``[draws, samples, *spec.shape]``.
        image: What it is places in, if it is any.
    """

    name: str
    role: str
    data: Dataset | Tuples
    declared: Field | None
    learned: Learned | None
    values: Array
    image: _Exhibit | None = None

    @property
    def field(self) -> Field | None:
        """The field that says what the values are: of a copy, the one that it is made from."""
        return self.declared.other if isinstance(self.declared, Same) else self.declared

    @property
    def spec(self) -> Spec:
        return Spec.of(self.values[0, 0])

    @property
    def differs(self) -> bool:
        """Whether some sample's value is not the same under every draw."""
        first = self.values[0]
        equal_nan = self.values.dtype.kind == "f"
        return not all(np.array_equal(first, other, equal_nan=equal_nan) for other in self.values[1:])

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """The least and the greatest of all values that are finite numbers."""
        values = self.values
        if values.dtype.kind == "f":
            values = values[np.isfinite(values)]
        return (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)


@dataclass(frozen=True)
class _Drawing:
    """How an exhibit is drawn.

    Args:
        cell: Function of one sample's value that draws it; of those of `over` as well.
        notes: What the column's heading tells besides its name and spec.
        is_picture: Whether each draw is shown even where all are the same.
        over: Other exhibits that it is drawn over.
    """

    cell: Callable[..., Picture]
    notes: tuple[Picture, ...] = ()
    is_picture: bool = False
    over: tuple[_Exhibit, ...] = ()


def _exhibits(data: Dataset | Tuples, values: dict[str, Array]) -> list[_Exhibit]:
    inputs = flat(data.structure.inputs)
    exhibits = []
    for name, each in values.items():
        declared = data.fields.get(name)
        if declared is None:
            target = name.removeprefix(WEIGHT)
            exhibits.append(_Exhibit(target, "weight", data, None, None, each))
        else:
            role = "input" if name in inputs else "target"
            exhibit = _Exhibit(name, role, data, declared, data.learned(name), each)
            if isinstance(declared, Places):
                learned, pixels = data.learned(declared.of), values[declared.of]
                shown = _Exhibit(declared.of, role, data, declared.other, learned, pixels)
                exhibit = replace(exhibit, image=shown)
            exhibits.append(exhibit)
    return exhibits


def _drawing(exhibit: _Exhibit) -> _Drawing:
    """Return how an exhibit is drawn: as the first kind that takes it says."""
    return next(drawing for take in _KINDS if (drawing := take(exhibit)) is not None)


def _nothing(exhibit: _Exhibit) -> _Drawing | None:
    """Draw arrays without elements."""
    return None if exhibit.values[0, 0].size else _Drawing(lambda value: words("no values", GREY))


def _said(exhibit: _Exhibit) -> _Drawing | None:
    """Draw what the field itself has words for."""
    field, learned = exhibit.field, exhibit.learned
    if field is None:
        return None
    if any(field.caption(value, learned) is None for draw in exhibit.values for value in draw):
        return None

    def cell(value: Array) -> Picture:
        said = " ".join((field.caption(value, learned) or "").split())
        return words(said) if said else words("no words", GREY)

    return _Drawing(cell)


def _category(exhibit: _Exhibit) -> _Drawing | None:
    """Draw a class by its label; a mixture of several by theirs and their shares."""
    field = exhibit.field
    if not isinstance(field, Category):
        return None
    labels = [("out of vocabulary", GREY)] if field.oov else []
    labels += [(str(label), INK) for label in field.labels(exhibit.learned)]

    def cell(value: Array) -> Picture:
        said = []
        for number, share in _classes(value):
            label, colour = labels[number] if 0 <= number < len(labels) else ("no such class", GREY)
            said.append(Said(label if share == 1 else f"{short(share)}  {label}", colour))
            said.append(Said(f"class {number}", GREY, SMALL))
        return paragraphs(said or [Said("no class", GREY)], most=2)

    return _Drawing(cell)


def _classes(value: Array) -> list[tuple[int, float]]:
    """Return the classes that a value gives a share to, and the shares; of many, the largest."""
    if value.ndim == 0:
        return [(int(value), 1.0)]
    order = np.argsort(-value, kind="stable")[: MOST_LINES // 2]
    return [(int(number), float(value[number])) for number in order if value[number]]


def _numbers(exhibit: _Exhibit) -> _Drawing | None:
    """Draw numbers by their columns' names, in own units and, where that is not the same, as fed."""
    declared, field = exhibit.declared, exhibit.field
    if declared is None or not isinstance(field, Numeric):
        return None
    columns = exhibit.data.source.columns
    names = columns.all_matching(field.reads)
    restored = declared.restore(exhibit.values, exhibit.learned)
    is_fed_so = np.array_equal(restored, exhibit.values)
    # What float32 leaves of a zero when the mean is taken off and added again.
    nothing = 1e-6 * np.abs(restored).max(axis=(0, 1))

    def cell(value: Array) -> Picture:
        numbers = declared.restore(value[None], exhibit.learned)[0]
        own = [short(number) for number in np.where(np.abs(numbers) < nothing, 0, numbers)]
        fed = [f"({short(number)})" if not is_fed_so else "" for number in value]
        return table(list(zip(names, own, fed, strict=True)))

    return _Drawing(cell, () if is_fed_so else (note("own units (as fed)"),))


def _places(exhibit: _Exhibit) -> _Drawing | None:
    """Draw points and boxes over their image, each in a colour of its own."""
    field, image = exhibit.declared, exhibit.image
    if not isinstance(field, Places) or image is None:
        return None
    below = _drawing(image)
    if not below.is_picture:
        return None
    size = field.other.canvas or image.spec.shape[:2]
    colours = label_colours(len(exhibit.values[0, 0]) + 1)[1:]

    def cell(value: Array, pixels: Array) -> Picture:
        # What is masked, but for points outside, is 0.
        used = value.any(axis=1)
        return marked(below.cell(pixels), field.shares(value, (size[0], size[1]))[used], colours[used])

    return _Drawing(cell, is_picture=True, over=(image,))


def _label_map(exhibit: _Exhibit) -> _Drawing | None:
    """Draw integers, ``[H, W]`` or ``[H, W, 1]``, in a colour for each."""
    is_declared = isinstance(exhibit.field, Image | Raster) and exhibit.field.interpolation == "nearest"
    shape, values = exhibit.spec.shape, exhibit.values
    is_map = len(shape) == 2 or (is_declared and shape[2:] == (1,))
    if not is_map or values.dtype.kind not in "biu":
        return None
    low, high = map(int, exhibit.bounds)
    if high - low >= _MOST_LABELS:
        return None
    labels = low + np.flatnonzero(np.bincount((values.astype(np.int64) - low).ravel()))
    if len(labels) > _FEW_LABELS and not is_declared:
        return None
    colours = label_colours(len(labels))

    def cell(value: Array) -> Picture:
        ranks = np.searchsorted(labels, value.reshape(shape[:2]).astype(np.int64))
        return fitted(PIL.Image.fromarray(colours[ranks]), smooth=False)

    if len(labels) <= _NAMED_LABELS:
        said = legend(map(str, labels.tolist()), colours)
    else:
        said = note(f"{len(labels)} labels, {low} to {high}")
    return _Drawing(cell, (said,), is_picture=True)


def _image(exhibit: _Exhibit) -> _Drawing | None:
    """Draw an image, ``[H, W, channels]`` of 1 (grey), 3 (RGB) or 4 (RGBA) channels."""
    shape = exhibit.spec.shape
    if len(shape) != 3 or shape[2] not in (1, 3, 4):
        return None
    if not isinstance(exhibit.field, Image | Raster) and min(shape[:2]) < _LEAST_PICTURE:
        return None
    if exhibit.values.dtype == np.uint8:
        return _Drawing(photograph, is_picture=True)
    low, high = _range_of_pixels(*exhibit.bounds)

    def cell(value: Array) -> Picture:
        pixels = levels(value, low, high)
        is_number = np.isfinite(value).all(axis=2)
        if not is_number.all():
            # Grey becomes RGB, to show magenta.
            pixels = np.repeat(pixels, 3, axis=2) if shape[2] == 1 else pixels
            pixels[~is_number] = (*MAGENTA, 255)[: pixels.shape[2]]
        return photograph(pixels)

    return _Drawing(cell, (note(f"pixels from {short(low)} to {short(high)}"),), is_picture=True)


def _range_of_pixels(low: float, high: float) -> tuple[float, float]:
    """Return the range that pixels between `low` and `high` are meant in, as far as that can be told."""
    for least, greatest in ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)):
        # Pixels that use little of a range may be meant in another, and would all be black.
        if least <= low and high <= greatest and high - low >= (greatest - least) / 2:
            return least, greatest
    return low, high


def _wave(exhibit: _Exhibit) -> _Drawing | None:
    """Draw a sound, ``[length, channels]``, as a curve for each channel; of many, the first ones."""
    if not isinstance(exhibit.field, Audio) or len(exhibit.spec.shape) != 2:
        return None
    low, high = exhibit.bounds

    def cell(value: Array) -> Picture:
        return stacked([curve(channel, low, high) for channel in value.T[:_MOST_CHANNELS]])

    return _Drawing(cell, (note(f"from {short(low)} to {short(high)}"),), is_picture=True)


def _spectrogram(exhibit: _Exhibit) -> _Drawing | None:
    """Draw a spectrogram, ``[frames, mels, channels]``, its time to the right and its pitch upwards."""
    field = exhibit.field
    if not isinstance(field, Audio) or field.spectrogram is None or len(exhibit.spec.shape) != 3:
        return None
    low, high = exhibit.bounds

    def cell(value: Array) -> Picture:
        channels = np.moveaxis(value[:, ::-1], 2, 0)[:_MOST_CHANNELS]
        return stacked([heat(channel.T, low, high) for channel in channels])

    return _Drawing(cell, (heat_scale(short(low), short(high)),), is_picture=True)


def _film(exhibit: _Exhibit) -> _Drawing | None:
    """Draw the first, the middle and the last frame of a video, ``uint8[frames, height, width, 3]``."""
    shape = exhibit.spec.shape
    is_declared = isinstance(exhibit.field, Video) and exhibit.values.dtype == np.uint8
    if not is_declared or len(shape) != 4 or shape[3] != 3:
        return None
    places = sorted({0, shape[0] // 2, shape[0] - 1})

    def cell(value: Array) -> Picture:
        return beside([photograph(value[place]) for place in places], gap=2)

    said = ", ".join(str(place + 1) for place in places)
    return _Drawing(cell, (note(f"frames {said} of {shape[0]:,}"),), is_picture=True)


def _heat_map(exhibit: _Exhibit) -> _Drawing | None:
    """Draw a 2-D array in colours from dark (low) to bright (high)."""
    if len(exhibit.spec.shape) != 2:
        return None
    low, high = exhibit.bounds
    scale = heat_scale(short(low), short(high))
    return _Drawing(partial(heat, low=low, high=high), (scale,), is_picture=True)


def _mask(exhibit: _Exhibit) -> _Drawing | None:
    """Draw a 1-D array of booleans as a bar."""
    if len(exhibit.spec.shape) != 1 or exhibit.values.dtype != bool:
        return None

    def cell(value: Array) -> Picture:
        return stacked([bar(value), note(f"{int(value.sum()):,} of {len(value):,}")])

    return _Drawing(cell)


def _curve(exhibit: _Exhibit) -> _Drawing | None:
    """Draw a 1-D array over its index."""
    shape = exhibit.spec.shape
    if len(shape) != 1 or shape[0] < 2:
        return None
    low, high = exhibit.bounds
    said = note(f"from {short(low)} to {short(high)}")
    return _Drawing(partial(curve, low=low, high=high), (said,))


def _number(exhibit: _Exhibit) -> _Drawing | None:
    """Draw a single number."""
    if exhibit.values[0, 0].size != 1:
        return None
    return _Drawing(lambda value: words(short(value.item())))


def _summary(exhibit: _Exhibit) -> _Drawing:
    """Draw what can be said of any array; its shape and dtype stand in the heading."""

    def cell(value: Array) -> Picture:
        finite = value[np.isfinite(value)].astype(np.float64)
        rows = []
        if finite.size:
            measures = ("min", finite.min()), ("mean", finite.mean()), ("max", finite.max())
            rows = [(name, short(measure), "") for name, measure in measures]
        if finite.size < value.size:
            rows.append(("no number", f"{value.size - finite.size:,}", ""))
        return table(rows)

    return _Drawing(cell)


# What a field was declared as comes before what its values look like; the last one takes all.
_KINDS: tuple[Callable[[_Exhibit], _Drawing | None], ...] = (
    _nothing, _said, _category, _numbers, _places, _wave, _spectrogram, _film,
    _label_map, _image, _heat_map, _mask, _curve, _number, _summary,
)  # fmt: skip


# The sheet.


@dataclass(frozen=True)
class _Column:
    """A heading, and a cell for each sample; `group` is what stands above several columns."""

    heading: Picture
    cells: Sequence[Picture]
    group: str = ""
    colour: Colour = GREY

    @property
    def width(self) -> int:
        return max(self.heading.width, *(cell.width for cell in self.cells))


def _columns(keys: Sequence[Any], exhibits: Sequence[_Exhibit], draws: int, where: str) -> list[_Column]:
    drawings = [(exhibit, _drawing(exhibit)) for exhibit in exhibits]
    columns = [_key_column(keys, where)]
    several = [each for each in drawings if draws > 1 and (each[1].is_picture or each[0].differs)]
    # All of a draw together: what shares it can be compared.
    for draw in range(draws):
        columns += [_column(*each, draw, f"draw {draw}") for each in several]
    group = "the same in every draw" if draws > 1 else ""
    return columns + [_column(*each, 0, group) for each in drawings if each not in several]


def _key_column(keys: Sequence[Any], where: str) -> _Column:
    # Of samples of several rows, one for each.
    several = [key if isinstance(key, tuple) else (key,) for key in keys]
    has_keys = isinstance(several[0][0], str)
    cells = [paragraphs([Said(str(each)) for each in key], _KEY_WIDTH, most=4) for key in several]
    said = [Said("sample", GREY, SMALL), Said("key" if has_keys else "row", size=LARGE)]
    return _Column(paragraphs([*said, Said(where, GREY, SMALL)]), cells)


def _column(exhibit: _Exhibit, drawing: _Drawing, draw: int, group: str) -> _Column:
    over = [other.values[draw] for other in drawing.over]
    cells = [drawing.cell(*values) for values in zip(exhibit.values[draw], *over, strict=True)]
    colour = _ROLES[exhibit.role]
    said = [
        Said(exhibit.role, colour, SMALL),
        Said(exhibit.name, size=LARGE),
        Said(str(exhibit.spec), GREY, SMALL),
    ]
    width = max(NOTE_WIDTH, *(cell.width for cell in cells))
    heading = stacked([paragraphs(said, width, most=2), *drawing.notes])
    return _Column(heading, cells, group, colour)


def _laid_out(columns: Sequence[_Column]) -> Picture:
    """Return the columns side by side, their cells in lines."""
    across = zip(*(column.cells for column in columns), strict=True)
    heights = [max(cell.height for cell in line) + 2 * _PADDING for line in across]
    top = _MARGIN + (_GROUP if any(column.group for column in columns) else 0)
    below = top + _PADDING + max(column.heading.height for column in columns) + _PADDING
    gaps = [_GAP if one.group == other.group else 2 * _GAP for one, other in pairwise(columns)] + [0]
    widths = [column.width + gap for column, gap in zip(columns, gaps, strict=True)]
    lefts = np.cumsum([_MARGIN, *widths]).tolist()
    tops = np.cumsum([below, *heights]).tolist()
    width = lefts[-1] + _MARGIN
    sheet = PIL.Image.new("RGB", (width, tops[-1] + _PADDING), WHITE)
    pen = PIL.ImageDraw.Draw(sheet)
    for line in tops[:-1]:
        pen.line((_MARGIN, line, width - _MARGIN, line), fill=PALE)
    group = ""
    for column, left in zip(columns, lefts, strict=False):
        if column.group != group:
            group = column.group
            sheet.paste(words(group), (left, _MARGIN - 4))
        pen.rectangle((left, top, left + column.width - 1, top + 2), fill=column.colour)
        sheet.paste(column.heading, (left, top + _PADDING))
        for cell, line in zip(column.cells, tops, strict=False):
            sheet.paste(cell, (left, line + _PADDING))
    return sheet
