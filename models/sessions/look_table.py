"""The looks of all shoppers of a process, in flat arrays.

Whoever applies events collects steps first: a look, the pairs of a purchase, a snapshot, what is to be dropped. One
compiled call then takes them in this order, however many there are and whichever partitions they belong to.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.block_pool import block_size, new_heads
from models.sessions.look_kernel import (
    BASKET,
    CLEAR,
    FORGET,
    JOIN,
    LOOK,
    NOBODY,
    PAIR,
    QUERY,
    SLOT,
    STEP,
    STEP_FORMAT,
    LookPool,
    MadePairs,
    Rules,
    Snapshots,
    Table,
    apply_steps,
    table_of,
)

_pack = struct.Struct(STEP_FORMAT).pack_into


class PairSink(Protocol):
    """Takes the pairs of events."""

    def add(self, offset: int, at: float, pairs: NDArray[Any]) -> None:
        """Take the pairs of one event, of `PAIR`, to be copied; there may be none."""


class LookTable:
    """Looks by slots, and steps that wait for `run`. Not for use by several threads at once.

    A look takes 21 bytes. Those of a shopper lie in a block of 8, 16, 32 ... looks; he has at most twice `rules.kept`.
    What is freed is used again; the arrays never shrink.

    Args:
        rules: what a visit is.
        room: looks to begin with; doubled when used up.
    """

    def __init__(self, rules: Rules, room: int = 1024) -> None:
        self.rules = rules
        self._pool = LookPool(
            np.empty(room, np.float64),
            np.empty(room, np.float64),
            np.empty(room, np.int32),
            np.empty(room, np.int8),
            new_heads(),
            np.zeros(64, SLOT),
            np.zeros(rules.kept, np.int64),
            np.zeros(rules.kept, np.float64),
            np.zeros(1 + max(2 * rules.reach, rules.most_viewed), np.int32),
        )
        self._used = 0  # slots ever given
        self._free: list[int] = []
        self._raw_steps = bytearray(64 * STEP.itemsize)
        self._steps = np.frombuffer(self._raw_steps, STEP)
        self._count = 0  # steps that wait
        self._bought = array("i")  # items of their purchases
        self._sinks: list[tuple[PairSink, int, float]] = []  # of the steps that make pairs
        self.most_pairs = 0
        """Pairs that the steps that wait may make."""
        self._made = MadePairs(np.zeros(1, np.int64), np.empty(64, PAIR), np.zeros(2, np.int64))
        self._single = new_snapshots(1, rules.items)
        self._table: Table | None = None  # of these arrays; None: one was replaced

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        arrays: list[Any] = [*self._pool, *self._made, *self._single]
        return len(self._raw_steps) + sum(int(column.nbytes) for column in arrays)

    # -- slots -----------------------------------------------------------------------------------------------------

    def new_slot(self) -> int:
        """A slot for a shopper, without looks."""
        if self._free:
            return self._free.pop()
        if self._used == len(self._pool.slots):
            slots = np.concatenate([self._pool.slots, np.zeros(self._used, SLOT)])
            self._pool, self._table = self._pool._replace(slots=slots), None
        self._used += 1
        return self._used - 1

    def free_slot(self, slot: int) -> None:
        """Drop a shopper's looks and give the slot to another."""
        self.clear(slot)
        self._free.append(slot)

    def free_slots(self, slots: Sequence[int]) -> None:
        """Drop the looks of many shoppers."""
        self.run()
        steps = np.zeros(len(slots), STEP)
        steps["kind"], steps["slot"] = CLEAR, slots
        self._apply(steps)
        self._free.extend(slots)

    def held(self, slot: int) -> NDArray[np.int32]:
        """Items of a shopper's looks, in no order that means anything."""
        self.run()
        start, first, length = self._pool.slots[slot].item()
        room = block_size(length)
        places = start + ((first + np.arange(length)) & (room - 1))
        items: NDArray[np.int32] = self._pool.item[places]
        return items

    # -- steps -----------------------------------------------------------------------------------------------------

    def add_look(
        self, slot: int, item: int, action: int, at: float, appended_s: float, sink: PairSink | None, offset: int
    ) -> None:
        """Add a look with no smaller append time than any before; its pairs, if there is a sink, go there."""
        learns = sink is not None
        self._add(LOOK, at, appended_s, slot, 0, 0, item, action, learns)
        if sink is not None:
            self._sinks.append((sink, offset, at))
            self.most_pairs += 1 + 2 * min(2 * self.rules.reach, self.rules.items)

    def add_basket(self, items: Sequence[int], at: float, sink: PairSink, offset: int) -> None:
        """Make the bought-with pairs of a purchase."""
        first, count = self._add_bought(items)
        self._add(BASKET, at, 0.0, NOBODY, first, count)
        self._sinks.append((sink, offset, at))
        self.most_pairs += 1 + count * count

    def add_join(
        self, slot: int, items: Sequence[int], at: float, appended_s: float, sink: PairSink, offset: int
    ) -> None:
        """Make the viewed-then-bought pairs of a purchase."""
        first, count = self._add_bought(items)
        self._add(JOIN, at, appended_s, slot, first, count)
        self._sinks.append((sink, offset, at))
        self.most_pairs += self.rules.most_viewed * count

    def forget(self, slot: int, before: float) -> None:
        """Drop a shopper's looks up to an event time."""
        self._add(FORGET, before, 0.0, slot)

    def clear(self, slot: int) -> None:
        """Drop a shopper's looks."""
        self._add(CLEAR, 0.0, 0.0, slot)

    def _add_bought(self, items: Sequence[int]) -> tuple[int, int]:
        first = len(self._bought)
        self._bought.extend(items)
        return first, len(items)

    def _add(
        self,
        kind: int,
        at: float,
        appended_s: float,
        slot: int,
        first: int = 0,
        count: int = 0,
        item: int = 0,
        action: int = 0,
        learns: bool = False,
    ) -> None:
        number = self._count
        if number == len(self._steps):
            self._raw_steps = self._raw_steps + bytes(len(self._raw_steps))
            self._steps = np.frombuffer(self._raw_steps, STEP)
        where = number * STEP.itemsize
        _pack(self._raw_steps, where, at, appended_s, slot, first, count, item, kind, action, learns)
        self._count = number + 1

    # -- running ---------------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Steps that wait."""
        return self._count

    def run(self) -> None:
        """Apply the steps that wait, and give the pairs to their sinks."""
        if not self._count:
            return
        self._make_room()
        self._apply(self._steps[: self._count])
        sinks, self._sinks = self._sinks, []
        self._count = self.most_pairs = 0
        del self._bought[:]
        if sinks:
            pairs, ends = self._made.pairs, self._made.ends[: len(sinks) + 1].tolist()
            for (sink, offset, at), start, end in zip(sinks, ends, ends[1:], strict=False):
                sink.add(offset, at, pairs[start:end])

    def look_at(self, slot: int, at: float, appended_s: float) -> Snapshots:
        """A snapshot of one shopper, valid until the next call; clicks have been appended up to `appended_s`."""
        self.run()
        self._add(QUERY, at, appended_s, slot)
        self._count = 0
        self._single.queries[0] = 0
        self._apply(self._steps[:1])
        return self._single

    def _make_room(self) -> None:
        """Make room for what the steps that wait may give."""
        made = self._made
        if self.most_pairs > len(made.pairs):
            made = made._replace(pairs=np.empty(2 * self.most_pairs, PAIR))
        if len(self._sinks) + 2 > len(made.ends):
            made = made._replace(ends=np.zeros(2 * len(self._sinks) + 2, np.int64))
        made.steps[0] = made.ends[0] = made.ends[1] = 0
        if made is not self._made:
            self._made, self._table = made, None

    def _apply(self, steps: NDArray[Any]) -> None:
        bought = np.array(self._bought, np.int32)
        done = 0
        while done < len(steps):
            if self._table is None:
                self._table = table_of(self.rules, self._pool, self._made, self._single)
            done = apply_steps(steps, done, bought, self._table)
            if done < len(steps):
                self._grow()

    def _grow(self) -> None:
        """Double the room of the pool."""
        at, appended_s, item, action, *rest = self._pool
        grown = [np.concatenate([column, np.empty_like(column)]) for column in (at, appended_s, item, action)]
        self._pool, self._table = LookPool(*grown, *rest), None


def new_snapshots(queries: int, items: int) -> Snapshots:
    """Room for so many queries, with so many looks in a window at most."""
    most = queries * items
    return Snapshots(
        np.zeros(1, np.int64),
        np.empty(most, np.int32),
        np.empty(most, np.float64),
        np.empty(most, np.int8),
        np.zeros(queries + 1, np.int64),
        np.empty(most, np.int32),
        np.empty(most, np.int8),
        np.empty(most, np.float64),
        np.zeros(queries + 1, np.int64),
    )
