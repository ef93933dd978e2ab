"""Undo what is known of a device's errors, in NumPy.

What the client mitigates is in `hardware.planning.mitigation`; here are the inversion of read-out
errors and the affine recalibration of a read-out layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hardware.circuits.intervals import Z_95, std_error_of_groups, std_error_of_share
from hardware.errors import EmulationError, InvalidInputError

#: What the computation of an expectation value may leave of a difference that is zero.
ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class ReadoutFlips:
    """Flip probabilities of measured bits, and their inverse on ±1 outcomes.

    With P(1|0) = u and P(0|1) = d the mean read-out of a bit is a·⟨Z⟩ + c, a = 1 - u - d and
    c = d - u. Replacing every outcome z by (z - c)/a makes means of single bits, and products over
    bits that flip independently, unbiased; their variance grows by about 1/a² a bit.

    Args:
        up: Probability of reading 1 where 0 was prepared, shape (bits,).
        down: Probability of reading 0 where 1 was prepared, shape (bits,).
        up_errors: Standard errors of `up`, shape (bits,); None where it is known.
        down_errors: Standard errors of `down`, shape (bits,); None where it is known.
    """

    up: np.ndarray
    down: np.ndarray
    up_errors: np.ndarray | None = None
    down_errors: np.ndarray | None = None

    @classmethod
    def measured(
        cls,
        zeros: np.ndarray,
        ones: np.ndarray,
        num_bits: int,
        randomizations: int = 1,
        *,
        z: float = Z_95,
    ) -> ReadoutFlips:
        """Estimate the flips from outcomes (shots,) of all-0 and all-1 preparations.

        Args:
            zeros: Outcomes of the all-0 preparation.
            ones: Outcomes of the all-1 preparation.
            num_bits: Number of measured bits.
            randomizations: Random circuits that the shots are divided among, one after the other.
            z: Level of the errors, see `hardware.circuits.intervals.std_error_of_mean`.

        Raises:
            EmulationError: A bit reads the same whatever was prepared.
        """
        bits = np.arange(num_bits)
        up, up_errors = _shares((zeros >> bits[:, np.newaxis]) & 1, randomizations, z)
        down, down_errors = _shares(1 - ((ones >> bits[:, np.newaxis]) & 1), randomizations, z)
        if (up + down >= 0.9).any():
            worst = int(np.argmax(up + down))
            raise EmulationError(
                f"Expected read-out that tells 0 from 1, but measured bit {worst} reads 1 with "
                f"probability {up[worst]:.2f} after 0 and {1 - down[worst]:.2f} after 1: leave "
                "that qubit out or do not invert."
            )
        return cls(up, down, up_errors, down_errors)

    def of(self, bits: Sequence[int]) -> ReadoutFlips:
        """Return the flips of some of the bits, in their order."""
        errors = (self.up_errors, self.down_errors)
        up_errors, down_errors = (None if each is None else each[list(bits)] for each in errors)
        return ReadoutFlips(self.up[list(bits)], self.down[list(bits)], up_errors, down_errors)

    def corrected(self, outcomes: np.ndarray) -> np.ndarray:
        """Return the corrected ±1 value of every bit, shape (K, bits), of outcomes (K,)."""
        signs = 1.0 - 2.0 * ((outcomes[:, np.newaxis] >> np.arange(len(self.up))) & 1)
        return (signs - (self.down - self.up)) / (1.0 - self.up - self.down)


def _shares(ones: np.ndarray, randomizations: int, z: float) -> tuple[np.ndarray, np.ndarray]:
    """Return share of ones and its standard error, each (bits,), of readings (bits, shots)."""
    share = ones.mean(axis=1)
    error = std_error_of_share(share, ones.shape[1], z=z)
    if randomizations > 1 and ones.shape[1] % randomizations == 0:
        groups = ones.reshape(len(ones), randomizations, -1).mean(axis=2)
        error = np.maximum(error, std_error_of_groups(groups, z=z))
    return share, error


@dataclass(frozen=True, eq=False)
class AffineReadout:
    """A linear layer: logits = expectations @ weight.T + bias.

    Args:
        weight: Shape (K, M).
        bias: Shape (K,).
    """

    weight: np.ndarray
    bias: np.ndarray


def recalibrate(
    readout: AffineReadout,
    device: np.ndarray,
    exact: np.ndarray,
    device_errors: np.ndarray | None = None,
    max_gain: float = 20.0,
) -> AffineReadout:
    """Refit a linear layer to a device's expectation values.

    Depolarising and read-out noise contract and shift each expectation value: device ≈ g·exact + h.
    Per observable, g and h are fitted on sentences for which both are known (validation sentences,
    simulated exactly); the new layer acts on the device's values as the old one on exact ones:
    weight/g and bias - weight·h/g. Exact values carry no noise, so the line of device values over
    exact ones has no bias from the shots (the other way round it would).

    Args:
        readout: The trained layer.
        device: Values from the device, shape (N, M).
        exact: Values of the same rows without noise, shape (N, M).
        device_errors: Standard errors of `device`, shape (N, M); weights the fit.
        max_gain: Refuse to undo a contraction stronger than this factor.

    Raises:
        InvalidInputError: Shapes that do not fit, fewer than three rows, or an observable whose
            device values carry no trace of the exact ones.
    """
    if (
        device.shape != exact.shape
        or device.ndim != 2
        or device.shape[1] != readout.weight.shape[1]
    ):
        raise InvalidInputError(
            f"Expected device and exact values of one shape (N, {readout.weight.shape[1]}), got "
            f"{device.shape} and {exact.shape}."
        )
    if len(device) < 3:
        raise InvalidInputError(f"Expected at least three rows to fit on, got {len(device)}.")
    gains, shifts = np.empty(device.shape[1]), np.empty(device.shape[1])
    for m in range(device.shape[1]):
        weights = np.ones(len(device)) if device_errors is None else 1 / device_errors[:, m] ** 2
        gains[m], shifts[m], error = _line(exact[:, m], device[:, m], weights)
        if not gains[m] > max(2 * error, 1 / max_gain):
            raise InvalidInputError(
                f"Expected device values that follow the exact ones, but observable {m} has slope "
                f"{gains[m]:.3f} ± {error:.3f}: the noise has erased it; use a shallower circuit, "
                "better tiles or more shots."
            )
    weight = readout.weight / gains
    return AffineReadout(weight, readout.bias - weight @ shifts)


def _line(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[float, float, float]:
    """Return slope, intercept and the slope's standard error of a weighted line."""
    total = weights.sum()
    mean_x, mean_y = weights @ x / total, weights @ y / total
    spread = weights @ (x - mean_x) ** 2
    if spread <= total * ROUNDING**2:  # centring equal numbers leaves their rounding
        return 0.0, float(mean_y), float("inf")
    slope = weights @ ((x - mean_x) * (y - mean_y)) / spread
    residual = y - mean_y - slope * (x - mean_x)
    error = np.sqrt(weights @ residual**2 / (len(x) - 2) / spread)
    return float(slope), float(mean_y - slope * mean_x), float(error)
