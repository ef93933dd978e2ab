import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from contracts.head_contract import NUM_FEATURES, HeadContract, clusters, noise
from contracts.sampling_bounds import assert_shares, shifted
from sklearn.decomposition import PCA
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import StandardScaler

from qhead.errors import HeadError, TrainingError
from qhead.heads import (
    HEADS,
    InspiredHead,
    MLPHead,
    ReducedMLPHead,
    TorchHead,
    logistic_regression,
    make_head,
    num_trainable_parameters,
    select_on_validation,
    svc,
)
from qhead.heads.base import held_out
from qhead.heads.classical import mlp_size
from qhead.training import TrainingOptions

QUICK = TrainingOptions(max_epochs=2)


class TestLinearHead(HeadContract):
    def make_head(self, training, seed):
        return MLPHead(training=training, seed=seed)


class TestMLPHead(HeadContract):
    def make_head(self, training, seed):
        return MLPHead(hidden=8, training=training, seed=seed)


class TestPCAHead(HeadContract):
    def make_head(self, training, seed):
        return ReducedMLPHead(num_components=3, hidden=8, training=training, seed=seed)


class TestRandomProjectionHead(HeadContract):
    def make_head(self, training, seed):
        return ReducedMLPHead(
            reduction="random", num_components=5, max_parameters=80, training=training, seed=seed
        )


class TestInspiredHead(HeadContract):
    def make_head(self, training, seed):
        return InspiredHead(num_units=6, training=training, seed=seed)


class Shots:
    spec = "shots:100"


# Every head against NumPy, and its parameters against their formula.


def affine(state, name, x):
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def forward_linear(s, x):
    return affine(s, "0", x)


def forward_mlp(s, x):
    return affine(s, "2", np.maximum(affine(s, "0", x), 0))


def forward_inspired(s, x):
    return affine(s, "4", np.maximum(affine(s, "2", np.sin(affine(s, "0", x))), 0))


def forward_reduced(s, x):
    x = (x - s["0.mean"]) @ s["0.directions"]
    return affine(s, "3", np.maximum(affine(s, "1", x), 0))


@pytest.mark.parametrize(
    ("head", "forward", "size"),
    [
        (MLPHead(training=QUICK), forward_linear, 7 * 3),
        (MLPHead(hidden=4, training=QUICK), forward_mlp, 7 * 4 + 5 * 3),
        (InspiredHead(num_units=5, training=QUICK), forward_inspired, 7 * 5 + 6 * 5 + 6 * 3),
        (
            ReducedMLPHead(num_components=2, hidden=4, training=QUICK),
            forward_reduced,
            3 * 4 + 5 * 3,
        ),
    ],
)
def test_head_is_its_formula(head, forward, size):
    X, y = clusters(60, 0, classes=3)
    head.fit(X, y)
    state = {name: tensor.double().numpy() for name, tensor in head.state().items()}
    np.testing.assert_allclose(head.logits(X), forward(state, X), rtol=1e-4, atol=1e-5)
    assert head.num_parameters == size


@pytest.mark.parametrize("kind", ["mlp", "reduced_mlp", "inspired"])
def test_a_head_without_a_circuit_refuses_a_target(kind):
    options = {"num_components": 2} if kind == "reduced_mlp" else {}
    head = make_head(kind, training=QUICK, **options).fit(*clusters(20, 0))
    for method in (head.logits, head.predict, head.predict_proba, head.decision_function):
        with pytest.raises(HeadError, match=r"'shots:100' needs a circuit"):
            method(clusters(4, 1)[0], target=Shots())


def test_prediction_leaves_the_weights_as_they_are():
    X, y = clusters(20, 0)
    head = MLPHead(training=QUICK).fit(X, y)
    head.predict(X)
    assert head.state()["0.weight"].dtype == torch.float32


