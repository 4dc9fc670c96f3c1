"""A backfill: what is sent of a folder, in which order, and that runs that are killed add up to one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from streams.connectors import backfill as module
from streams.connectors.backfill import Backfilled, Published, backfill
from streams.connectors.folder import digest_of, event_files, folder
from streams.connectors.jsonl import DECODERS, Line
from streams.connectors.replay import DataMissingError, DataSet, RejectedRecords, SourceEvent
from streams.wire.backfill import NAME, Place, is_backfilled, place_of

AT_MS = 1_600_000_000_000
ITEMS = [
    {"v": 1, "item_id": item, "title": item, "category": "Kitchen", "price": 9.5} for item in ("kettle", "mug", "tea")
]


def click(user: str, item: str, at_s: float, **more: Any) -> dict[str, Any]:
    return {"v": 1, "user_id": user, "item_id": item, "action": "view", "at": AT_MS + round(at_s * 1000), **more}


def order(user: str, name: str, at_s: float, *items: str) -> dict[str, Any]:
    lines = [{"item_id": item} for item in items]
    return {"v": 1, "user_id": user, "order_id": name, "at": AT_MS + round(at_s * 1000), "items": lines}


def write(path: Path, **topics: Sequence[Any]) -> Path:
    path.mkdir(exist_ok=True)
    for topic, values in topics.items():
        lines = (value if isinstance(value, bytes) else orjson.dumps(value) for value in values)
        (path / f"{topic}.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return path


class Killed(Exception):
    """The process is gone."""


class Topics:
    """Topics of a broker; of what is not acknowledged, a kill loses any part."""

    def __init__(self) -> None:
        self.held: list[Line] = []
        self.sent: list[Line] = []  # not acknowledged
        self.most: int | None = None

    def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> None:
        if self.most == len(self.sent):
            raise Killed
        self.sent.append(Line(topic, AT_MS, key, value, headers=tuple(headers)))

    def flush(self) -> None:
        self.held += self.sent
        self.sent = []

    def run(self, data: DataSet, source: str = "source", most: int | None = None) -> Backfilled:
        """A whole run, or one that is killed when so many records of it wait to be acknowledged."""
        self.most = most
        published = Published(source)
        published.add(self.held)
        items = {line.key for line in self.held if line.topic == "catalog" and line.key is not None}
        return backfill(data, self, published, items, RejectedRecords(pytest.fail))

    def values(self, topic: str) -> list[dict[str, Any]]:
        return [orjson.loads(line.value or b"") for line in self.held if line.topic == topic]


# -- a folder ----------------------------------------------------------------------------------------------------------


def told(events: Sequence[SourceEvent]) -> list[str]:
    return [event.value.get("order_id") or event.value["item_id"] for event in events if event.topic != "catalog"]


def test_events_of_a_folder_are_merged_by_time(tmp_path: Path) -> None:
    write(
        tmp_path,
        catalog=[*ITEMS, ITEMS[0] | {"price": 10.5}, None],
        clicks=[click("ann", "tea", 5), click("ann", "kettle", 1), b"", click("bob", "mug", 3), click("bob", "tea", 3)],
        purchases=[order("bob", "o2", 4, "tea"), order("ann", "o1", 3, "mug")],
    )
    data = folder(tmp_path, pytest.fail)
    assert [(item["item_id"], item["price"]) for item in data.catalog] == [("kettle", 10.5), ("mug", 9.5), ("tea", 9.5)]
    events = list(data.events)
    assert told(events) == ["kettle", "mug", "tea", "o1", "o2", "tea"]
    assert [event.at - AT_MS / 1000 for event in events] == [1.0, 3.0, 3.0, 3.0, 4.0, 5.0]
    assert (data.count, data.notes) == (6, [])


def test_items_of_orders_count_as_added_to_the_cart_where_there_are_no_clicks(tmp_path: Path) -> None:
    orders = [order("ann", "o2", 9, "tea"), order("ann", "o1", 3, "mug", "kettle", "mug")]
    write(tmp_path, catalog=ITEMS, purchases=orders)
    data = folder(tmp_path, pytest.fail)
    events = list(data.events)
    assert [event.topic for event in events] == ["clicks", "clicks", "purchases", "clicks", "purchases"]
    assert [event.value["item_id"] for event in events[:2]] == ["mug", "kettle"]
    assert {event.value["action"] for event in events[:2]} == {"add_to_cart"}
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert data.count == 5
    assert len(data.notes) == 1
    (tmp_path / "clicks.jsonl").write_bytes(b"")
    assert [event.topic for event in folder(tmp_path, pytest.fail).events] == ["purchases", "purchases"]


def test_bad_lines_of_a_folder_are_named_and_left_out(tmp_path: Path) -> None:
    write(tmp_path, catalog=ITEMS, clicks=[b"{", click("ann", "mug", 1)], purchases=[order("ann", "o1", 3)])
    reported: list[str] = []
    data = folder(tmp_path, reported.append)
    assert told(list(data.events)) == ["mug"]
    assert [sentence.partition(": ")[0] for sentence in reported] == ["clicks.jsonl:1", "purchases.jsonl:1"]
    assert data.notes == ["2 lines cannot be used and are left out"]


def test_a_folder_without_orders_is_refused(tmp_path: Path) -> None:
    write(tmp_path, catalog=ITEMS, clicks=[click("ann", "mug", 1)])
    with pytest.raises(DataMissingError, match=r"purchases\.jsonl cannot be read"):
        folder(tmp_path, pytest.fail)


def test_a_source_is_known_by_its_events(tmp_path: Path) -> None:
    events: dict[str, list[Any]] = {"clicks": [click("ann", "mug", 1)], "purchases": [order("ann", "o1", 3, "mug")]}
    names = {
        digest_of(event_files(write(tmp_path / name, catalog=catalog, **files)))
        for name, catalog, files in [
            ("a", ITEMS, events),
            ("moved, with another catalogue", ITEMS[:1], events),
            ("orders only", ITEMS, {"purchases": events["purchases"]}),
            ("one more", ITEMS, events | {"clicks": events["clicks"] * 2}),
        ]
    }
    assert len(names) == 3


# -- sending -----------------------------------------------------------------------------------------------------------


def some_data(events: int = 40) -> DataSet:
    found = [SourceEvent("clicks", 1.6e9 + n, click(f"u{n % 5}", "mug", n)) for n in range(events)]
    found[3::4] = [SourceEvent("purchases", 1.6e9 + n, order("ann", f"o{n}", n, "tea")) for n in range(3, events, 4)]
    return DataSet(ITEMS, found, events)


def test_events_carry_their_place_and_an_id_of_their_own() -> None:
    topics = Topics()
    data = some_data(8)
    data.events = [*data.events, SourceEvent("clicks", 1.6e9, click("ann", "mug", 1, event_id="own"))]
    assert topics.run(data).sent == {"catalog": 3, "clicks": 7, "purchases": 2}
    assert [is_backfilled(line) for line in topics.held] == [False] * 3 + [True] * 9
    assert [place_of(line) for line in topics.held[3:]] == [Place("source", number) for number in range(9)]
    assert [value["event_id"] for value in topics.values("clicks")] == [f"source-{n}" for n in (0, 1, 2, 4, 5, 6)] + [
        "own"
    ]
    for line in topics.held:
        DECODERS[line.topic](line)


@pytest.mark.parametrize("seed", range(20))
def test_runs_that_are_killed_add_up_to_one(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STRETCH", 7)
    whole, topics, chance, kills = Topics(), Topics(), random.Random(seed), 0
    whole.run(some_data())
    while True:
        try:
            topics.run(some_data(), most=chance.choice([1, 3, 6, 100]) if kills else 3)
            break
        except Killed:
            kills += 1
            topics.held += [line for line in topics.sent if chance.random() < 0.5]
            topics.sent = []
    assert sorted(topics.held) == sorted(whole.held)
    held = list(topics.held)
    again = topics.run(some_data())
    assert topics.held == held
    assert (sum(again.sent.values()), again.known) == (0, 40)
    assert kills > 0


def test_what_retention_has_deleted_is_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STRETCH", 7)
    topics = Topics()
    topics.run(some_data())
    topics.held = topics.held[-6:]  # the last stretch: events 35 to 39 and one before
    assert sum(topics.run(some_data()).sent.values()) == 0


def test_another_source_and_other_records_do_not_count_as_sent() -> None:
    topics = Topics()
    topics.run(some_data(4), "other")
    topics.held.append(Line("clicks", AT_MS, b"ann", b"{}", headers=((NAME, b"by hand"), ("more", None))))
    topics.held.append(Line("clicks", AT_MS, b"ann", b"{}", headers=((NAME, None),)))
    assert topics.run(some_data(4)).sent == {"catalog": 0, "clicks": 3, "purchases": 1}


def test_items_that_the_topic_has_are_left_as_they_are() -> None:
    topics = Topics()
    topics.held = [
        Line("catalog", AT_MS, b"mug", orjson.dumps(ITEMS[1] | {"price": 1.0})),
        Line("catalog", 0, b"tea", None),
    ]
    topics.run(some_data(4))
    assert [line.key for line in topics.held if line.topic == "catalog"] == [b"mug", b"tea", b"kettle"]


def test_what_would_be_a_dead_letter_is_named_and_the_rest_keeps_its_place() -> None:
    data, named, topics = some_data(3), list[str](), Topics()
    data.events = [SourceEvent("clicks", 0.0, click("ann", "i" * 257, 1)), *data.events]
    done = backfill(data, topics, Published("source"), (), RejectedRecords(named.append))
    assert done.sent == {"catalog": 3, "clicks": 3, "purchases": 0}
    assert [sentence.partition(":")[0] for sentence in named] == ["event 1 of the source"]
    assert [place_of(line) for line in topics.held[3:]] == [Place("source", number) for number in (1, 2, 3)]
