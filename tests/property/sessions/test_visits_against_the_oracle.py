"""Compiled visits against plain ones: equal for any history, however many events are collected before they are applied.

Partitions share one table, are dropped, and leave their slots to others.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.sessions.click_columns import CLICK
from models.sessions.click_kernel import UNKNOWN_ITEM
from models.sessions.look_table import LookTable
from models.sessions.visits import CLICK_ACTIONS, EventStatus, VisitConfig, Visits, Window, asking, look_table
from models.shop.events import Action, Click, Line, Profile, Purchase
from models.shop.items import Items
from tests.support.visits_oracle import PlainVisits

AT = 1_700_000_000.0
CONFIG = VisitConfig(
    items=3, window_s=30, pair_reach=2, max_pair_items=3, click_memory_s=80, purchase_memory_s=160, join_grace_s=2
)
ACTIONS = [Action.VIEW, Action.VIEW, Action.CLICK, Action.ADD_TO_CART, Action.REMOVE_FROM_CART]
TRIGGERS = (Action.VIEW, Action.ADD_TO_CART, Action.REMOVE_FROM_CART)
PARTITIONS = 2

partitions = st.integers(0, PARTITIONS - 1)
users = st.sampled_from(["ann", "ann", "ann", "ann", "bob", "cid"])
goods = st.sampled_from("aabcde")
GAPS = [0, 0, 0, 1, 2, 5, 14, 41, -3]
"""Append time, after the record before."""
DELAYS = [0, 0, 0, 1, 2, 7, 30, 31, 90, -5]
"""Event time, before the append time."""
gaps, delays = st.sampled_from(GAPS), st.sampled_from(DELAYS)
a_click = (users, gaps, delays, goods, st.sampled_from(ACTIONS), st.sampled_from([None, None, None, "e", "f"]))
steps = st.one_of(
    st.tuples(st.just("click"), partitions, *a_click),
    st.tuples(st.just("clicks"), partitions, st.lists(st.tuples(*a_click), min_size=1, max_size=8), st.integers(1, 4)),
    st.tuples(
        st.just("purchase"),
        partitions,
        users,
        gaps,
        delays,
        st.lists(goods, min_size=1, max_size=5),
        st.sampled_from("opqr"),
        st.booleans(),
    ),
    st.tuples(st.just("profile"), partitions, users, delays, st.booleans(), st.booleans()),
    st.tuples(st.just("look"), partitions, users, delays),
    st.tuples(st.just("run")),
    st.tuples(st.just("ask"), partitions, users, delays),
    st.tuples(st.just("take"), st.integers(1, 4)),
    st.tuples(st.just("drop"), partitions),
)
histories = st.lists(st.one_of(steps, steps.filter(lambda step: step[0] in ("click", "clicks"))), max_size=80)


class Learnt(NamedTuple):
    """Pairs of the events of one source, in the order of the calls."""

    found: list[tuple[int, float, list[Any]]]

    def add_events(self, offsets: list[int], ats: list[float], ends: list[int], pairs: NDArray[Any]) -> None:
        for offset, at, start, end in zip(offsets, ats, ends, ends[1:], strict=False):
            self.found.append((offset, at, pairs[start:end].tolist()))


Answer = tuple[list[int], list[float], Window]


def rows_of(clicks: list[tuple[Click, float, int]]) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Clicks, with append times and offsets, as the scanner writes them."""
    text, rows = bytearray(b"-"), np.zeros(len(clicks), CLICK)
    for row, (click, appended_s, offset) in zip(rows, clicks, strict=True):
        row["at"], row["appended_s"], row["appended_ms"] = click.at, appended_s, round(appended_s * 1000)
        row["offset"], row["action"] = offset, CLICK_ACTIONS.index(click.action)
        for name, value in (("user", click.user_id), ("item", click.item_id), ("event", click.event_id)):
            if value is not None:
                row[f"{name}_start"] = len(text)
                text += value.encode()
                row[f"{name}_end"] = len(text)
    return np.frombuffer(bytes(text), np.uint8), rows


