from __future__ import annotations

import contextlib
import io
import json
import math
import os
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.circuit import Parameter, QuantumCircuit, QuantumRegister
from qiskit.quantum_info import SparsePauliOp, Statevector

from hardware.circuits.measurement import Measurement
from hardware.devices.backends import fake_backend, fake_names
from hardware.errors import PlanError
from hardware.planning import placement
from hardware.planning.mitigation import Mitigation
from hardware.planning.options import CostModel, JobLimits, PlanOptions
from hardware.planning.plan import JobPlan
from hardware.planning.plan_file import dump_plan, load_plan
from hardware.planning.planner import plan
from hardware.planning.pubs import job_request, precision_of, unpack
from hardware.planning.tiled_circuit import check_isa
from hardware.workload import Workload

TWO = PlanOptions(shots=10, tiles=2)


def head() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    for qubit in range(2):
        circuit.ry(Parameter(f"x[{qubit}]"), qubit)
    circuit.cx(0, 1)
    circuit.ry(2 * Parameter("w[0]") + 0.1, 1)
    return circuit


NAMES = ("x[1]", "x[0]", "w[0]")  # not in Qiskit's order


def work(num_rows: int = 7, observables: tuple[SparsePauliOp, ...] | None = None) -> Workload:
    values = np.random.default_rng(num_rows).uniform(-3, 3, (num_rows, 3))
    values[:, 2] = 0.7  # a trained weight: the same in all rows
    labels = observables or (SparsePauliOp("ZI"), SparsePauliOp(["ZZ", "II"], [1.0, 0.5]))
    return Workload(head(), NAMES, values, labels)


def made(num_rows: int = 7, options: PlanOptions = TWO, backend: str = "guadalupe") -> JobPlan:
    return plan(work(num_rows), fake_backend(backend), options)


def test_a_plan_is_what_the_runner_asks_for() -> None:
    found = made()
    assert len(found.key) == 64
    assert found.job_seconds[0] > 0
    assert job_request(found, 0).primitive == "sampler"


@settings(max_examples=25, deadline=None)
@given(num_rows=st.integers(1, 40), tiles=st.integers(1, 4), sets=st.integers(1, 9))
def test_every_row_runs_once_and_carries_its_own_values(
    num_rows: int, tiles: int, sets: int
) -> None:
    limits = JobLimits(executions=10 * sets)
    found = made(num_rows, PlanOptions(shots=10, tiles=tiles, limits=limits))
    workload = work(num_rows)
    seen = []
    for job in found.jobs:
        assert job.executions <= limits.executions
        (pub,) = job.pubs
        assert pub.rows.shape[1] == tiles
        seen += pub.rows[~pub.padded].tolist()
        for tile in range(tiles):
            for column, name in enumerate(pub.parameters):
                prefix, own = name.split("/")
                if prefix == f"t{tile}":
                    expected = workload.named_values()[own][pub.rows[:, tile]]
                    np.testing.assert_array_equal(pub.values[:, column], expected)
    assert sorted(seen) == list(range(num_rows))
    assert found.padding == -num_rows % tiles
    # As few jobs as the limit allows.
    assert len(found.jobs) == math.ceil(math.ceil(num_rows / tiles) / sets)


def test_weights_are_bound_and_circuits_are_those_of_the_device() -> None:
    found = made()
    (circuit,) = found.circuits
    names = {p.name for p in circuit.parameters}
    assert names == {f"t{k}/x[{q}]" for k in range(2) for q in range(2)}
    assert set(found.jobs[0].pubs[0].parameters) == names
    check_isa(circuit, fake_backend("guadalupe").target)
    assert [register.name for register in circuit.cregs] == ["t0", "t1"]
    wrong = QuantumCircuit(16)
    wrong.cx(0, 15)
    with pytest.raises(PlanError, match="instructions of the device"):
        check_isa(wrong, fake_backend("guadalupe").target)


