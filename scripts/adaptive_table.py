"""Adaptive shots against a fixed number: labels kept, shots and QPU seconds.

    python scripts/adaptive_table.py [NAME=SOURCE …] [--devices fez marrakesh] [--seeds 3]
        [--rows 1000] [--per-class 64] [--shots 4096] [--picture FILE.png] [--json FILE]

For each data set and seed a default head is trained on ``--per-class`` drawn sentences of each
class and predicts ``--rows`` others, of the test split if there is one. Under each device's
calibration the exact outcome probabilities of every sentence on every tile are computed once. From
them are drawn: the fixed run that the others are compared with, a second fixed run, one whose
sentences are on other tiles, fixed runs of fewer shots, and adaptive runs, whose plans, rounds,
tiles and costs are those of the library. Labels are those of the read-out as it was trained. QPU
seconds are the plans' estimates. Means over the seeds with 95 % t-intervals.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hardware.circuits.adaptive import AdaptiveShots, LinearRule
from hardware.circuits.measurement import Counts, Measurement
from hardware.devices.backends import fake_backend
from hardware.emulation.sampling import Method, Sampler
from hardware.emulation.tiled import components
from hardware.planning.options import PlanOptions
from hardware.planning.plan import JobPlan
from hardware.planning.planner import plan
from hardware.planning.pubs import unpack
from hardware.planning.rounds import next_round
from hardware.workload import Workload
from qhead.data import load_splits
from qhead.encoder.sentence_encoder import SentenceEncoder
from qhead.heads import QuantumHead
from qhead.studies.comparison import half_width

#: Error rates of the adaptive runs; the table shows the default one.
RATES = (0.005, 0.02, 0.05, 0.1, 0.2, 0.4)
FEWER = (64, 128, 256, 512, 1024, 2048)


@dataclass(frozen=True)
class Run:
    """What one way of spending shots gave for one data set, device and seed."""

    data: str
    device: str
    seed: int
    way: str  # "fixed N", or "adaptive RATE"
    agreement: float  # share of labels that are those of the reference run
    accuracy: float
    shots: float  # mean of a sentence
    seconds: float  # QPU
    undecided: float
    tiles: int
    rows: int


@dataclass(frozen=True, eq=False)
class Bench:
    """A head's sentences on a device.

    Args:
        fixed: Plan of the fixed run.
        workload: N rows.
        chances: Probability of each outcome of each row on each tile, shape (N, T, 2^m).
        rule: The head's read-out.
    """

    fixed: JobPlan
    workload: Workload
    chances: np.ndarray
    rule: LinearRule

    def labels(self, shots: int, rng: np.random.Generator, shift: int = 0) -> np.ndarray:
        """Return the classes of a fixed run, shape (N,): row i is on tile i + shift modulo T."""
        rows = np.arange(self.workload.num_samples)
        own = self.chances[rows, (rows + shift) % len(self.fixed.tiles)]
        counts = Counts.from_dense(rng.multinomial(shots, own))
        values, _ = Measurement.of(self.workload.observables).combine([counts], len(rows))
        return np.asarray((values @ self.rule.weight.T + self.rule.bias).argmax(axis=1))

    def arrays(self, made: JobPlan, idx: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return the result of a job as a device stores it."""
        (pub,), shots = made.jobs[idx].pubs, made.of_job(idx).shots
        found = {}
        for tile in range(len(made.tiles)):
            counts = rng.multinomial(shots, self.chances[pub.rows[:, tile], tile])
            outcomes = [np.repeat(np.arange(counts.shape[1]), row) for row in counts]
            found[f"0/t{tile}"] = np.array(outcomes, dtype=np.uint8)[..., np.newaxis]
            found[f"0/t{tile}/bits"] = np.array(made.circuits[0].cregs[tile].size)
        return found


