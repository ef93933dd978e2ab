from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from contracts.sampling_bounds import assert_means, at_most, shifted, spectra
from contracts.target_contract import SEED, TargetContract, exact_values, workload
from hypothesis import given
from hypothesis import strategies as st
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import SparsePauliOp

from hardware.checks import MAX_SHOTS
from hardware.circuits.intervals import Z_95
from hardware.devices.backends import fake_backend
from hardware.emulation.calibrated import CalibratedTarget
from hardware.emulation.rates import NoisyTarget, ShotsTarget
from hardware.emulation.sampling import Method
from hardware.errors import (
    BudgetError,
    InvalidInputError,
    UnknownBackendError,
    UnknownTargetError,
    UnsupportedCircuitError,
)
from hardware.planning.options import PlanOptions
from hardware.targets import DeviceTarget, ExecutionTarget, parse_target
from hardware.workload import Workload


class TestShots(TargetContract):
    def make_target(self, seed: int | None = SEED) -> ExecutionTarget:
        return parse_target("shots:2000", seed=seed)


class TestNoisy(TargetContract):
    bias = 0.12

    def make_target(self, seed: int | None = SEED) -> ExecutionTarget:
        return parse_target("noisy:0.001,0.004,0.005:2000", seed=seed)


class TestNoiseless(TargetContract):
    """All rates zero is a run without noise."""

    def make_target(self, seed: int | None = SEED) -> ExecutionTarget:
        return parse_target("noisy:0,0:2000", seed=seed)


class TestTrajectories(TargetContract):
    bias = 0.12

    def make_target(self, seed: int | None = SEED) -> ExecutionTarget:
        return NoisyTarget(0.001, 0.004, 0.005, shots=100, seed=seed, method=Method.TRAJECTORIES)


class TestCalibrated(TargetContract):
    bias = 0.2

    def make_target(self, seed: int | None = SEED) -> ExecutionTarget:
        return parse_target("aer:manila:2000", seed=seed)


class TestFake(TargetContract):
    """Plan, tiles and the client's primitives; rows share a chip, so their shots depend on it."""

    bias = 0.2
    rows_alone = False

    def make_target(self, seed: int | None = SEED) -> ExecutionTarget:
        return parse_target("fake:manila:2000", seed=seed)


def test_a_real_device_runs_nothing_without_a_budget() -> None:
    target = parse_target("ibm:ibm_fez:100")
    assert target.spec == "ibm:ibm_fez:100"
    for spend in (lambda: target.run(workload()), target.estimator, target.sampler):
        with pytest.raises(BudgetError, match="budget"):
            spend()


@pytest.mark.parametrize(
    "spec",
    [
        "shots:1024",
        "noisy:0.001,0.01:4096",
        "noisy:0,0.25,0.1:7",
        "noisy:1e-05,1:1",
        "aer:fez:12",
        "fake:fez:12",
        "ibm:ibm_fez:100",
    ],
)
def test_canonical_specifications_survive_a_round_trip(spec: str) -> None:
    assert parse_target(spec).spec == spec


def test_shots_have_a_default_and_seeds_are_kept() -> None:
    target = parse_target("noisy:0.1,0.2", seed=3)
    assert target == NoisyTarget(0.1, 0.2, shots=4096, seed=3)
    assert parse_target("aer:FakeManilaV2") == CalibratedTarget("manila", shots=4096)
    assert parse_target("shots:5") == ShotsTarget(shots=5)


