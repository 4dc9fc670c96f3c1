"""Records of internal topics that claim more than there is: nothing later counts as applied for their sake."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from models.cooccurrence.counter import Row
from models.sessions.look_kernel import PAIR
from models.shop.items import Items
from streams.errors import TakeOverError
from streams.wire.checkpoints import VERSION, Progress, TopicProgress, encode_progress
from streams.wire.neighbour_rows import POSITION_KEY, PositionRecord, decode_position, encode_position, encode_row
from streams.wire.pair_deltas import PairBatch, source_name
from streams.wire.partitioner import partition_of
from tests.support.world import PARTITIONS, Process, Shop

FAR = 2**62
KETTLE = partition_of(b"kettle", PARTITIONS)
CLICKS = source_name("clicks", 0, "id-of-clicks")
USER = next(f"user {n}" for n in range(9) if partition_of(f"user {n}".encode(), PARTITIONS) == 0)


def _visit(shop: Shop, begin_s: float) -> None:
    for place, item in enumerate(("kettle", "mug", "tea")):
        shop.click(USER, item, begin_s + place)


def _forge_pairs(shop: Shop, source: str, offset: int, partition: int = KETTLE, at: float = 1_699_990_000.0) -> None:
    items = Items()
    batch = PairBatch(source, items, 1)
    batch.add(offset, at, np.array([(items.index("kettle"), items.index("mug"), 0, 5.0)], PAIR))
    [(_, value, _)] = batch.messages(10_000)
    shop.log.append("pairs", partition, b"clicks-0", value)


async def _learn(process: Process) -> None:
    await process.take_over_all()
    await process.complete()


async def _undisturbed() -> dict[str, object]:
    shop = Shop()
    _visit(shop, 0.0)
    _visit(shop, 10_000.0)
    process = Process(shop)
    await _learn(process)
    await process.die()
    return {**shop.rows()}


@pytest.mark.parametrize(
    ("source", "offset", "partition", "reason"),
    [
        (CLICKS, FAR, KETTLE, "`$.offsets` must be offsets below the source's end, 3, got"),
        (CLICKS, 3, KETTLE, "`$.offsets` must be offsets below the source's end, 3, got 3"),
        (
            source_name("joins", 0, "id-of-purchases"),
            0,
            KETTLE,
            "`$.offsets` must be offsets below the source's end, 0",
        ),
        (source_name("clicks", PARTITIONS, "id-of-clicks"), 0, KETTLE, "`$.source` must be a partition of clicks"),
        (source_name("clicks", 0, "another"), 0, KETTLE, "`$.source` must be a partition of clicks"),
        ("clicks-0", 0, KETTLE, "`$.source` must be a partition of clicks"),
        (CLICKS, 0, 1 - KETTLE, "`$.a` must be items of its partition"),
    ],
)
async def test_forged_pairs_are_dead_letters_and_true_ones_count(
    source: str, offset: int, partition: int, reason: str
) -> None:
    shop = Shop()
    _visit(shop, 0.0)
    process = Process(shop)
    await _learn(process)
    _forge_pairs(shop, source, offset, partition)
    await process.complete()
    [letter] = shop.values("dead-letters")
    assert letter["topic"] == "pairs"
    assert reason in letter["reason"]
    _visit(shop, 10_000.0)
    await process.complete()
    assert shop.rows() == await _undisturbed()
    assert not process.failures
    await process.die()


async def test_pairs_dated_far_ahead_age_nothing() -> None:
    shop = Shop()
    _visit(shop, 0.0)
    process = Process(shop)
    await _learn(process)
    _forge_pairs(shop, CLICKS, 2, at=shop.now_ms / 1000 + 2 * 86_400)
    await process.complete()
    assert [letter["topic"] for letter in shop.values("dead-letters")] == []  # it is applied already
    _visit(shop, 10_000.0)
    _forge_pairs(shop, CLICKS, 3, at=shop.now_ms / 1000 + 2 * 86_400)
    await process.complete()
    [letter] = shop.values("dead-letters")
    assert "`$.at` must be at most" in letter["reason"]
    assert shop.rows() == await _undisturbed()
    await process.die()


async def test_true_pairs_of_another_worker_wait_for_the_look_up_and_count() -> None:
    shop = Shop()
    shoppers, items = Process(shop), Process(shop)
    items.context.source_ends._highwater = lambda _: None
    await shoppers.take_over("shoppers-0", "shoppers-1")
    await items.take_over("items-0", "items-1")
    for begin_s in (0.0, 10_000.0):
        _visit(shop, begin_s)
        await shoppers.complete()
        await items.complete()
    assert shop.rows() == await _undisturbed()
    assert not shop.values("dead-letters")
    for process in (shoppers, items):
        await process.die()


async def _forge_position(shop: Shop, **changes: object) -> None:
    """One more position record of the kettle's partition, like the last but for the changes."""
    last = [record for record in shop.log.records("neighbours", KETTLE) if record.key == POSITION_KEY][-1]
    position = decode_position(last)
    fields = {name: getattr(position, name) for name in position.__struct_fields__} | changes
    shop.log.append("neighbours", KETTLE, POSITION_KEY, encode_position(msgspec.convert(fields, PositionRecord)))


