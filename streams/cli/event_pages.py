"""Generates `docs/events.md` and `docs/asyncapi.yaml` from `streams.wire.schemas` and `streams.wire.topics`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

import msgspec
from msgspec import Meta, Struct

from streams.wire.schemas import (
    CatalogRecord,
    ClickRecord,
    DeadLetterRecord,
    FeedbackRecord,
    ProfileRecord,
    PurchaseRecord,
    SuggestionRecord,
    expected,
    parts_of,
)
from streams.wire.topics import DAY_MS, TOPICS, Topic

BINDING_VERSION = "0.5.0"
"""Of AsyncAPI's Kafka bindings."""


@dataclass(frozen=True)
class Page:
    """What the pages say of one public topic besides its types."""

    record: type[Struct]
    message: str
    """Name of its message in the AsyncAPI document."""
    example: Mapping[str, Any]
    null: str = ""
    """Meaning of a null value; empty: it is a dead letter."""


PAGES: dict[str, Page] = {
    "clicks": Page(
        ClickRecord,
        "Click",
        {
            "v": 1,
            "user_id": "shopper-17",
            "item_id": "kettle-2",
            "action": "view",
            "at": "2026-03-14T09:26:53.589Z",
            "dwell_ms": 8200,
            "session_id": "s-4711",
            "event_id": "e-90210",
        },
    ),
    "purchases": Page(
        PurchaseRecord,
        "Purchase",
        {
            "v": 1,
            "user_id": "shopper-17",
            "order_id": "o-1234",
            "at": "2026-03-14T09:31:20.004Z",
            "items": [{"item_id": "kettle-2", "price": 39.9}, {"item_id": "mug-7", "quantity": 4, "price": 8.5}],
            "currency": "EUR",
        },
    ),
    "catalog": Page(
        CatalogRecord,
        "CatalogItem",
        {
            "v": 1,
            "item_id": "kettle-2",
            "title": "Kettle, 1.7 l, steel",
            "category": "Kitchen/Kettles",
            "price": 39.9,
            "brand": "Hearthstone",
            "in_stock": True,
            "rating": 4.3,
            "currency": "EUR",
            "attributes": {"litres": 1.7, "colour": "steel"},
        },
        null="The item whose id is the key is withdrawn.",
    ),
    "profiles": Page(
        ProfileRecord,
        "Profile",
        {"v": 1, "user_id": "shopper-17", "at": "2026-03-14T10:00:00.000Z", "forget": True},
        null="The profile of the shopper whose id is the key is removed; what `forget` has erased stays erased.",
    ),
    "feedback": Page(
        FeedbackRecord,
        "Feedback",
        {
            "v": 1,
            "user_id": "shopper-17",
            "suggestion_id": "clicks-3-81245",
            "item_id": "mug-7",
            "action": "clicked",
            "at": "2026-03-14T09:27:02.100Z",
        },
    ),
    "suggestions": Page(
        SuggestionRecord,
        "Suggestion",
        {
            "v": 1,
            "suggestion_id": "clicks-3-81245",
            "user_id": "shopper-17",
            "at": "2026-03-14T09:26:53.589Z",
            "trigger": {"topic": "clicks", "partition": 3, "offset": 81245, "action": "view", "item_ids": ["kettle-2"]},
            "items": [
                {
                    "item_id": "mug-7",
                    "kind": "cross-sell",
                    "anchor": "kettle-2",
                    "score": 0.83,
                    "price": 8.5,
                    "category": "Kitchen/Mugs",
                    "title": "Mug, stoneware",
                    "reasons": [
                        {
                            "source": "bought_with",
                            "anchor": "kettle-2",
                            "count": 37,
                            "lift": 6.2,
                            "text": "Bought together with Kettle, 1.7 l, steel in 37 baskets",
                        }
                    ],
                    "propensity": 1.0,
                }
            ],
            "models": {"cooccurrence": "1"},
            "policy": "5f0c0ffee123",
            "arm": "default",
            "latency_ms": 4.2,
        },
    ),
    "dead-letters": Page(
        DeadLetterRecord,
        "DeadLetter",
        {
            "v": 1,
            "topic": "clicks",
            "partition": 3,
            "offset": 81246,
            "key": "c2hvcHBlci0xNw==",
            "value": "eyJ2IjoyfQ==",
            "reason": "clicks-3@81246: field `$.v` must be 1, got 2; sent to dead-letters",
            "path": "$.v",
            "at": "2026-03-14T09:26:53.611Z",
        },
    ),
}
"""Public topics, in the order of the pages."""

