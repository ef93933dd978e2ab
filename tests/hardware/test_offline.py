"""Plans by a calibration that was kept: equal to those made online, and honest about its age."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta

import pytest
from contracts.target_contract import workload
from loopback import Change, Cloud, Drop, Loopback, Reply
from loopback.answers import CRN, OTHER_CRN
from loopback.home import private_home
from qiskit_ibm_runtime import QiskitRuntimeService

import hardware
from hardware import Account, PlanOptions
from hardware.devices.cached import CachedDevice
from hardware.devices.ibm import calibration_cache
from hardware.devices.ibm.calibration_cache import instance_digest, read_calibrations
from hardware.devices.named import NamedDevice, parse_device
from hardware.errors import (
    AccountError,
    InvalidInputError,
    LoginServiceError,
    PlanError,
    UnknownBackendError,
)
from hardware.planning.options import Mitigation
from hardware.planning.plan_file import dump_plan, load_plan
from hardware.runs.opening import open_device
from hardware.runs.quote import Quote

pytestmark = pytest.mark.usefixtures("quick_retries")
TARGET = "ibm:ibm_manila"
OPTIONS = PlanOptions(shots=100, seed=1, mitigation=Mitigation(readout_inversion=True))
DOWN = (("token", Reply(503)), ("token", Drop()), ("backends", Reply(502)), ("properties", Drop()))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch, cache_folder):
    return private_home(tmp_path, monkeypatch, cache=cache_folder)


@pytest.fixture
def double():
    with (
        Loopback(Cloud(("ibm_manila",)), other=Cloud(("ibm_belem", "ibm_manila"))) as double,
        double.addresses(),
    ):
        QiskitRuntimeService.save_account(**double.account())
        yield double


def plan(target=TARGET, **options):
    return hardware.plan(workload(), target, OPTIONS, **options)


def dated(when):
    """Return a change of a device's properties to the date of a calibration."""
    return Change(lambda body: {**body, "last_update_date": when.isoformat()})


def files(folder):
    return sorted((folder / "calibrations").iterdir())


def test_a_plan_is_the_same_online_and_offline_and_asks_nothing(double):
    online = plan()
    asked = double.faults.seen.copy()
    offline = plan(offline=True)
    assert double.faults.seen == asked
    assert offline.key == online.key
    assert offline.notes[offline.num_remarks :] == online.notes
    assert (online.num_remarks, offline.num_remarks) == (0, 1)
    assert dump_plan(offline) != dump_plan(online)
    kept = load_plan(dump_plan(offline))
    assert (kept.key, kept.notes, kept.num_remarks) == (offline.key, offline.notes, 1)


@pytest.mark.parametrize("name", ["ibm_fez", "ibm_kyiv", "ibm_brisbane"])
def test_large_devices_come_back_to_the_last_bit(name):
    with Loopback(Cloud((name,))) as double, double.addresses():
        QiskitRuntimeService.save_account(**double.account())
        online = plan(f"ibm:{name}")
    assert plan(f"ibm:{name}", offline=True).key == online.key


@pytest.mark.parametrize(
    ("age", "said"),
    [
        (timedelta(minutes=1), "1 minute old"),
        (timedelta(hours=5), "5 hours old"),
        (timedelta(hours=47), "47 hours old"),
        (timedelta(days=12), "12 days old"),
        (timedelta(minutes=-1), "0 minutes old"),  # clocks differ a little
        (timedelta(hours=-3), "a date that lies in the future"),
        (timedelta(days=-1000), "a date that lies in the future"),
    ],
)
def test_a_plan_says_how_old_its_calibration_is(double, age, said, cache_folder):
    when = datetime.now(UTC) - age
    double.faults.always["properties"] = dated(when)
    plan()
    remark = plan(offline=True).notes[0]
    assert f"calibration of {when:%Y-%m-%d %H:%M} UTC, {said}" in remark
    assert files(cache_folder)[0].name in remark


@pytest.mark.parametrize(("kind", "fault"), DOWN)
def test_where_the_platform_cannot_be_reached_the_kept_calibration_stands_in(
    double, kind, fault, caplog
):
    online = plan()
    double.faults.always[kind] = fault
    found = plan()
    assert found.key == online.key
    assert found.notes[0] == "The platform could not be reached."
    assert "days old" in found.notes[1]
    assert "made offline" in caplog.text
    with pytest.raises((LoginServiceError, UnknownBackendError, hardware.HardwareError)) as caught:
        plan("ibm:ibm_belem")
    assert "No calibration" not in str(caught.value)  # the trouble, and not what it led to


