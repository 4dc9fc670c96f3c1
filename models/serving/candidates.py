"""Candidates of a query, and how likely each is to be accepted.

The shares that sources give a candidate are added by their worth. The sum is read as odds, `sum / (1 + sum)`, so that
evidence of many sources adds up and never exceeds certainty.

The baskets that shrink a bought-together share are taken to be like all baskets of the shop, so each item has its part
of them: otherwise one basket shared by chance outdoes what everybody buys. That part counts `chance`. Two items that
many buy are bought together by chance: how much of a bought-together share counts depends on how far and how surely it
exceeds chance (`significance`). An upsell's acceptance is multiplied by a power of its step in price.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.cooccurrence.association import STRENGTH, log_likelihood_ratio, shrunk_lift
from models.cooccurrence.index import Rows
from models.elementary import erf, exp, exp2, log, sqrt
from models.jit import forward_njit
from models.serving.queues import push
from models.serving.rules import QueryState, Rules, classify, fits
from models.serving.state import BRAND, CROSS_SELLS, EVIDENCE, SHARES, UPSELLS, VECTOR, Pool, ServingState, Weights
from models.shop.catalog import NONE
from models.shop.decay import decayed
from models.shop.events import BOUGHT_WITH, PAIR_KINDS, VIEWED_THEN_BOUGHT, VIEWED_WITH
from models.shop.kinds import UPSELL

FEWEST = 1e-200
"""Decayed baskets of the shop; fewer count as none, as shares of them would exceed all numbers."""


@forward_njit
def in_vectors(size: int) -> int:
    """As many numbers in whole vectors. Those beyond are computed, too, which takes less time than the last singly."""
    return (size + VECTOR - 1) // VECTOR * VECTOR


@forward_njit
def place_of(item: int, rules: Rules, query: QueryState, pool: Pool) -> int:
    """Place of an item among the candidates. A new one is classified, here and nowhere else, and keeps its kind."""
    place, size = pool.where[item], pool.size[0]
    if place < size and pool.candidates[place].item == item:
        return int(place)
    kind, anchor = classify(item, rules, query)
    pool.where[item] = size
    candidate = pool.candidates[size]
    candidate.item = item
    candidate.kind = kind
    candidate.tier = 0
    pool.size[0] = size + 1
    candidate.anchor = anchor
    pool.shares[size, :] = 0.0
    candidate.base = candidate.strongest = candidate.direct = candidate.score = candidate.evidence = 0.0
    candidate.significance = 0.0
    candidate.partner = candidate.kin = candidate.chosen = -1
    candidate.relation = 0
    candidate.own = -1
    candidate.exact = candidate.seen = False
    return int(size)


@forward_njit
def relate(candidate: Any, tier: int, relation: int, anchor: int, state: ServingState) -> None:
    """Make a candidate without evidence one of a tier, related to the anchor at a place; -1: to none."""
    rules, query = state.rules, state.query
    candidate.tier = tier
    candidate.exact = True
    candidate.relation = relation
    if anchor < 0:
        return
    if fits(candidate.item, candidate.kind, anchor, rules, query):
        candidate.anchor = anchor
    candidate.kin = candidate.anchor if candidate.kind == UPSELL else anchor
    brand = rules.facts[candidate.item].brand
    if brand != NONE and brand == rules.facts[query.anchors[candidate.kin]].brand:
        candidate.relation = BRAND


@forward_njit
def baskets_with(item: int, at: float, rows: Rows) -> float:
    """Baskets with an item, decayed to a time unless they are of a later one; 0 where it has no row."""
    if item >= len(rows.at):
        return 0.0
    return float(decayed(rows.own[item, 1], rows.at[item], max(at, rows.at[item]), rows.half_life_s))


@forward_njit
def half_lives(item: int, at: float, rows: Rows) -> float:
    """Half-lives from a time back to that of an item's row, as a number below 0; 0 where it is later, or has no row."""
    return float(min(0.0, (rows.at[item] - at) / rows.half_life_s)) if item < len(rows.at) else 0.0


@forward_njit
def own_counts(item: int, fade: float, rows: Rows) -> tuple[float, float]:
    """Views and baskets of an item that have faded; 0 where it has no row."""
    if item >= len(rows.at):
        return 0.0, 0.0
    return float(rows.own[item, 0] * fade), float(rows.own[item, 1] * fade)


