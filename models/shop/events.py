"""The shop's own terms: events, lines of a purchase, items, profiles, feedback. Times are epoch seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

VIEWED_WITH, BOUGHT_WITH, VIEWED_THEN_BOUGHT = 0, 1, 2
"""Kinds of co-occurrence: the columns of a row's tables."""

PAIR_KIND_NAMES = ("viewed_with", "bought_with", "viewed_then_bought")
"""By code."""

PAIR_KINDS = len(PAIR_KIND_NAMES)


MAX_TRIGGER_IDS = 100
"""Most items of its event that a suggestion names."""


class Action(StrEnum):
    """What a shopper did."""

    VIEW = "view"
    CLICK = "click"
    ADD_TO_CART = "add_to_cart"
    REMOVE_FROM_CART = "remove_from_cart"
    PURCHASE = "purchase"


@dataclass(slots=True)
class Click:
    """A view, a click or a change of the cart. Treated as immutable."""

    user_id: str
    item_id: str
    action: Action
    at: float
    dwell_ms: float | None = None
    rating: float | None = None
    session_id: str | None = None
    event_id: str | None = None


@dataclass(slots=True)
class Line:
    """A line of a purchase."""

    item_id: str
    quantity: float = 1
    price: float | None = None


@dataclass(slots=True)
class Purchase:
    """A purchase. Treated as immutable."""

    user_id: str
    order_id: str
    at: float
    lines: tuple[Line, ...]
    currency: str | None = None
    item_ids: list[str] = field(init=False, repr=False, compare=False)
    """Its distinct items, in the order of the lines."""

    def __post_init__(self) -> None:
        self.item_ids = list(dict.fromkeys([line.item_id for line in self.lines]))


@dataclass(slots=True)
class CatalogItem:
    """An item of the catalogue."""

    item_id: str
    title: str
    category: str
    price: float
    brand: str | None = None
    in_stock: bool = True
    rating: float | None = None
    currency: str | None = None
    attributes: dict[str, str | float | bool] = field(default_factory=dict)


@dataclass(slots=True)
class Profile:
    """What a shopper allows."""

    user_id: str
    at: float
    attributes: dict[str, object] = field(default_factory=dict)
    consent: bool = True
    forget: bool = False


@dataclass(slots=True)
class Feedback:
    """A shopper's reaction to a suggestion."""

    user_id: str
    suggestion_id: str
    at: float
    action: str
    item_id: str | None = None
