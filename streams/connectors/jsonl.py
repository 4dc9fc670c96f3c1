"""Sends lines of JSON to a topic: checked as a worker checks them, keyed by their own ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import msgspec

from streams.errors import RecordError
from streams.wire import codec
from streams.wire.record import Header
from streams.wire.topics import TOPICS


class Line(NamedTuple):
    """A line as the record that it will be."""

    topic: str
    timestamp: int
    key: bytes | None
    value: bytes | None
    partition: int = -1
    offset: int = -1
    headers: tuple[Header, ...] = ()


class Sends(Protocol):
    """Takes records: a [`Sender`][streams.kafka.blocking.Sender], or a test double."""

    def send(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        """Take one record."""


DECODERS: dict[str, Callable[[Line], object]] = {
    "clicks": codec.decode_click,
    "purchases": codec.decode_purchase,
    "catalog": codec.decode_catalog,
    "profiles": codec.decode_profile,
    "feedback": codec.decode_feedback,
}
"""Topics that a shop writes, and the decoders of their records."""

_READERS: dict[str, Callable[[Line], object]] = {**DECODERS, "suggestions": codec.decode_answer}
"""... and topics of the workers whose lines are read but not sent."""

_ID = {topic.name: topic.key for topic in TOPICS}
_any_json = msgspec.json.Decoder()


def writable() -> list[str]:
    """Topics that may be written unchecked: all but the workers' own."""
    return [topic.name for topic in TOPICS if not topic.internal]


class Publisher:
    """Sends lines to one topic, and reports those that cannot be sent."""

    def __init__(self, sender: Sends, topic: str, report: Callable[[str], None]) -> None:
        self._sender = sender
        self._topic = topic
        self._report = report
        self.bad = 0  # lines that were not sent

    def checked(self, lines: Iterable[bytes], file: str, now_ms: Callable[[], int]) -> None:
        """Send the lines that fit the contract, unchanged, keyed by the id in them, as `usable` reads them."""
        for number, key, value, _ in usable(self._topic, lines, file, now_ms, self._refuse):
            try:
                self._sender.send(self._topic, key, value)
            except RecordError as error:
                self._refuse(at_line(error, file, number))

    def raw(self, lines: Iterable[bytes], file: str) -> None:
        """Send any lines, without line ends and keys."""
        for number, line in enumerate(lines, start=1):
            try:
                self._sender.send(self._topic, None, line.removesuffix(b"\n"))
            except RecordError as error:
                self._refuse(at_line(error, file, number))

    def null(self, key: str) -> None:
        """Send a null value under a key."""
        self._sender.send(self._topic, key.encode(errors="surrogateescape"), None)

    def _refuse(self, error: RecordError) -> None:
        self.bad += 1
        self._report(f"{error}; not sent")


def usable(
    topic: str,
    lines: Iterable[bytes],
    file: str,
    now_ms: Callable[[], int],
    refuse: Callable[[RecordError], None],
) -> Iterator[tuple[int, bytes, bytes, Any]]:
    """Number, key, value and decoded value of each line that fits the contract. Blank lines are skipped.

    `at` is compared with `now_ms`, epoch milliseconds. `refuse` is called with the errors of other lines, located in
    `file`, while the lines are read.
    """
    decode = _READERS[topic]
    for number, line in enumerate(lines, start=1):
        value = line.strip()
        if not value:
            continue
        key = _key(topic, value)
        try:
            meaning = decode(Line(topic, now_ms(), key, value))
        except RecordError as error:
            refuse(at_line(error, file, number))
        else:
            yield number, key, value, meaning


def at_line(error: RecordError, file: str, number: int) -> RecordError:
    """The same error, located in a file."""
    return RecordError(error.path, error.expected, error.got, f"{file}:{number}")


def _key(topic: str, value: bytes) -> bytes:
    """The id in a value; empty where there is none, which the decoder rejects."""
    try:
        name = _any_json.decode(value)[_ID[topic]]
        return name.encode() if isinstance(name, str) else b""
    except (ValueError, RecursionError, KeyError, TypeError, IndexError):
        return b""