class Both:
    """A partition, twice."""

    def __init__(self, items: Items, looks: LookTable) -> None:
        self.items, self.looks = items, looks
        self.plain, self.compiled = PlainVisits(items, CONFIG), Visits(items, CONFIG, looks)
        self.expected = {source: Learnt([]) for source in ("clicks", "purchases", "joins")}
        self.learnt = {source: Learnt([]) for source in self.expected}
        self.offset = 0
        self.appended_s = {"click": AT, "purchase": AT}

    def click(self, user: str, gap: int, delay: int, item: str, action: Action, name: str | None, learns: bool) -> None:
        self.offset += 1
        self.appended_s["click"] += gap
        appended_s = self.appended_s["click"]
        self.ripen(appended_s)
        event = Click(user, item, action, appended_s - delay, event_id=name)
        status, pairs = self.plain.apply_click(event, appended_s, self.offset, learns)
        sink = self.learnt["clicks"] if learns else None
        assert self.compiled.collect_click(event, appended_s, self.offset, sink) is status
        if pairs:
            self.expected["clicks"].found.append((self.offset, event.at, pairs))

    def clicks(self, clicks: list[Any], most_looks: int, learns: bool) -> list[Answer]:
        """Several clicks together; returns what those ask that are answered."""
        events = []
        for user, gap, delay, item, action, name in clicks:
            self.offset += 1
            self.appended_s["click"] += gap
            event = Click(user, item, action, self.appended_s["click"] - delay, event_id=name)
            events.append((event, self.appended_s["click"], self.offset))
        found = self._collected(events, most_looks, learns)
        expected, answers, outcomes = [], list[Answer](), Counter[EventStatus]()
        for number, (event, appended_s, offset) in enumerate(events):
            self.expected["joins"].found.extend(self.plain.ripen(appended_s))
            status, pairs = self.plain.apply_click(event, appended_s, offset, learns)
            outcomes[status] += 1
            if pairs:
                self.expected["clicks"].found.append((offset, event.at, pairs))
            if status is EventStatus.APPLIED and event.action in TRIGGERS:
                visit = self.plain.snapshot(event.user_id, event.at, 70.0)
                expected.append((number, (visit.cart, visit.bought)))
                answers.append((visit.items, visit.ages_s, self.plain.window(event.user_id, event.at)))
        assert found == expected
        forgotten, repeated, *applied = self.compiled.outcomes()
        assert (forgotten, repeated) == (outcomes[EventStatus.FORGOTTEN], outcomes[EventStatus.REPEATED])
        assert sum(applied) == outcomes[EventStatus.APPLIED]
        return answers

    def _collected(self, events: list[tuple[Click, float, int]], most_looks: int, learns: bool) -> list[Any]:
        """Collect clicks; returns the numbers of those that ask, with carts and what was bought."""
        compiled, found, first = self.compiled, list[Any](), 0
        buffer, rows = rows_of(events)

        def ask(number: int, slot: int, item: int, action: int, at: float) -> None:
            event = events[number][0]
            assert (event.item_id, event.action, event.at) == (self.items.name(item), CLICK_ACTIONS[action], at)
            cart, bought = compiled.cart_and_bought_of(slot, at, 70.0)
            found.append((number, (list(cart), bought)))

        while first < len(events):
            compiled.collect_ripe(events[first][1], self.learnt["joins"])
            collected = compiled.collect_clicks(
                buffer, rows, first, len(events), self.learnt["clicks"] if learns else None,
                asking(TRIGGERS, 0.0), compiled.joins_due_s, most_looks,
            )  # fmt: skip
            compiled.finish(collected.todo, ask)
            first = collected.next
            if collected.reason == UNKNOWN_ITEM:
                self.items.index(events[first][0].item_id)
        return found

    def purchase(
        self, user: str, gap: int, delay: int, items: list[str], order_id: str, joins: bool, learns: bool
    ) -> None:
        self.offset += 1
        self.appended_s["purchase"] += gap
        appended_s = self.appended_s["purchase"]
        event = Purchase(user, order_id, appended_s - delay, tuple(map(Line, items)))
        status, pairs = self.plain.apply_purchase(event, appended_s, self.offset, learns, joins)
        sink = self.learnt["purchases"] if learns else None
        assert self.compiled.collect_purchase(event, appended_s, self.offset, sink, joins) is status
        if status is EventStatus.APPLIED and learns:
            self.expected["purchases"].found.append((self.offset, event.at, pairs))

    def ripen(self, time_s: float) -> None:
        assert self.compiled.first_pending == self.plain.first_pending
        self.expected["joins"].found.extend(self.plain.ripen(time_s))
        self.compiled.collect_ripe(time_s, self.learnt["joins"])

    def profile(self, user: str, delay: int, consents: bool, forgets: bool) -> None:
        profile = Profile(user, self.appended_s["click"] - delay, consent=consents, forget=forgets)
        assert self.compiled.apply_profile(profile) == self.plain.apply_profile(profile)

    def look(self, user: str, delay: int) -> None:
        at = self.appended_s["click"] - delay
        assert self.compiled.snapshot(user, at, 70.0) == self.plain.snapshot(user, at, 70.0)
        assert self.compiled.window(user, at) == self.plain.window(user, at)
        assert self.compiled.purchases(user) == self.plain.purchases(user)

    def ask(self, user: str, delay: int) -> Answer:
        at = self.appended_s["click"] - delay
        self.compiled.collect_query(user, at)
        visit = self.plain.snapshot(user, at, 70.0)
        assert self.compiled.cart_and_bought(user, at, 70.0) == (visit.cart, visit.bought)
        return visit.items, visit.ages_s, self.plain.window(user, at)

    def check(self) -> None:
        self.looks.run()
        assert self.learnt == self.expected
        held = Counter(item for slot in self.compiled.shoppers() for item in self.compiled.held(slot))
        assert held >= Counter(item for user in self.plain.shoppers() for item in self.plain.held(user))
        assert list(self.compiled.joining()) == list(self.plain.joining())


