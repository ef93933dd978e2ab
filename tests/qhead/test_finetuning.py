"""Training where the circuit runs: against adjoint training, and what is kept of it."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from contracts.sampling_bounds import assert_means, shifted
from loopback.home import private_home

from hardware.emulation.fake import FakeTarget
from hardware.errors import BudgetError, RunStateError
from hardware.ledger.ledger import Ledger
from hardware.planning.options import PlanOptions
from hardware.runs.run import Run
from qhead import Finetuning, FinetuningOptions, MLPHead, QuantumHead, TextClassifier
from qhead.errors import (
    CheckpointError,
    DataError,
    HeadError,
    InputError,
    TrainingError,
    TrainingInterrupted,
)
from qhead.finetuning.rows import DeviceRows, EmulatedRows
from qhead.finetuning.step import MeasuredStep
from qhead.simulator import ExactTarget
from qhead.training import train
from qhead.training_options import TrainingOptions

N = 24
FAKE = "fake:manila:200"
#: Circuits whose weights occur once, several times, and in both read-outs.
HEADS = {
    "default": {"num_qubits": 3, "num_measured": 2},
    "shared": {"num_qubits": 3, "num_reuploads": 3, "connectivity": 2, "num_measured": 2},
    "apart": {"num_qubits": 2, "num_reuploads": 2, "shared": False, "topology": "chain"},
    "probabilities": {"num_qubits": 3, "readout": "probabilities", "num_measured": 2},
}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    return private_home(tmp_path / "home", monkeypatch)


@pytest.fixture(scope="session")
def trained(toy_model, toy_texts, toy_labels):
    """Return a quantum model of two qubits; tests take copies."""
    head = QuantumHead(num_qubits=2, training=TrainingOptions(max_epochs=8, learning_rate=0.1))
    return TextClassifier(encoder=toy_model, head=head).fit(toy_texts, toy_labels)


@pytest.fixture
def model(trained):
    return copy.copy(trained)


@pytest.fixture
def data(toy_texts, toy_labels):
    """Return texts and labels, and as many of validation."""
    return (toy_texts[:N], toy_labels[:N]), (toy_texts[N : 2 * N], toy_labels[N : 2 * N])


def tuning(model, data, target=None, validated=True, seed=0, plan_options=None, **options):
    options = {"max_epochs": 2, "batch_size": 16, **options}
    return Finetuning(
        model, *data[0],
        target=target,
        validation=data[1] if validated else None,
        options=FinetuningOptions(**options),
        plan_options=plan_options,
        seed=seed,
    )  # fmt: skip


def same(first, second):
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("kind", HEADS)
def test_measured_derivatives_are_those_of_the_adjoint_method(kind):
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(30, 6)).astype(np.float32), np.arange(30) % 3
    head = QuantumHead(**HEADS[kind], start="random", initial_spread=1.0,
                       training=TrainingOptions(max_epochs=1)).fit(X, y)  # fmt: skip
    own = head.module_.step
    options = FinetuningOptions(train_encoders=True)
    measured = MeasuredStep(
        head.circuit, head.observables, own.weight, options, EmulatedRows(ExactTarget(), 0)
    )
    weighting = torch.tensor(rng.normal(size=(5, len(head.observables))), dtype=torch.float32)
    found = []
    for step in (own, measured):
        angles = torch.tensor(rng.normal(size=(5, own.neural_network.num_inputs)) * 0 + 0.3)
        angles = (angles.float() + torch.linspace(-1, 1, 5)[:, None]).requires_grad_()
        step.zero_grad()
        values = step(angles)
        (values * weighting).sum().backward()
        found.append((values.detach(), angles.grad, step.weight.grad))
    for expected, given in zip(*found, strict=True):
        torch.testing.assert_close(given, expected, atol=2e-5, rtol=1e-4)
        assert expected.abs().max() > 1e-2


@pytest.mark.parametrize("encoders", [False, True])
def test_exact_training_goes_the_way_of_adjoint_training(model, data, encoders):
    work = tuning(model, data, train_encoders=encoders, learning_rate=0.002)
    prepared = work._work
    whole = prepared.head.module_
    twin = copy.deepcopy(whole)
    for name, parameter in twin.named_parameters():
        parameter.requires_grad_(encoders or not name.startswith("encoders"))
    embeddings = [torch.tensor(model.embed(texts)) for texts, _ in data]
    targets = [prepared.targets, prepared.validation[1]]
    expected = train(
        twin, embeddings[0], targets[0], (embeddings[1], targets[1]), prepared.training,
        seed=0, num_classes=2,
    )  # fmt: skip
    result = work.run()
    assert result.best_epoch == expected.best_epoch > 0
    for own, other in zip(result.history, expected.history, strict=True):
        assert own.train_loss == pytest.approx(other.train_loss, abs=1e-4)
        assert own.validation_loss == pytest.approx(other.validation_loss, abs=1e-4)
    tuned = model.head_.state()
    for name, tensor in twin.state_dict().items():
        torch.testing.assert_close(tuned[name], tensor, atol=2e-3, rtol=0)
        frozen = name.startswith(("encoders", "amplitudes")) and not encoders
        assert torch.equal(tensor, whole.state_dict()[name]) == (
            frozen or name.startswith("amplitudes")
        )


@pytest.mark.parametrize("method", ["shift", "spsa"])
@pytest.mark.parametrize("target", ["shots:300", "noisy:0.01,0.05,0.02:300", "aer:manila:300"])
def test_any_target_trains_and_its_seed_decides_the_course(trained, data, target, method):
    before = trained.head_.state()
    courses = []
    for seed in (0, 0, 1):
        model = copy.copy(trained)
        result = tuning(model, data, target, seed=seed, method=method).run()
        assert result.target == target
        assert result.runs == ()
        courses.append((model.head_.state(), [r.validation_loss for r in result.history]))
    assert same(courses[0][0], courses[1][0])
    assert courses[0][1] == courses[1][1] != courses[2][1]
    assert same(trained.head_.state(), before)  # of which the others were copies


def test_from_scratch_needs_no_trained_model(toy_model, data):
    head = QuantumHead(num_qubits=2, encoder_layers=2, seed=3)
    model = TextClassifier(encoder=toy_model, head=head)
    with pytest.raises(HeadError, match="not trained"):
        tuning(model, data)
    options = {"start": "scratch", "learning_rate": 0.1, "max_epochs": 6}
    result = tuning(model, data, "shots:2000", **options).run()
    assert result.history[-1].validation_loss < result.start_loss
    assert model.predict(data[1][0]).shape == (N,)
    assert model.data_["finetuned"]["options"]["start"] == "scratch"


def test_the_model_is_saved_with_what_it_was_tuned_on(model, data, tmp_path):
    result = tuning(model, data, "shots:500", learning_rate=0.1).run()
    assert result.best_epoch
    model.save(tmp_path / "m")
    again = TextClassifier.load(tmp_path / "m")
    assert same(again.head_.state(), model.head_.state())
    told = again.data_["finetuned"]
    assert (told["target"], told["n"]) == ("shots:500", N)
    assert again.data_["n"] == 80  # that it was trained on before
    assert again.head_.best_epoch_ == result.best_epoch


def test_weights_that_no_epoch_improves_stay(model, data):
    head = model.head_
    result = tuning(model, data, learning_rate=3.0, readout_learning_rate=30.0).run()
    assert result.best_epoch == 0
    assert min(r.validation_loss for r in result.history) > result.start_loss
    assert model.head_ is head
    assert model.data_ is not None
    assert "finetuned" not in model.data_
    tuning(model, data, validated=False, learning_rate=3.0).run()
    assert model.head_ is not head  # the last epoch's, whatever they are worth


def test_ctrl_c_keeps_the_best_so_far(trained, data):
    full = copy.copy(trained)
    tuning(full, data, "shots:500", max_epochs=1).run()

    def interrupt(record, planned):
        assert planned == 3
        raise KeyboardInterrupt

    model = copy.copy(trained)
    work = tuning(model, data, "shots:500", max_epochs=3)
    with pytest.raises(TrainingInterrupted):
        work.run(progress=interrupt)
    assert work.result.stopped == "interrupted"
    assert len(work.result.history) == 1
    assert same(model.head_.state(), full.head_.state())


def test_ctrl_c_before_the_first_epoch_changes_nothing(model, data, monkeypatch):
    head = model.head_
    work = tuning(model, data, "shots:500")
    monkeypatch.setattr("hardware.emulation.rates.ShotsTarget.run", _interrupt_after(2))
    with pytest.raises(KeyboardInterrupt) as raised:
        work.run()
    assert not isinstance(raised.value, TrainingInterrupted)
    assert model.head_ is head
    assert work.result.history == ()


def _interrupt_after(number):
    from hardware.emulation.rates import ShotsTarget

    run, calls = ShotsTarget.run, []

    def interrupting(self, workload):
        calls.append(workload)
        if len(calls) > number:
            raise KeyboardInterrupt
        return run(self, workload)

    return interrupting


def test_a_diverged_training_says_so(model, data):
    with pytest.raises(TrainingError, match="Lower the learning rate"):
        tuning(model, data, readout_learning_rate=1e38).run()


def test_a_checkpoint_carries_on_as_if_nothing_had_happened(trained, data, tmp_path):
    whole = copy.copy(trained)
    expected = tuning(whole, data, "shots:300", max_epochs=3).run()
    model = copy.copy(trained)

    def interrupt(record, planned):
        if record.epoch == 2:
            raise KeyboardInterrupt

    place = tmp_path / "ckpt"
    with pytest.raises(TrainingInterrupted):
        tuning(model, data, "shots:300", max_epochs=3).run(checkpoint=place, progress=interrupt)
    model = copy.copy(trained)
    result = tuning(model, data, "shots:300", max_epochs=3).run(checkpoint=place)
    assert same(model.head_.state(), whole.head_.state())
    losses = [r.validation_loss for r in expected.history]
    assert [r.validation_loss for r in result.history] == losses
    with pytest.raises(CheckpointError, match="target"):
        tuning(copy.copy(trained), data, "shots:301", max_epochs=3).run(checkpoint=place)
    with pytest.raises(CheckpointError, match="spsa"):
        tuning(copy.copy(trained), data, "shots:300", max_epochs=3, method="spsa").run(
            checkpoint=place
        )


# --- a device, fake ---------------------------------------------------------------------------


def test_the_price_is_that_of_the_runs_in_the_ledger(model, data, home):
    work = tuning(model, data, FAKE)
    price = work.price()
    assert not home.exists()
    # An epoch is batches of 16 and of 8 sentences, and the validation set, which comes first too.
    rows = price.rows_per_sentence
    assert price.schedule.rows == (N, 16 * rows, 8 * rows, N, 16 * rows, 8 * rows, N)
    assert f"{price.total_seconds:.1f} in all of a real device" in str(price)
    result = work.run()
    assert len(result.runs) == 7
    with Ledger(home) as ledger:
        runs = {run.id: run for run in ledger.runs()}
        assert {run.state for run in runs.values()} == {"done"}
        estimates = [runs[run_id].estimate_seconds for run_id in result.runs]
        assert [Run.open(run_id).plan.num_rows for run_id in result.runs] == list(
            price.schedule.rows
        )
    assert estimates == pytest.approx(list(price.seconds))
    assert price.total_seconds == pytest.approx(sum(estimates))
    assert result.used_seconds == pytest.approx(sum(estimates))
    assert price.epoch_seconds == pytest.approx(sum(estimates[1:4]))
    assert price.as_dict()["runs"] == 7


@pytest.mark.sampled
def test_rows_come_back_in_their_order_from_every_tile(model, data, monkeypatch):
    seen = []
    run = DeviceRows.run
    monkeypatch.setattr(
        DeviceRows, "run", lambda self, work: seen.append((work, run(self, work))) or seen[-1][1]
    )
    tuning(model, data, "fake:manila:4000", max_epochs=1, seed=shifted(0)).run()
    assert len(seen) == 4
    for work, values in seen:
        exact = ExactTarget().run(work).values
        assert np.ptp(exact) > 0.6
        # The calibration shrinks and shifts ⟨Z⟩ by less than this (LOG.md, 2026-11-20).
        assert_means(values, exact, 4000, bias=0.25)


def test_a_budget_is_for_the_whole_training(model, data, home, tmp_path):
    work = tuning(model, data, FAKE)
    total = work.price().total_seconds
    place = tmp_path / "ckpt"
    with pytest.raises(BudgetError, match=f"about {total:.1f} s"):
        work.run(budget=total - 0.1, checkpoint=place)
    assert not home.exists() or not Ledger(home).runs()
    assert list(tmp_path.glob("ckpt*")) == []
    assert work.run(budget=total, checkpoint=place).used_seconds == pytest.approx(total)
    assert work.run(budget=total, checkpoint=place).runs  # all of it is paid for
    with Ledger(home) as ledger:
        assert len(ledger.runs()) == 7


def test_a_cancelled_step_is_not_sent_again_unasked(model, data, home, tmp_path, monkeypatch):
    place = tmp_path / "ckpt"
    monkeypatch.setattr(Run, "update", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tuning(model, data, FAKE).run(checkpoint=place)
    monkeypatch.undo()
    private_home(home.parent, monkeypatch)
    with Ledger(home) as ledger:
        (run,) = ledger.runs()
    Run.open(run.id).cancel()
    with pytest.raises(RunStateError, match="--resubmit-cancelled"):
        tuning(model, data, FAKE).run(checkpoint=place)
    Run.open(run.id).resume(resubmit_cancelled=True)
    assert tuning(model, data, FAKE).run(checkpoint=place).runs[0] == run.id


def test_another_training_does_not_take_the_steps_of_this_one(trained, model, data, home, tmp_path):
    place = tmp_path / "ckpt"

    def interrupt(record, planned):
        raise KeyboardInterrupt

    with pytest.raises(TrainingInterrupted):
        tuning(model, data, FAKE).run(checkpoint=place, progress=interrupt)
    place.unlink()  # as if the first epoch had not ended: the steps alone are left
    model.head_ = trained.head_
    start = tuning(model, data, FAKE)
    for other, what in (
        (tuning(model, data, FAKE, seed=1), "seed"),
        (tuning(model, data, FAKE, learning_rate=0.3), "finetuning.learning_rate"),
        (tuning(model, (data[1], data[0]), FAKE), "data_sha256"),
        (tuning(model, data, "fake:quito:200"), "device"),
    ):
        with pytest.raises(CheckpointError, match=f"another training.*{what}"):
            other.run(checkpoint=place)
    with Ledger(home) as ledger:
        number = len(ledger.runs())
    home.rename(home.with_suffix(".away"))
    with pytest.raises(CheckpointError, match="does not hold the run of step 0"):
        start.run(checkpoint=place)
    home.with_suffix(".away").rename(home)
    assert number == 4
    (tmp_path / "ckpt.steps").write_text("{}\n")
    with pytest.raises(CheckpointError, match="does not hold the steps"):
        start.run(checkpoint=place)


def test_two_processes_cannot_carry_on_one_training(model, data, tmp_path):
    from qhead.finetuning.journal import Journal

    held = Journal(tmp_path / "ckpt.steps")
    with pytest.raises(CheckpointError, match="Another process"):
        tuning(model, data, FAKE).run(checkpoint=tmp_path / "ckpt")
    held.close()
    with pytest.raises(CheckpointError, match="cannot be written"):
        tuning(model, data, FAKE).run(checkpoint=tmp_path / "nowhere" / "ckpt")


def test_what_cannot_be_trained_is_refused(model, data, toy_model, toy_texts, toy_labels):
    classical = TextClassifier(
        encoder=toy_model, head=MLPHead(training=TrainingOptions(max_epochs=1))
    )
    with pytest.raises(HeadError, match="no circuit to train"):
        tuning(classical.fit(toy_texts, toy_labels), data)
    with pytest.raises(DataError, match="labels seen in training"):
        tuning(model, ((data[0][0], ["other"] * N), data[1]))
    with pytest.raises(InputError, match="devices"):
        tuning(model, data, "shots:100", plan_options=PlanOptions())
    with pytest.raises(InputError, match="budget"):
        tuning(model, data, "shots:100").run(budget=5)
    with pytest.raises(BudgetError, match="needs a budget"):
        tuning(model, data, "ibm:ibm_manila").run()
    for wrong in ({"method": "adam"}, {"max_epochs": 0}, {"spsa_step": 0.0}, {"start": "none"}):
        with pytest.raises(HeadError):
            FinetuningOptions(**wrong)


def test_a_target_object_is_used_with_shots_of_each_step(model, data, monkeypatch):
    seeds = []
    run = FakeTarget.run
    monkeypatch.setattr(
        FakeTarget, "run", lambda self, work: (seeds.append(self.options.seed), run(self, work))[1]
    )
    target = FakeTarget("manila", PlanOptions(shots=100))
    tuning(model, data, replace(target), max_epochs=1).run()
    assert len(set(seeds)) == len(seeds) == 4
