"""What a feed tells about itself: how fast it was, who waited, and what took the time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from multifeed.errors import aligned
from multifeed.meter import Spent
from multifeed.policy import BadSample, listed

# Below this share of waiting there is nothing to be won by a faster loader.
_WORTH_A_WORD = 0.1
# Above this share of their time, workers are taken to be busy.
_BUSY = 0.7

# Above this share of samples that a cache lacks, a word is said of it.
_FEW_REDONE = 0.01

# What is counted, and can be subtracted.
_COUNTS = ("batches", "samples", "dropped", "masked", "padded", "passes", "recomputed", "restarts")

_STAGES = {"load_s": "reading", "decode_s": "decoding", "copy_s": "copying"}


@dataclass(frozen=True)
class FeedReport:
    """Speed, waiting, and what each field cost.

    Two reports of one feed can be subtracted: what happened in between.

    Args:
        batches: Batches that were handed over.
        samples: Samples in them: without padding, and without those that were dropped or masked.
        waited_s: Seconds that whoever asked waited for batches. In `fit` that is the model; on
            TensorFlow it is the thread that prefetches for it.
        worked_s: Seconds that whoever asked spent between one batch and the next.
        workers: Threads that read files; 0 where all fields lie in memory.
        processors: Processors that this process may use.
        fields: For each field, what making it cost, in seconds of all threads together, the bytes that
            were read, and how many samples a cache should have had and were decoded from their source.
            Batches that were built ahead are in it.
        dropped: Slots of which the sample could not be used, and which were left out of their batches.
        masked: Such slots that hold a copy of another sample, of weight 0.
        padded: Rows that were added to fill batches up.
        passes: Whole passes over the samples that were served in one go; of each of them it was proven
            that every row was made exactly once, or as often as the `accounting` has it, or is among the
            dropped or masked.
        recomputed: Batches that were made again, in part or whole, since a worker process had ended.
        restarts: Worker processes that were started in the place of one that had ended.
        bad: The samples that could not be used, each once, in the order in which they were found.
        rows: Rows of the dataset.
        accounting: How often an epoch has which samples, line by line, where that is not each once.

    Example:
        >>> import multifeed as mf
        >>> data = mf.Dataset({"x": [0.0, 1.0, 2.0]}, inputs=mf.Numeric("x"))
        >>> feed = mf.Feed(data, batch_size=2)
        >>> for batch in feed:
        ...     pass
        >>> feed.report().samples
        3
    """

    batches: int = 0
    samples: int = 0
    waited_s: float = 0.0
    worked_s: float = 0.0
    workers: int = 0
    processors: int = 1
    fields: Mapping[str, Spent] = field(default_factory=dict)
    dropped: int = 0
    masked: int = 0
    padded: int = 0
    passes: int = 0
    recomputed: int = 0
    restarts: int = 0
    bad: tuple[BadSample, ...] = ()
    rows: int = 0
    accounting: tuple[str, ...] = ()

    @property
    def good_rows(self) -> np.ndarray:
        """The rows, ``int64[n]``, of samples that are not `bad`, for `Dataset.select`."""
        return np.setdiff1d(np.arange(self.rows), [each.row for each in self.bad])

    @property
    def seconds(self) -> float:
        """Seconds from asking for the first batch to getting the last, over all passes."""
        return self.waited_s + self.worked_s

    @property
    def samples_per_s(self) -> float:
        """Samples handed over per second."""
        return self.samples / self.seconds if self.seconds else 0.0

    @property
    def waiting(self) -> float:
        """The share of the time that whoever asked was waiting, 0 to 1."""
        return self.waited_s / self.seconds if self.seconds else 0.0

    def advice(self, who: str = "whoever asked") -> str:
        """Return one sentence on what would make it faster; empty if hardly anybody waited.

        Of a cache that lacks samples it speaks in any case.

        Args:
            who: Who waited, as the sentence names it.
        """
        if self.waiting < _WORTH_A_WORD:
            return self._of_caches()
        said = f"{who} waited {self.waiting:.0%} of the time"
        costs = {
            (name, stage): getattr(spent, stage)
            for name, spent in self.fields.items()
            for stage in _STAGES
        }
        total = sum(costs.values())
        if not total:
            return f"{said}."
        if cache := self._of_caches():
            return f"{said}; {cache}"
        name, stage = max(costs, key=lambda each: costs[each])
        share = costs[name, stage] / total
        return (
            f"{said}; {_STAGES[stage]} {name!r} takes most of the loader's work ({share:.0%}): "
            f"{self._remedy(stage, total, self.fields[name].loaded_bytes)}."
        )

    def _of_caches(self) -> str:
        """Return the sentence on a field of which a cache lacks samples; empty if there is none."""
        for name, spent in self.fields.items():
            if spent.redone > _FEW_REDONE * spent.samples:
                return (
                    f"{spent.redone:,} of {spent.samples:,} samples of {name!r} were not in the cache, "
                    "or have other files by now: remove its folder and call mf.cache again, with room "
                    "enough."
                )
        return ""

    def _remedy(self, stage: str, total_s: float, loaded_bytes: int) -> str:
        if not self.workers:
            return "it lies in memory, so only fewer or smaller values would be faster"
        is_busy = total_s > _BUSY * self.workers * self.seconds
        if not is_busy:
            return "the workers wait as well, so pass a larger prefetch= (or prefetch_bytes=)"
        if stage == "load_s":
            # Threads that wait for a disk need no processor.
            return f"pass more workers= (now {self.workers}), or move the files to a faster disk"
        if not loaded_bytes:
            return "it is made of values in memory, so do less for each sample, or do it once beforehand"
        if self.workers < self.processors:
            return f"pass workers={self.processors} (now {self.workers})"
        return (
            f"all {self.processors} processors are busy with it, so store the files nearer to the size "
            "that the model takes"
        )

    def __sub__(self, before: FeedReport) -> FeedReport:
        """Return what happened since an earlier report of the same feed."""
        return replace(
            self,
            **{name: getattr(self, name) - getattr(before, name) for name in _COUNTS},
            bad=self.bad[len(before.bad) :],
            waited_s=self.waited_s - before.waited_s,
            worked_s=self.worked_s - before.worked_s,
            fields={
                name: spent - before.fields.get(name, Spent()) for name, spent in self.fields.items()
            },
        )

    def __str__(self) -> str:
        head = (
            f"{self.samples:,} samples in {self.batches:,} batches, "
            f"{self.samples_per_s:,.0f} samples/s; "
            f"waited {self.waited_s:.2f} of {self.seconds:.2f} s ({self.waiting:.0%})"
        )
        is_cached = any(spent.redone for spent in self.fields.values())
        redone = ("redone",) if is_cached else ()
        table: list[tuple[str, ...]] = [("field", "read s", "decode s", "copy s", "read MB", *redone)]
        for name, spent in self.fields.items():
            seconds = (spent.load_s, spent.decode_s, spent.copy_s)
            megabytes = f"{spent.loaded_bytes / 1e6:,.1f}" if spent.loaded_bytes else "-"
            cells = [f"{each:.2f}" if each else "-" for each in seconds] + [megabytes]
            table.append((name, *cells, *([f"{spent.redone:,}"] if is_cached else [])))
        counts = {name: getattr(self, name) for name in ("dropped", "masked", "padded", "recomputed")}
        counts["workers started anew"] = self.restarts
        seldom = [f"{count:,} {name}" for name, count in counts.items() if count]
        bad = [f"{len(self.bad):,} of {self.rows:,} samples cannot be used:", *listed(self.bad)]
        told = [*self.accounting, ", ".join(seldom), "\n  ".join(bad) if self.bad else "", self.advice()]
        return "\n".join([head, *aligned(table), *filter(None, told)])
