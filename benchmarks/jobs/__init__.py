"""The jobs by name, in the order in which they run."""

from . import align, cold, first_batch, memmap, numbers

JOBS = {
    "cold": cold.JOB,
    "memmap": memmap.JOB,
    "numbers": numbers.JOB,
    "first_batch": first_batch.JOB,
    "align": align.JOB,
}
