"""The looks of all shoppers of a process, in flat arrays.

Applying an event collects steps: a look, the pairs of a purchase, a snapshot, what is to be dropped. One compiled call
then takes the steps of all partitions in this order.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.block_pool import block_size, new_heads
from models.boxes import KeptBox
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
)

_pack = struct.Struct(STEP_FORMAT).pack_into
_STEP_BYTES = STEP.itemsize


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
        self._raw_steps = bytearray(64 * _STEP_BYTES)
        self._steps = np.frombuffer(self._raw_steps, STEP)
        self._count = 0  # steps that wait
        self._bought = array("i")  # items of their purchases
        self._sinks: list[tuple[PairSink, int, float]] = []  # of the steps that make pairs
        self._most_of_look = 1 + 2 * min(2 * rules.reach, rules.items)
        self.most_pairs = 0
        """Pairs that the steps that wait may make."""
        self._made = MadePairs(np.zeros(1, np.int64), np.empty(64, PAIR), np.zeros(2, np.int64))
        self._asked = 0  # queries that wait
        self._snapshots = _new_snapshots(64, rules.items)
        self._box = KeptBox()

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        arrays: list[Any] = [*self._pool, *self._made, *self._snapshots]
        return len(self._raw_steps) + sum(int(column.nbytes) for column in arrays)

    # -- slots -----------------------------------------------------------------------------------------------------

    def new_slot(self) -> int:
        """A slot for a shopper, without looks."""
        if self._free:
            return self._free.pop()
        if self._used == len(self._pool.slots):
            slots = np.concatenate([self._pool.slots, np.zeros(self._used, SLOT)])
            self._pool = self._pool._replace(slots=slots)
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
        number = self._count
        if number == len(self._steps):
            self._add_room()
        self._count = number + 1
        learns = sink is not None
        _pack(self._raw_steps, number * _STEP_BYTES, at, appended_s, slot, 0, 0, item, LOOK, action, learns)
        if sink is not None:
            self._sinks.append((sink, offset, at))
            self.most_pairs += self._most_of_look

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

    def add_query(self, slot: int, at: float, appended_s: float) -> None:
        """Write a snapshot of a shopper at an event time, when clicks have been appended up to a time."""
        self._add(QUERY, at, appended_s, slot)
        self._asked += 1

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

    def _add(self, kind: int, at: float, appended_s: float, slot: int, first: int = 0, count: int = 0) -> None:
        number = self._count
        if number == len(self._steps):
            self._add_room()
        self._count = number + 1
        _pack(self._raw_steps, number * _STEP_BYTES, at, appended_s, slot, first, count, 0, kind, 0, False)

    def _add_room(self) -> None:
        """Make room for as many steps again."""
        self._raw_steps = self._raw_steps + bytes(len(self._raw_steps))
        self._steps = np.frombuffer(self._raw_steps, STEP)

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
        self._count = self._asked = self.most_pairs = 0
        del self._bought[:]
        if sinks:
            pairs, ends = self._made.pairs, self._made.ends[: len(sinks) + 1].tolist()
            for (sink, offset, at), start, end in zip(sinks, ends, ends[1:], strict=False):
                sink.add(offset, at, pairs[start:end])

    def take(self, queries: int) -> Snapshots:
        """The snapshots of the queries asked first, which are forgotten here."""
        self.run()
        kept = self._snapshots
        end, look_end = int(kept.ends[queries]), int(kept.look_ends[queries])
        taken = Snapshots(
            np.array([queries]),
            kept.items[:end].copy(),
            kept.ages_s[:end].copy(),
            kept.actions[:end].copy(),
            kept.ends[: queries + 1].copy(),
            kept.look_items[:look_end].copy(),
            kept.look_actions[:look_end].copy(),
            kept.look_ats[:look_end].copy(),
            kept.look_ends[: queries + 1].copy(),
        )
        if left := int(kept.queries[0]) - queries:
            _copy(kept, queries, left, kept)
        kept.queries[0] = left
        return taken

    def asked_items(self) -> NDArray[np.int32]:
        """Items of the snapshots that have not been taken."""
        self.run()
        return self._snapshots.look_items[: int(self._snapshots.look_ends[self._snapshots.queries[0]])]

    def visit(self, slot: int, at: float, appended_s: float) -> tuple[list[int], list[float], list[int]]:
        """Items, ages and actions of a shopper's visit at once; arguments as of `add_query`."""
        kept, query = self._look(slot, at, appended_s)
        own = slice(int(kept.ends[query]), int(kept.ends[query + 1]))
        return kept.items[own].tolist(), kept.ages_s[own].tolist(), kept.actions[own].tolist()

    def window(self, slot: int, at: float, appended_s: float) -> tuple[list[int], list[int], list[float]]:
        """Items, actions and event times of a shopper's looks at once; arguments as of `add_query`."""
        kept, query = self._look(slot, at, appended_s)
        own = slice(int(kept.look_ends[query]), int(kept.look_ends[query + 1]))
        return kept.look_items[own].tolist(), kept.look_actions[own].tolist(), kept.look_ats[own].tolist()

    def _look(self, slot: int, at: float, appended_s: float) -> tuple[Snapshots, int]:
        """The snapshots, and the number of one that the next query overwrites."""
        self.add_query(slot, at, appended_s)
        self.run()
        self._snapshots.queries[0] -= 1
        return self._snapshots, int(self._snapshots.queries[0])

    def _make_room(self) -> None:
        """Make room for what the steps that wait may give."""
        made = self._made
        if self.most_pairs > len(made.pairs):
            made = made._replace(pairs=np.empty(2 * self.most_pairs, PAIR))
        if len(self._sinks) + 2 > len(made.ends):
            made = made._replace(ends=np.zeros(2 * len(self._sinks) + 2, np.int64))
        made.steps[0] = made.ends[0] = made.ends[1] = 0
        queries = int(self._snapshots.queries[0])
        if queries + self._asked >= len(self._snapshots.ends):
            grown = _new_snapshots(2 * (queries + self._asked), self.rules.items)
            _copy(self._snapshots, 0, queries, grown)
            self._snapshots = grown
        self._made = made

    def _apply(self, steps: NDArray[Any]) -> None:
        bought = np.array(self._bought, np.int32)
        done = 0
        while done < len(steps):
            box = self._box.of(Table(self.rules, self._pool, self._made, self._snapshots))
            done = apply_steps(steps, done, bought, box)
            if done < len(steps):
                self._grow()

    def _grow(self) -> None:
        """Double the room of the pool."""
        at, appended_s, item, action, *rest = self._pool
        grown = [np.concatenate([column, np.empty_like(column)]) for column in (at, appended_s, item, action)]
        self._pool = LookPool(*grown, *rest)


def _new_snapshots(queries: int, items: int) -> Snapshots:
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


def _copy(source: Snapshots, first: int, count: int, target: Snapshots) -> None:
    """Copy the snapshots of some queries to the front of others, or of the same."""
    visit, window = ("items", "ages_s", "actions"), ("look_items", "look_actions", "look_ats")
    for columns, name in ((visit, "ends"), (window, "look_ends")):
        ends = getattr(source, name)[first : first + count + 1].copy()
        for column in columns:
            getattr(target, column)[: ends[-1] - ends[0]] = getattr(source, column)[ends[0] : ends[-1]]
        getattr(target, name)[: count + 1] = ends - ends[0]
    target.queries[0] = count
