"""Figures of lists on cases that a person can check."""

from math import log2

import numpy as np
import pytest

from models.evaluation.lists import coverage, decile_shares, diversity, gains, gini
from models.evaluation.ranks import figures, intervals_of_sums


def test_a_list_with_all_targets_in_the_first_places_is_perfect() -> None:
    assert gains([True, True], targets=2, k=2) == (1.0, 1.0, 1.0, 1.0, 1.0, 1.0)


def test_more_targets_than_places_cost_recall_and_not_ndcg() -> None:
    hr, mrr, precision, recall, f1, ndcg = gains([True, True], targets=6, k=2)
    assert (hr, mrr, precision, recall, f1, ndcg) == (1.0, 1.0, 1.0, 2 / 6, 4 / 8, 1.0)


def test_a_short_list_is_not_blamed_for_its_empty_places_by_precision() -> None:
    assert gains([True], targets=1, k=4)[2] == 1.0


def test_third_place_is_a_third_and_half() -> None:
    _, mrr, precision, recall, f1, ndcg = gains([False, False, True, False], targets=1, k=4)
    assert (mrr, precision, recall, f1) == (1 / 3, 1 / 4, 1.0, 2 / 5)
    assert ndcg == 1 / log2(4)


def test_without_a_hit_everything_is_nothing() -> None:
    assert set(gains([False, False], targets=3, k=2)) == {0.0}


def test_a_list_of_one_kind_has_no_diversity_and_one_of_all_kinds_has_it_all() -> None:
    assert diversity(["a", "a", "a"]) == 0.0
    assert diversity(["a", "b", "c"]) == 1.0
    assert diversity(["a", "a", "b"]) == pytest.approx(2 / 3)


def test_gini_of_one_item_that_has_it_all_is_all_but_its_own_share() -> None:
    assert gini(np.array([0, 0, 0, 0, 7])) == pytest.approx(0.8)
    assert gini(np.array([3, 3, 3])) == 0.0
    assert np.isnan(gini(np.zeros(3, np.int64)))


def test_coverage_counts_items_not_places() -> None:
    assert coverage(np.array([9, 0, 1, 0, 0])) == 0.4


def test_deciles_are_of_items_and_add_up() -> None:
    exposure, popularity = np.arange(20), np.arange(20)
    shares = decile_shares(exposure, popularity)
    assert shares[0] == pytest.approx((19 + 18) / 190)
    assert sum(shares) == pytest.approx(1.0)


def test_sums_of_groups_give_the_intervals_of_their_tests() -> None:
    """The bootstrap over what sessions add up to is the one over their tests."""
    chance = np.random.default_rng(3)
    places, groups = chance.integers(1, 40, 300), chance.integers(0, 25, 300)
    found = figures(places, groups, 20, seed=4)["hr@20"]
    hits = (places <= 20).astype(np.float64)
    sums = np.bincount(groups, hits, 25).astype(np.float64)[:, None]
    sizes = np.bincount(groups, minlength=25).astype(np.float64)[:, None]
    assert intervals_of_sums(sums, sizes, seed=4) == [(found.low, found.high)]


def test_a_figure_that_few_groups_have_keeps_the_draws_that_have_it() -> None:
    sums, sizes = np.array([[1.0], [0.0], [0.0]]), np.array([[2.0], [0.0], [0.0]])
    assert intervals_of_sums(sums, sizes, seed=1) == [(50.0, 50.0)]
    assert np.isnan(intervals_of_sums(0 * sums, 0 * sizes, seed=1)[0]).all()
