"""Standard errors of means: closed forms, and what a platform's own errors leave out."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student

from hardware.circuits.intervals import (
    Z_95,
    known,
    std_error_of_estimate,
    std_error_of_groups,
    std_error_of_mean,
    std_error_of_share,
)
from hardware.circuits.measurement import Counts, Measurement, Setting
from hardware.circuits.readout import ReadoutFlips
from hardware.planning.mitigation import Mitigation
from hardware.planning.options import PlanOptions

ONE = np.ones(1)


def agresti_coull(ones: int, shots: int) -> tuple[float, float]:
    """Centre and half width of the interval of a probability, as the paper writes them."""
    total = shots + Z_95**2
    centre = (ones + Z_95**2 / 2) / total
    return centre, Z_95 * np.sqrt(centre * (1 - centre) / total)


@pytest.mark.parametrize(("ones", "shots"), [(0, 16), (1, 200), (100, 200), (8191, 8192)])
def test_a_share_has_agresti_and_coulls_interval_made_symmetric(ones: int, shots: int) -> None:
    centre, half = agresti_coull(ones, shots)
    share = ones / shots
    expected = half + abs(centre - share) + 0.5 / shots
    assert Z_95 * std_error_of_share(share, shots) == pytest.approx(expected)
    # the same of outcomes ±1, twice as wide, and of any other two values
    z = 1 - 2 * share
    assert std_error_of_mean(z, 1 - z**2, shots, -1.0, 1.0) * Z_95 == pytest.approx(2 * expected)
    mean, variance = 3 + 5 * share, 25 * share * (1 - share)
    assert std_error_of_mean(mean, variance, shots, 3.0, 8.0) * Z_95 == pytest.approx(5 * expected)


def test_two_sided_95_percent() -> None:
    assert norm.cdf(Z_95) - norm.cdf(-Z_95) == pytest.approx(0.95, abs=1e-12)


def test_an_interval_is_one_of_95_percent() -> None:
    assert pytest.approx(norm.ppf(0.975)) == Z_95
    # Half of a fair coin's interval: z/2/√n, and the half shot that makes up for whole numbers.
    half = Z_95 * float(std_error_of_share(0.5, 10_000))
    assert half == pytest.approx(1.959964 / 2 / 100 + 0.5 / 10_000, rel=1e-3)


def test_one_flip_in_two_hundred_has_the_error_of_more_than_one() -> None:
    # Wald says 0.010, and the true value may well be three flips away.
    z = 1 - 2 / 200
    assert std_error_of_mean(z, 1 - z**2, 200, -1.0, 1.0) > 0.024


def test_the_error_is_that_of_the_shots_where_there_are_many() -> None:
    assert std_error_of_mean(0.0, 1.0, 10**6, -1.0, 1.0) == pytest.approx(1e-3, rel=1e-3)


def test_groups_have_students_error_and_half_a_step() -> None:
    means = np.array([[1.0, 2.0, 4.0], [3.0, 3.0, 3.0]])
    spread = np.sqrt(7 / 3)
    expected = (student.ppf(0.975, 2) / np.sqrt(3) + 1 / 3) * spread / Z_95
    np.testing.assert_allclose(std_error_of_groups(means), [expected, 0.0])
    assert not std_error_of_groups(np.ones((4, 1))).any()
    pair = std_error_of_groups(np.array([1.0, 2.0]))
    cauchy = np.tan(0.475 * np.pi)  # Student's quantile for two values
    assert pair == pytest.approx((cauchy / np.sqrt(2) + 0.5) * np.sqrt(0.5) / Z_95)


def one_qubit(zeros: int, ones: int) -> Counts:
    return Counts.from_dense(np.array([[zeros, ones]]))


SINGLE = Setting((0,), "Z", np.array([1]), np.ones((1, 1)))


def test_randomizations_that_differ_widen_the_error() -> None:
    even = Counts.from_dense(np.array([[90, 10], [90, 10], [90, 10]]))
    apart = Counts.from_dense(np.array([[99, 1], [90, 10], [81, 19]]))
    whole = SINGLE.estimate(one_qubit(270, 30))
    alike, differ = SINGLE.estimate(even, None, 3), SINGLE.estimate(apart, None, 3)
    for found in (alike, differ, whole):
        assert found.values[0, 0] == pytest.approx(0.8)
    np.testing.assert_allclose(alike.squares, whole.squares)
    expected = std_error_of_groups(np.array([0.98, 0.8, 0.62]))
    assert differ.squares[0, 0] == pytest.approx(expected**2)
    assert differ.squares > alike.squares


def test_the_calibrations_own_error_is_carried_to_the_value() -> None:
    # v = 1 - 2 (p - u) / (1 - u - d) of one bit, differentiated by hand.
    shots, ones, ups, downs = 1000, 300, 20, 50
    zeros = (np.arange(shots) < ups).astype(np.int64)
    flips = ReadoutFlips.measured(zeros, (np.arange(shots) >= downs).astype(np.int64), 1)
    up, down, p = ups / shots, downs / shots, ones / shots
    assert (flips.up, flips.down) == (pytest.approx(up), pytest.approx(down))
    scale = 1 - up - down
    excited = (p - up) / scale
    found = SINGLE.estimate(one_qubit(shots - ones, ones), flips)
    assert found.values[0, 0] == pytest.approx(1 - 2 * excited)
    parts = [
        2 / scale * (1 - excited) * std_error_of_share(up, shots),
        2 / scale * excited * std_error_of_share(down, shots),
    ]
    assert found.calibration[0, 0] == pytest.approx(np.hypot(*parts))
    low, high = flips.corrected(np.array([1, 0]))[:, 0]
    variance = (high - low) ** 2 * p * (1 - p)
    shot = std_error_of_mean(found.values[0, 0], variance, shots, low, high)
    assert found.squares[0, 0] == pytest.approx(shot**2)


def test_products_of_bits_carry_every_bits_calibration() -> None:
    # Against finite differences of the value itself, two bits, three terms of unlike weight.
    setting = Setting((0, 1), "ZZ", np.array([1, 2, 3]), np.array([[0.5], [-1.0], [2.0]]))
    counts = Counts.from_dense(np.array([[400, 300, 200, 100]]))
    up, down = np.array([0.02, 0.05]), np.array([0.04, 0.01])
    errors = np.array([0.01, 0.02]), np.array([0.03, 0.005])
    found = setting.estimate(counts, ReadoutFlips(up, down, *errors))
    total, step = 0.0, 1e-6
    for which in range(2):
        for bit in range(2):
            moved = [up.copy(), down.copy()]
            moved[which][bit] += step
            other = setting.estimate(counts, ReadoutFlips(*moved)).values
            slope = (other - found.values)[0, 0] / step
            total += (slope * errors[which][bit]) ** 2
    assert found.calibration[0, 0] == pytest.approx(np.sqrt(total), rel=1e-4)


def test_settings_that_share_a_calibration_add_its_errors() -> None:
    flips = ReadoutFlips(np.zeros(1), np.zeros(1), np.full(1, 0.01), np.zeros(1))
    counts = one_qubit(1000, 0)
    once = SINGLE.estimate(counts, flips)
    assert once.calibration[0, 0] == pytest.approx(0.02)  # dv/du = 2 at v = 1
    twice = Measurement((SINGLE, SINGLE), np.array([0.5]))
    values, errors = twice.combine([counts, counts], 1, [flips, flips])
    assert values[0, 0] == pytest.approx(2.5)
    assert errors[0, 0] ** 2 == pytest.approx(2 * once.squares[0, 0] + 0.04**2)


@pytest.mark.parametrize("num_bits", [8, 9])
def test_extremes_are_found_or_bounded(num_bits: int) -> None:
    # Z0 - Z1 lies within ±2, and so does the bound of wide settings; a projector within [0, 1],
    # which the bound of the wide one does not know.
    masks = np.array([1, 2, 3])
    coefficients = np.array([[1.0, 0.25], [-1.0, 0.25], [0.0, 0.25]])
    setting = Setting(tuple(range(num_bits)), "Z" * num_bits, masks, coefficients)
    low, high = setting._extremes(None)
    np.testing.assert_allclose(low, [-2.0, -0.25 if num_bits == 8 else -0.75])
    np.testing.assert_allclose(high, [2.0, 0.75])
    flips = ReadoutFlips(np.full(num_bits, 0.1), np.full(num_bits, 0.3))
    low, high = setting._extremes(flips)
    top, bottom = (1 - 0.2) / 0.6, (-1 - 0.2) / 0.6
    assert high[0] == pytest.approx(top - bottom if num_bits == 8 else 2 * -bottom)
    assert high[1] >= 0.25 * (2 * top + top**2) - 1e-12


def test_extremes_may_be_at_the_last_outcome() -> None:
    setting = Setting((0, 1, 2), "ZZZ", np.array([1, 2, 4]), np.ones((3, 1)))
    assert [float(bound[0]) for bound in setting._extremes(None)] == [-3.0, 3.0]


def test_a_wide_settings_bound_takes_the_larger_of_both_readings() -> None:
    setting = Setting(tuple(range(9)), "Z" * 9, np.array([1]), np.ones((1, 1)))
    flips = ReadoutFlips(np.full(9, 0.3), np.full(9, 0.1))  # a read 0 is worth 2, a 1 less
    low, high = setting._extremes(flips)
    assert (low[0], high[0]) == (pytest.approx(-2.0), pytest.approx(2.0))


# What a platform's estimator reports.


def estimated(value: float, reported: float, shots: int = 1024, **more: object) -> float:
    coefficients = more.pop("coefficients", ONE)
    found = std_error_of_estimate(
        np.array([value]), np.array([reported]), shots, coefficients, **more
    )
    return float(found[0])


def test_reported_errors_are_bounded_from_below_by_the_shots() -> None:
    for value in (1.0, 0.99, -1.0, 0.3):
        own = float(std_error_of_mean(abs(value), 1 - value**2, 1024, -1.0, 1.0))
        assert estimated(value, 0.0) == pytest.approx(own)
        assert estimated(value, float("nan")) == pytest.approx(own)
    assert estimated(1.05, 0.0) == estimated(1.0, 0.0)  # mitigated values may leave the range
    assert estimated(0.0, 0.2) == pytest.approx(0.2, rel=0.02)


@pytest.mark.parametrize("scale", [3.0, 0.2])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"randomizations": 2},
        {"readout_mitigated": True},
        {"noise_factors": (1.0, 3.0, 5.0)},
        {"coefficients": np.ones(2)},
    ],
)
def test_an_observable_times_a_number_has_its_error_times_that_number(
    scale: float, more: dict[str, object]
) -> None:
    coefficients = more.get("coefficients", ONE)
    for value, reported in ((0.9, 0.0), (0.3, 0.2), (0.9, 0.01)):
        one = estimated(value, reported, **more)
        many = {**more, "coefficients": scale * coefficients}
        assert estimated(scale * value, scale * reported, **many) == pytest.approx(scale * one)


def test_a_large_reported_error_is_taken_as_the_scatter_of_the_shots() -> None:
    # Four times as many shots with half the error say the same scatter.
    assert estimated(0.5, 0.2, 400) == pytest.approx(0.2, rel=0.03)
    assert estimated(0.5, 0.1, 1600) == pytest.approx(0.1, rel=0.03)


@pytest.mark.parametrize("factors", [(1.0, 3.0, 5.0), (1.0, 1.5, 2.0), (1.0, 2.0, 7.0)])
def test_the_lines_gain_is_that_of_least_squares(factors: tuple[float, ...]) -> None:
    design = np.vander(factors, 2)
    gain = np.sqrt(np.linalg.inv(design.T @ design)[1, 1])
    found = estimated(0.0, 0.0, 10**6, noise_factors=factors)
    assert found == pytest.approx(gain * 1e-3, rel=0.01)


def test_only_what_is_below_the_largest_number_is_known() -> None:
    assert list(known(np.array([0.0, -9e99, 1e100, np.inf, np.nan]))) == [1, 1, 0, 0, 0]


def test_two_randomizations_have_students_factor_too() -> None:
    factor = (student.ppf(0.975, 1) + 1 / np.sqrt(2)) / Z_95 * np.sqrt(2)
    assert estimated(0.0, 0.01, randomizations=2) == pytest.approx(factor * 0.01, rel=0.01)


def test_few_randomizations_have_students_factor() -> None:
    factor = (student.ppf(0.975, 3) + 1 / 2) / Z_95 * np.sqrt(4 / 3)
    assert estimated(0.0, 0.2, randomizations=4) == pytest.approx(factor * 0.2, rel=0.01)
    assert estimated(0.0, 0.2, randomizations=1) == estimated(0.0, 0.2)


def test_terms_of_one_observable_share_their_shots() -> None:
    pair = estimated(0.0, 0.2, coefficients=np.ones(2))
    assert pair == pytest.approx(np.sqrt(2) * 0.2, rel=0.02)
    assert estimated(0.0, 0.2, coefficients=np.zeros(0)) == 0.0


def test_a_measured_read_out_has_an_error_too() -> None:
    assert estimated(1.0, 0.0, readout_mitigated=True) == pytest.approx(
        np.sqrt(2) * estimated(1.0, 0.0)
    )
    assert estimated(0.0, 0.1, readout_mitigated=True) == estimated(0.0, 0.1)
    assert estimated(0.6, 0.1, readout_mitigated=True) == pytest.approx(
        np.sqrt(1 + 0.6**2) * estimated(0.6, 0.1)
    )
    pair = {"coefficients": np.ones(2)}
    assert estimated(0.0, 0.1, readout_mitigated=True, **pair) == pytest.approx(
        np.sqrt(2) * estimated(0.0, 0.1, **pair)
    )


def test_an_extrapolation_carries_the_shots_error_through_its_line() -> None:
    # Through 1 and 3 the value at 0 is 1.5 y1 - 0.5 y3; the platform's error of it is infinite.
    floor = np.sqrt(1.5**2 + 0.5**2) / np.sqrt(1024)
    for reported in (0.0, float("inf"), float("nan"), sys.float_info.max, 1e300):
        found = estimated(0.0, reported, noise_factors=(1.0, 3.0))
        assert found == pytest.approx(floor, rel=0.02)
    assert estimated(0.0, 0.3, noise_factors=(1.0, 3.0)) == pytest.approx(0.3, rel=0.02)
    assert np.isnan(estimated(float("nan"), 0.0, noise_factors=(1.0, 3.0)))


@pytest.mark.parametrize("shots", [1, 63, 64, 65, 200, 1000, 4096, 10_000])
@pytest.mark.parametrize("circuits", [None, 7])
def test_randomizations_are_the_clients_but_enough(shots: int, circuits: int | None) -> None:
    from qiskit_ibm_runtime.executor.calculate_twirling_shots import calculate_twirling_shots

    expected, _ = calculate_twirling_shots(shots, circuits or "auto", "auto")
    if circuits is None:
        expected = max(expected, min(shots, 16))
    for twirled in ({"twirl_gates": True}, {"twirl_measure": True}, {"measure_mitigation": True}):
        mitigation = Mitigation(num_randomizations=circuits, **twirled)
        assert mitigation.randomizations(shots) == expected
        sent = PlanOptions(shots=shots, mitigation=mitigation).primitive_options()
        assert sent["twirling"]["num_randomizations"] == expected
    assert Mitigation().randomizations(shots) == 1


def test_the_scatter_of_randomizations_is_not_guessed_at_from_an_extrapolation() -> None:
    with pytest.raises(ValueError, match="std_error_of_extrapolated"):
        estimated(0.5, 0.1, randomizations=16, noise_factors=(1.0, 3.0))
