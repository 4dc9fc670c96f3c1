"""The order of candidates, learnt from what shoppers took of whole pools.

A pool has everything that could have been suggested for an event (`models.ranking.candidate_pool`). When its window has
closed, what its shopper took of it is set against all of it, wherever it stood and whether it was shown or not. Lists
alone cannot teach that an item should have been in them. Cross-sells and upsells are learnt separately, list-wise: the
weights w of the features x follow the gradient of the softmax loss

    p_i = exp(w . x_i) / sum over the pool: exp(w . x_j)        loss = - sum over i: y_i log p_i,  sum of y = 1

(Z. Cao et al., Learning to rank: from pairwise to listwise approach, 2007) with AdaGrad (J. Duchi et al., Adaptive
subgradient methods, 2011), and are pulled a little towards the order by the sum of the evidence, which they begin as.
numpy and not river, whose models learn one row at a time: a softmax needs all rows of a pool at once.

Popular items are taken wherever they stand. Learnt at face value, outcomes would put bestsellers first although a
suggestion has no part in their sales. So a taking counts for the part that its item's popularity does not explain,

    credit = 1 - share * base / taken

`base` being the share of all baskets with the item, `taken` the probability that the item is taken, by weights that are
learnt at face value, and `share` the policy's `credit` (the attributable fraction: P. Cole, B. MacMahon, Attributable
risk percent in case-control studies, 1971).

Every pool first judges three orders before it is learnt (prequentially): the learnt one, that by the sum of the
evidence, and that by popularity. What puts credits highest in the recent stream is served. Until a kind has
`least_credits` its learnt order is mixed with the sum of the evidence, as far as credits are missing.

river's ADWIN watches the loss of each source (`models.ranking.drift`): for a while after a source has become worse the
weights are learnt faster.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.ranking.attribution import Closed
from models.ranking.drift import Drift, DriftConfig
from models.ranking.features import BASE_UNIT, FEATURES, SOURCES, WIDTH, Order, no_order
from models.shop.kinds import CROSS_SELL, UPSELL
from models.shop.policy import Policy
from models.snapshot import Snapshot
from models.stored_state import nest, nested

MODEL = "ranker"
CODE = "ranker-3"

LEARNT, EVIDENCE, POPULARITY = range(3)
ORDERS = ("learnt", "evidence", "popularity")
"""The orders that are compared, as metrics name them."""

RANKED_KINDS = {CROSS_SELL: "cross_sell", UPSELL: "upsell"}
"""Kinds that are learnt separately, as metrics name them."""

CUT = 10
"""Places of an order that the comparison looks at: about those that a list can show."""

_SHARES = len(SOURCES)
_BASE, _VIEWS, _STEP = FEATURES.index("base"), FEATURES.index("views"), FEATURES.index("step")
_FIXED = np.zeros((len(ORDERS), WIDTH))
_FIXED[(LEARNT, EVIDENCE), FEATURES.index("evidence")] = 1.0
_FIXED[POPULARITY, (_BASE, _VIEWS)] = 1.0, 1e-3
"""Weights of the orders that are not learnt; of the learnt one, those that it begins with."""

_LEARNT_BY = np.frombuffer(f"{CODE} {', '.join(FEATURES)}".encode(), np.uint8)
"""Code and features that a stored state must have been learnt by."""


@dataclass(frozen=True)
class RankerConfig:
    """How an order is learnt."""

    rate: float = 0.05
    """Of AdaGrad."""
    pull: float = 1e-3
    """Of the weights towards the order by the sum of the evidence."""
    least_credits: float = 200.0
    """Credits of a kind, as many as whole takings, with which its learnt order counts in full."""
    least_judged: float = 30.0
    """Credits that have judged the orders before another one than the sum of the evidence is served."""
    fade: float = 0.998
    """What the comparison keeps of itself at each pool of which something was taken: it is about the last 500."""
    losses: int = 1_000
    """Outcomes of a source that a trainer that takes over reads its drift from."""
    drift: DriftConfig = field(default_factory=DriftConfig)
    """When weights are learnt faster."""


class Ranker:
    """Learns an order from closed pools.

    Args:
        policy: its `credit` and `step_power` say what the order is for.

    Attributes:
        learnt: pools.
    """

    def __init__(self, config: RankerConfig, policy: Policy) -> None:
        self._config = config
        self._kinds = {kind: _Kind(config, policy) for kind in RANKED_KINDS}
        self.learnt = 0

    def learn_one(self, closed: Closed) -> None:
        """Learn what became of a pool."""
        for kind, orders in self._kinds.items():
            mine = closed.learnable & (closed.kinds == kind)
            if mine.any():
                orders.learn(closed.features[mine].astype(np.float64), closed.taken[mine].astype(np.float64))
        self.learnt += 1

    @property
    def ready(self) -> bool:
        """Whether another order than the sum of the evidence is worth serving for any kind."""
        return any(orders.best != EVIDENCE for orders in self._kinds.values())

    def order(self) -> Order:
        """The best order of each kind; none where that is the sum of the evidence."""
        found = no_order()
        for kind, orders in self._kinds.items():
            best = orders.best
            if best != EVIDENCE:
                found.learnt[kind] = True
                found.weights[kind] = orders.weights()[best]
                found.bias[kind] = orders.bias[best]
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The order, as the arrays of a snapshot."""
        return dict(self.order()._asdict())

    def config_of(self) -> dict[str, Any]:
        """The configuration of a snapshot."""
        return {"features": list(FEATURES), "sources": list(SOURCES)}

    def metrics(self) -> dict[str, float]:
        """How good each order has been recently, which one serves, and what has drifted.

        Of each kind and order `gain.<kind>.<order>`: the mean of 1 / log2(1 + rank) of what was credited, 0 beyond
        rank `CUT`.
        """
        found: dict[str, float] = {}
        for kind, name in RANKED_KINDS.items():
            orders = self._kinds[kind]
            found[f"takings.{name}"] = orders.takings
            found[f"credits.{name}"] = orders.credited
            for number, order in enumerate(ORDERS):
                found[f"gain.{name}.{order}"] = float(orders.gains()[number])
                found[f"served.{name}.{order}"] = float(orders.best == number)
            for source, alarms in zip(SOURCES, orders.drift.alarms.tolist(), strict=True):
                found[f"drift.{name}.{source}"] = float(alarms)
        return found

    # -- going on elsewhere ----------------------------------------------------------------------------------------

    def training(self) -> dict[str, NDArray[Any]]:
        """What another ranker needs to continue, by name; of drift the last losses, which it learns again."""
        found: dict[str, NDArray[Any]] = {
            "learnt by": _LEARNT_BY.copy(),
            "learnt": np.array([self.learnt], np.int64),
        }
        for kind, name in RANKED_KINDS.items():
            found |= nest(name, self._kinds[kind].training())
        return found

    def restore(self, training: Mapping[str, NDArray[Any]]) -> bool:
        """Continue where another ranker gave `training`; returns False, and changes nothing, where other code did."""
        if not np.array_equal(training.get("learnt by", np.empty(0)), _LEARNT_BY):
            return False
        self.learnt = int(training["learnt"][0])
        for kind, name in RANKED_KINDS.items():
            self._kinds[kind].restore(nested(name, training))
        return True


