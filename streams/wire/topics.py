"""The topics: the one place that knows their names, keys, partitions, cleaning and retention.

`create` makes them, `check` compares them, `identities` is what a worker asks before it starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import for_code

from streams.errors import TopicsError
from streams.kafka.admin import administration
from streams.settings import Settings

if TYPE_CHECKING:
    from streams.worker.context import Identity

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

NOT_THERE = 3
"""Kafka's error code for a topic that does not exist."""
NO_LEADER = 5
"""... for one that has partitions without a leader just now."""
EXISTS = 36
"""Kafka's error code for a topic that exists already."""

Count = Literal["shoppers", "items", "catalog"]
"""Topics of one kind have as many partitions as each other, so that the same keys are in the same numbers."""

APPEND_TIME = {"message.timestamp.type": "LogAppendTime"}
"""Records are stamped when they arrive. Memory, latency and `max_suggestion_age_s` count from then; with the senders'
clocks, replayed events of last year would be deleted as they come, and a clock gone wrong would bend the memory."""

MANY_COPIES = 3
"""From so many copies on, a write is acknowledged by at least two, so that the loss of one broker loses nothing."""


def _compaction(lag_ms: int) -> dict[str, str]:
    """Settings of a compacted topic of which every process reads the whole at start, so that it stays small.

    Args:
        lag_ms: a record stays at least so long, even where a later one has its key.
    """
    return {
        # The newest segment is never compacted. By default it lives for a week: up to a week of old rows, flush by
        # flush, would be read at every start.
        "segment.ms": str(10 * MINUTE_MS),
        # Compact once a tenth is outdated instead of half: a start reads at most a ninth more than it needs.
        "min.cleanable.dirty.ratio": "0.1",
        "min.compaction.lag.ms": str(lag_ms),
        # A reader that began before a tombstone must still meet it: longer than any start takes.
        "delete.retention.ms": str(DAY_MS),
    }


@dataclass(frozen=True)
class Topic:
    """What a topic is."""

    name: str
    """Without prefix."""
    key: str
    """What the key of its records is."""
    partitions: Count
    """With which others it agrees on their number."""
    cleanup: Literal["delete", "compact"]
    written_by: str
    read_by: str
    retention_ms: int | None = None
    """How long records stay, for `delete`."""
    configs: Mapping[str, str] = field(default_factory=dict)
    """More settings, as the broker names them."""
    internal: bool = False
    """Whether it is the workers' own: others neither read nor write it."""

    @property
    def all_configs(self) -> dict[str, str]:
        """All settings, as the broker names them."""
        retention = {} if self.retention_ms is None else {"retention.ms": str(self.retention_ms)}
        return {"cleanup.policy": self.cleanup, **retention, **self.configs}


_LATE_OWNER_MS = HOUR_MS
"""Longest pause of a worker that is survived. One that wakes later can publish old rows; as long as the record they
are compared with is still there, in its place, the owner sees that they are old and publishes its own again."""

TOPICS: tuple[Topic, ...] = (
    Topic(
        name="clicks",
        key="user_id",
        partitions="shoppers",
        cleanup="delete",
        retention_ms=7 * DAY_MS,  # two days of memory and five of outage
        configs=APPEND_TIME,
        written_by="the shop",
        read_by="worker, trainer",
    ),
    Topic(
        name="purchases",
        key="user_id",
        partitions="shoppers",
        cleanup="delete",
        retention_ms=60 * DAY_MS,  # 35 days of memory and 25 of outage
        configs=APPEND_TIME,
        written_by="the shop",
        read_by="worker, trainer",
    ),
    Topic(
        name="profiles",
        key="user_id",
        partitions="shoppers",
        cleanup="compact",
        configs={**APPEND_TIME, **_compaction(0)},
        written_by="the shop (optional)",
        read_by="worker",
    ),
    Topic(
        name="feedback",
        key="user_id",
        partitions="shoppers",
        cleanup="delete",
        retention_ms=30 * DAY_MS,  # a month of outcomes to learn from
        configs=APPEND_TIME,
        written_by="the shop (optional)",
        read_by="worker, trainer",
    ),
    Topic(
        name="suggestions",
        key="user_id",
        partitions="shoppers",
        cleanup="delete",
        retention_ms=7 * DAY_MS,  # a shop uses them at once; the trainer joins them with outcomes of the days after
        written_by="worker",
        read_by="the shop, trainer",
    ),
    Topic(
        name="catalog",
        key="item_id",
        partitions="catalog",
        cleanup="compact",
        configs=_compaction(0),
        written_by="the shop",
        read_by="every process, whole",
    ),
    Topic(
        name="dead-letters",
        key="full name of the source topic",
        partitions="shoppers",
        cleanup="delete",
        retention_ms=30 * DAY_MS,  # somebody has to look, mend the sender and replay
        written_by="worker",
        read_by="people",
    ),
    Topic(
        name="pairs",
        key="source, such as clicks-3",
        partitions="items",
        cleanup="delete",
        retention_ms=DAY_MS,  # owners apply them within seconds; a day of outage
        configs={"segment.ms": str(HOUR_MS)},  # retention deletes whole segments: by the hour instead of by the week
        internal=True,
        written_by="worker",
        read_by="worker that owns the item partition",
    ),
    Topic(
        name="neighbours",
        key="item_id; empty for the position record of a partition",
        partitions="items",
        cleanup="compact",
        configs=_compaction(_LATE_OWNER_MS),
        internal=True,
        written_by="worker that owns the item partition",
        read_by="every worker, whole",
    ),
    Topic(
        name="progress",
        key="lane",
        partitions="shoppers",
        cleanup="compact",
        configs=_compaction(_LATE_OWNER_MS),
        internal=True,
        written_by="worker",
        read_by="every worker, whole",
    ),
    Topic(
        name="forgotten",
        key="user_id",
        partitions="shoppers",
        cleanup="compact",
        configs=_compaction(0),
        internal=True,
        written_by="worker",
        read_by="every worker, whole",
    ),
    Topic(
        name="snapshots",
        key="model",
        partitions="shoppers",
        cleanup="compact",
        configs=_compaction(0),
        internal=True,
        written_by="trainer, `models rollback`, `models import`",
        read_by="every worker, whole",
    ),
)
"""All topics."""


