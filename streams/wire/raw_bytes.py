"""Copying and comparing parts of texts in compiled code, by the C library: faster than loops.

No function checks bounds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

Text = NDArray[np.uint8]


def pointers(context: Any, builder: Any, signature: Any, values: Any) -> list[Any]:
    """Pointers to the parts of two texts, given as arguments of compiled code: text, start, text, start."""
    tools: Any = cgutils
    return [
        tools.pointer_add(
            builder, context.make_array(signature.args[place])(context, builder, values[place]).data, values[place + 1]
        )
        for place in (0, 2)
    ]


def _memcpy(typing: Any, to: Any, at: Any, text: Any, start: Any, size: Any) -> Any:
    """Copy by `memcpy`: numba's own loop looks for overlaps first, which takes longer than a short text."""
    tools: Any = cgutils

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        target, source = pointers(context, builder, signature, values)
        tools.raw_memcpy(builder, target, source, values[4], 1)
        return context.get_dummy_value()

    return types.void(to, types.intp, text, types.intp, types.intp), code


def _memcmp(typing: Any, one: Any, at: Any, other: Any, start: Any, size: Any) -> Any:
    """Whether so many bytes are equal, by `memcmp`: five times as fast as a loop."""
    tools: Any = cgutils

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        parts = pointers(context, builder, signature, values)
        kind = ir.FunctionType(number, [byte, byte, ir.IntType(64)])
        compare = tools.get_or_insert_function(builder.module, kind, "memcmp")
        order = builder.call(compare, [*(builder.bitcast(part, byte) for part in parts), values[4]])
        return builder.icmp_signed("==", order, ir.Constant(number, 0))

    return types.boolean(one, types.intp, other, types.intp, types.intp), code


copy_bytes: Any = intrinsic(_memcpy)
"""`copy_bytes(to, at, text, start, size)` copies so many bytes of a text to a place of another one."""

equal_bytes: Any = intrinsic(_memcmp)
"""`equal_bytes(one, at, other, start, size)`: whether so many bytes of two texts are equal."""