@pytest.mark.parametrize(
    ("spec", "error", "text"),
    [
        ("exact", UnknownTargetError, "qhead"),
        ("shot:100", UnknownTargetError, "Did you mean 'shots'"),
        ("", UnknownTargetError, "shots:N"),
        ("shots", UnknownTargetError, "shots:N"),
        ("shots:", UnknownTargetError, "shots:N"),
        ("shots:1:2", UnknownTargetError, "shots:N"),
        ("shots:many", UnknownTargetError, "whole number"),
        ("shots:1.5", UnknownTargetError, "whole number"),
        ("shots:0", InvalidInputError, "at least one shot"),
        ("shots:-4", InvalidInputError, "at least one shot"),
        ("shots:1000000001", InvalidInputError, "at most 1,000,000,000 shots"),
        ("shots:99999999999999999999", InvalidInputError, "at most 1,000,000,000 shots"),
        ("noisy:0.1,0.1:99999999999999999999", InvalidInputError, "at most 1,000,000,000"),
        ("aer:fez:99999999999999999999", InvalidInputError, "at most 1,000,000,000"),
        ("fake:fez:99999999999999999999", InvalidInputError, "at most 1,000,000,000"),
        ("ibm:ibm_fez:99999999999999999999", InvalidInputError, "at most 1,000,000,000"),
        ("shots:" + "9" * 5000, InvalidInputError, "a number of 5000 digits"),
        ("ibm:ibm_fez:0", InvalidInputError, "at least one shot"),
        ("noisy:0.1", UnknownTargetError, "noisy:P1,P2"),
        ("noisy:0.1,0.2,0.3,0.4", UnknownTargetError, "noisy:P1,P2"),
        ("noisy:a,b", UnknownTargetError, "a rate"),
        ("noisy:0.1,1.01", InvalidInputError, r"P2 in \[0, 1\]"),
        ("noisy:-0.1,0.1", InvalidInputError, r"P1 in \[0, 1\]"),
        ("noisy:0.1,0.1,2", InvalidInputError, r"READOUT in \[0, 1\]"),
        ("noisy:nan,0.1", InvalidInputError, r"P1 in \[0, 1\]"),
        ("noisy:0.1,0.1:0", InvalidInputError, "at least one shot"),
        ("aer:", UnknownTargetError, "aer:NAME"),
        ("aer::100", UnknownTargetError, "aer:NAME"),
        ("fake:fezz", UnknownBackendError, "Did you mean 'fez'"),
        ("fake:fez:none", UnknownTargetError, "whole number"),
        ("fake:fez:0", InvalidInputError, "at least one shot"),
        ("ibm:", UnknownTargetError, "ibm:NAME"),
        ("aer:fezz", UnknownBackendError, "Did you mean 'fez'"),
    ],
)
def test_bad_specifications_are_refused(spec: str, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        parse_target(spec)
    assert caught.value.exit_code == 2  # type: ignore[attr-defined]


@given(st.text(max_size=20))
def test_garbage_is_refused_or_is_a_target(spec: str) -> None:
    try:
        target = parse_target(spec)
    except InvalidInputError:
        return
    assert isinstance(target, ExecutionTarget)


@pytest.mark.parametrize("shots", [0, MAX_SHOTS + 1, 10**20, math.nan])
def test_shots_out_of_range_are_refused_wherever_they_are_given(shots: int) -> None:
    for make in (
        lambda: ShotsTarget(shots=shots),
        lambda: NoisyTarget(0.1, 0.1, shots=shots),
        lambda: CalibratedTarget("fez", shots=shots),
        lambda: DeviceTarget("ibm_fez", shots),
        lambda: PlanOptions(shots=shots),
    ):
        with pytest.raises(InvalidInputError, match=r"at (least one shot|most .* shots)"):
            make()


@pytest.mark.parametrize("kind", ["shots", "noisy:0,0"])
def test_the_most_shots_are_drawn(kind: str) -> None:
    work = workload(1)
    result = parse_target(f"{kind}:{MAX_SHOTS}", seed=SEED).run(work)
    assert result.shots == MAX_SHOTS
    assert result.std_errors.max() < 1e-3
    constants, largest = spectra(work.observables)
    assert_means(result.values - constants, exact_values(work) - constants, MAX_SHOTS, largest)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="seed"):
        parse_target("shots:10", seed=-1)


