"""V2 primitives over the local targets, for Qiskit Machine Learning's networks.

Circuits need not be transpiled: each is prepared once and kept. The n-th call of one primitive
draws from streams of its own, so a training run is reproducible from the seed without repeating its
shots.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.primitives import (
    BaseEstimatorV2,
    BaseSamplerV2,
    BitArray,
    DataBin,
    PrimitiveJob,
    PrimitiveResult,
    PubResult,
    SamplerPubResult,
)
from qiskit.primitives.containers.estimator_pub import EstimatorPub, EstimatorPubLike
from qiskit.primitives.containers.sampler_pub import SamplerPub, SamplerPubLike
from qiskit.quantum_info import SparsePauliOp

from hardware.circuits.hashing import circuit_digest, observable_bytes
from hardware.circuits.measurement import Measurement, Setting
from hardware.circuits.transforms import split_measurements
from hardware.emulation.sampling import (
    Method,
    PreparedCircuit,
    Sampler,
    SettingsEngine,
    ShotStreams,
    shot_by_shot,
)
from hardware.errors import InvalidInputError


class EmulatedEstimator(BaseEstimatorV2):
    """Expectation values from the shots of a local target.

    A pub's precision p asks for ceil(1/p²) shots; without one, `shots` are taken.

    Args:
        prepare: Returns a circuit as the target runs it in each of some measurement settings.
        shots: Shots of every row and setting.
        seed: Seed of the shots; None for fresh ones.
        method: How noise is simulated.
    """

    def __init__(
        self,
        prepare: Callable[[QuantumCircuit, Sequence[Setting]], list[PreparedCircuit]],
        shots: int,
        seed: int | None = None,
        method: Method = Method.AUTO,
    ) -> None:
        self._prepare, self._shots, self._method = prepare, shots, method
        self._streams = ShotStreams.of(seed)
        self._calls = 0
        self._engines: dict[tuple[str, bytes], SettingsEngine] = {}

    def run(
        self, pubs: Iterable[EstimatorPubLike], *, precision: float | None = None
    ) -> PrimitiveJob[PrimitiveResult[PubResult]]:
        """Estimate all pubs; see `BaseEstimatorV2.run`.

        Raises:
            InvalidInputError: A precision that is not positive: it would ask for infinite shots.
        """
        coerced = [EstimatorPub.coerce(pub, precision) for pub in pubs]
        for pub in coerced:
            self._shots_of(pub)
        streams = self._streams.child(self._calls)
        self._calls += 1
        job = PrimitiveJob(self._run, coerced, streams)
        job._submit()  # the base class has no public way to start
        return job

    def _run(self, pubs: list[EstimatorPub], streams: ShotStreams) -> PrimitiveResult[PubResult]:
        results = [self._run_pub(pub, streams.child(i)) for i, pub in enumerate(pubs)]
        return PrimitiveResult(results, metadata={"version": 2})

    def _run_pub(self, pub: EstimatorPub, streams: ShotStreams) -> PubResult:
        shots = self._shots_of(pub)
        parameters = pub.circuit.parameters
        num_rows = math.prod(pub.parameter_values.shape)
        values = pub.parameter_values.as_array(parameters).reshape(num_rows, len(parameters))
        sparse = pub.observables.sparse_observables_array()
        row_of, observable_of = np.broadcast_arrays(
            np.arange(num_rows).reshape(pub.parameter_values.shape),
            np.arange(sparse.size).reshape(sparse.shape),
        )
        flat = [SparsePauliOp.from_sparse_observable(sparse.flat[i]) for i in range(sparse.size)]
        row_of, observable_of = row_of.ravel(), observable_of.ravel()
        wanted = [np.unique(o) for o in _split_by(observable_of, row_of, num_rows)]
        together: dict[bytes, list[int]] = {}  # rows that want the same observables
        for row, indices in enumerate(wanted):
            together.setdefault(indices.tobytes(), []).append(row)
        evs, stds = np.zeros(row_of.shape), np.zeros(row_of.shape)
        place = np.zeros(num_rows, dtype=np.int64)
        for part, rows in enumerate(together.values()):
            indices = wanted[rows[0]]
            engine = self._engine(pub, [flat[i] for i in indices])
            mean, error = engine.estimate(values[rows], shots, streams.child(part))
            place[:] = -1
            place[rows] = np.arange(len(rows))
            mine = place[row_of] >= 0
            at = (place[row_of[mine]], np.searchsorted(indices, observable_of[mine]))
            evs[mine], stds[mine] = mean[at], error[at]
        evs, stds = evs.reshape(pub.shape), stds.reshape(pub.shape)
        metadata = {
            "target_precision": pub.precision,
            "shots": shots,
            "circuit_metadata": pub.circuit.metadata,
        }
        return PubResult(DataBin(evs=evs, stds=stds, shape=evs.shape), metadata=metadata)

    def _engine(self, pub: EstimatorPub, observables: Sequence[SparsePauliOp]) -> SettingsEngine:
        key = (circuit_digest(pub.circuit), observable_bytes(observables))
        if key not in self._engines:
            names = [parameter.name for parameter in pub.circuit.parameters]
            measurement = Measurement.of(observables)
            prepared = self._prepare(pub.circuit, measurement.settings)
            self._engines[key] = SettingsEngine(prepared, names, measurement, self._method)
        return self._engines[key]

    def _shots_of(self, pub: EstimatorPub) -> int:
        if pub.precision is None:
            return self._shots
        if not pub.precision > 0:
            raise InvalidInputError(
                f"Expected a precision above zero, got {pub.precision}: finite shots are not exact."
            )
        return math.ceil(1.0 / pub.precision**2)


class EmulatedSampler(BaseSamplerV2):
    """Bit strings from the shots of a local target, for circuits that end in measurements.

    Args:
        prepare: Returns a circuit as the target runs it, with the qubits behind its outcome bits.
        shots: Shots of a pub that names none.
        seed: Seed of the shots; None for fresh ones.
        method: How noise is simulated.
    """

    def __init__(
        self,
        prepare: Callable[[QuantumCircuit, Sequence[int]], PreparedCircuit],
        shots: int,
        seed: int | None = None,
        method: Method = Method.AUTO,
    ) -> None:
        self._prepare, self._shots, self._method = prepare, shots, method
        self._streams = ShotStreams.of(seed)
        self._calls = 0
        self._samplers: dict[str, tuple[Sampler, dict[int, int]]] = {}

    def run(
        self, pubs: Iterable[SamplerPubLike], *, shots: int | None = None
    ) -> PrimitiveJob[PrimitiveResult[SamplerPubResult]]:
        """Sample all pubs; see `BaseSamplerV2.run`."""
        coerced = [SamplerPub.coerce(pub, shots or self._shots) for pub in pubs]
        streams = self._streams.child(self._calls)
        self._calls += 1
        job = PrimitiveJob(self._run, coerced, streams)
        job._submit()  # the base class has no public way to start
        return job

    def _run(
        self, pubs: list[SamplerPub], streams: ShotStreams
    ) -> PrimitiveResult[SamplerPubResult]:
        results = [self._run_pub(pub, streams.child(i)) for i, pub in enumerate(pubs)]
        return PrimitiveResult(results, metadata={"version": 2})

    def _run_pub(self, pub: SamplerPub, streams: ShotStreams) -> SamplerPubResult:
        sampler, bit_of_clbit = self._sampler(pub)
        parameters = pub.circuit.parameters
        num_rows = math.prod(pub.shape)
        values = pub.parameter_values.as_array(parameters).reshape(num_rows, len(parameters))
        if bit_of_clbit:
            counts = sampler.sample(values, pub.shots, streams)
            outcomes = shot_by_shot(counts, streams.child(num_rows))
        else:
            outcomes = np.zeros((num_rows, pub.shots), dtype=np.int64)
        registers = {}
        for register in pub.circuit.cregs:
            places = [pub.circuit.find_bit(bit).index for bit in register]
            bits = [bit_of_clbit.get(place) for place in places]
            packed = pack_bits(outcomes, bits)
            registers[register.name] = BitArray(
                packed.reshape((*pub.shape, *packed.shape[1:])), len(bits)
            )
        metadata = {"shots": pub.shots, "circuit_metadata": pub.circuit.metadata}
        return SamplerPubResult(DataBin(**registers, shape=pub.shape), metadata=metadata)

    def _sampler(self, pub: SamplerPub) -> tuple[Sampler, dict[int, int]]:
        key = circuit_digest(pub.circuit)
        if key not in self._samplers:
            unitary, qubit_of_clbit = split_measurements(pub.circuit)
            qubits = sorted(set(qubit_of_clbit.values()))
            prepared = self._prepare(unitary, qubits)
            names = [parameter.name for parameter in pub.circuit.parameters]
            bits = {clbit: qubits.index(qubit) for clbit, qubit in qubit_of_clbit.items()}
            self._samplers[key] = (Sampler(prepared, names, self._method), bits)
        return self._samplers[key]


def pack_bits(outcomes: np.ndarray, bits: Sequence[int | None]) -> np.ndarray:
    """Return outcomes (N, shots) as the bytes of a `BitArray`, (N, shots, bytes), big-endian.

    Bit k of the result is bit ``bits[k]`` of the outcome, or zero for None.
    """
    width = -(-len(bits) // 8) * 8
    table = np.zeros((*outcomes.shape, width), dtype=np.uint8)
    for place, bit in enumerate(bits):
        if bit is not None:
            table[..., width - 1 - place] = (outcomes >> bit) & 1
    return np.packbits(table, axis=-1)


def _split_by(items: np.ndarray, group: np.ndarray, num_groups: int) -> list[np.ndarray]:
    """Return the items of each group."""
    order = np.argsort(group, kind="stable")
    return np.split(items[order], np.cumsum(np.bincount(group, minlength=num_groups))[:-1])
