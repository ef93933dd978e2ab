"""What a plan costs, in words, tables and JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.table import Table

from hardware.devices.base import Device
from hardware.ledger.budget import ChargeRatio, advised_budget
from hardware.ledger.database import default_path
from hardware.ledger.ledger import Ledger
from hardware.planning.plan import JobPlan
from hardware.words import counted
from qhead.commands.notes import About


def past_charges(device: Device) -> ChargeRatio | None:
    """Return what the ledger knows of a device's charges; None of a local or an unused one."""
    if device.local or not default_path().exists():
        return None
    with Ledger() as ledger:
        return ledger.charge_ratio(device.name)


def cost_line(
    made: JobPlan, remaining: float | None, *, local: bool, ratio: ChargeRatio | None = None
) -> str:
    """Return the cost of a plan in one line."""
    cost = made.cost
    if ratio is not None:
        refitted = f"; {made.backend} has charged {ratio}: {cost.qpu_seconds * ratio.mean:.1f} s"
    else:
        refitted = "" if local else f"; no job of {made.backend} has told yet what it charges"
    device = " of a real device; here nothing is charged" if local else ""
    share = ""
    if remaining is not None:
        share = f", {100 * cost.share_of(remaining):.1f} % of the {remaining:g} s left"
    return (
        f"{made.target}: {counted(cost.tiles, 'tile')}, {counted(cost.jobs, 'job')}, "
        f"{counted(cost.pubs, 'PUB')}, {counted(cost.items, 'program item')}, "
        f"{counted(cost.executions, 'execution')}, {size(cost.payload_bytes)}, about "
        f"{cost.qpu_seconds:.1f} QPU seconds{device}{share}{refitted}"
    )


def tile_table(made: JobPlan) -> Table:
    """Return the tiles, best first."""
    table = Table(title=f"tiles on {made.backend}", title_justify="left")
    for name in ("tile", "qubits", "expected error"):
        table.add_column(name, justify="left" if name == "qubits" else "right")
    for index, tile in enumerate(made.tiles):
        error = "unknown" if tile.expected_error is None else f"{tile.expected_error:.1%}"
        table.add_row(str(index), " ".join(map(str, tile.qubits)), error)
    return table


def cost_table(
    made: JobPlan,
    about: About,
    remaining: float | None,
    *,
    local: bool,
    ratio: ChargeRatio | None,
) -> Table:
    """Return the plan in numbers."""
    cost = made.cost
    table = Table(title=f"plan for {made.target}", title_justify="left", show_header=False)
    table.add_column("")
    table.add_column("", justify="right")
    rows = {"sentences": f"{about.data.num_rows:,}"}
    if about.recalibration is not None:
        rows["sentences to recalibrate on"] = f"{about.recalibration.texts.num_rows:,}"
    rows |= {
        "shots of each": f"{made.shots:,}",
        "tiles": str(cost.tiles),
        "slots filled by a repeated row": str(made.padding),
        "PUBs": str(cost.pubs),
        "program items, each loaded once": str(cost.items),
        "jobs": str(cost.jobs),
        "executions": f"{cost.executions:,}",
        "payload": size(cost.payload_bytes),
        "QPU seconds, estimated": f"{cost.qpu_seconds:.1f}",
    }
    if ratio is not None:
        rows["QPU seconds, by past charges"] = f"{cost.qpu_seconds * ratio.mean:.1f}"
        rows[f"{made.backend} has charged"] = str(ratio)
    elif not local:
        rows["QPU seconds, by past charges"] = "unknown: no finished job"
    if remaining is not None:
        rows["of what the account has left"] = (
            f"{100 * cost.share_of(remaining):.1f} % of {remaining:g} s"
        )
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def plan_dict(
    made: JobPlan, about: About, remaining: float | None, *, local: bool, ratio: ChargeRatio | None
) -> dict[str, Any]:
    """Return the plan in numbers, JSON-able."""
    estimate = made.cost.qpu_seconds
    again = about.recalibration
    return {
        **made.summary(),
        "sentences": about.data.num_rows,
        "recalibration_sentences": 0 if again is None else again.texts.num_rows,
        "tile_qubits": [list(tile.qubits) for tile in made.tiles],
        "remaining_seconds": remaining,
        "charge_ratio": None if ratio is None else asdict(ratio),
        "refitted_seconds": None if ratio is None else estimate * ratio.mean,
        "advised_budget": None if local else advised_budget(estimate, ratio),
        "model": about.model.path,
        "data": about.data.source,
        "notes": list(made.notes),
    }


def size(num_bytes: int) -> str:
    """Return ``0.24 MB`` or ``31 kB``."""
    return f"{num_bytes / 1e6:.2f} MB" if num_bytes >= 1e6 else f"{num_bytes / 1e3:.0f} kB"
