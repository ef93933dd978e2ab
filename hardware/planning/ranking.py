"""Backends ranked by the error that one circuit would suffer there."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from qiskit.providers import BackendV2

from hardware.circuits.measurement import Measurement
from hardware.circuits.transforms import light_cone, restrict_to_active
from hardware.devices.backends import calibration_id, fake_backend, fake_names, working_target
from hardware.devices.calibration import left_out
from hardware.devices.error_map import ErrorMap
from hardware.errors import PlanError
from hardware.planning.options import PlanOptions
from hardware.planning.tiling import candidates
from hardware.workload import Workload

#: Shapes that are tried on each backend: those that the circuit fits without routing come first.
MAX_SHAPES = 6


@dataclass(frozen=True)
class RankedBackend:
    """A backend and what a circuit would suffer on its best region.

    Args:
        name: Name of the backend.
        num_qubits: Qubits of the chip.
        expected_error: Probability that one run of the circuit suffers an error, by calibration.
        two_qubit_gates: Two-qubit gates after routing.
        two_qubit_gate: Their name.
        median_gate_error: Median error of the working two-qubit gates.
        median_readout_error: Median error of the working read-outs.
        dead_edges: Edges that are unknown to the calibration or do not work, and are left out.
        calibration_id: Identifier of the calibration.
        notes: What the backend itself warns of, and what is left out.
    """

    name: str
    num_qubits: int
    expected_error: float
    two_qubit_gates: int
    two_qubit_gate: str
    median_gate_error: float
    median_readout_error: float
    dead_edges: int
    calibration_id: str
    notes: tuple[str, ...] = ()


def rank(
    workload: Workload, backends: Iterable[BackendV2] | None = None
) -> tuple[RankedBackend, ...]:
    """Rank backends by the error that a workload's circuit would suffer, the best first.

    The price is that of the best region: the gates that the routed circuit uses there, its
    read-outs and its idle time. Backends that the circuit does not fit on are left out, and so are
    those that state no errors, durations or T₁ and T₂ at all: what they would cost is unknown.

    Args:
        workload: Its circuit and observables count, its values do not.
        backends: Backends with a calibration; all fake ones by default.
    """
    measurement = Measurement.of(workload.observables)
    measured = list(measurement.qubits)
    cone, active = restrict_to_active(light_cone(workload.circuit, measured), measured)
    inside = [active.index(qubit) for qubit in measured]
    found = []
    for backend, notes in _backends(backends):
        if backend.num_qubits < cone.num_qubits:
            continue
        try:
            device = ErrorMap.of(working_target(backend))
            regions = candidates(cone, inside, device, PlanOptions(), MAX_SHAPES)
        except PlanError:
            continue  # no calibrated gates, or no working region of this size
        if device.unstated:
            continue  # its expected error is unknown
        transpiled = regions.transpiled[regions.shapes[0]]
        notes = (*notes, *left_out(backend.target))
        found.append(
            _ranked(backend, device, regions.prices[0], transpiled.num_two_qubit_gates, notes)
        )
    return tuple(sorted(found, key=lambda each: (each.expected_error, each.name)))


def _backends(
    given: Iterable[BackendV2] | None,
) -> Iterable[tuple[BackendV2, tuple[str, ...]]]:
    """Yield backends with the warnings that they give about themselves."""
    if given is not None:
        for backend in given:
            yield backend, ()
        return
    for name in fake_names():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            backend = fake_backend(name)
        yield backend, tuple(str(warning.message) for warning in caught)


def _ranked(
    backend: BackendV2, device: ErrorMap, price: float, gates: int, notes: Sequence[str]
) -> RankedBackend:
    losses = np.array([device.edge_loss[edge] for edge in device.edges])
    readout = device.losses["measure"][list(device.qubits)]
    whole = {tuple(sorted(pair)) for pair in backend.target[device.gates.two]}
    return RankedBackend(
        name=str(backend.name),
        num_qubits=backend.num_qubits,
        expected_error=float(-np.expm1(-price)),
        two_qubit_gates=gates,
        two_qubit_gate=device.gates.two,
        median_gate_error=float(np.median(-np.expm1(-losses))),
        median_readout_error=float(np.median(-np.expm1(-readout))),
        dead_edges=len(whole) - len(device.edges),
        calibration_id=calibration_id(backend),
        notes=tuple(notes),
    )
