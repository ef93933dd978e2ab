"""What training under noise and shots is worth, against recalibration and against nothing.

    python scripts/finetuning_table.py sst2=SST2_FOLDER trec=TREC_FOLDER [--seeds 5]
        [--targets SPEC ...] [--heads default ring] [--json FILE] [--picture FILE]

For each seed a head is trained exactly, on ``--per-class`` sentences of each class less 15 % for
validation, and read on a target, the rest of the sentences being the test:

- nothing: as it is;
- recalibrated: a line for each observable, fitted on the validation sentences;
- read-out refitted: logistic regression on the target's values of the training sentences, its C
  chosen on validation;
- trained on, exactly: as many epochs more without noise, the control of the next two;
- fine-tuned: the circuit and the read-out trained on the target, by parameter shift or SPSA; "then
  recalibrated" does both;
- with ``--scratch``: all of it, encoders included, trained on the target from the first step.

All arms of a seed share sentences and shots' seeds; differences are paired. Today's rates are the
medians of fake_fez (one-qubit, two-qubit and read-out error, as depolarising λ), then a tenth.
``--picture`` draws the validation loss over the QPU seconds of a training on ``fake:fez``, from
scratch with ``--scratch``.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import log_softmax

from hardware.circuits.readout import AffineReadout, recalibrate
from hardware.errors import InvalidInputError
from hardware.targets import parse_target
from hardware.workload import Workload
from qhead import Finetuning, FinetuningOptions, QuantumHead, TextClassifier
from qhead.data import concatenate, few_shot_split, load_splits
from qhead.heads import logistic_regression
from qhead.simulator import ExactTarget
from qhead.studies.comparison import half_width

SHOTS = 1024
#: λ of depolarising errors with fake_fez's medians, 2.3e-4 and 3.9e-3; 0.76 % of bits flipped.
TODAY = (0.00046, 0.0052, 0.0076)
TARGETS = tuple(f"noisy:{','.join(f'{rate * x:g}' for rate in TODAY)}:{SHOTS}" for x in (1, 0.1))
STRENGTHS = (0.1, 1.0, 10.0, 100.0)
REFERENCE = "recalibrated"


def ring(seed: int) -> QuantumHead:
    """Return a deeper head of the paper's form on six qubits, two uploads."""
    return QuantumHead(num_qubits=6, connectivity=2, num_reuploads=2, seed=seed)


HEADS = {"default": lambda seed: QuantumHead(seed=seed), "ring": ring}


@dataclass(frozen=True)
class Row:
    """One arm of one seed on one target."""

    data: str
    head: str
    target: str
    arm: str
    seed: int
    accuracy: float
    loss: float  # mean negative log-likelihood, nats
    best_epoch: int | None = None


@dataclass(frozen=True, eq=False)
class Sentences:
    """Sentences of one part with their labels and embeddings."""

    texts: list[str]
    labels: np.ndarray
    X: np.ndarray

    @classmethod
    def of(cls, data: Any, rows: np.ndarray, model: TextClassifier) -> Sentences:
        """Return the rows of a data set."""
        texts = [data.texts[i] for i in rows]
        return cls(texts, data.labels[rows], model.embed(texts))


Known = dict[tuple[bytes, int], Workload]


