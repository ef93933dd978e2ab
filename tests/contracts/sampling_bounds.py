"""Bounds for assertions on sampled numbers, from exact probabilities.

A sampled number is compared with what its exact distribution allows at `FALSE_ALARM` an assertion,
all of its entries together, whatever the seed and whatever weights a training gave: never with a
standard error, which is an estimate itself. ``pytest -m sampled --seeds 200`` runs each test that
draws with 200 seeds: a test takes every seed through `shifted`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from qiskit.quantum_info import SparsePauliOp
from scipy.special import logsumexp
from scipy.stats import binom, hypergeom

#: Chance of an assertion to fail where nothing is wrong.
FALSE_ALARM = 1e-7

Floats = NDArray[np.float64]

_shift = 0


def set_shift(shift: int) -> None:
    """Move all seeds of the tests; the fixture `seed_shift` calls it."""
    global _shift
    _shift = shift


def shifted(seed: int) -> int:
    """Return the seed to use in place of `seed` in this run of a test."""
    return seed + 1009 * _shift


def mean_slack(
    exact: ArrayLike, shots: int, largest: ArrayLike = 1.0, *, bias: ArrayLike = 0.0
) -> Floats:
    """Return by how much means of `shots` outcomes within ±largest may miss their exact values.

    Bernstein's inequality with the largest variance that the exact mean leaves room for,
    (largest - mean)(largest + mean).

    Args:
        exact: Exact means, any shape; the false alarm is shared among them.
        shots: Outcomes of each mean.
        largest: Largest absolute outcome.
        bias: By how much the sampled distribution's mean may differ from `exact`.
    """
    exact, largest, bias = np.broadcast_arrays(*map(np.asarray, (exact, largest, bias)))
    nearest = np.maximum(np.abs(exact) - bias, 0.0)
    variance = np.maximum(largest**2 - nearest**2, 0.0)
    nats = np.log(2 * exact.size / FALSE_ALARM)
    linear = (largest + np.minimum(np.abs(exact) + bias, largest)) * nats / (3 * shots)
    return np.asarray(linear + np.sqrt(linear**2 + 2 * variance * nats / shots) + bias)


def assert_means(
    values: ArrayLike,
    exact: ArrayLike,
    shots: int,
    largest: ArrayLike = 1.0,
    *,
    bias: ArrayLike = 0.0,
) -> None:
    """Fail where sampled means miss their exact values by more than `mean_slack`."""
    values, exact = np.broadcast_arrays(np.asarray(values), np.asarray(exact))
    slack = mean_slack(exact, shots, largest, bias=bias) + 1e-9
    assert (np.abs(values - exact) <= slack).all(), (values, exact, slack)


def assert_shares(shares: ArrayLike, chance: ArrayLike, trials: int) -> None:
    """Fail where shares of `trials` lie outside the binomial distribution's bounds."""
    shares, chance = np.broadcast_arrays(np.asarray(shares), np.asarray(chance))
    tail = FALSE_ALARM / (2 * shares.size)
    low, high = binom.ppf(tail, trials, chance), binom.isf(tail, trials, chance)
    counts = np.rint(shares * trials)
    assert ((low <= counts) & (counts <= high)).all(), (shares, chance)


def assert_same_chance(first: ArrayLike, second: ArrayLike, trials: int) -> None:
    """Fail where two counts of `trials` each cannot come from one probability, whatever it is.

    Given their sum the first is hypergeometric.
    """
    first, second = np.broadcast_arrays(np.asarray(first), np.asarray(second))
    tail, both = FALSE_ALARM / (2 * first.size), first + second
    low = hypergeom.ppf(tail, 2 * trials, both, trials)
    high = hypergeom.isf(tail, 2 * trials, both, trials)
    assert ((low <= first) & (first <= high)).all(), (first, second)


def at_most(chance: float, trials: int) -> int:
    """Return the largest number of events that a chance of at most `chance` each allows."""
    return int(binom.isf(FALSE_ALARM, trials, chance))


def spectra(observables: Sequence[SparsePauliOp]) -> tuple[Floats, Floats]:
    """Return constants and largest absolute sums of the other terms of M observables, each (M,)."""
    constants, largest = [], []
    for observable in observables:
        identity = ~(observable.paulis.x | observable.paulis.z).any(axis=1)
        coefficients = observable.coeffs.real
        constants.append(coefficients[identity].sum())
        largest.append(np.abs(coefficients[~identity]).sum())
    return np.array(constants), np.array(largest)


def probability_bounds(
    exact: Floats, weight: Floats, bias: Floats, shots: int
) -> tuple[Floats, Floats]:
    """Return the least and the largest probabilities, each (n, K), that shots may give.

    Args:
        exact: Exact values of M observables within ±1, shape (n, M).
        weight: Read-out weights, shape (K, M).
        bias: Read-out biases, shape (K,).
        shots: Shots of each row.
    """
    slack = mean_slack(exact, shots)
    logits = exact @ weight.T + bias
    margins = logits[:, :, np.newaxis] - logits[:, np.newaxis]  # (n, K, K)
    reach = (np.abs(weight[:, np.newaxis] - weight) * slack[:, np.newaxis, np.newaxis]).sum(axis=-1)
    low, high = (np.exp(-logsumexp(-(margins + side * reach), axis=2)) for side in (-1, 1))
    return low - 1e-6, high + 1e-6
