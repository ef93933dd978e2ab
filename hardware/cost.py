"""What a plan costs: QPU seconds, jobs, shots, payload."""

from __future__ import annotations

import io
import math
import zlib
from dataclasses import dataclass

import numpy as np
from qiskit import qpy
from qiskit.circuit import QuantumCircuit

from hardware.hashing import QPY_VERSION
from hardware.options import CostModel, Mitigation

#: Binary data travels as base64 text.
_BASE64 = 4 / 3


@dataclass(frozen=True)
class CostEstimate:
    """What a plan costs before anything is sent.

    Args:
        tiles: Regions of the chip used at the same time.
        jobs: Jobs.
        pubs: PUBs of all jobs.
        executions: Runs of a circuit: parameter sets × shots, mitigation included.
        payload_bytes: Size of what is sent.
        qpu_seconds: Time on the device.
    """

    tiles: int
    jobs: int
    pubs: int
    executions: int
    payload_bytes: int
    qpu_seconds: float

    def share_of(self, remaining_seconds: float) -> float:
        """Return the share of an allocation that the plan takes; infinite of an empty one."""
        return self.qpu_seconds / remaining_seconds if remaining_seconds > 0 else math.inf


def twirled_shots(shots: int, mitigation: Mitigation) -> int:
    """Return the shots that are run where `shots` were asked for.

    Twirling divides them over random circuits, at least 64 on each by default, and rounds up.
    """
    # The estimator's own read-out mitigation twirls measurements as well. The calibration runs
    # that it adds by itself are not counted: the client decides on them.
    if not (mitigation.twirl_gates or mitigation.twirl_measure or mitigation.resilience):
        return shots
    if mitigation.num_randomizations is not None:
        circuits = mitigation.num_randomizations
        return circuits * math.ceil(shots / circuits)
    each = max(64, math.ceil(shots / 32))
    return each * math.ceil(shots / each)


def qpu_seconds(pubs: int, executions: int, circuit_seconds: float, model: CostModel) -> float:
    """Return the estimated time on the device."""
    return pubs * model.sub_job + executions * (model.rep_delay + circuit_seconds)


def circuit_payload(circuit: QuantumCircuit) -> int:
    """Return the bytes that a circuit takes in a request: compressed QPY as base64."""
    buffer = io.BytesIO()
    qpy.dump(circuit, buffer, version=QPY_VERSION)
    return math.ceil(len(zlib.compress(buffer.getvalue())) * _BASE64)


def values_payload(values: np.ndarray) -> int:
    """Return the bytes that parameter values take in a request."""
    return math.ceil(values.size * 8 * _BASE64)
