"""Our clock against the brokers'."""

from __future__ import annotations

import logging
from typing import NamedTuple

import pytest
from aiokafka import TopicPartition

from streams.kafka.clock import APPEND_TIME, FAR_S, IN_A_ROW, ClockCheck

CLICKS = TopicPartition("clicks", 0)
NOW_S = 1_800_000_000.0


class Appended(NamedTuple):
    """A record, by the broker's clock."""

    timestamp: int
    timestamp_type: int = APPEND_TIME
    topic: str = "clicks"
    partition: int = 0
    offset: int = 7


def deliver(check: ClockCheck, broker_ahead_s: float, times: int = IN_A_ROW, *, at_end: bool = True) -> None:
    """Records that are appended and delivered within a second, the broker's clock ahead of ours by so much."""
    for number in range(times):
        now_s = NOW_S + 10 * number
        if at_end:
            check.read_up(CLICKS, now_s - 1.0)
        check.delivered(Appended(round((now_s - 0.5 + broker_ahead_s) * 1000)), now_s)


@pytest.mark.parametrize(("broker_ahead_s", "way"), [(-120.0, "ahead of"), (120.0, "behind")])
def test_clocks_that_are_far_apart_are_said_once(
    broker_ahead_s: float, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    check = ClockCheck()
    with caplog.at_level(logging.WARNING):
        deliver(check, broker_ahead_s, 10)
    assert check.ahead_s == pytest.approx(-broker_ahead_s, abs=1.0)
    assert len(caplog.messages) == 1
    assert f"s {way} the brokers'" in caplog.messages[0]
    assert "clicks-0@7" in caplog.messages[0]
    deliver(check, 0.0, 1)
    assert (check.ahead_s, check.notice) == (0.0, None)


@pytest.mark.parametrize("broker_ahead_s", [0.0, 0.9 * FAR_S, -0.9 * FAR_S])
def test_clocks_that_agree_are_not_mentioned(broker_ahead_s: float) -> None:
    check = ClockCheck()
    deliver(check, broker_ahead_s)
    assert (check.ahead_s, check.notice) == (0.0, None)


def test_a_backlog_says_nothing_about_clocks() -> None:
    check = ClockCheck()
    deliver(check, -86_400.0, at_end=False)
    for number in range(2 * IN_A_ROW):
        check.read_up(CLICKS, NOW_S - 1.0)
        if number % 2:
            check.clear()
        else:
            check.moved(CLICKS)
        check.delivered(Appended(0), NOW_S)
    assert check.notice is None


def test_a_single_late_delivery_is_not_enough_and_senders_clocks_do_not_count() -> None:
    check = ClockCheck()
    deliver(check, -120.0, IN_A_ROW - 1)
    assert check.notice is None
    for _ in range(IN_A_ROW):
        check.read_up(CLICKS, NOW_S)
        check.delivered(Appended(0, timestamp_type=0), NOW_S)
    assert check.notice is None
