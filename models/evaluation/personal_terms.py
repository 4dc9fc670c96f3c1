"""The personal terms of PerNIR: what a household buys, and what it buys together with the basket so far.

M. Ariannezhad and others, A Personalized Neighborhood-based Model for Within-basket Recommendation in Grocery Shopping
(WSDM 2023), without the neighbours:

    score(i) = alpha * sum over baskets b with i: recency(b)
             + (1 - alpha) * sum over given items j, baskets b with i and j: recency(b) * latest(j) / |places between|

`recency` of a basket is 1 / n for the household's n-th latest, `latest` of a given item 1 / n for the n-th latest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

ALPHA = 0.5
"""Weight of the first term; the paper tunes it by data set, here both count alike."""


class PersonalTerms:
    """Baskets of each household, in the order of their learning.

    >>> personal = PersonalTerms()
    >>> personal.learn("ann", [1, 2, 3])
    >>> personal.learn("ann", [1, 4])
    >>> personal.scores("ann", [2])  # 1: (1/2 + 1) / 2 and 1/2 * 1 / 2; 3 stands beside 2, too
    {1: 1.0, 2: 0.25, 3: 0.5, 4: 0.5}
    >>> personal.scores("ann", [2, 9])[3], personal.scores("bob", [2])  # 2 is the second latest
    (0.375, {})
    """

    def __init__(self) -> None:
        self._baskets: defaultdict[str, list[tuple[int, ...]]] = defaultdict(list)

    def learn(self, household: str, items: Sequence[int]) -> None:
        """Learn a basket of distinct items, in their order."""
        self._baskets[household].append(tuple(items))

    def scores(self, household: str, given: Sequence[int]) -> Mapping[int, float]:
        """Scores of all items that the household has bought; `given` are distinct, the latest last."""
        baskets = self._baskets.get(household, [])
        latest = {item: 1.0 / (len(given) - place) for place, item in enumerate(given)}
        found: defaultdict[int, float] = defaultdict(float)
        for place, items in enumerate(baskets):
            recency = 1.0 / (len(baskets) - place)
            shared = [(at, latest[item]) for at, item in enumerate(items) if item in latest]
            for at, item in enumerate(items):
                together = sum(weight / abs(at - other) for other, weight in shared if at != other)
                found[item] += recency * (ALPHA + (1.0 - ALPHA) * together)
        return dict(found)
