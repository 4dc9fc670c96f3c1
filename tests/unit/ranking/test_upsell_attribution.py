"""Pools of upsells that stay open for a month, on cases with a known answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.ranking.attribution import AttributionConfig, Impression
from models.ranking.upsell_attribution import UpsellAttribution
from models.shop.kinds import CROSS_SELL, UPSELL

DAY_S = 86_400.0
CONFIG = AttributionConfig(most_open_upsells=30 * 24)
"""One pool an hour in each of as many partitions as there are."""
AHEAD = 1e12
MUG, STEEL, GOLD = 1, 3, 4


def pool(offset: int, at: float, items: Iterable[int] = (MUG, STEEL, GOLD)) -> Impression:
    listed = list(items)
    kinds = bytearray(CROSS_SELL if item == MUG else UPSELL for item in listed)
    features = np.array([[item, offset] for item in listed], np.float16)
    return Impression(f"clicks-0-{offset}", "ann", at, "clicks", offset, listed, kinds, features)


def after(attribution: UpsellAttribution, at: float) -> list[tuple[list[int], list[list[float]], list[bool]]]:
    """Items, features and what was taken of the pools that close once an event of that time came."""
    attribution.advance(0, at, AHEAD)
    return [(one.items.tolist(), one.features.tolist(), one.taken.tolist()) for one in attribution.take()]


@pytest.mark.parametrize(("days", "counts"), [(29.9, True), (30.1, False)])
def test_an_upsell_is_taken_within_a_month(days: float, counts: bool) -> None:
    attribution = UpsellAttribution(CONFIG, 2, 1)
    attribution.record_impression(0, pool(5, 0.0))
    attribution.advance(0, days * DAY_S, AHEAD)
    attribution.record_action(0, "ann", GOLD, days * DAY_S, "purchases", 0, taken=True)
    attribution.record_action(0, "ann", MUG, days * DAY_S, "purchases", 0, taken=True)
    assert after(attribution, 31 * DAY_S) == [([STEEL, GOLD], [[3.0, 5.0], [4.0, 5.0]], [False, counts])]


def test_of_each_partition_one_pool_with_upsells_is_opened_in_each_slot() -> None:
    attribution = UpsellAttribution(CONFIG, 2, 2)  # a slot has two hours
    for number in (0, 1):
        attribution.record_impression(number, replace(pool(1, 10.0, [MUG]), suggestion_id=f"mugs-{number}"))
        for offset, hours in [(2, 0.1), (3, 1.9), (4, 2.1), (5, 2.2), (6, 9.0)]:
            opened = replace(pool(offset, hours * 3_600.0), suggestion_id=f"{number}-{offset}")
            attribution.record_impression(number, opened)
            attribution.record_impression(number, opened)  # sent twice
    assert (len(attribution), attribution.skipped) == (6, 0)
    attribution.advance(0, 40 * DAY_S, AHEAD)
    assert [one.features[0, 1] for one in attribution.take()] == [2.0, 4.0, 6.0]
    assert len(attribution) == 3


def test_times_in_any_order_open_one_pool_a_slot() -> None:
    attribution = UpsellAttribution(CONFIG, 2, 2)
    for offset, hours in enumerate([0.1, 2.1, 1.9, 2.2, 1.95]):
        attribution.record_impression(0, pool(offset, hours * 3_600.0))
    assert (len(attribution), attribution.skipped) == (2, 0)


@pytest.mark.parametrize("none", [{"most_open_upsells": 0}, {"upsell_window_s": 0.0}])
def test_upsells_of_a_month_can_be_switched_off(none: dict[str, Any]) -> None:
    attribution = UpsellAttribution(replace(CONFIG, **none), 2, 2)
    attribution.record_impression(0, pool(5, 10.0))
    attribution.record_action(0, "ann", GOLD, 20.0, "purchases", 0, taken=True)
    assert not any(taken for _, _, taken_of in after(attribution, 1_000.0) for taken in taken_of)


def test_a_clock_that_is_far_ahead_keeps_no_later_pool_out_and_the_bound_holds() -> None:
    attribution = UpsellAttribution(replace(CONFIG, most_open_upsells=3), 2, 1)
    for offset, days in enumerate([0.0, 9_000.0, 10.5, 20.5]):
        attribution.record_impression(0, pool(offset, days * DAY_S))
    assert (len(attribution), attribution.skipped) == (3, 1)


def test_after_a_restart_the_same_pools_are_opened() -> None:
    chance = np.random.default_rng(3)
    times = np.cumsum(chance.exponential(1_200.0, 200))
    whole, parts = UpsellAttribution(CONFIG, 2, 1), UpsellAttribution(CONFIG, 2, 1)
    for offset, at in enumerate(times.tolist()):
        if offset % 7 == 3:
            later = UpsellAttribution(CONFIG, 2, 1)
            later.restore(parts.training())
            parts = later
        for attribution in (whole, parts):
            attribution.record_impression(0, pool(offset, at))
    assert (len(parts), parts.nbytes) == (len(whole), whole.nbytes)
    assert after(parts, 90 * DAY_S) == after(whole, 90 * DAY_S)
    assert 40 < whole.closed < 80
