"""``qhead predict``: sentences in; labels, probabilities and standard errors out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from qhead.cli.options import Json, Model, RowsOut, SavedEncoder, Seed, Target, TextColumn
from qhead.cli.short_run import ShortRun, run_now, sentences_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hardware.targets import ExecutionTarget
    from qhead.classifier import TextClassifier

#: Rows that are embedded, predicted and written together.
CHUNK = 1024


def predict(
    model: Model,
    columns: TextColumn,
    encoder: SavedEncoder,
    device: ShortRun,
    rows_out: RowsOut,
    file: Annotated[
        str,
        typer.Argument(
            metavar="[FILE|-]",
            help="Data file, .txt file with one sentence per line, or - for standard input.",
        ),
    ] = "-",
    target: Target = "exact",
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Predict labels, with probability, standard error and whether each label is decided."""
    from hardware.devices.named import is_device
    from qhead.cli.rows import write_rows
    from qhead.data.loading import load_unlabelled
    from qhead.targets import resolve_target

    rows_out.check()
    device.check(target)
    on_device = is_device(target)
    where = None if on_device else resolve_target(target, seed=seed)
    classifier = encoder.model(model)  # before anybody types sentences for it
    texts = load_unlabelled(file, text_column=columns.text_column, skip_empty=columns.skip_empty)
    found = None
    notes: list[str] = []
    if on_device:
        sentences = sentences_of(file, texts, columns)
        found = run_now(classifier, sentences, target, device, columns, seed)
        rows = found.records(numbered=False, whole=True)
        notes += found.prediction.notes
    else:
        rows = _rows(classifier, texts, where, notes)
    about = {"model": str(model), "data": file, "target": target, "seed": seed}
    write_rows(
        rows,
        rows_out,
        about | ({} if found is None else found.run_record()),
        fields=("text", "label", "probability", "std_error", "decided"),
        notes=notes,
        json=json,
    )
    if found is not None and found.missing:
        raise found.missing_error()


def _rows(
    model: TextClassifier, texts: tuple[str, ...], target: ExecutionTarget | None, notes: list[str]
) -> Iterator[dict[str, Any]]:
    """Yield a record a sentence; what the target says of itself is added to `notes`."""
    from qhead.prediction import predict_head
    from qhead.progress import counting_bar, waiting
    from qhead.training_run import embedded

    if target is not None:
        # All rows at once: the target decides how to batch them, and a seeded one would draw the
        # same shots again for each chunk.
        embeddings = embedded(model.encoder_, "", texts)
        with waiting(f"predicting {len(texts):,} sentences"):
            prediction = predict_head(model.head_, embeddings, target)
        notes += prediction.notes
        yield from prediction.records(texts)
        return
    with counting_bar("predicting") as bar:
        for start in range(0, len(texts), CHUNK):
            part = texts[start : start + CHUNK]
            embeddings = model.embed(
                part, progress=lambda done, _, start=start: bar(start + done, len(texts))
            )
            yield from predict_head(model.head_, embeddings).records(part)
