"""Sends dead letters to their source topics again: each once, and only those that decode now.

A consumer group of its own commits what was replayed, so that a second replay continues where the first ended.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from streams.connectors.jsonl import DECODERS, Line, Sends
from streams.errors import RecordError
from streams.wire.codec import decode_dead_letter
from streams.wire.record import Record
from streams.wire.schemas import DeadLetterRecord
from streams.wire.topics import full_name


@dataclass(slots=True)
class Replayed:
    """Outcome of one replay, in numbers of dead letters."""

    sent: int = 0
    still_bad: int = 0
    not_ours: int = 0
    """Without a copy of the record (too large), or of topics that only workers write."""


def decoded(records: Iterable[Record], report: Callable[[str], None]) -> Iterator[DeadLetterRecord]:
    """Decoded dead letters; other records are reported and skipped."""
    for record in records:
        try:
            yield decode_dead_letter(record)
        except RecordError as error:
            report(f"passed over, it is no dead letter: {error}")


def distinct(letters: Iterator[DeadLetterRecord]) -> Iterator[DeadLetterRecord]:
    """Each source record once: letters are written at least once, and identified by topic, partition and offset."""
    seen: set[tuple[str, int, int]] = set()
    for letter in letters:
        source = (letter.topic, letter.partition, letter.offset)
        if source not in seen:
            seen.add(source)
            yield letter


class Replayer:
    """Sends letters again, and reports those that are not sent; `now_ms` is the append time `at` is compared with."""

    def __init__(self, prefix: str, sender: Sends, now_ms: Callable[[], int], report: Callable[[str], None]) -> None:
        self._short = {full_name(prefix, name): name for name in DECODERS}
        self._sender = sender
        self._now_ms = now_ms
        self._report = report
        self.replayed = Replayed()

    def replay(self, letter: DeadLetterRecord) -> None:
        """Send one letter's record to its topic, if it decodes now."""
        short = self._short.get(letter.topic)
        key, value = _bytes(letter.key), _bytes(letter.value)
        if short is None or (key is None and value is None):
            self.replayed.not_ours += 1
            where = f"{letter.topic}-{letter.partition}@{letter.offset}"
            self._report(f"{where}: not sent: there is no copy of it, or its topic is not one that a shop writes")
            return
        line = Line(letter.topic, self._now_ms(), key, value, letter.partition, letter.offset)
        try:
            DECODERS[short](line)
        except RecordError as error:
            self.replayed.still_bad += 1
            self._report(f"not sent, it would come back: {error}")
            return
        self._sender.send(short, key, value)
        self.replayed.sent += 1


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