def test_the_seed_orders_the_batches():
    class SameStart(MLPHead):
        def initialisation_generator(self):
            return torch.Generator().manual_seed(0)

    X, y = clusters(30, 0)
    training = TrainingOptions(max_epochs=1, batch_size=4)
    weights = [
        SameStart(training=training, seed=seed).fit(X, y, validation=(X, y)).state()["0.weight"]
        for seed in (0, 0, 1)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_initial_weights_have_the_usual_spread():
    layer = MLPHead(hidden=400).build_module(100, 2, None)[0]
    for values in (layer.weight, layer.bias):
        assert values.abs().max() <= 0.1
    # Uniform in ±0.1: variance 0.01/3, estimated from 40,000 values to about 0.5 %.
    assert float(layer.weight.detach().var()) == pytest.approx(0.01 / 3, rel=0.03)


# The equal-budget control.


@pytest.mark.parametrize("num_classes", [2, 5])
@pytest.mark.parametrize("k", [1, 4, 16])
def test_the_largest_mlp_within_the_budget_is_taken(k, num_classes):
    for budget in [*range(1, 120), 328, 886]:
        head = ReducedMLPHead(num_components=k, max_parameters=budget)
        sizes = {h: mlp_size(k, h, num_classes) for h in range(budget + 1)}
        fitting = [size for size in sizes.values() if size <= budget]
        if fitting:
            assert sizes[head.hidden_width(num_classes)] == max(fitting)
        else:
            with pytest.raises(HeadError, match=f"at least {min(sizes.values())} "):
                head.hidden_width(num_classes)


def test_the_budget_holds_in_the_fitted_head():
    X, y = clusters(60, 0, classes=3)
    head = ReducedMLPHead(num_components=4, max_parameters=100, training=QUICK).fit(X, y)
    assert head.num_parameters == 4 * 12 + 12 + 12 * 3 + 3 == 99  # width 13 would take 107
    with pytest.raises(HeadError, match="max_parameters of at least 99"):
        ReducedMLPHead(num_components=4, hidden=12, max_parameters=98).fit(X, y)


@pytest.mark.parametrize("n", [5, 200])  # both solvers
def test_pca_is_the_pca_of_the_training_rows_alone(n):
    X, y = clusters(n, 0)
    X = X @ np.diag([1, 2, 3, 4, 5, 6]).astype(np.float32)
    head = ReducedMLPHead(num_components=3, training=QUICK, seed=5)
    head.fit(X, y, validation=(noise(n, 1), y))
    state = head.state()
    oracle = PCA(3, svd_solver="full").fit(X.astype(float))
    directions = state["0.directions"].double().numpy()
    np.testing.assert_allclose(state["0.mean"], oracle.mean_, rtol=1e-5)
    scale = 1 / math.sqrt(oracle.explained_variance_.mean() * (n - 1) / n)
    overlaps = oracle.components_ @ directions
    np.testing.assert_allclose(np.abs(overlaps), scale * np.eye(3), atol=1e-3 * scale)


def test_a_held_back_sample_does_not_reach_the_module():
    seen = []

    class Spy(MLPHead):
        def build_module(self, *arguments):
            seen.append(arguments[2])
            return super().build_module(*arguments)

    X, y = clusters(100, 0)
    head = Spy(training=TrainingOptions(max_epochs=1, validation_fraction=0.25), seed=3)
    head.fit(X, y)
    assert seen[0].shape == (75, NUM_FEATURES)  # 50 + 50, of which 25 are held back
    held = [row for row in X if not (seen[0] == row).all(axis=1).any()]
    assert len(held) == 25
    assert head.history_[0].validation_accuracy * 25 == pytest.approx(
        round(head.history_[0].validation_accuracy * 25)
    )


def test_held_out_is_stratified_seeded_and_leaves_one_of_each_class():
    targets = np.array([0] * 40 + [1] * 10 + [2])
    masks = [held_out(targets, 0.2, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert [int(masks[0][targets == c].sum()) for c in range(3)] == [8, 2, 0]
    assert np.array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[0], masks[2])
    assert not held_out(targets, 0.0, np.random.default_rng(0)).any()
    assert [int((~held_out(targets, 0.99, np.random.default_rng(0)))[targets == c].sum())
            for c in range(3)] == [1, 1, 1]  # fmt: skip


def test_without_validation_the_training_loss_decides():
    training = TrainingOptions(max_epochs=5, validation_fraction=0)
    head = MLPHead(training=training).fit(*clusters(30, 0))
    assert all(record.validation_loss is None for record in head.history_)
    assert head.best_epoch_ == 1 + int(np.argmin([r.train_loss for r in head.history_]))


def test_too_many_components_are_refused():
    X, y = clusters(4, 0)
    training = TrainingOptions(validation_fraction=0)
    with pytest.raises(HeadError, match=r"at most 4, .* n_samples = 4 and n_features = 6"):
        ReducedMLPHead(num_components=5, training=training).fit(X, y)


def test_identical_embeddings_are_no_division_by_zero():
    X, y = np.ones((20, 3), np.float32), np.arange(20) % 2
    head = ReducedMLPHead(num_components=2, training=QUICK).fit(X, y)
    assert np.isfinite(head.logits(X)).all()


# The registry.


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("mpl", {}, "Did you mean 'mlp'"),
        (3, {}, "Expected a head among"),
        ("mlp", {"hiden": 3}, "Did you mean 'hidden'"),
        ("mlp", {"hidden": -1}, "hidden to be an integer of at least 0, got -1"),
        ("mlp", {"hidden": True}, "hidden to be an integer"),
        ("mlp", {"hidden": 2.0}, "hidden to be an integer"),
        ("mlp", {"seed": -1}, "seed to be an integer of at least 0"),
        ("mlp", {"training": {"max_epochs": 3}}, "training to be TrainingOptions"),
        ("inspired", {"num_units": 0}, "num_units to be an integer of at least 1"),
        ("reduced_mlp", {"reduction": "pcs"}, "Did you mean 'pca'"),
        ("reduced_mlp", {"reduction": ["pca"]}, "reduction to be one of"),
        ("reduced_mlp", {"max_parameters": 0}, "max_parameters to be an integer"),
    ],
)
def test_make_head_refuses(kind, options, message):
    with pytest.raises(HeadError, match=message):
        make_head(kind, **options)


