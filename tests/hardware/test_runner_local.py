"""Fake devices go the same way as real ones: the ledger, the runner, the client's primitives."""

from __future__ import annotations

import numpy as np
import pytest
from contracts.sampling_bounds import assert_means
from loopback.plans import tiny_plan, values_of
from qiskit.circuit import ClassicalRegister, Parameter, QuantumCircuit, QuantumRegister
from qiskit.primitives import BitArray, DataBin, PrimitiveResult, PubResult
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

from hardware.devices.base import JobRequest, bit_arrays, check_arrays, result_arrays
from hardware.devices.local import LocalDevice
from hardware.errors import BadResultError, EmulationError
from hardware.ledger.ledger import Ledger
from hardware.planning.plan import JobPlan
from hardware.runs import runner

SHOTS = 2000


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        yield opened


def local_plan(jobs=2, estimator=False):
    return tiny_plan(
        jobs=jobs, shots=SHOTS, estimator=estimator, target="fake:manila", backend="fake_manila"
    )


def run_through(plan, ledger, device):
    run = runner.submit(plan, ledger=ledger, device=device)
    status = runner.collect(run, ledger=ledger, device=device)
    assert (status.state, status.spending.charged) == ("done", 0.0)
    return run, runner.results(run, ledger=ledger)


def exact(plan: JobPlan, idx: int, pauli: str) -> np.ndarray:
    values = values_of(idx, plan.num_rows // len(plan.jobs))
    found = []
    for a, b in values:
        circuit = QuantumCircuit(2)
        circuit.ry(a, 0)
        circuit.cx(0, 1)
        circuit.ry(b, 1)
        found.append(Statevector(circuit).expectation_value(SparsePauliOp(pauli)).real)
    return np.array(found)


def test_a_fake_device_needs_no_budget_and_costs_nothing(ledger):
    plan = local_plan()
    run, results = run_through(plan, ledger, LocalDevice(FakeManilaV2()))
    assert ledger.run(run).budget_seconds is None
    for idx, arrays in results.items():
        bits = bit_arrays(arrays, 0)["t0"]
        assert bits.array.shape == (2, SHOTS, 1)
        # the device's own errors: a few percent a gate and read-out
        assert_means(bits.expectation_values("IZ"), exact(plan, idx, "IZ"), SHOTS, bias=0.15)
    assert runner.finished_run(plan, ledger=ledger) == run
    assert runner.finished_run(local_plan(jobs=3), ledger=ledger) is None


def test_equal_plans_give_equal_results_on_a_fake_device(ledger):
    first = run_through(local_plan(), ledger, LocalDevice(FakeManilaV2()))[1]
    second = run_through(local_plan(), ledger, LocalDevice(FakeManilaV2()))[1]
    for idx in first:
        np.testing.assert_array_equal(first[idx]["0/t0"], second[idx]["0/t0"])


def test_the_estimator_path_on_a_fake_device(ledger):
    plan = local_plan(1, estimator=True)
    results = run_through(plan, ledger, LocalDevice(FakeManilaV2()))[1]
    evs = results[0]["0/evs"]  # (2 observables, 2 rows)
    expected = [exact(plan, 0, pauli) for pauli in ("IZ", "XX")]
    assert_means(evs, expected, SHOTS, bias=0.15)
    assert (results[0]["0/stds"] < 2 / SHOTS**0.5).all()


def test_a_job_sent_by_one_process_is_executed_by_the_one_that_collects(ledger):
    calls = []

    def execute(request: JobRequest) -> object:
        calls.append(request)
        raise EmulationError("no room")

    broken = LocalDevice(FakeManilaV2(), execute)
    run = runner.submit(local_plan(), ledger=ledger, device=broken)
    assert not calls
    with pytest.raises(EmulationError):
        runner.collect(run, ledger=ledger, device=broken)
    assert runner.status(run, ledger=ledger).jobs == {"submitted": 2}
    device = LocalDevice(FakeManilaV2())
    status = runner.collect(run, ledger=ledger, device=device)
    assert status.state == "done"


def test_a_local_run_is_cancelled_without_being_executed(ledger):
    device = LocalDevice(FakeManilaV2(), lambda request: pytest.fail("executed"))
    run = runner.submit(local_plan(), ledger=ledger, device=device)
    status = runner.cancel(run, ledger=ledger, device=device)
    assert (status.state, status.jobs) == ("cancelled", {"cancelled": 2})


def counts_result(shots=3, sets=2, name="t0", num_bits=2):
    """Return a sampler's result for one PUB, all shots in parameter sets of shape (sets,)."""
    values = np.arange(sets * shots, dtype=np.uint8).reshape(sets, shots, 1) % 4
    bits = BitArray(values, num_bits)
    return PrimitiveResult([PubResult(DataBin(**{name: bits}, shape=(sets,)))])


def counts_request(shots=3, **options):
    circuit = QuantumCircuit(QuantumRegister(2), ClassicalRegister(2, "t0"))
    circuit.rx(Parameter("x"), 0)
    return JobRequest("sampler", ((circuit, [[0.1], [0.2]]),), shots=shots, options=options)


def test_arrays_keep_what_a_result_holds_and_refuse_what_is_none():
    result, request = counts_result(), counts_request()
    assert bit_arrays(result_arrays(result, request), 0) == {"t0": result[0].data.t0}
    for wrong in ("text", None, PrimitiveResult([]), [1]):
        with pytest.raises(BadResultError, match="1 PUBs"):
            result_arrays(wrong, request)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shots": 2}, "expected 3 shots"),
        ({"shots": 4}, "expected 3 shots"),
        ({"shots": 0}, "expected 3 shots"),
        ({"sets": 1}, r"parameter sets \(2,\)"),
        ({"sets": 3, "shots": 2}, r"parameter sets \(2,\)"),  # swapped axes
        ({"name": "t1"}, "expected registers t0, got t1"),
        ({"num_bits": 3}, "2 bits in register 't0', got 3"),
    ],
)
def test_counts_of_another_shape_than_the_requests_are_refused(wrong, message):
    with pytest.raises(BadResultError, match=message):
        result_arrays(counts_result(**wrong), counts_request())


