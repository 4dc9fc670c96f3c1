"""The compiled call that predicts: that answers depend on windows alone, and that they are those of the scorer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from models.cache_lines import LINE
from models.sequence import predictor
from models.sequence.features import gap_classes
from models.sequence.prediction import LOOKS, WAYS, WindowBatch, expect
from models.sequence.predictor import COMPARED, SequencePredictor
from models.sequence.products import BLOCK, blocks_of, products
from models.sequence.scorer import Scorer
from models.sequence.top_cosines import best, name_of, sum_of_exps, value_of
from models.sessions.visits import Window
from models.thread_team import ThreadTeam
from tests.support.item_vectors import answers, scorer_of

UNITS = 20


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return scorer_of(np.random.default_rng(5).normal(size=(300, UNITS)).astype(np.float32))


def windows_of(chance: np.random.Generator, number: int) -> list[Window]:
    """Windows, many of them one or two looks longer than another, some too long to be kept, some of unknown items."""
    found = []
    for _ in range(number):
        length = int(chance.integers(0, LOOKS + 3))
        gaps = chance.choice([0.0, 4.0, 5.0, 100.0, 7_200.0], length)
        looks = Window(
            chance.integers(0, 310, length).tolist(), chance.integers(0, 3, length).tolist(), np.cumsum(gaps).tolist()
        )
        for end in (length - 2, length - 1, length - 1, length):
            if end >= 0:
                found.append(Window(looks.items[:end], looks.actions[:end], looks.ats[:end]))
    return found


def batch(windows: Sequence[Window]) -> WindowBatch:
    columns = ([value for window in windows for value in window[part]] for part in range(3))
    items, actions, ats = columns
    ends = np.cumsum([0, *(len(window.items) for window in windows)])
    return WindowBatch(np.array(items, np.int32), np.array(actions, np.int8), np.array(ats, np.float64), ends)


@pytest.mark.parametrize("exact", [1_000, 100])
def test_answers_depend_on_the_window_alone_to_the_last_bit(
    scorer: Scorer, exact: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They do not depend on shopper, earlier calls or the rest of the batch. Places for states are few here."""
    chance = np.random.default_rng(7)
    windows = windows_of(chance, 60)
    monkeypatch.setattr(predictor, "SHOPPERS", 2 * WAYS)
    fresh, used = (SequencePredictor(scorer, "1", exact) for _ in range(2))
    alone = []
    for window in windows:
        alone += answers(fresh.expect([("ann", window)]))
        fresh.clear()
    assert [bool(items) for items, _ in alone] == [bool(window.items) for window in windows]
    for _ in range(30):
        start = int(chance.integers(0, len(windows) - 50))
        some = range(start, start + int(chance.integers(1, 50)))
        shoppers = [(f"shopper {place // 4 % 30}", windows[place]) for place in some]
        assert answers(used.expect(shoppers)) == [alone[place] for place in some]
        used.forget(shoppers[0][0])


def test_answers_are_the_best_of_the_scorer(scorer: Scorer) -> None:
    windows = [window for window in windows_of(np.random.default_rng(8), 40) if window.items]
    read = scorer.read([(window.items, window.actions, gap_classes(window.ats)) for window in windows])
    logits = scorer.logits(read).astype(np.float64)
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = answers(SequencePredictor(scorer, "1").expect([("ann", window) for window in windows]))
    for row, (items, shares) in zip(chances, found, strict=True):
        order = np.argsort(-row, kind="stable")[: predictor.ITEMS]
        np.testing.assert_allclose(shares, row[order], rtol=1e-5)
        np.testing.assert_allclose(row[items], row[order], rtol=1e-5)


