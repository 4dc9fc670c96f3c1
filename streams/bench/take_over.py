"""Measures a take-over with histories: a worker starts on rows of so many shoppers, beside one that starts on none.

The rows are made up, from a seed: every shopper has the same number of items, drawn from a catalogue with equal
chances, with counts and times of a year. No purchase is in the log: the rows' positions are 0, so the worker adopts
all of them and replays nothing. One worker takes over all partitions.
"""

from __future__ import annotations

import asyncio
import re
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from streams.bench.application import BenchError
from streams.bench.events import Event, history
from streams.bench.load import preload
from streams.brokers.broker import HOST, Broker, free_ports
from streams.kafka import topic_admin
from streams.processes import Process, cpu_s, crosscurrent, environment, resident_mb
from streams.wire.topics import Identity, full_name

CATALOGUE = 50_000
"""Items that the rows are drawn from."""

HELD_S = 30.0
"""Longest wait until the gauge of a ready worker says that it holds all histories; it is updated each second."""

LOOK_S = 0.2
"""Between two looks at the gauge."""

TAKEN = re.compile(r"(shoppers-\d+) taken over in ([\d.]+) s")
"""What a worker's log says of each partition."""


@dataclass(frozen=True, slots=True)
class TakeOverConfig:
    """How much is measured."""

    shoppers: int
    items: int  # of each shopper
    repeats: int = 2  # starts on rows, and as many on none
    seed: int = 7  # of the rows


@dataclass(frozen=True, slots=True)
class Start:
    """A start of the worker, to the line by which it says that it is ready."""

    ready_s: float
    partitions_s: Sequence[float]  # its own times of taking over each partition of shoppers, all at once
    cpu_s: float | None  # processor time; None without /proc
    resident_mb: float | None

    @property
    def longest_s(self) -> float:
        """Its longest take-over of a partition."""
        return max(self.partitions_s)


def take_over(broker: Broker, config: TakeOverConfig, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure on a running broker. The folder is for logs; `say` gets the progress.

    Raises:
        ProcessError: the worker ended.
        BenchError: it does not hold all histories.
    """
    empty, full = (_Worker(broker, name, folder) for name in ("empty", "full"))
    identity = topic_admin.identities(full.settings)[full_name(full.settings.prefix, "purchases")]
    say(f"publishing {config.shoppers:,} rows of {config.items} items")
    sent = 0

    def counted() -> Iterator[Event]:
        nonlocal sent
        for row in rows(config, identity, time.time()):
            sent += len(row.key) + len(row.value)
            yield row

    asyncio.run(preload(full.settings.bootstrap_servers, full.settings.prefix, counted()))
    say("a first start, which does not count: kernels and files get into the caches")
    empty.start(0)
    without, with_rows = [], []
    for number in range(1, config.repeats + 1):
        without.append(empty.start(0))
        with_rows.append(full.start(config.shoppers))
        times = f"{without[-1].ready_s:.1f} s without rows, {with_rows[-1].ready_s:.1f} s with them"
        say(f"turn {number}: ready after {times}")
    return compared(config, sent, without, with_rows)


class _Worker:
    """A worker, on topics of its own under a prefix."""

    def __init__(self, broker: Broker, name: str, folder: Path) -> None:
        self.settings = broker.settings(prefix=f"{name}-")
        topic_admin.create(self.settings)
        (self._port,) = free_ports(1)
        command = crosscurrent("worker", "--web-port", str(self._port), settings=self.settings)
        environ = environment(snapshot_store=folder / "snapshots")
        self._process = Process(f"the worker ({name})", command, folder / f"{name}.log", environ)

    def start(self, shoppers: int) -> Start:
        """Start it, see that it holds the histories of so many shoppers, and stop it."""
        started = time.monotonic()
        with self._process as process:
            process.await_ready()
            ready_s, used_s = round(time.monotonic() - started, 2), cpu_s(process.pid)
            self._await_held(shoppers)
            taken = dict(TAKEN.findall(process.output()))
            return Start(ready_s, [float(seconds) for seconds in taken.values()], used_s, resident_mb(process.pid))

    def _await_held(self, shoppers: int) -> None:
        deadline = time.monotonic() + HELD_S
        while (held := self._held()) != shoppers:
            if time.monotonic() > deadline:
                words = self._process.last_words()
                message = f"{self._process.name} holds {held:,} of {shoppers:,} histories: {words}"
                raise BenchError(message)
            time.sleep(LOOK_S)

    def _held(self) -> int:
        return metric(self._port, "crosscurrent_histories")


def metric(port: int, name: str) -> int:
    """A metric without labels of a worker whose pages are at a port; 0: it does not say."""
    with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=HELD_S) as page:
        found = re.search(rf"^{name} (\S+)$", page.read().decode(), re.MULTILINE)
    return int(float(found[1])) if found else 0


def rows(config: TakeOverConfig, purchases: Identity, now_s: float) -> Iterator[Event]:
    """Rows of histories that end at a time (epoch seconds), for the topic `purchases` of that identity."""
    chance, items = np.random.default_rng(config.seed), config.items
    for shopper in range(config.shoppers):
        item_ids = [f"item-{item}" for item in chance.choice(CATALOGUE, items, replace=False)]
        yield history(f"shopper-{shopper}", item_ids, chance, purchases, now_s)


def compared(config: TakeOverConfig, sent: int, without: Sequence[Start], with_rows: Sequence[Start]) -> dict[str, Any]:
    """Figures of starts without and with rows, which have so many bytes in all; and what a row costs."""
    before, after = _middle(without), _middle(with_rows)

    def each(name: str, unit: float) -> float | None:
        """What a row adds, in a unit of which so many make the figure's own; None: unknown."""
        if before[name] is None or after[name] is None:
            return None
        added: float = (after[name] - before[name]) * unit / config.shoppers
        return round(added, 1)

    return asdict(config) | {
        "without": before,
        "with": after,
        "bytes_a_row": round(sent / config.shoppers),
        "us_a_row": each("longest_s", 1e6),
        "cpu_us_a_row": each("cpu_s", 1e6),
        "resident_bytes_a_row": each("resident_mb", 1 << 20),
    }


def _middle(starts: Sequence[Start]) -> dict[str, Any]:
    """Medians of the starts, and all of them."""
    middle: dict[str, Any] = {}
    for name in ("ready_s", "longest_s", "cpu_s", "resident_mb"):
        known = [value for start in starts if (value := getattr(start, name)) is not None]
        middle[name] = round(median(known), 2) if known else None
    return middle | {"starts": [asdict(start) for start in starts]}
