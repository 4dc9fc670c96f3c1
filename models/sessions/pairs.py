"""Pairs of items that a shopper's events make, and their weights."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import log2
from operator import itemgetter

from models.sessions.looks import Look
from models.shop.events import BOUGHT_WITH, VIEWED_THEN_BOUGHT, VIEWED_WITH

Pair = tuple[int, int, int, float]
"""(a, b, kind, weight): the row of item a gains weight for its neighbour b. a == b is the item's own count; b == TOTAL
is a basket's share of the total, counted where item a is."""

TOTAL = -1

_at = itemgetter(0)


class ViewedWith:
    """Makes viewed-with pairs; arguments as of `VisitConfig`."""

    def __init__(
        self, items: int, window_s: float, pair_reach: int, distance_exponent: float, backward_weight: float
    ) -> None:
        self._items, self._window_s, self._reach = items, window_s, pair_reach
        weights = [
            [distance**-distance_exponent / log2(2 + length) for distance in range(1, pair_reach + 1)]
            for length in range(items + 1)
        ]  # by length of the window and distance
        self._forward = [[round(weight, 4) for weight in row] for row in weights]
        self._backward = [[round(backward_weight * weight, 4) for weight in row] for row in weights]

    def pairs(self, recent: list[Look], place: int, look: Look) -> list[Pair]:
        """Own count of a look's item, and its pairs with the looks around it in the window, each other item once.

        `recent` has the shopper's looks without this one, by (event time, offset); it belongs at `place`.
        """
        at, item = look[0], look[2]
        pairs: list[Pair] = [(item, item, VIEWED_WITH, 1.0)]
        if not recent:
            return pairs
        size, newest = len(recent), recent[-1][0]
        oldest = (at if at > newest else newest) - self._window_s
        first = size - self._items if size > self._items else 0
        if recent[first][0] < oldest:
            first = bisect_left(recent, oldest, first, key=_at)
        if first == size or place < first or at < oldest:
            return pairs
        reach, forward, backward = self._reach, self._forward[size - first], self._backward[size - first]
        before = recent[max(first, place - reach) : place]
        before.reverse()
        seen = {item}
        if place == size:
            for other_look, ahead, back in zip(before, forward, backward):  # noqa: B905 - as far as the window reaches
                other = other_look[2]
                if other not in seen:
                    seen.add(other)
                    pairs.append((other, item, VIEWED_WITH, ahead))
                    pairs.append((item, other, VIEWED_WITH, back))
            return pairs
        sides = ((before, forward, backward), (recent[place : place + reach], backward, forward))
        for step in range(reach):
            for side, to_item, from_item in sides:
                if step < len(side) and (other := side[step][2]) not in seen:
                    seen.add(other)
                    pairs.append((other, item, VIEWED_WITH, to_item[step]))
                    pairs.append((item, other, VIEWED_WITH, from_item[step]))
        return pairs


def basket_weight(items: Sequence[int]) -> float:
    """Weight of each pair of a basket: a large basket says less about any two of its items."""
    return round(1 / log2(max(2, len(items))), 4)


def bought_with(items: Sequence[int]) -> list[Pair]:
    """The basket's share of the total, its items' own counts, and a pair of every two of them, both ways."""
    weight = basket_weight(items)
    pairs: list[Pair] = [(items[0], TOTAL, BOUGHT_WITH, weight)]
    pairs += [(a, b, BOUGHT_WITH, weight) for a in items for b in items]
    return pairs


def viewed_then_bought(viewed: Sequence[int], bought: Sequence[int], distance_exponent: float) -> list[Pair]:
    """Pairs of each item looked at, newest first, with each item bought after it."""
    weight = basket_weight(bought)
    return [
        (view, b, VIEWED_THEN_BOUGHT, round(rank**-distance_exponent * weight, 4))
        for rank, view in enumerate(viewed, 1)
        for b in bought
        if b != view
    ]
