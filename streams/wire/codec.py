"""Decodes the JSON of public topics to shop events, and writes dead letters for what cannot be decoded.

Every public topic has one `decode_...`. Whatever bytes a record holds, it returns an event of `models.shop.events` or
raises [`RecordError`][streams.errors.RecordError] and nothing else. The error's text is the dead letter's reason. Any
other exception is a bug and stops the worker.

Checked beyond the types in `streams.wire.schemas`: ids and texts fit in bytes, the key is the id in the value, `at` is
neither before 2000 nor more than an hour after the append, the value has at most 1 MiB of valid UTF-8, and no field is
given twice.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeVar, cast

import msgspec
import orjson

from models.shop.events import Action, CatalogItem, Click, Feedback, Line, Profile, Purchase
from streams.errors import RecordError
from streams.wire import rejections
from streams.wire.record import NEWEST_S, Record, raw_value, refusal
from streams.wire.schemas import (
    ID_WORDS,
    MAX_AHEAD_MS,
    MAX_ID_BYTES,
    MAX_NAME_BYTES,
    MAX_TEXT_BYTES,
    MAX_VALUE_BYTES,
    OLDEST_MS,
    CatalogRecord,
    ClickRecord,
    DeadLetterRecord,
    FeedbackRecord,
    ProfileRecord,
    PurchaseRecord,
    SuggestionRecord,
    expected,
)

SHORT_ID = MAX_ID_BYTES // 4
"""An id of at most this many characters always fits: no character takes more than four bytes."""

NEWEST_MS = 1000 * NEWEST_S
"""Latest time that can be written, in epoch milliseconds; for senders' wrong timestamps."""

MAX_DEAD_LETTER_BYTES = 900_000
"""A larger dead letter leaves out its copy of the record, to stay below a broker's default message limit (1,048,588
bytes): one that cannot be sent would block its partition."""

T = TypeVar("T", bound=msgspec.Struct)

_CLICK = msgspec.json.Decoder(ClickRecord)
_PURCHASE = msgspec.json.Decoder(PurchaseRecord)
_CATALOG = msgspec.json.Decoder(CatalogRecord)
_PROFILE = msgspec.json.Decoder(ProfileRecord)
_FEEDBACK = msgspec.json.Decoder(FeedbackRecord)
_SUGGESTION = msgspec.json.Decoder(SuggestionRecord)
_DEAD_LETTER = msgspec.json.Decoder(DeadLetterRecord)

_ACTIONS = {action.value: action for action in Action}
_ZONE_WITHOUT_COLON = b'0000"'
# names as written in JSON, of records in which each may occur only once
_NAMES: dict[type[msgspec.Struct], tuple[bytes, ...]] = {
    kind: tuple(f'"{name}"'.encode() for name in kind.__struct_fields__) for kind in (ClickRecord, FeedbackRecord)
}


def decode_click(record: Record) -> Click:
    """The click of a record of `clicks`; takes 1 to 2 us."""
    value, wire = _decode(_CLICK, record)
    user_id, item_id, session_id, event_id = wire.user_id, wire.item_id, wire.session_id, wire.event_id
    _check_key(record, "$.user_id", user_id)
    if len(item_id) > SHORT_ID:
        _check_id(record, "$.item_id", item_id)
    quotes = 16
    if type(wire.at) is not int:
        quotes += 2
    if wire.dwell_ms is not None:
        quotes += 2
    if wire.rating is not None:
        quotes += 2
    if session_id is not None:
        quotes += 4
        if len(session_id) > SHORT_ID:
            _check_id(record, "$.session_id", session_id)
    if event_id is not None:
        quotes += 4
        if len(event_id) > SHORT_ID:
            _check_id(record, "$.event_id", event_id)
    if value.count(b'"') != quotes:
        _check_repeats(record, value, ClickRecord)
    at = _seconds(record, value, wire.at)
    return Click(user_id, item_id, _ACTIONS[wire.action], at, wire.dwell_ms, wire.rating, session_id, event_id)


