"""What the options of a quantum head come to: circuits, qubits, memory; and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import get_annotations
from typing import Any, Literal

from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from qhead import checks
from qhead.circuits import (
    READINGS,
    READOUTS,
    check_ansatz,
    num_ansatz_parameters,
    readout_observables,
    reuploading_circuit,
)
from qhead.errors import HeadError
from qhead.training_options import TrainingOptions

REDUCTIONS = (None, "pca", "random")
STARTS = (None, "identity", "random")

# Bounds of what can be built in seconds and simulated at all, so that a mistaken (or malicious)
# configuration is refused and does not take all memory.
_MAX_QUBITS, _MAX_REPEATS = 26, 1000
_MAX_JOINT, _MAX_FED = 8, 20  # qubits of a read-out of probabilities; that one encoder feeds
# An encoder's states in bytes: of one step of training, or of eight rows in double precision (the
# simulator runs rows by eight).
_MAX_STATE_BYTES = 2**32
#: States of a row that are alive at once in an encoder; one more an encoder.
STATES = 5
_MAX_ENCODER_QUBITS = 23
# Qubits by default: at least, and measured at most; register and connectivity of encoders at most.
_FEWEST_QUBITS, _MOST_MEASURED, _ENCODER_QUBITS, _ENCODER_CONNECTIVITY = 4, 10, 7, 3
_MAX_GATES, _MAX_WEIGHTS, _MAX_ENCODER_WEIGHTS = 100_000, 10_000, 100_000


class QuantumOptions:
    """The options of a `qhead.heads.quantum.QuantumHead`, which documents them.

    Needs neither torch nor scikit-learn: a saved head predicts without them.
    """

    num_qubits: int | None
    num_layers: int
    connectivity: int
    num_reuploads: int
    num_encoders: int
    topology: Literal["ring", "chain", "full"]
    shared: bool
    reading: Literal["A", "B"]
    num_measured: int | None
    readout: Literal["expectations", "probabilities"]
    encoder_qubits: int | Literal["auto"] | None
    encoder_layers: int | None
    encoder_connectivity: int | None
    reduction: Literal["pca", "random"] | None
    bias_amplitude: float
    center: bool | None
    angle_scale: float
    encoder_spread: float | None
    start: Literal["identity", "random"] | None
    initial_spread: float
    training: TrainingOptions | None
    seed: int

    @classmethod
    def recorded(cls, options: Mapping[str, Any]) -> QuantumOptions:
        """Return the options that a saved head has recorded, unchecked.

        Raises:
            HeadError: One is missing, as in a head of an earlier edition, or unknown.
        """
        if set(options) != set(get_annotations(cls)):
            raise HeadError("Expected all options of a quantum head and no other.")
        made = cls()
        vars(made).update(options)
        return made

    def check_options(self) -> None:
        """Check the options of encoders, circuit and read-out.

        Raises:
            HeadError: One is out of its range.
        """
        self._check_ranges()
        num_qubits = self.qubits_for(2)
        checks.choice("reading", self.reading, READINGS)
        if self.reading == "B":
            for name in ("num_layers", "encoder_layers"):
                if getattr(self, name) == 0:
                    raise HeadError(
                        f"Expected {name} of at least 1 with reading='B', which counts the first "
                        f"block among the layers, got 0: give {name} as well.",
                        options=(name, "reading"),
                    )
        check_ansatz(num_qubits, self.num_layers, self.connectivity, self.topology, self.reading)
        if num_qubits % self.num_encoders:
            raise HeadError(
                "Expected num_qubits to be a multiple of num_encoders, so that each encoder feeds "
                f"as many qubits, got {num_qubits} and {self.num_encoders}.",
                options=("num_qubits", "num_encoders"),
            )
        num_measured = self.measured_for(2)
        checks.at_most("num_measured", num_measured, num_qubits, "num_qubits")
        if self.readout == "probabilities":
            what = "for a probability of each of their joint values"
            checks.at_most("num_measured", num_measured, _MAX_JOINT, what)
        fed = num_qubits // self.num_encoders
        checks.at_most("num_qubits / num_encoders", fed, _MAX_FED, "the qubits of one encoder")
        if isinstance(self.encoder_qubits, int) and self.encoder_qubits < fed:
            raise HeadError(
                f"Expected encoder_qubits of at least {fed}, num_qubits / num_encoders, the qubits "
                f"that each encoder feeds, got {self.encoder_qubits}.",
                options=("encoder_qubits", "num_qubits", "num_encoders"),
            )
        self._check_size(num_qubits)
        if self.center and self.bias_amplitude == 0:
            raise HeadError(
                "Expected a bias_amplitude above 0 with center=True, got 0: a centred embedding "
                "without a constant beside it has no linear term.",
                options=("bias_amplitude", "center"),
            )
        if self.start == "identity" and not self._can_start_as_identity():
            raise HeadError(
                "A start of 'identity' needs topology='ring', connectivity=1, num_layers=0, "
                "num_reuploads=1 and reading='A'. Choose these, or start='random'.",
                options=(
                    "topology",
                    "connectivity",
                    "num_layers",
                    "num_reuploads",
                    "reading",
                    "start",
                ),
            )

    def _check_ranges(self) -> None:
        """Check each option by itself."""
        optional: dict[str, tuple[Any, int, int | None]] = {
            "num_qubits": (self.num_qubits, 1, _MAX_QUBITS),
            "num_measured": (self.num_measured, 1, None),
            "encoder_layers": (self.encoder_layers, 0, _MAX_REPEATS),
            "encoder_connectivity": (self.encoder_connectivity, 1, _MAX_REPEATS),
        }
        for name, (value, low, high) in optional.items():
            if value is not None:
                checks.count(name, value, low=low, high=high)
        if self.encoder_qubits is not None and self.encoder_qubits != "auto":
            checks.count("encoder_qubits", self.encoder_qubits, high=_MAX_ENCODER_QUBITS)
        checks.count("num_layers", self.num_layers, low=0, high=_MAX_REPEATS)
        checks.count("connectivity", self.connectivity, high=_MAX_REPEATS)
        checks.count("num_reuploads", self.num_reuploads, high=_MAX_REPEATS)
        checks.count("num_encoders", self.num_encoders, high=_MAX_QUBITS)
        checks.choice("readout", self.readout, READOUTS)
        checks.choice("reduction", self.reduction, REDUCTIONS)
        checks.choice("start", self.start, STARTS)
        checks.number("bias_amplitude", self.bias_amplitude, low=0.0)
        checks.number("angle_scale", self.angle_scale, low=0.0, strict=True)
        checks.number("initial_spread", self.initial_spread, low=0.0)
        if self.encoder_spread is not None:
            checks.number("encoder_spread", self.encoder_spread, low=0.0)

    def _check_size(self, num_qubits: int) -> None:
        """Refuse a circuit that would take minutes to build, from its options alone."""
        size = (num_qubits, self.num_layers, self.connectivity)
        rotations = num_ansatz_parameters(*size, self.reading)
        bonds = (num_qubits - 1) / 2 if self.topology == "full" else 1.0  # CX a rotation
        gates = int(rotations * (1 + bonds)) * (self.num_reuploads + 1)
        weights = self.num_weights(num_qubits)
        if gates > _MAX_GATES or weights > _MAX_WEIGHTS:
            raise HeadError(
                f"Expected a circuit of at most {_MAX_GATES:,} gates and {_MAX_WEIGHTS:,} weights, "
                f"got about {gates:,} and {weights:,}: lower num_layers, connectivity or "
                "num_reuploads.",
                options=("num_layers", "num_reuploads"),
            )

    def _check_memory(self, register: int, num_samples: int) -> None:
        """Refuse a step of training whose encoders' states would not fit into memory."""
        training = self.training if self.training is not None else TrainingOptions()
        rows = min(training.batch_size, num_samples)
        row = 4 * 2**register * (STATES + self.num_encoders)  # bytes, float32
        if rows * row > _MAX_STATE_BYTES:
            raise HeadError(
                f"Expected encoders whose states take at most {_MAX_STATE_BYTES >> 30} GiB in a "
                f"step of training, got {rows * row / 2**30:.0f} GiB for {rows} rows on "
                f"{register} qubits: lower batch_size to {_MAX_STATE_BYTES // row}, or "
                "encoder_qubits.",
                options=("batch_size", "encoder_qubits"),
            )

    def check_size(self, num_features: int, num_classes: int) -> None:
        """Refuse encoders that would be too large to build."""
        fed = self.qubits_for(num_classes) // self.num_encoders
        _, register, layers, connectivity = self.encoder_size(num_features, fed)
        checks.at_most("the register of an encoder", register, _MAX_ENCODER_QUBITS, "qubits")
        weights = num_ansatz_parameters(register, layers, connectivity, self.reading)
        if weights * self.num_encoders > _MAX_ENCODER_WEIGHTS:
            raise HeadError(
                f"Expected encoders of at most {_MAX_ENCODER_WEIGHTS:,} weights, got "
                f"{weights * self.num_encoders:,}: lower encoder_layers or their connectivity.",
                options=["encoder_layers"],
            )

    def encoder_size(self, num_features: int, fed: int) -> tuple[int, int, int, int]:
        """Return an encoder's qubits that are loaded, its qubits, L and C; `fed` are read."""
        extra = 1 if self.bias_amplitude else 0
        smallest = max(1, (num_features + extra - 1).bit_length())
        loaded = smallest
        if self.encoder_qubits == "auto":
            loaded = min(loaded, max(_ENCODER_QUBITS, fed)) if self.reduction else loaded
        elif self.encoder_qubits is not None:
            loaded = int(self.encoder_qubits)
        room = 2**loaded - extra
        if num_features > room and self.reduction is None:
            raise HeadError(
                f"Expected embeddings of at most {room} numbers for encoder_qubits={loaded}"
                f"{' and a bias amplitude' if extra else ''}, got {num_features}: use "
                f"encoder_qubits={smallest}, or choose a reduction ('pca' or 'random').",
                options=["encoder_qubits"],
            )
        register = max(loaded, fed)
        layers = self.num_layers if self.encoder_layers is None else self.encoder_layers
        connectivity = self.encoder_connectivity
        if connectivity is None:
            connectivity = max(1, min(_ENCODER_CONNECTIVITY, register - 1))
        if 1 < register <= connectivity:
            raise HeadError(
                f"Expected encoder_connectivity below {register}, the qubits of an encoder's "
                f"register for embeddings of {num_features} numbers, got {connectivity}: use "
                f"encoder_qubits={connectivity + 1}, or a lower connectivity.",
                options=("encoder_connectivity", "encoder_qubits"),
            )
        return loaded, register, layers, connectivity

    def measured_for(self, num_classes: int) -> int:
        """Return Q_m for K classes."""
        if self.num_measured is not None:
            return self.num_measured
        joint = self.readout == "probabilities"
        most = _MAX_JOINT if joint else _MOST_MEASURED
        wanted = (num_classes - 1).bit_length() if joint else num_classes - 1
        return min(wanted, most, self.num_qubits or most)

    def qubits_for(self, num_classes: int) -> int:
        """Return Q for K classes."""
        if self.num_qubits is not None:
            return self.num_qubits
        least = max(_FEWEST_QUBITS, self.measured_for(num_classes))
        return -(-least // self.num_encoders) * self.num_encoders

    def num_weights(self, num_qubits: int) -> int:
        """Return the number of weights of PQC1 and PQC2."""
        size = (num_qubits, self.num_layers, self.connectivity)
        copies = 1 if self.shared else self.num_reuploads
        return num_ansatz_parameters(*size, self.reading) * (copies + 1)

    def _can_start_as_identity(self) -> bool:
        """Return whether `initial_weights` can make the circuit hand on its angles."""
        form = (self.num_layers, self.connectivity, self.num_reuploads)
        return (*form, self.topology, self.reading) == (0, 1, 1, "ring", "A")

    def build_circuit(self, num_qubits: int) -> QuantumCircuit:
        """Return the circuit that a device runs, on Q qubits."""
        return reuploading_circuit(
            num_qubits,
            self.num_layers,
            self.connectivity,
            self.num_reuploads,
            topology=self.topology,
            reading=self.reading,
            shared=self.shared,
        )

    def build_observables(self, num_classes: int) -> tuple[SparsePauliOp, ...]:
        """Return the observables whose expectation values the read-out of K classes takes."""
        size = self.measured_for(num_classes), self.qubits_for(num_classes)
        return readout_observables(self.readout, *size)
