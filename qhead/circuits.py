"""Encodings and ansätze as plain Qiskit circuits with named parameters, and what is read out.

The paper's ansatz (arXiv 2504.08732, Figs. 2 and 3). A *block* of connectivity C is, for c = 1 … C
and i = 0 … Q-1, CX from qubit i to qubit (i + c) mod Q and RY(θ) on the latter: Q C parameters.
A full circuit is one block, one RY on every qubit, then L more blocks: Q (C (L + 1) + 1) parameters
(reading "A"). The figure's indices also allow counting the first block among the L: Q (C L + 1)
(reading "B").

Topologies, all with the same number of parameters: ``ring`` as above; ``chain``, the same with
nearest-neighbour bonds only, in brick order and with alternating direction, so that a device runs
it without routing; ``full``, CX from every qubit to every later one before the RYs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import combinations, product

from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from qhead import checks
from qhead.errors import HeadError

TOPOLOGIES = ("ring", "chain", "full")
READINGS = ("A", "B")
READOUTS = ("expectations", "probabilities")


def num_ansatz_parameters(
    num_qubits: int, num_layers: int, connectivity: int, reading: str = "A"
) -> int:
    """Return the number of parameters of `ansatz`."""
    blocks = num_layers + 1 if reading == "A" else num_layers
    return num_qubits * (connectivity * blocks + 1)


def ansatz(
    num_qubits: int,
    num_layers: int,
    connectivity: int,
    *,
    topology: str = "ring",
    reading: str = "A",
    name: str = "w",
) -> QuantumCircuit:
    """Return the paper's full circuit with parameters ``name[0]``, ``name[1]``, ….

    Args:
        num_qubits: Q.
        num_layers: L, from 0 on in reading A and from 1 on in reading B.
        connectivity: C; below Q, so that no CX has one qubit twice.
        topology: "ring", "chain" or "full".
        reading: "A" or "B", see the module's text.
        name: Name of the parameter vector.

    Raises:
        HeadError: An option is out of its range.
    """
    check_ansatz(num_qubits, num_layers, connectivity, topology, reading)
    size = num_ansatz_parameters(num_qubits, num_layers, connectivity, reading)
    parameters = iter(ParameterVector(name, size))
    circuit = QuantumCircuit(num_qubits)
    _append_block(circuit, connectivity, topology, parameters)
    for qubit in range(num_qubits):
        circuit.ry(next(parameters), qubit)
    for _ in range(num_layers if reading == "A" else num_layers - 1):
        _append_block(circuit, connectivity, topology, parameters)
    return circuit


def check_ansatz(
    num_qubits: int, num_layers: int, connectivity: int, topology: str, reading: str
) -> None:
    """Check the options of `ansatz`.

    Raises:
        HeadError: One is out of its range.
    """
    checks.count("num_qubits", num_qubits)
    checks.choice("topology", topology, TOPOLOGIES)
    checks.choice("reading", reading, READINGS)
    checks.count("num_layers", num_layers, low=0 if reading == "A" else 1)
    checks.count("connectivity", connectivity)
    if topology == "ring" and 1 < num_qubits <= connectivity:
        raise HeadError(
            f"A ring of num_qubits={num_qubits} takes a connectivity of at most {num_qubits - 1}, "
            f"got {connectivity}: use connectivity={num_qubits - 1}.",
            options=("num_qubits", "connectivity"),
        )


def _append_block(
    circuit: QuantumCircuit, connectivity: int, topology: str, parameters: Iterator[Parameter]
) -> None:
    size = circuit.num_qubits
    for c in range(1, connectivity + 1):
        if topology == "ring":
            for i in range(size):
                target = (i + c) % size
                if size > 1:
                    circuit.cx(i, target)
                circuit.ry(next(parameters), target)
            continue
        for control, target in _chain(size, c) if topology == "chain" else _full(size):
            circuit.cx(control, target)
        for qubit in range(size):
            circuit.ry(next(parameters), qubit)


def _chain(size: int, c: int) -> Iterator[tuple[int, int]]:
    """Yield bonds (i, i + 1), even ones first; every other sweep the other way round."""
    for first in (0, 1):
        for i in range(first, size - 1, 2):
            yield (i, i + 1) if c % 2 else (i + 1, i)


def _full(size: int) -> Iterable[tuple[int, int]]:
    return combinations(range(size), 2)


def angle_encoding(num_qubits: int, name: str = "x") -> QuantumCircuit:
    """Return RY(x[i]) on every qubit i."""
    circuit = QuantumCircuit(num_qubits)
    for qubit, parameter in enumerate(ParameterVector(name, num_qubits)):
        circuit.ry(parameter, qubit)
    return circuit


def reuploading_circuit(
    num_qubits: int,
    num_layers: int,
    connectivity: int,
    num_reuploads: int,
    *,
    topology: str = "ring",
    reading: str = "A",
    shared: bool = True,
) -> QuantumCircuit:
    """Return ``N × [angle encoding → PQC1] → PQC2``, the circuit that runs on a device.

    Parameters are named ``x[i]`` (angles, radians), ``u[k]`` (PQC1; with ``shared=False``
    ``u0[k]``, ``u1[k]``, … for each re-upload) and ``v[k]`` (PQC2). `data_parameters` and
    `weight_parameters` list them in the order of their use.

    Args:
        num_qubits: Q.
        num_layers: L of PQC1 and PQC2.
        connectivity: C of both.
        num_reuploads: N, at least 1.
        topology: See `ansatz`.
        reading: See `ansatz`.
        shared: Whether the N copies of PQC1 share their parameters, as the paper draws it.

    Raises:
        HeadError: An option is out of its range.
    """
    checks.count("num_reuploads", num_reuploads)
    check_ansatz(num_qubits, num_layers, connectivity, topology, reading)

    def pqc(name: str) -> QuantumCircuit:
        return ansatz(
            num_qubits, num_layers, connectivity, topology=topology, reading=reading, name=name
        )

    encoding = angle_encoding(num_qubits)
    first = pqc("u")
    circuit = QuantumCircuit(num_qubits)
    for n in range(num_reuploads):
        circuit.compose(encoding, inplace=True)
        circuit.compose(first if shared else pqc(f"u{n}"), inplace=True)
    circuit.compose(pqc("v"), inplace=True)
    return circuit


def readout_observables(
    readout: str, num_measured: int, num_qubits: int
) -> tuple[SparsePauliOp, ...]:
    """Return the observables whose expectation values a read-out takes."""
    if readout == "expectations":
        return tuple(
            SparsePauliOp.from_sparse_list([("Z", [q], 1.0)], num_qubits)
            for q in range(num_measured)
        )
    return tuple(_projector(value, num_measured, num_qubits) for value in range(2**num_measured))


def _projector(value: int, num_measured: int, num_qubits: int) -> SparsePauliOp:
    """Return the projector on one joint value of qubits 0 … num_measured - 1.

    A product of (1 ± Z)/2: over all subsets of the qubits, Z's on the subset with the product of
    the signs, divided by 2^num_measured.
    """
    terms = []
    for subset in product((False, True), repeat=num_measured):
        places = [q for q, chosen in enumerate(subset) if chosen]
        sign = math.prod(-1 if (value >> q) & 1 else 1 for q in places)
        terms.append(("Z" * len(places), places, sign / 2**num_measured))
    return SparsePauliOp.from_sparse_list(terms, num_qubits)


def gate_list(circuit: QuantumCircuit) -> list[tuple[str, list[int], list[str]]]:
    """Return name, qubits and parameters of every gate, in order, JSON-able."""
    return [
        (
            item.operation.name,
            [circuit.find_bit(qubit).index for qubit in item.qubits],
            [str(parameter) for parameter in item.operation.params],
        )
        for item in circuit.data
    ]


def data_parameters(circuit: QuantumCircuit) -> list[Parameter]:
    """Return the parameters ``x[i]`` in the order of i."""
    return [p for p in _by_index(circuit) if p.name.startswith("x[")]


def weight_parameters(circuit: QuantumCircuit) -> list[Parameter]:
    """Return all other parameters: PQC1's, re-upload by re-upload, then PQC2's."""
    return [p for p in _by_index(circuit) if not p.name.startswith("x[")]


def _by_index(circuit: QuantumCircuit) -> list[Parameter]:
    def key(parameter: Parameter) -> tuple[str, int, int]:
        name, _, index = parameter.name.rstrip("]").partition("[")
        digits = name.lstrip("abcdefghijklmnopqrstuvwxyz")
        return name.rstrip("0123456789"), int(digits or 0), int(index)

    return sorted(circuit.parameters, key=key)
