"""The events that ask the queries that wait, in columns, as the writer of suggestions takes them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from models.jit import cached_njit
from models.serving.queries import QUERY
from models.sessions.click_columns import CLICK
from models.sessions.click_kernel import TODO
from models.sessions.visits import CLICK_ACTIONS
from models.shop.events import MAX_TRIGGER_IDS, Action
from streams.wire.json_text import put
from streams.wire.raw_bytes import Text
from streams.wire.record import Record
from streams.wire.suggestion_writer import (
    ACTION,
    ACTIONS,
    APPENDED_MS,
    ARM,
    AT_MS,
    COLUMNS,
    IDS_AT,
    ITEM_COUNT,
    KEY_AT,
    KEY_END,
    MODELS,
    OFFSET,
    PARTITION,
    TOPIC,
    USER_AT,
)

ASKED = np.dtype(
    [
        ("at", np.float64),  # event time, epoch seconds
        ("key", np.int64),  # the shopper's, as of `models.sequence.predictor.shopper_key`
        ("baskets", np.float64),  # of the shopper's history
        ("offset", np.int64),
        ("appended_ms", np.int64),
        ("user_start", np.int64),  # bounds in a buffer: the shopper's id as JSON
        ("user_end", np.int64),
        ("item_start", np.int64),  # ... the item's
        ("item_end", np.int64),
        ("key_start", np.int64),  # ... the key of the record
        ("key_end", np.int64),
        ("partition", np.int32),
        ("cart", np.int32),  # items in the cart, and of the lists below
        ("bought", np.int32),
        ("own", np.int32),  # cells of the shopper's history
        ("topic", np.int8),  # code of the topic
        ("action", np.int8),  # of `streams.wire.suggestion_writer.ACTIONS`, no purchase
        ("arm", np.int8),
    ],
    align=True,
)
"""What a click asks."""

ASKER = np.dtype(
    [
        ("key", np.int64),
        ("baskets", np.float64),
        ("cart", np.int32),
        ("bought", np.int32),
        ("own", np.int32),
        ("arm", np.int8),
    ],
    align=True,
)
"""What is asked for whom, as of `ASKED`."""

_OPEN, _CLOSE = map(ord, "[]")
_ACTION_CODES = np.array([ACTIONS[action] for action in CLICK_ACTIONS], np.int8)
_pack = struct.Struct(f"={COLUMNS}q").pack_into
_ROW_BYTES = 8 * COLUMNS


class WaitingRequests:
    """Requests in the order in which they were added. Not for use by several threads at once.

    A request takes 104 bytes, and its texts: the ids of the shopper and the items as JSON, and the record's key. The
    room for the former never shrinks: it is for the most requests that have ever waited.

    >>> from streams.kafka.memory_log import StoredRecord
    >>> requests = WaitingRequests()
    >>> for user in ("ann", "bob"):
    ...     record = StoredRecord("clicks", 3, 7, 1000, user.encode(), b"")
    ...     requests.add(record, 0, user, ["mug"], 0.9, Action.VIEW, arm=0, windowed=False)
    >>> columns, texts = requests.take(1)
    >>> columns.tolist(), texts
    ([[0, 3, 7, 1000, 900, 0, 0, 0, 1, 0, 5, 12, 15]], b'"ann"["mug"]ann')
    """

    def __init__(self) -> None:
        self._raw = bytearray(64 * _ROW_BYTES)
        self._count = 0
        self._texts = bytearray()

    def __len__(self) -> int:
        """Number of requests."""
        return self._count

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return len(self._raw) + len(self._texts)

    def add(
        self,
        record: Record,
        topic: int,
        user_id: str,
        item_ids: Sequence[str],
        at: float,
        action: Action,
        *,
        arm: int,
        windowed: bool,
    ) -> None:
        """Add the request of a record; `topic` is the code of its topic."""
        number, texts = self._count, self._texts
        if (number + 1) * _ROW_BYTES > len(self._raw):
            self._make_room(1)
        self._count = number + 1
        lines, user_at = len(item_ids), len(texts)
        user = orjson.dumps(user_id)
        ids = orjson.dumps(item_ids if lines <= MAX_TRIGGER_IDS else item_ids[:MAX_TRIGGER_IDS])
        key = record.key or b""
        ids_at = user_at + len(user)
        key_at = ids_at + len(ids)
        texts += user + ids + key
        _pack(
            self._raw, number * _ROW_BYTES, topic, record.partition, record.offset, record.timestamp, round(at * 1000),
            ACTIONS[action], arm, 2 * arm + windowed, lines, user_at, ids_at, key_at, key_at + len(key),
        )  # fmt: skip

    def add_clicks(self, asked: NDArray[Any], buffer: Text, *, windowed: bool) -> NDArray[Any]:
        """Add the requests of many clicks, as rows of `ASKED`; returns their rows of `QUERY`.

        The caller has checked that the bounds are in the buffer, and start before they end.
        """
        self._make_room(len(asked))
        rows = np.empty(len(asked), QUERY)
        columns = np.empty((len(asked), COLUMNS), np.int64)
        sizes = sum(int((asked[f"{name}_end"] - asked[f"{name}_start"]).sum()) for name in ("user", "item", "key"))
        texts = np.empty(sizes + 2 * len(asked), np.uint8)
        _write_clicks(asked, buffer, windowed, len(self._texts), rows, columns, texts)
        self._texts += texts.data
        first = self._count * _ROW_BYTES
        self._raw[first : first + columns.nbytes] = columns.tobytes()
        self._count += len(asked)
        return rows

    def take(self, requests: int) -> tuple[NDArray[np.int64], bytes]:
        """Columns and texts of the requests added first, as the writer takes them; they are forgotten here."""
        end, left = requests * _ROW_BYTES, self._count - requests
        columns = np.frombuffer(self._raw[:end], np.int64).reshape(requests, COLUMNS)
        if not left:
            texts = bytes(self._texts)
            self.clear()
            return columns, texts
        rest = np.frombuffer(self._raw[end : end + left * _ROW_BYTES], np.int64).reshape(left, COLUMNS)
        texts_end = int(rest[0, USER_AT])
        texts = bytes(self._texts[:texts_end])
        del self._texts[:texts_end]
        rest[:, USER_AT:] -= texts_end
        self._raw[: rest.nbytes] = rest.tobytes()
        self._count = left
        return columns, texts

    def _make_room(self, more: int) -> None:
        """Make room for so many requests more."""
        if (missing := (self._count + more) * _ROW_BYTES - len(self._raw)) > 0:
            self._raw += bytes(max(missing, len(self._raw)))

    def clear(self) -> None:
        """Forget all requests."""
        self._count = 0
        self._texts = bytearray()


def asked_by(
    todo: NDArray[Any], clicks: NDArray[Any], askers: NDArray[Any], topic: int, partition: int
) -> NDArray[Any]:
    """Rows of `ASKED` of clicks that ask.

    Args:
        todo: (n,) of `models.sessions.click_kernel.TODO`.
        clicks: of `models.sessions.click_columns.CLICK`; their names are bare strings of JSON, within quotes.
        askers: (n,) of `ASKER`.
        topic: its code.
        partition: its number.
    """
    asked = np.empty(len(askers), ASKED)
    _write_asked(todo, clicks, askers, topic, partition, _ACTION_CODES, asked)
    return asked


def warm() -> None:
    """Compile, or load what was compiled before."""
    asked_by(np.empty(0, TODO), np.empty(0, CLICK), np.empty(0, ASKER), 0, 0)
    WaitingRequests().add_clicks(np.empty(0, ASKED), np.empty(0, np.uint8), windowed=False)


@cached_njit()
def _write_asked(
    todo: NDArray[Any],
    clicks: NDArray[Any],
    askers: NDArray[Any],
    topic: int,
    partition: int,
    actions: NDArray[np.int8],
    asked: NDArray[Any],
) -> None:
    """See `asked_by`; the user's id is the record's key."""
    for number in range(len(todo)):
        click, asker, row = clicks[todo[number].number], askers[number], asked[number]
        row.at, row.key, row.baskets = todo[number].at, asker.key, asker.baskets
        row.offset, row.appended_ms = click.offset, click.appended_ms
        row.user_start, row.user_end = click.user_start - 1, click.user_end + 1
        row.item_start, row.item_end = click.item_start - 1, click.item_end + 1
        row.key_start, row.key_end = click.user_start, click.user_end
        row.partition, row.topic = partition, topic
        row.cart, row.bought, row.own = asker.cart, asker.bought, asker.own
        row.action, row.arm = actions[click.action], asker.arm


@cached_njit(nogil=True)
def _write_clicks(
    asked: NDArray[Any],
    buffer: Text,
    windowed: bool,
    begin: int,
    rows: NDArray[Any],
    columns: NDArray[np.int64],
    texts: Text,
) -> None:
    """Write queries, and requests with their texts, which come behind `begin` bytes of others."""
    at = 0
    for number in range(len(asked)):
        click, row, column = asked[number], rows[number], columns[number]
        row.at, row.key, row.baskets, row.trigger = click.at, click.key, click.baskets, 1
        row.cart, row.bought, row.own, row.arm = click.cart, click.bought, click.own, click.arm
        row.upsells, row.windowed = 1, 1 if windowed else 0
        column[TOPIC], column[PARTITION], column[OFFSET] = click.topic, click.partition, click.offset
        column[APPENDED_MS], column[AT_MS] = click.appended_ms, np.int64(np.rint(click.at * 1000.0))
        column[ACTION], column[ARM], column[ITEM_COUNT] = click.action, click.arm, 1
        column[MODELS] = 2 * click.arm + (1 if windowed else 0)
        column[USER_AT] = begin + at
        at = put(texts, at, buffer, click.user_start, click.user_end - click.user_start)
        column[IDS_AT] = begin + at
        texts[at] = _OPEN
        at = put(texts, at + 1, buffer, click.item_start, click.item_end - click.item_start)
        texts[at] = _CLOSE
        at += 1
        column[KEY_AT] = begin + at
        at = put(texts, at, buffer, click.key_start, click.key_end - click.key_start)
        column[KEY_END] = begin + at
