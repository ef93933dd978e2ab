"""What a model records of its training: its sentences, and the versions that decide a result."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from qhead.data.texts import LabelledTexts

_PACKAGES = (
    "qhead", "numpy", "torch", "qiskit", "qiskit-machine-learning", "qiskit-aer",
    "sentence-transformers", "scikit-learn",
)  # fmt: skip


def current_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a result."""
    return {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}


def training_record(
    data: LabelledTexts, held_back: np.ndarray | None, sample_weight: ArrayLike | None
) -> dict[str, Any]:
    """Return what a model says of the n sentences that it was trained on.

    Args:
        data: The sentences given to `fit`.
        held_back: (n,) whether the head held a sentence back to choose its weights; None: none.
        sample_weight: (n,) weights; sentences of weight 0 were not trained on.
    """
    used = np.ones(len(data), dtype=bool)
    number = 0
    if sample_weight is not None:
        used &= np.asarray(sample_weight) > 0
    if held_back is not None:
        used &= ~held_back
        number = int(held_back.sum())
    trained = data if used.all() else data.rows(np.flatnonzero(used))
    classes, counts = np.unique(trained.labels, return_counts=True)
    return {
        "source": data.source,
        "n": len(trained),
        "held_back": number,
        "classes": {str(k): int(n) for k, n in zip(classes, counts, strict=True)},
        "fingerprint": trained.fingerprint,
    }
