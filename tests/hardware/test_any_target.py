"""Plans on targets of any provider: their own gates, couplings of all to all, no calibration."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from contracts.sampling_bounds import assert_means, shifted
from contracts.target_contract import exact_values, workload
from qiskit import qpy
from qiskit.circuit import Gate, Measure, Parameter, QuantumCircuit
from qiskit.circuit.library import CXGate, HGate, RGate, RXGate, RXXGate, RZGate, SwapGate
from qiskit.providers import BackendV2, Options
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import Operator, SparsePauliOp
from qiskit.transpiler import InstructionProperties, Target
from qiskit_aer import AerSimulator

from hardware import PlanOptions
from hardware.circuits.definitions import storable
from hardware.circuits.hashing import QPY_VERSION, without_random_names
from hardware.circuits.measurement import basis_rotation
from hardware.devices.backends import ExecutionLimits, fake_backend, working_target
from hardware.devices.calibration import unstated, working
from hardware.devices.error_map import ErrorMap, GateSet
from hardware.emulation.calibrated import CalibratedTarget
from hardware.errors import InvalidInputError, PlanError
from hardware.planning.dense_regions import grown_regions, is_dense
from hardware.planning.drawing import draw_plan
from hardware.planning.plan_file import dump_plan, load_plan
from hardware.planning.planner import plan
from hardware.planning.tiled_circuit import own_gates
from hardware.workload import Workload

IONS = ["r", "rz", "rxx"]


def ring_work(num_qubits, rows=1):
    circuit = QuantumCircuit(num_qubits)
    names = tuple(f"x[{qubit}]" for qubit in range(num_qubits))
    for qubit, name in enumerate(names):
        circuit.ry(Parameter(name), qubit)
    for qubit in range(num_qubits):
        circuit.cx(qubit, (qubit + 1) % num_qubits)
    paulis = ["".join(letters).ljust(num_qubits, "I") for letters in ("ZZ", "X", "Y")]
    observables = tuple(SparsePauliOp(pauli) for pauli in paulis)
    return Workload(circuit, names, np.ones((rows, num_qubits)), observables)


class Backend(BackendV2):
    """A backend of a given target; it cannot run."""

    max_circuits = None
    target = None

    def __init__(self, target):
        super().__init__(name="lab")
        self.target = target

    @classmethod
    def _default_options(cls):
        return Options()

    def run(self, run_input, **options):
        raise NotImplementedError


def ion_target(num_qubits, *gates):
    """Return a target of gates for all qubits at once, as IonQ and AQT list theirs."""
    theta, phi = Parameter("θ"), Parameter("φ")
    target = Target(num_qubits=num_qubits)
    for gate in gates or (RGate(theta, phi), RZGate(phi), RXXGate(theta)):
        target.add_instruction(gate)
    target.add_instruction(Measure())
    return target


def test_gates_that_are_listed_for_all_qubits_at_once_need_no_routing():
    made = plan(ring_work(4, rows=9), Backend(ion_target(13)), PlanOptions(shots=10))
    assert [len(tile.qubits) for tile in made.tiles] == [4] * 3
    assert len({qubit for tile in made.tiles for qubit in tile.qubits}) == 12
    for circuit in made.circuits:
        counts = circuit.count_ops()
        assert set(counts) <= {"r", "rz", "rxx", "measure", "barrier"}
        assert counts["rxx"] == 3 * 4  # a ring has four gates, and none is added for routing
    assert load_plan(dump_plan(made)).key == made.key
    assert draw_plan(made, Backend(ion_target(13))).texts


def test_unknown_errors_are_not_read_as_none():
    backend = Backend(ion_target(6))
    assert unstated(backend.target) == ("gate and read-out errors", "durations", "T1 and T2")
    made = plan(ring_work(3), backend, PlanOptions(shots=10))
    assert [tile.expected_error for tile in made.tiles] == [None]
    assert made.summary()["tile_errors"] == [None]
    (note,) = [note for note in made.notes if "states no gate and read-out errors" in note]
    assert "the expected error of the tiles is unknown" in note
    assert load_plan(dump_plan(made)).tiles == made.tiles
    with pytest.raises(InvalidInputError):  # an emulation would have to invent a noise
        CalibratedTarget(backend, shots=10).run(ring_work(3))


def test_what_is_stated_for_some_excludes_the_others():
    target = ion_target(5)
    listed = working(target)
    properties = {pair: InstructionProperties(error=0.01) for pair in listed["rxx"]}
    properties[0, 1] = properties[1, 0] = None
    told = Target(num_qubits=5)
    for name in ("r", "rz", "measure"):
        error = None if name == "rz" else InstructionProperties(error=1e-3)
        told.add_instruction(listed.operation_from_name(name), dict.fromkeys(listed[name], error))
    told.add_instruction(RXXGate(Parameter("θ")), properties)
    assert unstated(told) == ("durations", "T1 and T2")
    errors = ErrorMap.of(told)
    assert set(errors.edges) == set(itertools.combinations(range(5), 2)) - {(0, 1)}
    assert errors.times["r"].tolist() == [150e-6] * 5
    assert errors.times["rz"].tolist() == [0.0] * 5
    made = plan(ring_work(3), Backend(told), PlanOptions(shots=10))
    assert made.tiles[0].expected_error is None  # idle time is not priced
    assert any("edge 0-1" in note and "does not know" in note for note in made.notes)


@pytest.mark.parametrize("letter", ["X", "Y"])
@pytest.mark.parametrize(
    "gates",
    [
        (RGate(Parameter("a"), Parameter("b")), RZGate(Parameter("a")), CXGate()),
        (RXGate(Parameter("a")), RZGate(Parameter("a")), CXGate()),
        (HGate(), RZGate(Parameter("a")), CXGate()),
    ],
)
def test_bases_and_preparations_are_written_in_the_devices_own_gates(letter, gates):
    target = working(ion_target(2, *gates))
    rotation = own_gates(basis_rotation(letter), target)
    assert set(rotation.count_ops()) <= {gate.name for gate in gates}
    matrix = Operator(rotation)
    pauli = Operator(SparsePauliOp(letter))
    assert np.allclose(
        matrix.adjoint().data @ Operator.from_label("Z").data @ matrix.data, pauli.data
    )
    flip = QuantumCircuit(1)
    flip.x(0)
    assert Operator(own_gates(flip, target)).equiv(Operator.from_label("X"))


def test_ibm_gates_stay_as_they_are():
    rotation = own_gates(basis_rotation("X"), working_target(GenericBackendV2(2, seed=1)))
    assert [step.operation.name for step in rotation.data] == ["rz", "sx"]


def test_gates_that_cannot_express_the_circuit_are_refused():
    with pytest.raises(PlanError, match="cannot express the circuit"):
        plan(ring_work(2), Backend(ion_target(3, RZGate(Parameter("a")), CXGate())), PlanOptions())
    with pytest.raises(PlanError, match="no calibrated two-qubit gate"):
        plan(ring_work(2), Backend(ion_target(3, HGate(), SwapGate())), PlanOptions())


def test_one_two_qubit_gate_is_chosen():
    gates = GateSet.of(working(AerSimulator().target))
    assert gates.two == "cz"
    assert GateSet.of(working(ion_target(3))).two == "rxx"
    assert GateSet.of(working(ion_target(3))) == GateSet.of(working(ion_target(5)))


class TrapGate(Gate):
    """A provider's own one-qubit gate, with a name that Qiskit does not know."""

    def __init__(self, theta, phi):
        super().__init__("trap", 1, [theta, phi])

    def _define(self):
        self.definition = QuantumCircuit(1, name="anything")
        self.definition.r(*self.params, 0)


