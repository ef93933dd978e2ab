"""Adaptive shots: the error rate by exact probabilities, and rounds of plans."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from contracts.sampling_bounds import FALSE_ALARM, shifted
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from scipy.stats import binom, multinomial
from scipy.stats import t as student

from hardware.circuits.adaptive import AdaptiveShots, Decisions, LinearRule, Pool
from hardware.circuits.measurement import Counts, Measurement
from hardware.circuits.readout import ReadoutFlips
from hardware.emulation.fake import FakeTarget, local_device
from hardware.emulation.rates import NoisyTarget, ShotsTarget
from hardware.errors import InvalidInputError, PlanError
from hardware.planning.mitigation import Mitigation
from hardware.planning.options import JobLimits, PlanOptions
from hardware.planning.plan_check import check_plan
from hardware.planning.plan_file import dump_plan, load_plan, load_submitted
from hardware.planning.planner import plan
from hardware.planning.pubs import job_request, unpack
from hardware.planning.rounds import next_round
from hardware.workload import Workload

SINGLE = Measurement.of((SparsePauliOp("Z"),))
PAIR = Measurement.of((SparsePauliOp("IZ"), SparsePauliOp("ZI")))
#: Probabilities of reading 1, thin in the middle and thick at both ends.
ENDS = np.geomspace(1e-5, 0.05, 15)
GRID = np.concatenate([ENDS, np.linspace(0.07, 0.93, 23), 1 - ENDS[::-1]])


def wrong_share(measurement, rule, rounds, adaptive, outcomes, chances, wrong):
    """Return the exact probability that a wrong label is called decided in any round.

    Args:
        outcomes: Counts of all results of a round of n shots, by n: dense tables (R, 2^m).
        chances: Probability of each of them, by n, shape (R,).
        wrong: Classes that are not the best.
    """
    of_leads = measurement.combined(*rule.leads())
    ways, total, parts = [((), 1.0)], 0.0, {}
    for n in set(rounds):
        z = adaptive.z(n, len(rounds), rule.num_classes)
        values, errors = of_leads.combine([Counts.from_dense(outcomes[n])], len(outcomes[n]), z=z)
        parts[n] = values, z * errors
    for number in range(len(rounds)):
        open_ways = [
            ((*way, k), share * chances[rounds[number]][k])
            for way, share in ways
            for k in range(len(outcomes[rounds[number]]))
            if share * chances[rounds[number]][k] > 1e-12
        ]
        pool = Pool(len(open_ways), len(rule.leads()[1]))
        rows = np.arange(len(open_ways))
        for earlier in range(number + 1):
            taken = [way[earlier] for way, _ in open_ways]
            values, reach = parts[rounds[earlier]]
            pool.add(rows, values[taken], reach[taken], rounds[earlier])
        found = Decisions.of(rule, pool, adaptive, rounds)
        shares = np.array([share for _, share in open_ways])
        total += shares[found.decided & np.isin(found.winners, wrong)].sum()
        ways = [way for way, decided in zip(open_ways, found.decided, strict=True) if not decided]
    return total


@pytest.mark.parametrize("alpha", [0.0002, 0.01, 0.05, 0.2])
@pytest.mark.parametrize("rounds", [(2, 4), (8, 24), (16, 32), (64, 64), (4, 6, 10)])
def test_a_bit_at_the_border_is_called_decided_wrongly_with_the_stated_rate_at_most(rounds, alpha):
    adaptive, worst = AdaptiveShots(rounds, alpha), 0.0
    tables = {n: np.stack([n - np.arange(n + 1), np.arange(n + 1)], axis=1) for n in rounds}
    for chance in GRID:
        border = 1 - 2 * chance
        chances = {n: binom.pmf(np.arange(n + 1), n, chance) for n in rounds}
        for side in (1.0, -1.0):
            # Class 1 is right by an infinitely small lead.
            rule = LinearRule([[side], [0.0]], [-side * border, 0.0])
            share = wrong_share(SINGLE, rule, rounds, adaptive, tables, chances, wrong=[0])
            assert share <= alpha
            worst = max(worst, share)
    assert worst > alpha / 10 or rounds[0] < 16  # the test is not idle


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_three_classes_of_two_correlated_observables_keep_the_rate(alpha):
    rounds = (10, 12)
    adaptive, worst = AdaptiveShots(rounds, alpha), 0.0
    tables = {
        n: np.array([c for c in itertools.product(range(n + 1), repeat=4) if sum(c) == n])
        for n in rounds
    }
    # The last class is tied with the others, which lead it in opposite directions or together.
    directions = {
        "opposite": [[1.0, 0.5], [-1.0, -0.5], [0.0, 0.0]],
        "alike": [[1.0, 0.4], [0.9, 0.6], [0.0, 0.0]],
        "apart": [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]],
    }
    for shares in (
        [0.25] * 4,
        [0.7, 0.1, 0.1, 0.1],
        [0.45, 0.05, 0.05, 0.45],
        [0.9, 0.04, 0.03, 0.03],
    ):
        chances = {n: multinomial.pmf(tables[n], n, shares) for n in rounds}
        exact = PAIR.combine([Counts.from_dense(np.array([np.array(shares) * 10**6]))], 1)[0][0]
        for weights in directions.values():
            rule = LinearRule(weights, -np.array(weights) @ exact)
            share = wrong_share(PAIR, rule, rounds, adaptive, tables, chances, wrong=[0, 1])
            assert share <= alpha
            worst = max(worst, share)
    assert worst > alpha / 50


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_two_wrong_classes_share_the_rate(alpha):
    """Either side of the border is wrong, and each test has its share of the rate."""
    rounds = (64, 64)
    table = {64: np.stack([64 - np.arange(65), np.arange(65)], axis=1)}
    for chance in (0.3, 0.5):
        border = 1 - 2 * chance
        rule = LinearRule([[1.0], [-1.0], [0.0]], [-border, border, 0.0])
        chances = {64: binom.pmf(np.arange(65), 64, chance)}
        adaptive = AdaptiveShots(rounds, alpha)
        share = wrong_share(SINGLE, rule, rounds, adaptive, table, chances, wrong=[0, 1])
        assert alpha / 4 < share <= alpha
    assert adaptive.z(64, 2, 3) == pytest.approx(student.isf(alpha / 4, 63))
    assert adaptive.z(20, 3, 6) == pytest.approx(student.isf(alpha / 15, 19))


@pytest.mark.parametrize("flip", [0.02, 0.1])
def test_a_bit_whose_readout_is_measured_and_inverted_keeps_the_rate_of_a_look(flip):
    shots, adaptive = 40, AdaptiveShots((40, 40), 0.1)
    z = adaptive.z(shots, 2, 2)
    ups = binom.pmf(np.arange(shots + 1), shots, flip)
    seen = [k for k in range(shots + 1) if ups[k] > 1e-9 and k < 17]
    table = np.stack([shots - np.arange(shots + 1), np.arange(shots + 1)], axis=1)
    for excited in (0.02, 0.2, 0.5, 0.8):
        chances = binom.pmf(np.arange(shots + 1), shots, excited * (1 - 2 * flip) + flip)
        for side in (1.0, -1.0):
            rule = LinearRule([[side], [0.0]], [-side * (1 - 2 * excited), 0.0])
            of_leads = SINGLE.combined(*rule.leads())
            wrong = 0.0
            for up, down in itertools.product(seen, seen):
                zeros = (np.arange(shots) < up).astype(np.int64)
                ones = (np.arange(shots) >= down).astype(np.int64)
                flips = ReadoutFlips.measured(zeros, ones, 1, z=z)
                values, errors = of_leads.combine(
                    [Counts.from_dense(table)], shots + 1, [flips], z=z
                )
                winners, decided = rule.decide(values, z * errors)
                wrong += ups[up] * ups[down] * chances[decided & (winners == 0)].sum()
            assert wrong <= 0.05


def test_observables_of_one_shot_count_with_their_correlation():
    """The lead Z₀ - Z₁ of two bits that always agree has no spread, and Z₀ + Z₁ has twice one's."""
    counts = Counts.from_dense(np.array([[512, 0, 0, 512]]))
    sums = PAIR.combined(np.array([[1.0, -1.0], [1.0, 1.0]]), np.array([0.25, 0.0]))
    values, errors = sums.combine([counts], 1)
    np.testing.assert_allclose(values, [[0.25, 0.0]])
    alone = SINGLE.combine([Counts.from_dense(np.array([[512, 512]]))], 1)[1][0, 0]
    assert errors[0, 0] < 0.2 * alone
    assert errors[0, 1] == pytest.approx(2 * alone)


