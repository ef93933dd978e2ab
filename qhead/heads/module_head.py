"""What a head is apart from its training: options and a module, built, saved and restored."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import nn

from qhead import checks
from qhead.errors import HeadError, ModelError
from qhead.training_options import EpochRecord, TrainingOptions

# Purposes that draw random numbers from a head's one seed, each a stream of its own.
INITIALISATION, SPLIT, BATCHES = range(3)

# Libraries whose next major version may train other weights from the same seed.
_VERSIONS = ("torch", "qiskit", "numpy", "scikit-learn")


@dataclass(frozen=True)
class HeadSummary:
    """The size of a fitted head; circuit figures are None for a head without a circuit.

    Gates outside the light cone of the measured qubits change nothing: simulators, emulations and
    their noise leave them out.
    """

    kind: str
    num_parameters: int  # trainable
    num_effective_parameters: int  # that can influence the output
    num_qubits: int | None = None
    depth: int | None = None
    num_two_qubit_gates: int | None = None
    num_two_qubit_gates_in_cone: int | None = None

    @property
    def two_qubit_gates(self) -> str:
        """The circuit's two-qubit gates in words, those in the light cone counted too."""
        words = f"{self.num_two_qubit_gates} two-qubit gates"
        if self.num_two_qubit_gates_in_cone != self.num_two_qubit_gates:
            words += (
                f", {self.num_two_qubit_gates_in_cone} in the light cone of the measured qubits"
            )
        return words


