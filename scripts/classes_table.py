"""Quantum head against logistic regression with few sentences and more than two classes.

    python scripts/classes_table.py trec=TREC_FOLDER sst2=SST2_FOLDER demo:support demo:reviews
        [--per-class 8 16 64] [--seeds 10] [--json FILE] [--control] [--train-only]

Each data set is a source, or NAME=SOURCE. For each seed ``--per-class`` sentences of each class are
drawn from the training split and both sides are trained on all of them, with no other choice: the
quantum head's defaults, and logistic regression with scikit-learn's C = 1, or with C chosen by
five-fold cross-validation on the same sentences. They are tested on the test split, or, where a
data set has none, on the sentences that were not drawn. Differences are paired by seed.

With ``--control`` the drawn labels are shuffled: both must then score chance. With ``--train-only``
test sentences are the rest of the training split: the choice of the defaults used nothing else.
"""

from __future__ import annotations

import argparse
import ast
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from qhead.data import load_splits
from qhead.encoder.sentence_encoder import SentenceEncoder
from qhead.heads import QuantumHead, num_trainable_parameters
from qhead.studies.comparison import half_width
from qhead.training import TrainingOptions

STRENGTHS = [0.1, 1.0, 10.0, 100.0]


@dataclass(frozen=True)
class Row:
    """One draw of one data set."""

    data: str
    classes: int
    per_class: int
    seed: int
    test_size: int
    quantum: float
    logistic: float  # C = 1
    searched: float  # C by cross-validation
    parameters: int
    effective: int
    logistic_parameters: int
    qubits: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Data:
    """Embeddings and labels: where to draw from, and what to test on if there is a test split."""

    name: str
    X: np.ndarray  # (n, d)
    y: np.ndarray  # (n,)
    test: tuple[np.ndarray, np.ndarray] | None


def load(source: str, encoder: SentenceEncoder, *, train_only: bool) -> Data:
    """Embed a data set, given as a source or as NAME=SOURCE."""
    name, _, path = source.rpartition("=")
    splits = load_splits(path)
    train, test = splits["train"], None if train_only else splits.get("test")
    pair = None if test is None else (encoder.encode(test.texts), np.asarray(test.labels))
    name = name or path.removeprefix("demo:")
    return Data(name, encoder.encode(train.texts), np.asarray(train.labels), pair)


def one(data: Data, per_class: int, seed: int, options: dict[str, Any], *, control: bool) -> Row:
    """Train both sides on one draw and score them."""
    rng = np.random.default_rng([seed, per_class])
    classes = np.unique(data.y)
    drawn = [
        rng.choice(np.flatnonzero(data.y == label), per_class, replace=False) for label in classes
    ]
    rows = np.concatenate(drawn)
    rest = np.setdiff1d(np.arange(len(data.y)), rows)
    X, y = data.X[rows], data.y[rows]
    if control:
        y = rng.permutation(y)
    test = data.test or (data.X[rest], data.y[rest])
    training = {k: v for k, v in options.items() if k in TrainingOptions.__dataclass_fields__}
    head = QuantumHead(
        **{k: v for k, v in options.items() if k not in training},
        training=TrainingOptions(**{"validation_fraction": 0.0, **training}),
        seed=seed,
    ).fit(X, y)
    linear = LogisticRegression(max_iter=5000).fit(X, y)
    search = GridSearchCV(LogisticRegression(max_iter=5000), {"C": STRENGTHS}, cv=5).fit(X, y)
    return Row(
        data.name,
        len(classes),
        per_class,
        seed,
        len(test[1]),
        float(head.score(*test)),
        float(linear.score(*test)),
        float(search.score(*test)),
        head.num_parameters,
        head.num_effective_parameters,
        num_trainable_parameters(linear),
        head.num_qubits_,
        head.training_seconds_ or 0.0,
    )


def line(rows: list[Row]) -> str:
    """Return a Markdown row of the draws of one data set and size."""
    first = rows[0]
    scores = {name: np.array([100 * getattr(r, name) for r in rows]) for name in COLUMNS}
    cells = [
        f"{scores[name].mean():.1f} ± {half_width(list(scores[name])):.1f}" for name in COLUMNS
    ]
    gaps = [scores["quantum"] - scores[name] for name in COLUMNS[1:]]
    cells += [f"{gap.mean():+.1f} ± {half_width(list(gap)):.1f}" for gap in gaps]
    size = f"{first.parameters} ({first.effective})"
    return (
        f"| {first.data}, {first.classes} classes | {first.per_class} | {' | '.join(cells)} | "
        f"{size} | {np.median([r.seconds for r in rows]):.1f} |"
    )


COLUMNS = ("quantum", "logistic", "searched")
HEADER = """\
| data | a class | quantum, % | logistic regression, % | with C searched, % | quantum − logistic \
| quantum − searched | parameters (effective) | training, s |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+")
    parser.add_argument("--per-class", type=int, nargs="+", default=[8, 16, 64])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--options", default="", help='of the head: "num_measured=4, ridge=3.0"')
    parser.add_argument("--control", action="store_true")
    parser.add_argument("--train-only", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    call = ast.parse(f"dict({given.options})", mode="eval").body
    assert isinstance(call, ast.Call)
    options = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
    encoder = SentenceEncoder()
    print(HEADER, flush=True)
    table = []
    for source in given.data:
        data = load(source, encoder, train_only=given.train_only)
        for per_class in given.per_class:
            rows = [
                one(data, per_class, seed, options, control=given.control)
                for seed in range(given.seeds)
            ]
            print(line(rows), flush=True)
            table += rows
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in table], indent=1))


if __name__ == "__main__":
    main()