@pytest.mark.parametrize("backend", ["guadalupe", "sherbrooke", "fez"])
def test_each_tile_of_the_composed_circuit_computes_its_row(backend: str) -> None:
    # Sherbrooke has its two-qubit gates in one direction only.
    found = plan(work(6), fake_backend(backend), replace(TWO, tiles=3))
    pub, circuit = found.jobs[0].pubs[0], found.circuits[0].remove_final_measurements(inplace=False)
    values = job_request(found, 0).pubs[0][1][1]
    bound = circuit.assign_parameters(dict(zip(circuit.parameters, values, strict=True)))
    for tile in range(3):
        ends = found.tiles[tile].final_layout
        inside = sorted(found.tiles[tile].qubits)
        part = QuantumCircuit(len(inside))
        for step in bound.data:
            qubits = [bound.find_bit(q).index for q in step.qubits]
            if step.operation.name != "barrier" and qubits[0] in inside:
                part.append(step.operation, [inside.index(q) for q in qubits])
        row = int(pub.rows[1, tile])
        own = dict(zip(NAMES, work(6).values[row], strict=True))
        expected = Statevector(head().assign_parameters(own)).probabilities([0, 1])
        place = [inside.index(end) for end in ends]
        np.testing.assert_allclose(Statevector(part).probabilities(place), expected, atol=1e-9)


def test_plans_are_pure_and_keys_tell_them_apart() -> None:
    first = made()
    assert first.key == made().key
    assert dump_plan(first) == dump_plan(made())
    others = [
        made(8),
        made(7, replace(TWO, shots=11)),
        made(7, replace(TWO, tiles=3)),
        made(7, replace(TWO, seed=1)),
        made(7, replace(TWO, mitigation=Mitigation(dynamical_decoupling="XY4"))),
        made(7, TWO, "mumbai"),
        plan(work(7), fake_backend("guadalupe"), TWO, target="ibm:x"),
    ]
    assert len({first.key, *(other.key for other in others)}) == 1 + len(others)
    assert first.workload_hash != others[1].workload_hash


def keys_in_order(names: Sequence[str]) -> dict[str, str]:
    """Return the keys of plans that are made one after the other by a planner without memory."""
    placement._transpiled.clear()
    return {name: plan(work(3), fake_backend(name), TWO).key for name in names}


#: One and several of each kind of chip: two-qubit gates cx, ecr and cz, old and new durations.
CHIPS = ("fez", "marrakesh", "torino", "sherbrooke", "kyiv", "guadalupe", "mumbai", "lima")


def test_what_was_planned_before_changes_no_plan() -> None:
    alone = {name: keys_in_order([name])[name] for name in CHIPS}
    assert len(set(alone.values())) == len(CHIPS)
    rng = random.Random(5)
    for _ in range(4):
        order = rng.sample(CHIPS, len(CHIPS))
        assert keys_in_order(order) == alone
    for pair in (("fez", "marrakesh"), ("marrakesh", "fez"), ("guadalupe", "mumbai")):
        assert keys_in_order(pair) == {name: alone[name] for name in pair}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Properties of fake_nighthawk")
def test_plans_of_all_fakes_have_one_key_in_every_order() -> None:
    fits = []
    for name in fake_names():
        with contextlib.suppress(PlanError):
            plan(work(3), fake_backend(name), TWO)
            fits.append(name)
    alone = {name: keys_in_order([name])[name] for name in fits}
    rng = random.Random(6)
    for _ in range(3):
        assert keys_in_order(rng.sample(fits, len(fits))) == alone


def test_parameters_built_anew_and_in_other_registers_give_the_same_plan() -> None:
    again = QuantumCircuit(QuantumRegister(1, "a"), QuantumRegister(1, "b"), name="other")
    again.compose(head(), inplace=True)
    values = work().values
    placement._transpiled.clear()
    first = plan(Workload(again, NAMES, values, work().observables), fake_backend("fez"), TWO).key
    assert first == plan(work(), fake_backend("fez"), TWO).key
    placement._transpiled.clear()
    assert first == plan(work(), fake_backend("fez"), TWO).key


@pytest.mark.parametrize("seed", ["0", "1", "27"])
def test_another_process_makes_the_same_plan(seed: str) -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests/hardware')\n"
        "from test_plan import made\n"
        "print(made(backend='marrakesh').key, made(backend='fez').key, made().key)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONHASHSEED": seed},
    )  # fmt: skip
    here = [made().key, made(backend="fez").key, made(backend="marrakesh").key]
    assert out.stdout.split() == here[::-1]


def test_plans_survive_being_bytes() -> None:
    options = replace(TWO, mitigation=Mitigation(readout_inversion=True, twirl_gates=True), seed=3)
    first = made(7, options)
    again = load_plan(dump_plan(first))
    assert again.key == first.key
    assert dump_plan(again) == dump_plan(first)
    assert again.options == first.options
    assert again.tiles == first.tiles
    assert again.cost == first.cost
    assert again.summary() == first.summary()
    errors = [round(tile.expected_error, 4) for tile in first.tiles]
    assert first.summary()["tile_errors"] == errors
    assert again.calibration == first.calibration
    np.testing.assert_array_equal(
        job_request(again, 0).pubs[0][1], job_request(first, 0).pubs[0][1]
    )
    assert again.circuits[0] == first.circuits[0]


