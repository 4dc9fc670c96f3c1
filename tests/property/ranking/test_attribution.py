"""Attribution against a plain reading of the log: what each list gets, whenever it comes, and after restarts.

Events of two partitions and topics are late, early, a replay of the past or live; lists come at once or much later, and
some twice.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.ranking.attribution import ALL, TOPICS, Attribution, AttributionConfig, Closed, Impression

CONFIG = AttributionConfig(window_s=60.0, late_s=10.0)
USERS = ("ann", "bob", "cat")
PARTITION = {"ann": 0, "bob": 0, "cat": 1}
ACTIONS = ("shown", "clicked", "dismissed")
ITEMS = 4


class Step(NamedTuple):
    """What is drawn; times in quarters of seconds, so that sums are exact."""

    what: str
    user: str
    item: int
    passes: int  # event time
    early: int  # how much the event is before or behind its fellows
    pause: int  # append time, in a replay
    back: int  # which action, counted from the last, a list answers, or which list feedback is of
    takes: bool


class Event(NamedTuple):
    """A record, as the trainer applies it."""

    what: str  # "list" or "feedback", or a topic
    user: str
    at: float
    appended_s: float
    item: int
    offset: int  # of a list: of its trigger
    topic: str  # of a list: of its trigger
    action: str
    suggestion_id: str
    takes: bool


steps = st.lists(
    st.builds(
        Step,
        st.sampled_from(["clicks", "clicks", "purchases", "list", "list", "list", "feedback"]),
        st.sampled_from(USERS),
        st.integers(0, ITEMS - 1),
        st.integers(0, 60),
        st.integers(-60, 30),
        st.integers(0, 20),
        st.integers(0, 5),
        st.booleans(),
    ),
    max_size=50,
)


def log_of(steps: list[Step], replayed: bool) -> list[Event]:
    events: list[Event] = []
    offsets: dict[tuple[int, str], int] = defaultdict(int)
    actions: dict[str, list[Event]] = defaultdict(list)
    now, appended_s = 1_000.0, 50_000.0
    for step in steps:
        number, now = PARTITION[step.user], now + step.passes / 4
        appended_s = appended_s + step.pause / 4 if replayed else now
        if step.what in TOPICS:
            where, at = (number, step.what), now + step.early / 4
            event = Event(
                step.what, step.user, at, appended_s, step.item, offsets[where], step.what, "", "", step.takes
            )
            offsets[where] += 1
            actions[step.user].append(event)
        elif not actions[step.user]:
            continue
        else:
            of = actions[step.user][-1 - step.back % len(actions[step.user])]
            suggestion_id = f"{of.topic}-{number}-{of.offset}"
            if step.what == "list":
                event = of._replace(what="list", appended_s=appended_s, suggestion_id=suggestion_id, takes=step.takes)
            else:
                item, action = (ALL, *range(ITEMS))[step.item], ACTIONS[step.passes % 3]
                event = Event("feedback", step.user, now, appended_s, item, ALL, "", action, suggestion_id, step.takes)
        events.append(event)
    ends = [
        Event("clicks", user, now + 1_000.0, appended_s + 1_000.0, 0, 999, "clicks", "", "", True) for user in USERS
    ]
    return events + ends


def sent_of(event: Event) -> Impression:
    items = [(event.offset + place) % ITEMS for place in range(2)]
    features = np.full((2, 3), float(event.offset), np.float16)
    return Impression(event.suggestion_id, event.user, event.at, event.topic, event.offset, items, [1, 2], features)


def apply(attribution: Attribution, event: Event) -> list[Closed]:
    number = PARTITION[event.user]
    if event.what == "list":
        attribution.record_impression(number, sent_of(event))
    else:
        attribution.advance(number, event.at, event.appended_s)
        if event.what == "feedback":
            attribution.record_feedback(number, event.user, event.suggestion_id, event.item, event.at, event.action)
        else:
            taken = event.what == "purchases"
            attribution.record_action(number, event.user, event.item, event.at, event.what, event.offset, taken=taken)
    return attribution.take() if event.takes else []


def clocks_of(log: list[Event]) -> tuple[list[float], list[float]]:
    """Clock and greatest append time of a record's partition, once the record is applied."""
    clocks: list[float] = []
    appends: list[float] = []
    clock_s: dict[int, float] = defaultdict(lambda: -np.inf)
    newest_s: dict[int, float] = defaultdict(lambda: -np.inf)
    for event in log:
        number = PARTITION[event.user]
        if event.what != "list":
            clock_s[number] = max(clock_s[number], min(event.at, event.appended_s))
            newest_s[number] = max(newest_s[number], event.appended_s)
        clocks.append(clock_s[number])
        appends.append(newest_s[number])
    return clocks, appends


