"""The trainer at work: a process of its own, on a real broker, killed and followed by another."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from kafka import KafkaProducer
from typer.testing import CliRunner

from models.sequence.config import MODEL
from streams.cli.entry import app
from streams.settings import Settings
from streams.snapshots.registry import SnapshotRegistry
from tests.support.processes import WorkerProcess, eventually

MORE = {
    "LEARNER__NETWORK__UNITS": "16",
    "LEARNER__BUFFER": "5000",
    "TRAIN_EVERY_S": "0.5",
    "SNAPSHOT_EVERY_S": "1",
}


class Market:
    """Shoppers who look along chains of items."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer = KafkaProducer(**settings.kafka_python_options(), acks="all")
        self._chance = random.Random(3)
        self.looks = 0

    def visit(self, times: int) -> None:
        for _ in range(times):
            user, chain = f"shopper-{self._chance.randrange(200)}", self._chance.randrange(20)
            for place in range(self._chance.randrange(1, 6)):
                value = {"v": 1, "user_id": user, "item_id": f"item-{chain}-{place}", "action": "view"}
                value["at"] = round(time.time() * 1000)
                self._producer.send(f"{self._settings.prefix}clicks", key=user.encode(), value=orjson.dumps(value))
                self.looks += 1
        self._producer.flush()

    def close(self) -> None:
        self._producer.close(timeout=5)


@pytest.fixture
def settings(created_topics: Settings, tmp_path: Path) -> Settings:
    return created_topics.model_copy(update={"snapshot_store": str(tmp_path / "store")})


@pytest.fixture
def market(settings: Settings) -> Iterator[Market]:
    market = Market(settings)
    yield market
    market.close()


def start(settings: Settings, folder: Path, **more: str) -> WorkerProcess:
    more = {**MORE, "SNAPSHOT_STORE": settings.snapshot_store, **more}
    return WorkerProcess(settings, folder, None, "trainer", more)


def listed(settings: Settings) -> list[dict[str, Any]]:
    """What `crosscurrent models list` says."""
    where = ["--bootstrap-servers", settings.bootstrap_servers, "--prefix", settings.prefix]
    words = ["models", "list", "--json", *where, "--snapshot-store", settings.snapshot_store]
    result = CliRunner().invoke(app, words, prog_name="crosscurrent")
    assert result.exit_code == 0, result.output
    return [orjson.loads(line) for line in result.stdout.splitlines()]


def announced_looks(settings: Settings) -> int:
    """How many looks are behind the announced snapshot, those held back included."""
    registry = SnapshotRegistry(settings, MODEL)
    if registry.announced is None:
        return 0
    learnt = registry.store.stored(MODEL, registry.announced.version).manifest.learnt
    return int(learnt["events"] + learnt["held"])


def test_a_trainer_that_is_killed_is_followed_by_one_that_learns_the_rest_and_no_more(
    settings: Settings, market: Market, tmp_path: Path
) -> None:
    with start(settings, tmp_path / "first") as first, start(settings, tmp_path / "second") as second:
        first.await_ready()
        second.await_ready()
        market.visit(100)
        eventually(lambda: announced_looks(settings) == market.looks, "the leader has learnt all there is")
        leader, other = first, second
        if b'"leads":true' in second.page("/ready")[1]:
            leader, other = second, first
        market.visit(50)
        leader.kill()
        market.visit(50)
        eventually(
            lambda: announced_looks(settings) == market.looks, "the other goes on to the end", other.err.read_text
        )
        (announced,) = (one for one in listed(settings) if one["announced"])
        assert announced["learnt"]["events"] + announced["learnt"]["held"] == market.looks
        assert {"hr@20", "mrr@20", "n"} <= set(announced["metrics"])
        assert b"crosscurrent_trainer_leads 1.0" in other.page("/metrics")[1]
        assert other.printed == "ready\n"
        market.visit(1)
        assert other.stop() == 0, other.complaints[-3000:]
    newest = listed(settings)[-1]["learnt"]
    assert market.looks - 5 <= newest["events"] + newest["held"] <= market.looks
    if not settings.embedded:
        return  # what follows is the same on every broker
    with start(settings, tmp_path / "third", LEARNER__NETWORK__UNITS="8") as third:
        assert third.wait() == 1
        assert third.printed == ""
        assert "`config.network.units` must be 8, as the settings say, got 16" in third.complaints