def test_the_pool_weighs_shots_alike():
    pool = Pool(3, 1)
    pool.add(np.array([0, 1]), np.array([[0.5], [1.0]]), np.array([[0.3], [0.1]]), 100)
    pool.add(np.array([1]), np.array([[0.0]]), np.array([[0.04]]), 300)
    values, errors = pool.result()
    np.testing.assert_allclose(values[:2, 0], [0.5, 0.25])
    np.testing.assert_allclose(errors[:2, 0], [0.3, np.hypot(0.25 * 0.1, 0.75 * 0.04)])
    assert np.isnan([values[2, 0], errors[2, 0]]).all()
    assert pool.shots.tolist() == [100, 400, 0]


def test_the_winner_leads_all_others():
    rule = LinearRule(np.eye(3), np.zeros(3))
    leads = np.array([[0.3, 0.2, -0.1], [np.nan, 0.2, 0.1], [-0.1, 0.4, 0.5]])
    winners, decided = rule.decide(leads, np.full((3, 3), 0.15))
    assert winners[[0, 2]].tolist() == [0, 1]
    assert decided.tolist() == [True, False, False]
    values = np.random.default_rng(1).normal(size=(50, 3))
    weights, offsets = rule.leads()
    winners, decided = rule.decide(values @ weights.T + offsets, np.zeros((50, 3)))
    assert (winners == values.argmax(axis=1)).all()
    assert decided.all()