def test_no_account_stands_in_where_the_login_is_refused(double):
    plan()
    double.faults.always["token"] = Reply(401)
    with pytest.raises(AccountError):
        plan()


def test_a_device_that_can_be_reached_is_always_asked(double):
    plan()
    double.faults.always["properties"] = dated(datetime.now(UTC))
    asked = double.faults.seen["properties"]
    assert plan().num_remarks == 0
    assert double.faults.seen["properties"] == asked + 1
    assert "0 minutes old" in plan(offline=True).notes[0]


def test_offline_without_a_calibration_says_what_to_do(double, cache_folder):
    with pytest.raises(UnknownBackendError, match="Plan once online"):
        plan(offline=True)
    assert not (cache_folder / "calibrations").exists()
    assert double.faults.seen.total() == 0
    plan()
    with pytest.raises(UnknownBackendError, match=r"ibm_manila\..*Did you mean 'ibm_manila'"):
        plan("ibm:ibm_manilla", offline=True)


def test_calibrations_belong_to_an_instance(double, cache_folder):
    for account in (None, Account(instance="another")):
        plan(account=account)
    assert len(files(cache_folder)) == 2
    belem = plan("ibm:ibm_belem", account=Account(instance="another"))
    with pytest.raises(UnknownBackendError, match="there are ibm_manila"):
        plan("ibm:ibm_belem", offline=True)
    for instance in ("another", OTHER_CRN):
        account = Account(instance=instance)
        assert plan("ibm:ibm_belem", offline=True, account=account).key == belem.key
    device = open_device(parse_device(TARGET, Account(instance="another"), offline=True))
    assert device.instance == instance_digest(OTHER_CRN)
    with pytest.raises(UnknownBackendError, match="for this account"):
        plan(offline=True, account=Account(instance="elsewhere"))
    with pytest.raises(AccountError, match="No account is saved as 'else'"):
        plan(offline=True, account=Account(name="else"))


def test_without_an_instance_the_calibration_that_was_fetched_last_counts(double):
    saved = {key: value for key, value in double.account().items() if key != "instance"}
    plan()
    double.faults.always["properties"] = dated(datetime.now(UTC))
    plan(account=Account(instance="another"))
    QiskitRuntimeService.save_account(**saved, overwrite=True)
    for target in (TARGET, "ibm:best"):
        assert "0 minutes old" in plan(target, offline=True).notes[0]


def damage_bit(data):
    return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]


def signed(change):
    """Return what changes a file and gives it a new checksum, as only a program would."""

    def damage(data):
        document = json.loads(data.partition(b"\n")[2])
        change(document)
        body = json.dumps(document).encode()
        return f"{calibration_cache.hashlib.sha256(body).hexdigest()}\n".encode() + body

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:1000],
        lambda data: b"",
        damage_bit,
        signed(lambda document: document.update(format=99)),
        signed(lambda document: document.update(device="ibm_belem")),
        signed(lambda document: document.update(instance="0" * 64)),
        signed(lambda document: document["configuration"].update(backend_name="ibm_belem")),
        signed(lambda document: document["configuration"].pop("gates")),
        signed(lambda document: document["properties"].pop("qubits")),
        signed(lambda document: document.update(properties=[])),
        signed(lambda document: document.update(fetched_at=5)),
        signed(lambda document: document.update(fetched_at="0001-01-01T00:00:00+14:00")),
        signed(lambda document: document.update(fetched_at="9999-12-31T23:59:59-14:00")),
        signed(lambda document: document.pop("label")),
        signed(lambda document: document["properties"].update(qubits=[[]])),
    ],
)
def test_a_damaged_or_foreign_file_is_as_if_it_were_not_there(double, damage, cache_folder):
    online = plan()
    path = files(cache_folder)[0]
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    with pytest.raises(UnknownBackendError, match=f"{path.name} cannot be used"):
        plan(offline=True)
    other = path.with_name(f"ibm_manila-{'1' * 16}.json")
    other.write_bytes(path.read_bytes())
    path.write_bytes(whole)
    found = plan(offline=True)
    assert found.key == online.key
    assert any(f"{other.name} cannot be used" in note for note in found.notes[:2])
    path.write_bytes(damage(whole))
    assert plan().num_remarks == 0  # and is written anew
    assert path.read_bytes() != damage(whole)
    assert plan(offline=True).key == online.key


