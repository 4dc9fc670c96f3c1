"""What each household has bought, and how often it would buy an item anyway: the base rate behind *credited* figures.

Taking an item that the household buys every week says little about the list that showed it. A taking is therefore
credited with 1 - base rate:

    base rate = (baskets of the household with the item + PRIOR * share) / (baskets of the household + PRIOR)
    share     = baskets of all households with the item / baskets of all households

Both count the baskets that were learnt, so the caller has to learn none at or after the event in question.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping

PRIOR = 5.0
"""Baskets of the whole shop's that a household starts with: a rate of few baskets of its own says little."""

_NONE: Mapping[int, int] = Counter()


class Purchases:
    """Counts baskets by household and item, without decay.

    >>> purchases = Purchases()
    >>> for household, items in [("ann", [1, 2]), ("ann", [1]), ("bob", [2]), ("cem", [2])]:
    ...     purchases.learn(household, items)
    >>> purchases.of("ann")[1], purchases.of("zoe")[1]
    (2, 0)
    >>> purchases.base_rate("ann", 1) == (2 + PRIOR * 2 / 4) / (2 + PRIOR)
    True
    >>> purchases.base_rate("zoe", 2)  # no basket of her own: the shop's share
    0.75
    """

    def __init__(self) -> None:
        self._own: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self._own_baskets: Counter[str] = Counter()
        self._all: Counter[int] = Counter()
        self._baskets = 0

    def learn(self, household: str, items: Collection[int]) -> None:
        """Learn a basket."""
        distinct = set(items)
        self._own[household].update(distinct)
        self._own_baskets[household] += 1
        self._all.update(distinct)
        self._baskets += 1

    def of(self, household: str) -> Mapping[int, int]:
        """Baskets of a household with each item; 0 of other items."""
        return self._own.get(household, _NONE)

    def base_rate(self, household: str, item: int) -> float:
        """Share of the household's baskets that the item would be in anyway; the shop's share counts PRIOR baskets."""
        share = self._all[item] / self._baskets if self._baskets else 0.0
        return (self.of(household)[item] + PRIOR * share) / (self._own_baskets[household] + PRIOR)

    def credits(self, household: str, items: Collection[int]) -> dict[int, float]:
        """What taking each item is worth: 1 - base rate."""
        return {item: 1.0 - self.base_rate(household, item) for item in items}

    def new(self, household: str, items: Collection[int]) -> set[int]:
        """Those of the items that the household has never bought."""
        return set(items) - self.of(household).keys()
