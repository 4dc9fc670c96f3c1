"""Arrays laid out by the processor's cache lines, and a hint to fetch a line early.

A kernel that reads a few bytes here and there of large arrays waits for memory. It waits once for each line that it
touches, so what is read together is to lie on one line; and hardly at all for lines that were asked for in time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending, types
from numpy.typing import DTypeLike, NDArray

LINE = 64
"""Bytes of a cache line."""

intrinsic: Any = extending.intrinsic


def zeros_on_lines(count: int, dtype: DTypeLike) -> NDArray[Any]:
    """As `numpy.zeros`, but the first element is the first of a cache line.

    >>> zeros_on_lines(3, np.float64).ctypes.data % LINE
    0
    """
    size = count * np.dtype(dtype).itemsize
    memory = np.zeros(size + LINE, np.uint8)
    first = -memory.ctypes.data % LINE
    return memory[first : first + size].view(dtype)


@intrinsic
def prefetch(typing: Any, array: Any, index: Any) -> Any:
    """Have the line fetched on which an element of an array begins, without waiting for it. For compiled code.

    A table's row begins with its first element. Any index may be given: of a line that is not there nothing is fetched.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind, _ = signature.args
        held = context.make_array(kind)(context, builder, value=arguments[0])
        stride = builder.extract_value(held.strides, 0)
        start = builder.ptrtoint(held.data, stride.type)
        place = builder.inttoptr(builder.add(start, builder.mul(arguments[1], stride)), ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        function = builder.module.declare_intrinsic(
            "llvm.prefetch",
            [place.type],
            ir.FunctionType(ir.VoidType(), [place.type, number, number, number]),
        )
        to_read, keep, data = number(0), number(3), number(1)
        builder.call(function, [place, to_read, keep, data])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate
