"""A parameterised-quantum-circuit head on a sentence transformer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hardware.importing import on_demand

if TYPE_CHECKING:
    from qhead.classifier import TextClassifier
    from qhead.data import LabelledTexts, few_shot_split, holdout_split, load_splits, load_texts
    from qhead.encoder.sentence_encoder import SentenceEncoder
    from qhead.evaluation import Evaluation
    from qhead.finetuning.finetuning import Finetuning
    from qhead.finetuning.options import FinetuningOptions
    from qhead.heads import InspiredHead, MLPHead, QuantumHead, ReducedMLPHead, make_head
    from qhead.prediction import Prediction
    from qhead.runs.run import Run
    from qhead.targets import resolve_target
    from qhead.training_options import TrainingOptions

__version__ = "0.1.0"

# Name → module. Nothing is imported before it is used: torch and Qiskit take seconds.
_EXPORTS = {
    "Evaluation": "qhead.evaluation",
    "Finetuning": "qhead.finetuning.finetuning",
    "FinetuningOptions": "qhead.finetuning.options",
    "InspiredHead": "qhead.heads",
    "LabelledTexts": "qhead.data",
    "MLPHead": "qhead.heads",
    "Prediction": "qhead.prediction",
    "QuantumHead": "qhead.heads",
    "ReducedMLPHead": "qhead.heads",
    "Run": "qhead.runs.run",
    "SentenceEncoder": "qhead.encoder.sentence_encoder",
    "TextClassifier": "qhead.classifier",
    "TrainingOptions": "qhead.training_options",
    "few_shot_split": "qhead.data",
    "holdout_split": "qhead.data",
    "load_splits": "qhead.data",
    "load_texts": "qhead.data",
    "make_head": "qhead.heads",
    "resolve_target": "qhead.targets",
}

__all__ = [
    "Evaluation",
    "Finetuning",
    "FinetuningOptions",
    "InspiredHead",
    "LabelledTexts",
    "MLPHead",
    "Prediction",
    "QuantumHead",
    "ReducedMLPHead",
    "Run",
    "SentenceEncoder",
    "TextClassifier",
    "TrainingOptions",
    "__version__",
    "few_shot_split",
    "holdout_split",
    "load_splits",
    "load_texts",
    "make_head",
    "resolve_target",
]


__getattr__, __dir__ = on_demand(__name__, _EXPORTS)
