"""When each instruction of a circuit runs, and how long the qubits wait in between.

Every instruction starts as late as it can, which is the devices' default, and all qubits are read
at the same time. A qubit waits from the end of one of its gates to the start of the next, or to its
read-out. Waiting costs nothing before the first gate, in the ground state, and after the last gate
of a qubit that is not read. Prices (`hardware.planning.placement`) and emulations
(`hardware.emulation.noise`) share this schedule, so that idle time costs the same in each.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from qiskit.circuit import Barrier, Delay, Gate, Measure, QuantumCircuit
from qiskit.transpiler import Target

from hardware.circuits.definitions import opened
from hardware.devices.calibration import known_seconds
from hardware.errors import InvalidInputError

#: Shorter waits are rounding errors, seconds.
_SHORTEST = 1e-12

#: Qubits and duration of an instruction, seconds, shape (L,) or one number; None for a barrier.
Step = tuple[Sequence[int], np.ndarray | float | None]


def waits(
    steps: Sequence[Step], num_qubits: int, measured: Collection[int], num_places: int = 1
) -> tuple[list[np.ndarray], np.ndarray]:
    """Return how long the qubits of each step wait after it, at L places of the chip at once.

    Args:
        steps: K steps in their order.
        num_qubits: Qubits that the steps are numbered by.
        measured: Qubits that are read after the last step.
        num_places: L; durations may differ between them.

    Returns:
        For each step the waits of its k qubits, seconds, shape (k, L), and the time from the first
        step to the read-out, shape (L,).
    """
    ahead = np.zeros((num_qubits, num_places))  # from each qubit's next step to the read-out
    counts = set(measured)  # qubits whose state still matters
    found = []
    for qubits, seconds in reversed(steps):
        where = list(qubits)
        end = ahead[where].max(axis=0)
        found.append(end - ahead[where])
        found[-1][[qubit not in counts for qubit in where]] = 0.0
        ahead[where] = end if seconds is None else end + seconds
        if seconds is not None:
            counts.update(where)
    found.reverse()
    touched: set[int] = set()
    for (qubits, seconds), wait in zip(steps, found, strict=True):
        if seconds is not None:
            touched.update(qubits)
        wait[[qubit not in touched for qubit in qubits]] = 0.0
    return found, ahead.max(axis=0)


def scheduled(
    circuit: QuantumCircuit, measured: Collection[int], target: Target, physical: Sequence[int]
) -> QuantumCircuit:
    """Return a circuit with its waits written out as delays; barriers, which order it, go.

    A circuit that has its delays already gets no others.

    Args:
        circuit: Circuit of the target's gates, delays, barriers and measurements on n qubits.
        measured: Qubits that are read after its end, beside those that it measures itself.
        target: Where the durations come from.
        physical: The physical qubit behind each of the circuit's n qubits.

    Raises:
        InvalidInputError: A gate that the target does not have or whose duration it does not know.
    """
    circuit = opened(circuit)
    where = [[circuit.find_bit(q).index for q in step.qubits] for step in circuit.data]
    # All qubits are read at the same time, for as long as the slowest takes.
    reading = 0.0
    for step, qubits in zip(circuit.data, where, strict=True):
        if isinstance(step.operation, Measure):
            slow = known_seconds(target, step.operation.name, [physical[qubits[0]]])
            reading = max(reading, slow or 0.0)
    steps: list[Step] = []
    for step, qubits in zip(circuit.data, where, strict=True):
        operation, seconds = step.operation, None
        if isinstance(operation, Gate | Delay):
            seconds = operation_seconds(operation, target, [physical[q] for q in qubits])
        elif isinstance(operation, Measure):
            seconds = reading
        steps.append((qubits, seconds))
    pauses, _ = waits(steps, circuit.num_qubits, measured)
    result = circuit.copy_empty_like()
    for step, qubits, pause in zip(circuit.data, where, pauses, strict=True):
        if not isinstance(step.operation, Barrier):
            result.append(step.operation, step.qubits, step.clbits, copy=False)
        for qubit, time in zip(qubits, pause[:, 0].tolist(), strict=True):
            if time > _SHORTEST:
                result.delay(round(time, 15), qubit, unit="s")
    return result


def operation_seconds(operation: Any, target: Target, physical: Sequence[int]) -> float:
    """Return how long a gate or a delay takes on physical qubits, seconds.

    Raises:
        InvalidInputError: The target does not have the gate, or does not say.
    """
    name = operation.name
    if isinstance(operation, Delay):
        scale = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "ps": 1e-12, "dt": target.dt or 0.0}
        return float(operation.duration) * scale[operation.unit]
    if name not in target.operation_names:
        raise InvalidInputError(
            f"The device has no gate {name!r}: transpile the circuit for it first."
        )
    seconds = known_seconds(target, name, physical)
    if seconds is None:
        raise InvalidInputError(
            f"The calibration does not say how long {name!r} takes on qubits {tuple(physical)}: "
            "use other qubits."
        )
    return seconds