def decode_purchase(record: Record) -> Purchase:
    """The purchase of a record of `purchases`; one bad line makes the whole purchase bad."""
    value, wire = _decode(_PURCHASE, record)
    _check_key(record, "$.user_id", wire.user_id)
    _check_id(record, "$.order_id", wire.order_id)
    quotes = 14 + 4 * len(wire.items)
    lines = []
    for number, line in enumerate(wire.items):
        item_id, quantity, price = line.item_id, line.quantity, line.price
        if len(item_id) > SHORT_ID:
            _check_id(record, f"$.items[{number}].item_id", item_id)
        if quantity is None:
            quantity = 1.0
        else:
            quotes += 2
        if price is not None:
            quotes += 2
        lines.append(Line(item_id, quantity, price))
    if wire.currency is not None:
        quotes += 4
        _check_text(record, "$.currency", wire.currency, MAX_NAME_BYTES)
    if type(wire.at) is not int:
        quotes += 2
    if value.count(b'"') != quotes:
        _check_repeats(record, value, PurchaseRecord)
    return Purchase(wire.user_id, wire.order_id, _seconds(record, value, wire.at), tuple(lines), wire.currency)


def decode_catalog(record: Record) -> CatalogItem | None:
    """The item of a record of `catalog`; None: the item whose id is the key is withdrawn."""
    if record.value is None:
        _check_tombstone(record)
        return None
    value, wire = _decode(_CATALOG, record)
    _check_key(record, "$.item_id", wire.item_id)
    _check_text(record, "$.title", wire.title, MAX_TEXT_BYTES)
    _check_text(record, "$.category", wire.category, MAX_TEXT_BYTES)
    _check_text(record, "$.brand", wire.brand, MAX_NAME_BYTES)
    _check_text(record, "$.currency", wire.currency, MAX_NAME_BYTES)
    _check_attributes(record, wire.attributes)
    _check_given_once(record, value, wire)
    return CatalogItem(
        item_id=wire.item_id,
        title=wire.title,
        category=wire.category,
        price=wire.price,
        brand=wire.brand,
        in_stock=wire.in_stock is not False,
        rating=wire.rating,
        currency=wire.currency,
        attributes=wire.attributes or {},
    )


def decode_profile(record: Record) -> Profile:
    """The profile of a record of `profiles`. A null value gives consent back, as of its append time."""
    if record.value is None:
        _check_tombstone(record)
        return Profile((record.key or b"").decode(), min(record.timestamp, NEWEST_MS) / 1000)
    value, wire = _decode(_PROFILE, record)
    _check_key(record, "$.user_id", wire.user_id)
    _check_attributes(record, wire.attributes)
    _check_given_once(record, value, wire)
    return Profile(
        user_id=wire.user_id,
        at=_seconds(record, value, wire.at),
        attributes=dict[str, object](wire.attributes or {}),
        consent=wire.consent is not False,
        forget=wire.forget is True,
    )


def decode_feedback(record: Record) -> Feedback:
    """The feedback of a record of `feedback`."""
    value, wire = _decode(_FEEDBACK, record)
    _check_key(record, "$.user_id", wire.user_id)
    _check_id(record, "$.suggestion_id", wire.suggestion_id)
    if wire.item_id is not None:
        _check_id(record, "$.item_id", wire.item_id)
    _check_given_once(record, value, wire)
    return Feedback(wire.user_id, wire.suggestion_id, _seconds(record, value, wire.at), wire.action, wire.item_id)


def decode_suggestion(record: Record) -> SuggestionRecord:
    """A record of `suggestions`, as readers of that topic need it."""
    return _decode(_SUGGESTION, record)[1]


def decode_answer(record: Record) -> tuple[SuggestionRecord, float]:
    """A record of `suggestions` and the event time of its trigger, for attribution."""
    value, wire = _decode(_SUGGESTION, record)
    _check_key(record, "$.user_id", wire.user_id)
    try:
        at = datetime.fromisoformat(wire.at)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise refusal(record, "$.at", expected(SuggestionRecord)["at"], rejections.shown(wire.at))
    return wire, _seconds(record, value, at)


