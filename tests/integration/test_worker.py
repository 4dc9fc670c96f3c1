"""The worker at work: a process of its own, on a real broker, judged by what comes out of the topics."""

from __future__ import annotations

import asyncio
import base64
import itertools
import math
import signal
import socket
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiokafka
import msgspec
import orjson
import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from kafka import KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType

from models.shop.policy import Policy
from streams.brokers.broker import Broker
from streams.brokers.kafka import KafkaBroker
from streams.kafka import topic_admin
from streams.kafka.admin import administration
from streams.kafka.blocking import TopicReader
from streams.policy_file import parse_policy
from streams.settings import Settings
from streams.wire.codec import decode_dead_letter, decode_suggestion
from streams.wire.partitioner import partition_of
from streams.wire.record import Record
from streams.wire.schemas import DeadLetterRecord, Reason, SuggestedItemRecord, SuggestionRecord, Trigger
from streams.worker.shopper_task import MERGE_WAIT_S
from tests.support.internal_records import FORGED
from tests.support.poison import PATHS, POISON
from tests.support.processes import WorkerProcess, eventually

PARTITIONS = 2
"""As few as can be shared: each costs the broker and the worker something."""

POLICY = "emit_empty = true\n"
"""Every trigger is answered, so that a test can wait for the answer and look at what is not in it."""

CATALOGUE: dict[str, dict[str, Any]] = {
    "kettle": {"category": "Kitchen/Kettles", "price": 20.0, "brand": "Acme", "rating": 4.0},
    "kettle-pro": {"category": "Kitchen/Kettles", "price": 30.0, "brand": "Acme", "rating": 4.5},
    "kettle-old": {"category": "Kitchen/Kettles", "price": 25.0, "rating": 2.0},
    "kettle-gold": {"category": "Kitchen/Kettles", "price": 500.0},
    "mug": {"category": "Kitchen/Mugs", "price": 8.0},
    "mug-none": {"category": "Kitchen/Mugs", "price": 9.0, "in_stock": False},
    "tea": {"category": "Food/Tea", "price": 5.0},
    "lamp": {"category": "Home/Lamps", "price": 40.0},
}


