"""Errors switched on one kind after the other, against Aer's density matrix and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from contracts.sampling_bounds import assert_means, shifted
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library import SwapGate
from qiskit.quantum_info import Kraus, SparsePauliOp, SuperOp
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, QuantumError

from hardware.circuits.measurement import Measurement
from hardware.devices.backends import fake_backend
from hardware.emulation.calibrated import CalibratedTarget
from hardware.emulation.error_channels import ErrorChannel
from hardware.emulation.noise import without_delays
from hardware.emulation.rates import NoisyTarget, ShotsTarget
from hardware.emulation.stages import Stage, StagedTarget, mean_channels, mean_error
from hardware.errors import UnsupportedCircuitError
from hardware.workload import Workload


def ring(num_qubits=4, layers=2):
    """Return a ring of CX, which a heavy-hex chip has to route, with one free angle a qubit."""
    circuit = QuantumCircuit(num_qubits)
    for layer in range(layers):
        for qubit in range(num_qubits):
            circuit.ry(Parameter(f"a{layer}{qubit}"), qubit)
        for qubit in range(num_qubits):
            circuit.cx(qubit, (qubit + 1) % num_qubits)
    return circuit


def chain_of(num_qubits=3):
    """Return gates between neighbours in a line alone."""
    circuit = QuantumCircuit(num_qubits)
    for layer in range(2):
        for qubit in range(num_qubits):
            circuit.ry(Parameter(f"a{layer}{qubit}"), qubit)
        for qubit in range(num_qubits - 1):
            circuit.cx(qubit, qubit + 1)
    return circuit


def workload(circuit, rows=3, measured=(0, 1), seed=5):
    names = tuple(p.name for p in circuit.parameters)
    values = np.random.default_rng(seed).uniform(-1.2, 1.2, (rows, len(names)))
    observables = [
        SparsePauliOp.from_sparse_list([("Z", [q], 1.0)], circuit.num_qubits) for q in measured
    ]
    return Workload(circuit, names, values, observables)


@pytest.fixture(scope="module")
def work():
    return workload(ring())


@pytest.fixture(scope="module")
def found(work):
    """Return stage → exact values (N, M), and those without errors as None."""
    values = {stage: StagedTarget("fez", stage=stage).outcomes(work).values() for stage in Stage}
    return {None: ShotsTarget().outcomes(work).values(), **values}


def prepared(target, work):
    (only,) = target.prepare_settings(work.circuit, Measurement.of(work.observables).settings)
    return only


def aer(part, errors, work):
    """Return ⟨Z⟩ (N, M) by Aer's density matrix; errors by (name, qubits) of the circuit."""
    model = NoiseModel(basis_gates=sorted({name for name, _ in errors} | {"rz", "id", "cz"}))
    for (name, qubits), error in errors.items():
        model.add_quantum_error(error, name, qubits)
    simulator = AerSimulator(method="density_matrix", noise_model=model)
    values = []
    for row in work.values:
        bound = dict(zip(work.parameters, row, strict=True))
        circuit = part.circuit.assign_parameters(
            {p: bound[p.name] for p in part.circuit.parameters}
        )
        circuit = without_delays(circuit)
        for place, qubit in enumerate(part.measured):
            circuit.save_expectation_value(SparsePauliOp("Z"), [qubit], label=str(place))
        data = simulator.run(circuit).result().data()
        values.append([data[str(place)] for place in range(len(part.measured))])
    return np.array(values)


def device_errors(work):
    """Return (name, qubits) → Aer's own error on the routed circuit, and that circuit."""
    routed = prepared(CalibratedTarget("fez"), work)
    whole = NoiseModel.from_backend(fake_backend("fez"), readout_error=False)
    errors = {}
    for step in routed.circuit.data:
        qubits = tuple(routed.circuit.find_bit(q).index for q in step.qubits)
        physical = tuple(routed.physical[q] for q in qubits)
        known = whole._local_quantum_errors.get(step.operation.name, {})
        if physical in known:
            errors[step.operation.name, qubits] = known[physical]
    return routed, errors


def instances(circuit):
    for step in circuit.data:
        yield step.operation.name, tuple(circuit.find_bit(q).index for q in step.qubits)


def test_gate_errors_are_those_of_aer_s_device_averaged_over_the_routed_circuit(work, found):
    routed, errors = device_errors(work)
    mean, swap = {}, SuperOp(SwapGate())
    for name in ("sx", "x", "cz"):
        used = [errors[each] for each in instances(routed.circuit) if each[0] == name]
        if used:
            average = SuperOp(sum(SuperOp(each).data for each in used) / len(used))
            if name == "cz":  # which of a gate's qubits comes first means nothing here
                average = (average + swap.compose(average).compose(swap)) / 2
            mean[name] = QuantumError(Kraus(average))
    for stage, names in ((Stage.ONE_QUBIT, ("sx", "x")), (Stage.TWO_QUBIT, ("sx", "x", "cz"))):
        part = prepared(StagedTarget("fez", stage=stage), work)
        noise = {each: mean[each[0]] for each in instances(part.circuit) if each[0] in names}
        expected = aer(part, noise, work)
        # Averages of parameters and of channels differ in second order.
        np.testing.assert_allclose(found[stage], expected, atol=5e-6)
    assert np.abs(found[Stage.ONE_QUBIT] - found[None]).max() > 3e-4
    assert np.abs(found[Stage.TWO_QUBIT] - found[Stage.ONE_QUBIT]).max() > 3e-3


