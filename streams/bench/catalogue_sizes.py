"""What an event costs by size of the catalogue: a worker without a broker, in a process of its own for each size.

The catalogue is that of the benchmark's shop, many times: copies of its items have ids of their own. Each shopper
visits one copy, drawn by a long-tailed law, so rows of neighbours are as long as the events made them. The sequence
model has a vector of each item: that of the item which it is a copy of, with noise.

`python -m streams.bench.catalogue_sizes SIZE SEED FOLDER` is the process of one size.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from models.sequence.config import MODEL
from models.snapshot import Snapshot
from streams.bench import serving_models
from streams.bench.breakdown import BACKLOG, STEADY, Pace, Second, ServingWorker
from streams.bench.events import LEAD_S, BenchShop, Event, read, write
from streams.bench.machine import MachineWatch
from streams.bench.workbench import PURCHASES
from streams.processes import Process, environment, resident_mb
from streams.settings import Settings
from streams.snapshots.store import SnapshotStore
from streams.wire.partitioner import partition_of

WARM_UP = 40_000
"""Events that are applied first; the models learn from them."""

PACES = (BACKLOG, STEADY)

PARTITIONS = Settings().partitions

LEAST_ITEMS = 2_000
"""The shop itself has nearly as many."""

NOISE = 0.3
"""Of a copy's vector, as a part of the mean length of the vectors."""

LOOK_S = 0.2
"""Between two looks at a process."""


class Copies:
    """A catalogue of so many items, made of copies of another one.

    Attributes:
        whole: number of copies that are complete: only these have shoppers.
    """

    def __init__(self, catalog: Sequence[Event], size: int, seed: int) -> None:
        self._catalog, self._size = catalog, size
        self.whole = max(1, size // len(catalog))
        self._chance = np.random.default_rng(seed)
        self._law = np.cumsum(1.0 / np.arange(1, self.whole + 1))
        self._visits: dict[bytes, int] = {}  # copy by shopper

    def items(self) -> Iterator[Event]:
        """The records of the catalogue."""
        for number in range(self._size):
            copy, place = divmod(number, len(self._catalog))
            yield _in_copy(self._catalog[place], copy)

    def spread(self, event: Event) -> Event:
        """An event or a history in the copy that its shopper visits."""
        if event.key not in self._visits:
            drawn = self._law[-1] * self._chance.random()
            self._visits[event.key] = int(np.searchsorted(self._law, drawn))
        return _in_copy(event, self._visits[event.key])

    def enlarged(self, snapshot: Snapshot) -> Snapshot:
        """A sequence model that has learnt the copies as well; any other model as it is."""
        if snapshot.model != MODEL:
            return snapshot
        slots = [slot for slot, item_id in enumerate(snapshot.vocabulary) if item_id]
        learnt = snapshot.arrays["items.weight"][slots]
        vectors = np.tile(learnt, (self.whole, 1))
        noise = NOISE * float(np.linalg.norm(learnt, axis=1).mean()) / np.sqrt(learnt.shape[1])
        vectors[len(learnt) :] += noise * self._chance.standard_normal((len(vectors) - len(learnt), learnt.shape[1]))
        names = (_copied(snapshot.vocabulary[slot], copy) for copy in range(self.whole) for slot in slots)
        return Snapshot(
            model=MODEL,
            code=snapshot.code,
            arrays={**snapshot.arrays, "items.weight": vectors},
            vocabulary=tuple(names),
            config=snapshot.config,
            positions={},
            learnt=snapshot.learnt,
            metrics={},
            at=snapshot.at,
        )


def _copied(item_id: str, copy: int) -> str:
    return f"{item_id}~{copy}" if copy else item_id


def _in_copy(event: Event, copy: int) -> Event:
    """A record with the item ids of a copy."""
    if not copy:
        return event
    value = orjson.loads(event.value)
    if "item_id" in value:
        value["item_id"] = _copied(value["item_id"], copy)
    if event.topic == "histories":
        value["items"] = [_copied(item_id, copy) for item_id in value["items"]]
    elif event.topic == "purchases":
        value["items"] = [line | {"item_id": _copied(line["item_id"], copy)} for line in value["items"]]
    elif event.topic == "catalog":
        key = value["item_id"].encode()
        return Event(event.topic, partition_of(key, PARTITIONS), key, orjson.dumps(value))
    return event._replace(value=orjson.dumps(value))


def measured(
    sizes: Sequence[int], folder: Path, seed: int, *, models: bool, watch: MachineWatch, say: Callable[[str], None]
) -> dict[str, Any]:
    """Microseconds of an event and memory by number of items; the folder is for what the processes share.

    Raises:
        ProcessError: a process ended by itself.
    """
    shop = BenchShop(seed, PARTITIONS, time.time() - LEAD_S)
    catalog = shop.catalog()
    events = shop.take(WARM_UP + sum(pace.seconds * pace.events_per_s for pace in PACES))
    say("models learn from the events of the shop")
    store = SnapshotStore(str(folder / "snapshots"))
    for snapshot in serving_models.learn(catalog, events[:WARM_UP], sequence=models):
        store.save(snapshot)
    for name, records in (("catalog", catalog), ("events", events), ("histories", list(shop.histories(PURCHASES)))):
        write(folder / name, records)
    watch.end("learning")
    figures = {}
    for size in sizes:
        say(f"a worker with {size:,} items")
        command = [sys.executable, "-m", "streams.bench.catalogue_sizes", str(size), str(seed), str(folder)]
        with Process(f"the worker with {size:,} items", command, folder / f"{size}.log", environment()) as process:
            while process.running:
                time.sleep(LOOK_S)
            if process.exit_code:
                process.check()
        figures[str(size)] = orjson.loads((folder / f"{size}.json").read_bytes())
        watch.end(f"{size:,} items")
    return figures


async def cost(copies: Copies, folder: Path, paces: Sequence[Pace] = PACES, warm_up: int = WARM_UP) -> dict[str, Any]:
    """Figures of one size, from what is in the folder."""
    store = SnapshotStore(str(folder / "snapshots"))
    versions = {model: store.versions(model) for model in serving_models.MODELS}
    worker = ServingWorker(
        copies.items(),
        (copies.enlarged(store.load(model, found[-1])) for model, found in versions.items() if found),
        map(copies.spread, read(folder / "histories")),
    )
    events = map(copies.spread, read(folder / "events"))
    started = time.perf_counter()
    async with worker.running(list(islice(events, warm_up))) as bench:
        warm_s, totals = time.perf_counter() - started, {}
        for pace in paces:
            second = Second(bench, pace, watched=False)
            for _ in range(pace.seconds):
                await second.run(list(islice(events, pace.events_per_s)))
            totals[pace.name] = round(second.total_us(), 1)
        parts_mb = {part: round(size / (1 << 20), 1) for part, size in bench.sizes().items()}
        rss_mb = resident_mb(os.getpid())
    return {
        "us": totals[BACKLOG.name],
        "us_steady": totals[STEADY.name],
        "rss_mb": rss_mb and round(rss_mb),
        "parts_mb": parts_mb,
        "started_s": round(warm_s, 1),
    }


def main(arguments: Sequence[str]) -> None:
    """Measure one size."""
    size, seed, folder = int(arguments[0]), int(arguments[1]), Path(arguments[2])
    figures = asyncio.run(cost(Copies(read(folder / "catalog"), size, seed), folder))
    (folder / f"{size}.json").write_bytes(orjson.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1:])