class Shop:
    """A shop on topics of its own: publishes, and looks at what is answered."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.catalogue: dict[str, dict[str, Any]] = {}
        self.answered: dict[str, tuple[Record, dict[str, Any]]] = {}
        """Suggestions by id, the first of each."""
        self._numbers = itertools.count()
        self._shoppers = itertools.count()
        self._producer = KafkaProducer(**settings.kafka_python_options(), acks="all")
        self._reader = TopicReader(settings, ["suggestions"])
        self._batches = self._reader.read(from_start=True, until_end=False)

    def close(self) -> None:
        self._batches.close()  # type: ignore[attr-defined]
        self._reader.__exit__()
        self._producer.close(timeout=5)

    def publish(self, topic: str, key: str, value: dict[str, Any] | None) -> str:
        """Send one record and wait for its acknowledgement; gives `<full topic>-<partition>-<offset>`."""
        raw = None if value is None else orjson.dumps({"v": 1, **value})
        done = self._producer.send(self.settings.prefix + topic, key=key.encode(), value=raw).get(timeout=60)
        return f"{done.topic}-{done.partition}-{done.offset}"

    def offer(self, item_id: str, **fields: Any) -> None:
        """A catalogue record of an item, with some fields other than before."""
        known = self.catalogue.setdefault(item_id, {"item_id": item_id, "title": f"A {item_id}"})
        known |= fields
        self.publish("catalog", item_id, known)

    def withdraw(self, item_id: str) -> None:
        del self.catalogue[item_id]
        self.publish("catalog", item_id, None)

    def click(self, user_id: str, item_id: str, action: str = "view", at: int | None = None) -> str:
        at = round(time.time() * 1000) if at is None else at
        return self.publish("clicks", user_id, {"user_id": user_id, "item_id": item_id, "action": action, "at": at})

    def buy(self, user_id: str, *item_ids: str) -> str:
        order, lines = f"order-{next(self._numbers)}", [{"item_id": item_id} for item_id in item_ids]
        fields = {"user_id": user_id, "order_id": order, "at": round(time.time() * 1000), "items": lines}
        return self.publish("purchases", user_id, fields)

    def somebody(self, partition: int | None = None) -> str:
        """A shopper never seen before, of a partition."""
        names = (f"shopper-{number}" for number in self._shoppers)
        return next(name for name in names if partition in (None, partition_of(name.encode(), PARTITIONS)))

    def answer(self, event_id: str) -> dict[str, Any]:
        """The suggestion for an event, once there is one."""

        def look() -> dict[str, Any] | None:
            if event_id not in self.answered:
                self.read_on()
            return self.answered.get(event_id, (None, None))[1]

        return eventually(look, f"an answer to {event_id}")

    def read_on(self) -> None:
        """Take in what has been answered."""
        for record in next(self._batches):
            assert record.value is not None
            value = orjson.loads(record.value)
            self.answered.setdefault(value["suggestion_id"], (record, value))

    def view(self, item_id: str) -> dict[str, Any]:
        """What a shopper never seen before is suggested for an item."""
        return self.answer(self.click(self.somebody(), item_id))

    def all(self, topic: str) -> list[Record]:
        with TopicReader(self.settings, [topic]) as reader:
            return [one for batch in reader.read(from_start=True, until_end=True) for one in batch]

    def count(self, topic: str) -> int:
        """How many records a topic has."""
        with TopicReader(self.settings, [topic]) as reader:
            return sum(reader.ends().values())

    def open(self) -> None:
        """Fill the catalogue, and have a few shoppers who look at kettles and buy one with a mug."""
        for item_id, fields in CATALOGUE.items():
            self.offer(item_id, **fields)
        for _ in range(4):
            shopper = self.somebody()
            self.click(shopper, "kettle")
            self.click(shopper, "kettle-pro", "click")
            self.click(shopper, "mug", "add_to_cart")
            self.buy(shopper, "kettle", "mug")
            self.buy(self.somebody(), "tea", "lamp")


def ids(suggestion: dict[str, Any], kind: str | None = None) -> list[str]:
    """Items of a suggestion."""
    return [item["item_id"] for item in suggestion["items"] if kind in (None, item["kind"])]


@pytest.fixture(scope="module")
def at_work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[WorkerProcess, Shop, Path]]]:
    """Workers that several tests share, by broker."""
    shared: dict[str, tuple[WorkerProcess, Shop, Path]] = {}
    yield shared
    for worker, shop, _ in shared.values():
        shop.close()
        worker.kill()


@pytest.fixture
def open_shop(
    broker: Broker,
    at_work: dict[str, tuple[WorkerProcess, Shop, Path]],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[WorkerProcess, Shop, Path]:
    """A shop with customers, its worker, and the worker's policy file; shared by the tests of this file."""
    if broker.title not in at_work:
        settings = broker.settings(prefix=f"shop{time.time_ns():x}-", partitions=PARTITIONS, item_partitions=PARTITIONS)
        topic_admin.create(settings)
        folder = tmp_path_factory.mktemp("worker")
        policy = folder / "policy.toml"
        policy.write_text(POLICY)
        worker, shop = WorkerProcess(settings, folder, policy), Shop(settings)
        at_work[broker.title] = worker, shop, policy
        worker.await_ready()
        shop.open()
    worker, shop, policy = at_work[broker.title]
    assert worker.running, worker.complaints[-3000:]
    return worker, shop, policy


@pytest.fixture
def shop(broker: Broker, prefix: str) -> Iterator[Shop]:
    """A shop of one test alone; no worker yet."""
    settings = broker.settings(prefix=prefix, partitions=PARTITIONS, item_partitions=PARTITIONS)
    made = topic_admin.create(settings)
    shop = Shop(settings)
    yield shop
    shop.close()
    with administration(settings) as client:
        client.delete_topics(made, raise_errors=False)


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "policy.toml"
    file.write_text(POLICY)
    return file


# -- the whole path ----------------------------------------------------------------------------------------------------


def fields_of(record_type: type[msgspec.Struct], *, required: bool) -> set[str]:
    return {one.encode_name for one in msgspec.structs.fields(record_type) if one.required or not required}


def is_exactly(value: dict[str, Any], record_type: type[msgspec.Struct]) -> None:
    """It has every required field and none that the contract does not name."""
    assert fields_of(record_type, required=True) <= set(value) <= fields_of(record_type, required=False)


def keeps_its_promises(value: dict[str, Any], catalogue: dict[str, dict[str, Any]], not_again: set[str]) -> None:
    policy = Policy()
    trigger = set(value["trigger"]["item_ids"])
    assert len(set(ids(value))) == len(ids(value))
    for item in value["items"]:
        offered, anchor = catalogue[item["item_id"]], catalogue[item["anchor"]]
        assert item["anchor"] in trigger | not_again
        assert item["item_id"] not in trigger | not_again
        assert offered.get("in_stock", True)
        assert {name: item[name] for name in ("price", "category", "title")} == {
            name: offered[name] for name in ("price", "category", "title")
        }
        assert item["reasons"]
        assert all(reason["text"] and reason["source"] for reason in item["reasons"])
        if item["kind"] == "cross-sell":
            assert offered["category"] not in {catalogue[one]["category"] for one in trigger | not_again}
        else:
            assert value["trigger"]["action"] != "purchase"
            assert offered["category"] == anchor["category"]
            step = offered["price"] / anchor["price"] - 1
            assert policy.min_step <= step <= policy.max_step
            if "rating" in offered and "rating" in anchor:
                assert offered["rating"] >= anchor["rating"]


