"""What a plan costs: QPU seconds, jobs, shots, payload."""

from __future__ import annotations

import io
import math
import zlib
from dataclasses import dataclass

import numpy as np
from qiskit import qpy
from qiskit.circuit import QuantumCircuit

from hardware.circuits.hashing import QPY_VERSION, without_random_names
from hardware.words import counted, size

#: Binary data travels as base64 text.
_BASE64 = 4 / 3


@dataclass(frozen=True)
class CostEstimate:
    """What a plan costs before anything is sent.

    Args:
        tiles: Regions of the chip used at the same time.
        jobs: Jobs.
        pubs: PUBs of all jobs.
        items: Items of all jobs' programs, each a circuit that the device loads: PUBs, with those
            that mitigation adds.
        executions: Runs of a circuit: parameter sets × shots, mitigation included.
        payload_bytes: Size of what is sent.
        qpu_seconds: Time on the device.
        upper_bound: Whether items, executions and seconds are the most that it may cost, because
            the overhead follows from noise that is not learned yet.
    """

    tiles: int
    jobs: int
    pubs: int
    items: int
    executions: int
    payload_bytes: int
    qpu_seconds: float
    upper_bound: bool = False

    def __str__(self) -> str:
        most = "at most " if self.upper_bound else ""
        return (
            f"{counted(self.tiles, 'tile')}, {counted(self.jobs, 'job')}, "
            f"{counted(self.pubs, 'PUB')}, {counted(self.items, 'program item')}, "
            f"{most}{counted(self.executions, 'execution')}, "
            f"{size(self.payload_bytes)}, {most or 'about '}"
            f"{self.qpu_seconds:.1f} QPU seconds"
        )

    def share_of(self, remaining_seconds: float) -> float:
        """Return the share of an allocation that the plan takes; infinite of an empty one."""
        return self.qpu_seconds / remaining_seconds if remaining_seconds > 0 else math.inf


@dataclass(frozen=True)
class ProgramItem:
    """One circuit of a job's program, with its values; the device loads each item once.

    Args:
        fixed: Executions that a job has whatever its number of sets.
        per_set: Executions that each set of rows adds.
        seconds: Duration of one execution, read-out included, without the wait before the next.
    """

    fixed: int
    per_set: int
    seconds: float


@dataclass(frozen=True)
class JobCost:
    """What one job costs: program items, executions, QPU seconds."""

    items: int
    executions: int
    qpu_seconds: float


@dataclass(frozen=True)
class Program:
    """The program of a job, for any number of sets of rows.

    Args:
        items: Its items.
        shots: Shots of every circuit with every set of values.
        rep_delay: Wait between two executions, seconds.
        sub_job: Fixed time of every item, seconds.
        sampling_overhead: How many times the randomizations PEC runs.
    """

    items: tuple[ProgramItem, ...]
    shots: int
    rep_delay: float
    sub_job: float
    sampling_overhead: float = 1.0

    def cost(self, num_sets: int) -> JobCost:
        """Return the cost of a job of `num_sets` sets of rows."""
        executions, seconds = 0, len(self.items) * self.sub_job
        for item in self.items:
            count = item.fixed + item.per_set * num_sets
            executions += count
            seconds += count * (self.rep_delay + item.seconds)
        return JobCost(len(self.items), executions, seconds)

    def most_sets(self, executions: int, seconds: float) -> int:
        """Return how many sets of rows fit within these executions and QPU seconds; may be 0."""
        fixed, one = self.cost(0), self.cost(1)
        each, time = one.executions - fixed.executions, one.qpu_seconds - fixed.qpu_seconds
        if not each:  # a circuit without parameters: one set, all of it fixed
            return int(one.executions <= executions and one.qpu_seconds <= seconds)
        fits = (executions - fixed.executions) // each
        if time > 0:
            fits = min(fits, math.floor((seconds - fixed.qpu_seconds) / time))
        return max(0, fits)


def circuit_payload(circuit: QuantumCircuit) -> int:
    """Return the bytes that a circuit takes in a request: compressed QPY as base64."""
    buffer = io.BytesIO()
    qpy.dump(circuit, buffer, version=QPY_VERSION)
    return math.ceil(len(zlib.compress(without_random_names(buffer.getvalue()))) * _BASE64)


def values_payload(values: np.ndarray) -> int:
    """Return the bytes that parameter values take in a request."""
    return math.ceil(values.size * 8 * _BASE64)
