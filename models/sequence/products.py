"""Products of rows with many columns: the inner loop of all that the sequence model computes.

BLAS packs the columns at every call, which takes longer than multiplying where rows are few. Here they are packed once,
in blocks. Sums of a block are kept in registers, which loops in Python syntax do not achieve, so the innermost loop is
written in LLVM's language. A sum adds its terms in the same order however many rows come together: a row's products
depend on the row alone, to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from models.jit import cached_njit

BLOCK = 32
"""Columns that are packed together."""

_LANES = 8
"""Of a vector register: with four rows, the sums of a block fill sixteen of them."""


def blocks_of(columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, units) columns packed as (blocks, units, BLOCK), the last block filled up with zeros.

    >>> blocks_of(np.ones((33, 2), np.float32)).shape
    (2, 2, 32)
    """
    blocks = np.zeros((-(-len(columns) // BLOCK), columns.shape[1], BLOCK), np.float32)
    for number in range(len(blocks)):  # a block at a time, so that other threads run in between
        some = columns[number * BLOCK : (number + 1) * BLOCK]
        blocks[number, :, : len(some)] = some.T
    return blocks


def _multiplier(rows: int) -> Any:
    """A function of compiled code that multiplies so many rows with a block.

    It takes an array of rows and the place of the first one in it, the array of blocks and the place of the block, the
    array of products and the place of the first one, and the numbers of units and of products a row.
    """

    @intrinsic
    def multiply(
        _: Any, given: Any, row: Any, blocks: Any, block: Any, found: Any, at: Any, units: Any, wide: Any
    ) -> Any:
        signature = types.void(given, types.intp, blocks, types.intp, found, types.intp, types.intp, types.intp)
        return signature, generate

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        given, blocks, found = (
            context.make_array(signature.args[place])(context, builder, arguments[place]).data for place in (0, 2, 4)
        )
        row, block, at, units, wide = (arguments[place] for place in (1, 3, 5, 6, 7))
        number, single = row.type, ir.FloatType()
        vector = ir.VectorType(single, _LANES)
        same_lane = ir.Constant(ir.VectorType(ir.IntType(32), _LANES), [0] * _LANES)
        undefined = ir.Constant(vector, ir.Undefined)
        name = f"llvm.fma.v{_LANES}f32"
        function = ir.FunctionType(vector, [vector] * 3)
        fused = cgutils.get_or_insert_function(builder.module, function, name)  # type: ignore[no-untyped-call]
        places = range(0, BLOCK, _LANES)

        def vectors_at(array: Any, first: Any) -> list[Any]:
            pointers = (builder.gep(array, [builder.add(first, number(place))]) for place in places)
            return [builder.bitcast(pointer, vector.as_pointer()) for pointer in pointers]

        before = builder.basic_block
        loop, done = builder.append_basic_block(), builder.append_basic_block()
        builder.branch(loop)
        builder.position_at_end(loop)
        unit = builder.phi(number)
        unit.add_incoming(number(0), before)
        sums = [[builder.phi(vector) for _ in places] for _ in range(rows)]
        from_block = vectors_at(blocks, builder.add(block, builder.mul(unit, number(BLOCK))))
        columns = [builder.load(pointer, align=4) for pointer in from_block]
        next_unit = builder.add(unit, number(1))
        for line, of_row in enumerate(sums):
            place = builder.add(builder.add(row, builder.mul(units, number(line))), unit)
            value = builder.insert_element(undefined, builder.load(builder.gep(given, [place])), ir.IntType(32)(0))
            value = builder.shuffle_vector(value, undefined, same_lane)
            for total, column in zip(of_row, columns, strict=True):
                total.add_incoming(ir.Constant(vector, [0.0] * _LANES), before)
                total.add_incoming(builder.call(fused, [value, column, total]), loop)
        unit.add_incoming(next_unit, loop)
        builder.cbranch(builder.icmp_signed("<", next_unit, units), loop, done)
        builder.position_at_end(done)
        for line, of_row in enumerate(sums):
            to_row = vectors_at(found, builder.add(at, builder.mul(wide, number(line))))
            for total, pointer in zip(of_row, to_row, strict=True):
                builder.store(total.incomings[1][0], pointer, align=4)
        return context.get_dummy_value()

    return multiply


_one, _two, _four = _multiplier(1), _multiplier(2), _multiplier(4)


@cached_njit(nogil=True)
def products(rows: NDArray[np.float32], first: int, count: int, blocks: NDArray[np.float32], found: Any) -> None:
    """Multiply `count` rows of (n, units), from `first` on, with all blocks of `blocks_of`.

    `found` (count, len(blocks) * BLOCK) takes the products. All arrays are contiguous.
    """
    units, wide = rows.shape[1], found.shape[1]
    for number in range(len(blocks)):  # a block is read once for all rows
        block, to = number * BLOCK * units, number * BLOCK
        row = 0
        while row + 4 <= count:
            _four(rows, (first + row) * units, blocks, block, found, row * wide + to, units, wide)
            row += 4
        if row + 2 <= count:
            _two(rows, (first + row) * units, blocks, block, found, row * wide + to, units, wide)
            row += 2
        if row < count:
            _one(rows, (first + row) * units, blocks, block, found, row * wide + to, units, wide)
