"""The torch module of a quantum head: amplitudes, encoders, the quantum step, a read-out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from qiskit.circuit import QuantumCircuit
from qiskit_machine_learning.connectors import TorchConnector
from torch import Tensor, nn

from qhead.heads.amplitudes import AmplitudeMap, QuantumEncoder
from qhead.heads.inference import circuits_sha256, rows_at_once
from qhead.simulator import ExactTarget


class QuantumModule(nn.Module):
    """The torch module of a `QuantumHead`: embeddings (n, d) to logits (n, K)."""

    def __init__(
        self,
        amplitudes: AmplitudeMap,
        encoders: Sequence[QuantumEncoder],
        angle_scale: float,
        circuit: QuantumCircuit,
        step: TorchConnector,
        readout: nn.Linear,
    ) -> None:
        super().__init__()
        #: Parts that are trained at another rate than `qhead.training` would.
        self.learning_rate_factors: dict[str, float] = {}
        self.angle_scale = angle_scale
        self.circuit = circuit
        # Kept, for it remembers what it compiled of the circuit.
        self.exact = ExactTarget()
        self.amplitudes = amplitudes
        self.max_rows = rows_at_once(amplitudes.num_qubits, len(encoders))
        self.encoders = nn.ModuleList(encoders)
        self.step = step
        self.readout = readout

    def angles(self, embeddings: Tensor) -> Tensor:
        """Return the circuit's angles (n, Q), radians, of embeddings (n, d)."""
        amplitudes = self.amplitudes(embeddings)
        outputs = [encoder(amplitudes) for encoder in self.encoders]
        return self.angle_scale * torch.cat(outputs, dim=1)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return logits (n, K) of embeddings (n, d)."""
        logits: Tensor = self.readout(self.step(self.angles(embeddings)))
        return logits

    def circuits_sha256(self) -> str:
        """Return a hash over the gates of all circuits, in order."""
        encoders: list[Any] = [encoder.circuit for encoder in self.encoders]
        return circuits_sha256([self.circuit, *encoders])
