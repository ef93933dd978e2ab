"""The quantum step of a head as a layer whose values and derivatives are measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from torch import Tensor, nn

from hardware.gradients import ParameterShift, Spsa
from hardware.workload import Workload
from qhead.circuits import data_parameters, weight_parameters
from qhead.finetuning.options import FinetuningOptions
from qhead.finetuning.rows import RowRunner


class MeasuredStep(nn.Module):
    """The circuit as a layer, angles (n, Q) to expectation values (n, M), wherever its rows run.

    With gradients, a batch runs with its shifted rows: one workload a step. Derivatives by the
    angles are measured too where the angles need a gradient, which is where encoders are trained.

    Args:
        circuit: The circuit, with parameters ``x[i]`` and weights.
        observables: M observables.
        weight: The weights' values, (W,) radians.
        options: Method and its options.
        runner: Where rows run.
    """

    def __init__(
        self,
        circuit: QuantumCircuit,
        observables: Sequence[SparsePauliOp],
        weight: Tensor,
        options: FinetuningOptions,
        runner: RowRunner,
    ) -> None:
        super().__init__()
        self.circuit, self.observables, self.runner = circuit, tuple(observables), runner
        self.weight = nn.Parameter(weight.detach().clone())
        inputs = [p.name for p in data_parameters(circuit)]
        own = [p.name for p in weight_parameters(circuit)]
        self.names = (*inputs, *own)
        self.num_inputs = len(inputs)
        wrt = self.names if options.encoders_too else own
        self.shifts: ParameterShift | Spsa
        if options.method == "shift":
            self.shifts = ParameterShift(circuit, self.names, self.observables, wrt)
        else:
            self.shifts = Spsa(
                circuit, self.names, self.observables, wrt,
                step=options.spsa_step, directions=options.spsa_directions,
            )  # fmt: skip

    def values(self, angles: Tensor) -> np.ndarray:
        """Return the parameter values (n, P) of angles (n, Q), radians."""
        given, weight = (t.detach().double().numpy() for t in (angles, self.weight))
        return np.concatenate([given, np.tile(weight, (len(given), 1))], axis=1)

    def workload(self, angles: Tensor) -> Workload:
        """Return the rows of angles (n, Q) without shifts."""
        return Workload(self.circuit, self.names, self.values(angles), self.observables)

    def forward(self, angles: Tensor) -> Tensor:
        """Return measured expectation values (n, M) of angles (n, Q)."""
        if torch.is_grad_enabled():
            measured: Tensor = _Measured.apply(angles, self.weight, self)
            return measured
        return _tensor(self.runner.run(self.workload(angles)))


class _Measured(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, angles: Tensor, weight: Tensor, step: MeasuredStep) -> Tensor:
        rows = step.shifts.rows(step.values(angles), step.runner.generator())
        values, slopes = rows.combine(step.runner.run(rows.workload))  # (n, M), (n, M, D)
        ctx.slopes, ctx.num_inputs = slopes, slopes.shape[-1] - len(weight)
        return _tensor(values)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        pulled = np.einsum("nm,nmd->nd", grad_outputs[0].double().numpy(), ctx.slopes)
        by_angle = _tensor(pulled[:, : ctx.num_inputs]) if ctx.needs_input_grad[0] else None
        return by_angle, _tensor(pulled[:, ctx.num_inputs :].sum(axis=0)), None


class AngleModule(nn.Module):
    """A head behind its encoders: angles (n, Q) to logits (n, K)."""

    def __init__(self, step: MeasuredStep, readout: nn.Linear) -> None:
        super().__init__()
        self.step, self.readout = step, readout

    def forward(self, angles: Tensor) -> Tensor:
        """Return logits (n, K) of angles (n, Q)."""
        logits: Tensor = self.readout(self.step(angles))
        return logits


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))
