"""Memory of a sampler is bounded by bytes, whatever the width; chunks change no shot."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from hardware.circuits import measurement
from hardware.emulation import sampling
from hardware.emulation.fake import FakeTarget
from hardware.emulation.rates import NoisyTarget, ShotsTarget
from hardware.emulation.sampling import CHUNK_BYTES, MAX_CHUNK_ROWS, Method, Sampler, ShotStreams
from hardware.planning.options import PlanOptions
from hardware.planning.pubs import unpack
from hardware.workload import Expectations, Workload


def sampler(
    num_qubits: int, target: ShotsTarget | NoisyTarget, method: Method = Method.AUTO
) -> Sampler:
    circuit = QuantumCircuit(num_qubits)
    names = [f"x[{q}]" for q in range(num_qubits)]
    for qubit, name in enumerate(names):
        circuit.ry(Parameter(name), qubit)
    return Sampler(target.prepare(circuit, range(num_qubits)), names, method)


@pytest.mark.parametrize("width", [1, 8, 13, 14, 18, 20, 22, 24, 26])
def test_chunks_hold_a_bounded_number_of_bytes(width: int) -> None:
    chunks = list(sampler(width, ShotsTarget())._chunks(1000, 100))
    assert [chunk.start for chunk in chunks] == [0, *(chunk.stop for chunk in chunks[:-1])]
    assert chunks[-1].stop == 1000
    rows = max(chunk.stop - chunk.start for chunk in chunks)
    assert rows == 1 or rows * 4 * 8 * 2**width <= CHUNK_BYTES
    assert rows == MAX_CHUNK_ROWS or (rows + 1) * 4 * 8 * 2**width > CHUNK_BYTES  # and no fewer


@pytest.mark.parametrize("shots", [100, 10**6, 10**9])
def test_trajectories_are_bounded_by_their_outcomes(shots: int) -> None:
    wide = sampler(16, NoisyTarget(0.1, 0.1), Method.TRAJECTORIES)
    rows = max(chunk.stop - chunk.start for chunk in wide._chunks(1000, shots))
    assert rows * 256 * min(shots, 2**16) <= CHUNK_BYTES
    assert rows == (MAX_CHUNK_ROWS if shots == 100 else 8)


def test_memory_does_not_grow_with_the_rows() -> None:
    wide, values = sampler(18, ShotsTarget()), np.full((64, 18), 0.3)
    wide.sample(values[:1], 100, ShotStreams.of(1))  # imports
    tracemalloc.start()
    wide.sample(values, 100, ShotStreams.of(1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * CHUNK_BYTES  # all rows at once would take 4 times as much


def singles(num_qubits: int, num_rows: int) -> Workload:
    """One RY on each qubit, each qubit's Z: random angles."""
    circuit = QuantumCircuit(num_qubits)
    names = tuple(f"x[{q}]" for q in range(num_qubits))
    for qubit, name in enumerate(names):
        circuit.ry(Parameter(name), qubit)
    each = tuple(
        SparsePauliOp.from_sparse_list([("Z", [qubit], 1.0)], num_qubits)
        for qubit in range(num_qubits)
    )
    angles = np.random.default_rng(num_rows).uniform(-3, 3, (num_rows, num_qubits))
    return Workload(circuit, names, angles, each)


def peak_bytes(work: Callable[[], Expectations]) -> int:
    """Return the most memory that a run takes beyond its values and errors."""
    tracemalloc.start()
    found = work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak - 3 * found.values.nbytes - 3 * found.std_errors.nbytes


@pytest.mark.parametrize("way", ["shots", "unpacked"])
def test_the_memory_of_estimates_does_not_grow_with_the_rows(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shots, few, many = 1000, 60, 240
    monkeypatch.setattr(sampling, "CHUNK_BYTES", 1 << 20)
    monkeypatch.setattr(measurement, "CHUNK_BYTES", 1 << 20)

    def run(num_rows: int) -> Callable[[], Expectations]:
        if way == "shots":
            work = singles(9, num_rows)
            return lambda: ShotsTarget(shots=shots, seed=1).run(work)
        made = FakeTarget("manila", PlanOptions(shots=shots, tiles=1)).plan(singles(5, num_rows))
        shape = (num_rows, shots, 1)
        bits = np.random.default_rng(1).integers(0, 32, shape, dtype=np.uint8)
        result = {"0/t0": bits, "0/t0/bits": np.array(5)}
        return lambda: unpack(made, {0: result})

    run(2)()  # imports
    assert peak_bytes(run(many)) < 1.3 * peak_bytes(run(few))


def test_the_size_of_parts_changes_no_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    work = singles(3, 7)
    targets = (ShotsTarget(shots=50, seed=1), NoisyTarget(0.1, 0.1, 0.1, shots=50, seed=1))
    for target in (*targets, replace(targets[1], method=Method.TRAJECTORIES)):
        whole = target.run(work)
        monkeypatch.setattr(measurement, "CHUNK_BYTES", 1)
        single = target.run(work)
        monkeypatch.undo()
        np.testing.assert_array_equal(whole.values, single.values)
        np.testing.assert_array_equal(whole.std_errors, single.std_errors)


@pytest.mark.parametrize("method", [Method.PAULI, Method.TRAJECTORIES])
def test_the_size_of_chunks_changes_no_shot(
    method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(1).uniform(-3, 3, (7, 3))
    for target in (NoisyTarget(0.1, 0.1), ShotsTarget()):
        whole = sampler(3, target, method).sample(values, 50, ShotStreams.of(2))
        monkeypatch.setattr(sampling, "CHUNK_BYTES", 1)
        single = sampler(3, target, method).sample(values, 50, ShotStreams.of(2))
        monkeypatch.undo()
        order = [np.lexsort((each.outcome, each.row)) for each in (whole, single)]
        for name in ("row", "outcome", "count"):
            first, second = getattr(whole, name)[order[0]], getattr(single, name)[order[1]]
            np.testing.assert_array_equal(first, second)
