"""How much is remembered of each item. A module of its own, so that settings need not load the kernels."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class CoOccurrenceConfig:
    """How much is remembered of each item, and for how long.

    Attributes:
        neighbours: neighbours a row is published with. Each costs a published row 60 bytes or so, and a suggestion the
            time to look at it; what comes after the hundredth hardly ever reaches a suggestion.
        newcomers: further cells, at the owner only, in which a new neighbour can gather weight before it has to be
            among the strongest. With none, an item that is full would never again learn a neighbour.
        half_life_s: seconds of event time in which a weight falls to a half. A month follows the seasons of a shop and
            still gathers enough baskets for items that sell a few times a week.
        importance: what a unit of weight of each kind counts for when a row has to choose: viewed-with, bought-with,
            viewed-then-bought. Purchases are rarer than views and say more.
        unknown_items: rows of items that are not in the catalogue, in all partitions together. They are learnt because
            a catalogue may come after the first clicks. Beyond so many the least looked at and bought are dropped. Each
            takes up to 10 kB in its owner, 5 kB in every other worker.
        unknown_s: seconds of event time after which such a row is dropped if nobody has looked at its item since.
    """

    neighbours: int = 100
    newcomers: int = 28
    half_life_s: float = 30 * 86400.0
    importance: tuple[float, float, float] = (1.0, 4.0, 4.0)
    unknown_items: int = 10_000
    unknown_s: float = 7 * 86400.0

    def __post_init__(self) -> None:
        if not (1 <= self.neighbours <= 10_000 and 0 <= self.newcomers <= 10_000):
            message = f"neighbours must be 1 to 10000, newcomers 0 to 10000, got {self.neighbours}, {self.newcomers}"
            raise ValueError(message)
        if not (0 <= self.unknown_items <= 10_000_000 and 0.0 <= self.unknown_s < math.inf):
            message = (
                "unknown_items must be 0 to 10000000 and unknown_s a number of seconds of at least 0, "
                f"got {self.unknown_items}, {self.unknown_s}"
            )
            raise ValueError(message)
        if not 1.0 <= self.half_life_s < math.inf:
            message = f"half_life_s must be a number of seconds of at least 1, got {self.half_life_s}"
            raise ValueError(message)
        if len(self.importance) != 3 or not all(0.0 <= weight < math.inf for weight in self.importance):
            message = f"importance must be three numbers of at least 0, got {self.importance}"
            raise ValueError(message)
