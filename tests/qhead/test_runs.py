"""A model's predictions on a device from Python: plan, submit, collect, the blocking form."""

from __future__ import annotations

import numpy as np
import pytest
from loopback import Cloud, EndJob, FaultPlan, Loopback, Reply
from loopback.home import private_home
from qiskit_ibm_runtime import QiskitRuntimeService

import hardware
from hardware import Mitigation, PlanOptions
from hardware.emulation.fake import FakeTarget
from hardware.errors import (
    BudgetError,
    InvalidInputError,
    LoginServiceError,
    PlanError,
    RunError,
)
from hardware.ledger.ledger import Ledger
from hardware.planning.options import JobLimits
from qhead import MLPHead, QuantumHead, Run, TextClassifier, TrainingOptions
from qhead.errors import DataError, HeadError, MissingRowsError, ModelError
from qhead.runs.metadata import Readout, RunMetadata, SavedModel

SHOTS, N = 100, 6
FAKE = f"fake:manila:{SHOTS}"
IBM = f"ibm:ibm_manila:{SHOTS}"
TWO_JOBS = PlanOptions(seed=0, tiles=1, limits=JobLimits(executions=N * SHOTS // 2))


@pytest.fixture(scope="session")
def trained(toy_model, toy_texts, toy_labels):
    """Return a quantum model of two qubits."""
    head = QuantumHead(num_qubits=2, training=TrainingOptions(max_epochs=4, learning_rate=0.1))
    return TextClassifier(encoder=toy_model, head=head).fit(toy_texts, toy_labels)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    return private_home(tmp_path / "home", monkeypatch)


@pytest.fixture
def texts(toy_texts):
    return toy_texts[:N]


def test_a_plan_prints_its_cost_once_and_writes_nothing(trained, texts, home, capsys):
    plan = trained.plan(texts, target=FAKE)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("Cost: ") == 1
    assert f"about {plan.cost.qpu_seconds:.1f} QPU seconds" in said.err
    assert (plan.num_rows, plan.shots, plan.options.seed) == (N, SHOTS, 0)
    assert not home.exists()


def test_a_run_gives_what_the_device_gives_without_a_ledger(trained, texts, home):
    run = trained.submit(texts, target=FAKE)
    assert run.status().state == "submitted"
    found = Run.open(run.id).collect(texts=texts)
    alone = trained.predict_detailed(texts, FakeTarget.of("manila", SHOTS, seed=0))
    np.testing.assert_array_equal(found.prediction.labels, alone.labels)
    np.testing.assert_allclose(found.prediction.probabilities, alone.probabilities)
    np.testing.assert_allclose(found.prediction.std_errors, alone.std_errors)
    assert found.prediction.labels.dtype.kind == trained.classes_.dtype.kind
    assert [row["text"] for row in found.records()] == texts
    assert [row["row"] for row in found.records()] == list(range(1, N + 1))
    with pytest.raises(DataError, match="others or in another order"):
        run.collect(texts=texts[::-1])


def test_no_sentence_and_no_weight_of_the_encoders_is_in_the_plan(trained, texts, home):
    run = trained.submit(texts, target=FAKE)
    with Ledger(home) as ledger:
        assert texts[0].encode() not in ledger.plan_body(run.id)
    assert set(run.plan.about) == {
        "format", "version", "data", "readout", "model", "recalibration",
    }  # fmt: skip
    assert run.metadata.readout.same_as(trained.readout())
    assert run.metadata.data.source is None


def test_labels_of_integers_stay_integers(toy_model, toy_texts, toy_labels):
    head = QuantumHead(num_qubits=2, training=TrainingOptions(max_epochs=1))
    numbers = np.where(toy_labels == "plus", 7, -3)
    model = TextClassifier(encoder=toy_model, head=head).fit(toy_texts, numbers)
    labels = model.submit(toy_texts[:3], target=FAKE).collect().prediction.labels
    assert labels.dtype == model.classes_.dtype
    assert set(labels.tolist()) <= {7, -3}


def test_the_blocking_form_goes_through_the_ledger(trained, texts, home, capsys):
    labels = trained.predict(texts, target=FAKE, budget=120)
    probabilities = trained.predict_proba(texts, target=FAKE)
    assert capsys.readouterr().err == ""  # nothing is charged, and nobody has to find the run
    np.testing.assert_array_equal(labels, trained.classes_[probabilities.argmax(axis=1)])
    with Ledger(home) as ledger:
        assert [run.state for run in ledger.runs()] == ["done", "done"]
    truth = trained.predict(texts)
    assert trained.score(texts, truth, target=FAKE) == np.mean(labels == truth)
    assert trained.evaluate(texts, truth, FAKE).notes[-1].startswith("Run 2")


def test_progress_goes_to_the_caller(trained, texts):
    seen = []
    run = trained.submit(texts, FAKE, TWO_JOBS)
    run.collect(progress=lambda status: seen.append(status.jobs.get("done", 0)))
    assert seen == [1, 2, 2]
    trained.predict_detailed(texts, FAKE, progress=seen.append)
    assert seen[-1].finished


def test_the_read_out_is_refitted_on_sentences_run_along(trained, texts, toy_texts):
    run = trained.submit(texts, FAKE, recalibrate=toy_texts[20:40])
    assert run.plan.num_rows == N + 20
    found = run.collect()
    assert (found.num_rows, len(found.prediction)) == (N, N)
    assert "Read-out refitted on 20 sentences." in found.prediction.notes
    assert not any("refitted" in note for note in run.predictions(refit=False).prediction.notes)
    with pytest.raises(DataError, match="at least three sentences"):
        trained.plan(texts, FAKE, recalibrate=toy_texts[:2])


def test_labels_of_which_no_error_is_known_are_undecided(trained, texts, toy_texts):
    exponential = Mitigation(zne_factors=(1, 3), zne_extrapolator="exponential")
    options = PlanOptions(shots=400, tiles=1, mitigation=exponential)
    run = trained.submit(texts, FAKE.rpartition(":")[0], options, recalibrate=toy_texts[20:40])
    found = run.collect()
    assert len(found.prediction) == N
    assert not found.prediction.decided.any()
    assert [row["std_error"] for row in found.records()] == [None] * N
    assert any("standard errors are unknown" in note for note in found.prediction.notes)
    # Rows of unknown error weigh the same in the fit.
    assert any("refitted on 20" in note for note in found.prediction.notes)


def test_budgets_are_checked_before_any_sentence_is_embedded(trained, texts, home, monkeypatch):
    monkeypatch.setattr(trained.encoder_, "encode", lambda *given, **options: 1 / 0)
    for call in (trained.submit, trained.predict, trained.predict_proba):
        with pytest.raises(BudgetError, match="needs a budget"):
            call(texts, target=IBM)
        with pytest.raises(BudgetError, match="zero or more"):
            call(texts, target=FAKE, budget=-1)
    with pytest.raises(InvalidInputError, match="shots are given twice"):
        trained.plan(texts, FAKE, PlanOptions(shots=7))
    assert not home.exists()


def test_a_fake_rehearses_the_budget(trained, texts, home):
    with pytest.raises(BudgetError, match="on the real device"):
        trained.predict(texts, target=FAKE, budget=0.5)
    assert not home.exists()


def test_a_run_on_the_platform(trained, texts, home, capsys):
    faults = FaultPlan({("submit", 2): EndJob("Failed")})
    with Loopback(Cloud(("ibm_manila",)), faults) as double, double.addresses():
        QiskitRuntimeService.save_account(**double.account(), overwrite=True)
        with pytest.raises(RunError, match=r"3 of 6 rows are missing: 4–6\. .*Failed|failed"):
            trained.predict_on_device(texts, IBM, TWO_JOBS, budget=60, progress=False)
        said = capsys.readouterr().err
        run = Run.open(said.partition("Run: ")[2].strip())
        assert said.startswith("Cost: ibm:ibm_manila")
        assert run.predictions().missing == (3, 4, 5)
        assert run.resume(budget=120).jobs["submitted"] == 1
        assert run.collect(progress=False).missing == ()
        assert run.status().spending.charged == pytest.approx(double.cloud.consumed)


def test_an_account_s_instance_and_a_plan_made_offline(trained, texts, capsys):
    account = hardware.Account(instance="another")
    with (
        Loopback(Cloud(("ibm_manila",)), other=Cloud(("ibm_manila",))) as double,
        double.addresses(),
    ):
        QiskitRuntimeService.save_account(**double.account(), overwrite=True)
        online = trained.plan(texts, IBM, account=account)
        assert " s left" in capsys.readouterr().err
        asked = double.faults.seen.copy()
        offline = trained.plan(texts, IBM, account=account, offline=True)
        assert double.faults.seen == asked
        assert offline.key == online.key
        assert "days old" in offline.notes[0]
        assert " s left" not in capsys.readouterr().err
        double.faults.always["token"] = Reply(503)
        assert trained.plan(texts, IBM, account=account).num_remarks == 2
        for verb in (trained.submit, trained.predict_on_device):  # what spends makes no such plan
            with pytest.raises(LoginServiceError):
                verb(texts, IBM, budget=60, account=account)
        double.faults.always.clear()
        run = trained.submit(texts, IBM, budget=60, account=account)
        assert Run.open(run.id).collect(progress=False).missing == ()
        labels = trained.predict(texts, IBM, budget=60, account=account)
        assert labels.shape == (N,)
        assert not double.cloud.jobs
        assert len(double.other.jobs) == 2


def test_rows_that_are_still_to_come_are_no_failed_run(trained, texts):
    run = trained.submit(texts, FAKE)
    found = run.predictions()
    assert found.missing == tuple(range(N))
    assert isinstance(found.missing_error(), MissingRowsError)
    assert f"qhead collect {run.id}" in found.explain_missing()


def test_only_circuits_run_on_devices(toy_model, toy_texts, toy_labels, texts):
    head = MLPHead(training=TrainingOptions(max_epochs=1))
    model = TextClassifier(encoder=toy_model, head=head).fit(toy_texts, toy_labels)
    with pytest.raises(HeadError, match="quantum head"):
        model.plan(texts, FAKE)


def test_a_saved_model_is_in_the_plan_until_it_is_trained_again(
    trained, toy_texts, toy_labels, texts, tmp_path
):
    assert trained.submit(texts, FAKE).metadata.model is None
    trained.save(tmp_path / "m")
    loaded = TextClassifier.load(tmp_path / "m")
    metadata = loaded.submit(texts, FAKE).metadata
    assert metadata.model.path == str(tmp_path / "m")
    metadata.check_model(SavedModel.of(tmp_path / "m"))
    assert loaded.fit(toy_texts, toy_labels).saved_ is None
    other = Readout(-trained.readout().weight, trained.readout().bias, trained.classes_)
    unsaved = RunMetadata(metadata.data, metadata.readout)
    unsaved.check_model(SavedModel.of(tmp_path / "m"), trained.readout())
    with pytest.raises(ModelError, match="read-outs differ"):
        unsaved.check_model(SavedModel.of(tmp_path / "m"), other)
    trained.saved_ = None


def test_a_run_of_a_bare_workload_is_no_model_s(trained, texts):
    run = hardware.submit(hardware.plan(trained.device_circuit(), FAKE))
    with pytest.raises(PlanError, match="not planned by qhead"):
        Run.open(run.id).collect()
    assert hardware.Run.open(run.id).collect().missing == ()


@pytest.mark.parametrize(
    "change",
    [
        lambda about: about.pop("data"),
        lambda about: about["readout"].pop("classes"),
        lambda about: about["readout"].update(bias=[1.0]),
        lambda about: about.update(version=99),
    ],
)
def test_metadata_that_cannot_be_read_are_refused(trained, texts, change):
    plan = trained.plan(texts, FAKE)
    about = {
        name: dict(part) if isinstance(part, dict) else part for name, part in plan.about.items()
    }
    change(about)
    object.__setattr__(plan, "about", about)
    with pytest.raises(PlanError, match="plan again"):
        RunMetadata.of(plan, "it")
