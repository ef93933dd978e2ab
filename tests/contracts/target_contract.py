"""What every execution target must do: subclass `TargetContract` as ``Test…``, with `make_target`.

Values are compared with Qiskit's `Statevector` at `SIGMAS` standard errors plus `bias`, the most
that a target's noise may move an expectation value of these circuits of few gates.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit_machine_learning.neural_networks import EstimatorQNN, SamplerQNN

from hardware.targets import ExecutionTarget
from hardware.workload import Expectations, Workload

SIGMAS = 5.0
SEED = 11


def two_qubit_circuit() -> QuantumCircuit:
    """RY(x), RY(w), RX(2w + 0.3) and a CX: `w` sorts before `x` but comes second here."""
    x, w = Parameter("x"), Parameter("w")
    circuit = QuantumCircuit(2)
    circuit.ry(x, 0)
    circuit.ry(w, 1)
    circuit.cx(0, 1)
    circuit.rx(2 * w + 0.3, 0)
    return circuit


OBSERVABLES = (
    SparsePauliOp("IZ"),
    SparsePauliOp("ZI"),
    SparsePauliOp(["ZZ", "IZ"], [0.5, -0.25]),
    SparsePauliOp(["II", "XX"], [0.5, 1.0]),
    SparsePauliOp("IY"),
)


def workload(num_rows: int = 6, observables: tuple[SparsePauliOp, ...] = OBSERVABLES) -> Workload:
    values = np.random.default_rng(5).uniform(-np.pi, np.pi, (num_rows, 2))
    return Workload(two_qubit_circuit(), ("x", "w"), values, observables)


def exact_values(work: Workload) -> np.ndarray:
    """Expectation values (N, M) by Qiskit's statevector, parameters bound by name."""
    table = np.zeros((work.num_samples, work.num_observables))
    for row, numbers in enumerate(work.values):
        bound = work.circuit.assign_parameters(dict(zip(work.parameters, numbers, strict=True)))
        state = Statevector(bound)
        table[row] = [state.expectation_value(o).real for o in work.observables]
    return table


