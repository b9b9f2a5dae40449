"""Decoded images in memory, changed at random, both of a sample alike: multifeed and its limits.

All interpolate from images of the size that they become, since ImageDataGenerator and Keras' layers keep
it. Cutting, which needs room, is a job of its own, from larger images of the same photographs.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from data import SIDES
from job import BATCH_SIZE, WORKERS, Batch, Epoch, Job, Limit

from . import augment_peers
from .augment_shared import (
    BASE_SIZE,
    SIZE,
    Draw,
    Draws,
    affine_feed,
    as_multifeed,
    crop_feed,
    drawn,
    images,
    read,
    resized_crop_feed,
    rows,
    served,
    write,
)

_CHUNK = 8  # samples that a thread of a bare loop takes at once

# Image, slot in the epoch, place in the batch: what a bare loop does.
Change = Callable[[np.ndarray, int, np.ndarray], None]


def multifeed(folder: Path, samples: int) -> Epoch:
    """Set up a feed over two memmaps, with the augmentation that all contestants of the job have."""
    feed = affine_feed(folder, samples)
    _one_thread_a_warp()

    def epoch(number: int) -> Iterator[Batch]:
        yield from served(feed(number))

    return epoch


def multifeed_crop(folder: Path, samples: int) -> Epoch:
    """Set up a feed that cuts images out of larger ones, and mirrors half of them."""
    feed = crop_feed(folder, samples)
    _one_thread_a_warp()

    def epoch(number: int) -> Iterator[Batch]:
        yield from served(feed(number))

    return epoch


def multifeed_resized_crop(folder: Path, samples: int) -> Epoch:
    """Set up a feed that enlarges half of an image or more, and mirrors half of them."""
    feed = resized_crop_feed(folder, samples)
    _one_thread_a_warp()

    def epoch(number: int) -> Iterator[Batch]:
        yield from served(feed(number))

    return epoch


def _one_thread_a_warp() -> None:
    """Turn OpenCV's own threads off, as docs/guides/augmentation.md says, and as all contestants do."""
    import cv2

    cv2.setNumThreads(1)


