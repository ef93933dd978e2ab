"""The client's own models: PEC, PEA, extrapolators. Against closed forms of a known noise."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from contracts.sampling_bounds import assert_means, at_most, mean_slack, shifted
from loopback.learned import XX, learned
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer import AerSimulator
from qiskit_mitigation.zne.extrapolation import _process_extrapolated_expectation_values

from hardware.circuits.intervals import (
    Z_95,
    extrapolation_weights,
    std_error_of_randomized,
)
from hardware.circuits.layer_noise import LayerNoise
from hardware.devices.backends import fake_backend
from hardware.devices.base import check_arrays, result_arrays
from hardware.devices.ibm.primitives import make_primitive
from hardware.emulation.fake import FakeTarget, local_device
from hardware.errors import BadResultError, InvalidInputError, PlanError
from hardware.planning.mitigation import Mitigation
from hardware.planning.noise_layers import noise_layers
from hardware.planning.options import JobLimits, PlanOptions
from hardware.planning.plan import JobPlan
from hardware.planning.plan_file import dump_plan, finished, load_plan
from hardware.planning.planner import plan
from hardware.planning.pubs import job_request, unpack
from hardware.runs.permission import check_abilities
from hardware.workload import Expectations, Workload

#: ⟨Z⟩ of both qubits is cos 0.5; XX with rate λ shrinks it by exp(-2λ), and leaves ⟨ZZ⟩ at 1.
ANGLE, PAULIS = 0.5, ("IZ", "ZI", "ZZ")
EXACT = np.array([np.cos(ANGLE), np.cos(ANGLE), 1.0])
SHRINKS = np.array([1.0, 1.0, 0.0])
# Of ⟨ZZ⟩ no shot may differ, and the client says that it fits without weights.
pytestmark = pytest.mark.filterwarnings("ignore:No positive, finite standard errors")

#: Times the rates of `loopback.learned`.
SCALE = 2.0


def workload(rows: int = 1) -> Workload:
    circuit = QuantumCircuit(2)
    circuit.ry(Parameter("x"), 0)
    circuit.cx(0, 1)
    values = np.full((rows, 1), ANGLE)
    return Workload(circuit, ("x",), values, tuple(SparsePauliOp(pauli) for pauli in PAULIS))


def made(
    mitigation: Mitigation, rows: int = 1, shots: int = 256, scale: float = SCALE, **more: Any
) -> JobPlan:
    """Return a plan, its noise learned where that is needed."""
    options = PlanOptions(shots=shots, **{"tiles": 1, **more}, mitigation=mitigation)
    backend = fake_backend("manila")
    found = plan(workload(rows), backend, options)
    if mitigation.lacks_layer_noise:
        options = replace(options, mitigation=learned(found, scale))
        found = plan(workload(rows), backend, options)
    return found


def run(made: JobPlan, seed: int) -> Expectations:
    """Run a plan's only job on a device with exactly the noise that was learned."""
    (_,) = made.jobs
    request = job_request(made, 0)
    simulator = {"seed_simulator": seed, "warn_absent": False}
    ideal = AerSimulator(method="density_matrix", max_parallel_threads=1)
    result = make_primitive(request, ideal, {**request.options, "simulator": simulator})().result()
    return unpack(made, {0: result_arrays(result, request)})


def shrunk(factor: float, scale: float = SCALE) -> np.ndarray:
    """Return the exact values at a noise factor."""
    return EXACT * np.exp(-2 * XX * scale * factor * SHRINKS)


def assert_covered(found: Expectations, mean: np.ndarray) -> None:
    """Assert that at least 94 of 100 intervals hold the mean that they are of."""
    missed = np.abs(found.values - mean) > Z_95 * found.std_errors
    assert missed.sum(axis=0).max() <= at_most(0.06, len(found.values))


