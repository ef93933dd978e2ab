"""Test accuracy, parameters and training time of all heads over several seeds, as a table.

    python scripts/heads_table.py DATA [--seeds 10] [--per-class 256] [--json FILE] [--control]

DATA is what `qhead train` takes: a folder of splits (all are merged, as the paper does for SST-2),
a file, a Hub id, or ``demo:reviews``. For each seed the paper's protocol draws `per_class`
sentences of each class, 15 % of them for validation, and tests on all the rest. Choices between
candidates (C of the linear models, kernels, widths) and the best epoch are made on validation; the
quantum heads' options were chosen by mean validation loss over the same seeds (see LOG.md). The
reference of the differences is the classical head of the best mean validation accuracy. All heads
see the same splits, so differences are paired by seed.

With ``--control`` the same code runs on shuffled training labels and on random embeddings: every
head must then score chance.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qhead.data import Split, concatenate, few_shot_split, load_splits
from qhead.encoder.sentence_encoder import SentenceEncoder
from qhead.heads import (
    InspiredHead,
    MLPHead,
    QuantumHead,
    ReducedMLPHead,
    logistic_regression,
    num_trainable_parameters,
    select_on_validation,
    svc,
)
from qhead.studies.comparison import half_width
from qhead.training import TrainingOptions

STRENGTHS = (0.1, 1.0, 10.0, 100.0)
WIDTHS = (0, 48, 96, 144, 192)
#: The training of the classical heads that torch trains.
TORCH = TrainingOptions(learning_rate=0.003, max_epochs=40, weight_decay=0.01)


def one_encoder(seed: int) -> QuantumHead:
    """Return the quantum head with one encoder: the defaults."""
    return QuantumHead(seed=seed)


def two_encoders(seed: int) -> QuantumHead:
    """Return the quantum head with two encoders of half the depth, and so as many parameters."""
    return QuantumHead(num_encoders=2, encoder_layers=18, seed=seed)


@dataclass(frozen=True)
class Row:
    """One head on one split."""

    head: str
    seed: int
    accuracy: float
    validation_accuracy: float
    parameters: int
    effective: int  # of them, those that can influence the output
    seconds: float


Data = tuple[np.ndarray, np.ndarray]


def candidates(seed: int, budget: int) -> dict[str, list[Any]]:
    """Return what is compared: name to candidates, of which validation picks one."""
    reduced = [
        ReducedMLPHead(
            reduction=reduction,
            num_components=k,
            max_parameters=budget,
            training=TORCH,
            seed=seed,
        )
        for reduction in ("pca", "random")
        for k in (8, 16, 32, 64)
    ]
    return {
        "logistic regression": [logistic_regression(C=c) for c in STRENGTHS],
        "SVC": [svc(kernel=k, C=c) for k in ("linear", "rbf") for c in STRENGTHS],
        "MLP": [MLPHead(hidden=h, training=TORCH, seed=seed) for h in WIDTHS],
        "equal-parameter MLP": reduced,
        "inspired": [InspiredHead(num_units=10, training=TORCH, seed=seed)],
        "quantum, 1 encoder": [one_encoder(seed)],
        "quantum, 2 encoders": [two_encoders(seed)],
    }


def score(name: str, seed: int, heads: Sequence[Any], train: Data, val: Data, test: Data) -> Row:
    """Select on validation, then score the choice on test, once; time only the choice's fit."""
    selection = select_on_validation(heads, *train, *val)
    chosen = selection.estimator
    seconds = getattr(chosen, "training_seconds_", None)
    if seconds is None:
        start = time.perf_counter()
        chosen.fit(*train)
        seconds = time.perf_counter() - start
    return Row(
        name,
        seed,
        float(chosen.score(*test)),
        selection.accuracy,
        num_trainable_parameters(chosen),
        getattr(chosen, "num_effective_parameters", num_trainable_parameters(chosen)),
        seconds,
    )


def run(
    X: np.ndarray,
    y: np.ndarray,
    *,
    seeds: int,
    per_class: int,
    spoil: Callable[[Data, np.random.Generator], Data] | None = None,
) -> list[Row]:
    """Return one row a head and seed; `spoil` makes a control of the training data."""
    rows: list[Row] = []
    for seed in range(seeds):
        split: Split = few_shot_split(y, per_class=per_class, seed=seed)
        train, val, test = (
            (X[part], y[part]) for part in (split.train, split.validation, split.test)
        )
        if spoil is not None:
            rng = np.random.default_rng([seed, 99])
            train, val = spoil(train, rng), spoil(val, rng)
        budget = _num_parameters(one_encoder(seed), X.shape[1], len(np.unique(y)))
        for name, heads in candidates(seed, budget).items():
            rows.append(score(name, seed, heads, train, val, test))
            print(".", end="", flush=True)
    print()
    return rows


def _num_parameters(head: QuantumHead, num_features: int, num_classes: int) -> int:
    module = head.build_module(num_features, num_classes, None)
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def shuffled_labels(data: Data, rng: np.random.Generator) -> Data:
    """Return the data with its labels in random order."""
    return data[0], rng.permutation(data[1])


def random_features(data: Data, rng: np.random.Generator) -> Data:
    """Return the data with noise in place of embeddings."""
    return rng.normal(size=data[0].shape).astype(np.float32), data[1]


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table: means over seeds with 95 % t-intervals."""
    names = list(dict.fromkeys(row.head for row in rows))
    by_name = {name: [row for row in rows if row.head == name] for name in names}
    classical = [name for name in names if not name.startswith("quantum")]
    best = max(classical, key=lambda n: float(np.mean([r.validation_accuracy for r in by_name[n]])))
    lines = [
        f"| head | test accuracy, % | − {best}, % | parameters | training, s |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    reference = {row.seed: row.accuracy for row in by_name[best]}
    for name in names:
        own = by_name[name]
        accuracy = [100 * row.accuracy for row in own]
        gap = [100 * (row.accuracy - reference[row.seed]) for row in own]
        sizes = sorted({row.parameters for row in own})
        size = f"{sizes[0]:,}" + (f" – {sizes[-1]:,}" if len(sizes) > 1 else "")
        if own[0].effective < own[0].parameters:
            size += f" ({own[0].effective:,})"
        difference = "" if name == best else f"{np.mean(gap):+.2f} ± {half_width(gap):.2f}"
        lines.append(
            f"| {name} | {np.mean(accuracy):.2f} ± {half_width(accuracy):.2f} | {difference} | "
            f"{size} | {np.median([row.seconds for row in own]):.2g} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--encoder", default=None, help="sentence-transformers model id or folder")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--per-class", type=int, default=256)
    parser.add_argument("--control", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    merged = concatenate(list(load_splits(options.data).values()))
    encoder = SentenceEncoder(options.encoder) if options.encoder else SentenceEncoder()
    X, y = encoder.encode(merged.texts), merged.labels
    size = {"seeds": options.seeds, "per_class": options.per_class}
    parts = {"": None}
    if options.control:
        parts = {"shuffled labels": shuffled_labels, "random features": random_features}
    for title, spoil in parts.items():
        rows = run(X, y, spoil=spoil, **size)
        print(f"{merged.source}, {options.seeds} seeds{', control: ' + title if title else ''}\n")
        print(table(rows), flush=True)
        if options.json:
            path = options.json.with_stem(options.json.stem + title.replace(" ", "-"))
            path.write_text(json.dumps([asdict(row) for row in rows], indent=1))


if __name__ == "__main__":
    main()