def full_name(prefix: str, name: str) -> str:
    """Name of a topic on the broker.

    >>> full_name("spring-", "clicks")
    'spring-clicks'
    """
    return prefix + name


@dataclass(frozen=True)
class _Found:
    """A topic as the broker has it."""

    topic_id: str
    partitions: int
    replication: int
    configs: Mapping[str, str]
    """Only what the broker tells; the embedded one tells what was set."""


def create(settings: Settings, partitions: int | None = None, replication: int | None = None) -> list[str]:
    """Make the topics that are missing.

    Args:
        settings: where, and under which prefix.
        partitions: of every topic; None: as the settings say, topics keyed by item like the others unless they say
            how many those have.
        replication: copies of every partition; None: as the settings say.

    Returns:
        Full names of those that were made.

    Raises:
        TopicsError: some exist and differ from what was asked for (those that were missing are made all the same), or
            the broker refuses to make them.
        BrokerError: no broker answers.
    """
    counts = _counts(settings, partitions)
    replication = replication or settings.replication
    with administration(settings) as client:
        found = _find(client, settings.prefix)
        wanted = {
            full_name(settings.prefix, topic.name): {
                "num_partitions": counts[topic.partitions],
                "replication_factor": replication,
                "configs": _with_copies(topic.all_configs, replication),
            }
            for topic in TOPICS
            if topic.name not in found
        }
        if wanted:
            _make(client, wanted)
            found = _find(client, settings.prefix)  # somebody else may have made one meanwhile, in another way
    differences = _differences(settings, found, counts, replication)
    if differences:
        raise TopicsError(_as_sentence(differences))
    return list(wanted)


def check(settings: Settings) -> list[str]:
    """How the topics on the broker differ from what they must be, a sentence each; empty: not at all.

    Partition counts must agree within each kind, cleaning must be as it is meant, what is remembered of clicks and
    purchases must not be deleted before it is forgotten. Counts and copies are compared with the settings only where
    those were given.

    Raises:
        BrokerError: no broker answers.
    """
    with administration(settings) as client:
        found = _find(client, settings.prefix)
    given = settings.model_fields_set
    counts: dict[str, int] = {}
    if "partitions" in given:
        counts = _counts(settings)
        del counts["catalog"]  # nothing depends on its number
    elif "item_partitions" in given:
        counts = {"items": settings.item_partitions}
    differences = _missing(settings, found)
    differences += _differences(settings, found, counts, settings.replication if "replication" in given else None)
    return differences + _short_memory(settings, found)


def identities(settings: Settings) -> dict[str, Identity]:
    """Which topics stand behind the names, by full name. A worker asks this before it starts.

    Raises:
        TopicsError: some are missing, or their partition counts or cleaning are not as they must be.
        BrokerError: no broker answers.
    """
    from streams.worker.context import Identity

    with administration(settings) as client:
        found = _find(client, settings.prefix)
    if differences := _missing(settings, found) + _differences(settings, found, {}, None):
        raise TopicsError(_as_sentence(differences))
    return {full_name(settings.prefix, name): Identity(it.topic_id, it.partitions) for name, it in found.items()}


def _as_sentence(differences: Iterable[str]) -> str:
    return f"topics are not as they must be: {'; '.join(differences)}"


def _with_copies(configs: dict[str, str], replication: int) -> dict[str, str]:
    return configs | {"min.insync.replicas": "2"} if replication >= MANY_COPIES else configs


