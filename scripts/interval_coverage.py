"""How often the intervals of expectation values and predictions hold.

Every line takes nominal 95 % intervals, ± 1.96 standard errors, through the code that runs on a
device's counts and prints the worst coverage that it finds over the true values of that line.
*exact* lines sum the probabilities of all outcomes, at true values that lie next to the intervals'
ends; *sampled* ones say how many draws they rest on. ``--reduced`` takes a few of each.

    python scripts/interval_coverage.py
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.special import gammaln, softmax, xlogy
from scipy.stats import binom

from hardware.circuits.intervals import (
    Z_95,
    std_error_of_estimate,
    std_error_of_extrapolated,
)
from hardware.circuits.measurement import Counts, Setting
from hardware.circuits.readout import ReadoutFlips
from hardware.planning.mitigation import Mitigation
from qhead.prediction import sampled_prediction

EDGE = 1e-11


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    stage: str
    shots: str
    coverage: float  # worst
    where: str
    how: str = "exact"


def single(masks: int = 1) -> Setting:
    """Return the setting of one ⟨Z…Z⟩ on one measured qubit."""
    return Setting((0,), "Z", np.array([masks]), np.ones((1, 1)))


def z_of_counts(shots: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ⟨Z⟩ and its error for 0, 1, … `shots` ones; each (shots + 1,)."""
    ones = np.arange(shots + 1)
    found = single().estimate(Counts.from_dense(np.stack([shots - ones, ones], axis=1)))
    return found.values[:, 0], np.sqrt(found.squares[:, 0])


def worst_of_z(shots: int) -> tuple[float, float]:
    """Return the least coverage over all true ⟨Z⟩, and where it is."""
    value, error = z_of_counts(shots)
    low, high = value[::-1] - Z_95 * error[::-1], value[::-1] + Z_95 * error[::-1]  # ascending
    assert (np.diff(low) > 0).all()
    assert (np.diff(high) > 0).all()
    ends = np.concatenate([low, high])
    true = np.concatenate([ends - EDGE, ends + EDGE, np.linspace(-1, 1, 41)])
    true = true[(true >= -1) & (true <= 1)]
    # Number of zeros read: the counts from `first` to `last` have intervals that hold `true`.
    first = np.searchsorted(high, true, side="left")
    last = np.searchsorted(low, true, side="right") - 1
    chance = (1 + true) / 2
    covered = binom.cdf(last, shots, chance) - binom.cdf(first - 1, shots, chance)
    place = int(covered.argmin())
    return float(covered[place]), float(true[place])


def compositions(total: int, parts: int) -> np.ndarray:
    """Return all ways to divide `total` shots among outcomes, shape (ways, parts)."""
    if parts == 1:
        return np.array([[total]])
    return np.concatenate(
        [
            np.column_stack([np.full(len(rest), first), rest])
            for first in range(total + 1)
            for rest in [compositions(total - first, parts - 1)]
        ]
    )