def test_clicks_and_purchases_become_a_cross_sell_and_an_upsell_with_reasons(
    open_shop: tuple[WorkerProcess, Shop, Path],
) -> None:
    _, shop, _ = open_shop

    def learnt() -> dict[str, Any] | None:
        answer = shop.view("kettle")
        reasons = {item["item_id"]: item["reasons"] for item in answer["items"]}
        counted = all(
            any(reason.get("anchor") == "kettle" and reason.get("count", 0) >= 4 for reason in reasons.get(item_id, []))
            for item_id in ("mug", "kettle-pro")
        )
        return answer if counted else None

    answer = eventually(learnt, "mug and kettle-pro are suggested because of what was seen with the kettle")
    assert "mug" in ids(answer, "cross-sell")
    assert ids(answer, "upsell") == ["kettle-pro"]  # not the worse one, nor the one at 25 times the price
    (mug,) = (item for item in answer["items"] if item["item_id"] == "mug")
    assert any(reason["source"] == "bought_with" and reason["lift"] > 1 for reason in mug["reasons"])


def test_suggestions_are_as_the_contract_says(open_shop: tuple[WorkerProcess, Shop, Path]) -> None:
    _, shop, policy = open_shop
    shopper, at = shop.somebody(), round(time.time() * 1000)
    event_id = shop.click(shopper, "kettle", "click", at)
    shop.answer(event_id)
    record, value = shop.answered[event_id]
    decoded = decode_suggestion(record)
    is_exactly(value, SuggestionRecord)
    is_exactly(value["trigger"], Trigger)
    assert value["items"]
    for item in value["items"]:
        is_exactly(item, SuggestedItemRecord)
        assert math.isfinite(item["score"])
        assert 0 < item["propensity"] <= 1
        for reason in item["reasons"]:
            is_exactly(reason, Reason)
    topic, partition, offset = event_id.rsplit("-", 2)
    where = {"topic": topic, "partition": int(partition), "offset": int(offset)}
    assert value["trigger"] == {**where, "action": "click", "item_ids": ["kettle"]}
    assert topic == f"{shop.settings.prefix}clicks"
    assert record.key == shopper.encode()
    assert record.partition == partition_of(shopper.encode(), PARTITIONS)
    assert (decoded.v, decoded.user_id) == (1, shopper)
    seconds, milliseconds = divmod(at, 1000)
    assert decoded.at == time.strftime(f"%Y-%m-%dT%H:%M:%S.{milliseconds:03}Z", time.gmtime(seconds))
    assert decoded.policy == parse_policy(policy.read_text(), "policy").hash
    assert decoded.models
    assert decoded.latency_ms >= 0


def test_both_promises_hold_for_a_whole_visit(open_shop: tuple[WorkerProcess, Shop, Path]) -> None:
    _, shop, _ = open_shop
    shopper, not_again = shop.somebody(), set[str]()
    for item_id, action in (
        ("kettle", "view"),
        ("tea", "add_to_cart"),
        ("kettle", "add_to_cart"),
        ("lamp", "click"),
        ("mug", "view"),
    ):
        if action == "add_to_cart":
            not_again.add(item_id)
        keeps_its_promises(shop.answer(shop.click(shopper, item_id, action)), shop.catalogue, not_again)
    keeps_its_promises(shop.answer(shop.buy(shopper, "kettle", "tea")), shop.catalogue, set())
    answer = shop.answer(shop.click(shopper, "lamp"))
    assert not {"kettle", "tea"} & set(ids(answer)), "what was bought is suggested again"
    assert answer["items"]


# -- the catalogue -----------------------------------------------------------------------------------------------------


def test_a_new_price_is_in_the_next_answers_and_what_is_sold_out_or_withdrawn_is_not(
    open_shop: tuple[WorkerProcess, Shop, Path],
) -> None:
    _, shop, _ = open_shop

    def price() -> float | None:
        prices = {item["item_id"]: item["price"] for item in shop.view("kettle")["items"]}
        return prices.get("kettle-pro")

    def stays(item_id: str, *, away: bool) -> None:
        """Once the global tables have it, it holds for every event."""
        eventually(lambda: (item_id not in ids(shop.view("kettle"))) is away, f"{item_id} is away: {away}")
        assert all((item_id not in ids(shop.view("kettle"))) is away for _ in range(3))

    try:
        assert price() == 30.0
        shop.offer("kettle-pro", price=31.5)
        eventually(lambda: price() == 31.5, "the new price is in the answer")
        assert [price() for _ in range(3)] == [31.5] * 3
        shop.offer("kettle-pro", price=90.0)  # a step too far
        stays("kettle-pro", away=True)
        shop.offer("kettle-pro", price=30.0)
        stays("kettle-pro", away=False)
        shop.offer("mug", in_stock=False)
        stays("mug", away=True)
        shop.offer("mug", in_stock=True)
        stays("mug", away=False)
        shop.withdraw("mug")
        stays("mug", away=True)
    finally:
        shop.offer("mug", in_stock=True, **CATALOGUE["mug"])
        shop.offer("kettle-pro", price=30.0)
    stays("mug", away=False)