def test_parsing_waits_with_heavy_imports() -> None:
    code = (
        "import sys; from hardware.targets import parse_target; parse_target('noisy:0.1,0.1');"
        "print([m for m in ('qiskit_aer', 'qiskit_ibm_runtime') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_no_seed_means_fresh_shots() -> None:
    target = ShotsTarget(shots=500)
    assert not np.array_equal(target.run(workload()).values, target.run(workload()).values)


@pytest.mark.sampled
@pytest.mark.parametrize("shots", [16, 400, 4000])
def test_intervals_hold_as_often_as_they_say(shots: int) -> None:
    work = workload(1)
    repeated = Workload(
        work.circuit, work.parameters, np.repeat(work.values, 400, axis=0), work.observables
    )
    result = ShotsTarget(shots=shots, seed=shifted(8)).run(repeated)
    missed = np.abs(result.values - exact_values(work)) > Z_95 * result.std_errors
    assert missed.sum(axis=0).max() <= at_most(0.05, 400)


@pytest.mark.sampled
def test_standard_errors_are_those_of_correlated_terms() -> None:
    # Z0 and Z1 of a Bell state agree in every shot: their difference has no variance, their sum
    # twice that of one.
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    observables = (
        SparsePauliOp(["IZ", "ZI"], [1.0, -1.0]),
        SparsePauliOp(["IZ", "ZI"], [1.0, 1.0]),
    )
    result = ShotsTarget(shots=10_000, seed=shifted(1)).run(
        Workload(circuit, (), np.zeros((1, 0)), observables)
    )
    assert result.values[0, 0] == 0.0
    # two shots added at either end, ±2, and half a shot of that range: sqrt(3.84 * 4) + 2/1.96
    assert result.std_errors[0, 0] == pytest.approx(4.94e-4, rel=0.01)
    assert result.std_errors[0, 1] == pytest.approx(0.02 + 1.02e-4, rel=0.005)


def test_the_size_of_a_chunk_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    work = workload(20)
    targets = [
        ShotsTarget(shots=20, seed=1),
        NoisyTarget(0.01, 0.02, shots=20, seed=1),
        NoisyTarget(0.01, 0.02, shots=20, seed=1, method=Method.TRAJECTORIES),
    ]
    whole = [target.run(work).values for target in targets]
    monkeypatch.setattr("hardware.emulation.sampling.MAX_CHUNK_ROWS", 8)
    for target, values in zip(targets, whole, strict=True):
        np.testing.assert_array_equal(target.run(work).values, values)


@pytest.mark.sampled
def test_ten_thousand_rows_of_ten_qubits() -> None:
    circuit = QuantumCircuit(10)
    for qubit in range(10):
        circuit.ry(Parameter(f"x[{qubit}]"), qubit)
    for qubit in range(9):
        circuit.cx(qubit, qubit + 1)
    values = np.random.default_rng(0).uniform(-3, 3, (10_000, 10))
    names = tuple(f"x[{i}]" for i in range(10))
    # Every qubit is measured: the outcome table of all rows would take 80 MB.
    parity = SparsePauliOp("Z" * 10)
    work = Workload(circuit, names, values, (parity, SparsePauliOp("IIIIIIIIZI")))
    result = ShotsTarget(shots=16, seed=shifted(0)).run(work)
    expected = np.cos(values[:, 0]) * np.cos(values[:, 1])
    assert result.values.shape == (10_000, 2)
    assert_means(result.values[:, 1], expected, 16)
    assert_means(result.values[:, 1].mean(), expected.mean(), 16 * 10_000)


def test_too_wide_a_circuit_is_refused() -> None:
    wide = QuantumCircuit(40)
    wide.h(range(40))
    work = Workload(wide, (), np.zeros((1, 0)), (SparsePauliOp("Z" * 40),))
    with pytest.raises(UnsupportedCircuitError, match="28 qubits"):
        ShotsTarget(shots=1).run(work)
    with pytest.raises(InvalidInputError, match="5 qubits of fake_manila"):
        CalibratedTarget("manila").run(work)


def test_a_calibrated_target_takes_any_backend() -> None:
    """The errors of a generic backend are drawn: a noisy ⟨Z⟩ lies between 0 and the exact 1."""
    flat = QuantumCircuit(2)
    flat.cx(0, 1)
    work = Workload(flat, (), np.zeros((1, 0)), (SparsePauliOp("ZI"),))
    target = CalibratedTarget(GenericBackendV2(8, seed=1), shots=4000, seed=1)
    assert target.spec == "aer:generic_backend_8q:4000"
    assert 0.5 < target.run(work).values[0, 0] <= 1
    named = CalibratedTarget("manila", shots=500, seed=2)
    given = CalibratedTarget(fake_backend("manila"), shots=500, seed=2)
    assert given.run(work).values == named.run(work).values
    assert parse_target(given.spec, seed=2) == named
    with pytest.raises(InvalidInputError, match="name of a fake backend or a BackendV2, got int"):
        CalibratedTarget(8)  # type: ignore[arg-type]


def test_training_calls_of_one_primitive_do_not_repeat_their_shots() -> None:
    work = workload(1)
    pub = (work.circuit, work.observables[0], work.ordered_values())
    results = []
    for _ in range(2):
        estimator = ShotsTarget(shots=1000, seed=4).estimator()
        results.append([estimator.run([pub]).result()[0].data.evs[0] for _ in range(3)])
    assert results[0] == results[1]
    assert len(set(results[0])) > 1


def test_precision_sets_the_shots_of_a_pub() -> None:
    work = workload(1)
    pub = (work.circuit, work.observables[0], work.ordered_values())
    estimator = ShotsTarget(shots=1000, seed=4).estimator()
    assert estimator.run([pub]).result()[0].metadata["shots"] == 1000
    assert estimator.run([pub], precision=0.1).result()[0].metadata["shots"] == 100
    with pytest.raises(InvalidInputError, match="precision"):
        estimator.run([pub], precision=0.0)


def test_measurements_before_the_end_are_refused() -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    circuit.x(0)
    with pytest.raises(UnsupportedCircuitError, match="after"):
        ShotsTarget(shots=10).sampler().run([circuit]).result()


def test_bits_that_are_never_measured_read_zero() -> None:
    circuit = QuantumCircuit(2, 10)
    circuit.x([0, 1])
    circuit.measure(1, 9)
    circuit.measure(0, 2)
    data = ShotsTarget(shots=10).sampler().run([circuit]).result()[0].data
    assert data.c.get_counts() == {"1000000100": 10}