@pytest.mark.sampled
@pytest.mark.parametrize("measure", [False, True])
def test_pec_cancels_noise_that_was_learned(measure: bool) -> None:
    rows, circuits = 60, 16
    mitigation = Mitigation(
        pec_mitigation=True, num_randomizations=circuits, measure_mitigation=measure
    )
    plan = made(mitigation, rows, 64)
    found = run(plan, shifted(11))
    assert not found.missing
    num, gamma = rows * round(circuits * plan.sampling_overhead), plan.sampling_overhead**0.5
    assert_means(found.values.mean(axis=0), EXACT, num, gamma)
    # Without PEC the noise would show.
    assert (mean_slack(EXACT, num, gamma) < EXACT - shrunk(1.0))[:2].all()
    assert_covered(found, EXACT)
    assert any("not of what was learned" in note for note in found.notes)


@pytest.mark.sampled
def test_pec_within_its_limit_cancels_a_part() -> None:
    rows, circuits, limit, scale = 150, 16, 2.625, 4.0
    mitigation = Mitigation(
        pec_mitigation=True, pec_max_overhead=limit, num_randomizations=circuits
    )
    plan = made(mitigation, rows, 64, scale=scale)
    assert plan.sampling_overhead == limit
    assert any("in part" in note for note in plan.notes)
    kept = 1 - np.log(limit) / (4 * 0.12 * scale)  # the whole overhead is exp(4 Σλ)
    expected, num = shrunk(kept, scale), rows * round(circuits * limit)
    found = run(plan, shifted(13))
    assert_means(found.values.mean(axis=0), expected, num, limit**0.5)
    slack = mean_slack(expected, num, limit**0.5)[:2]
    assert (slack < (EXACT - expected)[:2]).all()
    assert (slack < (expected - shrunk(1.0, scale))[:2]).all()


@pytest.mark.sampled
@pytest.mark.parametrize("factors", [(1, 3), (1, 2, 4)])
def test_pea_extrapolates_what_it_amplified(factors: tuple[float, ...]) -> None:
    rows, circuits = 80, 16
    mitigation = Mitigation(zne_factors=factors, zne_amplifier="pea", num_randomizations=circuits)
    plan = made(mitigation, rows, 64)
    found = run(plan, shifted(17))
    weights = extrapolation_weights(factors, 1)
    mean = sum(w * shrunk(f) for w, f in zip(weights, factors, strict=True))
    if len(factors) == 2:  # of more the client weighs points by their measured errors
        assert_means(found.values.mean(axis=0), mean, rows * circuits, float(np.abs(weights).sum()))
    assert_covered(found, mean)


def scattered(
    plan: JobPlan, scatter: float, seed: int, flip: float = 0.0
) -> tuple[Expectations, np.ndarray]:
    """Return what a plan makes of drawn results, and the exact values at zero noise, (M,).

    The mean of each random circuit is above or below the exact one by `scatter`. A read-out that
    flips `flip` of the bits is measured with as many circuits, and its scale divided out.
    """
    rng, mitigation = np.random.default_rng(seed), plan.options.mitigation
    factors, exact = np.array(mitigation.zne_factors), np.array([0.0, 0.6, 0.7])
    circuits = mitigation.randomizations(plan.shots)
    each = plan.shots // circuits
    means = (exact[:, np.newaxis] * (1 - 0.05 * factors))[:, np.newaxis, np.newaxis]
    scale = 1 - 2 * flip

    def drawn(means: np.ndarray) -> np.ndarray:
        means = scale * means + scatter * rng.choice([-1, 1], means.shape)
        return 1 - 2 * rng.binomial(each, (1 - means) / 2) / each

    shape = (len(exact), plan.num_rows)
    found = drawn(np.broadcast_to(means, (*shape, circuits, len(factors))))  # (M, S, R, F)
    evs, spread = found.mean(axis=2), found.std(axis=2) / np.sqrt(circuits)
    value, reported = np.empty(shape), np.empty(shape)
    for place in np.ndindex(shape):  # the client weighs points by their shots' scatter
        value[place], reported[place], *_ = _process_extrapolated_expectation_values(
            evs[place], np.sqrt(1 - evs[place] ** 2), "Z", factors, mitigation.zne_extrapolator
        )
    if flip:
        measured = drawn(np.ones((*shape, circuits))).mean(axis=2)
        value, reported = value / measured, reported / measured
        evs, spread = (x / measured[..., np.newaxis] for x in (evs, spread))
    arrays = {
        "0/evs": value, "0/stds": reported,
        "0/evs_noise_factors": evs, "0/stds_noise_factors": spread,
    }  # fmt: skip
    return unpack(plan, {0: arrays}), exact


