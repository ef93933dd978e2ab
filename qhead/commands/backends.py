"""``qhead backends``: fakes and the account's devices, ranked for a model's circuit."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import typer
from qiskit.providers import BackendV2
from rich.table import Table

from hardware.devices.backends import fake_backend, fake_names
from hardware.errors import AccountError, NoAccountError, ServiceError, UnknownBackendError
from hardware.planning.ranking import RankedBackend, rank
from hardware.workload import Workload
from qhead.commands.arguments import EncoderChoice
from qhead.commands.common import console, open_model, print_json, quantum_head
from qhead.commands.devices import (
    account_backends,
    account_seconds,
    calibrated,
    open_account,
    waiting_jobs,
)
from qhead.commands.guard import complain
from qhead.commands.tables import show_table
from qhead.progress import counting_bar


@dataclass(frozen=True)
class Listed:
    """One backend of the list.

    Args:
        target: How a command names it.
        num_qubits: Qubits of the chip.
        rank: What a model's circuit would suffer; None without a model or a calibration.
        queue: Jobs that wait there; None for fakes, or where the account does not tell.
    """

    target: str
    num_qubits: int
    rank: RankedBackend | None = None
    queue: int | None = None


def run(folder: Path | None, *, fakes_only: bool, json: bool, encoder: EncoderChoice) -> None:
    """List backends, ranked where there is a model."""
    workload = None if folder is None else _workload(folder, encoder)
    listed: list[Listed] = []
    left: float | None = None
    trouble: AccountError | ServiceError | UnknownBackendError | None = None
    if not fakes_only:
        try:
            listed, left = _devices(workload)
        except (AccountError, ServiceError, UnknownBackendError) as error:
            trouble = error
    listed += _fakes(workload)
    if workload is not None:
        listed.sort(key=_error)
    # Without an account the fakes are all there is; where an account fails, the list has a hole.
    failed = trouble is not None and not isinstance(trouble, (NoAccountError, UnknownBackendError))
    if trouble is not None and not failed:
        complain("Note", f"fakes only. {trouble}")
    told = None if trouble is None else str(trouble)
    _show(listed, left, told, ranked=workload is not None, json=json)
    if trouble is not None and failed:
        complain("Error", f"the account's devices are missing. {trouble}")
        raise typer.Exit(trouble.exit_code)


def _show(
    listed: list[Listed], left: float | None, trouble: str | None, *, ranked: bool, json: bool
) -> None:
    if json:
        rows = [_as_dict(place, each) for place, each in enumerate(listed, start=1)]
        print_json({"backends": rows, "remaining_seconds": left, "account": trouble})
        return
    screen = console()
    show_table(screen, _table(listed))
    if not ranked:
        screen.print("With a model they are ranked: qhead backends MODEL")
    if left is not None:
        screen.print(f"The account has {left:g} s of QPU time left.")


def _workload(folder: Path, encoder: EncoderChoice) -> Workload:
    """Return the circuit of a model with one set of values, which do not count here."""
    model = open_model(folder, encoder)
    head = quantum_head(model)
    workload: Workload = head.workload(np.ones((1, head.n_features_in_), np.float32))
    return workload


def _devices(workload: Workload | None) -> tuple[list[Listed], float | None]:
    service = open_account()
    width = 1 if workload is None else workload.circuit.num_qubits
    backends = account_backends(service, width)
    queues = {str(backend.name): waiting_jobs(backend) for backend in backends}
    usable = backends if workload is None else calibrated(backends)
    ranked = [(str(backend.name), each) for backend, each in _ranked(usable, workload, "devices")]
    unknown = [(str(backend.name), None) for backend in backends if backend not in usable]
    qubits = {str(backend.name): backend.configuration().n_qubits for backend in backends}
    listed = [
        Listed(f"ibm:{name}", qubits[name], each, queues[name])
        for name, each in (*ranked, *unknown)
    ]
    return listed, account_seconds(service)


def _fakes(workload: Workload | None) -> list[Listed]:
    with warnings.catch_warnings():
        # Said of a chip whose fake is there to try its shape: no warning of ours to the user.
        warnings.filterwarnings("ignore", "Properties of .* are not intended", UserWarning)
        backends = [fake_backend(name) for name in fake_names()]
    return [
        Listed(f"fake:{str(backend.name).removeprefix('fake_')}", backend.num_qubits, ranked)
        for backend, ranked in _ranked(backends, workload, "fakes")
    ]


def _ranked(
    backends: Sequence[BackendV2], workload: Workload | None, what: str
) -> Iterator[tuple[BackendV2, RankedBackend | None]]:
    """Yield backends with their ranks; those that the circuit does not fit on are left out."""
    if workload is None:
        yield from ((backend, None) for backend in backends)
        return
    with counting_bar(f"ranking {what}") as bar:
        for done, backend in enumerate(backends, start=1):
            for ranked in rank(workload, [backend]):
                yield backend, ranked
            bar(done, len(backends))


def _error(each: Listed) -> tuple[float, str]:
    return (np.inf if each.rank is None else each.rank.expected_error, each.target)


def _table(listed: list[Listed]) -> Table:
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


def _as_dict(place: int, each: Listed) -> dict[str, Any]:
    told: dict[str, Any] = {
        "target": each.target,
        "num_qubits": each.num_qubits,
        "queue": each.queue,
    }
    if (r := each.rank) is not None:
        told |= {
            "rank": place,
            "expected_error": r.expected_error,
            "two_qubit_gates": r.two_qubit_gates,
            "two_qubit_gate": r.two_qubit_gate,
            "median_gate_error": r.median_gate_error,
            "median_readout_error": r.median_readout_error,
            "dead_edges": r.dead_edges,
            "calibration": r.calibration_id,
        }
    return told
