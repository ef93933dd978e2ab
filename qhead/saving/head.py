"""A trained head as the parts of a saved model, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from qiskit import qasm3

from qhead.errors import InputError, ModelError
from qhead.heads import HEADS, TorchHead
from qhead.saving.folder import StoredModel
from qhead.saving.records import check_circuits, check_records, read_labels, read_metrics


def pack(
    head: Any,
    classes: np.ndarray,
    *,
    encoder: Mapping[str, Any],
    metrics: dict[str, Any],
    data: dict[str, Any],
    versions: dict[str, str],
) -> StoredModel:
    """Return what is stored of a model.

    Args:
        head: The trained head.
        classes: Its K labels.
        encoder: Record of the sentence encoder, see `qhead.saving.encoder`.
        metrics, data, versions: As `qhead.TextClassifier` has them.

    Raises:
        ModelError: The head is scikit-learn's, whose state only a pickle could hold, or `metrics`
            holds no scores.
    """
    if not isinstance(head, TorchHead):
        raise ModelError(
            f"Expected a head of qhead to save ({', '.join(HEADS)}), got {type(head).__name__}: "
            "its state could only be pickled, and nothing here is. Train it again where it is "
            "needed."
        )
    read_metrics(metrics)  # or it could not be loaded
    config = {
        "encoder": encoder,
        "head": head.config(),
        "labels": {
            "type": "integer" if classes.dtype.kind in "iu" else "string",
            "values": classes.tolist(),
        },
        "num_features": int(head.n_features_in_),
        "circuits_sha256": head.circuits_sha256(),
    }
    history = {
        "epochs": [asdict(record) for record in head.history_],
        "best_epoch": head.best_epoch_,
        "stopped": head.stopped_,
        "seconds": head.training_seconds_,
    }
    circuit = getattr(head, "circuit", None)
    return StoredModel(
        config=config,
        tensors={name: tensor.cpu().numpy() for name, tensor in head.state().items()},
        circuit=None if circuit is None else qasm3.dumps(circuit),
        history=history,
        metrics=metrics,
        data=data,
        versions=versions,
    )


def unpack(stored: StoredModel, folder: Path) -> TorchHead:
    """Return the trained head of a stored model, after checking all that was stored with it.

    Args:
        stored: What `pack` returned.
        folder: Where it was, for messages.

    Raises:
        ModelError: It is damaged, foreign, or its parts contradict each other.
    """
    history = check_records(stored, folder)
    where = f"{folder}/config.json"
    try:
        head = TorchHead.from_config(stored.config["head"])
        labels = read_labels(stored.config["labels"])
        state = {name: torch.tensor(array) for name, array in stored.tensors.items()}
        head.restore(state, labels, stored.config["num_features"])
        head.history_, head.best_epoch_ = history.epochs, history.best_epoch
        head.stopped_, head.training_seconds_ = history.stopped, history.seconds
    except (InputError, KeyError, TypeError, ValueError, OverflowError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ModelError(
            f"{where}: expected a model of this version of qhead, got: {reason}"
        ) from error
    check_circuits(stored, head.circuits_sha256(), folder)
    return head