def multinomial(table: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """Return the probability of each row of counts."""
    total = table[0].sum()
    ways = gammaln(total + 1) - gammaln(table + 1).sum(axis=1)
    return np.exp(ways + xlogy(table, chance).sum(axis=1))


def distributions(outcomes: int, number: int, seed: int) -> Iterator[np.ndarray]:
    """Yield distributions of outcomes, from even ones to nearly certain ones."""
    rng = np.random.default_rng(seed)
    for index in range(number):
        chance = rng.dirichlet(np.full(outcomes, [3.0, 0.5, 0.1][index % 3]))
        if index % 4 == 3:  # nearly certain
            chance = 0.03 * chance + 0.97 * np.eye(outcomes)[index % outcomes]
        yield chance


def plain(lines: range | list[int]) -> Line:
    """Counts of one qubit to its ⟨Z⟩."""
    worst, where, shots = min((*worst_of_z(n), n) for n in lines)
    span = f"{lines[0]} – {lines[-1]}"
    return Line("counts → ⟨Z⟩", span, worst, f"⟨Z⟩ = {where:.4f}, {shots} shots")


OBSERVABLES = {
    "Z₀ + Z₁": (np.array([1, 2]), np.array([[1.0], [1.0]])),
    "projector on 00": (np.array([1, 2, 3]), np.full((3, 1), 0.25)),
    "Z₀ - 0.3 Z₁ + 2 Z₀Z₁": (np.array([1, 2, 3]), np.array([[1.0], [-0.3], [2.0]])),
}


def joint(name: str, shots: int, number: int) -> Line:
    """Counts of two qubits, as correlated as they may be, to a sum of Pauli strings."""
    masks, coefficients = OBSERVABLES[name]
    setting = Setting((0, 1), "ZZ", masks, coefficients)
    table = compositions(shots, 4)
    found = setting.estimate(Counts.from_dense(table))
    value, error = found.values[:, 0], np.sqrt(found.squares[:, 0])
    spectrum = setting.estimate(Counts.from_dense(np.eye(4, dtype=int))).values[:, 0]
    worst = (1.0, "")
    for chance in distributions(4, number, shots):
        held = np.abs(value - spectrum @ chance) <= Z_95 * error + 1e-12
        covered = float(multinomial(table, chance)[held].sum())
        worst = min(worst, (covered, f"P = {np.round(chance, 3).tolist()}"))
    return Line(f"counts → ⟨{name}⟩", str(shots), *worst)


def inverted(shots: int, values: int) -> Line:
    """Counts of one qubit, and of its two read-out calibrations, to the corrected ⟨Z⟩."""
    ones = np.arange(shots + 1)
    counts = Counts.from_dense(np.stack([shots - ones, ones], axis=1))
    true = np.concatenate([[-1, -0.999, -0.98, 0.98, 0.999, 1], np.linspace(-0.95, 0.95, values)])
    worst = (1.0, "")
    for up, down in ((0.0, 0.0), (0.001, 0.01), (0.01, 0.03), (0.1, 0.05)):
        covered, total = np.zeros(len(true)), 0.0
        read = (1 + true) / 2 * up + (1 - true) / 2 * (1 - down)  # P(1)
        weights = binom.pmf(ones[:, np.newaxis], shots, read)  # (shots + 1, values)
        ways_up, ways_down = binom.pmf(ones, shots, up), binom.pmf(ones, shots, down)
        for k, j in product(np.flatnonzero(ways_up > 1e-6), np.flatnonzero(ways_down > 1e-6)):
            if (k + j) / shots >= 0.9:
                continue  # refused
            zeros = (np.arange(shots) < k).astype(np.int64)
            flips = ReadoutFlips.measured(zeros, (np.arange(shots) >= j).astype(np.int64), 1)
            found = single().estimate(counts, flips)
            half = Z_95 * np.sqrt(found.squares + found.calibration**2)
            held = np.abs(found.values - true) <= half + 1e-12
            weight = ways_up[k] * ways_down[j]
            covered += weight * (weights * held).sum(axis=0)
            total += weight
        covered /= total
        place = int(covered.argmin())
        where = f"⟨Z⟩ = {true[place]:.3f}, flips {up:g} and {down:g}"
        worst = min(worst, (float(covered[place]), where))
    return Line("counts → ⟨Z⟩, read-out inverted", str(shots), *worst)


def twirled(shots: int, draws: int, seed: int = 0) -> Line:
    """Twirled read-out: each randomization swaps the two flip probabilities or does not."""
    rng = np.random.default_rng(seed)
    circuits = Mitigation(twirl_measure=True).randomizations(shots)
    each = math.ceil(shots / circuits)
    worst = (1.0, "")
    for up, down, z in product((0.002, 0.02), (0.01, 0.1), (-1.0, -0.9, 0.0, 0.9, 0.99, 1.0)):
        swapped = rng.random((draws, circuits)) < 0.5
        first = np.where(swapped, down, up), np.where(swapped, up, down)
        chance = (1 + z) / 2 * first[0] + (1 - z) / 2 * (1 - first[1])
        ones = rng.binomial(each, chance)
        table = np.stack([each - ones, ones], axis=-1).reshape(-1, 2)
        found = single().estimate(Counts.from_dense(table), randomizations=circuits)
        error = np.sqrt(found.squares[:, 0])
        held = np.abs(found.values[:, 0] - z * (1 - up - down)) <= Z_95 * error + 1e-12
        where = f"⟨Z⟩ = {z:g}, flips {up:g} and {down:g}"
        worst = min(worst, (float(held.mean()), where))
    return Line("twirled counts → noisy ⟨Z⟩", str(circuits * each), *worst, f"{draws:,} draws")


def trex(shots: int, draws: int, seed: int = 0) -> Line:
    """The estimator's twirled read-out over a measured scale, with the error that it reports."""
    rng = np.random.default_rng(seed)
    circuits = Mitigation(measure_mitigation=True).randomizations(shots)
    each = math.ceil(shots / circuits)

    def measured(z: float, up: float, down: float) -> np.ndarray:
        """Draw each randomization's mean, whose read-out is swapped or not; (draws, circuits)."""
        swapped = rng.random((draws, circuits)) < 0.5
        first = np.where(swapped, down, up), np.where(swapped, up, down)
        ones = (1 - z) / 2 * (1 - first[1]) + (1 + z) / 2 * first[0]
        return 1 - 2 * rng.binomial(each, ones) / each

    worst = (1.0, "")
    flips = ((0.0, 0.0), (0.005, 0.005), (0.05, 0.05), (0.002, 0.02), (0.02, 0.1))
    for (up, down), z in product(flips, (-1.0, -0.99, -0.5, 0.0, 0.9, 0.999, 1.0)):
        found, scales = measured(z, up, down), measured(1.0, up, down).mean(axis=1)
        value = found.mean(axis=1) / scales
        error = std_error_of_estimate(
            value, found.std(axis=1) / np.sqrt(circuits) / scales, shots, np.ones(1),
            randomizations=circuits, readout_mitigated=True,
        )  # fmt: skip
        held = np.abs(value - z) <= Z_95 * error + 1e-12
        worst = min(worst, (float(held.mean()), f"⟨Z⟩ = {z:g}, flips {up:g} and {down:g}"))
    return Line("estimator's ⟨Z⟩, TREX", str(shots), *worst, f"{draws:,} draws")


def extrapolated(shots: int, draws: int, seed: int = 0) -> Line:
    """The client's own line through values at noise factors 1, 3 and 5, and its error."""
    from qiskit_mitigation.zne.extrapolation import _process_extrapolated_expectation_values

    warnings.simplefilter("ignore")  # errors that vanish, which is what this is about
    rng = np.random.default_rng(seed)
    factors = (1.0, 3.0, 5.0)
    worst = (1.0, "")
    for loss, z in product((0.0, 0.01, 0.05), (-1.0, 0.0, 0.95, 1.0)):
        exact = z * (1 - loss * np.array(factors))
        measured = 1 - 2 * rng.binomial(shots, (1 - exact) / 2, (draws, 3)) / shots
        found = [
            _process_extrapolated_expectation_values(
                row, np.sqrt((1 - row**2) / shots), "Z", factors, "linear"
            )[:2]
            for row in measured
        ]
        value, reported = np.array(found).T
        error = std_error_of_estimate(value, reported, shots, np.ones(1), noise_factors=factors)
        held = np.abs(value - z) <= Z_95 * error + 1e-12
        worst = min(worst, (float(held.mean()), f"⟨Z⟩ = {z:g}, loss {loss:g} a factor"))
    return Line("estimator's ⟨Z⟩, ZNE 1, 3, 5", str(shots), *worst, f"{draws:,} draws")


#: Noise factors and degrees of zero-noise extrapolation whose errors are known.
FITS = {
    "line 1, 3": ((1.0, 3.0), 1),
    "line 1, 3, 5": ((1.0, 3.0, 5.0), 1),
    "polynomial_degree_2 1, 3, 5": ((1.0, 3.0, 5.0), 2),
}


def fitted(values: np.ndarray, factors: tuple[float, ...], degree: int) -> np.ndarray:
    """Return what the client extrapolates from values at F factors, (draws, F), to none: (draws,).

    It weighs points by the scatter of their shots; one of zero counts as the smallest other one.
    """
    sigma = np.sqrt(np.maximum(1 - values**2, 0.0))
    least = np.where(sigma > 0, sigma, np.inf).min(axis=1, keepdims=True)
    sigma = np.maximum(sigma, np.where(np.isfinite(least), least, 1.0))
    powers = np.vander(factors, degree + 1, increasing=True)
    inverse = np.linalg.pinv(powers / sigma[..., np.newaxis])  # (draws, degree + 1, F)
    return np.asarray((inverse[:, 0] * (values / sigma)).sum(axis=1))


def twirled_zne(
    circuits: int, name: str, draws: int, scatter: float, shots: int = 4096, seed: int = 0
) -> Line:
    """Twirled circuits at several noise factors, whose means scatter, and the fit's error.

    Args:
        circuits: Random circuits of each noise factor.
        name: One of `FITS`.
        draws: Draws of each true value.
        scatter: Each circuit's mean is above or below the exact value by this much.
        shots: Shots of each noise factor.
        seed: Seed of the draws.
    """
    rng = np.random.default_rng(seed)
    factors, degree = FITS[name]
    worst = (1.0, "")
    for z in (0.0, 0.6, 0.95 - scatter, -0.95 + scatter):
        exact = z * (1 - 0.05 * np.array(factors))
        means = exact + scatter * rng.choice([-1, 1], (draws, circuits, len(factors)))
        each = shots // circuits
        found = 1 - 2 * rng.binomial(each, (1 - means) / 2) / each
        measured, spread = found.mean(axis=1), found.std(axis=1) / np.sqrt(circuits)
        value, one = fitted(measured, factors, degree), np.ones(1)
        error = std_error_of_extrapolated(
            value,
            std_error_of_estimate(measured, spread, shots, one, randomizations=circuits),
            factors, degree, one,
        )  # fmt: skip
        held = np.abs(value - z) <= Z_95 * error + 1e-12
        worst = min(worst, (float(held.mean()), f"⟨Z⟩ = {z:g}, ± {scatter:g} a circuit"))
    stage = f"estimator's ⟨Z⟩, twirled ZNE, {name}, {circuits} circuits"
    return Line(stage, str(shots), *worst, f"{draws:,} draws")


Cases = tuple[np.ndarray, np.ndarray, Callable[[np.ndarray], np.ndarray]]


def same_shots(shots: int) -> Cases:
    """Return ⟨Z₀⟩, ⟨Z₁⟩ and errors of all outcomes of two qubits, and what gives their chances."""
    setting = Setting((0, 1), "ZZ", np.array([1, 2]), np.eye(2))
    table = compositions(shots, 4)
    found = setting.estimate(Counts.from_dense(table))
    return found.values, np.sqrt(found.squares), lambda chance: multinomial(table, chance)


def own_shots(shots: int) -> Cases:
    """The same of two settings; `chance` is then read as that of independent qubits."""
    value, error = z_of_counts(shots)
    pairs = np.array(list(product(range(shots + 1), repeat=2)))
    ones = np.arange(shots + 1)

    def weights(chance: np.ndarray) -> np.ndarray:
        first, second = chance[1] + chance[3], chance[2] + chance[3]
        return (
            binom.pmf(ones, shots, first)[pairs[:, 0]]
            * (binom.pmf(ones, shots, second)[pairs[:, 1]])
        )

    return value[pairs], error[pairs], weights


def predictions(
    stage: str, cases: Cases, shots: int, classes: int, number: int, *, independent: bool
) -> list[Line]:
    """Two ⟨Z⟩ to logits, the winner's probability and whether it is decided."""
    values, errors, weights = cases
    signs = 1 - 2 * (np.arange(4)[:, np.newaxis] >> np.arange(2) & 1)  # (4, 2)
    rng = np.random.default_rng(classes)
    held_least, right_least = (1.0, ""), (1.0, "")
    for index, chance in enumerate(distributions(4, number, 7)):
        weight = rng.normal(size=(classes, 2)) * [0.5, 3.0, 10.0][index % 3]
        true = weight @ (chance @ signs)
        # On the boundary of two classes, where wrong decisions are likeliest, or beside it.
        bias = -true if index % 2 else -true + rng.normal(size=classes)
        found = sampled_prediction(
            values @ weight.T + bias, errors, weight, np.arange(classes), independent=independent
        )
        exact = softmax(true + bias)
        mass = weights(chance)
        held = np.abs(found.winning - exact[found.labels]) <= Z_95 * found.std_errors + 1e-9
        where = f"P = {np.round(chance, 3).tolist()}"
        held_least = min(held_least, (float(mass[held].sum()), where))
        wrong = found.decided & (exact[found.labels] < exact.max() - 1e-12)
        right_least = min(right_least, (1 - float(mass[wrong].sum()), where))
    name = f"{stage}, {classes} classes"
    return [
        Line(f"{name} → probability", str(shots), *held_least),
        Line(f"{name} → 1 - P(decided and wrong)", str(shots), *right_least),
    ]


def table(reduced: bool) -> Iterator[Line]:
    """Yield all lines."""
    every = [*range(16, 257), *np.unique(np.geomspace(257, 8192, 120).astype(int)).tolist()]
    yield plain(every[::12] if reduced else every)
    for name in OBSERVABLES:
        for shots in (16, 32) if reduced else (16, 24, 32, 48, 64):
            yield joint(name, shots, 24 if reduced else 200)
    for shots in (16, 40) if reduced else (16, 40, 100, 200, 512):
        yield inverted(shots, 9 if reduced else 39)
    draws = 4000 if reduced else 40_000
    for shots in (200, 1024) if reduced else (64, 200, 512, 1024, 4096):
        yield twirled(shots, draws)
        yield trex(shots, draws)
    for shots in () if reduced else (200, 1024):
        yield extrapolated(shots, 2000)
    for circuits, name in product((16, 32), FITS):
        lines_of_fit = [
            twirled_zne(circuits, name, 1000 if reduced else 20_000, scatter)
            for scatter in (0.0, 0.05, 0.1, 0.2)
        ]
        yield min(lines_of_fit, key=lambda line: line.coverage)
    for shots in (16,) if reduced else (16, 32, 64):
        for classes in (2, 3):
            number = 40 if reduced else 400
            yield from predictions(
                "shared shots", same_shots(shots), shots, classes, number, independent=False
            )
            for independent in (False, True):
                stage = "own shots" + (", in quadrature" if independent else "")
                yield from predictions(
                    stage, own_shots(shots), shots, classes, number, independent=independent
                )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reduced", action="store_true", help="a few lines of each kind")
    given = parser.parse_args()
    print("| what | shots | worst coverage, % | at | how |\n| --- | ---: | ---: | --- | --- |")
    for line in table(given.reduced):
        print(
            f"| {line.stage} | {line.shots} | {100 * line.coverage:.2f} | {line.where} "
            f"| {line.how} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
