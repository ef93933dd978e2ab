"""Speed of noisy emulation, as ratios against Aer in the same run, on the same circuits.

    python scripts/noisy_benchmark.py [--cases noisy:0.001,0.01@10 aer:fez@10 …] [--rows 1000]

The work is a ring head (two re-uploads, connectivity 2): its light cone towards the
measured qubit under noise by rates, its routed and scheduled circuit under a calibration. Both
sides get the same gates and the same errors and return counts of the same number of shots.
Preparing the circuit (light cone, transpiling, noise) is the same for both and shown apart. Aer
runs every way of `AER` on a few rows, with its threads over rows or over shots, and its
`EstimatorV2`; the fastest is the peer and runs between the repetitions of ours. Ours has single
precision, Aer whichever is faster. Above 12 qubits both sides draw trajectories, of one row.
Machines are noisy: read the ratios.

Before any timing the distributions are compared, on circuits of the same family that measure four
qubits (wide ones on `CHECK_QUBITS`, by the same trajectories): outcomes of a row from ours and from
Aer's density matrix must pass a chi-squared test of homogeneity at a false-alarm rate of
`FALSE_ALARM` for all rows together.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from plan_table import workload
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer import AerSimulator
from qiskit_aer.primitives import EstimatorV2
from scipy.stats import chi2_contingency

from hardware.circuits.transforms import measured_circuit
from hardware.emulation.emulated import EmulatedTarget
from hardware.emulation.noise import without_delays
from hardware.emulation.pauli_passes import MAX_DIGITS
from hardware.emulation.sampling import Method, PreparedCircuit, Sampler, ShotStreams
from hardware.targets import parse_target
from hardware.threads import num_threads
from hardware.workload import Workload

#: False-alarm rate of the comparison of distributions, all rows together.
FALSE_ALARM = 1e-6
#: Shots of the rows whose distributions are compared.
CHECK_SHOTS = 100_000
#: Most qubits of the circuits whose distributions are compared.
CHECK_QUBITS = 10
#: What is measured by default: targets and qubits.
CASES = ["noisy:0.001,0.01@10", "aer:fez@10", *(f"noisy:0.001,0.01@{q}" for q in (14, 16, 20))]
#: The way of Aer that is compared with: exact, double.
EXACT = "density matrix, double, rows in parallel"
#: Aer's ways: method, precision, what its threads share.
AER = {
    "density matrix, single, rows in parallel": ("density_matrix", "single", "experiments"),
    EXACT: ("density_matrix", "double", "experiments"),
    "density matrix, single, one row at a time": ("density_matrix", "single", "shots"),
    "trajectories, single, shots in parallel": ("statevector", "single", "shots"),
    "trajectories, single, rows in parallel": ("statevector", "single", "experiments"),
    "trajectories, single, shots that branch": ("statevector", "single", "branches"),
}
#: Those above 12 qubits.
WIDE = [AER[f"trajectories, single, shots {how}"] for how in ("in parallel", "that branch")]


def aer_simulator(prepared: PreparedCircuit, method: str, precision: str, share: str) -> Any:
    """Return an Aer simulator of a prepared circuit's noise."""
    threads = num_threads()
    assert prepared.noise is not None
    return AerSimulator(
        method=method,
        precision=precision,
        noise_model=prepared.noise.aer_model(),
        max_parallel_threads=threads,
        max_parallel_experiments=threads if share == "experiments" else 1,
        shot_branching_enable=share == "branches",
        shot_branching_sampling_enable=share == "branches",
    )


def aer_counts(
    prepared: PreparedCircuit, work: Workload, shots: int, way: tuple[str, str, str], seed: int = 1
) -> Callable[[int], np.ndarray]:
    """Return a function that gives Aer's counts (rows, 2^m) of the first rows of a workload."""
    simulator = aer_simulator(prepared, *way)
    circuit = measured_circuit(without_delays(prepared.circuit), prepared.measured)

    def run(rows: int) -> np.ndarray:
        job = simulator.run(
            circuit, parameter_binds=[_binds(circuit, work, rows)], shots=shots, seed_simulator=seed
        )
        table = np.zeros((rows, 2 ** len(prepared.measured)), dtype=np.int64)
        result = job.result()
        if not result.success:
            raise RuntimeError(result.status)
        for row, entry in enumerate(result.results):
            for key, count in entry.data.counts.items():
                table[row, int(key, 16)] = count
        return table

    return run


def aer_estimator(prepared: PreparedCircuit, work: Workload) -> Callable[[int], np.ndarray]:
    """Return a function that gives ⟨Z⟩ of the first measured qubit by Aer's `EstimatorV2`."""
    simulator = aer_simulator(prepared, "density_matrix", "single", "experiments")
    estimator = EstimatorV2.from_backend(simulator)
    circuit = without_delays(prepared.circuit)
    observable = SparsePauliOp.from_sparse_list(
        [("Z", [prepared.measured[0]], 1.0)], circuit.num_qubits
    )

    def run(rows: int) -> np.ndarray:
        values = {p: np.array(v) for p, v in _binds(circuit, work, rows).items()}
        return np.asarray(estimator.run([(circuit, observable, values)]).result()[0].data.evs)

    return run


def _binds(circuit: QuantumCircuit, work: Workload, rows: int) -> dict[Any, list[float]]:
    named = work.named_values()
    return {p: named[p.name][:rows].tolist() for p in circuit.parameters}


def seconds(run: Callable[[int], Any], rows: int) -> float:
    """Return the seconds of a row."""
    start = time.perf_counter()
    run(rows)
    return (time.perf_counter() - start) / rows