@pytest.mark.sampled
@pytest.mark.parametrize("circuits", [16, 32])
@pytest.mark.parametrize(
    ("factors", "model"),
    [((1, 3), "linear"), ((1, 3, 5), "linear"), ((1, 3, 5), "polynomial_degree_2")],
)
def test_intervals_of_twirled_zne_hold_where_random_circuits_scatter(
    factors: tuple[float, ...], model: str, circuits: int
) -> None:
    mitigation = Mitigation(
        zne_factors=factors, zne_extrapolator=model, twirl_gates=True, num_randomizations=circuits
    )
    found = made(mitigation, 300, 4096)
    for scatter in (0.0, 0.05, 0.1, 0.2):
        assert_covered(*scattered(found, scatter, shifted(23)))


@pytest.mark.sampled
@pytest.mark.parametrize("scatter", [0.0, 0.05])
def test_intervals_of_twirled_zne_hold_with_a_measured_read_out(scatter: float) -> None:
    mitigation = Mitigation(zne_factors=(1, 3), measure_mitigation=True, num_randomizations=16)
    assert_covered(*scattered(made(mitigation, 300, 4096), scatter, shifted(29), flip=0.1))


def test_a_twirled_extrapolation_without_its_circuits_scatter_has_no_known_error() -> None:
    plan = made(Mitigation(zne_factors=(1, 3), twirl_gates=True, num_randomizations=16))
    request, shape = job_request(plan, 0), (3, 1)
    kept = {"0/evs_noise_factors": np.full((*shape, 2), 0.2),
            "0/stds_noise_factors": np.full((*shape, 2), 0.01)}  # fmt: skip
    before = {"0/evs": np.full(shape, 0.2), "0/stds": np.full(shape, 0.01)}  # as once stored
    check_arrays(before, request)
    old = unpack(plan, {0: before})
    np.testing.assert_array_equal(old.values, np.full((1, 3), 0.2))
    assert np.isnan(old.std_errors).all()
    assert any(note.startswith("3 of 3 standard errors are unknown") for note in old.notes)
    now = unpack(plan, {0: before | kept})
    assert np.isfinite(now.std_errors).all()
    assert not any("are unknown" in note for note in now.notes)
    kept["0/stds_noise_factors"] = np.full((*shape, 2), np.inf)
    assert np.isnan(unpack(plan, {0: before | kept}).std_errors).all()
    # One random circuit does not show how they scatter.
    plan = made(Mitigation(zne_factors=(1, 3), twirl_gates=True, num_randomizations=1))
    kept["0/stds_noise_factors"] = np.full((*shape, 2), 0.01)
    assert np.isnan(unpack(plan, {0: before | kept}).std_errors).all()


def test_the_clients_results_hold_the_scatter_at_each_noise_factor() -> None:
    plan = made(Mitigation(zne_factors=(1, 3), twirl_gates=True, num_randomizations=16), 2)
    assert np.isfinite(run(plan, 31).std_errors).all()


@pytest.mark.sampled
def test_what_an_exponential_gives_has_no_known_error() -> None:
    mitigation = Mitigation(
        zne_factors=(1, 3), zne_amplifier="pea", zne_extrapolator="exponential",
        num_randomizations=256,
    )  # fmt: skip
    found = run(made(mitigation, 4, 1024), shifted(19))
    assert np.isfinite(found.values).all()
    assert np.isnan(found.std_errors).all()
    assert not found.missing
    assert any("standard errors are unknown" in note for note in found.notes)
    # This noise is exponential: y1^1.5 / y3^0.5 of values that miss by no more than their bounds.
    low, high = (
        [shrunk(f) + sign * mean_slack(shrunk(f), 256) for f in (1, 3)] for sign in (-1, 1)
    )
    assert (found.values >= low[0] ** 1.5 / np.minimum(high[1], 1) ** 0.5).all()
    assert (found.values <= np.minimum(high[0], 1) ** 1.5 / low[1] ** 0.5).all()


