"""Brokers for tests: Apache Kafka for the whole run, an embedded broker for each process; topics for each test.

The embedded broker is always there, Apache Kafka where `KAFKA_HOME` names one. With `REQUIRE_BROKER=1` a test whose
broker cannot be had fails instead of being skipped.

Properties draw the same examples in every run; `--hypothesis-profile=explore` draws others.
"""

from __future__ import annotations

import os
import shutil
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as `streams.__main__` does, and as early

import pytest
from hypothesis import settings

from streams.brokers.broker import Broker
from streams.brokers.embedded import EmbeddedBroker
from streams.brokers.kafka import KafkaBroker
from streams.errors import BrokerError
from streams.kafka import topic_admin
from streams.kafka.admin import administration
from streams.settings import Settings
from tests.support.secured_kafka import SecuredKafka

settings.register_profile("alike", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile("alike")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # so starts whatever a script runs in the background; the processes that tests interrupt would inherit it, and
    # never end
    signal.signal(signal.SIGINT, signal.default_int_handler)

collect_ignore = ["support"]
"""It holds no tests, and some of it needs torch."""

INTEGRATION = Path(__file__).parent / "integration"

PARTITIONS = 4
"""Of topics in tests: more than one worker's share, and quickly made."""


def _do_without(reason: str) -> NoReturn:
    if os.environ.get("REQUIRE_BROKER") == "1":
        pytest.fail(f"REQUIRE_BROKER=1, and {reason}")
    pytest.skip(reason)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a broker, and keep the tests of one broker in one process.

    There is one Apache Kafka of each kind for all processes. Embedded brokers start at once and need little: each
    process may have its own, and the tests of one file share it.
    """
    for item in items:
        names = getattr(item, "fixturenames", ())
        chosen = item.callspec.params.get("broker") if hasattr(item, "callspec") else None
        used = [kind for kind in ("embedded", "kafka", "secured") if chosen == kind or f"{kind}_broker" in names]
        for kind in used:
            item.add_marker(pytest.mark.xdist_group(f"{kind}-{item.path.stem}" if kind == "embedded" else kind))
        if used or INTEGRATION in item.path.parents:
            item.add_marker(pytest.mark.broker)


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[EmbeddedBroker]:
    """An embedded broker for this process."""
    broker = EmbeddedBroker()
    try:
        broker.start()
    except BrokerError as error:
        broker.close()
        _do_without(str(error))
    with broker:
        yield broker


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[KafkaBroker]:
    """One node of Apache Kafka for the whole run."""
    if not os.environ.get("KAFKA_HOME"):
        _do_without("no Apache Kafka here: unpack a distribution of 4.x and set KAFKA_HOME to its folder to run this")
    with KafkaBroker() as broker:
        yield broker


@pytest.fixture(scope="session")
def secured_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """One node of Apache Kafka with TLS, logins and access control lists, for the whole run."""
    if not os.environ.get("KAFKA_HOME"):
        _do_without("no Apache Kafka here: unpack a distribution of 4.x and set KAFKA_HOME to its folder to run this")
    if shutil.which("openssl") is None:
        _do_without("no openssl here to make certificates with")
    with SecuredKafka(tmp_path_factory.mktemp("secured")) as broker:
        yield broker


@pytest.fixture(params=["embedded", "kafka"])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Each kind of broker in turn. Tests that stop or kill one start their own instead."""
    found: Broker = request.getfixturevalue(f"{request.param}_broker")
    return found


@pytest.fixture
def prefix() -> str:
    """A prefix of this test alone, for topics and groups."""
    return f"t{uuid.uuid4().hex[:8]}-"


@pytest.fixture
def created_topics(broker: Broker, prefix: str) -> Iterator[Settings]:
    """Settings for `broker` and `prefix`, with all topics made; they are deleted after the test."""
    settings = broker.settings(prefix=prefix, partitions=PARTITIONS, item_partitions=PARTITIONS)
    made = topic_admin.create(settings)
    yield settings
    with administration(settings) as client:
        client.delete_topics(made, raise_errors=False)
