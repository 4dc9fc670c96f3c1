"""A million mutants of good records, files and batches: each is used, or refused with the one error that may come.

What is accepted is applied to real state. `make fuzz` runs more of them (RECORDS=20000000), from another seed, and adds
what was refused in a new way to tests/corpus/fuzz.jsonl, which is replayed here first.
"""

from __future__ import annotations

import base64
import os
import struct
from collections import defaultdict
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher

from models.cooccurrence.config import CoOccurrenceConfig
from models.cooccurrence.counter import CoOccurrence
from models.cooccurrence.index import Neighbours
from models.errors import PolicyError, SnapshotFormatError
from models.sessions.histories import Histories, HistoryConfig
from models.sessions.visits import VisitConfig, Visits
from models.shop.catalog import Catalog
from models.shop.items import Items
from streams.errors import RecordError, SettingsError, SnapshotCorruptError
from streams.kafka.unreadable import tolerate_unreadable
from streams.policy_file import parse_policy
from streams.settings import Settings
from streams.snapshots.format import decode_arrays, decode_manifest, encode_arrays
from streams.wire import codec
from streams.wire.announcements import decode_announcement
from streams.wire.checkpoints import decode_forgotten, decode_progress
from streams.wire.history_rows import decode_history, encode_history
from streams.wire.neighbour_rows import decode_position, decode_row
from streams.wire.pair_deltas import decode_pairs
from tests.support.batches import CODECS, batch, sealed
from tests.support.fuzzing import Fuzzer, Input, Target, corpus_of, line_of
from tests.support.poison import CATALOG, CLICK, FEEDBACK, PROFILE, PURCHASE
from tests.support.shop_records import APPENDED_MS, Rec

CORPUS = Path(__file__).parents[1] / "corpus" / "fuzz.jsonl"

RECORDS = int(os.environ.get("FUZZ_RECORDS", "1000000"))
SEED = os.environ.get("FUZZ_SEED", "1")
KEEPS = "FUZZ_KEEP" in os.environ

FRESH = 2_000
"""Accepted records after which the state starts afresh: all of its paths, and no more memory."""

AT = "2024-05-01T12:00:00.000Z"


class State:
    """What a worker and a trainer hold, fed with whatever is accepted."""

    def __init__(self) -> None:
        self._offsets = count()
        self.start_afresh()

    def start_afresh(self) -> None:
        self.items = Items()
        self.catalog = Catalog(self.items)
        self.visits = Visits(self.items, VisitConfig())
        self.histories = Histories(self.items, HistoryConfig())
        self.rows = CoOccurrence(self.items, CoOccurrenceConfig())
        self.neighbours = Neighbours(self.items, CoOccurrenceConfig().half_life_s)
        self.applied = defaultdict[str, int](lambda: -1)

    def next_offset(self) -> int:
        offset = next(self._offsets)
        if offset % FRESH == 0:
            self.start_afresh()
        return offset

    def click(self, rec: Rec) -> None:
        event = codec.decode_click(rec)
        self.visits.apply_click(event, APPENDED_MS / 1000, self.next_offset())

    def purchase(self, rec: Rec) -> None:
        event = codec.decode_purchase(rec)
        self.visits.apply_purchase(event, APPENDED_MS / 1000, self.next_offset())
        self.visits.ripen(float("inf"))

    def item(self, rec: Rec) -> None:
        item = codec.decode_catalog(rec)
        self.next_offset()
        if item is None:
            self.catalog.withdraw((rec.key or b"").decode())
        else:
            self.catalog.put(item)

    def profile(self, rec: Rec) -> None:
        self.visits.apply_profile(codec.decode_profile(rec))
        self.next_offset()

    def forget(self, rec: Rec) -> None:
        forgotten = decode_forgotten(rec)
        self.visits.forget(forgotten.user_id, forgotten.before)
        self.next_offset()

    def row(self, rec: Rec) -> None:
        row = decode_row(rec)
        if self.next_offset() % FRESH < 200:  # adopted rows take room
            self.neighbours.put(row)
            self.rows.adopt(row)
            read = self.rows.row(self.items.index(row.item_id), row.position)
            assert np.isfinite(read.weights).all()

    def position(self, rec: Rec) -> None:
        position = decode_position(rec)
        self.neighbours.set_total(0, position.baskets, position.at)
        assert self.neighbours.baskets(position.at) >= 0

    def history(self, rec: Rec) -> None:
        row, purchases = decode_history(rec)
        self.histories.adopt(row.user_id, row)
        self.histories.learn(row.user_id, [self.items.index("i1")], APPENDED_MS / 1000, row.history.position)
        read = self.histories.row(row.user_id)
        assert read is not None
        decode_history(Rec("histories", rec.key, encode_history(read, purchases)))
        self.next_offset()

    def pairs(self, rec: Rec) -> None:
        pairs = decode_pairs(rec, self.items, self.applied)
        self.rows.learn_many(pairs.a, pairs.b, pairs.kind, pairs.weight, pairs.at, self.next_offset())


