"""Soak the runner against the tests' double of the platform, on the loopback interface.

By default: one to three faults at every tenth request, and the working process is killed again and
again. With `--mixtures 2` or `3`: all pairs or triples of troubles, or `--sample` of them, each met
by one small run. Prints one line a figure, and exits with 1 if a result was lost or wrong, a job
was paid for twice, or the ledger's charge is not the platform's.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
import time
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))


def main() -> int:
    """Run a soak and print what it found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1, help="processes on the run at a time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--queue-seconds", type=float, default=8.0)
    parser.add_argument("--timeout", type=float, default=600.0)
    parser.add_argument("--mixtures", type=int, help="troubles that meet: 1, 2, 3 ...")
    parser.add_argument("--sample", type=int, help="mixtures drawn with the seed; default: all")
    given = parser.parse_args()
    if given.mixtures is not None:
        return mixtures(given.mixtures, given.sample, given.seed)
    return kills(given)


def mixtures(size: int, sample: int | None, seed: int) -> int:
    """Let small runs meet mixtures of troubles; print those that ended wrongly."""
    from loopback.mixtures import meet, mixtures

    logging.disable(logging.WARNING)  # the client's own, once a login
    chosen = list(mixtures(size))
    if sample is not None:
        chosen = Random(seed).sample(chosen, min(sample, len(chosen)))
    begun, wrong, faults = time.monotonic(), 0, 0
    for troubles in chosen:
        outcome = meet(troubles, seed)
        faults += outcome.faults
        if outcome.wrong:
            wrong += 1
            print(f"{' + '.join(outcome.troubles)}: {'; '.join(outcome.wrong)}", flush=True)
    print(f"{f'mixtures of {size}':45} {len(chosen)}")
    print(f"{'faults injected':45} {faults}")
    print(f"{'mixtures that ended wrongly':45} {wrong}")
    print(f"{'seconds':45} {time.monotonic() - begun:.0f}")
    return int(wrong > 0)


def kills(given: argparse.Namespace) -> int:
    """Run many jobs under faults and kills and print what is left at the end."""
    from loopback.soak import soak

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
        "jobs sent through another account": report.elsewhere,
        "results that differ from an undisturbed run": report.wrong,
        "jobs paid for twice": report.paid_twice,
        "QPU seconds charged by the platform": round(platform, 3),
        "QPU seconds charged by the ledger": round(ledger, 3),
        "seconds": round(report.seconds, 1),
    }
    for name, value in figures.items():
        print(f"{name:45} {value}")
    failures = (report.wrong, report.paid_twice, report.elsewhere, report.jobs - report.results)
    return int(any(failures) or not math.isclose(platform, ledger))


if __name__ == "__main__":
    sys.exit(main())
