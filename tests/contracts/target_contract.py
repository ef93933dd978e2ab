"""What every execution target must do: subclass `TargetContract` as ``Test…``, with `make_target`.

Values are compared with Qiskit's `Statevector` by the bounds of `sampling_bounds`, widened by
`bias`, the most that a target's noise may move an expectation value of these circuits of few gates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pytest
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit_machine_learning.neural_networks import EstimatorQNN, SamplerQNN

from contracts.sampling_bounds import assert_means, shifted, spectra
from hardware.targets import ExecutionTarget
from hardware.workload import Expectations, Workload

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


@pytest.mark.sampled
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

    def target(self) -> ExecutionTarget:
        return self.make_target(shifted(SEED))

    def assert_close(self, result: Expectations, work: Workload) -> None:
        self.assert_values(result.values, exact_values(work), work.observables, result.shots)

    def assert_values(
        self,
        values: np.ndarray,
        expected: np.ndarray,
        observables: Sequence[SparsePauliOp],
        shots: int | None,
    ) -> None:
        """Compare values (..., M) of M observables with exact ones."""
        if shots is None:
            np.testing.assert_allclose(values, expected, rtol=0, atol=1e-9)
            return
        constants, largest = spectra(observables)
        assert_means(values - constants, expected - constants, shots, largest, bias=self.bias)

    def test_is_a_target_that_names_itself(self) -> None:
        target = self.target()
        assert isinstance(target, ExecutionTarget)
        assert target.run(workload(1)).target == target.spec

    def test_values_are_those_of_the_statevector(self) -> None:
        work = workload()
        result = self.target().run(work)
        assert result.values.shape == result.std_errors.shape == (6, 5)
        self.assert_close(result, work)

    def test_parameters_are_bound_by_name(self) -> None:
        circuit = QuantumCircuit(2)
        circuit.rx(Parameter("x"), 0)
        circuit.rx(Parameter("w"), 1)
        zz = (SparsePauliOp("IZ"), SparsePauliOp("ZI"))
        flipped = np.array([[-1.0, 1.0]])
        for names, values in ((("x", "w"), [[np.pi, 0.0]]), (("w", "x"), [[0.0, np.pi]])):
            result = self.target().run(Workload(circuit, names, values, zz))
            self.assert_values(result.values, flipped, zz, result.shots)

    def test_standard_errors_are_zero_only_where_exact(self) -> None:
        result = self.target().run(workload())
        assert (result.shots is None) == self.exact
        if self.exact:
            assert not result.std_errors.any()
        else:
            assert (result.std_errors > 0).all()

    def test_certain_outcomes_do_not_claim_certainty(self) -> None:
        circuit = QuantumCircuit(1)
        circuit.x(0)
        work = Workload(circuit, (), np.zeros((3, 0)), (SparsePauliOp("Z"),))
        result = self.target().run(work)
        self.assert_close(result, work)
        assert self.exact or (result.std_errors > 0).all()

    def test_one_seed_gives_one_result_and_another_a_different_one(self) -> None:
        work = workload()
        first, again = self.target().run(work), self.target().run(work)
        other = self.make_target(shifted(SEED) + 1).run(work)
        assert np.array_equal(first.values, again.values)
        assert self.exact or not np.array_equal(first.values, other.values)

    def test_a_part_of_the_rows_gives_a_part_of_the_result(self) -> None:
        work = workload()
        whole, part = self.target().run(work), self.target().run(work.rows(slice(0, 4)))
        if self.rows_alone:
            np.testing.assert_allclose(part.values, whole.values[:4], rtol=0, atol=1e-12)
        else:
            self.assert_close(part, work.rows(slice(0, 4)))
            self.assert_close(whole, work)

    def test_equal_rows_get_independent_shots(self) -> None:
        work = workload(1)
        same = Workload(work.circuit, work.parameters, np.repeat(work.values, 20, axis=0),
                        work.observables)  # fmt: skip
        result = self.target().run(same)
        spread = np.ptp(result.values[:, 0])
        assert spread == pytest.approx(0, abs=1e-12) if self.exact else spread > 0

    def test_the_circuit_is_left_as_it_was(self) -> None:
        work = workload()
        before = work.circuit.copy()
        self.target().run(work)
        assert work.circuit == before

    def test_qubits_that_are_not_measured_still_act(self) -> None:
        circuit = QuantumCircuit(4)
        circuit.x(3)
        for qubit in (3, 2, 1):
            circuit.cx(qubit, qubit - 1)
        circuit.h([1, 2, 3])  # acts on nothing that is measured
        work = Workload(circuit, (), np.zeros((1, 0)), (SparsePauliOp("IIIZ"),))
        self.assert_close(self.target().run(work), work)

    def test_a_circuit_of_library_gates_runs(self) -> None:
        circuit = QuantumCircuit(3)
        circuit.h(0)
        circuit.ccx(0, 1, 2)
        circuit.rzz(Parameter("w"), 0, 2)
        circuit.crx(Parameter("x"), 2, 1)
        circuit.u(0.3, 0.4, 0.5, 1)
        work = Workload(circuit, ("x", "w"), [[0.7, -0.4]], (SparsePauliOp("XIX"),))
        self.assert_close(self.target().run(work), work)

    def test_estimator_broadcasts_observables_against_parameters(self) -> None:
        work = workload(4)
        pub = (work.circuit, [[o] for o in work.observables], work.ordered_values())
        result = self.target().estimator().run([pub]).result()[0]
        assert result.data.evs.shape == result.data.stds.shape == (5, 4)
        shots = None if self.exact else result.metadata["shots"]
        self.assert_values(result.data.evs.T, exact_values(work), work.observables, shots)

    def test_estimator_pairs_observables_with_parameters(self) -> None:
        work = workload(5)
        pub = (work.circuit, list(work.observables), work.ordered_values())
        result = self.target().estimator().run([pub]).result()[0]
        assert result.data.evs.shape == (5,)
        shots = None if self.exact else result.metadata["shots"]
        exact = np.diag(exact_values(work))
        self.assert_values(result.data.evs, exact, work.observables, shots)

    def test_sampler_returns_bits_of_every_register(self) -> None:
        circuit = QuantumCircuit(2)
        circuit.rx(Parameter("x"), 1)
        circuit.measure_all(inplace=True)
        values = np.array([[[0.0], [np.pi]], [[np.pi], [0.0]], [[0.0], [0.0]]])
        data = self.target().sampler().run([(circuit, values)], shots=500).result()[0].data
        assert data.meas.shape == (3, 2)
        assert data.meas.num_shots == 500
        assert data.meas.num_bits == 2
        ones = data.meas.expectation_values("ZI")
        assert_means(ones, np.cos(values[..., 0]), 500, bias=self.bias)

    def test_networks_of_qiskit_machine_learning_run(self) -> None:
        circuit = two_qubit_circuit()
        w, x = circuit.parameters
        estimator = EstimatorQNN(
            circuit=circuit, estimator=self.target().estimator(), observables=OBSERVABLES[0],
            input_params=[x], weight_params=[w], default_precision=0.05,
        )  # fmt: skip
        expected = exact_values(Workload(circuit, ("x", "w"), [[0.4, 0.9]], OBSERVABLES[:1]))
        assert_means(estimator.forward([[0.4]], [0.9]), expected, 400, bias=self.bias)
        sampler = SamplerQNN(
            circuit=circuit, sampler=self.target().sampler(), input_params=[x],
            weight_params=[w],
        )  # fmt: skip
        probabilities = sampler.forward([[0.4]], [0.9])
        assert probabilities.shape == (1, 4)
        assert probabilities.sum() == pytest.approx(1.0)
