"""The rule of upsells in plain Python, written apart from the code under test."""

from __future__ import annotations

from models.shop.events import CatalogItem
from models.shop.policy import Policy


def same_category(item: CatalogItem, other: CatalogItem, depth: int = 0) -> bool:
    """Whether two categories agree in their first `depth` parts; 0: in all."""
    parts = slice(depth or None)
    return item.category.split("/")[parts] == other.category.split("/")[parts]


def is_upsell(item: CatalogItem, anchor: CatalogItem, policy: Policy) -> bool:
    """Whether an item costs more than an anchor of its category by an allowed step, and is rated no lower."""
    return (
        same_category(item, anchor, policy.category_depth)
        and anchor.price > 0
        and item.currency == anchor.currency
        and anchor.price * (1 + policy.min_step) <= item.price <= anchor.price * (1 + policy.max_step)
        and not (item.rating is not None and anchor.rating is not None and item.rating < anchor.rating)
    )