@pytest.mark.parametrize("exact", [1_000, 100])
def test_answers_are_the_same_however_many_threads_they_are_divided_among(
    scorer: Scorer, exact: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where calls are divided in different ways, and places for states are few."""
    chance = np.random.default_rng(10)
    windows = windows_of(chance, 60)
    monkeypatch.setattr(predictor, "LEAST_COMPARED", 1)
    few = SequencePredictor(scorer, "1", exact)
    monkeypatch.setattr(predictor, "SHOPPERS", 5 * WAYS)
    used, teams = SequencePredictor(scorer, "1", exact), [ThreadTeam(size, "test") for size in (1, 2, 3)]
    monkeypatch.setattr(predictor, "expect", noted := _Noted())
    for _ in range(40):
        start = int(chance.integers(0, len(windows) - 50))
        some = windows[start : start + int(chance.integers(1, 50))]
        keys = chance.integers(-30, 30, len(some))
        team = teams[int(chance.integers(0, 3))]
        found, wanted = used.expect_batch(keys, batch(some), team), few.expect_batch(keys, batch(some))
        for ours, theirs in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(ours, theirs, strict=True)
        used.forget_key(int(keys[0]))
    assert noted.threads == {threading.current_thread().name, "test-1", "test-2"}


def test_a_state_is_found_again_by_another_thread(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "LEAST_COMPARED", 1)
    kept, keys = SequencePredictor(scorer, "1"), np.arange(12)
    looks = [Window([number + 1], [0], [0.0]) for number in range(12)]
    more = [Window([number + 1, 5], [0, 0], [0.0, 1.0]) for number in range(12)]
    kept.expect_batch(keys, batch(looks), ThreadTeam(3, "test"))
    kept._kept.hidden[:] += 1.0
    fresh = answers(SequencePredictor(scorer, "1").expect_batch(keys, batch(more)))
    found = answers(kept.expect_batch(keys, batch(more), ThreadTeam(2, "test")))
    assert all(ours != theirs for ours, theirs in zip(found, fresh, strict=True))  # none was computed from the start


class _Noted:
    """Predicts, and notes in which threads."""

    def __init__(self) -> None:
        self.threads = set[str]()

    def __call__(self, *arguments: Any) -> Any:
        self.threads.add(threading.current_thread().name)
        return expect(*arguments)


def test_shoppers_of_one_key_are_answered_as_any_others(scorer: Scorer) -> None:
    windows = windows_of(np.random.default_rng(9), 20)
    ours, theirs = SequencePredictor(scorer, "1"), SequencePredictor(scorer, "1")
    same = ours.expect_batch(np.full(len(windows), -7), batch(windows))
    other = theirs.expect_batch(np.arange(len(windows)), batch(windows))
    assert answers(same) == answers(other)


def test_what_is_kept_is_carried_on_and_not_computed_again(scorer: Scorer) -> None:
    kept = SequencePredictor(scorer, "1")
    looks = Window([1, 2, 3], [0, 0, 0], [0.0, 1.0, 2.0])
    right = answers(kept.expect([("ann", looks)]))
    more = Window([*looks.items, 4], [0, 0, 0, 0], [0.0, 1.0, 2.0, 3.0])
    right_with_more = answers(SequencePredictor(scorer, "1").expect([("ann", more)]))
    (place,) = np.flatnonzero(kept._kept.lengths)
    kept._kept.hidden[place] += 1.0
    assert answers(kept.expect([("ann", looks)])) != right
    assert answers(kept.expect([("ann", more)])) != right_with_more
    assert answers(kept.expect([("ann", Window([2, 3], [0, 0], [1.0, 2.0]))])) == answers(
        SequencePredictor(scorer, "1").expect([("bob", Window([2, 3], [0, 0], [1.0, 2.0]))])
    )


def test_of_a_shopper_who_is_forgotten_nothing_is_kept_and_others_answers_stay_the_same(scorer: Scorer) -> None:
    kept = SequencePredictor(scorer, "1")
    shoppers = [(name, Window([place, place + 1], [0, 1], [0.0, 1.0])) for place, name in enumerate(("ann", "bob"))]
    right = answers(kept.expect(shoppers))
    kept.forget("ann")
    kept.forget("nobody")
    assert answers(kept.expect(shoppers[1:])) == right[1:]
    (place,) = np.flatnonzero(kept._kept.lengths)
    assert [int(column[place].any()) for column in kept._kept[:-1]] == [1] * (len(kept._kept) - 1)
    others = np.delete(np.arange(len(kept._kept.keys)), place)
    assert not any(column[others].any() for column in kept._kept[:-1])
    kept.clear()
    assert answers(kept.expect(shoppers)) == right


def test_the_more_items_the_fewer_shoppers_at_one_go() -> None:
    def most(size: int) -> int:
        return SequencePredictor(scorer_of(np.ones((size, 2), np.float32)), "1").max_batch

    assert [most(size) for size in (0, 10, 10_000)] == [COMPARED, COMPARED // 10, 320]


def test_the_memory_that_is_told_has_vectors_states_and_windows(scorer: Scorer) -> None:
    found, states = SequencePredictor(scorer, "1").nbytes, predictor.SHOPPERS * (2 * UNITS * 4 + LOOKS * 13)
    assert states + 2 * scorer.vectors.nbytes < found < states + 3 * scorer.vectors.nbytes + 20 * predictor.SHOPPERS


@pytest.mark.parametrize("count", [1, 3, 49, 50, 51, 255, 256, 257, 2_000])
def test_the_best_come_in_order_and_of_equals_the_lowest_names(count: int) -> None:
    chance = np.random.default_rng(count)
    names = chance.permutation(10 * count)[:count].astype(np.int32)
    for line in (
        chance.uniform(-1.0, 1.0, count).astype(np.float32),
        (chance.integers(-20, 20, count) / 20).astype(np.float32),
        np.full(count, 0.25, np.float32),
    ):
        for k in (1, 7, 50, 256):
            ranked = np.empty(k, np.int64)
            found = best(np.append(line, np.float32(9.0)), count, names, ranked)
            order = np.lexsort((names, -line))[:k]
            assert found == len(order)
            assert [name_of(rank) for rank in ranked[:found]] == names[order].tolist()
            assert [value_of(rank) for rank in ranked[:found]] == line[order].tolist()


def test_numbers_that_are_none_are_never_among_the_best() -> None:
    line, ranked = np.array([0.5, np.nan, -0.5, np.nan], np.float32), np.empty(4, np.int64)
    found = best(line, 4, np.arange(4, dtype=np.int32), ranked)
    assert {name_of(rank) for rank in ranked[:found]} <= {0, 2}


def test_sums_of_exponentials_are_right_to_a_millionth() -> None:
    for count in (1, 5, 64, 20_000):
        line = np.random.default_rng(count).uniform(-1.0, 1.0, count).astype(np.float32)
        for scale in (1.0, 16.0, 40.0):
            true = np.exp(scale * (line.astype(np.float64) - 1.0)).sum()
            assert sum_of_exps(np.append(line, np.float32(1.0)), count, scale) == pytest.approx(true, rel=3e-6)


def test_products_are_those_of_numpy_and_depend_on_the_row_alone() -> None:
    chance = np.random.default_rng(1)
    for columns, units in ((1, 1), (31, 3), (32, 100), (33, 100), (100, 17)):
        rows, other = (chance.normal(size=(number, units)).astype(np.float32) for number in (11, columns))
        blocks = blocks_of(other)
        found = np.empty((11, len(blocks) * BLOCK), np.float32)
        products(rows, 0, 11, blocks, found)
        np.testing.assert_allclose(found[:, :columns], rows @ other.T, atol=1e-4)
        assert not found[:, columns:].any()
        assert blocks.ctypes.data % LINE == 0
        for row in range(11):
            for count in (1, 2, 3, 4):
                some = np.empty((count, found.shape[1]), np.float32)
                if row + count <= 11:
                    products(rows, row, count, blocks, some)
                    np.testing.assert_array_equal(some, found[row : row + count])


def test_products_add_terms_in_the_order_of_units() -> None:
    """As one fused chain a product, whatever vectors the processor has: float64 holds what is rounded each time."""
    chance = np.random.default_rng(2)
    for columns in (32, 64, 90):  # blocks alone, together, and both
        rows, other = (chance.integers(-(2**11), 2**11, (size, 50)).astype(np.float32) for size in (7, columns))
        rows, other = rows / np.float32(7), other / np.float32(3)
        expected = np.zeros((7, columns), np.float32)
        for unit in range(50):
            terms = np.outer(rows[:, unit], other[:, unit].astype(np.float64))
            expected = (expected + terms).astype(np.float32)
        blocks = blocks_of(other)
        found = np.empty((7, len(blocks) * BLOCK), np.float32)
        products(rows, 0, 7, blocks, found)
        np.testing.assert_array_equal(found[:, :columns], expected)


def test_touched_memory_changes_no_answer(scorer: Scorer) -> None:
    chance = np.random.default_rng(9)
    plain, touched = (SequencePredictor(scorer, "1") for _ in range(2))
    for window in windows_of(chance, 5):
        touched.touch()
        assert answers(touched.expect([("ann", window)])) == answers(plain.expect([("ann", window)]))
