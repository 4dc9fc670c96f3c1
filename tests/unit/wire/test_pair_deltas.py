"""Pair deltas: what goes in comes out at the partition of its row, in order, once."""

import dataclasses
import json
import time
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.sessions.look_kernel import PAIR
from models.sessions.pairs import TOTAL
from models.shop.items import Items
from streams.errors import RecordError
from streams.wire import pair_deltas
from streams.wire.pair_deltas import DecodedPairs, PairBatch, decode_pairs
from streams.wire.partitioner import partition_of
from streams.wire.record import Header

Event = tuple[int, float, list[tuple[int, int, int, float]]]
Row = tuple[str, str | None, int, float, float]


@dataclass
class Rec:
    value: bytes | None
    topic: str = "pairs"
    partition: int = 5
    offset: int = 7
    timestamp: int = 0
    key: bytes | None = b"clicks-3"
    headers: tuple[Header, ...] = ()


def shop(size: int) -> Items:
    items = Items()
    for number in range(size):
        items.index(f"item-{number}")
    return items


def ascending(steps: list[Event], least: int = 0) -> list[Event]:
    """Events whose offsets are so far behind the one before, and by `least` more."""
    offsets = accumulate(step + least for step, _, _ in steps)
    return [(offset, at, pairs) for offset, (_, at, pairs) in zip(offsets, steps, strict=True)]


def batch_of(events: list[Event], items: Items, partitions: int = 4) -> PairBatch:
    batch = PairBatch("clicks-3", items, partitions)
    for offset, at, pairs in events:
        batch.add(offset, at, np.array(pairs, PAIR))
    return batch


def received(messages: list[tuple[int, bytes, int]], applied: dict[str, int] | None = None) -> dict[int, list[Row]]:
    """By item partition: (a, b, kind, weight, at), with names, as its owner sees them."""
    there = Items()
    seen: dict[int, list[Row]] = {}
    for partition, value, last in messages:
        pairs = decode_pairs(Rec(value), there, applied or {})
        assert pairs.source == "clicks-3"
        assert pairs.last_offset == last
        names = [None if index == TOTAL else there.name(index) for index in pairs.b.tolist()]
        rows = [there.name(index) for index in pairs.a.tolist()]
        columns = zip(rows, names, pairs.kind.tolist(), pairs.weight.tolist(), pairs.at.tolist(), strict=True)
        seen.setdefault(partition, []).extend(columns)
    return seen


def sent(events: list[Event], items: Items, partitions: int = 4) -> dict[int, list[Row]]:
    by_partition: dict[int, list[Row]] = {}
    for _, at, pairs in events:
        for a, b, kind, weight in pairs:
            name = items.name(a)
            by_partition.setdefault(partition_of(name.encode(), partitions), []).append(
                (name, None if b == TOTAL else items.name(b), kind, weight, at)
            )
    return by_partition


def test_one_event() -> None:
    items = Items()
    kettle, mug = items.index("kettle"), items.index("mug")
    pairs = [(kettle, mug, 0, 0.5), (mug, kettle, 0, 0.35), (mug, mug, 0, 1.0), (mug, TOTAL, 1, 0.63)]
    events = [(17, 1e9 + 0.123, pairs)]
    assert received(list(batch_of(events, items).messages(10_000))) == sent(events, items)


numbers = st.integers(0, 30)
events_of_any_kind = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.floats(0, 1e10),
        st.lists(st.tuples(numbers, numbers | st.just(TOTAL), st.integers(0, 2), st.floats(0, 1e6)), max_size=6),
    ),
    max_size=12,
)


@given(events_of_any_kind, st.integers(0, 3000), st.integers(1, 8))
def test_all_pairs_arrive_once_in_order_however_small_the_messages(
    steps: list[Event], max_bytes: int, partitions: int
) -> None:
    items, events = shop(31), ascending(steps)
    messages = list(batch_of(events, items, partitions).messages(max_bytes))
    assert received(messages) == sent(events, items, partitions)
    for partition in range(partitions):
        offsets = [last for number, _, last in messages if number == partition]
        assert offsets == sorted(offsets)
    for _, message, _ in messages:
        assert pair_deltas._encode(pair_deltas._decode(message)) == message


@given(events_of_any_kind, st.integers(-1, 40))
def test_events_that_are_applied_are_left_out(steps: list[Event], after: int) -> None:
    items, events = shop(31), ascending(steps, least=1)
    messages = list(batch_of(events, items).messages(500))
    seen = {partition: rows for partition, rows in received(messages, {"clicks-3": after}).items() if rows}
    assert seen == sent([event for event in events if event[0] > after], items)
    assert received(messages, {"clicks-4": after}) == sent(events, items)


@given(events_of_any_kind, st.integers(0, 3000), st.integers(1, 8))
def test_a_sender_knows_what_a_receiver_will_make_of_each_message(
    steps: list[Event], max_bytes: int, partitions: int
) -> None:
    items, events = shop(31), ascending(steps)
    known: list[tuple[int, bytes, DecodedPairs]] = []
    messages = list(batch_of(events, items, partitions).messages(max_bytes, lambda *message: known.append(message)))
    assert [(partition, value) for partition, value, _ in known] == [message[:2] for message in messages]
    for _, value, ours in known:
        theirs = decode_pairs(Rec(value), items, {})
        for field in dataclasses.fields(DecodedPairs):
            wanted = getattr(theirs, field.name)
            np.testing.assert_array_equal(getattr(ours, field.name), wanted, strict=isinstance(wanted, np.ndarray))


