"""Feed Keras 3 models with samples that have several aligned inputs.

A loader is a pure function from a position — (seed, epoch, step) — to a batch: named arrays whose
rows belong to the same samples. Workers, prefetch, caches and shards change *when* a batch is computed,
never *what* it is.

Importing multifeed loads neither Keras nor a backend, nor any neighbour; `Loader`, `ResumeTraining`,
`inputs`, `baseline_model`, `check_model`, `from_generator` and `predict` load Keras when they are first
named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multifeed.align import align, lookup
from multifeed.augment.color import RandomColor
from multifeed.augment.function import RandomFunction
from multifeed.augment.geometry import (
    CenterCrop,
    RandomAffine,
    RandomCrop,
    RandomFlip,
    RandomResizedCrop,
)
from multifeed.augment.geometry3d import (
    CenterCrop3D,
    RandomAffine3D,
    RandomCrop3D,
    RandomFlip3D,
    RandomTurn3D,
)
from multifeed.augment.legacy import from_image_data_generator
from multifeed.augment.mix import CutMix, MixUp
from multifeed.augment.noise import Noise, RandomBlur, RandomErasing, RandomJPEG, RandomNoise
from multifeed.augment.sequence import FrequencyMask, RandomShift, TimeMask
from multifeed.cache.build import cache
from multifeed.dataset import Dataset, concat
from multifeed.errors import (
    AlignError,
    BadSamplesError,
    DeclarationError,
    ModelError,
    MultifeedError,
    MultifeedWarning,
    NotAdaptedError,
    SampleError,
    StateError,
    StreamError,
    WorkerError,
)
from multifeed.feed import Feed
from multifeed.fields.array import Array
from multifeed.fields.audio import Audio
from multifeed.fields.category import Category
from multifeed.fields.function import Function
from multifeed.fields.image import Image
from multifeed.fields.mask import Mask
from multifeed.fields.numeric import Numeric
from multifeed.fields.points import Boxes, Points
from multifeed.fields.present import Present
from multifeed.fields.raster import Raster
from multifeed.fields.same import Same
from multifeed.fields.spectrogram import Spectrogram
from multifeed.fields.text import Text
from multifeed.fields.video import Video
from multifeed.fields.volume import Volume
from multifeed.health.check import check
from multifeed.interop.by_number import from_torch
from multifeed.interop.grain import from_grain, to_grain
from multifeed.interop.jax import to_jax
from multifeed.interop.tf_data import to_tf_data
from multifeed.interop.torch import to_torch
from multifeed.metadata import metadata
from multifeed.prepare import prepare
from multifeed.sheet import show
from multifeed.spec import Spec
from multifeed.sql import sql
from multifeed.tar import tar
from multifeed.tfrecord import tfrecord
from multifeed.tiles import tiles
from multifeed.tuples import Pairs, Triplets
from multifeed.windows import windows

if TYPE_CHECKING:
    from multifeed.keras import (
        Loader,
        ResumeTraining,
        baseline_model,
        check_model,
        from_generator,
        inputs,
        predict,
    )

__version__ = "0.1.0"

__all__ = [
    "AlignError",
    "Array",
    "Audio",
    "BadSamplesError",
    "Boxes",
    "Category",
    "CenterCrop",
    "CenterCrop3D",
    "CutMix",
    "Dataset",
    "DeclarationError",
    "Feed",
    "FrequencyMask",
    "Function",
    "Image",
    "Loader",
    "Mask",
    "MixUp",
    "ModelError",
    "MultifeedError",
    "MultifeedWarning",
    "Noise",
    "NotAdaptedError",
    "Numeric",
    "Pairs",
    "Points",
    "Present",
    "RandomAffine",
    "RandomAffine3D",
    "RandomBlur",
    "RandomColor",
    "RandomCrop",
    "RandomCrop3D",
    "RandomErasing",
    "RandomFlip",
    "RandomFlip3D",
    "RandomFunction",
    "RandomJPEG",
    "RandomNoise",
    "RandomResizedCrop",
    "RandomShift",
    "RandomTurn3D",
    "Raster",
    "ResumeTraining",
    "Same",
    "SampleError",
    "Spec",
    "Spectrogram",
    "StateError",
    "StreamError",
    "Text",
    "TimeMask",
    "Triplets",
    "Video",
    "Volume",
    "WorkerError",
    "align",
    "baseline_model",
    "cache",
    "check",
    "check_model",
    "concat",
    "from_generator",
    "from_grain",
    "from_image_data_generator",
    "from_torch",
    "inputs",
    "lookup",
    "metadata",
    "predict",
    "prepare",
    "show",
    "sql",
    "tar",
    "tfrecord",
    "tiles",
    "to_grain",
    "to_jax",
    "to_tf_data",
    "to_torch",
    "windows",
]

_NEEDS_KERAS = (
    "Loader",
    "ResumeTraining",
    "baseline_model",
    "check_model",
    "from_generator",
    "inputs",
    "predict",
)


def __getattr__(name: str) -> Any:
    if name in _NEEDS_KERAS:
        from multifeed import keras

        return getattr(keras, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