# -- the policy --------------------------------------------------------------------------------------------------------


def test_at_sighup_a_valid_policy_is_in_force_and_an_invalid_one_is_not(
    open_shop: tuple[WorkerProcess, Shop, Path],
) -> None:
    worker, shop, policy = open_shop
    before = shop.view("kettle")["policy"]
    try:
        policy.write_text(f"{POLICY}\nmax_items = 'many'\n")
        worker.signal(signal.SIGHUP)
        sentence = f"{policy}:3: max_items "
        eventually(lambda: sentence in worker.complaints, "the wrong key is named")
        assert "the policy in force is kept" in worker.complaints
        assert shop.view("kettle")["policy"] == before

        many = "".join(f"  'item-{number}',\n" for number in range(100_000))
        for end in ("max_upsell = 9\n", "max_upsell = 'none'\n", "max_upsell = 0\n"):  # the last one wins
            policy.write_text(f"{POLICY}exclude_items = [\n{many}  'mug',\n]\n{end}")
            worker.signal(signal.SIGHUP)
        meant = parse_policy(policy.read_text(), "policy").hash
        eventually(lambda: shop.view("kettle")["policy"] == meant, "the new policy is in force")
        answer = shop.view("kettle")
        assert answer["items"]
        assert "mug" not in ids(answer)
        assert not ids(answer, "upsell")
    finally:
        policy.write_text(POLICY)
        worker.signal(signal.SIGHUP)
    eventually(lambda: shop.view("kettle")["policy"] == before, "the first policy is in force again")


# -- poison ------------------------------------------------------------------------------------------------------------


async def send_as_it_is(
    settings: Settings, topic: str, partition: int, key: bytes | None, value: bytes | None
) -> int | None:
    """Append a record that producers refuse to build: neither key nor value. None: the broker refuses it."""
    async with aiokafka.AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers) as producer:
        batch = producer.create_batch()
        batch.append(key=key, value=value, timestamp=round(time.time() * 1000))
        batch.close()
        try:
            done = await (await producer.send_batch(batch, settings.prefix + topic, partition=partition))
        except KafkaError:  # Apache Kafka compacts by key, and wants one
            return None
    offset: int = done.offset
    return offset


def test_every_poisoned_record_becomes_a_dead_letter_and_the_stream_goes_on(
    broker: Broker, open_shop: tuple[WorkerProcess, Shop, Path]
) -> None:
    _, shop, _ = open_shop
    full = shop.settings.prefix
    before = len(shop.all("dead-letters"))
    sent: dict[tuple[str, int, int], str] = {}
    refused = []
    waiting = []
    options = {"compression_type": "gzip", "max_request_size": 16 << 20}  # a broker's limit is of compressed bytes
    with KafkaProducer(**shop.settings.kafka_python_options(), acks="all", **options) as producer:
        for name, topic, key, value in POISON:
            if key is None and value is None:
                offset = asyncio.run(send_as_it_is(shop.settings, topic, 0, key, value))
                if offset is None:
                    refused.append(name)
                else:
                    sent[f"{full}{topic}", 0, offset] = name
            else:
                waiting.append((name, producer.send(full + topic, key=key, value=value)))
        for name, future in waiting:
            done = future.get(timeout=60)
            sent[done.topic, done.partition, done.offset] = name
    assert len(sent) + len(refused) == len(POISON)
    assert len(sent) >= 30
    assert not (refused and broker.embedded)

    for partition in range(PARTITIONS):  # the stream goes on, in every partition
        assert shop.answer(shop.click(shop.somebody(partition), "kettle"))["items"]

    came = eventually(
        lambda: found if len(found := shop.all("dead-letters")[before:]) >= len(sent) else None,
        f"{len(sent)} dead letters",
    )
    cases = {name: (key, value) for name, _, key, value in POISON}
    letters = defaultdict(list)
    for record in came:
        letter = decode_dead_letter(record)
        is_exactly(orjson.loads(record.value or b""), DeadLetterRecord)
        assert record.key == letter.topic.encode()
        letters[letter.topic, letter.partition, letter.offset].append(letter)
    assert set(letters) == set(sent)
    for where, (letter, *more) in letters.items():
        name = sent[where]
        assert not more, f"{name} came twice without a restart"
        key, value = cases[name]
        if letter.left_out_bytes is None:
            assert (b64(letter.key), b64(letter.value)) == (key, value), name
        else:
            assert letter.left_out_bytes == len(key or b"") + len(value or b"") > 600_000, name
        assert letter.path == PATHS[name], name
        place = f"{where[0]}-{where[1]}@{where[2]}"
        assert letter.reason.startswith(f"{place}: "), name
        assert " must be " in letter.reason, name


