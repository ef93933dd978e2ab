"""The demonstration: sentences that ship with qhead, a quantum head, its controls, four targets."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from qhead.classifier import TextClassifier
from qhead.data import holdout_split, load_texts
from qhead.encoder.sentence_encoder import SentenceEncoder
from qhead.evaluation import evaluate_prediction
from qhead.heads import QuantumHead, TorchHead, num_trainable_parameters
from qhead.prediction import predict_head
from qhead.progress import counting_bar, training_bar, waiting
from qhead.provenance import current_versions
from qhead.report import figures
from qhead.report.model_page import (
    circuit_caption,
    curves,
    drawing,
    head_figures,
    training_facts,
    version_facts,
)
from qhead.report.page import Emulation, Fact, Page, Row
from qhead.studies.comparison import HEAD_MAKERS
from qhead.targets import resolve_target

DATA = "demo:reviews"
TARGETS = ("exact", "shots:1024", "noisy:0.001,0.01:1024", "aer:fez:1024")
QUANTUM = "quantum"
#: The classical heads beside it, by the names that the table gives them.
CONTROLS = {
    "logistic regression": "linear",
    "MLP, 48 hidden": "mlp",
    "equal-parameter MLP": "reduced_mlp",
    "inspired": "inspired",
}

VALIDATION_FRACTION, TEST_FRACTION = 0.15, 0.25


@dataclass(frozen=True, eq=False)
class Demonstration:
    """What the demonstration found."""

    model: TextClassifier  # encoder and quantum head
    heads: dict[str, Any]  # fitted, by name; the quantum head first
    rows: tuple[Row, ...]  # the quantum head on every target, then the controls
    counts: dict[str, int]  # sentences of each part
    chance: float  # share of the most frequent label of the test set
    seed: int
    seconds: float


def quantum_head(seed: int) -> QuantumHead:
    """Return the head of the demonstration: the default one, but with nearest-neighbour gates.

    A device runs those without routing, so that its noise leaves something.
    """
    return QuantumHead(topology="chain", seed=seed)


def demonstrate(
    *,
    seed: int,
    cache: bool = True,
) -> Demonstration:
    """Embed, train and evaluate, with progress bars on a terminal.

    Args:
        seed: Seed of the split, of all heads and of all shots.
        cache: Whether the user's cache of embeddings is used.
    """
    start = time.perf_counter()
    data = load_texts(DATA)
    split = holdout_split(
        data.labels,
        validation_fraction=VALIDATION_FRACTION,
        test_fraction=TEST_FRACTION,
        seed=seed,
    )
    encoder = SentenceEncoder(cache=cache)
    with counting_bar("embedding") as bar:
        embeddings = encoder.encode(
            data.texts, progress=lambda done, total: bar(done, total)
        )  # (n, d)
    scored = _Scored(embeddings[split.test], data.labels[split.test], seed)
    validation = (embeddings[split.validation], data.labels[split.validation])
    model = TextClassifier(encoder, quantum_head(seed))
    with training_bar(f"training {QUANTUM}") as training:
        model.fit_embedded(
            encoder,
            data.rows(split.train),
            embeddings[split.train],
            validation=validation,
            progress=training,
        )
    heads: dict[str, Any] = {QUANTUM: model.head_}
    rows = [scored.on(target, QUANTUM, model.head_) for target in TARGETS]
    rows[0] = dataclasses.replace(rows[0], training_seconds=model.head_.training_seconds_)
    for name, kind in CONTROLS.items():
        head = HEAD_MAKERS[kind](seed, embeddings[split.train].shape, len(data.classes))
        options = {"validation": validation} if isinstance(head, TorchHead) else {}
        began = time.perf_counter()
        with waiting(f"training {name}"):
            heads[name] = head.fit(embeddings[split.train], data.labels[split.train], **options)
        trained = time.perf_counter() - began
        rows.append(dataclasses.replace(scored.on("exact", name, head), training_seconds=trained))
    model.data_["seed"] = seed
    model.metrics_ = {"test": rows[0].evaluation.as_dict()}
    return Demonstration(
        model=model,
        heads=heads,
        rows=tuple(rows),
        counts={name: len(getattr(split, name)) for name in ("train", "validation", "test")},
        chance=float(np.unique(scored.labels, return_counts=True)[1].max() / len(scored.labels)),
        seed=seed,
        seconds=time.perf_counter() - start,
    )


@dataclass(frozen=True, eq=False)
class _Scored:
    """The test set, on which every head and target is scored."""

    embeddings: np.ndarray  # (n, d)
    labels: np.ndarray  # (n,)
    seed: int

    def on(self, target: str, name: str, head: Any) -> Row:
        """Return the scores of one head on one target."""
        start = time.perf_counter()
        with waiting(f"{name} on {target}"):
            prediction = predict_head(head, self.embeddings, resolve_target(target, seed=self.seed))
        seconds = time.perf_counter() - start
        evaluation = evaluate_prediction(prediction, self.labels, head.classes_)
        return Row(
            name=name,
            evaluation=dataclasses.replace(evaluation, seconds=seconds),
            parameters=num_trainable_parameters(head),
            seconds=seconds,
            subject=name == QUANTUM,
        )


def demonstration_page(result: Demonstration) -> Page:
    """Return the report page of a demonstration."""
    exact = result.rows[0].evaluation
    subject = [row for row in result.rows if row.subject]
    scores = [
        figures.Score(
            f"{row.name} · {row.evaluation.target}" if row.subject else row.name,
            row.evaluation.accuracy,
            row.evaluation.accuracy_interval,
            row.subject,
        )
        for row in result.rows
    ]
    low, high = exact.accuracy_interval
    accuracy = Fact(
        "accuracy, exact",
        f"{100 * exact.accuracy:.1f} %",
        # It breaks at the comma alone.
        f"{100 * low:.1f} – {100 * high:.1f} % at 95 %, n = {exact.n}".replace(
            " ", "\u00a0"
        ).replace(",\u00a0", ", "),
    )
    return Page(
        title="qhead demo",
        summary="Hand-worded reviews, embedded by a frozen sentence transformer and classified by "
        "a quantum head: exactly, with finite shots, with depolarising gate noise and under a "
        "device's calibration, beside classical heads on the same sentences.",
        key_figures=[accuracy, *head_figures(result.model.head_)],
        rows=result.rows,
        rows_caption="One split and one seed: the intervals are those of the test set alone "
        "(Wilson, 95 %); heads whose intervals overlap may be equally good. Undecided: labels that "
        "are too close to call at this shot count.",
        accuracies=figures.accuracies(scores, chance=result.chance),
        curves=curves(result.heads),
        confusions=[(row.evaluation.target, row.evaluation) for row in subject],
        circuit=drawing(result.model.head_),
        circuit_caption=circuit_caption(result.model.head_),
        emulations=[
            Emulation(row.evaluation.target, row.evaluation.notes)
            for row in subject
            if row.evaluation.notes
        ],
        facts=[
            Fact("seed", str(result.seed)),
            Fact("sentences", ", ".join(f"{n} {part}" for part, n in result.counts.items())),
            *training_facts(result.model),
            Fact("whole demo", f"{result.seconds:.0f} s"),
            *version_facts(current_versions()),
        ],
    )
