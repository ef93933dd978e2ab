"""Speed of one training step side by side with every peer that is installed, in one run.

    pip install -c constraints.txt -e '.[bench]'
    python scripts/benchmark.py [--cases 10x16 10x256 14x16 18x16] [--rounds 10] [--json FILE]

The step is the forward pass and the full gradient, by inputs and by weights, of a re-uploading
circuit (twice: angles of its own on every qubit, then a one-block PQC1 of connectivity 2; ⟨Z⟩ of
the first qubit). QxB is Q qubits and a batch of B. qhead's goes through the stock `TorchConnector`.
Everybody has the same two cores, circuit and precision, and must find qhead's values and
gradients, or the run fails. Peers and qhead take turns, round by round; the times are the least and
the median of all rounds, the ratios those of the least times. Compilation and first steps are
apart. Qiskit's own `EstimatorQNN` with parameter shift is timed on a part of the batch and scaled
up: its cost is linear in samples. Machines are noisy: read the ratios.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmark_peers import (
    Case,
    NotRunError,
    Results,
    Step,
    pennylane_jax,
    pennylane_torch,
    tensorcircuit,
)
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.gradients import ParamShiftEstimatorGradient
from qiskit_machine_learning.neural_networks import EstimatorQNN

from qhead.circuits import ansatz, data_parameters, weight_parameters
from qhead.simulator import AdjointEstimatorGradient, ExactEstimator, ExactEstimatorQNN, Simulator

CASES = ("10x16", "10x256", "14x16", "18x16")
REUPLOADS = 2
#: Seconds that a round gives each contender, which takes one step at least.
_SLICE_SECONDS = 0.1
#: A step that takes longer than this is timed once.
_LONG_SECONDS = 60.0
#: Largest deviation from qhead's double precision, in units of the largest number. The connector
#: and PennyLane's torch interface return single precision whatever is computed.
_TOLERANCE = {"single": 1e-4, "double": 1e-5}


def circuit(num_qubits: int) -> QuantumCircuit:
    """Return the benchmark's circuit; each re-upload has angles of its own."""
    result = QuantumCircuit(num_qubits)
    angles = ParameterVector("x", num_qubits * REUPLOADS)
    for n in range(REUPLOADS):
        for qubit in range(num_qubits):
            result.ry(angles[n * num_qubits + qubit], qubit)
        result.compose(ansatz(num_qubits, 0, 2, name=f"u{n}"), inplace=True)
    return result


def case_of(num_qubits: int, batch: int) -> Case:
    """Return the circuit with random weights and inputs."""
    work = circuit(num_qubits)
    rng = np.random.default_rng(0)
    weights = rng.normal(size=len(weight_parameters(work)))
    return Case(work, weights, rng.normal(size=(batch, len(data_parameters(work)))))


def network(case: Case, kind: type[EstimatorQNN], estimator: Any, gradient: Any) -> EstimatorQNN:
    """Return Qiskit's network of a case: ⟨Z⟩ of the first qubit."""
    return kind(
        circuit=case.circuit,
        estimator=estimator,
        observables=[SparsePauliOp.from_sparse_list([("Z", [0], 1.0)], case.num_qubits)],
        input_params=data_parameters(case.circuit),
        weight_params=weight_parameters(case.circuit),
        gradient=gradient,
        input_gradients=True,
        default_precision=0.0,  # exact: Qiskit's estimator draws as many shots as a precision takes
    )


def connected(case: Case, made: EstimatorQNN, samples: int) -> tuple[Step, float]:
    """Return the step of the first samples through a `TorchConnector`."""
    connector = TorchConnector(made, initial_weights=case.weights)
    x = torch.tensor(case.inputs[:samples], dtype=torch.float32, requires_grad=True)

    def step() -> Results:
        x.grad = connector.weight.grad = None
        values = connector(x)
        values.sum().backward()
        assert x.grad is not None
        return values.detach().numpy()[:, 0], x.grad.numpy(), connector.weight.grad.numpy()

    return step, 0.0


def ours(case: Case, precision: str) -> tuple[Step, float]:
    """Return the step through the exact simulator."""
    estimator = ExactEstimator(Simulator(np.float64 if precision == "double" else np.float32))
    made = network(case, ExactEstimatorQNN, estimator, AdjointEstimatorGradient(estimator))
    return connected(case, made, len(case.inputs))


def stock(case: Case, samples: int) -> tuple[Step, float]:
    """Return the step of the first samples as Qiskit Machine Learning does it by default."""
    if case.num_qubits > 14:
        raise NotRunError("one sample takes many minutes")
    estimator = StatevectorEstimator()
    made = network(case, EstimatorQNN, estimator, ParamShiftEstimatorGradient(estimator))
    return connected(case, made, samples)


