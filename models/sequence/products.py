"""Products of rows with many columns: the inner loop of all that the sequence model computes.

BLAS packs the columns at every call, which takes longer than multiplying where rows are few. Here they are packed once,
in blocks. Sums of a block are kept in registers, which loops in Python syntax do not achieve, so the innermost loop is
written in LLVM's language. A sum adds its terms in the same order however many rows come together: a row's products
depend on the row alone, to the last bit.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from models.cache_lines import zeros_on_lines
from models.jit import cached_njit, inline_njit

BLOCK = 32
"""Columns that are packed together."""

_LANES = 16 if binding.get_host_cpu_features().get("avx512f") else 8
"""Of a vector register. Lanes are columns, so sums do not depend on it; numba keys its cache by the processor."""

_TOGETHER = _LANES // 8
"""Blocks that are multiplied at once: with four rows, their sums fill sixteen registers."""


def blocks_of(columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, units) columns packed as (blocks, units, BLOCK), the last block filled up with zeros.

    They begin on a cache line, so that no vector lies on two of them.

    >>> blocks_of(np.ones((33, 2), np.float32)).shape
    (2, 2, 32)
    """
    shape = -(-len(columns) // BLOCK), columns.shape[1], BLOCK
    blocks = zeros_on_lines(math.prod(shape), np.float32).reshape(shape)
    for number in range(len(blocks)):  # a block at a time, so that other threads run in between
        some = columns[number * BLOCK : (number + 1) * BLOCK]
        blocks[number, :, : len(some)] = some.T
    return blocks


def _multiplier(rows: int, together: int) -> Any:
    """A function of compiled code that multiplies so many rows with so many blocks.

    It takes an array of rows and the place of the first one in it, the array of blocks and the place of the first one,
    the array of products and the place of the first one, and the numbers of units and of products a row.
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
        places = range(0, together * BLOCK, _LANES)

        def vectors_at(array: Any, first: Any, apart: Any) -> list[Any]:
            """Pointers to the vectors of each block, so far apart."""
            starts = (builder.add(first, builder.mul(apart, number(place // BLOCK))) for place in places)
            sums = (builder.add(start, number(place % BLOCK)) for start, place in zip(starts, places, strict=True))
            return [builder.bitcast(builder.gep(array, [at]), vector.as_pointer()) for at in sums]

        before = builder.basic_block
        loop, done = builder.append_basic_block(), builder.append_basic_block()
        builder.branch(loop)
        builder.position_at_end(loop)
        unit = builder.phi(number)
        unit.add_incoming(number(0), before)
        sums = [[builder.phi(vector) for _ in places] for _ in range(rows)]
        of_unit = builder.add(block, builder.mul(unit, number(BLOCK)))
        from_block = vectors_at(blocks, of_unit, builder.mul(units, number(BLOCK)))
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
            to_row = vectors_at(found, builder.add(at, builder.mul(wide, number(line))), number(BLOCK))
            for total, pointer in zip(of_row, to_row, strict=True):
                builder.store(total.incomings[1][0], pointer, align=4)
        return context.get_dummy_value()

    return multiply


def _tile(together: int) -> Any:
    """A function of compiled code that multiplies any number of rows with so many blocks, from a number on."""
    one, two, four = (_multiplier(rows, together) for rows in (1, 2, 4))

    @inline_njit
    def tile(rows: Any, first: int, count: int, blocks: Any, number: int, found: Any) -> None:
        units, wide = rows.shape[1], found.shape[1]
        block, to, row = number * BLOCK * units, number * BLOCK, 0
        while row + 4 <= count:
            four(rows, (first + row) * units, blocks, block, found, row * wide + to, units, wide)
            row += 4
        if row + 2 <= count:
            two(rows, (first + row) * units, blocks, block, found, row * wide + to, units, wide)
            row += 2
        if row < count:
            one(rows, (first + row) * units, blocks, block, found, row * wide + to, units, wide)

    return tile


_several, _single = _tile(_TOGETHER), _tile(1)


@cached_njit(nogil=True)
def products(rows: NDArray[np.float32], first: int, count: int, blocks: NDArray[np.float32], found: Any) -> None:
    """Multiply `count` rows of (n, units), from `first` on, with all blocks of `blocks_of`.

    `found` (count, len(blocks) * BLOCK) takes the products. All arrays are contiguous.
    """
    number = 0
    while number + _TOGETHER <= len(blocks):  # a block is read once for all rows
        _several(rows, first, count, blocks, number, found)
        number += _TOGETHER
    while number < len(blocks):
        _single(rows, first, count, blocks, number, found)
        number += 1
