"""Windows: each look is fresh in one of them, some shoppers' are held back, and those who refuse are left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="install the extra `learning` to run this")

from models.sequence.config import GateConfig, LearnerConfig
from models.sequence.features import Contents
from models.sequence.gate import Gate, scores
from models.sequence.scorer import Scorer
from models.sequence.window_buffer import LookWindow
from models.sequence.windowing import LOOKS_A_WINDOW, WindowBuilder
from models.sessions.visits import VisitConfig
from models.shop.events import Action, Click, Profile
from models.shop.items import Items
from tests.support.sequence_model import CHAINS, scorer, taught, well_taught, window

NONE_HELD = GateConfig(share=0.0)
ALL_HELD = GateConfig(share=1.0, age_s=60.0)
VISITS = VisitConfig(window_s=100.0)


class Sink:
    """Keeps the windows that it gets."""

    def __init__(self) -> None:
        self.windows: list[LookWindow] = []

    def add(self, window: LookWindow) -> bool:
        self.windows.append(window)
        return False

    @property
    def got(self) -> list[tuple[list[int], int]]:
        return [(list(window.items), window.fresh) for window in self.windows]


class Builder:
    """A window builder whose items are named by their indices."""

    def __init__(self, gate: GateConfig = NONE_HELD, looks: int = 4, chunk: int = 1000, every_s: float = 1e9) -> None:
        self.sink = Sink()
        self.items = Items()
        config = LearnerConfig(looks=looks, chunk=chunk)
        self.windows = WindowBuilder(self.items, VISITS, config, gate, every_s, self.sink)
        self.offset = 0

    def due(self) -> bool:
        return self.windows.due

    def look(self, item: int, at: float, user: str = "ann", appended_s: float | None = None, **more: Any) -> None:
        while len(self.items) <= item:
            self.items.index(str(len(self.items)))
        click = Click(user, str(item), Action.VIEW, at, **more)
        self.windows.click(0, click, 1000.0 + self.offset if appended_s is None else appended_s, self.offset)
        self.offset += 1


def test_a_visit_is_learnt_in_one_window_and_what_comes_later_is_told_what_was_before() -> None:
    builder = Builder()
    builder.look(1, 10.0)
    builder.look(2, 20.0)
    assert builder.sink.got == []
    builder.windows.gather()
    builder.look(3, 30.0)
    builder.windows.gather()
    builder.windows.gather()
    assert builder.sink.got == [([1, 2], 2), ([1, 2, 3], 1)]
    assert builder.sink.windows[1].gaps == [9, 1, 1]


def test_a_window_is_learnt_when_it_is_full_and_when_the_next_look_begins_another() -> None:
    builder = Builder(looks=3)
    for item in (1, 2, 3, 4):
        builder.look(item, 10.0 * item)
    assert builder.sink.got == [([1, 2, 3], 3)]
    builder.look(5, 40.0 + VISITS.window_s + 1)
    assert builder.sink.got[1:] == [([1, 2, 3, 4], 1)]
    builder.windows.gather()
    assert builder.sink.got[2:] == [([5], 1)]


def test_a_late_look_is_fresh_where_it_belongs_or_by_itself() -> None:
    builder = Builder()
    builder.look(1, 50.0)
    builder.look(2, 70.0)
    builder.look(3, 60.0)  # between two that are not learnt yet
    builder.look(4, 40.0)  # before them
    assert builder.sink.got == [([4], 1)]
    builder.windows.gather()
    assert builder.sink.got[1:] == [([4, 1, 3, 2], 3)]


looks = st.lists(
    st.tuples(
        st.sampled_from(["ann", "bob"]),
        st.integers(0, 400),  # event time
        st.sampled_from(["", "", "", "gather", "repeat"]),
    ),
    max_size=60,
)


@given(looks, st.sampled_from([NONE_HELD, ALL_HELD, GateConfig(share=0.5, windows=3)]))
def test_every_look_is_fresh_in_just_one_window_whatever_the_order(
    history: list[tuple[str, int, str]], gate: GateConfig
) -> None:
    builder = Builder(gate, every_s=7.0)
    for number, (user, at, then) in enumerate(history):
        builder.look(number, float(at), user, event_id=f"event-{number}")
        if then == "gather":
            builder.windows.gather()
        if then == "repeat":
            builder.look(number, float(at), user, event_id=f"event-{number}")
    window_builder = builder.windows
    window_builder.gather()
    learnt = [item for window in builder.sink.windows for item in window.items[-window.fresh :]]
    held = [item for window in window_builder.gate.release(1e12) for item in window.items[-window.fresh :]]
    assert sorted(learnt + held) == list(range(len(history)))
    assert (window_builder.events, window_builder.held) == (len(learnt), len(held))


def test_a_chunk_is_due_by_windows_by_looks_and_by_append_time() -> None:
    by_windows = Builder(looks=2, chunk=2)
    for item in (1, 2, 3):
        by_windows.look(item, 10.0 * item)
    assert not by_windows.due()
    by_windows.look(4, 40.0)
    assert by_windows.due()
    by_windows.windows.begin_chunk()
    assert not by_windows.due()

    by_looks = Builder(chunk=1)
    for shopper in range(LOOKS_A_WINDOW):
        assert not by_looks.due()
        by_looks.look(1, 10.0, f"shopper-{shopper}")
    assert by_looks.due()

    by_time = Builder(every_s=5.0)
    by_time.look(1, 10.0, appended_s=1000.0)
    by_time.look(2, 20.0, appended_s=1005.0)
    assert not by_time.due()
    by_time.look(3, 30.0, appended_s=1005.1)
    assert by_time.due()
    assert by_time.sink.got == [([1, 2], 2)]


def test_who_refuses_is_not_learnt_from() -> None:
    builder = Builder()
    for user in ("ann", "bob"):
        for item in (1, 2, 3):
            builder.look(item, 10.0 * item, user)
    builder.windows.forget("ann", 20.0)
    builder.windows.apply_profile(0, Profile("bob", 35.0, consent=False))
    builder.look(4, 40.0, "bob")
    builder.windows.gather()
    assert builder.sink.got == [([3], 1)]
    assert (builder.windows.events, builder.windows.dropped) == (1, 5)


def test_what_is_held_back_is_learnt_when_it_is_old_and_goes_on_elsewhere() -> None:
    builder = Builder(ALL_HELD)
    builder.look(1, 10.0, appended_s=1000.0)
    builder.look(2, 20.0, appended_s=1010.0)
    builder.windows.gather()
    assert (builder.sink.got, builder.windows.held) == ([], 2)
    other = Builder(ALL_HELD)
    other.windows.restore(builder.windows.training())
    assert (other.windows.held, other.windows.at, len(other.windows.gate)) == (2, 20.0, 1)
    other.look(3, 500.0, appended_s=1070.0)
    assert other.sink.got == []
    other.look(4, 501.0, appended_s=1070.1)
    assert (other.sink.got, other.windows.events) == ([([1, 2], 2)], 2)


def test_the_same_shoppers_are_held_back_everywhere_and_about_the_share_of_them() -> None:
    gate = Gate(GateConfig(share=0.1), 3)
    held = [number for number in range(2_000) if gate.holds(f"shopper-{number}")]
    assert 150 < len(held) < 250
    assert held[:3] == [0, 10, 17]


@pytest.fixture(scope="module")
def good() -> Scorer:
    return scorer(well_taught())


@pytest.fixture(scope="module")
def ignorant() -> Scorer:
    return scorer(taught(64))


def holding(number: int) -> Gate:
    gate = Gate(GateConfig(least=10), 5)
    for which in range(number):
        gate.hold(window(CHAINS[which % 3]), 0.0)
    return gate


def test_scores_are_those_of_the_ranking(good: Scorer) -> None:
    found = scores(good, [window(CHAINS[2]), window((5,)), window((0, 99))])
    state = good.read([window(CHAINS[2][:place])[:3] for place in (1, 2, 3)])
    ranks = [
        1 + int((row > row[good.items == item]).sum())
        for row, item in zip(good.logits(state), (11, 22, 23), strict=True)
    ]
    assert found.shape == (2, 2)  # a first look alone asks for nothing
    assert found[0].tolist() == pytest.approx([1.0, np.mean([1 / rank for rank in ranks])])
    assert found[1].tolist() == [0.0, 0.0]  # an item that is not known
    last = window(CHAINS[2])._replace(fresh=1)
    assert scores(good, [last])[0, 1] == pytest.approx(1 / ranks[2])


def test_a_candidate_that_is_worse_is_found_out_and_a_better_or_equal_one_passes(
    good: Scorer, ignorant: Scorer
) -> None:
    gate = holding(30)
    assert gate.compare(ignorant, good).worse
    better = gate.compare(good, ignorant)
    assert not better.worse
    assert better.mrr > better.served_mrr
    assert not gate.compare(good, good).worse
    assert set(better.metrics()) == {"hr@20", "mrr@20", "n", "served_hr@20", "served_mrr@20"}


def test_with_too_little_to_judge_by_a_candidate_passes(good: Scorer, ignorant: Scorer) -> None:
    assert not holding(9).compare(ignorant, good).worse
    assert Gate(GateConfig(), 5).compare(ignorant, good).metrics() == {}
    alone = holding(30).compare(ignorant, None)
    assert (alone.worse, set(alone.metrics())) == (False, {"hr@20", "mrr@20", "n"})


def test_an_empty_scorer_knows_nothing() -> None:
    weights = taught(64).arrays()
    weights["items.weight"] = weights["items.weight"][:1]
    nothing = Scorer(weights, np.array([-1]), Contents(), 16.0)
    assert scores(nothing, [window((0, 1))]).tolist() == [[0.0, 0.0]]
