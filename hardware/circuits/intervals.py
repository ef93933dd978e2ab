"""Intervals of means of bounded outcomes that hold at the ends of their range as well.

The sample variance vanishes where all outcomes agree, and the usual interval around the mean (Wald)
with it: of 200 shots with one flip it covers too little, with none nothing. Here z²/2 shots are
added at either end of the range before the variance is taken (Agresti & Coull, American
Statistician 52, 1998), and the interval is made symmetric around the plain mean by the distance
between the two means, plus half a shot for the counts' discreteness. For outcomes of two values the
95 % interval covers at least 95 % for every probability (``scripts/interval_coverage.py``). The
plain mean stays the estimate: it is unbiased, the mean with added shots is not.

A *standard error* of this package is half the width of that interval over 1.96. It combines as one:
in quadrature where errors are independent (Zou & Donner, Statistics in Medicine 27, 2008, for
symmetric intervals), as a sum where they may be anything.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

#: Two-sided 95 % of a normal distribution.
Z_95 = 1.959963984540054

#: The client writes an infinite or undefined number as the largest float, and averages it.
LARGEST_KNOWN = 1e100

Numbers = float | NDArray[np.float64]


def known(numbers: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which numbers of a platform's estimator are known: the others were not finite."""
    return np.asarray(np.abs(numbers) < LARGEST_KNOWN)


def std_error_of_mean(
    mean: Numbers, variance: Numbers, num: int, low: Numbers, high: Numbers, *, z: float = Z_95
) -> NDArray[np.float64]:
    """Return the standard error of a mean of outcomes within [low, high].

    Args:
        mean: Mean of the outcomes.
        variance: Their variance without Bessel's correction.
        num: Number of outcomes.
        low: Smallest value that an outcome can have.
        high: Largest one.
        z: Half the width of the interval over the error; of another level than 95 % another one.
    """
    added = z**2 / 2  # at either end
    total = num + 2 * added
    shifted = (num * mean + added * (low + high)) / total
    spread = num * (variance + (mean - shifted) ** 2)
    spread = spread + added * ((low - shifted) ** 2 + (high - shifted) ** 2)
    half = z * np.sqrt(spread) / total + np.abs(shifted - mean) + (high - low) / (2 * num)
    return np.asarray(half / z)


def std_error_of_share(share: Numbers, num: int, *, z: float = Z_95) -> NDArray[np.float64]:
    """Return the standard error of a probability that was measured as a share of `num` trials."""
    return std_error_of_mean(share, share * (1 - share), num, 0.0, 1.0, z=z)


def std_error_of_groups(means: NDArray[np.float64], *, z: float = Z_95) -> NDArray[np.float64]:
    """Return the standard error of the mean of R groups' means, shape (..., R); zero for R = 1.

    Outcomes of one randomization share its error, so that their mean scatters by more than shots
    do. The error is Student's, so that its interval holds for few groups too, plus half a step: a
    swapped read-out shifts a group's mean by plus or minus one size, about the groups' own spread,
    and the mean over R groups moves in steps of two R-th parts of it.
    """
    num = means.shape[-1]
    if num < 2:
        return np.zeros(means.shape[:-1])
    spread = means.std(axis=-1, ddof=1)
    return np.asarray(spread / np.sqrt(num) * _factor_of_groups(num, z))


def std_error_of_estimate(
    value: NDArray[np.float64],
    reported: NDArray[np.float64],
    num: int,
    coefficients: NDArray[np.float64],
    *,
    randomizations: int = 1,
    readout_mitigated: bool = False,
    noise_factors: tuple[float, ...] = (),
    degree: int = 1,
    z: float = Z_95,
) -> NDArray[np.float64]:
    """Return the standard error of expectation values that a platform's estimator gave.

    The reported error is what the platform says, and what it leaves out is added:

    - it vanishes where all shots agree: the shots bound it from below;
    - it is the scatter of R randomizations, divided by R and not R - 1: Student's factor, and half
      a step as in `std_error_of_groups`;
    - it adds the terms of an observable in quadrature, but they share their shots: a sum of T
      terms may have √T times that error;
    - the read-out's scale λ is taken as exact. Its own relative error is at most that of the
      value, times the value itself;
    - the line through F noise factors is fitted with F - 2 degrees of freedom, which may leave no
      error or an infinite one: the shots' error, carried through the line, bounds it from below.
      So it is with a polynomial through all points. How randomizations scatter at each factor is
      not in what the platform says of the line: `std_error_of_extrapolated` takes that.

    Args:
        value: Values without the observable's constant part; where NaN, so is the error.
        reported: The platform's errors of the same shape; those that are not `known` add nothing.
        num: Shots of each value and noise factor.
        coefficients: The T coefficients of the observable's terms, shape (T,).
        randomizations: R, random circuits that the shots are divided among.
        readout_mitigated: Whether values were divided by a measured read-out.
        noise_factors: Factors of zero-noise extrapolation, F or none; with them R must be 1.
        degree: Degree of the extrapolating polynomial.
        z: As for `std_error_of_mean`.

    Raises:
        ValueError: There are noise factors and several randomizations.
    """
    if noise_factors and randomizations > 1:
        raise ValueError("The scatter at each noise factor is needed: std_error_of_extrapolated.")
    largest, num_terms = float(np.abs(coefficients).sum()), len(coefficients)
    if not num_terms:
        return np.zeros_like(value)
    gain = 1.0
    if noise_factors:
        gain = float(np.linalg.norm(extrapolation_weights(noise_factors, degree)))
    stated = np.where(known(reported), reported, 0.0) * np.sqrt(num_terms)
    if randomizations > 1:
        stated = stated * _factor_of_groups(randomizations, z)
        stated = stated * np.sqrt(randomizations / (randomizations - 1))
    variance = num * (stated / gain) ** 2
    share = np.minimum(np.abs(value) / largest, 1.0)
    if noise_factors:  # measured values shrink by an unknown factor: any variance is possible
        variance = np.maximum(variance, largest**2)
    elif num_terms == 1:
        variance = np.maximum(variance, largest**2 * (1 - share**2))
    error = gain * std_error_of_mean(share * largest, variance, num, -largest, largest, z=z)
    error = np.maximum(error, stated)
    return error * _readout_factor(value, coefficients) if readout_mitigated else error


