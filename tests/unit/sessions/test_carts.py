"""A cart is settled by event time, whatever comes in which order."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from models.sessions.baskets import Baskets
from models.sessions.carts import MAX_CHANGES, Cart

Word = tuple[int, bool, float, int, float]
"""(item, added, event time, offset, append time)."""


def cart_of(words: list[Word]) -> Cart:
    cart = Cart()
    for word in words:
        cart.set(*word)
    return cart


def by_definition(words: list[Word], horizon_s: float, until: float) -> list[int]:
    last: dict[int, Word] = {}
    for word in sorted(words, key=lambda w: w[2:4]):
        if word[4] >= horizon_s and word[2] > until:
            last[word[0]] = word
    return [w[0] for w in sorted(last.values(), key=lambda w: (w[2:4], w[0])) if w[1]]


def test_a_removal_that_happened_before_the_addition_does_not_undo_it() -> None:
    added, removed = (7, True, 20.0, 0, 0.0), (7, False, 10.0, 1, 0.0)
    assert cart_of([added, removed]).items() == [7]
    assert cart_of([removed, added]).items() == [7]
    assert cart_of([added, (7, False, 20.0, 1, 0.0)]).items() == []  # at the same time the later in the log counts


def test_the_order_of_three_changes_of_one_item_does_not_matter() -> None:
    words = [(7, True, 1.0, 0, 5.0), (7, False, 2.0, 1, 5.0), (7, True, 3.0, 2, 5.0)]
    for order in permutations(words):
        assert cart_of(list(order)).items() == [7]


def test_items_come_by_when_they_were_added() -> None:
    assert cart_of([(1, True, 30.0, 0, 0.0), (2, True, 10.0, 1, 0.0), (3, True, 10.0, 2, 0.0)]).items() == [2, 3, 1]


def test_an_earlier_word_that_came_late_counts_when_the_last_one_has_left_memory() -> None:
    cart = cart_of([(7, False, 20.0, 0, 100.0), (7, True, 10.0, 1, 150.0)])
    assert cart.items() == []
    cart.expire(120.0)
    assert cart.items() == [7]
    cart.expire(151.0)
    assert cart.items() == []
    assert not cart._changes


def test_of_too_many_changes_the_last_ones_of_the_log_are_kept() -> None:
    words = [(item, True, 1e6 - item, item, 0.0) for item in range(MAX_CHANGES + 5)]
    cart = cart_of(words)
    assert len(cart) == MAX_CHANGES
    assert sorted(cart.items()) == list(range(5, MAX_CHANGES + 5))
    cart.set(7, False, 2e6, MAX_CHANGES + 5, 0.0)  # in the place of its addition
    assert len(cart) == MAX_CHANGES
    cart.drop(1e6)
    assert len(cart) == 1


words = st.lists(
    st.tuples(st.integers(0, 2), st.booleans(), st.integers(0, 5).map(float), st.just(0), st.integers(0, 5).map(float)),
    max_size=9,
).map(lambda drawn: [(item, added, at, offset, s) for offset, (item, added, at, _, s) in enumerate(drawn)])


@given(
    words, st.permutations(range(9)), st.lists(st.integers(0, 6), max_size=2), st.one_of(st.none(), st.integers(0, 5))
)
def test_a_cart_is_what_its_words_within_memory_say_in_every_order(
    log: list[Word], order: list[int], horizons: list[int], until: int | None
) -> None:
    cart = cart_of([log[n] for n in order if n < len(log)])
    for horizon_s in sorted(horizons):
        cart.expire(horizon_s)
    if until is not None:
        cart.drop(until)
    assert cart.items() == by_definition(log, max(horizons, default=-1), -1 if until is None else until)


def test_what_was_bought_is_told_newest_first_and_once() -> None:
    baskets = Baskets()
    baskets.add(10.0, "first", (1, 2), 0.0, 100.0)
    baskets.add(30.0, "third", (2, 4), 1.0, 100.0)
    baskets.add(20.0, "second", (3,), 2.0, 100.0)
    assert baskets.since(0.0) == [2, 4, 3, 1]
    assert baskets.since(20.0) == [2, 4]
    assert (baskets.newest(0.0), baskets.newest(2.0), baskets.newest(3.0)) == (30.0, 20.0, float("-inf"))


def test_purchases_leave_by_append_time_and_by_the_event_time_of_later_ones() -> None:
    baskets = Baskets()
    baskets.add(10.0, "a", (1,), 50.0, 100.0)
    baskets.add(60.0, "b", (2,), 60.0, 100.0)
    baskets.expire(55.0)
    assert baskets.since(0.0) == [2]
    baskets.add(161.0, "c", (3,), 61.0, 100.0)
    assert baskets.since(0.0) == [3]
    baskets.forget(161.0)
    assert len(baskets) == 0


def test_a_purchase_sent_again_stays_as_it_was_and_is_remembered_from_then() -> None:
    baskets = Baskets()
    baskets.add(10.0, "a", (1,), 50.0, 100.0)
    assert baskets.repeat(12.0, "a", (2,), 70.0, 100.0) == 10.0
    baskets.expire(60.0)
    assert baskets.since(0.0) == [1]
    assert baskets.repeat(10.0, "gone", (5,), 70.0, 100.0) == 10.0
    assert sorted(baskets.since(0.0)) == [1, 5]
