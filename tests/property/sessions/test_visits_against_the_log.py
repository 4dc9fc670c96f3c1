"""Visits against a plain reading of the definitions: everything looked up in the logs, nothing remembered.

Append times jump, stand still and run backwards; events come late; ids repeat; memory ends in the midst of it all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate
from math import log2
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from models.sessions.pairs import TOTAL
from models.sessions.visits import KEPT_WINDOWS, VisitConfig, Visits
from models.shop.events import BOUGHT_WITH, VIEWED_THEN_BOUGHT, VIEWED_WITH, Action, Click, Line, Purchase
from models.shop.items import Items

AT = 1_700_000_000.0
USERS = ["ann", "bob"]
CONFIG = VisitConfig(
    items=3, window_s=30, pair_reach=2, max_pair_items=2, click_memory_s=80, purchase_memory_s=160, join_grace_s=2
)
KEPT = KEPT_WINDOWS * CONFIG.items
LATE_S = CONFIG.margin_s
BOUGHT_S = 70.0
ACTIONS = [Action.VIEW, Action.CLICK, Action.ADD_TO_CART, Action.REMOVE_FROM_CART]
CODES = {Action.VIEW: 0, Action.CLICK: 1, Action.ADD_TO_CART: 2}
ITEMS = Items()
for name in "abcde":
    ITEMS.index(name)

gaps = st.sampled_from([0, 0, 1, 2, 5, 14, 20, 41, 60, -3])
click_steps = st.lists(
    st.tuples(
        gaps,
        st.sampled_from(["ann", "ann", "ann", "bob"]),
        st.sampled_from("aabcd"),
        st.sampled_from(ACTIONS),
        st.sampled_from([0, 0, 1, 2, 7, 30, 31, 90, -5]),  # event time, before the append time
        st.sampled_from([None, None, 0, 1, 2]),  # event id
    ),
    max_size=40,
)
orders = st.lists(
    st.tuples(
        st.sampled_from(["ann", "ann", "bob"]),
        st.lists(st.sampled_from("bcde"), min_size=1, max_size=4),
        st.integers(-5, 200),
    ),
    min_size=1,
    max_size=5,
)
purchase_steps = st.lists(st.tuples(gaps, st.integers(0, 4)), max_size=12)


@dataclass
class Logs:
    """Two logs: records as (append time, event), and the greatest append time up to each."""

    clicks: list[tuple[float, Click]]
    purchases: list[tuple[float, Purchase]]

    def __post_init__(self) -> None:
        self.clicks_s = list(accumulate((s for s, _ in self.clicks), max))
        self.purchases_s = list(accumulate((s for s, _ in self.purchases), max))


@st.composite
def logs(draw: st.DrawFn) -> Logs:
    clicks, appended = [], AT
    for gap, user, item, action, late, event_id in draw(click_steps):
        appended += gap
        name = None if event_id is None else str(event_id)
        clicks.append((appended, Click(user, item, action, appended - late, event_id=name)))
    known, purchases, appended = draw(orders), [], AT
    for gap, number in draw(purchase_steps):
        appended += gap
        user, items, at = known[number % len(known)]
        lines = tuple(Line(item) for item in items)
        purchases.append((appended, Purchase(user, f"order {number % len(known)}", AT + at, lines)))
    return Logs(clicks, purchases)


def interleaving(data: st.DataObject, those: Logs) -> list[bool]:
    """Whose record comes next (True: a click); neither topic more than the margin ahead where a choice is left."""
    order: list[bool] = []
    c = p = 0
    while c < len(those.clicks) or p < len(those.purchases):
        if c == len(those.clicks) or p == len(those.purchases):
            choice = p == len(those.purchases)
        elif those.clicks_s[c] > those.purchases_s[p] + LATE_S:
            choice = False
        elif those.purchases_s[p] > those.clicks_s[c] + LATE_S:
            choice = True
        else:
            choice = data.draw(st.booleans())
        c, p = c + choice, p + (not choice)
        order.append(choice)
    return order


# -- the definitions ---------------------------------------------------------------------------------------------------


def repeated_click(those: Logs, n: int) -> bool:
    event, now = those.clicks[n][1], those.clicks_s[n]
    return event.event_id is not None and any(
        (other.user_id, other.event_id) == (event.user_id, event.event_id) and s >= now - CONFIG.margin_s
        for (_, other), s in zip(those.clicks[:n], those.clicks_s, strict=False)
    )


def repeated_purchase(those: Logs, n: int) -> bool:
    event, now = those.purchases[n][1], those.purchases_s[n]
    return any(
        (other.user_id, other.order_id) == (event.user_id, event.order_id) and s >= now - CONFIG.order_memory_s
        for (_, other), s in zip(those.purchases[:n], those.purchases_s, strict=False)
    )


def looks(those: Logs, user: str, first_s: float, last_s: float, stop: int) -> list[int]:
    """Offsets below `stop` of a shopper's last looks appended within two times, by event time."""
    found = [
        n
        for n, (_, event) in enumerate(those.clicks[:stop])
        if event.user_id == user and event.action in CODES and first_s <= those.clicks_s[n] <= last_s
        if not repeated_click(those, n)
    ]
    return sorted(found[-KEPT:], key=lambda n: (those.clicks[n][1].at, n))


