"""Protocol B: what completes a basket. Every method learns the same baskets in time order, and completes later ones.

A basket of at least four distinct items is halved in the order of the file. The first half are the anchors; the targets
are the items of the second half whose category no anchor has, since a cross-sell is of another category. Each method
ranks ten items of such categories, twice: for "all", and for "new_to_household", whose ranking leaves out what the
household has bought in earlier baskets and whose targets are new to it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from models.evaluation.lists import FIGURES, gains
from models.evaluation.next_item.methods import Progress
from models.evaluation.ranks import Figure, as_json, means
from models.shop.catalog import Catalog
from models.shop.items import Items

K = 10
"""Length of the lists."""

SPLIT = 0.85
"""Share of the time, first to last basket, that is the training part."""

LEAST_ITEMS = 4
"""Least distinct items of a basket that is tested."""

UNKNOWN_GROUP = 0
"""Category of an item outside the catalogue, which is neither target nor suggested."""

READINGS = ("all", "new_to_household")


@dataclass(frozen=True, slots=True)
class Basket:
    """A purchase, and how its cart was filled."""

    household: str
    order_id: str
    at: float
    """Epoch seconds."""
    items: tuple[int, ...]
    """Distinct, in the order of the file."""
    added: tuple[float, ...]
    """When each was put into the cart, epoch seconds."""


class Shop(NamedTuple):
    """The catalogue and its categories."""

    items: Items
    catalog: Catalog
    group: NDArray[np.int32]  # (items,): category to the compared depth; `UNKNOWN_GROUP` outside the catalogue
    groups: int  # greatest number of a category + 1


def shop_of(items: Items, catalog: Catalog, depth: int) -> Shop:
    """A shop of all items, whose categories are compared by their first `depth` parts; 0: whole paths."""
    catalog.make_room()
    categories = catalog.categories
    of_node = np.array([categories.at_depth(node, depth) for node in range(len(categories))], np.int32)
    return Shop(items, catalog, of_node[catalog.facts["category"][: len(items)]], len(categories))


@dataclass(slots=True)
class BasketQuery:
    """A basket of which the first half is given."""

    basket: Basket
    anchors: NDArray[np.int32]
    targets: NDArray[np.int32]
    taken: NDArray[np.bool_]
    """(groups,) categories of the anchors, and the unknown one."""
    had: NDArray[np.bool_]
    """(items,) what the household has bought before."""
    group: NDArray[np.int32]
    """(items,) of the shop."""

    def open(self, items: NDArray[np.int32], reading: str) -> NDArray[np.bool_]:
        """(n,) whether each item may be ranked in a reading."""
        may = ~self.taken[self.group[items]]
        return may & ~self.had[items] if reading == "new_to_household" else may


def query_of(basket: Basket, shop: Shop, had: NDArray[np.bool_]) -> BasketQuery | None:
    """The query about a basket; None if it is too small or has no target. `had`: see `BasketQuery`."""
    if len(basket.items) < LEAST_ITEMS:
        return None
    half = len(basket.items) // 2
    anchors, rest = np.array(basket.items[:half], np.int32), np.array(basket.items[half:], np.int32)
    taken = np.zeros(shop.groups, np.bool_)
    taken[UNKNOWN_GROUP] = True
    taken[shop.group[anchors]] = True
    targets = rest[~taken[shop.group[rest]]]
    return BasketQuery(basket, anchors, targets, taken, had, shop.group) if len(targets) else None


Gains = tuple[float, float, float, float, float, float]
"""By figure of [`models.evaluation.lists`][]."""

Lists = tuple[NDArray[np.int32], NDArray[np.int32]]
"""By reading, at most `K` items each, best first."""


class BasketMethod(Protocol):
    """What is compared."""

    name: str

    def learn(self, basket: Basket) -> None:
        """Learn a basket; called in time order."""

    def ready(self) -> None:
        """The training part is over: answers count everything learnt so far."""

    def rank(self, query: BasketQuery) -> Lists:
        """The lists of both readings."""


def best(
    items: NDArray[np.int32], scores: NDArray[np.float64], query: BasketQuery, id_order: NDArray[np.uint64]
) -> Lists:
    """The first `K` items of both readings, by (n,) distinct items and scores; ties by `Items.order`."""
    lists = []
    for reading in READINGS:
        may = query.open(items, reading)
        ids, found = items[may], scores[may]
        if len(ids) > K:
            near = found >= -np.partition(-found, K - 1)[K - 1]
            ids, found = ids[near], found[near]
        lists.append(ids[np.lexsort((id_order[ids, 1], id_order[ids, 0], -found))[:K]])
    return lists[0], lists[1]


def gains_of(ranked: NDArray[np.int32], targets: NDArray[np.int32]) -> Gains:
    """What a list of at most `K` distinct items adds to each figure, 0 to 1; there is at least one target.

    >>> gains_of(np.array([4, 7, 9]), np.array([7, 8]))[:2]  # HR and MRR: a hit at the second place
    (1.0, 0.5)
    """
    return gains(np.isin(ranked, targets).tolist(), len(targets), K)


@dataclass(slots=True)
class Reading:
    """The tests of one reading, and what each method gained."""

    households: list[str] = field(default_factory=list)
    gains: dict[str, list[Gains]] = field(default_factory=dict)

    def figures(self, method: str, seed: int) -> dict[str, Figure]:
        """Means in percent with 95 % intervals that resample whole households."""
        columns = np.array(self.gains[method]).reshape(-1, len(FIGURES)).T
        named = {f"{name}@{K}": column for name, column in zip(FIGURES, columns, strict=True)}
        return means(named, np.array(self.households), seed)


@dataclass(slots=True)
class Evaluation:
    """Results of all methods on the same tests."""

    learnt: int
    """Baskets of the training part."""
    asked: int
    """Tested baskets."""
    readings: dict[str, Reading]
    seconds: dict[str, float]
    """Seconds of learning and ranking, by method."""

    def as_json(self, seed: int) -> dict[str, Any]:
        """`methods` as `evaluate baskets --json` writes it: percent with 95 % intervals."""
        return {
            method: {
                name: as_json(reading.figures(method, seed), len(reading.households))
                for name, reading in self.readings.items()
            }
            for method in self.readings["all"].gains
        }


def cut_at(baskets: Sequence[Basket], split: float = SPLIT) -> float:
    """Time at which the test part begins: `split` of the way from the first basket to the last."""
    first, last = baskets[0].at, baskets[-1].at
    return first + split * (last - first)


def evaluate(
    shop: Shop,
    baskets: Sequence[Basket],
    methods: Sequence[BasketMethod],
    progress: Progress,
    clock: Callable[[], float],
    *,
    cut: float,
    sample: Callable[[int], Collection[int]] | None = None,
    learn_on_test: bool = False,
) -> Evaluation:
    """Train each method and score it.

    Args:
        shop: what is bought.
        baskets: in time order.
        methods: those that are compared.
        progress: called now and then.
        clock: measures seconds, such as `time.process_time`.
        cut: event time at which the test part begins.
        sample: given the number of possible tests, chooses some by their place; None: all.
        learn_on_test: learn a test basket once it is scored; it then also counts for what is new to a household.
    """
    number = sum(basket.at < cut for basket in baskets)
    training, tests = baskets[:number], baskets[number:]
    possible = [place for place, basket in enumerate(tests) if _asks(basket, shop)]
    chosen = set(possible) if sample is None else {possible[place] for place in sample(len(possible))}
    readings = {name: Reading() for name in READINGS}
    seconds: dict[str, float] = {}
    for nth, method in enumerate(methods):
        for reading in readings.values():
            reading.gains[method.name] = []
        had: defaultdict[str, set[int]] = defaultdict(set)  # by household
        started_s = clock()
        for done, basket in enumerate(training):
            if done % 500 == 0:
                progress(f"{method.name}: learning", done, len(training))
            method.learn(basket)
            had[basket.household].update(basket.items)
        method.ready()
        for done, basket in enumerate(tests):
            if done % 100 == 0:
                progress(f"{method.name}: asking", done, len(tests))
            if done in chosen:
                bought = np.zeros(len(shop.items), np.bool_)
                bought[list(had[basket.household])] = True
                query = query_of(basket, shop, bought)
                assert query is not None  # it was possible
                _score(query, method.name, method.rank(query), readings, with_household=nth == 0)
            if learn_on_test:
                method.learn(basket)
                had[basket.household].update(basket.items)
        seconds[method.name] = round(clock() - started_s, 2)
    return Evaluation(number, len(chosen), readings, seconds)


def _asks(basket: Basket, shop: Shop) -> bool:
    return query_of(basket, shop, np.zeros(0, np.bool_)) is not None


def _score(
    query: BasketQuery, name: str, lists: Lists, readings: Mapping[str, Reading], *, with_household: bool
) -> None:
    """Add the gains of a method's lists, and the household, unless an earlier method has added it."""
    new = query.targets[~query.had[query.targets]]
    for reading, found, targets in zip(readings.values(), lists, (query.targets, new), strict=True):
        if not len(targets):
            continue
        if with_household:
            reading.households.append(query.basket.household)
        reading.gains[name].append(gains_of(found, targets))