def test_messages_are_bounded_and_end_between_events() -> None:
    items = shop(2000)
    events = [(o, 1e9, [((o * 7 + n) % 2000, (o + n) % 2000, 0, 0.25) for n in range(20)]) for o in range(1000)]
    messages = list(batch_of(events, items).messages(20_000))
    assert max(len(value) for _, value, _ in messages) <= 20_000
    assert len(messages) < 100
    for partition in range(4):
        ends = [last for number, _, last in messages if number == partition]
        assert len(set(ends)) == len(ends)


def test_an_event_larger_than_a_message_goes_whole() -> None:
    items = shop(100)
    events = [(1, 1e9, [(0, n, 0, 1.0) for n in range(100)]), (2, 1e9, [(0, 1, 0, 1.0)])]
    messages = list(batch_of(events, items).messages(100))
    assert [last for _, _, last in messages] == [1, 2]


@pytest.mark.parametrize("size", [254, 255, 256, 65_534, 65_535, 65_536])
def test_indices_grow_with_the_items(size: int) -> None:
    items = shop(size)
    events = [(1, 1e9, [(n, TOTAL if n == 0 else n - 1, 1, 0.5) for n in range(size)])]
    messages = list(batch_of(events, items, 1).messages(1 << 30))
    assert received(messages) == sent(events, items, 1)
    assert all(pair_deltas._encode(pair_deltas._decode(message)) == message for _, message, _ in messages)


def test_offsets_never_go_back() -> None:
    items = shop(2)
    batch = batch_of([(5, 1.0, [(0, 1, 0, 1.0)]), (5, 1.0, [(1, 0, 0, 1.0)])], items)
    with pytest.raises(ValueError, match="offset 4 after 5"):
        batch.add(4, 1.0, np.array([(0, 1, 0, 1.0)], PAIR))
    assert len(batch) == 2


def test_nothing_gives_no_message() -> None:
    assert list(batch_of([(1, 1.0, []), (2, 1.0, [])], shop(1)).messages(1000)) == []


def test_items_interned_later_find_their_partition() -> None:
    items = shop(3)
    for size in (3, 4, 500):
        while len(items) < size:
            items.index(f"new-{len(items)}")
        events = [(1, 1.0, [(size - 1, 0, 0, 1.0)])]
        assert received(list(batch_of(events, items).messages(1000))) == sent(events, items)


def message() -> dict[str, object]:
    events = [(3, 1e9, [(0, 1, 0, 0.5), (0, TOTAL, 1, 0.5)]), (4, 1e9, [(1, 0, 2, 0.5)])]
    [(_, value, _)] = batch_of(events, shop(2), 1).messages(10_000)
    decoded: dict[str, object] = json.loads(value)
    return decoded


def column(values: list[float], kind: str) -> str:
    import base64

    return base64.b64encode(np.array(values, kind).tobytes()).decode()


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"source": ""},
        {"source": 3},
        {"width": 3},
        {"width": 2},
        {"items": ["one"]},
        {"items": [1, 2]},
        {"a": "?"},
        {"a": None},
        {"a": column([0, 1, 1], "u1")},
        {"a": column([1, 1], "u1")},
        {"b": column([3, 0, 0], "u1")},
        {"b": column([1], "u1")},
        {"kind": column([0, 1, 3], "i1")},
        {"kind": column([0, 1, -1], "i1")},
        {"kind": ""},
        {"weight": column([1, 1, float("nan")], "<f8")},
        {"weight": column([1, 1, float("inf")], "<f8")},
        {"weight": column([1, 1, -1], "<f8")},
        {"weight": column([1, 1], "<f8")},
        {"at": column([1, float("nan")], "<f8")},
        {"at": column([1], "<f8")},
        {"lengths": column([3, 0], "<i4")},
        {"lengths": column([1, 1], "<i4")},
        {"lengths": column([3], "<i4")},
        {"lengths": column([2**31 - 1, 2**31 - 1], "<i4")},
        {"offsets": column([4, 3], "<i8")},
        {"offsets": column([-1, 3], "<i8")},
        {"offsets": ""},
        {"offsets": "AAAA"},
    ],
    ids=str,
)
def test_what_is_no_message_of_ours_is_refused(changes: dict[str, object]) -> None:
    items = Items()
    decode_pairs(Rec(json.dumps(message()).encode()), items, {})
    with pytest.raises(RecordError, match="pairs-5@7"):
        decode_pairs(Rec(json.dumps(message() | changes).encode()), items, {})


@given(st.none() | st.binary())
def test_any_bytes_are_refused(value: bytes | None) -> None:
    with pytest.raises(RecordError):
        decode_pairs(Rec(value), Items(), {})


def test_a_pair_takes_less_than_microseconds_both_ways() -> None:
    items = shop(5000)
    random = np.random.default_rng(3)
    events = [
        (offset, 1e9, [(int(a), int(b), 0, 0.3512) for a, b in random.integers(0, 5000, (20, 2))])
        for offset in range(500)
    ]
    best = float("inf")
    for _ in range(5):
        started = time.process_time()
        received_pairs, there = 0, Items()
        for _, value, _ in batch_of(events, items, 8).messages(512_000):
            received_pairs += len(decode_pairs(Rec(value), there, {}).a)
        best = min(best, (time.process_time() - started) / received_pairs)
    assert received_pairs == 10_000
    assert best < 5e-6  # 0.8 us where nothing else runs