def chances_of(made: JobPlan, workload: Workload, device: Any) -> np.ndarray:
    """Return the exact outcome probabilities of every row on every tile, shape (N, T, 2^m)."""
    (circuit,), pub = made.circuits, made.jobs[0].pubs[0]
    slots = pub.values.reshape(*pub.rows.shape, -1)
    values = np.empty((workload.num_samples, slots.shape[-1]))
    values[pub.rows] = slots
    size = circuit.cregs[0].size
    found = np.ones((workload.num_samples, len(made.tiles), 1 << size))
    outcomes = np.arange(1 << size)
    for part in components(circuit, device):
        tile = part.clbits[0] // size
        names = pub.parameters[tile * values.shape[1] : (tile + 1) * values.shape[1]]
        table = Sampler(part.prepared, names, Method.AUTO).probabilities(values)
        bits = [clbit - tile * size for clbit in part.clbits]
        own = sum(((outcomes >> bit) & 1) << k for k, bit in enumerate(bits))
        found[:, tile] *= table[:, own]
    return found / found.sum(axis=2, keepdims=True)


def runs_of(name: str, device: str, seed: int, bench: Bench, truth: np.ndarray) -> list[Run]:
    """Return all ways of spending shots."""
    rng = np.random.default_rng([seed, *name.encode(), *device.encode()])
    total, size = bench.fixed.shots, len(truth)
    reference = bench.labels(total, rng)
    found = []

    def add(way: str, labels: np.ndarray, shots: float, seconds: float, undecided: float) -> None:
        found.append(Run(
            name, device, seed, way, float((labels == reference).mean()),
            float((labels == truth).mean()), shots, seconds, undecided,
            len(bench.fixed.tiles), size,
        ))  # fmt: skip

    items = bench.fixed.cost.items * bench.fixed.options.cost.sub_job
    for shots in (*FEWER, total):
        seconds = items + (bench.fixed.cost.qpu_seconds - items) * shots / total
        add(f"fixed {shots}", bench.labels(shots, rng), shots, seconds, np.nan)
    # What another tile alone changes: adaptive rows move between tiles.
    middle = len(bench.fixed.tiles) // 2
    seconds = bench.fixed.cost.qpu_seconds
    add("other tiles", bench.labels(total, rng, middle), total, seconds, np.nan)
    first = plan_for(bench.workload, device, total, bench.rule)
    for rate in RATES:
        options = replace(first.options, adaptive=AdaptiveShots(error_rate=rate))
        made, results = replace(first, options=options), {}
        while len(results) < len(made.jobs):
            for idx in range(len(results), len(made.jobs)):
                results[idx] = bench.arrays(made, idx, rng)
            made = next_round(made, results) or made
        decisions = unpack(made, results).decisions
        assert decisions is not None
        undecided = 1 - float(decisions.decided.mean())
        shots = float(decisions.shots.mean())
        seconds = float(sum(made.job_seconds))
        add(f"adaptive {rate:g}", decisions.winners, shots, seconds, undecided)
    return found


def plan_for(
    workload: Workload, device: str, shots: int, rule: LinearRule | None = None
) -> JobPlan:
    """Return a plan on a fake device; with a rule, of adaptive shots."""
    adaptive = None if rule is None else AdaptiveShots()
    options = PlanOptions(shots=shots, adaptive=adaptive)
    return plan(workload, fake_backend(device), options, rule=rule)


def bench_of(head: QuantumHead, X: np.ndarray, device: str, shots: int) -> Bench:
    """Plan a head's rows on a device and compute what it would read."""
    workload = head.workload(X)
    fixed = plan_for(workload, device, shots)
    chances = chances_of(fixed, workload, fake_backend(device))
    return Bench(fixed, workload, chances, LinearRule(*head.readout_weights()))


def sentences(source: str, seed: int, given: argparse.Namespace, encoder: SentenceEncoder) -> Any:
    """Return embeddings and labels to train on, and to predict."""
    splits, rng = load_splits(source), np.random.default_rng(seed)
    train = splits["train"]
    labels = np.asarray(train.labels)
    drawn = np.concatenate([
        rng.choice(np.flatnonzero(labels == label), given.per_class, replace=False)
        for label in np.unique(labels)
    ])  # fmt: skip
    test = splits.get("test") or train.rows(np.setdiff1d(np.arange(len(labels)), drawn))
    rows = rng.permutation(len(test))[: given.rows]
    X = encoder.encode([train.texts[i] for i in drawn])
    return (
        X,
        labels[drawn],
        encoder.encode([test.texts[i] for i in rows]),
        np.asarray(test.labels)[rows],
    )


