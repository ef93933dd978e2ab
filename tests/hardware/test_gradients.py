"""Derivatives by parameter shift and SPSA against finite differences of Qiskit's statevector."""

from __future__ import annotations

import numpy as np
import pytest
from contracts.sampling_bounds import mean_slack, shifted
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.quantum_info import SparsePauliOp, Statevector

from hardware.emulation.rates import ShotsTarget
from hardware.errors import InvalidInputError
from hardware.gradients import RULES, ParameterShift, Spsa
from hardware.workload import Workload

OBSERVABLES = (SparsePauliOp("IIZ"), SparsePauliOp(["IZX", "III"], [0.7, 0.4]))
NAMES = ("x", "a", "b", "c", "idle")
WRT = ("c", "a", "b", "idle", "x")


def shared() -> QuantumCircuit:
    """Return a circuit with a parameter in three gates, one of four terms, and one without effect.

    The angle of one gate is an expression of a parameter that nobody differentiates by.
    """
    x, a, b, c, idle = map(Parameter, NAMES)
    circuit = QuantumCircuit(3)
    for qubit in range(3):
        circuit.h(qubit)
        circuit.ry(x, qubit)
    circuit.crz(b, 0, 1)
    circuit.rzz(a, 1, 2)
    circuit.crx(c, 2, 0)
    circuit.rx(a, 0)
    circuit.rzx(c, 0, 1)
    circuit.ry(a, 1)
    circuit.cx(1, 0)
    circuit.ry(idle, 2)
    return circuit


def exact(circuit: QuantumCircuit, names: tuple[str, ...], rows: np.ndarray) -> np.ndarray:
    """Return expectation values (N, M) of rows (N, P), by Qiskit's statevector."""
    found = []
    for row in rows:
        values = dict(zip(names, row, strict=True))
        bound = circuit.assign_parameters({p: values[p.name] for p in circuit.parameters})
        state = Statevector(bound)
        found.append([state.expectation_value(o).real for o in OBSERVABLES])
    return np.array(found)


def finite_differences(values: np.ndarray, wrt: tuple[str, ...]) -> np.ndarray:
    """Return derivatives (N, M, D) by central differences of the statevector."""
    step, slopes = 1e-5, []
    for name in wrt:
        offset = step * np.array([each == name for each in NAMES])
        up, down = (exact(shared(), NAMES, values + side * offset) for side in (1, -1))
        slopes.append((up - down) / (2 * step))
    return np.stack(slopes, axis=-1)


def run(work: Workload) -> np.ndarray:
    return exact(work.circuit, work.parameters, work.values)


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(5).uniform(-3, 3, (4, len(NAMES)))


def test_shifts_give_the_derivatives_of_shared_and_controlled_rotations(values):
    shifts = ParameterShift(shared(), NAMES, OBSERVABLES, WRT)
    # x and a three gates each, c one of two terms and one of four, b of four; idle has no effect.
    assert shifts.rows_per_sample == 1 + 2 * 3 + 2 * 3 + (4 + 2) + 4
    rows = shifts.rows(values)
    assert rows.workload.num_samples == 4 * shifts.rows_per_sample
    found, slopes = rows.combine(run(rows.workload))
    np.testing.assert_allclose(found, exact(shared(), NAMES, values), atol=1e-12)
    np.testing.assert_allclose(slopes, finite_differences(values, WRT), atol=1e-8)
    assert (slopes[:, :, WRT.index("idle")] == 0).all()


@pytest.mark.parametrize("name", RULES)
def test_the_rule_of_each_gate(name):
    gate = get_standard_gate_name_mapping()[name]
    circuit = QuantumCircuit(2)
    for qubit in range(2):
        circuit.u(0.4, 0.3 + qubit, 0.2, qubit)
    circuit.append(gate.base_class(Parameter("a")), range(gate.num_qubits))
    circuit.u(0.7, 0.1, 0.9, 0)
    observables, values = [SparsePauliOp(["XZ", "IY", "ZX"])], np.array([[0.3], [-2.0]])

    def value(angle):
        return Statevector(circuit.assign_parameters([angle])).expectation_value(*observables).real

    rows = ParameterShift(circuit, ["a"], observables, ["a"]).rows(values)
    _, slopes = rows.combine(np.array([[value(angle)] for angle in rows.workload.values[:, 0]]))
    truth = [(value(angle + 1e-5) - value(angle - 1e-5)) / 2e-5 for angle in values[:, 0]]
    np.testing.assert_allclose(slopes[:, 0, 0], truth, atol=1e-8)
    assert np.abs(truth).max() > 1e-3


