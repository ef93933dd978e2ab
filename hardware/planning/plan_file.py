"""Plans as bytes: JSON, arrays and QPY in one archive, under a hash that refuses edits by hand."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from qiskit import qpy
from qiskit.circuit import QuantumCircuit
from qiskit.exceptions import QiskitError
from qiskit.quantum_info import SparsePauliOp

from hardware.circuits.adaptive import LinearRule
from hardware.circuits.definitions import storable
from hardware.circuits.hashing import QPY_VERSION, digest, without_random_names
from hardware.errors import InvalidInputError, PlanError
from hardware.planning.cost import CostEstimate
from hardware.planning.fractional import check_angles
from hardware.planning.options import PlanOptions
from hardware.planning.plan import (
    JobPlan,
    PlannedJob,
    PlannedPub,
    PlannedRound,
    Tile,
    Timing,
)
from hardware.planning.plan_check import check_cost, check_plan

#: Plans of adaptive shots have a format of their own, which older versions refuse.
FORMAT, ADAPTIVE_FORMAT = 2, 3
_DOCUMENT, _KEY, _REMARKS = "plan.json", "key", "remarks.json"
#: A fixed date: the archive's bytes follow from its content.
_DATE = (1980, 1, 1, 0, 0, 0)
#: What reading a damaged archive, or a file that is not one, may raise.
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    KeyError,
    ValueError,
    TypeError,
    EOFError,
    OSError,
    NotImplementedError,  # an unknown compression
    RuntimeError,  # an entry marked as encrypted
)
#: What a document of another form may raise on its way to a plan; Qiskit's reader of circuits
#: raises these on bytes of another kind, beside its own errors.
_MALFORMED = (*_UNREADABLE, AttributeError, IndexError, OverflowError, QiskitError)


def finished(plan: JobPlan) -> JobPlan:
    """Return a plan with the content hash of what it holds."""
    return replace(plan, key=_key_of(_entries(plan)))


def dump_plan(plan: JobPlan) -> bytes:
    """Return a finished plan as bytes; `load_plan` reads them."""
    entries = _entries(plan)
    # Not the plan's own key: an earlier version may have written other names.
    entries[_KEY] = _key_of(entries).encode()
    if plan.num_remarks:
        entries[_REMARKS] = json.dumps(plan.notes[: plan.num_remarks]).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in entries.items():
            info = zipfile.ZipInfo(name, _DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return buffer.getvalue()


def load_plan(data: bytes) -> JobPlan:
    """Return the plan that `dump_plan` wrote, its cost computed anew and compared.

    Raises:
        PlanError: The bytes are no plan, one from a newer version, one that was changed, one whose
            parts do not belong together, or one whose circuits cost something else than it says or
            hold angles that the device does not take.
    """
    plan = load_submitted(data)
    check_cost(plan)
    check_angles(plan)
    return plan


def load_submitted(data: bytes) -> JobPlan:
    """Return the plan of a run from the ledger, whose cost was checked when it was submitted.

    It is not computed anew: another version of the client may count otherwise, and results that
    are paid for must stay readable.

    Raises:
        PlanError: As `load_plan`, but for the cost.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        key = entries.pop(_KEY).decode()
        remarks = tuple(json.loads(entries.pop(_REMARKS, b"[]")))
        document = json.loads(entries[_DOCUMENT])
        version = document["format"]
    except _UNREADABLE as error:
        raise PlanError(f"The file is not a plan ({error}).") from error
    if version not in (FORMAT, ADAPTIVE_FORMAT):
        raise PlanError(
            f"Expected a plan of format {FORMAT}, got {version}: it was made by another version; "
            "plan again."
        )
    if _key_of(entries) != key:
        raise PlanError(
            "Expected the plan as it was made, but its content does not match its key: it was "
            "changed or damaged; plan again."
        )
    try:
        plan = _plan(document, entries)
    except (*_MALFORMED, InvalidInputError) as error:
        raise PlanError(f"Expected a readable plan, got one with {error!r}; plan again.") from error
    plan = replace(plan, notes=(*remarks, *plan.notes), num_remarks=len(remarks))
    check_plan(plan)
    return replace(plan, key=key)  # as written: another version of Qiskit may write other QPY


