"""The quantum head of arXiv 2504.08732: amplitude encoders, a re-uploading circuit, a read-out."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from sklearn.utils.validation import check_is_fitted
from torch import nn

from hardware.circuits.transforms import light_cone
from hardware.workload import Expectations, Workload
from qhead.circuits import weight_parameters
from qhead.heads.amplitudes import AmplitudeMap, QuantumEncoder
from qhead.heads.base import TorchHead
from qhead.heads.inference import LANES, QuantumInference
from qhead.heads.layers import linear
from qhead.heads.module_head import HeadSummary
from qhead.heads.quantum_module import QuantumModule
from qhead.heads.quantum_options import QuantumOptions
from qhead.heads.step import initial_weights, quantum_step
from qhead.targets import resolve_target
from qhead.training_options import TrainingOptions

if TYPE_CHECKING:
    from hardware.targets import ExecutionTarget

# Learning rate and spread of a circuit that starts as the identity, in units of the encoders'.
_IDENTITY_RATE = 0.1


class ReadoutWarning(UserWarning):
    """A read-out measures too few qubits to separate all classes."""

    options = ("num_measured",)  # that the message names


class QuantumHead(QuantumOptions, TorchHead):
    """Encoders → angles → N × [angle encoding → PQC1] → PQC2 → read-out → linear layer.

    Each of the E encoders loads the embedding into the amplitudes of a register of its own, runs a
    parametrised circuit on it and hands on ⟨Z⟩ of its first Q/E qubits. Encoders are simulated,
    always; their outputs, times `angle_scale`, are the angles of the circuit that a device can run.
    That circuit is a stock `EstimatorQNN` (or `SamplerQNN`) in a `TorchConnector`, trained
    through the exact simulator and its adjoint gradient.

    The defaults were chosen by cross-validation on the training part of TREC (see LOG.md). The
    head starts nearly linear: the embedding's principal components stand beside a large constant,
    of which ⟨Z⟩ is nearly a linear function; the encoder is deep, for it is simulated anyway; the
    circuit is narrow, for a device runs it, and starts by handing its angles on.

    Args:
        num_qubits: Qubits of the circuit (Q), a multiple of `num_encoders`. None: 4, or as many as
            are measured.
        num_layers: Layers of the circuit's ansatz (L of PQC1 and PQC2).
        connectivity: Entangling range of the ansatz (C of PQC1 and PQC2). Below Q for a ring.
        num_reuploads: How often the angles are uploaded (N).
        num_encoders: Amplitude encoders in front of the circuit (E).
        topology: Qubit pairs that the circuit entangles. The paper's is the ring; a device runs a
            chain, of nearest neighbours, without routing. Encoders are always rings.
        shared: Share parameters between the re-uploads. Otherwise each of the N copies of PQC1 has
            its own.
        reading: Reading of the paper's figure of the ansatz. See `qhead.circuits`.
        num_measured: Measured qubits, the first ones of the circuit (Q_m). None: one fewer than
            classes, and at most 10. K linear logits differ in K - 1 numbers; "probabilities" takes
            the fewest qubits with K joint values; never more than `num_qubits`. Fewer than log2 K
            are warned about.
        readout: What the linear read-out gets. "expectations" are ⟨Z⟩ of each measured qubit,
            "probabilities" those of their 2^Q_m joint values (the `SamplerQNN` variant).
        encoder_qubits: Qubits of each encoder's register. None takes the smallest that holds the
            embedding and its bias amplitude; "auto" the same, but with a reduction at most 7.
        encoder_layers: Layers of the encoders' circuits. None takes `num_layers`.
        encoder_connectivity: Entangling range of the encoders' circuits. None: 3, or what their
            ring allows.
        reduction: How to shorten an embedding that is longer than the register. None makes such an
            embedding an error.
        bias_amplitude: Size of the constant amplitude, in units of the embeddings' norm. It stands
            beside the embedding; the unit is the root-mean-square norm. ⟨Z⟩ is a quadratic form of
            the amplitudes; products with the constant give it linear terms in the embedding. 0
            leaves it out.
        center: Subtract the training embeddings' mean before loading. None: yes with a bias
            amplitude. Without one, the mean is the only constant.
        angle_scale: Radians per unit of an encoder's output.
        start: Initial rotations of the circuit. "identity" makes the circuit hand on each angle, as
            ⟨Z_i⟩ = ±sin x_i (for "ring", C = 1, L = 0, N = 1, reading "A"); "random" angles are
            near zero, which leaves the CX gates, a fixed permutation. None: identity if possible.
        initial_spread: Standard deviation of the circuit's initial angles, in radians. They spread
            around the start; around the identity by a tenth of it.
        encoder_spread: Standard deviation of the encoders' initial angles, in radians. They spread
            around zero; at 1.5 the rotations are as good as random. None takes `initial_spread`.
        training: How to train; None takes `TrainingOptions()`.
        seed: Seed of initialisation, batches and validation split.

    Warns:
        ReadoutWarning: In `fit`, where `num_measured` qubits have fewer joint values than there
            are classes.
    """

    kind: ClassVar[str] = "quantum"

    def __init__(
        self,
        *,
        num_qubits: int | None = None,
        num_layers: int = 0,
        connectivity: int = 1,
        num_reuploads: int = 1,
        num_encoders: int = 1,
        topology: Literal["ring", "chain", "full"] = "ring",
        shared: bool = True,
        reading: Literal["A", "B"] = "A",
        num_measured: int | None = None,
        readout: Literal["expectations", "probabilities"] = "expectations",
        encoder_qubits: int | Literal["auto"] | None = "auto",
        encoder_layers: int | None = 38,
        encoder_connectivity: int | None = None,
        reduction: Literal["pca", "random"] | None = "pca",
        bias_amplitude: float = 3.0,
        center: bool | None = None,
        angle_scale: float = math.pi,
        encoder_spread: float | None = 1.5,
        start: Literal["identity", "random"] | None = None,
        initial_spread: float = 0.1,
        training: TrainingOptions | None = None,
        seed: int = 0,
    ) -> None:
        self.num_qubits = num_qubits
        self.num_layers = num_layers
        self.connectivity = connectivity
        self.num_reuploads = num_reuploads
        self.num_encoders = num_encoders
        self.topology = topology
        self.shared = shared
        self.reading = reading
        self.num_measured = num_measured
        self.readout = readout
        self.encoder_qubits = encoder_qubits
        self.encoder_layers = encoder_layers
        self.encoder_connectivity = encoder_connectivity
        self.reduction = reduction
        self.bias_amplitude = bias_amplitude
        self.center = center
        self.angle_scale = angle_scale
        self.encoder_spread = encoder_spread
        self.start = start
        self.initial_spread = initial_spread
        self.training = training
        self.seed = seed

    def validate_options(self) -> None:
        """Check all options.

        Raises:
            HeadError: One is out of its range.
        """
        super().validate_options()
        self.check_options()

    def build_module(
        self,
        num_features: int,
        num_classes: int,
        features: NDArray[np.float32] | None,
        sample_weight: NDArray[np.float64] | None = None,
    ) -> QuantumModule:
        """Return the module for embeddings of `num_features` numbers and `num_classes` classes."""
        self.check_size(num_features, num_classes)
        num_qubits, num_measured = self.qubits_for(num_classes), self.measured_for(num_classes)
        if features is not None and 2**num_measured < num_classes:
            warning = ReadoutWarning(
                f"{num_measured} measured qubit(s) have {2**num_measured} joint values, and there "
                f"are {num_classes} classes: the read-out will confuse some. Raise num_measured, "
                f"or leave it to the default."
            )
            warnings.warn(warning, stacklevel=4)
        generator = self.initialisation_generator()
        loaded, register, layers, connectivity = self.encoder_size(
            num_features, num_qubits // self.num_encoders
        )
        if features is not None:
            self._check_memory(register, len(features))
        amplitudes = AmplitudeMap(
            num_features,
            features,
            num_qubits=loaded,
            bias_amplitude=self.bias_amplitude,
            center=bool(self.bias_amplitude) if self.center is None else self.center,
            reduction=self.reduction,
            generator=generator,
            sample_weight=sample_weight,
        )
        amplitudes.num_qubits = register
        spread = self.initial_spread if self.encoder_spread is None else self.encoder_spread
        encoders = [
            QuantumEncoder(
                register,
                layers,
                connectivity,
                reading=self.reading,
                num_measured=num_qubits // self.num_encoders,
                initial_spread=spread,
                generator=generator,
            )
            for _ in range(self.num_encoders)
        ]
        circuit, observables = self.build_circuit(num_qubits), self.build_observables(num_classes)
        identity = self.start != "random" and self._can_start_as_identity()
        initial = initial_weights(
            self.num_weights(num_qubits),
            num_qubits,
            identity=identity,
            spread=self.initial_spread * (_IDENTITY_RATE if identity else 1.0),
            generator=generator,
        )
        step = quantum_step(circuit, observables, self.readout, num_measured, initial)
        readout = linear(len(observables), num_classes, generator)
        module = QuantumModule(amplitudes, encoders, self.angle_scale, circuit, step, readout)
        if identity:
            module.learning_rate_factors = {"step": _IDENTITY_RATE}
        return module

    @classmethod
    def completed(cls, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return recorded options with those that the first edition, 0.1, did not record.

        Its encoders had the circuit's connectivity, and all rotations started near zero.
        """
        if "encoder_layers" not in options or "encoder_connectivity" in options:
            return options
        return {
            "encoder_connectivity": options.get("connectivity"),
            "encoder_spread": None,
            "start": "random",
            **options,
        }

    def identity(self, module: nn.Module) -> dict[str, Any]:
        """Return what `module` computes beyond its weights: also the gates of its circuits."""
        assert isinstance(module, QuantumModule)
        return {**super().identity(module), "circuits_sha256": module.circuits_sha256()}

    def circuits_sha256(self) -> str:
        """Return a hash over the gates of all circuits of the fitted head."""
        return self._quantum_module().circuits_sha256()

    @property
    def num_qubits_(self) -> int:
        """Q of the fitted head; of a head for two classes before."""
        return self.qubits_for(self._num_classes())

    @property
    def num_measured_(self) -> int:
        """Q_m of the fitted head; of a head for two classes before."""
        return self.measured_for(self._num_classes())

    def _num_classes(self) -> int:
        return len(self.classes_) if hasattr(self, "classes_") else 2

    @property
    def circuit(self) -> QuantumCircuit:
        """The circuit that a device runs, with named parameters and without measurements."""
        return self.build_circuit(self.num_qubits_)

    @property
    def observables(self) -> tuple[SparsePauliOp, ...]:
        """The M observables whose expectation values the read-out takes."""
        return self.build_observables(self._num_classes())

    def workload(self, X: ArrayLike) -> Workload:
        """Return the circuit runs that embeddings (n, d) ask for, in their order.

        Raises:
            HeadError: Embeddings that cannot be used.
        """
        # In double precision, a row's angles do not depend on the rows beside it.
        return self._inference().workload(self._validated(X, reset=False))

    def logits(
        self, X: ArrayLike, *, target: ExecutionTarget | str | None = None
    ) -> NDArray[np.float64]:
        """Return logits (n, K) of embeddings (n, d), in double precision.

        Args:
            X: (n, d) embeddings.
            target: Where the circuit runs, as a target or its specification, e.g.
                ``"shots:1024"``, whose shots are then drawn from the head's seed; None: exactly,
                here.

        Raises:
            HeadError: Embeddings that cannot be used.
            UnknownTargetError: No target has this specification.
        """
        target = resolve_target(target, seed=self.seed)
        if target is None or target.spec == "exact":
            target = self._quantum_module().exact
        return self.logits_from(self.expectations(X, target).values)

    def expectations(self, X: ArrayLike, target: ExecutionTarget | str) -> Expectations:
        """Return what `target`, or the one of a specification, gives for embeddings (n, d)."""
        where = resolve_target(target, seed=self.seed) or self._quantum_module().exact
        return where.run(self.workload(X))

    def logits_from(self, values: ArrayLike) -> NDArray[np.float64]:
        """Return logits (n, K) of expectation values (n, M)."""
        return self._inference().logits_from(values)

    def readout_weights(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the read-out's weight (K, M) and bias (K,)."""
        return self._inference().readout_weights()

    def _inference(self) -> QuantumInference:
        """Return what the fitted head computes, of its module's weights as they are now."""
        module = self._quantum_module()
        encoder: Any = module.encoders[0]
        return QuantumInference(
            {name: tensor.numpy() for name, tensor in module.state_dict().items()},
            self.classes_,
            module.amplitudes.bias_amplitude,
            module.angle_scale,
            encoder.program,
            module.circuit,
            self.observables,
            module.exact,
            max_rows=max(LANES, module.max_rows // 2),  # twice the bytes of float32
        )

    @property
    def num_effective_parameters(self) -> int:
        """Number of trainable parameters that can influence the output.

        Rotations outside the light cone of the measured qubits cannot: the last ones, on other
        qubits. Two rotations that follow each other on a qubit are counted as two.
        """
        module = self._quantum_module()
        fed = self.num_qubits_ // self.num_encoders
        parts = [(encoder.circuit, fed) for encoder in module.encoders]
        parts.append((module.circuit, self.num_measured_))
        hidden = 0
        for circuit, measured in parts:
            seen = light_cone(circuit, range(measured)).parameters
            hidden += len(set(weight_parameters(circuit)) - set(seen))
        return self.num_parameters - hidden

    def summary(self) -> HeadSummary:
        """Return the size of the fitted head; circuit figures are of the circuit on a device."""
        circuit = self.circuit
        return HeadSummary(
            kind=self.kind,
            num_parameters=self.num_parameters,
            num_effective_parameters=self.num_effective_parameters,
            num_qubits=circuit.num_qubits,
            depth=circuit.depth(),
            num_two_qubit_gates=circuit.num_nonlocal_gates(),
            num_two_qubit_gates_in_cone=light_cone(
                circuit, range(self.num_measured_)
            ).num_nonlocal_gates(),
        )

    def _quantum_module(self) -> QuantumModule:
        check_is_fitted(self, "module_")
        module: Any = self.module_
        return module