def b64(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text, validate=True)


# -- pages -------------------------------------------------------------------------------------------------------------


def test_the_counters_add_up_to_everything_published(open_shop: tuple[WorkerProcess, Shop, Path]) -> None:
    worker, shop, _ = open_shop
    for topic in ("clicks", "purchases"):
        published = shop.count(topic)

        def outcomes(topic: str = topic) -> dict[str, int]:
            counted = worker.counter("events")  # labels in order: outcome, topic
            return {what: n for (what, name), n in counted.items() if name == shop.settings.prefix + topic}

        def all_counted(topic: str = topic, published: int = published) -> bool:
            return sum(outcomes(topic).values()) >= published

        eventually(all_counted, f"{published} records of {topic} are counted")
        found = outcomes()
        assert sum(found.values()) == published
        assert found.keys() <= {
            "suggested", "nothing to suggest", "no trigger", "too old", "forgotten", "repeated", "dead letter"
        }  # fmt: skip
        assert found["suggested"] > 0
    answers = [orjson.loads(record.value or b"") for record in shop.all("suggestions")]
    counted = worker.counter("events")
    emitted = sum(n for (what, _), n in counted.items() if what in ("suggested", "nothing to suggest"))
    assert len(answers) == len({one["suggestion_id"] for one in answers}) == emitted
    items = sum(len(one["items"]) for one in answers)
    assert sum(worker.counter("suggested_items").values()) == items


def test_the_pages_answer_on_the_loopback_address_only_and_fausts_own_are_off(
    open_shop: tuple[WorkerProcess, Shop, Path],
) -> None:
    worker, _, _ = open_shop
    assert worker.page("/metrics")[0] == 200
    status, body = worker.page("/health")
    assert (status, orjson.loads(body)) == (200, {"healthy": True, "failure": None})
    status, body = worker.page("/ready")
    tasks = {f"{kind}-{number}": True for kind in ("shoppers", "items", "catalog") for number in range(PARTITIONS)}
    snapshots = {model: {"in_use": None, "fault": None} for model in ("sequence", "ranker")}
    said = orjson.loads(body)
    assert isinstance(said.pop("misplaced"), dict)
    assert (status, said) == (200, {"ready": True, "lanes": tasks, "snapshots": snapshots})
    for path in ("/table", "/table/", "/tables/", "/router", "/router/", "/graph", "/graph/", "/production-index/"):
        assert worker.page(path)[0] == 404, path
    with pytest.raises(OSError), socket.create_connection(("127.0.0.2", worker.port), timeout=5):
        pass


def test_ready_is_said_once_and_nothing_else_is_on_standard_output(
    open_shop: tuple[WorkerProcess, Shop, Path],
) -> None:
    worker, _, _ = open_shop
    assert worker.printed == "ready\n"
    assert "Traceback" not in worker.complaints


# -- another partitioner -----------------------------------------------------------------------------------------------


def test_purchases_of_another_partitioner_are_said_and_refused_as_the_policy_says(
    open_shop: tuple[WorkerProcess, Shop, Path],
) -> None:
    worker, shop, policy = open_shop
    purchases, ann = f"{shop.settings.prefix}purchases", shop.somebody(0)

    def buys_tea(order: str, partition: int) -> str:
        """What librdkafka does by default: its hash puts the shopper into a partition of choice."""
        order_of = {"v": 1, "user_id": ann, "order_id": order, "at": round(time.time() * 1000)}
        value = orjson.dumps({**order_of, "items": [{"item_id": "tea"}]})
        with KafkaProducer(**shop.settings.kafka_python_options(), acks="all") as producer:
            done = producer.send(purchases, key=ann.encode(), value=value, partition=partition).get(timeout=60)
        return f"{done.topic}-{done.partition}-{done.offset}"

    def misplaced() -> int:
        status, body = worker.page("/ready")
        assert status == 200
        count: int = orjson.loads(body)["misplaced"].get(purchases, 0)
        return count

    before = shop.view("kettle")["policy"]
    policy.write_text(f'{POLICY}misplaced = "dead-letter"\n')
    worker.signal(signal.SIGHUP)
    try:
        eventually(lambda: shop.view("kettle")["policy"] != before, "the new policy is in force")
        event_id = buys_tea("o-tea", 1)
        topic, partition, offset = event_id.rsplit("-", 2)

        def letter() -> DeadLetterRecord | None:
            letters = map(decode_dead_letter, shop.all("dead-letters"))
            place = (topic, int(partition), int(offset))
            return next((one for one in letters if (one.topic, one.partition, one.offset) == place), None)

        refused = eventually(letter, "the purchase is a dead letter")
        assert "must be in partition 0, where its key belongs" in refused.reason
        assert "partitioner=murmur2_random" in refused.reason
        assert misplaced() == 1
        first = f"(the first: {topic}-1@{offset} belongs in "
        said = f"records of {purchases} lie in other partitions than their keys' {first}"
        assert worker.complaints.count(said) == 1
        shop.answer(buys_tea("o-tea", 0))  # as `crosscurrent dead-letters --replay` sends it
        assert "tea" not in ids(shop.answer(shop.click(ann, "lamp")))
        assert misplaced() == 1
        assert event_id not in shop.answered
    finally:
        policy.write_text(POLICY)
        worker.signal(signal.SIGHUP)
    eventually(lambda: shop.view("kettle")["policy"] == before, "the first policy is in force again")
    shop.answer(buys_tea("o-again", 1))  # used where it is
    assert misplaced() == 2


