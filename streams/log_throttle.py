"""Bounds the log: while a broker is down clients log every broken connection, and bad records may come in floods."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from models.errors import ModelError
from streams.errors import CrosscurrentError, RecordError

EVERY_S = 5.0
"""Between two lines of one kind."""

OURS = ("streams", "models")

REPEATING = ("streams.kafka.producer",)
"""Loggers of ours that repeat themselves while a broker is down, once for each partition."""

BAD_RECORDS_S = 10.0
"""Between two lines about bad records of a topic."""


class BadRecordLog:
    """Logs one bad record of a topic every few seconds. Callers count all of them in a metric."""

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger, self._clock = logger, clock
        self._next_at: dict[str, float] = {}

    def write(self, topic: str, why: RecordError | str, fate: str) -> None:
        """Log why a record cannot be used, and what becomes of it."""
        if (now := self._clock()) >= self._next_at.get(topic, now):
            self._next_at[topic] = now + BAD_RECORDS_S
            self._logger.warning("%s; the record %s (further ones are counted in metrics only)", why, fate)


class LogThrottle(logging.Filter):
    """Passes one warning and one error of all libraries together every few seconds, and says how many it left out.

    Our own lines pass, except those of `REPEATING`; critical ones always pass. Errors whose message is a sentence for
    an operator are written without a traceback.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._passed_at: dict[tuple[str, int], float] = {}
        self._left_out: dict[tuple[str, int], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """See [`logging.Filter`][]."""
        if record.exc_info and isinstance(record.exc_info[1], CrosscurrentError | ModelError | None):
            record.exc_info = None
        if not logging.WARNING <= record.levelno < logging.CRITICAL:
            return True
        kind = record.name
        if kind.partition(".")[0] not in OURS:
            kind = "libraries"
        elif kind not in REPEATING:
            return True
        key, now = (kind, record.levelno), self._clock()
        passed_at = self._passed_at.get(key)
        if passed_at is not None and now - passed_at < EVERY_S:
            self._left_out[key] = self._left_out.get(key, 0) + 1
            return False
        if left_out := self._left_out.pop(key, 0):
            record.msg, record.args = f"{record.getMessage()} ({left_out} lines like this were left out)", ()
        self._passed_at[key] = now
        return True
