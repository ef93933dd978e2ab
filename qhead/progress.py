"""Progress: a bar on a terminal, lines through `logging` everywhere else.

Without a terminal (a pipe, a file, a job of a cluster) a background thread logs where the work
stands, first after `FIRST_LINE` seconds and then every `NEXT_LINE`, whether or not the work
reports: no wait of more than a few seconds is silent. The command line shows these lines on
standard error.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from hardware.runs.progress import RunStatus
    from qhead.training_options import EpochRecord

#: Seconds before the first line, and between lines.
FIRST_LINE, NEXT_LINE = 5.0, 15.0

_log = logging.getLogger(__name__)


@contextmanager
def training_bar(
    description: str = "training", console: Console | None = None
) -> Iterator[Callable[[EpochRecord, int], None]]:
    """Yield a callback for `train` and `fit`: epochs, loss, validation accuracy, time left.

    Args:
        description: Words before the bar.
        console: Where to draw, if it is a terminal; None: standard error.
    """
    columns = (MofNCompleteColumn(), TextColumn("{task.fields[figures]}"), TimeRemainingColumn())
    with _shown(description, console, columns, unit="epochs") as update:
        yield lambda record, total: update(record.epoch, total, _figures(record))


@contextmanager
def counting_bar(
    description: str, console: Console | None = None
) -> Iterator[Callable[[int, int], None]]:
    """Yield a callback ``(done, total)``, e.g. for sentences embedded.

    Args:
        description: Words before the bar.
        console: Where to draw, if it is a terminal; None: standard error.
    """
    columns = (MofNCompleteColumn(), TimeRemainingColumn())
    with _shown(description, console, columns) as update:
        yield lambda done, total: update(done, total, "")


@contextmanager
def waiting(description: str, console: Console | None = None) -> Iterator[None]:
    """Show that something goes on which cannot say how far it is.

    Args:
        description: What goes on.
        console: Where to draw, if it is a terminal; None: standard error.
    """
    with _shown(description, console, (TimeElapsedColumn(),), transient=True):
        yield


@contextmanager
def run_progress(
    progress: Callable[[RunStatus], None] | bool,
    description: str,
    num_jobs: int,
    console: Console | None = None,
) -> Iterator[Callable[[RunStatus], None] | None]:
    """Yield a callback for where a run on a device stands: jobs under way and done, seconds used.

    Args:
        progress: The caller's own callback, which is yielded as it is; True: a bar; False: None.
        description: Words before the bar.
        num_jobs: Jobs of the run; rounds of adaptive shots add to them.
        console: Where to draw, if it is a terminal; None: standard error.
    """
    if not isinstance(progress, bool):
        yield progress
    elif not progress:
        yield None
    else:
        columns = (MofNCompleteColumn(), TextColumn("{task.fields[figures]}"), TimeElapsedColumn())
        with _shown(description, console, columns, unit="jobs", steady=False) as update:
            yield lambda status: update(
                _ended(status), max(num_jobs, sum(status.jobs.values())), _job_figures(status)
            )


_Update = Callable[[int, int, str], None]


@contextmanager
def _shown(
    description: str,
    console: Console | None,
    columns: tuple[ProgressColumn, ...],
    *,
    unit: str = "",
    transient: bool = False,
    steady: bool = True,
) -> Iterator[_Update]:
    """Yield what shows progress.

    Args:
        unit: What is counted, plural.
        transient: Leave nothing on the screen behind the bar.
        steady: Whether the rate so far tells how long the rest takes.
    """
    if logging.getLogger("qhead").level > logging.INFO:  # silenced on purpose
        yield lambda done, total, figures: None
        return
    if not _is_screen(console):
        lines = _Lines(description, unit, steady)
        with progress_lines(lines):
            yield lines.update
        return
    bar = (TextColumn("{task.description}"), BarColumn(bar_width=24), *columns)
    with Progress(*bar, console=console or Console(stderr=True), transient=transient) as progress:
        task = progress.add_task(description, total=None, figures="")

        def update(done: int, total: int, figures: str) -> None:
            progress.update(task, completed=done, total=total, figures=figures)

        yield update


def _is_screen(console: Console | None) -> bool:
    """Return whether a bar can be drawn: on a terminal, or in a notebook that has widgets."""
    if console is not None:
        return console.is_terminal
    # rich takes a pipe for a terminal where the environment forces colour, hence `isatty`.
    return sys.stderr.isatty() or (Console().is_jupyter and find_spec("ipywidgets") is not None)


class _Lines:
    """Says in one line where some work stands."""

    def __init__(self, description: str, unit: str = "", steady: bool = True) -> None:
        self._description, self._unit, self._steady = description, unit, steady
        self._start = time.monotonic()
        self._state: tuple[int, int, str] | None = None  # done, total, figures

    def update(self, done: int, total: int, figures: str) -> None:
        """Keep the newest state; the thread that logs reads it."""
        self._state = (done, total, figures)

    def __call__(self, *, ended: bool = False) -> str:
        """Return the line of this moment."""
        seconds = time.monotonic() - self._start
        words = [self._description + ":"]
        if self._state is not None:
            done, total, figures = self._state
            words.append(
                f"{done:,} of {total:,}"
                + (f" {self._unit if total != 1 else self._unit[:-1]}" if self._unit else "")
            )
            if done and not ended and self._steady:
                words[-1] += f", {done / seconds:.3g} a second, "
                words[-1] += f"about {duration(seconds / done * (total - done))} left"
            if figures:
                words[-1] += f", {figures}"
            words[-1] += ","
        words.append(duration(seconds) + (" in all" if ended else " so far"))
        return " ".join(words)


@contextmanager
def progress_lines(line: Callable[..., str]) -> Iterator[None]:
    """Log what `line` returns every so often while the block runs, and once more at its end.

    Args:
        line: Called without arguments, and with ``ended=True`` after the block, from a thread.
    """
    over = threading.Event()
    said = threading.Event()

    def run() -> None:
        pause = FIRST_LINE
        while not over.wait(pause):
            _log.info("%s", line())
            said.set()
            pause = NEXT_LINE

    thread = threading.Thread(target=run, name="qhead-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if said.is_set():
        _log.info("%s", line(ended=True))


def duration(seconds: float) -> str:
    """Return ``42 s``, ``7:45`` minutes or ``1:02:03`` hours."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02} min"


def _figures(record: EpochRecord) -> str:
    text = f"loss {record.train_loss:.3f}"
    if record.validation_accuracy is not None:
        text += f"  validation {record.validation_accuracy:.1%}"
    return text


#: States of jobs that are waited for no more and have no result.
_WITHOUT_RESULT = ("failed", "unknown", "cancelled")


def _ended(status: RunStatus) -> int:
    return sum(status.jobs.get(state, 0) for state in ("done", *_WITHOUT_RESULT))


def _job_figures(status: RunStatus) -> str:
    under_way = status.jobs.get("submitting", 0) + status.jobs.get("submitted", 0)
    text = f"{under_way} under way, {status.jobs.get('done', 0)} done"
    if to_send := status.jobs.get("planned"):
        text = f"{to_send} to send, {text}"
    for state in _WITHOUT_RESULT:
        if number := status.jobs.get(state):
            text += f", {number} {state}"
    if not status.run.local:
        unknown = "" if status.charge_known else " + unknown"
        text += f", {status.spending.charged:.1f} s{unknown} used"
    return text