class TargetContract:
    """The suite. `exact` targets have no shots, hence no standard errors.

    `rows_alone` targets give a row the same result whatever other rows come with it; those that
    spread rows over a chip do not.
    """

    exact: ClassVar[bool] = False
    rows_alone: ClassVar[bool] = True
    bias: ClassVar[float] = 0.0

    def make_target(self, seed: int | None = SEED) -> ExecutionTarget:
        raise NotImplementedError

    def close(self, result: Expectations, expected: np.ndarray) -> bool:
        slack = SIGMAS * result.std_errors + self.bias + 1e-9
        return bool((np.abs(result.values - expected) <= slack).all())

    def test_is_a_target_that_names_itself(self) -> None:
        target = self.make_target()
        assert isinstance(target, ExecutionTarget)
        assert target.run(workload(1)).target == target.spec

    def test_values_are_those_of_the_statevector(self) -> None:
        work = workload()
        result = self.make_target().run(work)
        assert result.values.shape == result.std_errors.shape == (6, 5)
        assert self.close(result, exact_values(work))

    def test_parameters_are_bound_by_name(self) -> None:
        circuit = QuantumCircuit(2)
        circuit.rx(Parameter("x"), 0)
        circuit.rx(Parameter("w"), 1)
        zz = (SparsePauliOp("IZ"), SparsePauliOp("ZI"))
        flipped = np.array([[-1.0, 1.0]])
        first = self.make_target().run(Workload(circuit, ("x", "w"), [[np.pi, 0.0]], zz))
        second = self.make_target().run(Workload(circuit, ("w", "x"), [[0.0, np.pi]], zz))
        assert self.close(first, flipped)
        assert self.close(second, flipped)

    def test_standard_errors_are_zero_only_where_exact(self) -> None:
        result = self.make_target().run(workload())
        assert (result.shots is None) == self.exact
        if self.exact:
            assert not result.std_errors.any()
        else:
            assert (result.std_errors > 0).all()

    def test_certain_outcomes_do_not_claim_certainty(self) -> None:
        circuit = QuantumCircuit(1)
        circuit.x(0)
        work = Workload(circuit, (), np.zeros((3, 0)), (SparsePauliOp("Z"),))
        result = self.make_target().run(work)
        assert self.close(result, np.full((3, 1), -1.0))
        assert self.exact or (result.std_errors > 0).all()

    def test_one_seed_gives_one_result_and_another_a_different_one(self) -> None:
        work = workload()
        first, again = self.make_target().run(work), self.make_target().run(work)
        other = self.make_target(SEED + 1).run(work)
        assert np.array_equal(first.values, again.values)
        assert self.exact or not np.array_equal(first.values, other.values)

    def test_a_part_of_the_rows_gives_a_part_of_the_result(self) -> None:
        work = workload()
        whole, part = self.make_target().run(work), self.make_target().run(work.rows(slice(0, 4)))
        if self.rows_alone:
            np.testing.assert_allclose(part.values, whole.values[:4], rtol=0, atol=1e-12)
        else:
            both = np.hypot(part.std_errors, whole.std_errors[:4])
            spread = np.abs(part.values - whole.values[:4])
            assert (spread <= SIGMAS * both + self.bias).all()

    def test_equal_rows_get_independent_shots(self) -> None:
        work = workload(1)
        same = Workload(work.circuit, work.parameters, np.repeat(work.values, 20, axis=0),
                        work.observables)  # fmt: skip
        result = self.make_target().run(same)
        spread = np.ptp(result.values[:, 0])
        assert spread == pytest.approx(0, abs=1e-12) if self.exact else spread > 0

    def test_the_circuit_is_left_as_it_was(self) -> None:
        work = workload()
        before = work.circuit.copy()
        self.make_target().run(work)
        assert work.circuit == before

    def test_qubits_that_are_not_measured_still_act(self) -> None:
        circuit = QuantumCircuit(4)
        circuit.x(3)
        for qubit in (3, 2, 1):
            circuit.cx(qubit, qubit - 1)
        circuit.h([1, 2, 3])  # acts on nothing that is measured
        work = Workload(circuit, (), np.zeros((1, 0)), (SparsePauliOp("IIIZ"),))
        assert self.close(self.make_target().run(work), np.array([[-1.0]]))

    def test_a_circuit_of_library_gates_runs(self) -> None:
        circuit = QuantumCircuit(3)
        circuit.h(0)
        circuit.ccx(0, 1, 2)
        circuit.rzz(Parameter("w"), 0, 2)
        circuit.crx(Parameter("x"), 2, 1)
        circuit.u(0.3, 0.4, 0.5, 1)
        work = Workload(circuit, ("x", "w"), [[0.7, -0.4]], (SparsePauliOp("XIX"),))
        assert self.close(self.make_target().run(work), exact_values(work))

    def test_estimator_broadcasts_observables_against_parameters(self) -> None:
        work = workload(4)
        pub = (work.circuit, [[o] for o in work.observables], work.ordered_values())
        data = self.make_target().estimator().run([pub]).result()[0].data
        assert data.evs.shape == (5, 4)
        slack = SIGMAS * np.asarray(data.stds) + self.bias + 1e-9
        assert (np.abs(data.evs - exact_values(work).T) <= slack).all()

    def test_estimator_pairs_observables_with_parameters(self) -> None:
        work = workload(5)
        pub = (work.circuit, list(work.observables), work.ordered_values())
        data = self.make_target().estimator().run([pub]).result()[0].data
        slack = SIGMAS * np.asarray(data.stds) + self.bias + 1e-9
        assert data.evs.shape == (5,)
        assert (np.abs(data.evs - np.diag(exact_values(work))) <= slack).all()

    def test_sampler_returns_bits_of_every_register(self) -> None:
        circuit = QuantumCircuit(2)
        circuit.rx(Parameter("x"), 1)
        circuit.measure_all(inplace=True)
        values = np.array([[[0.0], [np.pi]], [[np.pi], [0.0]], [[0.0], [0.0]]])
        data = self.make_target().sampler().run([(circuit, values)], shots=500).result()[0].data
        assert data.meas.shape == (3, 2)
        assert data.meas.num_shots == 500
        assert data.meas.num_bits == 2
        ones = data.meas.expectation_values("ZI")
        allowed = self.bias + SIGMAS * np.sqrt(1 / 500)
        np.testing.assert_allclose(ones, np.cos(values[..., 0]), atol=allowed)

    def test_networks_of_qiskit_machine_learning_run(self) -> None:
        circuit = two_qubit_circuit()
        w, x = circuit.parameters
        estimator = EstimatorQNN(
            circuit=circuit, estimator=self.make_target().estimator(), observables=OBSERVABLES[0],
            input_params=[x], weight_params=[w], default_precision=0.05,
        )  # fmt: skip
        expected = exact_values(Workload(circuit, ("x", "w"), [[0.4, 0.9]], OBSERVABLES[:1]))
        allowed = self.bias + SIGMAS * 0.05
        np.testing.assert_allclose(estimator.forward([[0.4]], [0.9]), expected, atol=allowed)
        sampler = SamplerQNN(
            circuit=circuit, sampler=self.make_target().sampler(), input_params=[x],
            weight_params=[w],
        )  # fmt: skip
        probabilities = sampler.forward([[0.4]], [0.9])
        assert probabilities.shape == (1, 4)
        assert probabilities.sum() == pytest.approx(1.0)
