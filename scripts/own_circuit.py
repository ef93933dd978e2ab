"""Any parametrised Qiskit circuit and an array of values, on a device: no text, no training.

    python scripts/own_circuit.py --target fake:fez:1024
    python scripts/own_circuit.py --target ibm:best --budget 60

Rows of one circuit run on disjoint regions of the chip at the same time. Replace `my_circuit`,
`values` and `observables` by your own.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

import hardware
from hardware import PlanOptions, Run, Workload


def my_circuit(num_qubits: int) -> QuantumCircuit:
    """Return a chain of rotations and CX gates with one angle a qubit."""
    circuit, angles = QuantumCircuit(num_qubits), ParameterVector("a", num_qubits)
    for qubit, angle in enumerate(angles):
        circuit.ry(angle, qubit)
    for qubit in range(num_qubits - 1):
        circuit.cx(qubit, qubit + 1)
    return circuit


def main(arguments: Sequence[str] | None = None) -> None:
    """Plan, submit, collect and print the expectation values."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", default="fake:fez:1024", help="device: fake:NAME, ibm:NAME …")
    parser.add_argument("--budget", type=float, help="QPU seconds; required for ibm:")
    parser.add_argument("--rows", type=int, default=20, help="parameter sets")
    parser.add_argument("--qubits", type=int, default=4, help="qubits of the circuit")
    given = parser.parse_args(arguments)

    circuit = my_circuit(given.qubits)
    names = tuple(parameter.name for parameter in circuit.parameters)  # the order of the columns
    values = np.random.default_rng(0).uniform(-np.pi, np.pi, (given.rows, len(names)))
    observables = (SparsePauliOp("I" * (given.qubits - 1) + "Z"), SparsePauliOp("Z" * given.qubits))
    workload = Workload(circuit, names, values, observables)

    plan = hardware.plan(workload, given.target, PlanOptions(seed=1))  # free; the seed is of fakes
    print(f"{plan}; tiles at {[tile.qubits for tile in plan.tiles]}")
    run = hardware.submit(plan, budget=given.budget)  # in the ledger before anything is sent
    print(f"Run {run.id}: {run.status().state}")

    found = Run.open(run.id).collect()  # from this process or any other, today or later
    for row, (means, errors) in enumerate(zip(found.values, found.std_errors, strict=True)):
        print(row, *(f"{m:+.3f} ± {e:.3f}" for m, e in zip(means, errors, strict=True)))


if __name__ == "__main__":
    main()
