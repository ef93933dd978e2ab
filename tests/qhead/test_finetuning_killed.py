"""A training on the platform's double: killed at any line, paid for once, kept to its budget."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import textwrap

import pytest
import torch
from loopback import Cloud, EndJob, Loopback, Reply
from loopback.answers import CRN
from loopback.home import private_home
from loopback.server import API_KEY
from qiskit_ibm_runtime import QiskitRuntimeService

from hardware.circuits.adaptive import AdaptiveShots
from hardware.errors import BudgetError, RunError
from hardware.ledger.ledger import Ledger
from hardware.planning.mitigation import Mitigation
from hardware.planning.options import PlanOptions
from qhead import Finetuning, FinetuningOptions, QuantumHead, TextClassifier
from qhead.errors import CheckpointError, InputError
from qhead.finetuning.journal import Journal
from qhead.training_options import TrainingOptions

N, IBM = 12, "ibm:ibm_manila:40"
OPTIONS = {"max_epochs": 2, "batch_size": 8, "method": "spsa", "learning_rate": 0.1}
#: Runs of a training: the validation set, then two batches and the validation set an epoch.
STEPS = 1 + 2 * 3

WORKER = """
    import json, os, signal, sys, traceback
    from hardware.ledger.ledger import Pace
    from hardware.runs import run as runs
    from hardware.runs.policy import Policy
    from qhead import Finetuning, FinetuningOptions, TextClassifier
    from qhead.finetuning import journal, rows

    folder, *ends = sys.argv[1:]
    given = json.load(open(f"{folder}/given.json"))
    runs.POLICY = Policy(pace=Pace(), settle=0.05, busy=0.05, patience=5.0, poll=(0.02, 0.1))

    def die(owner, name, *, before, step):
        whole = getattr(owner, name)

        def dying(self, *args, **options):
            number = rows.DeviceRows.current
            if number == step and before:
                os.kill(os.getpid(), signal.SIGKILL)
            found = whole(self, *args, **options)
            if number == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        setattr(owner, name, dying)

    run = rows.DeviceRows._run

    def noting(self, workload):
        rows.DeviceRows.current = self.step
        return run(self, workload)

    rows.DeviceRows._run, rows.DeviceRows.current = noting, -1
    places = {
        "noted": (journal.Journal, "note", False),
        "submitted": (rows.DeviceRows, "_submit", False),
        "unread": (rows.Run, "update", True),
        "collected": (rows.Run, "update", False),
    }
    def work(when, step):
        if when in places:
            owner, name, before = places[when]
            die(owner, name, before=before, step=int(step))
        model = TextClassifier.load(f"{folder}/model")
        Finetuning(
            model, given["texts"], given["labels"], target=given["target"],
            validation=(given["held"], given["truth"]),
            options=FinetuningOptions(**given["options"]),
        ).run(budget=given["budget"], checkpoint=f"{folder}/ckpt")
        model.save(f"{folder}/tuned")

    for end in ends:  # each in a process of its own, which does not import everything again
        child = os.fork()
        if not child:
            try:
                work(*end.split(":"))
            finally:
                traceback.print_exc()
                os._exit(sys.exception() is not None)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def trained(toy_model, toy_texts, toy_labels):
    head = QuantumHead(num_qubits=2, training=TrainingOptions(max_epochs=2, learning_rate=0.05))
    return TextClassifier(encoder=toy_model, head=head).fit(toy_texts, toy_labels)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    return private_home(tmp_path / "home", monkeypatch, patience=5.0)


@pytest.fixture
def data(toy_texts, toy_labels):
    return (toy_texts[:N], toy_labels[:N]), (toy_texts[N : 2 * N], toy_labels[N : 2 * N])


def tuning(model, data, **given):
    return Finetuning(
        model, *data[0], target=IBM, validation=data[1], **given,
        options=FinetuningOptions(**OPTIONS),
    )  # fmt: skip


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first | second)


