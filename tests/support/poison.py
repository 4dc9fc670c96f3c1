"""Records that nobody can use, by name: the unit tests decode them, the integration tests send them to brokers.

`POISON` has (name, short topic, key, value); `PATHS` says by name where the fault is. All but the fault is right,
so that a record refused for another reason shows.
"""

from __future__ import annotations

import json
from typing import Any

CLICK = {"v": 1, "user_id": "u1", "item_id": "i1", "action": "view", "at": "2024-05-01T12:00:00.000Z"}
PURCHASE = {
    "v": 1,
    "user_id": "u1",
    "order_id": "o1",
    "at": "2024-05-01T12:00:00.000Z",
    "items": [{"item_id": "i1"}, {"item_id": "i2", "quantity": 2, "price": 3.5}, {"item_id": "i3", "price": 0}],
}
CATALOG = {"v": 1, "item_id": "i1", "title": "A kettle", "category": "Kitchen/Kettles", "price": 29.9}
PROFILE = {"v": 1, "user_id": "u1", "at": "2024-05-01T12:00:00.000Z"}
FEEDBACK = {
    "v": 1,
    "user_id": "u1",
    "suggestion_id": "clicks-0-1",
    "action": "shown",
    "at": "2024-05-01T12:00:00.000Z",
}
GOOD = {"clicks": CLICK, "purchases": PURCHASE, "catalog": CATALOG, "profiles": PROFILE, "feedback": FEEDBACK}
KEYS = {"clicks": b"u1", "purchases": b"u1", "catalog": b"i1", "profiles": b"u1", "feedback": b"u1"}

LEFT_OUT = object()
DEEP = 100_000


def value_of(topic: str, **changes: Any) -> bytes:
    """The good value of a topic with some fields changed, or left out."""
    fields = {name: one for name, one in (GOOD[topic] | changes).items() if one is not LEFT_OUT}
    return json.dumps(fields).encode()


def _raw(topic: str, old: str, new: str) -> bytes:
    value = value_of(topic).decode()
    assert value.count(old) == 1, (topic, old)
    return value.replace(old, new).encode("utf-8", "surrogatepass")


def _line(number: int, **changes: Any) -> bytes:
    lines = [dict(line) for line in PURCHASE["items"]]  # type: ignore[attr-defined]
    lines[number] = {name: one for name, one in (lines[number] | changes).items() if one is not LEFT_OUT}
    return value_of("purchases", items=lines)


def _padded(topic: str, size: int) -> bytes:
    """The good value of a topic with an unknown field that gives it a size."""
    value = value_of(topic, padding="")
    return value[:-2] + b"x" * (size - len(value)) + value[-2:]


def _repeated(topic: str, first: str) -> bytes:
    """The good value of a topic after a field that is wrong in a way of its own and given again later."""
    return b"{" + first.encode() + b", " + value_of(topic)[1:]


def _deep_attributes() -> bytes:
    return value_of("catalog")[:-1] + b', "attributes": ' + b'{"a": ' * DEEP + b"1" + b"}" * DEEP + b"}"


_AT_CLICK = '"2024-05-01T12:00:00.000Z"'
_LONG = "é" * 128 + "x"  # 129 characters, 257 bytes
_LONG_TEXT = "é" * 512 + "x"  # 513 characters, 1,025 bytes
_MEBIBYTE = 1 << 20
_DECODERS_OWN = "Object missing required field `user_id` - at `$.items[7].x`"

