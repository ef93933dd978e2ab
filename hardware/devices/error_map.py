"""A device's own gates, and its calibration as arrays, which prices are computed from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from qiskit.circuit import Gate, Parameter
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.transpiler import InstructionProperties, Target

from hardware.circuits.definitions import is_library
from hardware.devices.calibration import (
    VIRTUAL_GATES,
    Kind,
    gate_names,
    known_error,
    known_relaxation,
    known_seconds,
    unstated,
    working,
    working_qubits,
)
from hardware.errors import PlanError

#: Durations where a device states none, by number of qubits and of a read-out, seconds: those of
#: slow trapped ions, so that a run is estimated too long rather than too short.
ASSUMED_SECONDS: dict[int | str, float] = {1: 150e-6, 2: 1e-3, "measure": 300e-6}
#: Which two-qubit gate is taken where a device has several in the same places.
_PREFERRED = ("cz", "cx", "ecr", "rzz", "rxx", "zz", "ms")


@dataclass(frozen=True)
class GateSet:
    """What the transpiler needs to know of a device, beside its edges.

    Args:
        one: Names of the one-qubit gates.
        two: Name of the two-qubit gate; empty where the device has none.
        fractional: Names of further two-qubit gates, of any angle, that circuits may use.
        kinds: Class of each gate, one-qubit gates first: two providers may share a name.
        operations: The gates by name.
    """

    one: tuple[str, ...]
    two: str
    fractional: tuple[str, ...]
    kinds: tuple[str, ...]
    operations: Mapping[str, Gate] = field(compare=False, repr=False)

    @classmethod
    def of(cls, target: Target, *, fractional: bool = False) -> GateSet:
        """Return the gates of a target that work, those of any angle only where asked for."""
        one, pairs = gate_names(target, 1), gate_names(target, 2)
        two = ""
        if pairs:
            order = {name: -place for place, name in enumerate(_PREFERRED)}
            two = max(
                pairs, key=lambda name: (len(target[name]), order.get(name, -len(_PREFERRED)))
            )
        every = gate_names(target, 2, fractional=True) if fractional else ()
        others = tuple(name for name in every if name not in pairs)
        names = (*one, *((two,) if two else ()), *others)
        operations = {name: _operation(target, name) for name in names}
        kinds = tuple(
            f"{gate.base_class.__module__}.{gate.base_class.__qualname__}"
            for gate in operations.values()
        )
        return cls(one, two, others, kinds, operations)

    def on(self, num_qubits: int, edges: Sequence[tuple[int, int]]) -> Target:
        """Return a target of n qubits: these gates, all equally good, edges both ways."""
        target = Target(num_qubits=num_qubits)
        for name in self.one:
            properties = InstructionProperties(error=1e-4)
            every = [(qubit,) for qubit in range(num_qubits)]
            target.add_instruction(
                self.operations[name], dict.fromkeys(every, properties), name=name
            )
        if edges and self.two:
            properties = InstructionProperties(error=1e-3)
            both = [edge for a, b in edges for edge in ((a, b), (b, a))]
            for name in (self.two, *self.fractional):
                target.add_instruction(
                    self.operations[name], dict.fromkeys(both, properties), name=name
                )
        return target


def _operation(target: Target, name: str) -> Gate:
    """Return a gate of a target, with names of its own for free angles where it is the library's.

    Targets name angles as they like, and equal gates are to give equal circuits.
    """
    operation = target.operation_from_name(name)
    free = all(isinstance(angle, Parameter) for angle in operation.params)
    standard = get_standard_gate_name_mapping().get(name)
    return standard if standard is not None and free and is_library(operation) else operation


@dataclass(frozen=True, eq=False)
class ErrorMap:
    """What pricing needs of a calibration, as arrays.

    Losses are -log(1 - error), times are seconds. Infinite, or NaN for times, where the device has
    no such instruction that is known and works. Of what the device states nowhere losses are zero
    and times are `ASSUMED_SECONDS`.

    Args:
        gates: The device's gates.
        edges: Working edges, smaller qubit first.
        qubits: Working qubits.
        losses: Loss of each one-qubit gate and of "measure", by qubit, shape (n,).
        times: Time of each one-qubit gate and of "measure", by qubit, shape (n,).
        edge_losses: Loss of each two-qubit gate, first qubit first, shape (n, n).
        edge_times: Time of each two-qubit gate, first qubit first, shape (n, n).
        relaxation: 1/T₁ and 1/T₂ by qubit, per second, shape (2, n).
        unstated: What the device states nowhere: losses are then lower bounds and no more.
    """

    num_qubits: int
    gates: GateSet
    edges: tuple[tuple[int, int], ...]
    qubits: tuple[int, ...]
    losses: dict[str, np.ndarray]
    times: dict[str, np.ndarray]
    edge_losses: dict[str, np.ndarray]
    edge_times: dict[str, np.ndarray]
    relaxation: np.ndarray
    unstated: tuple[Kind, ...] = ()

    @classmethod
    def of(cls, target: Target, *, fractional: bool = False) -> ErrorMap:
        """Read a target; what `hardware.devices.calibration.working` would leave out is.

        Args:
            target: The target.
            fractional: Whether circuits may use two-qubit gates of any angle beside the usual one.

        Raises:
            PlanError: It has no one-qubit or no two-qubit gate that is known and works.
        """
        target = working(target)
        silent, gates = unstated(target), GateSet.of(target, fractional=fractional)
        pulse_lost = "sx" in target.operation_names and "sx" not in gates.one
        if not gates.two or not gates.one or pulse_lost:
            raise PlanError("The device has no calibrated two-qubit gate or no calibrated SX.")
        num_qubits = target.num_qubits

        def loss(name: str, qubits: tuple[int, ...]) -> float:
            error = known_error(target, name, qubits)
            if error is None and "gate and read-out errors" in silent:
                error = 0.0 if qubits in target[name] else None
            return float("inf") if error is None else -float(np.log1p(-error))

        def seconds(name: str, qubits: tuple[int, ...]) -> float | None:
            if "durations" in silent and name not in VIRTUAL_GATES and qubits in target[name]:
                return ASSUMED_SECONDS["measure" if name == "measure" else len(qubits)]
            return known_seconds(target, name, qubits)

        edge_losses, edge_times = {}, {}
        for two in (gates.two, *gates.fractional):
            edge_loss = np.full((num_qubits, num_qubits), np.inf)
            edge_time = np.full((num_qubits, num_qubits), np.nan)
            for a, b in target[two]:
                edge_loss[a, b] = loss(two, (a, b))
                edge_time[a, b] = seconds(two, (a, b))
            # Where the device has one direction only, a gate is turned round when it is placed.
            alone = ~np.isfinite(edge_loss)
            edge_loss[alone], edge_time[alone] = edge_loss.T[alone], edge_time.T[alone]
            edge_losses[two], edge_times[two] = edge_loss, edge_time
        edges = np.argwhere(np.triu(np.isfinite(edge_losses[gates.two]))).tolist()
        names, every = (*gates.one, "measure"), range(num_qubits)
        relaxation = np.full((2, num_qubits), 0.0 if "T1 and T2" in silent else np.nan)
        for qubit in every:
            if (times := known_relaxation(target, qubit)) is not None:
                relaxation[:, qubit] = 1 / np.array(times)
        return cls(
            num_qubits=num_qubits,
            gates=gates,
            edges=tuple((a, b) for a, b in edges),
            qubits=tuple(sorted(working_qubits(target))),
            losses={name: np.array([loss(name, (q,)) for q in every]) for name in names},
            times={
                name: np.array([seconds(name, (q,)) for q in every], dtype=float) for name in names
            },
            edge_losses=edge_losses,
            edge_times=edge_times,
            relaxation=relaxation,
            unstated=silent,
        )

    @property
    def edge_loss(self) -> np.ndarray:
        """Loss of the usual two-qubit gate, first qubit first, shape (n, n)."""
        return self.edge_losses[self.gates.two]

    @property
    def edge_time(self) -> np.ndarray:
        """Time of the usual two-qubit gate, first qubit first, shape (n, n)."""
        return self.edge_times[self.gates.two]

    @property
    def durations(self) -> dict[str, float]:
        """Median time of each gate and of "measure", seconds, of those that are known."""
        times = {**self.times, **self.edge_times}
        known = {name: found[np.isfinite(found)] for name, found in times.items()}
        return {name: float(np.median(found)) for name, found in known.items() if found.size}

    def notes(self, name: str) -> tuple[str, ...]:
        """Return sentences on what a device does not state, for plans."""
        notes = []
        if self.unstated:
            notes.append(
                f"{name} states no {', no '.join(self.unstated)}: the expected error of the "
                "tiles is unknown, and they are chosen by what is stated."
            )
        if "durations" in self.unstated:
            one, two = ASSUMED_SECONDS[1] * 1e6, ASSUMED_SECONDS[2] * 1e6
            notes.append(
                f"Durations of {one:g} µs for a one-qubit gate, {two:g} µs for a two-qubit gate "
                f"and {ASSUMED_SECONDS['measure'] * 1e6:g} µs for the read-out are assumed, as on "
                "slow trapped ions: the estimated QPU seconds follow from them and say nothing of "
                "the provider's price."
            )
        return tuple(notes)
