"""What a plan's jobs ask of a device, and what their results say about the workload's rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from qiskit.quantum_info import SparsePauliOp

from hardware.circuits.adaptive import Decisions, Pool
from hardware.circuits.intervals import (
    Z_95,
    known,
    std_error_of_estimate,
    std_error_of_extrapolated,
    std_error_of_randomized,
)
from hardware.circuits.measurement import Counts, Measurement
from hardware.circuits.readout import ReadoutFlips
from hardware.devices.base import BY_FACTOR, JobRequest, check_arrays
from hardware.errors import BadResultError, PlanError
from hardware.planning.plan import JobPlan, PlannedJob, PlannedPub
from hardware.planning.remarks import result_notes
from hardware.planning.tiled_circuit import tile_register
from hardware.workload import Expectations

Arrays = Mapping[str, np.ndarray]

#: An outcome as an integer, its copies while they are sorted and counted, bytes.
_SHOT_BYTES = 40


def job_request(plan: JobPlan, idx: int) -> JobRequest:
    """Return the request of a job; arrays are ordered by each circuit's own parameters.

    Raises:
        PlanError: There is no such job.
    """
    if not 0 <= idx < len(plan.jobs):
        raise PlanError(f"Expected a job from 0 to {len(plan.jobs) - 1}, got {idx}.")
    plan = plan.of_job(idx)
    job, options = plan.jobs[idx], plan.options
    estimator = options.mitigation.estimator
    pubs = tuple(
        _estimator_pub(plan, pub) if estimator else _sampler_pub(plan, pub) for pub in job.pubs
    )
    seed = None
    if options.seed is not None:
        # A stream for each job: equal rows in two jobs get independent shots.
        sequence = np.random.SeedSequence(options.seed, spawn_key=(idx,))
        seed = int(sequence.generate_state(1, np.uint32)[0]) >> 1
    return JobRequest(
        primitive="estimator" if estimator else "sampler",
        pubs=pubs,
        shots=None if estimator else plan.shots,
        precision=precision_of(plan.shots) if estimator else None,
        options=options.primitive_options(),
        seed=seed,
        mode=options.mode,
        max_time=options.max_time,
        layer_noise=options.mitigation.layer_noise,
        fractional_gates=options.fractional_gates,
    )


def precision_of(shots: int) -> float:
    """Return the precision for which the client takes `shots` shots, ceil(1/precision²).

    The bare square root is rounded, and for three in ten numbers of shots to one shot more.
    """
    return (1 + 1e-12) / math.sqrt(shots)


def _sampler_pub(plan: JobPlan, pub: PlannedPub) -> tuple[Any, ...]:
    circuit = plan.circuits[pub.circuit]
    if not circuit.parameters:
        return (circuit,)
    return (circuit, _ordered(plan, pub))


def _estimator_pub(plan: JobPlan, pub: PlannedPub) -> tuple[Any, ...]:
    circuit = plan.circuits[pub.circuit]
    observables = [
        [tile_observable(plan, tile, observable)]
        for tile in range(len(plan.tiles))
        for observable in plan.observables
    ]
    if not circuit.parameters:
        return (circuit, observables)
    return (circuit, observables, _ordered(plan, pub))


def _ordered(plan: JobPlan, pub: PlannedPub) -> np.ndarray:
    column = {name: i for i, name in enumerate(pub.parameters)}
    order = [column[p.name] for p in plan.circuits[pub.circuit].parameters]
    return pub.values[:, order]


def tile_observable(plan: JobPlan, tile: int, observable: SparsePauliOp) -> SparsePauliOp:
    """Return an observable of the workload on a tile's physical qubits."""
    ends = plan.tiles[tile].final_layout
    terms = [
        (letters, [ends[qubit] for qubit in qubits], value)
        for letters, qubits, value in observable.to_sparse_list()
    ]
    return SparsePauliOp.from_sparse_list(terms, num_qubits=plan.circuits[0].num_qubits)


def unpack(plan: JobPlan, results: Mapping[int, Arrays]) -> Expectations:
    """Return the rows' expectation values from the stored arrays of each job.

    Args:
        plan: The plan.
        results: `hardware.devices.base.result_arrays` by job; jobs may be missing.

    Returns:
        Values and standard errors, NaN in the rows of jobs that are missing or whose arrays do
        not fit their requests (`Expectations.missing`), and single values NaN where the client
        gave no finite one; the notes say which and why.

    Raises:
        PlanError: There are results of jobs that the plan does not have.
    """
    if unknown := [idx for idx in sorted(results) if not 0 <= idx < len(plan.jobs)]:
        raise PlanError(f"Expected results of {len(plan.jobs)} jobs, got one of job {unknown[0]}.")
    pool = Pool(plan.num_rows, len(plan.observables))
    sums = plan.rule.leads() if plan.rule is not None else None
    leads = Pool(plan.num_rows, 0 if sums is None else len(sums[1]))
    shots, unfit = plan.shots, []
    for idx, arrays in sorted(results.items()):
        view, job = plan.of_job(idx), plan.jobs[idx]
        try:
            check_arrays(arrays, job_request(plan, idx))
        except BadResultError as error:
            unfit.append(f"The result of job {idx} cannot be used: {error}")
            continue
        counted = not plan.options.mitigation.estimator
        ran = _shots_of(job, arrays) if counted else view.shots
        shots = max(shots, ran)
        for rows, mean, errors in _parts(view, job, arrays):
            pool.add(rows, mean, errors, ran)
        if sums is not None:
            z = plan.z(job.round)
            for rows, mean, errors in _parts(view, job, arrays, sums, z):
                leads.add(rows, mean, z * errors, ran)
    values, errors = pool.result()
    decisions = _decisions(plan, leads)
    notes = (*result_notes(plan, values, errors, pool.shots > 0, decisions), *unfit)
    return Expectations(values, errors, plan.target, shots, notes, decisions)


