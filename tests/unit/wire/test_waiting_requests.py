"""Requests that wait in columns: what is taken is what was added first, however it was added."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st

from models.serving.queries import QUERY
from models.shop.events import MAX_TRIGGER_IDS, Action
from streams.kafka.memory_log import StoredRecord
from streams.wire.suggestion_writer import ACTIONS, IDS_AT, KEY_AT, KEY_END, USER_AT
from streams.wire.waiting_requests import ASKED, WaitingRequests


class Request(NamedTuple):
    topic: int
    partition: int
    offset: int
    appended_ms: int
    at: float
    action: Action
    arm: int
    windowed: bool
    user_id: str
    item_ids: list[str]
    key: bytes | None

    def columns(self) -> list[int]:
        asked = [ACTIONS[self.action], self.arm, 2 * self.arm + self.windowed, len(self.item_ids)]
        return [self.topic, self.partition, self.offset, self.appended_ms, round(self.at * 1000), *asked]

    def texts(self) -> list[bytes]:
        ids = orjson.dumps(self.item_ids[:MAX_TRIGGER_IDS])
        return [orjson.dumps(self.user_id), ids, self.key or b""]


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
requests = st.builds(
    Request,
    st.integers(0, 1),
    st.integers(0, 99_999),
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**53),
    st.floats(0, 4e9),
    st.sampled_from([action for action in Action if action is not Action.PURCHASE]),
    st.integers(0, 3),
    st.booleans(),
    names,
    st.lists(names, min_size=1, max_size=1) | st.lists(names, min_size=99, max_size=103),
    st.none() | st.binary(max_size=8),
)
steps = st.lists(st.tuples(st.sampled_from(["add", "clicks", "take"]), st.lists(requests, max_size=70)), max_size=6)


def add(waiting: WaitingRequests, request: Request) -> None:
    record = StoredRecord("", request.partition, request.offset, request.appended_ms, request.key, b"")
    waiting.add(
        record,
        request.topic,
        request.user_id,
        request.item_ids,
        request.at,
        request.action,
        arm=request.arm,
        windowed=request.windowed,
    )


def add_clicks(waiting: WaitingRequests, some: list[Request], *, windowed: bool) -> None:
    """Add requests of one item together, and look at the queries that come back."""
    buffer, rows = bytearray(b"before"), np.zeros(len(some), ASKED)
    for number, request in enumerate(some):
        rows[number]["at"], rows[number]["key"], rows[number]["baskets"] = request.at, -number, number + 0.5
        rows[number]["partition"], rows[number]["topic"] = request.partition, request.topic
        rows[number]["offset"], rows[number]["appended_ms"] = request.offset, request.appended_ms
        rows[number]["action"], rows[number]["arm"] = ACTIONS[request.action], request.arm
        rows[number]["cart"], rows[number]["bought"], rows[number]["own"] = number, number + 1, number + 2
        texts = orjson.dumps(request.user_id), orjson.dumps(request.item_ids[0]), request.key or b""
        for name, text in zip(("user", "item", "key"), texts, strict=True):
            rows[number][f"{name}_start"] = len(buffer)
            buffer += text
            rows[number][f"{name}_end"] = len(buffer)
            buffer += b"between"
    queries = waiting.add_clicks(rows, np.frombuffer(buffer, np.uint8), windowed=windowed)
    assert queries.dtype == QUERY
    assert queries.tolist() == [
        (request.at, -row, row + 0.5, 1, row, row + 1, row + 2, request.arm, 1, windowed)
        for row, request in enumerate(some)
    ]


def compare(waiting: WaitingRequests, wanted: list[Request]) -> None:
    columns, texts = waiting.take(len(wanted))
    assert columns[:, :USER_AT].tolist() == [request.columns() for request in wanted]
    bounds = columns[:, [USER_AT, IDS_AT, KEY_AT, KEY_END]].tolist()
    found = [[texts[start:end] for start, end in zip(row, row[1:], strict=False)] for row in bounds]
    assert found == [request.texts() for request in wanted]
    assert texts == b"".join(text for row in found for text in row)


@given(steps)
def test_what_is_taken_is_what_was_added_first(steps: list[tuple[str, list[Request]]]) -> None:
    waiting, wanted = WaitingRequests(), list[Request]()
    for step, some in steps:
        if step == "take":
            number = min(len(wanted), len(some))
            if number:
                compare(waiting, wanted[:number])
                wanted = wanted[number:]
        elif step == "clicks":
            clicks = [request._replace(item_ids=request.item_ids[:1], windowed=True) for request in some]
            add_clicks(waiting, clicks, windowed=True)
            wanted += clicks
        else:
            for request in some:
                add(waiting, request)
            wanted += some
        assert len(waiting) == len(wanted)
    if wanted:
        compare(waiting, wanted)
    assert len(waiting) == 0
