"""The order of a list, learnt from what became of lists before: `average`, `weighted` and `stacked` on outcomes.

Each list whose window has closed has the features of its items (`models.ranking.features`) and how each was rewarded.
Cross-sells and upsells are learnt separately. All three blends are linear in the features, so that a worker scores them
alike:

* `average` is the mean of the logarithms of the sources' shares, and learns nothing;
* `weighted` is their mean by weights that are learnt with the exponentiated gradient (`models.ranking.pools`), from
  lists in which one item was rewarded more than another;
* `stacked` is river's `StandardScaler | LogisticRegression` over all features (`models.ranking.stacked`).

Popular items are taken wherever they are shown. Learnt at face value, outcomes would put bestsellers first,
although the suggestion had no part in their sales. So a reward counts for the part that its item's popularity does not
explain,

    credit = reward * (1 - base / taken)

`base` being the share of all baskets with the item, and `taken` the probability that a shopper who takes anything takes
the item, shown like this, by a regression of its own (the attributable fraction: P. Cole, B. MacMahon, Attributable
risk percent in case-control studies, 1971). Evidence is measured in the same way (`models.serving.candidates`).

An item far down a list is seen less. Its place is a feature while `stacked` learns, and every candidate is scored as
if it were first (M. Zinkevich, Rules of Machine Learning, rule 36; X. Ling et al., PAL: a position-bias aware
learning framework, 2019). `weighted` and the comparison of the blends divide a reward by how often its place is
rewarded (inverse propensity: T. Joachims et al., Unbiased learning-to-rank with biased feedback, 2017). Items
that the shop says were not shown are not learnt.

A few hundred credits say little of twenty weights, and lists say nothing of what was not in them. So the order mixes
what `stacked` has learnt with the sum of the evidence; the more credits, the more counts what was learnt:

    log odds = sure * learnt + (1 - sure) * (log evidence + constant)      sure = credits / (credits + prior_credits)

A credit between 0 and 1 is learnt as that share of a taking and the rest of a miss. ADWIN watches the loss of each
source (`models.ranking.drift`): a source that becomes worse counts less for a while, and the blends learn faster.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.ranking.attribution import Closed
from models.ranking.drift import Drift, DriftConfig
from models.ranking.features import FEATURES, FLOOR, SOURCES, WIDTH, Order, no_order
from models.ranking.pools import Weighted, WeightedConfig
from models.ranking.stacked import Folded, fold
from models.shop.kinds import CROSS_SELL, UPSELL
from models.snapshot import Snapshot
from models.stored_state import nest, nested

MODEL = "ranker"
CODE = "ranker-2"

BLENDS = ("average", "weighted", "stacked")
EVIDENCE = "evidence"
"""The order without learning, which the blends are compared with."""

RANKED_KINDS = {CROSS_SELL: "cross_sell", UPSELL: "upsell"}
"""Kinds that are learnt separately, as metrics name them."""

_SHARES = len(SOURCES)
_LOOKS = FEATURES.index("looks")
_EVIDENCE = FEATURES.index("evidence")
_BASE = FEATURES.index("base")
_NAMES = [f"{place:02d}" for place in range(WIDTH + _SHARES + 1)]
"""Names of the regression's inputs: the features, shares times looks, the place."""

_LEARNT_BY = np.frombuffer(f"{CODE} {', '.join(FEATURES)}".encode(), np.uint8)
"""Code and features that a stored state must have been learnt by."""

PLACES = 32
"""Places of a list that are distinguished; those behind count as the last."""


@dataclass(frozen=True)
class RankerConfig:
    """How an order is learnt."""

    blend: Literal["average", "weighted", "stacked"] = "stacked"
    """Which one serves."""
    rate: float = 0.003
    """Of Adam, of `stacked`."""
    l2: float = 1e-4
    """Pull of its weights towards 0."""
    least_credits: float = 200.0
    """Credits of a kind before its order serves, as many as whole takings: fewer say little of twenty weights."""
    prior_credits: float = 1_000.0
    """Credits that the sum of the evidence counts for: with as many of a kind, half of its order is what `stacked` has
    learnt."""
    fade: float = 0.999
    """What the comparison of the blends keeps of itself at each list: it is about the last thousand."""
    losses: int = 1_000
    """Outcomes of a source that a trainer that takes over reads its drift from."""
    weighted: WeightedConfig = field(default_factory=WeightedConfig)
    """Of `weighted`."""
    drift: DriftConfig = field(default_factory=DriftConfig)
    """Of all."""


