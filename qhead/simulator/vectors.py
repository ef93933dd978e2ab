"""A vector of `LANES` numbers as a value inside compiled functions.

Numba leaves it to the compiler to find vector instructions in scalar loops, which fails on the
short runs that low qubits make. These few intrinsics say it outright: a `load` is one vector load,
the arithmetic is one instruction, and coefficients stay in registers for a whole pass. Nothing is
checked against the bounds of an array: only `kernels` may use them.

Numba's on-disk cache is keyed by the file that holds a compiled function, here `kernels`: after a
change of this file, delete the ``__pycache__`` folders.
"""

from __future__ import annotations

from typing import Any

import llvmlite.ir as ir
from numba.core import types
from numba.core.datamodel import models
from numba.extending import intrinsic, register_model
from numba.np.arrayobj import make_array

#: Samples simulated side by side; eight float32 fill one 256-bit register.
LANES = 8


class Lanes(types.Type):
    """Numba's type of such a vector."""

    def __init__(self, dtype: types.Float) -> None:
        self.dtype = dtype
        super().__init__(name=f"Lanes({dtype})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc, unused-ignore]
    def __init__(self, dmm: Any, fe_type: Lanes) -> None:
        element = ir.FloatType() if fe_type.dtype == types.float32 else ir.DoubleType()
        super().__init__(dmm, fe_type, ir.VectorType(element, LANES))


def _place(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> tuple[Any, int]:
    """Return a vector pointer to ``array[index]`` of a flat array, and the element's size."""
    data = make_array(array_type)(context, builder, array).data
    vector = context.get_value_type(Lanes(array_type.dtype))
    pointer = builder.gep(data, [index])
    return builder.bitcast(pointer, vector.as_pointer()), array_type.dtype.bitwidth // 8


@intrinsic
def load(_: Any, array: Any, index: Any) -> Any:
    """Return ``array[index : index + LANES]``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer, align = _place(context, builder, array, *args)
        return builder.load(pointer, align=align)

    return Lanes(array.dtype)(array, types.intp), codegen


@intrinsic
def store(_: Any, array: Any, index: Any, value: Any) -> Any:
    """Set ``array[index : index + LANES] = value``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer, align = _place(context, builder, array, *args[:2])
        builder.store(args[2], pointer, align=align)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


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
