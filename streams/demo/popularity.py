"""The baseline that a recommender has to beat: the items viewed and bought most, under the same rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from models.shop.policy import Policy
from streams.connectors.simulated_shop import Model
from streams.drills.promise_audit import upsell_faults

RANK_EVERY = 100
"""Events between two rankings: the order hardly changes, and sorting the shop for each click takes time."""


class Popularity:
    """Counts views and purchases, and suggests the most popular items that the rules allow.

    Cross-sells are of categories that no anchor has. Upsells are an upsell of some anchor.

    >>> from streams.connectors.simulated_shop import SimulatedShop
    >>> shop = SimulatedShop(seed=7, shoppers=1)
    >>> popularity = Popularity(shop.models, Policy())
    >>> for item_id in ("tea-mugs-plain-1", "tea-kettles-plain-2", "tea-mugs-plain-1"):
    ...     popularity.update([item_id])
    >>> popularity.suggest(["tea-kettles-plain-1"], [], [])[0]
    ('cross-sell', 'tea-mugs-plain-1')
    """

    def __init__(self, models: Iterable[Model], policy: Policy) -> None:
        self._models = {model.item_id: model for model in models}
        self._policy = policy
        self._seen: Counter[str] = Counter()
        self._ranked: list[Model] = []
        self._events = 0

    def update(self, item_ids: Iterable[str]) -> None:
        """Count a view or a purchase of these items."""
        self._seen.update(item_ids)
        self._events += 1
        if self._events % RANK_EVERY == 0:
            self._ranked = []

    def suggest(self, trigger: Sequence[str], cart: Collection[str], bought: Collection[str]) -> list[tuple[str, str]]:
        """(kind, item id), cross-sells first, best first; as many as the policy allows of each kind."""
        policy = self._policy
        anchors = [self._models[item_id] for item_id in {*trigger, *cart} if item_id in self._models]
        taken = {model.category for model in anchors}
        excluded = {*trigger, *cart, *bought}
        if not self._ranked:
            self._ranked = sorted(self._models.values(), key=lambda model: (-self._seen[model.item_id], model.item_id))
        per_category: Counter[str] = Counter()
        cross_sells: list[tuple[str, str]] = []
        upsells: list[tuple[str, str]] = []
        for model in self._ranked:
            if model.item_id in excluded:
                continue
            if model.category not in taken and len(cross_sells) < policy.max_cross_sell:
                if not policy.max_per_category or per_category[model.category] < policy.max_per_category:
                    per_category[model.category] += 1
                    cross_sells.append(("cross-sell", model.item_id))
            elif len(upsells) < policy.max_upsell and any(is_upsell(anchor, model, policy) for anchor in anchors):
                upsells.append(("upsell", model.item_id))
            if len(cross_sells) == policy.max_cross_sell and len(upsells) == policy.max_upsell:
                break
        return cross_sells + upsells


def is_upsell(anchor: Model, model: Model, policy: Policy) -> bool:
    """Whether an item is an upsell of another under a policy."""
    return not any(upsell_faults(model.record(), anchor.record(), policy.min_step, policy.max_step))
