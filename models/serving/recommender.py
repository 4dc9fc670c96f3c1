"""A visit becomes a list of explained, rule-checked suggestions; a whole batch at once."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from models.cooccurrence.index import Neighbours
from models.ranking.features import WIDTH, Order, no_order
from models.sequence.predictor import Expected, SequencePredictor
from models.serving.candidates import Pool, Rows, Weights, pool
from models.serving.explanations import MOST_REASONS, Reason, Reasons, ReasonText, reasons
from models.serving.kernel import Answers, Batch, answer, answers
from models.serving.popularity import Popularity
from models.serving.rules import CompiledPolicy, QueryState
from models.serving.selection import Limits
from models.sessions.visits import Visit, Window
from models.shop.catalog import Catalog
from models.shop.events import Action
from models.shop.items import Items
from models.shop.kinds import KIND_NAMES
from models.shop.policy import Policy

NO_LOOKS = Window([], [], [])


class SuggestedItem(TypedDict):
    """One suggestion, as it is sent."""

    item_id: str
    kind: str
    """`cross-sell` or `upsell`."""
    anchor: str
    """Item of the trigger or the cart that it is for."""
    score: float
    """Estimated acceptance, of an upsell times its step in price; comparable within one list."""
    price: float
    category: str
    title: str
    reasons: list[Reason]
    """Strongest first; at least one."""
    propensity: float
    """Probability with which it has come to its place; below 1 only where the policy explores."""
    features: NotRequired[list[float]]
    """Values of `models.ranking.features.FEATURES`; absent for an item suggested without evidence."""


@dataclass(slots=True)
class Query:
    """What is asked for one event."""

    action: Action
    trigger: list[int]
    """Indices of the event's items."""
    visit: Visit
    at: float
    """Time of the event, epoch seconds."""
    seed: str
    """Settles what is left to chance: the suggestion's id."""
    user_id: str = ""
    """Whose visit it is."""
    window: Window | None = None
    """His looks in their order, where a sequence model is to be asked."""


@dataclass(frozen=True)
class RecommenderConfig:
    """How evidence is weighed. Shares are of views or baskets, from 0 to 1; see `models.serving.candidates`."""

    back: float = 0.7
    """A look `n` looks back counts `exp(-back * n)`: measured best for the next new item of a visit, for all kinds of
    neighbours together. Less makes lists of the whole visit, more of the last item only."""
    age_half_life_s: float = 1800.0
    """... and half as much after half an hour: who comes back after lunch is about something else."""
    cart: float = 0.8
    """The latest item of the cart counts a little less than the item looked at now, however long ago it was added."""
    cart_back: float = 0.95
    """... and each one before it a little less: a basket is about all of its items."""
    view_shrinkage: float = 5.0
    """Views that an item is taken to have had without any neighbour: one of one view is not all of them."""
    basket_shrinkage: float = 2.0
    """... and baskets, which are rarer and say more; they are taken to be such as all baskets are, and count as what
    chance explains."""
    cross_viewed: float = 0.1
    """Worth of a looked-at-together share for a cross-sell: people look at what they compare, rarely at what completes
    it; more fills lists with what is merely popular in the visit's surroundings."""
    cross_bought: float = 1.0
    """... of a bought-together share."""
    cross_joined: float = 1.0
    """... of a share that was bought after a look."""
    upsell_viewed: float = 0.3
    """Worth of a looked-at-together share for an upsell: what is compared is considered, and often not taken."""
    upsell_joined: float = 1.0
    """... of a share that was bought after a look: the comparison's outcome."""
    cross_expected: float = 0.2
    """Worth of the sequence model's share for a cross-sell: what is looked at next, like what is looked at together."""
    upsell_expected: float = 0.5
    """... for an upsell."""
    chance: float = 0.2
    """Part of a bought-together share that counts even where chance explains it: people do buy what is popular. More
    sells more of that, above all in groceries, and shows less of what goes together."""
    seen: float = 0.25
    """What the visit has looked at already is shown behind what is new, unless it is far stronger."""
    least_step: float = 0.01
    """Step of an upsell whose price is its anchor's (a policy may allow that), so that it has a score at all."""
    fall_back: float = 0.01
    """Where there is no evidence at all, the score below which fall-backs stay."""


