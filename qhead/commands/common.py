"""What several verbs share: opening models and data, and talking to the terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from hardware.errors import did_you_mean
from hardware.words import counted
from qhead.commands.arguments import EncoderChoice
from qhead.commands.tables import show_table
from qhead.commands.terminal import is_unicode
from qhead.data import LabelledTexts
from qhead.data.labels import canonical
from qhead.data.texts import shown
from qhead.errors import DataError
from qhead.files import atomic_file

if TYPE_CHECKING:
    from qhead.classifier import TextClassifier
    from qhead.evaluation import Evaluation


def show(record: Mapping[str, Any], *parts: Table | str, json: bool) -> None:
    """Print the result of a verb.

    Args:
        record: The result for machines, JSON-able.
        parts: The result for people, in order: lines, and tables, which become lists on a screen
            that is too narrow for them.
        json: Print `record` as one JSON object in place of `parts`.
    """
    if json:
        print_json(record)
        return
    screen = console()
    for part in parts:
        if isinstance(part, Table):
            show_table(screen, part)
        else:
            screen.print(part, soft_wrap=True)


def print_json(value: Mapping[str, Any], file: IO[str] | None = None) -> None:
    """Print one JSON object to a file; None: standard output."""
    file = file or sys.stdout
    plain = not is_unicode(file)  # JSON can spell every character in ASCII
    file.write(json.dumps(value, indent=2, ensure_ascii=plain, allow_nan=False) + "\n")


@contextmanager
def output(path: Path | None) -> Iterator[IO[str]]:
    """Yield the file to write results to, whole or not there at all; None: standard output.

    Raises:
        InputError: The disk refuses.
    """
    if path is None:
        yield sys.stdout
        return
    with atomic_file(path) as file:
        yield file


def open_model(folder: Path, encoder: EncoderChoice) -> TextClassifier:
    """Load a model folder and its sentence encoder."""
    from qhead.classifier import TextClassifier

    return TextClassifier.load(
        folder, encoder=encoder.place, revision=encoder.revision, cache=encoder.cache
    )


def align_labels(data: LabelledTexts, classes: np.ndarray) -> LabelledTexts:
    """Return the data with its labels in the type of the model's classes.

    A file that happens to hold only some of the labels may read as integers what the training data
    had as strings ("1.0", "2.0", "other"); spelling decides, as `qhead.data.labels` reads it where
    a label is not among the classes as it stands.

    Raises:
        DataError: Labels that the model was not trained on, all of them listed.
    """
    known = {str(label): label for label in classes.tolist()}
    alike = {canonical(name): name for name in known}
    given = [str(label) for label in data.labels.tolist()]
    spelled = [name if name in known else alike.get(canonical(name), name) for name in given]
    pairs = zip(data.labels.tolist(), spelled, strict=True)
    unseen = sorted({label for label, name in pairs if name not in known})
    if unseen:
        first = next(index for index, label in enumerate(spelled) if label not in known)
        raise DataError(
            f"{data.place(first)}: expected one of the labels seen in training "
            f"({shown(known.values())}), got {counted(len(unseen), 'other')}: {shown(unseen)}."
            f"{did_you_mean(spelled[first], known)} Remove or rename these rows, or train on data "
            "that has them."
        )
    labels = np.array([known[label] for label in spelled], dtype=classes.dtype)
    return replace(data, labels=labels)


def evaluation_table(evaluations: Sequence[Evaluation], *, title: str) -> Table:
    """Return a table of evaluations, one row each."""
    table = Table(title=title, title_justify="left")
    for name in ("target", "n", "accuracy", "95 % interval", "F1", "calibration error", "Brier"):
        table.add_column(name, justify="left" if name == "target" else "right")
    table.add_column("undecided", justify="right")
    for row in evaluations:
        table.add_row(
            row.target, str(row.n), percent(row.accuracy), interval(row.accuracy_interval),
            f"{row.f1:.3f}", f"{row.calibration_error:.3f}", f"{row.brier:.3f}",
            str(row.undecided),
        )  # fmt: skip
    return table


def class_table(evaluation: Evaluation) -> Table:
    """Return precision, recall and F1 of each class as a table."""
    table = Table(title="by class", title_justify="left")
    table.add_column("class")
    for name in ("precision", "recall", "F1", "support"):
        table.add_column(name, justify="right")
    for row in evaluation.per_class:
        shares = ("–" if v is None else f"{v:.3f}" for v in (row.precision, row.recall, row.f1))
        table.add_row(str(row.label), *shares, str(row.support))
    return table


def confusion_table(evaluation: Evaluation) -> Table:
    """Return the confusion matrix as a table: rows are true labels."""
    table = Table(title="true label ↓, predicted label →", title_justify="left")
    table.add_column("true")
    for label in evaluation.classes:
        table.add_column(str(label), justify="right")
    for label, row in zip(evaluation.classes, evaluation.confusion, strict=True):
        table.add_row(str(label), *map(str, row))
    return table


def percent(fraction: float) -> str:
    """Return ``76.0 %``."""
    return f"{100 * fraction:.1f} %"


def interval(bounds: tuple[float, float]) -> str:
    """Return ``73.1 – 78.7 %``."""
    return f"{100 * bounds[0]:.1f} – {100 * bounds[1]:.1f} %"


def console() -> Console:
    """Return the console for results; labels are data, never markup."""
    if sys.stdout.isatty():
        return Console(markup=False, highlight=False)
    return _Pipe(markup=False, highlight=False, width=_PIPE_WIDTH)


#: No table is wider; text is not wrapped at all.
_PIPE_WIDTH = 100_000


class _Pipe(Console):
    """A console for a pipe or a file: no blanks at the ends of lines, and text is not wrapped.

    A table keeps its natural width: 80 columns would cut it.
    """

    def print(self, *objects: Any, **options: Any) -> None:
        """Print without what only a screen needs."""
        whole = all(isinstance(item, str) for item in objects)
        with self.capture() as captured:
            super().print(*objects, **{"soft_wrap": whole, **options})
        lines = captured.get().split("\n")
        sys.stdout.write("\n".join(line.rstrip(" ") for line in lines))