def test_only_what_is_differentiated_takes_rows(values):
    shifts = ParameterShift(shared(), NAMES, OBSERVABLES, ["b"])
    assert set(shifts.origin) == set(NAMES) - {"idle"}  # nothing else is split
    rows = shifts.rows(values)
    _, slopes = rows.combine(run(rows.workload))
    np.testing.assert_allclose(slopes, finite_differences(values, ("b",)), atol=1e-8)
    for method in (ParameterShift, Spsa):
        none = method(shared(), NAMES, OBSERVABLES, ["idle"])
        assert none.rows_per_sample == 1
        found, slopes = none.rows(values).combine(run(none.rows(values).workload))
        np.testing.assert_allclose(found, exact(shared(), NAMES, values), atol=1e-12)
        assert slopes.shape == (4, 2, 1)
        assert not slopes.any()


def average_over_signs(step: float) -> np.ndarray:
    """Return SPSA's derivatives (M, 4) of one sample, each pattern of signs counted once."""
    wrt = tuple(name for name in NAMES if name != "idle")
    one = np.random.default_rng(5).uniform(-3, 3, (1, len(NAMES)))
    spsa = Spsa(shared(), NAMES, OBSERVABLES, wrt, step=step)
    rows = spsa.rows(np.repeat(one, 400, axis=0), np.random.default_rng(0))
    assert rows.workload.num_samples == 400 * 3
    signs = np.sign(rows.slopes[:, :, 1])
    patterns, first = np.unique(signs, axis=0, return_index=True)
    assert len(patterns) == 16
    _, slopes = rows.combine(run(rows.workload))
    truth = finite_differences(one, wrt)[0]
    return slopes[first].mean(axis=0) - truth


def test_spsa_is_right_on_average_up_to_the_square_of_its_step():
    coarse, fine = (np.abs(average_over_signs(step)).max() for step in (0.2, 0.1))
    assert 0 < fine < coarse < 0.2
    assert coarse / fine == pytest.approx(4, rel=0.1)


def test_spsa_shifts_all_at_once_and_samples_apart(values):
    spsa = Spsa(shared(), NAMES, OBSERVABLES, WRT, step=0.3, directions=2)
    rows = spsa.rows(values, np.random.default_rng(1))
    assert spsa.rows_per_sample == 5
    shifts = rows.workload.values.reshape(4, 5, -1) - rows.workload.values.reshape(4, 5, -1)[:, :1]
    np.testing.assert_allclose(np.abs(shifts[:, 1:]), 0.3)
    np.testing.assert_allclose(shifts[:, 1::2], -shifts[:, 2::2])
    assert len(np.unique(np.sign(shifts[:, 1::2]).reshape(8, -1), axis=0)) > 4
    again = spsa.rows(values, np.random.default_rng(1))
    np.testing.assert_array_equal(rows.workload.values, again.workload.values)


@pytest.mark.sampled
def test_sampled_derivatives_lie_within_what_their_shots_allow(values):
    shots = 2000
    shifts = ParameterShift(shared(), NAMES, OBSERVABLES[:1], WRT)
    rows = shifts.rows(values)
    truth = run(rows.workload)[:, :1]
    drawn = ShotsTarget(shots=shots, seed=shifted(3)).run(rows.workload).values
    slack = mean_slack(truth, shots).reshape(4, shifts.rows_per_sample, 1)
    found, slopes = rows.combine(drawn)
    expected, exact_slopes = rows.combine(truth)
    reach = np.matmul(np.abs(rows.slopes), slack).swapaxes(1, 2)
    assert (np.abs(slopes - exact_slopes) <= reach + 1e-9).all()
    assert (np.abs(found - expected) <= slack[:, 0] + 1e-9).all()
    assert np.abs(slopes - exact_slopes).max() > 1e-4  # they are drawn


def test_a_missing_row_leaves_its_sample_unknown(values):
    rows = ParameterShift(shared(), NAMES, OBSERVABLES, ["b"]).rows(values)
    results = run(rows.workload)
    results[3] = np.nan
    for part in rows.combine(results):
        assert np.isnan(part[0]).all()
        assert np.isfinite(part[1:]).all()


def test_what_cannot_be_differentiated_is_refused():
    circuit = QuantumCircuit(1)
    circuit.u(Parameter("a"), 0.1, 0.2, 0)
    circuit.ry(2 * Parameter("b"), 0)
    for name in ("a", "b"):
        with pytest.raises(InvalidInputError, match="No shifts are known"):
            ParameterShift(circuit, ["a", "b"], [SparsePauliOp("Z")], [name])
        Spsa(circuit, ["a", "b"], [SparsePauliOp("Z")], [name])
    for names in (["c"], ["a", "a"]):
        with pytest.raises(InvalidInputError, match="Expected each"):
            Spsa(circuit, ["a", "b"], [SparsePauliOp("Z")], names)
    for options in ({"step": 0.0}, {"step": np.nan}, {"directions": 0}):
        with pytest.raises(InvalidInputError, match="Expected a step"):
            Spsa(circuit, ["a", "b"], [SparsePauliOp("Z")], ["a"], **options)
