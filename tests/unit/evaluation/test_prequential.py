"""Suggest, score, then learn: the engine counts as a worker does, and windows open and close where they should."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from models.cooccurrence.config import CoOccurrenceConfig
from models.evaluation.lists import Place
from models.evaluation.prequential.baselines import AtRandom, HouseholdPopular, MostPopular
from models.evaluation.prequential.figures import truth_figures
from models.evaluation.prequential.protocol import (
    HOUSEHOLD,
    METHODS,
    OURS,
    POPULARITY,
    RANDOM,
    SENT,
    Prequential,
    PrequentialConfig,
)
from models.evaluation.prequential.replay import Engine, Event, Ranking
from models.evaluation.prequential.sent import Moment, SentLists
from models.evaluation.prequential.tallies import OUTCOMES, SLICES, ListOutcome, Tally, parts_of
from models.serving.recommender import Query
from models.sessions.visits import Visit, VisitConfig
from models.shop.events import Action, CatalogItem, Click, Line, Profile, Purchase
from models.shop.kinds import CROSS_SELL, UPSELL
from models.shop.policy import Policy
from streams.cli import evaluation_report
from streams.connectors.event_log import log_of_data_set, log_of_folder, simulated
from streams.connectors.replay import DataMissingError
from streams.connectors.simulated_shop import SimulatedShop
from tests.support.evaluate_command import run
from tests.support.oracle import is_upsell, same_category
from tests.support.world import Process, Shop

AT = 1_699_990_000.0
SHOP = (("kettle", "Kettles", 30.0), ("kettle-pro", "Kettles", 40.0), ("mug", "Mugs", 8.0), ("pan", "Pans", 20.0))
NOW_MS = 1_767_225_600_000


def engine(policy: Policy | None = None, shop: Iterable[tuple[str, str, float]] = SHOP) -> Engine:
    made = Engine(policy or Policy(), VisitConfig(), CoOccurrenceConfig(), {OURS: Ranking()}, flush_interval_s=1.0)
    for item, category, price in shop:
        made.catalog.put(CatalogItem(item, item.title(), category, price, brand=None if item == "pan" else category[0]))
    return made


def look(user: str, item: str, at: float, action: Action = Action.VIEW, **more: Any) -> Click:
    return Click(user, item, action, AT + at, **more)


def buy(user: str, items: list[str], at: float, order: str = "o1") -> Purchase:
    return Purchase(user, order, AT + at, tuple(map(Line, items)))


def scored(events: list[Event], window_s: float = 100.0, policy: Policy | None = None) -> Prequential:
    prequential = Prequential(engine(policy), PrequentialConfig(window_s=window_s))
    prequential.run(events)
    return prequential


def hr(found: dict[str, Any]) -> float | None:
    value: float | None = next(value for name, value in found.items() if name.startswith("hr@"))
    return value


def hits(prequential: Prequential, reading: str) -> float | None:
    return hr(prequential.as_json()["methods"][OURS][reading])


END = look("zoe", "nothing-known", 10_000)
"""Closes every window, and has a list of nothing itself that stays open."""


# -- the engine is a worker --------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_rows_and_suggestions_are_those_of_a_worker() -> None:
    """The same events through a worker's tasks on a memory log, and through the engine."""
    shop = Shop()
    process = Process(shop)
    events: list[Event] = []
    for item, category, price in SHOP:
        shop.offer(item, category, price)
    for number in range(40):
        user, at = f"u{number % 7}", 60.0 * number
        items = [SHOP[(number * step) % 4][0] for step in (1, 3)]
        for step, item in enumerate(items):
            shop.click(user, item, at + step)
            events.append(look(user, item, at + step))
        if number % 3 == 0:
            shop.buy(user, items, at + 5, f"o{number}")
            events.append(buy(user, items, at + 5, f"o{number}"))
    await process.take_over_all()
    await process.complete()
    shop.click("ann", "kettle", 3_000.0)
    events.append(look("ann", "kettle", 3_000.0))
    await process.read_on()
    ours = engine()
    *_, last = ours.run(events)
    rows = {item: ours.neighbours.row(item) for item in ours.neighbours}
    found = {
        item: {
            name: (tuple(round(float(x), 7) for x in row.weights[i]), tuple(int(x) for x in row.counts[i]))
            for i, name in enumerate(row.neighbours)
        }
        for item, row in rows.items()
        if row is not None
    }
    assert found == {item: row["cells"] for item, row in shop.rows().items()}
    await process.producer.wait_acked(process.producer.mark())
    (suggested,) = [value for value in shop.values("suggestions") if value["user_id"] == "ann"]
    assert [(item["item_id"], item["kind"], item["reasons"]) for item in suggested["items"]] == [
        (item["item_id"], item["kind"], item["reasons"]) for item in last.lists[OURS]
    ]
    await process.die()


