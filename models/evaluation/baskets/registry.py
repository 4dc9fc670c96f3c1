"""All methods of protocol B by name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from models.evaluation.baskets.baselines import (
    BasketCoOccurrence,
    HouseholdPopularity,
    Implicit,
    NearestBaskets,
    Personal,
    Popularity,
    Similar,
)
from models.evaluation.baskets.first_purchases import DAY_S
from models.evaluation.baskets.ours import Ours, OursConfig
from models.evaluation.baskets.protocol import Basket, BasketMethods, Shop
from models.evaluation.tifu_knn import TifuKnnConfig

BASELINES: Mapping[str, Callable[[Shop, int], BasketMethods]] = {
    "popularity": lambda shop, _: Popularity(shop),
    "last-item": lambda shop, _: BasketCoOccurrence(
        "last-item", shop, normalisation=0.0, weighted=False, last_only=True
    ),
    "normalised": lambda shop, _: BasketCoOccurrence("normalised", shop, normalisation=0.5, weighted=False),
    "basket-weighted": lambda shop, _: BasketCoOccurrence("basket-weighted", shop, normalisation=0.5, weighted=True),
    "vsknn": lambda shop, _: NearestBaskets(shop),
    "household-popularity": lambda shop, _: HouseholdPopularity(shop),
    "personal-terms": lambda shop, _: Personal(shop),
    "tifu-knn": lambda shop, _: Similar(shop, TifuKnnConfig()),
    "bm25": lambda shop, seed: Implicit("bm25", shop, seed),
    "als": lambda shop, seed: Implicit("als", shop, seed),
    "bpr": lambda shop, seed: Implicit("bpr", shop, seed),
}
"""Methods of the literature."""

METHODS = (*BASELINES, *Ours.names)
"""Names of all methods, in the order of the table."""


def method_groups(
    methods: Collection[str],
    shop: Shop,
    depth: int,
    baskets: Sequence[Basket],
    cut: float,
    seed: int,
    *,
    learn_on_test: bool,
) -> list[BasketMethods]:
    """The groups of methods from `METHODS`. Baskets are in time order; tests begin at `cut`.

    If tests are learnt, our sources are updated once a day; otherwise at distances as long as the test part, since
    their counts will be that old in the end.
    """
    found = [make(shop, seed) for name, make in BASELINES.items() if name in methods]
    wanted = [name for name in Ours.names if name in methods]
    if wanted:
        hold_s = DAY_S if learn_on_test else max(DAY_S, baskets[-1].at - cut)
        found.append(Ours(shop, depth, baskets[0].at, cut, hold_s, seed, OursConfig(), wanted))
    return found