class MSGate(Gate):
    """A provider's gate with the name of a class of Qiskit, which QPY takes it for."""

    def __init__(self, theta):
        super().__init__("ms", 2, [theta])

    def _define(self):
        self.definition = QuantumCircuit(2)
        self.definition.rxx(*self.params, 0, 1)


def stored(values):
    circuit = QuantumCircuit(2)
    circuit.append(TrapGate(Parameter("t0/x"), 0.3), [0])
    circuit.append(MSGate(2 * Parameter("t0/y")), [0, 1])
    circuit.append(MSGate(0.7), [1, 0])
    data = io.BytesIO()
    qpy.dump(storable(circuit), data, version=QPY_VERSION)
    read = qpy.load(io.BytesIO(data.getvalue()))[0]
    return data.getvalue(), circuit.assign_parameters(values), read.assign_parameters(values)


def test_a_providers_own_gates_are_stored_as_what_they_are():
    _, made, read = stored([0.4, 1.1])
    assert [step.operation.name for step in read.data] == ["trap", "ms", "ms"]
    assert [step.operation.params for step in read.data] == [[0.4, 0.3], [2.2], [0.7]]
    assert Operator(made) == Operator(read)
    data, again = io.BytesIO(), stored([0.4, 1.1])[0]
    qpy.dump(storable(qpy.load(io.BytesIO(again))[0]), data, version=QPY_VERSION)
    assert without_random_names(data.getvalue()) == without_random_names(again)
    theirs = QuantumCircuit(2)
    theirs.h(0)
    assert storable(theirs) is theirs
    assert without_random_names(b"ms_" + b"4f" * 16 + b"!") == b"ms_" + b"0" * 32 + b"!"


