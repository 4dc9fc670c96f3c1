"""All methods of protocol B by name, and the families in which they learn."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from models.evaluation.baskets.baselines import Implicit, NearestBaskets, OfHousehold, Popularity, Together
from models.evaluation.baskets.ours import Ours, OursConfig
from models.evaluation.baskets.protocol import Basket, Family, Shop

BASELINES: Mapping[str, Callable[[Shop, int], Family]] = {
    "popularity": lambda shop, _: Popularity(shop),
    "last-item": lambda shop, _: Together("last-item", shop, normalisation=0.0, weighted=False, last_only=True),
    "normalised": lambda shop, _: Together("normalised", shop, normalisation=0.5, weighted=False),
    "basket-weighted": lambda shop, _: Together("basket-weighted", shop, normalisation=0.5, weighted=True),
    "vsknn": lambda shop, _: NearestBaskets(shop),
    "household-popularity": lambda shop, _: OfHousehold(shop),
    "bm25": lambda shop, seed: Implicit("bm25", shop, seed),
    "als": lambda shop, seed: Implicit("als", shop, seed),
    "bpr": lambda shop, seed: Implicit("bpr", shop, seed),
}
"""Those of the literature."""

METHODS = (*BASELINES, *Ours.names)
"""Names of all methods, in the order of the table."""

DAY_S = 86_400.0


def families(
    methods: Collection[str],
    shop: Shop,
    depth: int,
    baskets: Sequence[Basket],
    cut: float,
    seed: int,
    *,
    learn_on_test: bool,
) -> list[Family]:
    """What has to learn for some methods to be asked.

    Args:
        methods: names from `METHODS`.
        shop: what is bought.
        depth: to which categories are compared.
        baskets: all, in time order.
        cut: time from which baskets are asked about.
        seed: of what is drawn.
        learn_on_test: whether tests are learnt from. Then ours takes in what was learnt once a day, and else after
            times as long as the test part, as that is how old its counts will be in the end.
    """
    found = [make(shop, seed) for name, make in BASELINES.items() if name in methods]
    wanted = [name for name in Ours.names if name in methods]
    if wanted:
        hold_s = DAY_S if learn_on_test else max(DAY_S, baskets[-1].at - cut)
        found.append(Ours(shop, depth, baskets[0].at, cut, hold_s, seed, OursConfig(), wanted))
    return found