def refused_with_a_letter(decode: Callable[[Rec], object]) -> Callable[[Rec], object]:
    """The decoder; every sixteenth refusal becomes a dead letter, which must be readable."""
    refusals = count()

    def run(rec: Rec) -> object:
        try:
            return decode(rec)
        except RecordError as error:
            if next(refusals) % 16 == 0:
                key, value = codec.dead_letter(rec, error, APPENDED_MS)
                codec.decode_dead_letter(Rec("dead-letters", key, value))
            raise

    return run


def packed(numbers: list[float], kind: str) -> str:
    return base64.b64encode(np.array(numbers, kind).tobytes()).decode()


def seeds(key: str | None, *values: Any) -> list[Input]:
    return [Input(None if key is None else key.encode(), orjson.dumps(value)) for value in values]


STATE = State()
ATTRIBUTES = {"colour": "red", "weight_kg": 1.5, "new": True}
PLACE = {"topic_id": "QX3u9", "partitions": 8, "position": 5, "appended_ms": 7}
SUGGESTED = {
    "item_id": "i2", "kind": "upsell", "anchor": "i1", "score": 1.5, "price": 30.0, "category": "Kitchen/Kettles",
    "title": "A", "propensity": 1.0,
    "reasons": [{"source": "bought_with", "text": "so", "anchor": "i1", "count": 3, "lift": 1.5}],
}  # fmt: skip
SUGGESTION = {
    "v": 1, "suggestion_id": "clicks-0-7", "user_id": "u1", "at": AT, "items": [SUGGESTED], "arm": "default",
    "trigger": {"topic": "clicks", "partition": 0, "offset": 7, "action": "view", "item_ids": ["i1"], "item_count": 1},
    "policy": "0", "models": {"next-item": "x"}, "latency_ms": 1.5,
}  # fmt: skip
LETTER = {
    "v": 1, "topic": "clicks", "partition": 0, "offset": 7, "key": "dTE=", "value": "e30=", "reason": "so", "at": AT,
    "path": "$.v", "left_out_bytes": 5,
}  # fmt: skip
ROW = {
    "v": 1, "item_id": "i1", "position": 3, "at": 1e9, "own": [1.0, 2.5], "own_count": [1, 2],
    "neighbours": ["i2", "i3"], "weights": packed([1, 2, 3, 4, 5, 6], "<f8"),
    "counts": packed([1, 2, 3, 4, 5, 6], "<i4"),
}  # fmt: skip
POSITION = {
    "v": 1, "topic_id": "t", "partitions": 8, "position": 17, "applied": {"clicks-3": 812}, "baskets": 2.5, "at": 1e9,
}  # fmt: skip
PAIRS = {
    "v": 1, "source": "clicks-3", "items": ["i1", "i2"], "width": 1, "offsets": packed([5, 6], "<i8"),
    "at": packed([1e9, 1e9], "<f8"), "lengths": packed([1, 2], "<i4"), "a": packed([1, 1, 2], "u1"),
    "b": packed([2, 0, 1], "u1"), "kind": packed([0, 1, 2], "i1"), "weight": packed([1, 0.5, 2], "<f8"),
}  # fmt: skip
HISTORY = {
    "v": 1, "user_id": "u1", "topic_id": "t", "partitions": 8, "position": 3, "baskets": 4, "slow": 3.0,
    "first": 1e9, "last": 1.1e9, "items": ["i1", "i2"],
    "table": base64.b64encode(b"".join(struct.pack("<i4d", 2, 1e9, 1.1e9, 1.0, 2.0) for _ in range(2))).decode(),
}  # fmt: skip
ANNOUNCEMENT = {
    "v": 1, "model": "next-item", "version": "20261129T000000Z-000000000001-0123abcd", "url": "file:///x",
    "sha256": "0" * 64, "at": 1e9, "by": "trainer",
}  # fmt: skip
MANIFEST = {
    "v": 1, "model": "next-item", "version": "20261129T000000Z-000000000001-0123abcd", "code": "1", "at": 1e9,
    "learnt": {"events": 5}, "metrics": {"hr": 0.5}, "positions": {"clicks": {"0": 5}}, "topic_ids": {"clicks": "t"},
    "config": {"units": 8}, "weights": {"bytes": 5, "sha256": "0" * 64}, "training": None,
    "arrays": {"a": {"dtype": "float32", "shape": [2, 3]}}, "vocabulary": [["i1", "i2"], ["i3"]],
}  # fmt: skip
POLICY = b"""triggers = ["view", "purchase"]
emit_empty = true
max_items = 6
min_step = 0.05
bought_days = 30
repurchase = "learn"
allow_pairs = [["Kitchen", "Garden/Tools"]]
exclude_items = ["i1", "i2"]
max_per_brand = 2
misplaced = "warn"
"""
SETTINGS = b"""partitions = 4
flush_interval_s = 0.5
prefix = "shop-"
web_enabled = false

[visits]
items = 20

[cooccurrence]
neighbours = 100
"""


