"""From logits to probabilities, for every head alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def probabilities_of(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probabilities (n, K) of logits (n, K); rows sum to one."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return result
