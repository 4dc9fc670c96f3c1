"""Records in a partition other than their key's: used and said, or refused."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from models.shop.policy import Policy
from streams.wire.partitioner import partition_of
from tests.support.world import PARTITIONS, Process, Shop

AT = 1_699_990_000_000
USER = next(f"user {n}" for n in range(9) if partition_of(f"user {n}".encode(), PARTITIONS) == 0)
REFUSES = Policy(misplaced="dead-letter", emit_empty=True)


def _send(shop: Shop, topic: str, partition: int, **fields: Any) -> None:
    """Append a record of the shopper to a partition of choice, as another partitioner would."""
    shop.now_ms += 1
    value = orjson.dumps({"v": 1, "user_id": USER, "at": AT} | fields)
    shop.log.append(topic, partition, USER.encode(), value)


def _send_each(shop: Shop, partition: int) -> None:
    _send(shop, "clicks", partition, item_id="kettle", action="view")
    _send(shop, "clicks", partition, item_id="mug", action="view")
    _send(shop, "purchases", partition, order_id="o", items=[{"item_id": "tea"}])
    _send(shop, "profiles", partition, consent=True)
    _send(shop, "feedback", partition, suggestion_id="clicks-0-0", action="shown")


async def _applied(shop: Shop, policy: Policy) -> Process:
    process = Process(shop, policy)
    await process.take_over_all()
    await process.complete()
    assert not process.failures
    return process


def _errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelname == "ERROR"]


async def test_misplaced_records_are_used_counted_and_said_once_a_topic(caplog: pytest.LogCaptureFixture) -> None:
    shop = Shop()
    _send_each(shop, 1)
    process = await _applied(shop, Policy())
    topics = {"clicks": 2, "purchases": 1, "profiles": 1, "feedback": 1}
    assert process.context.placement.misplaced == topics
    assert process.context.metrics.registry.get_sample_value("crosscurrent_misplaced_total") == 5
    said = _errors(caplog)
    assert len(said) == len(topics)
    assert all("murmur2_random" in line for line in said)
    assert any("clicks-1@0 belongs in partition 0" in line for line in said)
    assert not shop.values("dead-letters")
    assert {"kettle", "mug"} <= set(shop.rows())
    await process.die()


async def test_where_policy_refuses_them_they_are_dead_letters_and_nothing_is_learnt() -> None:
    shop = Shop()
    _send_each(shop, 1)
    process = await _applied(shop, REFUSES)
    letters = shop.values("dead-letters")
    assert sorted(letter["topic"] for letter in letters) == ["clicks", "clicks", "feedback", "profiles", "purchases"]
    assert all("must be in partition 0, where its key belongs" in letter["reason"] for letter in letters)
    assert not shop.rows()
    assert not shop.values("suggestions")
    await process.die()


@pytest.mark.parametrize("restarted", [False, True])
async def test_what_was_bought_counts_where_it_belongs_only(restarted: bool) -> None:
    shop = Shop()
    _send(shop, "clicks", 0, item_id="kettle", action="view")
    _send(shop, "purchases", 1, order_id="o", items=[{"item_id": "tea"}])
    _send(shop, "purchases", 0, order_id="p", items=[{"item_id": "mug"}])
    process = await _applied(shop, REFUSES)
    if restarted:
        await process.die()
        process = await _applied(shop, REFUSES)
    bought = [
        process.tasks[name].visits.snapshot(USER, AT / 1000, 86_400.0).bought  # type: ignore[attr-defined]
        for name in ("shoppers-0", "shoppers-1")
    ]
    assert bought == [[process.context.items.index("mug")], []]
    await process.die()


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_refused_profile_changes_no_consent(restarted: bool) -> None:
    shop = Shop()
    _send(shop, "profiles", 1, consent=False)
    process = await _applied(shop, REFUSES)
    if restarted:
        await process.die()
        process = await _applied(shop, REFUSES)
    assert not process.tasks["shoppers-1"].visits.consent.refuses(USER, AT / 1000)  # type: ignore[attr-defined]
    await process.die()


async def test_who_asks_to_be_forgotten_is_forgotten_wherever_the_record_lies() -> None:
    shop = Shop()
    _send(shop, "profiles", 1, forget=True)
    process = await _applied(shop, REFUSES)
    assert [record["user_id"] for record in shop.values("forgotten")] == [USER]
    assert not shop.values("dead-letters")
    assert process.context.placement.misplaced == {"profiles": 1}
    await process.die()


async def test_a_misplaced_item_of_the_catalogue_is_used_and_said(caplog: pytest.LogCaptureFixture) -> None:
    shop = Shop()
    fields = {"v": 1, "item_id": "kettle", "title": "A kettle", "category": "Kettles", "price": 20.0}
    shop.log.append("catalog", 1 - partition_of(b"kettle", PARTITIONS), b"kettle", orjson.dumps(fields))
    process = await _applied(shop, REFUSES)
    assert len(process.context.tables.catalog) == 1
    assert process.context.placement.misplaced == {"catalog": 1}
    [said] = _errors(caplog)
    assert "records of catalog lie in other partitions" in said
    await process.die()