def expected(log: list[Event]) -> tuple[list[tuple[int, list[bool]]], list[list[int]]]:
    """Trigger's offset and what was taken of each list, and counts by place, by the whole log."""
    clocks, appends = clocks_of(log)
    found, known, counts = [], set(), [[0, 0, 0], [0, 0, 0]]
    for place, sent_list in enumerate(log):
        if sent_list.what != "list" or sent_list.suggestion_id in known:
            continue
        number, end = PARTITION[sent_list.user], sent_list.at + CONFIG.window_s
        remembered = [
            other
            for other, event in enumerate(log)
            if event.what != "list"
            and PARTITION[event.user] == number
            and (other > place or appends[other] >= appends[place] - CONFIG.late_s)
        ]
        lost = [e.offset for e in log[:place] if e.what == sent_list.topic and PARTITION[e.user] == number]
        kept = [log[other].offset for other in remembered if other < place and log[other].what == sent_list.topic]
        if max(set(lost) - set(kept), default=-1) >= sent_list.offset:
            continue
        known.add(sent_list.suggestion_id)
        sent, followed, taken = sent_of(sent_list), [False, False], [False, False]
        dismissed: list[bool] = [False, False]
        shown: list[bool] | None = None
        for other in remembered:
            event = log[other]
            if event.user != sent_list.user or event.at > end or clocks[other] > end + CONFIG.late_s:
                continue
            behind = event.at > sent_list.at or (
                event.at == sent_list.at and event.what == sent_list.topic and event.offset > sent_list.offset
            )
            for at, item in enumerate(sent.items):
                mine, named = event.item in (item, ALL), event.item == item
                if event.what == "feedback" and event.suggestion_id == sent_list.suggestion_id:
                    if event.action == "shown":
                        shown = shown or [False, False]
                        shown[at] |= mine
                    elif event.action == "clicked":
                        followed[at] |= mine
                    else:
                        dismissed[at] |= named
                elif event.what in TOPICS and behind and named:
                    followed[at] = True
                    taken[at] |= event.what == "purchases"
        for at in range(2):
            seen = shown is None or shown[at] or followed[at] or dismissed[at]
            counts[at] = [sum(pair) for pair in zip(counts[at], (seen, followed[at], taken[at]), strict=True)]
        found.append((sent_list.offset, taken))
    return sorted(found), counts


@given(steps, st.booleans())
def test_each_list_gets_what_the_whole_log_says_whenever_it_comes(steps: list[Step], replayed: bool) -> None:
    log, attribution, closed = log_of(steps, replayed), Attribution(CONFIG, 3), []
    for event in log:
        closed += apply(attribution, event)
    assert len(attribution) == 0
    got = sorted((int(found.features[0, 0]), found.taken.tolist()) for found in closed)
    assert (got, attribution.counts[1:].tolist()) == expected(log)


@given(steps, st.booleans(), st.sets(st.integers(0, 50), max_size=3), st.integers(0, 50), st.sampled_from(USERS))
def test_a_restart_closes_the_same_lists_with_the_same_answers(
    steps: list[Step], replayed: bool, cuts: set[int], forgets: int, user: str
) -> None:
    whole, parts = Attribution(CONFIG, 3), Attribution(CONFIG, 3)
    for place, event in enumerate(log_of(steps, replayed)):
        if place == forgets:
            for attribution in (whole, parts):
                attribution.forget(user, event.at)
        if place in cuts:
            state = {name: array.copy() for name, array in parts.training().items()}
            parts = Attribution(CONFIG, 3)
            parts.restore(state)
        for mine, theirs in zip(apply(whole, event), apply(parts, event), strict=True):
            for array, other in zip(mine, theirs, strict=True):
                np.testing.assert_array_equal(array, other)
    _assert_same(whole.training(), parts.training())


def _assert_same(mine: dict[str, NDArray[Any]], theirs: dict[str, NDArray[Any]]) -> None:
    assert mine.keys() == theirs.keys()
    for name, array in mine.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)