def edited(data: bytes, name: str, change: object) -> bytes:
    source, target = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for entry in source.namelist():
            content = source.read(entry)
            archive.writestr(entry, change(content) if entry == name else content)  # type: ignore[operator]
    return target.getvalue()


def test_a_plan_edited_by_hand_is_refused() -> None:
    data = dump_plan(made())

    def fewer_shots(content: bytes) -> bytes:
        document = json.loads(content)
        document["jobs"][0]["qpu_seconds"] = 0.1
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()

    def other_values(content: bytes) -> bytes:
        return content[:-1] + bytes([content[-1] ^ 1])

    def newer(content: bytes) -> bytes:
        return json.dumps({**json.loads(content), "format": 99}).encode()

    with pytest.raises(PlanError, match="changed or damaged"):
        load_plan(edited(data, "plan.json", fewer_shots))
    with pytest.raises(PlanError, match="changed or damaged"):
        load_plan(edited(data, "arrays/0/0/values.npy", other_values))
    with pytest.raises(PlanError, match="changed or damaged"):
        load_plan(edited(data, "circuits/0.qpy", other_values))
    with pytest.raises(PlanError, match="another version"):
        load_plan(edited(data, "plan.json", newer))
    for garbage in (b"", b"not a plan", data[: len(data) // 2]):
        with pytest.raises(PlanError, match="is not a plan"):
            load_plan(garbage)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**9))
def test_a_flipped_byte_never_gives_another_plan(position: int) -> None:
    data = bytearray(_BYTES)
    data[position % len(data)] ^= 0x20
    try:
        found = load_plan(bytes(data))
    except PlanError:
        return
    assert found.key == _KEY  # the byte was one of the archive's own, without meaning


_PLAN = made()
_BYTES, _KEY = dump_plan(_PLAN), _PLAN.key


