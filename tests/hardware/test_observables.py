"""From observables to measurement settings, and from counts to values: closed forms, no shots."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp, Statevector, random_statevector

from hardware.circuits import measurement as measurement_module
from hardware.circuits.intervals import std_error_of_groups, std_error_of_mean
from hardware.circuits.measurement import Counts, Measurement, Setting
from hardware.circuits.readout import ReadoutFlips

OBSERVABLES = (
    SparsePauliOp(["III", "IZZ", "XIX"], [0.5, 1.0, -2.0]),
    SparsePauliOp(["ZIZ", "IXI", "YYI", "III"], [0.25, 3.0, 1.0, -1.0]),
    SparsePauliOp(["ZZZ"], [1.5]),
    SparsePauliOp(["III"], [0.75]),
)


def table(counts: Counts, num_outcomes: int) -> np.ndarray:
    """Return counts as a dense table (N, outcomes)."""
    dense = np.zeros((counts.num_rows, num_outcomes), dtype=int)
    np.add.at(dense, (counts.row, counts.outcome), counts.count)
    return dense


def test_counts_are_the_same_from_a_table_and_from_outcomes() -> None:
    outcomes = np.array([[3, 0, 3, 1], [2, 2, 2, 2], [0, 1, 2, 3]])
    dense = np.array([[1, 1, 0, 2], [0, 0, 4, 0], [1, 1, 1, 1]])
    for counts in (Counts.from_outcomes(outcomes), Counts.from_dense(dense)):
        assert (counts.num_rows, counts.shots) == (3, 4)
        np.testing.assert_array_equal(table(counts, 4), dense)
        assert (np.diff(counts.row) >= 0).all()
        assert counts.outcome.dtype == np.int64
    first = Counts.from_outcomes(outcomes)
    assert len(first.row) == 3 + 1 + 4  # each outcome of a row once
    both = Counts.concatenate([first, Counts.from_outcomes(outcomes[:1])])
    assert (both.num_rows, both.shots) == (4, 4)
    np.testing.assert_array_equal(table(both, 4), dense[[0, 1, 2, 0]])


def test_rows_are_not_run_together_where_their_outcomes_agree() -> None:
    counts = Counts.from_outcomes(np.array([[5, 5], [5, 5]]))
    assert counts.row.tolist() == [0, 1]
    assert counts.count.tolist() == [2, 2]


def test_commuting_strings_share_a_setting_and_bits_follow_qubits() -> None:
    found = Measurement.of(OBSERVABLES)
    np.testing.assert_allclose(found.constants, [0.5, -1.0, 0.0, 0.75])
    bases = {setting.bases: setting for setting in found.settings}
    # ZZZ takes IZZ and ZIZ in; YYI and IXI do not commute, XIX joins the latter.
    assert set(bases) == {"ZZZ", "YY", "XXX"}
    zs = bases["ZZZ"]
    assert zs.qubits == (0, 1, 2)
    assert sorted(zs.masks.tolist()) == [0b011, 0b101, 0b111]
    column = zs.masks.tolist().index(0b101)
    assert zs.coefficients[column].tolist() == [0.0, 0.25, 0.0, 0.0]
    assert bases["YY"].qubits == (1, 2)
    assert bases["YY"].masks.tolist() == [0b11]
    assert [zs.diagonal, bases["YY"].diagonal, bases["XXX"].diagonal] == [True, False, False]


def test_a_string_that_comes_twice_adds_up() -> None:
    found = Measurement.of([SparsePauliOp(["IZ", "IZ", "II", "II"], [1.0, 0.5, 0.25, 0.5])])
    assert found.constants.tolist() == [0.75]
    assert found.settings[0].coefficients.tolist() == [[1.5]]


def test_heavy_strings_are_placed_first() -> None:
    # ZI alone would open a setting that XX cannot join and ZZ can.
    found = Measurement.of([SparsePauliOp(["ZI", "IZ", "XX", "ZZ", "IX"], np.ones(5))])
    assert sorted((s.bases, sorted(s.masks.tolist())) for s in found.settings) == [
        ("XX", [1, 3]),
        ("ZZ", [1, 2, 3]),
    ]


def test_the_grouping_stays_as_it_is() -> None:
    """Runs in the ledger are unpacked by it: another order would mix up their results."""
    labels = ["IIZ", "XXI", "ZIZ", "IYY", "XII", "IIY", "ZZZ", "YXY"]
    found = Measurement.of([SparsePauliOp(labels, range(1, 9))])
    assert [
        (s.bases, s.masks.tolist(), s.coefficients.ravel().tolist()) for s in found.settings
    ] == [
        ("ZZZ", [7, 5, 1], [7, 3, 1]),
        ("YXY", [7, 1], [8, 6]),
        ("XX", [3, 2], [2, 5]),
        ("YY", [3], [4]),
    ]


@pytest.mark.parametrize("seed", range(3))
def test_settings_measure_their_observables(seed: int) -> None:
    # With counts in proportion to exact probabilities the values are the exact ones.
    state = random_statevector(8, seed=seed)
    circuit = QuantumCircuit(3)
    circuit.initialize(state)
    measurement = Measurement.of(OBSERVABLES)
    counts = []
    for setting in measurement.settings:
        rotated = setting.append_basis_change(QuantumCircuit(3))
        chances = state.evolve(rotated).probabilities(list(setting.qubits))
        counts.append(Counts.from_dense(np.rint(chances * 10**9).astype(np.int64)[np.newaxis]))
    values, errors = measurement.combine(counts, 1)
    exact = [state.expectation_value(each).real for each in OBSERVABLES]
    np.testing.assert_allclose(values[0], exact, atol=1e-7)
    assert (errors[0, :3] > 0).all()
    assert errors[0, 3] == 0.0  # a constant


def test_a_basis_change_leaves_the_circuit_alone_and_other_qubits_too() -> None:
    circuit = QuantumCircuit(3)
    rotated = Setting((0, 2), "XZ", np.array([1]), np.ones((1, 1))).append_basis_change(circuit)
    assert not circuit.data
    assert [(step.operation.name, step.qubits[0]._index) for step in rotated.data] == [
        ("rz", 0),
        ("sx", 0),
    ]
    plus = Statevector.from_label("0++").evolve(rotated)
    np.testing.assert_allclose(plus.probabilities([0]), [1, 0], atol=1e-12)


def test_sums_are_taken_shot_by_shot() -> None:
    setting = Setting((0, 1), "ZZ", np.array([1, 2]), np.array([[1.0, 2.0], [1.0, -1.0]]))
    found = setting.estimate(Counts.from_dense(np.array([[50, 0, 0, 50], [0, 25, 75, 0]])))
    np.testing.assert_allclose(found.values, [[0.0, 0.0], [0.0, 1.5]])
    # Row 0: Z0 = Z1, so the sum is ±2 and 2 Z0 - Z1 is ±1; row 1: Z0 = -Z1, the sum is zero.
    variances = np.array([[4.0, 1.0], [0.0, 9.0 - 1.5**2]])
    expected = std_error_of_mean(found.values, variances, 100, np.array([-2, -3]), np.array([2, 3]))
    np.testing.assert_allclose(found.squares, expected**2)
    assert not found.calibration.any()


def test_corrected_terms_are_products_of_corrected_bits() -> None:
    flips = ReadoutFlips(np.array([0.1, 0.0]), np.array([0.2, 0.3]))
    setting = Setting((0, 1), "ZZ", np.array([1, 3]), np.eye(2))
    found = setting.estimate(Counts.from_dense(np.array([[1, 0, 0, 0], [0, 1, 0, 0]])), flips)
    x0 = [(1 - 0.1) / 0.7, (-1 - 0.1) / 0.7]
    x1 = (1 - 0.3) / 0.7
    np.testing.assert_allclose(found.values, [[x0[0], x0[0] * x1], [x0[1], x0[1] * x1]])
    assert not found.calibration.any()


def test_each_row_has_its_own_randomizations() -> None:
    setting = Setting((0,), "Z", np.array([1]), np.ones((1, 1)))
    counts = Counts.from_dense(np.array([[10, 0], [5, 5], [0, 10], [0, 10]]))
    found = setting.estimate(counts, None, 2)
    np.testing.assert_allclose(found.values, [[0.5], [-1.0]])
    whole = std_error_of_mean(found.values[:, 0], np.array([0.75, 0.0]), 20, -1.0, 1.0)
    groups = std_error_of_groups(np.array([[1.0, 0.0], [-1.0, -1.0]]))
    np.testing.assert_allclose(found.squares[:, 0], np.maximum(whole, groups) ** 2)


def test_each_row_and_bit_has_its_calibration() -> None:
    # dv/du = (1 + x) / a and dv/dd = (x - 1) / a of single bits, averaged over each row.
    errors = np.array([0.01, 0.02]), np.array([0.03, 0.04])
    flips = ReadoutFlips(np.array([0.1, 0.0]), np.array([0.2, 0.3]), *errors)
    setting = Setting((0, 1), "ZZ", np.array([1, 2]), np.eye(2))
    counts = Counts.from_dense(np.array([[6, 2, 0, 0], [0, 0, 0, 8], [2, 2, 2, 2], [8, 0, 0, 0]]))
    found = setting.estimate(counts, flips, 2)
    parts = [(1 + found.values) / 0.7 * errors[0], (found.values - 1) / 0.7 * errors[1]]
    np.testing.assert_allclose(found.calibration, np.hypot(*parts))


@pytest.mark.parametrize(
    ("chunk_bytes", "shots", "shot_bytes", "rows"),
    [
        (6080, 100, None, 10),  # 4 outcomes of (3·2 terms + 5·1 observables + 2 qubits + 6) numbers
        (6079, 100, None, 9),
        (6080, 3, None, 13),  # 3 outcomes at most
        (6080, 100, 10, 3),  # and 1000 bytes of shots
        (6080, 1000, 10, 1),  # one row, whatever it takes
    ],
)
def test_parts_take_the_memory_that_they_may(
    monkeypatch: pytest.MonkeyPatch, chunk_bytes: int, shots: int, shot_bytes: int | None, rows: int
) -> None:
    assert measurement_module.CHUNK_BYTES == 64 * 2**20
    monkeypatch.setattr(measurement_module, "CHUNK_BYTES", chunk_bytes)
    found = Measurement.of([SparsePauliOp(["IZ", "ZI"])])
    more = {} if shot_bytes is None else {"shot_bytes": shot_bytes}
    parts = list(found.chunks(27, shots, **more))
    assert parts[0] == slice(0, rows)
    assert parts[-1].stop == 27
    assert all(one.stop == two.start for one, two in pairwise(parts))


def test_three_qubits_have_eight_outcomes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurement_module, "CHUNK_BYTES", 5 * 8 * 8 * (3 + 5 + 3 + 6))
    found = Measurement.of([SparsePauliOp(["ZZZ"])])
    assert next(found.chunks(9, 100)) == slice(0, 5)


def test_the_identity_alone_is_measured_in_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurement_module, "CHUNK_BYTES", 100)
    found = Measurement.of([SparsePauliOp(["II"])])
    assert list(found.chunks(250, 10)) == [slice(0, 100), slice(100, 200), slice(200, 250)]
    assert list(found.chunks(25, 10, 1)) == [slice(0, 9), slice(9, 18), slice(18, 25)]
