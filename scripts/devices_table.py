"""Ring and chain heads on a fake device: gates after routing, expected error, accuracy.

    python scripts/devices_table.py [--backend fez] [--seeds 3] [--shots 1024]

Each seed trains two 10-qubit heads, one of each topology, on the sentences that ship and scores the
same 156 test sentences exactly, by fast emulation (``aer:``), and through the whole submit path
(``fake:``) on one tile and on as many as are good enough. Slope is that of the noisy ⟨Z⟩ over
the exact ones: what depolarising noise leaves of the signal. Sign errors move labels; a contraction
alone does not, unless shots hide it.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hardware.emulation.fake import FakeTarget
from hardware.planning.options import PlanOptions
from hardware.targets import parse_target
from qhead.data import holdout_split, load_texts
from qhead.encoder.sentence_encoder import SentenceEncoder
from qhead.heads import QuantumHead
from qhead.simulator import ExactTarget
from qhead.studies.comparison import half_width

TOPOLOGIES = ("ring", "chain")


def head(topology: str, seed: int) -> QuantumHead:
    """Return a 10-qubit head of the paper's form, two uploads of the whole embedding."""
    return QuantumHead(
        num_qubits=10,
        connectivity=2,
        num_reuploads=2,
        topology=topology,
        encoder_layers=15,
        encoder_connectivity=2,
        encoder_spread=0.1,
        reduction=None,
        center=False,
        seed=seed,
    )


@dataclass(frozen=True)
class Score:
    """One head on one target for one seed."""

    topology: str
    target: str
    accuracy: float
    agreement: float  # share of labels equal to the exact ones
    slope: float


def targets(backend: str, shots: int, seed: int) -> dict[str, Any]:
    """Return the targets to compare, by name."""
    options = PlanOptions(shots=shots, seed=seed)
    return {
        "exact": ExactTarget(),
        f"aer:{backend}": parse_target(f"aer:{backend}:{shots}", seed=seed),
        f"fake:{backend}, one tile": FakeTarget(backend, replace(options, tiles=1)),
        f"fake:{backend}, tiled": FakeTarget(backend, options),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", default="fez")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--shots", type=int, default=1024)
    options = parser.parse_args()
    data = load_texts("demo:reviews")
    X, y = SentenceEncoder().encode(data.texts), data.labels
    scores: list[Score] = []
    sizes: dict[tuple[str, str], tuple[int, float, float, int]] = {}
    for seed in range(options.seeds):
        split = holdout_split(y, validation_fraction=0.15, test_fraction=0.25, seed=seed)
        validation = (X[split.validation], y[split.validation])
        for topology in TOPOLOGIES:
            model = head(topology, seed).fit(X[split.train], y[split.train], validation=validation)
            work = model.workload(X[split.test])
            exact = ExactTarget().run(work).values
            labels = model.logits_from(exact).argmax(axis=1)
            for name, target in targets(options.backend, options.shots, seed).items():
                values = target.run(work).values
                given = model.logits_from(values).argmax(axis=1)
                right = model.classes_[given] == y[split.test]
                slope = float((values * exact).sum() / (exact * exact).sum())
                agreement = float((given == labels).mean())
                scores.append(Score(topology, name, float(right.mean()), agreement, slope))
                if isinstance(target, FakeTarget):
                    plan = target.plan(work)
                    gates = plan.circuits[0].num_nonlocal_gates() // len(plan.tiles)
                    errors = [tile.expected_error for tile in plan.tiles]
                    sizes[topology, name] = (gates, min(errors), max(errors), len(errors))
                print(".", end="", flush=True)
    print("\n\n| topology | target | two-qubit gates a tile | tiles | error-free runs, % | "
          "accuracy, % | labels as exact, % | slope |")  # fmt: skip
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for topology in TOPOLOGIES:
        for name in dict.fromkeys(score.target for score in scores):
            own = [s for s in scores if (s.topology, s.target) == (topology, name)]
            accuracy = [100 * s.accuracy for s in own]
            cells = ["", "", ""]
            if (topology, name) in sizes:
                gates, low, high, count = sizes[topology, name]
                free = f"{100 * (1 - low):.0f}" + (
                    f" – {100 * (1 - high):.0f}" if count > 1 else ""
                )
                cells = [str(gates), str(count), free]
            print(
                f"| {topology} | `{name}` | {' | '.join(cells)} | {np.mean(accuracy):.1f} ± "
                f"{half_width(accuracy):.1f} | {100 * np.mean([s.agreement for s in own]):.1f} | "
                f"{np.mean([s.slope for s in own]):.2f} |"
            )


if __name__ == "__main__":
    main()