class ModuleHead(BaseEstimator, abc.ABC):  # type: ignore[misc, unused-ignore]
    """Options, and the torch module that they describe: built, saved and restored."""

    kind: ClassVar[str]
    #: Arithmetic of `logits` (the weights are float32). In float64 the logits of a row do not
    #: depend on the number of rows beside it, on which the order of summation does.
    inference_dtype: ClassVar[torch.dtype] = torch.float32

    training: TrainingOptions | None
    seed: int

    classes_: NDArray[Any]
    n_features_in_: int
    module_: nn.Module
    history_: tuple[EpochRecord, ...]
    held_back_: NDArray[np.bool_] | None
    best_epoch_: int | None
    stopped_: str | None
    training_seconds_: float | None

    @abc.abstractmethod
    def build_module(
        self,
        num_features: int,
        num_classes: int,
        features: NDArray[np.float32] | None,
        sample_weight: NDArray[np.float64] | None = None,
    ) -> nn.Module:
        """Return a module that maps (n, num_features) float32 to logits (n, num_classes).

        Args:
            num_features: d.
            num_classes: K.
            features: (n, d) training embeddings, for fixed parts that depend on them (a mean, a
                projection), which belong into buffers; None when a state is restored: whatever
                is as large as d or an option asks is then made by torch, on its default device.
            sample_weight: (n,) weights of the training embeddings, above 0; None: all equal.

        Random numbers come from `initialisation_generator` alone.
        """

    def check_size(self, num_features: int, num_classes: int) -> None:
        """Check that a module can be built for d features and K classes, without building it.

        Raises:
            HeadError: It cannot.
        """

    def validate_options(self) -> None:
        """Check all options; subclasses extend it.

        Raises:
            HeadError: An option is out of its range.
        """
        if self.training is not None and not isinstance(self.training, TrainingOptions):
            raise HeadError(f"Expected training to be TrainingOptions, got {self.training!r}.")
        checks.count("seed", self.seed, low=0)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the options, and if `deep` each training option as ``training__NAME``."""
        params: dict[str, Any] = super().get_params(deep=deep)
        if deep:
            training = self.training
            if not isinstance(training, TrainingOptions):  # None; `fit` refuses anything else
                training = TrainingOptions()
            params |= {f"training__{name}": v for name, v in training.to_dict().items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set options; ``training__NAME=value`` replaces one training option.

        Raises:
            HeadError: A training option is unknown or out of its range.
        """
        nested = {n: v for n, v in params.items() if n.startswith("training__")}
        super().set_params(**{n: v for n, v in params.items() if n not in nested})
        if nested:
            training = self.training if self.training is not None else TrainingOptions()
            changed = {name.removeprefix("training__"): v for name, v in nested.items()}
            # A new object: the old one may belong to the head that this one was cloned from.
            self.training = TrainingOptions.from_dict({**training.to_dict(), **changed})
        return self

    def initialisation_generator(self) -> torch.Generator:
        """Return a new generator for the module's random initialisation."""
        return torch.Generator().manual_seed(self._stream(INITIALISATION))

    def _stream(self, purpose: int) -> int:
        sequence = np.random.SeedSequence([int(self.seed), purpose])
        # torch seeds are signed 64-bit integers.
        return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))

    @classmethod
    def completed(cls, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return recorded options with those that an earlier edition did not record."""
        return options

    def identity(self, module: nn.Module) -> dict[str, Any]:
        """Return what `module` computes beyond its weights, JSON-able, for a checkpoint.

        All options of the head but ``training``, and the versions on which the result may depend.
        """
        options = {n: v for n, v in self.config()["options"].items() if n != "training"}
        versions = {name: version(name).split(".")[0] for name in _VERSIONS}
        return {
            "head": {"kind": self.kind, **options},
            "versions": {"qhead": version("qhead"), **versions},
        }

    def circuits_sha256(self) -> str | None:
        """Return a hash over the gates of all circuits of the fitted head; None without any."""
        return None

    @property
    def num_parameters(self) -> int:
        """Number of trainable parameters of the fitted head."""
        check_is_fitted(self, "module_")
        return sum(p.numel() for p in self.module_.parameters() if p.requires_grad)

    @property
    def num_effective_parameters(self) -> int:
        """Number of trainable parameters of the fitted head that can influence its output."""
        return self.num_parameters

    def summary(self) -> HeadSummary:
        """Return the size of the fitted head."""
        return HeadSummary(self.kind, self.num_parameters, self.num_effective_parameters)

    def config(self) -> dict[str, Any]:
        """Return ``{"kind": …, "options": {…}}``, JSON-able, from which `from_config` builds.

        Raises:
            HeadError: An option is out of its range.
        """
        self.validate_options()
        options = {name: _plain(value) for name, value in self.get_params(deep=False).items()}
        return {"kind": self.kind, "options": options}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return an unfitted head of the kind and options of `config`.

        Raises:
            HeadError: Keys are missing or unknown, or a value is out of its range.
        """
        from qhead.heads import HEADS, make_head

        if not isinstance(config, Mapping) or set(config) != {"kind", "options"}:
            raise HeadError(
                "Expected a head configuration with the keys 'kind' and 'options', got "
                f"{sorted(config) if isinstance(config, Mapping) else config!r}."
            )
        options = config["options"]
        if not isinstance(options, Mapping):
            raise HeadError(f"Expected the options of a head as a mapping, got {options!r}.")
        options = HEADS[config["kind"]].completed(options) if config["kind"] in HEADS else options
        options = dict(options)
        if isinstance(options.get("training"), Mapping):
            options["training"] = TrainingOptions.from_dict(options["training"])
        head = make_head(config["kind"], **options)
        if not isinstance(head, cls):
            raise HeadError(f"Expected a configuration of {cls.__name__}, got {config['kind']!r}.")
        return head

    def state(self) -> dict[str, torch.Tensor]:
        """Return parameters and buffers of the fitted head by name, copied."""
        check_is_fitted(self, "module_")
        state = self.module_.state_dict()
        return {name: t.detach().clone().contiguous() for name, t in state.items()}

    def restore(
        self, state: Mapping[str, torch.Tensor], classes: ArrayLike, num_features: int
    ) -> Self:
        """Turn this head into the fitted one whose `state` is given.

        Args:
            state: What `state` returned.
            classes: (K,) labels, sorted, the fitted head's `classes_`.
            num_features: d, the fitted head's `n_features_in_`.

        Raises:
            HeadError: Options out of range.
            ModelError: State, classes and options do not fit together.
        """
        self.validate_options()
        labels = np.asarray(classes)
        if labels.ndim != 1 or len(labels) < 2 or not np.array_equal(labels, np.unique(labels)):
            raise ModelError(f"Expected two or more sorted, different labels, got {classes!r}.")
        if not isinstance(num_features, Integral) or num_features < 1:
            raise ModelError(f"Expected a number of features of 1 or more, got {num_features!r}.")
        module = self._module_with(state, int(num_features), len(labels))
        self.classes_, self.n_features_in_, self.module_ = labels, int(num_features), module
        self.history_, self.held_back_, self.best_epoch_ = (), None, None
        self.stopped_, self.training_seconds_ = None, None
        return self

    def _module_with(
        self, state: Mapping[str, torch.Tensor], num_features: int, num_classes: int
    ) -> nn.Module:
        """Return the module that holds a state, of whose size alone it takes memory."""
        try:
            with torch.device("meta"):  # shapes without numbers
                module = self.build_module(num_features, num_classes, None)
            types = {name: tensor.dtype for name, tensor in module.state_dict().items()}
            module.load_state_dict({k: t.detach().clone() for k, t in state.items()}, assign=True)
        except (RuntimeError, TypeError) as error:  # torch's, of sizes beyond its integers too
            reason = " ".join(str(error).partition("Exception raised")[0].split())
            raise ModelError(f"The weights do not fit the head's options: {reason}") from error
        for name, tensor in state.items():
            if tensor.dtype != types[name]:
                raise ModelError(f"Expected {name!r} of type {types[name]}, got {tensor.dtype}.")
            if not torch.isfinite(tensor).all():
                raise ModelError(f"Expected finite values of {name!r}, got NaN or infinity.")
        return module.eval()


def _plain(value: Any) -> Any:
    """Return an option as JSON takes it."""
    if isinstance(value, TrainingOptions):
        return value.to_dict()
    return value.item() if isinstance(value, np.generic) else value
