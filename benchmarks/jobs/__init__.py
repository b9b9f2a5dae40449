"""The jobs by name, in the order in which they run."""

from __future__ import annotations

from job import Job, Weighing

from . import align, augment, cold, first_batch, glue, large, memmap, memory, numbers, warm

JOBS: dict[str, Job | Weighing] = {
    "cold": cold.JOB,
    "large": large.JOB,
    "memmap": memmap.JOB,
    "warm": warm.JOB,
    "augment": augment.AFFINE,
    "augment_crop": augment.CROP,
    "numbers": numbers.JOB,
    **glue.JOBS,
    "first_batch": first_batch.JOB,
    "memory_images": memory.IMAGES,
    "memory_numbers": memory.NUMBERS_ONLY,
    "align": align.JOB,
}
