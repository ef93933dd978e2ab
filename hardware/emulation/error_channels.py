"""Errors of single instructions: depolarising, relaxation, or both, in closed form.

The combination is that of Aer's ``NoiseModel.from_backend``: a depolarising channel, then thermal
relaxation of each qubit for the duration of the gate, with the depolarising parameter such that the
average gate fidelity is the calibrated one. In the Pauli basis both are a few numbers, which is
thousands of times cheaper than composing them as circuits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Relaxation:
    """Thermal relaxation of a qubit towards |0⟩. Seconds; T₂ at most 2 T₁."""

    t1: float
    t2: float
    time: float

    def transfer_matrix(self) -> np.ndarray:
        """Return the Pauli transfer matrix, shape (4, 4)."""
        populations, coherences = math.exp(-self.time / self.t1), math.exp(-self.time / self.t2)
        matrix = np.diag([1.0, coherences, coherences, populations])
        matrix[3, 0] = 1.0 - populations
        return matrix


@dataclass(frozen=True)
class ErrorChannel:
    """The error after one instruction.

    Args:
        num_qubits: Qubits that it acts on.
        depolarizing: λ, Qiskit's parameter of ``depolarizing_error(λ, num_qubits)``.
        relaxations: Relaxation of each qubit afterwards; empty for none.
    """

    num_qubits: int
    depolarizing: float = 0.0
    relaxations: tuple[Relaxation, ...] = ()

    def transfer_matrix(self) -> np.ndarray:
        """Return the Pauli transfer matrix, shape (4^n, 4^n); the first qubit varies fastest."""
        scale = np.full(4**self.num_qubits, 1.0 - self.depolarizing)
        scale[0] = 1.0
        if not self.relaxations:
            return np.diag(scale)
        factors = [relaxation.transfer_matrix() for relaxation in reversed(self.relaxations)]
        return reduce(np.kron, factors) * scale

    def aer_error(self) -> Any:
        """Return the same channel as an Aer `QuantumError`."""
        from qiskit_aer.noise import depolarizing_error, thermal_relaxation_error

        error = depolarizing_error(self.depolarizing, self.num_qubits)
        if self.relaxations:
            singles = [thermal_relaxation_error(r.t1, r.t2, r.time) for r in self.relaxations]
            error = error.compose(reduce(lambda low, high: low.expand(high), singles))
        return error


def calibrated_channel(
    error: float, duration: float, times: Sequence[tuple[float, float]]
) -> ErrorChannel | None:
    """Return the channel of a calibrated instruction, None where it has no error.

    Args:
        error: Average gate infidelity.
        duration: Seconds.
        times: T₁ and T₂ of each qubit, seconds.
    """
    num_qubits, fidelity = len(times), 1.0
    relaxations: tuple[Relaxation, ...] = ()
    if duration > 0:
        relaxations = tuple(Relaxation(t1, t2, duration) for t1, t2 in times)
        process = math.prod(np.trace(r.transfer_matrix()) / 4 for r in relaxations)
        fidelity = _average_fidelity(process, num_qubits)
    depolarizing = 0.0
    if error > 1.0 - fidelity:
        dim = 2**num_qubits
        error = min(error, dim / (dim + 1))  # the least fidelity that a channel can have
        depolarizing = dim * (error - (1.0 - fidelity)) / (dim * fidelity - 1.0)
        depolarizing = min(depolarizing, 4**num_qubits / (4**num_qubits - 1))
    if not depolarizing and not relaxations:
        return None
    return ErrorChannel(num_qubits, depolarizing, relaxations)


def _average_fidelity(process: float, num_qubits: int) -> float:
    dim = 2**num_qubits
    return (dim * process + 1) / (dim + 1)


@dataclass(frozen=True, eq=False)
class InstructionErrors:
    """Pauli transfer matrices of the errors that follow instructions, and read-out confusion.

    Args:
        gates: Matrix (4^k, 4^k) of the error after instruction `name` on `qubits`.
        readout: Matrix (2, 2) with entry [prepared, observed] for each noisy measured qubit.
    """

    gates: Mapping[tuple[str, tuple[int, ...]], np.ndarray]
    readout: Mapping[int, np.ndarray]
