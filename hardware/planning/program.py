"""What the client makes of a planned job: its program's items, executions and durations.

Twirling rounds shots up, zero-noise extrapolation adds items, read-out mitigation adds calibration
circuits: only the client knows what will run. It prepares the program of a job without a network,
and the cost is counted there, never guessed.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from qiskit.circuit import QuantumCircuit

from hardware.circuits.layer_noise import LayerNoise
from hardware.devices.base import JobRequest
from hardware.devices.ibm.layers import layer_name, set_layer_noise, unique_layers
from hardware.errors import PlanError
from hardware.planning.cost import Program, ProgramItem
from hardware.planning.plan import JobPlan, PlannedJob, PlannedPub, Timing
from hardware.planning.pubs import job_request

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "ps": 1e-12}


def program_of(plan: JobPlan, job: PlannedJob) -> Program:
    """Return the program that the client makes of a job of a plan.

    It is prepared with one set of rows and with two: what both have is fixed. Where the noise of
    layers is not learned yet, noise stands in for it that takes all of the allowed overhead.

    Args:
        plan: The plan; its own jobs are not read.
        job: The job; only its first set of values is read.

    Raises:
        PlanError: The client refuses the job, or a gate has no known duration.
    """
    one, two = (
        _prepared(_request(plan, job, num_sets), plan.options.mitigation.samples_noise)
        for num_sets in (1, 2)
    )
    items = []
    for first, second in zip(one.items, two.items, strict=True):
        executions = one.shots * first.size()
        per_set = two.shots * second.size() - executions
        seconds = circuit_seconds(first.circuit, plan.timing)
        items.append(ProgramItem(executions - per_set, per_set, seconds))
    # A circuit without parameters has one set, and both programs are the same.
    overhead, mitigation = 1.0, plan.options.mitigation
    if mitigation.pec_mitigation:  # one PUB, of which the first axis is that of random circuits
        overhead = one.items[0].shape[0] / mitigation.randomizations(plan.shots)
    rep_delay, sub_job = plan.timing.rep_delay, plan.options.cost.sub_job
    return Program(tuple(items), one.shots, rep_delay, sub_job, overhead)


def circuit_seconds(circuit: QuantumCircuit, timing: Timing) -> float:
    """Return the time from the first instruction of a circuit to the end of the last, seconds.

    Raises:
        PlanError: An instruction has no known duration.
    """
    clock = np.zeros(circuit.num_qubits)
    for step in circuit.data:
        qubits = [circuit.find_bit(qubit).index for qubit in step.qubits]
        if qubits:
            clock[qubits] = clock[qubits].max() + _duration(step.operation, timing)
    return float(clock.max(initial=0.0))


def _duration(operation: Any, timing: Timing) -> float:
    if operation.name == "barrier":
        return 0.0
    if operation.name == "delay":
        unit = timing.dt if operation.unit == "dt" else _SECONDS.get(operation.unit)
        known = None if unit is None else float(operation.duration) * unit
    else:
        known = timing.durations.get(operation.name)
    if known is None:
        raise PlanError(
            f"The device states no duration of {operation.name!r}, so the time of a circuit with "
            "it is not known: plan again, on a device that states one."
        )
    return known


def _request(plan: JobPlan, job: PlannedJob, num_sets: int) -> JobRequest:
    pubs = tuple(_with_sets(pub, num_sets) if pub.kind == "samples" else pub for pub in job.pubs)
    return job_request(replace(plan, jobs=(replace(job, pubs=pubs),)), 0)


def _with_sets(pub: PlannedPub, num_sets: int) -> PlannedPub:
    rows = np.zeros(num_sets, dtype=np.int64)
    return replace(pub, values=pub.values[rows], rows=pub.rows[rows], padded=pub.padded[rows])


def _prepared(request: JobRequest, samples_noise: bool) -> Any:
    """Return the client's `QuantumProgram` of a request; makes no network call."""
    # Imported here: the client takes most of a second.
    from pydantic import ValidationError
    from qiskit_ibm_runtime.exceptions import IBMInputValueError
    from qiskit_ibm_runtime.executor_estimator import prepare as estimator
    from qiskit_ibm_runtime.executor_sampler import prepare as sampler
    from qiskit_ibm_runtime.options_models import EstimatorOptions, SamplerOptions

    options = {**request.options}
    # Decoupling fills idle time: it changes neither items nor durations, and needs a device.
    options.pop("dynamical_decoupling", None)
    try:
        if request.primitive == "sampler":
            return sampler.prepare(list(request.pubs), SamplerOptions(**options), request.shots)[0]
        prepared = EstimatorOptions(**options)
        if prepared.resilience.zne.amplifier == "gate_folding":
            # Which gates a fractional factor folds is drawn at random; how many are is not.
            prepared.resilience.zne.amplifier = "gate_folding_front"
        if samples_noise:
            noise = request.layer_noise or _strong_noise(request, prepared)
            set_layer_noise(prepared, request.pubs, noise)
        return estimator.prepare(list(request.pubs), prepared, request.precision)[0]
    except PlanError:
        raise
    except ValidationError as error:
        first = error.errors()[0]
        # Of a value that may have several types, the type is a part with brackets.
        parts = [part for part in first["loc"] if isinstance(part, str) and "[" not in part]
        name = ".".join(parts)
        raise PlanError(
            f"The client refuses {first['input']!r} as {name}: {first['msg']}."
        ) from error
    except (IBMInputValueError, ValueError, TypeError, AttributeError) as error:
        # The last two: its twirling stumbles over gates of other providers.
        raise PlanError(f"The client refuses the plan's circuits and options: {error}") from error


def _strong_noise(request: JobRequest, options: Any) -> tuple[LayerNoise, ...]:
    """Return noise of the layers that takes all of PEC's overhead.

    Raises:
        PlanError: The overhead has no limit, or there are no layers.
    """
    limit = options.resilience.pec.max_overhead
    if options.resilience.pec_mitigation and limit is None:
        raise PlanError(
            "Without pec_max_overhead, PEC costs what the noise asks for, and that is not learned "
            "yet: give a limit, or layer_noise.",
            options=("pec_max_overhead", "layer_noise"),
        )
    # A generator of rate λ multiplies γ² by exp(4λ).
    terms = (("Z", (0,), 1.0 + math.log(limit or 1.0)),)
    layers = unique_layers(request.pubs, options)
    if not layers:
        raise PlanError("The circuits have no layers of two-qubit gates: PEC and PEA do nothing.")
    return tuple(LayerNoise(layer_name(layer), len(layer.qubits), terms) for layer in layers)