def _entries(plan: JobPlan) -> dict[str, bytes]:
    """Return the parts of a plan, in a fixed order."""
    arrays: dict[str, bytes] = {}
    jobs = []
    for j, job in enumerate(plan.jobs):
        pubs = []
        for p, pub in enumerate(job.pubs):
            for name in ("values", "rows", "padded"):
                arrays[f"arrays/{j}/{p}/{name}.npy"] = _array_bytes(getattr(pub, name))
            pubs.append({"kind": pub.kind, "setting": pub.setting, "circuit": pub.circuit,
                         "parameters": list(pub.parameters)})  # fmt: skip
        jobs.append({"executions": job.executions, "payload_bytes": job.payload_bytes,
                     "qpu_seconds": job.qpu_seconds, "items": job.items, "pubs": pubs}
                    | ({"round": job.round} if plan.rounds else {}))  # fmt: skip
    document = {
        "format": ADAPTIVE_FORMAT if plan.rounds else FORMAT,
        "workload_hash": plan.workload_hash,
        "target": plan.target,
        "backend": plan.backend,
        "calibration_id": plan.calibration_id,
        "calibration": dict(plan.calibration),
        "num_rows": plan.num_rows,
        "observables": [
            {
                "labels": [label for label, _ in observable.to_list()],
                "coefficients": [float(value.real) for _, value in observable.to_list()],
            }
            for observable in plan.observables
        ],
        "options": plan.options.canonical_json(),
        "tiles": [
            {
                "qubits": list(t.qubits),
                "expected_error": t.expected_error,
                "shape": t.shape,
                "ends": list(t.final_layout),
            }
            for t in plan.tiles
        ],
        "timing": {
            "rep_delay": plan.timing.rep_delay,
            "durations": dict(plan.timing.durations),
            "dt": plan.timing.dt,
        },
        "jobs": jobs,
        "notes": list(plan.notes[plan.num_remarks :]),
        "about": dict(plan.about),
    }
    if plan.options.mitigation.pec_mitigation:
        document["sampling_overhead"] = plan.sampling_overhead
    if plan.rule is not None:
        document["rule"] = plan.rule.as_dict()
        document["rounds"] = [asdict(each) for each in plan.rounds]
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    circuits = {
        f"circuits/{i}.qpy": _circuit_bytes(circuit) for i, circuit in enumerate(plan.circuits)
    }
    return {_DOCUMENT: text.encode(), **circuits, **arrays}


def _key_of(entries: Mapping[str, bytes]) -> str:
    parts = []
    for name in sorted(entries):
        data = entries[name]
        if name.endswith(".qpy"):
            data = data[:7] + data[10:]  # without the version of the Qiskit that wrote it
            data = without_random_names(data)
        parts += [name.encode(), data]
    return digest(*parts)


def _plan(document: dict[str, Any], entries: Mapping[str, bytes]) -> JobPlan:
    jobs = []
    for j, job in enumerate(document["jobs"]):
        pubs = tuple(
            PlannedPub(
                kind=pub["kind"],
                setting=pub["setting"],
                circuit=pub["circuit"],
                parameters=tuple(pub["parameters"]),
                **{
                    name: _array(entries[f"arrays/{j}/{p}/{name}.npy"])
                    for name in ("values", "rows", "padded")
                },
            )
            for p, pub in enumerate(job["pubs"])
        )
        sizes = (job["executions"], job["payload_bytes"], job["qpu_seconds"], job["items"])
        jobs.append(PlannedJob(pubs, *sizes, job.get("round", 0)))
    circuits: list[QuantumCircuit] = []
    while (name := f"circuits/{len(circuits)}.qpy") in entries:
        circuits.append(qpy.load(io.BytesIO(entries[name]))[0])
    return JobPlan(
        workload_hash=document["workload_hash"],
        target=document["target"],
        backend=document["backend"],
        calibration_id=document["calibration_id"],
        calibration=document["calibration"],
        num_rows=document["num_rows"],
        observables=tuple(
            SparsePauliOp(o["labels"], o["coefficients"]) for o in document["observables"]
        ),
        options=PlanOptions.from_json(document["options"]),
        tiles=tuple(
            Tile(tuple(t["qubits"]), t["expected_error"], t["shape"], tuple(t["ends"]))
            for t in document["tiles"]
        ),
        circuits=tuple(circuits),
        timing=Timing(**document["timing"]),
        jobs=tuple(jobs),
        notes=tuple(document["notes"]),
        about=document["about"],
        sampling_overhead=document.get("sampling_overhead", 1.0),  # since PEC
        rule=LinearRule.of(document["rule"]) if "rule" in document else None,
        rounds=tuple(
            PlannedRound(**each | {"most": CostEstimate(**each["most"])})
            for each in document.get("rounds", ())
        ),
    )


def _circuit_bytes(circuit: QuantumCircuit) -> bytes:
    buffer = io.BytesIO()
    qpy.dump(storable(circuit), buffer, version=QPY_VERSION)
    return buffer.getvalue()


def _array_bytes(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def _array(data: bytes) -> np.ndarray:
    return np.load(io.BytesIO(data), allow_pickle=False)