@pytest.mark.parametrize(
    ("mitigation", "degree"),
    [
        (Mitigation(zne_factors=(1, 3)), 1),
        (Mitigation(zne_factors=(1, 2, 3), zne_extrapolator=("linear",)), 1),
        (Mitigation(zne_factors=(1, 2, 3), zne_extrapolator="polynomial_degree_1"), 1),
        (Mitigation(zne_factors=(1, 2, 3), zne_extrapolator="polynomial_degree_2"), 2),
        (Mitigation(zne_factors=(1, 2, 3, 5), zne_extrapolator="polynomial_degree_2"), None),
        (Mitigation(zne_factors=(1, 2, 3), zne_extrapolator="fallback"), 0),
        (Mitigation(zne_factors=(1, 3), zne_extrapolator="exponential"), None),
        (Mitigation(zne_factors=(1, 3), zne_extrapolator=("exponential", "linear")), None),
        (Mitigation(zne_factors=(1, 3), zne_extrapolator=("linear", "fallback")), None),
    ],
)
def test_errors_are_known_of_lines_and_of_polynomials_through_all_points(
    mitigation: Mitigation, degree: int | None
) -> None:
    assert mitigation.extrapolation_degree == degree
    found = unpack(
        plan := made(mitigation), {0: {"0/evs": np.zeros((3, 1)), "0/stds": np.zeros((3, 1))}}
    )
    assert np.isfinite(found.std_errors).all() == (degree is not None)
    assert load_plan(dump_plan(plan)).options == plan.options


def test_the_weights_of_an_extrapolation_are_those_of_its_polynomial() -> None:
    for factors, degree in (((1, 3), 1), ((1, 2, 5), 2), ((1, 2, 3, 7), 2), ((2, 3, 4, 6), 3)):
        weights = extrapolation_weights(factors, degree)
        for power in range(degree + 1):
            assert weights @ np.power(factors, float(power)) == pytest.approx(
                1.0 if power == 0 else 0.0
            )
    np.testing.assert_array_equal(extrapolation_weights((3, 1, 2), 0), [0, 1, 0])


@pytest.mark.parametrize("circuits", [16, 64, 300])
def test_intervals_of_random_circuits_hold_for_signs_that_are_seldom_drawn(circuits: int) -> None:
    # Each circuit gives γ or -γ: the exact coverage, over all numbers of negative signs.
    from scipy.stats import binom

    gamma, drawn = 1.3, np.arange(circuits + 1)
    means = gamma * (1 - 2 * drawn / circuits)
    stated = np.sqrt((gamma**2 - means**2) / circuits)
    errors = std_error_of_randomized(means, stated, circuits, np.ones(1), gamma=gamma)
    for chance in (0.0, 0.001, 0.004, 0.01, 0.03, 0.1, 0.3, 0.5, 0.9):
        covered = np.abs(means - gamma * (1 - 2 * chance)) <= Z_95 * errors
        assert binom.pmf(drawn, circuits, chance)[covered].sum() >= 0.95
    unknown = std_error_of_randomized(np.zeros(1), np.array([np.nan]), circuits, np.ones(1))
    assert unknown >= 1 / np.sqrt(circuits)
    assert np.isnan(std_error_of_randomized(np.zeros(1), np.zeros(1), 1, np.ones(1))).all()
    assert np.isnan(std_error_of_randomized(np.array([np.nan]), np.zeros(1), 9, np.ones(1))).all()


# --- on a fake device ---------------------------------------------------------------------------


