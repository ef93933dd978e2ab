"""``qhead evaluate``: what a model is worth on labelled sentences."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

from hardware.devices.named import is_device
from qhead.commands.arguments import EncoderChoice
from qhead.commands.common import (
    align_labels,
    class_table,
    confusion_table,
    evaluation_table,
    open_model,
    show,
)
from qhead.commands.guard import complain
from qhead.commands.short_form import ShortForm
from qhead.data import LabelledTexts, contradictions, imbalance
from qhead.data.loading import load_split
from qhead.evaluation import Evaluation, evaluate_prediction
from qhead.prediction import predict_head
from qhead.progress import counting_bar, waiting
from qhead.targets import resolve_target


def run(
    folder: Path,
    source: str,
    *,
    target: str,
    split: str | None,
    columns: tuple[str | None, str | None],
    short: ShortForm,
    seed: int,
    json: bool,
    encoder: EncoderChoice,
) -> None:
    """Score the model of a folder on one split of a data set, on one target."""
    short.check(target)
    if short.run is not None or is_device(target):
        data, result, told = _on_device(
            folder, source, target, split, columns, short, seed, encoder
        )
    else:
        where = resolve_target(target, seed=seed)
        data = load_split(source, split, columns, skip_empty=short.skip_empty)
        model = open_model(folder, encoder)
        data = align_labels(data, model.classes_)
        with counting_bar("embedding") as bar:
            embeddings = model.embed(data.texts, progress=lambda done, total: bar(done, total))
        start = time.perf_counter()
        with waiting(f"predicting {len(data):,} sentences on {target}"):
            prediction = predict_head(model.head_, embeddings, where)
        result = dataclasses.replace(
            evaluate_prediction(prediction, data.labels, model.classes_),
            seconds=time.perf_counter() - start,
        )
        told = {}
    for remark in (remarks := (*contradictions(data), *imbalance(data))):
        complain("Note", remark)
    record = dataclasses.replace(result, notes=(*result.notes, *remarks)).as_dict()
    named = {
        "model": str(folder),
        "data": data.source,
        "data_fingerprint": data.fingerprint,
        "seed": seed,
    }
    show(
        {**named, **record, **told},
        evaluation_table([result], title=f"{folder} on {data.source}"),
        class_table(result),
        confusion_table(result),
        *(f"· {note}" for note in result.notes),
        json=json,
    )


def _on_device(
    folder: Path,
    source: str,
    target: str,
    split: str | None,
    columns: tuple[str | None, str | None],
    short: ShortForm,
    seed: int,
    encoder: EncoderChoice,
) -> tuple[LabelledTexts, Evaluation, dict[str, Any]]:
    """Run the sentences on a device, or take a run of the ledger, and score what came."""
    # The platform's client takes a second to import.
    from qhead.commands.blocking import check_whole, from_ledger, run_now

    data = load_split(source, split, columns, skip_empty=short.skip_empty)
    model = open_model(folder, encoder)
    data = align_labels(data, model.classes_)  # before anything is paid for
    start = time.perf_counter()
    if short.run is not None:
        outcome = from_ledger(folder, data.texts, short.run, model)
    else:
        outcome = run_now(
            folder, source, data.texts, short,
            target=target, split=split, columns=columns, seed=seed, model=model,
        )  # fmt: skip
    check_whole(outcome, partial=short.partial)
    result = dataclasses.replace(
        evaluate_prediction(
            outcome.rows.prediction, data.labels[outcome.rows.rows], model.classes_
        ),
        seconds=time.perf_counter() - start,
    )
    named = f"Run {outcome.status.run.id}."
    result = dataclasses.replace(result, notes=(*result.notes, named))
    return data, result, outcome.told()
