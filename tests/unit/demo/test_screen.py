"""The table of the demo's figures: what was judged has a row."""

from __future__ import annotations

import time
from typing import Any

import pytest

from models.ranking.ranker import MODEL as RANKER
from models.shop.policy import Policy
from streams.connectors.simulated_shop import SimulatedShop
from streams.demo.feed import Published, Shopper
from streams.demo.score import Score
from streams.demo.screen import figures

KETTLE, MUG = "tea-kettles-plain-1", "tea-mugs-plain-3"


@pytest.fixture
def score() -> Score:
    shop = SimulatedShop(7, shoppers=1)
    return Score(shop.models, shop.truth, Policy())


def suggest(score: Score, *sources: str, models: tuple[str, ...] = ()) -> None:
    """One item with reasons from these sources, for a look at the kettle."""
    item = {"item_id": MUG, "kind": "cross-sell", "anchor": KETTLE, "reasons": [{"source": name} for name in sources]}
    suggestion = {"models": dict.fromkeys(models, "1"), "items": [item], "latency_ms": 5.0}
    now_s = time.time()
    score.update(suggestion, round(now_s * 1000), Published({}, True, "view", [KETTLE], [], Shopper(), now_s, []))


def rows(score: Score) -> list[tuple[Any, ...]]:
    """Name, our share and the items judged of each row of a model or an order."""
    name, share, _, judged = (list(column.cells) for column in figures(score, 0.0, "+").columns)
    return [row for row in zip(name, share, judged, strict=True) if str(row[0]).startswith("  ")]


def test_a_model_and_an_order_have_a_row_once_an_item_was_judged(score: Score) -> None:
    assert rows(score) == []
    suggest(score, "viewed_with", "sequence")
    counted = [("  counting", "100.0 %", "1"), ("  sequence model", "100.0 %", "1")]
    assert rows(score) == [*counted, ("  fixed weights", "100.0 %", "1")]


def test_what_was_bought_before_is_neither_counting_nor_a_fallback(score: Score) -> None:
    suggest(score, "history", models=(RANKER,))
    assert rows(score) == [("  history", "100.0 %", "1"), ("  learnt order", "100.0 %", "1")]
    suggest(score, "content")
    assert [row[0] for row in rows(score)] == ["  history", "  fall-backs", "  fixed weights", "  learnt order"]