def test_twirling_may_round_shots_up_and_never_down():
    request = counts_request(twirling={"enable_gates": True, "enable_measure": False})
    result_arrays(counts_result(shots=4), request)
    with pytest.raises(BadResultError, match="expected 3 shots"):
        result_arrays(counts_result(shots=2), request)


@pytest.mark.parametrize(
    ("evs", "stds", "message"),
    [
        (np.zeros((2, 1)), np.zeros((2, 1)), r"evs of shape \(1, 2\)"),
        (np.zeros((1, 3)), np.zeros((1, 3)), r"evs of shape \(1, 2\)"),
        (np.zeros((1, 2)), np.zeros((1, 1)), "stds of shape"),
        (np.zeros((1, 2)), np.full((1, 2), -1.0), "zero or more"),
    ],
)
def test_estimates_of_another_shape_than_the_requests_are_refused(evs, stds, message):
    circuit = QuantumCircuit(1)
    circuit.rx(Parameter("x"), 0)
    pub = (circuit, [[SparsePauliOp("Z")]], [[0.1], [0.2]])
    request = JobRequest("estimator", (pub,), precision=0.1)
    with pytest.raises(BadResultError, match=message):
        check_arrays({"0/evs": evs, "0/stds": stds}, request)
    # An extrapolation's error or value may be unknown.
    check_arrays({"0/evs": np.zeros((1, 2)), "0/stds": np.full((1, 2), np.inf)}, request)
    check_arrays({"0/evs": np.array([[np.nan, np.inf]]), "0/stds": np.zeros((1, 2))}, request)
