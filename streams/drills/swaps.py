"""Judges by the topics alone whether swaps of snapshots made suggestions late, apart from the effect of kills.

A worker loads a snapshot in a thread that shares the interpreter with the events. A swap can delay suggestions between
the announcement and shortly after the first suggestion that names the new version. Suggestions in flight then are
compared with all others of the run. Those around kills are left out: the partitions of a killed worker stand still
until its session times out.
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
"""A suggestion so long after the first one of a version still counts as around the swap."""

SETTLE_S = 3.0
"""After a killed process is ready again: suggestions of its backlog are not judged."""

LEAST_SWAPS = 3
"""Snapshots that every partition must take into use for a run to be judged."""

BOUND = 2.0
"""A suggestion is late above so many times the 99th percentile of those away from swaps and kills."""

CHANCE = 0.001
"""About one suggestion in a thousand is late in any run. A swap is blamed only if chance would produce this many late
ones around swaps with a smaller probability. It is that small because late suggestions come in groups."""


class Fault(NamedTuple):
    """A fault injected into a process."""

    what: str
    begin_s: float  # epoch seconds
    end_s: float  # ... when the process was ready again


class Swap(NamedTuple):
    """A partition's first suggestion that names a version."""

    announced_s: float  # epoch seconds
    first_s: float

    def during(self, begin_s: float, end_s: float) -> bool:
        """Whether a suggestion in flight from `begin_s` to `end_s` was around the swap."""
        return begin_s <= self.first_s + BEHIND_S and end_s >= self.announced_s


class Latency(NamedTuple):
    """Time from the append of a trigger to the append of its first suggestion."""

    n: int
    p50_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, latencies_ms: Iterable[float]) -> Latency:
        """Number, percentiles and maximum of some latencies; NaN without any.

        >>> Latency.of([3.0, 1.0, 2.0])
        Latency(n=3, p50_ms=2.0, p99_ms=3.0, max_ms=3.0)
        """
        found = sorted(latencies_ms)
        if not found:
            return cls(0, math.nan, math.nan, math.nan)
        p50, p99 = (found[min(len(found) - 1, int(share * len(found)))] for share in (0.5, 0.99))
        return cls(len(found), p50, p99, found[-1])

    def as_json(self) -> dict[str, Any]:
        """As `drill --json` writes it; null for NaN."""
        return {"n": self.n} | {
            name: None if math.isnan(ms) else round(ms, 1)
            for name, ms in (("p50", self.p50_ms), ("p99", self.p99_ms), ("max", self.max_ms))
        }


@dataclass(frozen=True, slots=True)
class Swaps:
    """What swaps did."""

    announced: list[str]  # versions, in the order of announcement
    seen: dict[int, list[str]]  # versions that suggestions name, by partition of shoppers, in order
    looks: int  # in the log, repeated events left out
    learnt: int  # looks that the last snapshot has learnt
    held: int  # looks that the trainer held back for evaluation
    away: Latency  # away from swaps and kills
    around: Latency  # around swaps, but not around kills
    by_version: dict[str, Latency]  # the same, by the version that was swapped in
    late: list[str]  # ids of late suggestions around swaps
    late_away: int  # late suggestions away from swaps and kills
    dead_letters: int

    @property
    def bound_ms(self) -> float:
        """A suggestion is late above this."""
        return BOUND * self.away.p99_ms

    @property
    def chance(self) -> float:
        """Probability that so many of the late suggestions, or more, are around swaps by chance."""
        return chance(len(self.late), self.around.n, len(self.late) + self.late_away, self.around.n + self.away.n)

    @property
    def fewest(self) -> int:
        """Smallest number of snapshots that a partition took into use."""
        return min((len(versions) for versions in self.seen.values()), default=0)

    def complaints(self) -> list[str]:
        """What is wrong, one sentence each."""
        found = []
        if self.fewest < LEAST_SWAPS:
            found.append(f"a partition went through {self.fewest} snapshots only, not {LEAST_SWAPS}: give it more time")
        found += unlearnt(self.looks, self.learnt, self.held)
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


def judge_swaps(evidence: Evidence, faults: Sequence[Fault], learnt: Mapping[str, float], model: str) -> Swaps:
    """Judge what swaps of a model did. `learnt` is that of the manifest of the trainer's last snapshot."""
    clicks, purchases = first_events(evidence.clicks), first_events(evidence.purchases)
    answers = first_answers(evidence.suggestions)
    answered = [
        (event, answers[event.record.id])
        for event in (*clicks, *purchases)
        if event.triggers and event.record.id in answers
    ]
    announced = _announced(evidence.snapshots, model)
    swaps = _swaps(answered, announced, model)
    away, around = list[float](), dict[str, float]()
    by_version: dict[str, list[float]] = {version: [] for version in announced}
    for event, answer in answered:
        begin_s, end_s = event.appended_s, answer.timestamp / 1000
        if any(begin_s <= fault.end_s + SETTLE_S and end_s >= fault.begin_s for fault in faults):
            continue
        ms = float(max(0, answer.timestamp - event.record.timestamp))
        near = [version for version, swap in swaps[event.record.partition].items() if swap.during(begin_s, end_s)]
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
        seen={partition: list(found) for partition, found in sorted(swaps.items())},
        looks=sum(click.triggers for click in clicks),
        learnt=int(learnt.get("events", 0)),
        held=int(learnt.get("held", 0)),
        away=undisturbed,
        around=Latency.of(around.values()),
        by_version={version: Latency.of(found) for version, found in by_version.items()},
        late=[name for name, ms in around.items() if ms > bound_ms],
        late_away=sum(ms > bound_ms for ms in away),
        dead_letters=sum(1 for _ in evidence.dead_letters),
    )


def unlearnt(looks: int, learnt: int, held: int) -> list[str]:
    """A sentence if a trainer's last snapshot has not learnt or held back all looks of the log once."""
    if learnt + held == looks:
        return []
    return [
        f"{looks} looks are in the log, and {learnt} learnt and {held} held back ({learnt + held}) in the last snapshot"
    ]


def chance(late_here: int, here: int, late: int, of: int) -> float:
    """Probability that `late_here` or more of `late` ones among `of` are among the `here` ones, by chance.

    The hypergeometric tail: Fisher's exact test, one-sided.

    >>> chance(0, 5, 3, 10), chance(2, 5, 2, 10)  # 5 / 10 * 4 / 9
    (1.0, 0.2222222222222222)
    """
    ways = sum(comb(here, k) * comb(of - here, late - k) for k in range(late_here, late + 1))
    return ways / comb(of, late)


def _announced(snapshots: Sequence[Raw], model: str) -> dict[str, float]:
    """Versions of a model and their first announcements, epoch seconds, in order of time."""
    found: dict[str, float] = {}
    for record in sorted(snapshots, key=lambda record: record.timestamp):
        value = orjson.loads(record.value or b"null")
        if value is not None and value["model"] == model:
            found.setdefault(value["version"], record.timestamp / 1000)
    return found


def _swaps(
    answered: Sequence[tuple[Event, Raw]], announced: Mapping[str, float], model: str
) -> dict[int, dict[str, Swap]]:
    """The first suggestion of each announced version in each partition of shoppers, in order of time."""
    found: dict[int, dict[str, Swap]] = {}
    for event, answer in sorted(answered, key=lambda pair: (pair[1].timestamp, pair[1].offset)):
        of_partition = found.setdefault(event.record.partition, {})
        version = orjson.loads(answer.value or b"null").get("models", {}).get(model)
        if version in announced and version not in of_partition:
            of_partition[version] = Swap(announced[version], answer.timestamp / 1000)
    return found
