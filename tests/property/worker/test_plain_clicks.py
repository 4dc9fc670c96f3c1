"""Clicks that the scanner accepts do what the same clicks do that only the decoder accepts."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.world import Process, Shop

clicks = st.lists(
    st.tuples(
        st.sampled_from(["ann", "bob", "cat"]),
        st.sampled_from(["kettle", "mug", "tea", "pot", "unheard of"]),
        st.sampled_from(["view", "view", "click", "add_to_cart", "remove_from_cart", "purchase", "buy"]),
        st.floats(0, 9000).map(lambda at: round(at, 3)),
        st.sampled_from([None, None, "first", "second"]),
    ),
    max_size=40,
)


async def applied(history: list[Any], more: dict[str, Any], successor: bool) -> tuple[Any, ...]:
    """What is published for a history whose clicks have further fields."""
    shop = Shop()
    for number, item in enumerate(["kettle", "mug", "tea", "pot"]):
        shop.offer(item, f"House/{'AB'[number % 2]}", 10.0 + number)
    process = Process(shop)
    await process.take_over_all()
    for number, (user, item, action, at_s, event_id) in enumerate(history):
        if number == len(history) // 2 and successor:
            await process.read_on()
            await process.complete()
            await process.die()
            process = Process(shop)
            await process.take_over_all()
        if action == "buy":
            shop.buy(user, [item, "tea"], at_s, f"order {number % 5}")
        else:
            shop.click(user, item, at_s, action, **({"event_id": event_id} if event_id else {}), **more)
    await process.read_on()
    await process.complete()
    await process.die()
    suggestions = [{**value, "latency_ms": 0} for value in shop.values("suggestions")]
    letters = [(letter["topic"], letter["offset"], letter["path"]) for letter in shop.values("dead-letters")]
    return suggestions, letters, shop.rows()


@given(clicks, st.booleans())
@settings(max_examples=15, deadline=None)
def test_plain_clicks_do_what_unusual_ones_do(history: list[Any], successor: bool) -> None:
    plain = asyncio.run(applied(history, {}, successor))
    assert plain == asyncio.run(applied(history, {"page": "unknown to us"}, successor))
