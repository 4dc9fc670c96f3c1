"""Records behind an open transaction."""

from __future__ import annotations

import logging

import pytest
from aiokafka import TopicPartition

from streams.kafka.transactions import OPEN_S, OpenTransactions
from streams.metrics import Metrics

CLICKS = TopicPartition("clicks", 3)


def waiting(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("crosscurrent_open_transaction", {"topic": "clicks", "partition": "3"})


def test_a_transaction_that_stays_open_is_said_once_and_forgotten_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics = Metrics()
    transactions = OpenTransactions(metrics)
    with caplog.at_level(logging.WARNING):
        for second in range(int(2 * OPEN_S)):
            transactions.look(CLICKS, 100, 100 + second, float(second))
    assert waiting(metrics) == 2 * OPEN_S - 1
    (said,) = caplog.messages
    assert said.startswith("31 records of clicks-3 from 100 on wait for a transaction")
    assert transactions.notices == ["records of clicks-3 from 100 on wait for a transaction to end"]
    transactions.look(CLICKS, 160, 160, 2 * OPEN_S)
    assert (waiting(metrics), transactions.notices) == (0, [])


def test_many_short_transactions_are_not_one_long_one(caplog: pytest.LogCaptureFixture) -> None:
    transactions = OpenTransactions(Metrics())
    with caplog.at_level(logging.WARNING):
        for second in range(int(3 * OPEN_S)):
            transactions.look(CLICKS, 10 * second, 10 * second + 5, float(second))
    assert not caplog.messages


def test_a_partition_that_is_revoked_leaves_nothing_behind() -> None:
    metrics = Metrics()
    transactions = OpenTransactions(metrics)
    transactions.look(CLICKS, 1, 9, 0.0)
    transactions.look(CLICKS, 1, 9, OPEN_S)
    transactions.forget(CLICKS)
    metrics.revoked("clicks", 3)
    assert (waiting(metrics), transactions.notices) == (None, [])
