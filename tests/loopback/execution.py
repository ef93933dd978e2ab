"""Run the body of a job with Aer, the same body always to the same result.

Only the qubits that a job measures are simulated, one connected component of the circuit at a time,
which is exact because components share no gate. No noise is applied: these tests are about what
happens to jobs, not about physics.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from ibm_quantum_schemas.common import CompressedTensorModel
from ibm_quantum_schemas.executor.version_2_0.models import (
    ItemMetadataModel,
    MetadataModel,
    QuantumProgramResultItemModel,
    QuantumProgramResultModel,
)
from qiskit.circuit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.transpiler import PassManager
from qiskit.transpiler.passes import ALAPScheduleAnalysis, PadDelay, TimeUnitConversion
from qiskit_aer.primitives import SamplerV2
from qiskit_ibm_runtime.fake_provider.executor.broadcast_sample import broadcast_sample
from qiskit_ibm_runtime.quantum_program.params_converters import QUANTUM_PROGRAM_PARAMS_CONVERTERS
from samplomatic.quantum_program import SamplexItem

from hardware.devices.backends import fake_backend

_IDLE = ("barrier", "delay")


@dataclass(frozen=True)
class Outcome:
    """What a job gave.

    Args:
        result: Its result as JSON.
        circuits: Items of its program.
        executions: Parameter sets times shots of all of them.
        digest: Hash of what was executed.
        seconds: Time of the executions, by the device's own schedule.
    """

    result: str
    circuits: int
    executions: int
    digest: str
    seconds: float


def run_job(params: dict[str, Any], seed: int, device: str) -> Outcome:
    """Execute the parameters of an executor job; equal content and seed give equal results."""
    converter = QUANTUM_PROGRAM_PARAMS_CONVERTERS["v2.0"]
    model = converter.model.model_validate(params)
    program, options = converter.decoder(model)
    rep_delay = options.execution.rep_delay
    if rep_delay is None:
        rep_delay = fake_backend(device).configuration().default_rep_delay
    digest = _digest(program, seed)
    data, executions, seconds = [], 0, 0.0
    for index, item in enumerate(program.items):
        rng = np.random.default_rng([int(digest[:16], 16), index])
        if isinstance(item, SamplexItem):
            item.samplex.finalize()
            sampled = broadcast_sample(item.samplex, item.samplex_arguments, item.shape, rng)
            values, shape = sampled.pop("parameter_values"), tuple(item.shape)
        else:
            sampled, values = {}, item.circuit_arguments
            shape = values.shape[:-1]
        width = values.shape[-1]
        flat = np.broadcast_to(values, (*shape, width)).reshape(math.prod(shape), width)
        bits = simulate(item.circuit, flat, program.shots, rng)
        arrays = sampled | {k: v.reshape(*shape, *v.shape[1:]) for k, v in bits.items()}
        executions += len(flat) * program.shots
        seconds += len(flat) * program.shots * (rep_delay + scheduled(item.circuit, device))
        data.append(
            QuantumProgramResultItemModel(
                results={k: CompressedTensorModel.from_numpy(v) for k, v in arrays.items()},
                metadata=ItemMetadataModel(),
            )
        )
    result = QuantumProgramResultModel(
        data=data,
        metadata=MetadataModel(chunk_timing=[]),
        passthrough_data=model.quantum_program.passthrough_data,
        semantic_role=model.quantum_program.semantic_role,
    )
    return Outcome(result.model_dump_json(), len(program.items), executions, digest, seconds)


def scheduled(circuit: QuantumCircuit, device: str) -> float:
    """Return how long one run of a circuit takes by Qiskit's schedule for a device, seconds."""
    target = fake_backend(device).target
    passes = [
        TimeUnitConversion(target=target),
        ALAPScheduleAnalysis(target=target),
        PadDelay(target=target),
    ]
    return PassManager(passes).run(circuit).estimate_duration(target, "s")


def shots_of(params: dict[str, Any]) -> int:
    """Return the shots of each circuit of an executor job."""
    return int(params["quantum_program"]["shots"])


def _digest(program: Any, seed: int) -> str:
    """Hash what is executed and nothing else: tags and parameter ids differ between attempts."""
    sha = hashlib.sha256(repr((seed, program.shots, program._semantic_role)).encode())
    for item in program.items:
        for op in item.circuit.data:
            wires = [item.circuit.find_bit(bit).index for bit in (*op.qubits, *op.clbits)]
            sha.update(repr((op.operation.name, wires, [str(p) for p in op.params])).encode())
        if isinstance(item, SamplexItem):
            sha.update(repr(item.shape).encode())
            for spec in item.samplex_arguments.specs:
                if spec.name in item.samplex_arguments:
                    value = item.samplex_arguments[spec.name]
                    sha.update(spec.name.encode() + np.asarray(value).tobytes())
        else:
            values = np.ascontiguousarray(item.circuit_arguments)
            sha.update(repr(values.shape).encode() + values.tobytes())
    return sha.hexdigest()


def simulate(
    circuit: QuantumCircuit, values: np.ndarray, shots: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Sample a circuit.

    Args:
        circuit: Circuit with measurements into classical registers.
        values: Parameter values, shape (sets, P), columns in the order of ``circuit.parameters``.
        shots: Shots per parameter set.
        rng: Source of the simulators' seeds.

    Returns:
        For each register, booleans of shape (sets, shots, bits), bit 0 first.
    """
    clbits = np.zeros((len(values), shots, circuit.num_clbits), dtype=bool)
    names = [parameter.name for parameter in circuit.parameters]
    for part, targets in _components(circuit):
        seed = int(rng.integers(2**31))
        own = [names.index(parameter.name) for parameter in part.parameters]
        sampler = SamplerV2(seed=seed)
        if own:
            job = sampler.run([(part, values[:, own])], shots=shots)
        else:
            job = sampler.run([part], shots=shots * len(values))
        sampled = job.result()[0].data.c.to_bool_array(order="little")
        clbits[:, :, targets] = sampled.reshape(len(values), shots, len(targets))
    return {
        register.name: clbits[:, :, [circuit.find_bit(bit).index for bit in register]]
        for register in circuit.cregs
    }


def _components(circuit: QuantumCircuit) -> Iterator[tuple[QuantumCircuit, list[int]]]:
    """Yield each measured connected part with the indices of the classical bits that it writes."""
    group = list(range(circuit.num_qubits))

    def root(q: int) -> int:
        while group[q] != q:
            q = group[q]
        return q

    steps = []
    for op in circuit.data:
        if op.operation.name in _IDLE:
            continue
        qubits = [circuit.find_bit(q).index for q in op.qubits]
        steps.append((op, qubits, [circuit.find_bit(c).index for c in op.clbits]))
        for other in qubits[1:]:
            group[root(other)] = root(qubits[0])
    for top in sorted({root(qubits[0]) for _, qubits, _ in steps}):
        own = [step for step in steps if root(step[1][0]) == top]
        wires = sorted({q for _, qubits, _ in own for q in qubits})
        targets = sorted({c for _, _, clbits in own for c in clbits})
        if not targets:
            continue
        part = QuantumCircuit(
            QuantumRegister(len(wires), "q"), ClassicalRegister(len(targets), "c")
        )
        for op, qubits, clbits in own:
            part.append(
                op.operation,
                [wires.index(q) for q in qubits],
                [targets.index(c) for c in clbits],
            )
        yield part, targets
