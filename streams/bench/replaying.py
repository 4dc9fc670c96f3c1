"""Measures how long a worker takes to read again what it remembers: clicks of one partition.

The clicks are made up, from a seed: visits of twenty looks, items drawn from a catalogue of which few are popular. The
group has committed their end, so a worker applies none of them and replays all. It is started several times.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import aiokafka
import numpy as np
import orjson
from aiokafka import TopicPartition

from streams.bench.application import BenchError
from streams.bench.events import Event
from streams.bench.load import preload
from streams.bench.take_over import TAKEN, metric
from streams.brokers.broker import Broker, free_ports
from streams.kafka import topic_admin
from streams.processes import Process, crosscurrent, environment
from streams.settings import Settings
from streams.wire.partitioner import partition_of
from streams.wire.topics import full_name

CATALOGUE = 20_000
"""Items that are looked at."""

LOOKS, LOOK_S = 20, 10.0
"""Of a visit, and event time between them."""

SPAN_S = 3000.0
"""Event time of all clicks together: one may be an hour ahead of its record."""


@dataclass(frozen=True, slots=True)
class ReplayConfig:
    """How much is measured."""

    clicks: int
    repeats: int = 3  # starts
    seed: int = 7


def replayed(broker: Broker, config: ReplayConfig, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure on a running broker. The folder is for logs; `say` gets the progress.

    Raises:
        ProcessError: the worker ended.
        BenchError: it has not read all clicks again.
    """
    settings = broker.settings(prefix="replay-")
    topic_admin.create(settings)
    say(f"publishing {config.clicks:,} clicks to one partition")
    made = clicks(config, settings.partitions, time.time())
    asyncio.run(preload(settings.bootstrap_servers, settings.prefix, made))
    asyncio.run(_commit(settings, config.clicks))
    (port,) = free_ports(1)
    command = crosscurrent("worker", "--web-port", str(port), settings=settings)
    worker = Process("the worker", command, folder / "worker.log", environment(snapshot_store=folder / "snapshots"))
    seconds = list[float]()
    for number in range(config.repeats + 1):
        with worker as process:
            process.await_ready()
            seconds.append(float(dict(TAKEN.findall(process.output()))["shoppers-0"]))
            if (read := metric(port, "crosscurrent_replayed_total")) != config.clicks:
                message = f"the worker has read {read:,} of {config.clicks:,} clicks again"
                raise BenchError(message)
        rate = config.clicks / seconds[-1]
        say(f"{'a start that does not count' if not number else f'start {number}'}: {rate:,.0f} records/s")
    counted = seconds[1:]
    return asdict(config) | {
        "seconds": round(median(counted), 2),
        "records_per_s": round(config.clicks / median(counted)),
        "starts_s": counted,
    }


def clicks(config: ReplayConfig, partitions: int, now_s: float) -> Iterator[Event]:
    """Clicks of shoppers of partition 0, whose visits overlap, up to a time in epoch seconds."""
    chance = np.random.default_rng(config.seed)
    users = (f"shopper-{number}" for number in count())
    mine = (user for user in users if partition_of(user.encode(), partitions) == 0)
    visits = -(-config.clicks // LOOKS)
    shoppers = [next(mine) for _ in range(visits)]
    begun = np.sort(chance.random(visits)) * (SPAN_S - LOOKS * LOOK_S)
    ats = (begun[:, None] + LOOK_S * np.arange(LOOKS)).ravel()
    items = chance.zipf(1.3, len(ats)) % CATALOGUE
    for place in np.argsort(ats, kind="stable")[: config.clicks].tolist():
        user, at_ms = shoppers[place // LOOKS], round((now_s - SPAN_S + ats[place]) * 1000)
        click = {"v": 1, "user_id": user, "item_id": f"item-{items[place]}", "action": "view", "at": at_ms}
        yield Event("clicks", 0, user.encode(), orjson.dumps(click | {"event_id": f"event-{place}"}))


async def _commit(settings: Settings, end: int) -> None:
    """Commit the end of the clicks for the group of the workers."""
    options = settings.aiokafka_options()
    consumer = aiokafka.AIOKafkaConsumer(**options, group_id=settings.full_group, enable_auto_commit=False)
    await consumer.start()
    try:
        partition = TopicPartition(full_name(settings.prefix, "clicks"), 0)
        consumer.assign([partition])
        await consumer.commit({partition: end})
    finally:
        await consumer.stop()
