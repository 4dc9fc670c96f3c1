"""Whatever bytes come: an event, or a RecordError that can be sent to the dead letters. Nothing else, ever."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.shop.events import Action, Line
from streams.errors import RecordError
from streams.wire.codec import (
    dead_letter,
    decode_click,
    decode_dead_letter,
    decode_purchase,
    written,
)
from tests.support.poison import GOOD, KEYS, value_of
from tests.support.shop_records import APPENDED_MS, DECODERS, Rec


def survives(record: Rec) -> None:
    try:
        DECODERS[record.topic](record)
    except RecordError as error:
        assert str(error).isascii()
        assert len(str(error)) < 2000
        assert (error.path or "").startswith("$")
        key, value = dead_letter(record, error, APPENDED_MS)
        decode_dead_letter(Rec("dead-letters", key, value))


topics = st.sampled_from(sorted(DECODERS))
keys = st.none() | st.binary(max_size=300)
texts = st.text(max_size=300) | st.text(
    st.characters(codec=None, categories=["Cs", "Cc", "Lu"]), max_size=5
)  # surrogates too
numbers = (
    st.integers() | st.integers(-(10**40), 10**40) | st.floats() | st.sampled_from([10**400, -(10**30), 2**63, 2**64])
)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)


@given(topics, keys, st.none() | st.binary(), st.integers(-(2**63), 2**63 - 1))
def test_any_bytes(topic: str, key: bytes | None, value: bytes | None, timestamp: int) -> None:
    survives(Rec(topic, key, value, timestamp=timestamp))


@given(topics, st.data())
def test_good_values_with_bytes_changed(topic: str, data: st.DataObject) -> None:
    value = bytearray(value_of(topic))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(value) - 1))
        value[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    survives(Rec(topic, KEYS[topic], bytes(value)))


@given(topics, st.data())
def test_good_values_with_fields_of_any_kind(topic: str, data: st.DataObject) -> None:
    names = st.sampled_from(sorted(GOOD[topic])) | st.sampled_from(
        ["attributes", "rating", "event_id", "brand", "unknown"]
    )
    changes = data.draw(st.dictionaries(names, json_values, min_size=1, max_size=3))
    survives(Rec(topic, KEYS[topic], value_of(topic, **changes)))


@given(st.lists(st.dictionaries(st.sampled_from(["item_id", "quantity", "price", "x"]), json_values), max_size=3))
def test_lines_of_any_kind(lines: list[dict[str, Any]]) -> None:
    survives(Rec("purchases", b"u1", value_of("purchases", items=lines)))


@given(topics, st.data())
def test_fields_in_any_order_and_any_number_of_times(topic: str, data: st.DataObject) -> None:
    fields = list(GOOD[topic].items())
    chosen = data.draw(st.lists(st.sampled_from(fields), min_size=1, max_size=9))
    value = "{" + ", ".join(f"{json.dumps(name)}: {json.dumps(field)}" for name, field in chosen) + "}"
    record = Rec(topic, KEYS[topic], value.encode())
    names = [name for name, _ in chosen]
    if sorted(names) == sorted(GOOD[topic]):
        DECODERS[topic](record)
    else:
        with pytest.raises(RecordError):
            DECODERS[topic](record)


ids = st.text(min_size=1, max_size=64)
plain_ids = ids.filter(lambda name: not any(0xD800 <= ord(char) < 0xE000 for char in name))


@given(
    user=plain_ids,
    item=plain_ids,
    action=st.sampled_from(["view", "click", "add_to_cart", "remove_from_cart"]),
    at_ms=st.integers(946_684_800_000, APPENDED_MS + 3_600_000),
    as_text=st.booleans(),
    dwell_ms=st.none() | st.floats(0, allow_infinity=False, allow_nan=False),
    rating=st.none() | st.floats(1, 5),
    more=st.dictionaries(plain_ids.map("x".__add__), st.integers() | plain_ids | st.lists(plain_ids), max_size=2),
)
def test_what_is_right_comes_through_unchanged(
    user: str,
    item: str,
    action: str,
    at_ms: int,
    as_text: bool,
    dwell_ms: float | None,
    rating: float | None,
    more: dict[str, Any],
) -> None:
    value = {"v": 1, "user_id": user, "item_id": item, "action": action, "dwell_ms": dwell_ms, "rating": rating} | {
        "at": written(at_ms / 1000) if as_text else at_ms
    }
    click = decode_click(Rec("clicks", user.encode(), json.dumps(value | more).encode()))
    assert (click.user_id, click.item_id, click.action) == (user, item, Action(action))
    assert (click.at, click.dwell_ms, click.rating) == (at_ms / 1000, dwell_ms, rating)


@given(st.lists(st.tuples(plain_ids, st.floats(0.001, 1e9), st.none() | st.floats(0, 1e9)), min_size=1, max_size=20))
def test_lines_come_through_in_their_order(lines: list[tuple[str, float, float | None]]) -> None:
    items = [{"item_id": item, "quantity": quantity, "price": price} for item, quantity, price in lines]
    purchase = decode_purchase(Rec("purchases", b"u1", value_of("purchases", items=items)))
    assert purchase.lines == tuple(Line(item, quantity, price) for item, quantity, price in lines)