class Ranker:
    """Learns an order from closed lists.

    Attributes:
        learnt: lists.
        rewards: (3,) sum of rewards by kind.
    """

    def __init__(self, config: RankerConfig, seed: int) -> None:
        self._config = config
        self._chance = np.random.default_rng(seed)
        self._kinds = {kind: _Kind(config) for kind in RANKED_KINDS}
        self.learnt = 0
        self.rewards = np.zeros(3)

    def learn_one(self, closed: Closed) -> None:
        """Learn what became of a list."""
        for kind, blends in self._kinds.items():
            mine = np.flatnonzero(closed.learnable & closed.examined & (closed.kinds == kind))
            if not len(mine):
                continue
            rewards = closed.rewards[mine].astype(np.float64)
            self.rewards[kind] += rewards.sum()
            order = self._chance.permutation(len(mine))
            takings = closed.taken[mine] if closed.shopped else None
            blends.learn(closed.features[mine].astype(np.float64), closed.places[mine], rewards, takings, order)
        self.learnt += 1

    @property
    def ready(self) -> bool:
        """Whether the order of any kind is worth serving."""
        return bool(self.order().learnt.any())

    def order(self) -> Order:
        """The order of the blend that serves, for kinds with enough credits for which it is not worse than evidence."""
        found = no_order()
        for kind, blends in self._kinds.items():
            if blends.credited < self._config.least_credits or blends.worse(self._config.blend):
                continue
            folded = blends.serving(self._config.blend)
            found.learnt[kind] = True
            found.weights[kind] = folded.weights[:WIDTH]
            found.by_looks[kind] = folded.weights[WIDTH : WIDTH + _SHARES]
            found.bias[kind] = folded.bias
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The order, as the arrays of a snapshot."""
        return dict(self.order()._asdict())

    def config_of(self) -> dict[str, Any]:
        """The configuration of a snapshot."""
        return {"blend": self._config.blend, "features": list(FEATURES), "sources": list(SOURCES)}

    def metrics(self) -> dict[str, float]:
        """How good each blend has been recently, and what has drifted.

        Of each kind and blend `mrr.<kind>.<blend>`: the mean, over lists in which something was rewarded, of 1 over
        the rank that the blend would have given it, corrected for its place; `evidence` is the order without learning.
        """
        found: dict[str, float] = {}
        for kind, name in RANKED_KINDS.items():
            blends = self._kinds[kind]
            found[f"rewards.{name}"] = float(self.rewards[kind])
            found[f"credits.{name}"] = blends.credited
            for blend, mrr in blends.mrr().items():
                found[f"mrr.{name}.{blend}"] = mrr
            for source, alarms in zip(SOURCES, blends.drift.alarms.tolist(), strict=True):
                found[f"drift.{name}.{source}"] = float(alarms)
        return found

    # -- going on elsewhere ----------------------------------------------------------------------------------------

    def training(self) -> dict[str, NDArray[Any]]:
        """What another ranker needs to continue, by name; of drift the last losses, which it learns again."""
        state = self._chance.bit_generator.state["state"]
        words = [state[name] >> 64 * half & (1 << 64) - 1 for name in ("state", "inc") for half in (0, 1)]
        found: dict[str, NDArray[Any]] = {
            "learnt by": _LEARNT_BY.copy(),
            "learnt": np.array([self.learnt], np.int64),
            "rewards": self.rewards.copy(),
            "chance": np.array(words, np.uint64),
        }
        for kind, name in RANKED_KINDS.items():
            found |= nest(name, self._kinds[kind].training())
        return found

    def restore(self, training: Mapping[str, NDArray[Any]]) -> bool:
        """Continue where another ranker gave `training`; returns False, and changes nothing, where other code did."""
        if not np.array_equal(training.get("learnt by", np.empty(0)), _LEARNT_BY):
            return False
        self.learnt = int(training["learnt"][0])
        self.rewards = training["rewards"].copy()
        low, high, inc_low, inc_high = map(int, training["chance"].tolist())
        self._chance.bit_generator.state = {
            "bit_generator": "PCG64",
            "state": {"state": low | high << 64, "inc": inc_low | inc_high << 64},
            "has_uint32": 0,
            "uinteger": 0,
        }
        for kind, name in RANKED_KINDS.items():
            self._kinds[kind].restore(nested(name, training))
        return True


class _Kind:
    """All blends for one kind of suggestion; `credited` is the sum of credits."""

    def __init__(self, config: RankerConfig) -> None:
        from river import linear_model, optim, preprocessing

        self._config = config
        self.scaler: Any = preprocessing.StandardScaler()

        def regression() -> Any:
            optimizer = optim.Adam(config.rate)
            return linear_model.LogisticRegression(optimizer=optimizer, l2=config.l2, intercept_lr=config.rate)

        self.taken, self.regression = regression(), regression()  # of takings; of credits, which serves
        self._regressions = {"taken": self.taken, "regression": self.regression}
        self.credited = 0.0
        self.weighted = Weighted(_SHARES, config.weighted)
        self.drift = Drift(_SHARES, config.drift)
        self._losses: deque[NDArray[np.float64]] = deque(maxlen=config.losses)
        self._shown, self._rewarded = np.zeros(PLACES), np.zeros(PLACES)
        self._ranks = np.zeros((2, 1 + len(BLENDS)))  # sums of weighed reciprocal ranks, and of weights; faded

    def learn(
        self,
        features: NDArray[np.float64],
        places: NDArray[Any],
        rewards: NDArray[np.float64],
        takings: NDArray[np.bool_] | None,
        order: NDArray[np.int64],
    ) -> None:
        """Learn the items of a list, after the orders were compared by it.

        Features are (n, WIDTH), all others (n,): places from 0, rewards from 0 to 1, whether each was taken (None: the
        shopper took nothing, of the list or not), and the order in which they are learnt.
        """
        places = np.minimum(places, PLACES - 1)
        rows = expanded(features, places)
        scaled = self._scaled(rows, order)
        credits = rewards * self._attributable(scaled, features[:, _BASE])
        self.credited += float(credits.sum())
        faster = self.drift.faster()
        if len(credits) > 1 and credits.max() > credits.min():
            best = int(credits.argmax())
            worth = self._correction(int(places[best])) * float(credits[best])
            self._compare(rows, best, worth)
            logs = features[:, :_SHARES]
            norms = logs.max(axis=0) + np.log(np.exp(logs - logs.max(axis=0)).sum(axis=0))
            losses = norms - logs[best]
            self.drift.update(losses)
            self._losses.append(losses)
            self.weighted.learn_one(logs, best, faster * worth)
        np.add.at(self._shown, places, 1.0)
        np.add.at(self._rewarded, places, rewards)
        for number in order.tolist():
            if takings is not None:
                _learn(self.taken, scaled[number], float(takings[number]), faster)
            _learn(self.regression, scaled[number], float(credits[number]), faster)

    def _scaled(self, rows: NDArray[np.float64], order: NDArray[np.int64]) -> list[dict[str, float]]:
        """Rows as the regressions take them, after the scaler has learnt them all."""
        named = [dict(zip(_NAMES, row, strict=True)) for row in rows.tolist()]
        for number in order.tolist():
            self.scaler.learn_one(named[number])
        return [self.scaler.transform_one(row) for row in named]

    def _attributable(self, scaled: Sequence[dict[str, float]], base: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) parts of rewards that popularity does not explain, from (n,) rows and the feature `base` of each."""
        taken = np.array([self.taken.predict_proba_one(row)[True] for row in scaled])
        anyhow = np.maximum(0.0, np.exp(base) - FLOOR)
        parts: NDArray[np.float64] = 1.0 - np.minimum(1.0, anyhow / np.maximum(taken, FLOOR))
        return parts

    def _correction(self, place: int) -> float:
        """How much less often a place is rewarded than the first, from 1 to 5: what a credit there is worth."""
        share = (self._rewarded + 1.0) / (self._shown + 10.0)
        return float(np.clip(share[0] / share[place], 1.0, 5.0))

    def _compare(self, rows: NDArray[np.float64], best: int, worth: float) -> None:
        """Add the rank at which each order puts what was credited; blends give the place in `rows` no weight."""
        scores = [rows[:, _EVIDENCE], *(rows @ self.serving(blend).weights for blend in BLENDS)]
        self._ranks *= self._config.fade
        for number, score in enumerate(scores):
            rank = int((score >= score[best]).sum())  # ties count against
            self._ranks[:, number] += worth / rank, worth

    def worse(self, blend: str) -> bool:
        """Whether a blend ranks what was credited lower than evidence alone does, or there was nothing to compare."""
        ranks = self.mrr()
        return not self._ranks[1].any() or ranks[blend] < ranks[EVIDENCE]

    def mrr(self) -> dict[str, float]:
        """Mean reciprocal rank of what was credited, by blend; 0 before the first."""
        sums, weights = self._ranks
        means = np.divide(sums, weights, out=np.zeros_like(sums), where=weights > 0.0)
        return dict(zip((EVIDENCE, *BLENDS), means.tolist(), strict=True))

    def serving(self, blend: str) -> Folded:
        """A blend as it serves: as `folded`, but `stacked` mixed with the evidence as the module says."""
        learnt = self.folded(blend)
        if blend != "stacked" or not self.scaler.counts:
            return learnt
        sure = self.credited / (self.credited + self._config.prior_credits) if self.credited else 0.0
        means = np.array([self.scaler.means[name] for name in _NAMES])
        evidence = np.zeros(len(_NAMES))
        evidence[_EVIDENCE] = 1.0
        constant = float(learnt.weights @ means - means[_EVIDENCE]) + learnt.bias  # both the same for the mean item
        weights = sure * learnt.weights + (1.0 - sure) * evidence
        return Folded(weights, sure * learnt.bias + (1.0 - sure) * constant)

    def folded(self, blend: str) -> Folded:
        """A blend as weights of the expanded features, drift damped; the place weighs nothing."""
        damping = self.drift.damping()
        weights = np.zeros(len(_NAMES))
        if blend == "stacked":
            if not self.scaler.counts:
                return Folded(weights, 0.0)
            folded = fold(self.scaler, self.regression, _NAMES)
            weights[:-1] = folded.weights[:-1]
            return Folded(weights, folded.bias + self._damped(weights, damping))
        shares = damping if blend == "average" else self.weighted.weights * damping
        weights[:_SHARES] = shares / shares.sum()
        return Folded(weights, 0.0)

    def _damped(self, weights: NDArray[np.float64], damping: NDArray[np.float64]) -> float:
        """Damp the weights of drifting sources, in place; returns the mean change of the sum, for the bias."""
        if (damping == 1.0).all():
            return 0.0
        means = np.array([self.scaler.means[name] for name in _NAMES])
        before = float(weights @ means)
        for first in (0, _SHARES, WIDTH):
            weights[first : first + _SHARES] *= damping
        return before - float(weights @ means)

    def training(self) -> dict[str, NDArray[Any]]:
        """See `Ranker.training`."""
        scaler = self.scaler

        def column(values: Any) -> NDArray[np.float64]:
            return np.array([float(values.get(name, 0.0)) for name in _NAMES]) if values else np.zeros(len(_NAMES))

        found: dict[str, NDArray[Any]] = {}
        for name, regression in self._regressions.items():
            optimizer = regression.optimizer
            moments = [{} if moment is None else dict(moment) for moment in (optimizer.m, optimizer.v)]
            found[name] = np.stack([column(regression.weights), *map(column, moments)])
            found[f"{name}.intercept"] = np.array([regression.intercept])
            found[f"{name}.iterations"] = np.array([optimizer.n_iterations], np.int64)
        return found | {
            "scaler": np.stack([column(scaler.counts), column(scaler.means), column(scaler.vars)]),
            "weighted": self.weighted.weights.copy(),
            "losses": np.array(self._losses).reshape(-1, _SHARES),
            "alarms": self.drift.alarms.copy(),
            "credited": np.array([self.credited]),
            "places": np.stack([self._shown, self._rewarded]),
            "ranks": self._ranks.copy(),
        }

    def restore(self, training: Mapping[str, NDArray[Any]]) -> None:
        """See `Ranker.restore`."""
        from river.utils import VectorDict

        counts, means, variances = training["scaler"]
        if counts.any():
            self.scaler.counts.update(dict(zip(_NAMES, counts.astype(int).tolist(), strict=True)))
            self.scaler.means.update(dict(zip(_NAMES, means.tolist(), strict=True)))
            self.scaler.vars.update(dict(zip(_NAMES, variances.tolist(), strict=True)))
            for name, regression in self._regressions.items():
                rows = (dict(zip(_NAMES, row.tolist(), strict=True)) for row in training[name])
                tables: list[Any] = [VectorDict(row) for row in rows]
                regression._weights, regression.optimizer.m, regression.optimizer.v = tables  # noqa: SLF001
                regression.intercept = float(training[f"{name}.intercept"][0])
                regression.optimizer.n_iterations = int(training[f"{name}.iterations"][0])
        self.weighted.weights = training["weighted"].copy()
        for losses in training["losses"]:
            self.drift.update(losses)
            self._losses.append(losses)
        self.drift.alarms = training["alarms"].copy()
        self._shown, self._rewarded = (row.copy() for row in training["places"])
        self._ranks = training["ranks"].copy()
        self.credited = float(training["credited"][0])


def _learn(regression: Any, row: dict[str, float], reward: float, weight: float) -> None:
    """Learn a reward between 0 and 1 as that share of a taking and the rest of a miss."""
    if reward > 0.0:
        regression.learn_one(row, True, w=reward * weight)
    if reward < 1.0:
        regression.learn_one(row, False, w=(1.0 - reward) * weight)


def expanded(features: NDArray[np.float64], places: NDArray[Any]) -> NDArray[np.float64]:
    """(n, columns) what the regression is given: the features, shares times looks, and the logarithm of the place."""
    by_looks = features[:, :_SHARES] * features[:, _LOOKS : _LOOKS + 1]
    return np.concatenate([features, by_looks, np.log1p(places)[:, None]], axis=1)


def order_of(snapshot: Snapshot) -> Order:
    """The order of a snapshot.

    Raises:
        SnapshotFormatError: it was made by other code.
        SnapshotShapeError: it is of another shape, or of other features.
    """
    empty = no_order()._asdict()
    snapshot.require(CODE, {name: array.shape for name, array in empty.items()})
    return Order(*(np.array(snapshot.arrays[name], array.dtype) for name, array in empty.items()))