def homogeneous(ours: np.ndarray, aers: np.ndarray) -> float:
    """Return the least chi-squared p-value of rows of counts (N, outcomes), times N.

    Outcomes of which fewer than 20 are expected go together as one.
    """
    least = 1.0
    for pair in np.stack([ours, aers], axis=1):
        rare = pair.sum(axis=0) < 40
        table = np.column_stack([pair[:, ~rare], pair[:, rare].sum(axis=1)])
        least = min(least, chi2_contingency(table[:, table.sum(axis=0) > 0]).pvalue)
    return min(1.0, least * len(ours))


def compare_distributions(target: EmulatedTarget, form: tuple[Any, ...], rows: int) -> str:
    """Compare outcomes of four measured qubits with Aer's density matrix; return a sentence.

    Raises:
        SystemExit: They differ.
    """
    work = workload(rows, *form, num_measured=4)
    prepared = target.prepare(work.circuit, [0, 1, 2, 3])
    sampler = Sampler(prepared, work.parameters, target.method)
    counts = sampler.sample(work.values, CHECK_SHOTS, ShotStreams.of(7))
    ours = np.zeros((rows, 16), dtype=np.int64)
    ours[counts.row, counts.outcome] = counts.count
    chance = homogeneous(ours, aer_counts(prepared, work, CHECK_SHOTS, AER[EXACT])(rows))
    if chance < FALSE_ALARM:
        raise SystemExit(f"{target.spec}: the distributions differ (p = {chance:.1e}).")
    return (
        f"{rows} rows of 4 of {form[-1]} qubits, {CHECK_SHOTS:,} shots each: the distributions "
        f"agree (chi-squared, Bonferroni p = {chance:.2g}; fails below {FALSE_ALARM:g})"
    )


def measure(case: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return seconds and ratios of one target and width."""
    spec, _, width = case.partition("@")
    num_qubits, wide = int(width), int(width) > MAX_DIGITS
    shots, rows = (options.wide_shots, 1) if wide else (options.shots, options.rows)
    target = parse_target(f"{spec}:{shots}", seed=1)
    assert isinstance(target, EmulatedTarget)
    form = (options.topology, 2, 0)
    checked = replace(target, method=Method.TRAJECTORIES) if wide else target
    agreement = compare_distributions(checked, (*form, min(num_qubits, CHECK_QUBITS)), 2)
    work = workload(max(rows, options.aer_rows), *form, num_qubits)
    start = time.perf_counter()
    prepared = target.prepare(work.circuit, [0])
    preparing = time.perf_counter() - start
    start = time.perf_counter()
    sampler = Sampler(prepared, work.parameters)
    compiling = time.perf_counter() - start

    def ours(count: int) -> Any:
        return sampler.sample(work.values[:count], shots, ShotStreams.of(1))

    few = 1 if wide else options.aer_rows
    peers = {
        name: aer_counts(prepared, work, shots, way)
        for name, way in AER.items()
        if way[0] in options.methods and (not wide or way in WIDE)
    }
    if not wide and "density_matrix" in options.methods:
        peers["EstimatorV2, density matrix, single"] = aer_estimator(prepared, work)
    ours(min(rows, 32))  # compiles, or loads what was compiled
    times = {name: seconds(run, few) for name, run in peers.items()}
    fastest = min(times, key=lambda name: times[name])
    pairs = [(seconds(ours, rows), seconds(peers[fastest], few)) for _ in range(options.repeats)]
    ratios = [aers / own for own, aers in pairs]
    return {
        "target": spec,
        "qubits": num_qubits,
        "gates": dict(prepared.circuit.count_ops()),
        "preparing_seconds": preparing,
        "compiling_seconds": compiling,
        "rows": rows,
        "shots": shots,
        "seconds": [own * rows for own, _ in pairs],
        "aer_ways_seconds_a_row": times,
        "aer": fastest,
        "aer_seconds_a_row": [aers for _, aers in pairs],
        "ratio_min": min(ratios),
        "ratio_median": statistics.median(ratios),
        "agreement": agreement,
    }


def show(row: dict[str, Any]) -> None:
    """Print one row of the table."""
    own = f"{min(row['seconds']):.3g} – {max(row['seconds']):.3g}"
    aers = f"{min(row['aer_seconds_a_row']):.3g} – {max(row['aer_seconds_a_row']):.3g}"
    print(
        f"| {row['qubits']} | `{row['target']}` | {row['rows']:,} × {row['shots']:,} | {own} | "
        f"{aers} | {row['aer']} | {row['ratio_median']:.0f} ({row['ratio_min']:.0f}) |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", default=CASES, metavar="TARGET@QUBITS")
    parser.add_argument("--topology", default="ring")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--aer-rows", type=int, default=2)
    parser.add_argument("--shots", type=int, default=4096)
    parser.add_argument("--wide-shots", type=int, default=256)
    parser.add_argument("--methods", nargs="+", default=["density_matrix", "statevector"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print(
        "| qubits | target | rows × shots | s | Aer, s a row | Aer's way | × Aer, median (least) |"
    )
    print("| ---: | --- | ---: | ---: | ---: | --- | ---: |", flush=True)
    rows = []
    for case in options.cases:
        rows.append(measure(case, options))
        show(rows[-1])
    for row in rows:
        ways = ", ".join(f"{name} {s:.3g}" for name, s in row["aer_ways_seconds_a_row"].items())
        print(
            f"\n{row['qubits']} qubits, `{row['target']}`: {row['agreement']}. Gates: "
            f"{row['gates']}. Preparing the circuit {row['preparing_seconds']:.2g} s, compiling it "
            f"for ours {row['compiling_seconds']:.2g} s. Aer, seconds a row: {ways}."
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
