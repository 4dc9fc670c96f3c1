"""The trainer on an in-memory log: what it learns is what the log holds, once, whenever it is killed."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from aiokafka import TopicPartition

pytest.importorskip("torch", reason="install the extra `learning` to run this")

from models.errors import SnapshotShapeError
from models.ranking.attribution import Attribution, AttributionConfig
from models.ranking.features import EVIDENCE, FEATURES, FIRST_WEIGHTS, LEARNT, WIDTH
from models.ranking.ranker import RankerConfig, order_of
from models.sequence.config import CODE, MODEL, GateConfig, LearnerConfig, NetworkConfig
from models.shop.items import Items
from models.shop.kinds import CROSS_SELL, UPSELL
from streams.errors import TakeOverError
from streams.snapshots.format import TRAINING
from streams.trainer import state
from streams.trainer.log_reader import READ
from streams.wire.announcements import Announcement, encode_announcement
from streams.wire.backfill import NAME
from streams.wire.partitioner import partition_of
from tests.support.trainee import SETTINGS, Trainee, log_pool, pool, suggestion, trigger_of
from tests.support.world import PARTITIONS, Shop

SLOW = SETTINGS.model_copy(update={"train_every_s": 50.0})
"""No chunk is due for a few visits."""


def shopping(shop: Shop, visits: int, seed: int = 0) -> int:
    """Visits of a few looks along chains of items, some with a purchase; returns how many looks."""
    chance, looks = random.Random(seed), 0
    for visit in range(visits):
        user, chain = f"user-{chance.randrange(30)}", chance.randrange(4)
        for place in range(chance.randrange(1, 8)):
            shop.now_ms += chance.randrange(200)
            shop.click(user, f"item-{10 * chain + place}", 10.0 * len(shop.log.records("clicks", 0)) + place)
            looks += 1
        if visit % 5 == 0:
            shop.buy(user, [f"item-{chain}"], 0.0, f"order-{seed}-{visit}")
    return looks


@pytest.fixture
def shop() -> Shop:
    return Shop()


async def test_what_is_learnt_is_what_the_log_holds_and_is_announced(shop: Shop, tmp_path: Path) -> None:
    looks = shopping(shop, 60)
    shop.offer("item-3", "Kitchen/Kettles", 30.0)
    trainee = await Trainee(shop, tmp_path).take_over()
    await trainee.apply()
    assert trainee.looks == looks
    version = await trainee.publish()
    assert version is not None
    assert trainee.announced() == [version]
    snapshot = trainee.store.load(MODEL, version)
    assert snapshot.code == CODE
    window_builder = trainee.training.window_builder
    assert window_builder.held > 0
    assert snapshot.learnt["events"] + snapshot.learnt["held"] == looks
    assert snapshot.learnt["positions"] > looks
    for topic in READ:
        ends = {number: len(shop.log.records(topic, number)) for number in range(PARTITIONS)}
        assert snapshot.positions[topic] == ends
    assert snapshot.topic_ids == {topic: f"id-of-{topic}" for topic in READ}
    assert "item-3" in snapshot.vocabulary
    assert snapshot.config["network"]["units"] == 8
    assert trainee.training._contents._classes[trainee.training.items.find("item-3"), 2] > 0
    assert await trainee.publish() is None  # nothing new
    assert (trainee.count("stored"), trainee.count("announced")) == (1, 1)


async def test_history_is_learnt_and_answers_no_list(shop: Shop, tmp_path: Path) -> None:
    looks = shopping(shop, 20)
    shop.click("new", "kettle", 9_000.0)
    shop.publish("suggestions", "new", suggestion(shop, "new", 9_000.0, ["mug"]))
    shop.buy("new", ["mug"], 9_001.0, "o")
    trainee = await Trainee(shop, tmp_path / "live").take_over()
    await trainee.apply()
    assert trainee.training.attribution._actions_of_user.keys() > {"new"}
    shop.mark(((NAME, b""),))
    trainee = await Trainee(shop, tmp_path / "past").take_over()
    await trainee.apply()
    assert trainee.looks == looks + 1
    attribution = trainee.training.attribution
    assert (attribution.opened, attribution.late, attribution._actions_of_user) == (1, 0, {})


async def test_killed_at_any_moment_nothing_is_learnt_twice_and_nothing_missed(shop: Shop, tmp_path: Path) -> None:
    looks, chance = 0, random.Random(5)
    trainee = await Trainee(shop, tmp_path).take_over()
    for day in range(8):
        looks += shopping(shop, 15, day)
        await trainee.apply(chance.randrange(1, 6))
        if day % 3 == 1:
            await trainee.publish()
        if day % 3 == 2:  # kill -9
            trainee = await Trainee(shop, tmp_path).take_over()
            assert trainee.training.version is not None
    await trainee.apply()
    assert trainee.looks == looks
    await trainee.publish()
    window_builder = trainee.training.window_builder
    assert window_builder.events + window_builder.held == looks
    undisturbed = await Trainee(shop, tmp_path / "other").take_over()
    await undisturbed.apply()
    assert undisturbed.looks == looks


async def test_the_last_words_hold_what_is_not_learnt_yet(shop: Shop, tmp_path: Path) -> None:
    looks = shopping(shop, 3)
    trainee = await Trainee(shop, tmp_path, SLOW).take_over()
    await trainee.apply()
    assert trainee.training.learner.chunks == 0
    stored = await trainee.training_loop.store_last()
    assert stored is not None
    assert trainee.announced() == []
    successor = await Trainee(shop, tmp_path, SLOW).take_over()
    assert await successor.apply() == 0
    assert successor.looks == looks
    assert successor.training.to_learn
    await successor.training.learn()
    assert successor.training.learner.chunks == 1
    whole = await Trainee(shop, tmp_path / "other", SLOW).take_over()
    await whole.apply()
    await whole.training.learn()
    for name, array in whole.training.learner.arrays().items():
        assert (successor.training.learner.arrays()[name] == array).all(), name


async def test_windows_after_a_restart_are_told_what_was_before(shop: Shop, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"gate": GateConfig(share=0.0)})
    trainee = await Trainee(shop, tmp_path, settings).take_over()
    shop.click("ann", "kettle", 1.0)
    shop.click("ann", "mug", 2.0)
    await trainee.apply()
    await trainee.publish()
    shop.click("ann", "tea", 3.0)
    successor = await Trainee(shop, tmp_path, settings).take_over()
    await successor.apply()
    successor.training.window_builder.gather()
    new = successor.training.learner._new
    names = [successor.training.items.name(item) for item in new.items[0, : new.length[0]]]
    assert (names, new.fresh[0]) == (["kettle", "mug", "tea"], 1)


async def test_bad_records_and_holes_and_expired_ranges_are_passed_over(shop: Shop, tmp_path: Path) -> None:
    trainee = await Trainee(shop, tmp_path).take_over()
    shopping(shop, 20)
    shop.log.append("clicks", 0, b"ann", b"no json")
    await trainee.apply()
    assert await trainee.publish() is not None
    looks = trainee.looks
    for _ in range(6):
        shop.click("user-1", "item-1", 1e4)
    (number,) = {n for n in range(PARTITIONS) if shop.log.records("clicks", n)[-1].key == b"user-1"}
    ends = len(shop.log.records("clicks", number))
    shop.log.expire(TopicPartition("clicks", number), ends - 4)
    shop.log.remove(TopicPartition("clicks", number), ends - 2)
    successor = await Trainee(shop, tmp_path).take_over()
    await successor.apply()
    assert successor.looks == looks + 3
    figure = successor.metrics.registry.get_sample_value
    assert figure("crosscurrent_expired_total", {"topic": "clicks"}) == 2
    bad = {"topic": "clicks", "outcome": "dead letter"}
    assert trainee.metrics.registry.get_sample_value("crosscurrent_events_total", bad) == 1


@pytest.mark.parametrize("refuses", [False, True])
async def test_misplaced_records_are_learnt_from_unless_the_policy_refuses_them(
    shop: Shop, tmp_path: Path, refuses: bool
) -> None:
    looks = shopping(shop, 10)
    for number in range(PARTITIONS):
        for record in shop.log.records("clicks", number)[:3]:
            shop.log.append("clicks", 1 - number, record.key, record.value)
    for _ in range(2):
        trainee = await Trainee(shop, tmp_path, refuses_misplaced=refuses).take_over()
        await trainee.apply()
        assert trainee.looks == looks + (0 if refuses else 6)
        visits = trainee.training.window_builder.visits[0]  # read again by the second
        users = {(record.key or b"").decode() for record in shop.log.records("clicks", 1)}
        elsewhere = [user for user in users if partition_of(user.encode(), PARTITIONS)]
        assert elsewhere
        assert any(visits.window(user, 0.0).items for user in elsewhere) is not refuses
        await trainee.publish()


async def test_who_refuses_or_is_forgotten_is_not_learnt_from(shop: Shop, tmp_path: Path) -> None:
    for user in ("ann", "bob", "cat"):
        shop.click(user, "kettle", 1.0)
    shop.publish("profiles", "bob", {"v": 1, "user_id": "bob", "at": 1_699_990_005_000, "consent": False})
    trainee = await Trainee(shop, tmp_path).take_over()
    await trainee.apply()
    assert trainee.looks == 2
    shop.publish("profiles", "ann", {"v": 1, "user_id": "ann", "at": 1_699_990_005_000, "forget": True})
    shop.publish("profiles", "cat", {"v": 1, "user_id": "cat", "at": 1_699_990_005_000, "consent": False})
    await trainee.apply()
    assert (trainee.looks, trainee.training.window_builder.dropped) == (0, 2)
    shop.publish("profiles", "bob", {"v": 1, "user_id": "bob", "at": 1_699_990_009_000, "consent": True})
    await trainee.apply()
    shop.click("bob", "mug", 8.0)  # before he allowed it again
    shop.click("bob", "mug", 10.0)
    await trainee.apply()
    assert trainee.looks == 1


async def test_a_worse_candidate_is_stored_and_not_announced(
    shop: Shop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainee = await Trainee(shop, tmp_path).take_over()
    shopping(shop, 300)
    await trainee.apply()
    good = await trainee.publish()
    assert trainee.announced() == [good]
    for parameter in trainee.training.learner.network.parameters():
        parameter.data.normal_()
    shopping(shop, 2, 9)
    await trainee.apply()
    trainee.training.learner.learn = lambda: None  # type: ignore[method-assign]
    worse = await trainee.publish()
    assert worse is not None
    assert trainee.announced() == [good]
    assert trainee.count("refused") == 1
    assert "is stored and not announced: on" in caplog.text
    metrics = trainee.store.load(MODEL, worse).metrics
    assert metrics["hr@20"] < metrics["served_hr@20"]


async def test_an_announcement_of_what_is_not_in_the_store_holds_up_no_other(shop: Shop, tmp_path: Path) -> None:
    version = "99991231T235959Z-999999999999-0a1b2c3d"
    key, value = encode_announcement(Announcement(1, MODEL, version, "", "0f" * 32, 2.0e11, "trainer"))
    shop.log.append("snapshots", partition_of(key, PARTITIONS), key, value)
    trainee = await Trainee(shop, tmp_path).take_over()
    shopping(shop, 20)
    await trainee.apply()
    stored = await trainee.publish()
    assert sorted(trainee.announced()) == sorted([version, str(stored)])
    assert trainee.mirror_of(MODEL) == stored


async def test_without_the_lead_nothing_is_announced(shop: Shop, tmp_path: Path) -> None:
    trainee = await Trainee(shop, tmp_path).take_over()
    term = trainee.leadership.term
    shopping(shop, 20)
    await trainee.apply()
    await trainee.leadership.on_revoked()
    assert await trainee.training_loop.publish(term) is not None
    assert (trainee.announced(), trainee.count("overtaken")) == ([], 1)
    trainee.leadership.on_assigned({TopicPartition("snapshots", 0)})
    learner = trainee.training.learner
    await trainee.training_loop.hold_state()
    assert trainee.training.learner is learner  # nobody has gone further: the state is kept
    other = await Trainee(shop, tmp_path).take_over()
    shopping(shop, 20, 1)
    await other.apply()
    assert await other.publish() is not None
    await trainee.training_loop.hold_state()
    assert trainee.training.learner is not learner
    assert trainee.training.version == other.training.version


async def test_a_store_that_is_down_stops_no_learning(shop: Shop, tmp_path: Path) -> None:
    trainee = await Trainee(shop, tmp_path / "store").take_over()
    (tmp_path / "store").write_text("no folder")
    looks = shopping(shop, 20)
    await trainee.apply()
    assert await trainee.publish() is None
    assert trainee.count("failed") == 1
    (tmp_path / "store").unlink()
    assert await trainee.publish() is not None
    assert trainee.looks == looks


async def test_a_broken_snapshot_is_passed_over_and_old_ones_go(shop: Shop, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"snapshots_kept": 2})
    trainee = await Trainee(shop, tmp_path, settings).take_over()
    looks, versions = 0, []
    for seed in range(4):
        looks += shopping(shop, 10, seed)
        await trainee.apply()
        versions.append(await trainee.publish())
    assert trainee.store.versions(MODEL) == versions[-2:]
    (tmp_path / MODEL / str(versions[-1]) / TRAINING).write_bytes(b"broken")
    successor = await Trainee(shop, tmp_path, settings).take_over()
    assert successor.training.version == versions[-2]
    await successor.apply()
    assert successor.looks == looks


async def test_it_does_not_go_on_from_another_topic_or_shape(shop: Shop, tmp_path: Path) -> None:
    trainee = await Trainee(shop, tmp_path).take_over()
    shopping(shop, 10)
    await trainee.apply()
    await trainee.publish()
    with pytest.raises(TakeOverError, match="topic clicks is not the one that sequence .* was learnt from"):
        await Trainee(shop, tmp_path, topic_id="another").take_over()
    larger = SETTINGS.model_copy(update={"learner": LearnerConfig(NetworkConfig(units=16), looks=5)})
    with pytest.raises(SnapshotShapeError, match="config.buffer` must be 400000, as the settings say, got 500"):
        await Trainee(shop, tmp_path, larger).take_over()
    shop.log._ends[TopicPartition("clicks", 0)] = 0
    with pytest.raises(TakeOverError, match="clicks-0 ends at offset 0, before"):
        await Trainee(shop, tmp_path).take_over()


@contextlib.asynccontextmanager
async def running(trainee: Trainee) -> AsyncIterator[Any]:
    task = asyncio.create_task(trainee.training_loop.run())
    try:
        yield task
    finally:
        trainee.training_loop.close()
        await asyncio.wait_for(task, 10)


async def until(look: Any) -> None:
    for _ in range(500):
        if look():
            return
        await asyncio.sleep(0.02)
    pytest.fail("not within 10 s")


async def test_it_works_while_it_leads_and_stands_by_while_it_does_not(shop: Shop, tmp_path: Path) -> None:
    trainee = Trainee(shop, tmp_path, SLOW)
    await trainee.leadership.on_revoked()
    looks = shopping(shop, 3)
    async with running(trainee) as task:
        await asyncio.sleep(0.05)
        assert not trainee.training_loop.holds_state.is_set()
        trainee.leadership.on_assigned({TopicPartition("snapshots", 0)})
        await until(lambda: trainee.looks == looks)
        assert trainee.training.learner.chunks == 0
        trainee.now += 51.0  # the log stands still
        await until(lambda: trainee.training.learner.chunks == 1)
        trainee.now += 60.0
        await until(lambda: trainee.announced())
        await trainee.leadership.on_revoked()
        shopping(shop, 3, 1)
        await asyncio.sleep(0.7)
        assert trainee.looks == looks
        assert not task.done()


# -- outcomes ----------------------------------------------------------------------------------------------------------

ANSWERED = SETTINGS.model_copy(
    update={
        "outcomes": AttributionConfig(window_s=50.0, late_s=5.0),
        "ranker": RankerConfig(least_credits=5.0, least_judged=5.0),
    }
)


def suggesting(shop: Shop, lists: int, first: int = 0) -> None:
    """Looks that are answered with two items out of three, the second of which is bought."""
    for number in range(first, first + lists):
        user, at_s = f"user-{number % 7}", 10.0 * number
        shop.click(user, "kettle", at_s)
        items = {
            f"{item}-{number}": [
                {"evidence": 0.0, "base": 0.0, "views": 0.0, "step": 0.0, "had": 0.0}.get(name, at) for name in FEATURES
            ]
            for item, at in (("mug", 0.0), ("tea", 2.0), ("pot", 1.0))
        }
        shop.publish("suggestions", user, suggestion(shop, user, at_s, [f"mug-{number}", f"tea-{number}"]))
        log_pool(shop, *pool(shop, user, at_s, items))
        shop.buy(user, [f"tea-{number}"], at_s + 1, f"order-{number}")


async def test_an_order_is_learnt_from_what_became_of_pools_and_announced(shop: Shop, tmp_path: Path) -> None:
    suggesting(shop, 80)
    trainee = await Trainee(shop, tmp_path, ANSWERED).take_over()
    await trainee.apply()
    await trainee.publish()
    training = trainee.training
    assert training.pools.opened == 80 == training.ranker.learnt + len(training.pools)
    assert training.attribution.opened == 80 == training.ranker.learnt + len(training.attribution)
    assert training.ranker.learnt > 60
    closed, _, taken = training.attribution.counts[CROSS_SELL].tolist()
    assert closed == 2 * taken == 2 * training.ranker.learnt
    version = trainee.mirror_of("ranker")
    snapshot = trainee.store.load("ranker", version)
    order = order_of(snapshot, Items())
    assert order.serves.tolist() == [EVIDENCE, LEARNT, EVIDENCE]
    gained = order.weights[CROSS_SELL, 0] - FIRST_WEIGHTS
    assert gained[FEATURES.index("lift")] > 0.0  # the second, of which most numbers are greater
    assert set(snapshot.positions) == set(READ)
    value = trainee.metrics.registry.get_sample_value
    assert value("crosscurrent_trainer_suggested_items", {"kind": "cross_sell", "fate": "taken"}) == taken
    states = {state: value("crosscurrent_trainer_pools", {"state": state}) for state in ("open", "closed", "skipped")}
    assert states == {"open": len(training.pools), "closed": training.ranker.learnt, "skipped": 0}
    stored = trainee.store.versions("ranker")
    await trainee.publish()
    assert trainee.store.versions("ranker") == stored  # nothing new
    trainee = await Trainee(shop, tmp_path, ANSWERED).take_over()
    shop.now_ms += 1_000
    shop.click("somebody", "kettle", 700.0)  # a look, and no list that closes
    await trainee.apply()
    assert await trainee.publish() is not None
    assert trainee.store.versions("ranker") == stored


async def test_pools_are_learnt_once_whenever_the_trainer_is_killed(shop: Shop, tmp_path: Path) -> None:
    whole = await Trainee(shop, tmp_path / "whole", ANSWERED).take_over()
    parts = await Trainee(shop, tmp_path / "parts", ANSWERED).take_over()
    for first in range(0, 100, 20):
        suggesting(shop, 20, first)
        await whole.apply()
        await parts.apply()
        if first % 40 == 0:
            await parts.publish()
        else:
            parts = await Trainee(shop, tmp_path / "parts", ANSWERED).take_over()  # killed
    for trainee in (whole, parts):
        await trainee.apply()
        await trainee.publish()
    assert parts.training.ranker.learnt == whole.training.ranker.learnt > 80
    assert len(parts.training.pools) == len(whole.training.pools)
    np.testing.assert_array_equal(parts.training.pools.counts, whole.training.pools.counts)
    np.testing.assert_array_equal(parts.training.attribution.counts, whole.training.attribution.counts)


async def test_an_upsell_that_is_taken_within_a_month_is_learnt_through_a_restart(shop: Shop, tmp_path: Path) -> None:
    shop.click("ann", "kettle", 0.0)
    log_pool(shop, *pool(shop, "ann", 0.0, {"steel": [1.0] * WIDTH, "gold": [0.0] * WIDTH}, UPSELL))
    takings = []
    for days in (1, 20, 31):
        trainee = await Trainee(shop, tmp_path, ANSWERED).take_over()
        shop.now_ms += 30 * 86_400_000
        shop.click("ann", "kettle", days * 86_400.0)
        shop.buy("ann", ["steel"], days * 86_400.0, f"order-{days}")
        await trainee.apply()
        assert await trainee.publish() is not None
        takings.append(trainee.training.ranker.metrics()["takings.upsell"])
    assert takings == [0.0, 0.0, 1.0]
    assert trainee.training.ranker.learnt == 2  # within the hour, and within the month


@pytest.mark.parametrize("without", [("pools",), ("pools", "suggestions", "feedback")])
async def test_a_snapshot_from_before_a_topic_was_read_goes_on_at_its_end(
    shop: Shop, tmp_path: Path, without: tuple[str, ...]
) -> None:
    suggesting(shop, 30)
    trainee = await Trainee(shop, tmp_path, ANSWERED).take_over()
    await trainee.apply()
    training = trainee.training
    snapshot, state = training.snapshot({})
    old = replace(snapshot, positions={topic: of for topic, of in snapshot.positions.items() if topic not in without})
    parts = {"pools": ("pools.",), "suggestions": ("outcomes.", "ranker.")}
    gone = (
        *(f"appended_ms.{topic}" for topic in without),
        *(name for topic in without for name in parts.get(topic, ())),
    )
    trainee.store.save(old, {name: array for name, array in state.items() if not name.startswith(gone)})
    later = await Trainee(shop, tmp_path, ANSWERED).take_over()
    suggesting(shop, 20, 30)
    await later.apply()
    assert later.training.pools.opened == 20
    assert later.training.attribution.opened == (20 if "suggestions" in without else 50)


async def test_open_pools_that_other_features_describe_are_dropped_and_lists_are_not(
    shop: Shop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    suggesting(shop, 7)
    trainee = await Trainee(shop, tmp_path, LASTING).take_over()
    await trainee.apply()
    await trainee.training.learn()
    snapshot, state = trainee.training.snapshot({})
    assert len(trainee.training.pools) == 7
    trainee.store.save(snapshot, state | {"pools.described_by": np.frombuffer(b"others", np.uint8)})
    later = await Trainee(shop, tmp_path, LASTING).take_over()
    assert (len(later.training.pools), len(later.training.attribution)) == (0, 7)
    assert "other features" in caplog.text


LASTING = ANSWERED.model_copy(update={"outcomes": AttributionConfig(window_s=5_000.0)})


def held(trainee: Trainee) -> tuple[int, int]:
    """Open lists and pools."""
    return len(trainee.training.attribution), len(trainee.training.pools)


async def test_of_who_is_forgotten_no_list_or_pool_is_learnt(shop: Shop, tmp_path: Path) -> None:
    suggesting(shop, 7)
    trainee = await Trainee(shop, tmp_path, LASTING).take_over()
    await trainee.apply()
    trainee.training.forget("user-3", 1_699_999_999.0)
    assert held(trainee) == (6, 6)
    suggesting(shop, 7)
    await trainee.apply()
    assert held(trainee) == (12, 12)


async def store_open_lists(shop: Shop, folder: Path) -> None:
    """A snapshot in which fourteen lists and pools are open."""
    suggesting(shop, 14)
    trainee = await Trainee(shop, folder, LASTING).take_over()
    await trainee.apply()
    await trainee.publish()
    assert held(trainee) == (14, 14)


async def test_what_was_forgotten_while_no_trainer_ran_is_not_gone_on_with(shop: Shop, tmp_path: Path) -> None:
    await store_open_lists(shop, tmp_path)
    later = Trainee(shop, tmp_path, LASTING)
    later.tables.forgotten["user-3"] = 1_699_990_031.0  # his second list is later
    await later.take_over()
    assert held(later) == (13, 13)


async def test_who_is_forgotten_while_lists_are_restored_is_not_gone_on_with(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store_open_lists(shop, tmp_path)
    later, loop, restore = Trainee(shop, tmp_path, LASTING), asyncio.get_running_loop(), Attribution.restore

    async def forget() -> None:
        later.training.forget("user-3", 1_699_990_031.0)

    def restore_meanwhile(attribution: Attribution, training: Mapping[str, Any]) -> None:
        asyncio.run_coroutine_threadsafe(forget(), loop).result(10.0)  # the event loop is free
        restore(attribution, training)

    monkeypatch.setattr(Attribution, "restore", restore_meanwhile)
    await later.take_over()
    assert held(later) == (13, 13)


async def test_who_refuses_is_dropped_and_who_agrees_again_keeps_what_came_since(shop: Shop, tmp_path: Path) -> None:
    def says(consent: bool, at_s: float) -> None:
        at = 1_699_990_000_000 + round(at_s * 1000)
        shop.publish("profiles", "user-3", {"v": 1, "user_id": "user-3", "at": at, "consent": consent})

    suggesting(shop, 7)
    trainee = await Trainee(shop, tmp_path, LASTING).take_over()
    await trainee.apply()
    says(False, 65.0)
    await trainee.apply()
    assert held(trainee) == (6, 6)
    suggesting(shop, 7, 7)
    await trainee.apply()
    assert held(trainee) == (12, 12)
    says(True, 145.0)
    suggesting(shop, 7, 15)
    await trainee.apply()
    assert held(trainee) == (19, 19)
    await trainee.publish()
    later = await Trainee(shop, tmp_path, LASTING).take_over()
    assert held(later) == (19, 19)


async def test_a_shop_says_what_became_of_a_list(shop: Shop, tmp_path: Path) -> None:
    shop.click("ann", "kettle", 0.0)
    sent = suggestion(shop, "ann", 0.0, ("mug", "tea", "pot"))

    def says(user: str, action: str, at_s: float, item: str | None = None) -> None:
        at = 1_699_990_000_000 + round(at_s * 1000)
        value = {"v": 1, "user_id": user, "suggestion_id": sent["suggestion_id"], "action": action, "at": at}
        shop.publish("feedback", user, value if item is None else {**value, "item_id": item})

    says("ann", "shown", 0.5, "mug")  # read before the list, whose items nobody knows yet
    shop.publish("suggestions", "ann", sent)
    says("ann", "clicked", 1.0, "tea")
    says("bob", "clicked", 1.0, "mug")
    shop.click("ann", "kettle", 100.0)
    trainee = await Trainee(shop, tmp_path, ANSWERED).take_over()
    await trainee.apply()
    (closed,) = trainee.training.attribution.take()
    assert closed.taken.tolist() == [False, False, False]
    assert trainee.training.attribution.counts[CROSS_SELL].tolist() == [2, 1, 0]


async def test_what_a_shop_says_of_a_list_says_nothing_of_its_pool(shop: Shop, tmp_path: Path) -> None:
    shop.click("ann", "kettle", 0.0)
    features = np.arange(3.0 * len(FEATURES)).reshape(3, -1) / 4
    log_pool(shop, *pool(shop, "ann", 0.0, dict(zip(("mug", "tea", "pot"), features.tolist(), strict=True))))
    name = trigger_of(shop, "ann").suggestion_id
    value = {"v": 1, "user_id": "ann", "suggestion_id": name, "at": 1_699_990_001_000, "item_id": "mug"}
    for action in ("shown", "clicked"):
        shop.publish("feedback", "ann", value | {"action": action})
    shop.buy("ann", ["tea"], 2.0, "order")
    shop.click("ann", "kettle", 100.0)
    trainee = await Trainee(shop, tmp_path, ANSWERED).take_over()
    await trainee.apply()
    (closed,) = trainee.training.pools.take()
    assert closed.taken.tolist() == [False, True, False]
    assert trainee.training.pools.counts[CROSS_SELL].tolist() == [3, 1, 1]
    assert closed.features.tolist() == features.tolist()


async def test_a_record_that_is_no_pool_of_these_features_is_passed_over(shop: Shop, tmp_path: Path) -> None:
    shop.click("ann", "kettle", 0.0)
    key, value = pool(shop, "ann", 0.0, {"mug": [0.5] * len(FEATURES)})
    fields = orjson.loads(value)
    wrong = [
        {"described_by": "other features"},
        {"topic": "orders", "suggestion_id": fields["suggestion_id"].replace("clicks", "orders")},
        {"topic": "feedback", "suggestion_id": fields["suggestion_id"].replace("clicks", "feedback")},
        {"partition": PARTITIONS, "suggestion_id": f"clicks-{PARTITIONS}-{fields['offset']}"},
        {"features": ""},
        {"user_id": "bob"},  # and the key is ann
        {"v": 2},
    ]
    for changes in wrong:
        log_pool(shop, key, orjson.dumps(fields | changes))
    log_pool(shop, key, value, partition=1 - partition_of(key, PARTITIONS))
    log_pool(shop, key, value)
    trainee = await Trainee(shop, tmp_path, ANSWERED).take_over()
    await trainee.apply()
    assert trainee.training.pools.opened == 1
    found = trainee.metrics.registry.get_sample_value
    assert found("crosscurrent_events_total", {"topic": "pools", "outcome": "passed over"}) == len(wrong) + 1
    assert found("crosscurrent_events_total", {"topic": "pools", "outcome": "noted"}) == 1


async def test_a_record_that_is_no_suggestion_is_passed_over(shop: Shop, tmp_path: Path) -> None:
    shop.click("ann", "kettle", 0.0)
    good = suggestion(shop, "ann", 0.0, ["mug"])
    trigger = good["trigger"]
    wrong = [
        {**good, "at": "yesterday"},
        {**good, "at": "2023-11-14T19:26"},  # where?
        {**good, "at": "9999-01-01T00:00:00.000Z"},
        {**good, "trigger": {**trigger, "topic": "orders"}},
        {**good, "trigger": {**trigger, "partition": PARTITIONS}},
        {**good, "trigger": {**trigger, "offset": 2**63}},
        {**good, "items": []},
        {**good, "user_id": "bob"},  # and the key is ann
        {**good, "v": 2},
    ]
    for sent in [*wrong, good]:
        shop.publish("suggestions", "ann", sent)
    trainee = await Trainee(shop, tmp_path, ANSWERED).take_over()
    await trainee.apply()
    assert trainee.training.attribution.opened == 1
    value = trainee.metrics.registry.get_sample_value
    labels = {"topic": "suggestions", "outcome": "passed over"}
    assert value("crosscurrent_events_total", labels) == len(wrong)
    assert await trainee.publish() is not None


# -- what is held ------------------------------------------------------------------------------------------------------


def named(trainee: Trainee) -> tuple[dict[str, tuple[float, float]], list[list[str]]]:
    """The use of the shop's own items, and the windows to learn again, by the items' ids."""
    learner, name = trainee.training.learner, trainee.training.items.name
    words = learner.vocabulary
    used = zip(words.item.tolist(), words.uses.tolist(), words.at.tolist(), strict=True)
    uses = {name(item): (use, at) for item, use, at in used if item >= 0}
    own = {item_id: use for item_id, use in uses.items() if item_id.startswith("item-")}
    return own, [list(map(name, window.items)) for window in learner._old.each()]


async def test_ids_that_nothing_refers_to_any_more_are_freed_and_what_is_learnt_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = replace(SETTINGS.learner, buffer=40, vocabulary=60)
    settings = SETTINGS.model_copy(update={"learner": learner})
    seen, ids, stored = [], [], []
    for least in (1, 1 << 40):
        monkeypatch.setattr(state, "LEAST_IDS", least)
        shop = Shop()
        trainee = await Trainee(shop, tmp_path / str(least), settings).take_over()
        for turn in range(10):
            for n in range(60):
                shop.click(f"robot-{turn}-{n % 6}", f"made-up-{turn}-{n}", 100_000.0 * turn + n)
            shopping(shop, 20, turn)
            await trainee.apply()
            await trainee.publish()
            shop.now_ms += 3 * 86_400_000
            if turn == 5:
                trainee = await Trainee(shop, tmp_path / str(least), settings).take_over()
        ids.append(trainee.training.items.used)
        stored.append(len(trainee.training.items.names()))
        seen.append(named(trainee))
    assert seen[0] == seen[1]
    assert ids[0] < ids[1] / 2
    assert stored[0] < 0.6 * stored[1]  # which numbers are free depends on when their items were met
