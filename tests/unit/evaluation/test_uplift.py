"""Uplift is what lists add to orders that are the same without them: computed by hand, and in the simulated shop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from models.cooccurrence.config import CoOccurrenceConfig
from models.evaluation.prequential.replay import Engine, Event, Ranking
from models.evaluation.uplift.arms import Arm, NoLists, Popular, Served, Shown, Suggestions
from models.evaluation.uplift.figures import figures
from models.evaluation.uplift.loop import Answers, Loop
from models.sessions.visits import VisitConfig
from models.shop.events import Action, CatalogItem, Click, Line, Purchase
from models.shop.policy import Policy
from streams.connectors.answering_shop import AnsweringShop
from streams.connectors.event_log import log_of_data_set, simulated
from streams.connectors.simulated_shop import SimulatedShop
from tests.support.evaluate_command import run

AT = 1_699_990_000.0
NOW_MS = 1_767_225_600_000
SHOP = [
    CatalogItem(item, item.title(), category, price)
    for item, category, price in [
        ("kettle", "Kettles", 30.0),
        ("kettle-pro", "Kettles", 40.0),
        ("kettle-max", "Kettles", 50.0),
        ("mug", "Mugs", 8.0),
        ("cup", "Mugs", 10.0),
        ("tea", "Tea", 5.0),
    ]
]
CUP, TEA = Shown("cup", "cross-sell", "kettle"), Shown("tea", "cross-sell", "kettle")
PRO, MAX = Shown("kettle-pro", "upsell", "kettle"), Shown("kettle-max", "upsell", "kettle")


class Likes:
    """Every place is looked at, and everything is liked or nothing is."""

    def __init__(self, probability: float) -> None:
        self._probability = probability

    def examination(self, place: int) -> float:
        return 1.0

    def acceptance(self, kind: str, anchors: Sequence[str], item_id: str) -> float:
        return self._probability


class Scripted:
    """Lists by time of the event; keeps the events."""

    def __init__(self, lists: Mapping[float, Sequence[Shown]]) -> None:
        self._lists = lists
        self.events: list[Event] = []

    def suggest(self, event: Event) -> Suggestions:
        self.events.append(event)
        return Suggestions(["kettle"], self._lists.get(event.at - AT, ()))

    def bought(self) -> list[list[tuple[str, float]]]:
        orders = [event for event in self.events if isinstance(event, Purchase)]
        return [[(line.item_id, line.quantity) for line in order.lines] for order in orders]

    def done(self) -> list[tuple[float, str, str]]:
        clicks = [event for event in self.events if isinstance(event, Click)]
        return [(click.at - AT, str(click.action), click.item_id) for click in clicks]


def click(item: str, at: float, action: Action = Action.VIEW, user: str = "ann") -> Click:
    return Click(user, item, action, AT + at)


def order(at: float, *lines: Line, user: str = "ann") -> Purchase:
    return Purchase(user, f"o{at}", AT + at, lines)


VISIT: list[Event] = [
    click("kettle", 0.0),
    click("kettle", 10.0, Action.ADD_TO_CART),
    click("mug", 20.0, Action.ADD_TO_CART),
    order(30.0, Line("kettle", 2), Line("mug")),
]
"""Two kettles and a mug: 68."""


def played(
    lists: Mapping[float, Sequence[Shown]], events: list[Event] = VISIT, likes: float = 1.0
) -> tuple[Scripted, dict[str, Any]]:
    loops = {name: Loop(SHOP, events, Likes(likes), seed=1) for name in ("ours", "none")}
    arm = Scripted(lists)
    loops["ours"].run(arm)
    loops["none"].run(NoLists())
    return arm, figures(loops, seed=1)


def test_uplift_by_hand() -> None:
    """The better kettle twice: 20; tea: 5; the cup in the place of the mug: 2."""
    arm, found = played({0.0: [PRO], 10.0: [TEA], 20.0: [CUP]})
    assert arm.bought() == [[("kettle-pro", 2), ("cup", 1), ("tea", 1)]]
    assert found["none"]["revenue"] == 68.0
    ours = found["ours"]
    assert (ours["revenue"], ours["uplift"], ours["lists"]) == (95.0, 27.0, 3)
    assert {kind: of["uplift"] for kind, of in ours["by_kind"].items()} == {"cross-sell": 7.0, "upsell": 20.0}
    assert ours["uplift_per_1000_lists"] == 9000.0
    assert ours["accepted"] == {"cross-sell": 100.0, "upsell": 100.0}
    assert ours["uplift_interval"] == [27.0, 27.0]  # one shopper


def test_answers_come_back_as_events() -> None:
    arm, _ = played({0.0: [PRO], 10.0: [MAX], 20.0: [TEA]})
    assert arm.done() == [
        (0.0, "view", "kettle"),
        (2.0, "click", "kettle-pro"),
        (10.0, "add_to_cart", "kettle-pro"),  # he would have put the kettle into the cart
        (12.0, "add_to_cart", "kettle-max"),
        (12.0, "remove_from_cart", "kettle-pro"),
        (20.0, "add_to_cart", "mug"),
        (22.0, "add_to_cart", "tea"),
    ]
    assert arm.bought() == [[("kettle-max", 2), ("mug", 1), ("tea", 1)]]


def test_an_upsell_never_makes_an_order_cheaper() -> None:
    arm, found = played({0.0: [MAX], 10.0: [PRO]})
    assert arm.bought() == [[("kettle-max", 2), ("mug", 1)]]
    assert found["ours"]["uplift"] == 40.0


def test_one_item_of_a_list_and_each_item_once() -> None:
    arm, found = played({0.0: [TEA, CUP], 10.0: [TEA]})
    assert arm.bought() == [[("kettle", 2), ("mug", 1), ("tea", 1)]]
    assert found["ours"]["by_kind"]["cross-sell"]["accepted"] == 1
    assert found["ours"]["accepted"]["cross-sell"] == pytest.approx(33.333)


def test_no_acceptance_makes_an_order() -> None:
    _, found = played({0.0: [TEA], 5.0: [PRO]}, [click("kettle", 0.0), click("kettle", 5.0), click("mug", 20.0)])
    assert (found["ours"]["revenue"], found["ours"]["by_kind"]["upsell"]["accepted"]) == (0.0, 1)


def test_an_answer_after_the_order_waits_for_the_next() -> None:
    events = [*VISIT, order(90.0, Line("kettle")), order(95.0, Line("kettle"))]
    arm, found = played({30.0: [TEA]}, events)
    assert arm.bought()[1:] == [[("kettle", 1), ("tea", 1)], [("kettle", 1)]]
    assert found["ours"]["uplift"] == 5.0


@pytest.mark.parametrize("lists", [{0.0: [CUP]}, {0.0: [PRO]}])
def test_what_is_bought_anyway_adds_nothing(lists: Mapping[float, Sequence[Shown]]) -> None:
    """Neither in this order nor in one of the next week."""
    later = [*VISIT, order(600_000.0, Line("cup"), Line("kettle-pro"))]
    arm, found = played(lists, later)
    assert arm.bought() == [[("kettle", 2), ("mug", 1)], [("cup", 1), ("kettle-pro", 1)]]
    assert found["ours"]["uplift"] == 0.0
    assert sum(of["accepted"] for of in found["ours"]["by_kind"].values()) == 1


def test_other_shoppers_are_not_concerned_and_widen_the_interval() -> None:
    others: list[Event] = [order(40.0 + number, Line("mug"), user=f"u{number}") for number in range(20)]
    arm, found = played({0.0: [TEA]}, [*VISIT, *others])
    assert found["ours"]["uplift"] == 5.0
    low, high = found["ours"]["uplift_interval"]
    assert low == 0.0 < 5.0 < high


def test_with_probability_0_nothing_changes() -> None:
    arm, found = played({0.0: [PRO], 10.0: [TEA], 20.0: [CUP]}, likes=0.0)
    assert arm.events == VISIT
    assert (found["ours"]["uplift"], found["ours"]["accepted"]["upsell"], found["ours"]["lists"]) == (0.0, 0.0, 3)


def test_what_a_shopper_answers_depends_on_no_other_shopper() -> None:
    """So arms differ by what they show, and not by how many numbers were drawn before."""
    users = [f"u{number}" for number in range(40)]
    events: list[Event] = []
    for number, user in enumerate(users):
        events += [click("kettle", 100.0 * number, user=user), order(100.0 * number + 50, Line("kettle"), user=user)]
    shown = {100.0 * number: [TEA] for number in range(40)}
    every, second = (Loop(SHOP, events, Likes(0.5), seed=1) for _ in range(2))
    every.run(Scripted(shown))
    second.run(Scripted({at: items for at, items in shown.items() if at % 200.0 == 0.0}))
    took = [every.gained["cross-sell", user] for user in users[::2]]
    assert took == [second.gained["cross-sell", user] for user in users[::2]]
    assert set(took) == {0.0, 5.0}


# -- the simulated shop ------------------------------------------------------------------------------------------------


def in_the_simulated_shop(answers: Answers | None = None, seed: int = 3) -> tuple[list[Event], dict[str, Loop]]:
    log = log_of_data_set(simulated(seed, 1_500), None, NOW_MS, pytest.fail)
    own = list(log.events)
    answers = answers or AnsweringShop(SimulatedShop(seed).truth, own)

    def engine(rankings: Mapping[str, Ranking]) -> Engine:
        made = Engine(Policy(), VisitConfig(), CoOccurrenceConfig(), rankings, flush_interval_s=1.0)
        for item in log.catalog:
            made.catalog.put(item)
        return made

    arms: dict[str, Arm] = {
        "ours": Served(engine({"ours": Ranking()}), "ours"),
        "popularity": Popular(engine({})),
        "none": NoLists(),
    }
    loops = {name: Loop(log.catalog, own, answers, seed) for name in arms}
    for name, loop in loops.items():
        loop.run(arms[name])
    return own, loops


def plain_revenue(events: Sequence[Event]) -> float:
    orders = [event for event in events if isinstance(event, Purchase)]
    return sum(line.quantity * line.price for order in orders for line in order.lines if line.price is not None)


def test_the_arm_without_lists_is_the_plain_shop() -> None:
    own, loops = in_the_simulated_shop()
    found = figures(loops, seed=1)
    assert found["none"]["revenue"] == round(plain_revenue(own), 2) > 0.0
    assert (found["none"]["lists"], found["none"]["uplift_interval"]) == (0, [0.0, 0.0])
    assert found["popularity"]["lists"] > 1_000


def test_uplift_is_what_accepted_items_gained() -> None:
    own, loops = in_the_simulated_shop(Likes(0.3))
    for name in ("ours", "popularity"):
        gained = sum(loops[name].gained.values())
        assert gained > 0.0
        assert sum(loops[name].revenue.values()) - plain_revenue(own) == pytest.approx(gained)


def test_without_acceptance_all_arms_earn_the_same() -> None:
    own, loops = in_the_simulated_shop(Likes(0.0))
    assert {sum(loop.revenue.values()) for loop in loops.values()} == {sum(loops["none"].revenue.values())}
    assert loops["none"].revenue == loops["ours"].revenue == loops["popularity"].revenue


def test_a_seed_gives_the_same_figures() -> None:
    first, same, other = (figures(in_the_simulated_shop(seed=seed)[1], seed=1) for seed in (3, 3, 4))
    assert first == same != other


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "uplift.json"
    assert run("uplift", "--events", "300", "--seed", "2", "--json", str(file)) == 0
    assert "popularity" in capsys.readouterr().out
    found = orjson.loads(file.read_bytes())
    assert (found["protocol"], found["shop"], found["seed"]) == ("uplift", "simulated_shop_v1-2, answering_shop_v1", 2)
    assert list(found["arms"]) == ["crosscurrent", "popularity", "none"]
    assert found["arms"]["crosscurrent"]["lists"] > 200
