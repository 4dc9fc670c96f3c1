"""Every sentence of a reason against the log: what it says is counted again, in plain Python, from the events alone.

The engine learns from the log and answers it, in any order and arm; each list is compared with the events before it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import exp2, log2

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.cooccurrence.config import CoOccurrenceConfig
from models.evaluation.prequential.replay import Engine, Event, Ranking
from models.ranking.features import LEARNT
from models.sequence.predictor import Expected, SequencePredictor
from models.serving.reason_text import Reason
from models.serving.recommender import SuggestedItem, expected_of
from models.sessions.visits import KEPT_WINDOWS, VisitConfig, Window
from models.shop.events import Action, CatalogItem, Click, Line, Profile, Purchase
from models.shop.items import Items
from models.shop.policy import DEFAULT, FIXED, POPULAR, Policy
from tests.support.corner_shop import WIDE
from tests.support.oracle import is_upsell
from tests.support.orders import NO_ORDER, DrawnOrder, OrderOfKind, orders

AT = 1_700_000_000.0
VISITS = VisitConfig(items=4, pair_reach=3, max_pair_items=3)
COUNTING = CoOccurrenceConfig(half_life_s=86_400.0)
PAIRS = {"viewed_with", "bought_with", "viewed_then_bought"}
CATALOG = {
    item.item_id: item
    for item in [
        CatalogItem("kettle", "Kettle", "Kitchen/Kettles", 20.0, "Acme"),
        CatalogItem("steel", "Steel kettle", "Kitchen/Kettles", 30.0, "Acme"),
        CatalogItem("glass", "Glass kettle", "Kitchen/Kettles", 36.0),
        CatalogItem("toaster", "Toaster", "Kitchen/Toasters", 25.0, "Bolt"),
        CatalogItem("mug", "Mug", "Table/Mugs", 8.0, "Acme"),
        CatalogItem("large", "Large mug", "Table/Mugs", 10.0, "Bolt"),
        CatalogItem("drill", "Drill", "Tools/Drills", 60.0),
        CatalogItem("lamp", "Lamp", "Light/Lamps", 15.0),
    ]
}
IDS = [*CATALOG, "withdrawn"]
REFUSING = "eve"
ACTIONS = [Action.VIEW, Action.CLICK, Action.ADD_TO_CART, Action.REMOVE_FROM_CART]
GAPS_S = [5, 60, 1700, 3700, 30 * 3600]

Step = tuple[int, str, Action, list[str], bool]
"""Seconds since the step before, shopper, action, items (a click has the first only), whether it is sent twice."""

ids = st.sampled_from([*IDS, "kettle", "steel", "mug", "large"])
steps = st.lists(
    st.tuples(
        st.sampled_from(GAPS_S),
        st.sampled_from(["ann", "ann", "bob", REFUSING]),
        st.sampled_from([*ACTIONS, Action.PURCHASE]),
        st.lists(ids, min_size=1, max_size=4),
        st.sampled_from([False, False, True]),
    ),
    min_size=2,
    max_size=24,
)


class AllAlike(SequencePredictor):
    """Expects every item of the catalogue next, all alike, and says more than any pair."""

    def __init__(self, items: Items) -> None:
        self.version = "all-alike"
        self._indices = np.array([items.index(item_id) for item_id in CATALOG], np.int32)

    def expect(self, shoppers: Sequence[tuple[str, Window]]) -> Expected:
        each, number = len(self._indices), len(shoppers)
        return Expected(np.tile(self._indices, number), np.full(each * number, 0.9), np.arange(number + 1) * each)


def events_of(log: list[Step]) -> list[Event]:
    events: list[Event] = [Profile(REFUSING, AT - 1.0, consent=False)]
    at = AT
    for number, (gap, user, action, items, twice) in enumerate(log):
        at += gap
        event: Event = Click(user, items[0], action, at, event_id=f"e{number}")
        if action is Action.PURCHASE:
            event = Purchase(user, f"o{number}", at, tuple(Line(item, 2) for item in items))
        events += [event, event] if twice else [event]
    return events


# -- what a sentence claims, by the events before it -------------------------------------------------------------------


class Log:
    """Looks and baskets that count: of shoppers who consent, each event once."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.looks: list[tuple[float, str, str]] = []
        self.baskets: list[tuple[float, str, list[str]]] = []
        self.whole_baskets: list[tuple[str, list[str]]] = []
        sent = set()
        for event in events:
            if isinstance(event, Profile) or event.user_id == REFUSING:
                continue
            name = event.event_id if isinstance(event, Click) else event.order_id
            if name in sent:
                continue
            sent.add(name)
            if isinstance(event, Purchase):
                self.baskets.append((event.at, event.user_id, event.item_ids[: VISITS.max_pair_items]))
                self.whole_baskets.append((event.user_id, event.item_ids))
            elif event.action is not Action.REMOVE_FROM_CART:
                self.looks.append((event.at, event.user_id, event.item_id))

    def views(self, item: str) -> int:
        return sum(look[2] == item for look in self.looks)

    def bought(self, *items: str) -> int:
        return sum(set(items) <= set(basket[2]) for basket in self.baskets)

    def bought_by(self, user: str, item: str) -> int:
        """Baskets of a shopper with an item, wherever in the basket it is."""
        return sum(of == user and item in items for of, items in self.whole_baskets)

    def viewed_with(self, one: str, other: str) -> int:
        """Looks at either of two items with the other among the few looks before it."""
        number = 0
        for place, (at, user, item) in enumerate(self.looks):
            before = [look for look in self.looks[:place] if look[1] == user][-VISITS.pair_reach :]
            near = {look[2] for look in before if look[0] >= at - VISITS.window_s}
            number += (item == one and other in near) or (item == other and one in near)
        return number

    def viewed_then_bought(self, viewed: str, bought: str) -> int:
        """Baskets with an item, of a shopper who looked at the other among the last items before."""
        number = 0
        for at, user, items in self.baskets:
            before = [look for look in self.looks if look[1] == user and look[0] <= at]
            before = before[-KEPT_WINDOWS * VISITS.items :]
            near = list(dict.fromkeys(look[2] for look in reversed(before) if look[0] > at - VISITS.window_s))
            number += bought in items and viewed in near[: VISITS.max_pair_items]
        return number

    def lift(self, one: str, other: str, now: float) -> float:
        """Of baskets that weigh less the larger and the older they are, with one expected basket of doubt."""

        def weight(*items: str) -> float:
            return sum(
                round(1 / log2(max(2, len(basket))), 4) * exp2((at - now) / COUNTING.half_life_s)
                for at, _, basket in self.baskets
                if set(items) <= set(basket)
            )

        return (weight(one, other) + 1) / (weight(one) * weight(other) / weight() + 1)