@forward_njit
def bought_by_chance(partner: int, item: int, cell: int, at: float, rows: Rows) -> tuple[float, float]:
    """Shrunk lift and log-likelihood ratio of two items in all baskets, as of the newest event behind any of them.

    `cell` is the item's in the row of its partner. (NaN, 0) where the lift is not defined: an item, or the shop, has no
    baskets yet, or the pair none.
    """
    if item >= len(rows.at) or cell < 0:
        return math.nan, 0.0
    together = rows.weights[cell, BOUGHT_WITH]
    now = max(at, rows.at[partner], rows.at[item])
    fade_partner = exp2((rows.at[partner] - now) / rows.half_life_s)
    fade_item = exp2((rows.at[item] - now) / rows.half_life_s)
    with_partner, with_item = rows.own[partner, 1] * fade_partner, rows.own[item, 1] * fade_item
    baskets = rows.baskets * exp2((rows.baskets_at - now) / rows.half_life_s)
    return _by_chance(together * fade_partner, with_partner, with_item, baskets)


@forward_njit
def _by_chance(together: float, with_partner: float, with_item: float, baskets: float) -> tuple[float, float]:
    """Shrunk lift and log-likelihood ratio of decayed baskets; (NaN, 0) where one of them is 0."""
    defined = (together > 0.0) & (with_partner > 0.0) & (with_item > 0.0) & (baskets > 0.0)
    lift = shrunk_lift(together, with_partner, with_item, baskets, STRENGTH)
    neither = baskets - with_partner - with_item + together
    ratio = log_likelihood_ratio(together, with_partner - together, with_item - together, neither)
    return lift if defined else math.nan, ratio if defined else 0.0


@forward_njit
def significance(lift: float, log_likelihood: float, chance: float) -> float:
    """How much of a bought-together share counts, from `chance` for a coincidence to nearly 1.

    `1 - 1 / lift` is the part of the baskets with both that chance does not explain; the error function turns the
    log-likelihood ratio, chi-squared with one degree of freedom, into the probability that chance would have shown
    less. Both are 0 for independent items and rise together, so nothing jumps.

    >>> [round(significance(lift, ratio, 0.2), 2) for lift, ratio in [(1.0, 0.0), (2.0, 3.84), (5.0, 15.0)]]
    [0.2, 0.58, 0.84]
    """
    beyond = 1.0 - 1.0 / lift if lift > 1.0 else 0.0
    return chance + (1.0 - chance) * beyond * erf(sqrt(log_likelihood / 2.0))


@forward_njit
def step_of(item: int, anchor: int, weights: Weights, rules: Rules) -> float:
    """By what share of its anchor's price an upsell is more expensive, at least `least_step`."""
    return float(max(weights.least_step, rules.facts[item].price / rules.facts[anchor].price - 1.0))


@forward_njit
def step_factor(item: int, anchor: int, weights: Weights, rules: Rules) -> float:
    """What an upsell's acceptance is multiplied by: the power of its step that the policy says."""
    return power(step_of(item, anchor, weights, rules), weights.step_power)


@forward_njit
def power(base: float, exponent: float) -> float:
    """A positive number to some power."""
    return exp(exponent * log(base))


@forward_njit
def _weighed(place: int, significant: float, base: float, weights: Weights, pool: Pool) -> float:
    """Sum of a candidate's shares by their worth; of its bought-together share the significant part counts."""
    worth, shares = weights.worth[pool.candidates[place].kind], pool.shares[place]
    bought = shares[BOUGHT_WITH] * significant + weights.chance * base
    total = worth[VIEWED_WITH] * shares[VIEWED_WITH] + worth[VIEWED_THEN_BOUGHT] * shares[VIEWED_THEN_BOUGHT]
    total += worth[BOUGHT_WITH] * bought
    for column in range(PAIR_KINDS, SHARES):
        total += worth[column] * shares[column]
    return float(total)


@forward_njit
def _unknown_baskets(at: float, rows: Rows, weights: Weights, pool: Pool) -> float:
    """Share of the context's baskets that is shrinkage, weighed by recency and added, for each basket of the shop."""
    baskets = decayed(rows.baskets, rows.baskets_at, max(at, rows.baskets_at), rows.half_life_s)
    if not baskets > FEWEST:
        return 0.0
    total = 0.0
    for place in range(pool.size[1]):
        known = baskets_with(pool.context[place], at, rows)
        total += pool.recency[place] * weights.basket_shrinkage / (known + weights.basket_shrinkage)
    return float(total / baskets)


