"""``qhead predict``: sentences in, labels with what they are worth out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hardware.devices.named import is_device
from hardware.targets import ExecutionTarget
from qhead.classifier import TextClassifier
from qhead.commands.arguments import EncoderChoice
from qhead.commands.common import open_model, output, print_json
from qhead.commands.guard import complain
from qhead.commands.rows import check_format, write_rows
from qhead.commands.short_form import ShortForm
from qhead.data import load_unlabelled
from qhead.files import check_new
from qhead.prediction import Prediction, predict_head
from qhead.progress import counting_bar, waiting
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
    json: bool,
    out: Path | None,
    force: bool,
    raw: bool,
    text_column: str | None,
    short: ShortForm,
    seed: int,
    encoder: EncoderChoice,
) -> None:
    """Predict every sentence of a source; all of it is read and checked before the first row."""
    check_format(format)
    check_new(out, force=force)
    short.check(target)
    where = None if is_device(target) else resolve_target(target, seed=seed)
    model = open_model(folder, encoder)  # before anybody types sentences for it
    texts = load_unlabelled(source, text_column=text_column, skip_empty=short.skip_empty)
    outcome = None
    notes: list[str] = []
    if is_device(target):
        # The platform's client takes a second to import.
        from qhead.commands.blocking import all_rows, run_now

        outcome = run_now(
            folder, source, texts, short,
            target=target, columns=(text_column, None), seed=seed, model=model,
        )  # fmt: skip
        rows = all_rows(outcome)
        notes += outcome.rows.prediction.notes
    else:
        rows = _rows(model, texts, where, notes)
    with output(out) as file:
        if not json:
            write_rows(file, rows, fields=FIELDS, format=format, raw=raw)
        else:
            about = {"model": str(folder), "data": source, "target": target, "seed": seed}
            run_in_numbers = {} if outcome is None else outcome.told()
            print_json(about | {"predictions": list(rows), "notes": notes} | run_in_numbers, file)
    if not json:
        for note in notes:
            complain("Note", note)
    if outcome is not None and outcome.rows.missing:
        from qhead.runs.predictions import missing_error

        raise missing_error(outcome.status, outcome.explain_missing())


def _rows(
    model: TextClassifier,
    texts: tuple[str, ...],
    target: ExecutionTarget | None,
    notes: list[str],
) -> Iterator[dict[str, Any]]:
    """Yield a record a sentence; what the target says of itself is added to `notes`."""
    if target is not None:
        # All rows at once: the target decides how to batch them, and a seeded one would draw the
        # same shots again for each chunk.
        with counting_bar("embedding") as progress:
            embeddings = model.embed(texts, progress=lambda done, total: progress(done, total))
        with waiting(f"predicting {len(texts):,} sentences"):
            prediction = predict_head(model.head_, embeddings, target)
        notes += prediction.notes
        yield from _records(texts, prediction)
        return
    with counting_bar("predicting") as progress:
        for start in range(0, len(texts), CHUNK):
            part = texts[start : start + CHUNK]
            embeddings = model.embed(
                part, progress=lambda done, _, start=start: progress(start + done, len(texts))
            )
            yield from _records(part, predict_head(model.head_, embeddings))


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
