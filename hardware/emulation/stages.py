"""The errors of a calibration one kind after the other: what each of them costs.

A circuit on a device suffers errors of several kinds at once. Here they are switched on in an order
that adds up to ``aer:NAME``:

1. the circuit as if all its qubits were neighbours, so that nothing is routed, in the device's own
   gates; only one-qubit gates have an error;
2. two-qubit gates as well;
3. the read-out as well: that of the physical qubits which are read on the device;
4. the routed circuit on its tile: more gates, and each with the error of its own qubits;
5. idle time as well: this is `CalibratedTarget`, instruction for instruction.

Before the fourth step a gate has the mean error of the gates of its name in the routed circuit
(depolarising parameter, and relaxation rates times duration), because two qubits that are no
neighbours have no error of their own. So the fourth step holds the additional gates and how unequal
the tile's qubits are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from itertools import combinations

import numpy as np
from qiskit.circuit import QuantumCircuit

from hardware.circuits.measurement import Setting
from hardware.circuits.transforms import light_cone, restrict_to_active
from hardware.devices.backends import working_target
from hardware.devices.calibration import VIRTUAL_GATES
from hardware.devices.error_map import GateSet
from hardware.emulation.calibrated import CalibratedTarget, Placed
from hardware.emulation.error_channels import ErrorChannel, Relaxation
from hardware.emulation.noise import CircuitNoise, readout_confusions
from hardware.emulation.sampling import PreparedCircuit
from hardware.planning.placement import TranspiledShape, transpile_on
from hardware.planning.plan import Tile
from hardware.planning.regions import Shape
from hardware.planning.tiled_circuit import on_tile


class Stage(IntEnum):
    """Kinds of errors, in the order in which they are switched on."""

    ONE_QUBIT = 1
    TWO_QUBIT = 2
    READOUT = 3
    ROUTING = 4
    IDLE = 5


@dataclass(frozen=True)
class StagedTarget(CalibratedTarget):
    """``aer:NAME`` with the errors of a `Stage` and those before it.

    Args:
        stage: The last kind of errors that is switched on.
    """

    stage: Stage = field(default=Stage.IDLE, kw_only=True)

    @property
    def spec(self) -> str:
        """The specification of the whole calibration; of the other stages there is none."""
        return super().spec if self.stage is Stage.IDLE else f"{super().spec} up to {self.stage}"

    def _on_best_tile(
        self, circuit: QuantumCircuit, wanted: Sequence[tuple[Sequence[int], Setting | None]]
    ) -> list[PreparedCircuit]:
        if not wanted:
            return []
        every = sorted({qubit for qubits, _ in wanted for qubit in qubits})
        placed = self._placed(circuit, every)
        routed = [placed.prepare(measured, setting) for measured, setting in wanted]
        if self.stage is Stage.IDLE:
            return routed
        if self.stage is Stage.ROUTING:
            return [_without_idle_time(each) for each in routed]
        target = working_target(placed.backend)
        alone = _Unrouted.of(circuit, every, GateSet.of(target), self.optimization_level)
        errors = mean_channels(routed)
        return [
            self._unrouted(alone, placed, errors, measured, setting) for measured, setting in wanted
        ]

    def _unrouted(
        self,
        alone: _Unrouted,
        placed: Placed,
        errors: dict[str, ErrorChannel | None],
        measured: Sequence[int],
        setting: Setting | None,
    ) -> PreparedCircuit:
        circuit, bits = alone.circuit(measured, setting)
        gate_errors = {}
        for step in circuit.data:
            qubits = tuple(circuit.find_bit(qubit).index for qubit in step.qubits)
            error = mean_error(errors, step.operation.name, len(qubits))
            if error is not None and len(qubits) <= self.stage:
                gate_errors[step.operation.name, qubits] = error
        readout: dict[int, np.ndarray] = {}
        if self.stage is Stage.READOUT:
            confusions = readout_confusions(placed.backend, placed.ends(measured))
            readout = {bit: m for bit, m in zip(bits, confusions, strict=True) if m is not None}
        noise = CircuitNoise(
            source=f"the calibration of {placed.backend.name}, without routing and idle time",
            asked=bool(gate_errors or readout),
            gate_errors=gate_errors,
            readout=readout,
        )
        return PreparedCircuit(circuit, bits, noise, noise.attach(circuit, bits))


@dataclass(frozen=True, eq=False)
class _Unrouted:
    """A circuit in a device's gates, on qubits that are all neighbours."""

    gates: GateSet
    transpiled: TranspiledShape
    final: dict[int, int]  # where each qubit of the original circuit is read
    edges: tuple[tuple[int, int], ...]

    @classmethod
    def of(
        cls, circuit: QuantumCircuit, measured: Sequence[int], gates: GateSet, level: int
    ) -> _Unrouted:
        cone, active = restrict_to_active(light_cone(circuit, measured), measured)
        num_qubits = len(active)
        edges = tuple(combinations(range(num_qubits), 2))
        shape = Shape(num_qubits, edges, np.arange(num_qubits)[np.newaxis])
        transpiled = transpile_on(cone, shape, gates, level)
        return cls(gates, transpiled, dict(zip(active, transpiled.final, strict=True)), edges)

    def circuit(
        self, measured: Sequence[int], setting: Setting | None
    ) -> tuple[QuantumCircuit, tuple[int, ...]]:
        """Return the part that can influence some measured qubits, and where they are read."""
        num_qubits = self.transpiled.circuit.num_qubits
        layout = tuple(self.final.get(qubit, -1) for qubit in range(max(self.final) + 1))
        tile = Tile(tuple(range(num_qubits)), None, 0, layout)
        target = self.gates.on(num_qubits, self.edges)
        whole = on_tile(tile, self.transpiled, setting, target)
        ends = [self.final[qubit] for qubit in measured]
        reduced, active = restrict_to_active(light_cone(whole, ends), ends)
        return reduced, tuple(active.index(end) for end in ends)