@pytest.mark.sampled
def test_a_fake_has_its_own_noise_and_not_what_was_learned() -> None:
    mitigation = made(
        Mitigation(zne_factors=(1, 3), zne_amplifier="pea", zne_extrapolator="fallback"),
    ).options.mitigation
    # At a noise factor of 1 nothing is injected: the fake's own noise alone shrinks ⟨Z⟩.
    shots = 4096
    options = PlanOptions(shots, tiles=1, seed=shifted(23), mitigation=mitigation)
    found = FakeTarget("manila", options).run(workload())
    again = FakeTarget("manila", options).run(workload())
    np.testing.assert_array_equal(found.values, again.values)
    twirled = Mitigation(twirl_gates=True, twirl_measure=True, num_randomizations=200)
    plain = FakeTarget("manila", replace(options, mitigation=twirled, shots=20_000))
    own = plain.run(workload()).values
    # Of the 64 random circuits more may read a bit swapped than as it is.
    slack = mean_slack(own, 20_000) + mean_slack(own, shots, bias=0.02)
    assert (np.abs(found.values - own) <= slack).all()
    assert (own * (1 - np.exp(-2 * XX * SCALE)) > slack)[0, :2].all()


@pytest.mark.parametrize(
    "mitigation",
    [
        Mitigation(pec_mitigation=True, measure_mitigation=True),
        Mitigation(zne_factors=(1, 2), zne_amplifier="pea", measure_mitigation=True),
        Mitigation(zne_factors=(1, 3), zne_amplifier="gate_folding_back", twirl_gates=True),
        Mitigation(twirl_gates=True, twirling_strategy="all"),
    ],
)
def test_each_model_runs_on_a_fake(mitigation: Mitigation) -> None:
    options = replace(made(mitigation).options, seed=1)
    found = FakeTarget("manila", options).run(workload(3))
    assert not found.missing
    assert np.isfinite(found.std_errors).all()
    again = FakeTarget("manila", options).run(workload(3))
    np.testing.assert_array_equal(found.values, again.values)