def policy(rec: Rec) -> None:
    parse_policy((rec.value or b"").decode(errors="replace"), "policy.toml")


def settings_file(folder: Path) -> Callable[[Rec], object]:
    file = folder / "settings.toml"

    def run(rec: Rec) -> Settings:
        file.write_bytes(rec.value or b"")
        return Settings.load({}, {}, file)

    return run


def fetched(rec: Rec) -> None:
    """Every record of a batch is delivered, with a value or as an unreadable one, and the fetch goes on behind it."""
    data = rec.value or b""
    if len(data) < 61:
        return  # no broker stores less than a header
    raw = sealed(data) if data[16] == 2 else data[:8] + (len(data) - 12).to_bytes(4, "big") + data[12:]
    records = fetcher.MemoryRecords(raw)
    parsed = fetcher.PartitionRecords(TopicPartition("clicks", 0), records, [], 0, None, None, True, 1)
    for record in parsed:
        try:
            _ = record.value
        except RecordError as error:
            codec.dead_letter(record, error, APPENDED_MS)


def targets(folder: Path) -> list[Target]:
    letter = refused_with_a_letter
    tolerate_unreadable()
    return [
        Target(
            "clicks",
            seeds(
                "u1", CLICK, CLICK | {"at": APPENDED_MS, "dwell_ms": 5, "rating": 4, "session_id": "s", "event_id": "e"}
            ),
            letter(STATE.click),
        ),
        Target("purchases", seeds("u1", PURCHASE, PURCHASE | {"currency": "EUR"}), letter(STATE.purchase)),
        Target(
            "catalog",
            [
                *seeds("i1", CATALOG, CATALOG | {"brand": "B", "in_stock": False, "rating": 4.5, "currency": "EUR"}),
                *seeds("i1", CATALOG | {"attributes": ATTRIBUTES}),
                Input(b"i1", None),
            ],
            letter(STATE.item),
        ),
        Target(
            "profiles",
            [
                *seeds("u1", PROFILE, PROFILE | {"attributes": ATTRIBUTES, "consent": False, "forget": True}),
                Input(b"u1", None),
            ],
            letter(STATE.profile),
        ),
        Target("feedback", seeds("u1", FEEDBACK, FEEDBACK | {"item_id": "i1"}), letter(codec.decode_feedback)),
        Target("suggestions", seeds("u1", SUGGESTION), codec.decode_answer),
        Target("dead-letters", seeds("clicks", LETTER), codec.decode_dead_letter),
        Target(
            "progress",
            seeds("shoppers-0", {"v": 1, "lane": "shoppers-0", "topics": {"clicks": PLACE}, "joined": 2}),
            decode_progress,
        ),
        Target("forgotten", seeds("u1", {"v": 1, "user_id": "u1", "before": 1e9}), STATE.forget),
        Target("neighbours", seeds("i1", ROW), STATE.row),
        Target("positions", seeds("", POSITION), STATE.position),
        Target("histories", seeds("u1", HISTORY), STATE.history),
        Target("pairs", seeds("clicks-3", PAIRS), STATE.pairs),
        Target("snapshots", [*seeds("next-item", ANNOUNCEMENT), Input(b"next-item", None)], decode_announcement),
        Target(
            "manifests",
            seeds(None, MANIFEST),
            lambda rec: decode_manifest(rec.value or b"", "manifest"),
            (SnapshotCorruptError, SnapshotFormatError),
        ),
        Target(
            "weights",
            [Input(None, encode_arrays({"a": np.ones((2, 3), np.float32), "b": np.zeros(4, np.int64)}))],
            lambda rec: decode_arrays(rec.value or b"", "weights"),
            (SnapshotCorruptError,),
        ),
        Target(
            "batches", [Input(None, batch(name, bad=bad)) for name in CODECS for bad in (None, 1)], fetched, share=0.02
        ),
        Target("policies", [Input(None, POLICY)], policy, (PolicyError,), 0.05),
        Target("settings", [Input(None, SETTINGS)], settings_file(folder), (SettingsError,), 0.01),
    ]


NAMES = [target.topic for target in targets(Path())]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_mutants_are_used_or_refused(name: str, tmp_path: Path) -> None:
    found = targets(tmp_path)
    (target,) = [target for target in found if target.topic == name]
    known = [given for topic, given in corpus_of(CORPUS) if topic == name]
    fuzzer = Fuzzer(target, known, SEED)
    number = round(RECORDS * target.share / sum(target.share for target in found))
    fuzzer.fuzz(number)
    assert fuzzer.accepted > number / 1_000  # not all mutants are refused at once
    if KEEPS and fuzzer.found:
        with CORPUS.open("a", encoding="ascii") as corpus:
            corpus.writelines(line_of(name, given) + "\n" for given in fuzzer.found)