def test_an_event_is_answered_before_it_is_learnt_and_known_a_flush_later() -> None:
    ours = engine()
    texts = [
        [item["reasons"][0]["text"] for item in answered.lists[OURS] if item["item_id"] == "mug"]
        for answered in ours.run([look("a", "mug", 0), look("b", "kettle", 0.5), look("c", "kettle", 2)])
    ]
    assert texts == [[], ["New in Mugs"], ["From Mugs: viewed or added to the cart once"]]


def test_a_repeated_event_and_a_forgotten_shopper_are_not_answered() -> None:
    ours = engine()
    events: list[Event] = [
        look("a", "mug", 0, event_id="e1"),
        look("a", "mug", 1, event_id="e1"),
        Profile("a", AT + 5, forget=True),
        look("a", "mug", 4, event_id="e2"),
        look("a", "mug", 6, event_id="e3"),
    ]
    assert [answered.query is not None for answered in ours.run(events)] == [True, False, False, False, True]


def test_joins_are_learnt_in_a_silence() -> None:
    ours = engine()
    events: list[Event] = [look("a", "kettle", 0), buy("a", ["mug"], 60), look("b", "kettle", 90)]
    *_, last = ours.run(events)
    assert "viewed_then_bought" in {why["source"] for item in last.lists[OURS] for why in item["reasons"]}


# -- windows -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("then", "taken", "followed"),
    [
        (look("a", "mug", 50, Action.ADD_TO_CART), True, True),
        (buy("a", ["mug"], 50), True, True),
        (look("a", "mug", 50), False, True),
        (look("a", "mug", 50, Action.CLICK), False, True),
        (look("a", "mug", 50, Action.REMOVE_FROM_CART), False, False),
        (look("a", "mug", 100, Action.ADD_TO_CART), True, True),  # as the window closes
        (look("a", "mug", 100.001, Action.ADD_TO_CART), False, False),
        (look("b", "mug", 50, Action.ADD_TO_CART), False, False),  # somebody else
    ],
)
def test_what_counts_as_taken_and_as_followed(then: Event, taken: bool, followed: bool) -> None:
    found = scored([look("a", "kettle", 0), then, END], policy=Policy(triggers=("view",)))
    lists = 1 + (isinstance(then, Click) and then.action is Action.VIEW)  # a view has a list of its own, and no hit
    assert hits(found, "cross-sell, taken") == 100.0 * taken / lists
    assert hits(found, "cross-sell, followed") == 100.0 * followed / lists


def test_what_was_done_before_a_list_does_not_count_for_it() -> None:
    events: list[Event] = [look("a", "mug", 0), look("a", "kettle", 1), END]
    found = scored(events).as_json()["methods"][OURS]["cross-sell, followed"]
    assert (found["hr@4"], found["n"]) == (50.0, 2)  # the kettle after the mug, and not the mug after the kettle


def test_an_upsell_is_a_target_of_its_own_kind() -> None:
    found = scored([look("a", "kettle", 0), look("a", "kettle-pro", 9, Action.ADD_TO_CART), END])
    assert hits(found, "cross-sell, taken") == 0.0
    assert hits(found, "upsell, taken") == 50.0  # of two lists
    figures = found.as_json()["methods"][OURS]
    assert figures["upsell, taken"]["with_targets"] == 1
    assert figures["cross-sell, taken"]["with_targets"] == 0
    assert figures["lists"]["upsell"]["price_step_taken"] == pytest.approx(33.333)
    assert figures["lists"]["upsell"]["lift_per_anchor"] == pytest.approx(16.667)  # of two lists
    assert figures["lists"]["upsell"]["revenue_per_1000_lists"] == 20_000.0