_HEAD = """\
# Events

Made by `make docs` from `streams/wire/schemas.py` and `streams/wire/topics.py`; a test compares. For machines:
[asyncapi.yaml](asyncapi.yaml).

Values are JSON objects in UTF-8. The key is the id named below, as UTF-8 bytes; it settles the partition by murmur2, as
Java clients, kafka-python and aiokafka have it (librdkafka: `partitioner=murmur2_random`).

* **Ids** are non-empty strings of at most 256 bytes.
* **Times** are RFC 3339 with a zone (`2026-03-14T09:26:53.589Z`, `+01:00` with its colon) or epoch milliseconds as an
  integer. One before 2000, or more than an hour after the record's append, makes the record a dead letter. Crosscurrent
  writes RFC 3339 in UTC with milliseconds.
* **Prices** are numbers >= 0 in the shop's currency.
* **Bounds** of texts, lists and objects are given with each field; a value has at most 1,048,576 bytes, decompressed. A
  record beyond a bound is a dead letter with the field's path.
* **Optional fields** (`?`) may be left out or null. Unknown fields are ignored. A field given twice is bad, and so is a
  lone surrogate in a string.
* **The key must equal the id in the value.** A record in another partition than its key's is used where it is, and
  counted.
* **What cannot be used** goes to [`dead-letters`](#dead-letters) with a sentence that says why, and the stream goes on.
* **Compression** with gzip, snappy, lz4 and zstd is fine. A batch must have no more than 64 MiB when decompressed.
* **Names**: topic = prefix + name, with nothing between; the default prefix is empty. Records name topics in full.

Changes that could break a reader take a new `v`; fields may be added at any time.
"""

_TRIGGERS = """\
One record per event that triggers. By default every view, click, add_to_cart and purchase does, remove_from_cart does
not; an empty list is sent only where the policy says `emit_empty = true`, or where `arm` is `none` and a list is
withheld. Sent at least once: one event has one `suggestion_id`, its content may be fresher the second time; keep the
first.
"""


def topics() -> list[Topic]:
    """The public topics, in the order of their pages."""
    by_name = {topic.name: topic for topic in TOPICS}
    return [by_name[name] for name in PAGES]


# -- for people ----------------------------------------------------------------------------------------------------


def events_page() -> str:
    """`docs/events.md`."""
    return "\n".join([_HEAD, _overview(), *(_section(topic, PAGES[topic.name]) for topic in topics())])


def _overview() -> str:
    lines = ["| topic | key | cleaning | written by | read by |", "|---|---|---|---|---|"]
    for topic in topics():
        after = "" if topic.retention_ms is None else f" after {topic.retention_ms / DAY_MS:g} days"
        cells = f"[`{topic.name}`](#{topic.name})", topic.key, topic.cleanup + after, topic.written_by, topic.read_by
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _section(topic: Topic, page: Page) -> str:
    lines = [f"## {topic.name}", "", (page.record.__doc__ or "").strip(), ""]
    if topic.name == "suggestions":
        lines += [_TRIGGERS]
    lines += _fields(page.record)
    if page.null:
        lines += [f"A null value: {page.null[0].lower()}{page.null[1:]}", ""]
    lines += ["```json", json.dumps(page.example, indent=2), "```", ""]
    return "\n".join(lines)


