from __future__ import annotations

import pytest

from models.sessions.visits import VisitConfig
from streams.settings import Settings
from streams.wire.topics import TOPICS, Topic, full_name

BY_NAME = {topic.name: topic for topic in TOPICS}


def test_names_are_those_of_the_contract() -> None:
    public = {topic.name for topic in TOPICS if not topic.internal}
    internal = {topic.name for topic in TOPICS if topic.internal}
    assert public == {"clicks", "purchases", "catalog", "profiles", "feedback", "suggestions", "dead-letters"}
    assert internal == {"pools", "pairs", "neighbours", "histories", "progress", "forgotten", "snapshots"}


def test_a_prefix_comes_before_with_nothing_between() -> None:
    assert full_name("", "clicks") == "clicks"
    assert full_name("spring-", "clicks") == "spring-clicks"


@pytest.mark.parametrize(
    "name", ["clicks", "purchases", "profiles", "feedback", "suggestions", "histories", "progress", "forgotten"]
)
def test_what_belongs_to_a_shopper_lies_in_equally_many_partitions(name: str) -> None:
    assert BY_NAME[name].partitions == "shoppers"


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_every_topic_says_how_it_is_cleaned(topic: Topic) -> None:
    configs = topic.all_configs
    assert configs["cleanup.policy"] == topic.cleanup
    if topic.cleanup == "delete":
        assert int(configs["retention.ms"]) >= 86_400_000
    else:
        assert "retention.ms" not in configs
        explicit = {"segment.ms", "min.cleanable.dirty.ratio", "min.compaction.lag.ms", "delete.retention.ms"}
        assert explicit <= set(configs)


@pytest.mark.parametrize("name", ["clicks", "purchases", "profiles", "feedback"])
def test_what_the_shop_writes_is_stamped_on_arrival(name: str) -> None:
    assert BY_NAME[name].configs["message.timestamp.type"] == "LogAppendTime"


def test_default_retention_outlasts_default_memory_by_some_days_of_outage() -> None:
    memory, day_ms = VisitConfig(), 86_400_000
    for name, memory_s in (("clicks", memory.click_memory_s), ("purchases", memory.purchase_memory_s)):
        kept_ms = BY_NAME[name].retention_ms
        assert kept_ms is not None
        assert kept_ms >= memory_s * 1000 + 2 * day_ms


def test_old_rows_stay_longer_than_any_session() -> None:
    longest_session_ms = Settings(session_timeout_s=300).session_timeout_s * 1000
    for name in ("neighbours", "histories"):
        assert int(BY_NAME[name].configs["min.compaction.lag.ms"]) > longest_session_ms