def _answers(looks: LookTable, queries: int) -> list[Answer]:
    """What the table says of the first queries."""
    found = looks.take(queries)
    visits = list(map(slice, found.ends, found.ends[1:]))
    windows = map(slice, found.look_ends, found.look_ends[1:])
    columns = (found.look_items, found.look_actions, found.look_ats)
    looked_at = [Window(*(column[own].tolist() for column in columns)) for own in windows]
    return [
        (found.items[own].tolist(), found.ages_s[own].tolist(), window)
        for own, window in zip(visits, looked_at, strict=True)
    ]


def played(history: list[Any], learns_from: int) -> list[Both]:
    """The partitions after a history, and all that there were; below a step nothing is learnt, as in a take-over."""
    items, looks = Items(), LookTable(look_table(CONFIG).rules, room=64)
    current = [Both(items, looks) for _ in range(PARTITIONS)]
    ever = list(current)
    asked: list[Answer] = []
    for number, (kind, *arguments) in enumerate(history):
        if kind == "run":
            looks.run()
            continue
        if kind == "take":
            count = min(arguments[0], len(asked))
            assert _answers(looks, count) == asked[:count]
            del asked[:count]
            continue
        partition, *rest = arguments
        if kind == "drop":
            current[partition].check()
            current[partition].compiled.drop()
            current[partition] = Both(items, looks)
            ever.append(current[partition])
        elif kind == "ask":
            asked.append(current[partition].ask(*rest))
        elif kind == "clicks":
            asked.extend(current[partition].clicks(*rest, number >= learns_from))
        elif kind in ("click", "purchase"):
            getattr(current[partition], kind)(*rest, number >= learns_from)
        else:
            getattr(current[partition], kind)(*rest)
    assert set(looks.asked_items().tolist()) == {item for _, _, window in asked for item in window.items}
    assert _answers(looks, len(asked)) == asked
    for both in current:
        both.ripen(float("inf"))
        both.check()
        for user in ("ann", "bob", "cid"):
            for delay in (0, 40, -25):
                both.look(user, delay)
    return ever


