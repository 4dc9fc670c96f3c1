"""Which items have a vector of their own: a bounded number, the most used."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

UNKNOWN = 0
"""Slot of all items without one."""

NOBODY = -1
"""Item of a slot that is free."""


class Vocabulary:
    """Slots of items. When all are taken, an item that is used more replaces the least used.

    Args:
        most: slots, the unknown one included.
        half_life_s: of the use of an item.

    Attributes:
        item: (slots,) index of each slot's item, NOBODY for free ones and for `UNKNOWN`.
        uses: (slots,) looks at it, decayed to `at`.
        at: (slots,) epoch seconds.

    >>> vocabulary = Vocabulary(3, 100.0)
    >>> vocabulary.use(np.array([8, 8, 9]), np.array([0.0, 0.0, 0.0]))  # slots that are new to their item
    array([1, 2])
    >>> vocabulary.use(np.array([7]), np.array([50.0]))  # as used as 9 was before, and 9 has decayed
    array([2])
    >>> vocabulary.slots(np.array([7, 8, 9]))
    array([2, 1, 0])
    """

    def __init__(self, most: int, half_life_s: float) -> None:
        self._most = most
        self._half_life_s = half_life_s
        self.item = np.full(1, NOBODY, np.int64)
        self.uses = np.zeros(1)
        self.at = np.zeros(1)
        self._slot: NDArray[np.int64] = np.zeros(1024, np.int64)  # by index of the item

    def __len__(self) -> int:
        """Number of slots in use, the unknown one included."""
        return len(self.item)

    def slots(self, items: NDArray[np.integer]) -> NDArray[np.int64]:
        """(...,) indices to (...,) slots, `UNKNOWN` for those without one and for negative ones."""
        there = (items >= 0) & (items < len(self._slot))
        found: NDArray[np.int64] = np.where(there, self._slot[np.where(there, items, 0)], UNKNOWN)
        return found

    def use(self, items: NDArray[np.integer], ats: NDArray[np.float64]) -> NDArray[np.int64]:
        """Count looks, (n,) indices and epoch seconds, and give slots to items that have none.

        Returns the slots that now have another item than before, ascending: what was learnt for them is void.
        """
        if not len(items):
            return np.empty(0, np.int64)
        now = float(ats.max())
        fresh = 2.0 ** ((ats - now) / self._half_life_s)
        distinct, where = np.unique(items, return_inverse=True)
        used = np.bincount(where, fresh, len(distinct))
        slots = self.slots(distinct)
        known = slots != UNKNOWN
        self._decay(slots[known], now)
        self.uses[slots[known]] += used[known]
        new, used = distinct[~known], used[~known]
        order = np.lexsort((new, -used))  # the most used first, then the lowest index
        new, used = new[order], used[order]
        free = min(len(new), self._most - len(self))
        taken = np.arange(len(self), len(self) + free)
        self.item = np.concatenate([self.item, np.full(free, NOBODY)])
        self.uses, self.at = np.concatenate([self.uses, np.zeros(free)]), np.concatenate([self.at, np.zeros(free)])
        self._give(taken, new[:free], used[:free], now)
        return np.sort(np.concatenate([taken, self._replace(new[free:], used[free:], now)]))

    def restore(self, item: NDArray[np.int64], uses: NDArray[np.float64], at: NDArray[np.float64]) -> None:
        """Set the attributes to another vocabulary's."""
        self.item, self.uses, self.at = item.copy(), uses.copy(), at.copy()
        self._slot = np.zeros(max(1024, int(item.max(initial=0)) + 1), np.int64)
        taken = np.flatnonzero(item != NOBODY)
        self._slot[item[taken]] = taken

    def _replace(self, new: NDArray[np.int64], used: NDArray[np.float64], now: float) -> NDArray[np.int64]:
        """Give slots of the least used items to new ones that are used more."""
        if not len(new) or len(self) < 2:
            return np.empty(0, np.int64)
        self._decay(np.arange(1, len(self)), now)
        least = 1 + np.argsort(self.uses[1:], kind="stable")[: len(new)]
        better = used[: len(least)] > self.uses[least]
        slots = least[better]
        self._slot[self.item[slots]] = UNKNOWN
        self._give(slots, new[: len(least)][better], used[: len(least)][better], now)
        return slots

    def _give(self, slots: NDArray[np.int64], items: NDArray[np.int64], uses: NDArray[np.float64], now: float) -> None:
        if not len(slots):
            return
        if (most := int(items.max())) >= len(self._slot):
            self._slot = np.concatenate([self._slot, np.zeros(2 * (most + 1) - len(self._slot), np.int64)])
        self.item[slots], self.uses[slots], self.at[slots] = items, uses, now
        self._slot[items] = slots

    def _decay(self, slots: NDArray[np.int64], now: float) -> None:
        """Decay uses to a time; an earlier time changes nothing."""
        age_s = np.maximum(now - self.at[slots], 0.0)
        self.uses[slots] *= 2.0 ** (-age_s / self._half_life_s)
        self.at[slots] += age_s