def viewed_with(those: Logs, n: int) -> list[Any]:
    event = those.clicks[n][1]
    if repeated_click(those, n) or event.action not in CODES:
        return []
    pairs = [(event.item_id, event.item_id, VIEWED_WITH, 1.0)]
    now = those.clicks_s[n]
    recent = looks(those, event.user_id, now - CONFIG.look_memory_s, now, n)
    newest = max([event.at, *(those.clicks[m][1].at for m in recent)])
    window = [m for m in recent[-CONFIG.items :] if those.clicks[m][1].at >= newest - CONFIG.window_s]
    place = sum(those.clicks[m][1].at <= event.at for m in window)
    older = [m for m in recent if m not in window]
    pushed_out = any((those.clicks[m][1].at, m) > (event.at, n) for m in older)
    if event.at < newest - CONFIG.window_s or not window or pushed_out:
        return pairs
    around = [(place - k, True, those.clicks[m][1].item_id) for k, m in enumerate(window[:place])]
    around += [(k + 1, False, those.clicks[m][1].item_id) for k, m in enumerate(window[place:])]
    seen = {event.item_id}
    for distance, before, other in sorted(around, key=lambda one: (one[0], not one[1])):
        if other in seen or distance > CONFIG.pair_reach:
            continue
        seen.add(other)
        weight = distance**-CONFIG.distance_exponent / log2(2 + len(window))
        first, second = (other, event.item_id) if before else (event.item_id, other)
        pairs.append((first, second, VIEWED_WITH, round(weight, 4)))
        pairs.append((second, first, VIEWED_WITH, round(CONFIG.backward_weight * weight, 4)))
    return pairs


def counted(event: Purchase) -> tuple[list[str], float]:
    items = list(dict.fromkeys(line.item_id for line in event.lines))[: CONFIG.max_pair_items]
    return items, round(1 / log2(max(2, len(items))), 4)


def bought_with(those: Logs, n: int) -> list[Any]:
    if repeated_purchase(those, n):
        return []
    items, weight = counted(those.purchases[n][1])
    return [(items[0], "total", BOUGHT_WITH, weight), *((a, b, BOUGHT_WITH, weight) for a in items for b in items)]


def viewed_then_bought(those: Logs, n: int) -> list[Any] | None:
    event, now = those.purchases[n][1], those.purchases_s[n]
    if repeated_purchase(those, n):
        return None
    items, weight = counted(event)
    before = looks(those, event.user_id, now - CONFIG.join_memory_s, now + CONFIG.join_grace_s, len(those.clicks))
    times = ((those.clicks[m][1].at, those.clicks[m][1].item_id) for m in reversed(before))
    viewed = list(dict.fromkeys(item for at, item in times if event.at - CONFIG.window_s < at <= event.at))
    return [
        (view, b, VIEWED_THEN_BOUGHT, round(rank**-CONFIG.distance_exponent * weight, 4))
        for rank, view in enumerate(viewed[: min(CONFIG.items, CONFIG.max_pair_items)], 1)
        for b in items
        if b != view
    ]


def snapshot(those: Logs, user: str, c: int, p: int, at: float) -> Any:
    """What a shopper is about when `c` clicks and `p` purchases are applied."""
    clicks_s = those.clicks_s[c - 1] if c else float("-inf")
    purchases_s = those.purchases_s[p - 1] if p else float("-inf")
    recent = looks(those, user, clicks_s - CONFIG.look_memory_s, clicks_s, c)[-CONFIG.items :]
    events = [those.clicks[n][1] for n in reversed(recent)]
    seen: dict[str, Click] = {}
    for event in events:
        if event.at >= at - CONFIG.window_s:
            seen.setdefault(event.item_id, event)
    visited = [(item, max(0.0, at - e.at), CODES[e.action]) for item, e in seen.items()]

    mine = [(n, event) for n, (_, event) in enumerate(those.purchases[:p]) if event.user_id == user]
    last: dict[str, int] = {event.order_id: n for n, event in mine}
    bought = {
        line.item_id
        for n, event in mine
        if n == last[event.order_id] and those.purchases_s[n] >= purchases_s - CONFIG.purchase_memory_s
        if not any(m >= n and other.at - CONFIG.purchase_memory_s > event.at for m, other in mine)
        if event.at > at - BOUGHT_S
        for line in event.lines
    }
    words: dict[str, tuple[float, int, Action]] = {}
    horizon_s = max(clicks_s, purchases_s - CONFIG.margin_s) - CONFIG.look_memory_s
    for n, (_, event) in enumerate(those.clicks[:c]):
        if event.user_id != user or event.action not in (Action.ADD_TO_CART, Action.REMOVE_FROM_CART):
            continue
        emptied = any(
            other.at >= event.at and those.purchases_s[m] >= those.clicks_s[n] - CONFIG.emptying_s for m, other in mine
        )
        if those.clicks_s[n] >= horizon_s and not emptied and not repeated_click(those, n):
            words[event.item_id] = max(words.get(event.item_id, (0.0, 0, Action.VIEW)), (event.at, n, event.action))
    cart = sorted((at, n, item) for item, (at, n, action) in words.items() if action is Action.ADD_TO_CART)
    return visited, [item for _, _, item in cart], bought


