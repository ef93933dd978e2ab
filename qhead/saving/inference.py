"""The head of a saved model for prediction alone, without torch where it can be."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from qhead import checks
from qhead.errors import InputError
from qhead.heads.inference import QuantumInference, restored
from qhead.heads.quantum_options import QuantumOptions
from qhead.saving.folder import StoredModel
from qhead.saving.records import check_circuits, check_records, read_labels
from qhead.training_options import TrainingOptions

if TYPE_CHECKING:
    from qhead.heads import TorchHead


def unpack_for_prediction(stored: StoredModel, folder: Path) -> QuantumInference | TorchHead:
    """Return what predicts as the trained head of a stored model does, after the same checks.

    A quantum head comes without torch; any other is the head itself, as is a quantum head of an
    earlier edition, or one that does not pass: `qhead.saving.head.unpack` says what is wrong.

    Args:
        stored: What `qhead.saving.head.pack` returned.
        folder: Where it was, for messages.

    Raises:
        ModelError: It is damaged, foreign, or its parts contradict each other.
    """
    config = stored.config.get("head")
    if isinstance(config, Mapping) and config.get("kind") == "quantum":
        check_records(stored, folder)
        try:
            labels = read_labels(stored.config["labels"])
            options = _options(config)
            head, circuits = restored(
                options, stored.tensors, labels, checks.count("", stored.config["num_features"])
            )
        except (InputError, KeyError, TypeError, ValueError, OverflowError):
            pass
        else:
            check_circuits(stored, circuits, folder)
            return head
    from qhead.saving.head import unpack

    return unpack(stored, folder)


def _options(config: Mapping[str, object]) -> QuantumOptions:
    """Return the options of a head's configuration."""
    kind, options = config["kind"], config["options"]
    if dict(config) != {"kind": kind, "options": options} or not isinstance(options, Mapping):
        raise InputError("Expected a head configuration with the keys 'kind' and 'options'.")
    found = QuantumOptions.recorded(options)
    checks.count("seed", found.seed, low=0)
    if found.training is not None:
        found.training = TrainingOptions.from_dict(options["training"])
    return found
