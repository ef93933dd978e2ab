"""Validation loss of quantum heads with different options: how the defaults were chosen.

    python scripts/choose_options.py DATA [--seeds 10] "num_qubits=9, max_epochs=40" "num_qubits=4"

Each argument after DATA is one candidate: options of `QuantumHead` and of its `TrainingOptions`.
Splits are those of ``heads_table.py``, and only their training and validation parts are looked at:
nothing here sees a test sentence.
"""

from __future__ import annotations

import argparse
import ast
from dataclasses import fields
from typing import Any

import numpy as np

from qhead.data import concatenate, few_shot_split, load_splits
from qhead.encoder.sentence_encoder import SentenceEncoder
from qhead.heads import QuantumHead
from qhead.studies.comparison import half_width
from qhead.training import TrainingOptions

TRAINING = {field.name for field in fields(TrainingOptions)}


def parse(text: str) -> dict[str, Any]:
    """Return the options in ``name=value, name=value``; values are Python literals."""
    call = ast.parse(f"dict({text})", mode="eval").body
    assert isinstance(call, ast.Call)
    return {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("candidates", nargs="+")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--per-class", type=int, default=256)
    options = parser.parse_args()
    merged = concatenate(list(load_splits(options.data).values()))
    X, y = SentenceEncoder().encode(merged.texts), merged.labels
    print("| options | parameters | validation loss | validation accuracy, % | training, s |")
    print("| --- | ---: | ---: | ---: | ---: |", flush=True)
    for text in options.candidates:
        given = parse(text)
        training = TrainingOptions(**{k: v for k, v in given.items() if k in TRAINING})
        head_options = {k: v for k, v in given.items() if k not in TRAINING}
        losses, accuracies, seconds = [], [], []
        for seed in range(options.seeds):
            split = few_shot_split(y, per_class=options.per_class, seed=seed)
            validation = (X[split.validation], y[split.validation])
            head = QuantumHead(training=training, seed=seed, **head_options)
            head.fit(X[split.train], y[split.train], validation=validation)
            losses.append(min(r.validation_loss or np.inf for r in head.history_))
            accuracies.append(100 * head.score(*validation))
            seconds.append(head.training_seconds_ or 0.0)
        print(
            f"| `{text}` | {head.num_parameters} | {np.mean(losses):.3f} ± {half_width(losses):.3f}"
            f" | {np.mean(accuracies):.1f} ± {half_width(accuracies):.1f} "
            f"| {np.median(seconds):.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
