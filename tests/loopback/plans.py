"""The smallest plans that send real jobs: one two-qubit circuit, a few rows a job."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import SparsePauliOp
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

from hardware.devices.base import JobRequest

SECONDS_A_JOB = 2.0


@lru_cache
def _isa(measured: bool) -> QuantumCircuit:
    x = ParameterVector("x", 2)
    circuit = QuantumCircuit(2)
    circuit.ry(x[0], 0)
    circuit.cx(0, 1)
    circuit.ry(x[1], 1)
    if measured:
        circuit.measure_all()
    return transpile(circuit, FakeManilaV2(), initial_layout=[1, 2], optimization_level=1)


@dataclass(frozen=True)
class TinyPlan:
    """A plan of equal jobs with other values each."""

    jobs: int = 2
    rows: int = 2
    shots: int = 40
    primitive: str = "sampler"
    target: str = "ibm:ibm_manila"
    backend: str = "ibm_manila"

    @property
    def key(self) -> str:
        return self.to_bytes().hex()

    @property
    def calibration(self) -> dict[str, object]:
        return {"device": "ibm_manila"}

    @property
    def job_seconds(self) -> list[float]:
        return [SECONDS_A_JOB + self.rows * self.shots * 250e-6] * self.jobs

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    def request(self, idx: int) -> JobRequest:
        values = np.random.default_rng([idx, self.rows]).uniform(0, 3, (self.rows, 2))
        if self.primitive == "sampler":
            pub = (_isa(True), values)
            return JobRequest("sampler", (pub,), shots=self.shots, seed=idx)
        circuit = _isa(False)
        paulis = [[SparsePauliOp(p).apply_layout(circuit.layout)] for p in ("IZ", "XX")]
        pub = (circuit, paulis, values)
        return JobRequest("estimator", (pub,), precision=self.shots**-0.5, seed=idx)


def load_tiny(body: bytes) -> TinyPlan:
    """Return the plan of `TinyPlan.to_bytes`."""
    return TinyPlan(**json.loads(body))