def undisturbed(trained, data, place):
    """Return the weights of a training on a double of its own."""
    model = copy.copy(trained)
    with Loopback(Cloud()) as double, double.addresses():
        QiskitRuntimeService.save_account(**double.account(), overwrite=True)
        result = tuning(model, data).run(budget=200, checkpoint=place)
        assert set(double.cloud.charges().values()) == {1}
        assert len(double.cloud.jobs) == len(result.runs) == STEPS
        assert result.used_seconds == pytest.approx(double.cloud.consumed)
    return model.head_.state()


@pytest.mark.timeout(900)
def test_killed_at_any_line_no_step_is_paid_for_twice(trained, data, tmp_path, home):
    import json

    expected = undisturbed(trained, data, tmp_path / "whole")
    home.unlink()
    trained.save(tmp_path / "model")
    trained.saved_ = None
    given = {
        "texts": list(data[0][0]), "labels": data[0][1].tolist(),
        "held": list(data[1][0]), "truth": data[1][1].tolist(),
        "target": IBM, "options": OPTIONS, "budget": 200,
    }  # fmt: skip
    (tmp_path / "given.json").write_text(json.dumps(given))
    with Loopback(Cloud()) as double:
        environment = {
            **os.environ,
            **double.environment(),
            "QISKIT_IBM_CHANNEL": "ibm_quantum_platform",
            "QISKIT_IBM_TOKEN": API_KEY,
            "QISKIT_IBM_INSTANCE": CRN,
            "QISKIT_IBM_URL": double.account()["url"],
        }
        ends = ["noted:0", "submitted:1", "unread:2", "collected:3", "collected:5", "never:0"]
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(WORKER), str(tmp_path), *ends],
            env=environment, capture_output=True, text=True, timeout=800, check=True,
        )  # fmt: skip
        assert done.stdout.split() == [str(-signal.SIGKILL)] * 5 + ["0"], done.stderr
        assert len(double.cloud.jobs) == STEPS
        assert set(double.cloud.charges().values()) == {1}
        with Ledger(home) as ledger:
            charged = sum(ledger.spending(run.id).charged for run in ledger.runs())
            assert len(ledger.runs()) == STEPS
        assert charged == pytest.approx(double.cloud.consumed)
    assert same(TextClassifier.load(tmp_path / "tuned").head_.state(), expected)


def test_a_device_that_charges_more_than_its_estimates_stops_at_the_budget(
    trained, data, tmp_path, home
):
    """The double is slower than planned: the budget ends the training and never the other way."""
    model = copy.copy(trained)
    with Loopback(Cloud(slowness=1.2)) as double, double.addresses():
        QiskitRuntimeService.save_account(**double.account(), overwrite=True)
        work = tuning(model, data)
        price = work.price()
        budget = price.total_seconds
        with pytest.raises(InputError, match="Give a checkpoint"):
            work.run(budget=budget)
        with pytest.raises(BudgetError, match="within the budget"):
            work.run(budget=budget - 1, checkpoint=tmp_path / "ckpt")
        assert not double.cloud.jobs
        with pytest.raises(BudgetError, match="the same call with a larger budget"):
            work.run(budget=budget, checkpoint=tmp_path / "ckpt")
        sent = len(double.cloud.jobs)
        assert 0 < sent < STEPS
        # One step's margin of a quarter, rounded up to a second, is the most beyond it.
        assert double.cloud.consumed <= budget + 0.25 * max(price.seconds) + 1
        assert len(work.result.history) == 1
        with pytest.raises(BudgetError, match="has used"):
            work.run(budget=budget, checkpoint=tmp_path / "ckpt")
        assert len(double.cloud.jobs) == sent
        result = work.run(budget=2 * budget, checkpoint=tmp_path / "ckpt")
        assert len(double.cloud.jobs) == len(result.runs) == STEPS
        assert result.used_seconds == pytest.approx(double.cloud.consumed)