# --- what planning refuses, and what it does not know yet ---------------------------------------

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "both": ({"pec_mitigation": True, "zne_factors": (1, 3)}, "PEC and ZNE do not go together"),
    "inversion": ({"pec_mitigation": True, "readout_inversion": True}, "cannot be combined"),
    "amplifier alone": ({"zne_amplifier": "pea"}, "need noise factors"),
    "extrapolator alone": ({"zne_extrapolator": "exponential"}, "need noise factors"),
    "limit alone": ({"pec_max_overhead": 10.0}, "is a limit of PEC"),
    "limit": ({"pec_mitigation": True, "pec_max_overhead": 0.5}, "overhead of one or more"),
    "strategy alone": ({"twirling_strategy": "all"}, "add twirl_gates"),
    "strategy of bits": ({"twirling_strategy": "all", "twirl_measure": True}, "add twirl_gates"),
    "no extrapolator": ({"zne_factors": (1, 3), "zne_extrapolator": ()}, "names of extrapolators"),
    "too few factors": (
        {"zne_factors": (1, 2), "zne_extrapolator": "polynomial_degree_2"},
        "at least 3 different noise factors, got 2",
    ),
    "equal factors": (
        {"zne_factors": (1, 2, 2), "zne_extrapolator": "polynomial_degree_2"},
        "at least 3 different noise factors, got 2",
    ),
    "noise alone": ({"layer_noise": (LayerNoise("r1A", 1, ()),)}, "is for PEC and PEA"),
    "no noise": ({"pec_mitigation": True, "layer_noise": (1,)}, "a tuple of LayerNoise"),
    "noise twice": (
        {"pec_mitigation": True, "layer_noise": (LayerNoise("r1A", 1, ()),) * 2},
        "of each layer once",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_go_together_is_refused(name: str) -> None:
    fields, message = REFUSED[name]
    with pytest.raises(PlanError, match=message):
        Mitigation(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"zne_amplifier": "folding"}, "refuses 'folding' as resilience.zne.amplifier: Input"),
        ({"zne_extrapolator": "cubic"}, "'cubic' as resilience.zne.extrapolator: Input"),
        ({"zne_extrapolator": "double_exponential"}, "double_exponential requires at least 4"),
        ({"twirl_gates": True, "twirling_strategy": "most"}, "refuses 'most' as twirling.strategy"),
    ],
)
def test_what_the_client_refuses_is_refused_when_planning(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(PlanError, match=message) as caught:
        made(Mitigation(zne_factors=(1, 3), **fields))
    assert "\n" not in str(caught.value)


def test_before_noise_is_learned_the_cost_is_an_upper_bound() -> None:
    options = PlanOptions(shots=256, tiles=1, mitigation=Mitigation(pec_mitigation=True))
    backend = fake_backend("manila")
    before = plan(workload(3), backend, options)
    assert before.cost.upper_bound
    assert "at most" in str(before.cost)
    assert before.summary()["upper_bound"] is True
    assert before.sampling_overhead == 100
    assert any("not learned yet" in note for note in before.notes)
    for scale in (1.0, SCALE, 30.0):
        mitigation = learned(before, scale)
        after = plan(workload(3), backend, replace(options, mitigation=mitigation))
        assert not after.cost.upper_bound
        assert "about" in str(after.cost)
        # γ² is exp(4 Σλ): of one XX and two Z.
        overhead = min(100.0, np.exp(4 * scale * 0.12))
        circuits = mitigation.randomizations(256)
        assert after.sampling_overhead == np.ceil(circuits * overhead) / circuits
        assert after.cost.executions <= before.cost.executions
        assert load_plan(dump_plan(after)).options == after.options
    assert after.cost.executions == before.cost.executions


@pytest.mark.parametrize(
    "mitigation",
    [Mitigation(pec_mitigation=True), Mitigation(zne_factors=(1, 3), zne_amplifier="pea")],
)
def test_a_plan_without_the_noise_that_it_needs_is_not_run(mitigation: Mitigation) -> None:
    options = PlanOptions(shots=256, tiles=1, mitigation=mitigation)
    found = plan(workload(), fake_backend("manila"), options)
    for attempt in (
        lambda: check_abilities(found, local_device("manila")),
        lambda: FakeTarget("manila", options).run(workload()),
    ):
        with pytest.raises(PlanError, match="not learned yet: learn it"):
            attempt()
    # Noise of another layer is not this plan's.
    for noise, message in (
        (LayerNoise("r0A", 2, ()), "^The noise of layer .* is not in layer_noise, which has r0A"),
        (replace(learned(found).layer_noise[0], num_qubits=3), "Expected noise of 2 qubits"),
    ):
        other = replace(options, mitigation=replace(mitigation, layer_noise=(noise,)))
        with pytest.raises(PlanError, match=message):
            plan(workload(), fake_backend("manila"), other)


def test_without_a_limit_only_learned_noise_tells_what_pec_costs() -> None:
    with pytest.raises(PlanError, match=r"^Without pec_max_overhead, .* or layer_noise\.$"):
        made(Mitigation(pec_mitigation=True, pec_max_overhead=None))
    noise = made(Mitigation(pec_mitigation=True)).options.mitigation
    free = made(replace(noise, pec_max_overhead=None))
    assert free.sampling_overhead == made(noise).sampling_overhead
    with pytest.raises(PlanError, match="smaller pec_max_overhead"):
        made(Mitigation(pec_mitigation=True), limits=JobLimits(executions=10_000))


def test_circuits_without_layers_have_no_noise_to_learn() -> None:
    circuit = QuantumCircuit(1)
    circuit.ry(Parameter("x"), 0)
    work = Workload(circuit, ("x",), np.zeros((1, 1)), (SparsePauliOp("Z"),))
    options = PlanOptions(shots=256, tiles=1, mitigation=Mitigation(pec_mitigation=True))
    with pytest.raises(PlanError, match=r"^The circuits have no layers"):
        plan(work, fake_backend("manila"), options)


def test_pec_takes_one_tile_unless_told_otherwise() -> None:
    alone, two = (made(Mitigation(pec_mitigation=True), 4, tiles=tiles) for tiles in (None, 2))
    assert (len(alone.tiles), len(two.tiles)) == (1, 2)
    assert any("one tile is used" in note for note in alone.notes)
    assert any("of 2 tiles" in note for note in two.notes)
    assert two.sampling_overhead == pytest.approx(alone.sampling_overhead**2, rel=0.1)


def test_a_plan_with_another_overhead_than_its_noise_asks_for_is_refused() -> None:
    found = made(Mitigation(pec_mitigation=True))
    with pytest.raises(PlanError, match="a sampling overhead of"):
        load_plan(dump_plan(finished(replace(found, sampling_overhead=1.0))))
    with pytest.raises(PlanError, match="a sampling overhead above zero"):
        load_plan(dump_plan(finished(replace(found, sampling_overhead=-1.0))))


def test_layers_are_of_plans_that_need_their_noise() -> None:
    with pytest.raises(PlanError, match="Only PEC and PEA"):
        noise_layers(made(Mitigation()))
    found = made(Mitigation(zne_factors=(1, 3), zne_amplifier="pea"))
    (layer,) = noise_layers(found)
    assert [step.operation.name for step in layer.operation.blocks[0].data] == ["cx"]
    assert len(found.options.mitigation.layer_noise) == 1


@pytest.mark.parametrize(
    "terms", [(("I", (0,), 0.1),), (("X", (2,), 0.1),), (("XX", (0, 0), 0.1),),
              (("X", (0,), -0.1),), (("X", (0,), float("nan")),), (("XX", (0,), 0.1),)],
)  # fmt: skip
def test_noise_that_is_none_is_refused(terms: Any) -> None:
    with pytest.raises(InvalidInputError, match="on different qubits below 2"):
        LayerNoise("r1A", 2, terms)


@pytest.mark.parametrize("measure", [False, True])
def test_errors_of_pec_count_its_circuits_and_its_signs(measure: bool) -> None:
    plan = made(Mitigation(pec_mitigation=True, measure_mitigation=measure, num_randomizations=20))
    arrays = {"0/evs": np.full((3, 1), 0.2), "0/stds": np.full((3, 1), 0.01)}
    circuits = round(20 * plan.sampling_overhead)
    assert circuits == np.ceil(20 * np.exp(4 * 0.12 * SCALE))
    expected = std_error_of_randomized(
        np.array([0.2]), np.array([0.01]), circuits, np.ones(1), gamma=(circuits / 20) ** 0.5
    )
    expected = expected * (np.sqrt(2) if measure else 1.0)
    np.testing.assert_allclose(unpack(plan, {0: arrays}).std_errors, np.tile(expected, (1, 3)))


def test_values_at_noise_factors_are_checked() -> None:
    plan = made(Mitigation(zne_factors=(1, 3), zne_amplifier="pea"))
    request, shape = job_request(plan, 0), (3, 1)
    arrays = {"0/evs": np.zeros(shape), "0/stds": np.zeros(shape),
              "0/evs_noise_factors": np.zeros((*shape, 2)),
              "0/stds_noise_factors": np.zeros((*shape, 2))}  # fmt: skip
    check_arrays(arrays, request)
    assert np.isfinite(unpack(plan, {0: arrays}).std_errors).all()
    # What a platform leaves out of its answer is unknown.
    bare = {name: arrays[name] for name in ("0/evs", "0/stds")}
    assert np.isnan(unpack(plan, {0: bare}).std_errors).all()
    for name, array in (
        ("0/evs_noise_factors", np.zeros((2, 1, 2))),
        ("0/stds_noise_factors", np.full((*shape, 2), -1.0)),
    ):
        with pytest.raises(BadResultError, match="PUB 0: expected"):
            check_arrays({**arrays, name: array}, request)


@cache
def _options() -> PlanOptions:
    return made(Mitigation(pec_mitigation=True)).options


def test_learned_noise_survives_being_text() -> None:
    options = _options()
    again = PlanOptions.from_json(options.canonical_json())
    assert again == options
    (noise,) = again.mitigation.layer_noise
    assert LayerNoise.of(noise.layer, noise.as_map()).as_map() == noise.as_map()
