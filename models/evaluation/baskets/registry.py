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
from models.evaluation.baskets.protocol import Basket, BasketMethod, Shop
from models.evaluation.baskets.served import Served
from models.evaluation.tifu_knn import TifuKnnConfig
from models.sessions.histories import DAY_S

BASELINES: Mapping[str, Callable[[Shop, int], BasketMethod]] = {
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

METHODS = (*BASELINES, Served.name)
"""Names of all methods, in the order of the table."""


def methods_of(
    names: Collection[str],
    shop: Shop,
    depth: int,
    baskets: Sequence[Basket],
    cut: float,
    seed: int,
    *,
    learn_on_test: bool,
) -> list[BasketMethod]:
    """The methods of some of the `METHODS`. Baskets are in time order; tests begin at `cut`.

    If tests are learnt, what is served is updated once a day; otherwise at distances as long as the test part, since
    its counts will be that old in the end.
    """
    found = [make(shop, seed) for name, make in BASELINES.items() if name in names]
    if Served.name in names:
        hold_s = DAY_S if learn_on_test else max(DAY_S, baskets[-1].at - cut)
        found.append(Served(shop, depth, baskets[0].at, cut, hold_s))
    return found