def test_what_is_new_and_what_a_taking_is_credited_with_is_as_of_the_event() -> None:
    """Ann has the mug in both of her baskets and never had the pan; there are three baskets before she looks."""
    events: list[Event] = [
        buy("ann", ["mug"], 0, "o1"),
        buy("ann", ["mug"], 10, "o2"),
        buy("bob", ["pan"], 20, "o3"),
        look("ann", "kettle", 200),
        buy("ann", ["pan", "mug"], 210, "o4"),
        END,
    ]
    figures = scored(events, policy=Policy(triggers=("view",), bought_days=0)).as_json()["methods"][OURS]
    taken, new, credited = (figures[f"cross-sell, {name}"] for name in ("taken", "new to household, taken", "credited"))
    assert (taken["n"], taken["hr@4"], taken["precision@4"], taken["recall@4"]) == (1, 100.0, 100.0, 100.0)
    assert (new["n"], new["hr@4"], new["precision@4"], new["recall@4"]) == (1, 100.0, 50.0, 100.0)
    mug, pan = 1 - (2 + 5 * 2 / 3) / (2 + 5), 1 - (0 + 5 * 1 / 3) / (2 + 5)
    assert credited["hr@4"] == pytest.approx(100 * pan, abs=1e-3)
    assert credited["precision@4"] == pytest.approx(100 * (mug + pan) / 2, abs=1e-3)
    assert credited["interval"]["hr@4"] == pytest.approx([100 * pan] * 2, abs=1e-3)
    assert figures["revenue_per_1000_lists"] == figures["lists"]["cross-sell"]["revenue_per_1000_lists"] == 28_000.0


def test_a_basket_that_has_left_the_window_makes_later_takings_old() -> None:
    events: list[Event] = [
        look("ann", "kettle", 0),
        buy("ann", ["pan"], 10, "o1"),
        look("ann", "kettle", 200),
        buy("ann", ["pan"], 210, "o2"),
        END,
    ]
    figures = scored(events, policy=Policy(triggers=("view",), bought_days=0)).as_json()["methods"][OURS]
    assert (figures["both, taken"]["hr@6"], figures["both, new to household, taken"]["hr@6"]) == (100.0, 50.0)
    assert figures["both, credited"]["hr@6"] == pytest.approx(50.0)  # 1, and 1 - (1 + 5 * 1 / 1) / (1 + 5)


def test_items_that_could_not_be_suggested_are_no_targets() -> None:
    """In the trigger, not in the catalogue, cheaper than the anchor of its category."""
    events: list[Event] = [look("a", "kettle-pro", 0), buy("a", ["kettle-pro", "unknown", "kettle", "pan"], 9), END]
    found = scored(events, policy=Policy(triggers=("view",))).as_json()["methods"][OURS]
    assert found["both, taken"]["with_targets"] == 1
    assert found["both, taken"]["recall@6"] == 100.0  # the pan
    assert found["both, taken"]["precision@6"] == 50.0  # and the mug


def test_a_purchase_has_no_list_of_upsells() -> None:
    found = scored([buy("a", ["kettle"], 0), END]).as_json()["methods"][OURS]
    assert (found["cross-sell, taken"]["n"], found["upsell, taken"]["n"]) == (1, 0)
    assert found["upsell, taken"]["hr@2"] is None


def test_lists_that_are_open_at_the_end_are_told_apart() -> None:
    found = scored([look("a", "kettle", 0), look("b", "kettle", 101), look("b", "mug", 102)])
    assert (found.triggers, found.counted, found.open) == (3, 1, 2)
    assert found.as_json()["methods"][OURS]["both, taken"]["n"] == 1


def test_a_stream_without_a_closed_window_has_no_figures() -> None:
    found = scored([look("a", "kettle", 0)]).as_json()
    assert found["lists"] == 0
    assert found["methods"][OURS]["both, taken"]["hr@6"] is None
    assert found["methods"][OURS]["both, taken"]["interval"]["hr@6"] == [None, None]


def test_cold_is_what_few_events_were_about_before() -> None:
    events: list[Event] = [
        *(look(f"u{n}", "kettle", n) for n in range(7)),
        *(look("u0", "kettle", 8 + n) for n in range(3)),
    ]
    found = scored([*events, END]).as_json()["methods"][OURS]
    assert found["cold item, taken"]["n"] == 5
    assert found["cold shopper, taken"]["n"] == 9  # all but the fourth event of one


def test_long_windows_are_let_go_of_as_they_close() -> None:
    events: list[Event] = [look("a", SHOP[n % 4][0], 10.0 * n) for n in range(500)]
    found = scored(events, window_s=95.0)
    assert (found.counted, found.open) == (490, 10)
    assert len(found._shoppers["a"].views) < 40


def test_days_and_steps_add_up_to_the_lists() -> None:
    events: list[Event] = [look(f"u{n}", SHOP[n % 4][0], 3_000.0 * n) for n in range(100)]
    found = scored([*events, look("zoe", "mug", 400_000)]).as_json()
    for steps in (found["days"], found["curve"]["steps"]):
        assert sum(step["methods"][OURS]["both"]["n"] for step in steps) == 100
    assert found["curve"]["step_s"] == 86_400
    assert len(found["days"]) == 5


