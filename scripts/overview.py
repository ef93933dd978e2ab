"""Draw the picture of the README: where a sentence goes, and what changes place.

python scripts/overview.py [docs/overview.svg]
"""

from __future__ import annotations

import argparse

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

INK, CLASSICAL, QUANTUM = "#1f2430", "#e8ecf4", "#7b5cff"

CIRCUIT = "N × [RY(x) → PQC1] → PQC2"

#: Left edge, width, title, detail, whether it is a quantum circuit.
STAGES = (
    (0.0, 1.7, "sentences", "(n,) texts", False),
    (2.1, 2.3, "transformer", "frozen, cached\n(n, d) embeddings", False),
    (4.8, 2.5, "E encoders", "amplitudes → ansatz → ⟨Z⟩\nalways simulated", True),
    (7.7, 3.0, "re-uploading circuit", f"{CIRCUIT}\n(n, Q) angles → (n, M) ⟨Z⟩", True),
    (11.1, 1.9, "linear read-out", "(n, K) logits", False),
    (13.4, 1.5, "labels", "± what shots\nleave open", False),
)  # fmt: skip
TARGETS = ("exact", "shots:1024", "noisy:0.001,0.01", "aer:fez", "fake:fez", "ibm:…")


def box(axes: Axes, x: float, y: float, width: float, height: float, colour: str) -> None:
    """Draw one rounded box."""
    style = "round,pad=0,rounding_size=0.12"
    axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=style, fc=colour, ec="none"))


def draw() -> plt.Figure:
    """Return the figure."""
    figure, axes = plt.subplots(figsize=(13, 3.1))
    for x, width, title, detail, quantum in STAGES:
        ink = "white" if quantum else INK
        box(axes, x, 1.5, width, 1.35, QUANTUM if quantum else CLASSICAL)
        middle = x + width / 2
        axes.text(middle, 2.48, title, ha="center", va="center", color=ink, weight="bold", size=11)
        axes.text(middle, 1.93, detail, ha="center", va="center", color=ink, size=8.5)
        if x:
            axes.annotate(
                "",
                (x - 0.04, 2.18),
                (x - 0.36, 2.18),
                arrowprops={"arrowstyle": "->", "color": INK},
            )
    x, width = 3.55, 1.78
    for target in TARGETS:
        box(axes, x, 0.15, width - 0.15, 0.5, "#e3dcff")
        axes.text(x + width / 2 - 0.075, 0.4, target, ha="center", va="center", family="monospace",
                  size=9, color=INK)  # fmt: skip
        x += width
    axes.annotate(
        "", (9.2, 0.72), (9.2, 1.46), arrowprops={"arrowstyle": "<->", "color": QUANTUM, "lw": 1.6}
    )
    axes.text(9.35, 1.08, "same weights, same call, another place", va="center", size=9, color=INK)
    axes.set_xlim(-0.1, 15)
    axes.set_ylim(0, 3)
    axes.axis("off")
    figure.subplots_adjust(0, 0, 1, 1)
    return figure


def main() -> None:
    plt.rcParams["svg.fonttype"] = "path"
    plt.rcParams["svg.hashsalt"] = "qhead"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", nargs="?", default="docs/overview.svg", help="file to write")
    path = parser.parse_args().path
    draw().savefig(path, metadata={"Date": None} if path.endswith("svg") else None, dpi=150)


if __name__ == "__main__":
    main()
