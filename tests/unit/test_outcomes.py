"""What is attributed to what was suggested: each rule on a case whose answer is known, and a restart at any moment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.outcomes import Closed, Outcomes, OutcomesConfig, Sent
from models.rules import CROSS_SELL, UPSELL

CONFIG = OutcomesConfig(window_s=100.0, late_s=10.0, followed=0.25)
KETTLE, MUG, TEA, STEEL = 0, 1, 2, 3
AHEAD = 1e9
"""An append time that is behind nothing."""


def sent(name: str = "a", at: float = 1_000.0, user: str = "ann", offset: int = 5, items: Sequence[int] = (MUG, STEEL)) -> Sent:  # fmt: skip  # noqa: E501
    kinds = [UPSELL if item == STEEL else CROSS_SELL for item in items]
    return Sent(name, user, at, "clicks", offset, list(items), kinds, np.zeros((len(items), 2), np.float32))


def looked(outcomes: Outcomes, item: int, at: float, offset: int = 9, user: str = "ann") -> None:
    outcomes.acted(0, user, item, at, "clicks", offset, taken=False)


def bought(outcomes: Outcomes, item: int, at: float, user: str = "ann") -> None:
    outcomes.acted(0, user, item, at, "purchases", 0, taken=True)


def after(outcomes: Outcomes, at: float = 1_111.0) -> list[Closed]:
    """What closes once an event of that time came."""
    outcomes.advance(0, at, AHEAD)
    return outcomes.take()


def rewards(outcomes: Outcomes, at: float = 1_111.0) -> list[list[float]]:
    return [one.rewards.tolist() for one in after(outcomes, at)]


@pytest.fixture
def outcomes() -> Outcomes:
    found = Outcomes(CONFIG)
    found.suggested(0, sent())
    return found


def test_what_nobody_answers_is_a_miss_once_its_window_is_over(outcomes: Outcomes) -> None:
    assert after(outcomes, 1_110.0) == []
    (closed,) = after(outcomes, 1_110.5)
    assert (closed.at, closed.kinds.tolist(), closed.places.tolist()) == (1_000.0, [CROSS_SELL, UPSELL], [0, 1])
    assert (closed.rewards.tolist(), closed.examined.tolist()) == ([0.0, 0.0], [True, True])
    assert (outcomes.opened, outcomes.closed, len(outcomes)) == (1, 1, 0)


def test_a_look_is_worth_less_than_a_purchase_and_the_most_counts(outcomes: Outcomes) -> None:
    looked(outcomes, MUG, 1_010.0)
    bought(outcomes, STEEL, 1_020.0)
    looked(outcomes, STEEL, 1_030.0)
    assert rewards(outcomes) == [[0.25, 1.0]]
    assert outcomes.fates[CROSS_SELL].tolist() == [1, 1, 0]
    assert outcomes.fates[UPSELL].tolist() == [1, 1, 1]


def test_only_the_shopper_himself_within_the_window_and_behind_the_trigger(outcomes: Outcomes) -> None:
    bought(outcomes, MUG, 1_010.0, user="bob")
    bought(outcomes, MUG, 999.9)
    bought(outcomes, MUG, 1_000.0)  # of another topic at the same time: which came first is not known
    looked(outcomes, MUG, 1_000.0, offset=5)  # the trigger itself
    bought(outcomes, MUG, 1_100.1)
    assert rewards(outcomes) == [[0.0, 0.0]]


def test_the_same_second_counts_where_the_log_says_that_it_is_behind_and_so_does_the_last_moment() -> None:
    outcomes = Outcomes(CONFIG)
    outcomes.suggested(0, sent())
    looked(outcomes, MUG, 1_000.0, offset=6)
    bought(outcomes, STEEL, 1_100.0)
    assert rewards(outcomes) == [[0.25, 1.0]]


def test_an_action_that_is_read_before_the_suggestion_counts_as_well() -> None:
    outcomes = Outcomes(CONFIG)
    outcomes.advance(0, 1_000.5, AHEAD)
    looked(outcomes, MUG, 1_000.5)
    bought(outcomes, STEEL, 990.0)
    outcomes.advance(0, 1_010.0, AHEAD)
    outcomes.suggested(0, sent())
    assert rewards(outcomes) == [[0.25, 0.0]]


def test_every_open_list_that_has_the_item_is_answered() -> None:
    outcomes = Outcomes(CONFIG)
    outcomes.suggested(0, sent("a", 1_000.0))
    outcomes.suggested(0, sent("b", 1_050.0, items=[TEA, MUG]))
    outcomes.suggested(0, sent("c", 1_050.0, items=[TEA]))
    bought(outcomes, MUG, 1_060.0)
    bought(outcomes, MUG, 1_120.0)  # too late for the first
    assert rewards(outcomes, 1_200.0) == [[1.0, 0.0], [0.0, 1.0], [0.0]]


def test_one_id_is_one_list(outcomes: Outcomes) -> None:
    outcomes.suggested(0, sent(items=[TEA]))
    assert [len(one.rewards) for one in after(outcomes)] == [2]
    outcomes.suggested(0, sent())  # once more, when its window is over
    assert (len(outcomes), outcomes.skipped) == (0, 1)


def test_feedback_says_what_was_shown_clicked_and_dismissed() -> None:
    outcomes = Outcomes(CONFIG)
    outcomes.suggested(0, sent("a", items=[MUG, STEEL, TEA]))
    outcomes.suggested(0, sent("b", items=[MUG, STEEL]))
    outcomes.suggested(0, sent("c", items=[MUG, STEEL]))
    outcomes.heard("a", MUG, "shown")
    outcomes.heard("a", STEEL, "clicked")  # and so it was shown
    outcomes.heard("b", None, "shown")
    looked(outcomes, STEEL, 1_010.0)
    outcomes.heard("b", STEEL, "dismissed")
    bought(outcomes, MUG, 1_020.0)
    outcomes.heard("c", None, "dismissed")
    outcomes.heard("nobody's", None, "shown")
    one, two, three = after(outcomes)
    assert (one.rewards.tolist(), one.examined.tolist()) == ([1.0, 0.25, 0.0], [True, True, False])
    assert (two.rewards.tolist(), two.examined.tolist()) == ([1.0, 0.0], [True, True])
    assert three.rewards.tolist() == [1.0, 0.0]  # taken after all
    assert outcomes.fates.sum(axis=0).tolist() == [6, 6, 3]


def test_a_clock_that_is_ahead_closes_nobodys_list(outcomes: Outcomes) -> None:
    outcomes.advance(0, 9_999.0, 1_002.0)
    assert outcomes.take() == []
    outcomes.advance(0, 1_111.0, 1_112.0)
    assert len(outcomes.take()) == 1


def test_each_partition_has_its_own_clock(outcomes: Outcomes) -> None:
    outcomes.advance(1, 5_000.0, AHEAD)
    assert outcomes.take() == []


def test_what_comes_when_the_window_is_over_changes_nothing_whenever_the_list_is_taken(outcomes: Outcomes) -> None:
    outcomes.advance(0, 1_111.0, AHEAD)
    bought(outcomes, MUG, 1_050.0)
    outcomes.heard("a", None, "shown")
    assert [one.rewards.tolist() for one in outcomes.take()] == [[0.0, 0.0]]


def test_lists_beyond_the_most_are_passed_over() -> None:
    outcomes = Outcomes(OutcomesConfig(most_open=2))
    for name in "abc":
        outcomes.suggested(0, sent(name))
    assert (len(outcomes), outcomes.skipped) == (2, 1)


def test_of_who_is_forgotten_nothing_is_left(outcomes: Outcomes) -> None:
    outcomes.suggested(0, sent("later", 1_050.0))
    outcomes.suggested(0, sent("other", user="bob"))
    looked(outcomes, MUG, 1_020.0)
    outcomes.forget("ann", 1_020.0)
    outcomes.suggested(0, sent("as old", 1_010.0))
    assert rewards(outcomes, 2_000.0) == [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]


def test_what_was_not_described_cannot_be_learnt() -> None:
    outcomes = Outcomes(CONFIG)
    one = sent()
    one.features[1] = np.nan
    outcomes.suggested(0, one)
    assert after(outcomes)[0].learnable.tolist() == [True, False]


events = st.one_of(
    st.tuples(st.just("list"), st.integers(0, 30), st.integers(0, 120), st.sampled_from("ab")),
    st.tuples(st.just("act"), st.integers(0, 3), st.integers(0, 260), st.sampled_from("ab"), st.booleans()),
    st.tuples(st.just("heard"), st.integers(0, 30), st.sampled_from(["shown", "clicked", "dismissed"])),
    st.tuples(st.just("forget"), st.sampled_from("ab"), st.integers(0, 200)),
    st.tuples(st.just("take")),
)


@given(st.lists(events, max_size=40), st.integers(0, 40))
def test_whoever_goes_on_closes_the_same_lists_with_the_same_rewards(history: list[tuple], cut: int) -> None:  # type: ignore[type-arg]
    whole, parts = Outcomes(CONFIG), Outcomes(CONFIG)
    found: tuple[list[Closed], list[Closed]] = ([], [])
    for number, event in enumerate([*history, ("act", 0, 999, "a", False), ("take",)]):
        if number == cut:
            arrays = {name: array.copy() for name, array in parts.training().items()}
            parts = Outcomes(CONFIG)
            parts.restore(arrays)
        for outcomes, closed in zip((whole, parts), found, strict=True):
            match event:
                case ("list", name, at, user):
                    outcomes.suggested(0, sent(str(name), float(at), user, number, [MUG, STEEL]))
                case ("act", item, at, user, taken):
                    outcomes.advance(0, float(at), AHEAD)
                    outcomes.acted(0, user, item, float(at), "clicks", number, taken=taken)
                case ("heard", name, action):
                    outcomes.heard(str(name), MUG, action)
                case ("forget", user, before):
                    outcomes.forget(user, float(before))
                case _:
                    closed += outcomes.take()
    assert len(found[0]) == len(found[1]) and whole.closed == parts.closed
    for one, other in zip(*found, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(whole.fates, parts.fates)
