"""What the drills `hostile` and `soak` send between the good events, one [`Attack`][] a batch.

Good records in an attack are events like all others: they must be answered and counted. The others must end in the
dead letters, or be passed over if they are records that only workers and trainers write.
"""

from __future__ import annotations

import base64
import random
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import orjson

from streams.drills.raw_producer import ATTRIBUTES_AT, CODECS, RECORDS_AT, NotUtf8, RawRecord, sign

ANSWERED = ("clicks", "purchases", "catalog", "profiles", "feedback", "pairs")
"""Topics whose bad records are sent to the dead letters; those of the others are passed over and counted."""

MIRRORED = ("neighbours", "progress", "forgotten", "snapshots")
"""Topics that every worker holds whole; it logs what it passes over in them."""

HEAVY_BYTES = 100_000
"""An attack of at least so many bytes, decompressed, is a heavy one: `soak` sends few of them."""

DEEP = b"[" * 100_000 + b"]" * 100_000
NOT_UTF8 = ((NotUtf8("not UTF-8"), b"1"),)
UNKNOWN_LOOKS, UNKNOWN_SHOPPERS = 8, 60
"""Looks at items that are in no catalogue: so few of a shopper that no row is full."""

CART_ITEMS = 2_000
"""Items of a cart; ten times what is remembered of it."""

MOST_LINES, MOST_BYTES = 10_000, 1 << 20
"""Bounds of the contract: lines of a purchase, bytes of a value."""

BOMB_BYTES = {"gzip": 70 << 20, "snappy": 16 << 20, "lz4": 70 << 20, "zstd": 70 << 20}
"""What bombs decompress to. Snappy's is smaller, as the broker takes batches of 1 MB only."""

BLANKS = b" " * max(BOMB_BYTES.values())


@dataclass(frozen=True, slots=True)
class Attack:
    """A batch of records of one topic and partition."""

    name: str
    topic: str  # short name
    records: Sequence[RawRecord]
    bad: frozenset[int] = frozenset({0})  # numbers of the bad ones
    codec: str = "none"
    alter: Callable[[bytearray], bytearray] = lambda batch: batch
    misplaced: bool = False  # it goes to another partition than its first key's

    @property
    def heavy(self) -> bool:
        """Whether it is a large one."""
        return sum(len(record.value or b"") for record in self.records) >= HEAVY_BYTES


def attacks(item_ids: Sequence[str], name: str) -> Iterator[Attack]:
    """All attacks, with times of now. `item_ids` are items with events, `name` tells the shoppers of a call apart."""
    now_ms = round(time.time() * 1000)
    good = _good_values(item_ids, name, now_ms)
    yield from _of_shops(good)
    yield from _of_bytes(good, name, now_ms, item_ids)
    yield from _of_sizes(good, name, now_ms)
    yield from _unknown_items(name, now_ms)
    yield _crowded_cart(name, now_ms)
    yield from _of_internal_topics(item_ids)
    lines = [{"item_id": item_id} for item_id in item_ids[:3]]
    user_id = f"misplaced-{name}"
    value = {"v": 1, "user_id": user_id, "order_id": "misplaced", "at": now_ms, "items": lines}
    yield Attack("a misplaced purchase", "purchases", [_record(user_id, value)], misplaced=True)


def _good_values(item_ids: Sequence[str], name: str, now_ms: int) -> Mapping[str, dict[str, Any]]:
    """A good value for each of the shop's topics. That of the catalogue has an item which is never looked at."""
    user_id, item_id = f"hostile-{name}", item_ids[0]
    return {
        "clicks": {"v": 1, "user_id": user_id, "item_id": item_id, "action": "view", "at": now_ms},
        "purchases": {
            "v": 1,
            "user_id": user_id,
            "order_id": "o1",
            "at": now_ms,
            "items": [{"item_id": item_id, "price": 1.5}],
        },
        "catalog": {
            "v": 1,
            "item_id": f"item-{name}",
            "title": "A",
            "category": "Attic/Odds",
            "price": 1.5,
            "currency": "EUR",
            "in_stock": True,
        },
        "profiles": {"v": 1, "user_id": user_id, "at": now_ms, "attributes": {"age": 40}},
        "feedback": {"v": 1, "user_id": user_id, "suggestion_id": "clicks-0-0", "action": "shown", "at": now_ms},
    }


def _record(key: str, value: object, **more: Any) -> RawRecord:
    return RawRecord(key.encode(), value if isinstance(value, bytes) else orjson.dumps(value), **more)