def two_threads(folder: Path, samples: int) -> Epoch:
    """Set up the limit: the quickest way that was found to the same pixels, without a loader."""
    import cv2

    own = threading.local()
    height, width = SIZE

    def start_thread() -> None:
        own.four = np.empty((*SIZE, 4), np.uint8)
        # With the widest border that the ranges above ask for, an image has 2.6 times its area.
        own.padded = np.empty(3 * height * width * 4, np.uint8)

    def change(draws: Draws) -> Change:
        matrices, borders = _with_borders(_matrices(draws))
        gains = draws["brightness"][:, None, None] * np.eye(3, 4)

        def warp(image: np.ndarray, slot: int, out: np.ndarray) -> None:
            top, left, below, after = borders[slot]
            shape = (top + height + below, left + width + after, 4)
            padded = own.padded[: shape[0] * shape[1] * 4].reshape(shape)
            inner = padded[top : top + height, left : left + width]
            # Four channels fill a vector register, and with a border all places are inside.
            cv2.cvtColor(image, cv2.COLOR_RGB2RGBA, dst=inner)
            cv2.copyMakeBorder(inner, top, below, left, after, cv2.BORDER_REPLICATE, dst=padded)
            cv2.warpAffine(
                padded,
                matrices[slot],
                (width, height),
                dst=own.four,
                flags=cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
            cv2.cvtColor(own.four, cv2.COLOR_RGBA2RGB, dst=out)
            cv2.transform(out, gains[slot], dst=out)

        return warp

    draw = as_multifeed(drawn(samples), affine_feed(folder, samples))
    return _bare_loop(read(folder), draw, change, start_thread)


def two_threads_crop(folder: Path, samples: int) -> Epoch:
    """Set up the limit of cutting and mirroring: the same pixels, without a loader."""
    import cv2

    room = np.subtract(BASE_SIZE, SIZE)

    def change(draws: Draws) -> Change:
        corners = np.rint(draws["place"] * room).astype(int).tolist()
        mirrored = draws["flip"][:, 1].tolist()

        def cut(image: np.ndarray, slot: int, out: np.ndarray) -> None:
            top, left = corners[slot]
            window = image[top : top + SIZE[0], left : left + SIZE[1]]
            if mirrored[slot]:
                cv2.flip(window, 1, dst=out)
            else:
                np.copyto(out, window)

        return cut

    draw = as_multifeed(drawn(samples), crop_feed(folder, samples))
    return _bare_loop(read(folder, "_base"), draw, change)


def _bare_loop(
    arrays: Sequence[np.ndarray],
    draw: Draw,
    change: Callable[[Draws], Change],
    start_thread: Callable[[], None] = lambda: None,
) -> Epoch:
    """Set up two threads that change images into a batch, with nothing of a loader around them."""
    import cv2

    cv2.setNumThreads(1)
    sources = [np.asarray(array) for array in arrays]

    def fill(batch: Batch, first: int, slots: slice, rows: list[int], apply: Change) -> None:
        for slot in range(slots.start, min(slots.stop, len(rows))):
            for source, target in zip(sources, batch[:2], strict=True):
                apply(source[rows[slot]], first + slot, target[slot])

    def epoch(number: int) -> Iterator[Batch]:
        order, draws = draw(number)
        apply = change(draws)
        # One batch is filled while the other is looked at, so no thread waits at a batch's end.
        buffers = [_new_batch() for _ in range(2)]
        pending: deque[tuple[Batch, list[Future[None]]]] = deque()
        with ThreadPoolExecutor(WORKERS, initializer=start_thread) as pool:
            for step, first in enumerate(range(0, len(order), BATCH_SIZE)):
                rows = order[first : first + BATCH_SIZE]
                batch = (*(array[: len(rows)] for array in buffers[step % 2]), rows)
                listed = rows.tolist()
                chunks = [slice(at, at + _CHUNK) for at in range(0, len(rows), _CHUNK)]
                futures = [pool.submit(fill, batch, first, chunk, listed, apply) for chunk in chunks]
                pending.append((batch, futures))
                if len(pending) == 2:
                    yield _finished(*pending.popleft())
            while pending:
                yield _finished(*pending.popleft())

    return epoch


def _new_batch() -> Batch:
    return tuple(np.empty((BATCH_SIZE, *SIZE, 3), np.uint8) for _ in SIDES)


def _finished(batch: Batch, chunks: list[Future[None]]) -> Batch:
    for chunk in chunks:
        chunk.result()
    return batch


def _matrices(draws: Draws) -> np.ndarray:
    """Return the matrices from a pixel of the output to one of the image, ``float64[slots, 2, 3]``."""
    angle, flip = np.deg2rad(draws["rotation"]), 1.0 - 2.0 * draws["flip"]
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.stack([np.stack([cos, -sin], 1), np.stack([sin, cos], 1)], 1)
    # Along the width first, as OpenCV has it.
    scale = (flip / draws["zoom"])[:, None, ::-1]
    shift = -draws["shift"][:, ::-1, None] * np.array(SIZE[::-1])[:, None]
    linear = turn * scale
    centre = (np.array(SIZE[::-1])[:, None] - 1) / 2
    return np.concatenate([linear, centre + turn @ shift - linear @ centre], 2)


def _with_borders(matrices: np.ndarray) -> tuple[np.ndarray, list[list[int]]]:
    """Return the borders that the matrices reach, (top, left, below, after), and matrices for them."""
    rows, columns = SIZE
    reach = np.array([columns - 1, rows - 1])
    linear, first = matrices[:, :, :2], matrices[:, :, 2]
    least = first + np.minimum(linear, 0) @ reach
    most = first + np.maximum(linear, 0) @ reach
    # A pixel more than is needed, since places are rounded.
    before = np.maximum(1 - np.floor(least), 0)
    behind = np.maximum(np.ceil(most) + 2 - np.array([columns, rows]), 0)
    moved = matrices.copy()
    moved[:, :, 2] += before
    borders = np.concatenate([before[:, ::-1], behind[:, ::-1]], 1).astype(int)
    return moved, borders.tolist()


AFFINE = Job(
    about="two decoded images of 224x224x3 per sample in .npy memmaps in the page cache; both rotated, "
    "shifted, zoomed, mirrored and brightened by one draw; shuffled, batches of 64",
    samples=2_000,
    quick=64,
    prepare=write,
    data="augment",
    contestants={
        "multifeed": multifeed,
        "two_threads": two_threads,
        "image_data_generator": augment_peers.image_data_generator,
        "image_data_generator_flow": augment_peers.image_data_generator_flow,
        "albumentations_torch": augment_peers.albumentations_torch,
        "tfdata_keras_layers": augment_peers.tfdata_keras_layers,
    },
    limits=[
        Limit(figure="augmented ÷ two-thread loop", over=("two_threads",), least=0.9),
        Limit(
            figure="augmented ÷ ImageDataGenerator",
            over=("image_data_generator", "image_data_generator_flow"),
            least=60,
        ),
        Limit(figure="augmented ÷ albumentations in PyTorch", over=("albumentations_torch",), least=1.5),
        Limit(figure="augmented ÷ tf.data with Keras' layers", over=("tfdata_keras_layers",), least=1.5),
    ],
    rows=rows,
    images=images,
    reference="two_threads",
    uncompared=("image_data_generator_flow", "albumentations_torch", "tfdata_keras_layers"),
)

CROP = Job(
    about="two decoded images of 256x256x3 per sample in .npy memmaps in the page cache; both cut to "
    "224x224 and mirrored by one draw; shuffled, batches of 64",
    samples=2_000,
    quick=64,
    prepare=write,
    data="augment",
    contestants={
        "multifeed": multifeed_crop,
        "two_threads": two_threads_crop,
        "multifeed_resized_crop": multifeed_resized_crop,
        "multifeed_affine": multifeed,
    },
    limits=[
        Limit(figure="crop and flip ÷ affine path", over=("multifeed_affine",), least=2),
        Limit(
            figure="resized crop and flip ÷ affine path",
            of="multifeed_resized_crop",
            over=("multifeed_affine",),
        ),
        Limit(figure="crop and flip ÷ two-thread loop", over=("two_threads",)),
    ],
    rows=rows,
    images=images,
    reference="two_threads",
    uncompared=("multifeed_resized_crop", "multifeed_affine"),
)
