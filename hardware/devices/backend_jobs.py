"""A request as circuits for ``backend.run``, and its counts as the result of a sampler."""

from __future__ import annotations

from typing import Any

import numpy as np
from qiskit import transpile
from qiskit.circuit import QuantumCircuit
from qiskit.primitives import BitArray, DataBin, PrimitiveResult, PubResult
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.providers import BackendV2

from hardware.devices.asking import plain
from hardware.devices.base import JobRequest
from hardware.errors import BadResultError, RefusedError

#: Methods by which a provider brings passes of its own, e.g. to bring angles into range.
_PASSES = (
    "get_translation_stage_plugin",
    "get_post_translation_stage_plugin",
    "get_scheduling_stage_plugin",
)
_AGAIN = "Collect the run again to fetch the result anew."


def bound_circuits(backend: BackendV2, request: JobRequest) -> list[QuantumCircuit]:
    """Return a circuit for each set of values of each PUB, after the provider's own passes.

    Raises:
        RefusedError: The request asks for what belongs to the IBM client, or holds more circuits
            than a job of the provider. Nothing was sent.
    """
    if request.primitive != "sampler" or request.options:
        raise _refused(
            f"{backend.name} takes circuits and shots. Estimators, twirling, decoupling and "
            "repetition delays are options of the IBM client: plan without them."
        )
    circuits: list[QuantumCircuit] = []
    for pub in request.pubs:
        coerced = SamplerPub.coerce(pub, request.shots)
        circuits += coerced.parameter_values.bind_all(coerced.circuit).ravel().tolist()
    if backend.max_circuits is not None and len(circuits) > backend.max_circuits:
        raise _refused(
            f"{backend.name} takes at most {backend.max_circuits} circuits a job, and this one has "
            f"{len(circuits)}: plan again for this backend."
        )
    if not any(callable(getattr(backend, name, None)) for name in _PASSES):
        return circuits
    return [_passed(backend, circuit) for circuit in circuits]


def _passed(backend: BackendV2, circuit: QuantumCircuit) -> QuantumCircuit:
    """Return a circuit after the provider's own passes, its qubits where they were.

    Raises:
        RefusedError: The passes fail or move qubits.
    """
    places = list(range(circuit.num_qubits))
    try:
        passed = transpile(circuit, backend, initial_layout=places, optimization_level=0)
    except Exception as error:  # passes of anybody's may raise anything
        raise _refused(f"{backend.name} cannot take a circuit: {plain(str(error))}.") from error
    if passed.layout is not None and passed.layout.final_index_layout() != places:
        raise _refused(f"The provider's own passes move the qubits of {backend.name}.")
    return passed


def _refused(message: str) -> RefusedError:
    error = RefusedError(message)
    error.sure = True
    return error


def run_options(backend: BackendV2, request: JobRequest) -> dict[str, Any]:
    seeded = request.seed is not None and hasattr(backend.options, "seed_simulator")
    return {"shots": request.shots} | ({"seed_simulator": request.seed} if seeded else {})


def counted(result: Any, request: JobRequest) -> PrimitiveResult:
    """Return the counts of a provider's result as those of a sampler.

    Counts know no order of the shots: equal outcomes stand together.

    Raises:
        BadResultError: They are no counts of this request's circuits.
    """
    pubs, index = [], 0
    for pub in request.pubs:
        coerced = SamplerPub.coerce(pub, request.shots)
        tables = []
        for _ in range(coerced.size):
            tables.append(_outcomes(result, index, coerced.circuit.num_clbits))
            index += 1
        if len({len(table) for table in tables}) > 1:
            raise BadResultError(f"The circuits of one job have different shots. {_AGAIN}")
        bits = np.array(tables).reshape(*coerced.shape, -1, coerced.circuit.num_clbits)
        circuit = coerced.circuit
        data = {}
        for register in circuit.cregs:
            columns = [circuit.find_bit(bit).index for bit in register]
            # A register's first bit is the last of its bits as a number.
            data[register.name] = BitArray.from_bool_array(bits[..., columns[::-1]])
        pubs.append(PubResult(DataBin(**data, shape=coerced.shape)))
    return PrimitiveResult(pubs)


def _outcomes(result: Any, index: int, num_bits: int) -> np.ndarray:
    """Return the classical bits of each shot of a circuit, bool (shots, bits), bit 0 first.

    Raises:
        BadResultError: The result holds no such counts.
    """
    try:
        counts = {str(key).replace(" ", ""): n for key, n in result.get_counts(index).items()}
        words = [key.zfill(num_bits) for key in counts]
        numbers = [int(count) for count in counts.values()]
        whole = numbers == list(counts.values()) and min(numbers) >= 0
    except Exception as error:  # each provider's result raises classes of its own
        raise BadResultError(f"The result of circuit {index} has no counts. {_AGAIN}") from error
    if not whole or any(len(word) != num_bits or set(word) - {"0", "1"} for word in words):
        raise BadResultError(
            f"The counts of circuit {index} are not of its {num_bits} bits. {_AGAIN}"
        )
    table = np.array([[letter == "1" for letter in word[::-1]] for word in words], dtype=bool)
    return np.repeat(table.reshape(len(words), num_bits), numbers, axis=0)
