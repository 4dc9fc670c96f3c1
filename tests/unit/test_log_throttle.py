"""The log while a broker is down."""

from __future__ import annotations

import io
import logging
from typing import Any

import pytest
from mode.utils.logging import ExtensionFormatter

from streams.errors import BrokerError, RecordError
from streams.log_throttle import BAD_RECORDS_S, EVERY_S, BadRecordLog, LogThrottle


class Log:
    """What a process writes, by a clock of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self._stream = io.StringIO()
        self._handler = logging.StreamHandler(self._stream)
        self._handler.setFormatter(ExtensionFormatter(stream=self._stream, fmt="%(levelname)s %(name)s %(message)s"))
        self._handler.addFilter(LogThrottle(lambda: self.now))

    def write(self, name: str, level: int, message: str, *args: object, exc_info: Any = None) -> None:
        self._handler.handle(logging.LogRecord(name, level, __file__, 1, message, args, exc_info))

    @property
    def lines(self) -> list[str]:
        return self._stream.getvalue().splitlines()


def test_all_libraries_together_write_one_error_in_a_few_seconds_with_the_number_left_out() -> None:
    log = Log()
    for tick in range(300):
        log.now = tick / 10
        for name in ("aiokafka", "aiokafka.consumer.group_coordinator", "faust.worker", "mode", "asyncio"):
            log.write(name, logging.ERROR, "Unable to connect to %s: %s", "127.0.0.1", "100 % down")
    assert len(log.lines) == 30 / EVERY_S
    assert log.lines[0].endswith("Unable to connect to 127.0.0.1: 100 % down")
    assert log.lines[1].endswith("100 % down (249 lines like this were left out)")


def test_an_error_is_not_left_out_for_a_warning() -> None:
    log = Log()
    log.write("aiokafka", logging.WARNING, "first")
    log.write("aiokafka", logging.ERROR, "second")
    assert len(log.lines) == 2


def test_our_own_lines_pass_but_for_repeated_sends_and_critical_ones_always_do() -> None:
    log = Log()
    for partition in range(8):
        log.write("streams.worker.partition_task", logging.ERROR, "%d records expired", partition)
        log.write("streams.kafka.producer", logging.WARNING, "a send to clicks-%d was not acknowledged", partition)
        log.write("mode", logging.CRITICAL, "crash")
        log.write("aiokafka", logging.INFO, "joined")
    counts = {word: sum(word in line for line in log.lines) for word in ("expired", "acknowledged", "crash", "joined")}
    assert counts == {"expired": 8, "acknowledged": 1, "crash": 8, "joined": 8}


def test_a_flood_of_bad_records_is_a_line_of_each_topic_every_few_seconds(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    log = BadRecordLog(logging.getLogger("streams.worker"), lambda: now)
    for tick in range(300):
        now = tick / 10
        for topic in ("clicks", "purchases"):
            log.write(topic, RecordError("$.at", "a time", "null", f"{topic}-0@{tick}"), "is sent to dead-letters")
    assert len(caplog.messages) == 2 * 30 / BAD_RECORDS_S
    assert caplog.messages[0].endswith(
        "; the record is sent to dead-letters (further ones are counted in metrics only)"
    )


def test_a_sentence_for_an_operator_has_no_traceback_and_a_bug_has_one() -> None:
    log = Log()
    for error in (BrokerError("no broker answers"), ZeroDivisionError("division by zero")):
        try:
            raise error
        except Exception as raised:
            exc_info = type(raised), raised, raised.__traceback__
        log.now += EVERY_S
        log.write("mode", logging.ERROR, "Error: %r", error, exc_info=exc_info)
    assert log.lines[0].endswith("Error: BrokerError('no broker answers')")
    assert log.lines[1].endswith("Error: ZeroDivisionError('division by zero')")
    assert log.lines[2].startswith("Traceback")
