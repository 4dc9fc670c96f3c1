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
    give_slot_back,
    take_slot,
)

_pack = struct.Struct(STEP_FORMAT).pack_into
_STEP_BYTES = STEP.itemsize


class PairSink(Protocol):
    """Takes the pairs of events."""

    def add_events(self, offsets: list[int], ats: list[float], ends: list[int], pairs: NDArray[Any]) -> None:
        """Take the pairs of some events, by their offsets and event times.

        Those of event `n` are `pairs[ends[n]:ends[n + 1]]`, of `PAIR`, to be copied; there may be none.
        """


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
            np.zeros(64, np.int64),
            np.zeros(2, np.int64),
            np.zeros(rules.kept, np.int64),
            np.zeros(rules.kept, np.float64),
            np.zeros(1 + max(2 * rules.reach, rules.most_viewed), np.int32),
        )
        self._raw_steps = bytearray(64 * _STEP_BYTES)
        self._steps = np.frombuffer(self._raw_steps, STEP)
        self._count = 0  # steps that wait
        self._bought = array("i")  # items of their purchases
        self._sinks: list[tuple[PairSink, int]] = []  # of the steps that make pairs, with the number of each's
        self._makers = 0  # these steps
        self.most_of_look = 1 + 2 * min(2 * rules.reach, rules.items)
        """Pairs that a look may make."""
        self.most_pairs = 0
        """Pairs that the steps that wait may make."""
        self._made = MadePairs(np.zeros(1, np.int64), np.empty(64, PAIR), *_new_ends(64))
        self._asked = 0  # queries that wait
        self._snapshots = _new_snapshots(64, rules.items)
        self._box = KeptBox()

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        arrays: list[Any] = [*self._pool, *self._made, *self._snapshots]
        return len(self._raw_steps) + sum(int(column.nbytes) for column in arrays)

    # -- slots -----------------------------------------------------------------------------------------------------

    @property
    def slots(self) -> NDArray[Any]:
        """What is kept of each shopper, of `SLOT`. Replaced when slots are given."""
        return self._pool.slots

    def make_slots(self, count: int) -> LookPool:
        """Make room for so many more slots; returns the pool, whose `slots`, `free` and `given` say which are free."""
        pool = self._pool
        used, free = pool.given.tolist()
        if used + count - free > len(pool.slots):
            more = max(len(pool.slots), count)
            slots = np.concatenate([pool.slots, np.zeros(more, SLOT)])
            self._pool = pool = pool._replace(slots=slots, free=np.concatenate([pool.free, np.zeros(more, np.int64)]))
        return pool

    def new_slot(self) -> int:
        """A slot for a shopper, without looks."""
        pool = self.make_slots(1)
        return int(take_slot(pool.slots, pool.free, pool.given))

    def free_slot(self, slot: int) -> None:
        """Drop a shopper's looks and give the slot to another."""
        self.clear(slot)
        give_slot_back(slot, self._pool.free, self._pool.given)

    def free_slots(self, slots: NDArray[np.int64]) -> None:
        """Drop the looks of many shoppers."""
        self.run()
        steps = np.zeros(len(slots), STEP)
        steps["kind"], steps["slot"] = CLEAR, slots
        self._apply(steps)
        for slot in slots.tolist():
            give_slot_back(slot, self._pool.free, self._pool.given)

    def held(self, slot: int) -> NDArray[np.int32]:
        """Items of a shopper's looks, in no order that means anything."""
        self.run()
        start, first, length = self._pool.slots[slot].item()[:3]
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
        _pack(self._raw_steps, number * _STEP_BYTES, at, appended_s, slot, offset, 0, 0, item, LOOK, action, learns)
        if sink is not None:
            self._make(sink, 1, self.most_of_look)

    def room_for(self, count: int) -> tuple[NDArray[Any], int]:
        """The steps, with room for so many more, and the number of those that wait: others follow them."""
        while self._count + count > len(self._steps):
            self._add_room()
        return self._steps, self._count

    def added(self, steps: int, queries: int, looks: int, sink: PairSink | None) -> None:
        """Steps were written behind those that wait: some queries among them, and looks with pairs for a sink."""
        self._count += steps
        self._asked += queries
        if sink is not None and looks:
            self._make(sink, looks, looks * self.most_of_look)

    def _make(self, sink: PairSink, steps: int, most_pairs: int) -> None:
        """Have a sink given the pairs of the last steps."""
        self._makers += steps
        self.most_pairs += most_pairs
        if self._sinks and self._sinks[-1][0] is sink:
            steps += self._sinks.pop()[1]
        self._sinks.append((sink, steps))

    def add_basket(self, items: Sequence[int], at: float, sink: PairSink, offset: int) -> None:
        """Make the bought-with pairs of a purchase."""
        first, count = self._add_bought(items)
        self._add(BASKET, at, 0.0, NOBODY, first, count, offset)
        self._make(sink, 1, 1 + count * count)

    def add_join(
        self, slot: int, items: Sequence[int], at: float, appended_s: float, sink: PairSink, offset: int
    ) -> None:
        """Make the viewed-then-bought pairs of a purchase."""
        first, count = self._add_bought(items)
        self._add(JOIN, at, appended_s, slot, first, count, offset)
        self._make(sink, 1, self.rules.most_viewed * count)

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

    def _add(
        self, kind: int, at: float, appended_s: float, slot: int, first: int = 0, count: int = 0, offset: int = 0
    ) -> None:
        number = self._count
        if number == len(self._steps):
            self._add_room()
        self._count = number + 1
        _pack(self._raw_steps, number * _STEP_BYTES, at, appended_s, slot, offset, first, count, 0, kind, 0, False)

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
        makers, self._makers = self._makers, 0
        self._count = self._asked = self.most_pairs = 0
        del self._bought[:]
        if sinks:
            made = self._made
            offsets, ats, ends = (
                made.offsets[:makers].tolist(),
                made.ats[:makers].tolist(),
                made.ends[: makers + 1].tolist(),
            )
            first = 0
            for sink, count in sinks:
                last = first + count
                sink.add_events(offsets[first:last], ats[first:last], ends[first : last + 1], made.pairs)
                first = last

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
        if self._makers + 2 > len(made.ends):
            ends, offsets, ats = _new_ends(2 * self._makers + 2)
            made = made._replace(ends=ends, offsets=offsets, ats=ats)
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


def _new_ends(steps: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """`ends`, `offsets` and `ats` of `MadePairs`."""
    return np.zeros(steps, np.int64), np.zeros(steps, np.int64), np.zeros(steps)


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
