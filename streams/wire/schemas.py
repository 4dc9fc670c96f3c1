"""The JSON values of the public topics, as types. The shop's own terms are in `models.shop.events`.

`streams.wire.codec` decodes with these types, its error sentences use the words given here (`expected`), and
`docs/events.md` and `docs/asyncapi.yaml` are generated from them.

Optional fields may also be null. Unknown fields are ignored. Times are kept as they came; `streams.wire.codec` checks
them against the append time.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_type_hints

from msgspec import Meta, Struct

MAX_ID_BYTES = 256
"""Longest id, in bytes of UTF-8: ids are keys, and held in memory for every item and shopper."""

OLDEST_MS = 946_684_800_000
"""2000-01-01T00:00:00Z in epoch milliseconds. An earlier time means a wrong unit (seconds for milliseconds) or a clock
that was never set, and would precede every window."""

MAX_AHEAD_MS = 3_600_000
"""An event may be dated at most an hour after its append: clocks differ, but one date far ahead would age all else."""

MAX_TEXT_BYTES = 1_024
"""Longest title, category and attribute value: each is held for every item, and a suggestion repeats the first two."""

MAX_NAME_BYTES = 256
"""Longest brand, currency and name of an attribute."""

MAX_DEPTH = 16
"""Most parts of a category's path: every prefix of a path is a node of the tree."""

MAX_ATTRIBUTES = 64
"""Most attributes of an item or a shopper."""

MAX_LINES = 10_000
"""Most lines of a purchase: an order of that size is learnt from within a tenth of a second."""

MAX_VALUE_BYTES = 1 << 20
"""Largest value. A producer that compresses can pass a much larger one through a broker's own limit."""

MAX_PARSED_BYTES = 8 << 20
"""A larger value is refused without a look at its fields, which takes 3 ms a megabyte."""

MAX_INT64 = 2**63 - 1
"""Largest number of a partition, offset or count: what Kafka and int64 arrays hold."""

ID_WORDS = "a non-empty string of at most 256 bytes in UTF-8"
AT_WORDS = "RFC 3339 with a zone, or epoch milliseconds as an integer"


def _must(expected: str, **more: Any) -> Meta:
    return Meta(extra={"expected": expected}, **more)


Version: TypeAlias = Annotated[Literal[1], _must("1", description="Version of this contract.")]
Id: TypeAlias = Annotated[str, _must(ID_WORDS, min_length=1, max_length=MAX_ID_BYTES)]
At: TypeAlias = Annotated[
    int | Annotated[datetime, Meta(tz=True)],
    _must(AT_WORDS, extra_json_schema={"examples": ["2026-03-14T09:26:53.589Z", 1_773_480_413_589]}),
]
WrittenAt: TypeAlias = Annotated[
    str, _must("RFC 3339 in UTC with milliseconds", extra_json_schema={"format": "date-time"})
]
Price: TypeAlias = Annotated[float, _must("a finite number >= 0", ge=0)]
Rating: TypeAlias = Annotated[float, _must("a number from 1 to 5", ge=1, le=5)]
Quantity: TypeAlias = Annotated[float, _must("a finite number > 0", gt=0)]
Text: TypeAlias = Annotated[str, _must("a string")]
Flag: TypeAlias = Annotated[bool, _must("true or false")]
Number: TypeAlias = Annotated[float, _must("a number")]
Whole: TypeAlias = Annotated[int, _must("an integer from 0 to 2^63 - 1", ge=0, le=MAX_INT64)]
Category: TypeAlias = Annotated[
    str,
    _must(
        "a path of 1 to 16 non-empty parts parted by /, most general first, of at most 1,024 bytes in UTF-8",
        min_length=1,
        max_length=MAX_TEXT_BYTES,
        pattern=f"^[^/]+(/[^/]+){{0,{MAX_DEPTH - 1}}}$",
        extra_json_schema={"examples": ["Kitchen/Kettles"]},
    ),
]
Title: TypeAlias = Annotated[str, _must("a string of at most 1,024 bytes in UTF-8", max_length=MAX_TEXT_BYTES)]
Name: TypeAlias = Annotated[str, _must("a string of at most 256 bytes in UTF-8", max_length=MAX_NAME_BYTES)]
Attributes: TypeAlias = Annotated[
    dict[str, Annotated[str, Meta(max_length=MAX_TEXT_BYTES)] | float | bool],
    _must(
        "an object of at most 64 strings of at most 1,024 bytes in UTF-8, numbers or booleans",
        max_length=MAX_ATTRIBUTES,
    ),
]