def _fields(record: type[Struct]) -> list[str]:
    """A table of a record's fields, then one of each nested record."""
    words, nested = expected(record), []
    lines = ["| field | must be | meaning |", "|---|---|---|"]
    hints = get_type_hints(record, include_extras=True)
    for field in msgspec.structs.fields(record):
        parts = parts_of(hints[field.name])
        meaning = next(part.description for part in parts if isinstance(part, Meta) and part.description)
        structs = [part for part in parts if isinstance(part, type) and issubclass(part, Struct)]
        nested += structs
        must = words[field.name] + (f" [as below](#{_anchor(structs[0])})" if structs else "")
        lines.append(f"| `{field.name}`{'' if field.required else ' ?'} | {must} | {meaning} |")
    lines.append("")
    for struct in nested:
        lines += [f"### {_heading(struct)}", "", (struct.__doc__ or "").strip(), "", *_fields(struct)]
    return lines


def _heading(record: type[Struct]) -> str:
    """A record's name in words: `SuggestedItemRecord` is a suggested item."""
    return " ".join(re.findall("[A-Z][a-z]*", record.__name__.removesuffix("Record"))).capitalize()


def _anchor(record: type[Struct]) -> str:
    return _heading(record).lower().replace(" ", "-")


# -- for machines --------------------------------------------------------------------------------------------------


def asyncapi() -> dict[str, Any]:
    """`docs/asyncapi.yaml`, as plain objects."""
    records = [page.record for page in PAGES.values()]
    _, schemas = msgspec.json.schema_components(records, ref_template="#/components/schemas/{name}")
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Crosscurrent",
            "version": "1",
            "description": "Clicks and purchases in, explained cross-sell and upsell suggestions out. The rules that "
            "no schema can say are in events.md.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "development": {
                "host": "127.0.0.1:9092",
                "protocol": "kafka",
                "description": "Where `--bootstrap-servers` points by default.",
            }
        },
        "channels": {topic.name: _channel(topic, PAGES[topic.name]) for topic in topics()},
        "operations": {
            f"{action}-{topic.name}": {"action": action, "channel": {"$ref": f"#/channels/{topic.name}"}}
            for topic in topics()
            for action in ["send" if topic.written_by == "worker" else "receive"]
        },
        "components": {
            "messages": {
                name: message for topic in topics() for name, message in _messages(topic, PAGES[topic.name]).items()
            },
            "schemas": schemas,
        },
    }


def _channel(topic: Topic, page: Page) -> dict[str, Any]:
    configuration: dict[str, Any] = {"cleanup.policy": [topic.cleanup]}
    if topic.retention_ms is not None:
        configuration["retention.ms"] = topic.retention_ms
    return {
        "address": topic.name,
        "description": f"Key: {topic.key}. Written by {topic.written_by}, read by {topic.read_by}. "
        "The address has the prefix, if there is one, before it.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _messages(topic, page)},
        "bindings": {
            "kafka": {"topic": topic.name, "topicConfiguration": configuration, "bindingVersion": BINDING_VERSION}
        },
    }


def _messages(topic: Topic, page: Page) -> dict[str, dict[str, Any]]:
    """Messages of a topic: its record, and a null value if that has a meaning."""
    key = {"type": "string", "description": topic.key, "minLength": 1}
    bindings = {"kafka": {"key": key, "bindingVersion": BINDING_VERSION}}
    messages: dict[str, dict[str, Any]] = {
        page.message: {
            "summary": (page.record.__doc__ or "").strip(),
            "payload": {"$ref": f"#/components/schemas/{page.record.__name__}"},
            "bindings": bindings,
            "examples": [{"payload": dict(page.example)}],
        }
    }
    if page.null:
        removed = {"summary": page.null, "payload": {"type": "null"}, "bindings": bindings}
        messages[f"{page.message}Removed"] = removed
    return messages
