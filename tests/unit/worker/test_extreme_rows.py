"""Rows of neighbours with the smallest and greatest weights that the decoder takes are served as numbers."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
import orjson
import pytest

from models.shop.policy import Policy
from streams.wire.codec import decode_suggestion
from streams.wire.neighbour_rows import POSITION_KEY
from tests.support.world import PARTITIONS, Process, Shop


def columns(numbers: Sequence[float], kind: str) -> str:
    return base64.b64encode(np.array(numbers, kind).tobytes()).decode()


@pytest.mark.parametrize("weight", [5e-324, 1e-200, 1.0, 1e30])
@pytest.mark.parametrize("baskets", [5e-324, 1e-200, 1e50])
async def test_rows_at_the_bounds_of_the_decoder_are_served_as_numbers(weight: float, baskets: float) -> None:
    worker = Process(shop := Shop(), Policy(emit_empty=True))
    for item, category in [("kettle", "Kettles"), ("mug", "Mugs"), ("tea", "Tea")]:
        shop.offer(item, category, 5e-324)
    at = shop.now_ms / 1000
    for item, other in [("kettle", "mug"), ("mug", "kettle"), ("tea", "kettle")]:
        row = {"v": 1, "item_id": item, "position": 0, "at": at, "own": [weight, weight], "own_count": [1, 1]}
        row |= {"neighbours": [other], "weights": columns([weight] * 3, "<f8"), "counts": columns([1] * 3, "<i4")}
        shop.publish("neighbours", item, row)
    position = {"v": 1, "topic_id": "id-of-pairs", "partitions": PARTITIONS, "position": 0, "applied": {}, "at": at}
    for number in range(PARTITIONS):
        shop.log.append("neighbours", number, POSITION_KEY, orjson.dumps(position | {"baskets": baskets}))
    await worker.take_over_all()
    shop.click("ann", "kettle", 9_000.0)
    await worker.complete()
    (answer,) = [record for number in range(PARTITIONS) for record in shop.log.records("suggestions", number)]
    assert [item.item_id for item in decode_suggestion(answer).items]
    assert worker.failures == []