def test_the_unrouted_circuit_is_the_head_s_own(work, found):
    part = prepared(StagedTarget("fez", stage=Stage.ONE_QUBIT), work)
    np.testing.assert_allclose(aer(part, {}, work), found[None], atol=1e-9)
    routed = prepared(CalibratedTarget("fez"), work)
    gates, more = part.circuit.num_nonlocal_gates(), routed.circuit.num_nonlocal_gates()
    assert gates <= work.circuit.num_nonlocal_gates() < more


def test_the_read_out_is_that_of_the_qubits_that_the_device_reads(work, found):
    routed = prepared(CalibratedTarget("fez"), work)
    properties = fake_backend("fez").properties()
    for place, qubit in enumerate(routed.measured):
        stated = properties.qubit_property(routed.physical[qubit])
        up, down = stated["prob_meas1_prep0"][0], stated["prob_meas0_prep1"][0]
        expected = (1 - up - down) * found[Stage.TWO_QUBIT][:, place] + down - up
        np.testing.assert_allclose(found[Stage.READOUT][:, place], expected, atol=1e-12)


def test_routing_is_the_device_s_own_circuit_and_idle_time_comes_last(work, found):
    routed, errors = device_errors(work)
    ideal_readout = {}
    properties = fake_backend("fez").properties()
    for place, qubit in enumerate(routed.measured):
        stated = properties.qubit_property(routed.physical[qubit])
        up, down = stated["prob_meas1_prep0"][0], stated["prob_meas0_prep1"][0]
        ideal_readout[place] = (1 - up - down, down - up)
    values = aer(routed, errors, work)
    scale, offset = np.array([ideal_readout[place] for place in sorted(ideal_readout)]).T
    np.testing.assert_allclose(found[Stage.ROUTING], values * scale + offset, atol=1e-9)
    whole = CalibratedTarget("fez").outcomes(work).values()
    np.testing.assert_array_equal(found[Stage.IDLE], whole)
    assert np.abs(found[Stage.IDLE] - found[Stage.ROUTING]).max() > 1e-4


def test_routing_costs_nothing_but_unequal_qubits_where_nothing_is_routed(found):
    chain = workload(chain_of())
    steps = {}
    for stage in (Stage.READOUT, Stage.ROUTING):
        target = StagedTarget("fez", stage=stage)
        steps[stage] = target.outcomes(chain).values(), prepared(target, chain)
    (before, alone), (after, routed) = steps.values()
    for gate in ("sx", "cz"):
        assert alone.circuit.count_ops()[gate] == routed.circuit.count_ops()[gate]
    ring_s = np.abs(found[Stage.ROUTING] - found[Stage.READOUT]).max()
    assert np.abs(after - before).max() < min(2e-3, ring_s / 5)


def test_only_the_last_stage_has_a_specification_that_runs_it():
    assert StagedTarget("fez", shots=7).spec == "aer:fez:7"
    assert StagedTarget("fez", stage=Stage.ROUTING, shots=7).spec != "aer:fez:7"


def test_a_gate_that_the_routed_circuit_has_not_gets_the_mean_of_its_width(work):
    channels = mean_channels([prepared(CalibratedTarget("fez"), work)])
    assert channels["rz"] is None
    assert mean_error(channels, "sx", 1) is channels["sx"]
    other = mean_error({"rz": None, "sx": ErrorChannel(1, 0.2), "cz": ErrorChannel(2, 0.4)}, "x", 1)
    assert other == ErrorChannel(1, 0.2)
    assert mean_error({"sx": ErrorChannel(1, 0.2)}, "rz", 1) is None


@pytest.mark.sampled
def test_shots_drawn_from_tables_are_those_of_a_run(work):
    seed = shifted(3)
    for target in (
        ShotsTarget(shots=200, seed=seed),
        NoisyTarget(0.01, 0.05, shots=200, seed=seed),
    ):
        tables = target.outcomes(work)
        np.testing.assert_array_equal(tables.estimate(200, seed), target.run(work).values)
        assert_means(tables.estimate(5000, seed + 1), tables.values(), 5000)


def test_values_without_shots_are_exact_in_every_basis():
    circuit = QuantumCircuit(2)
    circuit.ry(Parameter("a"), 0)
    circuit.cx(0, 1)
    observables = (
        SparsePauliOp(["XX", "II"], [0.5, 2.0]), SparsePauliOp(["ZI"]), SparsePauliOp(["ZZ"]),
    )  # fmt: skip
    a = 0.3
    work = Workload(circuit, ("a",), np.array([[a]]), observables)
    p1, p2 = 0.1, 0.2
    values = NoisyTarget(p1, p2).outcomes(work).values()
    # ⟨XX⟩ = sin a, ⟨ZI⟩ = cos a, ⟨ZZ⟩ = 1 behind RY(a) and CX; each X is read behind one more gate.
    one, two = 1 - p1, 1 - p2
    expected = [2 + 0.5 * two * one * np.sin(a) * one**2, two * one * np.cos(a), two]
    np.testing.assert_allclose(values[0], expected, atol=1e-12)


def test_a_state_that_is_too_wide_is_refused():
    work = workload(ring(14, 1), rows=1, measured=tuple(range(14)))
    with pytest.raises(UnsupportedCircuitError, match="at most 12 entangled qubits"):
        NoisyTarget(0.001, 0.01).outcomes(work)
