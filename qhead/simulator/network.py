"""Qiskit Machine Learning's networks with a short way to the exact simulator."""

from __future__ import annotations

from typing import Any

import numpy as np
from qiskit_machine_learning.neural_networks import EstimatorQNN

from qhead.simulator.estimator import AdjointEstimatorGradient, ExactEstimator, terms_of
from qhead.simulator.observables import Terms, as_terms
from qhead.simulator.simulator import Compiled


class ExactEstimatorQNN(EstimatorQNN):
    """An `EstimatorQNN` that hands its batches to the exact simulator as the arrays they are.

    The results are those of `EstimatorQNN` to the last bit. What is left out is a pub for each
    observable, a gradient job for each sample, and the comparison of the circuit with the compiled
    one: three quarters of a training step of ten qubits. With any other estimator or gradient it
    is an `EstimatorQNN` and nothing else.
    """

    _ready: tuple[Compiled, list[Terms], list[Terms]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Copies and other processes compile anew."""
        return {name: value for name, value in self.__dict__.items() if name != "_ready"}

    def _forward(self, input_data: np.ndarray | None, weights: np.ndarray | None) -> np.ndarray:
        values, _ = self._preprocess_forward(input_data, weights)
        if type(self.estimator) is not ExactEstimator or values.ndim != 2:
            return super()._forward(input_data, weights)
        compiled, terms, _ = self._prepared(self.estimator)
        return self.estimator.simulator.expectations(compiled, terms, values)

    def _backward(
        self, input_data: np.ndarray | None, weights: np.ndarray | None
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        values, _ = self._preprocess_forward(input_data, weights)
        exact = type(self.estimator) is ExactEstimator
        adjoint = type(self.gradient) is AdjointEstimatorGradient
        own = exact and adjoint and self.gradient.simulator is self.estimator.simulator
        if not own or values.ndim != 2 or not values.size:
            return super()._backward(input_data, weights)
        compiled, _, terms = self._prepared(self.estimator)
        # The circuit's parameters are the inputs, then the weights.
        table = self.estimator.simulator.expectation_gradients(compiled, terms, values)
        inputs = table[:, :, : self.num_inputs] if self.input_gradients else None
        return inputs, table[:, :, self.num_inputs :]

    def _prepared(self, estimator: ExactEstimator) -> tuple[Compiled, list[Terms], list[Terms]]:
        """Return the circuit, compiled, and the observables as estimator and gradient read them."""
        if self._ready is None:
            # A pub drops terms of weight zero and may order the others anew.
            pubs = [terms for observable in self._observables for terms in terms_of(observable)]
            plain: list[Terms] = [as_terms(observable) for observable in self._observables]
            self._ready = (estimator.simulator.compiled(self._circuit), pubs, plain)
        return self._ready
