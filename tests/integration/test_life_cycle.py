"""How processes end: failures while they start, stops that hang, brokers that go away."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from kafka import KafkaProducer

from streams.brokers.embedded import EmbeddedBroker
from streams.brokers.kafka import KafkaBroker
from streams.kafka import topic_admin
from streams.lifecycle import SILENT_S
from streams.settings import Settings
from tests.support.faulty_process import AHEAD_S, BOUND_S
from tests.support.processes import WorkerProcess, eventually

PARTITIONS = 1


@pytest.fixture
def settings(embedded_broker: EmbeddedBroker, prefix: str) -> Iterator[Settings]:
    """Topics with a record of the catalogue."""
    settings = embedded_broker.settings(prefix=prefix, partitions=PARTITIONS, item_partitions=PARTITIONS)
    topic_admin.create(settings)
    producer = KafkaProducer(**settings.kafka_python_options())
    producer.send(f"{prefix}catalog", b"{}", b"mug").get(timeout=30)
    producer.close()
    yield settings


BUG = "unexpected error of the {}, BuiltInError(): please report it with the traceback in its log"


def test_whatever_fails_while_a_process_starts_or_stops_it_ends_with_a_sentence(
    settings: Settings, tmp_path: Path
) -> None:
    faults = {
        ("worker", "record"): BUG.format("worker"),
        ("trainer", "record"): BUG.format("trainer"),
        ("worker", "assignment"): BUG.format("worker"),
        ("worker", "swallowed"): f"the process did not stop within {BOUND_S:g} s of its failure: BuiltInError()",
        ("worker", "stop"): f"the process did not stop within {3 * BOUND_S:g} s of SIGTERM",
    }
    processes = {
        (command, fault): WorkerProcess(settings, tmp_path / f"{command} {fault}", command=command, fault=fault)
        for command, fault in faults
    }
    try:
        processes["worker", "stop"].await_ready().signal(signal.SIGTERM)
        for name, sentence in faults.items():
            process = processes[name]
            assert process.wait() == 1, name
            assert process.complaints.splitlines()[-1] == sentence
            assert ("ready" in process.printed) == (name[1] == "stop")
    finally:
        for process in processes.values():
            process.kill()


def test_sigterm_ends_a_start_under_way_with_exit_code_0_and_sighup_does_not(
    settings: Settings, tmp_path: Path
) -> None:
    def stage() -> str | None:
        try:
            return str(orjson.loads(worker.page("/ready")[1])["cause"])
        except OSError:
            return None  # not listening yet

    with WorkerProcess(settings, tmp_path, fault="warming up for an hour") as worker:
        assert eventually(stage, "its pages answer") == "warming up"
        worker.signal(signal.SIGHUP)
        assert eventually(stage, "its pages answer") == "warming up"
        started = time.monotonic()
        assert worker.stop() == 0
        assert time.monotonic() - started < 30  # the warm-up takes an hour
        assert worker.printed == ""


def test_ready_says_that_no_broker_answers_and_the_log_stays_short(tmp_path: Path) -> None:
    with EmbeddedBroker() as broker:
        settings = broker.settings(partitions=PARTITIONS, item_partitions=PARTITIONS)
        topic_admin.create(settings)

        def ready() -> bool:
            status, body = worker.page("/ready")
            cause = orjson.loads(body).get("cause", "")
            assert (status, cause.startswith("no broker has answered for ")) in ((200, False), (503, True)), body
            return status == 200

        with WorkerProcess(settings, tmp_path).await_ready() as worker:
            assert broker.pid is not None
            os.kill(broker.pid, signal.SIGSTOP)
            stopped = time.monotonic()
            eventually(lambda: not ready(), "it is not ready without a broker")
            assert time.monotonic() - stopped > SILENT_S / 2
            assert worker.page("/health")[0] == 200
            os.kill(broker.pid, signal.SIGCONT)
            eventually(ready, "it is ready again")
            before = worker.complaints.count("[ERROR]")
            broker.kill()
            eventually(lambda: not ready(), "it is not ready without a broker")
            assert 0 < worker.complaints.count("[ERROR]") - before <= 3
            assert worker.stop() == 0


def test_a_clock_that_is_far_off_is_said(kafka_broker: KafkaBroker, prefix: str, tmp_path: Path) -> None:
    settings = kafka_broker.settings(prefix=prefix, partitions=PARTITIONS, item_partitions=PARTITIONS)
    topic_admin.create(settings)
    producer = KafkaProducer(**settings.kafka_python_options())
    with WorkerProcess(settings, tmp_path, fault="clock").await_ready() as worker:

        def said() -> bool:
            producer.send(f"{prefix}clicks", b"{}", b"ann").get(timeout=30)
            return "notices" in orjson.loads(worker.page("/ready")[1])

        eventually(said, "the clock is found to be ahead")
        eventually(lambda: AHEAD_S - 10 < worker.gauge("clock_ahead_seconds") <= AHEAD_S, "by how much")
        assert worker.complaints.count("our clock is at least ") == 1
        assert worker.stop() == 0
    producer.close()
