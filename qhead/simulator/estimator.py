"""Exact expectation values behind Qiskit's estimator interface, and their adjoint gradient."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.primitives import BaseEstimatorV2, DataBin, PrimitiveResult, PubResult
from qiskit.primitives.containers import EstimatorPubLike
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.observables_array import ObservablesArray, ObservablesArrayLike
from qiskit.quantum_info.operators.base_operator import BaseOperator
from qiskit_machine_learning.gradients import BaseEstimatorGradient, EstimatorGradientResult

from qhead.errors import SimulationError
from qhead.simulator.jobs import FinishedJob
from qhead.simulator.observables import Terms, as_terms
from qhead.simulator.simulator import Simulator


class ExactEstimator(BaseEstimatorV2):
    """A V2 estimator without shots: every precision is met, standard errors are zero.

    Pubs of one circuit and the same values, as `EstimatorQNN` makes for several observables, are
    simulated once.

    Args:
        simulator: Simulator to run on; a float64 one by default.
    """

    def __init__(self, simulator: Simulator | None = None) -> None:
        self.simulator = simulator or Simulator()

    def run(
        self, pubs: Iterable[EstimatorPubLike], *, precision: float | None = None
    ) -> FinishedJob:
        """Return the finished job of some pubs; errors are raised here, not by the job."""
        coerced = [EstimatorPub.coerce(pub, precision) for pub in pubs]
        results: list[PubResult | None] = [None] * len(coerced)
        for members in _alike(coerced):
            for place, values in zip(
                members, self._evaluate([coerced[i] for i in members]), strict=True
            ):
                results[place] = _pub_result(coerced[place], values)
        return FinishedJob(PrimitiveResult(results, metadata={"version": 2}))

    def _evaluate(self, pubs: Sequence[EstimatorPub]) -> list[np.ndarray]:
        """Return the values of pubs that share a circuit and its parameter values."""
        circuit = pubs[0].circuit
        values = _rows(pubs[0])
        terms: list[Terms] = []
        spans = []
        for pub in pubs:
            own = terms_of(pub.observables)
            spans.append(slice(len(terms), len(terms) + len(own)))
            terms.extend(own)
        table = self.simulator.expectations(circuit, terms, values)  # (B, all observables)
        evaluated = []
        for pub, span in zip(pubs, spans, strict=True):
            sets = np.arange(len(values)).reshape(pub.parameter_values.shape)
            columns = np.arange(span.start, span.stop).reshape(pub.observables.shape)
            rows, places = np.broadcast_arrays(sets, columns)
            evaluated.append(table[rows, places])
        return evaluated


class AdjointEstimatorGradient(BaseEstimatorGradient):
    """Gradients of expectation values by the adjoint method, whole batches at a time.

    Args:
        estimator: The estimator whose simulator, and whose last forward pass, is used.
    """

    def __init__(self, estimator: ExactEstimator) -> None:
        super().__init__(estimator)
        self.simulator = estimator.simulator

    def run(
        self,
        circuits: Sequence[QuantumCircuit] | QuantumCircuit,
        observables: Sequence[BaseOperator] | BaseOperator,
        parameter_values: Sequence[Sequence[float]] | np.ndarray,
        parameters: Sequence[Sequence[Parameter] | None] | None = None,
        **options: Any,
    ) -> FinishedJob:
        """Return the finished job of the gradients; arguments as in the base class.

        The base class walks through its arguments one sample at a time, which alone takes longer
        than the simulation.
        """
        circuits = [circuits] if isinstance(circuits, QuantumCircuit) else circuits
        observables = [observables] if isinstance(observables, BaseOperator) else observables
        values = np.asarray(parameter_values, dtype=np.float64)
        check_lengths(circuits, values, parameters, len(observables))
        return FinishedJob(self._run(circuits, observables, values, parameters, **options))

    def _run(
        self,
        circuits: Sequence[QuantumCircuit],
        observables: Sequence[BaseOperator],
        parameter_values: Any,
        parameters: Any,
        **options: Any,
    ) -> EstimatorGradientResult:
        gradients: list[np.ndarray] = [np.empty(0)] * len(circuits)
        for rows in same_objects(circuits):
            circuit = circuits[rows[0]]
            operators = [observables[row] for row in rows]
            chosen = same_objects(operators)
            terms = [as_terms(operators[members[0]]) for members in chosen]
            places = [[rows[i] for i in members] for members in chosen]
            for members, gradient in zip(
                places, self._of_one_circuit(circuit, terms, places, parameter_values), strict=True
            ):
                for row, vector in zip(members, gradient, strict=True):
                    gradients[row] = vector
        picked = pick_parameters(gradients, circuits, parameters)
        wanted = parameters or [None] * len(circuits)
        metadata = [{"parameters": own} for own in wanted]
        return EstimatorGradientResult(gradients=picked, metadata=metadata, options=options)

    def _of_one_circuit(
        self,
        circuit: QuantumCircuit,
        terms: Sequence[Terms],
        places: Sequence[Sequence[int]],
        values: np.ndarray,
    ) -> list[np.ndarray]:
        """Return a gradient (len(places[m]), P) for each observable m."""
        first = values[places[0]]
        if all(np.array_equal(values[rows], first) for rows in places[1:]):
            table = self.simulator.expectation_gradients(circuit, terms, first)
            return [table[:, m] for m in range(len(terms))]
        return [
            self.simulator.expectation_gradients(circuit, [term], values[rows])[:, 0]
            for term, rows in zip(terms, places, strict=True)
        ]


def terms_of(observables: ObservablesArrayLike) -> list[Terms]:
    """Return the terms of observables as a pub holds them, one mapping an observable."""
    return [dict(term) for term in ObservablesArray.coerce(observables).ravel().tolist()]


def same_objects(items: Sequence[Any]) -> list[list[int]]:
    """Return the places of each distinct object, in order of appearance."""
    places: dict[int, list[int]] = {}
    for i, item in enumerate(items):
        places.setdefault(id(item), []).append(i)
    return list(places.values())


def check_lengths(
    circuits: Sequence[QuantumCircuit],
    values: np.ndarray,
    parameters: Sequence[Any] | None,
    num_observables: int | None = None,
) -> None:
    """Check that a gradient's arguments have one entry a circuit.

    Raises:
        SimulationError: They have not.
    """
    lengths = {"parameter value sets": len(values)}
    if num_observables is not None:
        lengths["observables"] = num_observables
    if parameters is not None:
        lengths["lists of parameters"] = len(parameters)
    for what, length in lengths.items():
        if length != len(circuits):
            raise SimulationError(f"Expected {len(circuits)} {what}, one a circuit, got {length}.")


def pick_parameters(
    gradients: Sequence[np.ndarray],
    circuits: Sequence[QuantumCircuit],
    parameters: Sequence[Sequence[Parameter] | None] | None,
) -> list[np.ndarray]:
    """Return the asked-for entries of gradients whose last axis is by ``circuit.parameters``."""
    if parameters is None:
        return list(gradients)
    columns: dict[tuple[int, int], list[int]] = {}
    picked = []
    for gradient, circuit, wanted in zip(gradients, circuits, parameters, strict=True):
        if wanted is None:
            picked.append(gradient)
            continue
        key = (id(circuit), id(wanted))
        if key not in columns:
            place = {parameter: i for i, parameter in enumerate(circuit.parameters)}
            unknown = [parameter.name for parameter in wanted if parameter not in place]
            if unknown:
                raise SimulationError(
                    f"Expected parameters of the circuit, got {unknown[0]!r}, which it has not."
                )
            columns[key] = [place[parameter] for parameter in wanted]
        picked.append(gradient[..., columns[key]])
    return picked


def _rows(pub: EstimatorPub) -> np.ndarray:
    """Return a pub's parameter values (B, P) in the order of ``circuit.parameters``."""
    values = pub.parameter_values.as_array(pub.circuit.parameters)
    return values.reshape(pub.parameter_values.size, pub.circuit.num_parameters)


def _alike(pubs: Sequence[EstimatorPub]) -> list[list[int]]:
    """Return the places of pubs that share a circuit and parameter values."""
    groups: list[list[int]] = []
    for i, pub in enumerate(pubs):
        for group in groups:
            other = pubs[group[0]]
            if other.circuit is pub.circuit and np.array_equal(_rows(other), _rows(pub)):
                group.append(i)
                break
        else:
            groups.append([i])
    return groups


def _pub_result(pub: EstimatorPub, values: np.ndarray) -> PubResult:
    data = DataBin(evs=values, stds=np.zeros_like(values), shape=values.shape)
    metadata = {"target_precision": pub.precision, "circuit_metadata": pub.circuit.metadata}
    return PubResult(data, metadata=metadata)
