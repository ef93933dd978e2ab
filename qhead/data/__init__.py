"""Labelled sentences: loading them with errors that name file and line, and splitting them.

`load_texts`, `load_splits` and `load_unlabelled` read CSV, TSV, JSONL, JSON and Parquet files,
folders of splits, data sets of the Hugging Face Hub and the sets that ship with the project
(``demo:reviews``, ``demo:support``). `few_shot_split` and `holdout_split` choose rows.
"""

from __future__ import annotations

from qhead.data.loading import load_splits, load_texts, load_unlabelled
from qhead.data.splits import Split, duplicates_across, few_shot_split, holdout_split
from qhead.data.texts import (
    MAX_CHARACTERS,
    DuplicateWarning,
    LabelledTexts,
    concatenate,
    contradictions,
    imbalance,
    missing_values,
)

__all__ = [
    "MAX_CHARACTERS",
    "DuplicateWarning",
    "LabelledTexts",
    "Split",
    "concatenate",
    "contradictions",
    "duplicates_across",
    "few_shot_split",
    "holdout_split",
    "imbalance",
    "load_splits",
    "load_texts",
    "load_unlabelled",
    "missing_values",
]
