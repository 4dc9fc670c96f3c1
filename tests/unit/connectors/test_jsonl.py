"""Lines that are good are sent as they are; lines that are not are named and left out."""

from typing import Any

import pytest

from streams.connectors.jsonl import DECODERS, Publisher, writable
from streams.errors import RecordError
from tests.support.poison import GOOD, KEYS, POISON, value_of

NOW_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z


class Sent(list[tuple[str, bytes | None, bytes | None]]):
    """A sender's double: what was handed over."""

    def send(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        if value is not None and len(value) > 1_000_000:
            raise RecordError(None, "a record of less than a megabyte", f"{len(value)} bytes")
        self.append((topic, key, value))


def published(topic: str, lines: list[bytes], **how: Any) -> tuple[Sent, list[str], int]:
    sent, reported = Sent(), list[str]()
    publisher = Publisher(sent, topic, reported.append)
    if how.get("raw"):
        publisher.raw(lines, "events.jsonl")
    else:
        publisher.checked(lines, "events.jsonl", lambda: NOW_MS)
    return sent, reported, publisher.bad


@pytest.mark.parametrize("topic", sorted(GOOD))
def test_a_good_line_is_sent_unchanged_under_its_own_id(topic: str) -> None:
    value = value_of(topic, more="kept")
    assert published(topic, [value + b"\r\n"]) == ([(topic, KEYS[topic], value)], [], 0)


def test_a_bad_line_is_named_and_the_rest_is_sent() -> None:
    bad = value_of("purchases", items=[{"item_id": "i1", "price": "12,50"}])
    sent, reported, count = published("purchases", [value_of("purchases"), b"\n", bad, value_of("purchases"), b"  "])
    assert len(sent) == 2
    assert count == 1
    assert reported == [
        'events.jsonl:3: field `$.items[0].price` must be a finite number >= 0, got "12,50"; not sent',
    ]


@pytest.mark.parametrize(
    ("topic", "value"), [(topic, value) for _, topic, _, value in POISON if (value or b"").strip()]
)
def test_no_line_breaks_it(topic: str, value: bytes) -> None:
    sent, reported, bad = published(topic, [value_of(topic), value, value_of(topic)])
    assert len(sent) == 3 - bad  # a key of its own mends those whose only fault was the key
    assert len(reported) == bad
    assert all(sentence.startswith("events.jsonl:2: ") for sentence in reported)


def test_a_line_too_large_is_named_too() -> None:
    huge = value_of("catalog", description="x" * 1_000_001)
    sent, reported, bad = published("catalog", [huge, value_of("catalog")])
    assert (len(sent), bad) == (1, 1)
    assert reported[0].startswith("events.jsonl:1: the value must be a record of less than a megabyte")


def test_raw_lines_go_as_they_are_without_keys() -> None:
    lines = [b'{"v": 2}\n', b"\n", b"\xff\r\n", b"last"]
    sent, reported, bad = published("clicks", lines, raw=True)
    assert sent == [("clicks", None, value) for value in (b'{"v": 2}', b"", b"\xff\r", b"last")]
    assert (reported, bad) == ([], 0)


def test_a_null_has_a_key_and_nothing_else() -> None:
    sent = Sent()
    Publisher(sent, "catalog", print).null("kettle é")
    assert sent == [("catalog", "kettle é".encode(), None)]


def test_topics_that_can_be_written_to() -> None:
    assert set(DECODERS) == set(GOOD)
    assert set(writable()) == {*GOOD, "suggestions", "dead-letters"}
