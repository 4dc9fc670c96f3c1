"""The verdict on a run: missing, wrong and duplicate suggestions, wrong counts, and the longest gap."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import orjson

from models.cooccurrence.config import CoOccurrenceConfig
from models.sessions.visits import VisitConfig
from streams.drills.counts import Counts, Difference, compare, published
from streams.drills.evidence import Event, Evidence, Raw, first_events
from streams.drills.history_cells import compare_histories, published_histories
from streams.drills.promise_audit import Promises
from streams.drills.recount import recount

HISTORIES = "histories"
"""Kind of the cells of shoppers' histories; they are not recounted."""

EXAMPLES = 5
"""Missing suggestions and broken promises that are reported."""


@dataclass(slots=True)
class Verdict:
    """What was found in the topics of a run."""

    events: int  # clicks and purchases, repeated ones included
    triggers: int  # of them: those that must be answered, repeated ones left out
    missing: list[str]  # ids of suggestions that do not exist
    duplicates: int  # suggestions beyond the first of an id
    longest_gap_s: float
    broken: Counter[str]  # broken promises, by what is wrong
    suggested_items: int  # whose promises were checked
    undisturbed: Mapping[str, Difference]  # differences from the baseline run, by kind
    recounted: Mapping[str, Difference]  # differences from the recount, by kind
    longest_row: int  # largest number of neighbours of an item
    examples: list[str]

    @property
    def wrong(self) -> int:
        """Cells that differ from the baseline run, and broken promises."""
        return sum(difference.wrong for difference in self.undisturbed.values()) + self.broken.total()

    @property
    def recount_wrong(self) -> int:
        """Cells that differ from the recount."""
        return sum(difference.wrong for difference in self.recounted.values())

    @property
    def good(self) -> bool:
        """Whether nothing is missing and nothing wrong."""
        return not (self.missing or self.wrong or self.recount_wrong)

    def as_json(self) -> dict[str, Any]:
        """As `drill --json` writes it."""
        return {
            "events": self.events,
            "missing": len(self.missing),
            "wrong": self.wrong,
            "duplicates": self.duplicates,
            "longest_gap_s": round(self.longest_gap_s, 3),
            "recount_wrong": self.recount_wrong,
            "triggers": self.triggers,
            "cells": {
                kind: {"compared": found.compared, "wrong": found.wrong}
                | ({"recount_wrong": self.recounted[kind].wrong} if kind in self.recounted else {})
                for kind, found in self.undisturbed.items()
            },
            "promises": {"items": self.suggested_items, "broken": dict(self.broken)},
            "longest_row": self.longest_row,
            "examples": self.examples,
        }


def judge(
    evidence: Evidence,
    undisturbed_neighbours: Iterable[Raw],
    open_s: tuple[float, float],
    visits: VisitConfig,
    cooccurrence: CoOccurrenceConfig,
    compared: Container[str] | None = None,
    undisturbed_histories: Iterable[Raw] = (),
) -> Verdict:
    """Judge a run by its topics, and by the records of `neighbours` and `histories` of the baseline run.

    `open_s` is the start and the end of feeding, in epoch seconds; the configurations are those of the workers.
    `compared` are the items whose cells are compared; None: all.
    """
    clicks, purchases = first_events(evidence.clicks), first_events(evidence.purchases)
    triggers = {event.record.id: event for event in (*clicks, *purchases) if event.triggers}
    promises = Promises(evidence.catalog, clicks, purchases, evidence.suggestions, visits.look_memory_s)
    answers = {name: found[0] for name, found in promises.answers.items()}
    missing = [name for name in triggers if name not in answers]
    broken = list(promises.broken())
    newest_s = max((event.at_s for event in (*clicks, *purchases)), default=0.0)
    learnt = published(evidence.neighbours, newest_s, cooccurrence.half_life_s)
    undisturbed = compare(learnt, published(undisturbed_neighbours, newest_s, cooccurrence.half_life_s), compared)
    histories = published_histories(evidence.histories), published_histories(undisturbed_histories)
    undisturbed[HISTORIES] = compare_histories(*histories)
    counted = recount(clicks, purchases, visits, Counts(newest_s, cooccurrence.half_life_s))
    recounted = compare(learnt, counted, compared)
    return Verdict(
        events=len(evidence.clicks) + len(evidence.purchases),
        triggers=len(triggers),
        missing=missing,
        duplicates=sum(len(found) - 1 for found in promises.answers.values()),
        longest_gap_s=longest_gap_s(triggers, answers, open_s),
        broken=Counter(sentence for _, sentence in broken),
        suggested_items=promises.items,
        undisturbed=undisturbed,
        recounted=recounted,
        longest_row=max(learnt.longest_row(), counted.longest_row()),
        examples=[
            *(f"{name} is missing" for name in missing[:EXAMPLES]),
            *(f"{name} {sentence}" for name, sentence in broken[:EXAMPLES]),
            *(f"undisturbed: {example}" for found in undisturbed.values() for example in found.examples),
            *(f"recount: {example}" for found in recounted.values() for example in found.examples),
        ],
    )


def first_answers(suggestions: Iterable[Raw]) -> dict[str, Raw]:
    """The first record of each suggestion id."""
    answers: dict[str, Raw] = {}
    for record in suggestions:
        answers.setdefault(orjson.loads(record.value or b"null")["suggestion_id"], record)
    return answers


def longest_gap_s(triggers: Mapping[str, Event], answers: Mapping[str, Raw], open_s: tuple[float, float]) -> float:
    """Longest time without a new suggestion for a partition of shoppers, while events were fed.

    Triggers and first answers are given by suggestion id. A gap that begins before the end of feeding counts in full.
    """
    opened, closed = open_s
    times: defaultdict[int, list[float]] = defaultdict(lambda: [opened])
    for name, event in triggers.items():
        if name in answers:
            times[event.record.partition].append(answers[name].timestamp / 1000)
    gaps = (gap for partition in times.values() for gap in pairwise(sorted(partition)))
    return max((after - before for before, after in gaps if before < closed), default=0.0)
