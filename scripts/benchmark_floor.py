"""How fast a training step of `scripts/benchmark.py` could be on this machine, and how fast it is.

    python scripts/benchmark_floor.py [--cases 10x16 10x256 14x16 18x16] [--seconds 2]

The floor of the adjoint method, gate for gate, is the longer of two times: its floating-point
operations at the rate of a large matrix product, and its passes over the states at the rate at
which NumPy scales an array of the same size in place; both measured on one core, and twice that. A
gate's forward pass reads and writes the state v (6 operations a pair of amplitudes), its backward
pass v and the cotangent w (12), and reads their overlap (4). Only gates in the observable's light
cone count, CX and the RY behind it as one. The engine is the exact simulator alone; the step is
what a training loop sees.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from benchmark import CASES, case_of, ours
from benchmark_peers import Case

from qhead.circuits import data_parameters, weight_parameters
from qhead.simulator import Simulator
from qhead.simulator.simulator import measured_in_z

_THREADS = 2


def least(run: Callable[[], object], seconds: float) -> float:
    """Return the least seconds of a run, repeated for some seconds and three times at least."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


@cache
def operations_a_second(dtype: type[np.floating]) -> float:
    """Return the floating-point operations a second of a matrix product on two cores."""
    torch.set_num_threads(1)
    a = torch.from_numpy(np.ones((512, 512), dtype))
    return _THREADS * 2 * 512**3 / least(lambda: a @ a, 3.0)


@cache
def bytes_a_second(size: int) -> float:
    """Return the bytes that two cores read and write a second, each over half of `size` bytes."""
    array = np.ones(size // _THREADS // 4, np.float32)
    return _THREADS * 2 * array.nbytes / least(lambda: np.multiply(array, 1, out=array), 2.0)


def floor(case: Case, dtype: type[np.floating]) -> tuple[float, float]:
    """Return the seconds of a step's operations and of its passes over the states."""
    program = Simulator().compiled(case.circuit).program(measured_in_z([0]))
    states = len(case.inputs) * 2**program.num_qubits
    gates = len(program.operations)
    state_bytes = 2**program.num_qubits * 8 * np.dtype(dtype).itemsize  # of eight samples
    computed = (6 + 12 + 4) * states / 2 * gates / operations_a_second(dtype)
    passes = 6 * states * np.dtype(dtype).itemsize * gates
    return computed, passes / bytes_a_second(2 * _THREADS * state_bytes)


def engine(case: Case, dtype: type[np.floating]) -> Callable[[], object]:
    """Return a step of the simulator alone."""
    simulator = Simulator(dtype)
    compiled = simulator.compiled(case.circuit)
    named = {p: case.inputs[:, i] for i, p in enumerate(data_parameters(case.circuit))}
    named |= {p: case.weights[i] for i, p in enumerate(weight_parameters(case.circuit))}
    rows = [np.broadcast_to(named[p], len(case.inputs)) for p in case.circuit.parameters]
    values = np.stack(rows, axis=1)
    observables = [{"I" * (case.num_qubits - 1) + "Z": 1.0}]

    def step() -> None:
        simulator.expectations(compiled, observables, values)
        simulator.expectation_gradients(compiled, observables, values)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", default=CASES, metavar="QxB")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    options = parser.parse_args()
    print("| case | precision | operations, ms | passes, ms | engine, ms | step, ms |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for name in options.cases:
        case = case_of(*map(int, name.split("x")))
        for precision, dtype in (("single", np.float32), ("double", np.float64)):
            step, _ = ours(case, precision)
            times = [least(run, options.seconds) for run in (engine(case, dtype), step)]
            cells = [f"{1e3 * t:.2g}" for t in (*floor(case, dtype), *times)]
            print(f"| {name} | {precision} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