def _key_of(value: Mapping[str, Any]) -> str:
    return str(value["item_id"] if "title" in value else value["user_id"])


def _of_shops(good: Mapping[str, dict[str, Any]]) -> Iterator[Attack]:
    """Small bad values of each of the shop's topics."""
    for topic, value in good.items():
        key, text = _key_of(value), orjson.dumps(value)
        name = "item_id" if topic == "catalog" else "user_id"
        values: dict[str, bytes] = {
            "no JSON": b"\x00\xff\xfe{",
            "nothing": b"",
            "a list": b"[" + text + b"]",
            "cut off": text[:-9],
            "two values": text + text,
            "nested 100,000 deep": text[:-1] + b',"x":' + DEEP + b"}",
            "never closed": text[:-1] + b',"x":' + DEEP[:100_000],
            "not UTF-8": text[:-1] + b',"x":"\xc3("}',
            "half a surrogate": text.replace(key.encode(), b"\\ud800"),
            "a field given twice": text[:-1] + b',"v":1}',
            "another version": orjson.dumps(value | {"v": 2}),
            "another key": orjson.dumps(value | {name: "another"}),
            "no id": orjson.dumps(value | {name: None}),
            "a number as id": orjson.dumps(value | {name: 7}),
        }
        if "at" in value:
            values |= {
                "of 1999": orjson.dumps(value | {"at": 900_000_000_000}),
                "far ahead": orjson.dumps(value | {"at": value["at"] + 10**9}),
                "a time of 400 digits": text[:-1].replace(str(value["at"]).encode(), b"9" * 400) + b"}",
                "a time without a zone": orjson.dumps(value | {"at": "2026-01-01T00:00:00"}),
            }
        for what, bad in values.items():
            yield Attack(f"{topic}: {what}", topic, [RawRecord(key.encode(), bad)])
    text = orjson.dumps(good["purchases"])
    for price in (b"NaN", b"-1", b"1e999", b'"1"'):
        key = _key_of(good["purchases"])
        yield Attack("a bad price", "purchases", [_record(key, text.replace(b"1.5", price))])
    for topic in ("clicks", "purchases", "feedback"):
        yield Attack(f"{topic}: a tombstone", topic, [RawRecord(_key_of(good[topic]).encode(), None)])
        yield Attack(f"{topic}: no key", topic, [RawRecord(None, orjson.dumps(good[topic]))])


def _of_bytes(good: Mapping[str, dict[str, Any]], name: str, now_ms: int, item_ids: Sequence[str]) -> Iterator[Attack]:
    """Each codec; what no client library can parse; bombs."""

    def click(user_id: str) -> RawRecord:
        value = {"v": 1, "user_id": user_id, "item_id": item_ids[len(user_id) % len(item_ids)], "action": "view"}
        return _record(user_id, value | {"at": now_ms, "padding": "x" * 200})

    for codec in CODECS:
        user_id = f"{codec}-{name}"
        fine = click(user_id)
        yield Attack(f"compressed by {codec}", "clicks", [fine] * 3, frozenset(), codec)
        between = [fine, fine._replace(headers=NOT_UTF8), fine]
        yield Attack(f"a header in {codec}", "clicks", between, frozenset({1}), codec)
        if codec == "none":
            continue
        rubbish = [_record(user_id, b"rubbish " * 40)] * 3
        everything = frozenset(range(len(rubbish)))
        yield Attack(f"rubbish in {codec}", "clicks", rubbish, everything, codec, _spoilt)
        bomb = [_record(user_id, BLANKS[: BOMB_BYTES[codec]])]
        yield Attack(f"a bomb of {codec}", "clicks", bomb, codec=codec)
    rubbish = [_record(f"batch-{name}", b"rubbish " * 40)] * 2
    yield Attack("a codec that does not exist", "clicks", rubbish, frozenset({0, 1}), alter=_unknown_codec)
    yield Attack("a wrong checksum", "clicks", rubbish, frozenset({0, 1}), alter=_unsigned)
    for topic, value in good.items():
        record = _record(_key_of(value), value)
        yield Attack(f"{topic}: a header", topic, [record._replace(headers=NOT_UTF8)])


def _spoilt(batch: bytearray) -> bytearray:
    """The batch with bytes within its compressed records changed, rightly signed."""
    middle = (RECORDS_AT + len(batch)) // 2
    batch[RECORDS_AT + 4 : middle] = bytes(byte ^ 0x5A for byte in batch[RECORDS_AT + 4 : middle])
    return sign(batch)


