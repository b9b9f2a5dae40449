"""Measure multifeed beside its limits and its peers. See README.md for what and how."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import contest
import data
import psutil
import report
from job import WORKERS, Job, Weighing
from jobs import JOBS

_PACKAGES = [
    "multifeed",
    "numpy",
    "pyarrow",
    "simplejpeg",
    "opencv-python-headless",
    "pillow",
    "keras",
    "tensorflow_cpu",
    "tensorflow",
    "torch",
    "grain",
    "litdata",
    "mosaicml-streaming",
    "webdataset",
    "datasets",
    "ffcv",
    "albumentations",
    "scipy",
    "rasterio",
    "jax",
]


def main() -> None:
    """Run the jobs that were asked for, one after the other."""
    options = _options()
    if options.clean:
        for name in options.jobs or JOBS:
            for folder in options.data.glob(f"{JOBS[name].data or name}-[0-9]*"):
                shutil.rmtree(folder)
        return
    if hasattr(os, "sched_setaffinity"):
        cpus = sorted(os.sched_getaffinity(0))[:WORKERS]
        os.sched_setaffinity(0, cpus)  # the contestants inherit it
    result = _circumstances()
    tables, figures = [], []
    for name in options.jobs or list(JOBS):
        job = JOBS[name]
        samples = options.samples or (job.quick if options.quick else job.samples)
        folder = options.data / f"{job.data or name}-{samples}"
        data.write_once(folder, job.prepare, samples)
        measured: Any
        if isinstance(job, Weighing):
            measured = contest.weigh(name, folder, samples, options.rounds)
            result["jobs"][name] = {"samples": samples} | measured
        else:
            names = [one for one in job.contestants if one in (options.only or job.contestants)]
            measured = contest.run(job, name, names, folder, samples, options.rounds)
            compared = report.ratios(job, measured)
            result["jobs"][name] = {"samples": samples, "contestants": measured, "ratios": compared}
        figures.extend(report.figures(job, name, measured))
        tables.append(report.markdown(name, job, samples, measured))
        print(tables[-1], flush=True)
    print(report.summary(figures))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        head = report.heading(result, options.rounds, options.quick)
        page = "\n".join([head, report.summary(figures), *tables])
        options.json.with_suffix(".md").write_text(page, encoding="utf-8")


def _names(text: str) -> list[str]:
    return text.split(",")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("jobs", nargs="*", metavar="job", help=f"{', '.join(JOBS)}; default: all")
    parser.add_argument("--rounds", type=int, help="default: 5, or 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="tiny data: shows that all runs, no more")
    parser.add_argument("--samples", type=int, help="rows or keys, instead of each job's own count")
    parser.add_argument("--only", type=_names, metavar="NAME,NAME", help="only these contestants")
    parser.add_argument("--json", type=Path, help="result file; a .md is written next to it")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(tempfile.gettempdir(), "multifeed-benchmarks"),
        help="folder for the data, written once; default: %(default)s",
    )
    parser.add_argument("--clean", action="store_true", help="remove the data, do no more")
    options = parser.parse_args()
    if options.rounds is None:
        options.rounds = 1 if options.quick else 5
    if unknown := set(options.jobs) - set(JOBS):
        parser.error(f"no such job: {', '.join(sorted(unknown))}; there are {', '.join(JOBS)}")
    jobs = [job for job in JOBS.values() if isinstance(job, Job)]
    known = {name for job in jobs for name in job.contestants}
    if unknown := set(options.only or ()) - known:
        parser.error(f"no such contestant: {', '.join(sorted(unknown))}")
    if options.rounds < 1 or (options.samples is not None and options.samples < 1):
        parser.error("--rounds and --samples must be at least 1")
    return options


def _circumstances() -> dict[str, Any]:
    """Return what a reader needs to know to compare these figures with others."""
    versions = {}
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": {
            "cpu": _cpu_model(),
            "cpus_used": WORKERS,
            "memory_gib": round(psutil.virtual_memory().total / 2**30),
            "load_before": round(os.getloadavg()[0], 2),
            "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
        },
        "versions": versions,
        "jobs": {},
    }


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    try:
        found = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
    except OSError:  # no git here
        return ""
    return found.stdout.strip()


def _cpu_model() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