def cell(runs: list[Run], field: str, scale: float = 100.0, digits: int = 1) -> str:
    """Return the mean over the seeds with its interval."""
    values = [scale * getattr(run, field) for run in runs]
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{np.mean(values):.{digits}f} ± {half_width(values):.{digits}f}"


HEADER = """\
| data | device | tiles | sentences | fixed: accuracy, % | QPU s | adaptive: accuracy, % \
| shots, % | QPU s | undecided, % | labels of the fixed run, %: a second one \
| one on other tiles | adaptive |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"""


def line(runs: list[Run], shots: int) -> str:
    """Return a Markdown row of one data set on one device."""
    fixed = [run for run in runs if run.way == f"fixed {shots}"]
    adaptive = [run for run in runs if run.way == f"adaptive {AdaptiveShots().error_rate:g}"]
    moved = [run for run in runs if run.way == "other tiles"]
    first = fixed[0]
    cells = [
        first.data, first.device, str(first.tiles), f"{first.rows:,}", cell(fixed, "accuracy"),
        cell(fixed, "seconds", 1.0), cell(adaptive, "accuracy"),
        cell(adaptive, "shots", 100 / shots), cell(adaptive, "seconds", 1.0),
        cell(adaptive, "undecided"), cell(fixed, "agreement"), cell(moved, "agreement"),
        cell(adaptive, "agreement"),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def draw(runs: list[Run], path: Path) -> None:
    """Draw agreement and accuracy against shots, fixed and adaptive."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(run.data for run in runs))
    devices = list(dict.fromkeys(run.device for run in runs))
    figure = Figure(figsize=(4.2 * len(names), 6.4), layout="constrained")
    axes = figure.subplots(2, len(names), sharex=True, squeeze=False)
    for column, name in enumerate(names):
        for color, device in zip(("tab:blue", "tab:orange", "tab:green"), devices, strict=False):
            for kind, style in (("fixed", "o--"), ("adaptive", "s-")):
                own = [r for r in runs if (r.data, r.device) == (name, device)]
                ways = [w for w in dict.fromkeys(r.way for r in own) if w.startswith(kind)]
                points = [[r for r in own if r.way == way] for way in ways]
                shots = [np.mean([r.shots for r in each]) for each in points]
                for row, field in enumerate(("agreement", "accuracy")):
                    means = [100 * np.mean([getattr(r, field) for r in each]) for each in points]
                    axes[row, column].plot(
                        shots, means, style, color=color, ms=4, lw=1.2, label=f"{device}, {kind}"
                    )
        axes[0, column].set(title=name, xscale="log")
        axes[1, column].set(xlabel="mean shots of a sentence")
    axes[0, 0].set_ylabel("labels of a fixed run of all shots, %")
    axes[1, 0].set_ylabel("accuracy, %")
    axes[0, -1].legend(fontsize=8, frameon=False, loc="lower right")
    figure.savefig(path, dpi=130)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="*", default=["demo:support", "demo:reviews"])
    parser.add_argument("--devices", nargs="+", default=["fez", "marrakesh"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--per-class", type=int, default=64)
    parser.add_argument("--shots", type=int, default=4096)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    encoder, every = SentenceEncoder(), []
    print(HEADER, flush=True)
    for each in given.data:
        name, _, source = each.rpartition("=")
        name = name or source.removeprefix("demo:")
        found: dict[str, list[Run]] = {device: [] for device in given.devices}
        for seed in range(given.seeds):
            X, y, test, truth = sentences(source, seed, given, encoder)
            head = QuantumHead(seed=seed).fit(X, y)
            classes = np.searchsorted(head.classes_, truth)
            for device in given.devices:
                bench = bench_of(head, test, device, given.shots)
                found[device] += runs_of(name, device, seed, bench, classes)
        for device in given.devices:
            print(line(found[device], given.shots), flush=True)
            every += found[device]
    if given.picture:
        draw(every, given.picture)
    if given.json:
        given.json.write_text(json.dumps([asdict(run) for run in every], indent=1))


if __name__ == "__main__":
    main()
