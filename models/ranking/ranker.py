"""The order of candidates, learnt from what shoppers took of whole pools.

A pool has everything that could have been suggested for an event (`models.ranking.candidate_pool`). When its window has
closed, what its shopper took of it is set against all of it, wherever it stood and whether it was shown or not. Lists
alone cannot teach that an item should have been in them. Cross-sells and upsells are learnt separately, list-wise: the
weights w of the features x follow the gradient of the softmax loss

    p_i = exp(w . x_i) / sum over the pool: exp(w . x_j)        loss = - sum over i: y_i log p_i,  sum of y = 1

(Z. Cao et al., Learning to rank: from pairwise to listwise approach, 2007) by steps of the online Newton method

    w += (H + prior_precision * I)^-1 * gradient        H = fading sum of the covariances of x under p, one a pool

which is its natural gradient (S. Amari, Natural gradient works efficiently in learning, 1998). It needs no learning
rate, and features that go together do not slow it down. The prior is normal, around the weights that it begins with:
evidence and views, half each.
What is bought again and what is tried follow different rules, so a candidate that the shopper has bought before is
scored by weights of its own, within the same softmax.
numpy and not river, whose models learn one row at a time: a softmax needs all rows of a pool at once.

Popular items are taken wherever they stand. Learnt at face value, outcomes would put bestsellers first although a
suggestion has no part in their sales. So a taking counts for the part that its item's popularity does not explain,

    credit = 1 - share * base / taken

`base` being the share of all baskets with the item, `taken` the probability that the item is taken, by weights that are
learnt at face value, and `share` the policy's `credit` (the attributable fraction: P. Cole, B. MacMahon, Attributable
risk percent in case-control studies, 1971).

What no feature tells of an item is learnt item by item: how often it was taken over how often the weights expected
that, as a logarithm with `prior` added to both, is its uptake, and is added to its score. Both fade, too. There is one
uptake among shoppers who have bought the item before, and one among the others.

Three orders are judged by what was taken (prequentially): the learnt one by the score that the worker gave before, the
sum of the evidence, and popularity. The one that puts credits highest in the recent stream is served. Until a kind has
`least_credits` its learnt order is mixed with the one that it begins with, as far as credits are missing.

river's ADWIN watches the loss of each source (`models.ranking.drift`) and raises an alarm where one has become worse.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import SnapshotShapeError
from models.ranking.attribution import Closed
from models.ranking.drift import Drift, DriftConfig
from models.ranking.features import (
    BASE_UNIT,
    EVIDENCE,
    FEATURES,
    FIRST_WEIGHTS,
    LEARNT,
    ORDERS,
    POPULAR_WEIGHTS,
    POPULARITY,
    SOURCES,
    WIDTH,
    Order,
    no_order,
)
from models.shop.items import Items
from models.shop.kinds import CROSS_SELL, UPSELL
from models.shop.policy import Policy
from models.snapshot import Snapshot
from models.stored_state import nest, nested

MODEL = "ranker"
CODE = "ranker-5"

RANKED_KINDS = {CROSS_SELL: "cross_sell", UPSELL: "upsell"}
"""Kinds that are learnt separately, as metrics name them."""

CUT = 10
"""Places of an order that the comparison looks at: about those that a list can show."""

_SHARES = len(SOURCES)
_EVIDENCE, _BASE, _STEP, _HAD, _LEARNT = map(FEATURES.index, ("evidence", "base", "step", "had", "learnt"))

_FADE = 0.9999
"""What the information behind weights, and the squares behind biases, keep of themselves at each step."""

LEAST_PRIOR = 1e-3
"""Of what is divided by, or makes a matrix invertible: with 0 the first pools would stop the trainer."""

_FADE_EVERY = 1_000
_FORGOTTEN = 0.05
"""Takings of items fade once in so many pools; those of an item with fewer than this are forgotten."""

_LEARNT_BY = np.frombuffer(f"{CODE} {', '.join(FEATURES)}".encode(), np.uint8)
"""Code and features that a stored state must have been learnt by."""


@dataclass(frozen=True)
class RankerConfig:
    """How an order is learnt."""

    prior_precision: float = 16.0
    """Of the weights that it begins with: the inverse of the variance that a weight is taken to have around its own."""
    prior: float = 2.0
    """Takings that are added to those seen and to those expected of an item: few say little of its uptake."""
    uptake_fade: float = 0.95
    """What takings of items keep of themselves at every 1,000 pools of which something was taken."""
    most_items: int = 50_000
    """Items with an uptake in a snapshot: those of which most takings were expected or seen."""
    least_credits: float = 200.0
    """Credits of a kind, as many as whole takings, with which its learnt order counts in full."""
    least_judged: float = 30.0
    """Credits that have judged the orders before another one than the sum of the evidence is served."""
    fade: float = 0.998
    """What the comparison keeps of itself at each pool of which something was taken: it is about the last 500."""
    losses: int = 1_000
    """Outcomes of a source that a trainer that takes over reads its drift from."""
    drift_delta: float = 0.002
    """Chance of an alarm without drift, of each window that is compared: river's default."""

    def __post_init__(self) -> None:
        for name in ("prior_precision", "prior", "least_credits"):
            if not getattr(self, name) >= LEAST_PRIOR:
                message = f"{name} must be at least {LEAST_PRIOR:g}, got {getattr(self, name)}"
                raise ValueError(message)
        for name in ("uptake_fade", "fade"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                message = f"{name} must be 0 to 1, got {getattr(self, name)}"
                raise ValueError(message)


class Ranker:
    """Learns an order from closed pools.

    Args:
        policy: its `credit` and `step_power` say what the order is for.

    Attributes:
        learnt: pools; one whose upsells are open for a month counts again when that is over.
    """

    def __init__(self, config: RankerConfig, policy: Policy) -> None:
        self._config = config
        self._kinds = {kind: _Kind(config, policy) for kind in RANKED_KINDS}
        self._month_takings = 0.0  # of upsells
        self.learnt = 0

    def learn_one(self, closed: Closed, *, month: bool = False) -> None:
        """Learn what became of a pool within an hour, or of its upsells within a `month`.

        Once enough takings of upsells within a month are learnt, those within an hour are not learnt any more. They
        only say how frequent acceptances are, so that both kinds compare.
        """
        for kind, orders in self._kinds.items():
            mine = closed.kinds == kind
            if not mine.any():
                continue
            rows, taken = closed.features[mine].astype(np.float64), closed.taken[mine].astype(np.float64)
            scores = _scores(rows)
            if not month:
                orders.calibrate(scores, float(taken.sum()))
            if month or kind != UPSELL or self._month_takings < self._config.least_credits:
                orders.learn(closed.items[mine], rows, scores, taken)
            self._month_takings += float(taken.sum()) if month else 0.0
        self.learnt += 1

    @property
    def nbytes(self) -> int:
        """Memory that it takes, but for some kilobytes."""
        return sum(orders.nbytes for orders in self._kinds.values())

    def order(self) -> Order:
        """The learnt order of each kind, and whether it serves."""
        items = self.items()
        uptake = np.zeros((2, 2, int(items.max()) + 1 if len(items) else 0), np.float32)
        uptake[:, :, items] = [orders.uptake(items) for orders in self._kinds.values()]
        found = no_order()._replace(uptake=uptake)
        for kind, orders in self._kinds.items():
            found.serves[kind] = orders.best
            found.weights[kind] = orders.weights()
            found.bias[kind] = orders.bias
        return found

    def items(self) -> NDArray[np.int64]:
        """Indices of the items with an uptake, at most `most_items`; of equals the first go."""
        known = [orders.known() for orders in self._kinds.values()]
        seen = np.zeros(max(map(len, known)))
        for takings in known:
            seen[: len(takings)] += takings
        found = np.flatnonzero(seen)
        if len(found) > self._config.most_items:
            strongest = np.argsort(-seen[found], kind="stable")[: self._config.most_items]
            found = np.sort(found[strongest])
        return found

    def held(self) -> NDArray[np.int64]:
        """Indices of `items`. It forgets the uptake of all others: their indices may come to mean other items."""
        items = self.items()
        for orders in self._kinds.values():
            orders.keep(items)
        return items

    def snapshot_arrays(self) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
        """Indices of the items whose uptake a snapshot has, and the arrays of the snapshot."""
        items, order = self.items(), self.order()
        return items, {**order._asdict(), "uptake": order.uptake[:, :, items]}

    def config_of(self) -> dict[str, Any]:
        """The configuration of a snapshot."""
        return {"features": list(FEATURES)}

    def metrics(self) -> dict[str, float]:
        """How good each order has been recently, which one serves, and what has drifted.

        Of each kind and order `gain.<kind>.<order>`: the mean of 1 / log2(1 + rank) of what was credited, 0 beyond
        rank `CUT`.
        """
        found: dict[str, float] = {}
        for kind, name in RANKED_KINDS.items():
            orders = self._kinds[kind]
            gains, best = orders.gains(), orders.best
            found[f"takings.{name}"] = orders.takings
            found[f"credits.{name}"] = orders.credited
            for number, order in enumerate(ORDERS):
                found[f"gain.{name}.{order}"] = float(gains[number])
                found[f"served.{name}.{order}"] = float(best == number)
            for source, alarms in zip(SOURCES, orders.drift.alarms.tolist(), strict=True):
                found[f"drift.{name}.{source}"] = float(alarms)
        return found

    # -- going on elsewhere ----------------------------------------------------------------------------------------

    def training(self) -> dict[str, NDArray[Any]]:
        """What another ranker needs to continue, by name; of drift the last losses, which it learns again."""
        found: dict[str, NDArray[Any]] = {
            "learnt by": _LEARNT_BY.copy(),
            "learnt": np.array([self.learnt], np.int64),
            "month takings": np.array([self._month_takings]),
        }
        for kind, name in RANKED_KINDS.items():
            found |= nest(name, self._kinds[kind].training())
        return found

    def restore(self, training: Mapping[str, NDArray[Any]]) -> bool:
        """Continue where another ranker gave `training`; returns False, and changes nothing, where other code did."""
        if not np.array_equal(training.get("learnt by", np.empty(0)), _LEARNT_BY):
            return False
        self.learnt, self._month_takings = int(training["learnt"][0]), float(training["month takings"][0])
        for kind, name in RANKED_KINDS.items():
            self._kinds[kind].restore(nested(name, training))
        return True


class _Kind:
    """The orders of one kind of suggestion.

    Attributes:
        bias: (len(ORDERS),) that make acceptances of each order as frequent as takings are.
        takings, credited: sums of takings and of credits.
    """

    def __init__(self, config: RankerConfig, policy: Policy) -> None:
        self._config = config
        self._credit, self._step_power = policy.credit, policy.step_power
        self._by_credit, self._by_taking = _ListWise(config), _ListWise(config)
        self.bias, self._bias_squares = np.full(len(ORDERS), _BIAS), np.ones(len(ORDERS))
        self.takings = self.credited = 0.0
        self._judged = np.zeros((2, len(ORDERS)))  # sums of gains, and of credits
        self.drift = Drift(_SHARES, DriftConfig(delta=config.drift_delta))
        self._losses: deque[NDArray[np.float64]] = deque(maxlen=config.losses)
        self._takings = np.zeros((2, 2, 0))  # expected, seen; bought before or not; by item
        self._pools = 0  # of which something was taken

    @property
    def nbytes(self) -> int:
        """See `Ranker.nbytes`."""
        return self._takings.nbytes + self._by_credit.nbytes + self._by_taking.nbytes

    @property
    def _sure(self) -> float:
        """How far what was learnt counts."""
        return min(1.0, self.credited / self._config.least_credits)

    def weights(self) -> NDArray[np.float64]:
        """(2, WIDTH) of the learnt order as it serves, for what was not bought and was bought before."""
        learnt = self._by_credit.weights.reshape(2, WIDTH)
        weights: NDArray[np.float64] = FIRST_WEIGHTS + self._sure * (learnt - FIRST_WEIGHTS)
        return weights

    def known(self) -> NDArray[np.float64]:
        """(items,) takings that were expected or seen of each item."""
        takings: NDArray[np.float64] = self._takings.sum(axis=(0, 1))
        return takings

    def uptake(self, items: NDArray[np.int64]) -> NDArray[np.float64]:
        """(2, n) what is added to the scores of (n,) items that were not, and were, bought before."""
        found, prior = np.zeros((2, len(items))), self._config.prior
        within = items < self._takings.shape[2]
        expected, seen = self._takings[:, :, items[within]]
        found[:, within] = self._sure * np.log((seen + prior) / (expected + prior))
        return found

    def keep(self, items: NDArray[np.int64]) -> None:
        """Forget the uptake of all items but these."""
        takings, items = self._takings, items[items < self._takings.shape[2]]
        self._takings = np.zeros_like(takings)
        self._takings[:, :, items] = takings[:, :, items]

    def gains(self) -> NDArray[np.float64]:
        """(orders,) mean gain of each, 0 before the first credit."""
        gains, credits = self._judged
        return np.divide(gains, credits, out=np.zeros_like(gains), where=credits > 0.0)

    @property
    def best(self) -> int:
        """The order that serves: of equal ones the sum of the evidence, then the learnt one."""
        if self._judged[1, EVIDENCE] < self._config.least_judged:
            return EVIDENCE
        gains = self.gains()
        return max((EVIDENCE, LEARNT, POPULARITY), key=lambda order: float(gains[order]))

    def learn(
        self,
        items: NDArray[np.int32],
        rows: NDArray[np.float64],
        scores: NDArray[np.float64],
        taken: NDArray[np.float64],
    ) -> None:
        """Learn (n,) items of a pool and their (n, WIDTH) features by which were taken.

        That judges the orders first, by their (n, orders) scores.
        """
        if not taken.any():
            return
        rows[:, _LEARNT] = 0.0
        apart = _apart(rows)
        credits = taken * self._attributable(rows[:, _BASE], self._by_taking.shares(apart), taken)
        self.takings += float(taken.sum())
        self.credited += float(credits.sum())
        self._judge(scores + self._step_power * rows[:, _STEP, None], credits)
        if credits.sum() > _LEAST:
            self._watch(rows[:, :_SHARES], credits)
        self._expect(items, _had(rows), self._by_credit.shares(apart), credits)
        self._by_credit.learn(apart, credits)
        self._by_taking.learn(apart, taken)

    def _expect(
        self,
        items: NDArray[np.int32],
        had: NDArray[np.intp],
        shares: NDArray[np.float64],
        credits: NDArray[np.float64],
    ) -> None:
        """Count what the weights expected of a pool's credits, and what came, for each item, bought before or not."""
        more = int(items.max()) + 1 - self._takings.shape[2]
        if more > 0:
            room = np.zeros((2, 2, more + self._takings.shape[2] // 2))
            self._takings = np.concatenate([self._takings, room], axis=2)
        total = float(credits.sum())
        if total < _LEAST:
            return
        counted = min(1.0, total)
        self._takings[0, had, items] += counted * shares
        self._takings[1, had, items] += counted * credits / total
        self._pools += 1
        if self._pools % _FADE_EVERY == 0:
            self._takings *= self._config.uptake_fade
            self._takings[:, self._takings.sum(axis=0) < _FORGOTTEN] = 0.0

    def calibrate(self, scores: NDArray[np.float64], takings: float) -> None:
        """Move the biases so that acceptances of a pool, by (n, orders) scores, sum to its takings."""
        errors = (1.0 / (1.0 + np.exp(-np.clip(scores + self.bias, -50.0, 50.0)))).sum(axis=0) - takings
        self._bias_squares = _FADE * self._bias_squares + errors**2
        self.bias -= 0.5 * errors / np.sqrt(self._bias_squares)

    def _attributable(
        self, bases: NDArray[np.float64], shares: NDArray[np.float64], taken: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """(n,) parts of takings that popularity does not explain, as far as the policy wants that.

        `bases` is the feature, `shares` those of the weights at face value.
        """
        probable = np.minimum(1.0, taken.sum() * shares)
        base = BASE_UNIT * np.expm1(bases)
        parts: NDArray[np.float64] = 1.0 - self._credit * np.minimum(1.0, base / np.maximum(probable, BASE_UNIT))
        return parts

    def _judge(self, scores: NDArray[np.float64], credits: NDArray[np.float64]) -> None:
        """Add what each order gains by (n, orders) scores; equal ones share their mean rank."""
        found = np.flatnonzero(credits > 0.0)
        before, equal = (compare(scores[None], scores[found, None]).sum(axis=1) for compare in (np.greater, np.equal))
        ranks = before + (equal + 1) / 2  # (found, orders)
        gains = np.where(ranks <= CUT, 1.0 / np.log2(1.0 + ranks), 0.0)
        self._judged *= self._config.fade
        self._judged += credits[found] @ gains, np.full(len(ORDERS), credits.sum())

    def _watch(self, shares: NDArray[np.float64], credits: NDArray[np.float64]) -> None:
        """Give ADWIN the loss of each source at the candidate with the greatest credit."""
        odds = np.exp(shares)
        losses = np.log(odds.sum(axis=0)) - shares[int(credits.argmax())]
        self.drift.update(losses)
        self._losses.append(losses)

    def training(self) -> dict[str, NDArray[Any]]:
        """See `Ranker.training`."""
        return {
            **nest("by credit", self._by_credit.training()),
            **nest("by taking", self._by_taking.training()),
            "bias": np.stack([self.bias, self._bias_squares]),
            "sums": np.array([self.takings, self.credited, self._pools]),
            "judged": self._judged.copy(),
            "takings": self._takings.copy(),
            "losses": np.array(self._losses).reshape(-1, _SHARES),
            "alarms": self.drift.alarms.copy(),
        }

    def restore(self, training: Mapping[str, NDArray[Any]]) -> None:
        """See `Ranker.restore`."""
        self._by_credit.restore(nested("by credit", training))
        self._by_taking.restore(nested("by taking", training))
        self.bias, self._bias_squares = (row.copy() for row in training["bias"])
        self.takings, self.credited, pools = training["sums"].tolist()
        self._pools = int(pools)
        self._judged, self._takings = training["judged"].copy(), training["takings"].copy()
        for losses in training["losses"]:
            self.drift.update(losses)
            self._losses.append(losses)
        self.drift.alarms = training["alarms"].copy()


_BIAS = -12.0
"""With it a candidate is next to never accepted: outcomes raise it."""

_LEAST = 1e-3
"""Credits of a pool that are too few to be learnt."""


def _scores(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, orders) scores of candidates by each of the `ORDERS`, without bias."""
    return np.stack([rows[:, _EVIDENCE], rows[:, _LEARNT], rows @ POPULAR_WEIGHTS], axis=1)


def _had(rows: NDArray[np.float64]) -> NDArray[np.intp]:
    """(n,) 1 where the shopper has bought the candidate before, else 0."""
    return (rows[:, _HAD] > 0.0).astype(np.intp)


def _apart(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 2 * WIDTH): features of candidates that were not bought before, then of those that were; else zeros."""
    apart = np.zeros((len(rows), 2, WIDTH))
    apart[np.arange(len(rows)), _had(rows)] = rows
    return apart.reshape(len(rows), -1)


class _ListWise:
    """Weights by the softmax loss over pools; see the module.

    Attributes:
        weights: (2 * WIDTH,) of rows as `_apart` gives them.
    """

    def __init__(self, config: RankerConfig) -> None:
        self._config = config
        self._first = np.tile(FIRST_WEIGHTS, 2)
        self.weights = self._first.copy()
        self._information = np.zeros((2 * WIDTH, 2 * WIDTH))

    @property
    def nbytes(self) -> int:
        """See `Ranker.nbytes`."""
        return self._information.nbytes

    def shares(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) probabilities of (n, 2 * WIDTH) candidates of one pool, which sum to 1."""
        scores = rows @ self.weights
        odds = np.exp(scores - scores.max())
        shares: NDArray[np.float64] = odds / odds.sum()
        return shares

    def learn(self, rows: NDArray[np.float64], targets: NDArray[np.float64]) -> None:
        """Learn that (n,) targets were taken of a pool; less than one taking in all counts as that part of a list."""
        total = float(targets.sum())
        if total < _LEAST or len(rows) < 2:
            return
        counted, shares, prior = min(1.0, total), self.shares(rows), self._config.prior_precision
        expected = shares @ rows
        self._information *= _FADE
        self._information += counted * ((shares[:, None] * rows).T @ rows - np.outer(expected, expected))
        gradient = counted * (targets / total @ rows - expected)
        gradient += (1.0 - _FADE) * prior * (self._first - self.weights)  # what fades is made up for by the prior
        self.weights += np.linalg.solve(self._information + prior * np.eye(len(expected)), gradient)

    def training(self) -> dict[str, NDArray[Any]]:
        """See `Ranker.training`."""
        return {"weights": self.weights.copy(), "information": self._information.copy()}

    def restore(self, training: Mapping[str, NDArray[Any]]) -> None:
        """See `Ranker.restore`."""
        self.weights, self._information = training["weights"].copy(), training["information"].copy()


def order_of(snapshot: Snapshot, items: Items) -> Order:
    """The order of a snapshot, over indices of `items`, of which ids that are new get one.

    Raises:
        SnapshotFormatError: it was made by other code.
        SnapshotShapeError: it is of another shape, or of other features.
    """
    empty = no_order()._asdict()
    shapes = {name: array.shape for name, array in empty.items()} | {"uptake": (2, 2, len(snapshot.vocabulary))}
    snapshot.require(CODE, shapes)
    order = Order(*(np.array(snapshot.arrays[name], array.dtype) for name, array in empty.items()))
    if not np.isin(order.serves, range(len(ORDERS))).all():
        where = f"{MODEL} {snapshot.version}"
        raise SnapshotShapeError.of(where, "serves", f"numbers of orders, 0 to {len(ORDERS) - 1}", str(order.serves))
    indices = np.array([items.index(item_id) for item_id in snapshot.vocabulary], np.int64)
    uptake = np.zeros((2, 2, int(indices.max()) + 1 if len(indices) else 0), np.float32)
    uptake[:, :, indices] = order.uptake
    return order._replace(uptake=uptake)
