"""Soak the runner: a fault at every tenth request, the submitting process killed again and again.

Everything happens on the loopback interface against the tests' double of the platform. Prints one
line a figure, and exits with 1 if a result was lost or wrong, or a job was paid for twice.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))


def main() -> int:
    """Run the soak and print what it found."""
    from loopback.soak import soak

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1, help="processes on the run at a time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--queue-seconds", type=float, default=8.0)
    parser.add_argument("--timeout", type=float, default=600.0)
    given = parser.parse_args()
    report = soak(
        given.jobs,
        given.kills,
        seed=given.seed,
        queue_seconds=given.queue_seconds,
        timeout=given.timeout,
        workers=given.workers,
    )
    platform, ledger = report.charged
    figures = {
        "jobs": report.jobs,
        "processes killed": report.kills,
        "requests": report.requests,
        "faults injected": sum(report.faults.values()),
        "jobs the platform accepted": report.remote_jobs,
        "jobs with exactly one result": report.results,
        "results that differ from an undisturbed run": report.wrong,
        "jobs paid for twice": report.paid_twice,
        "QPU seconds charged by the platform": round(platform, 3),
        "QPU seconds charged by the ledger": round(ledger, 3),
        "seconds": round(report.seconds, 1),
    }
    for name, value in figures.items():
        print(f"{name:45} {value}")
    return int(report.results != report.jobs or report.wrong > 0 or report.paid_twice > 0)


if __name__ == "__main__":
    sys.exit(main())