def packed(outcomes: np.ndarray, bits: int) -> np.ndarray:
    """Return outcomes (S, shots) as bytes of a bit array."""
    width = -(-bits // 8)
    return np.stack([(outcomes >> (8 * (width - 1 - i))) & 255 for i in range(width)], -1).astype(
        np.uint8
    )


def answer(found: JobPlan, idx: int, outcome_of_row: np.ndarray) -> dict[str, np.ndarray]:
    """Make up a job's arrays in which every shot of a row has the outcome given for it."""
    arrays = {}
    for index, pub in enumerate(found.jobs[idx].pubs):
        for tile in range(len(found.tiles)):
            outcomes = np.repeat(outcome_of_row[pub.rows[:, [tile]]], found.shots, axis=1)
            arrays[f"{index}/t{tile}"] = packed(outcomes, 2)
            arrays[f"{index}/t{tile}/bits"] = np.array(2)
    return arrays


def test_results_come_back_to_their_rows() -> None:
    limits = JobLimits(executions=20)
    found = made(7, PlanOptions(shots=10, tiles=2, limits=limits))
    outcomes = np.array([0, 1, 2, 3, 3, 1, 0])  # bit 0 is qubit 0, bit 1 qubit 1
    results = {idx: answer(found, idx, outcomes) for idx in range(len(found.jobs))}
    assert len(results) == 2
    values = unpack(found, results).values
    signs = 1 - 2 * np.array([[b >> 1, (b & 1) ^ (b >> 1)] for b in outcomes])
    np.testing.assert_array_equal(values, signs + np.array([0.0, 0.5]))
    partial = unpack(found, {1: results[1]})
    assert partial.missing == (0, 1, 2, 3)
    np.testing.assert_array_equal(partial.values[4:], values[4:])
    assert any("4 of 7 rows" in note for note in partial.notes)
    assert unpack(found, {}).missing == tuple(range(7))


def test_results_that_do_not_fit_keep_no_other_jobs_rows_back() -> None:
    found = made()
    good = answer(found, 0, np.zeros(7, dtype=np.int64))
    assert 0 not in unpack(found, {0: good}).missing
    with pytest.raises(PlanError, match="got one of job 4"):
        unpack(found, {4: good})
    for wrong, message in (
        ({k: v for k, v in good.items() if "t1" not in k}, "registers"),
        ({k: v[:1] if v.ndim else v for k, v in good.items()}, "sets"),
        ({k: v[:, :-1] if v.ndim else v for k, v in good.items()}, "shots"),
        ({k: v if v.ndim else np.array(3) for k, v in good.items()}, "bits"),
    ):
        cut = unpack(found, {0: wrong})
        assert len(cut.missing) == found.num_rows
        assert "The result of job 0 cannot be used" in cut.notes[-1]
        assert message in cut.notes[-1]


def test_observables_in_several_bases_get_a_pub_each() -> None:
    observables = (SparsePauliOp("ZI"), SparsePauliOp("XX"), SparsePauliOp("YI"))
    found = plan(work(4, observables), fake_backend("guadalupe"), TWO)
    assert len(found.jobs[0].pubs) == 3
    assert found.jobs[0].executions == 3 * 2 * 10


def test_one_pair_of_preparations_calibrates_the_read_out_of_all_settings() -> None:
    # Three settings: both qubits in X, qubit 1 alone in Y and in Z.
    observables = (SparsePauliOp("XX"), SparsePauliOp("YI"), SparsePauliOp("ZI"))
    plain = plan(work(4, observables), fake_backend("guadalupe"), TWO)
    options = replace(TWO, mitigation=Mitigation(readout_inversion=True))
    found = plan(work(4, observables), fake_backend("guadalupe"), options)
    (job,) = found.jobs
    assert [pub.kind for pub in job.pubs] == ["samples"] * 3 + ["readout 0", "readout 1"]
    assert len(found.circuits) == 5
    assert job.executions == plain.jobs[0].executions + 2 * 10
    assert load_plan(dump_plan(found)).key == found.key
    ends = [found.tiles[tile].final_layout for tile in range(2)]
    for bit, circuit in enumerate(found.circuits[3:]):
        assert circuit.count_ops().get("x", 0) == 4 * bit
        read = {
            circuit.find_bit(step.clbits[0]).registers[0][0].name: []
            for step in circuit.data
            if step.operation.name == "measure"
        }
        for step in circuit.data:
            if step.operation.name == "measure":
                register, place = circuit.find_bit(step.clbits[0]).registers[0]
                read[register.name].append((place, circuit.find_bit(step.qubits[0]).index))
        assert {name: [q for _, q in sorted(row)] for name, row in read.items()} == {
            "t0": list(ends[0]), "t1": list(ends[1])
        }  # fmt: skip
    # Qubit 0 reads 1 in two of ten after 0, qubit 1 reads 0 in three of ten after 1.
    arrays = {}
    zeros, ones = np.array([1, 1] + [0] * 8), np.array([1, 1, 1] + [3] * 7)
    for index, pub in enumerate(job.pubs):
        sets, bits = max(1, len(pub.rows)), 2
        outcomes = {"readout 0": zeros, "readout 1": ones}.get(pub.kind, np.zeros(10, np.int64))
        if pub.kind == "samples":
            bits = len(Measurement.of(observables).settings[pub.setting].qubits)
        for tile in range(2):
            array = packed(np.tile(outcomes, (sets, 1)), bits)
            arrays[f"{index}/t{tile}"] = array if pub.kind == "samples" else array[0]
            arrays[f"{index}/t{tile}/bits"] = np.array(bits)
    values = unpack(found, {0: arrays}).values
    first, second = (1 + 0.2) / 0.8, (1 - 0.3) / 0.7  # (z - c)/a of a 0 on either qubit
    np.testing.assert_allclose(values, [[first * second, second, second]] * 4)


def test_the_overhead_of_mitigation_shows_in_the_cost() -> None:
    plain = made(8, PlanOptions(shots=1000, tiles=2)).cost
    assert plain.executions == 4 * 1000
    inverted = made(
        8, PlanOptions(shots=1000, tiles=2, mitigation=Mitigation(readout_inversion=True))
    ).cost
    assert inverted.executions == plain.executions + 2 * 1000
    assert inverted.qpu_seconds > plain.qpu_seconds + 2 * 2.0
    twirled = made(
        8, PlanOptions(shots=1000, tiles=2, mitigation=Mitigation(twirl_gates=True))
    ).cost
    assert twirled.executions == 4 * 63 * 16  # 16 circuits of 63 shots each
    folded = made(8, PlanOptions(shots=1000, tiles=2, mitigation=Mitigation(zne_factors=(1, 3, 5))))
    assert folded.cost.executions == 3 * plain.executions
    request = job_request(folded, 0)
    assert request.primitive == "estimator"
    assert request.options["resilience"]["zne"] == {
        "noise_factors": [1, 3, 5],
        "extrapolator": "linear",
    }
    assert request.precision == pytest.approx(1000**-0.5)
    _, observables, values = request.pubs[0]
    assert len(observables) == 2 * 2  # tiles × observables
    assert values.shape == (4, 4)
    evs = np.arange(16.0).reshape(4, 4)
    values = unpack(folded, {0: {"0/evs": evs, "0/stds": evs + 1}})
    np.testing.assert_array_equal(values.values[0::2], evs[:2].T)  # even rows ran on tile 0
    np.testing.assert_array_equal(values.std_errors[1::2], evs[2:].T + 1)


def test_the_estimator_takes_the_shots_that_were_planned() -> None:
    numbers = [*range(1, 10_001), *np.random.default_rng(1).integers(1, 10**9 + 1, 2000).tolist()]
    for shots in (*numbers, 10**7, 10**9):
        assert math.ceil(1.0 / precision_of(shots) ** 2) == shots  # as the client counts them
        assert math.ceil((1.0 / precision_of(shots)) ** 2) == shots
    options = PlanOptions(shots=1000, tiles=2, mitigation=Mitigation(measure_mitigation=True))
    assert math.ceil(1.0 / job_request(made(8, options), 0).precision ** 2) == 1000


def test_time_and_payload_limit_jobs_too() -> None:
    base = made(40, PlanOptions(shots=1000, tiles=1))
    (job,) = base.jobs
    halves = made(
        40,
        PlanOptions(
            shots=1000, tiles=1, limits=JobLimits(seconds=2 + (job.qpu_seconds - 2) * 0.51)
        ),
    )
    assert [len(each.pubs[0].rows) for each in halves.jobs] == [20, 20]
    bytes_each = base.jobs[0].payload_bytes - base.jobs[0].pubs[0].values.size * 32 // 3
    small = made(
        40,
        PlanOptions(shots=1000, tiles=1, limits=JobLimits(payload_bytes=bytes_each + 10 * 22)),
    )
    assert len(small.jobs) == 4
    with pytest.raises(PlanError, match="One set of rows does not fit"):
        made(2, PlanOptions(shots=1000, limits=JobLimits(executions=999)))


def test_tiling_is_ten_times_cheaper() -> None:
    options = PlanOptions(shots=4096, tiles=1)
    alone = plan(work(1000), fake_backend("fez"), options).cost
    tiled = plan(work(1000), fake_backend("fez"), replace(options, tiles=None)).cost
    assert alone.qpu_seconds / tiled.qpu_seconds > 10


def test_what_cannot_be_planned_is_refused() -> None:
    backend = fake_backend("manila")
    with pytest.raises(PlanError, match="identity"):
        plan(work(3, (SparsePauliOp("II"),)), backend)
    wide = QuantumCircuit(6)
    wide.h(range(6))
    too_wide = Workload(wide, (), np.zeros((1, 0)), (SparsePauliOp("Z" * 6),))
    with pytest.raises(PlanError, match="5 qubits"):
        plan(too_wide, backend)
    with pytest.raises(PlanError, match="from 0 to 0"):
        job_request(made(), 1)
    for bad in (
        lambda: PlanOptions(shots=0),
        lambda: PlanOptions(tiles=0),
        lambda: PlanOptions(max_error_ratio=0.5),
        lambda: PlanOptions(spare_qubits=-1),
        lambda: PlanOptions(optimization_level=4),
        lambda: JobLimits(executions=0),
        lambda: Mitigation(dynamical_decoupling="ZZ"),  # type: ignore[arg-type]
        lambda: Mitigation(zne_factors=(1,)),
        lambda: Mitigation(num_randomizations=0),
        lambda: Mitigation(readout_inversion=True, zne_factors=(1, 3)),
    ):
        with pytest.raises(PlanError, match=r"Expected|allowed at least|cannot be combined"):
            bad()


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize("bad", [INF, -INF, NAN, sys.float_info.max])
def test_a_value_that_is_not_finite_is_unknown_and_no_other(bad: float) -> None:
    planned = made(8, PlanOptions(shots=99, tiles=2, mitigation=Mitigation(zne_factors=(1, 3))))
    evs = np.linspace(-1.2, 1.2, 16).reshape(4, 4)  # (tiles × observables, sets)
    good = unpack(planned, {0: {"0/evs": evs, "0/stds": np.full((4, 4), INF)}})
    spoilt = evs.copy()
    spoilt[1, 2] = bad  # tile 0, observable 1, set 2: row 4
    found = unpack(planned, {0: {"0/evs": spoilt, "0/stds": np.full((4, 4), INF)}})
    kept = np.ones((8, 2), dtype=bool)
    kept[4, 1] = False
    assert np.isnan([found.values[4, 1], found.std_errors[4, 1]]).all()
    np.testing.assert_array_equal(found.values[kept], good.values[kept])
    np.testing.assert_array_equal(found.std_errors[kept], good.std_errors[kept])
    assert np.isfinite(good.std_errors).all()
    assert found.missing == (4,)
    assert any(
        "no finite value for 1 of 16 expectation values, in 1 rows" in n for n in found.notes
    )
    assert not any("no result yet" in note for note in found.notes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PlanOptions(shots=1.5), "at least one shot, a whole number, got 1.5"),
        (lambda: PlanOptions(shots=NAN), "at least one shot, a whole number, got nan"),
        (lambda: PlanOptions(shots=True), "at least one shot, a whole number, got True"),
        (lambda: PlanOptions(shots="10"), "at least one shot, a whole number, got '10'"),
        (lambda: PlanOptions(tiles=1.5), "tile, a whole number, got 1.5"),
        (lambda: PlanOptions(tiles=True), "tile, a whole number"),
        (lambda: PlanOptions(spare_qubits=0.5), "spare qubits, got 0.5"),
        (lambda: PlanOptions(seed=-1), "seed of zero or more, a whole number, got -1"),
        (lambda: PlanOptions(seed=0.5), "seed of zero or more"),
        (lambda: PlanOptions(solver_seconds=-1), "solver seconds, got -1"),
        (lambda: PlanOptions(solver_seconds=NAN), "solver seconds, got nan"),
        (lambda: PlanOptions(max_error_ratio=NAN), "error ratio"),
        (lambda: PlanOptions(optimization_level=True), "level of 0 to 3"),
        (lambda: PlanOptions(limits=None), "limits as JobLimits, got None"),
        (lambda: PlanOptions(cost=None), "cost as CostModel, got None"),
        (lambda: PlanOptions(mitigation=None), "mitigation as Mitigation, got None"),
        (lambda: JobLimits(seconds=NAN), "finite seconds"),
        (lambda: JobLimits(seconds=INF), "finite seconds"),
        (lambda: JobLimits(executions=NAN), "whole numbers of executions"),
        (lambda: JobLimits(payload_bytes=-1), "at least one execution"),
        (lambda: CostModel(sub_job=NAN), "finite time"),
        (lambda: CostModel(sub_job=-1e-6), "finite time"),
        (lambda: PlanOptions(rep_delay=INF), "rep_delay of zero or more"),
        (lambda: PlanOptions(rep_delay=-1e-6), "rep_delay of zero or more"),
        (lambda: PlanOptions(rep_delay="1"), "rep_delay of zero or more"),
        (lambda: Mitigation(zne_factors=(1, NAN)), "noise factors"),
        (lambda: Mitigation(zne_factors=(1, INF)), "noise factors"),
        (lambda: Mitigation(zne_factors=(1, 1)), "at least 1.1 times the smallest"),
        (lambda: Mitigation(zne_factors=(3, 3.29, 3)), "at least 1.1 times the smallest"),
        (lambda: Mitigation(num_randomizations=8), "8 randomizations need twirling"),
        (
            lambda: Mitigation(num_randomizations=1.5, twirl_gates=True),
            "at least one randomization",
        ),
    ],
)
def test_options_that_mean_nothing_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        make()


def test_numbers_of_numpy_are_numbers() -> None:
    given = PlanOptions(shots=np.int64(10), tiles=np.int32(2), seed=np.int64(0))
    assert given.canonical_json() == PlanOptions(shots=10, tiles=2, seed=0).canonical_json()


def test_qubits_outside_the_light_cone_take_no_room() -> None:
    wide = QuantumCircuit(8)
    wide.compose(head(), [3, 4], inplace=True)
    wide.h([0, 1, 2, 5, 6, 7])
    wide.cx(5, 6)
    values = work(4).values
    workload = Workload(wide, NAMES, values, (SparsePauliOp("IIIZIIII"),))
    found = plan(workload, fake_backend("guadalupe"), TWO)
    assert {len(tile.qubits) for tile in found.tiles} == {2}
    assert found.tiles[0].final_layout[0] == -1
    assert found.tiles[0].final_layout[4] in found.tiles[0].qubits
    assert any("2 of the circuit's 8 qubits" in note for note in found.notes)