class _Kind:
    """The orders of one kind of suggestion.

    Attributes:
        bias: (orders,) that make acceptances of each order as frequent as takings are.
        takings, credited: sums of takings and of credits.
    """

    def __init__(self, config: RankerConfig, policy: Policy) -> None:
        self._config = config
        self._credit, self._step_power = policy.credit, policy.step_power
        self._by_credit, self._by_taking = _ListWise(config), _ListWise(config)
        self.bias, self._bias_squares = np.full(len(ORDERS), _BIAS), np.ones(len(ORDERS))
        self.takings = self.credited = 0.0
        self._judged = np.zeros((2, len(ORDERS)))  # sums of gains, and of credits
        self.drift = Drift(_SHARES, config.drift)
        self._losses: deque[NDArray[np.float64]] = deque(maxlen=config.losses)

    def weights(self) -> NDArray[np.float64]:
        """(orders, WIDTH) of all orders as they serve."""
        weights = _FIXED.copy()
        sure = min(1.0, self.credited / self._config.least_credits)
        weights[LEARNT] += sure * (self._by_credit.weights - weights[LEARNT])
        return weights

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
        best = max((EVIDENCE, LEARNT, POPULARITY), key=lambda order: gains[order])
        return best

    def learn(self, rows: NDArray[np.float64], taken: NDArray[np.float64]) -> None:
        """Learn (n, WIDTH) features of a pool and (n,) which of it were taken, after they have judged the orders."""
        scores = rows @ self.weights().T
        self._calibrate(scores, float(taken.sum()))
        if not taken.any():
            return
        credits = taken * self._attributable(rows, taken)
        self.takings += float(taken.sum())
        self.credited += float(credits.sum())
        self._judge(scores + self._step_power * rows[:, _STEP, None], credits)
        faster = self.drift.faster()
        self._watch(rows[:, :_SHARES], credits)
        self._by_credit.learn(rows, credits, faster)
        self._by_taking.learn(rows, taken, faster)

    def _calibrate(self, scores: NDArray[np.float64], takings: float) -> None:
        """Move the biases so that acceptances of a pool sum to its takings."""
        errors = (1.0 / (1.0 + np.exp(-np.clip(scores + self.bias, -50.0, 50.0)))).sum(axis=0) - takings
        self._bias_squares += errors**2
        self.bias -= 0.5 * errors / np.sqrt(self._bias_squares)

    def _attributable(self, rows: NDArray[np.float64], taken: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) parts of takings that popularity does not explain, as far as the policy wants that."""
        probable = np.minimum(1.0, taken.sum() * self._by_taking.shares(rows))
        base = BASE_UNIT * np.expm1(rows[:, _BASE])
        parts: NDArray[np.float64] = 1.0 - self._credit * np.minimum(1.0, base / np.maximum(probable, BASE_UNIT))
        return parts

    def _judge(self, scores: NDArray[np.float64], credits: NDArray[np.float64]) -> None:
        """Add what each order gains by (n, orders) scores; ties count against it."""
        found = np.flatnonzero(credits > 0.0)
        ranks = (scores[None] >= scores[found, None]).sum(axis=1)  # (found, orders)
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
            "sums": np.array([self.takings, self.credited]),
            "judged": self._judged.copy(),
            "losses": np.array(self._losses).reshape(-1, _SHARES),
            "alarms": self.drift.alarms.copy(),
        }

    def restore(self, training: Mapping[str, NDArray[Any]]) -> None:
        """See `Ranker.restore`."""
        self._by_credit.restore(nested("by credit", training))
        self._by_taking.restore(nested("by taking", training))
        self.bias, self._bias_squares = (row.copy() for row in training["bias"])
        self.takings, self.credited = training["sums"].tolist()
        self._judged = training["judged"].copy()
        for losses in training["losses"]:
            self.drift.update(losses)
            self._losses.append(losses)
        self.drift.alarms = training["alarms"].copy()


_BIAS = -12.0
"""With it a candidate is next to never accepted: outcomes raise it."""


class _ListWise:
    """Weights by the softmax loss over pools; see the module."""

    def __init__(self, config: RankerConfig) -> None:
        self._config = config
        self.weights = _FIXED[LEARNT].copy()
        self._squares = np.ones(WIDTH)

    def shares(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) probabilities of (n, WIDTH) candidates of one pool, which sum to 1."""
        scores = rows @ self.weights
        odds: NDArray[np.float64] = np.exp(scores - scores.max())
        return odds / odds.sum()

    def learn(self, rows: NDArray[np.float64], targets: NDArray[np.float64], faster: float) -> None:
        """Learn that (n,) targets were taken of a pool; less than one taking in all counts as that part of a list."""
        total = float(targets.sum())
        if total < 1e-3 or len(rows) < 2:
            return
        gradient = min(1.0, total) * ((self.shares(rows) - targets / total) @ rows)
        gradient += self._config.pull * (self.weights - _FIXED[LEARNT])
        self._squares += gradient**2
        self.weights -= faster * self._config.rate * gradient / np.sqrt(self._squares)

    def training(self) -> dict[str, NDArray[Any]]:
        """See `Ranker.training`."""
        return {"weights": self.weights.copy(), "squares": self._squares.copy()}

    def restore(self, training: Mapping[str, NDArray[Any]]) -> None:
        """See `Ranker.restore`."""
        self.weights, self._squares = training["weights"].copy(), training["squares"].copy()


def order_of(snapshot: Snapshot) -> Order:
    """The order of a snapshot.

    Raises:
        SnapshotFormatError: it was made by other code.
        SnapshotShapeError: it is of another shape, or of other features.
    """
    empty = no_order()._asdict()
    snapshot.require(CODE, {name: array.shape for name, array in empty.items()})
    return Order(*(np.array(snapshot.arrays[name], array.dtype) for name, array in empty.items()))