def decode_dead_letter(record: Record) -> DeadLetterRecord:
    """A record of `dead-letters`."""
    letter = _decode(_DEAD_LETTER, record)[1]
    for path, text in (("$.key", letter.key), ("$.value", letter.value)):
        try:
            base64.b64decode(text or "", validate=True)
        except ValueError:
            raise refusal(record, path, "base64 or null", rejections.shown(text)) from None
    return letter


def dead_letter(record: Record, error: RecordError, at_ms: int) -> tuple[bytes, bytes]:
    """Key and value of the dead letter for a record that cannot be used.

    The key is the source topic's full name in UTF-8, the value a `DeadLetterRecord` in JSON of less than a megabyte.
    The copy of a larger record is left out and `left_out_bytes` has its size. `at_ms`: now, in epoch milliseconds.
    """
    letter: dict[str, Any] = {
        "v": 1,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "key": None,
        "value": None,
        "reason": f"{error}; sent to dead-letters",
        "path": error.path,
        "at": written(at_ms / 1000),
    }
    key, value = record.key, raw_value(record)
    size = len(key or b"") + len(value or b"")
    if size * 4 // 3 > MAX_DEAD_LETTER_BYTES:
        letter["left_out_bytes"] = size
    else:
        letter["key"], letter["value"] = _base64(key), _base64(value)
    return record.topic.encode(), orjson.dumps(letter)


def shorter_dead_letter(value: bytes) -> bytes | None:
    """A dead letter without its copy of the record; None where it has none."""
    letter = orjson.loads(value)
    copies = [letter["key"], letter["value"]]
    if copies == [None, None]:
        return None
    size = sum(len(base64.b64decode(copy or "")) for copy in copies)
    return orjson.dumps(letter | {"key": None, "value": None, "left_out_bytes": size})


