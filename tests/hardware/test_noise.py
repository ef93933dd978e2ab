from __future__ import annotations

import numpy as np
import pytest
from qiskit import transpile
from qiskit.circuit import Gate, Parameter, QuantumCircuit
from qiskit.quantum_info import PTM, SparsePauliOp, SuperOp
from qiskit.transpiler import InstructionProperties
from qiskit_aer.noise import NoiseModel
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

from hardware.devices.backends import fake_backend, fake_name, fake_names, working_target
from hardware.emulation.calibrated import CalibratedTarget
from hardware.emulation.noise import (
    calibrated_noise,
    depolarizing_noise,
    readout_confusions,
    readout_remarks,
)
from hardware.emulation.rates import NoisyTarget, ShotsTarget
from hardware.emulation.sampling import Sampler
from hardware.errors import InvalidInputError, NoiseNotAppliedError, UnknownBackendError
from hardware.targets import parse_target
from hardware.workload import Workload


def expectation(target: NoisyTarget, circuit: QuantumCircuit, qubits: list[int]) -> float:
    """<Z…Z> on some qubits, exactly, without shots."""
    probabilities = Sampler(target.prepare(circuit, qubits), ()).probabilities(np.zeros((1, 0)))[0]
    signs = [1 - 2 * (bin(outcome).count("1") % 2) for outcome in range(len(probabilities))]
    return float(probabilities @ np.array(signs))


@pytest.mark.parametrize("gates", [1, 3, 10])
def test_one_qubit_depolarising_contracts_by_its_parameter(gates: int) -> None:
    circuit = QuantumCircuit(1)
    for _ in range(gates):
        circuit.ry(0.2, 0)
    expected = (1 - 0.07) ** gates * np.cos(0.2 * gates)
    assert expectation(NoisyTarget(0.07, 0.5), circuit, [0]) == pytest.approx(expected, abs=1e-12)


def test_two_qubit_depolarising_contracts_every_pauli() -> None:
    circuit = QuantumCircuit(2)
    circuit.cx(0, 1)
    circuit.cz(0, 1)
    for qubits in ([0], [1], [0, 1]):
        value = expectation(NoisyTarget(0.5, 0.1), circuit, qubits)
        assert value == pytest.approx(0.9**2, abs=1e-12)


def test_full_depolarising_leaves_nothing() -> None:
    circuit = QuantumCircuit(1)
    circuit.x(0)
    assert expectation(NoisyTarget(1.0, 1.0), circuit, [0]) == pytest.approx(0.0, abs=1e-12)


def test_read_out_flips_contract_by_one_minus_twice_the_rate() -> None:
    circuit = QuantumCircuit(2)
    circuit.rx(0.4, 0)
    circuit.rx(1.1, 1)
    target = NoisyTarget(0, 0, 0.03)
    assert expectation(target, circuit, [0]) == pytest.approx(0.94 * np.cos(0.4), abs=1e-12)
    both = 0.94**2 * np.cos(0.4) * np.cos(1.1)
    assert expectation(target, circuit, [0, 1]) == pytest.approx(both, abs=1e-12)


def test_frames_are_free_and_other_gates_are_decomposed() -> None:
    circuit = QuantumCircuit(1)
    circuit.h(0)  # RZ SX RZ: one error
    circuit.s(0)
    circuit.h(0)
    assert expectation(NoisyTarget(0.1, 0.0), circuit, [0]) == pytest.approx(0.0, abs=1e-12)
    circuit.sdg(0)
    circuit.x(0)
    circuit = circuit.compose(circuit.inverse())
    assert expectation(NoisyTarget(0.1, 0.0), circuit, [0]) == pytest.approx(0.9**6, abs=1e-12)


def test_the_report_counts_what_the_noise_touches() -> None:
    circuit = QuantumCircuit(3)
    circuit.ry(Parameter("x"), 0)
    circuit.ry(0.1, 1)
    circuit.rz(0.1, 1)
    circuit.cx(0, 1)
    work = Workload(circuit, ("x",), [[0.1]], (SparsePauliOp("IIZ"), SparsePauliOp("IZI")))
    report = NoisyTarget(0.01, 0.02, 0.03).noise_report(work)
    assert report is not None
    counted = {gate.instruction: (gate.noisy, gate.total) for gate in report.gates}
    assert counted == {"ry": (2, 2), "rz": (0, 1), "cx": (1, 1)}
    assert (report.noisy_readouts, report.measured, report.num_errors) == (2, 2, 5)
    notes = NoisyTarget(0.01, 0.02, 0.03, shots=10).run(work).notes
    assert any("1 of 1 cx" in note and "2 of 2 measured" in note for note in notes)
    assert ShotsTarget().noise_report(work) is None


