"""A plan: which rows run on which tiles of a chip, in which PUBs and jobs. Data, nothing else.

`hardware.planning.planner.plan` makes one, `hardware.runs.runner` submits it and
`hardware.planning.pubs.unpack` turns the results back into rows. With adaptive shots it holds the
jobs of the first round, and `hardware.planning.rounds` makes it longer by a round at a time.

A tile k of a PUB has parameters named ``t{k}/NAME`` and measures into a classical register
``t{k}``. Columns of the workload that are the same in all rows (the trained weights, in inference)
are bound in the circuit and not sent again with every set.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from hardware.checks import is_number
from hardware.circuits.adaptive import LinearRule
from hardware.planning.cost import CostEstimate
from hardware.planning.mitigation import ReadoutKind
from hardware.planning.options import PlanOptions

PubKind = Literal["samples", ReadoutKind]


@dataclass(frozen=True)
class Tile:
    """A region of the chip that runs one row at a time.

    Args:
        qubits: Physical qubits of the region, in the order of the shape's own numbering.
        expected_error: Probability that a run of the circuit here suffers an error, by calibration;
            None where the device does not state what it follows from.
        shape: Which shape (graph up to isomorphism) the region has.
        final_layout: Physical qubit that holds each of the workload's qubits when it is measured;
            -1 for qubits that cannot influence the observables and are left out.
    """

    qubits: tuple[int, ...]
    expected_error: float | None
    shape: int
    final_layout: tuple[int, ...]


@dataclass(frozen=True)
class Timing:
    """How long the device's instructions take, as far as the cost depends on it.

    Args:
        rep_delay: Wait between two executions, seconds.
        durations: Typical duration of each gate and of the read-out, by name, seconds.
        dt: Time step of the device, seconds; None where it has none.
    """

    rep_delay: float
    durations: Mapping[str, float]
    dt: float | None = None

    def wrong_times(self) -> list[str]:
        """Return the times, by name, that are not finite numbers of zero or more seconds."""
        times = {"the repetition delay": self.rep_delay, **self.durations, "dt": self.dt or 0.0}
        return [
            f"{time!r} s as {name}"
            for name, time in times.items()
            if not (is_number(time) and time >= 0)
        ]


@dataclass(frozen=True, eq=False)
class PlannedPub:
    """One circuit with an array of parameter sets.

    Args:
        kind: Rows of the workload, or a preparation of all 0 or all 1 for read-out inversion.
        setting: Which measurement setting of the observables it measures; 0 for preparations, of
            which one pair reads the qubits of all settings.
        circuit: Which of the plan's circuits it runs.
        parameters: C names, tile prefixes included, in the order of the columns of `values`.
        values: Parameter values, shape (S, C), radians.
        rows: Row of the workload on each tile in each set, shape (S, T).
        padded: Slots that repeat a row to fill the last set and are dropped, shape (S, T).
    """

    kind: PubKind
    setting: int
    circuit: int
    parameters: tuple[str, ...]
    values: np.ndarray  # (S, C), radians
    rows: np.ndarray  # (S, T) int64
    padded: np.ndarray  # (S, T) bool


@dataclass(frozen=True, eq=False)
class PlannedJob:
    """PUBs that are submitted together.

    Args:
        pubs: The PUBs, in order.
        executions: Parameter sets × shots of the client's whole program.
        payload_bytes: Estimated size of circuits and values.
        qpu_seconds: Estimated time on the device.
        items: Items of the client's program: the PUBs, with those that mitigation adds.
        round: Round of adaptive shots, counted from 0.
    """

    pubs: tuple[PlannedPub, ...]
    executions: int
    payload_bytes: int
    qpu_seconds: float
    items: int
    round: int = 0


@dataclass(frozen=True)
class PlannedRound:
    """What a round of adaptive shots may cost.

    Args:
        shots: Shots of each of its rows and settings.
        most: Its cost if no row is decided before.
        rows: Rows that are expected to be undecided before it; None where nothing is known.
        seconds: QPU seconds for these.
    """

    shots: int
    most: CostEstimate
    rows: float | None = None
    seconds: float | None = None


@dataclass(frozen=True, eq=False)
class JobPlan:
    """Everything that is needed to run a workload on a device and to read the results.

    Args:
        workload_hash: `Workload.content_hash` with these options and calibration.
        target: Target specification, e.g. ``"ibm:ibm_fez:4096"``.
        backend: Name of the device.
        calibration_id: Identifier of the calibration that the plan was made for.
        calibration: Snapshot of what that calibration says of the tiles, JSON-able.
        num_rows: N, rows of the workload.
        observables: The workload's M observables, on its own qubits.
        options: How the plan was made.
        tiles: T tiles, best first.
        circuits: ISA circuits of all tiles together.
        timing: How long the device's instructions take.
        jobs: The jobs.
        notes: Sentences on what was decided and why.
        num_remarks: How many of the first notes only say where the calibration is from and how old
            it was. They are no part of the key: what is planned does not depend on them.
        about: What the caller wants to find again with the plan, JSON-able; part of its key.
        sampling_overhead: How many times the randomizations PEC runs, γ² for noise that it cancels
            whole; an upper bound where the noise is not learned yet; 1 without PEC.
        rule: Which label the values of a row stand for, with adaptive shots.
        rounds: The rounds of adaptive shots; empty without.
        key: Content hash as hexadecimal text, equal for equal plans only; empty until
            `hardware.planning.plan_file.finished` gives it.
    """

    workload_hash: str
    target: str
    backend: str
    calibration_id: str
    calibration: Mapping[str, Any]
    num_rows: int
    observables: tuple[SparsePauliOp, ...]
    options: PlanOptions
    tiles: tuple[Tile, ...]
    circuits: tuple[QuantumCircuit, ...]
    timing: Timing
    jobs: tuple[PlannedJob, ...]
    notes: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    sampling_overhead: float = 1.0
    key: str = ""
    num_remarks: int = 0
    rule: LinearRule | None = None
    rounds: tuple[PlannedRound, ...] = ()

    def __str__(self) -> str:
        expected = self.expected_seconds
        more = "" if expected is None else f", {expected:.1f} expected"
        return f"{self.target}: {self.cost}{more}"

    def __repr__(self) -> str:
        return f"<JobPlan {self}>"

    @property
    def shots(self) -> int:
        """Shots of every row and setting."""
        return self.options.shots

    @property
    def padding(self) -> int:
        """Tile slots that repeat a row only to fill a set."""
        return sum(
            int(pub.padded.sum()) for job in self.jobs for pub in job.pubs if pub.kind == "samples"
        )

    @property
    def job_seconds(self) -> tuple[float, ...]:
        """Estimated QPU seconds of each job."""
        return tuple(job.qpu_seconds for job in self.jobs)

    @property
    def num_rounds(self) -> int:
        """Rounds whose jobs are planned."""
        return 1 + max(job.round for job in self.jobs)

    @property
    def to_come(self) -> tuple[PlannedRound, ...]:
        """Rounds of adaptive shots whose rows are not known yet."""
        return self.rounds[self.num_rounds :]

    @property
    def most_to_come(self) -> float | None:
        """QPU seconds that the rounds to come may take, at most; None where none is to come."""
        return sum(each.most.qpu_seconds for each in self.to_come) if self.to_come else None

    @property
    def expected_seconds(self) -> float | None:
        """QPU seconds that are expected with adaptive shots; None where not known."""
        later = [each.seconds for each in self.to_come]
        known = [seconds for seconds in later if seconds is not None]
        if not self.rounds or len(known) < len(later):
            return None
        return float(sum(self.job_seconds)) + sum(known)

    def z(self, number: int) -> float:
        """Return by how many standard errors a lead of a round may be off; with a rule only."""
        adaptive = self.options.adaptive
        assert adaptive is not None
        assert self.rule is not None
        rounds = self.options.rounds
        return adaptive.z(rounds[number], len(rounds), self.rule.num_classes)

    def of_job(self, idx: int) -> JobPlan:
        """Return the plan as the round of a job sees it: with that round's shots."""
        return self.of_round(self.jobs[idx].round)

    def of_round(self, number: int) -> JobPlan:
        """Return the plan with the shots of one round, counted from 0."""
        return replace(self, options=self.options.of_round(number)) if self.rounds else self

    @property
    def cost(self) -> CostEstimate:
        """What the plan costs before anything is sent; with adaptive shots at most."""
        mitigation = self.options.mitigation
        most = [each.most for each in self.to_come]
        return CostEstimate(
            tiles=len(self.tiles),
            jobs=len(self.jobs) + sum(each.jobs for each in most),
            pubs=sum(len(job.pubs) for job in self.jobs) + sum(each.pubs for each in most),
            items=sum(job.items for job in self.jobs) + sum(each.items for each in most),
            executions=sum(job.executions for job in self.jobs)
            + sum(each.executions for each in most),
            payload_bytes=sum(job.payload_bytes for job in self.jobs)
            + sum(each.payload_bytes for each in most),
            qpu_seconds=float(sum(self.job_seconds)) + (self.most_to_come or 0.0),
            upper_bound=bool(most) or (mitigation.pec_mitigation and mitigation.lacks_layer_noise),
        )

    def summary(self) -> dict[str, Any]:
        """Return the plan in numbers, for `--json`."""
        return {
            **dataclasses.asdict(self.cost),
            "target": self.target,
            "backend": self.backend,
            "calibration": self.calibration_id,
            "shots": self.shots,
            "rows": self.num_rows,
            "padding": self.padding,
            "tile_errors": [
                None if tile.expected_error is None else round(tile.expected_error, 4)
                for tile in self.tiles
            ],
            "key": self.key,
            **self._rounds_summary(),
        }

    def _rounds_summary(self) -> dict[str, Any]:
        if self.options.adaptive is None:
            return {}
        return {
            "rounds": [dataclasses.asdict(each) for each in self.rounds],
            "error_rate": self.options.adaptive.error_rate,
            "expected_seconds": self.expected_seconds,
        }
