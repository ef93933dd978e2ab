"""From embeddings to amplitudes, and from amplitudes to angles: the simulated first module."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qhead.circuits import ansatz, num_ansatz_parameters
from qhead.errors import HeadError
from qhead.heads.inference import check_norms
from qhead.heads.layers import principal_axes
from qhead.simulator.observables import z_signs
from qhead.simulator.program import Program, compile_circuit
from qhead.simulator.shared import run_shared


class AmplitudeMap(nn.Module):
    """Embeddings (n, d) to real amplitudes (n, 2^num_qubits) of unit norm, exactly loaded.

    An embedding, over the training embeddings' root-mean-square norm, fills the first amplitudes;
    the constant ``bias_amplitude`` comes next, zeros after it; then the whole is normalised.

    Args:
        num_features: d.
        features: (n, d) training embeddings, from which mean, scale and projection are taken;
            None where they will be loaded: they are then of the right shapes, and zeros or one.
        num_qubits: Width of the register; None takes the smallest that fits.
        bias_amplitude: The constant, 0 for none.
        center: Whether the mean is subtracted.
        reduction: None, "pca" or "random" (Gaussian), for embeddings longer than the register.
        generator: Source of the random projection.
        sample_weight: (n,) weights of the training embeddings; None: all equal.

    Raises:
        HeadError: The embedding is longer than the register and `reduction` is None.
    """

    scale: Tensor
    mean: Tensor
    projection: Tensor | None

    def __init__(
        self,
        num_features: int,
        features: NDArray[np.float32] | None,
        *,
        num_qubits: int | None,
        bias_amplitude: float,
        center: bool,
        reduction: str | None,
        generator: torch.Generator,
        sample_weight: NDArray[np.float64] | None = None,
    ) -> None:
        super().__init__()
        self.bias_amplitude = float(bias_amplitude)
        extra = 1 if bias_amplitude else 0
        needed = num_features + extra
        self.num_qubits = max(1, (needed - 1).bit_length()) if num_qubits is None else num_qubits
        room = 2**self.num_qubits - extra
        if num_features > room and reduction is None:
            raise HeadError(
                f"Expected embeddings of at most {room} numbers for {self.num_qubits} encoder "
                f"qubits{' and a bias amplitude' if extra else ''}, got {num_features}: use "
                f"encoder_qubits={(needed - 1).bit_length()}, or choose a reduction "
                "('pca' or 'random').",
                options=["encoder_qubits"],
            )
        self.register_buffer("mean", torch.zeros(num_features))
        axes = torch.zeros(num_features, room) if num_features > room else None
        self.register_buffer("projection", axes)
        self.register_buffer("scale", torch.ones(()))
        if features is not None:
            weights = sample_weight
            if center:
                mean = np.average(features, axis=0, weights=weights)
                self.mean = torch.tensor(mean, dtype=torch.float32)
            if axes is not None:
                centred = features - self.mean.numpy()
                centred = centred if weights is None else np.sqrt(weights)[:, None] * centred
                self.projection = _projection(centred, room, reduction, generator)
            squares = self._reduced(torch.tensor(features)).square().sum(dim=1)
            square = squares.mean() if weights is None else np.average(squares, weights=weights)
            self.scale = torch.tensor(float(square) ** 0.5 or 1.0)

    def _reduced(self, embeddings: Tensor) -> Tensor:
        centred = embeddings - self.mean
        return centred if self.projection is None else centred @ self.projection.to(centred.dtype)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return amplitudes (n, 2^num_qubits) of embeddings (n, d).

        Raises:
            HeadError: An embedding is zero and there is no bias amplitude to load in its place.
        """
        reduced = self._reduced(embeddings) / self.scale
        n, size = reduced.shape
        amplitudes = torch.zeros(n, 2**self.num_qubits, dtype=reduced.dtype)
        amplitudes[:, :size] = reduced
        if self.bias_amplitude:
            amplitudes[:, size] = self.bias_amplitude
        norms = amplitudes.norm(dim=1, keepdim=True)
        check_norms(norms.detach().numpy())
        return amplitudes / norms


def _projection(
    centred: NDArray[np.float32], size: int, reduction: str | None, generator: torch.Generator
) -> Tensor:
    """Return a projection (d, size): principal axes, or Gaussian directions of unit variance."""
    num_features = centred.shape[1]
    if reduction == "random":
        return torch.randn(num_features, size, generator=generator) / size**0.5
    axes = principal_axes(centred, size)
    # Few samples span fewer axes than there are components: the other components are zero.
    spread = np.linalg.norm(centred.astype(np.float64) @ axes.T, axis=0)
    axes = axes[spread > 1e-6 * spread.max()]
    projection = np.zeros((num_features, size), np.float32)
    projection[:, : len(axes)] = axes.T
    return torch.tensor(projection)


class QuantumEncoder(nn.Module):
    """Amplitudes (n, 2^Q) → the paper's circuit → ⟨Z⟩ (n, m) of the first m qubits.

    Simulated, always: loading amplitudes on a device would cost more gates than the circuit.

    Args:
        num_qubits: Q.
        num_layers: L.
        connectivity: C.
        reading: See `qhead.circuits`.
        num_measured: m.
        initial_spread: Standard deviation of the initial angles, radians.
        generator: Source of the initial angles.
    """

    def __init__(
        self,
        num_qubits: int,
        num_layers: int,
        connectivity: int,
        *,
        reading: str,
        num_measured: int,
        initial_spread: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        circuit = ansatz(num_qubits, num_layers, connectivity, reading=reading)
        self.circuit = circuit
        size = num_ansatz_parameters(num_qubits, num_layers, connectivity, reading)
        self.weight = nn.Parameter(torch.randn(size, generator=generator) * initial_spread)
        # Circuit parameters are sorted by name and then index, as one vector's are.
        self.program = compile_circuit(circuit, range(num_measured), keep_qubits=True)
        self._signs = z_signs(num_measured).astype(np.float32)  # (m, 2^m)

    def forward(self, amplitudes: Tensor) -> Tensor:
        """Return expectation values (n, m) of amplitudes (n, 2^Q)."""
        result: Tensor = _Encode.apply(amplitudes, self.weight, self.program, self._signs)
        return result


class _Encode(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, amplitudes: Tensor, weight: Tensor, program: Program, signs: NDArray[np.float32]
    ) -> Tensor:
        values = weight.detach().numpy().astype(np.float64)
        states = amplitudes.detach().numpy()
        tape = run_shared(program, values, states, states.dtype.type)
        ctx.tape, ctx.signs = tape, signs
        return torch.from_numpy(tape.probabilities @ signs.T.astype(states.dtype))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        weights = (grad_outputs[0].numpy() @ ctx.signs)[:, None, :]  # (B, 1, C)
        by_angle, by_amplitude = ctx.tape.pull_back(weights, initial=ctx.needs_input_grad[0])
        gradient = torch.from_numpy(by_angle[0, 0].astype(np.float32))
        start = None if by_amplitude is None else torch.from_numpy(by_amplitude[:, 0])
        return start, gradient, None, None
