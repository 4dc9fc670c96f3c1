"""A lane across rearrangements of the group."""

from __future__ import annotations

import asyncio

from tests.support.world import Process, Shop


async def test_an_idle_lane_that_is_taken_away_and_given_back_looks_at_its_state_again() -> None:
    process = Process(Shop())
    await process.take_over("shoppers-0")
    lane = process.lanes["shoppers-0"]
    looked: list[bool] = []
    overtaken = lane.overtaken
    lane.overtaken = lambda: looked.append(True) or overtaken()  # type: ignore[method-assign, func-returns-value]
    task = asyncio.create_task(lane.run())
    try:
        for times in (1, 2, 3):
            await asyncio.wait_for(lane.ready.wait(), 5)
            await asyncio.sleep(0.05)  # nothing arrives
            assert len(looked) == times
            lane.disown()
            assert not lane.ready.is_set()
            if times == 1:
                await asyncio.sleep(0.01)
            lane.own()  # the second time at once: before the lane has had its turn
    finally:
        task.cancel()
        await process.die()