def brute_force_best(errors, size):
    def price(region):
        own = sum(errors.losses[name][list(region)].sum() for name in errors.losses)
        return own + sum(errors.edge_loss[pair] for pair in itertools.combinations(region, 2))

    return min(map(price, itertools.combinations(errors.qubits, size)))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_regions_of_dense_chips_are_grown_from_good_couplings(seed):
    errors = ErrorMap.of(working_target(GenericBackendV2(12, seed=seed)))
    assert is_dense(errors)
    regions = grown_regions(errors, 3)
    assert len(set(regions)) == len(regions) <= 12 + 12 // 3 * 12
    assert all(len(set(region)) == 3 and region == tuple(sorted(region)) for region in regions)
    assert {qubit for region in regions for qubit in region} == set(range(12))
    prices = [
        sum(errors.losses[name][list(region)].sum() for name in errors.losses)
        + sum(errors.edge_loss[pair] for pair in itertools.combinations(region, 2))
        for region in regions
    ]
    assert min(prices) <= 1.3 * brute_force_best(errors, 3)
    # The chip is cut into as many disjoint regions as fit.
    made = plan(ring_work(3, rows=4), GenericBackendV2(12, seed=seed), PlanOptions(tiles=4))
    assert len({qubit for tile in made.tiles for qubit in tile.qubits}) == 12


def test_chips_of_few_couplings_are_enumerated():
    assert not is_dense(ErrorMap.of(working_target(fake_backend("guadalupe"))))


def test_limits_of_other_providers():
    class Limited(Backend):
        max_circuits = 7

        @classmethod
        def _default_options(cls):
            options = Options(shots=10)
            options.set_validator("shots", (1, 300))
            return options

    class Constant(Backend):
        MAX_SHOTS = 2000

    assert ExecutionLimits.of(Limited(ion_target(3))) == ExecutionLimits(
        "lab", max_shots=300, max_circuits=7
    )
    assert ExecutionLimits.of(Constant(ion_target(3))).max_shots == 2000
    assert ExecutionLimits.of(Backend(ion_target(3))) == ExecutionLimits("lab")


@pytest.mark.sampled
def test_the_calibration_of_a_trapped_ion_backend_is_emulated():
    backend = GenericBackendV2(4, basis_gates=IONS, seed=4)
    for where in backend.target["rxx"]:
        backend.target.update_instruction_properties(
            "rxx", where, InstructionProperties(error=1e-3, duration=5e-7)
        )
    target = CalibratedTarget(backend, shots=4000, seed=shifted(2))
    found = target.run(workload())
    largest = [np.abs(observable.coeffs).sum() for observable in workload().observables]
    assert_means(found.values, exact_values(workload()), 4000, largest, bias=0.1)
