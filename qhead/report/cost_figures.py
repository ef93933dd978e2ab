"""Figures of what errors and shots cost: a waterfall of steps, and curves with a knee."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from qhead.report.figures import ACCENT, FAINT, INK, NARROW, OTHERS, WIDE, for_both

_LOSS, _GAIN = OTHERS[1], OTHERS[0]
_DOTTED = (0, (2, 3))


@dataclass(frozen=True)
class CostPoint:
    """One setting; shares are between 0 and 1, half widths are those of 95 %."""

    name: str
    setting: float | None
    spread: float  # of the error of ⟨Z⟩, shots included
    systematic: float | None  # of it without shots
    changed: float
    changed_half_width: float
    difference: float  # accuracy minus the exact one
    difference_half_width: float
    qpu_seconds: float | None


def waterfall(points: Sequence[CostPoint]) -> str:
    """Draw steps from top to bottom: the error of ⟨Z⟩, labels changed and the accuracy.

    The picture is drawn twice, for a wide page and for a narrow one; the page shows one of them.
    """
    words = "; ".join(
        f"{point.name}: error of ⟨Z⟩ {point.spread:.4f}, {100 * point.changed:.1f} % of labels "
        f"changed, accuracy {100 * point.difference:+.1f} points"
        for point in points
    )
    words = f"Errors, one after another. {words}."
    return for_both(lambda narrow: _waterfall(points, narrow), "waterfall", words)


def _waterfall(points: Sequence[CostPoint], narrow: bool) -> Figure:
    panels: list[tuple[str, Callable[[Axes, Sequence[CostPoint]], None]]] = [
        ("error of ⟨Z⟩", _errors),
        ("labels changed, %", _changed),
        ("accuracy − exact, points", _differences),
    ]
    height = 0.27 * len(points)
    if narrow:
        figure = Figure(figsize=(NARROW, 3 * (height + 0.75)), layout="constrained")
        every = figure.subplots(3, 1)
    else:
        figure = Figure(figsize=(WIDE, height + 1.0), layout="constrained")
        every = figure.subplots(1, 3, sharey=True)
    for index, (axes, (title, draw)) in enumerate(zip(every, panels, strict=True)):
        draw(axes, points)
        axes.set_title(title)
        axes.set_ylim(len(points) - 0.45, -0.55)
        axes.set_yticks(range(len(points)))
        if narrow or index == 0:
            axes.set_yticklabels([point.name for point in points])
        axes.tick_params(labelsize=9.5)
        axes.grid(axis="y", visible=False)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
        axes.spines["left"].set_visible(False)
    return figure


def _errors(axes: Axes, points: Sequence[CostPoint]) -> None:
    for row, point in enumerate(points):
        whole = "with shots" if row == 0 else None
        axes.barh(row, point.spread, 0.62, color=ACCENT, alpha=0.35, linewidth=0, label=whole)
        if point.systematic is not None:
            part = "without" if row == 0 else None
            axes.barh(row, point.systematic, 0.62, color=ACCENT, linewidth=0, label=part)
    axes.set_xlim(left=0)
    axes.legend(fontsize=8.5, loc="upper right", handlelength=1.0, borderaxespad=0.1)


def _changed(axes: Axes, points: Sequence[CostPoint]) -> None:
    for row, point in enumerate(points):
        low = max(0.0, point.changed - point.changed_half_width)
        high = point.changed + point.changed_half_width
        axes.plot([100 * low, 100 * high], [row, row], color=ACCENT, linewidth=1.6)
        axes.plot(100 * point.changed, row, "o", color=ACCENT, markersize=5)
    axes.set_xlim(left=0)


def _differences(axes: Axes, points: Sequence[CostPoint]) -> None:
    before = 0.0
    for row, point in enumerate(points):
        value, half = 100 * point.difference, 100 * point.difference_half_width
        step = value - before
        axes.barh(
            row, step, left=before, height=0.62, color=_LOSS if step < 0 else _GAIN, linewidth=0
        )
        axes.plot([value - half, value + half], [row, row], color=INK, linewidth=1.0)
        if row + 1 < len(points):
            axes.plot([value, value], [row - 0.31, row + 1.31], color=FAINT, linewidth=1.0)
        before = value
    axes.axvline(0, color=INK, linewidth=1, linestyle=_DOTTED)


def curve(
    points: Sequence[CostPoint],
    *,
    name: str,
    axis: str,
    knee: float | None,
    marks: Mapping[str, float],
    others: Sequence[CostPoint] = (),
    others_name: str = "",
) -> str:
    """Draw accuracy and labels kept against a setting, on a logarithmic axis.

    Args:
        points: With settings, in ascending order.
        name: Distinguishes the pictures of a page.
        axis: What the setting is.
        knee: The setting at the knee, drawn as a line.
        marks: Further settings that are drawn as lines, by name.
        others: Points of a second curve, with settings in ascending order.
        others_name: What that is.
    """
    words = "; ".join(
        f"{point.setting:g}: {100 * (1 - point.changed):.1f} % of labels kept, accuracy "
        f"{100 * point.difference:+.1f} ± {100 * point.difference_half_width:.1f} points"
        for point in points
    )
    words = f"Accuracy minus the exact one, and labels kept, against {axis}. {words}."
    curves = {"fixed": points, others_name: others} if others else {"": points}
    return for_both(lambda narrow: _curve(curves, axis, knee, marks, narrow), name, words)


def _curve(
    curves: Mapping[str, Sequence[CostPoint]],
    axis: str,
    knee: float | None,
    marks: Mapping[str, float],
    narrow: bool,
) -> Figure:
    size = (NARROW, 6.0) if narrow else (WIDE, 3.3)
    figure = Figure(figsize=size, layout="constrained")
    left, right = figure.subplots(*((2, 1) if narrow else (1, 2)))
    for colour, (label, points) in zip((ACCENT, _GAIN), curves.items(), strict=False):
        settings = [point.setting or 0.0 for point in points]
        lost = [(p.difference, p.difference_half_width) for p in points]
        kept = [(1 - p.changed, p.changed_half_width) for p in points]
        _band(left, settings, lost, 100, colour, label)
        _band(right, settings, kept, 1, colour, label)
    left.set_title("accuracy − exact, points")
    left.axhline(0, color=INK, linewidth=1, linestyle=_DOTTED)
    right.set_title("labels as with the exact head, %")
    if len(curves) > 1:
        right.legend(fontsize=9, loc="lower right")
    first = next(iter(curves.values()))
    for axes in (left, right):
        axes.set_xscale("log")
        _ticks(axes, first, len(first) > 6)
        axes.set_xlabel(f"{axis}\nand QPU seconds of 1,000 sentences")
        lines = {"knee": knee, **marks}
        for place, (label, at) in enumerate(lines.items()):
            if at is not None:
                _line(axes, at, label, OTHERS[1] if label == "knee" else INK, place)
    return figure


def _band(
    axes: Axes,
    settings: Sequence[float],
    values: Sequence[tuple[float, float]],
    top: float,
    colour: str,
    label: str,
) -> None:
    """Draw shares with their 95 % bands in percent, cut at `top`."""
    means = [100 * mean for mean, _ in values]
    low = [100 * (mean - half) for mean, half in values]
    high = [100 * min(mean + half, top) for mean, half in values]
    axes.fill_between(settings, low, high, color=colour, alpha=0.16, linewidth=0)
    axes.plot(settings, means, "o-", color=colour, markersize=4.5, linewidth=1.8, label=label)


def _ticks(axes: Axes, points: Sequence[CostPoint], every_other: bool) -> None:
    labels = {}
    for point in points[:: 2 if every_other else 1]:
        seconds = "" if point.qpu_seconds is None else f"{point.qpu_seconds:.3g} s"
        setting = point.setting or 0.0
        labels[setting] = (
            f"{setting:,.0f}\n{seconds}" if setting >= 1 else f"{setting:g}\n{seconds}"
        )
    axes.xaxis.set_major_locator(FixedLocator(list(labels)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: labels.get(at, "")))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(axis="x", labelsize=8.5)


def _line(axes: Axes, at: float, label: str, colour: str, place: int) -> None:
    axes.axvline(at, color=colour, linewidth=1.2, linestyle=_DOTTED)
    axes.annotate(
        label, (at, 0.02 + 0.09 * place), xycoords=("data", "axes fraction"), xytext=(4, 0),
        textcoords="offset points", fontsize=9, color=colour,
    )  # fmt: skip
