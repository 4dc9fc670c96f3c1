"""Pairs and snapshots are functions of the two logs: no interleaving, no restart changes them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from models.sessions.visits import VisitConfig, Visits
from models.shop.events import Action, Click, Line, Purchase
from models.shop.items import Items

AT = 1_700_000_000.0
USERS = ["ann", "bob"]
GOODS = [f"item {n}" for n in range(6)]
CONFIG = VisitConfig(items=30, window_s=60, click_memory_s=200, purchase_memory_s=200, join_grace_s=2)

clicks = st.lists(
    st.tuples(
        st.sampled_from([Action.VIEW, Action.CLICK, Action.ADD_TO_CART, Action.REMOVE_FROM_CART]),
        st.sampled_from(USERS),
        st.sampled_from(GOODS),
        st.integers(-5, 0),  # event time, before the append time
        st.integers(0, 6),  # append time, after the record before
        st.one_of(st.none(), st.integers(0, 30)),
    ),
    max_size=25,
)
purchases = st.lists(
    st.tuples(
        st.sampled_from(USERS),
        st.lists(st.sampled_from(GOODS), min_size=1, max_size=3),
        st.integers(-5, 0),
        st.integers(0, 20),
    ),
    max_size=8,
)


def logs(click_list: list[Any], purchase_list: list[Any]) -> tuple[list[Any], list[Any]]:
    appended, first = AT, []
    for action, user, item, before, gap, name in click_list:
        appended += gap
        event_id = None if name is None else str(name)
        first.append((appended, Click(user, item, action, appended + before, event_id=event_id)))
    appended, second = AT, []
    for number, (user, goods, before, gap) in enumerate(purchase_list):
        appended += gap
        lines = tuple(Line(item) for item in goods)
        second.append((appended, Purchase(user, f"order {number}", appended + before, lines)))
    return first, second


class Reader:
    """Applies two logs in some interleaving, as a partition task does."""

    def __init__(self) -> None:
        self.items = Items()
        self.visits = Visits(self.items, CONFIG)
        self.pairs: Counter[tuple[str, int, tuple[Any, ...]]] = Counter()
        self.verdicts: dict[tuple[str, int], str] = {}
        self.clicks_s = 0.0

    def learn(self, source: str, offset: int, pairs: list[Any]) -> None:
        names = [*self.items._names, "total"]
        for a, b, kind, weight in pairs:
            self.pairs[source, offset, (names[a], names[b], kind, weight)] += 1

    def click(self, offset: int, appended: float, event: Click, learn: bool = True) -> None:
        self.clicks_s = max(self.clicks_s, appended)
        self.ripen(self.clicks_s)
        verdict, pairs = self.visits.apply_click(event, appended, offset, learn=learn)
        if learn:
            self.verdicts["clicks", offset] = verdict.value
            self.learn("clicks", offset, pairs)

    def purchase(self, offset: int, appended: float, event: Purchase, learn: bool = True, join: bool = True) -> None:
        verdict, pairs = self.visits.apply_purchase(event, appended, offset, learn=learn, join=join)
        if learn:
            self.verdicts["purchases", offset] = verdict.value
            self.learn("purchases", offset, pairs)

    def ripen(self, time_s: float) -> None:
        for offset, _, pairs in self.visits.ripen(time_s):
            self.learn("joins", offset, pairs)

    def seen(self, at: float) -> list[Any]:
        visits = [self.visits.snapshot(user, at, 100.0) for user in USERS]
        name = self.items.name
        return [[[name(i) for i in part] for part in (v.items, v.cart, v.bought)] for v in visits]


def read(first: list[Any], second: list[Any], order: list[bool]) -> Reader:
    """Apply both logs; `order` says whose record comes next, then the rest follows by append time."""
    reader, c, p = Reader(), 0, 0
    steps = iter(order)
    while c < len(first) or p < len(second):
        take_click = next(steps, None)
        if take_click is None:
            take_click = p == len(second) or (c < len(first) and first[c][0] <= second[p][0])
        if (take_click and c < len(first)) or p == len(second):
            reader.click(c, *first[c])
            c += 1
        else:
            reader.purchase(p, *second[p])
            p += 1
    reader.ripen(float("inf"))
    return reader


@given(clicks, purchases, st.lists(st.booleans(), max_size=40))
@settings(max_examples=150, deadline=None)
def test_how_the_two_topics_interleave_changes_nothing(
    click_list: list[Any], purchase_list: list[Any], order: list[bool]
) -> None:
    first, second = logs(click_list, purchase_list)
    by_time, shuffled = read(first, second, []), read(first, second, order)
    assert shuffled.pairs == by_time.pairs
    assert shuffled.verdicts == by_time.verdicts
    end = max([AT, *(s for s, _ in first), *(s for s, _ in second)])
    assert shuffled.seen(end) == by_time.seen(end)


@given(clicks, purchases, st.integers(0, 30), st.integers(0, 10))
@settings(max_examples=150, deadline=None)
def test_reading_again_from_the_memorys_horizon_is_the_same_as_having_run_all_along(
    click_list: list[Any], purchase_list: list[Any], click_cut: int, purchase_cut: int
) -> None:
    first, second = logs(click_list, purchase_list)
    c, p = min(click_cut, len(first)), min(purchase_cut, len(second))
    undisturbed = read(first, second, [])

    before = Reader()  # the owner that dies: everything below the cut, in its own order
    for offset in range(c):
        before.click(offset, *first[offset])
    for offset in range(p):
        before.purchase(offset, *second[offset])
    before.ripen(before.clicks_s)
    pending = before.visits.first_pending
    joined = p if pending is None else min(pending, p)

    after = Reader()
    horizon_c = first[c - 1][0] - CONFIG.click_memory_s if c else 0.0
    horizon_p = second[p - 1][0] - CONFIG.purchase_memory_s if p else 0.0
    past = [(s, 0, n, e) for n, (s, e) in enumerate(first[:c]) if s >= horizon_c]
    past += [(s, 1, n, e) for n, (s, e) in enumerate(second[:p]) if s >= horizon_p]
    for appended, which, offset, event in sorted(past, key=lambda one: one[:3]):
        if which == 0:
            after.click(offset, appended, event, learn=False)
        else:
            after.purchase(offset, appended, event, learn=False, join=offset >= joined)
    rest = [(s, 0, n + c, e) for n, (s, e) in enumerate(first[c:])]
    rest += [(s, 1, n + p, e) for n, (s, e) in enumerate(second[p:])]
    for appended, which, offset, event in sorted(rest, key=lambda one: one[:3]):
        (after.click if which == 0 else after.purchase)(offset, appended, event)
    after.ripen(float("inf"))

    received = before.pairs.copy()  # receivers skip what they have of each source
    for key, count in after.pairs.items():
        if key in received:
            assert received[key] == count
        received[key] = count
    assert received == undisturbed.pairs
    end = max([AT, *(s for s, _ in first), *(s for s, _ in second)])
    assert after.seen(end) == undisturbed.seen(end)


@given(st.integers(50, 200))
@settings(max_examples=10, deadline=None)
def test_shoppers_outside_memory_are_dropped(count: int) -> None:
    visits = Visits(Items(), CONFIG)
    for n in range(count):
        visits.apply_click(Click(f"old {n}", "item", Action.VIEW, AT), AT, n)
    for n in range(2 * count):
        at = AT + CONFIG.click_memory_s + 1
        visits.apply_click(Click("new", f"item {n % 5}", Action.VIEW, at), at, count + n)
    assert len(visits.shoppers()) < count / 4
