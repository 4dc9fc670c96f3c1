"""A visit becomes a list of explained, rule-checked suggestions; a whole batch at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, chain
from typing import Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from models.boxes import Box, KeptBox, boxed
from models.cooccurrence.index import Neighbours
from models.ranking.candidate_pool import CandidatePool
from models.ranking.features import SOURCES, Order, no_order
from models.sequence.predictor import Expected, SequencePredictor, shopper_key
from models.serving.batch import Answers, Batch, Joined, Output, empty_output
from models.serving.category_lifts import CategoryLifts
from models.serving.explanations import MOST_REASONS, Reasons
from models.serving.kernel import answer
from models.serving.popularity import Popularity
from models.serving.queries import Queries, QueryColumns, no_expectations
from models.serving.reason_text import Reason, ReasonText
from models.serving.rules import CompiledPolicy, QueryState, Rules
from models.serving.sources import WORTH
from models.serving.sources.most_bought import MOST_BOUGHT
from models.serving.sources.source import Worth
from models.serving.state import SHARES, Limits, Memory, Shared, Weights, empty_pool
from models.sessions.histories import NOTHING, History, HistoryConfig
from models.sessions.look_kernel import Snapshots
from models.sessions.visits import Visit, Window
from models.shop.catalog import Catalog
from models.shop.events import Action
from models.shop.items import Items
from models.shop.kinds import CROSS_SELL, KIND_NAMES, UPSELL
from models.shop.policy import DEFAULT, Policy
from models.thread_team import ALONE, ThreadTeam

_NO_LOOKS = Window([], [], [])

MOST_POOLS_KEPT = 16
"""Room for the answers of a batch that had more pools logged than these is not kept for the next one."""


LEAST_QUERIES = 16
"""Fewest queries for which a thread is woken, which takes about as long as to answer three."""


class SuggestedItem(TypedDict):
    """One suggestion, as it is sent."""

    item_id: str
    kind: str
    """`cross-sell` or `upsell`."""
    anchor: str
    """Item of the trigger or the cart that it is for."""
    score: float
    """Estimated acceptance, of an upsell times a power of its step in price; comparable within one list."""
    price: float
    category: str
    title: str
    reasons: list[Reason]
    """Strongest first, of an upsell those about its anchor before all others; at least one."""
    propensity: float
    """Probability with which it has come to its place; below 1 only where the policy explores."""


@dataclass(slots=True)
class Query:
    """What is asked for one event, for callers that have it in lists; a worker packs it into `Queries` at once."""

    action: Action
    trigger: list[int]  # indices of the event's items
    visit: Visit
    at: float  # time of the event, epoch seconds
    seed: str  # decides what is left to chance: the suggestion's id
    user_id: str = ""  # whose visit it is
    window: Window | None = None  # the shopper's looks in order, for the sequence model
    arm: int = DEFAULT  # of the experiment; for `none` the list is the default's, and the caller withholds it
    history: History = NOTHING  # what the shopper has bought, for longer than the visit
    logs_pool: bool = False  # whether the pool is wanted beside the list


class Answer(NamedTuple):
    """What a query is answered with."""

    items: list[SuggestedItem]
    """Best first."""
    pool: CandidatePool | None
    """What the list was chosen from, if the query asks for it, and the list is by evidence or a learnt order."""


@dataclass(frozen=True)
class RecommenderConfig:
    """How evidence is weighed. Shares are of views or baskets, from 0 to 1; see `models.serving.candidates`."""

    back: float = 0.7
    """A look `n` looks back counts `exp(-back * n)`: measured best for the next new item of a visit, for all kinds of
    neighbours together. Less makes lists of the whole visit, more of the last item only."""
    age_half_life_s: float = 1800.0
    """... and half as much after half an hour: a shopper who comes back later often wants something else."""
    cart: float = 0.8
    """The latest item of the cart counts a little less than the item looked at now, whenever it was added."""
    cart_back: float = 0.95
    """... and each one before it a little less: a basket is about all of its items."""
    view_shrinkage: float = 5.0
    """Views that an item is taken to have had without any neighbour: one of one view is not all of them."""
    basket_shrinkage: float = 2.0
    """... and baskets, which are rarer and say more; they are taken to be such as all baskets are, and count as what
    chance explains."""
    worth: Mapping[str, Worth] = field(default_factory=lambda: WORTH)
    """Of the shares, by name; each source says why."""
    chance: float = 0.2
    """Part of a bought-together share that counts even where chance explains it: people do buy what is popular. More
    sells more of that, above all in groceries, and shows less of what goes together."""
    seen: float = 0.25
    """What the visit has looked at already is shown behind what is new, unless it is far stronger."""
    least_step: float = 0.01
    """Step of an upsell whose price is its anchor's (a policy may allow that), so that it has a score at all."""
    fall_back: float = 0.01
    """Where there is no evidence at all, the score below which fallbacks stay."""