def circuit(num_qubits: int = 1) -> QuantumCircuit:
    made = QuantumCircuit(num_qubits)
    for qubit in range(num_qubits):
        made.ry(Parameter(f"x{qubit}"), qubit)
    if num_qubits > 1:
        made.cx(0, 1)
    return made


def workload(values) -> Workload:
    """Return rows of ⟨Z⟩ = `values` on one qubit."""
    angles = np.arccos(np.asarray(values, dtype=float))[:, np.newaxis]
    return Workload(circuit(), ("x0",), angles, (SparsePauliOp("Z"),))


@pytest.mark.sampled
@pytest.mark.parametrize(("value", "used"), [(0.0, 0.25), (0.7, 0.25), (-0.9, 0.02)])
def test_rows_at_the_border_are_decided_wrongly_no_more_often_than_stated(value, used):
    rows, alpha = 4000, 0.05
    target = ShotsTarget(shots=512, seed=shifted(3))
    rule = LinearRule([[1.0], [0.0]], [-value, 0.0])
    found = target.run_adaptive(workload([value] * rows), rule, AdaptiveShots(error_rate=alpha))
    decisions = found.decisions
    # At the border either class may be the wrong one.
    counts = [int((decisions.decided & (decisions.winners == wrong)).sum()) for wrong in (0, 1)]
    assert max(counts) <= binom.isf(FALSE_ALARM / 2, rows, alpha)
    assert max(counts) >= binom.ppf(FALSE_ALARM, rows, used * alpha)


