"""Sends events to the broker: all at once, or at a steady rate from a separate process.

`python -m streams.bench.load BOOTSTRAP PREFIX RATE FILE` is that process. It sends what is due every few milliseconds,
in packed batches, so that it takes little CPU time from the application.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import aiokafka

from streams.bench.events import Event, read
from streams.faust_app import new_event_loop
from streams.settings import Settings
from streams.wire.topics import full_name

TICK_S = 0.005
"""Between two sends of the feeder."""

SLICE = 2_000
"""Events of a backlog between two acknowledgements, so that append times of both topics follow the order of events."""


def _producer(bootstrap_servers: str) -> Any:
    """A producer; as a context manager it waits for the last acknowledgement."""
    options = Settings(bootstrap_servers=bootstrap_servers).aiokafka_options()
    return aiokafka.AIOKafkaProducer(**options, max_batch_size=1 << 20, max_request_size=4 << 20)


async def _send(producer: Any, prefix: str, events: Iterable[Event]) -> list[Any]:
    """Send events, in as few batches a partition as hold them; returns futures of the acknowledgements."""
    batches: defaultdict[tuple[str, int], list[Any]] = defaultdict(list)
    for topic, partition, key, value in events:
        made = batches[topic, partition]
        if not made or made[-1].append(key=key, value=value, timestamp=None) is None:  # full
            made.append(producer.create_batch())
            made[-1].append(key=key, value=value, timestamp=None)
    return [
        await producer.send_batch(batch, full_name(prefix, topic), partition=partition)
        for (topic, partition), made in batches.items()
        for batch in made
    ]


async def preload(bootstrap_servers: str, prefix: str, events: Iterable[Event]) -> None:
    """Append all events in order, as fast as possible; return when all are acknowledged."""
    rest = iter(events)
    async with _producer(bootstrap_servers) as producer:
        while some := list(islice(rest, SLICE)):
            await asyncio.gather(*await _send(producer, prefix, some))


async def feed(bootstrap_servers: str, prefix: str, events: Sequence[Event], rate: float) -> None:
    """Append events at a steady rate (events a second); late ones are sent at once, so that the mean rate holds."""
    async with _producer(bootstrap_servers) as producer:
        started, sent, pending = time.monotonic(), 0, list[Any]()
        while sent < len(events):
            due = min(len(events), round((time.monotonic() - started) * rate))
            pending = [future for future in pending if not future.done()]
            pending += await _send(producer, prefix, events[sent:due])
            sent = due
            await asyncio.sleep(TICK_S - (time.monotonic() - started) % TICK_S)
        await asyncio.gather(*pending)


def main(arguments: Sequence[str]) -> None:
    """Run the feeder."""
    bootstrap_servers, prefix, rate, file = arguments
    events = read(Path(file))
    new_event_loop().run_until_complete(feed(bootstrap_servers, prefix, events, float(rate)))


if __name__ == "__main__":
    main(sys.argv[1:])