def test_fallbacks_are_told_by_the_first_reason_and_what_was_bought_before_is_none() -> None:
    sources = ("viewed_with", "sequence", "history", "content", "popularity")
    ours = engine(shop=[("kettle", "Kettles", 30.0), *((source, source.title(), 9.0) for source in sources)])
    items: list[Any] = []
    for source in sources:
        reasons = [{"source": reason, "count": 1, "text": ""} for reason in (source, "popularity")]
        items.append({"item_id": source, "kind": "cross-sell", "anchor": "kettle", "score": 0.1, "reasons": reasons})
    sent = SentLists()
    sent.add("clicks-0-0", Moment("ann", round(AT * 1000), "view", ("kettle",)), items)
    prequential = Prequential(ours, PrequentialConfig(window_s=100.0), sent=sent)
    prequential.run([look("ann", "kettle", 0.0), END])
    found = prequential.as_json()["methods"][SENT]["lists"]["cross-sell"]
    assert (found["items"], found["fall_backs"]) == (5, 40.0)


# -- right answers are known -------------------------------------------------------------------------------------------


def completes_kettles(kind: str, anchors: Sequence[str], item: str) -> bool:
    """Mugs complete kettles, and the better kettle is a right upsell."""
    return "kettle" in anchors and (kind, item) in (("cross-sell", "mug"), ("upsell", "kettle-pro"))


def test_right_items_and_hits_by_stretch() -> None:
    """A kettle gets mug and pan, and the better kettle as upsell; a pan gets both kettles and the mug."""
    events: list[Event] = [
        look("ann", "kettle", 0),
        look("ann", "mug", 50, Action.ADD_TO_CART),
        look("bob", "kettle", 200),
        buy("bob", ["kettle-pro"], 210),
        look("cat", "pan", 400),
        look("zoe", "nothing-known", 10_000),
        look("dan", "kettle", 10_050),  # open at the end, as the one before it
    ]
    config = PrequentialConfig(window_s=100.0, stretch_events=2)
    ours = engine(Policy(triggers=("view",)))
    prequential = Prequential(ours, config, [], is_right=completes_kettles)
    prequential.run(events)
    truth = prequential.as_json()["truth"]
    stretches = truth["stretches"]
    assert [(stretch["first"], stretch["last"]) for stretch in stretches] == [(1, 2), (3, 4), (5, 6), (7, 7)]
    of_kind = {
        kind: [
            tuple(stretch["methods"][OURS][kind][name] for name in ("items", "right", "n", "hr taken"))
            for stretch in stretches
        ]
        for kind in ("cross-sell", "upsell", "both")
    }
    assert of_kind["cross-sell"] == [(2, 50.0, 1, 100.0), (2, 50.0, 1, 0.0), (3, 0.0, 1, 0.0), (2, 50.0, 0, None)]
    assert of_kind["upsell"] == [(1, 100.0, 1, 0.0), (1, 100.0, 1, 100.0), (0, None, 1, 0.0), (1, 100.0, 0, None)]
    assert of_kind["both"] == [
        (3, 66.667, 1, 100.0),
        (3, 66.667, 1, 100.0),
        (3, 0.0, 1, 0.0),
        (3, 66.667, 0, None),
    ]
    assert truth["at_end"] == stretches[2]["methods"]  # the last whole one
    whole = truth["all"][OURS]
    assert (whole["cross-sell"]["items"], whole["cross-sell"]["right"]) == (9, 33.333)
    assert (whole["upsell"]["items"], whole["upsell"]["right"], whole["upsell"]["n"]) == (3, 100.0, 3)
    assert whole["upsell"]["hr taken"] == hits(prequential, "upsell, taken") == 33.333


def test_without_a_truth_nothing_is_said_of_what_is_right() -> None:
    assert "truth" not in scored([look("ann", "kettle", 0), END]).as_json()


def test_a_truth_without_a_list_has_no_figures() -> None:
    prequential = Prequential(engine(), PrequentialConfig(), is_right=completes_kettles)
    assert prequential.as_json()["truth"] == {"stretch_events": 1_500, "all": {}, "at_end": {}, "stretches": []}