def test_clear_rows_take_the_first_round_and_close_ones_all():
    rule = LinearRule([[1.0], [-1.0]], [0.0, 0.0])
    target = NoisyTarget(0.0, 0.0, shots=1024, seed=5)
    found = target.run_adaptive(workload([0.95, -0.95, 0.0, 0.95]), rule)
    decisions = found.decisions
    assert decisions.shots.tolist() == [64, 64, 1024, 64]
    assert decisions.winners[[0, 1, 3]].tolist() == [0, 1, 0]
    assert decisions.decided[[0, 1, 3]].all()
    assert decisions.share == pytest.approx((3 * 64 + 1024) / 4096)
    assert found.shots == 1024
    assert any("64 for 4 rows, 256 more for 1, 704 more for 1" in note for note in found.notes)
    again = target.run_adaptive(workload([0.95, -0.95, 0.0, 0.95]), rule)
    np.testing.assert_array_equal(again.values, found.values)


def test_values_of_rounds_differ_from_each_other():
    """Each round has its own shots: a row that takes all has not the first ones again."""
    target = ShotsTarget(shots=128, seed=1)
    rule = LinearRule([[1.0], [-1.0]], [0.0, 0.0])
    found = target.run_adaptive(workload([0.0] * 40), rule, AdaptiveShots((64, 64)))
    open_rows = found.decisions.shots == 128
    first = ShotsTarget(shots=64, seed=1).run_adaptive(
        workload([0.0] * 40), rule, AdaptiveShots((32, 32))
    )
    assert open_rows.sum() > 20
    assert len(np.unique(found.values[open_rows])) > 5
    assert not np.array_equal(found.values, first.values)


# --- plans ----------------------------------------------------------------------------------------

RULE = LinearRule([[1.0, 0.5], [-1.0, 0.2]], [0.1, 0.0])
ADAPTIVE = AdaptiveShots((16, 48, 64), 0.1)


def two_qubits(rows: int = 12) -> Workload:
    values = np.linspace(0.3, 2.8, 2 * rows).reshape(rows, 2)
    observables = (SparsePauliOp("IZ"), SparsePauliOp("ZI"))
    return Workload(circuit(2), ("x0", "x1"), values, observables)


def options(**fields) -> PlanOptions:
    chosen = {"shots": 128, "adaptive": ADAPTIVE, "tiles": 2, "seed": 4}
    return PlanOptions(**{**chosen, **fields})


def planned(rows: int = 12, **fields):
    return plan(two_qubits(rows), local_device("manila").backend, options(**fields), rule=RULE)


def run_rounds(made):
    """Return all plans of a run and its results, without a ledger."""
    device, results, plans = local_device("manila"), {}, []
    while made is not None:
        plans.append(made)
        for idx in range(len(results), len(made.jobs)):
            results[idx] = device.fetch(f"local:{idx}", job_request(made, idx))
        made = next_round(made, results)
    return plans, results


@pytest.mark.parametrize(
    "mitigation",
    [
        Mitigation(),
        Mitigation(readout_inversion=True),
        Mitigation(twirl_gates=True, twirl_measure=True, num_randomizations=8),
        Mitigation(measure_mitigation=True, num_randomizations=16),
    ],
    ids=["none", "inversion", "twirling", "trex"],
)
def test_each_round_is_a_pub_array_of_the_undecided_rows(mitigation):
    plans, results = run_rounds(planned(mitigation=mitigation))
    assert 1 < len(plans) <= 3
    last = plans[-1]
    found = unpack(last, results)
    assert found.missing == ()
    before = np.arange(12)
    for number, each in enumerate(plans):
        own = [job for job in last.jobs if job.round == number]
        rows = np.concatenate([job.pubs[0].rows[~job.pubs[0].padded] for job in own])
        assert sorted(rows.tolist()) == before.tolist()
        request = job_request(last, len(each.jobs) - 1)
        assert (request.shots or round(request.precision**-2)) == ADAPTIVE.rounds[number]
        decided = unpack(each, {k: results[k] for k in range(len(each.jobs))}).decisions.decided
        before = before[~decided[before]]
    spent = [sum(ADAPTIVE.rounds[: r + 1]) for r in range(3)]
    assert set(found.decisions.shots.tolist()) <= set(spent)
    assert found.decisions.shots[before].tolist() == [128] * len(before)
    values = two_qubits().values
    for job in last.jobs:  # every slot has its row's values, whichever tile it is on
        for pub in job.pubs:
            if pub.kind == "samples":
                slots = pub.values.reshape(*pub.rows.shape, 2)
                np.testing.assert_array_equal(slots, values[pub.rows])


