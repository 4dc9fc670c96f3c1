"""History: a worker counts it as it counts any event, answers none of it, and measures no latency of it."""

from __future__ import annotations

from models.shop.policy import Policy
from streams.wire.backfill import NAME
from tests.support.world import Process, Shop

HISTORY = ((NAME, b"source 1"),)


def shopping(shop: Shop) -> None:
    for user in range(6):
        shop.click(f"u{user}", "kettle", 10.0 * user, "add_to_cart", event_id=f"e{user}")
        shop.click(f"u{user}", "mug", 10.0 * user + 1)
        shop.buy(f"u{user}", ["kettle", "tea"], 10.0 * user + 2, f"o{user}")


def offers(shop: Shop) -> None:
    for item, category in (("kettle", "Kettles"), ("mug", "Mugs"), ("tea", "Tea")):
        shop.offer(item, category, 20.0)


def latencies(process: Process) -> float:
    return process.context.metrics.registry.get_sample_value("crosscurrent_suggestion_latency_seconds_count") or 0.0


def counted(process: Process, outcome: str) -> float:
    samples = (
        process.context.metrics.registry.get_sample_value(
            "crosscurrent_events_total", {"topic": topic, "outcome": outcome}
        )
        for topic in ("clicks", "purchases")
    )
    return sum(filter(None, samples))


async def test_history_is_learnt_and_never_answered() -> None:
    live, past = Shop(), Shop()
    for shop in (live, past):
        offers(shop)
        shopping(shop)
    past.mark(HISTORY)
    policy = Policy(emit_empty=True)
    for shop in (live, past):
        process = Process(shop, policy)
        await process.take_over_all()
        await process.complete()
        await process.die()
    assert past.rows() == live.rows() != {}
    assert len(live.values("suggestions")) == 18
    assert past.values("suggestions") == []
    assert (latencies(process), counted(process, "backfilled")) == (0.0, 18.0)


async def test_what_follows_history_is_answered_from_it() -> None:
    shop = Shop()
    offers(shop)
    shopping(shop)
    shop.click("u0", "kettle", 3.0, event_id="e0")  # sent twice
    shop.mark(HISTORY)
    process = Process(shop)
    await process.take_over_all()
    await process.complete()
    shop.click("new", "kettle", 9_000.0)
    await process.complete()
    (suggestion,) = shop.values("suggestions")
    assert suggestion["user_id"] == "new"
    assert {item["item_id"] for item in suggestion["items"]} >= {"tea", "mug"}
    assert suggestion["items"][0]["reasons"][0]["count"] == 6
    assert (latencies(process), counted(process, "repeated")) == (1.0, 1.0)
    await process.die()
