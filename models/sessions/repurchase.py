"""Which bought items may be suggested again: by the policy, and by the rhythm in which the shopper buys them.

The mean gap of an item is the time from its first purchase to its last, divided by the number of purchases less one.
The item is due once [`DUE_SHARE`][models.sessions.repurchase.DUE_SHARE] of the gap, and at least a day, has passed
since the last purchase. Purchases that all lie within less than a day have no rhythm: two orders of one evening say
nothing about the next. So an item that was bought once is never due, nor one that was bought today.
"""

from __future__ import annotations

import numpy as np

from models.sessions.histories import DAY_S, History
from models.sessions.visits import Visit, Visits
from models.shop.policy import Policy

DUE_SHARE = 0.8
"""Part of the mean gap after which an item is due: gaps vary, and a suggestion after the next purchase is too late."""


def due(history: History, at: float) -> set[int]:
    """Items that the shopper is about to buy again at an event time.

    >>> from models.sessions.histories import Histories, HistoryConfig
    >>> from models.shop.items import Items
    >>> histories = Histories(Items(), HistoryConfig())
    >>> for week, items in enumerate([[0, 1], [0], [0]]):
    ...     histories.learn("ann", items, 7 * DAY_S * week, week)
    >>> [due(histories.of("ann"), day * DAY_S) for day in (14, 19, 20)]
    [set(), set(), {0}]
    """
    cells = history.cells
    span_s = cells["last"] - cells["first"]
    gap_s = span_s / np.maximum(1, cells["count"] - 1)
    now = (span_s >= DAY_S) & (at - cells["last"] >= np.maximum(DAY_S, DUE_SHARE * gap_s))
    return set(cells["item"][now].tolist())


def visit_of(visits: Visits, history: History, user_id: str, at: float, policy: Policy) -> Visit:
    """A shopper's state at an event time, without the purchases that let an item be suggested again.

    What has been bought within `bought_days` bars, unless the policy learns rhythms and the item is due. The trigger
    and the cart bar whatever is due.
    """
    visit = visits.snapshot(user_id, at, policy.bought_days * DAY_S)
    visit.bought = barred(visit.bought, history, at, policy)
    return visit


def collect_visit(
    visits: Visits, history: History, user_id: str, at: float, policy: Policy
) -> tuple[list[int], list[int]]:
    """As `visit_of`, but what was looked at is written by the table of looks when it runs; returns the rest."""
    return cart_and_barred(visits, history, visits.collect_query(user_id, at), at, policy)


def cart_and_barred(
    visits: Visits, history: History, slot: int, at: float, policy: Policy
) -> tuple[list[int], list[int]]:
    """The cart of the shopper of a slot, and what `visit_of` says is bought."""
    cart, bought = visits.cart_and_bought_of(slot, at, policy.bought_days * DAY_S)
    return cart, barred(bought, history, at, policy)


def barred(bought: list[int], history: History, at: float, policy: Policy) -> list[int]:
    """What was bought and must not be suggested again at an event time."""
    if policy.repurchase != "learn" or not bought:
        return bought
    again = due(history, at)
    return [item for item in bought if item not in again]