class Learnt(NamedTuple):
    """The order of lists that was learnt from outcomes."""

    order: Order
    version: str
    """Of its snapshot; empty: nothing has been learnt."""


class Recommender:
    """Answers queries from the mirror and the catalogue as they are at the call.

    Not for use by several threads at once. Equal queries on equal state give equal answers, alone or in a batch; ties
    are settled by item id.

    Args:
        items: what the indices mean; shared with catalogue and neighbours.
        catalog: what is offered.
        neighbours: what has been learnt.
        policy: what may be suggested; may be set anew at any time.
        config: how evidence is weighed.
    """

    def __init__(
        self, items: Items, catalog: Catalog, neighbours: Neighbours, policy: Policy, config: RecommenderConfig
    ) -> None:
        self.catalog = catalog
        self.neighbours = neighbours
        self.popularity = Popularity(items, catalog, neighbours)
        self.learnt = Learnt(no_order(), "")
        """From outcomes; may be set anew likewise."""
        self._items = items
        self._config = config
        self._words = ReasonText(items, catalog)
        self._serial = 1
        self._pool: Pool = pool(0)
        self._asked: QueryState
        self.policy = policy

    @property
    def policy(self) -> Policy:
        """The policy in force; a new one judges the next query."""
        return self._policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        config = self._config
        self._policy = policy
        self._rulebook = CompiledPolicy(policy, self.catalog, self._items)
        self._limits = Limits(
            policy.max_items,
            policy.max_cross_sell,
            policy.max_upsell,
            policy.max_per_brand,
            policy.max_per_category,
            policy.explore,
        )
        self._weights = Weights(
            float(config.back),
            float(config.age_half_life_s),
            float(config.cart),
            float(config.cart_back),
            float(config.view_shrinkage),
            float(config.basket_shrinkage),
            float(config.cross_viewed),
            float(config.cross_bought),
            float(config.cross_joined),
            float(config.upsell_viewed),
            float(config.upsell_joined),
            float(config.cross_expected),
            float(config.upsell_expected),
            float(config.chance),
            float(config.seen),
            float(config.least_step),
            float(config.fall_back),
            policy.min_support,
        )
        self._rulebook.rules()
        self._asked = self._rulebook.room()

    def warm(self) -> None:
        """Compile, or load what was compiled before, so that no event has to wait for it: seconds, or a fraction."""
        nothing = Visit([], [], [], [], [])
        self.popularity.warm()
        self.suggest_many([Query(Action.VIEW, [], nothing, 0.0, "")])

    def suggest_many(self, queries: Sequence[Query]) -> list[list[SuggestedItem]]:
        """Suggestions for each query, best first, ties by item id; an empty list where nothing can be suggested."""
        return list(self.suggest_each(queries))

    def suggest_each(self, queries: Sequence[Query], expected: Expected | None = None) -> Iterator[list[SuggestedItem]]:
        """As `suggest_many`: everything is computed at the call, and put into words as it is taken.

        Who is done with one list before he takes the next spares the garbage collector thousands of objects at once.

        Args:
            queries: what is asked.
            expected: predictions of the sequence model for these queries; None: there is no such model.
        """
        if not queries:
            return iter(())
        self.popularity.refresh()
        rules = self._rulebook.rules()
        if len(self._pool.where) < len(rules.facts):
            self._pool = pool(len(rules.facts))
        if len(self._asked.barred) < len(rules.facts) or len(self._asked.taken) < len(rules.group):
            self._asked = self._rulebook.room()
        out, why = answers(len(queries), self._limits.items), reasons(len(queries), self._limits.items)
        answer(
            self._batch(queries, expected_of(None, queries) if expected is None else expected),
            self._rows(),
            self._weights,
            rules,
            self._limits,
            self.popularity.by_category,
            self.popularity.by_brand,
            self.catalog.categories.parent,
            self.learnt.order,
            self._items.order,
            self._asked,
            self._pool,
            out,
            why,
        )
        return self._told(out, why)

    def _batch(self, queries: Sequence[Query], expected: Expected) -> Batch:
        """Queries as arrays."""
        visits = [query.visit for query in queries]
        explores = self._limits.explore > 0.0
        seeds = [_seed(query.seed) if explores else 0 for query in queries]
        serial = self._serial
        self._serial += len(queries)
        trigger, trigger_ends = _joined([query.trigger for query in queries])
        cart, cart_ends = _joined([visit.cart for visit in visits])
        bought, bought_ends = _joined([visit.bought for visit in visits])
        items, visit_ends = _joined([visit.items for visit in visits])
        ages_s = array("d")
        for visit in visits:
            ages_s.extend(visit.ages_s)
        return Batch(
            serial,
            np.array([query.at for query in queries], np.float64),
            np.array(seeds, np.uint64),
            np.array([query.action is not Action.PURCHASE for query in queries], np.bool_),
            trigger,
            trigger_ends,
            cart,
            cart_ends,
            bought,
            bought_ends,
            items,
            np.array(ages_s, np.float64),
            visit_ends,
            *expected,
        )

    def _rows(self) -> Rows:
        """The mirror's arrays as they are now."""
        mirror = self.neighbours
        baskets_at = max((total.at for total in mirror.totals.values()), default=0.0)
        return Rows(
            mirror.start,
            mirror.length,
            mirror.own,
            mirror.own_count,
            mirror.at,
            mirror.ids,
            mirror.weights,
            mirror.counts,
            float(mirror.half_life_s),
            float(mirror.baskets(baskets_at)),
            float(baskets_at),
        )

    def _told(self, out: Answers, why: Reasons) -> Iterator[list[SuggestedItem]]:
        """Answers as they are sent."""
        get, name, word = self.catalog.get, self._items.name, self._words.reason
        places = out.item.shape[1]
        found = (out.item, out.kind, out.anchor, out.score, out.propensity)
        described = np.round(out.features, 4).reshape(-1, WIDTH).tolist()
        grounds_found = (why.source, why.anchor, why.events, why.of_views, np.round(why.lift, 4))
        items, kinds, anchors, scores, propensities = _flat(*found)
        sources, abouts, counts, of_views, lifts = _flat(*grounds_found)
        for number, size in enumerate(out.size.tolist()):
            told: list[SuggestedItem] = []
            for place in range(number * places, number * places + size):
                item = get(items[place])
                assert item is not None  # the rules know what the catalogue knows
                grounds = []
                for at in range(MOST_REASONS * place, MOST_REASONS * (place + 1)):
                    if sources[at] < 0:
                        break
                    grounds.append(word(item, sources[at], abouts[at], counts[at], of_views[at], lifts[at]))
                suggested: SuggestedItem = {
                    "item_id": item.item_id,
                    "kind": KIND_NAMES[kinds[place]],
                    "anchor": name(anchors[place]),
                    "score": scores[place],
                    "price": item.price,
                    "category": item.category,
                    "title": item.title,
                    "reasons": grounds,
                    "propensity": propensities[place],
                }
                if (features := described[place])[0] == features[0]:  # not NaN
                    suggested["features"] = features
                told.append(suggested)
            yield told


def expected_of(predictor: SequencePredictor | None, queries: Sequence[Query]) -> Expected:
    """What a sequence model, if there is one, expects. May be called in a thread, one call at a time."""
    if predictor is None:
        return Expected(np.empty(0, np.int32), np.empty(0), np.zeros(len(queries) + 1, np.int64))
    return predictor.expect([(query.user_id, query.window or NO_LOOKS) for query in queries])


def _joined(lists: Sequence[Sequence[int]]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Lists one after the other, and where each begins and the last ends."""
    joined = array("i")
    for one in lists:
        joined.extend(one)
    return np.array(joined, np.int32), np.array([0, *accumulate(map(len, lists))], np.int64)


def _flat(*tables: NDArray[Any]) -> list[list[Any]]:
    """The elements of each table one after the other."""
    return [table.reshape(-1).tolist() for table in tables]


def _seed(text: str) -> int:
    """64 bits that are the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