class Learnt(NamedTuple):
    """The order of lists that was learnt from outcomes, and whether it serves."""

    order: Order
    version: str  # of its snapshot; empty: nothing has been learnt


@dataclass
class PreparedPolicy:
    """A policy that is compiled for the catalogue, to be put in force at once."""

    policy: Policy
    hash: str
    """The policy's."""
    compiled: CompiledPolicy
    limits: Limits
    weights: Weights
    query_states: list[QueryState]
    """Of each thread that has answered by it, the first one's at least."""


class _Room(NamedTuple):
    """Arrays for the answers of a batch, and their box."""

    output: Output
    box: Box

    def has(self, queries: int, places: int, pools: int) -> bool:
        """Whether the answers of a batch fit."""
        answers = self.output.answers
        return len(answers.item) >= queries and answers.item.shape[1] == places and len(answers.pool_item) >= pools

    @property
    def is_small(self) -> bool:
        """Whether it is worth keeping: a pool takes 125 kB."""
        return len(self.output.answers.pool_item) <= MOST_POOLS_KEPT


class _Memory(NamedTuple):
    """The box of a thread's memory, and the rules that it is for."""

    rules: Rules
    box: Box


class AnsweredBatch(NamedTuple):
    """What a batch of queries is answered with, as arrays that have room for more."""

    room: _Room
    logged: NDArray[np.int64]  # (queries,): see `models.serving.batch.Batch`

    @property
    def lists(self) -> Answers:
        """The lists; rows of the queries come first, and places beyond the size of a list mean nothing."""
        return self.room.output.answers

    @property
    def reasons(self) -> Reasons:
        """Their reasons; likewise."""
        return self.room.output.reasons

    def pool(self, query: int) -> CandidatePool | None:
        """The pool of a query; None: it is not wanted, or was not gathered."""
        row, out = self.logged[query], self.lists
        if row < 0 or not (size := int(out.pool_size[row])):
            return None
        features = out.pool_features[row, :size].astype(np.float32)
        return CandidatePool(out.pool_item[row, :size].copy(), out.pool_kind[row, :size].copy(), features)


