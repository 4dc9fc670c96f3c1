"""Blends on small cases whose answers are known, and the folded regression against river's own."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("river", reason="install the extra `learning` to run this")

from models.ranking.drift import Drift, DriftConfig
from models.ranking.evidence import FLOOR, SILENCE, Evidence, shares
from models.ranking.pools import Weighted, WeightedConfig, average, pooled
from models.ranking.stacked import Stacked, StackedConfig, features


def outcomes(number: int, seed: int = 3) -> list[tuple[Evidence, int]]:
    """The first source is right nine times of ten, the second by chance."""
    chance = np.random.default_rng(seed)
    found = []
    for _ in range(number):
        scores = chance.random((40, 2)) + 0.01
        taken = int(chance.integers(40))
        if chance.random() < 0.9:
            scores[taken, 0] = 20.0
        logs = np.stack([shares(column) for column in scores.T], axis=1)
        found.append((Evidence(np.arange(40, dtype=np.int32), logs, np.zeros((40, 1)), (0.5,)), taken))
    return found


def test_shares_are_probabilities_and_silence_is_told_apart() -> None:
    logs = shares(np.array([6.0, 2.0, 0.0]))
    np.testing.assert_allclose(np.exp(logs) - FLOOR, [0.75, 0.25, 0.0], atol=1e-12)
    assert (logs > SILENCE).tolist() == [True, True, False]
    assert shares(np.zeros(2)).tolist() == [np.log(FLOOR)] * 2


def test_the_average_is_the_normed_geometric_mean() -> None:
    found = average(np.log([[0.9, 0.4], [0.1, 0.6]]))
    roots = np.sqrt([0.9 * 0.4, 0.1 * 0.6])
    np.testing.assert_allclose(found, roots / roots.sum())


def test_the_gradient_step_is_the_one_of_the_paper() -> None:
    logs = np.log([[0.9, 0.4], [0.1, 0.6]])
    blend = Weighted(2, WeightedConfig(rate=0.1, least=0.0))
    blend.learn_one(logs, 0)
    expected = pooled(logs, np.array([0.5, 0.5])) @ logs
    raw = 0.5 * np.exp(-0.1 * (expected - logs[0]))
    np.testing.assert_allclose(blend.weights, raw / raw.sum())
    assert blend.weights[0] > blend.weights[1]
    np.testing.assert_allclose(blend.predict(logs, np.array([1.0, 0.0])), [0.9, 0.1])  # the other is not heard


def test_weights_find_the_source_that_is_right_and_come_back_when_it_fails() -> None:
    blend = Weighted(2, WeightedConfig())
    for found, taken in outcomes(500):
        blend.learn_one(found.logs, taken)
    assert blend.weights[0] > 0.6
    for found, taken in outcomes(2000):
        blend.learn_one(found.logs[:, ::-1], taken)
    assert blend.weights[0] < 0.4
    assert blend.weights.sum() == pytest.approx(1.0)


def test_folded_scores_are_those_of_river() -> None:
    blend = Stacked(StackedConfig(), seed=1)
    cases = outcomes(60)
    for found, taken in cases:
        blend.learn_one(found, taken)
    found, _ = cases[0]
    rows = features(found)
    names = sorted(blend.pipeline["LogisticRegression"].weights)
    theirs = [blend.pipeline.predict_proba_one(dict(zip(names, row.tolist(), strict=True)))[True] for row in rows]
    assert len(names) == rows.shape[1]
    np.testing.assert_allclose(blend.predict(found), theirs, atol=1e-9, rtol=0)


def test_the_stacked_blend_ranks_what_was_taken_first_where_one_source_knows() -> None:
    blend = Stacked(StackedConfig(), seed=1)
    for found, taken in outcomes(400):
        blend.learn_one(found, taken)
    hits = [blend.predict(found).argmax() == taken for found, taken in outcomes(200, seed=4)]
    assert np.mean(hits) > 0.85


def test_few_candidates_are_learnt_as_well() -> None:
    blend = Stacked(StackedConfig(), seed=1)
    one = Evidence(np.array([4], np.int32), np.array([[-1.0, -2.0]]), np.zeros((1, 0)), (0.0,))
    blend.learn_one(one, 0)
    assert (one.place(4), one.place(5), blend.learnt) == (0, -1, 1)
    assert 0.0 < blend.predict(one)[0] < 1.0


def test_only_the_source_that_became_worse_is_damped_for_a_while() -> None:
    config = DriftConfig(outcomes=100)
    drift, chance = Drift(2, config), np.random.default_rng(5)
    assert (drift.faster(), drift.damping().tolist()) == (1.0, [1.0, 1.0])
    alarmed = []
    for outcome in range(2_000):
        losses = chance.normal(5.0, 1.0, 2)
        losses[0] += 3.0 * (outcome >= 1_000)
        losses[1] -= 3.0 * (outcome >= 1_000)  # better is no alarm
        drift.update(losses)
        if drift.faster() > 1.0:
            alarmed.append(outcome)
            assert drift.damping().tolist() == [config.less, 1.0]
    assert drift.alarms[0] >= 1 and drift.alarms[1] == 0
    assert 1_000 <= alarmed[0] < 1_200
    assert drift.faster() == 1.0
