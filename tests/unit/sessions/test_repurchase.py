"""When a bought item is due again, and what that takes out of the bar."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.sessions.histories import NOTHING, Histories, History, HistoryConfig
from models.sessions.repurchase import due, visit_of
from models.sessions.visits import VisitConfig, Visits
from models.shop.events import Action, Click, Line, Purchase
from models.shop.items import Items
from models.shop.policy import Policy

AT = 1_700_000_000.0
HOUR_S = 3_600.0
DAY_H, WEEK_H = 24, 168
BAR, LEARN = Policy(), Policy(repurchase="learn")


def history(hours: Sequence[float]) -> History:
    """Of a shopper who has bought item 0 at these hours, in this order of the log."""
    histories = Histories(Items(), HistoryConfig())
    for offset, hour in enumerate(hours):
        histories.learn("ann", [0], AT + hour * HOUR_S, offset)
    return histories.of("ann")


def is_due(hours: Sequence[float], now: float) -> bool:
    return due(history(hours), AT + now * HOUR_S) == {0}


@pytest.mark.parametrize(
    ("hours", "last_not", "first_due"),
    [
        ([0, WEEK_H, 2 * WEEK_H], 2 * WEEK_H + 134, 2 * WEEK_H + 135),  # four fifths of a week are 134.4 hours
        ([0, 1, 2, 2 * WEEK_H], 2 * WEEK_H + 89, 2 * WEEK_H + 90),  # the mean gap is 112 hours
        ([0, DAY_H], DAY_H + 23, DAY_H + 24),
        ([hour * 6 for hour in range(9)], 2 * DAY_H + 23, 2 * DAY_H + 24),  # several times a day, and due the next
    ],
)
def test_an_item_is_due_after_four_fifths_of_its_mean_gap_and_after_a_day(
    hours: list[int], last_not: int, first_due: int
) -> None:
    assert not is_due(hours, last_not)
    assert is_due(hours, first_due)


@pytest.mark.parametrize("hours", [[0], [0, 0], [0, 0, 0], [0, 5, 23]])
def test_one_purchase_or_several_of_one_day_are_no_rhythm(hours: list[int]) -> None:
    assert not any(is_due(hours, now) for now in (1, DAY_H, WEEK_H, 100 * WEEK_H))


def test_nothing_is_due_to_whom_bought_nothing() -> None:
    assert due(NOTHING, AT) == set()


hours = st.lists(st.integers(0, 90 * DAY_H), min_size=1, max_size=8)


@given(hours, st.integers(0, 200 * DAY_H), st.randoms(use_true_random=False))
def test_nothing_is_due_too_early_and_the_order_of_the_log_does_not_matter(
    bought: list[int], now: int, chance: random.Random
) -> None:
    found = is_due(bought, now)
    assert is_due(chance.sample(bought, len(bought)), now) is found
    if not found:
        return
    gaps, age = len(bought) - 1, now - max(bought)
    assert gaps >= 1
    assert age >= DAY_H
    assert age * gaps >= 0.79 * (max(bought) - min(bought))
    assert is_due(bought, now + 1)  # until the shopper buys it
    assert not is_due([*bought, now], now + 1)


class Shopper:
    """Ann's visit and history, from what she does at some hours."""

    def __init__(self, config: HistoryConfig | None = None) -> None:
        self.items = Items()
        self.visits = Visits(self.items, VisitConfig())
        self.histories = Histories(self.items, config or HistoryConfig())
        self.offset = 0

    def buy(self, hour: float, *names: str) -> None:
        at, self.offset = AT + hour * HOUR_S, self.offset + 1
        purchase = Purchase("ann", f"order {self.offset}", at, tuple(map(Line, names)))
        self.visits.apply_purchase(purchase, at, self.offset)
        self.histories.learn("ann", list(map(self.items.index, names)), at, self.offset)

    def barred(self, hour: float, policy: Policy) -> set[str]:
        visit = visit_of(self.visits, self.histories.of("ann"), "ann", AT + hour * HOUR_S, policy)
        return {self.items.name(item) for item in visit.bought}


def test_what_is_due_bars_no_more_where_the_policy_learns_rhythms() -> None:
    ann = Shopper()
    ann.buy(0, "milk", "kettle")
    ann.buy(WEEK_H, "milk", "tea")
    for policy in (BAR, LEARN):
        assert ann.barred(WEEK_H + 134, policy) == {"milk", "kettle", "tea"}
    assert ann.barred(WEEK_H + 135, BAR) == {"milk", "kettle", "tea"}
    assert ann.barred(WEEK_H + 135, LEARN) == {"kettle", "tea"}
    ann.buy(WEEK_H + 135, "milk")
    assert ann.barred(WEEK_H + 136, LEARN) == {"milk", "kettle", "tea"}
    assert ann.barred(31 * DAY_H, LEARN) == {"tea"}  # no longer the kettle, which is not due either


def test_a_rhythm_may_be_longer_than_visits_remember() -> None:
    """Coffee every forty days, which visits forget after 35."""
    ann = Shopper()
    for day in (0, 40, 80):
        ann.buy(day * DAY_H, "coffee")
    bar, learn = (Policy(bought_days=34, repurchase=repurchase) for repurchase in ("bar", "learn"))
    assert ann.barred(111 * DAY_H, learn) == ann.barred(113 * DAY_H, bar) == {"coffee"}
    assert ann.barred(113 * DAY_H, learn) == set()


def test_what_has_left_a_full_history_goes_on_barring() -> None:
    ann = Shopper(HistoryConfig(most_items=1))
    for week in range(3):
        ann.buy(week * WEEK_H, "milk", "tea")
    assert ann.barred(3 * WEEK_H, LEARN) == {"tea"}  # of two equals the milk is kept


def test_a_visit_is_otherwise_the_same() -> None:
    ann = Shopper()
    ann.buy(0, "milk")
    ann.buy(WEEK_H, "milk")
    at = AT + 2 * WEEK_H * HOUR_S
    for offset, (item, action) in enumerate([("milk", Action.ADD_TO_CART), ("tea", Action.VIEW)]):
        ann.visits.apply_click(Click("ann", item, action, at), at, offset)
    visit, plain = (visit_of(ann.visits, ann.histories.of("ann"), "ann", at + 1.0, policy) for policy in (LEARN, BAR))
    assert (visit.bought, plain.bought) == ([], [ann.items.index("milk")])
    assert visit.cart == plain.cart == plain.bought  # and the cart bars it
    assert (visit.items, visit.ages_s, visit.actions) == (plain.items, plain.ages_s, plain.actions)
