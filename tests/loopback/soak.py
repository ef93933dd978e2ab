"""Many jobs, one to three faults at every tenth request, late listings, the wrong account now and
then, a budget of the estimate, and a working process that is killed again and again: what is left
at the end must be what an undisturbed run leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

from hardware.ledger.ledger import Ledger
from hardware.ledger.store import spending
from loopback.cloud import Cloud
from loopback.faults import FaultPlan
from loopback.plans import tiny_plan
from loopback.server import Loopback
from loopback.worker import SETTLE

_HERE = Path(__file__).parents[1]


@dataclass(frozen=True)
class SoakReport:
    """What a soak found.

    Args:
        jobs: Jobs of the run.
        results: Jobs with exactly one result in the ledger.
        wrong: Jobs whose result differs from the undisturbed run's.
        paid_twice: Pieces of work that the device executed more than once.
        requests: Requests that the double answered.
        faults: Faults injected, by request and kind.
        kills: Processes killed.
        remote_jobs: Jobs that the platform accepted, failed and cancelled ones included.
        elsewhere: Jobs sent to another account.
        seconds: Duration of the disturbed run.
        charged: QPU seconds charged by the platform, and as the ledger has them.
    """

    jobs: int
    results: int
    wrong: int
    paid_twice: int
    requests: int
    faults: dict[str, int]
    kills: int
    remote_jobs: int
    elsewhere: int
    seconds: float
    charged: tuple[float, float]


def soak(
    jobs: int,
    kills: int,
    *,
    seed: int,
    queue_seconds: float,
    timeout: float,
    workers: int = 1,
    every: int = 10,
) -> SoakReport:
    """Run a soak over the loopback interface and report.

    Args:
        jobs: Jobs of the run.
        kills: How often a working process is killed.
        seed: Seed of faults and kills; the device has its own.
        queue_seconds: Wait of each job in the platform's queue. Longer than a process needs to
            start again: a duplicate that runs before anybody looks cannot be prevented by anyone.
        timeout: Seconds after which the soak gives up.
        workers: Processes that work on the run at a time.
        every: One to three faults in a row begin at each request of this number.

    Raises:
        TimeoutError: It did not end in time.
    """
    random = Random(seed)
    faults = FaultPlan(every=every, burst=3, random=Random(seed + 1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        cloud = Cloud(queue_seconds=queue_seconds, listing_seconds=SETTLE / 3)
        with Loopback(cloud, faults, other=Cloud()) as double:
            begun = time.monotonic()
            killed = _disturb(double, path, jobs, kills, workers, random, begun + timeout)
            seconds = time.monotonic() - begun
            assert double.other is not None
            elsewhere = len(double.other.jobs)
            with Ledger(path) as ledger:
                (run,) = ledger.runs()
                results = {job.idx: ledger.result(run.id, job.idx) for job in ledger.jobs(run.id)}
                charged = spending(ledger._db, run.id).charged
            expected = _undisturbed(jobs, Path(folder) / "calm.sqlite")
            return SoakReport(
                jobs=jobs,
                results=sum(result is not None for result in results.values()),
                wrong=sum(not _equal(results[idx], expected[idx]) for idx in expected),
                paid_twice=sum(count > 1 for count in cloud.charges().values()),
                requests=faults.seen.total(),
                faults=dict(sorted(faults.injected.items())),
                kills=killed,
                remote_jobs=len(cloud.jobs),
                elsewhere=elsewhere,
                seconds=seconds,
                charged=(cloud.consumed, charged),
            )


class _Worker:
    """A working process whose output is read all the time."""

    def __init__(self, double: Loopback, path: Path, jobs: int) -> None:
        inherited = os.pathsep.join(filter(None, (str(_HERE), os.environ.get("PYTHONPATH"))))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "loopback.worker", str(path), str(jobs)],
            env={**os.environ, **double.environment(), "PYTHONPATH": inherited},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self.ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as said:
            for line in said:
                self.lines.append(line.rstrip())
                if line.strip() == "ready":
                    self.ready.set()
        self.ready.set()

    def finished(self) -> bool:
        """Whether it carried the run to its end.

        Raises:
            RuntimeError: It broke.
        """
        code = self.process.poll()
        if code not in (None, 0, -signal.SIGKILL):
            self._reader.join(timeout=10)
            raise RuntimeError("\n".join([f"A worker ended with {code}:", *self.lines[-30:]]))
        return code == 0

    def kill(self) -> bool:
        """Kill it; False if it had ended already."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=30)
        self._reader.join(timeout=30)
        return self.process.returncode == -signal.SIGKILL


def _disturb(
    double: Loopback,
    path: Path,
    jobs: int,
    kills: int,
    workers: int,
    random: Random,
    until: float,
) -> int:
    killed = 0
    running: list[_Worker] = []
    try:
        while True:
            if time.monotonic() > until:
                said = [line for worker in running for line in worker.lines[-10:]]
                raise TimeoutError(f"Killed {killed} times, then out of time: {said}.")
            if any(worker.finished() for worker in running) and killed >= kills:
                return killed
            running = [
                worker
                for worker in running
                if not worker.finished() and worker.process.returncode is None
            ]
            while len(running) < workers:
                running.append(_Worker(double, path, jobs))
                running[-1].ready.wait(max(0.0, until - time.monotonic()))
            if killed < kills:
                time.sleep(random.uniform(0.0, 1.5))
                killed += random.choice(running).kill()
            else:
                time.sleep(0.1)
    finally:
        for worker in running:
            worker.kill()


def _undisturbed(jobs: int, path: Path) -> dict[int, dict[str, np.ndarray]]:
    from hardware.devices.ibm.device import PlatformDevice
    from hardware.runs import runner
    from loopback.worker import PATIENT

    with Loopback(Cloud()) as double, Ledger(path) as ledger:
        device = PlatformDevice(double.service(), "ibm_manila")
        plan = tiny_plan(jobs=jobs)
        budget = sum(plan.job_seconds)
        run = runner.submit(
            plan, ledger=ledger, device=device, budget_seconds=budget, policy=PATIENT
        )
        runner.collect(run, ledger=ledger, device=device, policy=PATIENT)
        return runner.results(run, ledger=ledger)


def _equal(left: dict[str, np.ndarray] | None, right: dict[str, np.ndarray]) -> bool:
    return (
        left is not None
        and left.keys() == right.keys()
        and all(np.array_equal(left[name], right[name]) for name in right)
    )
