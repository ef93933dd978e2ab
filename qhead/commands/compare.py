"""``qhead compare``: heads on the user's own data, with paired intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.table import Table

from qhead.commands.arguments import EncoderChoice
from qhead.commands.common import percent, show
from qhead.commands.guard import complain
from qhead.data import LabelledTexts, duplicates_across, imbalance, load_splits
from qhead.embeddings import DEFAULT_MODEL, SentenceEncoder
from qhead.errors import DataError
from qhead.progress import counting_bar
from qhead.studies.comparison import HeadSummary, compare_heads, head_makers, summarise


def run(
    source: str,
    *,
    heads: str,
    num_seeds: int,
    per_class: int | None,
    test_fraction: float,
    control: bool,
    columns: tuple[str | None, str | None],
    skip_empty: bool,
    encoder: EncoderChoice,
    seed: int,
    json: bool,
) -> None:
    """Embed once, train every head with every seed, print means and paired differences."""
    makers = head_makers(heads.split(","))
    text_column, label_column = columns
    splits = load_splits(
        source, text_column=text_column, label_column=label_column, skip_empty=skip_empty
    )
    if "train" not in splits:
        raise DataError(
            f"{source} has no split 'train', only {', '.join(splits)}. Give the file to train on."
        )
    train, test = splits["train"], splits.get("test")
    train.check_trainable()
    if test is not None:
        test.check_labels(train.classes.tolist())
    notes = _notes(train, test, per_class)
    for note in notes:
        complain("Note", note)
    model = SentenceEncoder(
        encoder.place or DEFAULT_MODEL, revision=encoder.revision, cache=encoder.cache
    )
    embeddings = _embed(model, train)  # (n, d)
    held = None if test is None else (_embed(model, test), test.labels)
    seeds = range(seed, seed + num_seeds)
    found = {}
    for name in ("heads", "control") if control else ("heads",):
        with counting_bar("training" if name == "heads" else "training on shuffled labels") as bar:
            found[name] = compare_heads(
                embeddings,
                train.labels,
                makers,
                seeds=seeds,
                per_class=per_class,
                test=held,
                test_fraction=test_fraction,
                shuffled=name == "control",
                progress=lambda done, total: bar(done, total),
            )
    summaries = {name: summarise(rows) for name, rows in found.items()}
    labels = train.labels if test is None else test.labels
    chance = float(np.unique(labels, return_counts=True)[1].max() / len(labels))
    first = found["heads"][0]
    record = {
        "data": train.source,
        "data_fingerprint": train.fingerprint,
        "encoder": model.config()["model"],
        "seeds": list(seeds),
        "per_class": per_class,
        "train": first.num_train,
        "test": first.num_test,
        "chance": chance,
        "reference": first.head,
        **{name: [asdict(each) for each in summary] for name, summary in summaries.items()},
        "rows": {name: [asdict(row) for row in rows] for name, rows in found.items()},
        "notes": notes,
    }
    title = (
        f"{train.source}: {first.num_train} sentences to train on, {first.num_test} to test on, "
        f"{num_seeds} seeds"
    )
    tables = [_table(summaries["heads"], first.head, title)]
    if control:
        tables.append(
            _table(summaries["control"], first.head, "the same with shuffled training labels")
        )
    show(
        record,
        *tables,
        "±: Student's 95 % interval over the seeds; differences are paired by seed.",
        f"The most frequent label alone scores {percent(chance)}.",
        json=json,
    )


def _embed(model: SentenceEncoder, part: LabelledTexts) -> np.ndarray:
    with counting_bar("embedding") as bar:
        return model.encode(part.texts, progress=lambda done, total: bar(done, total))


def _notes(train: LabelledTexts, test: LabelledTexts | None, per_class: int | None) -> list[str]:
    notes: list[Any] = [*imbalance(train)]
    if test is None:
        return notes
    if per_class is None:
        notes.append(
            "All seeds share the data set's own splits: the intervals are those of initial weights "
            "and batches alone. --per-class N draws other sentences for each seed."
        )
    if pairs := duplicates_across(train.texts, test.texts):
        notes.append(f"{len(pairs)} of {len(test)} test sentences are training sentences too.")
    return notes


def _table(rows: Sequence[HeadSummary], reference: str, title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("head")
    for name in ("accuracy, %", f"− {reference}, %", "F1", "parameters", "training"):
        table.add_column(name, justify="right")
    for row in rows:
        gap = ""
        if row.difference is not None and row.difference_half_width is not None:
            gap = f"{100 * row.difference:+.1f} ± {100 * row.difference_half_width:.1f}"
        table.add_row(
            row.head,
            f"{100 * row.accuracy:.1f} ± {100 * row.accuracy_half_width:.1f}",
            gap,
            f"{row.f1:.3f} ± {row.f1_half_width:.3f}",
            f"{row.parameters:,}",
            f"{row.training_seconds:.2g} s",
        )
    return table
