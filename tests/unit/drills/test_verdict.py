"""The verdict of the drills, on a shop so small that what is missing and wrong is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import count, islice
from typing import Any

import numpy as np
import orjson
import pytest

from models.cooccurrence.config import CoOccurrenceConfig
from models.cooccurrence.counter import CoOccurrence, Row
from models.sessions.visits import VisitConfig, Visits
from models.shop.items import Items
from streams.drills.catch_up import Positions, behind
from streams.drills.counts import CELL_KINDS, Cell, Counts, compare, published
from streams.drills.evidence import Evidence, Raw, first_events, last_values
from streams.drills.promise_audit import EXCLUDED, MAX_STEP, MIN_STEP, POLICY, Promises
from streams.drills.recount import recount
from streams.drills.shop import DrillShop, stamped
from streams.drills.verdict import Verdict, judge
from streams.wire.codec import decode_click, decode_purchase, written
from streams.wire.neighbour_rows import POSITION_KEY, PositionRecord, encode_position, encode_row

AT = 1_773_480_000.0
VISITS, COOCCURRENCE = VisitConfig(), CoOccurrenceConfig()

CART_MEMORY_S = 100.0

CATALOG: dict[str, dict[str, Any]] = {
    item_id: {"title": item_id, "category": category, "price": price, "in_stock": True, "currency": "EUR", **more}
    for item_id, category, price, more in (
        ("kettle", "Kettles", 30.0, {"rating": 4.0}),
        ("kettle-plus", "Kettles", 42.0, {"rating": 4.5}),
        ("kettle-pro", "Kettles", 60.0, {"rating": 4.6}),
        ("kettle-poor", "Kettles", 42.0, {"rating": 3.0}),
        ("kettle-dear", "Kettles", 42.0, {"rating": 4.5, "currency": "CHF"}),
        ("mug", "Mugs", 8.0, {}),
        ("cup", "Mugs", 9.0, {}),
        ("bowl", "Mugs", 9.0, {}),
        ("tray", "Trays", 20.0, {}),
        ("teapot", "Teapots", 25.0, {"in_stock": False}),
        (EXCLUDED, "Tea", 5.0, {}),
    )
}


def click(offset: int, item_id: str, action: str = "view", user_id: str = "ann", **more: Any) -> Raw:
    at_s = AT + offset
    value = {"v": 1, "user_id": user_id, "item_id": item_id, "action": action, "at": written(at_s), **more}
    return Raw("clicks", 0, offset, round(at_s * 1000), user_id.encode(), orjson.dumps(value))


def purchase(offset: int, *item_ids: str, after_s: float, order_id: str = "", user_id: str = "ann") -> Raw:
    at_s = AT + after_s
    lines = [{"item_id": item_id} for item_id in item_ids]
    order_id = order_id or f"order-{offset}"
    value = {"v": 1, "user_id": user_id, "order_id": order_id, "at": written(at_s), "items": lines}
    return Raw("purchases", 0, offset, round(at_s * 1000), user_id.encode(), orjson.dumps(value))


def suggested(item_id: str, kind: str, anchor: str, **more: Any) -> dict[str, Any]:
    offered = CATALOG[item_id]
    shown = {name: offered[name] for name in ("title", "category", "price")}
    reason = {"source": "bought_with", "anchor": anchor, "text": "often bought with it"}
    return {"item_id": item_id, "kind": kind, "anchor": anchor, **shown, "reasons": [reason], **more}


def answer(event: Raw, *items: dict[str, Any], offset: int = 0, after_s: float = 0.01) -> Raw:
    value = orjson.loads(event.value or b"")
    item_ids = [line["item_id"] for line in value["items"]] if "items" in value else [value["item_id"]]
    action = value.get("action", "purchase")
    record = {
        "suggestion_id": event.id,
        "user_id": value["user_id"],
        "at": value["at"],
        "trigger": {
            "topic": event.topic,
            "partition": event.partition,
            "offset": event.offset,
            "action": action,
            "item_ids": item_ids,
        },
        "items": list(items),
    }
    return Raw("suggestions", 0, offset, event.timestamp + round(after_s * 1000), event.key, orjson.dumps(record))


def verdict(
    clicks: list[Raw], suggestions: list[Raw], purchases: list[Raw] | None = None, neighbours: list[Raw] | None = None
) -> Verdict:
    """The verdict if the rows are those of the baseline run."""
    rows = neighbours or []
    evidence = Evidence(clicks, purchases or [], CATALOG, suggestions, rows)
    return judge(evidence, rows, (AT, AT + 100), VISITS, COOCCURRENCE)


# -- missing and duplicate suggestions, gaps ---------------------------------------------------------------------------


def test_a_trigger_without_a_suggestion_is_missing() -> None:
    clicks = [click(0, "kettle"), click(1, "mug", "add_to_cart"), click(2, "mug", "remove_from_cart")]
    bought = [purchase(0, "mug", after_s=3)]
    found = verdict(clicks, [answer(clicks[0])], bought)
    assert found.missing == ["clicks-0-1", "purchases-0-0"]
    assert (found.events, found.triggers) == (4, 3)
    assert not found.good


def test_a_repeated_event_asks_for_no_second_answer() -> None:
    clicks = [click(0, "kettle", event_id="e"), click(1, "kettle", event_id="e"), click(2, "kettle", user_id="bob")]
    bought = [purchase(0, "mug", after_s=3, order_id="o"), purchase(1, "mug", after_s=4, order_id="o")]
    found = verdict(clicks, [answer(clicks[0]), answer(clicks[2]), answer(bought[0])], bought)
    assert (found.events, found.triggers, found.missing, found.broken) == (5, 3, [], Counter())


def test_suggestions_beyond_the_first_of_an_id_are_duplicates() -> None:
    clicks = [click(0, "kettle"), click(1, "mug")]
    answers = [answer(clicks[0]), answer(clicks[1]), answer(clicks[0]), answer(clicks[0])]
    found = verdict(clicks, answers)
    assert (found.duplicates, found.missing) == (2, [])


def test_the_longest_gap_is_that_of_the_partition_that_stood_still_longest() -> None:
    lively = [click(offset, "kettle") for offset in range(60)]
    still = [click(offset, "kettle", user_id="bob")._replace(partition=1) for offset in (0, 1, 5, 20)]
    answers = [answer(event) for event in (*lively, *still[:2])]
    answers += [answer(event, after_s=5.0) for event in still[2:]]
    evidence = Evidence([*lively, *still], [], CATALOG, answers, [])

    def gap_s(closed: float) -> float:
        return judge(evidence, [], (AT, AT + closed), VISITS, COOCCURRENCE).longest_gap_s

    assert gap_s(60) == pytest.approx(15.0)  # from 5 + 5 to 20 + 5
    assert gap_s(5) == pytest.approx(10.0 - 1.01)  # the last gap that began while events were fed


def test_a_partition_without_answers_has_missing_suggestions_and_no_gap() -> None:
    found = verdict([click(0, "kettle")], [])
    assert (found.longest_gap_s, found.missing) == (0.0, ["clicks-0-0"])


# -- rows --------------------------------------------------------------------------------------------------------------


def row(position: int, weights: list[list[float]], counts: list[list[int]], at: float = AT) -> Row:
    neighbours = ["mug", "cup"][: len(weights)]
    return Row("kettle", position, at, (3.0, 1.0), (3, 1), neighbours, np.array(weights), np.array(counts))


def as_records(*values: tuple[bytes, bytes]) -> list[Raw]:
    return [Raw("neighbours", 0, offset, 0, key, value) for offset, (key, value) in enumerate(values)]


def rows(*given: Row) -> list[Raw]:
    return as_records(*((row.item_id.encode(), encode_row(row)) for row in given))


def counts_of(records: list[Raw]) -> Counts:
    return published(records, AT, COOCCURRENCE.half_life_s)


ROW = row(5, [[1.0, 0.5, 0.0], [0.25, 0.0, 0.0]], [[2, 1, 0], [1, 0, 0]])


def test_equal_rows_have_no_wrong_cell_and_every_cell_is_compared() -> None:
    differences = compare(counts_of(rows(ROW)), counts_of(rows(ROW)))
    assert {kind: one.compared for kind, one in differences.items() if one.compared} == {
        "viewed_with": 2,
        "bought_with": 1,
        "views": 1,
        "baskets": 1,
    }
    assert not any(one.wrong for one in differences.values())


@pytest.mark.parametrize(
    ("other", "kind"),
    [
        (row(5, [[1.00001, 0.5, 0.0], [0.25, 0.0, 0.0]], [[2, 1, 0], [1, 0, 0]]), "viewed_with"),
        (row(5, [[1.0, 0.5, 0.0], [0.25, 0.0, 0.0]], [[3, 1, 0], [1, 0, 0]]), "viewed_with"),
        (row(5, [[1.0, 0.5, 0.0]], [[2, 1, 0]]), "viewed_with"),
        (row(5, [[1.0, 0.4, 0.0], [0.25, 0.0, 0.0]], [[2, 1, 0], [1, 0, 0]]), "bought_with"),
        (row(5, [[1.0, 0.5, 0.1], [0.25, 0.0, 0.0]], [[2, 1, 1], [1, 0, 0]]), "viewed_then_bought"),
    ],
)
def test_a_cell_that_differs_is_wrong_in_its_kind_alone(other: Row, kind: str) -> None:
    differences = compare(counts_of(rows(other)), counts_of(rows(ROW)))
    assert {kind: one.wrong for kind, one in differences.items() if one.wrong} == {kind: 1}
    assert differences[kind].examples[0].startswith(f"{kind} kettle -> ")


def test_rows_are_compared_at_a_common_time() -> None:
    later = AT + COOCCURRENCE.half_life_s
    halved = Row("kettle", 5, later, (1.5, 0.5), (3, 1), ROW.neighbours, ROW.weights / 2, ROW.counts)
    assert not any(one.wrong for one in compare(counts_of(rows(halved)), counts_of(rows(ROW))).values())


def test_the_row_with_the_greatest_position_counts_though_a_late_owner_wrote_after_it() -> None:
    old = row(4, [[9.0, 9.0, 9.0]], [[9, 9, 9]])
    assert not any(one.wrong for one in compare(counts_of(rows(old, ROW, old)), counts_of(rows(ROW))).values())
    positions = [
        (POSITION_KEY, encode_position(PositionRecord(1, "t", 1, position, {}, baskets, AT)))
        for position, baskets in ((3, 1.0), (5, 2.0), (4, 1.5))
    ]
    assert counts_of(as_records(*positions))[Cell("all_baskets", "", "")] == (2.0, 0)


def test_wrong_adds_cells_and_broken_promises() -> None:
    clicks = [click(0, "kettle")]
    evidence = Evidence(clicks, [], CATALOG, [answer(clicks[0], suggested("kettle", "cross-sell", "kettle"))], [])
    found = judge(evidence, rows(ROW), (AT, AT + 1), VISITS, COOCCURRENCE)
    assert found.wrong == 5 + 2  # the row is not there at all; the trigger's own item, of its own category
    assert found.as_json()["cells"]["viewed_with"]["wrong"] == 2


# -- the recount -------------------------------------------------------------------------------------------------------


def test_the_recount_gives_the_weights_that_a_person_would_work_out() -> None:
    clicks = first_events([click(0, "kettle"), click(1, "mug")])
    bought = first_events([purchase(0, "cup", "mug", after_s=2)])
    counted = recount(clicks, bought, VISITS, Counts(AT, COOCCURRENCE.half_life_s))
    weights = {cell: round(counted[cell][0], 4) for cell in counted}
    assert weights == {
        Cell("views", "kettle", "kettle"): 1.0,
        Cell("views", "mug", "mug"): 1.0,
        Cell("viewed_with", "kettle", "mug"): 0.6309,  # 1 / log2(3)
        Cell("viewed_with", "mug", "kettle"): 0.4417,  # 0.7 of it
        Cell("all_baskets", "", ""): 1.0,
        Cell("baskets", "cup", "cup"): 1.0,
        Cell("baskets", "mug", "mug"): 1.0,
        Cell("bought_with", "cup", "mug"): 1.0,
        Cell("bought_with", "mug", "cup"): 1.0,
        Cell("viewed_then_bought", "mug", "cup"): 1.0,
        Cell("viewed_then_bought", "kettle", "cup"): 0.6156,  # 2 ** -0.7
        Cell("viewed_then_bought", "kettle", "mug"): 0.6156,
    }


def test_the_recount_agrees_with_the_models_on_an_untidy_shop() -> None:
    records: dict[str, list[Raw]] = {"clicks": [], "purchases": []}
    offsets: dict[str, count[int]] = {topic: count() for topic in records}
    for number, (sent, late_s) in enumerate(islice(DrillShop(seed=3).events(), 6_000)):
        appended_s = AT + number / 50
        value = stamped(sent.value or b"", appended_s - late_s)
        offset = next(offsets[sent.topic])
        records[sent.topic].append(Raw(sent.topic, 0, offset, round(appended_s * 1000), sent.key, value))
    items = Items()
    visits, learnt = Visits(items, VISITS), CoOccurrence(items, COOCCURRENCE)

    def learn(at: float, pairs: list[Any]) -> None:
        a, b, kind, weight = (np.array(column) for column in zip(*pairs, strict=True))
        times = np.full(len(pairs), at)
        learnt.learn_many(a.astype(np.int32), b.astype(np.int32), kind.astype(np.int8), weight, times, 0)

    for record in sorted([*records["clicks"], *records["purchases"]], key=lambda one: one.timestamp):
        appended_s = record.timestamp / 1000
        if record.topic == "clicks":
            for _, at, pairs in visits.ripen(appended_s):
                if pairs:
                    learn(at, pairs)
            event = decode_click(record)
            _, pairs = visits.apply_click(event, appended_s, record.offset)
            at = event.at
        else:
            order = decode_purchase(record)
            _, pairs = visits.apply_purchase(order, appended_s, record.offset)
            at = order.at
        if pairs:
            learn(at, pairs)
    for _, at, pairs in visits.ripen(float("inf")):
        if pairs:
            learn(at, pairs)
    wire = rows(*(learnt.row(index, 1) for index in learnt.dirty()))
    totals = encode_position(PositionRecord(1, "t", 1, 1, {}, learnt.totals.baskets, learnt.totals.at))
    found = counts_of([*wire, *as_records((POSITION_KEY, totals))])
    clicks, purchases = first_events(records["clicks"]), first_events(records["purchases"])
    differences = compare(found, recount(clicks, purchases, VISITS, Counts(AT, COOCCURRENCE.half_life_s)))
    assert {kind: (one.wrong, one.examples) for kind, one in differences.items() if one.wrong} == {}
    assert all(differences[kind].compared for kind in CELL_KINDS)
    assert found.longest_row() < COOCCURRENCE.neighbours


# -- promises ----------------------------------------------------------------------------------------------------------


def broken(suggestions: list[Raw], clicks: list[Raw], purchases: list[Raw] | None = None) -> list[str]:
    promises = Promises(CATALOG, first_events(clicks), first_events(purchases or []), suggestions, CART_MEMORY_S)
    return sorted(sentence for _, sentence in promises.broken())


KETTLE = click(0, "kettle")
GOOD = [suggested("kettle-plus", "upsell", "kettle"), suggested("mug", "cross-sell", "kettle")]


def test_a_good_suggestion_breaks_nothing() -> None:
    promises = Promises(CATALOG, first_events([KETTLE]), [], [answer(KETTLE, *GOOD)], CART_MEMORY_S)
    assert list(promises.broken()) == []
    assert promises.items == 2


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        (suggested("kettle-plus", "cross-sell", "kettle"), "cross-sells an item of a category that an anchor has"),
        (suggested("mug", "upsell", "kettle"), "upsells to another category"),
        (suggested("kettle-pro", "upsell", "kettle"), "upsells by a step that the policy does not allow"),
        (suggested("kettle-poor", "upsell", "kettle"), "upsells to a worse item"),
        (suggested("kettle-dear", "upsell", "kettle"), "upsells to another currency"),
        (suggested("teapot", "cross-sell", "kettle"), "suggests an item that is out of stock"),
        (
            suggested("mug", "cross-sell", "kettle") | {"item_id": "no"},
            "suggests an item that the catalogue does not have",
        ),
        (suggested(EXCLUDED, "cross-sell", "kettle"), "suggests an item that the policy excludes"),
        (suggested("mug", "cross-sell", "kettle", price=1.0), "tells price, category or title wrong"),
        (suggested("mug", "cross-sell", "kettle", reasons=[]), "gives no reason"),
        (suggested("mug", "cross-sell", "tray"), "has an anchor that is neither of its trigger nor in the cart"),
        (suggested("mug", "gift", "kettle"), "is of a kind that there is not"),
    ],
)
def test_a_broken_promise_is_told(item: dict[str, Any], sentence: str) -> None:
    assert any(told.startswith(sentence) for told in broken([answer(KETTLE, item)], [KETTLE]))


def test_limits_and_repetitions_are_told() -> None:
    mugs = [suggested(item_id, "cross-sell", "kettle") for item_id in ("mug", "cup", "bowl")]
    assert broken([answer(KETTLE, *mugs)], [KETTLE]) == ["has more items of a category than the policy allows"]
    assert "suggests an item twice" in broken([answer(KETTLE, mugs[0], mugs[0])], [KETTLE])
    trays = [suggested("tray", "cross-sell", "kettle")] * 7
    assert "has more items than the policy allows" in broken([answer(KETTLE, *trays)], [KETTLE])


def test_an_answer_to_nothing_is_told() -> None:
    removed = click(1, "kettle", "remove_from_cart")
    told = broken([answer(removed), answer(click(9, "kettle"))], [KETTLE, removed])
    assert told == ["answers nothing that asks for an answer"] * 2


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda value: value.update(user_id="bob"), "is keyed by another shopper"),
        (lambda value: value.update(at=written(AT + 1)), "has another time than its trigger"),
        (lambda value: value["trigger"].update(offset=7), "names another trigger than its id does"),
        (lambda value: value["trigger"].update(item_ids=["mug"]), "tells its trigger wrong"),
        (lambda value: value["trigger"].update(item_count=2), "tells another number of items than its trigger has"),
    ],
)
def test_a_wrong_trigger_is_told(change: Callable[[dict[str, Any]], None], sentence: str) -> None:
    record = answer(KETTLE)
    value = orjson.loads(record.value or b"")
    change(value)
    assert broken([record._replace(value=orjson.dumps(value))], [KETTLE]) == [sentence]


@pytest.mark.parametrize(
    ("named", "count", "sentences"),
    [
        (100, 101, []),
        (99, 101, ["tells its trigger wrong"]),
        (101, 101, ["tells its trigger wrong"]),
        (100, 100, ["tells another number of items than its trigger has"]),
    ],
)
def test_the_first_hundred_items_of_a_trigger_are_named(named: int, count: int, sentences: list[str]) -> None:
    bought = purchase(0, *(f"item {number}" for number in range(101)), after_s=1)
    record = answer(bought)
    value = orjson.loads(record.value or b"")
    value["trigger"] |= {"item_ids": value["trigger"]["item_ids"][:named], "item_count": count}
    assert broken([record._replace(value=orjson.dumps(value))], [], [bought]) == sentences


def test_a_purchase_has_no_upsells() -> None:
    bought = purchase(0, "kettle", after_s=1)
    told = broken([answer(bought, suggested("kettle-plus", "upsell", "kettle"))], [], [bought])
    assert told == ["upsells after a purchase"]


IN_CART_OR_BOUGHT = "suggests an item that is in the cart or was bought"


def test_what_is_surely_in_the_cart_is_not_suggested() -> None:
    added, looked = click(0, "mug", "add_to_cart"), click(1, "kettle")
    answers = [answer(added), answer(looked, suggested("mug", "cross-sell", "kettle"))]
    assert IN_CART_OR_BOUGHT in broken(answers, [added, looked])
    emptied = purchase(0, "tray", after_s=0.5)  # may have been applied before the look
    assert broken(answers, [added, looked], [emptied]) == []
    later = purchase(0, "tray", after_s=5)  # appended after the answer
    assert IN_CART_OR_BOUGHT in broken(answers, [added, looked], [later])
    taken_out = [added, click(1, "mug", "remove_from_cart"), click(2, "kettle")]
    assert broken([answer(taken_out[2], suggested("mug", "cross-sell", "kettle"))], taken_out) == []


def test_a_cart_that_workers_no_longer_remember_may_be_suggested_again() -> None:
    added, looked = click(0, "mug", "add_to_cart"), click(round(CART_MEMORY_S), "kettle")
    assert broken([answer(looked, *GOOD)], [added, looked]) == []


def test_a_category_of_the_cart_is_not_cross_sold() -> None:
    added, looked = click(0, "mug", "add_to_cart"), click(1, "kettle")
    told = broken([answer(looked, suggested("cup", "cross-sell", "kettle"))], [added, looked])
    assert told == ["cross-sells an item of a category that an anchor has"]


def test_an_anchor_may_be_in_the_cart() -> None:
    added, looked = click(0, "tray", "add_to_cart"), click(1, "kettle")
    assert broken([answer(looked, suggested("mug", "cross-sell", "tray"))], [added, looked]) == []


def test_what_was_surely_bought_is_not_suggested() -> None:
    bought, looked = purchase(0, "mug", after_s=0.5), click(1, "kettle")
    again = suggested("mug", "cross-sell", "kettle")
    assert broken([answer(bought, offset=0), answer(looked, again, offset=1)], [looked], [bought]) == [
        IN_CART_OR_BOUGHT
    ]
    # Answered before the purchase, or one of both answered twice: what the worker knew cannot be told.
    assert broken([answer(looked, again, offset=0), answer(bought, offset=1)], [looked], [bought]) == []
    twice = [answer(bought, offset=0), answer(looked, again, offset=1), answer(bought, offset=2)]
    assert broken(twice, [looked], [bought]) == []
    next_one = purchase(1, "kettle", after_s=2)
    assert broken([answer(next_one, again)], [], [bought, next_one]) == [IN_CART_OR_BOUGHT]


# -- catching up, and the shop -----------------------------------------------------------------------------------------


def test_partitions_that_are_behind_are_named() -> None:
    positions = Positions()
    ends = {("a-clicks", 0): 7, ("a-purchases", 0): 3, ("a-pairs", 1): 2, ("a-clicks", 1): 0}
    topics = {"a-clicks": {"position": 7}, "a-purchases": {"position": 3}}
    positions.update(orjson.dumps({"v": 1, "lane": "shoppers-0", "topics": topics, "joined": 1}))
    assert behind(positions, ends, "a-") == ["2 records of a-pairs-1", "joins of 2 records of a-purchases-0"]
    positions.update(orjson.dumps({"v": 1, "lane": "shoppers-0", "topics": topics, "joined": 3}))
    positions.update(orjson.dumps({"v": 1, "lane": "items-1", "topics": {"a-pairs": {"position": 2}}}))
    assert behind(positions, ends, "a-") == ["histories of 3 records of a-purchases-0"]
    positions.update(orjson.dumps({"v": 1, "lane": "shoppers-0", "topics": topics, "joined": 1, "histories": 3}))
    assert behind(positions, ends, "a-") == []


def test_the_shop_is_untidy_and_small() -> None:
    shop = DrillShop(seed=1)
    sent = list(islice(shop.events(), 5_000))
    assert len(shop.item_ids) <= COOCCURRENCE.neighbours
    assert {topic for (topic, _, _), _ in sent} == {"clicks", "purchases"}
    assert 100 < sum(late_s > 0 for _, late_s in sent) < 500
    assert 20 < len(sent) - len({value for (_, _, value), _ in sent}) < 100
    records = [Raw("catalog", 0, offset, 0, key, value) for offset, (_, key, value) in enumerate(shop.catalog())]
    catalog = last_values(records)
    assert set(catalog) < shop.item_ids
    assert EXCLUDED in catalog
    assert any(not item["in_stock"] for item in catalog.values())
    assert [value for (_, _, value), _ in islice(DrillShop(seed=1).events(), 50)] == [
        value for (_, _, value), _ in sent[:50]
    ]


def test_the_policy_is_one_that_workers_take() -> None:
    from streams.policy_file import parse_policy

    policy = parse_policy(POLICY, "drill.toml")
    assert policy.emit_empty
    assert policy.max_suggestion_age_s == 0
    assert (policy.min_step, policy.max_step, policy.exclude_items) == (MIN_STEP, MAX_STEP, (EXCLUDED,))
