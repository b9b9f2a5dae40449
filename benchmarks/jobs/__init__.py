"""The jobs by name, in the order in which they run."""

from __future__ import annotations

from job import Job, Weighing

from . import (
    align,
    augment,
    augment3d,
    cache_build,
    cold,
    first_batch,
    fit_wait,
    gil,
    glue,
    large,
    loader_cost,
    media,
    memmap,
    memory,
    metadata,
    numbers,
    raster,
    tar,
    warm,
    warm_large,
)

JOBS: dict[str, Job | Weighing] = {
    "cold": cold.JOB,
    "large": large.JOB,
    "memmap": memmap.JOB,
    "tar": tar.JOB,
    "warm": warm.JOB,
    "warm_large": warm_large.JOB,
    "cache_build": cache_build.JOB,
    "augment": augment.AFFINE,
    "augment_crop": augment.CROP,
    "augment3d": augment3d.JOB,
    "audio": media.AUDIO,
    "video": media.VIDEO,
    "numbers": numbers.JOB,
    "gil": gil.JOB,
    "raster": raster.JOB,
    **glue.JOBS,
    **fit_wait.JOBS,
    "overhead": loader_cost.OVERHEAD,
    "startup": loader_cost.STARTUP,
    "transport": loader_cost.TRANSPORT,
    "boundary": loader_cost.BOUNDARY,
    "first_batch": first_batch.JOB,
    "memory_images": memory.IMAGES,
    "memory_numbers": memory.NUMBERS_ONLY,
    "align": align.JOB,
    "metadata": metadata.JOB,
}
