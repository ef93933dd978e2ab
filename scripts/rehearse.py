"""Rehearse before paying: train a quantum head, then score it with shots, noise and a calibration.

    python scripts/rehearse.py my_sentences.csv --per-class 64 --backend fez

Each line is the same head on the same test sentences; only the place where its circuit runs
changes. The last target, `fake:NAME`, is planned and ledgered as a run on the real device would be.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from qhead import QuantumHead, TextClassifier, few_shot_split, load_texts


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and print one line for each target."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="?", default="demo:support", help="file, folder or Hub id")
    parser.add_argument("--per-class", type=int, default=40, help="sentences to train on")
    parser.add_argument("--rows", type=int, default=100, help="test sentences")
    parser.add_argument("--shots", type=int, default=1024, help="shots per sentence")
    parser.add_argument("--backend", default="fez", help="device whose calibration is used")
    parser.add_argument("--seed", type=int, default=1, help="of all random numbers")
    given = parser.parse_args(arguments)

    data = load_texts(given.data)
    split = few_shot_split(data.labels, per_class=given.per_class, seed=given.seed)
    trained = data.rows(split.train)
    validation = data.rows(split.validation)
    tested = data.rows(split.test[: given.rows])
    model = TextClassifier(head=QuantumHead(seed=given.seed))
    model.fit(trained.texts, trained.labels, validation=(validation.texts, validation.labels))

    exact = model.predict(tested.texts)
    for target in (
        "exact",
        f"shots:{given.shots}",
        f"noisy:0.001,0.01,0.02:{given.shots}",  # depolarising after each gate, read-out flips
        f"aer:{given.backend}:{given.shots}",  # that device's calibration, on its best tile
        f"fake:{given.backend}:{given.shots}",  # tiles, jobs and the client's primitives as well
    ):
        found = model.evaluate(tested.texts, tested.labels, target)
        low, high = found.accuracy_interval
        changed = (model.predict(tested.texts, target) != exact).sum()
        print(
            f"{found.target:36} accuracy {found.accuracy:.1%} ({low:.1%} – {high:.1%}), "
            f"{changed} labels changed, {found.undecided} too close to call"
        )


if __name__ == "__main__":
    main()
