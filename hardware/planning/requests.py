"""What a planned job asks of a device, in the primitives' own terms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from qiskit.quantum_info import SparsePauliOp

from hardware.devices.base import JobRequest
from hardware.planning.plan import JobPlan, PlannedPub


def job_request(plan: JobPlan, idx: int) -> JobRequest:
    """Return the request of a job; arrays are ordered by each circuit's own parameters."""
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
    )


def precision_of(shots: int) -> float:
    """Return the precision for which the client takes so many shots, ceil(1/precision²).

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
    ends = plan.tiles[tile].ends
    terms = [
        (letters, [ends[qubit] for qubit in qubits], value)
        for letters, qubits, value in observable.to_sparse_list()
    ]
    return SparsePauliOp.from_sparse_list(terms, num_qubits=plan.circuits[0].num_qubits)
