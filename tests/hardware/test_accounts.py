"""Which saved account, instance and channel are used, and how a run finds its own again."""

from __future__ import annotations

import json
import sqlite3

import pytest
from contracts.target_contract import workload
from loopback import Cloud, Loopback, Reply
from loopback.answers import CRN, OTHER_CRN
from loopback.home import private_home
from loopback.server import API_KEY
from qiskit_ibm_runtime import QiskitRuntimeService

import hardware
from hardware import Account, PlanOptions, Run
from hardware.devices.ibm.account import matching_instance, open_account
from hardware.devices.ibm.calibration_cache import instance_digest
from hardware.errors import (
    AccountError,
    InvalidInputError,
    LoginServiceError,
    NoAccountError,
    RunStateError,
    UnknownBackendError,
)
from hardware.runs.listing import list_account

pytestmark = pytest.mark.usefixtures("quick_retries")
OPTIONS = PlanOptions(shots=100, seed=1)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Give every test a home of its own; return the file of saved accounts."""
    return private_home(tmp_path, monkeypatch).with_name("accounts.json")


@pytest.fixture
def double():
    """Two instances, "loopback" with manila and "another" with belem and manila."""
    with (
        Loopback(Cloud(("ibm_manila",)), other=Cloud(("ibm_belem", "ibm_manila"))) as double,
        double.addresses(),
    ):
        yield double


def save(double, **options):
    saved = {key: value for key, value in double.account().items() if key != "instance"}
    QiskitRuntimeService.save_account(**{**saved, "overwrite": True, **options})


@pytest.mark.parametrize("instance", ["another", OTHER_CRN])
def test_an_instance_is_chosen_by_name_or_crn(double, instance):
    save(double, instance=CRN)
    with pytest.raises(UnknownBackendError, match="ibm_manila"):
        hardware.plan(workload(), "ibm:ibm_belem", OPTIONS)
    found = hardware.plan(workload(), "ibm:ibm_belem", OPTIONS, account=Account(instance=instance))
    assert found.backend == "ibm_belem"
    listed, left = list_account(chosen=Account(instance=instance))
    assert {each.target for each in listed} == {"ibm:ibm_belem", "ibm:ibm_manila"}
    assert left == 600


def test_a_saved_account_is_chosen_by_its_name(double):
    save(double, instance=CRN)
    save(double, name="work", instance=OTHER_CRN)
    chosen = Account(name="work", channel="ibm_quantum_platform")
    assert open_account(chosen).active_instance() == OTHER_CRN
    assert open_account().active_instance() == CRN


def test_an_unknown_account_is_refused_before_any_request(double):
    save(double)
    save(double, name="work")
    with pytest.raises(AccountError, match=r"'wrok'.*Saved are.*Did you mean 'work'") as caught:
        hardware.plan(workload(), "ibm:best", OPTIONS, account=Account(name="wrok"))
    assert not isinstance(caught.value, NoAccountError)  # which would mean that none is saved
    assert API_KEY not in str(caught.value)
    assert double.faults.seen.total() == 0


def test_without_any_account_a_name_is_refused(home):
    with pytest.raises(AccountError, match="None is saved on this machine"):
        open_account(Account(name="work"))
    home.write_text("{")
    with pytest.raises(AccountError, match="cannot be read"):
        open_account(Account(name="work"))


@pytest.mark.parametrize("instance", ["anothr", f"{CRN}x"])
def test_an_unknown_instance_names_those_of_the_account(double, instance):
    save(double, instance=CRN)
    with pytest.raises(AccountError, match="It has another, loopback") as caught:
        hardware.plan(workload(), "ibm:ibm_manila", OPTIONS, account=Account(instance=instance))
    said = str(caught.value)
    assert ("Did you mean 'another'?" in said) == (instance == "anothr")
    assert "crn:" not in said
    assert double.faults.seen["submit"] == double.faults.seen["properties"] == 0


def test_another_trouble_is_not_taken_for_an_unknown_instance(double):
    save(double, instance=CRN)
    double.faults.always["token"] = Reply(503)
    with pytest.raises(LoginServiceError):
        open_account(Account(instance="another"))
    double.faults.always.clear()
    double.faults.soon("token", Reply(401))
    with pytest.raises(AccountError, match="valid account"):
        open_account(Account(instance="another"))


@pytest.mark.parametrize("name", [None, "work"])
def test_an_account_of_another_channel_does_not_stand_in(double, name):
    save(double, name=name, channel="ibm_quantum_platform")
    with pytest.raises(AccountError, match="belongs to the channel ibm_quantum_platform"):
        open_account(Account(name=name, channel="ibm_cloud"))
    assert double.faults.seen.total() == 0
    save(double, name=name, channel="ibm_cloud")
    assert open_account(Account(name=name, channel="ibm_cloud")).channel == "ibm_cloud"


def test_the_environment_is_honoured_and_what_is_given_goes_before_it(double, monkeypatch):
    url = double.account()["url"]
    save(double, name="work", instance=CRN)
    variables = {"TOKEN": API_KEY, "URL": url, "INSTANCE": OTHER_CRN, "CHANNEL": "ibm_cloud"}
    for name, value in variables.items():
        monkeypatch.setenv(f"QISKIT_IBM_{name}", value)
    service = open_account()
    assert (service.active_instance(), service.channel) == (OTHER_CRN, "ibm_cloud")
    assert open_account(Account(instance="loopback")).active_instance() == CRN
    assert open_account(Account(name="work")).active_instance() == CRN
    assert open_account(Account(channel="ibm_quantum_platform")).channel == "ibm_quantum_platform"


def test_a_run_goes_back_to_the_instance_that_it_was_sent_through(double):
    save(double, instance=CRN)
    target, other = "ibm:ibm_manila", Account(instance="another")
    plan = hardware.plan(workload(), target, OPTIONS, account=other)
    run = hardware.submit(plan, budget=60, account=other)
    assert run.record.instance == instance_digest(OTHER_CRN)
    before = double.faults.seen["search"]
    assert Run.open(run.id).collect().missing == ()  # logged in with the first instance
    assert double.faults.seen["search"] == before + 1
    assert Run.open(run.id, account=Account(instance="loopback")).resume().state == "done"
    assert not double.cloud.jobs
    assert double.other.jobs
    assert run.status().spending.charged == double.other.consumed > 0


def test_a_run_can_be_cancelled_from_another_instance(double):
    save(double)
    double.other.hold()
    chosen = Account(instance="another")
    plan = hardware.plan(workload(), "ibm:ibm_manila", OPTIONS, account=chosen)
    run = hardware.submit(plan, budget=60, account=chosen)
    assert Run.open(run.id).cancel().state == "cancelled"
    assert {job.status for job in double.other.jobs.values()} == {"Cancelled"}


def test_a_run_of_an_instance_that_the_account_lacks_is_refused(double, tmp_path):
    save(double, instance=CRN)
    other = Account(instance="another")
    plan = hardware.plan(workload(), "ibm:ibm_belem", OPTIONS, account=other)
    run = hardware.submit(plan, budget=60, account=other)
    with sqlite3.connect(tmp_path / "ledger.sqlite") as ledger:
        ledger.execute("UPDATE runs SET instance = ?", (instance_digest("crn:of another"),))
    ledger.close()
    for verb in ("collect", "cancel", "resume"):
        before = double.faults.seen.copy()
        with pytest.raises(RunStateError, match="another account or instance"):
            getattr(Run.open(run.id), verb)()
        assert double.faults.seen["jobs"] == before["jobs"]
        assert double.faults.seen["submit"] == before["submit"]


def test_instances_are_matched_by_their_hash(double):
    save(double, instance=CRN)
    service, before = open_account(), double.faults.seen.copy()
    assert matching_instance(service, instance_digest(OTHER_CRN)) == OTHER_CRN
    assert matching_instance(service, instance_digest("else")) is None
    assert double.faults.seen == before


@pytest.mark.parametrize("name", ["name", "instance", "channel"])
@pytest.mark.parametrize("value", ["", "  ", "a\nb", "nonsense\x00"])
def test_fields_that_cannot_be_meant_are_refused(name, value):
    with pytest.raises(InvalidInputError, match=name):
        Account(**{name: value})


def test_a_channel_is_one_of_the_clients():
    with pytest.raises(InvalidInputError, match="Did you mean 'ibm_cloud'"):
        Account(channel="ibm_clod")


def test_no_crn_and_no_token_is_shown_or_kept(double, home, tmp_path, cache_folder):
    save(double, instance=CRN)
    chosen = Account(instance=OTHER_CRN)
    assert "crn" not in repr(chosen)
    plan = hardware.plan(workload(), "ibm:ibm_belem", OPTIONS, account=chosen)
    hardware.submit(plan, budget=60, account=chosen).collect()
    written = [path for path in (*tmp_path.rglob("*"), *cache_folder.rglob("*")) if path.is_file()]
    assert any("belem" in path.name for path in written)
    secrets = (CRN, OTHER_CRN, API_KEY, json.loads(home.read_text()).popitem()[1]["token"])
    for path in set(written) - {home}:
        assert not [secret for secret in secrets if secret.encode() in path.read_bytes()], path