def test_a_step_that_failed_is_sent_again_by_the_same_call(trained, data, tmp_path):
    model = copy.copy(trained)
    with Loopback(Cloud()) as double, double.addresses():
        QiskitRuntimeService.save_account(**double.account(), overwrite=True)
        double.faults.at["submit", 3] = EndJob("Failed", "An injected failure.", paid=3.5)
        work = tuning(model, data)
        budget = work.price().total_seconds + 3.6  # the failed job was charged more than a step
        with pytest.raises(RunError, match="Step 2 of the training is incomplete"):
            work.run(budget=budget, checkpoint=tmp_path / "ckpt")
        assert len(double.cloud.jobs) == 3
        result = work.run(budget=budget, checkpoint=tmp_path / "ckpt")
        assert len(double.cloud.jobs) == STEPS + 1
        assert len(result.runs) == STEPS
        assert result.used_seconds == pytest.approx(double.cloud.consumed)
        assert set(double.cloud.charges().values()) == {1}


def test_an_account_with_too_little_left_is_told_before_the_first_step(trained, data, tmp_path):
    with Loopback(Cloud(allowance=8.0)) as double, double.addresses():
        QiskitRuntimeService.save_account(**double.account(), overwrite=True)
        with pytest.raises(BudgetError, match=r"within the account's 8\.0 s"):
            tuning(copy.copy(trained), data).run(budget=200, checkpoint=tmp_path / "ckpt")
        assert not double.cloud.jobs
        assert list(tmp_path.glob("ckpt*")) == []


def test_a_training_goes_on_as_it_was_planned_and_through_its_own_account(trained, data, tmp_path):
    with Loopback(Cloud()) as double, double.addresses():
        QiskitRuntimeService.save_account(**double.account(), overwrite=True)
        double.faults.at["submit", 2] = EndJob("Failed", "An injected failure.")
        with pytest.raises(RunError, match="Step 1 of the training is incomplete"):
            tuning(copy.copy(trained), data).run(budget=200, checkpoint=tmp_path / "ckpt")
        inverted = PlanOptions(shots=40, mitigation=Mitigation(readout_inversion=True))
        work = tuning(copy.copy(trained), data, plan_options=inverted)
        with pytest.raises(CheckpointError, match=r"plan\.mitigation\.readout_inversion"):
            work.run(budget=200, checkpoint=tmp_path / "ckpt")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("hardware.devices.ibm.device.PlatformDevice.instance", "another")
            with pytest.raises(CheckpointError, match="differs: instance"):
                tuning(copy.copy(trained), data).run(budget=200, checkpoint=tmp_path / "ckpt")
        assert len(double.cloud.jobs) == 2


def test_a_step_that_the_platform_lost_says_how_it_is_sent_again(trained, data, tmp_path):
    with Loopback(Cloud()) as double, double.addresses():
        QiskitRuntimeService.save_account(**double.account(), overwrite=True)
        work = tuning(copy.copy(trained), data)
        double.faults.always["job"] = Reply(404)
        empty = '{"jobs": [], "count": 0, "limit": 50, "offset": 0}'
        double.faults.always["jobs"] = Reply(200, empty)
        with pytest.raises(RunError, match="--resubmit-unknown"):
            work.run(budget=200, checkpoint=tmp_path / "ckpt")
        double.faults.always.clear()
        work.run(budget=200, checkpoint=tmp_path / "ckpt")
        assert len(double.cloud.jobs) == STEPS


def test_a_training_takes_no_adaptive_shots(trained, data):
    rounds = PlanOptions(shots=40, adaptive=AdaptiveShots((10, 30)))
    with pytest.raises(InputError, match="leave out adaptive, rounds"):
        tuning(trained, data, plan_options=rounds)


def test_steps_are_not_written_into_a_file_that_another_process_has_just_removed(
    tmp_path, monkeypatch
):
    place = tmp_path / "steps"
    monkeypatch.setattr("fcntl.flock", lambda *_: place.unlink())  # it ended without any step
    with pytest.raises(CheckpointError, match="Another process"):
        Journal(place)
    monkeypatch.undo()
    Journal(place).close()
