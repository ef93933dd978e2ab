"""``qhead predict``: sentences in, labels with what they are worth out."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from hardware.errors import did_you_mean
from hardware.targets import ExecutionTarget
from qhead.classifier import TextClassifier
from qhead.commands.common import open_model
from qhead.commands.guard import complain
from qhead.data import load_unlabelled
from qhead.errors import InputError
from qhead.files import atomic_file
from qhead.prediction import Prediction, predict_head
from qhead.progress import counting_bar
from qhead.targets import resolve_target

FORMATS = ("csv", "jsonl")
FIELDS = ("text", "label", "probability", "std_error", "decided")

#: Rows that are embedded, predicted and written together.
CHUNK = 1024

# What spreadsheets take for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


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
    seed: int,
    cache: bool,
) -> None:
    """Predict every sentence of a source; all of it is read and checked before the first row."""
    if format not in FORMATS:
        raise InputError(
            f"Expected --format {' or '.join(FORMATS)}, got {format!r}."
            f"{did_you_mean(format, FORMATS)}"
        )
    if out is not None and out.exists() and not force:
        raise InputError(
            f"Expected a new file, got {out}, which exists. Choose another name, or replace it "
            "with --force."
        )
    where = resolve_target(target, seed=seed)
    texts = load_unlabelled(source, text_column=text_column)
    model = open_model(folder, cache=cache)
    if out is None:
        _write(sys.stdout, format, _rows(model, texts, where), raw=raw)
    else:
        with atomic_file(out) as file:
            _write(file, format, _rows(model, texts, where), raw=raw)


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


def _write(file: IO[str], format: str, rows: Iterator[dict[str, Any]], *, raw: bool) -> None:
    if format == "jsonl":
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
        return
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(FIELDS)
    escaped = 0
    for row in rows:
        cells = [row["text"], row["label"]]
        if not raw:
            escaped += sum(_is_formula(cell) for cell in cells)
            cells = ["'" + cell if _is_formula(cell) else cell for cell in cells]
        numbers = [f"{row['probability']:.6g}", f"{row['std_error']:.3g}"]
        writer.writerow([*cells, *numbers, str(row["decided"]).lower()])
    if escaped:
        complain(
            "Note",
            f"{escaped} cell(s) began as a spreadsheet's formula does and have an apostrophe in "
            "front. --raw or --format jsonl leaves them as they are.",
        )


def _is_formula(cell: object) -> bool:
    """Return whether a spreadsheet would run this cell; an integer is a number to it."""
    return isinstance(cell, str) and cell.startswith(_FORMULA)
