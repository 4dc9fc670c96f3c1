"""What became of upsells within a month: a better pan is seldom bought within the hour in which it was suggested.

Pools that stay open for so long are many. So one pool is open per partition and slot of event time, and at most
`most_open_upsells` are open together. A slot is known by the time of the pool alone, so a restart does not change which
pools are opened.
"""

from __future__ import annotations

from array import array
from dataclasses import replace
from math import floor

import numpy as np

from models.ranking.attribution import Attribution, AttributionConfig, Impression, Open
from models.shop.kinds import UPSELL


class UpsellAttribution(Attribution):
    """Open pools of upsells, of a number of partitions.

    >>> config = AttributionConfig(upsell_window_s=1000.0, most_open_upsells=10, late_s=0.0)
    >>> attribution = UpsellAttribution(config, 1, 1)
    >>> kinds, features = [1, 2], np.ones((2, 1), np.float16)
    >>> for offset, at in [(7, 110.0), (8, 120.0), (9, 210.0)]:  # the second is in the slot of the first
    ...     pool = Impression(f"clicks-0-{offset}", "ann", at, "clicks", offset, [4, 5], kinds, features)
    ...     attribution.record_impression(0, pool)
    >>> attribution.advance(0, 900.0, 1e9)
    >>> attribution.record_action(0, "ann", 5, 900.0, "clicks", 10, taken=True)
    >>> attribution.advance(0, 2000.0, 1e9)
    >>> [(closed.items.tolist(), closed.taken.tolist()) for closed in attribution.take()]
    [([5], [True]), ([5], [True])]
    """

    def __init__(self, config: AttributionConfig, width: int, partitions: int) -> None:
        super().__init__(config, width)
        self._window_s, self._most_open = config.upsell_window_s, config.most_open_upsells
        self._slot_s = max(1.0, self._window_s * partitions / max(1, self._most_open))
        self._slots: set[tuple[int, int]] = set()  # of open pools, by partition

    def record_impression(self, number: int, impression: Impression) -> None:
        """Record the upsells of a pool, if no pool of its partition and its slot is open."""
        upsells = np.frombuffer(bytes(impression.kinds), np.int8) == UPSELL
        if not upsells.any() or (number, self._slot(impression)) in self._slots:
            return
        items = array("i", np.array(impression.items, np.int32)[upsells].tolist())
        kinds = bytearray([UPSELL] * len(items))
        super().record_impression(
            number, replace(impression, items=items, kinds=kinds, features=impression.features[upsells])
        )

    def _slot(self, impression: Impression) -> int:
        return floor(impression.at / self._slot_s)

    def _add(self, opened: Open) -> None:
        super()._add(opened)
        self._slots.add((opened.number, self._slot(opened.impression)))

    def _drop(self, suggestion_id: str) -> Open:
        dropped = super()._drop(suggestion_id)
        self._slots.discard((dropped.number, self._slot(dropped.impression)))
        return dropped
