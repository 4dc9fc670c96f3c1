"""Dead letters, sent again to where they came from: each once, and only those that would pass now.

What was replayed is remembered by commits of a consumer group of its own, so that a second replay goes on where the
first one ended.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from streams.connectors.jsonl import DECODERS, Line
from streams.errors import RecordError
from streams.kafka.blocking import Sender
from streams.wire.codec import decode_dead_letter
from streams.wire.record import Record
from streams.wire.schemas import DeadLetterRecord
from streams.wire.topics import full_name


@dataclass(slots=True)
class Replayed:
    """What became of the dead letters of one replay."""

    sent: int = 0
    still_bad: int = 0
    not_ours: int = 0
    """Copies that were left out for their size, and records of topics that only workers write."""


def decoded(records: Iterable[Record], complain: Callable[[str], None]) -> Iterator[DeadLetterRecord]:
    """Dead letters as they are written; of a record that is none it is said, and it is passed over."""
    for record in records:
        try:
            yield decode_dead_letter(record)
        except RecordError as error:
            complain(f"passed over, it is no dead letter: {error}")


def distinct(letters: Iterator[DeadLetterRecord]) -> Iterator[DeadLetterRecord]:
    """Letters, each source record once: they are written at least once, and named by topic, partition and offset."""
    seen: set[tuple[str, int, int]] = set()
    for letter in letters:
        name = (letter.topic, letter.partition, letter.offset)
        if name not in seen:
            seen.add(name)
            yield letter


class Replayer:
    """Sends letters again.

    Args:
        prefix: of the topics' names.
        sender: takes the records; knows the short names of all topics a shop writes.
        now_ms: append time that the records are judged by.
        complain: told a sentence about each letter that is not sent.
    """

    def __init__(
        self, prefix: str, sender: Sender | Any, now_ms: Callable[[], int], complain: Callable[[str], None]
    ) -> None:
        self._short = {full_name(prefix, name): name for name in DECODERS}
        self._sender = sender
        self._now_ms = now_ms
        self._complain = complain
        self.replayed = Replayed()

    def replay(self, letter: DeadLetterRecord) -> None:
        """Send one letter's record to its topic, if it would pass now."""
        where = f"{letter.topic}-{letter.partition}@{letter.offset}"
        short = self._short.get(letter.topic)
        key, value = _bytes(letter.key), _bytes(letter.value)
        if short is None or (key is None and value is None):
            self.replayed.not_ours += 1
            self._complain(f"{where}: not sent: there is no copy of it, or its topic is not one that a shop writes")
            return
        line = Line(letter.topic, self._now_ms(), key, value, letter.partition, letter.offset)
        try:
            DECODERS[short](line)
        except RecordError as error:
            self.replayed.still_bad += 1
            self._complain(f"not sent, it would come back: {error}")
            return
        self._sender.send(short, key, value)
        self.replayed.sent += 1


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
