"""The judgement of swaps, on a log of one shopper a partition, a look every 0.1 s, and three announcements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from streams.drills.evidence import Evidence, Raw
from streams.drills.swaps import Fault, Latency, Swaps, chance, judge_swaps
from streams.wire.codec import written

AT = 1_773_480_000.0
LOOKS = 800  # of each partition: 80 seconds
ANNOUNCED = {"one": 20.0, "two": 40.0, "three": 60.0}  # seconds after AT
TAKEN_S = 0.5  # from the announcement to its use

Latencies = Callable[[float], float]
"""Milliseconds from a look at a time, in seconds after AT, to its suggestion."""


def usual(after_s: float) -> float:
    return 10.0 + round(after_s * 10) % 10


def raw(topic: str, partition: int, offset: int, after_s: float, value: dict[str, Any]) -> Raw:
    return Raw(topic, partition, offset, round((AT + after_s) * 1000), b"", orjson.dumps(value))


def look(partition: int, offset: int, **more: Any) -> Raw:
    after_s = offset / 10
    value = {"v": 1, "user_id": f"shopper {partition}", "item_id": "kettle", "action": "view"}
    return raw("clicks", partition, offset, after_s, value | {"at": written(AT + after_s), **more})


def version_at(after_s: float) -> str | None:
    return next((version for version, at in reversed(ANNOUNCED.items()) if after_s >= at + TAKEN_S), None)


def answer(event: Raw, latency_ms: float) -> Raw:
    after_s = event.timestamp / 1000 - AT + latency_ms / 1000
    models = {"cooccurrence": "counts-1"}
    if (version := version_at(after_s)) is not None:
        models["sequence"] = version
    return raw("suggestions", event.partition, event.offset, after_s, {"suggestion_id": event.id, "models": models})


def announcements() -> list[Raw]:
    values = [("sequence", version, at) for version, at in ANNOUNCED.items()] + [("other", "four", 50.0)]
    return [
        raw("snapshots", 0, offset, at, {"model": model, "version": version})
        for offset, (model, version, at) in enumerate(values)
    ]


def judged(
    latencies: Latencies = usual,
    faults: tuple[Fault, ...] = (),
    learnt: int = 2 * LOOKS - 40,
    more: tuple[Raw, ...] = (),
    dead_letters: tuple[Raw, ...] = (),
) -> Swaps:
    clicks = [look(partition, offset) for partition in (0, 1) for offset in range(LOOKS)]
    answers = [answer(click, latencies(click.timestamp / 1000 - AT)) for click in clicks]
    evidence = Evidence([*clicks, *more], [], {}, answers, [], announcements(), list(dead_letters))
    return judge_swaps(evidence, faults, {"events": learnt, "held": 40}, "sequence")


def test_swaps_without_delay_are_seen_and_not_complained_of() -> None:
    found = judged()
    assert found.complaints() == []
    assert found.announced == ["one", "two", "three"]
    assert found.seen == {0: ["one", "two", "three"], 1: ["one", "two", "three"]}
    assert (found.fewest, found.late, found.late_away) == (3, [], 0)
    # From each announcement to two seconds after the first suggestion of the version, half a second later.
    assert found.around.n == pytest.approx(3 * 2 * 25, abs=3 * 2 * 2)
    assert found.around.n + found.away.n == 2 * LOOKS
    assert (found.away.p50_ms, found.away.p99_ms, found.bound_ms) == (15.0, 19.0, 38.0)
    assert {version: latency.max_ms for version, latency in found.by_version.items()} == dict.fromkeys(ANNOUNCED, 19.0)


def slow_while_taken(after_s: float) -> float:
    """No suggestion is sent while a snapshot is loaded."""
    since = min((after_s - at for at in ANNOUNCED.values() if after_s >= at), default=99.0)
    return 1000 * (TAKEN_S - since) + 10.0 if since < TAKEN_S else usual(after_s)


def test_suggestions_that_a_swap_delays_are_late() -> None:
    found = judged(slow_while_taken)
    assert len(found.late) == 3 * 2 * 5  # all five looks of half a second: 510 to 110 ms
    assert found.late_away == 0
    assert found.around.max_ms == 510.0
    (complaint,) = found.complaints()
    assert complaint.startswith(
        f"30 of {found.around.n} suggestions around swaps took longer than 38 ms (such as clicks-0-"
    )
    assert complaint.endswith(f", and 0 of {found.away.n} elsewhere")


def test_a_kill_is_no_swap() -> None:
    faults = tuple(Fault("kill -9", AT + at - 1.0, AT + at + 1.0) for at in ANNOUNCED.values())
    found = judged(slow_while_taken, faults)
    assert (found.late, found.late_away, found.fewest) == ([], 0, 3)
    assert found.around.n == 0  # the swaps are over before the backlog of the kill is
    assert found.complaints() == [
        "there are no suggestions around swaps, or none away from them, that could be compared"
    ]


def test_an_event_before_a_kill_that_is_answered_after_it_is_not_late() -> None:
    found = judged(lambda after_s: 6_000.0 if 29.0 < after_s < 31.0 else usual(after_s), (Fault("", AT + 30, AT + 31),))
    assert (found.late_away, found.away.max_ms) == (0, 19.0)


def test_swaps_are_not_blamed_if_latency_is_as_bad_elsewhere() -> None:
    found = judged(lambda after_s: 100.0 if round(after_s * 10) % 120 == 7 else usual(after_s))
    assert 0 < len(found.late) < found.late_away
    assert found.complaints() == []


@pytest.mark.parametrize("learnt", [2 * LOOKS - 41, 2 * LOOKS - 39])
def test_a_look_that_was_missed_or_learnt_twice_is_reported(learnt: int) -> None:
    assert judged(learnt=learnt).complaints() == [
        f"1600 looks are in the log, and {learnt} learnt and 40 held back ({learnt + 40}) in the last snapshot"
    ]


def test_repeated_events_and_what_leaves_the_cart_are_no_looks() -> None:
    more = (
        look(2, 0, event_id="one"),
        look(2, 1, event_id="one"),
        look(2, 2, action="remove_from_cart"),
        look(2, 3, action="add_to_cart"),
    )
    assert judged(more=more).looks == 2 * LOOKS + 2


def test_a_partition_with_too_few_snapshots_is_reported() -> None:
    clicks = [look(0, offset) for offset in range(LOOKS)] + [look(1, offset) for offset in range(450)]
    answers = [answer(click, 10.0) for click in clicks]
    back = answer(look(0, 10), 10.0)._replace(offset=LOOKS, timestamp=round((AT + 79.99) * 1000))
    evidence = Evidence(clicks, [], {}, [*answers, back], [], announcements())
    found = judge_swaps(evidence, (), {"events": 1250, "held": 0}, "sequence")
    assert found.seen == {0: ["one", "two", "three"], 1: ["one", "two"]}
    assert found.complaints() == ["a partition went through 2 snapshots only, not 3: give it more time"]


def test_dead_letters_are_reported() -> None:
    assert judged(dead_letters=(raw("dead-letters", 0, 0, 1.0, {}),)).complaints() == ["dead letters: 1"]


def test_empty_topics_give_complaints_and_json() -> None:
    found = judge_swaps(Evidence([], [], {}, [], []), (), {}, "sequence")
    assert len(found.complaints()) == 2
    assert orjson.loads(orjson.dumps(found.as_json()))["latency_ms"] == {"n": 0, "p50": None, "p99": None, "max": None}


def test_chance_equals_a_count_by_hand() -> None:
    # Of four, two are late; both are here, where two are: one way in six.
    assert chance(2, 2, 2, 4) == pytest.approx(1 / 6)
    assert chance(1, 2, 2, 4) == pytest.approx(5 / 6)
    assert chance(0, 0, 0, 0) == 1.0
    assert Latency.of(range(1, 201)) == Latency(200, 101, 199, 200)