def test_rounds_are_pooled_by_their_shots():
    plans, results = run_rounds(planned())
    last = plans[-1]
    found = unpack(last, results)
    sums, shots = np.zeros((12, 2)), np.zeros(12)
    for idx, job in enumerate(last.jobs):
        (pub,) = job.pubs
        for s, tile in zip(*np.nonzero(~pub.padded), strict=True):
            bits = results[idx][f"0/t{tile}"][s, :, 0]
            row = pub.rows[s, tile]
            sums[row] += np.stack([1 - 2.0 * (bits & 1), 1 - 2.0 * (bits >> 1 & 1)]).sum(axis=1)
            shots[row] += len(bits)
    np.testing.assert_allclose(found.values, sums / shots[:, np.newaxis], atol=1e-12)
    np.testing.assert_array_equal(found.decisions.shots, shots)


def test_a_plan_says_what_rounds_may_cost_and_what_is_expected():
    made = planned(rows=40)
    fixed = planned(rows=40, adaptive=None)
    most = [each.most.qpu_seconds for each in made.rounds]
    sets, items = 20, 1
    repeat = (fixed.cost.qpu_seconds - 2.0 * items) / (sets * 128)
    expected = [2.0 * items + sets * n * repeat for n in ADAPTIVE.rounds]
    np.testing.assert_allclose(most, expected)
    assert made.cost.qpu_seconds == pytest.approx(sum(expected))
    assert made.cost.upper_bound
    assert made.job_seconds == (pytest.approx(expected[0]),)
    assert made.most_to_come == pytest.approx(sum(expected[1:]))
    assert made.expected_seconds is None
    clear = plan(
        two_qubits(40), local_device("manila").backend, options(), rule=RULE,
        likely=np.ones((40, 2)),
    )  # fmt: skip
    assert clear.expected_seconds == pytest.approx(expected[0], abs=0.01)
    border = np.tile(np.linalg.lstsq(RULE.leads()[0], -RULE.leads()[1], rcond=None)[0], (40, 1))
    close = plan(
        two_qubits(40), local_device("manila").backend, options(), rule=RULE, likely=border
    )
    assert sum(expected) >= close.expected_seconds > 0.8 * sum(expected)


def test_the_expected_rows_follow_the_normal_distribution():
    """The share of equal rows that is undecided after the first round is that of a binomial."""
    values = np.array([[0.35]] * 10)
    work = workload(values[:, 0])
    rule = LinearRule([[1.0], [-1.0]], [0.0, 0.0])
    made = plan(work, local_device("manila").backend, options(tiles=1), rule=rule, likely=values)
    shrunk = 0.35 * (1 - made.tiles[0].expected_error)
    z = ADAPTIVE.z(16, 3, 2)
    ones = np.arange(17)
    lead, error = 1 - ones / 8, np.sqrt((1 - shrunk**2) / 16)
    exact = binom.pmf(ones, 16, (1 - shrunk) / 2)[lead < z * error].sum()
    assert made.rounds[1].rows == pytest.approx(10 * exact, abs=1.5)


def test_a_plan_with_rounds_survives_its_file():
    plans, results = run_rounds(planned(limits=JobLimits(executions=80)))
    for made in plans:
        for read in (load_plan, load_submitted):
            again = read(dump_plan(made))
            assert again.key == made.key
            assert again.rounds == made.rounds
            assert [job.round for job in again.jobs] == [job.round for job in made.jobs]
    stored = {idx: arrays for idx, arrays in results.items() if idx < len(plans[0].jobs)}
    assert next_round(load_submitted(dump_plan(plans[0])), stored).key == plans[1].key
    partial = {0: results[0]}
    assert len(plans[0].jobs) > 1
    with pytest.raises(PlanError, match="some are missing"):
        next_round(plans[0], partial)