class Recommender:
    """Answers queries from the neighbours and the catalogue as they are at the call.

    Not for use by several threads at once: it divides large batches among those of its `team`. Equal queries on equal
    state give equal answers, alone, in a batch or in a part of one; ties are settled by item id.
    """

    def __init__(
        self,
        items: Items,
        catalog: Catalog,
        neighbours: Neighbours,
        policy: Policy,
        config: RecommenderConfig,
        histories: HistoryConfig | None = None,
        team: ThreadTeam = ALONE,
    ) -> None:
        self.team = team
        self.catalog = catalog
        self.neighbours = neighbours
        self.popularity = Popularity(items, catalog, neighbours)
        self.category_lifts = CategoryLifts(items, catalog, policy.category_depth)
        self.learnt = Learnt(no_order(), "")  # may be replaced at any time, as the policy
        self.items = items
        self._config, self._histories = config, histories or HistoryConfig()
        self._reason_text = ReasonText(items, catalog)
        self._serial = 1
        self._pools = [empty_pool(0)]  # of each thread that has answered, the first one's at least
        self._shared, self._memories = KeptBox(), list[_Memory]()
        self._spare: list[_Room] = []
        self.policy = policy

    @property
    def policy(self) -> Policy:
        """The policy in force; a new one applies from the next query on."""
        return self._in_force.policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self.put_in_force(self.prepared(policy))

    def prepared(self, policy: Policy) -> PreparedPolicy:
        """Compile a policy. May be called in a thread while queries are answered and the catalogue changes."""
        compiled = CompiledPolicy(policy, self.catalog, self.items)
        compiled.cover()
        limits = Limits(
            policy.max_items,
            policy.max_cross_sell,
            policy.max_upsell,
            policy.max_per_brand,
            policy.max_per_category,
            policy.explore,
        )
        weights = {name: float(value) for name, value in vars(self._config).items() if name != "worth"}
        half_lives = {"fast_s": self._histories.fast_s, "slow_s": self._histories.slow_s}
        worth = np.zeros((len(KIND_NAMES), SHARES))
        worth[[CROSS_SELL, UPSELL]] = np.array([self._config.worth[source] for source in SOURCES]).T
        weighed = Weights(
            **weights, **half_lives, step_power=policy.step_power, min_support=policy.min_support, worth=worth
        )
        return PreparedPolicy(policy, policy.hash, compiled, limits, weighed, [compiled.query_state()])

    def put_in_force(self, prepared: PreparedPolicy) -> None:
        """Answer by a policy from the next query on."""
        depth = prepared.policy.category_depth
        if depth != self.category_lifts.depth:
            self.category_lifts = CategoryLifts(self.items, self.catalog, depth)
        self._in_force = prepared

    @property
    def nbytes(self) -> int:
        """Memory that it takes, without catalogue and neighbours; what was never used of it counts, too."""
        arrays: list[NDArray[Any]] = [array for state in self._in_force.query_states for array in state]
        for pool in self._pools:
            arrays += [part for part in pool if isinstance(part, np.ndarray)]
            arrays += pool.queues
        kept = self.popularity.nbytes + self.category_lifts.nbytes
        arrays.extend(array for room in self._spare for table in room.output for array in table)
        return kept + sum(array.nbytes for array in [*arrays, *self.learnt.order])

    def held(self) -> NDArray[np.int64]:
        """Indices that it keeps from one call to the next."""
        uptake = np.flatnonzero(self.learnt.order.uptake.any(axis=(0, 1)))
        return np.concatenate([self._in_force.compiled.held(), self.popularity.held(), uptake])

    def words_held(self) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
        """Numbers of the categories and brands that it keeps from one call to the next."""
        categories, brands = self.popularity.words_held()
        return np.concatenate([categories, self.category_lifts.held()]), brands

    def warm(self) -> None:
        """Compile, or load what was compiled before: seconds, or a fraction, for which no event then has to wait."""
        nothing = Visit([], [], [], [], [])
        self.popularity.warm()
        self.suggest_many([Query(Action.VIEW, [], nothing, 0.0, "")])

    def suggest_many(self, queries: Sequence[Query]) -> list[list[SuggestedItem]]:
        """Suggestions for each query, best first, ties by item id; an empty list where nothing can be suggested."""
        return list(self.suggest_each(queries))

    def suggest_each(self, queries: Sequence[Query], expected: Expected | None = None) -> Iterator[list[SuggestedItem]]:
        """As `suggest_many`, and lazy as `answer_each`."""
        return (answered.items for answered in self.answer_each(queries, expected))

    def answer_each(
        self, queries: Sequence[Query], expected: Expected | None = None, learnt: Learnt | None = None
    ) -> Iterator[Answer]:
        """Answers to queries: everything is computed at the call, and each list is put into words when it is taken.

        A caller that is done with one list before it takes the next spares the garbage collector thousands of objects.
        `expected` are the sequence model's predictions for these queries; None: there is no such model. `learnt` is as
        of `answer_batch`.
        """
        if not queries:
            return iter(())
        asked, looks = _columns(queries)
        if self.explores:
            asked.seeds[:] = [seed_of(query.seed) for query in queries]
        asked.log(np.flatnonzero([query.logs_pool for query in queries]))
        expected = no_expectations(len(queries)) if expected is None else expected
        return self._told(self.answer_batch(asked, expected, looks, learnt))

    def _told(self, answered: AnsweredBatch) -> Iterator[Answer]:
        """Answers of a batch, one after the other."""
        queries = len(answered.logged)
        lists = self._suggested(answered.lists, answered.reasons, queries)
        yield from map(Answer, lists, map(answered.pool, range(queries)))
        self.done_with(answered)

    @property
    def explores(self) -> bool:
        """Whether something is left to chance, so that queries need seeds."""
        return self._in_force.limits.explore > 0.0

    def answer_batch(
        self, queries: QueryColumns, expected: Expected, looks: Snapshots, learnt: Learnt | None = None
    ) -> AnsweredBatch:
        """Answers to queries, of which there is at least one, as arrays.

        `expected` are the sequence model's predictions for them, and `looks` what their shoppers have looked at.
        `learnt` is the order that may serve; None: the recommender's own.
        """
        self.popularity.refresh()
        in_force, number = self._in_force, len(queries)
        rows, rules = self.neighbours.arrays(), in_force.compiled.rules()
        self.category_lifts.refresh(number, rows, rules)
        shared = Shared(
            rows,
            in_force.weights,
            rules,
            in_force.limits,
            self.popularity.by_category,
            self.popularity.by_brand,
            self.popularity.most_bought,
            self.category_lifts.sums,
            self.catalog.categories.parent,
            (learnt or self.learnt).order,
            self.items.order,
        )
        batch = self._batch(queries, expected, looks)
        room = self._room(number, in_force.limits.items, queries.pools)
        box, parts = self._shared.of(shared), self.team.parts(number, LEAST_QUERIES)
        if len(parts) == 1:
            answer(batch, box, self._memory(0, rules), room.box)
        else:
            answers = [
                partial(answer, batch.part(part), box, self._memory(thread, rules), boxed(room.output.part(part)))
                for thread, part in enumerate(parts)
            ]
            self.team.run(answers)
        return AnsweredBatch(room, queries.logged)

    def _memory(self, thread: int, rules: Rules) -> Box:
        """Working memory of a thread, for the rules as of now; those of the threads before it are asked for first."""
        if thread < len(self._memories) and self._memories[thread].rules is rules:
            return self._memories[thread].box
        compiled, states, items = self._in_force.compiled, self._in_force.query_states, len(self.catalog.facts)
        if thread == len(self._pools):
            self._pools.append(empty_pool(items))
        if thread == len(states):
            states.append(compiled.query_state())
        if len(self._pools[thread].where) < items:
            self._pools[thread] = empty_pool(items)
        states[thread] = compiled.query_state(states[thread])
        memory = _Memory(rules, boxed(Memory(states[thread], self._pools[thread])))
        self._memories[thread : thread + 1] = [memory]
        return memory.box

    def _room(self, queries: int, places: int, pools: int) -> _Room:
        """Room for the answers of a batch: that of one before, if it is done with and large enough."""
        if self._spare and self._spare[-1].has(queries, places, pools):
            return self._spare.pop()
        self._spare.clear()
        output = empty_output(2 * queries, places, pools)
        return _Room(output, boxed(output))

    def done_with(self, answered: AnsweredBatch) -> None:
        """Take the arrays of answers back, for those of a later batch."""
        if not self._spare and answered.room.is_small:
            self._spare.append(answered.room)

    def _batch(self, queries: QueryColumns, expected: Expected, looks: Snapshots) -> Batch:
        """Queries as the kernel takes them."""
        own = queries.own if queries.longest <= MOST_BOUGHT else self._ordered(queries)
        serial = self._serial
        self._serial += len(queries)
        return Batch(
            serial,
            queries.at,
            queries.seeds,
            queries.upsells,
            queries.trigger,
            queries.cart,
            queries.bought,
            Joined(looks.items, looks.ends),
            looks.ages_s,
            expected,
            queries.arms,
            own,
            queries.own_ends,
            queries.baskets,
            queries.logged,
        )

    def _ordered(self, queries: QueryColumns) -> NDArray[Any]:
        """What the shoppers have bought; the most useful first where a pool may not have room for all of a shopper."""
        cells, ends = queries.own.copy(), queries.own_ends[: len(queries) + 1]
        for row in np.flatnonzero(np.diff(ends) > MOST_BOUGHT).tolist():
            own = cells[ends[row] : ends[row + 1]]
            useful = np.log2(own["slow"]) + own["last"] / self._histories.slow_s
            own[:] = own[np.argsort(-useful, kind="stable")]
        return cells

    def _suggested(self, out: Answers, why: Reasons, queries: int) -> Iterator[list[SuggestedItem]]:
        """The first answers as they are sent."""
        get, name, reason = self.catalog.get, self.items.name, self._reason_text.reason
        places = out.item.shape[1]
        shown = out.item, out.kind, out.anchor, out.score, out.propensity
        items, kinds, anchors, scores, propensities = _flat(queries, *shown)
        grounds = why.source, why.anchor, why.events, why.of_views, np.round(why.lift[:queries], 4)
        sources, abouts, counts, of_views, lifts = _flat(queries, *grounds)
        for number, size in enumerate(out.size[:queries].tolist()):
            suggestions: list[SuggestedItem] = []
            for place in range(number * places, number * places + size):
                item = get(items[place])
                assert item is not None  # the rules know what the catalogue knows
                reasons = []
                for at in range(MOST_REASONS * place, MOST_REASONS * (place + 1)):
                    if sources[at] < 0:
                        break
                    reasons.append(reason(item, sources[at], abouts[at], counts[at], of_views[at], lifts[at]))
                suggestion: SuggestedItem = {
                    "item_id": item.item_id,
                    "kind": KIND_NAMES[kinds[place]],
                    "anchor": name(anchors[place]),
                    "score": scores[place],
                    "price": item.price,
                    "category": item.category,
                    "title": item.title,
                    "reasons": reasons,
                    "propensity": propensities[place],
                }
                suggestions.append(suggestion)
            yield suggestions