@given(histories, st.sampled_from([0, 0, 20]))
@settings(max_examples=400, deadline=None)
def test_pairs_snapshots_and_what_is_held_are_those_of_plain_visits(history: list[Any], learns_from: int) -> None:
    for both in played(history, learns_from):
        assert both.learnt == both.expected


SHARES = {
    "clicks": 20,
    "click": 60,
    "purchase": 6,
    "profile": 1,
    "look": 3,
    "ask": 20,
    "take": 4,
    "run": 5,
    "drop": 0.2,
}
"""How often each kind of step comes in a long history."""


@pytest.mark.parametrize("seed", range(30))
def test_so_it_is_after_a_long_history(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311
    history: list[Any] = []
    for _ in range(400):
        partition, user, delay = draw.randrange(PARTITIONS), draw.choice(["ann"] * 9 + ["bob"]), draw.choice(DELAYS)
        gap = draw.choice([0, 0, 1, 1, 2, draw.choice(GAPS)])
        kind = draw.choices(list(SHARES), list(SHARES.values()))[0]
        if kind == "click":
            action, name = draw.choice(ACTIONS), draw.choice([None, None, None, "e", "f"])
            history.append((kind, partition, user, gap, delay, draw.choice("aabcde"), action, name))
        elif kind == "clicks":
            clicks = [
                (user, draw.choice([0, 0, 0, 1, draw.choice(GAPS)]), draw.choice(DELAYS), draw.choice("aabcde"))
                + (draw.choice(ACTIONS), draw.choice([None, None, None, "e", "f"]))
                for _ in range(draw.randint(1, 12))
            ]
            history.append((kind, partition, clicks, draw.randint(1, 12)))
        elif kind == "purchase":
            items = draw.choices("aabcde", k=draw.randint(1, 5))
            history.append((kind, partition, user, gap, delay, items, draw.choice("opqrstuv"), draw.random() < 0.8))
        elif kind == "profile":
            history.append((kind, partition, user, delay, draw.random() < 0.8, draw.random() < 0.5))
        else:
            rest: dict[str, tuple[Any, ...]] = {"take": (draw.randint(1, 9),), "run": (), "drop": (partition,)}
            history.append((kind, *rest.get(kind, (partition, user, delay))))
    for both in played(history, 100 * (seed % 2)):
        assert both.learnt == both.expected


def test_a_long_visit_keeps_its_last_looks_and_pairs_them_alike() -> None:
    history: list[Any] = [
        ("click", number % PARTITIONS, "ann", number % 3, (0, 0, 0, 4)[number % 4], "abcde"[number % 5], action, None)
        for number, action in enumerate(ACTIONS[:4] * 30)
    ]
    assert all(len(both.expected["clicks"].found) == 60 for both in played(history, 0))


def test_freed_slots_and_blocks_are_used_again() -> None:
    items, looks = Items(), look_table(CONFIG)
    sizes = []
    for turn in range(4):
        visits = Visits(items, CONFIG, looks)
        for offset in range(600):
            visits.collect_click(Click(f"user-{turn}-{offset % 40}", "mug", Action.VIEW, AT), AT, offset, None)
        looks.run()
        sizes.append(looks.nbytes)
        visits.drop()
    assert len(set(sizes)) == 1


def test_a_shopper_whose_clicks_have_left_memory_leaves_the_slot_to_another() -> None:
    visits = Visits(Items(), CONFIG)
    before = None
    for number in range(3_000):
        at = AT + number
        visits.apply_click(Click(f"user-{number}", "mug", Action.VIEW, at), at, number)
        if number == 500:
            before = visits.looks.nbytes
    assert visits.looks.nbytes == before
