"""Counts everything again, straight from the clicks and purchases, by the weights of docs/architecture.md.

Plain Python, event by event: slow, short, and independent of the worker's code. Only the constants are the worker's.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from math import log2

from models.sessions.visits import KEPT_WINDOWS, VisitConfig
from streams.drills.counts import TOTAL, Cell, Counts
from streams.drills.evidence import Event

DECIMALS = 4
"""Weights of single pairs are rounded to so many."""

Look = tuple[float, int, str, float]
"""(event time, offset, item, append time): by event time, then by the order of the log."""


def recount(clicks: Sequence[Event], purchases: Sequence[Event], config: VisitConfig, counts: Counts) -> Counts:
    """Count all pairs of events, given by partition and offset without repeated ones; fills and returns `counts`."""
    looks_of: defaultdict[str, list[Look]] = defaultdict(list)  # in the order of the log
    for click, appended_s in _with_append_times(clicks):
        if click.triggers:
            item = click.item_ids[0]
            counts.add(Cell("views", item, item), 1.0, click.at_s)
            looks, look = looks_of[click.user_id], (click.at_s, click.record.offset, item, appended_s)
            _count_look(_last(looks, config), look, config, counts)
            looks.append(look)
    for purchase, appended_s in _with_append_times(purchases):
        known_s = appended_s + config.join_grace_s
        looks = [look for look in looks_of[purchase.user_id] if look[3] <= known_s]
        _count_purchase(purchase, _last(looks, config), config, counts)
    return counts


def _with_append_times(events: Sequence[Event]) -> Iterator[tuple[Event, float]]:
    """Events with their append times, made monotonic within each partition."""
    by_partition: defaultdict[int, list[Event]] = defaultdict(list)
    for event in events:
        by_partition[event.record.partition].append(event)
    for partition in by_partition.values():
        yield from zip(partition, accumulate((event.appended_s for event in partition), max), strict=True)


def _last(looks: Sequence[Look], config: VisitConfig) -> list[Look]:
    """The remembered looks, which are the last ones of the log, by event time."""
    return sorted(looks[-KEPT_WINDOWS * config.items :])


def _count_look(looks: Sequence[Look], look: Look, config: VisitConfig, counts: Counts) -> None:
    """Count a look with those of its window, on both sides of it by event time."""
    at_s, _, item, _ = look
    newest_s = max(at_s, looks[-1][0]) if looks else at_s
    window = [other for other in looks[-config.items :] if other[0] >= newest_s - config.window_s]
    place = bisect_left(looks, look) - (len(looks) - len(window))
    if place < 0 or at_s < newest_s - config.window_s:
        return  # older than the window: counts for its item only
    known = {item}  # each other item counts once, where it is nearest
    for distance in range(1, config.pair_reach + 1):
        along = distance**-config.distance_exponent / log2(2 + len(window))
        against = config.backward_weight * along
        for number, to_other, to_item in ((place - distance, against, along), (place + distance - 1, along, against)):
            if 0 <= number < len(window) and (other := window[number][2]) not in known:
                known.add(other)
                counts.add(Cell("viewed_with", item, other), round(to_other, DECIMALS), at_s)
                counts.add(Cell("viewed_with", other, item), round(to_item, DECIMALS), at_s)


def _count_purchase(purchase: Event, looks: Sequence[Look], config: VisitConfig, counts: Counts) -> None:
    """Count a purchase's items with each other, and with those looked at before it."""
    at_s = purchase.at_s
    bought = purchase.item_ids[: config.max_pair_items]
    weight = round(1 / log2(max(2, len(bought))), DECIMALS)
    counts.add(Cell(TOTAL, "", ""), weight, at_s, 0)
    for a in bought:
        for b in bought:
            counts.add(Cell("baskets" if a == b else "bought_with", a, b), weight, at_s)
    before = [item for looked_s, _, item, _ in reversed(looks) if at_s - config.window_s < looked_s <= at_s]
    most = min(config.items, config.max_pair_items)
    for rank, viewed in enumerate(list(dict.fromkeys(before))[:most], start=1):
        share = round(rank**-config.distance_exponent * weight, DECIMALS)
        for b in bought:
            if b != viewed:
                counts.add(Cell("viewed_then_bought", viewed, b), share, at_s)
