"""Results that are well-formed and wrong: cut, padded, swapped, renamed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ibm_quantum_schemas.common import CompressedTensorModel

Arrays = dict[str, np.ndarray]


def first_item(edit: Callable[[Arrays], Arrays]) -> Callable[[Any], Any]:
    """Return an edit of a result's JSON that changes the arrays of its first program item."""

    def change(result: Any) -> Any:
        item = result["data"][0]
        arrays = {
            name: CompressedTensorModel.model_validate(tensor).to_numpy()
            for name, tensor in item["results"].items()
        }
        item["results"] = {
            name: CompressedTensorModel.from_numpy(np.ascontiguousarray(array)).model_dump(
                mode="json"
            )
            for name, array in edit(arrays).items()
        }
        return result

    return change


def _each(edit: Callable[[np.ndarray], np.ndarray]) -> Callable[[Any], Any]:
    return first_item(lambda arrays: {name: edit(array) for name, array in arrays.items()})


def _without_items(result: Any) -> Any:
    result["data"] = []
    return result


#: Edits by name; arrays have the axes (sets, shots, bits).
TAMPERED: dict[str, Callable[[Any], Any]] = {
    "fewer shots": _each(lambda a: a[..., : a.shape[-2] // 2, :]),
    "zero shots": _each(lambda a: a[..., :0, :]),
    "more shots": _each(lambda a: np.concatenate([a, a], axis=-2)),
    "fewer sets": _each(lambda a: a[:-1]),
    "more sets": _each(lambda a: np.concatenate([a, a])),
    "swapped axes": _each(lambda a: np.swapaxes(a, 0, 1)),
    "fewer bits": _each(lambda a: a[..., :-1]),
    "more bits": _each(lambda a: np.concatenate([a, a], axis=-1)),
    "a renamed register": first_item(lambda arrays: {f"{k}x": v for k, v in arrays.items()}),
    "no registers": first_item(lambda arrays: {}),
    "numbers for bits": _each(lambda a: a.astype(np.float64)),
    "no items": _without_items,
    "nothing": lambda result: {},
    "a list": lambda result: [result],
    "another version": lambda result: {**result, "schema_version": "v99.0"},
}