def mean_channels(prepared: Iterable[PreparedCircuit]) -> dict[str, ErrorChannel | None]:
    """Return the mean error of each gate over its instances in circuits, None where all have none.

    Depolarising parameters are averaged, and of relaxation the rates times the duration: to first
    order the average of the channels. Delays are left out.
    """
    found: dict[str, list[ErrorChannel | None]] = {}
    for each in prepared:
        assert each.noise is not None
        for step in each.circuit.data:
            name = step.operation.name
            qubits = tuple(each.circuit.find_bit(qubit).index for qubit in step.qubits)
            if name != "delay":
                found.setdefault(name, []).append(each.noise.gate_errors.get((name, qubits)))
    return {name: _mean_channel(channels) for name, channels in found.items()}


def mean_error(
    errors: Mapping[str, ErrorChannel | None], name: str, num_qubits: int
) -> ErrorChannel | None:
    """Return the mean error of a gate, or of all gates of its width where it has none itself."""
    if name in errors or name in VIRTUAL_GATES:
        return errors.get(name)
    alike = [each for each in errors.values() if each and each.num_qubits == num_qubits]
    return _mean_channel(alike)


def _mean_channel(channels: Sequence[ErrorChannel | None]) -> ErrorChannel | None:
    """Return the mean of some channels, of which None are perfect; None if all are."""
    noisy = [channel for channel in channels if channel is not None]
    if not noisy:
        return None
    num_qubits, count = noisy[0].num_qubits, len(channels)
    depolarizing = sum(each.depolarizing for each in noisy) / count
    relaxations = [each for channel in noisy for each in channel.relaxations]
    if not relaxations:
        return ErrorChannel(num_qubits, depolarizing)
    slow = sum(each.time / each.t1 for each in relaxations) / (count * num_qubits)
    fast = sum(each.time / each.t2 for each in relaxations) / (count * num_qubits)
    mean = Relaxation(t1=1 / slow, t2=1 / fast, time=1.0)
    return ErrorChannel(num_qubits, depolarizing, (mean,) * num_qubits)


def _without_idle_time(prepared: PreparedCircuit) -> PreparedCircuit:
    """Return a circuit whose delays have no error."""
    assert prepared.noise is not None
    errors = {
        key: error
        for key, error in prepared.noise.gate_errors.items()
        if not key[0].startswith("delay ")
    }
    noise = replace(prepared.noise, gate_errors=errors)
    report = noise.attach(prepared.circuit, prepared.measured)
    return replace(prepared, noise=noise, report=report)
