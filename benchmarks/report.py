"""From measured rounds to ratios and a Markdown table."""

from __future__ import annotations

from statistics import median
from typing import Any

from job import Job

OURS = "multifeed"
_COLUMNS = [
    "contestant",
    "seconds, median (min to max)",
    "rows/s",
    "first batch, s",
    "CPU-µs/row",
    "memory, MiB: peak (before)",
    "PSNR, dB",
    "multifeed is … times as fast (min to max)",
    "limit",
]


def ratios(job: Job, results: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return how many times as fast multifeed was as each other contestant, round by round."""
    ours = results.get(OURS, {}).get("rounds")
    found = {}
    for name, result in results.items():
        if not ours or name == OURS or "rounds" not in result:
            continue
        pairs = zip(result["rounds"], ours, strict=True)
        each = [theirs[job.clock] / mine[job.clock] for theirs, mine in pairs]
        found[name] = {"median": median(each), "min": min(each), "max": max(each)}
    return found


def heading(result: dict[str, Any], rounds: int) -> str:
    """Return the top of the page: when, where, with what."""
    machine = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    versions = ", ".join(f"{name} {value}" for name, value in result["versions"].items())
    command = f"python benchmarks/run.py {' '.join(result['jobs'])} --rounds {rounds}"
    lines = [f"`{command}`", "", f"{result['date']}, commit {result['commit'] or 'unknown'}."]
    lines += [f"Machine: {machine}.", f"Versions: {versions}.", ""]
    return "\n".join(["# Benchmarks", "", *lines])


def markdown(job_name: str, job: Job, samples: int, results: dict[str, Any]) -> str:
    """Return the heading and the table of one job."""
    compared = ratios(job, results)
    lines = [
        f"## {job_name}",
        "",
        f"{samples:,} rows: {job.about}.",
        "",
        f"| {' | '.join(_COLUMNS)} |",
        f"|{' --- |' * len(_COLUMNS)}",
    ]
    for name, result in results.items():
        if "failed" in result:
            reason = result["failed"].splitlines()[0]
            lines.append(f"| {name} | failed: {reason} |{' |' * (len(_COLUMNS) - 2)}")
        else:
            cells = [name, *_measured(job, result), *_judged(name, job, result, compared)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _measured(job: Job, result: dict[str, Any]) -> list[str]:
    rounds = result["rounds"]
    seconds = [one[job.clock] for one in rounds]
    speed = median(one["rows"] / one["seconds"] for one in rounds)
    cpu = median(one["cpu_seconds"] / one["rows"] for one in rounds)
    psnr = result.get("psnr_db")
    return [
        f"{median(seconds):.3f} ({min(seconds):.3f} to {max(seconds):.3f})",
        f"{speed:,.0f}",
        f"{median(one['first_batch_seconds'] for one in rounds):.3f}",
        f"{cpu * 1e6:,.2f}",
        f"{result['peak_mib']:,.0f} ({result['idle_mib']:,.0f})",
        "" if psnr is None else f"{psnr:.1f}",
    ]


def _judged(name: str, job: Job, result: dict[str, Any], compared: dict[str, Any]) -> list[str]:
    """Return the cells for the ratio and its limit; a limit that was missed is marked."""
    if name == OURS and job.limit_s is not None:
        seconds = median(one[job.clock] for one in result["rounds"])
        return ["", _limit(f"< {job.limit_s:g} s", kept=seconds < job.limit_s)]
    ratio, least = compared.get(name), job.limits.get(name)
    if ratio is None:
        return ["", "" if least is None else f"≥ {least:g}"]
    found = f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})"
    return [found, "" if least is None else _limit(f"≥ {least:g}", kept=ratio["median"] >= least)]


def _limit(text: str, *, kept: bool) -> str:
    return text if kept else f"{text} **falls short**"
