"""The quantum head of arXiv 2504.08732: amplitude encoders, a re-uploading circuit, a read-out."""

from __future__ import annotations

import hashlib
import json
import math
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from qiskit.circuit import ClassicalRegister, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.neural_networks import EstimatorQNN, SamplerQNN
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from hardware.transpile import light_cone
from hardware.workload import Expectations, Workload
from qhead import checks
from qhead.circuits import (
    READINGS,
    check_ansatz,
    data_parameters,
    gate_list,
    num_ansatz_parameters,
    reuploading_circuit,
    weight_parameters,
)
from qhead.errors import HeadError
from qhead.heads.amplitudes import REDUCTIONS, AmplitudeMap, QuantumEncoder
from qhead.heads.base import HeadSummary, TorchHead
from qhead.heads.layers import linear, linear_shapes
from qhead.simulator import (
    AdjointEstimatorGradient,
    AdjointSamplerGradient,
    ExactEstimator,
    ExactSampler,
    ExactTarget,
    Simulator,
)
from qhead.targets import resolve_target
from qhead.training import TrainingOptions

if TYPE_CHECKING:
    from hardware.targets import ExecutionTarget

#: Embeddings whose encoders are simulated at once, to bound memory.
_CHUNK = 4096

READOUTS = ("expectations", "probabilities")

# Bounds of what can be built in seconds and simulated at all, so that a mistaken (or malicious)
# configuration is refused and does not take all memory.
_MAX_QUBITS, _MAX_REPEATS = 26, 1000
_MAX_JOINT, _MAX_FED = 8, 20  # qubits of a read-out of probabilities; that one encoder feeds
# An encoder's states in bytes: of one step of training, or of eight rows in double precision (the
# simulator runs rows by eight). Five states a row are alive at once, and one more an encoder.
_MAX_STATE_BYTES, _STATES, _LANES = 2**32, 5, 8
_MAX_ENCODER_QUBITS = 23
#: Of what is evaluated at once, without gradient.
_CHUNK_BYTES = 2**29
_MAX_GATES, _MAX_WEIGHTS, _MAX_ENCODER_WEIGHTS = 100_000, 10_000, 100_000