def _decisions(plan: JobPlan, leads: Pool) -> Decisions | None:
    """Return the decisions of adaptive shots; rows that wait for a round's result have none."""
    if plan.rule is None or plan.options.adaptive is None:
        return None
    found = Decisions.of(plan.rule, leads, plan.options.adaptive, plan.options.rounds)
    planned = np.zeros(plan.num_rows, dtype=np.int64)
    for idx, job in enumerate(plan.jobs):
        first = job.pubs[0]
        planned[first.rows[~first.padded]] += plan.of_job(idx).shots
    return replace(found, decided=found.decided & (leads.shots >= planned))


Part = tuple[np.ndarray, np.ndarray, np.ndarray]  # rows (R,), values (R, M), errors (R, M)
Sums = tuple[np.ndarray, np.ndarray]  # weights (P, M), offsets (P,)


def _parts(
    plan: JobPlan, job: PlannedJob, arrays: Arrays, sums: Sums | None = None, z: float = Z_95
) -> Iterator[Part]:
    """Yield the values of each tile's rows and their errors; with `sums` those of P sums of them.

    The client's estimator gives observables one by one: errors of their sums bound any correlation.
    """
    if not plan.options.mitigation.estimator:
        measurement = Measurement.of(plan.observables)
        of_sums = measurement if sums is None else measurement.combined(*sums)
        yield from _counted(plan, job, arrays, of_sums, z)
        return
    for rows, mean, errors in _estimated(plan, job, arrays, z):
        if sums is None:
            yield rows, mean, errors
        else:
            weights, offsets = sums
            yield rows, mean @ weights.T + offsets, errors @ np.abs(weights).T


def _counted(
    plan: JobPlan, job: PlannedJob, arrays: Arrays, measurement: Measurement, z: float
) -> Iterator[Part]:
    """Yield the rows of each tile, all settings added up."""
    num_circuits = plan.options.mitigation.randomizations(plan.shots)
    samples = [(i, pub) for i, pub in enumerate(job.pubs) if pub.kind == "samples"]
    for tile in range(len(plan.tiles)):
        first = samples[0][1]
        kept = np.flatnonzero(~first.padded[:, tile])
        if not kept.size:
            continue
        read = _flips(plan, job, arrays, tile, len(measurement.qubits), z)
        flips = [read and read.of(_places(measurement, pub.setting)) for _, pub in samples]
        for part in measurement.chunks(len(kept), plan.shots, _SHOT_BYTES):
            sets, counts = kept[part], []
            for index, _ in samples:
                outcomes = _outcomes(arrays, index, tile, sets)
                # Randomizations come one after the other; a fake runs all shots on one circuit.
                circuits = num_circuits if outcomes.shape[1] % num_circuits == 0 else 1
                counts.append(Counts.from_outcomes(outcomes.reshape(len(sets) * circuits, -1)))
            values, errors = measurement.combine(counts, len(sets), flips, circuits, z=z)
            yield first.rows[sets, tile], values, errors


def _estimated(plan: JobPlan, job: PlannedJob, arrays: Arrays, z: float) -> Iterator[Part]:
    """Yield the rows of each tile from evs and stds of shape (T·M, S)."""
    num_observables = len(plan.observables)
    for index, pub in enumerate(job.pubs):
        shape = (len(plan.tiles), num_observables, len(pub.rows))
        evs, stds = (arrays[f"{index}/{name}"].reshape(shape) for name in ("evs", "stds"))
        factors = [arrays.get(f"{index}/{name}") for name in BY_FACTOR]
        for tile in range(len(plan.tiles)):
            kept = ~pub.padded[:, tile]
            mean, std = evs[tile][:, kept].T, np.array(stds[tile][:, kept].T)
            mean = np.where(known(mean), mean, np.nan)
            for m, observable in enumerate(plan.observables):
                amplified = tuple(
                    None if each is None else each.reshape(*shape, -1)[tile, m, kept]
                    for each in factors
                )
                std[:, m] = _std_errors(plan, observable, mean[:, m], std[:, m], amplified, z)
            yield pub.rows[kept, tile], mean, std