def expected_of(predictor: SequencePredictor | None, queries: Sequence[Query]) -> Expected:
    """What a sequence model, if there is one, expects next."""
    if predictor is None:
        return no_expectations(len(queries))
    return predictor.expect([(query.user_id, query.window or _NO_LOOKS) for query in queries])


def _columns(queries: Sequence[Query]) -> tuple[QueryColumns, Snapshots]:
    """Queries in columns, and what their shoppers have looked at."""
    waiting = Queries()
    for query in queries:
        waiting.add(
            shopper_key(query.user_id),
            query.at,
            upsells=query.action is not Action.PURCHASE,
            arm=query.arm,
            windowed=query.window is not None,
            trigger=query.trigger,
            cart=query.visit.cart,
            bought=query.visit.bought,
            history=query.history,
        )
    visits = [query.visit for query in queries]
    windows = [query.window or _NO_LOOKS for query in queries]
    looks = Snapshots(
        np.array([len(queries)]),
        _joined([visit.items for visit in visits], np.int32),
        _joined([visit.ages_s for visit in visits], np.float64),
        _joined([visit.actions for visit in visits], np.int8),
        _ends([visit.items for visit in visits]),
        _joined([window.items for window in windows], np.int32),
        _joined([window.actions for window in windows], np.int8),
        _joined([window.ats for window in windows], np.float64),
        _ends([window.items for window in windows]),
    )
    return waiting.take(len(queries)), looks


def _joined(lists: Iterable[Sequence[float]], kind: type[np.generic]) -> NDArray[Any]:
    return np.fromiter(chain.from_iterable(lists), kind)


def _ends(lists: Iterable[Sequence[int]]) -> NDArray[np.int64]:
    return np.array([0, *accumulate(map(len, lists))], np.int64)


def _flat(rows: int, *tables: NDArray[Any]) -> list[list[Any]]:
    """The elements of the first rows of each table one after the other."""
    return [table[:rows].reshape(-1).tolist() for table in tables]


def seed_of(text: str) -> int:
    """64 bits that are the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