def test_a_file_that_is_too_long_is_not_read(double, cache_folder, monkeypatch):
    plan()
    monkeypatch.setattr(calibration_cache, "MAX_BYTES", 100)
    with pytest.raises(UnknownBackendError, match="too long"):
        plan(offline=True)


@pytest.mark.parametrize("kind", ["pipe", "folder", "link"])
def test_only_regular_files_are_read(double, cache_folder, kind):
    plan()
    path = files(cache_folder)[0]
    whole = path.rename(cache_folder / "elsewhere")
    make = {"pipe": os.mkfifo, "folder": os.mkdir, "link": lambda path: path.symlink_to(whole)}
    make[kind](path)
    with pytest.raises(UnknownBackendError, match=f"{path.name} cannot be used"):
        plan(offline=True)


def test_a_device_with_a_repetition_delay_below_zero_is_not_planned_for(double, cache_folder):
    plan()
    path = files(cache_folder)[0]
    for delay, said in ((-250, "-0.00025 s as the repetition delay"), (float("nan"), "nan s")):
        change = signed(lambda document, delay=delay: document["configuration"].update(
            default_rep_delay=delay
        ))  # fmt: skip
        path.write_bytes(change(path.read_bytes()))
        with pytest.raises(PlanError, match=f"^ibm_manila states {said}.*calibration anew"):
            plan(offline=True)


def test_old_files_make_room_and_strangers_stay(double, cache_folder, monkeypatch):
    monkeypatch.setattr(calibration_cache, "MAX_FILES", 2)
    plan()
    folder = cache_folder / "calibrations"
    (folder / "notes.txt").write_text("mine")
    for number in range(3):
        path = folder / f"ibm_old-{number:016x}.json"
        path.write_text("")
        os.utime(path, (number, number))
    plan("ibm:ibm_belem", account=Account(instance="another"))
    names = {path.name.partition("-")[0] for path in files(cache_folder)}
    assert names == {"ibm_manila", "ibm_belem", "notes.txt"}


def test_files_are_the_users_alone(double, cache_folder):
    plan()
    assert files(cache_folder)[0].stat().st_mode & 0o077 == 0
    assert files(cache_folder)[0].parent.stat().st_mode & 0o077 == 0


def test_a_cache_that_cannot_be_written_does_not_matter(double, tmp_path, monkeypatch, caplog):
    place = tmp_path / "file"
    place.write_text("")
    monkeypatch.setenv("QHEAD_CACHE", str(place))
    caplog.set_level("INFO")
    assert plan().num_remarks == 0
    assert "is not kept" in caplog.text
    with pytest.raises(UnknownBackendError, match="No calibration"):
        plan(offline=True)


def test_keeping_a_calibration_asks_the_platform_nothing_more(double, cache_folder):
    device = open_device(parse_device(TARGET))
    before = double.faults.seen.copy()
    assert device.backend.name == "ibm_manila"
    assert double.faults.seen - before == {"properties": 1}
    before, kept = double.faults.seen.copy(), files(cache_folder)[0].read_bytes()
    assert device.backend.name == "ibm_manila"
    assert double.faults.seen == before
    assert files(cache_folder)[0].read_bytes() == kept  # was not fetched anew


def test_gates_of_any_angle_are_kept_too(cache_folder):
    target, angles = "ibm:ibm_fractional", PlanOptions(shots=100, fractional_gates=True)
    before = datetime.now(UTC) - timedelta(hours=5)
    with Loopback(Cloud(("ibm_fractional",))) as double, double.addresses():
        QiskitRuntimeService.save_account(**double.account())
        usual = plan(target)
        with pytest.raises(PlanError, match="plan once online with fractional_gates"):
            hardware.plan(workload(), target, angles, offline=True)
        double.faults.soon("properties", dated(datetime.now(UTC)))
        double.faults.at["properties", double.faults.seen["properties"] + 2] = dated(before)
        online = hardware.plan(workload(), target, angles)
    assert len(files(cache_folder)) == 2
    offline = hardware.plan(workload(), target, angles, offline=True)
    assert offline.key == online.key
    assert "5 hours old" in offline.notes[0]
    assert "-fractional.json" in offline.notes[0]
    again = plan(target, offline=True)
    assert again.key == usual.key
    assert "0 minutes old" in again.notes[0]


