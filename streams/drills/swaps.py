"""What swaps of snapshots did to the suggestions: seen by the topics alone, apart from what kills did.

A worker takes a snapshot into use beside its work, in a thread that shares the interpreter with the events. So what
could make a suggestion late because of a swap happens between the announcement and the moments after the first
suggestion that names the new version. Suggestions that were under way then are compared with all others of the run,
those around kills left out: a worker that was killed is missed until its session times out, swap or not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any, NamedTuple

import orjson

from streams.drills.evidence import Event, Evidence, Raw, first_events
from streams.drills.verdict import first_answers

BEHIND_S = 2.0
"""From the first suggestion of a version on, in which a late one is counted as the swap's."""

SETTLE_S = 3.0
"""After a killed process is ready again: what had piled up is worked off, and nothing of it is a swap's."""

LEAST_SWAPS = 3
"""Snapshots that every partition has to go through for a run to say anything."""

BOUND = 2.0
"""Times the 99th percentile of the suggestions away from swaps and kills: what is later is late."""

CHANCE = 0.001
"""Some suggestions are late whatever happens, one in a thousand or so, and a few of them around swaps: swaps are to
blame where less than so much of a chance is left that it was not they. As small as that because the late ones come in
groups, and would be told from chance too easily one by one."""


class Fault(NamedTuple):
    """Something that was done to a process."""

    what: str
    begin_s: float  # epoch seconds
    end_s: float  # ... when the process was ready again


class Swap(NamedTuple):
    """A partition's first suggestion of a version."""

    partition: int
    version: str
    announced_s: float  # epoch seconds
    first_s: float

    def during(self, begin_s: float, end_s: float) -> bool:
        """Whether something that was under way from then to then was so around the swap."""
        return begin_s <= self.first_s + BEHIND_S and end_s >= self.announced_s


class Latency(NamedTuple):
    """From the append of a trigger to the append of its first suggestion."""

    n: int
    p50_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, latencies_ms: Iterable[float]) -> Latency:
        """The figures of some; NaN where there are none.

        >>> Latency.of([3.0, 1.0, 2.0])
        Latency(n=3, p50_ms=2.0, p99_ms=3.0, max_ms=3.0)
        """
        found = sorted(latencies_ms)
        if not found:
            return cls(0, math.nan, math.nan, math.nan)
        p50, p99 = (found[min(len(found) - 1, int(share * len(found)))] for share in (0.5, 0.99))
        return cls(len(found), p50, p99, found[-1])

    def as_json(self) -> dict[str, Any]:
        """As `drill --json` writes it; null where there are none."""
        return {"n": self.n} | {
            name: None if math.isnan(ms) else round(ms, 1)
            for name, ms in (("p50", self.p50_ms), ("p99", self.p99_ms), ("max", self.max_ms))
        }


@dataclass(frozen=True, slots=True)
class Swaps:
    """What was found."""

    announced: list[str]
    """Versions, in the order of their announcements."""
    seen: dict[int, list[str]]
    """Versions that the suggestions of each partition of shoppers name, in the order of their first ones."""
    looks: int
    """Of the log, repeated events left out."""
    learnt: int
    """Of them, behind the last snapshot as new ones."""
    held: int
    """Of them, held back by the last snapshot's trainer to judge by."""
    away: Latency
    """Of suggestions away from swaps and kills."""
    around: Latency
    """Of those around swaps, and not around kills."""
    by_version: dict[str, Latency]
    """The same by version that was swapped in."""
    late: list[str]
    """Ids of those around swaps that are later than the bound."""
    late_away: int
    """How many are later than the bound away from swaps and kills."""
    dead_letters: int

    @property
    def bound_ms(self) -> float:
        """What is later is late."""
        return BOUND * self.away.p99_ms

    @property
    def chance(self) -> float:
        """That so many of the late ones, or more, come to lie around swaps by chance."""
        return chance(len(self.late), self.around.n, len(self.late) + self.late_away, self.around.n + self.away.n)

    @property
    def fewest(self) -> int:
        """Snapshots that each partition has gone through, at least."""
        return min((len(versions) for versions in self.seen.values()), default=0)

    def complaints(self) -> list[str]:
        """What is not as it has to be, a sentence each."""
        found = []
        if self.fewest < LEAST_SWAPS:
            found.append(f"a partition went through {self.fewest} snapshots only, not {LEAST_SWAPS}: give it more time")
        if self.learnt + self.held != self.looks:
            found.append(
                f"{self.looks} looks are in the log, and {self.learnt} learnt and {self.held} held back "
                f"({self.learnt + self.held}) in the last snapshot"
            )
        if not (self.away.n and self.around.n):
            found.append("there are no suggestions around swaps, or none away from them, that could be compared")
        if self.late and self.chance < CHANCE:
            found.append(
                f"{len(self.late)} of {self.around.n} suggestions around swaps took longer than {self.bound_ms:.0f} ms "
                f"(such as {', '.join(self.late[:3])}), and {self.late_away} of {self.away.n} elsewhere"
            )
        if self.dead_letters:
            found.append(f"dead letters: {self.dead_letters}")
        return found

    def as_json(self) -> dict[str, Any]:
        """As `drill --json` writes it."""
        return {
            "snapshots": {"announced": self.announced, "swaps": {str(p): len(v) for p, v in self.seen.items()}},
            "looks": {"log": self.looks, "learnt": self.learnt, "held": self.held},
            "latency_ms": self.away.as_json(),
            "latency_around_swaps_ms": self.around.as_json()
            | {"by_version": {version: latency.as_json() for version, latency in self.by_version.items()}},
            "late_bound_ms": None if math.isnan(self.bound_ms) else round(self.bound_ms, 1),
            "late_by_swap": len(self.late),
            "late_elsewhere": self.late_away,
            "late_by_chance": float(f"{self.chance:.3g}"),
            "dead_letters": self.dead_letters,
        }


