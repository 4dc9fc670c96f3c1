"""Bought items in a worker: barred, or suggested again once they are due."""

from __future__ import annotations

import pytest

from models.shop.policy import Policy
from tests.support.world import Process, Shop

DAY_S = 86_400.0


def shopping() -> Shop:
    """Ann buys milk every week, and has bought a mug once, three weeks ago."""
    shop = Shop()
    for item, category in (("kettle", "Kettles"), ("milk", "Food/Milk"), ("mug", "Mugs"), ("bowl", "Bowls")):
        shop.offer(item, category, 20.0)
    for week, items in enumerate([["milk", "mug"], ["milk"], ["milk"]]):
        shop.buy("ann", items, 7 * DAY_S * (week - 3), f"order {week}")
    return shop


async def started(shop: Shop, repurchase: str) -> Process:
    process = Process(shop, Policy(repurchase=repurchase))
    await process.take_over_all()
    await process.complete()
    return process


async def suggested(process: Process, item: str, at_s: float, action: str = "view") -> set[str]:
    """What ann gets for a click."""
    process.shop.click("ann", item, at_s, action)
    await process.complete()
    return {item["item_id"] for item in process.shop.values("suggestions")[-1]["items"]}


@pytest.mark.parametrize(("repurchase", "due"), [("bar", set()), ("learn", {"milk"})])
async def test_what_is_due_comes_again_where_the_policy_says_so(repurchase: str, due: set[str]) -> None:
    shop = shopping()
    process = await started(shop, repurchase)
    assert await suggested(process, "kettle", -2 * DAY_S) == {"bowl"}  # five days after the last milk
    assert await suggested(process, "kettle", 0.0) == {"bowl"} | due
    await process.die()
    process = await started(shop, repurchase)  # from the rows of histories and the log
    assert await suggested(process, "kettle", 60.0) == {"bowl"} | due
    assert await suggested(process, "milk", 120.0, "add_to_cart") == {"bowl", "kettle"}
    assert await suggested(process, "kettle", 180.0) == {"bowl"}  # the milk is in the cart
    await process.die()


async def test_a_new_policy_applies_from_the_next_event_on() -> None:
    process = await started(shopping(), "bar")
    assert await suggested(process, "kettle", 0.0) == {"bowl"}
    process.context.recommender.policy = Policy(repurchase="learn")
    assert await suggested(process, "kettle", 60.0) == {"bowl", "milk"}
    await process.die()