class Bench:
    """A trained model, its three parts, and a target whose shots differ by purpose and seed."""

    def __init__(
        self, model: TextClassifier, parts: list[Sentences], spec: str, seed: int, known: Known
    ) -> None:
        self.model, self.spec, self.seed, self.known = model, spec, seed, known
        self.train, self.validation, self.test = parts

    def values(self, head: QuantumHead, part: int) -> np.ndarray:
        """Return the target's values (n, M) of train (0), validation (1) or test (2)."""
        target = parse_target(self.spec, seed=1000 * (self.seed + 1) + part)
        return target.run(self.workload(head, part)).values

    def workload(self, head: QuantumHead, part: int) -> Workload:
        """Return the rows of a part; the encoders are run once where heads share them."""
        encoders = head.state()["encoders.0.weight"].numpy().tobytes()
        if (encoders, part) not in self.known:
            rows = (self.train, self.validation, self.test)[part]
            self.known[encoders, part] = head.workload(rows.X)
        work = self.known[encoders, part]
        weights = head.module_.step.weight.detach().numpy()
        values = work.values.copy()
        values[:, -len(weights) :] = weights
        return Workload(work.circuit, work.parameters, values, work.observables)

    def score(self, logits: np.ndarray) -> tuple[float, float]:
        """Return accuracy and loss of the test sentences' logits (n, K)."""
        truth = np.searchsorted(self.model.classes_, self.test.labels)
        likelihood = log_softmax(logits, axis=1)[np.arange(len(truth)), truth]
        return float((logits.argmax(axis=1) == truth).mean()), float(-likelihood.mean())

    def recalibrated(self, head: QuantumHead, test: np.ndarray) -> np.ndarray:
        """Return logits of the test's values through a read-out refitted on validation."""
        exact = ExactTarget().run(self.workload(head, 1)).values
        own = AffineReadout(*head.readout_weights())
        try:
            own = recalibrate(own, self.values(head, 1), exact)
        except InvalidInputError as error:  # an observable that does not vary or is erased
            print(f"\n{self.spec}, seed {self.seed}: not recalibrated. {error}")
        return test @ own.weight.T + own.bias

    def refitted(self, head: QuantumHead, test: np.ndarray) -> np.ndarray:
        """Return logits of the test's values by logistic regression on the target's values."""
        X, held = self.values(head, 0), self.values(head, 1)
        fits = [logistic_regression(C=c).fit(X, self.train.labels) for c in STRENGTHS]
        best = max(fits, key=lambda fit: fit.score(held, self.validation.labels))
        return np.asarray(best.predict_log_proba(test))

    def tuned(self, target: str | None, **options: Any) -> tuple[QuantumHead, int]:
        """Return the head as trained on a target, and its best epoch."""
        model = copy.copy(self.model)
        work = Finetuning(
            model, self.train.texts, self.train.labels,
            target=target,
            validation=(self.validation.texts, self.validation.labels),
            options=FinetuningOptions(**options),
            seed=self.seed,
        )  # fmt: skip
        return (lambda result: (model.head_, result.best_epoch))(work.run())

    def arms(self, scratch_epochs: int, **options: Any) -> Iterator[tuple[str, float, float, Any]]:
        """Yield name, accuracy, loss and best epoch of each arm."""
        head = self.model.head_
        read = self.values(head, 2)
        yield "nothing", *self.score(head.logits_from(read)), None
        yield REFERENCE, *self.score(self.recalibrated(head, read)), None
        yield "read-out refitted", *self.score(self.refitted(head, read)), None
        arms: dict[str, tuple[str | None, dict[str, Any]]] = {
            "trained on, exactly": (None, {}),
            "fine-tuned, shift": (self.spec, {}),
            "fine-tuned, SPSA": (self.spec, {"method": "spsa"}),
        }
        if scratch_epochs:
            more = {"start": "scratch", "max_epochs": scratch_epochs}
            arms["from scratch, exactly"] = (None, more)
            arms["from scratch on the target"] = (self.spec, more)
        for name, (target, more) in arms.items():
            tuned, epoch = self.tuned(target, **{**options, **more})
            read = self.values(tuned, 2)
            yield name, *self.score(tuned.logits_from(read)), epoch
            if name in ("trained on, exactly", "fine-tuned, shift"):
                again = self.score(self.recalibrated(tuned, read))
                yield f"{name}, then recalibrated", *again, epoch


def bench(
    source: str, kind: str, seed: int, per_class: int, most: int
) -> tuple[TextClassifier, list[Sentences]]:
    """Return a model trained exactly on one draw of a data set, and its three parts.

    At most `most` sentences, drawn from the rest, are tested on.
    """
    data = concatenate(list(load_splits(source).values()))
    split = few_shot_split(data.labels, per_class=per_class, seed=seed)
    rest = np.random.default_rng(seed).permutation(split.test)[:most]
    rows = [split.train, split.validation, rest]
    texts, labels = np.array(data.texts, dtype=object), data.labels
    model = TextClassifier(head=HEADS[kind](seed))
    held = (texts[rows[1]].tolist(), labels[rows[1]])
    model.fit(texts[rows[0]].tolist(), labels[rows[0]], validation=held)
    return model, [Sentences.of(data, part, model) for part in rows]


