"""Time and memory of a training step against qubits, batch, depth and observables, plotted.

    python scripts/growth.py [--max-qubits 22] [--repeats 5] [--out docs/growth.svg]

The circuit is that of `scripts/benchmark.py`, in single precision, through the exact simulator
alone: expectation values and their full gradient. One quantity varies at a time around 10 qubits, a
batch of 16, two re-uploads and one observable. Times are the least of the repeats; memory is the
peak of what NumPy holds during a step, beside the bytes of the batch's states. A batch whose states
pass 256 MiB goes through in parts.
"""

from __future__ import annotations

import argparse
import json
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from qiskit.circuit import ParameterVector, QuantumCircuit

from qhead.circuits import ansatz
from qhead.simulator import Simulator

matplotlib.use("svg")
import matplotlib.pyplot as plt

#: What one point varies: qubits, batch, re-uploads, observables.
Point = tuple[int, int, int, int]
_QUBITS, _BATCH, _UPLOADS, _ROWS = 10, 16, 2, 1


def circuit(num_qubits: int, uploads: int) -> QuantumCircuit:
    """Return a re-uploading circuit whose copies of PQC1 have angles of their own."""
    result = QuantumCircuit(num_qubits)
    angles = ParameterVector("x", num_qubits * uploads)
    for n in range(uploads):
        for qubit in range(num_qubits):
            result.ry(angles[n * num_qubits + qubit], qubit)
        result.compose(ansatz(num_qubits, 0, 2, name=f"u{n}"), inplace=True)
    return result


def measure(point: Point, repeats: int) -> dict[str, float]:
    """Return the least seconds of a step, its peak and the bytes of its states."""
    num_qubits, batch, uploads, rows = point
    simulator = Simulator(np.float32)
    compiled = simulator.compiled(circuit(num_qubits, uploads))
    labels = ["".join("Z" if q == row else "I" for q in range(num_qubits)) for row in range(rows)]
    observables = [{label[::-1]: 1.0} for label in labels]
    rng = np.random.default_rng(0)
    size = compiled.snapshot.num_parameters

    def step() -> float:
        values = rng.normal(size=(batch, size))
        start = time.perf_counter()
        simulator.expectations(compiled, observables, values)
        simulator.expectation_gradients(compiled, observables, values)
        return time.perf_counter() - start

    first = step()
    seconds = min(step() for _ in range(1 if first > 20 else repeats))
    tracemalloc.start()
    step()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"seconds": seconds, "peak": peak, "states": -(-batch // 8) * 8 * 4 * 2**num_qubits}


def sweeps(max_qubits: int) -> dict[str, list[tuple[int, Point]]]:
    """Return the points of each panel: what varies, and all four quantities."""
    qubits = [q for q in range(4, max_qubits + 1) if q <= 14 or q % 2 == 0]
    batches, depths, rows = (8, 16, 64, 256, 1024, 4096), (1, 2, 4, 8, 16), (1, 2, 4, 6, 8, 10)
    return {
        "qubits": [(q, (q, _BATCH, _UPLOADS, _ROWS)) for q in qubits],
        "batch": [(b, (_QUBITS, b, _UPLOADS, _ROWS)) for b in batches],
        "re-uploads": [(n, (_QUBITS, _BATCH, n, _ROWS)) for n in depths],
        "observables": [(m, (_QUBITS, _BATCH, _UPLOADS, m)) for m in rows],
    }


def draw(found: dict[str, list[tuple[int, dict[str, float]]]], path: Path) -> None:
    """Plot times above and memory below, one column for each quantity that varies."""
    figure, axes = plt.subplots(2, len(found), figsize=(11, 5.2), sharex="col", sharey="row")
    for column, (name, points) in enumerate(found.items()):
        x = [value for value, _ in points]
        top, bottom = axes[:, column]
        top.plot(x, [1e3 * row["seconds"] for _, row in points], "o-", color="#1f5a91")
        bottom.plot(x, [row["peak"] / 2**20 for _, row in points], "o-", label="peak")
        states = [row["states"] / 2**20 for _, row in points]
        bottom.plot(x, states, ":", color="0.3", label="states of the batch")
        bottom.plot(x, [2 * size for size in states], "--", color="0.3", label="twice that")
        for axis in (top, bottom):
            axis.set_yscale("log")
            axis.grid(alpha=0.3)
            if name != "qubits":
                axis.set_xscale("log", base=2)
        ticks = x if name != "qubits" else x[::2]
        bottom.set_xticks(ticks, [str(value) for value in ticks])
        bottom.set_xlabel(name)
    axes[0, 0].set_ylabel("step, ms")
    axes[1, 0].set_ylabel("memory, MiB")
    axes[1, 0].legend(frameon=False, fontsize=8)
    figure.suptitle(
        "A training step: 10 qubits, batch 16, two re-uploads, one observable; one of them varies"
    )
    figure.tight_layout()
    plt.rcParams |= {"svg.hashsalt": "growth", "svg.fonttype": "none"}
    figure.savefig(path, metadata={"Date": None})


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--max-qubits", type=int, default=22)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("docs/growth.svg"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    found: dict[str, list[tuple[int, dict[str, float]]]] = {}
    print("| varied | value | step, ms | peak, MiB | peak / states |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, points in sweeps(options.max_qubits).items():
        found[name] = []
        for value, point in points:
            row = measure(point, options.repeats)
            found[name].append((value, row))
            cells = f"{1e3 * row['seconds']:.3g} | {row['peak'] / 2**20:.3g}"
            print(f"| {name} | {value} | {cells} | {row['peak'] / row['states']:.2f} |", flush=True)
    draw(found, options.out)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
