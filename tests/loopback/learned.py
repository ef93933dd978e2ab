"""Noise of a plan's layers, as a noise learner would give it."""

from __future__ import annotations

from dataclasses import replace

from qiskit.quantum_info import PauliLindbladMap

from hardware.planning.mitigation import Mitigation
from hardware.planning.noise_layers import layer_noise, noise_layers
from hardware.planning.plan import JobPlan

#: Rates of the generators of each pair of qubits: XX on both, Z on either.
XX, Z = 0.06, 0.03


def learned(made: JobPlan, scale: float = 1.0) -> Mitigation:
    """Return the mitigation of a plan with noise for its layers.

    Neighbours in a layer's order of qubits share an XX generator, and each qubit has one of Z.
    """
    layers, maps = noise_layers(made), []
    for layer in layers:
        num = len(layer.qubits)
        terms = [("XX", [q, q + 1], XX * scale) for q in range(0, num - 1, 2)]
        terms += [("Z", [q], Z * scale) for q in range(num)]
        maps.append(PauliLindbladMap.from_sparse_list(terms, num_qubits=num))
    return replace(made.options.mitigation, layer_noise=layer_noise(layers, maps))
