"""Speed of whole heads: an epoch of training and the inference of a test set.

    python scripts/head_speed.py [--embeddings FILE.npy] [--repeats 5] [--json FILE]

By default 435 + 9,101 random embeddings of 384 numbers, the sizes of SST-2's sentence-level parts
here; `--embeddings` takes a float32 array (n, d) in their place, of which the first 435 are trained
on. An epoch is what `qhead.training` does with the head's own options, forward, backward and
optimiser; inference returns all logits. Every head's logits are compared with those that go through
the encoders' gates eight samples at a time, as training batches do.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qhead import QuantumHead, TrainingOptions
from qhead.training import compute_logits, train

_TRAIN, _TEST, _LENGTH = 435, 9101, 384
HEADS: dict[str, dict[str, Any]] = {
    "default": {},
    "two encoders": {"num_encoders": 2},
    "10 qubits, two re-uploads": {
        "num_qubits": 10,
        "num_layers": 0,
        "connectivity": 2,
        "num_reuploads": 2,
        "num_encoders": 2,
        "num_measured": 1,
    },
}


def timed(run: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Return the least and the median seconds after one run to warm up."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times), statistics.median(times)


def measure(options: dict[str, Any], embeddings: np.ndarray, repeats: int) -> dict[str, float]:
    """Return seconds of an epoch and of inference, and how far two ways of inference differ."""
    features = torch.from_numpy(embeddings)
    part = min(_TRAIN, len(features))
    targets = torch.from_numpy(np.random.default_rng(0).integers(0, 2, part))
    head = QuantumHead(seed=1, **options)
    module = head.build_module(embeddings.shape[1], 2, embeddings[:part])
    one = TrainingOptions(max_epochs=1)
    epoch = timed(
        lambda: train(module, features[:part], targets, None, one, seed=1, num_classes=2), repeats
    )
    inference = timed(lambda: compute_logits(module, features[part:]), repeats)
    few = features[-512:]
    by_gates = torch.cat([compute_logits(module, rows) for rows in few.split(8)])
    deviation = float((compute_logits(module, few) - by_gates).abs().max())
    found = dict(zip(("epoch_s", "epoch_median_s"), epoch, strict=True))
    found |= dict(zip(("inference_s", "inference_median_s"), inference, strict=True))
    return found | {"deviation": deviation}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--embeddings", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    logging.getLogger("qhead").setLevel(logging.ERROR)  # random labels cannot be learned
    if options.embeddings is None:
        drawn = np.random.default_rng(0).normal(size=(_TRAIN + _TEST, _LENGTH)).astype(np.float32)
        embeddings = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    else:
        embeddings = np.load(options.embeddings)
    part = min(_TRAIN, len(embeddings))
    print(f"| head | epoch of {part}, ms | inference of {len(embeddings) - part}, ms | deviation |")
    print("| --- | ---: | ---: | ---: |")
    rows = {}
    for name, own in HEADS.items():
        row = rows[name] = measure(own, embeddings, options.repeats)
        cells = f"{1e3 * row['epoch_s']:.3g} | {1e3 * row['inference_s']:.3g}"
        print(f"| {name} | {cells} | {row['deviation']:.0e} |", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