def _unknown_codec(batch: bytearray) -> bytearray:
    batch[ATTRIBUTES_AT + 1] |= 7
    return sign(batch)


def _unsigned(batch: bytearray) -> bytearray:
    batch[RECORDS_AT + 8] ^= 0xFF
    return batch


def _of_sizes(good: Mapping[str, dict[str, Any]], name: str, now_ms: int) -> Iterator[Attack]:
    """Values beyond the bounds of the contract, and at them."""
    item, key = good["catalog"], _key_of(good["catalog"])
    for what, change in (
        ("a category of 1,000 parts", {"category": "/".join(["p"] * 1000)}),
        ("a category of 17 parts", {"category": "/".join(["p"] * 17)}),
        ("a title of 300 kB", {"title": "T" * 300_000}),
        ("a title of 1,025 bytes", {"title": "é" * 512 + "x"}),
        ("a brand of 300 bytes", {"brand": "b" * 300}),
        ("65 attributes", {"attributes": {str(n): n for n in range(65)}}),
        ("an attribute of 2 kB", {"attributes": {"a": "x" * 2_000}}),
    ):
        yield Attack(what, "catalog", [_record(key, item | change)])
    yield Attack("an id of 257 bytes", "catalog", [_record("é" * 128 + "x", item | {"item_id": "é" * 128 + "x"})])
    largest = item | {"title": "é" * 512, "category": "/".join(["p"] * 16), "brand": "b" * 256}
    largest |= {"attributes": {str(n): "x" * 1_024 for n in range(64)}}
    key = f"largest-{name}"  # compaction would leave only the bad records of the other item
    yield Attack("the largest item", "catalog", [_record(key, largest | {"item_id": key})], frozenset())
    for lines in (MOST_LINES, MOST_LINES + 1, 10 * MOST_LINES):
        user_id, ids = f"lines-{lines}-{name}", [{"item_id": f"line-{n}"} for n in range(lines)]
        value = {"v": 1, "user_id": user_id, "order_id": "o1", "at": now_ms, "items": ids}
        bad = frozenset({0} if lines > MOST_LINES else ())
        yield Attack(f"a purchase of {lines:,} lines", "purchases", [_record(user_id, value)], bad, "gzip")
    user_id = f"long-{name}"
    click = {"v": 1, "user_id": user_id, "item_id": "i", "action": "view", "at": now_ms, "x": "x" * MOST_BYTES}
    yield Attack("a click of 1 MB", "clicks", [_record(user_id, click)], codec="gzip")


def _unknown_items(name: str, now_ms: int) -> Iterator[Attack]:
    """Good events of items that no catalogue has."""
    for number in range(UNKNOWN_SHOPPERS):
        user_id = f"stranger-{number}-{name}"
        click = {"v": 1, "user_id": user_id, "action": "view", "at": now_ms}
        ids = [f"unknown-{random.randrange(10**9)}" for _ in range(UNKNOWN_LOOKS)]
        yield Attack(
            f"unknown items {number % 10}",
            "clicks",
            [_record(user_id, click | {"item_id": i}) for i in ids],
            frozenset(),
        )


def _crowded_cart(name: str, now_ms: int) -> Attack:
    """Good events of one shopper, each of which would cost more than the one before."""
    user_id = f"crowded-{name}"
    click = {"v": 1, "user_id": user_id, "action": "add_to_cart", "at": now_ms}
    additions = [_record(user_id, click | {"item_id": f"line-{n}"}) for n in range(CART_ITEMS)]
    return Attack(f"a cart of {CART_ITEMS:,} items", "clicks", additions, frozenset())


def _base64(numbers: Sequence[float], kind: str) -> str:
    return base64.b64encode(np.array(numbers, kind).tobytes()).decode()