def table(rows: list[Row]) -> str:
    """Return the rows as Markdown: means over seeds with 95 % t-intervals, paired differences."""
    lines = [
        "| data, head | target | arm | test accuracy, % | − recalibrated, % | test loss | "
        "− recalibrated |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    places = dict.fromkeys((row.data, row.head, row.target, row.arm) for row in rows)
    for data, head, target, arm in places:
        here = [r for r in rows if (r.data, r.head, r.target) == (data, head, target)]
        own = [r for r in here if r.arm == arm]
        reference = {r.seed: r for r in here if r.arm == REFERENCE}
        cells = []
        for name, scale in (("accuracy", 100.0), ("loss", 1.0)):
            found = [scale * getattr(r, name) for r in own]
            gap = [scale * (getattr(r, name) - getattr(reference[r.seed], name)) for r in own]
            digits = 2 if name == "accuracy" else 4
            cells.append(f"{np.mean(found):.{digits}f} ± {half_width(found):.{digits}f}")
            same = arm == REFERENCE
            cells.append(
                "" if same else f"{np.mean(gap):+.{digits}f} ± {half_width(gap):.{digits}f}"
            )
        lines.append(f"| {data}, {head} | `{target}` | {arm} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(
    path: Path, source: str, per_class: int, methods: list[str], options: dict[str, Any]
) -> None:
    """Draw the course of trainings on a fake device over the QPU seconds that they would take."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    model, (train, held, _) = bench(source, "default", 0, per_class, 1)
    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for method in methods:
        work = Finetuning(
            copy.copy(model), train.texts, train.labels,
            target=f"fake:fez:{SHOTS}",
            validation=(held.texts, held.labels),
            options=FinetuningOptions(**options, method=method),
        )  # fmt: skip
        price, result = work.price(), work.run()
        seconds = [sum((price.seconds or ())[: price.schedule.first_of(epoch)])
                   for epoch in range(len(result.history) + 1)]  # fmt: skip
        losses = [result.start_loss, *(record.validation_loss for record in result.history)]
        axes.plot(seconds, losses, marker="o", label="SPSA" if method == "spsa" else "shift")
        print(f"{method}: {price}\n  validation loss {[round(x or 0, 4) for x in losses]}")
    axes.set(xlabel="QPU seconds of ibm_fez, estimated", ylabel="validation loss on fake_fez, nats")
    axes.legend()
    figure.savefig(path)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", help="a source, or NAME=SOURCE")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--per-class", type=int, default=80)
    parser.add_argument("--test", type=int, default=3000, help="sentences to test on, at most")
    parser.add_argument("--targets", nargs="+", default=TARGETS)
    parser.add_argument("--heads", nargs="+", default=list(HEADS), choices=list(HEADS))
    parser.add_argument("--epochs", type=int, default=FinetuningOptions.max_epochs)
    parser.add_argument("--learning-rate", type=float, default=FinetuningOptions.learning_rate)
    parser.add_argument("--scratch", type=int, default=0, metavar="EPOCHS")
    parser.add_argument("--methods", nargs="+", default=["shift", "spsa"], help="in the picture")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args(arguments)
    options = {"max_epochs": given.epochs, "learning_rate": given.learning_rate}
    if given.picture:
        source = given.data[0].rpartition("=")[2]
        if given.scratch:
            options |= {"start": "scratch", "max_epochs": given.scratch}
        draw(given.picture, source, given.per_class, given.methods, options)
        return
    rows: list[Row] = []
    for named in given.data:
        name, _, source = named.rpartition("=")
        for kind in given.heads:
            for seed in range(given.first_seed, given.first_seed + given.seeds):
                model, parts = bench(source, kind, seed, given.per_class, given.test)
                known: Known = {}
                for spec in given.targets:
                    place = Bench(model, parts, spec, seed, known)
                    for arm, accuracy, loss, epoch in place.arms(given.scratch, **options):
                        rows.append(
                            Row(name or source, kind, spec, arm, seed, accuracy, loss, epoch)
                        )
                        print(".", end="", flush=True)
    print("\n\n" + table(rows))
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


if __name__ == "__main__":
    main()
