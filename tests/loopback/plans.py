"""The smallest plans that send real jobs: one two-qubit circuit, a few rows a job."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import ClassicalRegister, Parameter
from qiskit.quantum_info import SparsePauliOp
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

from hardware.planning.mitigation import Mitigation
from hardware.planning.options import PlanOptions
from hardware.planning.plan import JobPlan, PlannedJob, PlannedPub, Tile, Timing
from hardware.planning.plan_file import finished

SECONDS_A_JOB = 2.0
QUBITS = (1, 2)


@lru_cache
def _isa(measured: bool) -> QuantumCircuit:
    first, second = Parameter("t0/a"), Parameter("t0/b")
    circuit = QuantumCircuit(2)
    circuit.ry(first, 0)
    circuit.cx(0, 1)
    circuit.ry(second, 1)
    if measured:
        register = ClassicalRegister(2, "t0")
        circuit.add_register(register)
        circuit.measure([0, 1], register)
    return transpile(circuit, FakeManilaV2(), initial_layout=QUBITS, optimization_level=1)


def values_of(job: int, rows: int) -> np.ndarray:
    """Return the two angles of a job's rows, shape (rows, 2), radians."""
    return np.random.default_rng([job, rows]).uniform(0, 3, (rows, 2))


@lru_cache
def tiny_plan(
    jobs: int = 2,
    rows: int = 2,
    shots: int = 40,
    estimator: bool = False,
    target: str = "ibm:ibm_manila",
    backend: str = "ibm_manila",
    job_seconds: float | None = None,
    **sending: Any,
) -> JobPlan:
    """Return a plan of equal jobs with other values each; `rows` are those of a job.

    `sending` are options of `PlanOptions` on how jobs go out, e.g. ``mode="session"``.
    """
    paulis = ("IZ", "XX") if estimator else ("IZ", "ZI")
    made = []
    for job in range(jobs):
        numbers = np.arange(job * rows, (job + 1) * rows)[:, np.newaxis]
        padded = np.zeros((rows, 1), dtype=bool)
        names = ("t0/a", "t0/b")
        pub = PlannedPub("samples", 0, 0, names, values_of(job, rows), numbers, padded)
        seconds = job_seconds or SECONDS_A_JOB + rows * shots * 250e-6
        made.append(PlannedJob((pub,), rows * shots, 100, seconds, 1))
    plan = JobPlan(
        workload_hash="",
        target=target,
        backend=backend,
        calibration_id="",
        calibration={"device": "ibm_manila"},
        num_rows=jobs * rows,
        observables=tuple(SparsePauliOp(pauli) for pauli in paulis),
        options=PlanOptions(
            shots=shots, seed=1, mitigation=Mitigation(measure_mitigation=estimator), **sending
        ),
        tiles=(Tile(QUBITS, 0.0, 0, QUBITS),),
        circuits=(_isa(not estimator),),
        timing=Timing(250e-6, {}),
        jobs=tuple(made),
    )
    return finished(plan)
