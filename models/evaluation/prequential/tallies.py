"""What the lists of each method add up to, as their windows close."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping
from functools import cache
from typing import Any, NamedTuple

from models.evaluation.lists import ALL, FIGURES, WITH_ITEMS, WITH_TARGETS, Place, diversity, gains
from models.shop.catalog import Catalog
from models.shop.kinds import CROSS_SELL, UPSELL

OUTCOMES = ("taken", "followed", "new to household, taken", "credited")
"""What a list is scored by; the last two are of what is taken."""

TAKEN, FOLLOWED, NEW, CREDITED = range(4)

ALONG = OUTCOMES[:NEW]
"""Outcomes whose curves along the stream are kept."""

PARTS = ("cross-sell", "upsell", "both")
"""Parts of a list that have figures of their own."""

CROSS_SELLS, UPSELLS, BOTH = range(3)

SLICES = (*PARTS, "cold item", "cold shopper")
"""Figures are told of each part of all lists, and of whole lists whose trigger or whose shopper is cold."""

COLD_ITEM, COLD_SHOPPER = 3, 4

COLUMNS = len(FIGURES) + 3
"""Sums of each slice and outcome: of each figure, and the lists that each may be a mean over."""

SHORTEST_STEP_S = 600
"""Step of the curve along the stream by which lists are counted, in seconds."""

JUDGED = (1 + len(ALONG)) * len(PARTS)
"""Place in `Tally.stretches` of the counts of items and of right items, which follow those of lists."""

ListParts = tuple[list[Place], list[Place], list[Place]]
"""A list by PARTS, each best first."""


class Traits(NamedTuple):
    """Properties of an item of the catalogue."""

    category: str  # to the depth that the policy compares
    brand: Hashable  # an item without one has a brand of its own
    price: float
    rating: float  # NaN: not rated
    currency: str | None


TraitsOf = Callable[[int], Traits | None]
"""Traits of an item; None if the catalogue does not have it."""


def catalog_traits(catalog: Catalog, depth: int) -> TraitsOf:
    """Looks up traits in a catalogue that does not change, with categories to a depth."""

    @cache
    def traits_of(item: int) -> Traits | None:
        offer = catalog.get(item)
        if offer is None:
            return None
        category = "/".join(offer.category.split("/")[: depth or None])
        brand = item if offer.brand is None else offer.brand
        rating = math.nan if offer.rating is None else offer.rating
        return Traits(category, brand, offer.price, rating, offer.currency)

    return traits_of


class ListOutcome(NamedTuple):
    """What the shopper did within the window of an event, and which figures of its lists that counts for."""

    group: int  # of shoppers; intervals resample groups
    step: int  # number of the shortest step of the curve
    stretch: int  # of events, counted from 0
    may_upsell: bool
    cold: tuple[int, ...]  # COLD_ITEM and COLD_SHOPPER where they apply
    items: tuple[Mapping[int, float], ...]  # by OUTCOMES: what each item counts
    targets: tuple[tuple[int, int, int], ...]  # their number, by OUTCOMES and PARTS


class Tally:
    """Sums over the lists of one method; `k` has the most places by PARTS.

    Attributes:
        sums: by group of shoppers, for each slice and outcome COLUMNS.
        curve: by shortest step: of each part the lists, those with an item taken, those with an item followed.
        stretches: of judged lists, by stretch of events and group of shoppers: as `curve`, then of each part the items
            and those that are right. Lists whose windows are open have items only.
        exposure: how often each item was shown, as cross-sell and as upsell.
        items: by part: items shown, of which from fallbacks, of which taken.
        diversity: by part: lists of two items or more, sums of their diversity by category and by brand.
        steps: of upsells shown and taken: their number, sum of their price steps.
        revenue: by part: sum of the prices of the items taken.
        cold_items: cold items shown.
    """

    def __init__(self, k: tuple[int, int, int], traits_of: TraitsOf) -> None:
        self._k = k
        self._traits_of = traits_of
        self.sums: defaultdict[int, list[float]] = defaultdict(lambda: [0.0] * len(SLICES) * len(OUTCOMES) * COLUMNS)
        self.curve: defaultdict[int, list[int]] = defaultdict(lambda: [0] * (1 + len(ALONG)) * len(PARTS))
        self.stretches: defaultdict[tuple[int, int], list[int]] = defaultdict(lambda: [0] * (JUDGED + 2 * len(PARTS)))
        self.exposure: tuple[Counter[int], Counter[int]] = (Counter(), Counter())
        self.items = [[0, 0, 0] for _ in PARTS]
        self.diversity = [[0.0, 0.0, 0.0] for _ in PARTS]
        self.steps = [[0.0, 0.0], [0.0, 0.0]]
        self.revenue = [0.0 for _ in PARTS]
        self.cold_items = 0

    def judge(self, shown: ListParts, is_right: Callable[[Place], bool], stretch: int, group: int) -> None:
        """Count the right items of a list, before it is added."""
        counts = self.stretches[stretch, group]
        for part, places in enumerate(shown):
            counts[JUDGED + 2 * part] += len(places)
            counts[JUDGED + 2 * part + 1] += sum(map(is_right, places))

    def add(self, shown: ListParts, cold_items: int, outcome: ListOutcome) -> None:
        """Add a list, with the number of its cold items and what the shopper did."""
        self.cold_items += cold_items
        sums, along = self.sums[outcome.group], [self.curve[outcome.step]]
        if (stretch := (outcome.stretch, outcome.group)) in self.stretches:
            along.append(self.stretches[stretch])
        for part, places in enumerate(shown):
            if part == UPSELLS and not outcome.may_upsell:
                continue
            for counts in along:
                counts[(1 + len(ALONG)) * part] += 1
            slices = (part, *outcome.cold) if part == BOTH else (part,)
            for number, taken in enumerate(outcome.items):
                wanted = outcome.targets[number][part]
                hits = [taken.get(place.item, 0.0) for place in places] if wanted else []
                gained = gains(hits, wanted, self._k[part]) if any(hits) else ()
                for which in slices:
                    first = (which * len(OUTCOMES) + number) * COLUMNS
                    sums[first + len(FIGURES) + ALL] += 1
                    sums[first + len(FIGURES) + WITH_ITEMS] += bool(places)
                    sums[first + len(FIGURES) + WITH_TARGETS] += bool(wanted)
                    for figure, gain in enumerate(gained, first):
                        sums[figure] += gain
                if gained and number < len(ALONG):
                    for counts in along:
                        counts[(1 + len(ALONG)) * part + 1 + number] += 1
                if gained and number == TAKEN:
                    sold = [place.item for place, hit in zip(places, hits, strict=True) if hit]
                    self.items[part][2] += len(sold)
                    self.revenue[part] += sum(offer.price for item in sold if (offer := self._traits_of(item)))
        self._describe(shown, outcome.items[TAKEN])

    def _describe(self, shown: ListParts, taken: Mapping[int, float]) -> None:
        """Add what does not depend on targets."""
        traits_of = self._traits_of
        for part, places in enumerate(shown):
            items, unlike = self.items[part], self.diversity[part]
            items[0] += len(places)
            items[1] += sum([place.falls_back for place in places])
            if len(places) > 1:
                traits = [found for place in places if (found := traits_of(place.item)) is not None]
                unlike[0] += 1
                unlike[1] += diversity([found.category for found in traits])
                unlike[2] += diversity([found.brand for found in traits])
            if part != BOTH:
                self.exposure[part].update([place.item for place in places])
        for place in shown[UPSELLS]:
            offer, anchor = traits_of(place.item), traits_of(place.anchor)
            if offer is not None and anchor is not None:
                for steps in self.steps[: 1 + (place.item in taken)]:
                    steps[0] += 1
                    steps[1] += offer.price / anchor.price - 1


class Calibration:
    """Scores against outcomes, in bins of powers of two, by kind."""

    def __init__(self) -> None:
        self._bins: defaultdict[tuple[int, int], list[float]] = defaultdict(lambda: [0.0] * 4)

    def add(self, places: list[Place], outcome: ListOutcome) -> None:
        """Add a list."""
        for place in places:
            found = self._bins[place.kind - 1, math.frexp(place.score)[1]]
            found[0] += 1
            found[1] += place.score
            found[2] += place.item in outcome.items[TAKEN]
            found[3] += place.item in outcome.items[FOLLOWED]

    def as_json(self) -> dict[str, list[dict[str, Any]]]:
        """Bins by kind, lowest scores first."""
        found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in PARTS[:BOTH]}
        for (kind, _), (n, scores, taken, followed) in sorted(self._bins.items()):
            found[PARTS[kind]].append(
                {"score": scores / n, "n": int(n), "taken": percent(taken, n), "followed": percent(followed, n)}
            )
        return found


def parts_of(places: list[Place]) -> ListParts:
    """A list by PARTS."""
    cross_sells = [place for place in places if place.kind == CROSS_SELL]
    return cross_sells, [place for place in places if place.kind == UPSELL], places


def percent(total: float, of: float) -> float | None:
    """A share in percent for JSON; None of nothing."""
    return number(round(100.0 * float(total) / float(of), 3)) if of else None


def number(value: float) -> float | None:
    """A number for JSON; None where it is not finite."""
    return float(value) if math.isfinite(value) else None
