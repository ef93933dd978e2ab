"""``qhead evaluate``: what a model is worth on labelled sentences."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

from qhead.commands.common import (
    align_labels,
    confusion_table,
    console,
    evaluation_table,
    load_split,
    open_model,
    print_json,
)
from qhead.evaluation import evaluate_prediction
from qhead.prediction import predict_head
from qhead.progress import counting_bar
from qhead.targets import resolve_target


def run(
    folder: Path,
    source: str,
    *,
    target: str,
    split: str | None,
    columns: tuple[str | None, str | None],
    seed: int,
    json: bool,
    cache: bool,
) -> None:
    """Score the model of a folder on one split of a data set, on one target."""
    where = resolve_target(target, seed=seed)
    data = load_split(source, split, columns)
    model = open_model(folder, cache=cache)
    data = align_labels(data, model.classes_)
    with counting_bar("embedding") as bar:
        embeddings = model.embed(data.texts, progress=lambda done, total: bar(done, total))
    start = time.perf_counter()
    prediction = predict_head(model.head_, embeddings, where)
    result = dataclasses.replace(
        evaluate_prediction(prediction, data.labels, model.classes_),
        seconds=time.perf_counter() - start,
    )
    if json:
        print_json(
            {
                "model": str(folder),
                "data": data.source,
                "data_fingerprint": data.fingerprint,
                "seed": seed,
                **result.as_dict(),
            }
        )
        return
    screen = console()
    screen.print(evaluation_table([result], title=f"{folder} on {data.source}"))
    screen.print(confusion_table(result))
    for note in result.notes:
        screen.print(f"· {note}")
