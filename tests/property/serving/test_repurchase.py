"""Bought items come again when the policy learns rhythms and they are due, and otherwise not, in any order of events.

What is due is recounted from the purchases, in plain Python. The shop is so small that a list has all that is allowed.
"""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.cooccurrence.config import CoOccurrenceConfig
from models.evaluation.prequential.replay import Engine, Event, Ranking
from models.sessions.visits import VisitConfig
from models.shop.events import Action, CatalogItem, Click, Line, Purchase
from models.shop.policy import Policy
from tests.support.corner_shop import WIDE
from tests.support.orders import DrawnOrder, orders

AT = 1_700_000_000.0
DAY_S = 86_400.0
IDS = ["kettle", "milk", "mug", "tea", "pot"]
HOURS = [0, 1, 26, 60, 90, 120, 150, 7 * 24, 7 * 24, 31 * 24, -2]

Step = tuple[int, str, str, list[str]]
"""Hours since the step before, shopper, what is done, items (a click has the first only)."""

steps = st.lists(
    st.tuples(
        st.sampled_from(HOURS),
        st.sampled_from(["ann", "ann", "ann", "bob"]),
        st.sampled_from(["buy", "buy", "view", "view", "add_to_cart"]),
        st.lists(st.sampled_from(["milk", "tea", *IDS]), min_size=1, max_size=2, unique=True),
    ),
    min_size=3,
    max_size=24,
)


def events_of(log: list[Step]) -> list[Event]:
    events: list[Event] = []
    at = AT
    for number, (hours, user, what, items) in enumerate(log):
        at += 3600.0 * hours
        if what == "buy":
            events.append(Purchase(user, f"o{number}", at, tuple(map(Line, items))))
        else:
            events.append(Click(user, items[0], Action(what), at))
    return events


def barred(item: str, bought_at: list[float], now: float, policy: Policy) -> bool:
    """Whether purchases of an item at these times forbid to suggest it now."""
    if not any(at > now - policy.bought_days * DAY_S for at in bought_at):
        return False
    if policy.repurchase == "bar":
        return True
    first, last, gaps = min(bought_at), max(bought_at), len(bought_at) - 1
    if last - first < DAY_S or now - last < DAY_S:
        return True
    return now - last < 0.8 * ((last - first) / gaps)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps, st.sampled_from(["bar", "learn", "learn"]), st.sampled_from([30, 30, 8, 0]), orders(IDS))
def test_a_list_has_what_is_due_and_nothing_else_that_was_bought_of_late(
    log: list[Step], repurchase: str, bought_days: float, order: DrawnOrder
) -> None:
    policy = Policy(**WIDE, repurchase=repurchase, bought_days=bought_days)
    engine = Engine(policy, VisitConfig(), CoOccurrenceConfig(), {"ours": Ranking()}, flush_interval_s=1.0)
    for item in IDS:
        engine.catalog.put(CatalogItem(item, item.title(), f"{item.title()}s", 10.0))
    engine.recommenders["ours"].learnt = order.learnt(engine.items)
    events = events_of(log)
    for place, answered in enumerate(engine.run(events)):
        query, now, user = answered.query, events[place].at, events[place].user_id
        assert query is not None
        seen = events[: place + 1]
        bought_at = {
            item: [e.at for e in seen if isinstance(e, Purchase) and e.user_id == user and item in e.item_ids]
            for item in IDS
        }
        anchors = {engine.items.name(item) for item in (*query.trigger, *query.visit.cart)}
        allowed = {item for item in IDS if item not in anchors and not barred(item, bought_at[item], now, policy)}
        assert {one["item_id"] for one in answered.lists["ours"]} == allowed
