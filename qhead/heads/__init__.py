"""Heads: classifiers on embeddings, made by name with `make_head` or imported by class.

Nothing heavy is imported before a head is asked for.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hardware.errors import did_you_mean
from hardware.importing import on_demand
from qhead.errors import HeadError

if TYPE_CHECKING:
    from qhead.heads.base import TorchHead
    from qhead.heads.classical import (
        MLPHead,
        ReducedMLPHead,
        logistic_regression,
        num_trainable_parameters,
        select_on_validation,
        svc,
    )
    from qhead.heads.inspired import InspiredHead
    from qhead.heads.module_head import HeadSummary
    from qhead.heads.quantum import QuantumHead

_EXPORTS = {
    "HeadSummary": "qhead.heads.module_head",
    "TorchHead": "qhead.heads.base",
    "MLPHead": "qhead.heads.classical",
    "ReducedMLPHead": "qhead.heads.classical",
    "logistic_regression": "qhead.heads.classical",
    "num_trainable_parameters": "qhead.heads.classical",
    "select_on_validation": "qhead.heads.classical",
    "svc": "qhead.heads.classical",
    "InspiredHead": "qhead.heads.inspired",
    "QuantumHead": "qhead.heads.quantum",
}

_CLASSES = {
    "quantum": "QuantumHead",
    "mlp": "MLPHead",
    "reduced_mlp": "ReducedMLPHead",
    "inspired": "InspiredHead",
}

__all__ = [
    "HEADS",
    "HeadSummary",
    "InspiredHead",
    "MLPHead",
    "QuantumHead",
    "ReducedMLPHead",
    "TorchHead",
    "logistic_regression",
    "make_head",
    "num_trainable_parameters",
    "select_on_validation",
    "svc",
]


__getattr__, __dir__ = on_demand(__name__, _EXPORTS)


class _Heads(Mapping[str, "type[TorchHead]"]):
    """Kind -> class, each imported when it is looked up."""

    def __getitem__(self, kind: str) -> type[TorchHead]:
        head: type[TorchHead] = __getattr__(_CLASSES[kind])
        return head

    def __contains__(self, kind: object) -> bool:
        return kind in _CLASSES  # without an import

    def __iter__(self) -> Iterator[str]:
        return iter(_CLASSES)

    def __len__(self) -> int:
        return len(_CLASSES)


HEADS: Mapping[str, type[TorchHead]] = _Heads()


def class_of(kind: str) -> tuple[str, str]:
    """Return the module and the name of a kind's class, without importing it."""
    return _EXPORTS[_CLASSES[kind]], _CLASSES[kind]


def make_head(kind: str, **options: Any) -> TorchHead:
    """Return an unfitted head of a kind, e.g. ``make_head("mlp", hidden=48)``.

    Raises:
        HeadError: Unknown kind or option, or a value out of its range.
    """
    if not isinstance(kind, str) or kind not in _CLASSES:
        hint = did_you_mean(str(kind), HEADS)
        raise HeadError(f"Expected a head among {', '.join(HEADS)}, got {kind!r}.{hint}")
    head_class = HEADS[kind]
    known = list(inspect.signature(head_class).parameters)
    for name in options:
        if name not in known:
            own = [each for each in known if each != "training"]
            hint = did_you_mean(name, own)
            raise HeadError(
                f"The head {kind!r} has no option {name!r}. Its options are "
                f"{', '.join(map(repr, own))}.{hint}",
                options=(name, *own),
            )
    head = head_class(**options)
    head.validate_options()
    return head
