"""The scanner against the decoder: what it accepts, the decoder reads alike, and the usual forms are accepted."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.sessions.click_columns import CLICK as CLICK_ROW
from models.sessions.click_columns import NOT_PLAIN
from models.sessions.visits import CLICK_ACTIONS
from models.shop.events import Click
from streams.bench.events import BenchShop
from streams.errors import RecordError
from streams.kafka.memory_log import StoredRecord
from streams.wire.click_scanner import MAX_PLAIN_BYTES, scan_clicks
from streams.wire.codec import decode_click
from streams.wire.partitioner import partition_of
from streams.wire.record import Record, Unreadable
from streams.wire.record_run import RecordRun
from streams.wire.schemas import MAX_AHEAD_MS, OLDEST_MS

NOW_MS = 1_773_480_413_589
PARTITIONS = 3

CLICK = {"v": 1, "user_id": "ann", "item_id": "kettle", "action": "view", "at": "2026-03-14T09:26:53.589Z"}


def record_of(value: bytes, key: bytes = b"ann", appended_ms: int = NOW_MS, partition: int | None = None) -> Record:
    partition = partition_of(key, PARTITIONS) if partition is None else partition
    return StoredRecord("clicks", partition, 17, appended_ms, key, value)


def scanned(record: Record) -> Click | None:
    """The click of a record by the scanner, None if it is not plain."""
    buffer, rows = scan_clicks(RecordRun.of([record]), PARTITIONS, record.partition)
    row = {name: rows[0][name].item() for name in CLICK_ROW.names or ()}
    if row["action"] == NOT_PLAIN:
        return None

    def text(name: str) -> str:
        return buffer[row[f"{name}_start"] : row[f"{name}_end"]].tobytes().decode()

    action = CLICK_ACTIONS[row["action"]]
    assert (row["offset"], row["appended_s"]) == (record.offset, record.timestamp / 1000)
    return Click(text("user"), text("item"), action, row["at"], event_id=text("event") or None)


def decoded(record: Record) -> Click | None:
    """The click of a record by the decoder, with what the scanner gives of it; None if it is refused."""
    try:
        click = decode_click(record)
    except RecordError:
        return None
    return Click(click.user_id, click.item_id, click.action, click.at, event_id=click.event_id)


ids = st.text("abz09-._ ~", min_size=1, max_size=8) | st.sampled_from(["ann", "user_id", "x" * 256, "x" * 257, "é", ""])
times = st.one_of(
    st.integers(NOW_MS - 10**10, NOW_MS + 2 * MAX_AHEAD_MS),
    st.sampled_from([OLDEST_MS - 1, OLDEST_MS, NOW_MS + MAX_AHEAD_MS, NOW_MS + MAX_AHEAD_MS + 1, 0, -1, 10**30]),
    st.floats(),
    st.datetimes().map(lambda at: at.isoformat()),
    st.tuples(
        st.sampled_from([1969, 1999, 2000, 2023, 2024, 2026, 2100, 2200]),
        st.integers(0, 13),
        st.sampled_from([0, 1, 2, 28, 29, 30, 31, 32]),
        st.sampled_from(["T", "t", " "]),
        st.sampled_from([0, 9, 23, 24]),
        st.sampled_from([0, 59, 60]),
        st.sampled_from(["", ".", ".5", ".58", ".589", ".589123", ".5891234"]),
        st.sampled_from(["Z", "z", "+00:00", "-00:00", "+0000", "+01:00", "", "Z "]),
    ).map(lambda at: "{0:04}-{1:02}-{2:02}{3}{4:02}:{5:02}:{5:02}{6}{7}".format(*at)),
)
numbers = st.one_of(
    st.none(),
    st.integers(-1, 10**20),
    st.floats(),
    st.sampled_from([0, -0.0, 0.5, 1, 4.9, 5, 5.0, 5.0000001, 6, 1e400]),
)
fields: dict[str, st.SearchStrategy[Any]] = {
    "v": st.sampled_from([1, 1, 1, 1.0, 2, True, "1", None, 10]),
    "user_id": st.just("ann") | ids,
    "item_id": ids,
    "action": st.sampled_from(["view", "click", "add_to_cart", "remove_from_cart", "purchase", "View", None]),
    "at": times,
    "dwell_ms": numbers,
    "rating": numbers,
    "session_id": st.none() | ids,
    "event_id": st.none() | ids,
    "page": st.none() | ids | st.just([1, {"v": 1}]),
}


@st.composite
def values(draw: st.DrawFn) -> bytes:
    """Clicks in JSON, most of them with something unusual."""
    click: dict[str, Any] = dict(CLICK)
    for name in draw(st.lists(st.sampled_from(sorted(fields)), max_size=4)):
        click[name] = draw(fields[name])
    for name in draw(st.lists(st.sampled_from(sorted(click)), max_size=1)):
        del click[name]
    pairs: list[tuple[str, Any]] = list(draw(st.permutations(list(click.items()))))
    if draw(st.booleans()) and pairs:
        pairs.append(draw(st.sampled_from(pairs)))
    compact, ascii_only = draw(st.booleans()), draw(st.booleans())
    parts = [json.dumps(part, ensure_ascii=ascii_only) for pair in pairs for part in pair]
    between, colon = (",", ":") if compact else (", ", draw(st.sampled_from([": ", " :\n", "\t:\r"])))
    text = between.join(colon.join(pair) for pair in zip(parts[::2], parts[1::2], strict=True))
    before, after = draw(st.sampled_from([("", ""), (" ", "\n"), ("", "}"), ("[", "]")]))
    return f"{before}{{{text}}}{after}".encode()


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Values with some bytes replaced, taken away or put in."""
    value = bytearray(draw(values()))
    for _ in range(draw(st.integers(1, 3))):
        place, length = draw(st.integers(0, len(value))), draw(st.integers(0, 2))
        value[place : place + length] = draw(st.binary(max_size=2) | st.sampled_from([b'"', b",", b"0", b"1", b"\\n"]))
    return bytes(value)