# name, topic, value, path, and the key where it is not the usual one
_CASES: list[tuple[Any, ...]] = [
    # not JSON, or not an object
    ("empty value", "clicks", b"", "$"),
    ("only blanks", "clicks", b" \n\t", "$"),
    ("null bytes", "clicks", b"\x00" * 32, "$"),
    ("random bytes", "clicks", bytes(range(256)), "$"),
    ("plain text", "clicks", b"hello", "$"),
    ("cut off", "clicks", value_of("clicks")[:-9], "$"),
    ("more after the end", "clicks", value_of("clicks") + b"{}", "$"),
    ("two objects", "purchases", value_of("purchases") * 2, "$"),
    ("single quotes", "clicks", b"{'v': 1}", "$"),
    ("comma at the end", "clicks", value_of("clicks")[:-1] + b",}", "$"),
    ("byte order mark", "clicks", b"\xef\xbb\xbf" + value_of("clicks"), "$"),
    ("UTF-16", "clicks", value_of("clicks").decode().encode("utf-16"), "$"),
    ("gzip", "clicks", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", "$"),
    ("Avro with a schema id", "clicks", b"\x00\x00\x00\x00\x07\x04u1\x04i1", "$"),
    ("JSON null", "clicks", b"null", "$"),
    ("JSON number", "clicks", b"42", "$"),
    ("JSON string", "clicks", json.dumps(value_of("clicks").decode()).encode(), "$"),
    ("list of clicks", "clicks", b"[" + value_of("clicks") + b"]", "$"),
    ("empty object", "clicks", b"{}", "$.v"),
    ("NaN", "purchases", _raw("purchases", "3.5", "NaN"), "$"),
    ("Infinity", "catalog", _raw("catalog", "29.9", "Infinity"), "$"),
    ("minus Infinity", "catalog", _raw("catalog", "29.9", "-Infinity"), "$"),
    ("nested without end", "clicks", value_of("clicks")[:-1] + b', "x": ' + b"[" * DEEP + b"}", "$"),
    ("nested too deeply", "clicks", value_of("clicks")[:-1] + b', "x": ' + b"[" * DEEP + b"]" * DEEP + b"}", "$"),
    ("control character in a string", "clicks", _raw("clicks", '"i1"', '"i\x01"'), "$"),
    ("unknown escape", "clicks", _raw("clicks", '"i1"', '"\\q"'), "$"),
    # invalid text
    ("invalid UTF-8 in an id", "clicks", _raw("clicks", '"i1"', '"i?"').replace(b"?", b"\xff"), "$"),
    ("invalid UTF-8 in an unknown field", "clicks", value_of("clicks")[:-1] + b', "x": "\xc3("}', "$"),
    ("surrogate in UTF-8", "clicks", _raw("clicks", '"i1"', '"\ud800"'), "$"),
    ("lone surrogate escaped", "clicks", _raw("clicks", '"i1"', '"\\ud800"'), "$"),
    ("surrogates the wrong way round", "clicks", _raw("clicks", '"i1"', '"\\udc00\\ud800"'), "$"),
    # version
    ("no version", "clicks", value_of("clicks", v=LEFT_OUT), "$.v"),
    ("version 2", "clicks", value_of("clicks", v=2), "$.v"),
    ("version in writing", "clicks", value_of("clicks", v="1"), "$.v"),
    ("version 1.0", "clicks", value_of("clicks", v=1.0), "$.v"),
    ("version true", "clicks", value_of("clicks", v=True), "$.v"),
    # ids and keys
    ("no user", "clicks", value_of("clicks", user_id=LEFT_OUT), "$.user_id"),
    ("user is a number", "clicks", value_of("clicks", user_id=7), "$.user_id", b"7"),
    ("user is null", "clicks", value_of("clicks", user_id=None), "$.user_id"),
    ("user is empty", "clicks", value_of("clicks", user_id=""), "$.user_id", b""),
    ("user of 257 bytes", "clicks", value_of("clicks", user_id=_LONG), "$.user_id", _LONG.encode()),
    ("no key", "clicks", value_of("clicks"), "$.user_id", None),
    ("empty key", "clicks", value_of("clicks"), "$.user_id", b""),
    ("another key", "clicks", value_of("clicks"), "$.user_id", b"u2"),
    ("key in JSON quotes", "purchases", value_of("purchases"), "$.user_id", b'"u1"'),
    ("key is the item", "clicks", value_of("clicks"), "$.user_id", b"i1"),
    ("key is no UTF-8", "clicks", value_of("clicks"), "$.user_id", b"u1\xff"),
    ("no item", "clicks", value_of("clicks", item_id=LEFT_OUT), "$.item_id"),
    ("item is empty", "clicks", value_of("clicks", item_id=""), "$.item_id"),
    ("item of 257 bytes", "clicks", value_of("clicks", item_id=_LONG), "$.item_id"),
    ("session is empty", "clicks", value_of("clicks", session_id=""), "$.session_id"),
    ("session of 257 bytes", "clicks", value_of("clicks", session_id=_LONG), "$.session_id"),
    ("event id is a list", "clicks", value_of("clicks", event_id=["e1"]), "$.event_id"),
    ("event id of 257 bytes", "clicks", value_of("clicks", event_id=_LONG), "$.event_id"),
    # action and figures of a click
    ("no action", "clicks", value_of("clicks", action=LEFT_OUT), "$.action"),
    ("unknown action", "clicks", value_of("clicks", action="purchase"), "$.action"),
    ("action that reads like a message of the decoder", "clicks", value_of("clicks", action=_DECODERS_OWN), "$.action"),
    ("action in capitals", "clicks", value_of("clicks", action="VIEW"), "$.action"),
    ("negative dwell", "clicks", value_of("clicks", dwell_ms=-1), "$.dwell_ms"),
    ("dwell in writing", "clicks", value_of("clicks", dwell_ms="12"), "$.dwell_ms"),
    ("dwell beyond float64", "clicks", value_of("clicks")[:-1] + b', "dwell_ms": 1e999}', "$.dwell_ms"),
    ("rating 0", "clicks", value_of("clicks", rating=0), "$.rating"),
    ("rating 5.5", "clicks", value_of("clicks", rating=5.5), "$.rating"),
    ("rating true", "clicks", value_of("clicks", rating=True), "$.rating"),
    # times
    ("no time", "clicks", value_of("clicks", at=LEFT_OUT), "$.at"),
    ("time without zone", "clicks", value_of("clicks", at="2024-05-01T12:00:00"), "$.at"),
    ("time with a zone without colon", "clicks", value_of("clicks", at="2024-05-01T12:00:00+0200"), "$.at"),
    ("time with a zero zone without colon", "clicks", value_of("clicks", at="2024-05-01T12:00:00+0000"), "$.at"),
    ("date only", "clicks", value_of("clicks", at="2024-05-01"), "$.at"),
    ("time in words", "clicks", value_of("clicks", at="yesterday"), "$.at"),
    ("day that never was", "clicks", value_of("clicks", at="2023-02-29T12:00:00Z"), "$.at"),
    ("time is a float", "clicks", value_of("clicks", at=1714564800000.5), "$.at"),
    ("time with an exponent", "clicks", _raw("clicks", _AT_CLICK, "17e11"), "$.at"),
    ("time is true", "clicks", value_of("clicks", at=True), "$.at"),
    ("time in digits as a string", "clicks", value_of("clicks", at="1714564800000"), "$.at"),
    ("time in seconds", "clicks", value_of("clicks", at=1714564800), "$.at"),
    ("negative time", "clicks", value_of("clicks", at=-1), "$.at"),
    ("time in microseconds", "clicks", value_of("clicks", at=1714564800000000), "$.at"),
    ("time before 2000", "clicks", value_of("clicks", at="1999-12-31T23:59:59.999Z"), "$.at"),
    ("time in the year 1", "purchases", value_of("purchases", at="0001-01-01T00:00:00+23:59"), "$.at"),
    ("time far ahead", "purchases", value_of("purchases", at="2999-01-01T00:00:00Z"), "$.at"),
    ("time beyond any date", "clicks", _raw("clicks", _AT_CLICK, "9" * 400), "$.at"),
    ("time of 5,000 digits", "clicks", _raw("clicks", _AT_CLICK, "1" * 5000), "$.at"),
    ("time beyond int64", "clicks", value_of("clicks", at=2**63), "$.at"),
    # a field given twice; of the last nothing can be quoted where the decoder stops
    (
        "lines twice, then a number",
        "purchases",
        _repeated("purchases", '"items": [{"item_id": ""}], "items": 5'),
        "$.items[0].item_id",
    ),
    ("lines twice, then fewer", "purchases", value_of("purchases", items=[])[:-1] + b', "items": [{}, 7]}', "$.items"),
    (
        "attributes twice, then a number",
        "catalog",
        _repeated("catalog", '"attributes": {"a": []}, "attributes": 5'),
        "$.attributes",
    ),
    (
        "attribute twice, then a good one",
        "catalog",
        _repeated("catalog", '"attributes": {"a": [], "a": 1}'),
        "$.attributes",
    ),
    ("user given twice", "clicks", value_of("clicks")[:-1] + b', "user_id": "u1"}', "$.user_id"),
    ("user given twice, once escaped", "clicks", value_of("clicks")[:-1] + b', "user\\u005fid": "u1"}', "$.user_id"),
    ("price given twice", "catalog", value_of("catalog")[:-1] + b', "price": 1}', "$.price"),
    (
        "line with two prices",
        "purchases",
        _raw("purchases", '"price": 3.5', '"price": 3.5, "price": 4'),
        "$.items[1].price",
    ),
    # purchases
    ("null purchase", "purchases", None, "$"),
    ("null click", "clicks", None, "$"),
    ("no order", "purchases", value_of("purchases", order_id=LEFT_OUT), "$.order_id"),
    ("order of 257 bytes", "purchases", value_of("purchases", order_id=_LONG), "$.order_id"),
    ("no lines", "purchases", value_of("purchases", items=LEFT_OUT), "$.items"),
    ("empty lines", "purchases", value_of("purchases", items=[]), "$.items"),
    ("lines are an object", "purchases", value_of("purchases", items={"item_id": "i1"}), "$.items"),
    ("line is a string", "purchases", value_of("purchases", items=[{"item_id": "i1"}, "i2"]), "$.items[1]"),
    ("line is null", "purchases", value_of("purchases", items=[None]), "$.items[0]"),
    ("line without item", "purchases", _line(2, item_id=LEFT_OUT), "$.items[2].item_id"),
    ("line with an empty item", "purchases", _line(2, item_id=""), "$.items[2].item_id"),
    ("line with an item of 257 bytes", "purchases", _line(1, item_id=_LONG), "$.items[1].item_id"),
    ("quantity 0", "purchases", _line(1, quantity=0), "$.items[1].quantity"),
    ("negative quantity", "purchases", _line(2, quantity=-1), "$.items[2].quantity"),
    ("quantity in writing", "purchases", _line(0, quantity="2"), "$.items[0].quantity"),
    ("negative price of a line", "purchases", _line(2, price=-0.01), "$.items[2].price"),
    ("price with a comma", "purchases", _line(2, price="12,50"), "$.items[2].price"),
    ("price of a line beyond float64", "purchases", _raw("purchases", "3.5", "1e400"), "$.items[1].price"),
    ("price of 400 digits", "purchases", _raw("purchases", "3.5", "7" * 400), "$.items[1].price"),
    ("currency is a number", "purchases", value_of("purchases", currency=978), "$.currency"),
    ("currency of 257 bytes", "purchases", value_of("purchases", currency=_LONG), "$.currency"),
    ("10,001 lines", "purchases", value_of("purchases", items=[{"item_id": "i1"}] * 10_001), "$.items"),
    ("100,000 lines", "purchases", value_of("purchases", items=[{"item_id": "i1"}] * 100_000), "$.items"),
    # catalogue
    ("item without title", "catalog", value_of("catalog", title=LEFT_OUT), "$.title"),
    ("item without price", "catalog", value_of("catalog", price=LEFT_OUT), "$.price"),
    ("negative price", "catalog", value_of("catalog", price=-1), "$.price"),
    ("price is null", "catalog", value_of("catalog", price=None), "$.price"),
    ("price in writing", "catalog", value_of("catalog", price="29.90"), "$.price"),
    ("no category", "catalog", value_of("catalog", category=LEFT_OUT), "$.category"),
    ("empty category", "catalog", value_of("catalog", category=""), "$.category"),
    ("category with an empty part", "catalog", value_of("catalog", category="Kitchen//Kettles"), "$.category"),
    ("category that starts with /", "catalog", value_of("catalog", category="/Kitchen"), "$.category"),
    ("category that ends with /", "catalog", value_of("catalog", category="Kitchen/"), "$.category"),
    ("category is a list", "catalog", value_of("catalog", category=["Kitchen", "Kettles"]), "$.category"),
    ("in stock in writing", "catalog", value_of("catalog", in_stock="yes"), "$.in_stock"),
    ("item rated 6", "catalog", value_of("catalog", rating=6), "$.rating"),
    ("attribute is a list", "catalog", value_of("catalog", attributes={"a": 1, "b": []}), '$.attributes["b"]'),
    ("attribute is null", "catalog", value_of("catalog", attributes={"a": None}), '$.attributes["a"]'),
    ("attributes are a list", "catalog", value_of("catalog", attributes=[]), "$.attributes"),
    ("item with another key", "catalog", value_of("catalog"), "$.item_id", b"i2"),
    ("withdrawn without key", "catalog", None, "$", None),
    ("withdrawn with an empty key", "catalog", None, "$", b""),
    ("withdrawn with a key that is no UTF-8", "catalog", None, "$", b"\xff"),
    ("withdrawn with a key of 257 bytes", "catalog", None, "$", b"k" * 257),
    ("category of 17 parts", "catalog", value_of("catalog", category="/".join("abcdefghijklmnopq")), "$.category"),
    ("category of 1,000 parts", "catalog", value_of("catalog", category="/".join("x" * 1000)), "$.category"),
    ("category of 1,025 bytes", "catalog", value_of("catalog", category=_LONG_TEXT), "$.category"),
    ("title of 1,025 bytes", "catalog", value_of("catalog", title=_LONG_TEXT), "$.title"),
    ("title of 300 kB", "catalog", value_of("catalog", title="T" * 300_000), "$.title"),
    ("title of 2 MB", "catalog", value_of("catalog", title="T" * 2_000_000), "$.title"),
    ("brand of 257 bytes", "catalog", value_of("catalog", brand=_LONG), "$.brand"),
    ("item currency of 257 bytes", "catalog", value_of("catalog", currency=_LONG), "$.currency"),
    ("attribute of 1,025 bytes", "catalog", value_of("catalog", attributes={"b": _LONG_TEXT}), '$.attributes["b"]'),
    (
        "attribute of 1,025 characters",
        "catalog",
        value_of("catalog", attributes={"a": 1, "": "x" * 1025}),
        '$.attributes[""]',
    ),
    ("attribute named in 257 bytes", "catalog", value_of("catalog", attributes={_LONG: 1}), "$.attributes"),
    ("attribute of 400 digits", "catalog", value_of("catalog", attributes={"n": 10**400}), '$.attributes["n"]'),
    ("65 attributes", "catalog", value_of("catalog", attributes=dict.fromkeys(map(str, range(65)), 1)), "$.attributes"),
    ("attributes nested too deeply", "catalog", _deep_attributes(), "$"),
    # the whole value
    ("value of 1 MiB and a byte", "clicks", _padded("clicks", _MEBIBYTE + 1), "$"),
    ("value of 9 MiB", "purchases", _padded("purchases", 9 * _MEBIBYTE), "$"),
    ("profile of 1 MiB and a byte", "profiles", _padded("profiles", _MEBIBYTE + 1), "$"),
    ("feedback of 1 MiB and a byte", "feedback", _padded("feedback", _MEBIBYTE + 1), "$"),
    # profiles and feedback
    (
        "profile attribute of 1,025 bytes",
        "profiles",
        value_of("profiles", attributes={"b": _LONG_TEXT}),
        '$.attributes["b"]',
    ),
    (
        "profile of 65 attributes",
        "profiles",
        value_of("profiles", attributes=dict.fromkeys(map(str, range(65)), 1)),
        "$.attributes",
    ),
    ("feedback on a suggestion of 257 bytes", "feedback", value_of("feedback", suggestion_id=_LONG), "$.suggestion_id"),
    ("feedback on an item of 257 bytes", "feedback", value_of("feedback", item_id=_LONG), "$.item_id"),
    ("profile without time", "profiles", value_of("profiles", at=LEFT_OUT), "$.at"),
    ("consent in writing", "profiles", value_of("profiles", consent="no"), "$.consent"),
    ("forget is 1", "profiles", value_of("profiles", forget=1), "$.forget"),
    ("profile removed without key", "profiles", None, "$", None),
    ("null feedback", "feedback", None, "$"),
    ("feedback of an unknown kind", "feedback", value_of("feedback", action="liked"), "$.action"),
    ("feedback without suggestion", "feedback", value_of("feedback", suggestion_id=LEFT_OUT), "$.suggestion_id"),
    ("feedback on an empty item", "feedback", value_of("feedback", item_id=""), "$.item_id"),
]

POISON: list[tuple[str, str, bytes | None, bytes | None]] = [
    (name, topic, key[0] if key else KEYS[topic], value) for name, topic, value, _, *key in _CASES
]
PATHS: dict[str, str] = {name: path for name, _, _, path, *_ in _CASES}