@forward_njit
def score(at: float, state: ServingState) -> None:
    """Score and queue the candidates with evidence, as of a time; cross-sells as if all of it were significant."""
    rows, weights, pool = state.rows, state.weights, state.pool
    unknown = _unknown_baskets(at, rows, weights, pool)
    size = pool.size[0] if unknown > 0.0 else 0
    for place in range(size):
        pool.totals[place] = half_lives(pool.candidates[place].item, at, rows)
    for place in range(in_vectors(size)):
        pool.totals[place] = exp2(pool.totals[place])
    upsells = 0  # their steps are put where the counts of those before them were
    for place in range(pool.size[0]):
        candidate = pool.candidates[place]
        total = _weighed(place, 1.0, 0.0, weights, pool)
        if not total > 0.0:  # of what may not be suggested nothing has a worth
            continue
        upsell = candidate.kind == UPSELL
        if not upsell and unknown > 0.0:
            base = unknown * own_counts(candidate.item, pool.totals[place], rows)[1]
            total = _weighed(place, 1.0, base, weights, pool)
            candidate.base = base
        candidate.tier = EVIDENCE
        candidate.score = candidate.evidence = total / (1.0 + total) * (weights.seen if candidate.seen else 1.0)
        candidate.exact = upsell or pool.shares[place, BOUGHT_WITH] == 0.0
        if upsell:
            pool.ranked[upsells] = place
            pool.totals[upsells] = step_of(candidate.item, state.query.anchors[candidate.anchor], weights, state.rules)
            upsells += 1
        else:
            push(CROSS_SELLS, place, state.pool, state.id_order)
    for index in range(in_vectors(upsells)):
        pool.totals[index] = power(pool.totals[index], weights.step_power)
    for index in range(upsells):
        pool.candidates[pool.ranked[index]].score *= pool.totals[index]
        push(UPSELLS, pool.ranked[index], state.pool, state.id_order)


@forward_njit
def make_exact(place: int, at: float, rows: Rows, weights: Weights, pool: Pool) -> None:
    """Make a candidate's score exact. Costs a look into a row and some logarithms, so only the best few pay it."""
    candidate = pool.candidates[place]
    if candidate.exact:
        return
    lift, log_likelihood = bought_by_chance(pool.context[candidate.partner], candidate.item, candidate.cell, at, rows)
    _score_exactly(place, significance(lift, log_likelihood, weights.chance), weights, pool)


@forward_njit
def _score_exactly(place: int, significant: float, weights: Weights, pool: Pool) -> None:
    """Score a cross-sell of whose bought-together share so much is significant."""
    candidate = pool.candidates[place]
    candidate.significance = significant
    total = _weighed(place, significant, candidate.base, weights, pool)
    candidate.score = candidate.evidence = total / (1.0 + total) * (weights.seen if candidate.seen else 1.0)
    candidate.exact = True


@forward_njit
def make_each_exact(places: NDArray[np.int32], at: float, rows: Rows, weights: Weights, pool: Pool) -> None:
    """As `make_exact` of each of some candidates, several at a time.

    What is counted about them is gathered in columns first, so that the compiler makes vectors of it.
    """
    most = pool.features.shape[1]
    for first in range(0, len(places), most):
        size = 0
        for number in range(first, min(first + most, len(places))):
            candidate = pool.candidates[places[number]]
            if not candidate.exact:
                pool.due_for[size] = places[number]
                gather_pair(size, pool.context[candidate.partner], candidate.item, candidate.cell, at, rows, pool)
                size += 1
        weigh_pairs(size, rows, weights, pool)
        for number in range(size):
            _score_exactly(pool.due_for[number], pool.due[number], weights, pool)


@forward_njit
def gather_pair(number: int, partner: int, item: int, cell: int, at: float, rows: Rows, pool: Pool) -> None:
    """Put into a place of the first columns what `bought_by_chance` computes with."""
    columns = pool.features
    if item >= len(rows.at) or cell < 0:
        columns[:6, number] = 0.0
        return
    now = max(at, rows.at[partner], rows.at[item])
    columns[0, number] = rows.weights[cell, BOUGHT_WITH]
    columns[1, number] = rows.own[partner, 1]
    columns[2, number] = rows.own[item, 1]
    columns[3, number] = (rows.at[partner] - now) / rows.half_life_s
    columns[4, number] = (rows.at[item] - now) / rows.half_life_s
    columns[5, number] = (rows.baskets_at - now) / rows.half_life_s


@forward_njit
def weigh_pairs(size: int, rows: Rows, weights: Weights, pool: Pool) -> None:
    """Put the significance of each of so many gathered pairs into `pool.due`. `lift_of_pair` may follow."""
    size = in_vectors(size)
    for column in range(3, 6):
        fades = pool.features[column]
        for number in range(size):
            fades[number] = exp2(fades[number])
    for number in range(size):
        lift, log_likelihood = _pair_by_chance(number, rows, pool)
        pool.due[number] = significance(lift, log_likelihood, weights.chance)


@forward_njit
def lift_of_pair(number: int, rows: Rows, pool: Pool) -> float:
    """Shrunk lift of a weighed pair, as `bought_by_chance` says."""
    return _pair_by_chance(number, rows, pool)[0]


@forward_njit
def _pair_by_chance(number: int, rows: Rows, pool: Pool) -> tuple[float, float]:
    """As `bought_by_chance`, of a pair whose counts have been gathered, and their fading computed."""
    columns = pool.features
    fade_partner = columns[3, number]
    return _by_chance(
        columns[0, number] * fade_partner,
        columns[1, number] * fade_partner,
        columns[2, number] * columns[4, number],
        rows.baskets * columns[5, number],
    )