# -- starting and ending -----------------------------------------------------------------------------------------------


def test_a_worker_does_not_start_without_topics_or_with_a_wrong_policy(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    settings = broker.settings(prefix=prefix)
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("max_items = 3\n\nexplore = 7\n")
    with (
        WorkerProcess(settings, tmp_path / "a") as without_topics,
        WorkerProcess(settings, tmp_path / "b", wrong) as without_policy,
    ):
        assert (without_topics.wait(), without_policy.wait()) == (1, 1)
        (sentence,) = without_topics.complaints.splitlines()
        assert sentence.startswith(f"topics are not as they must be: missing: {prefix}clicks, ")
        assert "`crosscurrent topics create` makes them" in sentence
        assert without_policy.complaints == f"{wrong}:3: explore must be a number from 0 to 1, got 7\n"
        assert without_topics.printed == without_policy.printed == ""
    with administration(settings) as client:
        assert not [name for name in client.list_topics() if name.startswith(prefix)]


def test_a_forgotten_shopper_stays_forgotten_after_a_kill(shop: Shop, policy: Path, tmp_path: Path) -> None:
    for item_id, fields in CATALOGUE.items():
        shop.offer(item_id, **fields)
    ann = shop.somebody()
    partition = partition_of(ann.encode(), PARTITIONS)

    def not_answered(event_id: str) -> bool:
        """Another shopper's later click of the same partition is answered, this one is not."""
        shop.answer(shop.click(shop.somebody(partition), "kettle"))
        return event_id not in shop.answered

    with WorkerProcess(shop.settings, tmp_path / "first", policy).await_ready() as first:
        eventually(lambda: "mug" in ids(shop.view("kettle")), "the catalogue is mirrored")
        shop.answer(shop.click(ann, "mug", "add_to_cart"))
        assert "mug" not in ids(shop.answer(shop.click(ann, "kettle"))), "what is in the cart is suggested"
        forgotten_at = round(time.time() * 1000)
        shop.publish("profiles", ann, {"user_id": ann, "at": forgotten_at, "forget": True})
        noted = ("noted", f"{shop.settings.prefix}profiles")
        eventually(lambda: first.counter("events")[noted] == 1, "the wish to be forgotten is noted")
        assert not_answered(shop.click(ann, "kettle", at=forgotten_at - 1000))
        first.kill()

    with WorkerProcess(shop.settings, tmp_path / "second", policy).await_ready() as second:
        assert not_answered(shop.click(ann, "kettle", at=forgotten_at - 500))
        assert second.counter("events")["forgotten", f"{shop.settings.prefix}clicks"] >= 1
        answer = shop.answer(shop.click(ann, "kettle"))
        assert "mug" in ids(answer), "the cart of a forgotten shopper is remembered"
        assert {item["anchor"] for item in answer["items"]} == {"kettle"}
        assert second.stop() == 0


def test_forged_records_of_internal_topics_are_passed_over_counted_and_stop_no_start(
    shop: Shop, policy: Path, tmp_path: Path
) -> None:
    prefix, sent = shop.settings.prefix, Counter[str]()
    with KafkaProducer(**shop.settings.kafka_python_options(), acks="all") as producer:
        for forged in FORGED.values():
            if forged.key is not None:  # Apache Kafka compacts by key, and wants one
                producer.send(f"{prefix}{forged.topic}", key=forged.key, value=forged.value, partition=0)
                sent[forged.topic] += 1
    shop.offer("kettle", **CATALOGUE["kettle"])
    with WorkerProcess(shop.settings, tmp_path, policy).await_ready() as worker:
        shop.view("kettle")
        for topic in ("progress", "forgotten", "neighbours", "histories", "snapshots"):
            assert worker.counter("mirror_unusable")[(f"{prefix}{topic}",)] == sent[topic]
        letters = eventually(
            lambda: found if len(found := shop.all("dead-letters")) >= sent["pairs"] else None, "dead letters of pairs"
        )
        assert worker.running
    assert {decode_dead_letter(record).topic for record in letters} == {f"{prefix}pairs"}


def test_a_worker_ends_well_at_sigterm_and_does_not_start_on_a_topic_made_again(
    shop: Shop, policy: Path, tmp_path: Path
) -> None:
    clicks = f"{shop.settings.prefix}clicks"
    shop.offer("kettle", **CATALOGUE["kettle"])
    with WorkerProcess(shop.settings, tmp_path / "first", policy).await_ready() as worker:
        for partition in range(PARTITIONS):
            shop.answer(shop.click(shop.somebody(partition), "kettle"))
        assert worker.stop() == 0
        assert "Traceback" not in worker.complaints
    with administration(shop.settings) as client:
        client.delete_topics([clicks])
        eventually(lambda: clicks not in client.list_topics(), "the topic is gone")
    assert topic_admin.create(shop.settings) == [clicks]
    with WorkerProcess(shop.settings, tmp_path / "second", policy) as worker:
        assert worker.wait() == 1
        sentence = f"topic {clicks} is not the one whose positions are in `progress`"
        assert sentence in worker.complaints
        assert "delete the topics pairs, neighbours, progress and" in worker.complaints
        assert "ready" not in worker.printed


def test_a_worker_without_partitions_is_ready_and_takes_over_from_one_that_is_killed(
    shop: Shop, policy: Path, tmp_path: Path
) -> None:
    for item_id, fields in CATALOGUE.items():
        shop.offer(item_id, **fields)
    workers = [WorkerProcess(shop.settings, tmp_path / f"{number}", policy) for number in range(PARTITIONS + 1)]
    try:
        for worker in workers:
            worker.await_ready()

        def owners() -> list[list[str]]:
            return [sorted(name for name, held in one.tasks().items() if held) for one in workers if one.running]

        each = eventually(
            lambda: found if sum(map(len, found := owners())) == 3 * PARTITIONS and [] in found else None,
            "two workers share the tasks and the third has none",
        )
        idle = each.index([])
        victim = next(number for number, tasks in enumerate(each) if tasks)
        for partition in range(PARTITIONS):
            shop.answer(shop.click(shop.somebody(partition), "kettle"))
        workers[victim].kill()
        for partition in range(PARTITIONS):
            shop.answer(shop.click(shop.somebody(partition), "kettle"))
        others = [worker for worker in workers if worker.running]
        eventually(
            lambda: sum(map(len, owners())) == 3 * PARTITIONS,
            "all tasks are held again",
            say=lambda: "".join(f"\n{worker.tasks()}\n{worker.complaints[-3000:]}" for worker in others),
        )
        assert workers[idle].tasks()
        assert "Traceback" not in workers[idle].complaints
    finally:
        for worker in workers:
            worker.kill()


def test_a_shop_that_writes_in_transactions_is_answered_at_once(
    kafka_broker: KafkaBroker, prefix: str, policy: Path, tmp_path: Path
) -> None:
    """The marker behind a transaction is never delivered: the merge of clicks and purchases must not wait for it."""
    settings = kafka_broker.settings(prefix=prefix, partitions=1, item_partitions=1)
    topic_admin.create(settings)
    worker, shop = WorkerProcess(settings, tmp_path, policy), Shop(settings)
    producer = KafkaProducer(**settings.kafka_python_options(), acks="all", transactional_id=f"{prefix}shop")
    try:
        worker.await_ready()
        producer.init_transactions()
        shop.offer("kettle", **CATALOGUE["kettle"])
        shop.view("kettle")
        latencies = []
        for number in range(8):
            now = round(time.time() * 1000)
            order = {"v": 1, "user_id": "ann", "order_id": f"o{number}", "at": now, "items": [{"item_id": "tea"}]}
            producer.begin_transaction()
            producer.send(f"{prefix}purchases", key=b"ann", value=orjson.dumps(order)).get(timeout=60)
            producer.commit_transaction()
            latencies.append(shop.answer(shop.click("bob", "kettle"))["latency_ms"])
        assert sorted(latencies)[4] < 1000 * MERGE_WAIT_S, latencies

        def gauge(name: str) -> float:
            return worker.gauge(name, topic=f"{prefix}purchases", partition="0")

        producer.begin_transaction()
        order |= {"order_id": "open", "at": round(time.time() * 1000)}
        producer.send(f"{prefix}purchases", key=b"ann", value=orjson.dumps(order)).get(timeout=60)
        eventually(lambda: gauge("open_transaction") == 1, "the open transaction is seen")
        latencies = [shop.answer(shop.click("bob", "kettle"))["latency_ms"] for _ in range(8)]
        assert sorted(latencies)[4] < 1000 * MERGE_WAIT_S, latencies
        eventually(lambda: gauge("lag") == 0, "only the marker before it was behind")
        producer.commit_transaction()
        eventually(lambda: gauge("open_transaction") == 0, "it has ended")
        assert sum(worker.counter("watchdog_reads").values()) <= 2, "markers at the end of an idle partition"
    finally:
        producer.close(timeout=5)
        shop.close()
        worker.kill()


def test_a_foreign_commit_of_the_group_skips_no_event(
    kafka_broker: KafkaBroker, prefix: str, policy: Path, tmp_path: Path
) -> None:
    settings = kafka_broker.settings(prefix=prefix, partitions=1, item_partitions=1)
    topic_admin.create(settings)
    clicks, shop = TopicPartition(f"{prefix}clicks", 0), Shop(settings)

    async def commit(offset: int) -> None:
        """As an operator or a foreign consumer of the group does while no worker runs."""
        consumer = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=settings.bootstrap_servers, group_id=settings.full_group, enable_auto_commit=False
        )
        async with consumer:
            consumer.assign([clicks])
            await consumer.commit({clicks: offset})

    try:
        with WorkerProcess(settings, tmp_path / "first", policy).await_ready() as worker:
            for _ in range(20):
                last = shop.click("ann", "kettle")
            shop.answer(last)
            assert worker.stop() == 0
        missed = [shop.click("ann", "kettle") for _ in range(30)]
        asyncio.run(commit(50))
        with WorkerProcess(settings, tmp_path / "second", policy).await_ready() as worker:
            for event_id in missed:
                shop.answer(event_id)
            assert "recorded in `progress` is 20, and the group has committed 50; going on at 20" in worker.complaints
    finally:
        shop.close()


