"""How many suggestions are right by the shop's truth, compared with popularity, and how fast they come.

An item is right if it is a true complement (cross-sell) or a true upgrade (upsell) of an item of the trigger or the
cart. Popularity gets as many places of each kind as the suggestion used. The promises are checked again here, by code
that shares nothing with the worker's.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.ranking.ranker import MODEL as RANKER
from models.sequence.config import MODEL as SEQUENCE
from models.shop.kinds import KIND_NAMES
from models.shop.policy import Policy
from streams.connectors.simulated_shop import Model, Truth
from streams.demo.feed import Published
from streams.demo.popularity import is_upsell

MODELS = {
    "viewed_with": "counting",
    "bought_with": "counting",
    "viewed_then_bought": "counting",
    "sequence": "sequence model",
    "history": "history",
    "content": "fall-backs",
    "popularity": "fall-backs",
}
"""Model of a reason, by the source of the reason."""

ORDERS = ("fixed weights", "learnt order")
"""How a list was ordered: by the weighted sum of the evidence, or by the ranker that learns from outcomes."""

LATENCIES = 20_000
"""Latencies kept for the percentiles: the last seven minutes at 50 suggestions a second."""

PACE_S = 5.0
"""Period of the suggestions a second."""


@dataclass(slots=True)
class Share:
    """Right items of those judged."""

    right: int = 0
    judged: int = 0

    def update(self, right: bool) -> None:
        """Add an item."""
        self.judged += 1
        self.right += right

    @classmethod
    def total(cls, shares: Collection[Share]) -> Share:
        """All shares together."""
        return cls(sum(share.right for share in shares), sum(share.judged for share in shares))

    def get(self) -> float | None:
        """The share; None before the first."""
        return self.right / self.judged if self.judged else None

    def as_json(self) -> dict[str, Any]:
        """As `demo --json` writes it."""
        return {"right": self.right, "judged": self.judged, "share": self.get()}


class Score:
    """The figures of a demo."""

    def __init__(self, models: Sequence[Model], truth: Truth, policy: Policy) -> None:
        self._models = {model.item_id: model for model in models}
        self._truth = truth
        self._policy = policy
        self._ours = {kind: Share() for kind in KIND_NAMES[1:]}
        self._popular = {kind: Share() for kind in KIND_NAMES[1:]}
        self.by_model = {model: Share() for model in MODELS.values()}  # of items that a model gives a reason for
        self.by_order = {order: Share() for order in ORDERS}
        self.versions: set[str] = set()  # of the sequence model, as suggestions name them
        self.suggestions = self.history_suggestions = 0
        self.broken: Counter[str] = Counter()  # broken promises, by which one
        self._inside_ms: deque[float] = deque(maxlen=LATENCIES)
        self._appended_ms: deque[float] = deque(maxlen=LATENCIES)
        self._times: deque[float] = deque()

    def update(self, suggestion: Mapping[str, Any], appended_ms: int, event: Published) -> None:
        """Judge a suggestion, appended at this time, by the event it answers."""
        if not event.live:
            self.history_suggestions += 1
            return
        self._check(suggestion, appended_ms / 1000, event)
        self.suggestions += 1
        if (version := suggestion["models"].get(SEQUENCE)) is not None:
            self.versions.add(version)
        self._times.append(time.monotonic())
        self._inside_ms.append(suggestion["latency_ms"])
        self._appended_ms.append(max(0, appended_ms - event.appended_ms))
        places: Counter[str] = Counter()
        for item in suggestion["items"]:
            places[item["kind"]] += 1
            right = self.is_right(item["kind"], item["item_id"], event)
            self._ours[item["kind"]].update(right)
            self.by_order[ORDERS[RANKER in suggestion["models"]]].update(right)
            for model in {MODELS[reason["source"]] for reason in item["reasons"]}:
                self.by_model[model].update(right)
        for kind, item_id in event.popular:
            if places[kind]:
                places[kind] -= 1
                self._popular[kind].update(self.is_right(kind, item_id, event))

    def is_right(self, kind: str, item_id: str, event: Published) -> bool:
        """Whether a suggested item is right."""
        return self._truth.is_right_for_any(kind, (*event.item_ids, *event.cart), item_id)

    def by_kind(self) -> list[tuple[str, Share, Share]]:
        """(kind, our share, popularity's share) of each kind and of both together."""
        kinds = [(kind, self._ours[kind], self._popular[kind]) for kind in self._ours]
        return [*kinds, ("both", Share.total(self._ours.values()), Share.total(self._popular.values()))]

    @property
    def pace(self) -> float:
        """Suggestions a second in the last seconds."""
        now = time.monotonic()
        while self._times and self._times[0] < now - PACE_S:
            self._times.popleft()
        return len(self._times) / PACE_S

    def latencies_ms(self) -> dict[str, dict[str, float | None]]:
        """p50 and p99 in the worker (`latency_ms` of the record), and from append to append."""
        return {
            name: {f"p{q}": round(float(np.percentile(values, q)), 1) if values else None for q in (50, 99)}
            for name, values in (("worker", self._inside_ms), ("append_to_append", self._appended_ms))
        }

    def _check(self, suggestion: Mapping[str, Any], answered_s: float, event: Published) -> None:
        """Check the promises; those on cart and purchases only if no purchase was in flight then."""
        raced = event.shopper.raced(event.sent_s, answered_s)
        cart = [] if raced else event.cart
        bought = [] if raced else event.shopper.bought_before(event.sent_s)
        categories = {self._models[item_id].category for item_id in (*event.item_ids, *cart)}
        for item in suggestion["items"]:
            model, anchor, kind = self._models.get(item["item_id"]), self._models.get(item["anchor"]), item["kind"]
            if model is None or anchor is None:
                self.broken["unknown item or anchor"] += 1
                continue
            upsells = kind != "upsell" or is_upsell(anchor, model, self._policy)
            checks = (
                (kind == "cross-sell" and model.category in categories, "cross-sell of an anchor's category"),
                (not upsells, "upsell of another category, out of the step, or rated lower"),
                (model.item_id in cart, "in the cart"),
                (model.item_id in bought, "bought already"),
                (not item["reasons"], "no reason"),
            )
            self.broken.update(sentence for wrong, sentence in checks if wrong)