def test_make_head_and_config_take_numpy_numbers():
    head = make_head("mlp", hidden=np.int64(3), seed=np.int32(2))
    options = head.config()["options"]
    assert options == {"hidden": 3, "seed": 2, "training": None}
    assert type(options["hidden"]) is int


def test_from_config_dispatches_and_checks_the_class():
    config = InspiredHead(num_units=3, training=QUICK).config()
    head = TorchHead.from_config(config)
    assert isinstance(head, InspiredHead)
    assert head.training == QUICK
    assert isinstance(InspiredHead.from_config(config), InspiredHead)
    with pytest.raises(HeadError, match="Expected a configuration of MLPHead"):
        MLPHead.from_config(config)
    config["options"]["training"]["epochs"] = 3
    with pytest.raises(HeadError, match="Did you mean 'max_epochs'"):
        TorchHead.from_config(config)
    for broken in ({"kind": "mlp", "options": None}, [], {}):
        with pytest.raises(HeadError):
            TorchHead.from_config(broken)


def test_registry_keys_are_the_kinds():
    for kind in ("mlp", "reduced_mlp", "inspired"):
        assert HEADS[kind].kind == kind
    assert "quantum" in HEADS
    with pytest.raises(KeyError):
        HEADS["other"]


def test_importing_the_package_is_light():
    code = "import sys, qhead.heads; print('torch' in sys.modules or 'sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# scikit-learn's machines.


@pytest.mark.parametrize(
    ("classes", "sets_lr", "sets_svc"),
    [(2, 1, 1), (4, 4, 6)],
)
@pytest.mark.parametrize("standardise", [False, True])
def test_parameters_of_linear_machines(classes, sets_lr, sets_svc, standardise):
    X, y = clusters(80, 0, classes=classes)
    fitted = logistic_regression(standardise=standardise).fit(X, y)
    assert isinstance(fitted[0], StandardScaler) is standardise
    assert num_trainable_parameters(fitted) == sets_lr * (NUM_FEATURES + 1)
    fitted = svc("linear", standardise=standardise).fit(X, y)
    assert num_trainable_parameters(fitted) == sets_svc * (NUM_FEATURES + 1)


def test_parameters_of_a_kernel_machine_and_of_a_head():
    X, y = noise(60, 0), np.arange(60) % 2
    fitted = svc("rbf").fit(X, y)
    assert num_trainable_parameters(fitted) == len(fitted[-1].support_) + 1
    assert num_trainable_parameters(MLPHead(training=QUICK).fit(X, y)) == 14
    fitted = logistic_regression().set_params(logisticregression__fit_intercept=False).fit(X, y)
    assert num_trainable_parameters(fitted) == 6
    with pytest.raises(HeadError, match="GaussianNB"):
        num_trainable_parameters(GaussianNB().fit(X, y))


def test_bad_options_of_the_machines():
    with pytest.raises(HeadError, match="C to be a finite number above 0, got 0"):
        logistic_regression(C=0)
    with pytest.raises(HeadError, match="C to be"):
        svc(C=float("nan"))
    with pytest.raises(HeadError, match="Did you mean 'rbf'"):
        svc("rfb")


def test_selection_takes_the_first_of_the_best_and_leaves_the_candidates_alone():
    X, y = clusters(60, 0)
    validation = clusters(60, 1)
    hopeless = MLPHead(training=TrainingOptions(learning_rate=1e-12, max_epochs=1))
    candidates = [hopeless, logistic_regression(), svc(), MLPHead(hidden=4)]
    chosen = select_on_validation(candidates, X, y, *validation)
    assert chosen.index == 1
    assert chosen.accuracy == chosen.accuracies[1] == chosen.estimator.score(*validation) == 1.0
    assert chosen.accuracies[0] < 1
    assert not hasattr(hopeless, "module_")
    with pytest.raises(HeadError, match="No candidates"):
        select_on_validation([], X, y, *validation)


@pytest.mark.sampled
def test_machines_on_shuffled_labels_score_chance():
    X, y = clusters(1080, 3)
    y = np.random.default_rng(shifted(0)).permutation(y)
    for machine in (logistic_regression(), svc("linear"), svc("rbf")):
        accuracy = machine.fit(X[:80], y[:80]).score(X[80:], y[80:])
        assert_shares(accuracy, 0.5, 1000)


def test_a_diverged_head_keeps_its_best_weights():
    modules = []

    class Spy(MLPHead):
        def build_module(self, *args):
            modules.append(super().build_module(*args))
            return modules[-1]

    def spoil(record, total):
        if record.epoch == 3:
            modules[0][0].weight.data.fill_(float("nan"))

    X, y = clusters(30, 0)
    head = Spy(training=TrainingOptions(learning_rate=0.2, max_epochs=9))
    with pytest.raises(TrainingError, match=r"diverged in epoch 4.*Lower the learning"):
        head.fit(X, y, progress=spoil)
    assert len(head.history_) == 3
    assert torch.isfinite(head.state()["0.weight"]).all()
    assert head.score(X, y) > 0.9
