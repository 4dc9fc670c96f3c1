"""The index of item vectors: how good it is, that it says so, and that it is the same for the same vectors."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.sequence import vector_index
from models.sequence.predictor import ITEMS, SequencePredictor
from models.sequence.scorer import Scorer
from models.sequence.vector_index import MASS, best_cosines, searched
from models.sessions.visits import Window
from tests.support.item_vectors import answers, scorer_of


def clustered_vectors(number: int = 3_000, units: int = 24) -> NDArray[np.float32]:
    chance = np.random.default_rng(4)
    middles = chance.normal(size=(100, units))
    return (middles[chance.integers(0, 100, number)] + 0.7 * chance.normal(size=(number, units))).astype(np.float32)


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return scorer_of(clustered_vectors())


def test_the_best_are_found_but_for_few_and_shares_are_about_right(scorer: Scorer) -> None:
    chance = np.random.default_rng(5)
    windows = [Window(chance.integers(0, 3_000, 3).tolist(), [0] * 3, [0.0, 9.0, 20.0]) for _ in range(200)]
    asked = [(f"shopper {number}", window) for number, window in enumerate(windows)]
    exact, indexed = SequencePredictor(scorer, "1"), SequencePredictor(scorer, "1", exact=2_999)
    assert exact.mass == 1.0
    assert MASS <= indexed.mass <= 1.0
    masses, same = [], []
    for (items, shares), (true_items, true_shares) in zip(
        answers(indexed.expect(asked)), answers(exact.expect(asked)), strict=True
    ):
        true = dict(zip(true_items, true_shares, strict=True))
        common = [place for place, item in enumerate(items) if item in true]
        masses.append(sum(true[items[place]] for place in common) / sum(true_shares))
        same.append(max(abs(shares[place] / true[items[place]] - 1.0) for place in common))
        assert shares == sorted(shares, reverse=True)
        assert len(set(items)) == ITEMS
    assert np.mean(masses) > 0.97
    assert np.mean(same) < 0.1  # the sum over all is estimated


def test_a_small_index_finds_all_where_all_its_clusters_are_compared(
    scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_index, "MASS", 1.0 + 1e-6)
    space, mass, compared = searched(scorer, ITEMS, 100)
    assert space.probes == min(256, len(space.lengths))
    assert mass == pytest.approx(1.0, abs=1e-3)
    assert compared > 2_000


def test_the_index_is_the_same_for_the_same_vectors_and_has_each_vector_once(scorer: Scorer) -> None:
    ours, theirs = (searched(scorer, ITEMS, 100).vectors for _ in range(2))
    for column, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(column, other)
    np.testing.assert_array_equal(ours.vectors[ours.places[scorer.items]], scorer.vectors)
    np.testing.assert_array_equal(ours.items[ours.places[scorer.items]], scorer.items)
    assert (ours.ends[0], ours.ends[-1]) == (0, 3_000)
    assert (np.diff(ours.ends) >= 0).all()
    for first, end in zip(ours.ends[:-1].tolist(), ours.ends[1:].tolist(), strict=True):
        assert (np.diff(ours.items[first:end]) > 0).all()


def test_alike_vectors_lie_in_one_cluster(scorer: Scorer) -> None:
    alike = clustered_vectors()
    alike[1_000:2_500] = alike[0]
    space = searched(scorer_of(alike), ITEMS, 100).vectors
    cluster = np.searchsorted(space.ends, space.places[1_000:2_500], side="right")
    assert len(set(cluster.tolist())) == 1


def test_the_best_cosines_are_those_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_index, "SLICE", 64)
    vectors, expected = clustered_vectors(500), clustered_vectors(7)
    true = np.sort(expected @ vectors.T, axis=1)[:, -20:]
    np.testing.assert_allclose(np.sort(best_cosines(expected, vectors, 20), axis=1), np.maximum(true, -2.0), rtol=1e-5)
