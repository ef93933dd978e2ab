from __future__ import annotations

import numpy as np
import pytest
from contracts.sampling_bounds import FALSE_ALARM, assert_means, assert_shares, at_most, shifted
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from scipy.stats import norm

from hardware.circuits.intervals import Z_95
from hardware.circuits.measurement import Counts, Setting
from hardware.circuits.readout import AffineReadout, ReadoutFlips, recalibrate
from hardware.emulation.fake import FakeTarget
from hardware.errors import EmulationError, InvalidInputError
from hardware.planning.mitigation import Mitigation
from hardware.planning.options import PlanOptions
from hardware.workload import Expectations, Workload

UP, DOWN = np.array([0.02, 0.1, 0.05]), np.array([0.08, 0.03, 0.15])


def flipped(bits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Read bits (shots, 3) through flips; outcomes (shots,)."""
    chance = np.where(bits, DOWN, UP)
    seen = bits ^ (rng.random(bits.shape) < chance)
    return (seen << np.arange(3)).sum(axis=1)


@pytest.mark.sampled
def test_flips_are_estimated_from_both_preparations() -> None:
    rng = np.random.default_rng(shifted(0))
    shots = 50_000
    zeros = flipped(np.zeros((shots, 3), dtype=np.int64), rng)
    ones = flipped(np.ones((shots, 3), dtype=np.int64), rng)
    flips = ReadoutFlips.measured(zeros, ones, 3)
    assert_shares(flips.up, UP, shots)
    assert_shares(flips.down, DOWN, shots)


@pytest.mark.sampled
def test_inversion_is_unbiased_and_its_intervals_hold() -> None:
    # Correlated true bits: a GHZ-like mixture has <Z0 Z2> = 1 and <Z0> = 0.2.
    rng = np.random.default_rng(shifted(1))
    repeats, shots = 300, 400
    first = rng.random((repeats, shots)) < 0.4
    setting = Setting((0, 1, 2), "ZZZ", np.array([0b001, 0b101, 0b111]), np.eye(3))
    flips = ReadoutFlips(UP, DOWN)
    bits = np.stack([first, np.ones_like(first), first], axis=-1).astype(np.int64)
    outcomes = np.array([flipped(bits[r], rng) for r in range(repeats)])
    found = setting.estimate(Counts.from_outcomes(outcomes), flips)
    expected = np.array([0.2, 1.0, -1.0])
    x0, x1, x2 = (1 + np.abs(DOWN - UP)) / (1 - UP - DOWN)  # largest corrected values
    largest = np.array([x0, x0 * x2, x0 * x1 * x2])
    assert_means(found.values.mean(axis=0), expected, repeats * shots, largest)
    missed = np.abs(found.values - expected) > Z_95 * np.sqrt(found.squares)
    assert missed.sum(axis=0).max() <= at_most(0.06, repeats)
    assert not found.calibration.any()  # known flips have no error
    raw = setting.estimate(Counts.from_outcomes(outcomes)).values
    assert np.abs(raw.mean(axis=0) - expected).max() > 0.2


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("factors", "extrapolator"),
    [((1, 3), "linear"), ((1, 1.2), "linear"), ((1, 3, 5), "linear"),
     ((1, 3, 5), "polynomial_degree_2"), ((1, 3), "fallback")],
)  # fmt: skip
def test_intervals_hold_for_an_extrapolation_to_zero_noise(
    factors: tuple[float, ...], extrapolator: str
) -> None:
    # The intervals are those of the extrapolated mean, whatever bias the extrapolation has.
    a, b = Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(3)
    circuit.ry(a, 0)
    circuit.ry(b, 1)
    for _ in range(8):
        circuit.cz(0, 1)
        circuit.rx(0.4, 1)
        circuit.cz(1, 2)
        circuit.rx(0.3, 2)
        circuit.ry(0.2, 0)
    observables = tuple(SparsePauliOp(label) for label in ("IIZ", "ZII", "ZZZ"))
    rows = 600 if len(factors) > 2 and extrapolator == "linear" else 120

    def run(shots: int, seed: int, num_rows: int) -> Expectations:
        values = np.tile([np.pi / 2, 0.3], (num_rows, 1))
        mitigation = Mitigation(zne_factors=factors, zne_extrapolator=extrapolator)
        options = PlanOptions(shots=shots, tiles=1, seed=seed, mitigation=mitigation)
        workload = Workload(circuit, ("a", "b"), values, observables)
        return FakeTarget("manila", options).run(workload)

    mean = run(100_000, shifted(7), 4).values.mean(axis=0)
    found = run(1024, shifted(5), rows)
    assert not found.missing
    missed = np.abs(found.values - mean) > Z_95 * found.std_errors
    assert missed.sum(axis=0).max() <= at_most(0.06, rows)


def test_a_bit_that_reads_nothing_is_refused() -> None:
    zeros, ones = np.array([0, 1] * 50), np.array([1, 0] * 50)
    with pytest.raises(EmulationError, match="bit 0"):
        ReadoutFlips.measured(zeros, ones, 1)


@pytest.mark.sampled
def test_recalibration_undoes_a_contraction() -> None:
    rng = np.random.default_rng(shifted(2))
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
    sigma = 0.02 / np.sqrt(200 * exact.var(axis=0))
    assert (np.abs(slope[0] - gain) < norm.isf(FALSE_ALARM / 6) * sigma).all()


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
    equal = np.full((7, 1), -0.8117822612)  # their mean is not one of them, by rounding
    assert (equal != equal.mean()).all()
    with pytest.raises(InvalidInputError, match="inf"):
        recalibrate(readout, np.linspace(0, 0.1, 7)[:, None], equal)
