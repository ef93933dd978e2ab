"""Workload × backend → plan. Pure: no network, no clock, no randomness."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.providers import BackendV2
from qiskit.transpiler import Target

from hardware.circuits.adaptive import LinearRule
from hardware.circuits.measurement import Measurement, Setting
from hardware.devices.backends import (
    ExecutionLimits,
    calibration_id,
    calibration_snapshot,
    working_target,
)
from hardware.devices.calibration import LEFT_OUT, has_fractional_gates, left_out
from hardware.errors import PlanError
from hardware.planning.cost import Program, circuit_payload, values_payload
from hardware.planning.fractional import check_angles, folded, folded_values
from hardware.planning.mitigation import READOUT
from hardware.planning.options import PlanOptions
from hardware.planning.plan import JobPlan, PlannedJob, PlannedPub, PubKind, Timing
from hardware.planning.plan_file import finished
from hardware.planning.program import program_of
from hardware.planning.rounds import with_rounds
from hardware.planning.tiled_circuit import compose, readout_circuit, tile_parameter
from hardware.planning.tiling import Tiling, place
from hardware.words import counted
from hardware.workload import Workload

#: What the cost of a plan leaves out in session mode.
SESSION = (
    "A session is charged from the start of its first job to its end: pauses between jobs are paid "
    "for and not in the estimate. Its time limit keeps the charge within the budget, which has to "
    "leave room for jobs that take a quarter longer and for sending them."
)
#: Outcomes are held as 64-bit integers.
MAX_MEASURED = 62


def plan(
    workload: Workload,
    backend: BackendV2,
    options: PlanOptions | None = None,
    *,
    target: str | None = None,
    about: Mapping[str, Any] | None = None,
    rule: LinearRule | None = None,
    likely: np.ndarray | None = None,
) -> JobPlan:
    """Spread a workload over a device.

    Args:
        workload: N rows of one circuit.
        backend: The device, or a fake of it; only its calibration is read.
        options: Shots, tiles, mitigation, limits.
        target: Target specification to note in the plan; ``backend:NAME`` by default.
        about: What the caller wants to find again with the plan, JSON-able.
        rule: Which label the values of a row stand for; needed with adaptive shots.
        likely: Values (N, M) without noise, from which a plan of adaptive shots says how many rows
            it expects in each round; None: it does not say.

    Returns:
        The plan, the same for the same arguments (unless the packing was stopped by its time
        limit, which the plan's notes say).

    Raises:
        PlanError: The workload does not fit on the device, one set of rows not into a job, or the
            device does not take as many shots or the repetition delay, or states times below zero.
    """
    options = options or PlanOptions()
    device, limits = working_target(backend), ExecutionLimits.of(backend)
    if options.fractional_gates and not has_fractional_gates(device):
        raise PlanError(
            f"{backend.name} has no gates of any angle: plan without fractional_gates. A backend "
            "of the platform shows them where it is opened with use_fractional_gates=True.",
            options=("fractional_gates",),
        )
    rep_delay = limits.chosen_rep_delay(options.rep_delay)
    measurement = Measurement.of(workload.observables)
    measured = list(measurement.qubits)
    _check(workload, measured, device)
    # PEC cancels the noise of all tiles with one sign: their overheads multiply.
    alone = options.mitigation.pec_mitigation and options.tiles is None
    laid_out = replace(options, tiles=1) if alone else options
    tiling = place(workload.circuit, measured, device, workload.num_samples, laid_out)
    builder = _Builder(workload, measurement, tiling, device, options, limits.max_circuits)
    identifier = calibration_id(backend)
    regions = [tile_.qubits for tile_ in tiling.tiles]
    empty = JobPlan(
        workload_hash=workload.content_hash(options.canonical_json(), identifier),
        target=target or f"backend:{backend.name}",
        backend=str(backend.name),
        calibration_id=identifier,
        calibration=calibration_snapshot(backend, regions),
        num_rows=workload.num_samples,
        observables=workload.observables,
        options=options,
        tiles=tiling.tiles,
        circuits=tuple(builder.circuits),
        timing=_timing(backend, device, tiling, rep_delay),
        jobs=(),
        notes=(
            *tiling.notes,
            *left_out(backend.target),
            *tiling.device.notes(str(backend.name)),
            *builder.notes(),
            *_rep_delay_notes(limits, options, rep_delay),
            *([SESSION] if options.mode == "session" else []),
            *(() if tiling.device.unstated else (LEFT_OUT,)),
        ),
        about=about or {},
        rule=rule if options.adaptive is not None else None,
    )
    smallest = builder.smallest_job()
    programs = [
        program_of(replace(empty, options=options.of_round(number)), smallest)
        for number in range(len(options.rounds))
    ]
    program = programs[0]
    for each in programs:
        limits.check_shots(each.shots)
    made = replace(empty, jobs=tuple(builder.jobs(program)))
    if options.adaptive is not None:
        made = with_rounds(made, programs, likely)
    check_angles(made)
    overhead = program.sampling_overhead
    notes = (*empty.notes, *_noise_notes(options, overhead))
    return finished(replace(made, notes=notes, sampling_overhead=overhead))


def _timing(backend: BackendV2, device: Target, tiling: Tiling, rep_delay: float) -> Timing:
    """Return the times that the cost follows from.

    Raises:
        PlanError: One of them is below zero or not finite.
    """
    timing = Timing(rep_delay, tiling.device.durations, device.dt)
    if wrong := timing.wrong_times():
        raise PlanError(
            f"{backend.name} states {', '.join(wrong)}, from which no cost follows: fetch its "
            "calibration anew, or choose another device."
        )
    return timing


def _rep_delay_notes(limits: ExecutionLimits, options: PlanOptions, used: float) -> Iterator[str]:
    if options.rep_delay is None and limits.rep_delay is None:
        yield f"{limits.name} states no repetition delay; {used * 1e6:g} µs are assumed."


def _noise_notes(options: PlanOptions, overhead: float) -> Iterator[str]:
    """Yield what PEC and PEA cost beside the plan's jobs, and what is not known of it."""
    mitigation = options.mitigation
    if mitigation.lacks_layer_noise:
        yield (
            "The noise of the layers of gates is not learned yet. Learning it is a job of its own, "
            "which is neither sent nor counted here."
        )
    if mitigation.pec_mitigation and mitigation.lacks_layer_noise:
        yield f"PEC's overhead follows from that noise: the cost is for the largest, {overhead:g}."
    elif mitigation.pec_mitigation:
        yield f"PEC runs {overhead:.3g} times the randomizations."
        if mitigation.pec_max_overhead is not None and overhead >= mitigation.pec_max_overhead:
            yield "That is pec_max_overhead: PEC cancels the noise in part."
    if mitigation.pec_mitigation and options.tiles is None:
        yield "PEC's overhead is the product of that of all tiles: one tile is used."
    elif mitigation.pec_mitigation and options.tiles != 1:
        yield f"PEC's overhead is the product of that of {options.tiles} tiles; one costs less."


def _check(workload: Workload, measured: list[int], device: Target) -> None:
    if not measured:
        raise PlanError(
            "Expected observables to measure, got multiples of the identity only: their values "
            "need no device."
        )
    if len(measured) > MAX_MEASURED:
        raise PlanError(f"Expected at most {MAX_MEASURED} measured qubits, got {len(measured)}.")
    if workload.circuit.num_qubits > device.num_qubits:
        raise PlanError(
            f"Expected at most the device's {device.num_qubits} qubits, got a circuit of "
            f"{workload.circuit.num_qubits}: choose a wider device."
        )


class _Builder:
    """Builds circuits, PUBs and jobs of one tiling."""

    def __init__(
        self,
        workload: Workload,
        measurement: Measurement,
        tiling: Tiling,
        device: Target,
        options: PlanOptions,
        max_circuits: int | None = None,
    ) -> None:
        self.workload, self.tiling, self.options = workload, tiling, options
        self.max_circuits = max_circuits
        self.settings = measurement.settings
        present = {p.name for p in tiling.transpiled[0].circuit.parameters}
        values = workload.values
        same = (values == values[:1]).all(axis=0)
        self.constants = {
            name: float(values[0, i])
            for i, name in enumerate(workload.parameters)
            if same[i] and name in present
        }
        if len(self.constants) == len(present) and present:
            # Without any parameter left, the array of sets would lose its length.
            self.constants.pop(next(n for n in workload.parameters if n in self.constants))
        self.varying = [
            (i, name)
            for i, name in enumerate(workload.parameters)
            if name in present and name not in self.constants
        ]
        self.circuits: list[QuantumCircuit] = []
        transpiled, tiles = tiling.transpiled, tiling.tiles
        self.rows, self.padded = self._slots()
        #: Parameters of each measured circuit and their values in all sets, (S, C) radians.
        self.columns: list[tuple[tuple[str, ...], np.ndarray]] = []
        names, values = self._values()
        for setting in self._measured():
            circuit = compose(tiles, transpiled, setting, self.constants, device)
            columns = (names, values)
            if options.fractional_gates:
                circuit, columns = folded_values(folded(circuit, device), names, values)
            self.circuits.append(circuit)
            self.columns.append(columns)
        if options.mitigation.readout_inversion:
            self.circuits += [
                readout_circuit(tiles, measurement.qubits, bit, device) for bit in (0, 1)
            ]
        self.payloads = [circuit_payload(circuit) for circuit in self.circuits]
        # Without the time of a read-out there is no plan: its program would have no cost.
        self.circuit_seconds = tiling.device.durations.get("measure", 0.0) + max(tiling.seconds)

    def notes(self) -> tuple[str, ...]:
        """Return sentences on the circuits."""
        gates = [shape.num_two_qubit_gates for shape in self.tiling.transpiled]
        fits = self.tiling.transpiled[0].circuit.num_qubits
        notes = []
        if (wide := self.workload.circuit.num_qubits) > len(self.tiling.transpiled[0].final):
            notes.append(
                f"Only {len(self.tiling.transpiled[0].final)} of the circuit's {wide} qubits can "
                "influence what is measured; the others are left out."
            )
        notes += [
            f"Each tile has {counted(fits, 'qubit')}.",
            f"Two-qubit gates on each tile: {min(gates)} to {max(gates)}; longest circuit "
            f"{self.circuit_seconds * 1e6:.1f} µs, read-out included.",
        ]
        if self.constants:
            notes.append(
                f"{len(self.constants)} parameters are the same in all rows and are bound in the "
                "circuit."
            )
        return tuple(notes)

    def smallest_job(self) -> PlannedJob:
        """Return a job of one set, without its cost: that is computed from its program."""
        return self._job(slice(1))

    def jobs(self, program: Program) -> Iterator[PlannedJob]:
        """Yield jobs of equal size, as few as the limits allow."""
        num_sets = len(self.rows)
        num_jobs = -(-num_sets // self._sets_per_job(program, num_sets))
        for part in np.array_split(np.arange(num_sets), num_jobs):
            cost = program.cost(len(part))
            yield replace(
                self._job(part),
                items=cost.items,
                executions=cost.executions,
                qpu_seconds=cost.qpu_seconds,
            )

    def _slots(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the row on each tile in each set, and whether it only fills the last one."""
        num_tiles, num_rows = len(self.tiling.tiles), self.workload.num_samples
        num_sets = -(-num_rows // num_tiles)
        slots = np.arange(num_sets * num_tiles).reshape(num_sets, num_tiles)
        return np.minimum(slots, num_rows - 1), slots >= num_rows

    def _sets_per_job(self, program: Program, num_sets: int) -> int:
        limits, fixed_bytes = self.options.limits, sum(self.payloads)
        set_bytes = sum(values_payload(values[:1]) for _, values in self.columns)
        fits = min(
            program.most_sets(limits.executions, limits.seconds),
            (limits.payload_bytes - fixed_bytes) // max(1, set_bytes),
        )
        if self.max_circuits is not None:
            settings, fixed = len(self._measured()), len(self.circuits) - len(self._measured())
            if self.max_circuits < settings + fixed:
                raise PlanError(
                    f"A job of this device holds at most {counted(self.max_circuits, 'circuit')}, "
                    f"and one set of rows takes {settings + fixed}: use fewer observables that do "
                    "not commute, or no read-out inversion."
                )
            fits = min(fits, (self.max_circuits - fixed) // settings)
        if fits < 1:
            one = program.cost(1)
            raise PlanError(
                f"One set of rows does not fit into a job: it needs {one.executions} executions, "
                f"{one.qpu_seconds:.1f} s and {fixed_bytes + set_bytes} bytes, and a job may hold "
                f"{limits.executions}, {limits.seconds:g} s and {limits.payload_bytes}. Use fewer "
                f"shots or settings{self._smaller_overhead()}."
            )
        if not self.varying:
            return 1  # a circuit without parameters has one set
        return int(min(fits, num_sets))

    def _smaller_overhead(self) -> str:
        pec = self.options.mitigation.pec_mitigation
        return ", fewer tiles or a smaller pec_max_overhead" if pec else ""

    def _measured(self) -> tuple[Setting | None, ...]:
        """Return the settings that are PUBs of their own: the estimator makes its own."""
        return (None,) if self.options.mitigation.estimator else self.settings

    def _job(self, part: slice | np.ndarray) -> PlannedJob:
        pubs = [self._samples(index, part) for index in range(len(self._measured()))]
        payload = sum(self.payloads) + sum(values_payload(pub.values) for pub in pubs)
        if self.options.mitigation.readout_inversion:
            pubs += [
                self._readout(kind, len(self.settings) + bit) for bit, kind in enumerate(READOUT)
            ]
        return PlannedJob(tuple(pubs), 0, payload, 0.0, 0)

    def _values(self) -> tuple[tuple[str, ...], np.ndarray]:
        """Return the C parameters of all tiles and their values in all sets, (S, C) radians."""
        num_sets, num_tiles = self.rows.shape
        names = tuple(
            tile_parameter(index, name) for index in range(num_tiles) for _, name in self.varying
        )
        columns = [i for i, _ in self.varying]
        values = self.workload.values[self.rows][:, :, columns].reshape(num_sets, len(names))
        return names, values

    def _samples(self, setting: int, part: slice | np.ndarray) -> PlannedPub:
        names, values = self.columns[setting]
        rows, padded = self.rows[part], self.padded[part]
        return PlannedPub("samples", setting, setting, names, values[part], rows, padded)

    def _readout(self, kind: PubKind, circuit: int) -> PlannedPub:
        nothing = np.zeros((1, 0), dtype=np.int64)
        return PlannedPub(kind, 0, circuit, (), np.zeros((1, 0)), nothing, nothing.astype(bool))
