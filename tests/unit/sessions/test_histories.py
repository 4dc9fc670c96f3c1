"""What a shopper has bought over the years, counted by hand and against a plain recount."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.sessions.histories import CELL, NOTHING, Histories, HistoryConfig, HistoryRow
from models.sessions.visits import VisitConfig, Visits
from models.shop.events import Line, Purchase
from models.shop.items import Items

DAY_S = 86_400.0
AT = 1_700_000_000.0
GOODS = [f"item-{n}" for n in range(8)]
CONFIG = HistoryConfig(fast_s=10 * DAY_S, slow_s=20 * DAY_S)


class Shop:
    """Histories whose items have names, and the offset of the next purchase."""

    def __init__(self, config: HistoryConfig = CONFIG, *, numbered: list[str] = GOODS) -> None:
        self.items = Items()
        for name in numbered:
            self.items.index(name)
        self.histories = Histories(self.items, config)
        self.offset = 0

    def buy(self, user_id: str, items: list[str], day: float) -> None:
        self.histories.learn(user_id, [self.items.index(item) for item in items], AT + day * DAY_S, self.offset)
        self.offset += 1

    def counts(self, user_id: str, name: str = "count") -> dict[str, Any]:
        cells = self.histories.of(user_id).cells
        names = [self.items.name(index) for index in cells["item"].tolist()]
        return dict(zip(names, cells[name].tolist(), strict=True))

    def rounded(self, user_id: str) -> Any:
        """All that is known of a shopper but the position, up to the rounding of sums."""
        history = self.histories.of(user_id)
        numbers = [history.baskets, round(history.slow, 9), history.first, history.last]
        columns = [self.counts(user_id, name) for name in ("count", "first", "last")]
        decayed = [
            {item: round(count, 9) for item, count in self.counts(user_id, name).items()} for name in ("fast", "slow")
        ]
        return numbers, columns, decayed


def test_counts_decay_in_event_time_to_the_last_purchase_of_the_item() -> None:
    shop = Shop()
    shop.buy("ann", ["item-0", "item-1"], 0)
    shop.buy("ann", ["item-1"], 20)
    assert shop.counts("ann") == {"item-0": 1, "item-1": 2}
    assert shop.counts("ann", "fast") == {"item-0": 1.0, "item-1": 1.25}
    assert shop.counts("ann", "slow") == {"item-0": 1.0, "item-1": 1.5}
    assert shop.counts("ann", "first") == {"item-0": AT, "item-1": AT}
    assert shop.counts("ann", "last") == {"item-0": AT, "item-1": AT + 20 * DAY_S}
    ann = shop.histories.of("ann")
    assert ann[1:] == (2, 1.5, AT, AT + 20 * DAY_S, 2)
    assert shop.histories.of("bob") is NOTHING


def test_a_late_purchase_counts_as_of_its_own_time() -> None:
    shop = Shop()
    shop.buy("ann", ["item-0"], 20)
    shop.buy("ann", ["item-0", "item-1"], 0)
    assert shop.counts("ann", "slow") == {"item-0": 1.5, "item-1": 1.0}
    assert shop.counts("ann", "last") == {"item-0": AT + 20 * DAY_S, "item-1": AT}
    assert shop.histories.of("ann").slow == 1.5


def test_learning_changes_nothing_that_was_read_before() -> None:
    shop = Shop()
    shop.buy("ann", ["item-0"], 0)
    before = shop.histories.of("ann")
    shop.buy("ann", ["item-0", "item-1"], 1)
    assert before.baskets == 1
    assert before.cells["count"].tolist() == [1]


def test_the_least_useful_item_is_dropped_and_of_equals_the_greatest_id() -> None:
    shop = Shop(HistoryConfig(most_items=3, fast_s=10 * DAY_S, slow_s=20 * DAY_S))
    shop.buy("ann", ["item-0"], 0)
    shop.buy("ann", ["item-0"], 1)
    shop.buy("ann", ["item-2", "item-1"], 2)
    shop.buy("ann", ["item-3"], 3)
    assert set(shop.counts("ann")) == {"item-0", "item-1", "item-3"}  # item-1 and item-2 are equals
    shop.buy("ann", ["item-4"], 60)
    shop.buy("ann", ["item-5", "item-6", "item-7"], 61)
    assert set(shop.counts("ann")) == {"item-5", "item-6", "item-7"}  # what was bought twice is two months old
    shop.buy("ann", ["item-4"], 60)  # late, and less useful than all others
    assert set(shop.counts("ann")) == {"item-5", "item-6", "item-7"}
    assert shop.histories.of("ann").baskets == 7


def test_ties_do_not_depend_on_the_numbers_of_items() -> None:
    kept = []
    for numbered in (GOODS, GOODS[::-1]):
        shop = Shop(HistoryConfig(most_items=3), numbered=numbered)
        shop.buy("ann", GOODS, 0)
        kept.append(set(shop.counts("ann")))
    assert kept == [set(GOODS[:3])] * 2


def test_the_least_useful_shoppers_are_dropped_once_there_are_an_eighth_too_many() -> None:
    shop = Shop(HistoryConfig(most_shoppers=8, slow_s=20 * DAY_S))
    for day in (0, 10):
        shop.buy("regular", ["item-0"], day)
    for n in range(8):
        shop.buy(f"shopper-{n}", ["item-0"], 15)
    assert shop.histories.drop_excess() == 0
    shop.buy("latest", ["item-0"], 20)
    assert shop.histories.drop_excess() == 2
    assert set(shop.histories.shoppers()) == {"regular", "latest", *(f"shopper-{n}" for n in range(6))}
    assert shop.histories.row("shopper-7") is None


purchases = st.lists(
    st.tuples(
        st.lists(st.sampled_from(GOODS), min_size=1, max_size=4, unique=True),
        st.floats(0, 800).map(lambda day: round(day, 3)),
    ),
    max_size=20,
)


@given(purchases, st.randoms(use_true_random=False))
def test_the_order_of_purchases_makes_no_difference(bought: list[tuple[list[str], float]], chance: Any) -> None:
    shop, shuffled = Shop(), Shop()
    for items, day in bought:
        shop.buy("ann", items, day)
    for items, day in chance.sample(bought, len(bought)):
        shuffled.buy("ann", items, day)
    assert shop.rounded("ann") == shuffled.rounded("ann")
    for item in GOODS:
        days = [day for items, day in bought if item in items]
        assert shop.counts("ann").get(item, 0) == len(days)
        if days:
            slow = sum(2.0 ** ((day - max(days)) / 20) for day in days)
            assert math.isclose(shop.counts("ann", "slow")[item], slow, rel_tol=1e-9)


@given(purchases, st.integers(0, 20), st.integers(0, 20), st.integers(1, 6))
def test_a_history_goes_on_from_its_row_wherever_the_log_is_read_from(
    bought: list[tuple[list[str], float]], published_at: int, read_from: int, most_items: int
) -> None:
    config = HistoryConfig(most_items=most_items)
    shop, successor = Shop(config), Shop(config, numbered=GOODS[::-1])
    row = None
    for number, (items, day) in enumerate(bought):
        if number == published_at:
            row = shop.histories.row("ann")
        shop.buy("ann", items, day)
    successor.histories.adopt("ann", row)
    successor.offset = min(read_from, published_at) if row else 0
    for items, day in bought[successor.offset :]:
        successor.buy("ann", items, day)
    expected, found = (each.histories.row("ann") for each in (shop, successor))
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert found.item_ids == expected.item_ids
        assert found.history[1:] == expected.history[1:]
        for name in ("count", "first", "last", "fast", "slow"):
            assert found.history.cells[name].tolist() == expected.history.cells[name].tolist()


def test_forgetting_leaves_only_what_was_bought_later() -> None:
    shop, without = Shop(), Shop()
    visits = Visits(shop.items, VisitConfig())
    for number, (items, day) in enumerate([(["item-0", "item-1"], 0), (["item-2"], 2), (["item-1", "item-2"], 1)]):
        purchase = Purchase("ann", f"order-{number}", AT + day * DAY_S, tuple(Line(item) for item in items))
        visits.apply_purchase(purchase, AT + number, number)
        shop.buy("ann", items, day)
        if day > 0:
            without.buy("ann", items, day)
    shop.histories.forget("ann", AT - 1, [])  # nothing is that old
    assert shop.histories.of("ann").baskets == 3
    visits.forget("ann", AT)
    shop.histories.forget("ann", AT, visits.purchases("ann"))
    assert shop.rounded("ann") == without.rounded("ann")
    assert shop.histories.of("ann").position == 3
    shop.histories.forget("ann", math.inf, [])
    assert len(shop.histories) == 0
    assert shop.histories.row("ann") is None
    assert visits.purchases("bob") == []


def test_rows_wait_to_be_published_in_the_order_in_which_they_changed() -> None:
    shop = Shop()
    for user_id in ("ann", "bob", "ann", "cat"):
        shop.buy(user_id, ["item-0"], 0)
    histories, waited = shop.histories, []
    while (changed := histories.next_changed()) is not None:
        waited.append((changed, histories.first_unpublished))
        histories.published(changed)
    assert waited == [("ann", 0), ("bob", 1), ("cat", 3)]
    unpublished = [histories.first_unpublished]
    shop.buy("bob", ["item-1"], 1)
    histories.forget("ann", math.inf, [])
    unpublished.append(histories.first_unpublished)
    histories.published("bob")
    unpublished.append(histories.first_unpublished)
    assert (histories.next_changed(), unpublished) == ("ann", [None, 4, 5])


def test_an_older_row_does_not_replace_a_newer_one_and_a_tombstone_does() -> None:
    shop, successor = Shop(), Shop()
    rows = []
    for day in range(3):
        shop.buy("ann", [f"item-{day}"], day)
        rows.append(shop.histories.row("ann"))
    for row in (rows[0], rows[2], rows[1]):
        successor.histories.adopt("ann", row)
    assert successor.rounded("ann") == shop.rounded("ann")
    assert successor.histories.next_changed() is None
    successor.histories.adopt("ann", None)
    assert successor.histories.of("ann") is NOTHING
    assert successor.histories.nbytes == 0


def test_memory_is_that_of_cells_and_shoppers() -> None:
    shop = Shop(HistoryConfig(most_items=2))
    shop.buy("ann", GOODS[:1], 0)
    empty = shop.histories.nbytes
    shop.buy("ann", GOODS, 1)
    assert shop.histories.nbytes - empty == CELL.itemsize == 40
    assert sorted(shop.histories.held("ann").tolist()) == [0, 1]


@pytest.mark.parametrize(
    "wrong",
    [
        *({"most_items": 0}, {"most_items": 2_001}, {"most_shoppers": 0}, {"flush_bytes": 0}),
        *({"fast_s": 0.0}, {"slow_s": math.inf}, {"slow_s": math.nan}),
    ],
)
def test_impossible_bounds_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        HistoryConfig(**wrong)


def test_a_row_of_more_items_than_are_kept_is_cut_by_the_next_purchase() -> None:
    shop, successor = Shop(), Shop(HistoryConfig(most_items=2))
    shop.buy("ann", GOODS, 0)
    row = shop.histories.row("ann")
    assert isinstance(row, HistoryRow)
    successor.histories.adopt("ann", row)
    successor.offset = 1
    successor.buy("ann", ["item-7"], 1)
    assert successor.counts("ann") == {"item-0": 1, "item-7": 2}
    assert np.array_equal(row.history.cells["count"], np.ones(8))
