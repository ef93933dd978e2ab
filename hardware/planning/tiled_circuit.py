"""The ISA circuit of all tiles together."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from qiskit.circuit import ClassicalRegister, Parameter, QuantumCircuit
from qiskit.transpiler import PassManager, Target
from qiskit.transpiler.passes import (
    BasisTranslator,
    GateDirection,
    Optimize1qGatesDecomposition,
)

from hardware.circuits.definitions import storable
from hardware.circuits.measurement import Setting, basis_rotation
from hardware.devices.error_map import GateSet
from hardware.errors import PlanError
from hardware.planning.placement import TranspiledShape, transpile_on
from hardware.planning.plan import Tile
from hardware.planning.regions import Shape

_TILE_NAMESPACE = uuid.UUID("6a6c1f0e-59b5-5d0f-8a50-51c5a3d1b0d2")
#: Two-qubit gates that do not change when their qubits are swapped.
_SYMMETRIC = {"cz", "swap", "rzz", "rxx", "ryy"}


def tile_parameter(index: int, name: str) -> str:
    """Return the name of a parameter on a tile."""
    return f"t{index}/{name}"


def tile_register(index: int) -> str:
    """Return the name of a tile's classical register."""
    return f"t{index}"


def compose(
    tiles: Sequence[Tile],
    transpiled: Sequence[TranspiledShape],
    setting: Setting | None,
    constants: Mapping[str, float],
    target: Target,
) -> QuantumCircuit:
    """Return one circuit that runs each tile's circuit on its own qubits and measures them.

    Args:
        tiles: T tiles.
        transpiled: The circuit on the shape of each tile.
        setting: What is measured, in which basis; None for the estimator, which adds its own
            measurements.
        constants: Values of the parameters that are the same for all rows.
        target: The device.

    Raises:
        PlanError: An instruction that the device does not have.
    """
    whole = QuantumCircuit(target.num_qubits, name="tiles")
    rotation, ends = _rotations(target), []
    for index, (tile, shape) in enumerate(zip(tiles, transpiled, strict=True)):
        circuit = _with_tile_parameters(shape.circuit, index, constants)
        _place(whole, circuit, tile.qubits, target)
        if setting is None:
            continue
        ends.append([tile.final_layout[qubit] for qubit in setting.qubits])
        whole = replace(setting, qubits=tuple(ends[-1])).append_basis_change(whole, rotation)
    whole = _in_direction(whole, target)
    if ends:
        # Read-out of all tiles at once: none is disturbed by another's.
        whole.barrier([qubit for tile in tiles for qubit in tile.qubits])
    for index, end in enumerate(ends):
        register = ClassicalRegister(len(end), tile_register(index))
        whole.add_register(register)
        whole.measure(end, register)
    check_isa(whole, target)
    return storable(whole)


def on_tile(
    tile: Tile, shape: TranspiledShape, setting: Setting | None, target: Target
) -> QuantumCircuit:
    """Return what `compose` runs on one tile, without measurements, parameters as they are."""
    whole = QuantumCircuit(target.num_qubits)
    _place(whole, shape.circuit, tile.qubits, target)
    if setting is not None:
        ends = tuple(tile.final_layout[qubit] for qubit in setting.qubits)
        whole = replace(setting, qubits=ends).append_basis_change(whole, _rotations(target))
    whole = _in_direction(whole, target)
    check_isa(whole, target)
    return whole


def readout_circuit(
    tiles: Sequence[Tile], qubits: Sequence[int], bit: int, target: Target
) -> QuantumCircuit:
    """Return a circuit that prepares some of the workload's qubits in `bit` and reads them."""
    whole = QuantumCircuit(target.num_qubits, name=f"readout {bit}")
    flip = QuantumCircuit(1)
    flip.x(0)
    flip = own_gates(flip, target)
    for index, tile in enumerate(tiles):
        end = [tile.final_layout[qubit] for qubit in qubits]
        register = ClassicalRegister(len(end), tile_register(index))
        whole.add_register(register)
        for qubit in end if bit else ():
            whole.compose(flip, [qubit], inplace=True)
        whole.measure(end, register)
    check_isa(whole, target)
    return storable(whole)


def own_gates(circuit: QuantumCircuit, target: Target) -> QuantumCircuit:
    """Return a circuit of one qubit, without parameters, written with a device's own gates.

    Raises:
        PlanError: They cannot express it.
    """
    if all(step.operation.name in target.operation_names for step in circuit.data):
        return circuit
    return transpile_on(
        circuit, Shape(1, (), np.zeros((1, 1), dtype=np.int64)), GateSet.of(target), 1
    ).circuit


def _rotations(target: Target) -> Callable[[str], QuantumCircuit]:
    """Return what gives the rotation of one qubit to a basis in a device's own gates."""
    return cache(lambda basis: own_gates(basis_rotation(basis), target))


def check_isa(circuit: QuantumCircuit, target: Target) -> None:
    """Raise `PlanError` unless the device has every instruction of a circuit where it stands."""
    for step in circuit.data:
        name = step.operation.name
        qubits = tuple(circuit.find_bit(q).index for q in step.qubits)
        if name != "barrier" and not target.instruction_supported(name, qubits):
            raise PlanError(
                f"Expected instructions of the device, got {name!r} on qubits {qubits}: the "
                "calibration has changed since the transpilation; plan again."
            )


def _with_tile_parameters(
    circuit: QuantumCircuit, index: int, constants: Mapping[str, float]
) -> QuantumCircuit:
    assignment: dict[Parameter, float | Parameter] = {}
    for parameter in circuit.parameters:
        if parameter.name in constants:
            assignment[parameter] = constants[parameter.name]
        else:
            name = tile_parameter(index, parameter.name)
            # Identifiers that follow from names: equal plans have equal bytes.
            assignment[parameter] = Parameter(name, uuid=uuid.uuid5(_TILE_NAMESPACE, name))
    return circuit.assign_parameters(assignment)


def _place(
    whole: QuantumCircuit, circuit: QuantumCircuit, physical: Sequence[int], target: Target
) -> None:
    """Append a circuit on physical qubits; gates that know no direction get the device's."""
    for step in circuit.data:
        name = step.operation.name
        if name == "barrier":
            continue
        qubits = tuple(physical[circuit.find_bit(q).index] for q in step.qubits)
        if name in _SYMMETRIC and not target.instruction_supported(name, qubits):
            qubits = qubits[::-1]
        whole.append(step.operation, qubits, copy=False)


def _in_direction(circuit: QuantumCircuit, target: Target) -> QuantumCircuit:
    """Turn two-qubit gates that stand against the direction the device has them in."""
    against = [
        step
        for step in circuit.data
        if len(step.qubits) == 2
        and not target.instruction_supported(
            step.operation.name, tuple(circuit.find_bit(q).index for q in step.qubits)
        )
    ]
    if not against:
        return circuit
    from qiskit.circuit.equivalence_library import SessionEquivalenceLibrary

    passes = [
        GateDirection(None, target=target),
        BasisTranslator(SessionEquivalenceLibrary, None, target=target),
        Optimize1qGatesDecomposition(target=target),
    ]
    return PassManager(passes).run(circuit)
