"""Send sentences to a device; started again on any later day, collect the run and label them.

    python scripts/submit_and_collect.py model new.txt --target ibm:best --budget 120
    python scripts/submit_and_collect.py model new.txt                     # collects

The id of the run is kept beside the sentences, in new.txt.run. The ledger has all the rest.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from qhead import Run, TextClassifier


def main(arguments: Sequence[str] | None = None) -> None:
    """Submit where there is no run yet, else collect it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="folder of a saved model")
    parser.add_argument("sentences", type=Path, help="text file, one sentence a line")
    parser.add_argument("--target", default="fake:fez:1024", help="device: fake:NAME, ibm:NAME …")
    parser.add_argument("--budget", type=float, help="QPU seconds; required for ibm:")
    parser.add_argument("--wait", type=float, help="seconds to wait; default: until all is done")
    given = parser.parse_args(arguments)

    texts = given.sentences.read_text(encoding="utf-8").splitlines()
    note = given.sentences.with_name(given.sentences.name + ".run")
    if not note.exists():
        model = TextClassifier.load(given.model)
        run = model.submit(texts, given.target, budget=given.budget)  # prints the cost
        note.write_text(run.id + "\n", encoding="utf-8")
        print(f"Submitted run {run.id}. Start this again to collect it.")
        return

    run = Run.open(note.read_text(encoding="utf-8").strip())  # needs no model: labels are planned
    found = run.collect(given.wait, texts=texts)
    for row in found.records():
        sure = "" if row["decided"] else "  (too close to call at this shot count)"
        print(f"{row['label']}\t{row['probability']:.3f}\t{row['text']}{sure}")
    if found.missing:
        print(found.explain_missing())


if __name__ == "__main__":
    main()
