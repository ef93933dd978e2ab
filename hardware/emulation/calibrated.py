"""A local target with the errors of a backend's calibration, on the best qubits for a circuit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qiskit.circuit import QuantumCircuit
from qiskit.providers import BackendV2

from hardware.circuits.measurement import Setting
from hardware.circuits.transforms import light_cone, restrict_to_active
from hardware.devices.backends import fake_backend, fake_name, working_target
from hardware.devices.scheduling import scheduled
from hardware.emulation.emulated import EmulatedTarget
from hardware.emulation.noise import calibrated_noise
from hardware.emulation.sampling import PreparedCircuit
from hardware.errors import InvalidInputError
from hardware.planning.options import PlanOptions
from hardware.planning.placement import TranspiledShape
from hardware.planning.plan import Tile
from hardware.planning.tiled_circuit import on_tile
from hardware.planning.tiling import place


@dataclass(frozen=True)
class CalibratedTarget(EmulatedTarget):
    """The calibration of a backend, on the best qubits for the circuit: ``aer:NAME[:N]``.

    The circuit is transpiled with its parameters kept for every shape of region that the chip has,
    and placed where its expected error is least, as a plan of one tile is
    (`hardware.planning.tiling`): once for all measurement settings. Only those qubits are
    simulated, under their own errors, and they decay while they wait
    (`hardware.devices.scheduling`).

    Args:
        backend: Short name of a fake backend, e.g. ``"fez"``, or any `BackendV2`.
        optimization_level: Qiskit's, 0 to 3.
    """

    backend: str | BackendV2
    optimization_level: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.backend, str):
            object.__setattr__(self, "backend", fake_name(self.backend))
        elif not isinstance(self.backend, BackendV2):
            raise InvalidInputError(
                "Expected the name of a fake backend or a BackendV2, got "
                f"{type(self.backend).__name__}."
            )

    @property
    def spec(self) -> str:
        name = self.backend if isinstance(self.backend, str) else self.backend.name
        return f"aer:{name}:{self.shots}"

    def prepare(self, circuit: QuantumCircuit, measured: Sequence[int]) -> PreparedCircuit:
        return self._on_best_tile(circuit, [(measured, None)])[0]

    def prepare_settings(
        self, circuit: QuantumCircuit, settings: Sequence[Setting]
    ) -> list[PreparedCircuit]:
        return self._on_best_tile(circuit, [(setting.qubits, setting) for setting in settings])

    def _on_best_tile(
        self, circuit: QuantumCircuit, wanted: Sequence[tuple[Sequence[int], Setting | None]]
    ) -> list[PreparedCircuit]:
        """Place a circuit once; return it for each of some measured qubits and their bases."""
        if not wanted:
            return []
        placed = self._placed(circuit, sorted({qubit for qubits, _ in wanted for qubit in qubits}))
        return [placed.prepare(measured, setting) for measured, setting in wanted]

    def _placed(self, circuit: QuantumCircuit, measured: Sequence[int]) -> Placed:
        """Choose the tile for a circuit, of which all the measured qubits are given."""
        backend = fake_backend(self.backend) if isinstance(self.backend, str) else self.backend
        if circuit.num_qubits > backend.num_qubits:
            raise InvalidInputError(
                f"Expected at most the {backend.num_qubits} qubits of {backend.name}, got a "
                f"circuit of {circuit.num_qubits}: choose a wider backend."
            )
        options = PlanOptions(tiles=1, optimization_level=self.optimization_level)
        tiling = place(circuit, measured, working_target(backend), 1, options)
        return Placed(backend, tiling.tiles[0], tiling.transpiled[0])


@dataclass(frozen=True, eq=False)
class Placed:
    """A circuit on a tile of a backend."""

    backend: BackendV2
    tile: Tile
    transpiled: TranspiledShape

    def ends(self, measured: Sequence[int]) -> list[int]:
        """Return the physical qubits that hold some of the circuit's qubits when they are read."""
        return [self.tile.final_layout[qubit] for qubit in measured]

    def prepare(self, measured: Sequence[int], setting: Setting | None) -> PreparedCircuit:
        """Return the circuit with the calibration's noise for one measurement setting."""
        target = working_target(self.backend)
        whole = on_tile(self.tile, self.transpiled, setting, target)
        return _timed(whole, self.ends(measured), self.backend)


def _timed(placed: QuantumCircuit, ends: Sequence[int], backend: BackendV2) -> PreparedCircuit:
    """Return the part of a circuit on a device that can influence some physical qubits."""
    reduced, physical = restrict_to_active(placed, ends)
    bits = [physical.index(qubit) for qubit in ends]
    # Gates outside the light cone influence the others by the time that they take.
    timed = scheduled(reduced, bits, working_target(backend), physical)
    timed, active = restrict_to_active(light_cone(timed, bits), bits)
    physical = tuple(physical[qubit] for qubit in active)
    bits = [physical.index(qubit) for qubit in ends]
    noise = calibrated_noise(backend, timed, physical, bits)
    return PreparedCircuit(timed, tuple(bits), noise, noise.attach(timed, bits), physical)
