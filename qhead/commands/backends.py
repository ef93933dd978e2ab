"""``qhead backends``: fakes and the account's devices, ranked for a model's circuit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from hardware.errors import AccountError, NoAccountError, ServiceError, UnknownBackendError
from hardware.runs.listing import ListedDevice, by_error, list_account, list_fakes
from qhead.commands.arguments import EncoderChoice
from qhead.commands.common import open_model, show
from qhead.commands.guard import complain
from qhead.progress import counting_bar


def run(folder: Path | None, *, fakes_only: bool, json: bool, encoder: EncoderChoice) -> None:
    """List backends, ranked where there is a model."""
    workload = None if folder is None else open_model(folder, encoder).device_circuit()
    listed: list[ListedDevice] = []
    left: float | None = None
    trouble: AccountError | ServiceError | UnknownBackendError | None = None
    if not fakes_only:
        try:
            with counting_bar("ranking devices") as bar:
                listed, left = list_account(workload, bar)
        except (AccountError, ServiceError, UnknownBackendError) as error:
            trouble = error
    with counting_bar("ranking fakes") as bar:
        listed += list_fakes(workload, bar)
    if workload is not None:
        listed.sort(key=by_error)
    # Without an account the fakes are all there is; where an account fails, the list has a hole.
    failed = trouble is not None and not isinstance(trouble, (NoAccountError, UnknownBackendError))
    if trouble is not None and not failed:
        complain("Note", f"fakes only. {trouble}")
    record = {
        "backends": [_as_dict(place, each) for place, each in enumerate(listed, start=1)],
        "remaining_seconds": left,
        "account": None if trouble is None else str(trouble),
    }
    lines = [] if workload is not None else ["With a model they are ranked: qhead backends MODEL"]
    if left is not None:
        lines.append(f"The account has {left:g} s of QPU time left.")
    show(record, _table(listed), *lines, json=json)
    if trouble is not None and failed:
        complain("Error", f"the account's devices are missing. {trouble}")
        raise typer.Exit(trouble.exit_code)


def _table(listed: list[ListedDevice]) -> Table:
    table = Table(title="backends", title_justify="left")
    ranked = any(each.rank is not None for each in listed)
    table.add_column("target")
    names = ["qubits"]
    if ranked:
        names += ["expected error", "two-qubit gates", "median gate error", "median read-out error"]
        names += ["dead edges"]
    for name in (*names, "queue"):
        table.add_column(name, justify="right")
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
        table.add_row(*cells, "" if each.queue is None else str(each.queue))
    return table


def _as_dict(place: int, each: ListedDevice) -> dict[str, Any]:
    record: dict[str, Any] = {
        "target": each.target,
        "num_qubits": each.num_qubits,
        "queue": each.queue,
    }
    if (r := each.rank) is not None:
        record |= {
            "rank": place,
            "expected_error": r.expected_error,
            "two_qubit_gates": r.two_qubit_gates,
            "two_qubit_gate": r.two_qubit_gate,
            "median_gate_error": r.median_gate_error,
            "median_readout_error": r.median_readout_error,
            "dead_edges": r.dead_edges,
            "calibration": r.calibration_id,
        }
    return record