class ClickRecord(Struct, gc=False):
    """A shopper looked at an item or changed the cart."""

    v: Version
    user_id: Annotated[Id, Meta(description="Whose visit it belongs to; the key.")]
    item_id: Annotated[Id, Meta(description="The item.")]
    action: Annotated[
        Literal["view", "click", "add_to_cart", "remove_from_cart"],
        _must("one of view, click, add_to_cart, remove_from_cart", description="What was done."),
    ]
    at: Annotated[At, Meta(description="When it happened.")]
    dwell_ms: Annotated[
        Annotated[float, _must("a finite number >= 0", ge=0)] | None,
        Meta(description="How long the shopper stayed, in milliseconds."),
    ] = None
    rating: Annotated[Rating | None, Meta(description="What the shopper thinks of the item.")] = None
    session_id: Annotated[Id | None, Meta(description="The shop's own session.")] = None
    event_id: Annotated[
        Id | None, Meta(description="The shop's own id of the event; repeated within memory it is ignored and counted.")
    ] = None


class LineRecord(Struct, gc=False):
    """One line of a purchase."""

    item_id: Annotated[Id, Meta(description="The item.")]
    quantity: Annotated[Quantity | None, Meta(description="How many, or how much; 1 where left out.")] = None
    price: Annotated[Price | None, Meta(description="Price of one, in the purchase's currency.")] = None


class PurchaseRecord(Struct, gc=False):
    """A shopper bought something. One bad line makes the whole record bad."""

    v: Version
    user_id: Annotated[Id, Meta(description="Who bought; the key.")]
    order_id: Annotated[Id, Meta(description="The order; repeated within memory it is ignored and counted.")]
    at: Annotated[At, Meta(description="When it was bought.")]
    items: Annotated[
        list[LineRecord],
        _must(
            "a list of 1 to 10,000 lines",
            min_length=1,
            max_length=MAX_LINES,
            description="The lines, in the order bought.",
        ),
    ]
    currency: Annotated[Name | None, Meta(description="Currency of the prices.")] = None


class CatalogRecord(Struct, gc=False):
    """An item that the shop sells. A null value withdraws it."""

    v: Version
    item_id: Annotated[Id, Meta(description="The item; the key.")]
    title: Annotated[Title, Meta(description="What a shopper reads.")]
    category: Annotated[Category, Meta(description="Where it belongs.")]
    price: Annotated[Price, Meta(description="Price of one.")]
    brand: Annotated[Name | None, Meta(description="Who makes it.")] = None
    in_stock: Annotated[Flag | None, Meta(description="Whether it can be sold now; true where left out.")] = None
    rating: Annotated[Rating | None, Meta(description="What shoppers think of it on average.")] = None
    currency: Annotated[Name | None, Meta(description="Currency of the price.")] = None
    attributes: Annotated[
        Attributes | None, Meta(description="Anything else worth knowing, by names of at most 256 bytes.")
    ] = None


class ProfileRecord(Struct, gc=False):
    """What the shop knows of a shopper, and what the shopper allows. A null value takes the profile away."""

    v: Version
    user_id: Annotated[Id, Meta(description="The shopper; the key.")]
    at: Annotated[At, Meta(description="When it was so.")]
    attributes: Annotated[
        Attributes | None, Meta(description="Anything worth knowing, by names of at most 256 bytes.")
    ] = None
    consent: Annotated[Flag | None, Meta(description="Whether events may be learnt from; true where left out.")] = None
    forget: Annotated[
        Flag | None, Meta(description="True erases this shopper: nothing at or before `at` is ever learnt from again.")
    ] = None


class FeedbackRecord(Struct, gc=False):
    """What became of a suggestion."""

    v: Version
    user_id: Annotated[Id, Meta(description="Whose suggestion it was; the key.")]
    suggestion_id: Annotated[Id, Meta(description="The suggestion.")]
    action: Annotated[
        Literal["shown", "clicked", "dismissed"],
        _must("one of shown, clicked, dismissed", description="What happened to it."),
    ]
    at: Annotated[At, Meta(description="When.")]
    item_id: Annotated[Id | None, Meta(description="Which of its items; all of them where left out.")] = None


class Reason(Struct, gc=False):
    """Why an item is suggested."""

    source: Annotated[Text, Meta(description="Which source of candidates brought it.")]
    text: Annotated[Text, Meta(description="A sentence that a shopper could read.")]
    anchor: Annotated[Id | None, Meta(description="The item it is about.")] = None
    count: Annotated[Whole | None, Meta(description="How many events it counts.")] = None
    lift: Annotated[
        Number | None,
        Meta(description="How many times more often than chance the two are bought together; 4 significant digits."),
    ] = None