# -- the state ---------------------------------------------------------------------------------------------------------


class PartitionTask:
    """Applies two logs, and keeps what comes of it."""

    def __init__(self, those: Logs, config: VisitConfig = CONFIG) -> None:
        self.logs, self.visits = those, Visits(ITEMS, config)
        self.c = self.p = 0
        self.clicks_s = float("-inf")
        self.results: dict[tuple[str, int], Any] = {}

    def click(self, n: int, learn: bool = True) -> None:
        appended_s, event = self.logs.clicks[n]
        self.clicks_s = max(self.clicks_s, appended_s)
        self.ripen(self.clicks_s)
        verdict, pairs = self.visits.apply_click(event, appended_s, n, learn=learn)
        if learn:
            self.results["click", n] = verdict.value, named(pairs)
        self.c = n + 1

    def purchase(self, n: int, learn: bool = True, join: bool = True) -> None:
        appended_s, event = self.logs.purchases[n]
        if self.c == len(self.logs.clicks):
            self.ripen(self.logs.purchases_s[n])  # no click comes any more, so that joins are finished by the clock
        verdict, pairs = self.visits.apply_purchase(event, appended_s, n, learn=learn, join=join)
        if learn:
            self.results["purchase", n] = verdict.value, named(pairs)
        self.p = n + 1

    def ripen(self, time_s: float) -> None:
        for n, at, pairs in self.visits.ripen(time_s):
            assert ("join", n) not in self.results
            self.results["join", n] = at, named(pairs)

    def run(self, order: list[bool]) -> None:
        for is_click in order:
            if is_click:
                self.click(self.c)
            else:
                self.purchase(self.p)

    def seen(self, user: str, at: float) -> Any:
        visit = self.visits.snapshot(user, at, BOUGHT_S)
        visited = zip(map(ITEMS.name, visit.items), visit.ages_s, visit.actions, strict=True)
        assert len(set(visit.bought)) == len(visit.bought)
        return list(visited), [ITEMS.name(i) for i in visit.cart], {ITEMS.name(i) for i in visit.bought}


def named(pairs: list[Any]) -> list[Any]:
    return sorted((ITEMS.name(a), "total" if b == TOTAL else ITEMS.name(b), kind, w) for a, b, kind, w in pairs)


def moments(those: Logs) -> list[float]:
    """Event times to look at: about now, and somewhat off."""
    now = max([AT, *those.clicks_s[-1:], *those.purchases_s[-1:]])
    return [now, now - 40.0, now + 25.0]


@given(logs(), st.data())
@settings(max_examples=300, deadline=None)
def test_what_is_learnt_and_seen_is_what_the_logs_say_however_they_interleave(those: Logs, data: st.DataObject) -> None:
    task, order = PartitionTask(those), interleaving(data, those)
    for is_click in order:
        task.run([is_click])
        event = (those.clicks[task.c - 1] if is_click else those.purchases[task.p - 1])[1]
        assert task.seen(event.user_id, event.at) == snapshot(those, event.user_id, task.c, task.p, event.at)
    task.ripen(float("inf"))
    for n in range(task.c):
        verdict = "repeated" if repeated_click(those, n) else "applied"
        assert task.results["click", n] == (verdict, sorted(viewed_with(those, n)))
    for n in range(task.p):
        verdict = "repeated" if repeated_purchase(those, n) else "applied"
        assert task.results["purchase", n] == (verdict, sorted(bought_with(those, n)))
        if (joined := viewed_then_bought(those, n)) is None:
            assert ("join", n) not in task.results
        elif looks_after(those, order, n) <= KEPT:
            assert task.results["join", n] == (those.purchases[n][1].at, sorted(joined))
    for user in USERS:
        for at in moments(those):
            assert task.seen(user, at) == snapshot(those, user, task.c, task.p, at)