@given(
    st.binary(max_size=60) | values() | mutated(), st.sampled_from([NOW_MS, NOW_MS, 0, -1, 253_402_300_799_000, 2**60])
)
def test_what_the_scanner_accepts_the_decoder_reads_alike(value: bytes, appended_ms: int) -> None:
    record = record_of(value, appended_ms=appended_ms)
    found = scanned(record)
    assert found is None or found == decoded(record)


plain_ids = st.text("".join(chr(c) for c in range(0x20, 0x7F) if chr(c) not in '"\\'), min_size=1, max_size=40)

more = st.fixed_dictionaries(
    {},
    optional={
        "dwell_ms": st.none() | st.integers(0, 10**9),
        "rating": st.none() | st.sampled_from([1, 3.5, 5.0]),
        "session_id": st.none() | plain_ids,
        "event_id": st.none() | plain_ids,
    },
)


@given(
    plain_ids,
    plain_ids,
    st.sampled_from(["view", "click", "add_to_cart", "remove_from_cart"]),
    st.integers(OLDEST_MS, NOW_MS + MAX_AHEAD_MS) | st.just(CLICK["at"]),
    more,
    st.booleans(),
    st.randoms(),
)
def test_usual_clicks_are_accepted(
    user: str, item: str, action: str, at: int | str, more: dict[str, Any], compact: bool, chance: Any
) -> None:
    click = {"v": 1, "user_id": user, "item_id": item, "action": action, "at": at, **more}
    shuffled = list(click.items())
    chance.shuffle(shuffled)
    value = orjson.dumps(dict(shuffled)) if compact else json.dumps(dict(shuffled)).encode()
    record = record_of(value, key=user.encode())
    found = scanned(record)
    assert found is not None
    assert found == decoded(record)


def test_the_clicks_of_the_bench_and_of_the_docs_are_accepted() -> None:
    now_s = NOW_MS / 1000
    events = [event for event in BenchShop(0, PARTITIONS, now_s).take(3_000) if event.topic == "clicks"]
    for event in events:
        assert scanned(record_of(event.value, event.key, NOW_MS)) is not None
    docs = Path("docs/events.md").read_text()
    (example,) = [
        text
        for text in re.findall(r"```json\n(.*?)```", docs, re.DOTALL)
        if '"dwell_ms"' in text and '"item_id"' in text
    ]
    key = orjson.loads(example)["user_id"].encode()
    assert scanned(record_of(example.encode(), key)) is not None


@pytest.mark.parametrize(
    "record",
    [
        record_of(orjson.dumps(CLICK), partition=(partition_of(b"ann", PARTITIONS) + 1) % PARTITIONS),
        record_of(orjson.dumps(CLICK), key=b"bob"),
        StoredRecord("clicks", partition_of(b"ann", PARTITIONS), 0, NOW_MS, b"ann", None),
        StoredRecord("clicks", 0, 0, NOW_MS, None, orjson.dumps(CLICK)),
        record_of(orjson.dumps(CLICK) + b" " * MAX_PLAIN_BYTES),
        Unreadable("clicks", partition_of(b"ann", PARTITIONS), 0, NOW_MS, b"ann", orjson.dumps(CLICK), "cut off"),
    ],
    ids=["misplaced", "another key", "tombstone", "no key", "long", "unreadable"],
)
def test_other_records_are_left_to_the_decoder(record: Record) -> None:
    assert scanned(record) is None


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_keys_belong_where_the_partitioner_puts_them(keys: list[bytes]) -> None:
    """By records that would be plain otherwise, with keys of ASCII."""
    for key in keys:
        name = key.hex() + "k"
        value = orjson.dumps(CLICK | {"user_id": name})
        found = [scanned(record_of(value, name.encode(), partition=number)) is not None for number in range(PARTITIONS)]
        assert found == [number == partition_of(name.encode(), PARTITIONS) for number in range(PARTITIONS)]