class SuggestedItemRecord(Struct, gc=False):
    """One suggested item."""

    item_id: Annotated[Id, Meta(description="The item.")]
    kind: Annotated[
        Literal["cross-sell", "upsell"],
        _must(
            "cross-sell or upsell",
            description="cross-sell: of another category than every anchor; upsell: of its anchor's, and dearer.",
        ),
    ]
    anchor: Annotated[Id, Meta(description="The item of the trigger or the cart that it is suggested for.")]
    score: Annotated[Number, Meta(description="Comparable within one record only; 6 significant digits.")]
    price: Annotated[Price, Meta(description="As the catalogue had it.")]
    category: Annotated[Category, Meta(description="As the catalogue had it.")]
    title: Annotated[Text, Meta(description="As the catalogue had it.")]
    reasons: Annotated[
        list[Reason],
        _must("a list of reasons", description="Why, strongest first; of an upsell, first what is about its anchor."),
    ]
    propensity: Annotated[Number, Meta(description="Probability with which it was chosen; below 1 where explored.")]


class Trigger(Struct, gc=False):
    """The event that a suggestion answers."""

    topic: Annotated[Text, Meta(description="Full name of its topic.")]
    partition: Annotated[Whole, Meta(description="Its partition.")]
    offset: Annotated[Whole, Meta(description="Its offset.")]
    action: Annotated[Text, Meta(description="view, click, add_to_cart or purchase.")]
    item_ids: Annotated[list[str], _must("a list of ids", description="Its items; the first 100 of more.")]
    item_count: Annotated[Whole | None, Meta(description="How many items it has, where not all are named.")] = None


class SuggestionRecord(Struct, gc=False):
    """What to show a shopper next, for one event."""

    v: Version
    suggestion_id: Annotated[
        Annotated[str, _must("a string of at most 512 bytes in UTF-8", max_length=512)],
        Meta(description="`<full source topic>-<partition>-<offset>`: one event has one id; keep the first."),
    ]
    user_id: Annotated[Id, Meta(description="For whom; the key.")]
    at: Annotated[WrittenAt, Meta(description="When the trigger happened.")]
    trigger: Annotated[Trigger, _must("an object", description="The event answered.")]
    items: Annotated[list[SuggestedItemRecord], _must("a list of items", description="Best first.")]
    models: Annotated[dict[str, str], _must("an object", description="Version of each model that took part.")]
    policy: Annotated[Text, Meta(description="Hash of the policy in force.")]
    arm: Annotated[Text, Meta(description="Arm of the experiment: default, none, popular or fixed.")]
    latency_ms: Annotated[Number, Meta(description="From the trigger's append to the hand-over to the producer.")]


class DeadLetterRecord(Struct, gc=False):
    """A record that could not be used, kept for people. At least once: topic, partition and offset identify it."""

    v: Version
    topic: Annotated[Text, Meta(description="Full name of the topic it came from; the key.")]
    partition: Annotated[Whole, Meta(description="Its partition.")]
    offset: Annotated[Whole, Meta(description="Its offset.")]
    key: Annotated[str | None, _must("base64 or null", description="Its key, in base64.")]
    value: Annotated[str | None, _must("base64 or null", description="Its value, in base64.")]
    reason: Annotated[Text, Meta(description="A sentence: where, what was expected, what came.")]
    at: Annotated[WrittenAt, Meta(description="When it was put aside.")]
    path: Annotated[Text | None, Meta(description="Where in the value, like `$.items[2].price`.")] = None
    left_out_bytes: Annotated[
        Whole | None,
        Meta(description="Bytes of key and value that did not fit and are null here; the source topic has them."),
    ] = None


def expected(record_type: type[Struct]) -> dict[str, str]:
    """What each field of a record, and of its nested records, must be, in words, by name.

    >>> expected(ClickRecord)["rating"]
    'a number from 1 to 5'
    """
    words: dict[str, str] = {}
    for name, hint in get_type_hints(record_type, include_extras=True).items():
        for part in parts_of(hint):
            if isinstance(part, Meta) and part.extra and "expected" in part.extra:
                words.setdefault(name, part.extra["expected"])
            elif isinstance(part, type) and issubclass(part, Struct):
                words = expected(part) | words
    return words


def parts_of(hint: Any) -> list[Any]:
    """The metadata of a type, last first, the type, and the same of its arguments."""
    metadata = reversed(getattr(hint, "__metadata__", ()))
    return [*metadata, hint, *(part for arg in get_args(hint) if not isinstance(arg, Meta) for part in parts_of(arg))]
