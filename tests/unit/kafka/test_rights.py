from __future__ import annotations

from pathlib import Path
from typing import Any

import aiokafka.errors
import kafka.errors
import pytest
from aiokafka import TopicPartition

from streams.errors import BrokerError, RightsError
from streams.kafka.connection import broker_error
from streams.kafka.global_tables import TABLE_TOPICS
from streams.kafka.rights import LOOK, RIGHTS, SHOP, TRAINER, WORKER, Rights, lacking, rights_table
from streams.settings import Settings
from streams.trainer.log_reader import READ
from streams.trainer.service import TRAINER_TABLES
from streams.wire.topics import TOPICS
from streams.worker.service import CONSUMED

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"


def test_the_documentation_shows_the_table() -> None:
    assert rights_table() in OPERATIONS.read_text(encoding="utf-8"), f"put into operations.md:\n{rights_table()}"


def test_the_table_has_what_the_processes_read() -> None:
    assert set(WORKER.read) == {*CONSUMED, *TABLE_TOPICS, "histories"}
    assert set(TRAINER.read) == {*READ, "profiles", *TRAINER_TABLES}


def test_the_table_has_what_the_topics_say_about_themselves() -> None:
    for rights in (WORKER, TRAINER):
        assert set(rights.write) == {topic.name for topic in TOPICS if rights.command in topic.written_by}
    assert set(SHOP) == {topic.name for topic in TOPICS if "the shop" in topic.written_by}


def test_each_command_stands_in_the_table_once() -> None:
    names = [rights.command for rights in RIGHTS]
    assert len(set(names)) == len(names)


def test_operations_by_topic() -> None:
    assert Rights("x", read=("clicks",), write=("clicks", "pairs")).of_topics() == {
        "clicks": ["READ", "WRITE"],
        "pairs": ["WRITE"],
    }
    every = Rights("x", looks=True, creates=True).of_topics()
    assert set(every) == {topic.name for topic in TOPICS}
    assert every["clicks"] == [*LOOK, "CREATE"]


def described(name: str, error_code: int, operations: list[str] | None) -> dict[str, Any]:
    return {"name": name, "error_code": error_code, "authorized_operations": operations}


@pytest.mark.parametrize(
    ("topic", "missing"),
    [
        (described("a", 0, ["READ", "WRITE", "DESCRIBE", "DESCRIBE_CONFIGS"]), []),
        (described("a", 0, ["READ", "DESCRIBE"]), ["WRITE on topic a", "DESCRIBE_CONFIGS on topic a"]),
        (described("a", 3, ["DESCRIBE", "DESCRIBE_CONFIGS"]), ["READ on topic a", "WRITE on topic a"]),
        (described("a", 29, None), ["READ on topic a", "WRITE on topic a"]),
        (described("a", 0, None), []),  # a broker that does not tell
    ],
)
def test_what_is_lacking(topic: dict[str, Any], missing: list[str]) -> None:
    assert list(lacking([topic], {"a": ["READ", "WRITE", *LOOK]})) == missing


def test_a_topic_that_may_not_be_seen_lacks_describe_where_no_more_is_needed() -> None:
    assert list(lacking([described("a", 29, None)], {"a": LOOK})) == ["DESCRIBE on topic a"]


@pytest.mark.parametrize(
    ("error", "operation", "missing"),
    [
        (aiokafka.errors.TopicAuthorizationFailedError("clicks"), "READ", ["READ on topic clicks"]),
        (
            aiokafka.errors.TopicAuthorizationFailedError(TopicPartition("clicks", 3)),
            "WRITE",
            ["WRITE on topic clicks"],
        ),
        (
            aiokafka.errors.TopicAuthorizationFailedError({"b", "a"}),
            "READ",
            ["READ on topic a", "READ on topic b"],
        ),
        (kafka.errors.TopicAuthorizationFailedError("clicks"), "WRITE", ["WRITE on topic clicks"]),
        (aiokafka.errors.GroupAuthorizationFailedError("g"), "READ", ["READ on group g"]),
    ],
    ids=["a topic", "a partition", "some topics", "a topic, kafka-python", "a group"],
)
def test_a_refusal_while_working_names_the_right(error: Exception, operation: str, missing: list[str]) -> None:
    settings = Settings.model_validate(
        {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "sasl_username": "ann", "sasl_password": "p"}
    )
    raised = broker_error(settings, error, operation)
    assert isinstance(raised, RightsError)
    assert raised.missing == missing
    assert "this process needs" in str(raised)
    assert "for User:ann" in str(raised)
    assert "`crosscurrent tail` needs" in str(raised.needed_by("crosscurrent tail"))


def test_any_other_error_of_a_client_is_one_of_the_broker() -> None:
    raised = broker_error(Settings(), aiokafka.errors.KafkaConnectionError("gone"))
    assert type(raised) is BrokerError
    assert "gone" in str(raised)


def test_the_principal() -> None:
    assert Settings().principal == "User:ANONYMOUS"
    assert "cert.pem" in Settings(security_protocol="SSL", ssl_certfile=Path("cert.pem")).principal