def _std_errors(
    plan: JobPlan,
    observable: SparsePauliOp,
    values: np.ndarray,
    reported: np.ndarray,
    amplified: tuple[np.ndarray | None, ...],
    z: float,
) -> np.ndarray:
    """Return the standard errors of an observable's values in S sets, shape (S,), NaN if unknown.

    Args:
        plan: The plan.
        observable: The observable.
        values: Values, shape (S,).
        reported: The client's errors of them, shape (S,).
        amplified: Values at F noise factors and the client's errors of them, each (S, F), or None.
        z: Level of the errors, see `hardware.circuits.intervals.std_error_of_mean`.
    """
    mitigation = plan.options.mitigation
    constant, coefficients = _split_constant(observable)
    num_circuits = mitigation.randomizations(plan.shots)
    degree = mitigation.extrapolation_degree if mitigation.zne_factors else 1
    if degree is None:
        return np.full_like(values, np.nan)
    if mitigation.pec_mitigation:
        num_circuits = round(num_circuits * plan.sampling_overhead)
        gamma = math.sqrt(max(1.0, plan.sampling_overhead))
        errors = std_error_of_randomized(
            values - constant, reported, num_circuits, coefficients, gamma=gamma, z=z
        )
        # The measured read-out's relative error is at most that of the value.
        return errors * np.sqrt(2.0) if mitigation.measure_mitigation else errors
    if not (mitigation.zne_factors and mitigation.twirls):
        return std_error_of_estimate(
            values - constant,
            reported,
            plan.shots,
            coefficients,
            randomizations=num_circuits,
            readout_mitigated=mitigation.measure_mitigation,
            noise_factors=mitigation.zne_factors,
            degree=degree,
            z=z,
        )
    means, spreads = amplified
    if means is None or spreads is None or means.shape[-1] != len(mitigation.zne_factors):
        return np.full_like(values, np.nan)
    return std_error_of_extrapolated(
        values - constant,
        _errors_at_factors(plan, means - constant, spreads, coefficients, z),
        mitigation.zne_factors,
        degree,
        coefficients,
        readout_mitigated=mitigation.measure_mitigation,
    )


def _errors_at_factors(
    plan: JobPlan, means: np.ndarray, spreads: np.ndarray, coefficients: np.ndarray, z: float
) -> np.ndarray:
    """Return the standard errors at F noise factors, shape (S, F), NaN where unknown.

    The client's error of what it extrapolates from them does not know how random circuits scatter.

    Args:
        plan: A plan of ZNE that twirls.
        means: Values without the observable's constant part, shape (S, F).
        spreads: The client's errors of them, the scatter of the random circuits, shape (S, F).
        coefficients: The T coefficients of the observable's terms, shape (T,).
        z: As for `_std_errors`.
    """
    num_circuits = plan.options.mitigation.randomizations(plan.shots)
    if plan.options.mitigation.amplifies_learned_noise:
        return std_error_of_randomized(means, spreads, num_circuits, coefficients, z=z)
    if num_circuits < 2:
        return np.full_like(means, np.nan)
    each = std_error_of_estimate(
        means, spreads, plan.shots, coefficients, randomizations=num_circuits, z=z
    )
    return np.where(known(spreads), each, np.nan)


def _split_constant(observable: SparsePauliOp) -> tuple[float, np.ndarray]:
    """Return the coefficient of the identity and those of the other terms, (T,)."""
    constant = ~(observable.paulis.x | observable.paulis.z).any(axis=1)
    coefficients = observable.coeffs.real
    return float(coefficients[constant].sum()), coefficients[~constant]


def _outcomes(arrays: Arrays, pub: int, tile: int, sets: np.ndarray) -> np.ndarray:
    """Return outcomes of a tile's register in S sets of a PUB as integers, shape (S, shots)."""
    packed = arrays[f"{pub}/{tile_register(tile)}"]
    packed = packed.reshape(-1, *packed.shape[-2:])[sets]
    outcomes = np.zeros(packed.shape[:-1], dtype=np.int64)
    for byte in range(packed.shape[-1]):
        outcomes = (outcomes << 8) | packed[..., byte]
    return outcomes


def _flips(
    plan: JobPlan, job: PlannedJob, arrays: Arrays, tile: int, num_bits: int, z: float
) -> ReadoutFlips | None:
    """Return the read-out of a tile's measured qubits by this job, None where it did not ask."""
    if not plan.options.mitigation.readout_inversion:
        return None
    prepared: dict[str, np.ndarray] = {}
    for index, pub in enumerate(job.pubs):
        if pub.kind != "samples":
            prepared[pub.kind] = _outcomes(arrays, index, tile, np.array([0]))[0]
    zeros, ones = prepared["readout 0"], prepared["readout 1"]
    circuits = plan.options.mitigation.randomizations(plan.shots)
    return ReadoutFlips.measured(zeros, ones, num_bits, circuits, z=z)


def _places(measurement: Measurement, setting: int) -> list[int]:
    """Return the place of each qubit of a setting among all that are measured."""
    return [measurement.qubits.index(q) for q in measurement.settings[setting].qubits]


def _shots_of(job: PlannedJob, arrays: Arrays) -> int:
    first: PlannedPub = job.pubs[0]
    assert first.kind == "samples"
    return int(arrays[f"0/{tile_register(0)}"].shape[-2])
