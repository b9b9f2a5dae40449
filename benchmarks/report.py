"""From what was measured to ratios, a Markdown table per job, and a summary of all limits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import linear_regression, mean, median
from typing import Any

from job import OURS, Job, Limit, Weighing

_MIB = 2**20
_COLUMNS = [
    "contestant",
    "seconds, median (min to max)",
    "rows/s",
    "ms/batch",
    "first batch, s",
    "CPU-µs/row",
    "memory, MiB: peak (before)",
    "PSNR, dB",
    "multifeed is … times as fast (min to max)",
    "limit",
]
_WEIGHED = ["after imports, MiB", "peak above it", "pool", "row table", "peak ÷ (pool + row table)"]


@dataclass(frozen=True)
class Figure:
    """One line of the summary; `met` is None where nothing is asked."""

    name: str
    wanted: str
    reached: str
    met: bool | None = None


def ratios(job: Job, results: dict[str, Any], of: str = OURS) -> dict[str, dict[str, float]]:
    """Return how many times as fast one contestant was as each other one, round by round."""
    ours = results.get(of, {}).get("rounds")
    found = {}
    for name, result in results.items():
        if not ours or name == of or "rounds" not in result:
            continue
        pairs = zip(result["rounds"], ours, strict=True)
        each = [theirs[job.clock] / mine[job.clock] for theirs, mine in pairs]
        found[name] = {"median": median(each), "min": min(each), "max": max(each)}
    return found


def heading(result: dict[str, Any], rounds: int, quick: bool) -> str:
    """Return the top of the page: when, where, with what."""
    machine = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    versions = ", ".join(f"{name} {value}" for name, value in result["versions"].items())
    options = f"--rounds {rounds}{' --quick' if quick else ''}"
    lines = [f"`python benchmarks/run.py {' '.join(result['jobs'])} {options}`", ""]
    lines += [f"{result['date']}, commit {result['commit'] or 'unknown'}."]
    lines += [f"Machine: {machine}.", f"Versions: {versions}.", ""]
    return "\n".join(["# Benchmarks", "", *lines])


def summary(figures: Iterable[Figure]) -> str:
    """Return the table of what was asked and what was reached."""
    lines = ["| figure | at least | reached | met |", "| --- | --- | --- | --- |"]
    for figure in figures:
        met = {True: "yes", False: "**no**", None: ""}[figure.met]
        lines.append(f"| {figure.name} | {figure.wanted} | {figure.reached} | {met} |")
    return "\n".join([*lines, ""])


def figures(job: Job | Weighing, name: str, measured: Any) -> Iterator[Figure]:
    """Return the lines of the summary that a job gives."""
    if isinstance(job, Weighing):
        yield from _weights(job, name, measured)
        return
    for limit in job.limits:
        yield _figure(limit, job, measured)
    if job.limits and "rounds" in measured.get(OURS, {}):
        ours = measured[OURS]
        cpu = median(one["cpu_seconds"] / one["rows"] for one in ours["rounds"])
        held = ours["peak_mib"] - ours["idle_mib"]
        reached = f"{cpu * 1e6:,.2f} µs; {held:,.0f} MiB"
        yield Figure(f"{name}: CPU time per sample; memory of an epoch", "reported", reached)


def markdown(job_name: str, job: Job | Weighing, samples: int, measured: Any) -> str:
    """Return the heading and the table of one job."""
    lines = [f"## {job_name}", "", f"{samples:,} rows: {job.about}.", ""]
    if isinstance(job, Weighing):
        return "\n".join([*lines, *_weighed(job, measured)]) + "\n"
    compared = ratios(job, measured)
    lines += _head(_COLUMNS)
    for name, result in measured.items():
        if "failed" in result:
            reason = result["failed"].splitlines()[0]
            lines.append(f"| {name} | failed: {reason} |{' |' * (len(_COLUMNS) - 2)}")
        else:
            cells = [name, *_measured(job, result), *_judged(name, job, result, compared)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _head(columns: list[str]) -> list[str]:
    return [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]


def _figure(limit: Limit, job: Job, measured: dict[str, Any]) -> Figure:
    """Judge one limit; of several contestants, the one that does best counts."""
    if limit.value:
        values = _values(limit, measured)
        if not values:
            return Figure(limit.figure, _wanted(limit), "not measured")
        reached = f"{_digits(median(values))} ({_digits(min(values))} to {_digits(max(values))})"
        return Figure(limit.figure, _wanted(limit), f"{reached} {limit.unit}", _keeps(limit, values))
    wanted = _wanted(limit)
    compared = ratios(job, measured, limit.of)
    against = [name for name in limit.over if name in compared]
    if not against:
        return Figure(limit.figure, wanted, "not measured")
    best = min(against, key=lambda name: compared[name]["median"])
    found = _found(limit, compared[best])
    reached = found if len(limit.over) == 1 else f"{found}: {best}"
    return Figure(limit.figure, wanted, reached, _is_met(limit, compared[best]["median"]))


def _wanted(limit: Limit) -> str:
    if limit.least is not None:
        return f"≥ {limit.least:g}"
    return "reported" if limit.most is None else f"≤ {limit.most:g} {limit.unit}".strip()


def _values(limit: Limit, measured: dict[str, Any]) -> list[float]:
    """Return what each round told, where the limit is about a value by itself."""
    return [one[limit.value] for one in measured.get(limit.of, {}).get("rounds", ())]


def _keeps(limit: Limit, values: list[float]) -> bool | None:
    return None if limit.most is None else median(values) <= limit.most


def _digits(value: float) -> str:
    return f"{value:,.3f}" if value < 10 else f"{value:,.1f}"


def _found(limit: Limit, ratio: dict[str, float]) -> str:
    """Return a ratio as the limit asks for it: times as fast, or times as long."""
    low, middle, high = ratio["min"], ratio["median"], ratio["max"]
    if limit.takes_longer:
        low, middle, high = 1 / high, 1 / middle, 1 / low
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def _is_met(limit: Limit, ratio: float) -> bool | None:
    if limit.least is not None:
        return ratio >= limit.least
    return None if limit.most is None else 1 / ratio <= limit.most


def _measured(job: Job, result: dict[str, Any]) -> list[str]:
    rounds = result["rounds"]
    seconds = [one[job.clock] for one in rounds]
    speed = median(one["rows"] / one["seconds"] for one in rounds)
    cpu = median(one["cpu_seconds"] / one["rows"] for one in rounds)
    psnr = result.get("psnr_db")
    throughput = f" ({speed * job.row_bytes / 1e6:,.0f} MB/s)" if job.row_bytes else ""
    return [
        f"{median(seconds):.3f} ({min(seconds):.3f} to {max(seconds):.3f})",
        f"{speed:,.0f}{throughput}",
        f"{1e3 * job.batch_size / speed:,.3f}",
        f"{median(one['first_batch_seconds'] for one in rounds):.3f}",
        f"{cpu * 1e6:,.2f}",
        f"{result['peak_mib']:,.0f} ({result['idle_mib']:,.0f})",
        "" if psnr is None else f"{psnr:.1f}",
    ]


def _judged(name: str, job: Job, result: dict[str, Any], compared: dict[str, Any]) -> list[str]:
    """Return the cells for the ratio and its limit; a limit that was missed is marked."""
    ratio = compared.get(name)
    found = ""
    if ratio is not None:
        found = f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})"
    for limit in job.limits:
        if name == limit.of and limit.value and limit.most is not None:
            values = _values(limit, {name: result})
            told = f"{_digits(median(values))} {limit.unit}: {_wanted(limit)}"
            return [found, _marked(told, _keeps(limit, values))]
        if ratio is not None and name in limit.over and _wanted(limit) != "reported":
            wanted = _wanted(limit)
            if limit.takes_longer:
                wanted = f"{_found(limit, ratio)} times as long: {wanted}"
            return [found, _marked(wanted, _is_met(limit, ratio["median"]))]
    return [found, ""]


def _marked(text: str, met: bool | None) -> str:
    return f"{text} **falls short**" if met is False else text


def _weighed(job: Weighing, measured: dict[str, Any]) -> list[str]:
    if "failed" in measured:
        return [f"Failed: {measured['failed']}"]
    epochs = f"epochs {job.first} to {job.epochs}"
    lines = _head(["round", *_WEIGHED, f"growth over {epochs}", "seconds"])
    for number, one in enumerate(measured["rounds"], start=1):
        sizes = [one["baseline"], _held(one), one["pool"], one["table"]]
        cells = [f"{size / _MIB:,.1f}" for size in sizes]
        cells += [f"{_share(one):.2f}", f"{100 * _growth(job, one):.2f} %", f"{one['seconds']:.1f}"]
        lines.append(f"| {number} | {' | '.join(cells)} |")
    return lines


def _weights(job: Weighing, name: str, measured: dict[str, Any]) -> Iterator[Figure]:
    peak = f"{name}: peak above the imports ÷ (pool + row table)"
    growth = f"{name}: growth over epochs {job.first} to {job.epochs}"
    most_peak, most_growth = f"≤ {job.most:g}", f"≤ {100 * job.most_growth:g} %"
    rounds = measured["rounds"]
    if not rounds:
        yield Figure(peak, most_peak, "not measured")
        yield Figure(growth, most_growth, "not measured")
        return
    shares = [_share(one) for one in rounds]
    reached = f"{median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f})"
    yield Figure(peak, most_peak, reached, median(shares) <= job.most)
    growths = [_growth(job, one) for one in rounds]
    low, middle, high = (100 * value for value in (min(growths), median(growths), max(growths)))
    reached = f"{middle:.2f} % ({low:.2f} to {high:.2f})"
    yield Figure(growth, most_growth, reached, median(growths) <= job.most_growth)


def _held(one: dict[str, Any]) -> int:
    """Return the bytes at the peak above those after the imports."""
    held: int = max(one["peaks"]) - one["baseline"]
    return held


def _share(one: dict[str, Any]) -> float:
    return _held(one) / (one["pool"] + one["table"])


def _growth(job: Weighing, one: dict[str, Any]) -> float:
    """Return by what part the peaks of the later epochs grow, along the line that fits them best."""
    peaks = [peak - one["baseline"] for peak in one["peaks"][job.first - 1 :]]
    slope = linear_regression(range(len(peaks)), peaks).slope
    return slope * (len(peaks) - 1) / mean(peaks)
