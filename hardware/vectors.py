"""Vectors of `LANES` and of `WIDE` numbers as values inside compiled functions.

Numba leaves it to the compiler to find vector instructions in scalar loops, which fails on the
short runs that low qubits make. These few intrinsics say it outright: a `load` is one vector load,
the arithmetic is one instruction, and coefficients stay in registers for a whole pass. Nothing is
checked against the bounds of an array: only the modules of compiled kernels may use them.

Numba's on-disk cache is keyed by the file that holds a compiled function, not by this one: each of
these modules ends with `renew_with_vectors`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import llvmlite.ir as ir
from numba.core import types
from numba.core.datamodel import models
from numba.extending import intrinsic, register_model
from numba.np.arrayobj import make_array

#: Samples simulated side by side; eight float32 fill one 256-bit register.
LANES = 8
#: Two amplitudes of each sample; sixteen float32 fill one 512-bit register.
WIDE = 2 * LANES


class Lanes(types.Type):
    """Numba's type of a vector of `LANES` numbers, or of `WIDE` ones."""

    def __init__(self, dtype: types.Float, count: int = LANES) -> None:
        self.dtype = dtype
        self.count = count
        super().__init__(name=f"Lanes({dtype}, {count})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc, unused-ignore]
    def __init__(self, dmm: Any, fe_type: Lanes) -> None:
        element = ir.FloatType() if fe_type.dtype == types.float32 else ir.DoubleType()
        super().__init__(dmm, fe_type, ir.VectorType(element, fe_type.count))


def _place(
    context: Any, builder: Any, array_type: Any, array: Any, index: Any, lanes: Lanes
) -> tuple[Any, int]:
    """Return a vector pointer to ``array[index]`` of a flat array, and the element's size."""
    data = make_array(array_type)(context, builder, array).data
    vector = context.get_value_type(lanes)
    pointer = builder.gep(data, [index])
    return builder.bitcast(pointer, vector.as_pointer()), array_type.dtype.bitwidth // 8


def _load(array_type: Any, lanes: Lanes) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer, align = _place(context, builder, array_type, args[0], args[1], lanes)
        return builder.load(pointer, align=align)

    return lanes(array_type, types.intp), codegen


@intrinsic
def load(_: Any, array: Any, index: Any) -> Any:
    """Return ``array[index : index + LANES]``."""
    return _load(array, Lanes(array.dtype))


@intrinsic
def load_wide(_: Any, array: Any, index: Any) -> Any:
    """Return ``array[index : index + WIDE]``."""
    return _load(array, Lanes(array.dtype, WIDE))


@intrinsic
def store(_: Any, array: Any, index: Any, value: Any) -> Any:
    """Set ``array[index :]`` to a vector of either length, as far as it goes."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer, align = _place(context, builder, array, args[0], args[1], value)
        builder.store(args[2], pointer, align=align)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


def _shuffled(source: Lanes, places: list[int], *more: Lanes) -> Any:
    """Pick numbers of one or two vectors by their places."""
    result = Lanes(source.dtype, len(places))

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        mask = ir.Constant(ir.VectorType(ir.IntType(32), len(places)), places)
        return builder.shuffle_vector(args[0], args[-1], mask)

    return result(source, *more), codegen


@intrinsic
def join(_: Any, low: Any, high: Any) -> Any:
    """Return the wide vector of two narrow ones."""
    return _shuffled(low, [*range(WIDE)], high)


@intrinsic
def low(_: Any, wide: Any) -> Any:
    """Return the first half of a wide vector."""
    return _shuffled(wide, [*range(LANES)])


@intrinsic
def high(_: Any, wide: Any) -> Any:
    """Return the second half of a wide vector."""
    return _shuffled(wide, [*range(LANES, WIDE)])


@intrinsic
def swap(_: Any, wide: Any) -> Any:
    """Return a wide vector with its halves exchanged."""
    return _shuffled(wide, [*range(LANES, WIDE), *range(LANES)])


@intrinsic
def splat(_: Any, number: Any) -> Any:
    """Return a vector that repeats one number."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = context.get_value_type(signature.return_type)
        zero = ir.Constant(ir.IntType(32), 0)
        one = builder.insert_element(ir.Constant(vector, ir.Undefined), args[0], zero)
        mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), mask)

    return Lanes(number)(number), codegen


@intrinsic
def add(_: Any, a: Any, b: Any) -> Any:
    """Return a + b."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fadd(*args, flags=("fast",))

    return a(a, b), codegen


@intrinsic
def mul(_: Any, a: Any, b: Any) -> Any:
    """Return a b."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fmul(*args, flags=("fast",))

    return a(a, b), codegen


@intrinsic
def mul_add(_: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a b + c."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        product = builder.fmul(args[0], args[1], flags=("fast",))
        return builder.fadd(product, args[2], flags=("fast",))

    return a(a, b, c), codegen


@intrinsic
def neg(_: Any, a: Any) -> Any:
    """Return -a."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fneg(args[0])

    return a(a), codegen


def renew_with_vectors(namespace: Mapping[str, Any]) -> None:
    """Let the cached functions of a module be compiled anew once this file has changed.

    Numba ignores what another version of itself has kept, before it reads the rest, which names
    types by their modules and could not be read after a move. So this file becomes part of the
    version.

    Args:
        namespace: ``globals()`` of the module.
    """
    mine = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    for function in namespace.values():
        file = getattr(getattr(function, "_cache", None), "_cache_file", None)
        if file is not None:
            file._version = f"{file._version.split()[0]} {mine}"
