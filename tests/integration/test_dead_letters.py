"""Dead letters are replayed once, and only those that would pass now."""

from __future__ import annotations

import time
from typing import Any

import orjson
from typer.testing import CliRunner

from streams.cli.entry import app
from streams.connectors.jsonl import Line
from streams.errors import RecordError
from streams.kafka.blocking import Sender, TopicReader
from streams.settings import Settings
from streams.wire.codec import dead_letter


def letter(topic: str, offset: int, key: bytes | None, value: bytes | None) -> tuple[bytes, bytes]:
    record: Any = Line(topic, 0, key, value, 0, offset)
    return dead_letter(record, RecordError("$.at", "a time", "none"), round(time.time() * 1000))


def test_a_letter_that_passes_now_is_sent_once_and_one_that_does_not_is_named(created_topics: Settings) -> None:
    clicks = created_topics.prefix + "clicks"
    click = {"v": 1, "user_id": "ann", "item_id": "kettle", "action": "view", "at": round(time.time() * 1000)}
    with Sender(created_topics, ["dead-letters"]) as sender:
        for _ in range(2):  # at least once
            sender.send("dead-letters", *letter(clicks, 7, b"ann", orjson.dumps(click)))
        sender.send("dead-letters", *letter(clicks, 8, b"ann", b"not JSON"))
        sender.send("dead-letters", *letter(created_topics.prefix + "pairs", 9, b"x", b"{}"))
        sender.send("dead-letters", b"x", b"somebody's own")
    where = ["--bootstrap-servers", created_topics.bootstrap_servers, "--prefix", created_topics.prefix]

    first = CliRunner().invoke(app, ["dead-letters", "--replay", *where])
    assert first.exit_code == 0, first.output
    assert "sent 1 again; 1 would come back; 1 cannot be sent" in first.stdout
    assert f"{clicks}-0@8" in first.stderr
    assert "passed over, it is no dead letter" in first.stderr
    second = CliRunner().invoke(app, ["dead-letters", "--replay", *where])
    assert "sent 0 again; 0 would come back; 0 cannot be sent" in second.stdout

    with TopicReader(created_topics, ["clicks"]) as reader:
        sent = [record for batch in reader.read(from_start=True, until_end=True) for record in batch]
    assert [(record.key, orjson.loads(record.value or b"")) for record in sent] == [(b"ann", click)]

    shown = CliRunner().invoke(app, ["dead-letters", "--json", *where])
    assert shown.exit_code == 0
    assert shown.stdout.count("\n") == 5