def test_a_lead_is_of_paired_lists() -> None:
    """Ann gets two right items of two from ours and one from theirs, bob one and none: 50 points in every resample.

    Both take an item of theirs, and only ann of ours: 0, 50 or 100 points behind.
    """

    def among(known: set[int]) -> Callable[[Place], bool]:
        return lambda place: place.item in known

    ours, theirs = (Tally((2, 2, 4), lambda _: None) for _ in range(2))
    shown = parts_of([Place(1, CROSS_SELL, 9), Place(2, CROSS_SELL, 9)])
    nothing: dict[int, float] = {}
    for tally, right, takers in ((ours, ({1, 2}, {1}), (0,)), (theirs, ({2}, set()), (0, 1))):
        for group in (0, 1):
            tally.judge(shown, among(right[group]), 0, group)
            taken = {1: 1.0} if group in takers else {7: 1.0}
            outcome = ListOutcome(group, 0, 0, False, (), (taken, taken, nothing, nothing), ((1, 0, 1),) * 4)
            tally.add(shown, 0, outcome)
    found = truth_figures({OURS: ours, POPULARITY: theirs}, size=10, events=10, seed=1)
    assert found["all"] == found["at_end"] == found["stretches"][0]["methods"]
    first, second = (found["all"][name]["cross-sell"] for name in (OURS, POPULARITY))
    assert (first["right"], first["interval"]["right"]) == (75.0, [50.0, 100.0])
    assert (second["right"], second["interval"]["right"]) == (25.0, [0.0, 50.0])
    assert (first["hr taken"], second["hr taken"], second["n"]) == (50.0, 100.0, 2)
    assert second["lead"] == {
        "hr taken": -50.0,
        "right": 50.0,
        "interval": {"hr taken": [-100.0, 0.0], "right": [50.0, 50.0]},
    }
    assert found["all"][POPULARITY]["upsell"]["lead"]["right"] is None


@pytest.mark.slow
def test_equal_runs_are_equal() -> None:
    def run() -> dict[str, Any]:
        log = log_of_data_set(simulated(3, 1_500), None, NOW_MS, pytest.fail)
        ours = engine(shop=())
        for item in log.catalog:
            ours.catalog.put(item)
        prequential = Prequential(ours, PrequentialConfig(window_s=3_600.0, stretch_events=400), is_right=right)
        prequential.run(log.events)
        return prequential.as_json()

    right = SimulatedShop(3).truth.is_right_for_any
    first, second = run(), run()
    assert first == second
    truth = first["truth"]
    assert [stretch["last"] for stretch in truth["stretches"]] == [400, 800, 1_200, 1_500]
    for name, found in truth["all"].items():
        for kind, rates in found.items():
            assert rates["hr taken"] == hr(first["methods"][name][f"{kind}, taken"])
            assert rates["items"] == sum(stretch["methods"][name][kind]["items"] for stretch in truth["stretches"])
    assert truth["at_end"][OURS]["both"]["right"] > 30.0 > 10.0 > truth["at_end"][RANDOM]["both"]["right"]
    shares = {name: found["cross-sell, followed"]["hr@4"] for name, found in first["methods"].items()}
    assert min(shares[OURS], shares[POPULARITY], shares[HOUSEHOLD]) > shares[RANDOM]


# -- baselines ---------------------------------------------------------------------------------------------------------


def many(seed: int) -> Engine:
    chance = np.random.default_rng(seed)
    shop = [(f"i{n:03d}", f"c{chance.integers(12)}", float(chance.integers(5, 60))) for n in range(300)]
    return engine(shop=shop)


def query(ours: Engine, trigger: list[str], cart: list[str], bought: list[str], user: str = "ann") -> Query:
    index = ours.items.index
    visit = Visit([], [], [], list(map(index, cart)), list(map(index, bought)))
    return Query(Action.VIEW, list(map(index, trigger)), visit, AT, "", user)


@pytest.mark.parametrize("seed", range(5))
def test_baselines_keep_the_promises_and_the_caps(seed: int) -> None:
    ours, chance = many(seed), np.random.default_rng(seed + 100)
    policy = Policy(max_per_brand=3)
    household = HouseholdPopular(ours.items, ours.catalog, policy)
    for n in range(100):
        household.bought.learn("ann", [ours.items.index(f"i{number:03d}") for number in range(n, 3 * n)])
    at_random, popular = AtRandom(ours.items, ours.catalog, policy, seed), MostPopular(ours.items, ours.catalog, policy)
    for baseline in (popular, household, at_random):
        for _ in range(60):
            names = [f"i{n:03d}" for n in chance.choice(300, 6, replace=False)]
            asked = query(ours, names[:1], names[1:3], names[3:])
            baseline.update(asked.trigger)
            places = baseline.suggest(asked)
            offers = [ours.catalog.get(place.item) for place in places]
            anchors = [ours.catalog.get(item) for item in (*asked.trigger, *asked.visit.cart)]
            barred = {*asked.trigger, *asked.visit.cart, *asked.visit.bought}
            assert not barred & {place.item for place in places}
            assert len({place.item for place in places}) == len(places) <= 6
            for place, offer in zip(places, offers, strict=True):
                anchor = ours.catalog.get(place.anchor)
                assert offer is not None
                assert anchor is not None
                if place.kind == CROSS_SELL:
                    assert offer.category not in {other.category for other in anchors if other is not None}
                else:
                    assert place.kind == UPSELL
                    assert is_upsell(offer, anchor, policy)
            for kind, most in ((CROSS_SELL, 4), (UPSELL, 2)):
                assert sum(place.kind == kind for place in places) <= most
            for trait, most in (("category", 2), ("brand", 3)):
                held = [getattr(offer, trait) for offer in offers]
                assert max(map(held.count, held)) <= most