TIMES = r"(?P<times>once|\d+ times)"
VIEWED = rf"viewed or added to the cart {TIMES}"
SENTENCES = {
    "bought together": r"Bought together with (?P<title>.+) in (?P<times>\d+) baskets?",
    "bought after": rf"Bought {TIMES} after (?P<title>.+) was viewed or added to the cart",
    "viewed together": rf"Viewed or added to the cart together with (?P<title>.+) {TIMES}",
    "expected": rf"Expected next in visits like this one: {VIEWED}",
    "expected upsell": r"An alternative to (?P<title>.+), expected next in visits like this one",
    "alike": r"Similar in (?P<like>.+) to what is expected next in visits like this one",
    "alike upsell": (
        r"An alternative to (?P<title>.+), similar in (?P<like>.+) to what is expected next in visits like this one"
    ),
    "of the brand": rf"From (?P<brand>[^:,]+), like (?P<title>[^:]+)(: ({VIEWED}|bought (?P<bought>once|\d+ times)))?",
    "near": rf"From (?P<place>[^:,]+), close to (?P<title>[^:]+)(: ({VIEWED}|bought (?P<bought>once|\d+ times)))?",
    "alternative": (
        r"From (?P<place>[^:,]+), an alternative to (?P<title>[^:]+)"
        rf": ({VIEWED}|bought (?P<bought>once|\d+ times))"
    ),
    "bought before": rf"Bought before, {TIMES}",
    "bought before, an alternative": r"An alternative to (?P<title>.+), bought (?P<times>once|\d+ times) before",
    "popular": rf"From (?P<place>[^:,]+): ({VIEWED}|bought (?P<bought>once|\d+ times))",
    "new alternative": r"New in (?P<place>[^:,]+), an alternative to (?P<title>.+)",
    "new": r"New in (?P<place>[^:,]+)",
}
"""All there are; each text has the form of exactly one."""


def number_of(times: str | None) -> int:
    return 0 if times is None else 1 if times == "once" else int(times.removesuffix(" times"))


def check(reason: Reason, suggestion: SuggestedItem, log: Log, user: str, now: float) -> str:
    """Compare all that a reason says with the log and the catalogue; returns the form of its sentence."""
    found = {form: match for form, pattern in SENTENCES.items() if (match := re.fullmatch(pattern, reason["text"]))}
    ((form, match),) = found.items()
    said = match.groupdict()
    name, anchor = suggestion["item_id"], reason.get("anchor")
    item = CATALOG[name]
    if form != "expected upsell":  # has no number
        assert number_of(said.get("times")) + number_of(said.get("bought")) == reason["count"]
    if said.get("title") is None:
        assert anchor is None
    else:
        assert anchor is not None
        title = CATALOG[anchor].title if anchor in CATALOG else "another item of this visit"
        assert said["title"] == title
    if said.get("place") is not None:
        assert said["place"] == item.category.split("/")[-1]
    if "alternative" in form or "upsell" in form:
        assert anchor == suggestion["anchor"]
        assert is_upsell(item, CATALOG[anchor], Policy(**WIDE))
    if reason["source"] in PAIRS:
        assert anchor is not None
        counted = {
            "bought together": log.bought(anchor, name),
            "bought after": log.viewed_then_bought(anchor, name),
            "viewed together": log.viewed_with(anchor, name),
        }
        assert reason["count"] == counted[form] > 0
        assert ("lift" in reason) is (form == "bought together")
        if "lift" in reason:
            assert reason["lift"] == pytest.approx(log.lift(anchor, name, now), rel=1e-6, abs=1e-4)
    elif reason["source"] == "sequence":
        assert reason["count"] == log.views(name)
        assert (reason["count"] == 0) is form.startswith("alike")
        if reason["count"] == 0:
            assert said["like"] == ("category, brand and price" if item.brand else "category and price")
    elif reason["source"] == "history":
        assert form.startswith("bought before")
        assert reason["count"] == log.bought_by(user, name) > 0
    else:
        assert reason["count"] == (log.bought(name) or log.views(name))
        assert (said.get("bought") is not None) is (log.bought(name) > 0)
        assert form.startswith("new") <= (reason["count"] == 0)
    if form == "of the brand":
        assert said["brand"] == item.brand == CATALOG[str(anchor)].brand
    if form == "near":
        assert CATALOG[str(anchor)].category.split("/")[0] == item.category.split("/")[0]
    return form


