"""The verdict on attacks: every bad record is in the dead letters with a reason, and no good one is."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from streams.drills.attacker import Attacker
from streams.drills.evidence import Place, Raw, StoredTopic
from streams.settings import Settings

LETTERS_S = 60.0
"""Longest wait for the dead letters, once all events are applied."""

LOOK_S = 1.0
"""Between two looks at them."""

EXAMPLES = 5
"""Records of each kind that are reported."""

ERROR_LINE = re.compile(r"\b(?:ERROR|CRITICAL)\b")
MEANT = (
    "Group Coordinator Request failed",  # aiokafka, until a new broker has made its topic of offsets
    "in other partitions than their keys",  # misplaced purchases are among the attacks
)
"""Parts of the messages of lines with ERROR that a drill brings about itself."""

VARIABLE = re.compile(r"'[^']*'|\"[^\"]*\"|\d+")
"""What differs between two lines of one kind."""


@dataclass(frozen=True, slots=True)
class AttackVerdict:
    """What became of the attacks."""

    bad: int  # records that must be refused
    letters: int  # of them: in the dead letters with a reason
    without: list[str]  # those that are not, and should
    unexplained: list[str]  # dead letters of good records
    unlogged: list[str]  # forged records of topics of which no log names one; empty if the logs are not judged
    refused: Mapping[str, int]  # attacks that the broker refused
    error_lines: Mapping[str, int]  # lines of the logs with ERROR or CRITICAL, by kind

    @property
    def complaints(self) -> list[str]:
        """What is wrong, one sentence each."""
        found = []
        for what, records in (
            ("bad records are not in the dead letters", self.without),
            ("good records are in the dead letters", self.unexplained),
            ("forged records were skipped, and no log names one of their topic", self.unlogged),
        ):
            if records:
                found.append(f"{len(records)} {what}, such as {'; '.join(records[:EXAMPLES])}")
        found += [
            f"{number} lines of the logs say: {kind}"
            for kind, number in self.error_lines.items()
            if not any(part in kind for part in MEANT)
        ]
        return found

    def as_json(self) -> dict[str, Any]:
        """As `drill --json` writes it."""
        return {
            "bad_records": self.bad,
            "dead_letters": self.letters,
            "without_letter": self.without[:EXAMPLES],
            "unexplained": len(self.unexplained),
            "unexplained_letters": self.unexplained[:EXAMPLES],
            "not_logged": self.unlogged[:EXAMPLES],
            "refused_by_the_broker": dict(self.refused),
            "error_lines": dict(self.error_lines),
        }


def await_letters(settings: Settings, attacker: Attacker, watch: Callable[[], None]) -> dict[Place, str]:
    """Reasons of the dead letters, by the records they are of, once all bad records are among them or time is over."""
    due, deadline = attacker.due_letters(), time.monotonic() + LETTERS_S
    while True:
        watch()
        letters = reasons(StoredTopic(settings, "dead-letters", attacker.bad))
        if due.keys() <= letters.keys() or time.monotonic() > deadline:
            return letters
        time.sleep(LOOK_S)


def reasons(dead_letters: Iterable[Raw]) -> dict[Place, str]:
    """Reasons of dead letters, by the records they are of."""
    found: dict[Place, str] = {}
    for record in dead_letters:
        value = orjson.loads(record.value or b"null")
        found[value["topic"], value["partition"], value["offset"]] = value["reason"]
    return found


def judge_attacks(
    attacker: Attacker, letters: Mapping[Place, str], logs: str | None, errors: Counter[str]
) -> AttackVerdict:
    """Judge by the reasons of the dead letters, the processes' logs (None: not) and their lines of errors."""
    due, forged = attacker.due_letters(), attacker.forged()
    named = {place[0] for place in forged if logs is None or _where(place) in logs}
    return AttackVerdict(
        bad=len(attacker.bad),
        letters=sum(bool(letters.get(place)) for place in due),
        without=[_shown(place, name) for place, name in due.items() if not letters.get(place)],
        unexplained=[_shown(place, reason) for place, reason in letters.items() if place not in attacker.bad],
        unlogged=[
            _shown(place, name)
            for place, name in forged.items()
            if place[0] not in named  # one line in a while, the others are counted in metrics only
        ],
        refused=attacker.refused,
        error_lines=errors,
    )


def error_lines(logs: Iterable[Path]) -> Counter[str]:
    """Lines of logs with ERROR or CRITICAL, by kind: names in quotes and numbers are left out."""
    found: Counter[str] = Counter()
    for log in logs:
        with log.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if match := ERROR_LINE.search(line):
                    found[VARIABLE.sub("#", line[match.start() :].strip())[:200]] += 1
    return found


def _where(place: Place) -> str:
    topic, partition, offset = place
    return f"{topic}-{partition}@{offset}"


def _shown(place: Place, what: str) -> str:
    return f"{_where(place)} ({what[:100]})"