def test_the_most_popular_come_first_ties_by_id() -> None:
    ours = many(1)
    popular = MostPopular(ours.items, ours.catalog, Policy())
    for item, times in (("i200", 3), ("i100", 5), ("i150", 3)):
        for _ in range(times):
            popular.update([ours.items.index(item)])
    anchor = next(f"i{n:03d}" for n in range(300) if not _shares_category(ours, f"i{n:03d}", "i200", "i100", "i150"))
    places = popular.suggest(query(ours, [anchor], [], []))
    named = [ours.items.name(place.item) for place in places if place.kind == CROSS_SELL]
    assert named[:3] == ["i100", "i150", "i200"]


def test_popular_upsells_are_those_of_all_anchors_together() -> None:
    shop = [("pot", "Pots", 10.0), ("mug", "Mugs", 10.0)]
    shop += [(f"{kind}-{n}", f"{kind.title()}s", 11.0 + n) for kind in ("pot", "mug") for n in range(3)]
    ours = engine(shop=shop)
    popular = MostPopular(ours.items, ours.catalog, Policy())
    for item, times in (("mug-1", 3), ("pot-2", 2), ("pot-0", 1)):
        for _ in range(times):
            popular.update([ours.items.index(item)])
    places = popular.suggest(query(ours, ["pot"], ["mug"], []))
    named = [(ours.items.name(place.item), ours.items.name(place.anchor)) for place in places]
    assert named == [("mug-1", "mug"), ("pot-2", "pot")]


def test_what_the_household_buys_comes_before_what_all_buy() -> None:
    shop = [("pot", "Pots", 10.0), ("pot-2", "Pots", 12.0), ("pot-3", "Pots", 13.0)]
    shop += [(name, f"{name.title()}s", 9.0) for name in ("mug", "cup", "pan", "jug")]
    ours = engine(shop=shop)
    household = HouseholdPopular(ours.items, ours.catalog, Policy())
    for item, times in (("mug", 5), ("cup", 3), ("pot-2", 2), ("pan", 1)):
        for _ in range(times):
            household.update([ours.items.index(item)])
    for basket in (["jug", "cup"], ["jug", "pot-3", "unknown"]):
        household.bought.learn("ann", list(map(ours.items.index, basket)))

    def suggested(user: str) -> list[str]:
        return [ours.items.name(place.item) for place in household.suggest(query(ours, ["pot"], [], [], user))]

    assert suggested("ann") == ["jug", "cup", "pot-3", "mug", "pot-2", "pan"]
    assert suggested("bob") == ["mug", "cup", "pot-2", "pan", "jug", "pot-3"]


def _shares_category(ours: Engine, item: str, *others: str) -> bool:
    offer, *found = (ours.catalog.get(ours.items.index(name)) for name in (item, *others))
    return any(other is not None and offer is not None and same_category(offer, other) for other in found)


def test_chance_shows_everything_and_is_settled_by_the_seed() -> None:
    ours = many(2)

    def shown(seed: int) -> list[int]:
        chance = AtRandom(ours.items, ours.catalog, Policy(), seed)
        return [place.item for n in range(1_000) for place in chance.suggest(query(ours, [f"i{n % 300:03d}"], [], []))]

    assert shown(1) == shown(1) != shown(2)
    assert len(set(shown(1))) == 300


def test_items_that_come_later_do_no_harm_to_baselines() -> None:
    ours = engine()
    popular = MostPopular(ours.items, ours.catalog, Policy())
    assert popular.suggest(query(ours, ["kettle"], [], []))
    for n in range(3_000):
        popular.update([ours.items.index(f"unknown-{n}")])
    assert popular.suggest(query(ours, ["unknown-2999", "kettle"], ["unknown-5"], []))
    assert popular.suggest(query(ours, ["unknown-1"], [], [])) == []


