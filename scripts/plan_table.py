"""What 1,000 sentences cost on a 156-qubit device: one circuit each, one broadcast PUB, tiles.

Prints the table of the README, and with ``--picture FILE`` draws the chip with its tiles.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
from qiskit.quantum_info import SparsePauliOp

from hardware.devices.backends import fake_backend
from hardware.planning.cost import CostEstimate, circuit_payload
from hardware.planning.drawing import draw_plan
from hardware.planning.options import PlanOptions
from hardware.planning.plan import JobPlan
from hardware.planning.planner import plan
from hardware.workload import Workload
from qhead.circuits import reuploading_circuit


def workload(
    num_rows: int,
    topology: str,
    connectivity: int,
    num_layers: int,
    num_qubits: int = 10,
    num_reuploads: int = 2,
    num_measured: int = 1,
) -> Workload:
    """Return a head with random weights, the same for all rows, and random angles."""
    circuit = reuploading_circuit(
        num_qubits, num_layers, connectivity, num_reuploads, topology=topology
    )
    names = tuple(parameter.name for parameter in circuit.parameters)
    rng = np.random.default_rng(0)
    values = np.tile(rng.uniform(-np.pi, np.pi, len(names)), (num_rows, 1))
    inputs = [i for i, name in enumerate(names) if name.startswith("x")]
    values[:, inputs] = rng.uniform(-np.pi, np.pi, (num_rows, len(inputs)))
    observables = tuple(
        SparsePauliOp.from_sparse_list([("Z", [qubit], 1.0)], num_qubits=num_qubits)
        for qubit in range(num_measured)
    )
    return Workload(circuit, names, values, observables)


def one_by_one(broadcast: JobPlan, num_rows: int) -> CostEstimate:
    """Return the cost of one bound circuit for each row, as the QNN classes send them."""
    cost, circuit = broadcast.cost, broadcast.circuits[0]
    bound = circuit.assign_parameters(np.zeros(circuit.num_parameters))
    extra = (num_rows - cost.items) * broadcast.options.cost.sub_job
    return replace(
        cost,
        pubs=num_rows,
        items=num_rows,
        payload_bytes=num_rows * circuit_payload(bound),
        qpu_seconds=cost.qpu_seconds + extra,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--backend", default="fez")
    parser.add_argument("--topology", default="ring")
    parser.add_argument("--connectivity", type=int, default=2)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--qubits", type=int, default=10)
    parser.add_argument("--reuploads", type=int, default=2)
    parser.add_argument("--measured", type=int, default=1)
    parser.add_argument("--shots", type=int, default=4096)
    parser.add_argument("--max-error-ratio", type=float, default=2.0)
    parser.add_argument("--picture")
    given = parser.parse_args()
    backend = fake_backend(given.backend)
    form = (given.topology, given.connectivity, given.layers)
    size = (given.qubits, given.reuploads, given.measured)
    work = workload(given.rows, *form, *size)
    options = PlanOptions(shots=given.shots, tiles=1)
    broadcast = plan(work, backend, options)
    tiled = plan(work, backend, replace(options, tiles=None, max_error_ratio=given.max_error_ratio))
    print(f"{given.rows} sentences, {given.qubits} qubits, {given.topology}, {given.shots} shots, "
          f"{backend.name}")  # fmt: skip
    print("| how | tiles | jobs | PUBs | executions | payload | QPU seconds |")
    print("|---|---|---|---|---|---|---|")
    rows = [
        ("one bound circuit a sentence", one_by_one(broadcast, given.rows)),
        ("one broadcast PUB", broadcast.cost),
        ("tiled", tiled.cost),
    ]
    for name, cost in rows:
        print(f"| {name} | {cost.tiles} | {cost.jobs} | {cost.pubs} | {cost.executions:,} | "
              f"{cost.payload_bytes / 1e6:.2f} MB | {cost.qpu_seconds:,.0f} |")  # fmt: skip
    print()
    for note in tiled.notes:
        print(f"- {note}")
    if given.picture:
        draw_plan(tiled, backend).savefig(given.picture, dpi=110)


if __name__ == "__main__":
    main()
