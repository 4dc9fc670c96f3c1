"""Records of the internal topics: as version f2212ba wrote them (pools: as this one does), and forged.

`WRITTEN` has one record of each kind, `FORGED` records that no worker or trainer can have written. All but the fault is
right, so that a record refused for another reason shows.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from models.ranking.candidate_pool import MOST
from models.ranking.features import WIDTH
from models.shop.items import Items
from streams.kafka.memory_log import StoredRecord
from streams.wire.announcements import decode_announcement
from streams.wire.checkpoints import decode_forgotten, decode_progress
from streams.wire.history_rows import decode_history
from streams.wire.neighbour_rows import decode_position, decode_row
from streams.wire.pair_deltas import decode_pairs
from streams.wire.pool_records import Trigger, decode_pool, encode_pool


class Internal(NamedTuple):
    """A record of an internal topic."""

    kind: str
    topic: str
    """Short name."""
    key: bytes | None
    value: bytes | None

    def record(self, partition: int = 5) -> StoredRecord:
        """As it is read."""
        return StoredRecord(self.topic, partition, 7, 1_773_480_413_500, self.key, self.value)


POOL_FEATURES = np.arange(2.0 * WIDTH).reshape(2, WIDTH) / 8

WRITTEN = [
    Internal(
        "progress",
        "progress",
        b"shoppers-3",
        b'{"v":1,"lane":"shoppers-3","topics":{"shop-clicks":{"topic_id":"JkH0bOoQTqyWqjC0hHj9Jg","partitions":8,'
        b'"position":812,"appended_ms":1773480413500},"shop-purchases":{"topic_id":"q","partitions":8,"position":17}},'
        b'"joined":15}',
    ),
    Internal("forgotten", "forgotten", b"ann", b'{"v":1,"user_id":"ann","before":1773480413.5}'),
    Internal(
        "row",
        "neighbours",
        b"kettle",
        b'{"v":1,"item_id":"kettle","position":17,"at":1773480413.5,"own":[2.5,0.5],"own_count":[3,1],'
        b'"neighbours":["mug","tea"],"weights":"AAAAAAAA+D8AAAAAAAAAAAAAAAAAANA/AAAAAAAA4D8AAAAAAADwPwAAAAAAAAAA",'
        b'"counts":"AgAAAAAAAAABAAAAAQAAAAEAAAAAAAAA"}',
    ),
    Internal(
        "position",
        "neighbours",
        b"",
        b'{"v":1,"topic_id":"JkH0","partitions":8,"position":17,"applied":{"clicks-3@JkH0":812,"joins-3@q":4},'
        b'"baskets":2.5,"at":1773480413.5}',
    ),
    Internal(
        "pairs",
        "pairs",
        b"clicks-3",
        b'{"v":1,"source":"clicks-3@JkH0","items":["kettle","mug"],"width":1,"offsets":"LAMAAAAAAAA=",'
        b'"at":"AABgd0pt2kE=","lengths":"AgAAAA==","a":"AQE=","b":"AgA=","kind":"AAE=",'
        b'"weight":"AAAAAAAA4D8AAAAAAADQPw=="}',
    ),
    Internal(
        "announcement",
        "snapshots",
        b"sequence",
        b'{"v":1,"model":"sequence","version":"20260314T092653Z-000000000822-0a1b2c3d","url":"s3://shop/snapshots",'
        b'"sha256":"0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f","at":1773480413.5,'
        b'"by":"trainer"}',
    ),
    Internal(
        "pool",
        "pools",
        *encode_pool(
            "dan",
            1_773_480_413.5,
            Trigger("shop-clicks", 3, 812),
            ["mug", "tea"],
            np.array([1, 2], np.int8),
            POOL_FEATURES,
        ),
    ),
    Internal(
        "history",
        "histories",
        b"ann",
        b'{"v":1,"user_id":"ann","topic_id":"JkH0","partitions":8,"position":17,"baskets":3,"slow":2.0,'
        b'"first":1773400000.5,"last":1773480413.5,"items":["kettle","mug"],"table":"'
        b"AgAAAAAAIPD7bNpBAABgd0pt2kEAAAAAAAD0PwAAAAAAAPg/AQAAAAAAYHdKbdpBAABgd0pt2kEAAAAAAADwPwAAAAAAAPA/"
        b'"}',
    ),
]

DECODERS: dict[str, Callable[[StoredRecord], object]] = {
    "progress": decode_progress,
    "forgotten": decode_forgotten,
    "row": decode_row,
    "position": decode_position,
    "pairs": lambda record: decode_pairs(record, Items(), {}),
    "announcement": decode_announcement,
    "pool": lambda record: decode_pool(record, 8),
    "history": decode_history,
}

NESTED = b"[" * 100_000 + b"]" * 100_000
HUGE = [2**63, 2**64, 10**30, -1]

_HISTORY = np.dtype([("count", "<i4"), ("first", "<f8"), ("last", "<f8"), ("fast", "<f8"), ("slow", "<f8")])
_ITEM = (2, 1_773_400_000.5, 1_773_480_413.5, 1.25, 1.5)


def _table(*rows: tuple[float, ...]) -> str:
    return base64.b64encode(np.array(list(rows), _HISTORY).tobytes()).decode()


_WRONG_CELLS = [
    *((0, count) for count in (-1, 0, 1, 4, 2**31 - 1)),
    *((place, at) for place in (1, 2) for at in (0.0, -1.0, 1_773_480_414.0, float("nan"), float("inf"))),
    *((place, amount) for place in (3, 4) for amount in (0.0, -1.0, 0.9, 2.1, 1e308, float("nan"), float("inf"))),
]
"""Column and value; of an item bought twice, of three baskets."""

_FIELDS = {internal.kind: json.loads(internal.value or b"") for internal in WRITTEN}
_CHANGES: dict[str, list[dict[str, Any]]] = {
    "progress": [
        *({name: number} for name in ("joined", "histories") for number in (*HUGE, 813, 1.5)),
        {"lane": ""},
        {"lane": "shoppers"},
        {"lane": "shoppers-12345678"},
        {"lane": "shoppers-\u0663"},
        {"lane": "visitors-3"},
        {"topics": []},
        {"topics": {f"topic-{number}": {"topic_id": "", "partitions": 1, "position": 0} for number in range(17)}},
        {"topics": {"t" * 250: {"topic_id": "", "partitions": 1, "position": 0}}},
        {"topics": {"clicks": {"topic_id": "t" * 65, "partitions": 1, "position": 0}}},
        *(
            {"joined": 0, "topics": {"clicks": {"topic_id": "t", "partitions": 1, "position": 5} | {name: number}}}
            for name in ("position", "appended_ms")
            for number in HUGE
        ),
        *(
            {"joined": 0, "topics": {"clicks": {"topic_id": "t", "partitions": number, "position": 5}}}
            for number in (0, -1, 2**63)
        ),
    ],
    "forgotten": [
        {"user_id": "bob"},
        {"user_id": ""},
        {"user_id": None},
        {"before": 1e308},
        {"before": -1},
        {"before": 10**400},
        {"before": float("nan")},
        {"before": float("inf")},
    ],
    "row": [
        *({"position": number} for number in HUGE),
        *({"own_count": [number, 1]} for number in HUGE),
        *({"at": number} for number in (-1, 1e308, -1e308, 10**400, float("nan"), float("inf"))),
        *({"own": [number, 1.0]} for number in (-1, 1e51, 10**400, float("nan"), float("inf"))),
        {"item_id": "mug"},
        {"neighbours": ["mug", "mug"]},
        {"neighbours": ["mug", "kettle"]},
        {"neighbours": ["mug", ""]},
        {"neighbours": ["mug", "t" * 257]},
        {
            "neighbours": [f"item-{number}" for number in range(10_001)],
            "weights": [0.0] * 30_003,
            "counts": [0] * 30_003,
        },
        *({"weights": [number] * 6} for number in (float("nan"), float("inf"), -1.0, 1e51, 1e308)),
        {"counts": [-1] * 6},
        {"weights": [1.0] * 5},
        {"counts": []},
    ],
    "position": [
        *({"position": number} for number in HUGE),
        *({"partitions": number} for number in (0, -1, 2**63)),
        *({"baskets": number} for number in (-1, 1e51, 10**400, float("nan"))),
        *({"at": number} for number in (-1, 1e308, 10**400, float("nan"))),
        *({"applied": {"clicks-3@JkH0": number}} for number in HUGE),
        {"applied": {f"clicks-{number}": 1 for number in range(10_001)}},
        {"applied": {"t" * 257: 1}},
        {"topic_id": "t" * 65},
    ],
    "pairs": [
        {"source": "clicks"},
        {"source": "suggestions-3@JkH0"},
        {"source": "clicks-3@" + "t" * 256},
        {"items": ["kettle", ""]},
        {"items": ["kettle", "t" * 257]},
        {"items": ["kettle", None]},
        *({"at": [number]} for number in (-1.0, 1e308, float("nan"), float("inf"))),
        *({"weight": [number, 1.0]} for number in (-1.0, 1e7, 1e308, float("nan"), float("inf"))),
        {"offsets": [-1]},
        {"offsets": [5, -(2**63)], "at": [0.0, 0.0], "lengths": [1, 1]},
        {"lengths": [-1]},
        {"lengths": [2**31 - 1]},
        {"a": [0, 1]},
        {"a": []},
        {"a": [], "b": [], "kind": [], "weight": [], "offsets": [], "at": [], "lengths": []},
        {"kind": [0, 3]},
    ],
    "pool": [
        *({"at": number} for number in (-1, 1e308, 10**400, float("nan"), 1_773_480_413.5 + 26 * 3600)),
        *({"partition": number} for number in (*HUGE, 1_000_000, 4)),
        *({"offset": number} for number in (*HUGE, 811)),
        {"topic": ""},
        {"topic": "t" * 250},
        {"topic": "clicks"},
        {"suggestion_id": "clicks-3-812"},
        {"suggestion_id": "s" * 513},
        {"user_id": "ann"},
        {"described_by": "0" * 16},
        {"described_by": "0" * 65},
        {"items": []},
        {"items": ["mug"]},
        {"items": ["mug", "mug"]},
        {"items": ["mug", ""]},
        {"items": ["mug", "t" * 257]},
        {
            "items": [f"item-{number}" for number in range(MOST + 1)],
            "kinds": [1] * (MOST + 1),
            "features": [0.0] * (MOST + 1) * WIDTH,
        },
        *({"kinds": kinds} for kinds in ([], [1], [1, 0], [1, 3], [1, -1], [1, 2, 1])),
        *({"features": [0.0] * n} for n in (0, 2 * WIDTH - 1, 2 * WIDTH + 1, 3 * WIDTH)),
        *({"features": [number] * 2 * WIDTH} for number in (float("nan"), float("inf"), float("-inf"))),
        {"features": "AAA"},
    ],
    "announcement": [
        *({"at": number} for number in (-1, 1e308, 10**400, float("nan"))),
        {"url": "u" * 4_097},
        {"model": "ranker"},
        {"version": "../../etc"},
        {"by": "somebody"},
    ],
    "history": [
        *({"position": number} for number in HUGE),
        *({"partitions": number} for number in (0, -1, 2**63)),
        {"topic_id": "t" * 65},
        *({"baskets": number} for number in (0, -1, 1, 10**9 + 1, 1.5)),
        *({"slow": number} for number in (-1, 0.5, 3.5, 10**400, float("nan"))),
        *({name: number} for name in ("first", "last") for number in (-1, 1e308, 10**400, float("nan"), None)),
        {"first": 1_773_400_001},
        {"last": 1_773_480_413},
        {"user_id": "bob"},
        {"items": []},
        {"items": ["kettle"]},
        {"items": ["kettle", "kettle"]},
        {"items": ["kettle", ""]},
        {"items": ["kettle", "t" * 257]},
        {"items": [f"item-{number}" for number in range(2_001)], "table": _table(*[_ITEM] * 2_001)},
        {"table": ""},
        {"table": _table(_ITEM)},
        *({"table": _table(_ITEM, (*_ITEM[:place], number, *_ITEM[place + 1 :]))} for place, number in _WRONG_CELLS),
    ],
}
_TYPES = {
    "weights": "<f8",
    "counts": "<i4",
    "offsets": "<i8",
    "at": "<f8",
    "lengths": "<i4",
    "kind": "i1",
    "weight": "<f8",
    "kinds": "i1",
    "features": "<f2",
}


def _column(name: str, numbers: ArrayLike) -> str:
    return base64.b64encode(np.asarray(numbers, _TYPES.get(name, "u1")).tobytes()).decode()


def _forged(internal: Internal, changes: dict[str, Any]) -> Internal:
    """The record with some fields changed; columns are given as lists."""
    fields = _FIELDS[internal.kind] | changes
    for name in ("weights", "counts", "offsets", "at", "lengths", "a", "b", "kind", "weight", "kinds", "features"):
        if isinstance(fields.get(name), list):
            fields[name] = _column(name, fields[name])
    return internal._replace(value=json.dumps(fields).encode())


def _of_any_kind(internal: Internal) -> list[tuple[str, Internal]]:
    value = internal.value or b""
    values = {
        "empty": b"",
        "null": b"null",
        "no JSON": b"hello",
        "cut off": value[:-9],
        "two of them": value * 2,
        "a list": b"[" + value + b"]",
        "nested": NESTED,
        "nested in an unknown field": value[:-1] + b',"more":' + NESTED + b"}",
        "no UTF-8": value[:-1] + b',"more":"\xff"}',
        "v 2": value.replace(b'"v":1', b'"v":2'),
        "v 1.0": value.replace(b'"v":1', b'"v":1.0'),
        "no v": value.replace(b'"v":1,', b""),
    }
    cases = [(f"{internal.kind} {name}", internal._replace(value=forged)) for name, forged in values.items()]
    if internal.kind not in ("position", "pairs"):  # theirs are not looked at
        keys = {"no key": None, "empty key": b"", "another key": b"other", "a key that is no UTF-8": b"\xff" * 100_000}
        cases += [(f"{internal.kind} {name}", internal._replace(key=key)) for name, key in keys.items()]
    return cases


FORGED: dict[str, Internal] = dict(
    [case for internal in WRITTEN for case in _of_any_kind(internal)]
    + [
        (f"{internal.kind} {str(changes):.60} {number}", _forged(internal, changes))
        for internal in WRITTEN
        for number, changes in enumerate(_CHANGES[internal.kind])
    ]
)
"""By name."""