def test_rows_that_wait_for_a_round_are_undecided():
    plans, results = run_rounds(planned())
    first = {idx: arrays for idx, arrays in results.items() if idx < len(plans[0].jobs)}
    later = range(len(plans[0].jobs), len(plans[1].jobs))
    only = unpack(plans[1], {idx: results[idx] for idx in later})
    assert (only.decisions.shots == ADAPTIVE.rounds[1]).any()  # the first result is damaged, say
    assert not only.decisions.decided.any()
    before, after = unpack(plans[0], first), unpack(plans[1], first)
    np.testing.assert_array_equal(before.values, after.values)
    np.testing.assert_array_equal(before.decisions.decided, after.decisions.decided)


def test_plans_whose_rounds_do_not_belong_together_are_refused():
    plans, _ = run_rounds(planned())
    made = plans[1]
    later = made.jobs[-1]
    (pub,) = later.pubs
    wrong = {
        "rows of the round before": replace(
            made, jobs=(*made.jobs[:-1], replace(later, pubs=(_twice(pub),)))
        ),
        "in the order of their rounds": replace(made, jobs=(made.jobs[-1], made.jobs[0])),
        "rounds of": replace(made, rounds=made.rounds[:2]),
        "a rule with adaptive": replace(made, rule=None),
        "a rule for 2": replace(made, rule=LinearRule([[1.0], [0.0]], [0.0, 0.0])),
    }
    for message, bad in wrong.items():
        with pytest.raises(PlanError, match=message):
            check_plan(bad)


def _twice(pub):
    """Return a PUB that runs its first row in every slot."""
    return replace(pub, rows=np.full_like(pub.rows, pub.rows[0, 0]), padded=pub.padded & False)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rounds": (5,)}, "two or more rounds"),
        ({"rounds": (5, 0)}, "two or more rounds"),
        ({"error_rate": 0.5}, "error rate between"),
        ({"error_rate": float("nan")}, "error rate between"),
    ],
)
def test_rounds_that_make_no_sense_are_refused(fields, message):
    with pytest.raises(InvalidInputError, match=message):
        AdaptiveShots(**fields)


def test_options_that_do_not_go_with_rounds_are_refused():
    with pytest.raises(InvalidInputError, match="128 shots together"):
        options(shots=1000)
    with pytest.raises(InvalidInputError, match="at least 64 shots"):
        PlanOptions(shots=63, adaptive=AdaptiveShots())
    with pytest.raises(PlanError, match="fractional gates"):
        options(fractional_gates=True)
    with pytest.raises(PlanError, match="session"):
        options(mode="session")
    with pytest.raises(PlanError, match="PEC"):
        options(mitigation=Mitigation(pec_mitigation=True))
    backend = local_device("manila").backend
    with pytest.raises(PlanError, match="need a rule"):
        plan(two_qubits(), backend, options())
    with pytest.raises(InvalidInputError, match="2 observables"):
        plan(two_qubits(), backend, options(), rule=LinearRule([[1.0], [0.0]], [0.0, 0.0]))
    with pytest.raises(InvalidInputError, match="two or more classes"):
        LinearRule([[1.0, 2.0]], [0.0])
    with pytest.raises(PlanError, match="does not fit into a job"):
        planned(limits=JobLimits(executions=60))
    with pytest.raises(PlanError, match="need adaptive shots"):
        PlanOptions.of(adaptive=False, error_rate=0.1)
    assert PlanOptions.of(rounds=(100, 200)).rounds == (100, 200)
    assert PlanOptions.of(adaptive=True).rounds == (256, 1024, 2816)
    assert PlanOptions.of(adaptive=False) == PlanOptions()


def test_a_fake_device_runs_rounds_in_one_call():
    target = FakeTarget("manila", options(adaptive=None))
    found = target.run_adaptive(two_qubits(), RULE, ADAPTIVE)
    plans, results = run_rounds(planned())
    np.testing.assert_array_equal(found.values, unpack(plans[-1], results).values)
    assert (found.decisions.shots < 128).any()