class QuantumHead(TorchHead):
    """Encoders → angles → N × [angle encoding → PQC1] → PQC2 → read-out → linear layer.

    Each of the E encoders loads the embedding into the amplitudes of a register of its own, runs a
    parametrised circuit on it and hands on ⟨Z⟩ of its first Q/E qubits. Encoders are simulated,
    always; their outputs, times `angle_scale`, are the angles of the circuit that a device can run.
    That circuit is a stock `EstimatorQNN` (or `SamplerQNN`) in a `TorchConnector`, trained
    through the exact simulator and its adjoint gradient.

    The defaults were chosen by validation loss on SST-2 (see LOG.md): a deep encoder, which is
    simulated anyway, and a narrow circuit, which a device runs well.

    Args:
        num_qubits: Q, qubits of the circuit; a multiple of `num_encoders`.
        num_layers: L of PQC1 and PQC2.
        connectivity: C of all circuits; for a ring below Q.
        num_reuploads: N.
        num_encoders: E.
        topology: "ring" (the paper's), "chain" (nearest neighbours) or "full"; of the circuit
            that a device runs. Encoders are always rings.
        shared: Whether the N copies of PQC1 share their parameters.
        reading: Reading "A" or "B" of the paper's figure, see `qhead.circuits`.
        num_measured: Q_m; qubits 0 … Q_m - 1 are read.
        readout: "expectations", ⟨Z⟩ of each measured qubit, or "probabilities" of their 2^Q_m
            joint values (the `SamplerQNN` variant).
        encoder_qubits: Register width of an encoder; None takes the smallest that holds the
            embedding and its bias amplitude.
        encoder_layers: L of the encoders; None takes `num_layers`.
        reduction: None, "pca" or "random": what makes an embedding fit that is longer than the
            register. None makes that an error.
        bias_amplitude: Size of a constant amplitude beside the embedding, in units of the
            embeddings' root-mean-square norm. ⟨Z⟩ is a quadratic form of the amplitudes; products
            with the constant give it linear terms in the embedding. 0 leaves it out.
        center: Subtract the training embeddings' mean before loading. Not without a bias
            amplitude: the mean is then the only constant there is.
        angle_scale: s; radians per unit of ⟨Z⟩.
        initial_spread: Standard deviation of the initial rotation angles, radians. All rotations
            start near the identity, which leaves the CX gates, a fixed permutation.
        training: How to train; None takes `TrainingOptions()`.
        seed: Seed of initialisation, batches and validation split.
    """

    kind: ClassVar[str] = "quantum"

    def __init__(
        self,
        *,
        num_qubits: int = 4,
        num_layers: int = 0,
        connectivity: int = 3,
        num_reuploads: int = 2,
        num_encoders: int = 1,
        topology: str = "ring",
        shared: bool = True,
        reading: str = "A",
        num_measured: int = 1,
        readout: str = "expectations",
        encoder_qubits: int | None = None,
        encoder_layers: int | None = 10,
        reduction: str | None = None,
        bias_amplitude: float = 3.0,
        center: bool = False,
        angle_scale: float = math.pi,
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
        self.reduction = reduction
        self.bias_amplitude = bias_amplitude
        self.center = center
        self.angle_scale = angle_scale
        self.initial_spread = initial_spread
        self.training = training
        self.seed = seed

    def validate_options(self) -> None:
        """Check all options.

        Raises:
            HeadError: One is out of its range.
        """
        super().validate_options()
        checks.count("num_qubits", self.num_qubits, high=_MAX_QUBITS)
        checks.count("num_layers", self.num_layers, low=0, high=_MAX_REPEATS)
        checks.count("connectivity", self.connectivity, high=_MAX_REPEATS)
        checks.choice("reading", self.reading, READINGS)
        if self.reading == "B":
            for name in ("num_layers", "encoder_layers"):
                if getattr(self, name) == 0:
                    raise HeadError(
                        f"Expected {name} of at least 1 with reading='B', which counts the first "
                        f"block among the layers, got 0: give {name} as well."
                    )
        check_ansatz(
            self.num_qubits, self.num_layers, self.connectivity, self.topology, self.reading
        )
        checks.count("num_reuploads", self.num_reuploads, high=_MAX_REPEATS)
        checks.count("num_encoders", self.num_encoders)
        checks.count("num_measured", self.num_measured)
        checks.choice("readout", self.readout, READOUTS)
        checks.choice("reduction", self.reduction, REDUCTIONS)
        checks.number("bias_amplitude", self.bias_amplitude, low=0.0)
        checks.number("angle_scale", self.angle_scale, low=0.0, strict=True)
        checks.number("initial_spread", self.initial_spread, low=0.0)
        if self.encoder_qubits is not None:
            checks.count("encoder_qubits", self.encoder_qubits, high=_MAX_ENCODER_QUBITS)
            what = "num_qubits / num_encoders, the qubits that each encoder feeds"
            if self.encoder_qubits * self.num_encoders < self.num_qubits:
                fed = -(-self.num_qubits // self.num_encoders)
                raise HeadError(
                    f"Expected encoder_qubits of at least {fed}, {what}, got {self.encoder_qubits}."
                )
        if self.encoder_layers is not None:
            checks.count("encoder_layers", self.encoder_layers, low=0, high=_MAX_REPEATS)
        if self.num_qubits % self.num_encoders:
            raise HeadError(
                "Expected num_qubits to be a multiple of num_encoders, so that each encoder feeds "
                f"as many qubits, got {self.num_qubits} and {self.num_encoders}."
            )
        checks.at_most("num_measured", self.num_measured, self.num_qubits, "num_qubits")
        if self.readout == "probabilities":
            what = "for a probability of each of their joint values"
            checks.at_most("num_measured", self.num_measured, _MAX_JOINT, what)
        fed = self.num_qubits // self.num_encoders
        checks.at_most("num_qubits / num_encoders", fed, _MAX_FED, "the qubits of one encoder")
        self._check_size()
        if self.center and self.bias_amplitude == 0:
            raise HeadError(
                "Expected a bias_amplitude above 0 with center=True, got 0: a centred embedding "
                "without a constant beside it has no linear term."
            )

    def _check_size(self) -> None:
        """Refuse a circuit that would take minutes to build, from its options alone."""
        size = (self.num_qubits, self.num_layers, self.connectivity)
        rotations = num_ansatz_parameters(*size, self.reading)
        bonds = (self.num_qubits - 1) / 2 if self.topology == "full" else 1.0  # CX a rotation
        gates = int(rotations * (1 + bonds)) * (self.num_reuploads + 1)
        weights = self._num_weights()
        if gates > _MAX_GATES or weights > _MAX_WEIGHTS:
            raise HeadError(
                f"Expected a circuit of at most {_MAX_GATES:,} gates and {_MAX_WEIGHTS:,} weights, "
                f"got about {gates:,} and {weights:,}: lower num_layers, connectivity or "
                "num_reuploads."
            )

    def _num_weights(self) -> int:
        """Return the number of weights of PQC1 and PQC2."""
        size = (self.num_qubits, self.num_layers, self.connectivity)
        copies = 1 if self.shared else self.num_reuploads
        return num_ansatz_parameters(*size, self.reading) * (copies + 1)

    def state_shapes(self, num_features: int, num_classes: int) -> dict[str, tuple[int, ...]]:
        """Return name → shape of everything in `state`, by arithmetic alone.

        Raises:
            HeadError: The encoders would be too large to build.
        """
        extra = 1 if self.bias_amplitude else 0
        smallest = max(1, (num_features + extra - 1).bit_length())
        loaded = smallest if self.encoder_qubits is None else self.encoder_qubits
        room = 2**loaded - extra
        if num_features > room and self.reduction is None:
            raise HeadError(
                f"Expected embeddings of at most {room} numbers for encoder_qubits={loaded}"
                f"{' and a bias amplitude' if extra else ''}, got {num_features}: use "
                f"encoder_qubits={smallest}, or choose a reduction ('pca' or 'random')."
            )
        register = max(loaded, self.num_qubits // self.num_encoders)
        if 1 < register <= self.connectivity:
            raise HeadError(
                f"Expected connectivity below {register}, the qubits of an encoder's register for "
                f"embeddings of {num_features} numbers, got {self.connectivity}: use "
                f"encoder_qubits={self.connectivity + 1}, or a lower connectivity."
            )
        layers = self.num_layers if self.encoder_layers is None else self.encoder_layers
        weights = num_ansatz_parameters(register, layers, self.connectivity, self.reading)
        if weights * self.num_encoders > _MAX_ENCODER_WEIGHTS:
            raise HeadError(
                f"Expected encoders of at most {_MAX_ENCODER_WEIGHTS:,} weights, got "
                f"{weights * self.num_encoders:,}: lower encoder_layers or connectivity."
            )
        joint = self.readout == "probabilities"
        outputs = 2**self.num_measured if joint else self.num_measured
        return {
            "amplitudes.mean": (num_features,),
            **({"amplitudes.projection": (num_features, room)} if num_features > room else {}),
            "amplitudes.scale": (),
            **{f"encoders.{index}.weight": (weights,) for index in range(self.num_encoders)},
            "step.weight": (self._num_weights(),),
            **linear_shapes("readout", outputs, num_classes),
        }

    def build_module(
        self,
        num_features: int,
        num_classes: int,
        features: NDArray[np.float32] | None,
        sample_weight: NDArray[np.float64] | None = None,
    ) -> QuantumModule:
        """Return the module for embeddings of `num_features` numbers and `num_classes` classes."""
        self.state_shapes(num_features, num_classes)  # checks the size of the encoders
        register = self._register(num_features)
        checks.at_most("the register of an encoder", register, _MAX_ENCODER_QUBITS, "qubits")
        if features is not None:
            self._check_memory(num_features, len(features))
        return QuantumModule(self, num_features, num_classes, features, sample_weight)

    def _register(self, num_features: int) -> int:
        """Return the number of qubits of an encoder's register."""
        smallest = max(1, (num_features + bool(self.bias_amplitude) - 1).bit_length())
        loaded = smallest if self.encoder_qubits is None else self.encoder_qubits
        return max(loaded, self.num_qubits // self.num_encoders)

    def _check_memory(self, num_features: int, num_samples: int) -> None:
        """Refuse a step of training whose encoders' states would not fit into memory."""
        training = self.training if self.training is not None else TrainingOptions()
        register = self._register(num_features)
        rows = min(training.batch_size, num_samples)
        row = 4 * 2**register * (_STATES + self.num_encoders)  # bytes, float32
        if rows * row > _MAX_STATE_BYTES:
            raise HeadError(
                f"Expected encoders whose states take at most {_MAX_STATE_BYTES >> 30} GiB in a "
                f"step of training, got {rows * row / 2**30:.0f} GiB for {rows} rows on "
                f"{register} qubits: lower batch_size to {_MAX_STATE_BYTES // row}, or "
                "encoder_qubits."
            )

    def identity(self, module: nn.Module) -> dict[str, Any]:
        """Return what `module` computes beyond its weights: also the gates of its circuits."""
        assert isinstance(module, QuantumModule)
        encoders = [encoder.circuit for encoder in module.encoders]
        gates = [gate_list(circuit) for circuit in (module.circuit, *encoders)]
        digest = hashlib.sha256(json.dumps(gates).encode()).hexdigest()
        return {**super().identity(module), "circuits_sha256": digest}

    @property
    def circuit(self) -> QuantumCircuit:
        """The circuit that a device runs, with named parameters and without measurements."""
        return reuploading_circuit(
            self.num_qubits,
            self.num_layers,
            self.connectivity,
            self.num_reuploads,
            topology=self.topology,
            reading=self.reading,
            shared=self.shared,
        )

    @property
    def observables(self) -> tuple[SparsePauliOp, ...]:
        """The M observables whose expectation values the read-out takes."""
        if self.readout == "expectations":
            return tuple(
                SparsePauliOp.from_sparse_list([("Z", [q], 1.0)], self.num_qubits)
                for q in range(self.num_measured)
            )
        return tuple(
            _projector(value, self.num_measured, self.num_qubits)
            for value in range(2**self.num_measured)
        )

    def workload(self, X: ArrayLike) -> Workload:
        """Return the circuit runs that embeddings (n, d) ask for, in their order.

        Raises:
            HeadError: Embeddings that cannot be used.
        """
        module = self._quantum_module()
        # In double precision, a row's angles do not depend on the rows beside it.
        features = torch.tensor(self._validated(X, reset=False), dtype=torch.float64)
        with torch.no_grad():
            rows_at_once = max(_LANES, module.max_rows // 2)  # twice the bytes of float32
            parts = features.split(min(_CHUNK, rows_at_once))
            angles = torch.cat([module.angles(rows) for rows in parts]).numpy()
        weights = module.step.weight.detach().numpy()
        values = np.concatenate([angles, np.tile(weights, (len(angles), 1))], axis=1)
        circuit = module.circuit
        names = [p.name for p in (*data_parameters(circuit), *weight_parameters(circuit))]
        return Workload(circuit, tuple(names), values, self.observables)

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
        weight, bias = self.readout_weights()
        return np.asarray(values, np.float64) @ weight.T + bias

    def readout_weights(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the read-out's weight (K, M) and bias (K,)."""
        readout = self._quantum_module().readout
        weight, bias = readout.weight.detach().numpy(), readout.bias.detach().numpy()
        return weight.astype(np.float64), bias.astype(np.float64)

    def summary(self) -> HeadSummary:
        """Return the size of the fitted head; circuit figures are of the circuit on a device."""
        circuit = self.circuit
        return HeadSummary(
            kind=self.kind,
            num_parameters=self.num_parameters,
            num_qubits=circuit.num_qubits,
            depth=circuit.depth(),
            num_two_qubit_gates=circuit.num_nonlocal_gates(),
            num_two_qubit_gates_in_cone=light_cone(
                circuit, range(self.num_measured)
            ).num_nonlocal_gates(),
        )

    def _quantum_module(self) -> QuantumModule:
        check_is_fitted(self, "module_")
        module: Any = self.module_
        return module


class QuantumModule(nn.Module):
    """The torch module of a `QuantumHead`: embeddings (n, d) to logits (n, K)."""

    def __init__(
        self,
        head: QuantumHead,
        num_features: int,
        num_classes: int,
        features: NDArray[np.float32] | None,
        sample_weight: NDArray[np.float64] | None = None,
    ) -> None:
        super().__init__()
        generator = head.initialisation_generator()
        self.angle_scale = head.angle_scale
        self.circuit = head.circuit
        # Kept, for it remembers what it compiled of the circuit.
        self.exact = ExactTarget()
        self.amplitudes = AmplitudeMap(
            num_features,
            features,
            num_qubits=head.encoder_qubits,
            bias_amplitude=head.bias_amplitude,
            center=head.center,
            reduction=head.reduction,
            generator=generator,
            sample_weight=sample_weight,
        )
        width = head.num_qubits // head.num_encoders
        register = max(self.amplitudes.num_qubits, width)
        self.amplitudes.num_qubits = register
        # Rows evaluated at once, so that their states take no more than `_CHUNK_BYTES`.
        row = 4 * 2**register * (_STATES + head.num_encoders)
        self.max_rows = max(_LANES, _CHUNK_BYTES // row)
        layers = head.num_layers if head.encoder_layers is None else head.encoder_layers
        self.encoders = nn.ModuleList(
            QuantumEncoder(
                register,
                layers,
                head.connectivity,
                reading=head.reading,
                num_measured=width,
                initial_spread=head.initial_spread,
                generator=generator,
            )
            for _ in range(head.num_encoders)
        )
        self.step = _quantum_step(head, generator)
        self.readout = linear(len(head.observables), num_classes, generator)

    def angles(self, embeddings: Tensor) -> Tensor:
        """Return the circuit's angles (n, Q), radians, of embeddings (n, d)."""
        amplitudes = self.amplitudes(embeddings)
        outputs = [encoder(amplitudes) for encoder in self.encoders]
        return self.angle_scale * torch.cat(outputs, dim=1)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return logits (n, K) of embeddings (n, d)."""
        logits: Tensor = self.readout(self.step(self.angles(embeddings)))
        return logits


def _quantum_step(head: QuantumHead, generator: torch.Generator) -> TorchConnector:
    """Return the circuit as a trainable layer: angles (n, Q) to expectation values (n, M)."""
    circuit = head.circuit
    inputs, weights = data_parameters(circuit), weight_parameters(circuit)
    simulator = Simulator(np.float32)
    network: EstimatorQNN | SamplerQNN
    if head.readout == "expectations":
        estimator = ExactEstimator(simulator)
        network = EstimatorQNN(
            circuit=circuit,
            estimator=estimator,
            observables=list(head.observables),
            input_params=inputs,
            weight_params=weights,
            gradient=AdjointEstimatorGradient(estimator),
            input_gradients=True,
        )
    else:
        sampler = ExactSampler(simulator, default_shots=None)
        register = ClassicalRegister(head.num_measured, "meas")
        circuit.add_register(register)
        circuit.measure(range(head.num_measured), register)
        network = SamplerQNN(
            circuit=circuit,
            sampler=sampler,
            input_params=inputs,
            weight_params=weights,
            interpret=int,
            output_shape=2**head.num_measured,
            gradient=AdjointSamplerGradient(sampler),
            input_gradients=True,
        )
    initial = torch.randn(len(weights), generator=generator) * head.initial_spread
    # The connector first draws weights of its own from torch's global generator: leave that alone.
    with torch.random.fork_rng(devices=[]):
        connector = TorchConnector(network, initial_weights=initial.numpy())
    # It registers its one parameter under two names, so that a state would hold it twice.
    weight = connector._parameters.pop("_weights")
    object.__setattr__(connector, "_weights", weight)
    return connector


def _projector(value: int, num_measured: int, num_qubits: int) -> SparsePauliOp:
    """Return the projector on one joint value of qubits 0 … num_measured - 1.

    A product of (1 ± Z)/2: over all subsets of the qubits, Z's on the subset with the product of
    the signs, divided by 2^num_measured.
    """
    terms = []
    for subset in product((False, True), repeat=num_measured):
        places = [q for q, chosen in enumerate(subset) if chosen]
        sign = math.prod(-1 if (value >> q) & 1 else 1 for q in places)
        terms.append(("Z" * len(places), places, sign / 2**num_measured))
    return SparsePauliOp.from_sparse_list(terms, num_qubits)
