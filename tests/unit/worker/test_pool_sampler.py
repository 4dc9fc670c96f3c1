"""Which lists' pools are logged: within the budget, whatever their place in a batch, and only of arms that learn."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
import pytest

from models.serving.recommender import seed_of
from models.shop.policy import DEFAULT, FIXED, NONE, POPULAR
from streams.worker.pool_sampler import FIRST_BYTES, PoolSampler


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Query(NamedTuple):
    name: str
    arm: int


def queries(n: int, first: int = 0, arm: int = DEFAULT) -> list[Query]:
    return [Query(f"clicks-3-{number}", arm) for number in range(first, first + n)]


def logged(sampler: PoolSampler, batch: list[Query], size: float = FIRST_BYTES) -> list[str]:
    """Ids of the lists of a batch whose pools are logged, and paid for."""
    arms = np.array([query.arm for query in batch], np.int8)
    rows = sampler.pick(arms, lambda some: [seed_of(batch[row].name) for row in some]).tolist()
    assert rows == sorted(rows)
    chosen = [batch[row].name for row in rows]
    for _ in chosen:
        sampler.spend(int(size))
    return chosen


@pytest.mark.parametrize("size", [500, 8_000, 60_000])
@pytest.mark.parametrize("per_batch", [1, 40])
def test_a_worker_writes_what_the_budget_says_however_large_pools_are(per_batch: int, size: int) -> None:
    clock, budget = Clock(), 64 << 10
    sampler, written = PoolSampler(budget, clock), 0
    for turn in range(6_000):  # ten minutes
        clock.now += 0.1
        written += size * len(logged(sampler, queries(per_batch, turn * per_batch), size))
    wanted = min(600 * budget, size * per_batch * 6_000)
    assert 0.95 * wanted < written < 600 * budget + 2 * budget + per_batch * size


def test_without_a_budget_nothing_is_logged() -> None:
    clock = Clock()
    sampler = PoolSampler(0, clock)
    clock.now += 1e6
    assert logged(sampler, queries(100)) == []


def test_a_small_budget_logs_a_pool_now_and_then() -> None:
    clock = Clock()
    sampler = PoolSampler(100, clock)
    assert len(logged(sampler, queries(5))) == 1
    clock.now += 79.0
    assert logged(sampler, queries(5)) == []
    clock.now += 2.0
    assert len(logged(sampler, queries(5))) == 1


def test_a_silence_saves_up_for_a_second_and_no_more() -> None:
    clock = Clock()
    sampler = PoolSampler(10 * int(FIRST_BYTES), clock)
    clock.now += 3_600.0
    assert len(logged(sampler, queries(1_000))) == 10


def test_a_clock_that_goes_back_gives_nothing_and_takes_nothing() -> None:
    clock = Clock()
    sampler = PoolSampler(int(FIRST_BYTES), clock)
    assert len(logged(sampler, queries(3))) == 1
    clock.now -= 500.0
    assert logged(sampler, queries(3)) == []
    clock.now += 1.0
    assert len(logged(sampler, queries(3))) == 1


def test_every_place_of_a_burst_is_as_likely_and_the_same_lists_are_chosen_in_any_order() -> None:
    places: Counter[int] = Counter()
    for burst in range(300):
        batch = queries(20, 20 * burst)
        chosen = logged(PoolSampler(5 * int(FIRST_BYTES), Clock()), batch)
        places.update(number for number, query in enumerate(batch) if query.name in chosen)
        turned = queries(20, 20 * burst)[::-1]
        assert sorted(logged(PoolSampler(5 * int(FIRST_BYTES), Clock()), turned)) == sorted(chosen)
    assert sum(places.values()) == 1_500
    assert min(places.values()) > 45  # of 75
    assert max(places.values()) < 105


@pytest.mark.parametrize(("arm", "learns"), [(DEFAULT, True), (FIXED, True), (NONE, False), (POPULAR, False)])
def test_only_arms_whose_lists_could_have_been_ours_are_logged(arm: int, learns: bool) -> None:
    chosen = logged(PoolSampler(10 * int(FIRST_BYTES), Clock()), queries(5, arm=arm) + queries(1, 5, NONE))
    assert len(chosen) == (5 if learns else 0)
