"""A process that has emulated and simulated may fork, and both go on working in the child."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
import os, numpy as np, torch
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from hardware.emulation import pauli_simulator
from hardware.targets import parse_target
from hardware.workload import Workload
from qhead.simulator import engine
from qhead.simulator.target import ExactTarget
pauli_simulator._WORTH_A_THREAD = engine._WORTH_A_THREAD = 0
circuit = QuantumCircuit(2); circuit.ry(Parameter("a"), 0); circuit.cx(0, 1)
values = np.linspace(-3, 3, 64)[:, np.newaxis]
work = Workload(circuit, ("a",), values, (SparsePauliOp("IZ"),))
def good():
    noisy = parse_target("noisy:0,0.5:10000", seed=1).run(work)
    exact = ExactTarget().run(work).values
    # Bernstein's bound of 64 means of 10,000 shots at a false alarm of 1e-7
    close = np.abs(noisy.values - exact / 2) < 0.066
    return close.all() and np.allclose(exact, np.cos(values))
assert good()
child = os.fork()
if child == 0:
    many = torch.ones(64, 400) @ torch.ones(400, 64)
    os._exit(0 if good() and bool((many == 400).all()) else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_emulates_and_simulates() -> None:
    """In a process of its own, so that pytest's threads are not forked along."""
    environment = {**os.environ, "QHEAD_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", CODE], check=True, timeout=120, env=environment)