@dataclass(eq=False)
class Contender:
    """A simulator in one precision, and the times of its steps."""

    name: str
    precision: str
    make: Callable[[], tuple[Step, float]]
    samples: int  # of the batch that a step runs
    step: Step | None = None
    note: str = ""
    compile_seconds: float = 0.0
    first_seconds: float = 0.0
    deviation: float = 0.0
    times: list[float] = field(default_factory=list)

    def start(self, exact: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
        """Build the step, run it once and compare what it finds with the exact results.

        Raises:
            RuntimeError: It finds something else.
        """
        try:
            self.step, self.compile_seconds = self.make()
        except NotRunError as error:
            self.note = str(error)
            return
        start = time.perf_counter()
        found = self.step()
        self.first_seconds = time.perf_counter() - start
        values, by_input, by_weight = (table[: self.samples] for table in exact)
        for one, two in zip(found, (values, by_input, by_weight.sum(axis=0)), strict=True):
            gap = np.abs(np.asarray(one, np.float64) - two).max() / np.abs(two).max()
            self.deviation = max(self.deviation, float(gap))
        if not self.deviation < _TOLERANCE[self.precision]:
            raise RuntimeError(
                f"{self.name} deviates by {self.deviation:.1e} of the largest number."
            )
        if self.first_seconds > _LONG_SECONDS:
            self.times.append(self.first_seconds)

    def time(self) -> None:
        """Time some steps, `_SLICE_SECONDS` long together."""
        if self.step is None or self.first_seconds > _LONG_SECONDS:
            return
        steps = max(1, int(_SLICE_SECONDS / min([self.first_seconds, *self.times])))
        for _ in range(min(steps, 50)):
            start = time.perf_counter()
            self.step()
            self.times.append(time.perf_counter() - start)

    def row(self, case: str, batch: int, least: dict[str, float]) -> dict[str, Any]:
        """Return the numbers of a whole batch, milliseconds, relative to ours where it is known."""
        row = {"case": case, "what": self.name, "precision": self.precision, "note": self.note}
        if not self.times:
            return row
        scale = 1e3 * batch / self.samples
        row |= {"least_ms": scale * min(self.times)}
        row |= {"median_ms": scale * statistics.median(self.times), "steps": len(self.times)}
        row |= {"ratio": row["least_ms"] / least[self.precision], "deviation": self.deviation}
        return row | {"compile_s": self.compile_seconds, "first_step_s": self.first_seconds}


def contenders(case: Case) -> list[Contender]:
    """Return everybody who can run a case, ours first."""
    batch = len(case.inputs)
    part = 1 if case.num_qubits > 10 else 2
    found = [Contender("qhead", p, lambda p=p: ours(case, p), batch) for p in _TOLERANCE]
    if importlib.util.find_spec("tensorcircuit"):
        found += [
            Contender("TensorCircuit-NG, JAX", p, lambda d=d: tensorcircuit(case, d), batch)
            for p, d in (("single", False), ("double", True))
        ]
    if importlib.util.find_spec("pennylane"):
        found += [
            Contender(
                "PennyLane lightning.qubit, adjoint", p,
                lambda d=d: pennylane_torch(case, "lightning.qubit", "adjoint", d), batch,
            )
            for p, d in (("single", False), ("double", True))
        ]  # fmt: skip
        # Single precision is no faster there: its gates are built in double precision.
        found.append(
            Contender(
                "PennyLane default.qubit, backprop", "double",
                lambda: pennylane_torch(case, "default.qubit", "backprop", True), batch,
            )
        )  # fmt: skip
        if case.num_qubits <= 10 and importlib.util.find_spec("jax"):
            found.append(
                Contender(
                    "PennyLane default.qubit, jitted", "single",
                    lambda: pennylane_jax(case, False), batch,
                )
            )  # fmt: skip
    name = f"stock EstimatorQNN, parameter shift ({part} of {batch} samples)"
    return [*found, Contender(name, "double", lambda: stock(case, part), part)]


def measure(name: str, rounds: int) -> list[dict[str, Any]]:
    """Return one row a contender of a case, qhead's first."""
    case = case_of(*map(int, name.split("x")))
    estimator = ExactEstimator()
    made = network(case, ExactEstimatorQNN, estimator, AdjointEstimatorGradient(estimator))
    values = made.forward(case.inputs, case.weights)[:, 0]
    by_input, by_weight = made.backward(case.inputs, case.weights)
    everybody = contenders(case)
    for contender in everybody:
        contender.start((values, by_input[:, 0], by_weight[:, 0]))
    for _ in range(rounds):
        for contender in everybody:
            contender.time()
    least = {c.precision: 1e3 * min(c.times) for c in everybody if c.name == "qhead"}
    return [contender.row(name, len(case.inputs), least) for contender in everybody]


def line(row: dict[str, Any]) -> str:
    """Return a row of the table."""
    cells = [row["case"], row["what"], row["precision"]]
    if "ratio" not in row:
        return f"| {' | '.join(cells)} | not run: {row['note']} | | | | |"
    cells += [f"{row['least_ms']:.3g}", f"{row['median_ms']:.3g}", f"{row['ratio']:.3g}"]
    cells += [f"{row['compile_s'] + row['first_step_s']:.2g}", f"{row['deviation']:.0e}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", default=CASES, metavar="QxB")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        # Before the peers are imported: their thread pools take the cores that they find.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    torch.set_num_threads(2)
    print("| case | step | precision | least, ms | median, ms | × qhead | first, s | deviation |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |")
    rows = []
    for name in options.cases:
        for row in measure(name, options.rounds):
            rows.append(row)
            print(line(row), flush=True)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
