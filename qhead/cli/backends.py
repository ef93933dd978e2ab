"""``qhead backends``: fakes and the account's devices, ranked for a model's circuit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qhead.cli.guard import complain
from qhead.cli.options import AccountChoice, Json, SavedEncoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from hardware.runs.listing import ListedDevice


def backends(
    encoder: SavedEncoder,
    account: AccountChoice,
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="MODEL", help="Rank by the error of its circuit.", show_default=False
        ),
    ] = None,
    fakes: Annotated[
        bool, typer.Option("--fakes", help="List fakes only; makes no network call.")
    ] = False,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline", help="Make no network call: list devices whose calibration is cached."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """List devices, ranked by the error that a model's circuit would suffer there."""
    from hardware.runs.listing import list_devices
    from qhead.cli.show import show
    from qhead.progress import counting_bar

    workload = None if model is None else encoder.model(model).device_circuit()
    with counting_bar("ranking devices") as bar:
        found = list_devices(
            workload, bar, account=account.open(), fakes_only=fakes, offline=offline
        )
    if found.trouble is not None and not found.failed:
        complain("Note", f"fakes only. {found.trouble}")
    record = {
        "backends": [
            each.as_dict() | ({} if each.rank is None else {"rank": place})
            for place, each in enumerate(found.devices, start=1)
        ],
        "remaining_seconds": found.remaining,
        "account": None if found.trouble is None else str(found.trouble),
    }
    lines = [] if workload is not None else ["With a model they are ranked: qhead backends MODEL"]
    if found.remaining is not None:
        lines.append(f"The account has {found.remaining:g} s of QPU time left.")
    lines += [f"· {note}" for note in found.notes]
    show(record, _table(found.devices), *lines, json=json)
    if found.trouble is not None and found.failed:
        complain("Error", f"the account's devices are missing. {found.trouble}")
        raise typer.Exit(found.trouble.exit_code)


def _table(listed: Sequence[ListedDevice]) -> Table:
    from hardware.runs.offline import calibration_age
    from qhead.cli.show import table

    names = ["qubits"]
    if any(each.rank is not None for each in listed):
        names += ["expected error", "two-qubit gates", "median gate error", "median read-out error"]
        names += ["dead edges"]
    cached = any(each.calibrated_at is not None for each in listed)
    last = "calibration" if cached else "queue"
    made = table("backends", ["target"], [*names, last])
    for each in listed:
        cells = [each.target, str(each.num_qubits)]
        if (r := each.rank) is not None:
            cells += [
                f"{r.expected_error:.1%}",
                f"{r.two_qubit_gates} {r.two_qubit_gate}",
                f"{r.median_gate_error:.2%}",
                f"{r.median_readout_error:.2%}",
                str(r.dead_edges),
            ]
        cells += [""] * (len(names) + 1 - len(cells))  # a device that could not be ranked
        if each.calibrated_at is not None:
            cells.append(calibration_age(each.calibrated_at))
        made.add_row(*cells, *([] if each.queue is None else [str(each.queue)]))
    return made
