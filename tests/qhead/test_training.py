import math
import resource
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from qhead.checkpoints import read_checkpoint, write_checkpoint
from qhead.errors import CheckpointError, HeadError
from qhead.training import (
    EVALUATION_CHUNK,
    TrainingOptions,
    class_weights,
    compute_logits,
    evaluate,
    learning_rate_at,
    train,
)


def linear(num_features=3, num_classes=2, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    module = nn.Linear(num_features, num_classes, dtype=dtype)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(generator=generator)
    return module


def data(n=40, num_features=3, num_classes=2, seed=0, dtype=torch.float32):
    rng = np.random.default_rng(seed)
    features = torch.tensor(rng.normal(size=(n, num_features)), dtype=dtype)
    return features, torch.tensor(rng.integers(num_classes, size=n))


def overfitting():
    """More features than samples and labels by chance: the validation loss soon rises."""
    return data(20, 40, seed=1), data(30, 40, seed=2)


def weights(module):
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def without_time(history):
    return [replace(record, seconds=0) for record in history]


def run(module, training, validation, options, **more):
    return train(module, *training, validation, options, seed=7, num_classes=2, **more)


# The loss, the mean over batches and the optimiser, against NumPy.


def numpy_losses(w, b, x, y):
    logits = x @ w.T + b
    log_sum = np.log(np.exp(logits).sum(axis=1))
    return log_sum - logits[np.arange(len(y)), y], np.exp(logits - log_sum[:, None])


def numpy_adamw(module, x, y, sample_weights, options, epochs):
    """AdamW on the whole set at once, by its formula (Loshchilov & Hutter, algorithm 2)."""
    w, b = (p.detach().numpy().copy() for p in (module.weight, module.bias))
    moments = [[np.zeros_like(p), np.zeros_like(p)] for p in (w, b)]
    losses = []
    for t in range(1, epochs + 1):
        rate = options.learning_rate * (1 + math.cos(math.pi * (t - 1) / epochs)) / 2
        loss, probabilities = numpy_losses(w, b, x, y)
        losses.append((sample_weights * loss).sum() / sample_weights.sum())
        error = (probabilities - np.eye(w.shape[0])[y]) * sample_weights[:, None] / len(y)
        for p, moment, gradient in zip((w, b), moments, (error.T @ x, error.sum(0)), strict=True):
            p *= 1 - rate * options.weight_decay
            moment[0] = 0.9 * moment[0] + 0.1 * gradient
            moment[1] = 0.999 * moment[1] + 0.001 * gradient**2
            mean, square = moment[0] / (1 - 0.9**t), moment[1] / (1 - 0.999**t)
            p -= rate * mean / (np.sqrt(square) + 1e-8)
    return w, b, losses


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_full_batches_are_adamw_by_its_formula(class_weight):
    features, targets = data(dtype=torch.float64)
    targets[:25] = 0
    options = TrainingOptions(
        learning_rate=0.1, weight_decay=0.3, max_epochs=6, batch_size=64, class_weight=class_weight
    )
    x, y = features.numpy(), targets.numpy()
    samples = np.ones(40)
    if class_weight is not None:
        samples = compute_class_weight("balanced", classes=np.arange(2), y=y)[y]
    module = linear(dtype=torch.float64)
    w, b, losses = numpy_adamw(module, x, y, samples, options, 6)
    seen = []
    result = run(
        module, (features, targets), None, options, progress=lambda *_: seen.append(weights(module))
    )
    np.testing.assert_allclose(seen[-1]["weight"], w, rtol=1e-9)
    np.testing.assert_allclose(seen[-1]["bias"], b, rtol=1e-9)
    np.testing.assert_allclose([r.train_loss for r in result.history], losses, rtol=1e-9)


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_means_over_unequal_batches_are_means_over_samples(class_weight):
    features, targets = data(20)
    targets[:13] = 1
    validation = data(23, seed=3)
    module = linear()
    module.weight.data *= 5  # losses far apart, so that a mean of batch means would differ
    start = weights(module)
    options = TrainingOptions(
        learning_rate=1e-30, max_epochs=1, batch_size=7, class_weight=class_weight
    )
    record = run(module, (features, targets), validation, options).history[0]
    assert equal(weights(module), start)
    per_class = np.ones(2)
    if class_weight is not None:
        per_class = compute_class_weight("balanced", classes=np.arange(2), y=targets.numpy())
    w, b = (p.detach().double().numpy() for p in (module.weight, module.bias))
    for (x, y), loss in (
        ((features, targets), record.train_loss),
        (validation, record.validation_loss),
    ):
        x, y = x.double().numpy(), y.numpy()
        expected = np.average(numpy_losses(w, b, x, y)[0], weights=per_class[y])
        assert loss == pytest.approx(expected, rel=1e-5)
    x, y = (t.numpy() for t in validation)
    assert record.validation_accuracy == np.mean((x @ w.T + b).argmax(axis=1) == y)


def test_evaluation_in_chunks_is_evaluation_at_once():
    features, targets = data(2500)
    assert 2500 % EVALUATION_CHUNK
    module = linear()
    whole = module(features).detach()
    torch.testing.assert_close(compute_logits(module, features, 7), whole)
    loss, accuracy = evaluate(module, features, targets, torch.ones(2))
    assert loss == pytest.approx(float(nn.functional.cross_entropy(whole, targets)), rel=1e-5)
    assert accuracy == int((whole.argmax(1) == targets).sum()) / 2500


def test_evaluation_is_in_evaluation_mode():
    features, targets = data()
    inner = linear()
    module = nn.Sequential(nn.Dropout(0.5), inner).train()
    expected = evaluate(inner, features, targets, torch.ones(2))
    assert evaluate(module, features, targets, torch.ones(2)) == expected


def test_every_sample_is_used_once_an_epoch_in_a_new_order():
    class Recorder(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.batches = linear(1), []

        def forward(self, x):
            self.batches.append(x[:, 0].tolist())
            return self.inner(x)

    module = Recorder()
    features, targets = torch.arange(10.0)[:, None], torch.arange(10) % 2
    run(module, (features, targets), None, TrainingOptions(max_epochs=2, batch_size=4))
    assert [len(batch) for batch in module.batches] == [4, 4, 2] * 2
    used = [value for batch in module.batches for value in batch]
    first, second = used[:10], used[10:]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_class_weights():
    targets = torch.tensor([0] * 6 + [2] * 2)
    np.testing.assert_allclose(class_weights(targets, 3, "balanced"), [8 / 12, 0, 8 / 4])
    assert class_weights(targets, 3, None).tolist() == [1, 1, 1]


def test_schedules():
    cosine = TrainingOptions(learning_rate=0.4, max_epochs=4)
    rates = [learning_rate_at(cosine, epoch) for epoch in (1, 2, 3, 4)]
    half = 1 / math.sqrt(2)
    np.testing.assert_allclose(rates, [0.4, 0.2 * (1 + half), 0.2, 0.2 * (1 - half)])
    assert learning_rate_at(replace(cosine, schedule="constant"), 4) == 0.4
    history = run(linear(), data(), None, cosine).history
    assert [record.learning_rate for record in history] == rates


# The best weights.


@pytest.mark.parametrize("monitor", ["loss", "accuracy"])
def test_the_best_weights_are_kept_by_value_and_are_not_the_last(monitor):
    training, validation = overfitting()
    module, seen = linear(40), []
    module.weight.data *= 0.01
    options = TrainingOptions(learning_rate=0.05, max_epochs=15, monitor=monitor)
    result = run(
        module, training, validation, options, progress=lambda *_: seen.append(weights(module))
    )
    scores = [
        (r.validation_loss,) if monitor == "loss" else (-r.validation_accuracy, r.validation_loss)
        for r in result.history
    ]
    best = min(range(15), key=lambda i: scores[i])
    assert result.best_epoch == best + 1 < 15
    assert equal(weights(module), seen[best])
    assert not equal(weights(module), seen[-1])
    assert result.history[-1].train_loss < result.history[0].train_loss
    assert result.stopped == "completed"
    assert not module.training


def test_ties_in_accuracy_are_broken_by_loss():
    # One validation sample, right from the start: only the loss still tells epochs apart.
    validation = (torch.tensor([[1.0, 0, 0]]), torch.tensor([0]))
    module = linear()
    module.weight.data[:] = torch.tensor([[0.1, 0, 0], [-0.1, 0, 0]])
    module.bias.data.zero_()
    features, _ = data()
    targets = (features[:, 0] < 0).long()
    result = run(
        module, (features, targets), validation, TrainingOptions(max_epochs=8, monitor="accuracy")
    )
    assert {record.validation_accuracy for record in result.history} == {1.0}
    losses = [record.validation_loss for record in result.history]
    assert result.best_epoch == 1 + int(np.argmin(losses)) > 1


def test_patience_counts_epochs_without_a_new_best():
    training, validation = overfitting()
    options = TrainingOptions(
        learning_rate=0.05, max_epochs=60, schedule="constant", monitor="loss"
    )
    free = run(linear(40), training, validation, options)
    losses = [record.validation_loss for record in free.history]
    for patience in (1, 2, 5):
        best, waited, expected = math.inf, 0, 60
        for epoch, loss in enumerate(losses, 1):
            best, waited = (loss, 0) if loss < best else (best, waited + 1)
            if waited == patience:
                expected = epoch
                break
        result = run(linear(40), training, validation, replace(options, patience=patience))
        assert result.stopped == "early"
        assert len(result.history) == expected < 60
        assert result.best_epoch == 1 + int(np.argmin(losses[:expected]))


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    module = linear()
    middle = torch.get_rng_state()
    run(module, data(), data(seed=1), TrainingOptions(max_epochs=2))
    assert torch.equal(middle, torch.get_rng_state())
    torch.set_rng_state(before)


def test_training_takes_one_thread_and_gives_the_others_back():
    before, seen = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        run(
            linear(),
            data(),
            None,
            TrainingOptions(max_epochs=1),
            progress=lambda *_: seen.append(torch.get_num_threads()),
        )
        assert seen == [1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# Failure and interruption.


def test_a_nan_ends_the_training_with_the_best_weights():
    module, seen = linear(), []

    def spoil(record, total):
        seen.append(weights(module))
        if record.epoch == 3:
            module.bias.data.fill_(math.nan)

    result = run(module, data(), data(seed=1), TrainingOptions(), progress=spoil)
    assert len(result.history) == 3
    assert result.stopped == "diverged"
    assert equal(weights(module), seen[result.best_epoch - 1])


@pytest.mark.parametrize(
    ("rate", "scale", "with_validation"), [(1e38, 1, True), (1e38, 1, False), (0.1, 1e38, False)]
)
def test_real_divergence_leaves_finite_weights(rate, scale, with_validation):
    features, targets = data()
    module = linear()
    options = TrainingOptions(learning_rate=rate, batch_size=64)
    validation = data(seed=1) if with_validation else None
    assert run(module, (features * scale, targets), validation, options).stopped == "diverged"
    assert all(torch.isfinite(p).all() for p in module.parameters())


def test_an_interrupt_keeps_the_best_so_far():
    training, validation = overfitting()
    module, seen = linear(40), []

    def interrupt(record, total):
        seen.append(weights(module))
        if record.epoch == 9:
            raise KeyboardInterrupt

    options = TrainingOptions(learning_rate=0.1, max_epochs=20, monitor="loss")
    result = run(module, training, validation, options, progress=interrupt)
    assert result.stopped == "interrupted"
    assert len(result.history) == 9 > result.best_epoch
    assert equal(weights(module), seen[result.best_epoch - 1])


def test_an_interrupt_within_an_epoch_undoes_the_epoch():
    class Interrupted(nn.Module):
        def __init__(self, at):
            super().__init__()
            self.inner, self.left = linear(), at

        def forward(self, x):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return self.inner(x)

    options = TrainingOptions(max_epochs=5, batch_size=10)
    start = weights(linear())
    module = Interrupted(3)
    with pytest.raises(KeyboardInterrupt):  # there is nothing to keep
        run(module, data(), None, options)
    assert equal(weights(module.inner), start)
    module, one = Interrupted(6), linear()
    result = run(module, data(), None, options)
    assert (len(result.history), result.stopped) == (1, "interrupted")
    run(one, data(), None, replace(options, max_epochs=1))
    assert equal(weights(module.inner), weights(one))


# Checkpoints.


class Stop(BaseException):
    """Ends a process without any chance to tidy up."""


def stop_at(epoch):
    def progress(record, total):
        if record.epoch == epoch:
            raise Stop

    return progress


@pytest.mark.parametrize(
    "options",
    [
        TrainingOptions(learning_rate=0.1, max_epochs=12, batch_size=8),
        TrainingOptions(learning_rate=0.1, max_epochs=30, batch_size=8, patience=4),
        TrainingOptions(max_epochs=12, monitor="accuracy", class_weight="balanced"),
    ],
    ids=["cosine", "patience", "accuracy"],
)
def test_resuming_gives_the_weights_of_an_uninterrupted_run(tmp_path, options):
    training, validation = overfitting()
    whole = linear(40)
    expected = run(whole, training, validation, options)
    path = tmp_path / "c.safetensors"
    for epoch in (1, 5, 6):  # killed three times over
        with pytest.raises(Stop):
            run(linear(40), training, validation, options, checkpoint=path, progress=stop_at(epoch))
    module, epochs = linear(40), []
    result = run(
        module,
        training,
        validation,
        options,
        checkpoint=path,
        progress=lambda r, _: epochs.append(r.epoch),
    )
    assert epochs[0] == 7
    assert equal(weights(module), weights(whole))
    assert without_time(result.history) == without_time(expected.history)
    assert (result.best_epoch, result.stopped) == (expected.best_epoch, expected.stopped)
    # Finished: the same again, at once.
    again = linear(40)
    assert run(again, training, validation, options, checkpoint=path) == result
    assert equal(weights(again), weights(whole))
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    path = tmp_path / "c.safetensors"
    training, validation, options = data(), data(seed=1), TrainingOptions(max_epochs=2)
    run(linear(), training, validation, options, checkpoint=path)
    content = path.read_bytes()
    moved = (training[0].clone(), training[1])
    moved[0][3, 1] += 1e-6
    relabelled = (validation[0], 1 - validation[1])
    cases = [
        (linear(seed=1), training, validation, options, 7),
        (linear(), moved, validation, options, 7),
        (linear(), training, relabelled, options, 7),
        (linear(), training, None, options, 7),
        (linear(), training, validation, replace(options, max_epochs=3), 7),
        (linear(), training, validation, replace(options, weight_decay=0.1), 7),
        (linear(), training, validation, options, 8),
    ]
    for module, pair, held, other, seed in cases:
        before = weights(module)
        with pytest.raises(CheckpointError, match="belongs to another training"):
            train(module, *pair, held, other, seed=seed, num_classes=2, checkpoint=path)
        assert equal(weights(module), before)
    assert path.read_bytes() == content


def test_a_refused_checkpoint_says_what_differs(tmp_path):
    path, options = tmp_path / "c.safetensors", TrainingOptions(max_epochs=2)
    built = {"head": {"topology": "ring", "scale": 1.5}}
    run(linear(), data(), None, options, checkpoint=path, identity=built)
    run(linear(), data(), None, options, checkpoint=path, identity=built)  # the same: goes on
    other = {"head": {"topology": "chain", "scale": 1.5}}
    changed = replace(options, batch_size=8)
    with pytest.raises(CheckpointError, match=r"head\.topology \(was ring, now chain\)\. Use"):
        run(linear(), data(), None, options, checkpoint=path, identity=other)
    with pytest.raises(CheckpointError, match=r"training\.batch_size \(was 64, now 8\)\. U"):
        run(linear(), data(), None, changed, checkpoint=path, identity=built)
    with pytest.raises(CheckpointError, match=r"differs: data_sha256\. U"):
        run(linear(), data(seed=5), None, options, checkpoint=path, identity=built)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    path = tmp_path / "c.safetensors"
    write_checkpoint(path, {"a": torch.arange(5.0), "b": torch.ones(2, 2)}, {"epoch": 3})
    content = path.read_bytes()
    tensors, record = read_checkpoint(path)
    assert record == {"epoch": 3}
    assert torch.equal(tensors["a"], torch.arange(5.0))
    for position in range(len(content)):
        if chr(content[position]) == " ":
            continue  # padding of the header, which says nothing
        path.write_bytes(
            content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]
        )
        with pytest.raises(CheckpointError):
            read_checkpoint(path)
    for broken in (b"", content[:-1], content[:20], b"not safetensors"):
        path.write_bytes(broken)
        with pytest.raises(CheckpointError, match=r"is damaged .* Name another file"):
            read_checkpoint(path)


@contextmanager
def file_size_limit(limit):
    """Let every write beyond `limit` bytes fail, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "c.safetensors"
    write_checkpoint(path, {"a": torch.ones(3)}, {"epoch": 1})
    content = path.read_bytes()
    with file_size_limit(100), pytest.raises(CheckpointError, match="cannot be written"):
        write_checkpoint(path, {"a": torch.zeros(3)}, {"epoch": 2})
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(CheckpointError, match="existing, writable folder"):
        write_checkpoint(tmp_path / "none" / "c", {"a": torch.zeros(3)}, {})


# Bad options and data.


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("learning_rate", 0),
        ("learning_rate", math.nan),
        ("learning_rate", math.inf),
        ("learning_rate", "0.1"),
        ("weight_decay", -0.1),
        ("max_epochs", 0),
        ("max_epochs", 2.5),
        ("max_epochs", True),
        ("batch_size", 0),
        ("patience", 0),
        ("validation_fraction", 1.0),
        ("validation_fraction", -0.1),
        ("schedule", None),
        ("class_weight", "uniform"),
        ("monitor", 3),
    ],
)
def test_bad_options(option, value):
    with pytest.raises(HeadError, match=f"Expected {option} to be .*got"):
        TrainingOptions(**{option: value})


def test_options_suggest_and_survive_json():
    with pytest.raises(HeadError, match="Did you mean 'cosine'"):
        TrainingOptions(schedule="cosin")
    options = TrainingOptions(max_epochs=np.int64(3), learning_rate=np.float32(0.5))
    assert type(options.max_epochs) is int
    assert type(options.learning_rate) is float
    assert TrainingOptions.from_dict(options.to_dict()) == options
    assert TrainingOptions.from_dict({"patience": 2}).patience == 2
    with pytest.raises(HeadError, match="Did you mean 'patience'"):
        TrainingOptions.from_dict({"patients": 2})


def test_bad_tensors():
    features, targets = data()
    options = TrainingOptions(max_epochs=1)
    for pair in (
        (features[:-1], targets),
        (features[0], targets),
        (features[:0], targets[:0]),
        (features, targets.float()),
        (features, targets + 1),
        (features, targets - 1),
    ):
        with pytest.raises(HeadError, match="Expected training"):
            run(linear(), pair, None, options)
        with pytest.raises(HeadError, match="Expected validation"):
            run(linear(), (features, targets), pair, options)
    frozen = linear().requires_grad_(False)
    with pytest.raises(HeadError, match="trainable parameters"):
        run(frozen, (features, targets), None, options)


def test_a_head_that_is_no_better_than_guessing_is_remarked(caplog):
    """Far too high a learning rate diverges without an infinity."""
    features, _ = data(60)
    learnable = features, (features[:, 0] > 0).long()
    run(linear(), learnable, learnable, TrainingOptions(max_epochs=20, learning_rate=0.1))
    assert not caplog.records
    run(linear(), learnable, learnable, TrainingOptions(max_epochs=3, learning_rate=1e6))
    assert "no better than guessing: its best loss is" in caplog.text
    assert "probabilities 0.6931" in caplog.text