def std_error_of_extrapolated(
    value: NDArray[np.float64],
    each: NDArray[np.float64],
    noise_factors: tuple[float, ...],
    degree: int,
    coefficients: NDArray[np.float64],
    *,
    readout_mitigated: bool = False,
) -> NDArray[np.float64]:
    """Return the standard error of values at zero noise from those of the measured values.

    Each noise factor has its own shots and random circuits, so that errors add in quadrature.

    Args:
        value: Values at zero noise without the observable's constant part, shape (S,); where NaN,
            so is the error.
        each: Standard errors at the noise factors, shape (S, F), NaN where unknown.
        noise_factors: The F factors.
        degree: Degree of the extrapolating polynomial.
        coefficients: The T coefficients of the observable's terms, shape (T,).
        readout_mitigated: Whether values were divided by a measured read-out; `each` has the error
            of that left out.
    """
    weights = extrapolation_weights(noise_factors, degree)
    error = np.sqrt(((weights * each) ** 2).sum(axis=-1))
    if readout_mitigated and len(coefficients):
        error = error * _readout_factor(value, coefficients)
    return np.where(np.isnan(value), np.nan, error)


def _readout_factor(
    value: NDArray[np.float64], coefficients: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return by how much the error of a measured read-out's scale widens that of a value."""
    if len(coefficients) > 1:
        return np.full_like(value, np.sqrt(2.0))
    share = np.minimum(np.abs(value) / float(np.abs(coefficients).sum()), 1.0)
    return np.asarray(np.sqrt(1 + share**2))


def _factor_of_groups(num: int, z: float) -> float:
    """Return how much wider the interval of `num` groups' mean is than the normal one."""
    return float(stdtrit(num - 1, ndtr(z)) + 1 / np.sqrt(num)) / z


def extrapolation_weights(factors: tuple[float, ...], degree: int) -> NDArray[np.float64]:
    """Return what values at F factors contribute to that at 0 by a fitted polynomial, shape (F,).

    All values have the same weight in the fit. Degree 0 takes the value at the smallest factor, as
    the client's ``fallback`` does.
    """
    if degree == 0:
        return np.eye(len(factors))[int(np.argmin(factors))]
    powers = np.vander(np.asarray(factors), degree + 1, increasing=True)
    return np.asarray(np.linalg.pinv(powers)[0])


def std_error_of_randomized(
    value: NDArray[np.float64],
    reported: NDArray[np.float64],
    randomizations: int,
    coefficients: NDArray[np.float64],
    *,
    gamma: float = 1.0,
    z: float = Z_95,
) -> NDArray[np.float64]:
    """Return the standard error of values of which each random circuit gives one outcome.

    With PEC and PEA random circuits differ by errors that were put in, and with PEC by the sign
    that their outcomes count with: all shots of a circuit share them. What counts are R circuits,
    each with a mean within γ times the observable's range, however many shots it has. A sign or an
    error that no circuit has drawn shows in no scatter, so that the bound of `std_error_of_mean`
    acts on circuits and not on shots.

    Args:
        value: Values without the observable's constant part; where NaN, so is the error.
        reported: The platform's scatter of the circuits' means over √R, of the same shape; what is
            not `known` counts as the largest possible.
        randomizations: R, random circuits of each value; of less than two no error is known.
        coefficients: The T coefficients of the observable's terms, shape (T,). Terms share their
            circuits: a sum of T may have √T times the error that adds them in quadrature.
        gamma: Sampling overhead of PEC, its square root: outcomes count γ times.
        z: As for `std_error_of_mean`.
    """
    largest, num_terms = gamma * float(np.abs(coefficients).sum()), len(coefficients)
    if not num_terms:
        return np.zeros_like(value)
    if randomizations < 2:
        return np.full_like(value, np.nan)
    stated = np.where(known(reported), reported, largest / np.sqrt(randomizations * num_terms))
    stated = stated * np.sqrt(num_terms * randomizations / (randomizations - 1))
    inside = np.clip(value, -largest, largest)
    error = std_error_of_mean(
        inside, randomizations * stated**2, randomizations, -largest, largest, z=z
    )
    return np.maximum(error, stated * _factor_of_groups(randomizations, z))
