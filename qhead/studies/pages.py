"""A study's tables as text and figures: one section each, on a page of its own or on a model's."""

from __future__ import annotations

from collections.abc import Sequence

from qhead.report.cost_figures import CostPoint, curve, waterfall
from qhead.report.page import Fact, Page, Section
from qhead.studies.sample import Row
from qhead.studies.study import Study, Table

_CAPTION = (
    "±: 95 % over the sentences; differences are paired by sentence. Shift and spread: mean and "
    "standard deviation of ⟨Z⟩ minus its exact value; the spread holds the shots' noise. Slope: of "
    "⟨Z⟩ over its exact values. QPU seconds: 1,000 sentences."
)


def study_page(study: Study, name: str) -> Page:
    """Return the page of a study."""
    accuracy, half = study.accuracy
    key = [
        Fact("accuracy, exact", f"{100 * accuracy:.1f} %", f"± {100 * half:.1f} points at 95 %"),
        *(
            Fact(f"knee, {table.axis}", f"{table.knee:,g}", table.title)
            for table in study.tables
            if table.knee is not None
        ),
    ]
    return Page(
        title=f"qhead study {study.kind}: {name}",
        summary="The same sentences in every setting, so that each difference is paired by "
        "sentence.",
        key_figures=key,
        sections=study_sections(study),
        facts=[
            *(Fact(key, value) for key, value in study.facts.items()),
            Fact("options", ", ".join(f"{key} = {_shown(v)}" for key, v in study.options.items())),
        ],
    )


def study_sections(study: Study) -> list[Section]:
    """Return a section for each table of a study."""
    found = []
    for index, table in enumerate(study.tables):
        points = [_point(row) for row in table.rows]
        if table.form == "steps":
            figure = waterfall(points)
        else:
            name = f"{study.kind}-{index}"
            figure = curve(
                points,
                name=name,
                axis=table.axis,
                knee=table.knee,
                marks=table.marks,
                others=[_point(row) for row in table.others],
                others_name=table.others_name,
            )
        columns, rows = cells(table)
        text = (table.finding, table.text, *(study.notes if index == 0 else ()))
        found.append(Section(table.title, text, figure, columns, rows, _CAPTION))
    return found


def _point(row: Row) -> CostPoint:
    return CostPoint(
        name=row.name,
        setting=row.setting,
        spread=row.spread,
        systematic=row.systematic,
        changed=row.changed,
        changed_half_width=row.changed_half_width,
        difference=row.difference,
        difference_half_width=row.difference_half_width,
        qpu_seconds=row.qpu_seconds,
    )


def cells(table: Table) -> tuple[list[str], list[list[str]]]:
    """Return the names of a table's columns and the cells of its rows, for people."""
    steps = table.form == "steps"
    columns = [
        "errors up to" if steps else table.axis,
        "labels changed, %", "accuracy, %", "− exact, points",
        *(["this step, points"] if steps else []),
        "shift of ⟨Z⟩", "spread", "without shots", "slope", "QPU s", "on one tile",
    ]  # fmt: skip
    rows = [
        [
            _first(row, table),
            f"{100 * row.changed:.1f} ({_bounds(row.changed, row.changed_half_width)})",
            f"{100 * row.accuracy:.1f}",
            _signed(row.difference, row.difference_half_width),
            *([_step(row)] if steps else []),
            _signed(row.shift, row.shift_half_width, scale=1, digits=4),
            f"{row.spread:.4f}",
            "" if row.systematic is None else f"{row.systematic:.4f}",
            "" if row.slope is None else f"{row.slope:.3f}",
            *("" if s is None else f"{s:,.1f}" for s in (row.qpu_seconds, row.one_tile_seconds)),
        ]
        for row in (*table.rows, *table.others)
    ]
    used = [any(row[index] for row in rows) for index in range(len(columns))]
    kept = [index for index, any_cell in enumerate(used) if any_cell]
    return [columns[i] for i in kept], [[row[i] for i in kept] for row in rows]


def _first(row: Row, table: Table) -> str:
    if row.setting is None:
        return row.name
    number = _number(row.setting)
    return f"{table.others_name} ≤ {row.shots:,}: {number}" if row in table.others else number


def _step(row: Row) -> str:
    if row.step is None or row.step_half_width is None:
        return ""
    return _signed(row.step, row.step_half_width)


def _signed(value: float, half: float | None, scale: float = 100, digits: int = 1) -> str:
    """Return a difference with its half width, if known; what rounds to zero has no minus."""
    rounded = round(scale * value, digits) + 0.0
    return f"{rounded:+.{digits}f}" + ("" if half is None else f" ± {scale * half:.{digits}f}")


def _bounds(share: float, half: float) -> str:
    return f"{100 * max(0.0, share - half):.1f} – {100 * min(1.0, share + half):.1f}"


def _number(setting: float) -> str:
    return f"{setting:,.0f}" if setting >= 1 else f"{setting:g}"


def _shown(value: object) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(map(str, value))
    return str(value)
