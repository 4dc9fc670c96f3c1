"""Each rule of attribution, on a case with a known answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from models.ranking.attribution import ALL, Attribution, AttributionConfig, Closed, Impression
from models.shop.kinds import CROSS_SELL, UPSELL

CONFIG = AttributionConfig(window_s=100.0, late_s=10.0)
KETTLE, MUG, TEA, STEEL = 0, 1, 2, 3
AHEAD = 1e9
"""An append time that is behind nothing."""


def sent(name: str = "a", at: float = 1_000.0, user: str = "ann", offset: int = 5, items: Sequence[int] = (MUG, STEEL)) -> Impression:  # fmt: skip  # noqa: E501
    kinds = [UPSELL if item == STEEL else CROSS_SELL for item in items]
    return Impression(name, user, at, "clicks", offset, list(items), kinds, np.empty((len(items), 0), np.float16))


def looked(attribution: Attribution, item: int, at: float, offset: int = 9, user: str = "ann") -> None:
    attribution.record_action(0, user, item, at, "clicks", offset, taken=False)


def bought(attribution: Attribution, item: int, at: float, user: str = "ann") -> None:
    attribution.record_action(0, user, item, at, "purchases", 0, taken=True)


def feedback(
    attribution: Attribution, name: str, item: int, action: str, at: float = 1_050.0, user: str = "ann"
) -> None:
    attribution.record_feedback(0, user, name, item, at, action)


def after(attribution: Attribution, at: float = 1_111.0) -> list[Closed]:
    """What closes once an event of that time came."""
    attribution.advance(0, at, AHEAD)
    return attribution.take()


def taken(attribution: Attribution, at: float = 1_111.0) -> list[list[bool]]:
    return [closed.taken.tolist() for closed in after(attribution, at)]


def counted(attribution: Attribution, at: float = 1_111.0) -> list[list[int]]:
    """Items that were shown, followed and taken, of what closes: cross-sells, then upsells."""
    after(attribution, at)
    counts: list[list[int]] = attribution.counts[[CROSS_SELL, UPSELL]].tolist()
    return counts


@pytest.fixture
def attribution() -> Attribution:
    found = Attribution(CONFIG)
    found.record_impression(0, sent())
    return found


def test_what_nobody_answers_is_a_miss_once_its_window_is_over(attribution: Attribution) -> None:
    assert after(attribution, 1_110.0) == []
    (closed,) = after(attribution, 1_110.5)
    assert (closed.items.tolist(), closed.kinds.tolist()) == ([MUG, STEEL], [CROSS_SELL, UPSELL])
    assert closed.taken.tolist() == [False, False]
    assert counted(attribution) == [[1, 0, 0], [1, 0, 0]]
    assert (attribution.opened, attribution.closed, len(attribution)) == (1, 1, 0)


def test_a_look_follows_and_a_purchase_takes_whatever_comes_after_it(attribution: Attribution) -> None:
    looked(attribution, MUG, 1_010.0)
    bought(attribution, STEEL, 1_020.0)
    looked(attribution, STEEL, 1_030.0)
    assert taken(attribution) == [[False, True]]
    assert counted(attribution) == [[1, 1, 0], [1, 1, 1]]


def test_only_the_shopper_himself_within_the_window_and_behind_the_trigger(attribution: Attribution) -> None:
    bought(attribution, MUG, 1_010.0, user="bob")
    bought(attribution, MUG, 999.9)
    bought(attribution, MUG, 1_000.0)  # of another topic at the same time: which came first is not known
    looked(attribution, MUG, 1_000.0, offset=5)  # the trigger itself
    bought(attribution, MUG, 1_100.1)
    assert counted(attribution) == [[1, 0, 0], [1, 0, 0]]


def test_the_same_second_counts_where_the_log_says_that_it_is_behind_and_so_does_the_last_moment() -> None:
    attribution = Attribution(CONFIG)
    attribution.record_impression(0, sent())
    looked(attribution, MUG, 1_000.0, offset=6)
    bought(attribution, STEEL, 1_100.0)
    assert counted(attribution) == [[1, 1, 0], [1, 1, 1]]


def test_an_action_that_is_read_before_the_suggestion_counts_as_well() -> None:
    attribution = Attribution(CONFIG)
    attribution.advance(0, 1_000.5, AHEAD)
    looked(attribution, MUG, 1_000.5)
    bought(attribution, STEEL, 990.0)
    attribution.advance(0, 1_010.0, AHEAD)
    attribution.record_impression(0, sent())
    assert counted(attribution) == [[1, 1, 0], [1, 0, 0]]


def test_every_open_list_that_has_the_item_is_answered() -> None:
    attribution = Attribution(CONFIG)
    attribution.record_impression(0, sent("a", 1_000.0))
    attribution.record_impression(0, sent("b", 1_050.0, items=[TEA, MUG]))
    attribution.record_impression(0, sent("c", 1_050.0, items=[TEA]))
    bought(attribution, MUG, 1_060.0)
    bought(attribution, MUG, 1_120.0)  # too late for the first
    assert taken(attribution, 1_200.0) == [[True, False], [False, True], [False]]


def test_one_id_is_one_list(attribution: Attribution) -> None:
    attribution.record_impression(0, sent(items=[TEA]))
    assert [len(closed.items) for closed in after(attribution)] == [2]
    attribution.record_impression(0, sent())  # once more, when its window is over
    assert (len(attribution), attribution.opened, attribution.take()) == (0, 1, [])


def test_feedback_says_what_was_shown_clicked_and_dismissed() -> None:
    attribution = Attribution(CONFIG)
    attribution.record_impression(0, sent("a", items=[MUG, STEEL, TEA]))
    attribution.record_impression(0, sent("b", items=[MUG, STEEL]))
    attribution.record_impression(0, sent("c", items=[MUG, STEEL]))
    feedback(attribution, "a", MUG, "shown")
    feedback(attribution, "a", STEEL, "clicked")  # and so it was shown
    feedback(attribution, "b", ALL, "shown")
    looked(attribution, STEEL, 1_010.0)
    feedback(attribution, "b", STEEL, "dismissed")
    bought(attribution, MUG, 1_020.0)
    feedback(attribution, "c", ALL, "dismissed")
    feedback(attribution, "nobody's", ALL, "shown")
    first, second, third = after(attribution)
    assert first.taken.tolist() == [True, False, False]
    assert second.taken.tolist() == third.taken.tolist() == [True, False]
    assert counted(attribution) == [[3, 3, 3], [3, 3, 0]]  # and tea was not shown


def test_a_clock_that_is_ahead_closes_nobodys_list(attribution: Attribution) -> None:
    attribution.advance(0, 9_999.0, 1_002.0)
    assert attribution.take() == []
    attribution.advance(0, 1_111.0, 1_112.0)
    assert len(attribution.take()) == 1


def test_each_partition_has_its_own_clock(attribution: Attribution) -> None:
    attribution.advance(1, 5_000.0, AHEAD)
    assert attribution.take() == []


def test_what_comes_when_the_window_is_over_changes_nothing_whenever_the_list_is_taken(
    attribution: Attribution,
) -> None:
    attribution.advance(0, 1_111.0, AHEAD)
    bought(attribution, MUG, 1_050.0)
    feedback(attribution, "a", STEEL, "shown")
    assert counted(attribution) == [[1, 0, 0], [1, 0, 0]]


def test_lists_beyond_the_most_are_passed_over() -> None:
    attribution = Attribution(AttributionConfig(most_open=2))
    for name in "abc":
        attribution.record_impression(0, sent(name))
    assert (len(attribution), attribution.skipped) == (2, 1)


def test_lists_of_one_shopper_beyond_the_most_are_passed_over_until_others_of_his_are_over() -> None:
    attribution = Attribution(AttributionConfig(window_s=100.0, late_s=10.0, most_of_shopper=2))
    for name in "abc":
        attribution.record_impression(0, sent(name))
    attribution.record_impression(0, sent("of another", user="bob"))
    assert (len(attribution), attribution.skipped) == (3, 1)
    attribution.advance(0, 1_111.0, AHEAD)
    attribution.record_impression(0, sent("later", 1_110.0))
    assert (len(attribution), attribution.skipped) == (1, 1)


def test_of_who_is_forgotten_nothing_is_left(attribution: Attribution) -> None:
    attribution.record_impression(0, sent("later", 1_050.0))
    attribution.record_impression(0, sent("other", user="bob"))
    looked(attribution, MUG, 1_020.0)
    attribution.forget("ann", 1_020.0)
    attribution.record_impression(0, sent("as old", 1_010.0))
    assert counted(attribution, 2_000.0) == [[3, 0, 0], [3, 0, 0]]


def test_a_list_that_comes_when_its_window_is_over_as_in_a_fast_replay_gets_what_it_is_due() -> None:
    attribution = Attribution(CONFIG)
    for second, (at, item, offset) in enumerate([(1_000.0, KETTLE, 5), (1_050.0, MUG, 6), (2_000.0, TEA, 7)]):
        attribution.advance(0, at, 5_000.0 + second)
        looked(attribution, item, at, offset)
    attribution.record_impression(0, sent(items=[MUG, TEA]))
    assert [closed.taken.tolist() for closed in attribution.take()] == [[False, False]]
    assert attribution.counts[CROSS_SELL].tolist() == [2, 1, 0]
    attribution.record_impression(0, sent(items=[MUG, TEA]))  # it is known that it was there
    assert (attribution.opened, attribution.skipped, attribution.take()) == (1, 0, [])


def test_a_list_that_comes_when_what_answered_it_may_be_forgotten_is_passed_over() -> None:
    attribution = Attribution(CONFIG)
    for at, appended_s, offset in [(1_000.0, 5_000.0, 5), (1_001.0, 5_001.0, 6), (1_002.0, 5_010.5, 7)]:
        attribution.advance(0, at, appended_s)
        looked(attribution, KETTLE, at, offset)
    attribution.record_impression(0, sent("a", 1_000.0, offset=5))
    attribution.record_impression(0, sent("b", 1_001.0, offset=6))
    assert (len(attribution), attribution.skipped) == (1, 1)


@pytest.mark.parametrize("taken", [False, True])
def test_a_closed_list_that_comes_again_when_its_time_is_forgotten_is_skipped(attribution: Attribution, taken: bool) -> None:  # fmt: skip  # noqa: E501
    attribution.advance(0, 1_000.0, 5_000.0)
    looked(attribution, KETTLE, 1_000.0, offset=5)
    attribution.advance(0, 1_111.0, 5_010.5)
    if taken:
        assert len(attribution.take()) == 1
    attribution.record_impression(0, sent())
    assert (attribution.opened, attribution.skipped) == (1, 1)


def test_feedback_counts_whatever_is_read_first_within_the_window_and_of_the_shopper_himself() -> None:
    attribution = Attribution(CONFIG)
    attribution.advance(0, 1_001.0, AHEAD)
    feedback(attribution, "a", MUG, "shown", 1_001.0)
    feedback(attribution, "a", MUG, "clicked", 1_002.0)
    attribution.record_impression(0, sent(items=[MUG, STEEL, TEA, KETTLE]))
    feedback(attribution, "a", STEEL, "clicked", user="bob")
    feedback(attribution, "a", STEEL, "clicked", 1_100.5)
    feedback(attribution, "a", TEA, "dismissed")  # who dismisses it has seen it
    assert counted(attribution) == [[2, 1, 0], [0, 0, 0]]


def test_who_dismisses_a_whole_list_has_seen_of_it_what_was_shown(attribution: Attribution) -> None:
    feedback(attribution, "a", STEEL, "shown")
    feedback(attribution, "a", ALL, "dismissed")
    assert counted(attribution) == [[0, 0, 0], [1, 0, 0]]


def test_what_comes_late_is_counted_and_still_answers_a_list_that_is_open(attribution: Attribution) -> None:
    attribution.advance(0, 1_060.0, AHEAD)
    looked(attribution, MUG, 1_050.0)
    assert attribution.late == 0
    looked(attribution, STEEL, 1_049.5)
    assert attribution.late == 1
    assert counted(attribution) == [[1, 1, 0], [1, 1, 0]]


def test_a_list_that_is_over_takes_nobodys_place() -> None:
    attribution = Attribution(AttributionConfig(window_s=100.0, late_s=10.0, most_open=1))
    attribution.record_impression(0, sent("a"))
    attribution.advance(0, 1_111.0, AHEAD)
    attribution.record_impression(0, sent("b", 1_105.0, offset=8))
    assert (len(attribution), attribution.skipped, len(attribution.take())) == (1, 0, 1)


def test_a_restored_attribution_closes_at_once_what_is_over(attribution: Attribution) -> None:
    looked(attribution, MUG, 1_010.0)
    attribution.advance(0, 1_111.0, AHEAD)
    later = Attribution(CONFIG)
    later.restore(attribution.training())
    assert len(later) == 0
    assert counted(later) == [[1, 1, 0], [1, 0, 0]]


def test_lists_close_by_the_ends_of_their_windows_and_then_by_id() -> None:
    attribution = Attribution(CONFIG)
    for number, (name, at) in enumerate([("c", 1_001.0), ("b", 1_000.0), ("a", 1_001.0)]):
        attribution.record_impression(number, sent(name, at, items=[MUG] * (number + 1)))
    for number in (2, 0, 1):
        attribution.advance(number, 1_200.0, AHEAD)
    assert [len(closed.kinds) for closed in attribution.take()] == [2, 3, 1]


def test_only_shoppers_who_refuse_are_dropped() -> None:
    attribution = Attribution(CONFIG)
    looked(attribution, MUG, 1_001.0)
    looked(attribution, MUG, 1_001.0, user="bob")
    attribution.record_impression(0, sent("a"))
    attribution.drop(lambda user, at: user == "ann" and at <= 1_005.0)
    attribution.record_impression(0, sent("b"))
    attribution.record_impression(0, sent("c", user="bob"))
    assert counted(attribution) == [[2, 1, 0], [2, 0, 0]]


def test_pools_have_a_bound_of_their_own_and_come_back_with_their_features() -> None:
    config = replace(CONFIG, most_open=1, most_open_pools=2)
    attribution = Attribution(config, width=2)
    pools = [
        replace(sent(name, items=items), features=np.arange(2.0 * len(items), dtype=np.float16).reshape(-1, 2))
        for name, items in (("a", [MUG, TEA, STEEL]), ("b", [STEEL]), ("c", [MUG]))
    ]
    for pool in pools:
        attribution.record_impression(0, pool)
    assert (len(attribution), attribution.skipped) == (2, 1)
    bought(attribution, TEA, 1_010.0)
    later = Attribution(config, width=2)
    later.restore(attribution.training())
    assert later.nbytes == attribution.nbytes
    assert sorted(later.held().tolist()) == sorted([MUG, TEA, STEEL, STEEL, TEA])
    found = after(later)
    assert [closed.features.tolist() for closed in found] == [pool.features.tolist() for pool in pools[:2]]
    assert [closed.taken.tolist() for closed in found] == [[False, True, False], [False]]


def test_a_state_of_an_older_version_has_more_columns_and_lists_with_features_in_one_table(
    attribution: Attribution,
) -> None:
    looked(attribution, MUG, 1_010.0)
    feedback(attribution, "a", MUG, "shown")
    state = attribution.training()
    marks, lists = state.pop("marks"), state["lists"]
    marks[:, 2] = 1  # the whole list was dismissed
    old = {
        "items": np.column_stack([state["items"].astype(np.int64), marks]),
        "lists": np.insert(lists, 3, 1, axis=1),  # something was taken, of the list or not
        "features": np.ones((2, 15), np.float32),
    }
    later = Attribution(CONFIG)
    later.restore(state | old)
    later.record_impression(0, sent("b"))
    assert later.training()["features"].shape == (4, 0)
    np.testing.assert_array_equal(later.training()["lists"][:1], lists)
    assert counted(later) == [[2, 2, 0], [1, 0, 0]]