# -- logs --------------------------------------------------------------------------------------------------------------


def write(folder: Path, **files: list[Any]) -> Path:
    for topic, lines in files.items():
        text = b"\n".join(line if isinstance(line, bytes) else orjson.dumps({"v": 1, **line}) for line in lines)
        (folder / f"{topic}.jsonl").write_bytes(text + b"\n")
    return folder


def offer(item: str, **more: Any) -> dict[str, Any]:
    return {"item_id": item, "title": item, "category": item.title(), "price": 9.0, **more}


def click(user: str, item: str, at: int) -> dict[str, Any]:
    return {"user_id": user, "item_id": item, "action": "view", "at": 1_700_000_000_000 + at}


def order(user: str, item: str, at: int) -> dict[str, Any]:
    return {"user_id": user, "order_id": f"o{at}", "at": 1_700_000_000_000 + at, "items": [{"item_id": item}]}


def test_a_folder_is_merged_by_time_then_by_topic_then_by_line(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        catalog=[offer("mug", price=1.0), offer("mug")],
        clicks=[click("a", "late", 9_000), click("a", "x", 1_000), click("a", "y", 1_000)],
        purchases=[order("a", "z", 1_000), order("a", "w", 500)],
        profiles=[{"user_id": "a", "at": 1_700_000_001_000}],
    )
    log = log_of_folder(folder, None, NOW_MS, pytest.fail)
    named = [
        event.item_id if isinstance(event, Click) else event.lines[0].item_id if isinstance(event, Purchase) else "-"
        for event in log.events
    ]
    assert named == ["w", "-", "x", "y", "z", "late"]
    assert [item.price for item in log.catalog] == [9.0]  # the last word
    assert (log.count, log.rejected.count) == (6, 0)


def test_values_that_were_null_are_passed_over(tmp_path: Path) -> None:
    """As `tail` prints an item that was withdrawn, and a profile that was taken back."""
    folder = write(
        tmp_path,
        catalog=[b"null", offer("mug"), b"null"],
        clicks=[click("a", "mug", 0)],
        purchases=[],
        profiles=[b"null"],
    )
    log = log_of_folder(folder, None, NOW_MS, pytest.fail)
    assert (len(log.catalog), log.count, log.rejected.count) == (1, 1, 0)


def test_bad_lines_are_named_and_counted_as_dead_letters_would_be(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        catalog=[offer("mug"), offer("pot", price=-1)],
        clicks=[b"{", click("a", "mug", 0)] + [b"[]"] * 30,
        purchases=[],
    )
    said: list[str] = []
    log = log_of_folder(folder, None, NOW_MS, said.append)
    assert (len(log.catalog), log.count, log.rejected.count) == (1, 1, 32)
    assert said[0] == "catalog.jsonl:2: field `$.price` must be a finite number >= 0, got -1; left out"
    assert said[1].startswith("clicks.jsonl:1: ")
    assert len(said) == 21


def test_a_folder_of_orders_only_is_read_as_a_backfill_sends_it(tmp_path: Path) -> None:
    profile = {"user_id": "a", "at": 1_700_000_001_000, "consent": False}
    folder = write(tmp_path, catalog=[offer("mug")], purchases=[order("a", "mug", 1_000)], profiles=[profile])
    log = log_of_folder(folder, None, NOW_MS, pytest.fail)
    added, refused, bought = log.events
    assert added == Click("a", "mug", Action.ADD_TO_CART, 1_700_000_000.999, session_id="o1000", event_id="o1000-0")
    assert (refused, bought) == (
        Profile("a", 1_700_000_001.0, consent=False),
        Purchase("a", "o1000", 1_700_000_001.0, (Line("mug"),)),
    )
    assert (log.count, log.rejected.count) == (3, 0)
    assert log.notes == ["there is no clicks.jsonl: each item of an order also counts as added to the cart"]
    assert [*log_of_folder(folder, 2, NOW_MS, pytest.fail).events] == [added, refused]


def test_a_folder_of_clicks_only_is_read_whatever_else_its_lines_hold(tmp_path: Path) -> None:
    line = orjson.dumps({"v": 1, **click("a", "mug", 0)})
    folder = write(tmp_path, catalog=[offer("mug")], clicks=[line[:-1] + b', "session_number": 123456789012345678901}'])
    log = log_of_folder(folder, None, NOW_MS, pytest.fail)
    assert [event.at for event in log.events] == [1_700_000_000.0]
    assert log.notes == ["there is no purchases.jsonl: nothing is bought"]


