"""Waits until the workers have applied everything, and until the trainer has learnt everything.

The positions of the workers' checkpoints, or of the trainer's snapshots, are compared with the ends of the topics.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Container, Mapping

import orjson

from streams.drills.evidence import Place, StoredTopic
from streams.kafka.blocking import TopicReader
from streams.settings import Settings
from streams.snapshots.store import SnapshotStore
from streams.wire.topics import full_name

CAUGHT_UP_S = 120.0
"""Longest wait: session timeouts, purchases that wait for their views, and take-overs on a busy machine."""

LEARNT_S = 60.0
"""Longest wait for the next snapshot; one is stored every few seconds while there is anything to learn."""

LOOK_S = 0.5
"""Between two checks."""


class Positions:
    """Greatest position of each partition task, as a late record of `progress` may come from an earlier owner.

    >>> positions = Positions()
    >>> positions.update(b'{"v":1,"lane":"shoppers-0","topics":{"clicks":{"position":7}},"joined":2}')
    >>> positions.update(b'{"v":1,"lane":"shoppers-0","topics":{"clicks":{"position":5}}}')
    >>> positions.at("shoppers-0", "clicks"), positions.joined("shoppers-0"), positions.at("items-0", "pairs")
    (7, 2, 0)
    """

    def __init__(self) -> None:
        self._at: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._joined: defaultdict[str, int] = defaultdict(int)
        self._histories: defaultdict[str, int] = defaultdict(int)

    def update(self, value: bytes) -> None:
        """Add a value of `progress`; an empty one is a tombstone."""
        if not value:
            return
        record = orjson.loads(value)
        task = record["lane"]
        for topic, at in record["topics"].items():
            self._at[task, topic] = max(self._at[task, topic], at["position"])
        self._joined[task] = max(self._joined[task], record.get("joined", 0))
        self._histories[task] = max(self._histories[task], record.get("histories", 0))

    def at(self, task: str, topic: str) -> int:
        """Position of a task in a topic (full name)."""
        return self._at[task, topic]

    def joined(self, task: str) -> int:
        """Position up to which a shopper task has joined purchases with the views before them."""
        return self._joined[task]

    def histories(self, task: str) -> int:
        """Position up to which purchases are in the published histories of a shopper task."""
        return self._histories[task]


def behind(positions: Positions, ends: Mapping[tuple[str, int], int], prefix: str) -> list[str]:
    """What is left to apply before the ends of partitions (by full name and number), a phrase for each partition."""
    purchases, pairs = full_name(prefix, "purchases"), full_name(prefix, "pairs")
    left = []
    for (topic, number), end in sorted(ends.items()):
        task = f"{'items' if topic == pairs else 'shoppers'}-{number}"
        if (missing := end - positions.at(task, topic)) > 0:
            left.append(f"{missing} records of {topic}-{number}")
        elif topic == purchases and (missing := end - positions.joined(task)) > 0:
            left.append(f"joins of {missing} records of {topic}-{number}")
        elif topic == purchases and (missing := end - positions.histories(task)) > 0:
            left.append(f"histories of {missing} records of {topic}-{number}")
    return left


def await_caught_up(
    settings: Settings, watch: Callable[[], None], bad: Container[Place] = (), within_s: float = CAUGHT_UP_S
) -> list[str]:
    """Wait until the workers have applied everything and written checkpoints of it; returns what is left in the end.

    Deltas and histories are acknowledged before the checkpoints of the shopper tasks, rows of neighbours before those
    of the neighbour tasks, so nothing is in flight afterwards. `watch` is called at every check. `bad` are forged
    records.
    """
    deadline = time.monotonic() + within_s
    with TopicReader(settings, ["clicks", "purchases"]) as events:
        event_ends = events.ends()
        while True:
            watch()
            positions = Positions()
            for record in StoredTopic(settings, "progress", bad):
                positions.update(record.value or b"")
            left = behind(positions, event_ends, settings.prefix)
            if not left:  # the pairs are complete now
                with TopicReader(settings, ["pairs"]) as pairs:
                    left = behind(positions, pairs.ends(), settings.prefix)
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(LOOK_S)


def await_learnt(settings: Settings, model: str, watch: Callable[[], None]) -> None:
    """Wait until a trainer has stored a snapshot of a model that includes all clicks.

    The trainer is judged by its last snapshot, stored when it is stopped; clicks that it has not applied by then would
    look like lost ones. A trainer that is behind is waited for as long as it stores snapshots. That none comes is no
    error: the last clicks may teach nothing.
    """
    store = SnapshotStore.of(settings)
    with TopicReader(settings, ["clicks"]) as clicks:
        ends = {number: end for (_, number), end in clicks.ends().items()}
    version, deadline = "", time.monotonic() + LEARNT_S
    while time.monotonic() < deadline:
        watch()
        newest = store.newest(model)
        if newest is not None and newest.manifest.positions["clicks"] == ends:
            return
        if newest is not None and newest.manifest.version != version:
            version, deadline = newest.manifest.version, time.monotonic() + LEARNT_S
        time.sleep(LOOK_S)
