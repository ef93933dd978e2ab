"""Speed of one training step, as ratios against peers in the same run.

    python scripts/benchmark.py [--qubits 10 14] [--repeats 30] [--json FILE]

The step is forward and full gradient of a re-uploading circuit (twice: angles of its own on every
qubit, then a one-block PQC1 of connectivity 2; ⟨Z⟩ of the first qubit; batch 16) through a
`TorchConnector`. Peers: Qiskit's own `EstimatorQNN` with parameter shift, timed on a part of the
batch and scaled up, since its cost is linear in samples; and, where PennyLane is installed, its
`default.qubit` with backpropagation and `lightning.qubit` with the adjoint method. States are in
double precision everywhere, the peers' default; a row of its own has single precision, in which the
heads train. Machines are noisy: read the ratios.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.gradients import ParamShiftEstimatorGradient
from qiskit_machine_learning.neural_networks import EstimatorQNN

from qhead.circuits import ansatz, data_parameters, weight_parameters
from qhead.simulator import AdjointEstimatorGradient, ExactEstimator, ExactEstimatorQNN, Simulator

BATCH = 16
REUPLOADS = 2


def circuit(num_qubits: int) -> QuantumCircuit:
    """Return the benchmark's circuit; each re-upload has angles of its own."""
    result = QuantumCircuit(num_qubits)
    angles = ParameterVector("x", num_qubits * REUPLOADS)
    for n in range(REUPLOADS):
        for qubit in range(num_qubits):
            result.ry(angles[n * num_qubits + qubit], qubit)
        result.compose(ansatz(num_qubits, 0, 2, name=f"u{n}"), inplace=True)
    return result


def step_of(connector: TorchConnector, inputs: np.ndarray) -> Callable[[], None]:
    """Return a function that runs forward and backward once."""
    x = torch.tensor(inputs, dtype=torch.float32, requires_grad=True)

    def step() -> None:
        connector(x).sum().backward()

    return step


def ours(
    work: QuantumCircuit, weights: np.ndarray, inputs: np.ndarray, precision: type = np.float64
) -> Callable[[], None]:
    """Return the step through the exact simulator."""
    estimator = ExactEstimator(Simulator(precision))
    return step_of(
        _connector(work, weights, estimator, AdjointEstimatorGradient(estimator)), inputs
    )


def stock(work: QuantumCircuit, weights: np.ndarray, inputs: np.ndarray) -> Callable[[], None]:
    """Return the step as Qiskit Machine Learning does it by default."""
    estimator = StatevectorEstimator()
    return step_of(
        _connector(work, weights, estimator, ParamShiftEstimatorGradient(estimator)), inputs
    )


def _connector(
    work: QuantumCircuit, weights: np.ndarray, estimator: Any, gradient: Any
) -> TorchConnector:
    network = (ExactEstimatorQNN if isinstance(estimator, ExactEstimator) else EstimatorQNN)(
        circuit=work,
        estimator=estimator,
        observables=[SparsePauliOp.from_sparse_list([("Z", [0], 1.0)], work.num_qubits)],
        input_params=data_parameters(work),
        weight_params=weight_parameters(work),
        gradient=gradient,
        input_gradients=True,
    )
    return TorchConnector(network, initial_weights=weights)


def pennylane(
    work: QuantumCircuit, weights: np.ndarray, inputs: np.ndarray, device: str, method: str
) -> Callable[[], None]:
    """Return the same step in PennyLane, gate for gate."""
    import pennylane as qml

    place = {p: ("x", i) for i, p in enumerate(data_parameters(work))}
    place |= {p: ("w", i) for i, p in enumerate(weight_parameters(work))}
    rows = [
        (i.operation.name, [work.find_bit(q).index for q in i.qubits], i.operation.params)
        for i in work.data
    ]

    @qml.qnode(qml.device(device, wires=work.num_qubits), interface="torch", diff_method=method)
    def node(x: torch.Tensor, w: torch.Tensor) -> Any:
        for name, wires, parameters in rows:
            if name == "cx":
                qml.CNOT(wires=wires)
            else:
                kind, index = place[parameters[0]]
                qml.RY(x[..., index] if kind == "x" else w[index], wires=wires[0])
        return qml.expval(qml.PauliZ(0))

    x = torch.tensor(inputs, dtype=torch.float64, requires_grad=True)
    w = torch.tensor(weights, dtype=torch.float64, requires_grad=True)

    def step() -> None:
        node(x, w).sum().backward()

    return step


def seconds(step: Callable[[], None], repeats: int) -> float:
    """Return the median time of a step after one to warm up."""
    step()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure(num_qubits: int, repeats: int) -> list[dict[str, Any]]:
    """Return one row a peer, ours first."""
    work = circuit(num_qubits)
    rng = np.random.default_rng(0)
    weights = rng.normal(size=len(weight_parameters(work)))
    inputs = rng.normal(size=(BATCH, len(data_parameters(work))))
    rows = [("qhead", seconds(ours(work, weights, inputs), repeats))]
    single = seconds(ours(work, weights, inputs, np.float32), repeats)
    rows.append(("qhead, single precision", single))
    if importlib.util.find_spec("pennylane"):
        for device, method in (("default.qubit", "backprop"), ("lightning.qubit", "adjoint")):
            step = pennylane(work, weights, inputs, device, method)
            rows.append((f"PennyLane {device}, {method}", seconds(step, max(3, repeats // 5))))
    part = 1 if num_qubits > 10 else 2
    whole = seconds(stock(work, weights, inputs[:part]), 1) * BATCH / part
    rows.append((f"stock EstimatorQNN (timed on {part} of {BATCH} samples)", whole))
    return [
        {"qubits": num_qubits, "what": name, "ms": 1e3 * t, "ratio": t / rows[0][1]}
        for name, t in rows
    ]


def fresh_start(num_qubits: int) -> float:
    """Return the seconds that the first step takes in a new process, compiled code cached."""
    code = (
        "import time, numpy as np, sys; sys.path.insert(0, sys.argv[1]); import benchmark as b\n"
        "c = b.circuit(int(sys.argv[2])); r = np.random.default_rng(0)\n"
        "w = r.normal(size=len(b.weight_parameters(c)))\n"
        "x = r.normal(size=(b.BATCH, len(b.data_parameters(c))))\n"
        "t = time.perf_counter(); b.ours(c, w, x)(); print(time.perf_counter() - t)"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(num_qubits)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qubits", type=int, nargs="+", default=[10, 14])
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for num_qubits in options.qubits:
        rows += measure(num_qubits, options.repeats)
    starts = {q: fresh_start(q) for q in options.qubits}
    print("| qubits | step | ms | × qhead |\n| ---: | --- | ---: | ---: |")
    for row in rows:
        print(f"| {row['qubits']} | {row['what']} | {row['ms']:.3g} | {row['ratio']:.3g} |")
    for num_qubits, start in starts.items():
        print(f"First step of a new process, {num_qubits} qubits: {start:.2f} s.")
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "first_step_seconds": starts}, indent=1))


if __name__ == "__main__":
    main()