def test_noise_that_touches_nothing_is_an_error() -> None:
    circuit = QuantumCircuit(1)
    circuit.ry(0.3, 0)
    work = Workload(circuit, (), np.zeros((1, 0)), (SparsePauliOp("Z"),))
    with pytest.raises(NoiseNotAppliedError, match="touches none"):
        NoisyTarget(0.0, 0.1, shots=10).run(work)
    with pytest.raises(NoiseNotAppliedError, match="touches none"):
        NoisyTarget(0.0, 0.1, shots=10).estimator().run([(circuit, "Z")]).result()
    assert NoisyTarget(0.0, 0.1, 0.01, shots=10).run(work).values.shape == (1, 1)
    noiseless = NoisyTarget(0.0, 0.0, shots=10).noise_report(work)
    assert noiseless is not None
    assert noiseless.num_errors == 0


def test_a_gate_outside_the_basis_would_be_ideal_and_is_refused() -> None:
    circuit = QuantumCircuit(1)
    circuit.h(0)
    with pytest.raises(InvalidInputError, match="error-free"):
        depolarizing_noise(circuit, 0.1, 0.1)


def test_read_out_is_perfect_unless_a_rate_says_otherwise() -> None:
    circuit = QuantumCircuit(1)
    circuit.x(0)
    assert depolarizing_noise(circuit, 0.1, 0.1).readout == {}


def test_reduced_calibration_equals_the_whole_one() -> None:
    backend = FakeManilaV2()
    circuit = QuantumCircuit(3)
    circuit.ry(0.3, 0)
    circuit.cx(0, 1)
    circuit.x(2)
    circuit.cx(1, 2)
    layout = [3, 2, 1]
    isa = transpile(circuit, backend, initial_layout=layout, optimization_level=1)
    reduced = QuantumCircuit(3)
    for step in isa.data:
        qubits = [layout.index(isa.find_bit(q).index) for q in step.qubits]
        reduced.append(step.operation, qubits)
    noise = calibrated_noise(backend, reduced, layout, [0, 1, 2])
    whole = NoiseModel.from_backend(backend)
    assert {name for name, _ in noise.gate_errors} == {"sx", "x", "cx"}
    for (name, qubits), error in noise.gate_errors.items():
        physical = tuple(layout[q] for q in qubits)
        expected = SuperOp(whole._local_quantum_errors[name][physical])
        np.testing.assert_allclose(SuperOp(error.aer_error()).data, expected.data, atol=1e-12)
        matrix = np.real(PTM(expected).data)
        np.testing.assert_allclose(error.transfer_matrix(), matrix, atol=1e-12)
    measured = {name for name in isa.count_ops() if name not in ("rz", "measure")}
    assert measured == {name for name, _ in noise.gate_errors}


def test_read_out_keeps_the_asymmetry_of_the_calibration() -> None:
    backend = FakeManilaV2()
    matrix = readout_confusions(backend, [3])[0]
    assert matrix is not None
    properties = backend.properties().qubit_property(3)
    assert matrix[0, 1] == properties["prob_meas1_prep0"][0]
    assert matrix[1, 0] == properties["prob_meas0_prep1"][0]
    assert matrix[0, 1] != matrix[1, 0]
    circuit = QuantumCircuit(1)
    circuit.x(0)
    prepared = CalibratedTarget("manila").prepare(circuit, [0])
    # The exact probability of reading 1 after X: gate error and relaxation are below 0.1 %.
    one = Sampler(prepared, ()).probabilities(np.zeros((1, 0)))[0, 1]
    flips = readout_confusions(backend, range(5))
    assert min(abs(one - (1 - m[1, 0])) for m in flips if m is not None) < 2e-3


