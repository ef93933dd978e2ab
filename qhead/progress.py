"""Progress bars: on a terminal, and never in a pipe or a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from qhead.training import EpochRecord


@contextmanager
def training_bar(
    description: str = "training", console: Console | None = None
) -> Iterator[Callable[[EpochRecord, int], None]]:
    """Yield a callback for `train` and `fit`: epochs, loss, validation accuracy, time left.

    Args:
        description: Words before the bar.
        console: Where to draw, if it is a terminal; None: standard error.
    """
    with _progress(console, TextColumn("{task.fields[figures]}")) as progress:
        if progress is None:
            yield lambda record, total: None
            return
        task = progress.add_task(description, total=None, figures="")

        def advance(record: EpochRecord, total: int) -> None:
            progress.update(task, completed=record.epoch, total=total, figures=_figures(record))

        yield advance


@contextmanager
def counting_bar(
    description: str, console: Console | None = None
) -> Iterator[Callable[[int, int], None]]:
    """Yield a callback ``(done, total)``, e.g. for sentences embedded.

    Args:
        description: Words before the bar.
        console: Where to draw, if it is a terminal; None: standard error.
    """
    with _progress(console) as progress:
        if progress is None:
            yield lambda done, total: None
            return
        task = progress.add_task(description, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def _progress(console: Console | None, *columns: TextColumn) -> Iterator[Progress | None]:
    """Yield a bar, or None where nobody would see it."""
    # rich takes a pipe for a terminal where the environment forces colour, hence `isatty`.
    if not (sys.stderr.isatty() if console is None else console.is_terminal):
        yield None
        return
    bar = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn())
    with Progress(
        *bar, *columns, TimeRemainingColumn(), console=console or Console(stderr=True)
    ) as progress:
        yield progress


def _figures(record: EpochRecord) -> str:
    text = f"loss {record.train_loss:.3f}"
    if record.validation_accuracy is not None:
        text += f"  validation {record.validation_accuracy:.1%}"
    return text