def shorter_suggestion(value: bytes, *, may_be_empty: bool) -> bytes | None:
    """A suggestion with the better half of its items, or with half the ids of its trigger, whichever takes more bytes.

    None where it has none of them, or only one item and must not be empty.
    """
    suggestion = orjson.loads(value)
    items, trigger = suggestion["items"], suggestion["trigger"]
    ids, fewest = trigger["item_ids"], 0 if may_be_empty else 1
    if len(items) > fewest and not (ids and len(orjson.dumps(ids)) > len(orjson.dumps(items))):
        suggestion["items"] = items[: max(fewest, len(items) // 2)]
    elif ids:
        trigger.setdefault("item_count", len(ids))
        trigger["item_ids"] = ids[: len(ids) // 2]
    else:
        return None
    return orjson.dumps(suggestion)


def written(at_s: float) -> str:
    """A time as all records have it: RFC 3339, UTC, milliseconds.

    >>> written(1773480413.5894)
    '2026-03-14T09:26:53.589Z'
    """
    second, ms = divmod(round(at_s * 1000), 1000)
    return f"{_written_second(second)}.{ms:03d}Z"


@lru_cache(4096)
def _written_second(at_s: int) -> str:
    """A whole second, without its zone. Cached: events of one second come together."""
    return datetime.fromtimestamp(at_s, UTC).isoformat()[:-6]


def _base64(raw: bytes | None) -> str | None:
    return None if raw is None else base64.b64encode(raw).decode("ascii")


def _decode(decoder: msgspec.json.Decoder[T], record: Record) -> tuple[bytes, T]:
    value = record.value
    if value is None:
        raise refusal(record, "$", "a JSON object", "null")
    if len(value) > MAX_VALUE_BYTES:
        raise rejections.too_large(record, decoder)
    try:
        if not value.isascii():
            value.decode()  # the decoder skips unknown fields without looking at their bytes
        return value, decoder.decode(value)
    except (ValueError, RecursionError) as error:  # msgspec's errors and UnicodeDecodeError are ValueErrors
        record_type = cast(type[msgspec.Struct], decoder.type)
        raise rejections.explained(record, record_type, error) from None


def _check_key(record: Record, path: str, name: str) -> None:
    key = name.encode()
    if key != record.key:
        raise refusal(record, path, f"the record's key ({rejections.shown(record.key)})", rejections.shown(name))
    if len(key) > MAX_ID_BYTES:
        raise rejections.too_long(record, path, name)


def _check_id(record: Record, path: str, name: str) -> None:
    if len(name.encode()) > MAX_ID_BYTES:
        raise rejections.too_long(record, path, name)


def _check_text(record: Record, path: str, text: str | None, most: int) -> None:
    """The decoder has counted characters, which take up to four bytes each."""
    if text is not None and len(text) > most // 4 and (size := len(text.encode())) > most:
        wanted = f"a string of at most {most:,} bytes in UTF-8"
        raise refusal(record, path, wanted, f"{size:,} bytes, {rejections.shown(text)}")


def _check_attributes(record: Record, attributes: Mapping[str, str | float | bool] | None) -> None:
    for name, value in (attributes or {}).items():
        if len(name.encode()) > MAX_NAME_BYTES:
            wanted = "an object whose names are strings of at most 256 bytes in UTF-8"
            raise refusal(record, "$.attributes", wanted, f"a name of {len(name.encode()):,} bytes")
        if type(value) is str:
            _check_text(record, f"$.attributes[{rejections.shown(name)}]", value, MAX_TEXT_BYTES)


def _check_tombstone(record: Record) -> None:
    key = record.key
    try:
        if key is not None and 0 < len(key.decode()) and len(key) <= MAX_ID_BYTES:
            return
    except UnicodeDecodeError:
        pass
    raise refusal(record, "$", f"a key that is {ID_WORDS}, as the value is null", rejections.shown(key))


def _check_given_once(record: Record, value: bytes, wire: msgspec.Struct) -> None:
    """A record with each known field once, and no other, has a known number of quotes; others are parsed again."""
    if value.count(b'"') != _quotes(wire):
        _check_repeats(record, value, type(wire))


def _check_repeats(record: Record, value: bytes, record_type: type[msgspec.Struct]) -> None:
    """Tell in a microsecond a record with unknown fields from one that may repeat a known one."""
    names = _NAMES.get(record_type)
    if names is None or b"\\" in value or max(map(value.count, names)) > 1:
        rejections.check_given_once(record, record_type)


def _quotes(wire: msgspec.Struct) -> int:
    """Number of quotes in a record's JSON: two for a name, two for a string."""
    quotes = 0
    for name in wire.__struct_fields__:
        field = getattr(wire, name)
        kind = type(field)
        if field is None:
            continue
        quotes += 4 if kind is str or kind is datetime else 2
        if kind is list:
            quotes += sum(map(_quotes, field))
        elif kind is dict:
            quotes += 2 * len(field) + 2 * sum(type(part) is str for part in field.values())
    return quotes


def _seconds(record: Record, value: bytes, at: int | datetime) -> float:
    """Event time in epoch seconds; checks bounds and the zone's form."""
    appended_ms = record.timestamp
    if appended_ms is None or appended_ms < 0:
        raise refusal(record, "$.at", "a record with an append time to compare with", "no append time")
    newest_ms = min(appended_ms + MAX_AHEAD_MS, NEWEST_MS)
    if isinstance(at, int):
        if OLDEST_MS <= at <= newest_ms:
            return at / 1000
        raise rejections.out_of_time(record, too_old=at < OLDEST_MS)
    if at.tzinfo is not UTC or _ZONE_WITHOUT_COLON in value:
        rejections.check_zone(record)
    at_s = at.timestamp()
    at_ms = at_s * 1000
    if OLDEST_MS <= at_ms <= newest_ms:
        return at_s
    raise rejections.out_of_time(record, too_old=at_ms < OLDEST_MS)
