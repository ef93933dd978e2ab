"""``qhead predict``: sentences in, labels with what they are worth out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hardware.errors import RunError
from hardware.targets import ExecutionTarget
from qhead.classifier import TextClassifier
from qhead.commands.common import open_model
from qhead.commands.rows import check_format, write_rows
from qhead.commands.short_form import ShortForm
from qhead.commands.specs import is_device
from qhead.data import load_unlabelled
from qhead.files import atomic_file, check_new
from qhead.prediction import Prediction, predict_head
from qhead.progress import counting_bar
from qhead.targets import resolve_target

FIELDS = ("text", "label", "probability", "std_error", "decided")

#: Rows that are embedded, predicted and written together.
CHUNK = 1024


def run(
    folder: Path,
    source: str,
    *,
    target: str,
    format: str,
    out: Path | None,
    force: bool,
    raw: bool,
    text_column: str | None,
    short: ShortForm,
    seed: int,
    cache: bool,
) -> None:
    """Predict every sentence of a source; all of it is read and checked before the first row."""
    check_format(format)
    check_new(out, force=force)
    short.check(target)
    where = None if is_device(target) else resolve_target(target, seed=seed)
    texts = load_unlabelled(source, text_column=text_column)
    model = open_model(folder, cache=cache)
    outcome = None
    if is_device(target):
        # The platform's client takes a second to import.
        from qhead.commands.blocking import all_rows, run_now

        outcome = run_now(
            folder, source, texts, short,
            target=target, columns=(text_column, None), seed=seed, model=model,
        )  # fmt: skip
        rows = all_rows(outcome, texts)
    else:
        rows = _rows(model, texts, where)
    if out is None:
        write_rows(sys.stdout, rows, fields=FIELDS, format=format, raw=raw)
    else:
        with atomic_file(out) as file:
            write_rows(file, rows, fields=FIELDS, format=format, raw=raw)
    if outcome is not None and outcome.rows.missing:
        raise RunError(f"Expected results of all rows, but {outcome.explain_missing()}")


def _rows(
    model: TextClassifier, texts: tuple[str, ...], target: ExecutionTarget | None
) -> Iterator[dict[str, Any]]:
    # A target other than exact gets all rows at once: it decides how to batch them, and a seeded
    # one would draw the same shots again for each chunk.
    size = CHUNK if target is None else len(texts)
    with counting_bar("predicting") as progress:
        for start in range(0, len(texts), size):
            part = texts[start : start + size]
            prediction = predict_head(model.head_, model.embed(part), target)
            progress(start + len(part), len(texts))
            yield from _records(part, prediction)


def _records(texts: tuple[str, ...], prediction: Prediction) -> Iterator[dict[str, Any]]:
    columns = zip(
        texts,
        prediction.labels.tolist(),
        prediction.winning.tolist(),
        prediction.std_errors.tolist(),
        prediction.decided.tolist(),
        strict=True,
    )
    for values in columns:
        yield dict(zip(FIELDS, values, strict=True))