def _make(client: Any, wanted: Mapping[str, Any]) -> None:
    answer = client.create_topics(dict(wanted), raise_errors=False)
    refused = {
        topic["name"]: topic.get("error_message") or for_code(topic["error_code"]).__name__
        for topic in answer["topics"]
        if topic["error_code"] not in (0, EXISTS)  # another `create` beside ours may be quicker
    }
    if refused:
        message = f"the broker refuses to make topics ({'; '.join(_grouped(refused.items()))})"
        raise TopicsError(message)
    client.wait_for_topics(list(wanted))


def _find(client: Any, prefix: str) -> dict[str, _Found]:
    """Our topics as they are, by short name; those that are not there are left out."""
    short = {full_name(prefix, topic.name): topic.name for topic in TOPICS}
    described = [topic for topic in client.describe_topics(list(short)) if topic["error_code"] != NOT_THERE]
    for topic in described:
        if topic["error_code"] not in (0, NO_LEADER):
            message = f"topic {topic['name']} cannot be looked at: {for_code(topic['error_code']).__name__}"
            raise TopicsError(message)
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic["name"]) for topic in described]
    configs = client.describe_configs(resources, config_filter="all").get("topic", {}) if resources else {}
    return {
        short[topic["name"]]: _Found(
            topic_id=str(topic.get("topic_id") or ""),
            partitions=len(topic["partitions"]),
            replication=min((len(partition["replica_nodes"]) for partition in topic["partitions"]), default=0),
            configs={name: one["value"] for name, one in configs.get(topic["name"], {}).items()},
        )
        for topic in described
    }


def _counts(settings: Settings, partitions: int | None = None) -> dict[str, int]:
    """How many partitions each kind of topics is to have."""
    counts = dict.fromkeys(("shoppers", "items", "catalog"), partitions or settings.partitions)
    if partitions is None and "item_partitions" in settings.model_fields_set:
        counts["items"] = settings.item_partitions
    return counts


def _missing(settings: Settings, found: Mapping[str, _Found]) -> list[str]:
    names = [full_name(settings.prefix, topic.name) for topic in TOPICS if topic.name not in found]
    return [f"missing: {', '.join(names)} (`crosscurrent topics create` makes them)"] if names else []


def _differences(
    settings: Settings, found: Mapping[str, _Found], counts: Mapping[str, int], replication: int | None
) -> list[str]:
    """Differences of topics that are there.

    Args:
        settings: for the prefix.
        found: topics as they are.
        counts: partitions that each kind must have; a kind that is not named must only agree with itself.
        replication: copies that partitions must have; None: any number.
    """
    sentences = []
    differing: list[tuple[str, str]] = []
    for kind in ("shoppers", "items", "catalog"):
        numbers = {
            full_name(settings.prefix, topic.name): found[topic.name].partitions
            for topic in TOPICS
            if topic.partitions == kind and topic.name in found
        }
        if kind in counts:
            want = counts[kind]
            differing += [(name, f"partitions {have}, not {want}") for name, have in numbers.items() if have != want]
        elif len(set(numbers.values())) > 1:
            each = ", ".join(f"{name} {number}" for name, number in numbers.items())
            sentences.append(f"topics keyed by {kind} must have equally many partitions, and have: {each}")
    for topic in TOPICS:
        if topic.name not in found:
            continue
        name, it = full_name(settings.prefix, topic.name), found[topic.name]
        if replication is not None and it.replication != replication:
            differing.append((name, f"copies of each partition {it.replication}, not {replication}"))
        for config in ("cleanup.policy", *APPEND_TIME):
            meant, has = topic.all_configs.get(config), it.configs.get(config)
            if meant is not None and has is not None and has != meant:
                hint = "" if config == "cleanup.policy" else f" (kafka-configs --alter --add-config {config}={meant})"
                differing.append((name, f"{config} {has}, not {meant}{hint}"))
    return sentences + _grouped(differing)


def _grouped(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """What is said of several topics, once.

    >>> _grouped([("a", "too small"), ("b", "too big"), ("c", "too small")])
    ['a, c: too small', 'b: too big']
    """
    names: dict[str, list[str]] = {}
    for name, said in pairs:
        names.setdefault(said, []).append(name)
    return [f"{', '.join(those)}: {said}" for said, those in names.items()]


def _short_memory(settings: Settings, found: Mapping[str, _Found]) -> list[str]:
    """Topics whose records are deleted while they should still be remembered: a take-over would find them gone."""
    memory_s = {"clicks": settings.visits.click_memory_s, "purchases": settings.visits.purchase_memory_s}
    differences = []
    for name, need_s in memory_s.items():
        kept = int(found[name].configs.get("retention.ms", -1)) if name in found else -1
        if 0 <= kept < need_s * 1000:
            differences.append(
                f"{full_name(settings.prefix, name)} keeps records for {_days(kept / 1000)} (retention.ms={kept}), and "
                f"{_days(need_s)} are to be remembered: a worker that takes over would have forgotten the rest"
            )
    return differences


def _days(seconds: float) -> str:
    return f"{seconds / 86400:.3g} days"
