"""What a plan costs, in tables and JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.table import Table

from hardware.planning.plan import JobPlan
from hardware.runs.quote import Quote
from hardware.words import size
from qhead.runs.metadata import RunMetadata


def tile_table(plan: JobPlan) -> Table:
    """Return the tiles, best first."""
    table = Table(title=f"tiles on {plan.backend}", title_justify="left")
    for name in ("tile", "qubits", "expected error"):
        table.add_column(name, justify="left" if name == "qubits" else "right")
    for index, tile in enumerate(plan.tiles):
        error = "unknown" if tile.expected_error is None else f"{tile.expected_error:.1%}"
        table.add_row(str(index), " ".join(map(str, tile.qubits)), error)
    return table


def cost_table(quote: Quote, metadata: RunMetadata) -> Table:
    """Return the plan in numbers."""
    plan, cost = quote.plan, quote.plan.cost
    table = Table(title=f"plan for {plan.target}", title_justify="left", show_header=False)
    table.add_column("")
    table.add_column("", justify="right")
    rows = {"sentences": f"{metadata.data.num_rows:,}"}
    if metadata.recalibration is not None:
        rows["sentences to recalibrate on"] = f"{metadata.recalibration.texts.num_rows:,}"
    rows |= {
        "shots of each": f"{plan.shots:,}",
        "tiles": str(cost.tiles),
        "slots filled by a repeated row": str(plan.padding),
        "PUBs": str(cost.pubs),
        "program items, each loaded once": str(cost.items),
        "jobs": str(cost.jobs),
        "executions": f"{cost.executions:,}",
        "payload": size(cost.payload_bytes),
        "QPU seconds, estimated": f"{cost.qpu_seconds:.1f}",
    }
    if quote.ratio is not None:
        rows["QPU seconds, by past charges"] = f"{quote.refitted_seconds:.1f}"
        rows[f"{plan.backend} has charged"] = str(quote.ratio)
    elif not quote.local:
        rows["QPU seconds, by past charges"] = "unknown: no finished job"
    if quote.remaining is not None:
        rows["of what the account has left"] = (
            f"{100 * cost.share_of(quote.remaining):.1f} % of {quote.remaining:g} s"
        )
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def plan_dict(quote: Quote, metadata: RunMetadata) -> dict[str, Any]:
    """Return the plan in numbers, JSON-able."""
    plan, again = quote.plan, metadata.recalibration
    return {
        **plan.summary(),
        "sentences": metadata.data.num_rows,
        "recalibration_sentences": 0 if again is None else again.texts.num_rows,
        "tile_qubits": [list(tile.qubits) for tile in plan.tiles],
        "remaining_seconds": quote.remaining,
        "charge_ratio": None if quote.ratio is None else asdict(quote.ratio),
        "refitted_seconds": quote.refitted_seconds,
        "advised_budget": quote.advised_budget,
        "model": None if metadata.model is None else metadata.model.path,
        "data": metadata.data.source,
        "notes": list(plan.notes),
    }