def check_first(suggestion: SuggestedItem, log: Log, min_support: int, arm: int) -> None:
    """An upsell's first reason is about its anchor wherever one can be; the popular arm counts no pairs."""
    if suggestion["kind"] != "upsell":
        return
    name, anchor, first = suggestion["item_id"], suggestion["anchor"], suggestion["reasons"][0]
    counted = max(log.viewed_with(anchor, name), log.viewed_then_bought(anchor, name))
    if arm != POPULAR and counted >= min_support:
        assert (first.get("anchor"), first["source"] in PAIRS) == (anchor, True)
    elif first["source"] not in PAIRS:
        assert first.get("anchor") == anchor


def run(log: list[Step], policy: Policy, order: DrawnOrder, arm: int) -> set[str]:
    """Answer a log and check all reasons; returns the forms of their sentences."""
    rankings = {"counting": Ranking(), "all": Ranking(uses_sequence=True)}
    engine = Engine(policy, VISITS, COUNTING, rankings, flush_interval_s=1.0)
    for item in CATALOG.values():
        engine.catalog.put(item)
    engine.predictor = AllAlike(engine.items)
    for recommender in engine.recommenders.values():
        recommender.learnt = order.learnt(engine.items)
    events, forms = events_of(log), set()
    for place, answered in enumerate(engine.run(events)):
        if answered.query is None:
            continue
        counted, lists = Log(events[:place]), answered.lists
        if arm != DEFAULT:  # which the engine asks for
            queries = [replace(answered.query, arm=arm, logs_pool=True)]
            lists = {
                name: next(recommender.suggest_each(queries, expected_of(predictor, queries)))
                for (name, recommender), predictor in zip(
                    engine.recommenders.items(), (None, engine.predictor), strict=True
                )
            }
        for suggestion in (one for items in lists.values() for one in items):
            assert suggestion["reasons"]
            check_first(suggestion, counted, policy.min_support, arm)
            user, now = answered.event.user_id, answered.event.at
            forms |= {check(reason, suggestion, counted, user, now) for reason in suggestion["reasons"]}
    return forms


# -- properties --------------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps,
    st.builds(
        partial(Policy, **WIDE),
        min_support=st.integers(1, 2),
        bought_days=st.sampled_from([0, 2, 30]),
        repurchase=st.sampled_from(["bar", "learn"]),
    ),
    orders(list(CATALOG)),
    st.sampled_from([DEFAULT, DEFAULT, POPULAR, FIXED]),
)
def test_a_reason_says_what_the_log_has_and_an_upsells_first_is_about_its_anchor(
    log: list[Step], policy: Policy, order: DrawnOrder, arm: int
) -> None:
    run(log, policy, order, arm)


def test_every_form_of_sentence_is_used_and_true() -> None:
    chance = random.Random(5)
    few, forms = ["kettle", "steel", "mug"], set()
    for names in (few, IDS):  # first some items that nobody has looked at
        log: list[Step] = [
            (
                chance.choice(GAPS_S[:3]),
                chance.choice(["ann", "bob", "cid"]),
                chance.choice([*ACTIONS, Action.PURCHASE]),
                chance.choices(names, k=2),
                chance.random() < 0.1,
            )
            for _ in range(60)
        ]
        forms |= run(log, Policy(**WIDE), NO_ORDER, DEFAULT)
    own_first = DrawnOrder({kind: OrderOfKind(LEARNT, {"own count": 2.0}) for kind in NO_ORDER.kinds})
    weekly: list[Step] = [(7 * 86_400, "ann", Action.PURCHASE, ["mug", "steel"], False)] * 3
    due: list[Step] = [*weekly, (6 * 86_400, "ann", Action.VIEW, ["kettle"], False)]
    forms |= run(due, Policy(**WIDE, repurchase="learn"), own_first, DEFAULT)
    assert forms == set(SENTENCES)
