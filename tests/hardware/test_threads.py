from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from hardware import threads
from hardware.emulation import pauli_simulator
from hardware.emulation.rates import NoisyTarget
from hardware.emulation.sampling import Sampler
from hardware.errors import InvalidInputError
from hardware.threads import num_threads, share

FORKED = """
import os, numpy as np
from qiskit.circuit import Parameter, QuantumCircuit
from hardware.emulation import pauli_simulator
from hardware.emulation.rates import NoisyTarget
from hardware.emulation.sampling import Sampler
pauli_simulator._WORTH_A_THREAD = 0
circuit = QuantumCircuit(2); circuit.ry(Parameter("a"), 0); circuit.cx(0, 1)
values = np.linspace(-3, 3, 64)[:, np.newaxis]
sampler = Sampler(NoisyTarget(0.0, 0.1).prepare(circuit, [0, 1]), ["a"])
def noisy():
    table = sampler.probabilities(values)
    expected = 0.9 * np.cos(values[:, 0])  # <Z> of the control, depolarised once
    signs = np.array([1, -1, 1, -1])
    return np.allclose(table @ signs, expected, atol=1e-12)
good = noisy()
child = os.fork()
if child == 0:
    os._exit(0 if noisy() else 1)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
raise SystemExit(0 if good and status == 0 else 1)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_emulates_noise_too() -> None:
    """In a process of its own, so that pytest's threads are not forked along."""
    environment = {**os.environ, "QHEAD_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", FORKED], check=True, timeout=120, env=environment)


@pytest.mark.parametrize("count", ["1", "2", "5"])
def test_threads_do_not_change_a_bit(count: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from qiskit.circuit import Parameter, QuantumCircuit

    circuit = QuantumCircuit(3)
    for qubit in range(3):
        circuit.ry(Parameter(f"a{qubit}"), qubit)
    circuit.cx(0, 1)
    circuit.cx(1, 2)
    names = [f"a{qubit}" for qubit in range(3)]
    values = np.random.default_rng(1).normal(size=(77, 3))
    sampler = Sampler(NoisyTarget(0.01, 0.02, 0.03).prepare(circuit, [0, 1, 2]), names)
    whole = sampler.probabilities(values)
    used = set()
    real = pauli_simulator.kernel.evolve

    def watched(*arguments: object) -> None:
        used.add(threading.current_thread().name)
        real(*arguments)

    monkeypatch.setenv("QHEAD_NUM_THREADS", count)
    monkeypatch.setattr(pauli_simulator, "_WORTH_A_THREAD", 0)
    monkeypatch.setattr(pauli_simulator.kernel, "evolve", watched)
    np.testing.assert_array_equal(sampler.probabilities(values), whole)
    assert (len(used) > 1) == (count != "1")


@pytest.mark.parametrize(("blocks", "count"), [(1, 1), (1, 4), (7, 3), (12, 4), (3, 16)])
def test_every_block_is_done_once(blocks: int, count: int) -> None:
    done = np.zeros(blocks, dtype=int)

    def work(part: slice) -> None:
        done[part] += 1

    share(work, blocks, count)
    assert (done == 1).all()


def test_an_error_in_any_thread_is_raised_after_all_have_ended() -> None:
    ended = []

    def work(part: slice) -> None:
        ended.append(part.start)
        if part.start:
            raise ValueError("the second half")

    with pytest.raises(ValueError, match="second half"):
        share(work, 4, 2)
    assert sorted(ended) == [0, 2]


def test_the_environment_sets_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QHEAD_NUM_THREADS", "3")
    assert num_threads() == 3
    for nonsense in ("0", "-2", "many", "²", "9" * 5000):
        monkeypatch.setenv("QHEAD_NUM_THREADS", nonsense)
        with pytest.raises(InvalidInputError, match="QHEAD_NUM_THREADS"):
            num_threads()
    monkeypatch.setenv("QHEAD_NUM_THREADS", "")
    assert 1 <= num_threads() <= (os.cpu_count() or 1)
    assert threads.num_threads() >= 1
