"""Topics on the broker: creation, checks and identities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import for_code

from streams.errors import TopicsError
from streams.kafka.admin import administration
from streams.settings import Settings
from streams.wire.topics import APPEND_TIME, MANY_COPIES, TOPICS, Identity, full_name

NOT_THERE, NO_LEADER, EXISTS = 3, 5, 36
"""Kafka's error codes for a topic that does not exist, has partitions without a leader now, or exists already."""


@dataclass(frozen=True)
class _Found:
    """A topic on the broker. The embedded broker tells only the configs that were set."""

    topic_id: str
    partitions: int
    replication: int
    configs: Mapping[str, str]


def create(settings: Settings, partitions: int | None = None, replication: int | None = None) -> list[str]:
    """Create the missing topics, with the settings' partitions and replicas where none are given.

    Returns:
        Full names of the created topics.

    Raises:
        TopicsError: some exist and differ from what was asked for (the missing ones are created all the same), or the
            broker refuses to create them.
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
                "configs": topic.all_configs | ({"min.insync.replicas": "2"} if replication >= MANY_COPIES else {}),
            }
            for topic in TOPICS
            if topic.name not in found
        }
        if wanted:
            _make(client, wanted)
            found = _find(client, settings.prefix)  # another process may have created one meanwhile
    _raise_if(_differences(settings, found, counts, replication))
    return list(wanted)


def check(settings: Settings) -> list[str]:
    """Sentences on how the topics on the broker differ from what they must be; empty: not at all.

    Partition counts must agree within each kind, cleanup policies must be right, and clicks and purchases must be
    retained as long as they are remembered. Counts and replicas are compared with the settings only where those are
    given.

    Raises:
        BrokerError: no broker answers.
    """
    with administration(settings) as client:
        found = _find(client, settings.prefix)
    given = settings.model_fields_set
    counts: dict[str, int] = {}
    if "partitions" in given:
        counts = _counts(settings)
        del counts["catalog"]  # nothing depends on it
    elif "item_partitions" in given:
        counts = {"items": settings.item_partitions}
    differences = _differences(settings, found, counts, settings.replication if "replication" in given else None)
    return _missing(settings, found) + differences + _short_memory(settings, found)


def identities(settings: Settings) -> dict[str, Identity]:
    """Identities of the topics, by full name; a process reads them before it starts.

    Raises:
        TopicsError: some are missing, or have wrong partition counts or cleanup policies.
        BrokerError: no broker answers.
    """
    with administration(settings) as client:
        found = _find(client, settings.prefix)
    _raise_if(_missing(settings, found) + _differences(settings, found, {}, None))
    return {full_name(settings.prefix, name): Identity(it.topic_id, it.partitions) for name, it in found.items()}


def config_of(settings: Settings, topic: str, name: str) -> str | None:
    """A config of a topic by its full name; None where the broker does not tell it.

    Raises:
        BrokerError: no broker answers, or it refuses.
    """
    with administration(settings) as client:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        configs = client.describe_configs([resource], config_filter="all").get("topic", {})
    value: str | None = configs.get(topic, {}).get(name, {}).get("value")
    return value


def _raise_if(differences: Sequence[str]) -> None:
    if differences:
        message = f"topics are not as they must be: {'; '.join(differences)}"
        raise TopicsError(message)


def _make(client: Any, wanted: Mapping[str, Any]) -> None:
    answer = client.create_topics(dict(wanted), raise_errors=False)
    refused = {
        topic["name"]: topic.get("error_message") or for_code(topic["error_code"]).__name__
        for topic in answer["topics"]
        if topic["error_code"] not in (0, EXISTS)  # another `create` may have been quicker
    }
    if refused:
        message = f"the broker refuses to make topics ({'; '.join(_grouped(refused.items()))})"
        raise TopicsError(message)
    client.wait_for_topics(list(wanted))


def _find(client: Any, prefix: str) -> dict[str, _Found]:
    """Our existing topics, by short name."""
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
            configs={name: config["value"] for name, config in configs.get(topic["name"], {}).items()},
        )
        for topic in described
    }


def _counts(settings: Settings, partitions: int | None = None) -> dict[str, int]:
    """Number of partitions that each kind of topics shall have."""
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
    """Differences of existing topics from partitions by kind and replicas; topics of other kinds must only agree."""
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
    """The topics of each sentence, joined.

    >>> _grouped([("a", "too small"), ("b", "too big"), ("c", "too small")])
    ['a, c: too small', 'b: too big']
    """
    names: dict[str, list[str]] = {}
    for name, said in pairs:
        names.setdefault(said, []).append(name)
    return [f"{', '.join(those)}: {said}" for said, those in names.items()]


def _short_memory(settings: Settings, found: Mapping[str, _Found]) -> list[str]:
    """Topics whose records are deleted while they should still be remembered."""
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
