"""The ranker learnt beside an engine against the trainer's own: the same pools, the same takings."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="install the extra `learning` to run this")

from models.evaluation.prequential.protocol import OURS
from models.evaluation.prequential.replay import Answered, Event
from models.ranking.attribution import AttributionConfig
from models.ranking.candidate_pool import CandidatePool
from models.serving.recommender import Query
from models.shop.events import Action, Click, Line, Profile, Purchase
from models.shop.items import Items
from streams.wire.partitioner import partition_of
from streams.wire.pool_records import Trigger, encode_pool
from tests.support.prequential_shop import AT, ITEMS, QUICK, engine
from tests.support.trainee import SETTINGS, Trainee, log_pool
from tests.support.world import PARTITIONS, Shop


def days(shoppers: int) -> list[Event]:
    """Looks, carts with something taken out again, orders of three lines, repeats; some shoppers are forgotten."""
    chance = random.Random(5)
    events: list[Event] = []
    for shopper in range(shoppers):
        user, at = f"u{shopper}", AT + 20.0 * shopper
        items = chance.sample(ITEMS, 6)
        events += [Click(user, item, Action.VIEW, at + 4.0 * n, event_id=f"{user}-{n}") for n, item in enumerate(items)]
        events.append(Click(user, items[2], Action.VIEW, at + 26.0, event_id=f"{user}-2"))  # sent twice
        events.append(Click(user, items[5], Action.ADD_TO_CART, at + 28.0))
        events.append(Click(user, chance.choice(ITEMS), Action.REMOVE_FROM_CART, at + 30.0))
        if shopper % 3:
            lines = tuple(Line(item) for item in chance.sample(ITEMS, 3))
            events.append(Purchase(user, f"o{shopper}", at + 33.0, lines))
        if shopper % 7 == 3:
            events.append(Profile(user, at + 29.0, forget=True))
        if shopper % 7 == 5:
            events.append(Profile(user, at + 21.0, consent=False))
    after = AT + 20.0 * shoppers + 500.0
    return sorted([*events, *(Click(f"late-{n}", ITEMS[0], Action.VIEW, after) for n in range(8))], key=lambda e: e.at)


def publish(shop: Shop, answered: Answered, pool: CandidatePool | None, items: Items) -> None:
    """An event as its shop sends it, and the worker's pool."""
    event = answered.event
    shop.now_ms = round(event.at * 1000)
    value: dict[str, Any] = {"v": 1, "user_id": event.user_id, "at": round(event.at * 1000)}
    number = partition_of(event.user_id.encode(), PARTITIONS)
    if isinstance(event, Profile):
        shop.publish("profiles", event.user_id, value | {"consent": event.consent, "forget": event.forget})
        return
    if isinstance(event, Click):
        topic, more = "clicks", {"item_id": event.item_id, "action": event.action.value}
        value |= more if event.event_id is None else {**more, "event_id": event.event_id}
    else:
        topic, lines = "purchases", [{"item_id": line.item_id} for line in event.lines]
        value |= {"order_id": event.order_id, "items": lines}
    offset = shop.publish(topic, event.user_id, value)
    if pool is not None:
        item_ids = list(map(items.name, pool.items.tolist()))
        trigger = Trigger(topic, number, offset)
        log_pool(shop, *encode_pool(event.user_id, event.at, trigger, item_ids, pool.kinds, pool.features))


async def test_pools_are_attributed_as_a_trainer_attributes_them(tmp_path: Path) -> None:
    ours, shop, pools = engine(), Shop(), dict[str, CandidatePool]()
    record = ours.orderings[OURS].record_impression

    def noted(query: Query, topic: str, offset: int, pool: CandidatePool) -> None:
        pools[query.seed] = pool
        record(query, topic, offset, pool)

    ours.orderings[OURS].record_impression = noted  # type: ignore[method-assign]
    for answered in list(ours.run(days(60))):
        publish(shop, answered, pools.get(answered.query.seed) if answered.query else None, ours.items)
    settings = SETTINGS.model_copy(update={"outcomes": AttributionConfig(window_s=60.0), "ranker": QUICK})
    trainee = await Trainee(shop, tmp_path, settings).take_over()
    await trainee.apply()
    await trainee.training.learn()
    ordering, training = ours.orderings[OURS], trainee.training
    ordering.snapshot(AT + 1e6)
    assert ordering.ranker.learnt == ordering.outcomes.closed == training.pools.closed > 250
    assert ordering.outcomes.counts.tolist() == training.pools.counts.tolist()
    assert ordering.outcomes.counts[:, 2].sum() > 50
    takings = [ranker.metrics()["takings.cross_sell"] for ranker in (ordering.ranker, training.ranker)]
    assert takings[0] == takings[1] > 0.0