def looks_after(those: Logs, order: list[bool], n: int) -> int:
    """Looks of its shopper, appended after its grace, that were applied before a purchase."""
    applied, left = 0, n
    for is_click in order:
        if not is_click and not left:
            break
        applied, left = applied + is_click, left - (not is_click)
    last_s = those.purchases_s[n] + CONFIG.join_grace_s
    user = those.purchases[n][1].user_id
    return sum(
        event.user_id == user and s > last_s
        for (_, event), s in zip(those.clicks[:applied], those.clicks_s, strict=False)
    )


@given(logs(), st.data())
@settings(max_examples=300, deadline=None)
def test_who_reads_the_memory_again_goes_on_like_who_ran_all_along(those: Logs, data: st.DataObject) -> None:
    order = interleaving(data, those)
    cut = data.draw(st.integers(0, len(order)), label="cut")
    undisturbed = PartitionTask(those)
    undisturbed.run(order[:cut])
    c, p = undisturbed.c, undisturbed.p
    pending = undisturbed.visits.first_pending
    joined = p if pending is None else pending
    undisturbed.results.clear()

    again = PartitionTask(those)
    clicks = range(horizon(those.clicks, c, CONFIG.click_memory_s), c)
    purchases = range(horizon(those.purchases, p, CONFIG.purchase_memory_s), p)
    for is_click in by_append_time(those, list(clicks), list(purchases)):
        if is_click:
            again.click(clicks[max(0, again.c - clicks.start)], learn=False)
        else:
            n = purchases[max(0, again.p - purchases.start)]
            again.purchase(n, learn=False, join=n >= joined)
    again.c, again.p = c, p
    for task in (undisturbed, again):
        for user in USERS:
            for at in moments(those):
                assert task.seen(user, at) == snapshot(those, user, c, p, at)
    for is_click in order[cut:]:
        undisturbed.run([is_click])
        again.run([is_click])
        for user in USERS:
            for at in moments(those):
                assert again.seen(user, at) == undisturbed.seen(user, at)
    undisturbed.ripen(float("inf"))
    again.ripen(float("inf"))
    assert again.results == undisturbed.results


def horizon(log: list[tuple[float, Any]], stop: int, memory_s: float) -> int:
    """First offset whose append time is within memory of the greatest below a position, as a broker finds it."""
    if not stop:
        return 0
    since_s = max(s for s, _ in log[:stop]) - memory_s
    return next(n for n, (s, _) in enumerate(log) if s >= since_s)


def by_append_time(those: Logs, clicks: list[int], purchases: list[int]) -> list[bool]:
    order = []
    while clicks or purchases:
        is_click = bool(clicks) and (not purchases or those.clicks[clicks[0]][0] <= those.purchases[purchases[0]][0])
        (clicks if is_click else purchases).pop(0)
        order.append(is_click)
    return order


@given(logs(), st.data(), st.integers(-20, 150), st.integers(-20, 150))
@settings(max_examples=150, deadline=None)
def test_who_was_forgotten_is_as_if_what_he_did_by_then_had_never_come(
    those: Logs, data: st.DataObject, before: int, earlier: int
) -> None:
    those.clicks = [(s, replace(event, event_id=None)) for s, event in those.clicks]  # no repeats: one whose first is
    those.purchases = [
        (s, replace(event, order_id=str(n))) for n, (s, event) in enumerate(those.purchases)
    ]  # forgotten
    wide = replace(CONFIG, items=len(those.clicks) + 1)
    order_of_both = interleaving(data, those)
    cut = data.draw(st.integers(0, len(order_of_both)), label="cut")
    told, knowing = PartitionTask(those, wide), PartitionTask(those, wide)
    knowing.visits.forget("ann", AT + before)
    told.run(order_of_both[:cut])
    knowing.run(order_of_both[:cut])
    told.visits.forget("ann", AT + before)
    told.visits.forget("ann", AT + min(before, earlier))
    assert told.visits.consent._forgotten == {"ann": AT + before}
    done = set(told.results)
    told.run(order_of_both[cut:])
    knowing.run(order_of_both[cut:])
    for task in (told, knowing):
        task.ripen(float("inf"))
    assert {key: told.results[key] for key in told.results if key not in done} == {
        key: knowing.results[key] for key in knowing.results if key not in done
    }
    for at in moments(those):
        assert told.seen("ann", at) == knowing.seen("ann", at)
        assert told.seen("bob", at) == knowing.seen("bob", at)
        assert all(at - age > AT + before for _, age, _ in told.seen("ann", at)[0] if age > 0)
