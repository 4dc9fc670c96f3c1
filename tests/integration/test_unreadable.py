"""Records that a Kafka client cannot parse, and every codec, at a worker, a trainer and the commands."""

from __future__ import annotations

import asyncio
import time
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.protocol.produce import ProduceRequest
from kafka import KafkaProducer
from typer.testing import CliRunner, Result

from streams.cli.entry import app
from streams.drills.raw_producer import NotUtf8
from streams.errors import CodecError
from streams.kafka.blocking import TopicReader
from streams.kafka.codecs import MAX_BATCH_BYTES
from streams.settings import Settings
from streams.wire.codec import decode_dead_letter
from streams.wire.record import Unreadable
from streams.wire.schemas import DeadLetterRecord
from streams.wire.topics import TOPICS
from tests.support.batches import CODECS, batch_of, garbled, with_offset_delta
from tests.support.poison import GOOD, value_of
from tests.support.processes import WorkerProcess, eventually

POLICY = "emit_empty = true\n"
"""Every trigger is answered."""


def click(user_id: str) -> bytes:
    return value_of("clicks", user_id=user_id, at=round(time.time() * 1000))


def answered(settings: Settings) -> set[str]:
    """Shoppers who got a suggestion."""
    with TopicReader(settings, ["suggestions"]) as reader:
        batches = list(reader.read(from_start=True, until_end=True))
    records = (record for batch in batches for record in batch if not isinstance(record, Unreadable))
    return {orjson.loads(record.value or b"")["user_id"] for record in records}


def letters(settings: Settings) -> dict[tuple[str, int, int], DeadLetterRecord]:
    """Dead letters by topic, partition and offset."""
    with TopicReader(settings, ["dead-letters"]) as reader:
        batches = list(reader.read(from_start=True, until_end=True))
    found = [decode_dead_letter(one) for batch in batches for one in batch if not isinstance(one, Unreadable)]
    return {(letter.topic, letter.partition, letter.offset): letter for letter in found}


async def store(settings: Settings, topic: str, raw: bytes) -> int:
    """Have the broker store a batch as it is; gives its offset. Partition 0."""
    async with AIOKafkaProducer(**settings.aiokafka_options()) as producer:
        await producer.partitions_for(topic)
        node = producer.client.cluster.leader_for_partition(TopicPartition(topic, 0))
        request = ProduceRequest(transactional_id=None, required_acks=-1, timeout=5000, topics=[(topic, [(0, raw)])])
        _, code, offset, *_ = (await producer.client.send(node, request)).topics[0][1][0]
    assert code == 0
    return int(offset)


@pytest.fixture
def workers(created_topics: Settings, tmp_path: Path) -> Iterator[tuple[WorkerProcess, WorkerProcess]]:
    """A worker and a trainer."""
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    more = {"SNAPSHOT_STORE": str(tmp_path / "store")}
    with WorkerProcess(created_topics, tmp_path / "worker", policy) as worker:
        with WorkerProcess(created_topics, tmp_path / "trainer", None, "trainer", more) as trainer:
            worker.await_ready()
            trainer.await_ready()
            yield worker, trainer


def test_no_record_stops_a_reader_and_every_codec_is_answered(
    created_topics: Settings, workers: tuple[WorkerProcess, WorkerProcess], tmp_path: Path
) -> None:
    settings, prefix = created_topics, created_topics.prefix
    for codec in CODECS[1:]:
        with KafkaProducer(**settings.kafka_python_options(), acks="all", compression_type=codec) as producer:
            for number in range(3):
                user_id = f"{codec}-{number}"
                producer.send(f"{prefix}clicks", key=user_id.encode(), value=click(user_id))
    sent: dict[
        tuple[str, int, int], bytes | None
    ] = {}  # what is bad, by place: the value that its dead letter must have
    with KafkaProducer(**settings.kafka_python_options(), acks="all") as producer:
        for name in (topic.name for topic in TOPICS):
            value = value_of(name) if name in GOOD else b"{}"
            done = producer.send(prefix + name, key=b"u1", value=value, headers=[(NotUtf8("x"), b"")]).get(60)
            sent[done.topic, done.partition, done.offset] = value
    batches: list[tuple[str, bytes, list[bytes | None]]] = [
        ("clicks", batch_of([b"a", b"b" * 1000], "zstd", bad=1), [b"a", b"b" * 1000]),
        ("clicks", with_offset_delta(batch_of([b"a", b"b"]), 60), [None, None]),
        ("purchases", batch_of([bytes(MAX_BATCH_BYTES)], "zstd"), [None]),
    ]
    if settings.embedded:  # Apache Kafka refuses it
        batches.append(("clicks", garbled(batch_of([b"a" * 500] * 3, "lz4")), [None] * 3))
    for name, raw, values in batches:
        first = asyncio.run(store(settings, prefix + name, raw))
        sent |= {(prefix + name, 0, first + number): value for number, value in enumerate(values)}
    with KafkaProducer(**settings.kafka_python_options(), acks="all") as producer:
        for number in range(8):
            producer.send(f"{prefix}clicks", key=b"next-%d" % number, value=click(f"next-{number}"))

    expected = {f"{codec}-{number}" for codec in CODECS[1:] for number in range(3)} | {f"next-{n}" for n in range(8)}
    eventually(lambda: answered(settings) >= expected, "everybody is answered", lambda: workers[0].complaints[-2000:])
    consumed = {prefix + name for name in ("clicks", "purchases", "profiles", "feedback", "catalog", "pairs")}
    due = {place: value for place, value in sent.items() if place[0] in consumed}
    found = eventually(lambda: came if (came := letters(settings)).keys() >= due.keys() else None, "dead letters")
    assert {place: None if one.value is None else b64decode(one.value) for place, one in found.items()} == due
    assert all(
        one.reason.startswith(f"{topic}-{number}@{at}: the value must be") for (topic, number, at), one in found.items()
    )
    for process in workers:
        assert process.running
        assert process.page("/health")[0] == 200
    assert workers[0].stop() == 0
    with WorkerProcess(settings, tmp_path / "again", tmp_path / "policy.toml") as again:
        again.await_ready()
        with KafkaProducer(**settings.kafka_python_options(), acks="all") as producer:
            producer.send(f"{prefix}clicks", key=b"later", value=click("later"))
        eventually(lambda: "later" in answered(settings), "a worker that is started again answers")
    assert letters(settings).keys() == due.keys()
    commands_go_on(settings)
    commands_name_a_missing_library(settings)


def run(settings: Settings, *words: str) -> Result:
    where = ["--bootstrap-servers", settings.bootstrap_servers, "--prefix", settings.prefix]
    return CliRunner().invoke(app, [*words, *where], prog_name="crosscurrent")


def commands_go_on(settings: Settings) -> None:
    for words in (
        ["tail", "clicks", "--from-start", "--until-end"],
        ["tail", "suggestions", "--json", "--from-start", "--until-end"],
        ["dead-letters"],
        ["dead-letters", "--replay"],
        ["neighbours", "--all"],
        ["models", "list"],
    ):
        result = run(settings, *words)
        assert result.exit_code == 0, result.output
        if words[0] in ("tail", "dead-letters"):
            assert "a header whose name is not UTF-8" in result.output


def commands_name_a_missing_library(settings: Settings) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("kafka.codec.zstd", None)
        for command in ("worker", "trainer", "tail"):
            assert isinstance(run(settings, command).exception, CodecError)
