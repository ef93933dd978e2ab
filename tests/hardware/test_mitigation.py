from __future__ import annotations

import numpy as np
import pytest

from hardware.errors import EmulationError, InvalidInputError
from hardware.mitigation import AffineReadout, ReadoutFlips, recalibrate
from hardware.observables import Counts, Setting

UP, DOWN = np.array([0.02, 0.1, 0.05]), np.array([0.08, 0.03, 0.15])


def flipped(bits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Read bits (shots, 3) through flips; outcomes (shots,)."""
    chance = np.where(bits, DOWN, UP)
    seen = bits ^ (rng.random(bits.shape) < chance)
    return (seen << np.arange(3)).sum(axis=1)


def test_flips_are_estimated_from_both_preparations() -> None:
    rng = np.random.default_rng(0)
    shots = 50_000
    zeros = flipped(np.zeros((shots, 3), dtype=np.int64), rng)
    ones = flipped(np.ones((shots, 3), dtype=np.int64), rng)
    flips = ReadoutFlips.measured(zeros, ones, 3)
    np.testing.assert_allclose(flips.up, UP, atol=5 * np.sqrt(0.1 / shots))
    np.testing.assert_allclose(flips.down, DOWN, atol=5 * np.sqrt(0.15 / shots))


def test_inversion_is_unbiased_and_its_errors_are_calibrated() -> None:
    # Correlated true bits: a GHZ-like mixture has <Z0 Z2> = 1 and <Z0> = 0.2.
    rng = np.random.default_rng(1)
    repeats, shots = 300, 400
    first = rng.random((repeats, shots)) < 0.4
    setting = Setting((0, 1, 2), "ZZZ", np.array([0b001, 0b101, 0b111]), np.eye(3))
    flips = ReadoutFlips(UP, DOWN)
    bits = np.stack([first, np.ones_like(first), first], axis=-1).astype(np.int64)
    outcomes = np.array([flipped(bits[r], rng) for r in range(repeats)])
    mean, square = setting.moments(Counts.from_outcomes(outcomes), flips)
    expected = np.array([0.2, 1.0, -1.0])
    scores = (mean - expected) / np.sqrt(square)
    assert np.abs(scores.mean(axis=0)).max() < 5 / np.sqrt(repeats)
    np.testing.assert_allclose(scores.var(axis=0), 1.0, atol=5 * np.sqrt(2 / repeats))
    raw, _ = setting.moments(Counts.from_outcomes(outcomes))
    assert np.abs(raw.mean(axis=0) - expected).max() > 0.2


def test_a_bit_that_reads_nothing_is_refused() -> None:
    zeros, ones = np.array([0, 1] * 50), np.array([1, 0] * 50)
    with pytest.raises(EmulationError, match="bit 0"):
        ReadoutFlips.measured(zeros, ones, 1)


def test_recalibration_undoes_a_contraction() -> None:
    rng = np.random.default_rng(2)
    exact = rng.uniform(-1, 1, (200, 3))
    gain, shift = np.array([0.5, 0.8, 0.3]), np.array([0.05, 0.0, -0.1])
    readout = AffineReadout(rng.normal(size=(2, 3)), rng.normal(size=2))
    logits = exact @ readout.weight.T + readout.bias
    device = gain * exact + shift
    fitted = recalibrate(readout, device, exact)
    np.testing.assert_allclose(device @ fitted.weight.T + fitted.bias, logits, atol=1e-10)
    errors = np.full_like(device, 0.02)
    noisy = device + rng.normal(scale=0.02, size=device.shape)
    fitted = recalibrate(readout, noisy, exact, errors)
    slope = readout.weight / fitted.weight
    sigma = 0.02 / np.sqrt(200 / 3)
    np.testing.assert_allclose(slope[0], gain, atol=5 * sigma)


def test_recalibration_refuses_what_cannot_be_undone() -> None:
    rng = np.random.default_rng(3)
    readout = AffineReadout(np.ones((2, 1)), np.zeros(2))
    exact = rng.uniform(-1, 1, (50, 1))
    with pytest.raises(InvalidInputError, match="erased"):
        recalibrate(readout, rng.normal(size=(50, 1)), exact)
    with pytest.raises(InvalidInputError, match="one shape"):
        recalibrate(readout, exact[:10], exact)
    with pytest.raises(InvalidInputError, match="three rows"):
        recalibrate(readout, exact[:2], exact[:2])
    with pytest.raises(InvalidInputError, match="erased"):
        recalibrate(readout, exact, np.zeros_like(exact))