@pytest.mark.parametrize("command", ["prequential", "upsells"])
def test_a_folder_without_events_ends_a_command_with_one_sentence(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command, "jsonl", str(write(tmp_path, catalog=[offer("mug")]))) == 1
    assert "holds neither clicks.jsonl nor purchases.jsonl" in capsys.readouterr().err


def test_a_folder_without_events_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataMissingError, match=r"holds neither clicks\.jsonl nor purchases\.jsonl: a folder of events"):
        log_of_folder(write(tmp_path, catalog=[offer("mug")]), None, NOW_MS, pytest.fail)


# -- the command and the report ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_writes_figures_and_a_page_that_needs_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="install the extra `evaluation` to run this")
    pytest.importorskip("torch", reason="install the extra `learning` to run this")
    out, page = tmp_path / "out.json", tmp_path / "out.html"
    written = ["--json", str(out), "--html", str(page)]
    assert run("prequential", "simulated", "--limit", "500", "--window", "1h", *written) == 0
    figures = orjson.loads(out.read_bytes())
    assert (figures["protocol"], figures["source"], figures["events"]) == ("prequential", "simulated", 500)
    assert figures["lists"] + figures["open"] == figures["triggers"]
    assert list(figures["methods"]) == list(METHODS)
    found = figures["methods"][OURS]["both, taken"]
    low, high = found["interval"]["hr@6"]
    assert 0 < low < found["hr@6"] < high < 100
    said = capsys.readouterr().out
    assert "crosscurrent" in said
    assert f"{figures['lists']:,} lists counted" in said
    assert f" {found['hr@6']:.2f} │ {low:.1f}-{high:.1f} " in said  # nothing is cut or wrapped
    truth = figures["truth"]
    assert truth["stretches"][0]["methods"] == truth["all"]  # of 500 events
    assert f" {truth['all'][OURS]['both']['right']:.2f} │ " in said
    html = page.read_text(encoding="utf-8")
    assert not [word for word in ("<script", "<link", "<img", "@import", "src=") if word in html]
    assert set(re.findall(r"https?://[^\"'< ]*", html)) == {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    for text in ("Along the stream", "Right by the shop's truth", "Popularity bias", "Calibration", *METHODS):
        assert text in html
    assert html.count("<svg") == html.count("</svg>") == 4 + len(SLICES) * len(OUTCOMES)
    assert f"{found['hr@6']:.2f}" in html


def test_next_item_draws_bars_too(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="install the extra `evaluation` to run this")
    pytest.importorskip("torch", reason="install the extra `learning` to run this")
    train, test, page = tmp_path / "train.txt", tmp_path / "test.txt", tmp_path / "page.html"
    train.write_text("a b c\nb c d\n" * 10)
    test.write_text("a b\tc\nb\tc\n")
    given = ["--train", str(train), "--test", str(test), "--methods", "popularity,last-item"]
    assert run("next-item", *given, "--html", str(page)) == 0
    html = page.read_text(encoding="utf-8")
    assert html.count("<svg") == 2  # new and all
    assert "last-item" in html


def test_figures_without_intervals_are_drawn_as_they_are() -> None:
    pytest.importorskip("matplotlib", reason="install the extra `evaluation` to run this")
    held = {"all": {"hr@10": 27.2, "recall@10": 9.5, "n": 100}, "new_to_household": {"hr@10": 3.7, "n": 90}}
    page = evaluation_report.report({"protocol": "baskets", "methods": {"popularity": held}})
    assert page.count("<svg") == 2
    assert "27.20" in page
    assert page == evaluation_report.report({"protocol": "baskets", "methods": {"popularity": held}})


def test_without_matplotlib_a_sentence_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation_report, "find_spec", lambda name: None)
    assert run("prequential", "simulated", "--html", str(tmp_path / "page.html")) == 1
    said = capsys.readouterr().err
    assert said == ("a report needs matplotlib for its plots: pip install 'crosscurrent[evaluation]' (or matplotlib)\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("rees46",), "rees46 needs a path"),
        (("jsonl",), "jsonl needs a path"),
        (("simulated", "here"), "simulated takes no path"),
        (("simulated", "--window", "1w"), "must be a time above 0 such as 90s, 30m, 24h or 7d; got '1w'"),
    ],
)
@pytest.mark.parametrize("command", ["prequential", "upsells"])
def test_wrong_usage_is_one_sentence(
    command: str, arguments: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command, *arguments) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.slow
def test_a_window_longer_than_the_log_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="install the extra `learning` to run this")
    assert run("prequential", "simulated", "--limit", "200", "--window", "7d") == 0
    assert "try a shorter --window" in capsys.readouterr().err