async def test_a_position_that_claims_events_beyond_the_ends_hides_no_later_ones(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shop = Shop()
    _visit(shop, 0.0)
    first = Process(shop)
    await _learn(first)
    await first.die()
    await _forge_position(shop, applied={CLICKS: FAR, "clicks-7@x": 3})
    second = Process(shop)
    await _learn(second)
    assert "claims events beyond the ends" in caplog.text
    _visit(shop, 10_000.0)
    await second.complete()
    assert shop.rows() == await _undisturbed()
    await second.die()


async def test_a_position_beyond_the_end_refuses_the_start() -> None:
    shop = Shop()
    _visit(shop, 0.0)
    first = Process(shop)
    await _learn(first)
    await first.die()
    await _forge_position(shop, position=FAR)
    with pytest.raises(TakeOverError, match=rf"pairs-{KETTLE} ends at offset .*{FAR} \(in `neighbours`\)"):
        await Process(shop).take_over(f"items-{KETTLE}")


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_row_beyond_the_end_is_withdrawn_and_the_next_one_is_served(restarted: bool) -> None:
    shop = Shop()
    _visit(shop, 0.0)
    process = Process(shop)
    await _learn(process)
    row = process.context.tables.neighbours.row("kettle")
    assert isinstance(row, Row)
    forged = replace(row, position=FAR, own=(77.0, 0.0))
    shop.log.append("neighbours", KETTLE, b"kettle", encode_row(forged))
    await process.context.table_reader.caught_up()
    if restarted:
        await process.die()
        process = Process(shop)
        await _learn(process)
    _visit(shop, 10_000.0)
    for _ in range(2):
        await process.complete()
    served = process.context.tables.neighbours.row("kettle")
    assert served is not None
    assert served.position < FAR
    assert served.own[0] < 3
    assert not process.failures
    await process.die()


async def test_a_checkpoint_of_other_topics_changes_nothing() -> None:
    shop = Shop()
    _visit(shop, 0.0)
    process = Process(shop)
    await _learn(process)
    topics = {"visitors": TopicProgress("id", PARTITIONS, FAR)}
    shop.log.append("progress", 0, *encode_progress(Progress(VERSION, "shoppers-0", topics)))
    await process.context.table_reader.caught_up()
    task = process.tasks["shoppers-0"]
    assert not task.overtaken()
    task.on_revoked()
    task.on_assigned()
    await task._hold_state()
    assert task.ready.is_set()
    await process.die()


async def test_an_append_time_ahead_of_the_clock_does_not_shorten_the_memory() -> None:
    shop = Shop()
    shop.buy(USER, ["kettle"], 0.0, "order")
    first = Process(shop)
    await _learn(first)
    await first.die()
    at = {
        topic: TopicProgress(f"id-of-{topic}", PARTITIONS, 1 if topic == "purchases" else 0, FAR)
        for topic in ("clicks", "purchases")
    }
    shop.log.append("progress", 0, *encode_progress(Progress(VERSION, "shoppers-0", at, 1)))
    second = Process(shop)
    await second.take_over("shoppers-0")
    visits = second.tasks["shoppers-0"].visits  # type: ignore[attr-defined]
    kettle = second.context.items.index("kettle")
    assert kettle in visits.snapshot(USER, 1_699_990_100.0, 86_400.0).bought
    await second.die()