def test_what_is_over_the_brokers_limit_is_shortened_or_left_out_and_stops_nothing(
    kafka_broker: KafkaBroker, prefix: str, policy: Path, tmp_path: Path
) -> None:
    settings = kafka_broker.settings(prefix=prefix, partitions=1, item_partitions=1)
    topic_admin.create(settings)
    worker, shop = WorkerProcess(settings, tmp_path, policy), Shop(settings)

    def limit(most: int, *topics: str) -> None:
        """Set the largest packet of topics."""
        configs = {"max.message.bytes": str(most)}
        with administration(settings) as client:
            client.alter_configs(
                [ConfigResource(ConfigResourceType.TOPIC, prefix + topic, configs) for topic in topics]
            )

    def outcomes() -> Counter[tuple[str, ...]]:
        return worker.counter("too_large")

    try:
        worker.await_ready()
        for item_id, fields in CATALOGUE.items():
            shop.offer(item_id, **fields, title=f"A {item_id} {'x' * 200}")
        for _ in range(4):
            shop.buy(shop.somebody(), "kettle", "mug", "tea", "lamp")
        whole = eventually(lambda: found if len((found := shop.view("kettle"))["items"]) > 2 else None, "a list")
        trigger = shop.answer(shop.buy("ann", *(f"item-{number}" for number in range(10_000))))["trigger"]
        assert (trigger["item_ids"], trigger["item_count"]) == ([f"item-{number}" for number in range(100)], 10_000)

        limit(2_000, "suggestions", "dead-letters")
        assert 0 < len(ids(shop.view("kettle"))) < len(ids(whole))
        shop.publish("clicks", "ann", {"user_id": "ann", "item_id": "x" * 3_000})
        (record,) = eventually(lambda: shop.all("dead-letters"), "a dead letter")
        letter = decode_dead_letter(record)
        assert (letter.path, letter.value) == ("$.item_id", None)
        assert outcomes() == {("shortened", f"{prefix}suggestions"): 1, ("shortened", f"{prefix}dead-letters"): 1}

        limit(100, "suggestions")
        shop.click("ann", "kettle")
        eventually(lambda: outcomes()["left out", f"{prefix}suggestions"], "a suggestion is left out")
        limit(1_048_588, "suggestions")
        assert len(ids(shop.view("kettle"))) == len(ids(whole))
        complaint = f"more than max.message.bytes of topic {prefix}suggestions allows: set it to 1048588 or more"
        assert worker.complaints.count(complaint) == 2  # one for each outcome

        limit(50, "progress")
        shop.click("ann", "kettle")
        assert worker.wait() == 1
        assert f"more than max.message.bytes of topic {prefix}progress (50) allows: set it to" in worker.complaints
    finally:
        shop.close()
        worker.kill()
