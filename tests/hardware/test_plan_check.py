"""Plans with a hash that is right and contents that are not."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from hardware.devices.backends import fake_backend
from hardware.errors import PlanError
from hardware.planning.mitigation import Mitigation
from hardware.planning.options import JobLimits, PlanOptions
from hardware.planning.plan import JobPlan
from hardware.planning.plan_file import (
    _key_of,
    dump_plan,
    finished,
    load_plan,
    load_submitted,
)
from hardware.planning.planner import plan
from hardware.workload import Workload

OPTIONS = PlanOptions(
    shots=10,
    tiles=2,
    limits=JobLimits(executions=40),
    mitigation=Mitigation(readout_inversion=True),
)
Z = (SparsePauliOp("ZI"), SparsePauliOp("ZZ"))


def made(options: PlanOptions = OPTIONS, observables: tuple[SparsePauliOp, ...] = Z) -> JobPlan:
    circuit = QuantumCircuit(2)
    circuit.ry(Parameter("x"), 0)
    circuit.cx(0, 1)
    values = np.linspace(-3, 3, 7)[:, np.newaxis]
    workload = Workload(circuit, ("x",), values, observables)
    return plan(workload, fake_backend("guadalupe"), options)


PLAN = made()
BYTES = dump_plan(PLAN)


def forged(change: Callable[[dict[str, bytes]], object]) -> bytes:
    """Return the plan with other contents and the hash that belongs to them."""
    with zipfile.ZipFile(io.BytesIO(BYTES)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist() if name != "key"}
    change(entries)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in {**entries, "key": _key_of(entries).encode()}.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def document(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, bytes]], None]:
    def changed(entries: dict[str, bytes]) -> None:
        content = json.loads(entries["plan.json"])
        change(content)
        entries["plan.json"] = json.dumps(content).encode()

    return changed


def put(*path: str | int, value: object) -> Callable[[dict[str, bytes]], None]:
    def change(content: Any) -> None:
        for step in path[:-1]:
            content = content[step]
        content[path[-1]] = value

    return document(change)


def array(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[..., None]:
    def changed(entries: dict[str, bytes]) -> None:
        buffer = io.BytesIO()
        np.save(buffer, change(np.load(io.BytesIO(entries[name]))))
        entries[name] = buffer.getvalue()

    return changed


def test_what_the_planner_makes_is_accepted() -> None:
    assert load_plan(forged(lambda entries: None)).cost == PLAN.cost
    assert len(PLAN.jobs) > 1
    bases = (*Z, SparsePauliOp("XX"))
    for options in (
        PlanOptions(shots=7),
        replace(OPTIONS, limits=JobLimits()),
        PlanOptions(shots=1000, tiles=3, mitigation=Mitigation(zne_factors=(1, 3))),
        PlanOptions(shots=1000, tiles=3, mitigation=Mitigation(twirl_gates=True)),
        replace(OPTIONS, limits=JobLimits(executions=120)),
    ):
        for observables in (Z, bases):
            first = made(options, observables)
            assert load_plan(dump_plan(first)).cost == first.cost


JOB, TILE, PUB = ("jobs", 0), ("tiles", 0), ("jobs", 0, "pubs", 0)
QPY, ROWS = "circuits/0.qpy", "arrays/0/0/rows.npy"
FORGERIES: dict[str, Callable[[dict[str, bytes]], object]] = {
    "cut circuit": lambda entries: entries.update({QPY: entries[QPY][:40]}),
    "short circuit": lambda entries: entries.update({QPY: entries[QPY][:-9]}),
    "no circuit": lambda entries: entries.update({QPY: b""}),
    "broken circuit": lambda entries: entries.update({QPY: b"QISKIT" + b"\xff" * 60}),
    "file without circuits": lambda entries: entries.update(
        {QPY: entries[QPY][:11] + bytes(8) + entries[QPY][19:]}
    ),
    "missing circuit": lambda entries: entries.pop("circuits/2.qpy"),
    "circuit 7": put(*PUB, "circuit", value=7),
    "circuit -1": put(*PUB, "circuit", value=-1),
    "circuit 0.0": put(*PUB, "circuit", value=0.0),
    "setting": put(*PUB, "setting", value=1),
    "kind": put(*PUB, "kind", value="readout 0"),
    "negative seconds": put(*JOB, "qpu_seconds", value=-5),
    "few seconds": put(*JOB, "qpu_seconds", value=0.001),
    "no seconds": put(*JOB, "qpu_seconds", value=float("nan")),
    "endless seconds": put(*JOB, "qpu_seconds", value=float("inf")),
    "other seconds": put(*JOB, "qpu_seconds", value=PLAN.jobs[0].qpu_seconds + 0.01),
    "seconds as text": put(*JOB, "qpu_seconds", value="2.0"),
    "more seconds": put(*JOB, "qpu_seconds", value=PLAN.jobs[0].qpu_seconds * (1 + 1e-6)),
    "items": put(*JOB, "items", value=PLAN.jobs[0].items - 1),
    "no items": put(*JOB, "items", value=0),
    "items as text": put(*JOB, "items", value="3"),
    "no repetition delay": put("timing", "rep_delay", value=0.0),
    "negative repetition delay": put("timing", "rep_delay", value=-1.0),
    "endless step": put("timing", "dt", value=float("inf")),
    "shorter read-out": put("timing", "durations", "measure", value=0.0),
    "no durations": put("timing", "durations", value={}),
    "durations of another kind": put("timing", "durations", value=[1.0]),
    "no timing": document(lambda content: content.pop("timing")),
    "executions": put(*JOB, "executions", value=PLAN.jobs[0].executions - 1),
    "executions as float": put(*JOB, "executions", value=float(PLAN.jobs[0].executions)),
    "payload": put(*JOB, "payload_bytes", value=-1),
    "ends beyond the chip": put(*TILE, "ends", value=[99, 100]),
    "ends elsewhere": put(*TILE, "ends", value=list(PLAN.tiles[1].final_layout)),
    "no ends": put(*TILE, "ends", value=[-1, -1]),
    "one end": put(*TILE, "ends", value=[PLAN.tiles[0].final_layout[0]]),
    "one end twice": put(*TILE, "ends", value=[PLAN.tiles[0].final_layout[0]] * 2),
    "tile beyond the chip": put(*TILE, "qubits", value=[*PLAN.tiles[0].qubits, 99]),
    "tiles that meet": put(*TILE, "qubits", value=list(PLAN.tiles[1].qubits)),
    "error": put(*TILE, "expected_error", value=float("nan")),
    "one tile": document(lambda content: content["tiles"].pop()),
    "more rows": put("num_rows", value=8),
    "fewer rows": put("num_rows", value=6),
    "no rows": put("num_rows", value=0),
    "rows as text": put("num_rows", value="7"),
    "no jobs": put("jobs", value=[]),
    "a job less": document(lambda content: content["jobs"].pop()),
    "jobs of another kind": put("jobs", value=7),
    "job of another kind": put("jobs", value=[7]),
    "options of another kind": put("options", value="[]"),
    "other shots": put("options", value=replace(OPTIONS, shots=5).canonical_json()),
    "no observables": put("observables", value=[]),
    "identity": put("observables", value=[{"labels": ["II"], "coefficients": [1.0]}]),
    "backend": put("backend", value=7),
    "about": put("about", value=[]),
    "notes": put("notes", value=[7]),
    "parameters": put(*PUB, "parameters", value=["a", "b"]),
    "row beyond": array(ROWS, lambda rows: rows + 100),
    "row below": array(ROWS, lambda rows: rows - 1),
    "row twice": array(ROWS, lambda rows: rows * 0),
    "rows of one tile": array(ROWS, lambda rows: rows[:, :1]),
    "rows of no axis": array(ROWS, lambda rows: rows[0, 0]),
    "rows as floats": array(ROWS, lambda rows: rows.astype(float)),
    "padding": array("arrays/0/0/padded.npy", lambda padded: ~padded),
    "values": array("arrays/0/0/values.npy", lambda values: values[:, :1]),
    "infinite values": array("arrays/0/0/values.npy", lambda values: values + np.inf),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_plan_with_a_right_hash_and_wrong_contents_is_refused(name: str) -> None:
    with pytest.raises(PlanError, match="plan again"):
        load_plan(forged(FORGERIES[name]))


@pytest.mark.parametrize(
    "mitigation", [Mitigation(readout_inversion=True), Mitigation(zne_factors=(1, 3))]
)
def test_more_gates_at_the_same_price_are_refused(mitigation: Mitigation) -> None:
    first = made(replace(OPTIONS, mitigation=mitigation))
    circuit = first.circuits[0].copy()
    edge = next(step.qubits for step in circuit.data if step.operation.name == "cx")
    longer = circuit.copy_empty_like()
    for _ in range(5000):
        longer.cx(*edge)
    longer.compose(circuit, inplace=True)
    assert load_plan(dump_plan(first)).cost == first.cost
    heavier = finished(replace(first, circuits=(longer, *first.circuits[1:])))
    with pytest.raises(PlanError, match="QPU seconds in job 0"):
        load_plan(dump_plan(heavier))


def test_a_plan_from_the_ledger_is_read_whatever_the_client_counts_by_now() -> None:
    # Its cost was checked before it was submitted, and its results are paid for.
    other = finished(replace(PLAN, jobs=tuple(replace(job, items=9) for job in PLAN.jobs)))
    assert load_submitted(dump_plan(other)).jobs[0].items == 9
    with pytest.raises(PlanError, match="3 items in job 0, got 9"):
        load_plan(dump_plan(other))


def test_plans_keep_the_options_and_the_key_that_they_had_before_there_were_more() -> None:
    for name in ("resilience", "measure_mitigation"):  # as this field was once called, and is

        def older(content: dict[str, Any], name: str = name) -> None:
            options = json.loads(content["options"])
            options["mitigation"] = {
                "readout_inversion": True, "dynamical_decoupling": None, "twirl_gates": False,
                "twirl_measure": False, "num_randomizations": None, "zne_factors": [], name: False,
            }  # fmt: skip
            content["options"] = json.dumps(options, sort_keys=True, separators=(",", ":"))

        first = load_plan(forged(document(older)))
        assert first.options == PLAN.options
        # A run that sends it again writes it down as it is written today.
        assert load_submitted(dump_plan(first)).options == PLAN.options
    with zipfile.ZipFile(io.BytesIO(BYTES)) as archive:
        options = json.loads(json.loads(archive.read("plan.json"))["options"])
    assert set(options["mitigation"]) == {
        "readout_inversion", "dynamical_decoupling", "twirl_gates", "twirl_measure",
        "num_randomizations", "zne_factors", "resilience",
    }  # fmt: skip


def test_cut_and_spoilt_circuits_never_give_a_traceback() -> None:
    with zipfile.ZipFile(io.BytesIO(BYTES)) as archive:
        good = archive.read(QPY)
    rng = np.random.default_rng(5)
    for place in rng.integers(0, len(good), 60).tolist():
        spoilt = good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :]
        for data in (good[:place], spoilt):
            try:
                load_plan(forged(lambda entries, data=data: entries.update({QPY: data})))
            except PlanError:
                continue