def test_the_best_device_is_chosen_among_those_that_are_kept(double):
    account = Account(instance="another")
    with pytest.raises(UnknownBackendError, match="any device"):
        plan("ibm:best", offline=True)
    plan("ibm:ibm_belem", account=account)
    found = plan("ibm:best", offline=True, account=account)
    assert found.target == "ibm:ibm_belem:100"
    assert found.notes[1] == "Chosen among the cached devices only: ibm_belem."
    online = plan("ibm:best", account=account)
    again = plan("ibm:best", offline=True, account=account)
    assert again.key == online.key
    assert "ibm_belem, ibm_manila" in again.notes[1]


def test_the_least_busy_device_is_unknown_offline(double):
    plan()
    with pytest.raises(InvalidInputError, match="no queue is known"):
        plan("ibm:least_busy", offline=True)
    double.faults.always["token"] = Reply(503)
    with pytest.raises(LoginServiceError):
        plan("ibm:least_busy")


def test_fakes_are_always_offline_and_others_never():
    assert plan("fake:manila", offline=True).key == plan("fake:manila").key
    with pytest.raises(InvalidInputError, match="cannot be planned for offline"):
        plan("backend:my.module:make", offline=True)


def test_what_the_account_has_left_is_unknown_offline(double):
    found = plan()
    device = open_device(parse_device(TARGET, offline=True))
    quote = Quote.of(found, device)
    assert isinstance(device, CachedDevice)
    assert quote.remaining is None
    assert not quote.local
    assert quote.advised_budget > 0
    assert " left" not in str(quote)


def test_a_cached_device_takes_no_jobs(double, tmp_path):
    device = open_device(parse_device(TARGET, offline=True)) if plan() else None
    for made in (plan(), plan(offline=True)):
        with pytest.raises(InvalidInputError, match="opened offline, to plan only"):
            hardware.submit(made, budget=60, device=device)
    assert not hardware.runs.run.list_runs()
    with pytest.raises(hardware.HardwareError, match="was not asked"):
        device.send(None, [], None, None)


def test_a_plan_made_offline_is_submitted_and_runs(double):
    plan()
    run = hardware.submit(plan(offline=True), budget=60)
    assert run.collect().missing == ()
    assert run.plan.num_remarks == 1


def without_edges(body):
    """Return properties in which no two-qubit gate works any more."""
    gates = [
        {**gate, "parameters": [{**each, "value": 1.0} for each in gate["parameters"]]}
        if gate["gate"] == "cx"
        else gate
        for gate in body["gates"]
    ]
    return {**body, "gates": gates}


def worse(body):
    """Return properties with other read-out errors."""
    qubits = [
        [{**each, "value": 0.3} if each["name"] == "readout_error" else each for each in qubit]
        for qubit in body["qubits"]
    ]
    return {**body, "qubits": qubits}


@pytest.mark.parametrize("given", [False, True])
def test_a_plan_that_its_device_cannot_run_any_more_is_not_sent(double, given, caplog):
    plan()
    stale = load_plan(dump_plan(plan(offline=True)))
    double.faults.always["properties"] = Change(worse)
    device = open_device(parse_device(TARGET)) if given else None
    hardware.submit(stale, budget=60, device=device)
    assert "was calibrated again" in caplog.text
    sent = double.faults.seen["submit"]
    double.faults.always["properties"] = Change(without_edges)
    device = open_device(parse_device(TARGET)) if given else None
    with pytest.raises(PlanError):
        hardware.submit(stale, budget=60, device=device)
    assert double.faults.seen["submit"] == sent


def test_remarks_cannot_hide_a_change_of_the_plan(double):
    plan()
    offline = plan(offline=True)
    assert offline.num_remarks == 1
    changed = hardware.planning.plan_file.replace(offline, notes=("other", *offline.notes[1:]))
    assert load_plan(dump_plan(changed)).notes[0] == "other"  # no part of what is sent
    assert changed.notes[1:] == load_plan(dump_plan(offline)).notes[1:]


def test_names_of_files_are_checked(double, cache_folder):
    plan()
    for name in ("../ibm_manila", "ibm_manila-", "", "*"):
        assert read_calibrations(name)[0] == []
    with pytest.raises(UnknownBackendError):
        open_device(NamedDevice("ibm", "../../ibm_manila", offline=True))


def test_instances_in_files_are_hashes(double, cache_folder):
    plan()
    text = files(cache_folder)[0].read_text()
    assert CRN not in text
    assert instance_digest(CRN) in text