def judge_swaps(evidence: Evidence, blows: Sequence[Fault], learnt: Mapping[str, float], model: str) -> Swaps:
    """Judge what swaps did.

    Args:
        evidence: of the run.
        blows: what was done to processes meanwhile.
        learnt: what the trainer's last snapshot says that is behind it.
        model: whose snapshots they are.
    """
    clicks, purchases = first_events(evidence.clicks), first_events(evidence.purchases)
    answers = first_answers(evidence.suggestions)
    answered = [
        (event, answers[event.record.id])
        for event in (*clicks, *purchases)
        if event.triggers and event.record.id in answers
    ]
    announced = _announced(evidence.snapshots, model)
    swaps = _swaps(answered, announced, model)
    away: list[float] = []
    around: dict[str, float] = {}
    by_version: dict[str, list[float]] = {version: [] for version in announced}
    for event, answer in answered:
        begin_s, end_s = event.appended_s, answer.timestamp / 1000
        if any(begin_s <= blow.end_s + SETTLE_S and end_s >= blow.begin_s for blow in blows):
            continue
        ms = float(max(0, answer.timestamp - event.record.timestamp))
        near = [swap.version for swap in swaps[event.record.partition] if swap.during(begin_s, end_s)]
        if near:
            around[event.record.id] = ms
        else:
            away.append(ms)
        for version in near:
            by_version[version].append(ms)
    undisturbed = Latency.of(away)
    bound_ms = BOUND * undisturbed.p99_ms
    return Swaps(
        announced=list(announced),
        seen={partition: [swap.version for swap in found] for partition, found in sorted(swaps.items())},
        looks=sum(click.triggers for click in clicks),
        learnt=int(learnt.get("events", 0)),
        held=int(learnt.get("held", 0)),
        away=undisturbed,
        around=Latency.of(around.values()),
        by_version={version: Latency.of(found) for version, found in by_version.items()},
        late=[name for name, ms in around.items() if ms > bound_ms],
        late_away=sum(ms > bound_ms for ms in away),
        dead_letters=len(evidence.dead_letters),
    )


def chance(late_here: int, here: int, late: int, of: int) -> float:
    """Chance that so many or more of the late ones are here, if where they are has nothing to do with it.

    The hypergeometric tail: Fisher's exact test, one-sided.

    Args:
        late_here: of those here, how many are late.
        here: how many are here.
        late: how many are late in all.
        of: how many there are in all.

    >>> chance(0, 5, 3, 10), chance(2, 5, 2, 10)  # 5 / 10 * 4 / 9
    (1.0, 0.2222222222222222)
    """
    ways = sum(comb(here, k) * comb(of - here, late - k) for k in range(late_here, late + 1))
    return ways / comb(of, late)


def _announced(snapshots: Sequence[Raw], model: str) -> dict[str, float]:
    """Versions of a model and when each was announced first, epoch seconds, in this order."""
    found: dict[str, float] = {}
    for record in sorted(snapshots, key=lambda record: record.timestamp):
        value = orjson.loads(record.value or b"null")
        if value is not None and value["model"] == model:
            found.setdefault(value["version"], record.timestamp / 1000)
    return found


def _swaps(answered: Sequence[tuple[Event, Raw]], announced: Mapping[str, float], model: str) -> dict[int, list[Swap]]:
    """By partition of shoppers with an answer: its first suggestion of each announced version, in order of time."""
    found: dict[int, dict[str, Swap]] = {}
    for event, answer in sorted(answered, key=lambda pair: (pair[1].timestamp, pair[1].offset)):
        of_partition = found.setdefault(event.record.partition, {})
        version = orjson.loads(answer.value or b"null").get("models", {}).get(model)
        if version in announced and version not in of_partition:
            first_s = answer.timestamp / 1000
            of_partition[version] = Swap(event.record.partition, version, announced[version], first_s)
    return {partition: list(swaps.values()) for partition, swaps in found.items()}