def _of_internal_topics(item_ids: Sequence[str]) -> Iterator[Attack]:
    """Forged records of the topics that workers and trainers write."""
    one, other = item_ids[:2]
    row = {"v": 1, "item_id": one, "position": 3, "at": 1e9, "own": [1.0, 1.0], "own_count": [1, 1]}
    row |= {"neighbours": [other], "weights": _base64([1] * 3, "<f8"), "counts": _base64([1] * 3, "<i4")}
    place = {"topic_id": "forged", "partitions": 8, "position": 5}
    forms: dict[str, tuple[str, dict[str, Any], Sequence[dict[str, Any]]]] = {
        "neighbours": (
            one,
            row,
            [
                {"position": -1},
                {"own": [-1.0, 1.0]},
                {"own_count": [-1, 1]},
                {"neighbours": [one]},
                {"neighbours": [""]},
                {"neighbours": [other, other]},
                {"weights": _base64([np.nan] * 3, "<f8")},
                {"weights": _base64([-1.0] * 3, "<f8")},
                {"weights": _base64([np.inf] * 3, "<f8")},
                {"weights": _base64([1.0] * 2, "<f8")},
                {"counts": _base64([-1] * 3, "<i4")},
                {"at": 1e308},
            ],
        ),
        "histories": (
            "nobody",
            {"v": 1, "user_id": "nobody", "topic_id": "forged", "partitions": 8, "position": 5, "baskets": 3}
            | {"slow": 2.0, "first": 1e9, "last": 1e9, "items": [one]}
            | {"table": base64.b64encode(struct.pack("<i4d", 1, 1e9, 1e9, 1.0, 1.0)).decode()},
            [
                {"position": -1},
                {"baskets": 0},
                {"slow": 1e308},
                {"slow": -1.0},
                {"last": 1e308},
                {"items": [""]},
                {"items": [one, other]},
                {"table": base64.b64encode(struct.pack("<i4d", -1, 1e9, 1e9, 1.0, 1.0)).decode()},
                {"table": base64.b64encode(struct.pack("<i4d", 1, 1e9, 1e9, np.nan, 1.0)).decode()},
                {"user_id": "another"},
            ],
        ),
        "progress": (
            "shoppers-0",
            {"v": 1, "lane": "shoppers-0", "topics": {"clicks": place}},
            [
                {"topics": {"clicks": place | {"position": -1}}},
                {"topics": {"clicks": place | {"partitions": 0}}},
                {"lane": "shoppers-1"},
                {"joined": -1},
                {"histories": -1},
            ],
        ),
        "forgotten": (
            "nobody",
            {"v": 1, "user_id": "nobody", "before": 1e9},
            [{"before": 1e308}, {"user_id": "another"}],
        ),
        "snapshots": (
            "next-item",
            {"v": 1, "model": "next-item", "version": "20261129T000000Z-000000000001-0123abcd", "url": "u"}
            | {"sha256": "0" * 64, "at": 1e9, "by": "trainer"},
            [{"version": "../../etc"}, {"sha256": "0"}, {"by": "nobody"}, {"model": "another"}],
        ),
        "pairs": (
            "clicks-0",
            {"v": 1, "source": "clicks-0", "items": [one, other], "width": 1, "offsets": _base64([5], "<i8")}
            | {"at": _base64([1e9], "<f8"), "lengths": _base64([1], "<i4"), "a": _base64([1], "u1")}
            | {"b": _base64([2], "u1"), "kind": _base64([0], "i1"), "weight": _base64([1], "<f8")},
            [
                {"a": _base64([9], "u1")},
                {"lengths": _base64([-1], "<i4")},
                {"weight": _base64([np.nan], "<f8")},
                {"weight": _base64([1e308], "<f8")},
                {"at": _base64([1e308], "<f8")},
                {"items": ["", other]},
                {"offsets": ""},
                {"source": "x" * 100_000},
            ],
        ),
    }
    for topic, (key, value, changes) in forms.items():
        text = orjson.dumps(value)
        bad = [orjson.dumps(value | change) for change in chain([{"v": 2}], changes)]
        bad += [b"\x00\xff", b"", DEEP, text[:-1] + b',"x":' + DEEP + b"}", text[:-1] + b',"x":"\xff"}']
        bad += [text.replace(b":5", b":" + b"9" * 30), text.replace(b":3,", b":9223372036854775808,")]
        for number, forged in enumerate(bad):
            if forged != text:
                yield Attack(f"{topic}: forged record {number}", topic, [RawRecord(key.encode(), forged)])
        yield Attack(f"{topic}: a header", topic, [RawRecord(key.encode(), b"rubbish", NOT_UTF8)])
    position = {"v": 1, "topic_id": "forged", "partitions": 8, "position": 7, "applied": {}, "baskets": 1, "at": 1}
    forged = orjson.dumps(position).replace(b":7", b":%d" % 2**70)
    yield Attack("neighbours: a forged position", "neighbours", [RawRecord(b"", forged)])
    for topic in ("suggestions", "pools", "dead-letters"):
        for what, record in (
            ("no JSON", RawRecord(b"rubbish", b"\x00\xff")),
            ("nested 100,000 deep", RawRecord(b"rubbish", DEEP)),
            ("a header", RawRecord(b"rubbish", b"{}", NOT_UTF8)),
        ):
            yield Attack(f"{topic}: {what}", topic, [record])
