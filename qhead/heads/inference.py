"""A trained quantum head that predicts: NumPy and the simulator, no torch and no scikit-learn.

Both take a second or two to import, and a saved head needs neither. `qhead.heads.quantum` predicts
through the same class, so that a head gives the same bits whichever way it was loaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from hardware.workload import Expectations, Workload
from qhead.circuits import (
    ansatz,
    data_parameters,
    gate_list,
    num_ansatz_parameters,
    weight_parameters,
)
from qhead.errors import HeadError, ModelError
from qhead.heads.quantum_options import STATES, QuantumOptions
from qhead.heads.softmax import probabilities_of
from qhead.simulator import ExactTarget
from qhead.simulator.observables import z_signs
from qhead.simulator.program import Program, compile_circuit
from qhead.simulator.shared import run_shared

if TYPE_CHECKING:
    from hardware.targets import ExecutionTarget

#: Rows that the simulator runs side by side.
LANES = 8
#: Bytes of the states that are evaluated at once, without gradient, and most rows of them.
_CHUNK_BYTES, _CHUNK = 2**29, 4096


@dataclass(frozen=True, eq=False)
class QuantumInference:
    """What a trained quantum head computes: embeddings (n, d) to labels, in double precision.

    Args:
        state: The head's parameters and buffers by name, float32.
        classes_: The K labels, sorted.
        bias_amplitude, angle_scale: See `qhead.heads.quantum.QuantumHead`.
        encoder: The compiled circuit of every encoder, from amplitudes to the qubits it feeds.
        circuit: The circuit that a device runs.
        observables: The M observables whose expectation values the read-out takes.
        exact: The exact simulator, which remembers what it compiled.
        max_rows: Rows whose encoders are simulated at once.
        seed: The head's seed, from which a target given by its name draws its shots.
    """

    kind: ClassVar[str] = "quantum"

    state: Mapping[str, NDArray[np.float32]]
    classes_: NDArray[Any]
    bias_amplitude: float
    angle_scale: float
    encoder: Program
    circuit: QuantumCircuit
    observables: tuple[SparsePauliOp, ...]
    exact: ExactTarget = field(default_factory=ExactTarget)
    max_rows: int = LANES
    seed: int = 0

    def amplitudes(self, embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return what `qhead.heads.amplitudes.AmplitudeMap` does, (n, 2^q) of unit norm.

        Raises:
            HeadError: An embedding is zero and there is no bias amplitude to load in its place.
        """
        reduced = embeddings.astype(np.float64) - self.state["amplitudes.mean"]
        if "amplitudes.projection" in self.state:
            reduced = reduced @ self.state["amplitudes.projection"].astype(np.float64)
        reduced /= self.state["amplitudes.scale"].astype(np.float64)
        n, size = reduced.shape
        amplitudes = np.zeros((n, 2**self.encoder.num_circuit_qubits))
        amplitudes[:, :size] = reduced
        if self.bias_amplitude:
            amplitudes[:, size] = self.bias_amplitude
        norms = np.linalg.norm(amplitudes, axis=1, keepdims=True)
        check_norms(norms)
        return amplitudes / norms

    def angles(self, embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the circuit's angles (n, Q), radians, of embeddings (n, d)."""
        amplitudes = self.amplitudes(embeddings)
        signs = z_signs(len(self.encoder.measured)).T
        outputs: list[NDArray[np.float64]] = []
        while (name := f"encoders.{len(outputs)}.weight") in self.state:
            weights = self.state[name].astype(np.float64)
            tape = run_shared(self.encoder, weights, amplitudes, np.float64)
            outputs.append(tape.probabilities @ signs)
        return self.angle_scale * np.concatenate(outputs, axis=1)

    def workload(self, embeddings: NDArray[np.floating]) -> Workload:
        """Return the circuit runs that embeddings (n, d) ask for, in their order.

        Raises:
            HeadError: An embedding cannot be loaded, or there is none, or of another length.
        """
        length = len(self.state["amplitudes.mean"])
        if embeddings.ndim != 2 or embeddings.shape[1] != length or not len(embeddings):
            raise HeadError(
                f"Expected embeddings of shape (n, {length}), n >= 1, got {embeddings.shape}."
            )
        step = min(_CHUNK, self.max_rows)
        starts = range(0, len(embeddings), step)
        angles = np.concatenate([self.angles(embeddings[i : i + step]) for i in starts])
        weights = np.tile(self.state["step.weight"], (len(angles), 1))
        ordered = (*data_parameters(self.circuit), *weight_parameters(self.circuit))
        values = np.concatenate([angles, weights], axis=1)
        names = tuple(parameter.name for parameter in ordered)
        return Workload(self.circuit, names, values, self.observables)

    def expectations(
        self, embeddings: NDArray[np.floating], target: ExecutionTarget
    ) -> Expectations:
        """Return what `target` gives for embeddings (n, d)."""
        return target.run(self.workload(embeddings))

    def logits_from(self, values: ArrayLike) -> NDArray[np.float64]:
        """Return logits (n, K) of expectation values (n, M)."""
        weight, bias = self.readout_weights()
        return np.asarray(values, np.float64) @ weight.T + bias

    def readout_weights(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the read-out's weight (K, M) and bias (K,)."""
        weight, bias = self.state["readout.weight"], self.state["readout.bias"]
        return weight.astype(np.float64), bias.astype(np.float64)

    def predict_proba(self, embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return exact probabilities (n, K), in the order of `classes_`."""
        values = self.expectations(embeddings, self.exact).values
        return probabilities_of(self.logits_from(values))


def restored(
    options: QuantumOptions,
    state: Mapping[str, NDArray[Any]],
    classes: NDArray[Any],
    num_features: int,
) -> tuple[QuantumInference, str]:
    """Return a trained head of its options and state, and the hash of its circuits.

    Raises:
        HeadError: Options out of range.
        ModelError: State, classes and options do not fit together, or a number is not finite.
    """
    if len(classes) < 2 or not np.array_equal(classes, np.unique(classes)):
        raise ModelError("Expected two or more sorted, different labels.")
    options.check_options()
    options.check_size(num_features, len(classes))
    num_qubits = options.qubits_for(len(classes))
    fed = num_qubits // options.num_encoders
    _, register, layers, connectivity = options.encoder_size(num_features, fed)
    observables = options.build_observables(len(classes))
    shapes = _shapes(options, num_features, len(classes), len(observables))
    _check_state(state, shapes)
    circuit = options.build_circuit(num_qubits)
    encoder = ansatz(register, layers, connectivity, reading=options.reading)
    inference = QuantumInference(
        state,
        classes,
        float(options.bias_amplitude),
        options.angle_scale,
        compile_circuit(encoder, range(fed), keep_qubits=True),
        circuit,
        observables,
        max_rows=max(LANES, rows_at_once(register, options.num_encoders) // 2),
        seed=options.seed,
    )
    return inference, circuits_sha256([circuit, *[encoder] * options.num_encoders])


def _shapes(
    options: QuantumOptions, num_features: int, num_classes: int, num_observables: int
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a state, as the module of these options has them."""
    num_qubits = options.qubits_for(num_classes)
    fed = num_qubits // options.num_encoders
    loaded, register, layers, connectivity = options.encoder_size(num_features, fed)
    room = 2**loaded - (1 if options.bias_amplitude else 0)
    shapes: dict[str, tuple[int, ...]] = {"amplitudes.mean": (num_features,)}
    if num_features > room:
        shapes["amplitudes.projection"] = (num_features, room)
    size = num_ansatz_parameters(register, layers, connectivity, options.reading)
    for index in range(options.num_encoders):
        shapes[f"encoders.{index}.weight"] = (size,)
    return shapes | {
        "amplitudes.scale": (),
        "step.weight": (options.num_weights(num_qubits),),
        "readout.weight": (num_classes, num_observables),
        "readout.bias": (num_classes,),
    }


def _check_state(state: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]]) -> None:
    found = {name: array.shape for name, array in state.items()}
    if found != shapes or any(array.dtype != np.float32 for array in state.values()):
        raise ModelError("The weights do not fit the head's options.")
    if not all(np.isfinite(array).all() for array in state.values()):
        raise ModelError("Expected finite weights, got NaN or infinity.")


def rows_at_once(num_qubits: int, num_encoders: int) -> int:
    """Return how many rows' encoder states, in float32, take no more than `_CHUNK_BYTES`."""
    return max(LANES, _CHUNK_BYTES // (4 * 2**num_qubits * (STATES + num_encoders)))


def circuits_sha256(circuits: Iterable[QuantumCircuit]) -> str:
    """Return a hash over the gates of circuits, in order."""
    return hashlib.sha256(json.dumps([gate_list(each) for each in circuits]).encode()).hexdigest()


def check_norms(norms: NDArray[Any]) -> None:
    """Refuse amplitudes that are all zero.

    Raises:
        HeadError: A norm is zero.
    """
    if (norms == 0).any():
        raise HeadError(
            "Expected embeddings that are not zero, got a zero one, which has no direction to "
            "load: use a bias_amplitude above 0.",
            options=["bias_amplitude"],
        )
