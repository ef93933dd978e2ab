"""The progress of a run: queued, running, done, seconds used; lines of `logging` off a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from hardware.devices.base import Device, JobRequest
from hardware.devices.local import LocalDevice
from hardware.errors import HardwareError, RunError
from hardware.ledger.ledger import Ledger
from hardware.runs.progress import RunStatus
from qhead.progress import duration, progress_lines

#: States of jobs that are waited for no more and have no result.
_WITHOUT_RESULT = ("failed", "unknown", "cancelled")


class RunBar:
    """Shows where a run stands.

    Args:
        progress: Where it is drawn; None where it is only logged.
        run_id: The run.
        num_jobs: Its jobs.
    """

    def __init__(self, progress: Progress | None, run_id: str, num_jobs: int) -> None:
        self._progress = progress
        self._running = 0
        self._status: RunStatus | None = None
        self._fetched = 0
        self._num_jobs = num_jobs
        self._run_id, self._start = run_id, time.monotonic()
        if progress is not None:
            self._task = progress.add_task(f"run {run_id}", total=num_jobs, figures="")

    @property
    def drawn(self) -> bool:
        """Whether there is a bar, which is worth asking the platform what runs at this moment."""
        return self._progress is not None

    def update(self, status: RunStatus, running: int = 0) -> None:
        """Show a new status, with so many of its jobs known to run."""
        self._status, self._fetched, self._running = status, 0, running
        self._draw()

    def running(self, number: int) -> None:
        """Show how many jobs run now, where that is known."""
        self._running = number
        self._draw()

    def fetched(self) -> None:
        """Show one job more as done, before the ledger's next status says so."""
        self._fetched += 1
        self.running(0)

    def line(self, *, ended: bool = False) -> str:
        """Return where the run stands, for the log."""
        figures, _ = self._figures()
        time_taken = duration(time.monotonic() - self._start)
        return f"run {self._run_id}: {figures}, {time_taken} {'in all' if ended else 'so far'}"

    def _draw(self) -> None:
        if self._progress is not None:
            figures, ended = self._figures()
            self._progress.update(self._task, completed=ended, figures=figures)

    def _figures(self) -> tuple[str, int]:
        """Return the figures in words and the number of jobs that have ended."""
        jobs: Mapping[str, int] = {} if self._status is None else self._status.jobs
        done = jobs.get("done", 0) + self._fetched
        ended = done + sum(jobs.get(state, 0) for state in _WITHOUT_RESULT)
        waiting = max(0, self._num_jobs - ended - self._running)
        if self.drawn:
            figures = f"{waiting} queued, {self._running} running, {done} done"
        else:  # nobody asked which of them run
            figures = f"{waiting + self._running} under way, {done} done"
        for state in _WITHOUT_RESULT:
            if number := jobs.get(state):
                figures += f", {number} {state}"
        if self._status is not None and not self._status.run.local:
            unknown = " + unknown" if self._status.uncharged else ""
            figures += f", {self._status.spending.charged:.1f} s{unknown} used"
        return figures, ended


@contextmanager
def run_bar(run_id: str, num_jobs: int, console: Console | None = None) -> Iterator[RunBar]:
    """Yield the bar of a run.

    Args:
        run_id: The run.
        num_jobs: Its jobs.
        console: Where to draw, if it is a terminal; None: standard error.
    """
    # rich takes a pipe for a terminal where the environment forces colour, hence `isatty`.
    if not (sys.stderr.isatty() if console is None else console.is_terminal):
        bar = RunBar(None, run_id, num_jobs)
        with progress_lines(bar.line):
            yield bar
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeElapsedColumn(),
        console=console or Console(stderr=True),
    ) as progress:
        yield RunBar(progress, run_id, num_jobs)


class _WatchedLocal(LocalDevice):
    """A local device that says when it works: a job is executed when its result is fetched."""

    def __init__(self, device: LocalDevice, bar: RunBar) -> None:
        super().__init__(device.backend)
        self._device, self._bar = device, bar

    def fetch(self, job_id: str, request: JobRequest) -> dict[str, np.ndarray]:
        """Execute the job and return its arrays."""
        self._bar.running(1)
        try:
            arrays = self._device.fetch(job_id, request)
        except HardwareError:
            self._bar.running(0)
            raise
        self._bar.fetched()
        return arrays


def count_running(ledger: Ledger, run_id: str, device: Device) -> int:
    """Return how many jobs of a run the platform says are running; 0 where it cannot be asked."""
    running = 0
    try:
        for job in ledger.jobs(run_id, "submitted"):
            if job.remote_id is not None:
                running += device.look(job.remote_id).status == "RUNNING"
    except RunError:
        return running  # it is only a display; collecting meets the same trouble and reports it
    return running


def watched(device: Device, bar: RunBar) -> Device:
    """Return a device whose work the bar shows."""
    return _WatchedLocal(device, bar) if isinstance(device, LocalDevice) else device
