"""An engine with a trainer beside it: no list depends on later events, and lists that workers sent are scored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

pytest.importorskip("torch", reason="install the extra `learning` to run this")

from models.evaluation.prequential.protocol import METHODS, OURS, RANKINGS, SENT, Prequential, PrequentialConfig
from models.evaluation.prequential.replay import Answered, Engine, Event
from models.evaluation.prequential.sent import SentLists, moment_of
from models.sequence.config import GateConfig
from models.shop.events import Action, CatalogItem, Click, Profile
from streams.connectors.event_log import log_of_data_set, sent_of, simulated
from streams.connectors.replay import DataMissingError
from streams.wire.codec import written
from tests.support.evaluate_command import run
from tests.support.prequential_shop import AT, ITEMS, QUICK, engine, look, walks

NOW_MS = 1_767_225_600_000


def told(answered: list[Answered]) -> list[Any]:
    return [each.lists for each in answered]


# -- suggest, then learn -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [1, 80, 226])
def test_lists_do_not_depend_on_what_comes_later(kept: int) -> None:
    events = walks(120)
    whole = told(list(engine().run(events)))
    assert whole[:kept] == told(list(engine().run(events[:kept])))
    assert any("sequence" in str(lists[OURS]) for lists in whole[:80])  # it has been at work
    assert any(lists and lists[OURS] != lists["fixed-weights"] for lists in whole)  # and so has the ranker


def test_a_predictor_has_learnt_earlier_looks_and_no_other() -> None:
    """Its version is the number of looks that it has learnt."""
    events = walks(30)
    versions: list[int] = []
    for kept in range(5, 95, 9):
        ours = engine()
        list(ours.run(events[:kept]))
        predictor = ours.predictor
        versions.append(0 if predictor is None else int(predictor.version))
        assert versions[-1] <= sum(isinstance(event, Click) for event in events[: kept - 1])
    assert versions == sorted(versions)
    assert len(set(versions)) > 5


def test_a_new_pair_is_suggested_after_the_next_snapshot_and_not_before() -> None:
    """Forty shoppers go from 0 to 1 within one burst; a snapshot follows it."""
    events: list[Event] = [
        look(f"u{number}", step, 0.4 * number + 0.1 * step) for number in range(40) for step in (0, 1)
    ]
    answered = list(engine().run([*events, look("late", 0, 100.0)]))
    in_burst = [item for each in answered[:-1] for item in each.lists["sequence"]]
    assert {item["reasons"][0]["source"] for item in in_burst} == {"popularity"}
    first = answered[-1].lists["sequence"][0]
    assert (first["item_id"], first["reasons"][0]["source"]) == (ITEMS[1], "sequence")


def test_each_of_ours_gives_its_own_sources() -> None:
    sources: dict[str, set[str]] = {name: set() for name in RANKINGS}
    for answered in engine().run(walks(30)):
        for name, items in answered.lists.items():
            sources[name] |= {reason["source"] for item in items for reason in item["reasons"]}
    assert sources["counting"] == {"viewed_with", "viewed_then_bought", "popularity"}
    assert sources["sequence"] == {"sequence", "popularity"}
    assert sources[OURS] == sources["counting"] | sources["sequence"]


def test_a_ranker_serves_as_soon_as_it_has_enough_rewards_and_not_before() -> None:
    """All shoppers take the same item last."""
    events: list[Event] = []
    for shopper in range(60):
        at = 100.0 * shopper
        events += [look(f"u{shopper}", step, at + 5.0 * step) for step in range(3)]
        events.append(Click(f"u{shopper}", ITEMS[3], Action.ADD_TO_CART, AT + at + 20.0))
    ours = engine()
    answered = list(ours.run(events))
    ordering = ours.orderings[OURS]
    version = int(ours.recommenders[OURS].learnt.version)
    assert 0 < version <= ordering.ranker.learnt < ordering.outcomes.opened
    changed = [number for number, each in enumerate(answered) if each.lists[OURS] != each.lists["fixed-weights"]]
    assert changed
    before = engine()
    list(before.run(events[: changed[0] + 1]))
    assert before.orderings[OURS].ranker.metrics()["credits.cross_sell"] >= QUICK.least_credits
    last = [[item["item_id"] for item in answered[-4].lists[name]] for name in (OURS, "fixed-weights")]
    assert last[0].index(ITEMS[3]) < last[1].index(ITEMS[3])


def test_later_events_count_for_the_lists_of_a_shopper_unless_forgotten() -> None:
    looks = [look(user, step, 10.0 * step) for step in range(3) for user in ("bob", "ann")]
    taken = Click("ann", ITEMS[2], Action.ADD_TO_CART, AT + 25.0)
    late = look("eve", 5, 500.0)
    kept, forgotten = engine(), engine()
    list(kept.run([*looks, taken, late]))
    list(forgotten.run([*looks, taken, Profile("ann", AT + 30.0, consent=True, forget=True), late]))
    outcomes = [made.orderings[OURS].outcomes for made in (kept, forgotten)]
    for attribution in outcomes:
        attribution.take()
    assert outcomes[0].counts[:, 2].sum() > 0 == outcomes[1].counts[:, 2].sum()
    assert outcomes[0].closed > outcomes[1].closed > 0


@pytest.mark.parametrize("said", [{"consent": True, "forget": True}, {"consent": False}])
def test_a_list_of_a_shopper_who_refuses_before_it_is_made_is_not_learnt(said: dict[str, Any]) -> None:
    """Both come within one flush: the list is made after the profile is applied."""
    ours = engine()
    list(ours.run([look("ann", 0, 0.0), look("ann", 1, 0.1), Profile("ann", AT + 0.2, **said), look("eve", 5, 0.3)]))
    assert ours.orderings[OURS].outcomes.opened == 1


def test_a_silence_costs_nothing_and_changes_nothing() -> None:
    ours = engine()
    list(ours.run([look("a", 0, 0.0), look("a", 1, 5.0), look("b", 2, 5e6), look("b", 3, 1e7)]))
    assert ours.training is not None
    assert (ours.training.snapshots, ours.training.learner.chunks) == (2, 2)


def test_a_snapshot_that_the_gate_refuses_does_not_serve() -> None:
    """With a bound that no candidate can meet, the predictor from before the gate had enough windows still serves."""
    ours = engine(GateConfig(share=0.5, age_s=60.0, least=2, errors=-1e9))
    list(ours.run(walks(30)))
    assert ours.training is not None
    assert ours.training.refused > 3
    predictor = ours.predictor
    assert predictor is not None
    assert int(predictor.version) < 60 < ours.training.learner.learnt


def test_a_shopper_who_refuses_is_neither_answered_nor_learnt_from() -> None:
    ours = engine()
    events: list[Event] = [
        Profile("a", AT - 1, consent=False),
        look("a", 0, 0.0),
        look("a", 1, 5.0),
        look("b", 2, 90.0),
    ]
    assert [answered.query is not None for answered in ours.run(events)] == [False, False, False, True]
    assert ours.training is not None
    assert ours.training.snapshots == 0


# -- all methods -------------------------------------------------------------------------------------------------------


def simulated_events(count: int) -> tuple[list[CatalogItem], list[Event]]:
    log = log_of_data_set(simulated(3, count), None, NOW_MS, pytest.fail)
    return log.catalog, list(log.events)


def over(
    catalog: list[CatalogItem], events: list[Event], sent: SentLists | None = None
) -> tuple[Prequential, list[Answered]]:
    made = engine(every_s=3_600.0)
    for item in catalog:
        made.catalog.put(item)
    prequential = Prequential(made, PrequentialConfig(window_s=3_600.0), sent=sent)
    answered: list[Answered] = []

    def noting(events: list[Event]) -> Iterator[Answered]:
        for each in Engine.run(made, events):
            answered.append(each)
            yield each

    made.run = noting  # type: ignore[method-assign, assignment]
    prequential.run(events)
    return prequential, answered


def records(answered: list[Answered]) -> list[dict[str, Any]]:
    """What a worker would have sent."""
    found = []
    for number, each in enumerate(answered):
        moment = moment_of(each.event)
        if each.query is None or moment is None:
            continue
        topic = "purchases" if moment.action == Action.PURCHASE else "clicks"
        trigger = {"topic": topic, "partition": 0, "offset": number, "action": moment.action}
        head = {"v": 1, "suggestion_id": f"{topic}-0-{number}", "user_id": moment.user_id, "at": written(each.event.at)}
        tail = {"models": {"cooccurrence": "counts-1"}, "policy": "", "arm": "default", "latency_ms": 1.0}
        trigger["item_ids"] = list(moment.item_ids)
        found.append(head | {"trigger": trigger, "items": each.lists[OURS]} | tail)
    return found


@pytest.fixture(scope="module")
def alone() -> tuple[Prequential, list[Answered]]:
    """A run without lists that were sent."""
    return over(*simulated_events(600))


@pytest.mark.slow
def test_equal_runs_give_equal_figures(alone: tuple[Prequential, list[Answered]]) -> None:
    assert over(*simulated_events(600))[0].as_json() == alone[0].as_json()


@pytest.mark.slow
def test_lists_that_a_worker_sent_have_the_figures_of_those_the_engine_gives(
    tmp_path: Path, alone: tuple[Prequential, list[Answered]]
) -> None:
    catalog, events = simulated_events(600)
    prequential, answered = alone
    lines = [orjson.dumps(record) for record in records(answered)]
    file = tmp_path / "suggestions.jsonl"
    file.write_bytes(b"\n".join([*reversed(lines), lines[0]]))  # in any order, one of them twice
    figures = over(catalog, events, sent_of(file, pytest.fail))[0].as_json()
    assert figures["methods"][SENT]["both, taken"]["n"] > 300
    ours, sent = figures["methods"][OURS], figures["methods"][SENT]
    assert sent == {name: found for name, found in ours.items() if name != "seconds"}
    assert figures["methods"][OURS] == prequential.as_json()["methods"][OURS]
    n = len(lines)
    same = figures["sent"].pop("same_items")
    items = sum(len(orjson.loads(line)["items"]) for line in lines)
    counts = {"lists": n, "repeated": 1, "found": n, "without_event": 0, "events_without": 0}
    assert figures["sent"] == counts | {"items": items}
    assert same[OURS] == 100.0 > max(same["counting"], same["sequence"])


def test_only_what_lies_between_the_first_and_the_last_list_is_scored_a_missing_one_as_empty(
    tmp_path: Path,
) -> None:
    events: list[Event] = [look("a", number, 10.0 * number) for number in range(6)]
    answered = list(engine().run(events))
    lines = [orjson.dumps(record) for record in records(answered)]
    file = tmp_path / "suggestions.jsonl"
    file.write_bytes(b"\n".join([lines[1], lines[3], orjson.dumps(records(answered)[4] | {"user_id": "b"})]))
    prequential, _ = over([], events, sent_of(file, pytest.fail))
    figures = prequential.as_json()
    assert figures["triggers"] == 4  # from the second to the fifth, which only b had
    assert figures["sent"].pop("items") == sum(len(answered[number].lists[OURS]) for number in (1, 3))
    assert figures["sent"].pop("same_items")[OURS] == 100.0
    assert figures["sent"] == {"lists": 3, "repeated": 0, "found": 2, "without_event": 1, "events_without": 2}


def test_what_is_no_suggestion_is_named_and_left_out(tmp_path: Path) -> None:
    file = tmp_path / "suggestions.jsonl"
    record = records(list(engine().run([look("a", 0, 0.0)])))[0]
    file.write_bytes(b"\n".join([b"{}", orjson.dumps(record | {"at": "yesterday"}), orjson.dumps(record)]))
    said: list[str] = []
    assert sent_of(file, said.append).lists == 1
    assert [sentence.split(" ")[0] for sentence in said] == ["suggestions.jsonl:1:", "suggestions.jsonl:2:"]
    with pytest.raises(DataMissingError, match=r"nowhere\.jsonl cannot be read .*: `crosscurrent tail suggestions"):
        sent_of(tmp_path / "nowhere.jsonl", pytest.fail)


# -- the command -------------------------------------------------------------------------------------------------------


def test_methods_are_chosen_and_wrong_ones_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.json"
    given = ("prequential", "simulated", "--limit", "400", "--window", "1h", "--json", str(out))
    assert run(*given, "--methods", "random, counting") == 0
    methods = orjson.loads(out.read_bytes())["methods"]
    assert list(methods) == ["counting", "random"]
    assert all(found["seconds"] >= 0.0 for found in methods.values())
    assert run(*given, "--methods", "random") == 0
    assert orjson.loads(out.read_bytes())["calibration"] == {"cross-sell": [], "upsell": []}
    capsys.readouterr()
    assert run(*given, "--methods", "sent") == 2
    assert f"no method 'sent': choose from {', '.join(METHODS)}" in capsys.readouterr().err
