"""What every head must do: subclass `HeadContract` as ``Test…`` and write `make_head`.

The problems have `NUM_FEATURES` features. Chance is tested by the binomial distribution of the
samples scored.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.exceptions import NotFittedError
from torch.nn.functional import cross_entropy

from contracts.sampling_bounds import assert_shares, shifted
from qhead.errors import HeadError, ModelError
from qhead.heads import HEADS, TorchHead
from qhead.training import TrainingOptions

NUM_FEATURES = 6


@dataclass(frozen=True)
class Exact:
    """As much of a target as a head without a quantum step may look at."""

    spec: str = "exact"


def clusters(n: int, seed: int, classes: int = 2) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return n samples in round clusters whose centres are far apart, classes in turn."""
    rng = np.random.default_rng(shifted(seed))
    labels = np.arange(n) % classes
    centres = np.full((classes, NUM_FEATURES), 0.2)
    centres[np.arange(classes), np.arange(classes)] += 1.0
    features = centres[labels] + rng.normal(scale=0.15, size=(n, NUM_FEATURES))
    return features.astype(np.float32), labels


def noise(n: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(shifted(seed)).normal(size=(n, NUM_FEATURES)).astype(np.float32)


def equal_states(one: TorchHead, other: TorchHead) -> bool:
    a, b = one.state(), other.state()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class HeadContract:
    """The suite."""

    #: Quick, but enough for the head to learn `clusters`.
    training: ClassVar[TrainingOptions] = TrainingOptions(
        learning_rate=0.05, max_epochs=12, batch_size=16
    )

    def make_head(self, training: TrainingOptions, seed: int) -> TorchHead:
        """Return an unfitted head for `NUM_FEATURES` features."""
        raise NotImplementedError

    def head(self, seed: int = 0, **changes: object) -> TorchHead:
        return self.make_head(replace(self.training, **changes), shifted(seed))  # type: ignore[arg-type]

    @pytest.fixture
    def fitted(self) -> TorchHead:
        return self.head().fit(*clusters(120, 1))

    # Learning, and the controls that must not learn.

    # Of 200 starts of a small head up to two end in a local minimum; that four of four do has a
    # chance below 1e-7.

    @pytest.mark.sampled
    def test_learns_a_separable_problem(self) -> None:
        train, test = clusters(120, 1), clusters(400, 2)
        heads = (self.head(start).fit(*train) for start in range(4))
        assert any(head.score(*test) >= 0.95 for head in heads)

    @pytest.mark.sampled
    def test_learns_three_classes_with_string_labels(self) -> None:
        names = np.array(["zebra", "ant", "mouse"])
        X, y = clusters(150, 1, classes=3)
        X_test, y_test = clusters(300, 2, classes=3)

        def accuracy(start: int) -> float:
            head = self.head(start).fit(X, names[y])
            assert list(head.classes_) == ["ant", "mouse", "zebra"]
            assert head.logits(X_test).shape == (300, 3)
            assert head.decision_function(X_test).shape == (300, 3)
            return float(np.mean(head.predict(X_test) == names[y_test]))

        assert any(accuracy(start) >= 0.9 for start in range(4))

    @pytest.mark.sampled
    def test_shuffled_labels_score_chance(self) -> None:
        X, y = clusters(1640, 3)
        self.assert_chance(X, np.random.default_rng(shifted(4)).permutation(y))

    @pytest.mark.sampled
    def test_random_features_score_chance(self) -> None:
        _, y = clusters(1640, 3)
        self.assert_chance(noise(1640, 5), y)

    def assert_chance(self, X: NDArray[np.float32], y: NDArray[np.int64]) -> None:
        train, validation, test = slice(0, 80), slice(80, 640), slice(640, None)
        head = self.head().fit(X[train], y[train], validation=(X[validation], y[validation]))
        seen = head.history_[-1].validation_accuracy  # of the last epoch: chosen by nothing
        for accuracy, n in ((head.score(X[test], y[test]), 1000), (seen, 560)):
            assert_shares(accuracy, 0.5, n)

    # Outputs.

    def test_shapes_types_and_agreement_of_outputs(self, fitted: TorchHead) -> None:
        X, _ = clusters(37, 6)
        logits, probabilities = fitted.logits(X), fitted.predict_proba(X)
        assert logits.shape == (37, 2)
        assert logits.dtype == np.float64
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=0, atol=1e-12)
        np.testing.assert_allclose(
            np.log(probabilities[:, 1] / probabilities[:, 0]), logits[:, 1] - logits[:, 0]
        )
        np.testing.assert_array_equal(fitted.predict(X), probabilities.argmax(axis=1))
        np.testing.assert_array_equal(fitted.decision_function(X), logits[:, 1] - logits[:, 0])

    def test_a_row_does_not_depend_on_its_neighbours(self, fitted: TorchHead) -> None:
        X, _ = clusters(37, 6)
        alone = np.concatenate([fitted.logits(X[i : i + 1]) for i in range(5)])
        digits = 1e-12 if fitted.inference_dtype == torch.float64 else 1e-4
        np.testing.assert_allclose(fitted.logits(X)[:5], alone, rtol=digits, atol=digits)

    def test_the_exact_target_is_no_target(self, fitted: TorchHead) -> None:
        X, _ = clusters(5, 6)
        np.testing.assert_array_equal(fitted.logits(X, target=Exact()), fitted.logits(X))  # type: ignore[arg-type]

    def test_summary_counts_the_trainable_parameters(self, fitted: TorchHead) -> None:
        expected = sum(p.numel() for p in fitted.module_.parameters() if p.requires_grad)
        summary = fitted.summary()
        assert summary.num_parameters == fitted.num_parameters == expected > 0
        assert summary.kind == fitted.kind
        assert HEADS[fitted.kind] is type(fitted)

    # Training.

    def test_history_and_progress(self) -> None:
        seen = []
        head = self.head(validation_fraction=0.15, monitor="loss")
        head.fit(*clusters(60, 1), progress=lambda *args: seen.append(args))
        assert [record.epoch for record in head.history_] == list(range(1, 13))
        assert seen == [(record, 12) for record in head.history_]
        losses = [record.validation_loss for record in head.history_]
        assert head.best_epoch_ == 1 + int(np.argmin(losses))
        assert head.stopped_ == "completed"
        assert head.training_seconds_ == sum(record.seconds for record in head.history_)

    def test_holds_the_weights_of_the_best_epoch(self) -> None:
        validation = clusters(50, 7)
        # Half the validation labels wrong: confidence is punished, the best comes early.
        validation[1][::4] ^= 1
        head = self.head().fit(*clusters(60, 1), validation=validation)
        best = head.history_[head.best_epoch_ - 1]
        loss = cross_entropy(torch.tensor(head.logits(validation[0])), torch.tensor(validation[1]))
        assert float(loss) == pytest.approx(best.validation_loss, rel=1e-5)

    def test_same_seed_same_weights_whatever_the_global_generators(self) -> None:
        X, y = clusters(60, 1)
        torch.manual_seed(1)
        one = self.head(max_epochs=3).fit(X, y)
        torch.manual_seed(2)
        before, legacy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
        two = self.head(max_epochs=3).fit(X, y)
        assert torch.equal(before, torch.get_rng_state())
        assert np.array_equal(legacy, np.random.get_state()[1])  # noqa: NPY002
        assert equal_states(one, two)
        assert equal_states(one.fit(X, y), two)

    def test_another_seed_starts_elsewhere(self) -> None:
        X, _ = clusters(60, 1)
        states = [
            self.head(seed).build_module(NUM_FEATURES, 2, X).state_dict() for seed in (0, 0, 1)
        ]
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
        assert not all(torch.equal(states[0][name], states[2][name]) for name in states[0])

    def test_an_interrupted_training_resumes_bit_for_bit(self, tmp_path) -> None:
        X, y = clusters(60, 1)
        whole = self.head(max_epochs=6).fit(X, y)

        def interrupt(record, total) -> None:
            if record.epoch == 3:
                raise KeyboardInterrupt

        path = tmp_path / "training.safetensors"
        part = self.head(max_epochs=6)
        with pytest.raises(KeyboardInterrupt):
            part.fit(X, y, progress=interrupt, checkpoint=path)
        assert part.stopped_ == "interrupted"
        assert len(part.history_) == 3
        resumed = self.head(max_epochs=6).fit(X, y, checkpoint=path)
        assert equal_states(whole, resumed)
        assert resumed.best_epoch_ == whole.best_epoch_
        assert [replace(r, seconds=0) for r in resumed.history_] == [
            replace(r, seconds=0) for r in whole.history_
        ]

    # Keeping.

    def test_config_and_state_restore_the_head(self, fitted: TorchHead) -> None:
        config = json.loads(json.dumps(fitted.config()))
        head = TorchHead.from_config(config)
        assert head.config() == config
        assert head.get_params() == fitted.get_params()
        head.restore(fitted.state(), fitted.classes_.tolist(), fitted.n_features_in_)
        X, _ = clusters(20, 8)
        np.testing.assert_array_equal(head.logits(X), fitted.logits(X))
        np.testing.assert_array_equal(head.predict(X), fitted.predict(X))
        assert head.summary() == fitted.summary()
        assert head.history_ == ()

    def test_state_is_a_copy(self, fitted: TorchHead) -> None:
        before = fitted.state()
        for tensor in fitted.state().values():
            tensor.zero_()
        assert any(tensor.any() for tensor in before.values())
        assert all(torch.equal(t, before[name]) for name, t in fitted.state().items())

    def test_a_state_that_does_not_fit_is_refused(self, fitted: TorchHead) -> None:
        state = fitted.state()
        name = next(n for n, t in state.items() if t.is_floating_point() and t.numel())
        nan = {**state, name: torch.full_like(state[name], float("nan"))}
        missing = {n: t for n, t in state.items() if n != name}
        wrong = [
            (nan, "finite"),
            (missing, "Missing key"),
            ({**state, "extra": torch.zeros(1)}, "Unexpected key"),
            (
                {**state, name: state[name].repeat(2, *[1] * (state[name].ndim - 1))},
                "size mismatch",
            ),
            ({**state, name: state[name].half()}, "type"),
        ]
        for bad, message in wrong:
            with pytest.raises(ModelError, match=message):
                self.head().restore(bad, fitted.classes_, fitted.n_features_in_)
        for classes in ([1, 0], [0, 0], [0]):
            with pytest.raises(ModelError, match="labels"):
                self.head().restore(state, classes, fitted.n_features_in_)

    def test_an_unknown_option_is_refused(self, fitted: TorchHead) -> None:
        config = fitted.config()
        config["options"]["sede"] = config["options"].pop("seed")
        with pytest.raises(HeadError, match="Did you mean 'seed'"):
            TorchHead.from_config(config)
        with pytest.raises(HeadError, match="keys"):
            TorchHead.from_config({**fitted.config(), "more": 1})

    # Bad input.

    def test_bad_input_is_refused(self, fitted: TorchHead) -> None:
        X, y = clusters(20, 9)
        bad = X.copy()
        bad[3, 2] = np.nan
        with pytest.raises(HeadError, match="NaN"):
            self.head().fit(bad, y)
        with pytest.raises(HeadError, match="NaN"):
            self.head().fit(X, y, validation=(bad, y))
        with pytest.raises(HeadError, match="NaN"):
            fitted.predict(bad)
        with pytest.raises(HeadError, match="features"):
            fitted.predict(X[:, :-1])
        with pytest.raises(HeadError, match="one class"):
            self.head().fit(X, np.zeros(20, dtype=int))
        with pytest.raises(HeadError, match=r"labels .* got 7"):
            self.head().fit(X, y, validation=(X, np.where(y == 1, 7, y)))
        with pytest.raises(NotFittedError):
            self.head().predict(X)
