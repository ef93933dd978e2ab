"""The report's figures as SVG that takes its ink from the page, so that it reads on dark and light.

Each function returns ``<svg>`` elements to stand in the page: no outside resource, no script, and
ids of its own, so that several figures do not share clip paths.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from qiskit.circuit import QuantumCircuit

from hardware.words import counted
from qhead.training_options import EpochRecord

# Colours that no figure uses otherwise: replaced by the page's own, which depend on its theme.
INK, FAINT, _PAPER = "#010203", "#010204", "#010205"
_THEME = {INK: "currentColor", FAINT: "var(--faint)", _PAPER: "var(--paper)"}

#: The subject's colour, then those of what it is compared with; all legible on dark and light.
ACCENT, OTHERS = "#7a5cff", ("#0f9d8a", "#d9822b", "#c2477f", "#4a86d8", "#8a8f98")

#: Gates of a circuit that are drawn; a longer one is cut, and says so.
MAX_DRAWN_GATES = 1200

#: Columns of a circuit in one line: at the page's width the names of the angles can be read.
FOLD = 15

#: Widths of the figures in inches, on a wide page and on a telephone's.
WIDE, NARROW = 8.6, 4.2

_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["system-ui", "DejaVu Sans", "sans-serif"],
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


@dataclass(frozen=True)
class Score:
    """One point with its interval in a figure of accuracies."""

    label: str
    accuracy: float
    interval: tuple[float, float]
    subject: bool  # the head the page is about, drawn in its colour


def accuracies(scores: Sequence[Score], *, chance: float) -> str:
    """Draw accuracies with their 95 % intervals, one row each, from top to bottom.

    The picture is drawn twice, for a wide page and for a narrow one; the page shows one of them.

    Args:
        scores: At least one.
        chance: Accuracy of the most frequent label, drawn as a line.
    """
    words = "; ".join(
        f"{score.label} {100 * score.accuracy:.1f} % "
        f"({100 * score.interval[0]:.1f} – {100 * score.interval[1]:.1f} %)"
        for score in scores
    )
    words = f"Accuracies with 95 % intervals: {words}. Most frequent label: {chance:.0%}."
    return for_both(lambda narrow: _accuracies(scores, chance, narrow), "accuracies", words)


def _accuracies(scores: Sequence[Score], chance: float, narrow: bool) -> Figure:
    height = 0.62 if narrow else 0.42  # inches a row; a narrow one has its name above the interval
    width = NARROW if narrow else WIDE
    figure = Figure(figsize=(width, 0.9 + height * len(scores)), layout="constrained")
    axes = figure.subplots()
    lowest = min(chance, *(score.interval[0] for score in scores))
    left = max(0.0, lowest - 0.03)
    for row, score in enumerate(scores):
        colour = ACCENT if score.subject else OTHERS[-1]
        low, high = score.interval
        axes.plot([low, high], [row, row], color=colour, linewidth=2.2)
        axes.plot(score.accuracy, row, "o", color=colour, markersize=7)
        axes.annotate(
            f"{100 * score.accuracy:.1f} %",
            (high, row), xytext=(8, 0), textcoords="offset points", va="center", fontsize=10,
        )  # fmt: skip
        if narrow:
            axes.annotate(
                score.label, (left, row), xytext=(0, 9), textcoords="offset points", fontsize=10,
                bbox={"facecolor": _PAPER, "edgecolor": "none", "pad": 1},
            )  # fmt: skip
    axes.axvline(chance, color=INK, linewidth=1, linestyle=(0, (2, 3)))
    names = [] if narrow else [score.label for score in scores]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(scores) - 0.5, -0.75 if narrow else -0.6)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_xlim(left, 1.2 if narrow else 1.06)  # room for the number beside a whole interval
    step = 2 if narrow and lowest < 0.5 else 1
    ticks = [tick / 10 for tick in range(0, 11, step) if tick / 10 >= left]
    axes.set_xticks(ticks)
    axes.xaxis.set_major_formatter(_as_percent)
    words = "accuracy with 95 % interval;", f"dotted: most frequent label, {chance:.0%}"
    axes.set_xlabel(("\n" if narrow else " ").join(words))
    return figure


def training_curves(histories: Mapping[str, Sequence[EpochRecord]], best: int | None) -> str:
    """Draw the losses of the first head and the validation accuracy of all.

    The picture is drawn twice, for a wide page and for a narrow one; the page shows one of them.

    Args:
        histories: Records by name of the head; the first is the page's subject.
        best: Epoch whose weights the first head kept, from 1.
    """
    words = _curves_in_words(histories, best)
    return for_both(lambda narrow: _curves(histories, best, narrow), "curves", words)


def _curves(
    histories: Mapping[str, Sequence[EpochRecord]], best: int | None, narrow: bool
) -> Figure:
    size = (NARROW, 5.6) if narrow else (WIDE, 3.1)
    figure = Figure(figsize=size, layout="constrained")
    left, right = figure.subplots(*((2, 1) if narrow else (1, 2)))
    subject, records = next(iter(histories.items()))
    epochs = [record.epoch for record in records]
    left.plot(epochs, [record.train_loss for record in records], color=ACCENT, label="training")
    validated = [(r.epoch, r.validation_loss) for r in records if r.validation_loss is not None]
    if validated:
        left.plot(*zip(*validated, strict=True), color=OTHERS[1], label="validation")
    if best is not None:
        left.axvline(best, color=INK, linewidth=1, linestyle=(0, (2, 3)))
        left.annotate(
            f"best: {best}", (best, 1), xycoords=("data", "axes fraction"), xytext=(-4, -2),
            textcoords="offset points", ha="right", va="top", fontsize=9,
        )  # fmt: skip
    left.set_title(f"{subject}: loss (nats)")
    left.legend(fontsize=9)
    _validation_accuracies(right, histories)
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlim(left=0.8)
    return figure


def _curves_in_words(histories: Mapping[str, Sequence[EpochRecord]], best: int | None) -> str:
    subject, records = next(iter(histories.items()))
    first, last = records[0], records[-1]
    parts = [
        f"{subject}: training loss from {first.train_loss:.3f} to {last.train_loss:.3f} in "
        f"{counted(last.epoch, 'epoch')}"
    ]
    if first.validation_loss is not None and last.validation_loss is not None:
        parts[0] += f", validation loss from {first.validation_loss:.3f} to "
        parts[0] += f"{last.validation_loss:.3f}"
    if best is not None:
        parts[0] += f", best after epoch {best}"
    parts += [
        f"{name}: validation accuracy {100 * each[-1].validation_accuracy:.1f} % at the end"
        for name, each in histories.items()
        if each[-1].validation_accuracy is not None
    ]
    return "Training curves. " + "; ".join(parts) + "."


def _as_percent(fraction: float, _position: float) -> str:
    """Return a tick's number with as many decimals as it has: no two ticks read alike."""
    return f"{round(100 * fraction, 6):g} %"


