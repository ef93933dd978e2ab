"""The quantum step: the circuit that a device runs as a trainable layer, and its first weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit.circuit import ClassicalRegister, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.neural_networks import EstimatorQNN, SamplerQNN

from qhead.circuits import data_parameters, weight_parameters
from qhead.simulator import (
    AdjointEstimatorGradient,
    AdjointSamplerGradient,
    ExactEstimator,
    ExactEstimatorQNN,
    ExactSampler,
    Simulator,
)


def initial_weights(
    num_weights: int,
    num_qubits: int,
    *,
    identity: bool,
    spread: float,
    generator: torch.Generator,
) -> NDArray[np.float32]:
    """Return first weights (num_weights,), radians, of `qhead.circuits.reuploading_circuit`.

    They are normal, of standard deviation `spread`, around zero or around the identity: with one
    upload, one ring of CX and no layers, all rotations at -π/2 and those after the last CX at 0
    turn the two rings into one Clifford circuit that maps every Z_i to an X_i, up to its sign. Then
    ⟨Z_i⟩ = ±sin x_i. A start from the identity keeps gradients large (Grant et al., Quantum 3,
    214, 2019); here it makes the untrained head linear in small angles as well.
    """
    centre = np.zeros(num_weights, np.float32)
    if identity:
        centre[: num_weights - num_qubits] = -math.pi / 2
    drawn = torch.randn(num_weights, generator=generator, device=generator.device)
    weights: NDArray[np.float32] = centre + (spread * drawn).numpy()
    return weights


def quantum_step(
    circuit: QuantumCircuit,
    observables: Sequence[SparsePauliOp],
    readout: str,
    num_measured: int,
    initial: NDArray[np.float32],
) -> TorchConnector:
    """Return the circuit as a trainable layer: angles (n, Q) to expectation values (n, M)."""
    inputs, weights = data_parameters(circuit), weight_parameters(circuit)
    simulator = Simulator(np.float32)
    network: EstimatorQNN | SamplerQNN
    if readout == "expectations":
        estimator = ExactEstimator(simulator)
        network = ExactEstimatorQNN(
            circuit=circuit,
            estimator=estimator,
            observables=list(observables),
            input_params=inputs,
            weight_params=weights,
            gradient=AdjointEstimatorGradient(estimator),
            input_gradients=True,
        )
    else:
        sampler = ExactSampler(simulator, default_shots=None)
        circuit = circuit.copy()
        register = ClassicalRegister(num_measured, "meas")
        circuit.add_register(register)
        circuit.measure(range(num_measured), register)
        network = SamplerQNN(
            circuit=circuit,
            sampler=sampler,
            input_params=inputs,
            weight_params=weights,
            interpret=int,
            output_shape=2**num_measured,
            gradient=AdjointSamplerGradient(sampler),
            input_gradients=True,
        )
    # The connector first draws weights of its own from torch's global generator: leave that alone.
    with torch.random.fork_rng(devices=[]):
        connector = TorchConnector(network, initial_weights=initial)
    # It registers its one parameter under two names, so that a state would hold it twice.
    del connector._parameters["_weights"]
    _alias_weights(connector)
    connector.register_load_state_dict_post_hook(_alias_weights)  # it may assign another tensor
    return connector


def _alias_weights(connector: TorchConnector, _: object = None) -> None:
    """Let the connector's second name mean its one parameter."""
    object.__setattr__(connector, "_weights", connector._parameters["weight"])