def test_the_notes_say_where_read_out_is_not_aers_own() -> None:
    circuit = QuantumCircuit(1)
    circuit.x(0)
    work = Workload(circuit, (), np.zeros((1, 0)), (SparsePauliOp("Z"),))
    for spec in ("aer:manila:10", "fake:manila:10"):
        notes = parse_target(spec, seed=1).run(work).notes
        assert sum("Aer's own model" in note for note in notes) == 1
    # What the note says of Aer: one number for both; for Manila exactly the mean.
    whole = NoiseModel.from_backend(FakeManilaV2())
    for qubit, matrix in enumerate(readout_confusions(FakeManilaV2(), range(5))):
        aers = whole._local_readout_errors[qubit,].probabilities
        assert matrix is not None
        assert aers[0, 1] == aers[1, 0] == pytest.approx((matrix[0, 1] + matrix[1, 0]) / 2)
    assert not any("Aer" in note for note in NoisyTarget(0.1, 0.1, shots=10).run(work).notes)


def test_edges_that_do_not_work_are_left_out() -> None:
    backend = FakeManilaV2()
    assert working_target(backend) is backend.target
    backend.target.update_instruction_properties("cx", (1, 2), InstructionProperties(error=1.0))
    alive = working_target(backend)
    assert (1, 2) not in alive["cx"]
    assert (2, 1) in alive["cx"]
    assert alive["sx"].keys() == backend.target["sx"].keys()
    assert alive.dt == backend.target.dt
    assert alive.num_qubits == 5


def test_fakes_are_found_by_any_of_their_names() -> None:
    assert {fake_name(name) for name in ("fez", "fake_fez", "FakeFez", "ibm_fez")} == {"fez"}
    assert fake_name("FakeManilaV2") == "manila"
    assert {"fez", "torino", "manila", "nighthawk"} <= set(fake_names())
    assert fake_backend("fez") is fake_backend("fez")
    with pytest.raises(UnknownBackendError, match=r"'marrakesh'.*`qhead backends`"):
        fake_name("marakesh")


@pytest.mark.parametrize("rate", [-0.01, 1.01, 1.5, float("nan")])
def test_rates_are_probabilities(rate: float) -> None:
    circuit = QuantumCircuit(1)
    for rates in ((rate, 0.0, 0.0), (0.0, rate, 0.0), (0.0, 0.0, rate)):
        with pytest.raises(InvalidInputError, match=r"in \[0, 1\]"):
            depolarizing_noise(circuit, *rates)
    assert depolarizing_noise(circuit, 1.0, 1.0, 1.0).asked


@pytest.mark.parametrize(("p1", "p2", "noisy"), [(0.1, 0.0, ["sx"]), (0.0, 0.1, ["cx"])])
def test_a_rate_of_zero_touches_nothing(p1: float, p2: float, noisy: list[str]) -> None:
    circuit = QuantumCircuit(2)
    circuit.sx(0)
    circuit.cx(0, 1)
    report = depolarizing_noise(circuit, p1, p2).attach(circuit, [0])
    assert [each.instruction for each in report.gates if each.noisy] == noisy


def test_aers_model_knows_the_gates_of_the_circuit_and_no_delays() -> None:
    backend = FakeManilaV2()
    circuit = QuantumCircuit(2)
    circuit.sx(0)
    circuit.delay(100, 0, unit="ns")
    circuit.cx(0, 1)
    model = calibrated_noise(backend, circuit, [0, 1], [0]).aer_model()
    assert set(model.basis_gates) == {"sx", "cx", "rz", "id"}
    assert len(model.noise_instructions) == 4  # two gates, the delay's label and the read-out


def test_a_gate_that_only_bears_a_known_name_is_refused() -> None:
    circuit = QuantumCircuit(1)
    circuit.append(Gate("sx", 1, []), [0])
    with pytest.raises(InvalidInputError, match="transpile the circuit"):
        calibrated_noise(FakeManilaV2(), circuit, [0], [0])
    circuit = QuantumCircuit(1)
    circuit.h(0)
    with pytest.raises(InvalidInputError, match="transpile the circuit"):
        calibrated_noise(FakeManilaV2(), circuit, [0], [0])


def test_a_calibration_that_touches_nothing_is_an_error() -> None:
    circuit = QuantumCircuit(1)
    with pytest.raises(NoiseNotAppliedError):
        calibrated_noise(FakeManilaV2(), circuit, [0], []).attach(circuit, [])


def test_only_uneven_read_out_is_remarked_upon() -> None:
    even, uneven = np.array([[0.9, 0.1], [0.1, 0.9]]), np.array([[0.9, 0.1], [0.2, 0.8]])
    assert readout_remarks([None, even]) == ()
    assert len(readout_remarks([None, even, uneven])) == 1
