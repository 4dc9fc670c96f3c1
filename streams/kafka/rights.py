"""Rights on the broker: what each process and command needs there, and whether it has them.

`RIGHTS` is the one table. docs/operations.md shows it, a test compares; processes ask for theirs before they start.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kafka.admin import MemberToRemove
from kafka.errors import GroupAuthorizationFailedError, KafkaError

from streams.errors import RightsError
from streams.settings import Settings
from streams.wire.topics import TOPICS, full_name

NOT_THERE, NOT_AUTHORISED = 3, 29
"""Kafka's error codes for a topic that does not exist, and for one that we may not even look at."""

ALL_TOPICS = tuple(topic.name for topic in TOPICS)
LOOK = ("DESCRIBE", "DESCRIBE_CONFIGS")
"""Operations on every topic that are needed to check them."""

INCLUDING = ("READ", "WRITE")
"""Operations that include DESCRIBE."""

SHOP = ("clicks", "purchases", "catalog", "profiles", "feedback")
"""Topics that a shop writes."""

REPLAY_GROUP = "dead-letters-replay"

GROUP_S = 5.0
"""How long a group's coordinator is waited for: on a new broker its topic has to be made first."""


@dataclass(frozen=True)
class Rights:
    """What one command does on the broker. Names of topics and of the group are those without prefix."""

    command: str
    """As typed after `crosscurrent`."""
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    looks: bool = False
    """Whether it checks all topics."""
    creates: bool = False
    """Whether it makes topics. CREATE on the cluster is enough, too."""
    group: str = ""
    """Whose member it is, or whose commits it uses: READ; `{group}` stands for the setting."""
    chosen: bool = False
    """Whether it uses only the one of these topics that it is given."""

    def of_topics(self) -> dict[str, list[str]]:
        """Operations by topic."""
        table = {
            topic: [
                *(["READ"] if topic in self.read else []),
                *(["WRITE"] if topic in self.write else []),
                *(LOOK if self.looks else []),
                *(["CREATE"] if self.creates else []),
            ]
            for topic in ALL_TOPICS
        }
        return {topic: operations for topic, operations in table.items() if operations}


WORKER = Rights(
    "worker",
    read=(*SHOP, "pairs", "neighbours", "histories", "progress", "forgotten", "snapshots"),
    write=("suggestions", "pools", "dead-letters", "pairs", "neighbours", "histories", "progress", "forgotten"),
    looks=True,
    group="{group}",
)

TRAINER = Rights(
    "trainer",
    read=(*SHOP, "suggestions", "pools", "forgotten", "snapshots"),
    write=("snapshots",),
    looks=True,
    group="{group}-trainer",
)

RIGHTS: tuple[Rights, ...] = (
    WORKER,
    TRAINER,
    Rights("topics create", looks=True, creates=True),
    Rights("topics check", looks=True),
    Rights("publish", write=SHOP, chosen=True),
    Rights("tail", read=(*SHOP, "suggestions", "dead-letters"), chosen=True),
    Rights("dead-letters", read=("dead-letters",)),
    Rights("dead-letters --replay", read=("dead-letters",), write=SHOP, group=REPLAY_GROUP),
    Rights("neighbours", read=("neighbours", "catalog")),
    Rights("neighbours --json", read=("neighbours",)),
    Rights("replay", write=("catalog", "clicks", "purchases")),
    Rights("backfill", read=("catalog", "clicks", "purchases"), write=("catalog", "clicks", "purchases")),
    Rights("evaluate arms", read=("catalog", "purchases", "suggestions")),
    Rights("models list", read=("snapshots",)),
    Rights("models rollback", read=("snapshots",), write=("snapshots",)),
    Rights("models import", read=("snapshots",), write=("snapshots",)),
)
"""All that connect to a broker. `models show` and `models export` use the store only."""


def require(client: Any, settings: Settings, rights: Rights) -> None:
    """Make sure that we may do on the broker what a process does there.

    A broker without an authorizer grants everything. One that does not tell what it grants is believed.

    Raises:
        RightsError: rights are missing; it names all.
    """
    topics = {full_name(settings.prefix, topic): operations for topic, operations in rights.of_topics().items()}
    missing = list(lacking(client.describe_topics(list(topics)), topics))
    group = settings.prefix + rights.group.format(group=settings.group)
    if rights.group and not may_use_group(client, settings, group):
        missing.append(f"READ on group {group}")
    if missing:
        raise RightsError(settings.principal, missing)


def lacking(described: Iterable[Mapping[str, Any]], needed: Mapping[str, Collection[str]]) -> Iterator[str]:
    """Operations that are not granted, such as `READ on topic clicks`, in the order of `needed`.

    Args:
        described: topics as kafka-python describes them.
        needed: operations by full name of topic.
    """
    answers = {topic["name"]: topic for topic in described}
    for name, operations in needed.items():
        answer = answers[name]
        if answer["error_code"] == NOT_AUTHORISED:  # which of the others are granted cannot be seen
            barred = [operation for operation in operations if operation in INCLUDING] or ["DESCRIBE"]
        else:
            granted = answer["authorized_operations"]
            barred = [] if granted is None else [operation for operation in operations if operation not in granted]
        yield from (f"{operation} on topic {name}" for operation in barred)


def may_use_group(client: Any, settings: Settings, group: str) -> bool:
    """Whether we have READ on a group.

    Brokers tell the rights on a group only where it exists. To take a member out of it that it does not have needs
    the same right, and changes nothing.
    """
    if settings.embedded:  # it has no rights
        return True
    deadline = time.monotonic() + GROUP_S
    while True:
        try:
            client.remove_group_members(group, [MemberToRemove(member_id="nobody")])
        except GroupAuthorizationFailedError:
            return False
        except KafkaError as error:
            if error.retriable and time.monotonic() < deadline:
                time.sleep(0.1)
                continue
        return True


def rights_table() -> str:
    """The table for docs/operations.md."""
    rows = [
        "| `crosscurrent` | topics: READ | topics: WRITE | on all topics | READ on group |",
        "|---|---|---|---|---|",
    ]
    for rights in RIGHTS:
        all_topics = [*(LOOK if rights.looks else ()), *(("CREATE",) if rights.creates else ())]
        cells = [
            f"`{rights.command}`",
            _names(rights.read, rights.chosen),
            _names(rights.write, rights.chosen),
            ", ".join(all_topics),
            rights.group.replace("{group}", "*group*"),
        ]
        rows.append(f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |"))
    return "\n".join(rows) + "\n"


def _names(topics: Iterable[str], chosen: bool) -> str:
    names = ", ".join(topics)
    return f"the one named, of {names}" if names and chosen else names
