"""Both promises, the policy and the form of an answer hold in any shop, for any visit, from any source, in any order.

The checker is written from the contract in plain Python and shares no code with the rules it checks.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from models.serving.recommender import SuggestedItem
from models.sessions.histories import DAY_S, Histories, History, HistoryConfig
from models.shop.events import Action, CatalogItem
from models.shop.items import Items
from models.shop.policy import DEFAULT, FIXED, POPULAR, Policy
from tests.support.corner_shop import NOW, CornerShop
from tests.support.oracle import is_upsell, same_category
from tests.support.orders import NO_ORDER, DrawnOrder, orders

NAMES = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "a name longer than it need be, 1", "a name longer than it need be, 2"]  # fmt: skip  # noqa: E501
CATEGORIES = ["A", "A/X", "A/X/1", "A/X/2", "A/Y", "B", "B/X", "C/Z/9"]
BRANDS = [None, "Acme", "Bolt"]
PRICES = [0.0, 9.99, 10.0, 10.0 * (1 + 0.1), 11.0, 10.5, 19.98, 20.0, 20.000000000000004, 9.99 * 1.05, 40.0]
EVIDENCE = {"viewed_with": 0, "bought_with": 1, "viewed_then_bought": 2}


@dataclass
class World:
    """Everything a suggestion may depend on, by names."""

    policy: Policy
    offers: dict[str, CatalogItem]
    rows: dict[str, dict[str, Any]]
    baskets: float
    action: Action
    trigger: list[str]
    visit: list[str]
    cart: list[str]
    bought: list[str]
    at: float
    seed: str = field(default="clicks-0-0")
    arm: int = DEFAULT
    order: DrawnOrder = NO_ORDER
    before: dict[str, int] = field(default_factory=dict)
    """Baskets of the shopper with each item, long before."""

    def shop(self, first: list[str]) -> CornerShop:
        """A shop with these items, rows and this order, `first` interned first."""
        shop = CornerShop(self.policy, first)
        shop.recommender.learnt = self.order.learnt(shop.items)
        for name in first:
            if name in self.offers:
                shop.catalog.put(self.offers[name])
        for name in first:
            if name in self.rows:
                shop.learn(name, **self.rows[name])
        shop.neighbours.set_total(0, self.baskets, NOW)
        return shop

    def ask(self, shop: CornerShop, seed: str | None = None, logs_pool: bool = False) -> list[SuggestedItem]:
        """The answer of a shop."""
        return shop.ask(
            *self.trigger,
            action=self.action,
            visit=self.visit,
            cart=self.cart,
            bought=self.bought,
            at=self.at,
            seed=seed or self.seed,
            arm=self.arm,
            history=self.history(shop),
            logs_pool=logs_pool,
        )

    def history(self, shop: CornerShop) -> History:
        """What the shopper has bought before, a basket every 40 days."""
        histories = Histories(shop.items, HistoryConfig())
        baskets = [(number, name) for name, count in self.before.items() for number in range(count)]
        for offset, (number, name) in enumerate(baskets):
            histories.learn("ann", [shop.items.index(name)], NOW - 40 * DAY_S * (number + 1), offset)
        return histories.of("ann")


names = st.sampled_from(NAMES)
few = st.lists(names, max_size=4, unique=True)
paths = st.sampled_from([*CATEGORIES, "A/X/1/none", "D"])
pairs = st.lists(st.tuples(paths, paths), max_size=2)

policies = st.builds(
    Policy,
    max_items=st.integers(0, 8),
    max_cross_sell=st.integers(0, 5),
    max_upsell=st.integers(0, 4),
    min_step=st.sampled_from([0.0, 0.05, 0.1]),
    max_step=st.sampled_from([0.1, 1.0, 3.0]),
    category_depth=st.integers(0, 3),
    allow_pairs=st.one_of(st.just([]), pairs),
    deny_pairs=pairs,
    exclude_items=st.lists(names, max_size=1),
    exclude_categories=st.one_of(st.just([]), st.lists(paths, max_size=1)),
    exclude_brands=st.one_of(st.just([]), st.lists(st.sampled_from(["Acme", "Bolt", "Cult"]), max_size=1)),
    max_per_brand=st.integers(0, 2),
    max_per_category=st.integers(0, 3),
    min_support=st.integers(0, 2),
    explore=st.sampled_from([0.0, 0.0, 0.5, 1.0]),
    step_power=st.sampled_from([0.25, 0.0, 1.0]),
)


@st.composite
def offers(draw: st.DrawFn) -> dict[str, CatalogItem]:
    known = draw(st.lists(names, min_size=2, unique=True))
    return {
        name: CatalogItem(
            name,
            f"The {name}",
            draw(st.sampled_from(CATEGORIES)),
            draw(st.sampled_from(PRICES)),
            brand=draw(st.sampled_from(BRANDS)),
            in_stock=draw(st.sampled_from([True, True, True, False])),
            rating=draw(st.sampled_from([None, None, 3.0, 4.0])),
            currency=draw(st.sampled_from([None, None, None, "EUR"])),
        )
        for name in known
    }


@st.composite
def rows(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    weight = st.sampled_from([0.0, 0.0, 0.3, 1.0, 2.5])
    made: dict[str, dict[str, Any]] = {}
    for name in draw(st.lists(names, unique=True)):
        others = [one for one in draw(st.lists(names, unique=True, max_size=8)) if one != name]
        cells = {one: (draw(weight), draw(weight), draw(weight)) for one in others}
        made[name] = {
            "neighbours": cells,
            "counts": {one: tuple(math.ceil(w) for w in cell) for one, cell in cells.items()},
            "views": draw(st.sampled_from([0.0, 1.0, 30.0])),
            "baskets": draw(st.sampled_from([0.0, 2.0, 10.0])),
            "at": NOW - draw(st.sampled_from([0.0, 3600.0, 40 * 86400.0])),
        }
    return made


worlds = st.builds(
    World,
    policy=policies,
    offers=offers(),
    rows=rows(),
    baskets=st.sampled_from([0.0, 12.0, 100.0]),
    action=st.sampled_from([Action.VIEW, Action.CLICK, Action.ADD_TO_CART, Action.PURCHASE]),
    trigger=st.lists(names, min_size=1, max_size=3, unique=True),
    visit=few,
    cart=few,
    bought=few,
    at=st.sampled_from([NOW, NOW + 1000.0, NOW - 86400.0]),
    arm=st.sampled_from([DEFAULT, DEFAULT, POPULAR, FIXED]),
    order=orders(NAMES),
    before=st.one_of(st.just({}), st.dictionaries(names, st.integers(1, 3), max_size=6)),
)

MANY_NAMES = [f"item {number:03}" for number in range(130)]


def large_world(seed: int, policy: Policy, second: bool, arm: int, order: DrawnOrder) -> World:
    """A world with more candidates of both kinds than a pool has; `second`: the visit has another source of them."""
    chance = random.Random(seed)
    weights = [0.0, 0.0, 0.02, 0.3, 1.0, 2.5]
    offers, rows = {}, {}
    for name in MANY_NAMES:
        price = 10.0 if name == MANY_NAMES[0] else chance.choice([10.5, 11.0, 15.0, 20.0, 40.0])
        category = "A/X" if name == MANY_NAMES[0] else chance.choice(["A/X", "A/Y", "B", f"C/{name}"])
        offers[name] = CatalogItem(name, f"The {name}", category, price, brand=chance.choice(BRANDS))
        others = chance.sample(MANY_NAMES, 110) if name in MANY_NAMES[:2] else []
        cells = {one: (chance.choice(weights), chance.choice(weights), chance.choice(weights)) for one in others}
        counts = {one: tuple(math.ceil(w) for w in cell) for one, cell in cells.items()}
        views, baskets = chance.choice([0.0, 30.0]), chance.choice([0.0, 2.0, 10.0, 100.0])
        rows[name] = {"neighbours": cells, "counts": counts, "views": views, "baskets": baskets}
    visit, none = MANY_NAMES[1:2] if second else [], list[str]()
    trigger = MANY_NAMES[:1]
    return World(policy, offers, rows, 500.0, Action.VIEW, trigger, visit, none, none, NOW, arm=arm, order=order)


# -- the contract, in plain Python -------------------------------------------------------------------------------------


def _below(path: str, top: str) -> bool:
    return path == top or path.startswith(top + "/")


def _pair_in(pairs: tuple[tuple[str, str], ...], anchor: CatalogItem, item: CatalogItem) -> bool:
    return any(_below(anchor.category, first) and _below(item.category, second) for first, second in pairs)


def _kinds(world: World, name: str) -> dict[str, str]:
    """By anchor, as what an item may be suggested to this shopper; empty if it may not."""
    policy, item = world.policy, world.offers.get(name)
    if item is None or not item.in_stock or name in {*world.trigger, *world.cart, *world.bought}:
        return {}
    if name in policy.exclude_items or item.brand in policy.exclude_brands:
        return {}
    if any(_below(item.category, top) for top in policy.exclude_categories):
        return {}
    anchors = {one: world.offers[one] for one in [*world.trigger, *world.cart] if one in world.offers}
    if any(same_category(item, anchor, policy.category_depth) for anchor in anchors.values()):
        if world.action is Action.PURCHASE or any(one not in world.offers for one in world.trigger):
            return {}
        return {one: "upsell" for one, anchor in anchors.items() if is_upsell(item, anchor, policy)}
    if any(_pair_in(policy.deny_pairs, anchor, item) for anchor in anchors.values()):
        return {}
    return {
        one: "cross-sell"
        for one, anchor in anchors.items()
        if not policy.allow_pairs or _pair_in(policy.allow_pairs, anchor, item)
    }


def _has_evidence(world: World, name: str, kind: str) -> bool:
    columns = (0, 1, 2) if kind == "cross-sell" else (0, 2)
    visit = [*world.trigger[:1], *world.visit] if world.action is not Action.PURCHASE else world.visit
    for source in {*world.trigger, *world.cart, *visit}:
        row = world.rows.get(source)
        if row is not None and name in row["neighbours"]:
            weights, counts = row["neighbours"][name], row["counts"][name]
            if any(weights[k] > 0 and counts[k] >= world.policy.min_support for k in columns):
                return True
    return False


def _room(world: World, listed: list[str], kinds: list[str], name: str, kind: str) -> bool:
    """Whether caps let an item in beside those listed."""
    policy, item = world.policy, world.offers[name]
    if len(listed) >= policy.max_items:
        return False
    if kinds.count(kind) >= (policy.max_cross_sell if kind == "cross-sell" else policy.max_upsell):
        return False
    others = [world.offers[one] for one in listed]
    of_brand = sum(item.brand is not None and one.brand == item.brand for one in others)
    of_category = sum(same_category(item, one, policy.category_depth) for one in others)
    if policy.max_per_brand and of_brand >= policy.max_per_brand:
        return False
    return not policy.max_per_category or of_category < policy.max_per_category


def _tie_break(name: str) -> list[int]:
    """What settles ties: the id, and of long ids with one beginning a hash."""
    items = Items()
    found: list[int] = items.order[items.index(name)].tolist()
    return found


def _check(world: World, answer: list[SuggestedItem]) -> None:
    policy = world.policy
    listed = [one["item_id"] for one in answer]
    assert len(set(listed)) == len(listed)
    kinds: list[str] = []
    for place, one in enumerate(answer):
        name = one["item_id"]
        assert _room(world, listed[:place], kinds, name, one["kind"]), (name, "is one too many")
        kinds.append(one["kind"])
        assert _kinds(world, name).get(one["anchor"]) == one["kind"], (name, "breaks a promise")
        item = world.offers[name]
        assert (one["price"], one["category"], one["title"]) == (item.price, item.category, item.title)
        assert 0 < one["score"] < math.inf
        _check_reasons(world, one)
    ranks = [(-one["score"], _tie_break(one["item_id"])) for one in answer]
    assert ranks == sorted(ranks)
    fallen_back = [one["reasons"][0]["source"] not in EVIDENCE for one in answer]
    reranked = world.arm == DEFAULT and not all(map(world.order.served_by_evidence, ("cross-sell", "upsell")))
    if policy.explore and reranked:  # the last may be drawn from beyond the pool
        del fallen_back[-1:]
    for place, kind in enumerate(kinds[: len(fallen_back)]):
        if fallen_back[place] and (world.arm == FIXED or world.order.served_by_evidence(kind)):
            assert all(fallen_back[place:])
    propensities = [one["propensity"] for one in answer]
    assert all(one == 1.0 for one in propensities[:-1])
    if not policy.explore or world.arm == POPULAR:
        assert propensities[-1:] in ([], [1.0])
    assert all(0 < one <= 1 for one in propensities)


def _check_reasons(world: World, one: SuggestedItem) -> None:
    name = one["item_id"]
    assert one["reasons"]
    evident = world.arm != POPULAR and _has_evidence(world, name, one["kind"])
    for reason in one["reasons"]:
        assert reason["text"]
        if reason["source"] == "history":
            assert world.arm == DEFAULT and not evident
            assert reason["count"] == world.before[name]
            assert reason.get("anchor") == (one["anchor"] if one["kind"] == "upsell" else None)
            continue
        if not evident:
            assert reason["source"] in ("content", "popularity")[world.arm == POPULAR :]
            row = world.rows.get(name, {"views": 0.0, "baskets": 0.0})
            assert reason["count"] == (round(row["baskets"]) or round(row["views"]))
            assert ("anchor" in reason) is (reason["source"] == "content" or one["kind"] == "upsell")
            assert reason.get("anchor") == one["anchor"] or one["kind"] == "cross-sell"
            continue
        row, kind = world.rows[reason["anchor"]], EVIDENCE[reason["source"]]
        assert reason["anchor"] in {*world.trigger, *world.cart, *world.visit}
        assert row["counts"][name][kind] == reason["count"] >= world.policy.min_support
        assert row["neighbours"][name][kind] > 0
        if "lift" in reason:
            assert kind == 1
            assert reason["lift"] > 0


# -- properties --------------------------------------------------------------------------------------------------------

many = settings(max_examples=290, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@many
@given(worlds)
def test_whatever_is_sent_keeps_both_promises_and_says_why(world: World) -> None:
    """... in every arm, and the list is the same whether its pool is logged or not."""
    shop = world.shop(NAMES)
    for number in range(3):
        answer = world.ask(shop, f"clicks-0-{number}")
        _check(world, answer)
        assert world.ask(shop, f"clicks-0-{number}", logs_pool=True) == answer
    if world.arm != DEFAULT:  # what was learnt is for the default arm only
        shop.recommender.learnt = NO_ORDER.learnt(shop.items)
        assert world.ask(shop, "clicks-0-2") == answer


@pytest.mark.slow
@many
@given(worlds)
def test_nothing_with_evidence_is_held_back_where_the_caps_have_room(world: World) -> None:
    world.policy = replace(world.policy, explore=0.0)
    world.arm = DEFAULT
    answer = world.ask(world.shop(NAMES))
    listed, kinds = [one["item_id"] for one in answer], [one["kind"] for one in answer]
    for name in set(NAMES) - set(listed):
        for kind in set(_kinds(world, name).values()):
            if _has_evidence(world, name, kind):
                assert not _room(world, listed, kinds, name, kind), (name, "was held back")


@pytest.mark.slow
@many
@given(worlds)
def test_a_small_shop_falls_back_on_all_it_may_suggest(world: World) -> None:
    """With few items and few anchors, whatever is allowed is listed unless a cap keeps it out."""
    world.policy = replace(world.policy, explore=0.0)
    anchors = {*world.trigger, *world.cart} & set(world.offers)
    assume(len(world.offers) <= 8 and len(anchors) <= 4)
    answer = world.ask(world.shop(NAMES))
    listed, kinds = [one["item_id"] for one in answer], [one["kind"] for one in answer]
    for name in set(world.offers) - set(listed):
        for kind in set(_kinds(world, name).values()):
            assert not _room(world, listed, kinds, name, kind), (name, "was held back")


@pytest.mark.slow
@many
@given(worlds, st.permutations(NAMES))
def test_who_was_seen_first_does_not_matter(world: World, first: list[str]) -> None:
    assert world.ask(world.shop(first)) == world.ask(world.shop(NAMES))


@pytest.mark.slow
@many
@given(
    worlds,
    st.lists(
        st.tuples(names, few, few, st.sampled_from([DEFAULT, POPULAR, FIXED]), st.booleans()), min_size=1, max_size=6
    ),
)
def test_a_batch_is_answered_as_its_queries_are_one_by_one(world: World, query_state: list[Any]) -> None:
    """... and of which of them the pools are logged does not matter."""
    shop = world.shop(NAMES)
    queries = [
        shop.query(
            trigger,
            visit=visit,
            cart=cart,
            at=world.at,
            seed=str(number),
            arm=arm,
            history=world.history(shop),
            logs_pool=logs_pool,
        )
        for number, (trigger, visit, cart, arm, logs_pool) in enumerate(query_state)
    ]
    max_batch = shop.recommender.suggest_many(queries)
    assert max_batch == [shop.recommender.suggest_many([query])[0] for query in queries]
    others = [replace(query, logs_pool=not query.logs_pool) for query in queries]
    assert max_batch == world.shop(NAMES).recommender.suggest_many(others)


@pytest.mark.slow
@settings(many, max_examples=60)
@given(
    st.integers(0, 10_000),
    st.builds(
        Policy,
        max_items=st.sampled_from([6, 100]),
        max_cross_sell=st.just(100),
        max_upsell=st.sampled_from([2, 100]),
        max_per_category=st.sampled_from([0, 2]),
        explore=st.sampled_from([0.0, 0.0, 1.0]),
    ),
    st.booleans(),
    st.sampled_from([DEFAULT, DEFAULT, FIXED]),
    orders(MANY_NAMES),
)
def test_more_candidates_than_a_pool_has_are_suggested_as_few_are(
    seed: int, policy: Policy, second: bool, arm: int, order: DrawnOrder
) -> None:
    world = large_world(seed, policy, second, arm, order)
    shop = world.shop(MANY_NAMES)
    answer = world.ask(shop)
    _check(world, answer)
    assert world.ask(shop, logs_pool=True) == answer
    assert world.ask(world.shop(MANY_NAMES[::-1])) == answer


@pytest.mark.slow
@many
@given(worlds, names, st.sampled_from(["withdraw", "sell out", "dearer"]))
def test_what_changes_in_the_catalogue_holds_for_the_next_event(world: World, name: str, what: str) -> None:
    shop = world.shop(NAMES)
    world.ask(shop)
    item = world.offers.get(name)
    assume(item is not None)
    assert item is not None
    if what == "withdraw":
        del world.offers[name]
        shop.catalog.withdraw(name)
    else:
        stock, price = (False, item.price) if what == "sell out" else (item.in_stock, item.price * 1.7)
        world.offers[name] = CatalogItem(
            name, item.title, item.category, price, item.brand, stock, item.rating, item.currency
        )
        shop.catalog.put(world.offers[name])
    answer = world.ask(shop)
    _check(world, answer)
    assert answer == world.ask(world.shop(NAMES))


@pytest.mark.slow
@many
@given(worlds, st.sampled_from([0.5, 1.0]))
def test_chance_draws_from_all_the_rules_allow_and_says_how_likely(world: World, explore: float) -> None:
    world.policy = replace(world.policy, explore=explore)
    shop = world.shop(NAMES)
    answers = [world.ask(shop, f"clicks-0-{number}") for number in range(40)]
    assert len({len(answer) for answer in answers}) == 1
    if not answers[0]:
        return
    assert all(answer[:-1] == answers[0][:-1] for answer in answers)
    last = {answer[-1]["item_id"]: answer[-1]["propensity"] for answer in answers}
    assert all(last[answer[-1]["item_id"]] == answer[-1]["propensity"] for answer in answers)
    assert sum(last.values()) <= 1 + 1e-9
    if len(last) > 1 and world.policy.explore == 1.0:
        assert len(set(last.values())) == 1