def _validation_accuracies(axes: Axes, histories: Mapping[str, Sequence[EpochRecord]]) -> None:
    for colour, (name, records) in zip((ACCENT, *OTHERS), histories.items(), strict=False):
        validated = [
            (r.epoch, r.validation_accuracy) for r in records if r.validation_accuracy is not None
        ]
        if validated:
            axes.plot(
                *zip(*validated, strict=True),
                color=colour,
                label=name,
                linewidth=2.2 if colour == ACCENT else 1.4,
            )
    axes.set_title("accuracy on the validation set")
    low, high = axes.get_ylim()
    low, high = max(low, -0.005), min(high, 1.005)
    if high - low < 0.1:  # ten points at least: what hardly changes looks flat
        low = min(max((low + high) / 2 - 0.05, -0.005), 0.905)
        high = low + 0.1
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(_as_percent)
    if axes.lines:
        axes.legend(fontsize=9, loc="lower right")


@dataclass(frozen=True)
class Drawing:
    """A circuit's picture and what it leaves out."""

    svg: str
    drawn: int  # gates
    total: int


def circuit(quantum_circuit: QuantumCircuit) -> Drawing:
    """Draw a circuit, folded; of one beyond `MAX_DRAWN_GATES` the beginning."""
    total = quantum_circuit.size()
    shown = quantum_circuit
    if total > MAX_DRAWN_GATES:
        shown = quantum_circuit.copy_empty_like()
        for instruction in quantum_circuit.data[:MAX_DRAWN_GATES]:
            shown.append(instruction)
    style = {
        "backgroundcolor": "none",
        "linecolor": FAINT,
        "textcolor": INK,
        "gatetextcolor": "#ffffff",
        "subtextcolor": "#ffffff",
        "fontsize": 14,
        "subfontsize": 9,
        "displaycolor": {"ry": (ACCENT, "#ffffff"), "cx": (OTHERS[0], "#ffffff")},
    }
    with matplotlib.rc_context({"svg.fonttype": "none", "savefig.facecolor": "none"}):
        figure = shown.draw("mpl", style=style, fold=FOLD, scale=0.55, idle_wires=True)
        words = (
            f"Circuit of {counted(shown.num_qubits, 'qubit')}: "
            + ", ".join(counted(n, f"{name} gate") for name, n in shown.count_ops().items())
            + ("." if shown is quantum_circuit else f", the first of {total}.")
        )
        svg = _svg(figure, "circuit", words, bbox_inches="tight", pad_inches=0.05)
        # The drawer registers its figure with pyplot, which would keep it for ever.
        pyplot.close(figure)
    return Drawing(svg, min(total, MAX_DRAWN_GATES), total)


def for_both(draw: Callable[[bool], Figure], name: str, words: str) -> str:
    """Return the wide and the narrow picture, of which the page's width shows one."""
    with matplotlib.rc_context(_STYLE):
        wide = _svg(draw(False), name, words)
        narrow = _svg(draw(True), f"{name}-narrow", words)
    return f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div>'


def _svg(figure: Figure, name: str, words: str, **options: Any) -> str:
    """Return a figure as an SVG element in the page's colours, with words for who cannot see it."""
    buffer = io.StringIO()
    # Without the date and with a salt of its own the same figure gives the same text.
    with matplotlib.rc_context({"svg.hashsalt": name}):
        empty = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=empty, **options)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for sentinel, colour in _THEME.items():
        text = text.replace(sentinel, colour)
    # The page scales it: keep the view box and drop the size in points.
    head, _, body = text.partition(">")
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    return f'{head} role="img" aria-label="{html.escape(words)}">{body}'
