"""The training step of `scripts/benchmark.py` in other simulators, gate for gate.

Every peer runs the way that is fastest for it: PennyLane's `default.qubit` broadcasts the batch
and backpropagates, eagerly through torch and jitted through JAX; `lightning.qubit` differentiates
by the adjoint method in compiled code; TensorCircuit-NG is jitted and vmapped on JAX, with the
derivative of the batch's sum, so that the weights' gradient is summed in compiled code too. JAX
compiles ahead of time: what that takes is reported apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
from qiskit.circuit import QuantumCircuit

from qhead.circuits import data_parameters, weight_parameters

#: Expectation values (B,), derivatives by inputs (B, n) and by weights, summed over the batch (P,).
Results = tuple[np.ndarray, np.ndarray, np.ndarray]
Step = Callable[[], Results]


class NotRunError(Exception):
    """A peer cannot run a case here; the message says why."""


@dataclass(frozen=True, eq=False)
class Case:
    """One circuit with its weights (P,) and a batch of inputs (B, n), radians."""

    circuit: QuantumCircuit
    weights: np.ndarray
    inputs: np.ndarray

    @property
    def num_qubits(self) -> int:
        return self.circuit.num_qubits

    def gates(self) -> list[tuple[list[int], str, int]]:
        """Return qubits, what turns them ("x", "w" or "" for a CX) and the angle's place."""
        place = {p: ("x", i) for i, p in enumerate(data_parameters(self.circuit))}
        place |= {p: ("w", i) for i, p in enumerate(weight_parameters(self.circuit))}
        rows = []
        for item in self.circuit.data:
            qubits = [self.circuit.find_bit(qubit).index for qubit in item.qubits]
            assert item.operation.name in ("cx", "ry")
            kind, index = place[item.operation.params[0]] if item.operation.params else ("", 0)
            rows.append((qubits, kind, index))
        return rows

    def check_memory(self, double: bool) -> None:
        """Refuse backpropagation whose states, one for each gate, do not fit beside each other."""
        states = len(self.circuit.data) * len(self.inputs)
        need = states * 2**self.num_qubits * (16 if double else 8) * 2
        free = psutil.virtual_memory().available
        if need > free:
            raise NotRunError(
                f"backpropagation keeps a state for each gate, about {need / 2**30:.0f} GiB; "
                f"{free / 2**30:.0f} GiB are free"
            )


def pennylane_torch(case: Case, device: str, method: str, double: bool) -> tuple[Step, float]:
    """Return the step through PennyLane's torch interface."""
    import pennylane as qml
    import torch

    if method == "backprop":
        case.check_memory(double)
    # default.qubit chooses its precision by that of the angles.
    precision = {} if device == "default.qubit" else {"c_dtype": _complex(double)}
    node = qml.QNode(
        _quantum_function(case, qml),
        qml.device(device, wires=case.num_qubits, **precision),
        interface="torch",
        diff_method=method,
    )
    real = torch.float64 if double else torch.float32
    x = torch.tensor(case.inputs, dtype=real, requires_grad=True)
    w = torch.tensor(case.weights, dtype=real, requires_grad=True)

    def step() -> Results:
        x.grad = w.grad = None
        values = node(x, w)
        values.sum().backward()
        return values.detach().numpy(), x.grad.numpy(), w.grad.numpy()

    return step, 0.0


def pennylane_jax(case: Case, double: bool) -> tuple[Step, float]:
    """Return the step through PennyLane's default.qubit, jitted by JAX."""
    import jax
    import pennylane as qml

    case.check_memory(double)
    with jax.enable_x64(double):
        node = qml.QNode(
            _quantum_function(case, qml),
            qml.device("default.qubit", wires=case.num_qubits),
            interface="jax",
            diff_method="backprop",
        )
        return _compiled(case, double, node)


def tensorcircuit(case: Case, double: bool) -> tuple[Step, float]:
    """Return the step through TensorCircuit-NG on JAX, jitted and vmapped."""
    import jax
    import tensorcircuit as tc

    case.check_memory(double)
    tc.set_backend("jax")
    tc.set_dtype("complex128" if double else "complex64")

    def sample(x: Any, w: Any) -> Any:
        circuit = tc.Circuit(case.num_qubits)
        for qubits, kind, index in case.gates():
            if kind:
                circuit.ry(qubits[0], theta=x[index] if kind == "x" else w[index])
            else:
                circuit.cnot(*qubits)
        return jax.numpy.real(circuit.expectation_ps(z=[0]))

    with jax.enable_x64(double):
        return _compiled(case, double, jax.vmap(sample, (0, None)))


def _quantum_function(case: Case, qml: Any) -> Callable[[Any, Any], Any]:
    gates = case.gates()

    def function(x: Any, w: Any) -> Any:
        for qubits, kind, index in gates:
            if kind:
                qml.RY(x[..., index] if kind == "x" else w[index], wires=qubits[0])
            else:
                qml.CNOT(wires=qubits)
        return qml.expval(qml.PauliZ(0))

    return function


def _compiled(case: Case, double: bool, batch: Callable[[Any, Any], Any]) -> tuple[Step, float]:
    """Compile a function (B, n), (P,) -> (B,) with its derivatives; return the seconds, too."""
    import jax

    def loss(x: Any, w: Any) -> tuple[Any, Any]:
        values = batch(x, w)
        return values.sum(), values

    real = np.float64 if double else np.float32
    x, w = jax.numpy.asarray(case.inputs, real), jax.numpy.asarray(case.weights, real)
    start = time.perf_counter()
    run = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True)).lower(x, w).compile()
    seconds = time.perf_counter() - start

    def step() -> Results:
        (_, values), (by_input, by_weight) = jax.block_until_ready(run(x, w))
        return np.asarray(values), np.asarray(by_input), np.asarray(by_weight)

    return step, seconds


def _complex(double: bool) -> type[np.complexfloating]:
    return np.complex128 if double else np.complex64
