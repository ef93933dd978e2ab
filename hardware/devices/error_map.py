"""A device's calibration as arrays, which prices are computed from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from qiskit.transpiler import Target

from hardware.devices.calibration import (
    gate_names,
    known_error,
    known_relaxation,
    known_seconds,
    working,
    working_qubits,
)
from hardware.errors import PlanError


@dataclass(frozen=True)
class GateSet:
    """What the transpiler needs to know of a device, beside its edges.

    Args:
        one: Names of the one-qubit gates.
        two: Name of the two-qubit gate.
    """

    one: tuple[str, ...]
    two: str


@dataclass(frozen=True, eq=False)
class ErrorMap:
    """What pricing needs of a calibration, as arrays.

    Losses are -log(1 - error), times are seconds. Infinite, or NaN for times, where the device has
    no such instruction that is known and works.

    Args:
        gates: Names of the gates.
        edges: Working edges, smaller qubit first.
        qubits: Working qubits.
        losses: Loss of each one-qubit gate and of "measure", by qubit, shape (n,).
        times: Time of each one-qubit gate and of "measure", by qubit, shape (n,).
        edge_loss: Loss of the two-qubit gate, first qubit first, shape (n, n).
        edge_time: Time of the two-qubit gate, first qubit first, shape (n, n).
        relaxation: 1/T₁ and 1/T₂ by qubit, per second, shape (2, n).
    """

    num_qubits: int
    gates: GateSet
    edges: tuple[tuple[int, int], ...]
    qubits: tuple[int, ...]
    losses: dict[str, np.ndarray]
    times: dict[str, np.ndarray]
    edge_loss: np.ndarray
    edge_time: np.ndarray
    relaxation: np.ndarray

    @classmethod
    def of(cls, target: Target) -> ErrorMap:
        """Read a target; what `hardware.devices.calibration.working` would leave out is.

        Raises:
            PlanError: It has no two-qubit gate, or no SX, that is known and works.
        """
        target = working(target)
        one, pairs = gate_names(target, 1), gate_names(target, 2)
        if not pairs or "sx" not in one:
            raise PlanError("The device has no calibrated two-qubit gate or no calibrated SX.")
        two = max(pairs, key=lambda name: len(target[name]))
        num_qubits = target.num_qubits
        edge_loss = np.full((num_qubits, num_qubits), np.inf)
        edge_time = np.full((num_qubits, num_qubits), np.nan)
        for a, b in target[two]:
            edge_loss[a, b] = _loss(known_error(target, two, (a, b)))
            edge_time[a, b] = known_seconds(target, two, (a, b))
        # Where the device has one direction only, a gate is turned round when it is placed.
        alone = ~np.isfinite(edge_loss)
        edge_loss[alone], edge_time[alone] = edge_loss.T[alone], edge_time.T[alone]
        edges = np.argwhere(np.triu(np.isfinite(edge_loss))).tolist()
        names, every = (*one, "measure"), range(num_qubits)
        relaxation = np.full((2, num_qubits), np.nan)
        for qubit in every:
            if (times := known_relaxation(target, qubit)) is not None:
                relaxation[:, qubit] = 1 / np.array(times)
        return cls(
            num_qubits=num_qubits,
            gates=GateSet(one, two),
            edges=tuple((a, b) for a, b in edges),
            qubits=tuple(sorted(working_qubits(target))),
            losses={
                name: np.array([_loss(known_error(target, name, (q,))) for q in every])
                for name in names
            },
            times={
                name: np.array([known_seconds(target, name, (q,)) for q in every], dtype=float)
                for name in names
            },
            edge_loss=edge_loss,
            edge_time=edge_time,
            relaxation=relaxation,
        )

    @property
    def durations(self) -> dict[str, float]:
        """Median time of each gate and of "measure", seconds, of those that are known."""
        times = {**self.times, self.gates.two: self.edge_time}
        known = {name: found[np.isfinite(found)] for name, found in times.items()}
        return {name: float(np.median(found)) for name, found in known.items() if found.size}


def _loss(error: float | None) -> float:
    return float("inf") if error is None else -float(np.log1p(-error))
