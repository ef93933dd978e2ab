"""The learned noise of a layer of two-qubit gates, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qiskit.quantum_info import PauliLindbladMap

from hardware.checks import is_number, is_whole
from hardware.errors import InvalidInputError


@dataclass(frozen=True)
class LayerNoise:
    """A Pauli-Lindblad channel that acts with one layer of gates (arXiv 2201.09866).

    Args:
        layer: The IBM client's name of the layer, e.g. ``"r810A"``: it follows from the layer's
            gates and qubits. `hardware.planning.noise_layers.noise_layers` lists a plan's layers.
        num_qubits: Qubits of the layer.
        terms: Generators of the channel: Pauli letters, the qubits that they act on, counted
            within the layer in the order of the chip's numbering, and the rate.
    """

    layer: str
    num_qubits: int
    terms: tuple[tuple[str, tuple[int, ...], float], ...]

    def __post_init__(self) -> None:
        if not isinstance(self.layer, str) or not self.layer:
            raise InvalidInputError(f"Expected the name of a layer, got {self.layer!r}.")
        if not is_whole(self.num_qubits) or self.num_qubits < 1:
            raise InvalidInputError(f"Expected one qubit or more, got {self.num_qubits!r}.")
        for letters, qubits, rate in self.terms:
            inside = all(is_whole(qubit) and 0 <= qubit < self.num_qubits for qubit in qubits)
            good = inside and len(letters) == len(set(qubits)) == len(qubits) > 0
            if not (good and set(letters) <= set("XYZ") and is_number(rate) and rate >= 0):
                raise InvalidInputError(
                    f"Expected letters X, Y and Z on different qubits below {self.num_qubits} and "
                    f"a rate of zero or more, got {(letters, qubits, rate)!r} in {self.layer}."
                )

    @classmethod
    def of(cls, layer: str, noise: PauliLindbladMap) -> LayerNoise:
        """Return the noise that Qiskit's class holds."""
        terms = noise.to_sparse_list()
        return cls(layer, noise.num_qubits, tuple((p, tuple(q), float(r)) for p, q, r in terms))

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> LayerNoise:
        """Return the noise that a plan holds as JSON."""
        terms = tuple((letters, tuple(qubits), rate) for letters, qubits, rate in fields["terms"])
        return cls(fields["layer"], fields["num_qubits"], terms)

    def as_map(self) -> PauliLindbladMap:
        """Return the noise as Qiskit's class."""
        terms = [(letters, list(qubits), rate) for letters, qubits, rate in self.terms]
        return PauliLindbladMap.from_sparse_list(terms, num_qubits=self.num_qubits)
