"""How far items belong together, against numbers worked out by hand or published."""

import math

import pytest

from models.cooccurrence.association import STRENGTH, log_likelihood_ratio, shrunk_lift
from tests.support.compiled import signatures


def test_lift_of_independent_items_is_one() -> None:
    assert shrunk_lift(6, 20, 30, 100, STRENGTH) == pytest.approx(1.0)


def test_lift_of_items_that_are_only_bought_together_is_the_number_of_baskets_to_one_of_theirs() -> None:
    assert shrunk_lift(5, 5, 5, 100, 0.0) == pytest.approx(20.0)


def test_lift_does_not_depend_on_the_unit_of_weight() -> None:
    assert shrunk_lift(0.3, 0.6, 1.2, 9.0, 0.0) == pytest.approx(shrunk_lift(1, 2, 4, 30, 0.0))


@pytest.mark.parametrize("nothing", [(0, 0, 5, 9), (0, 5, 0, 9), (1, 5, 5, 0)])
def test_without_baskets_nothing_is_known(nothing: tuple[float, float, float, float]) -> None:
    assert shrunk_lift(*nothing, STRENGTH) == 1.0


def test_the_shrunk_lift_believes_more_the_more_it_has_seen() -> None:
    seen = [shrunk_lift(n, 2 * n, 2 * n, 1000 * n, STRENGTH) for n in (1, 5, 50, 5000)]  # a lift of 250 each
    assert seen == sorted(seen)
    assert seen[0] < 2.0
    assert seen[-1] == pytest.approx(250, rel=0.05)
    assert shrunk_lift(2, 4, 4, 2000, 0.0) == pytest.approx(250)


def test_the_shrunk_lift_goes_below_one_for_items_that_avoid_each_other() -> None:
    assert shrunk_lift(0, 50, 50, 100, 1.0) == pytest.approx(1 / 26)


def test_log_likelihood_ratio_as_dunning_printed_it() -> None:
    """Table 2 of the paper: bigrams of a Swiss text, k(AB), k(A ~B), k(~A B), k(~A ~B)."""
    assert log_likelihood_ratio(110, 2442, 111, 29114) == pytest.approx(270.72, abs=0.005)  # the swiss
    assert log_likelihood_ratio(29, 13, 123, 31612) == pytest.approx(263.90, abs=0.005)  # can be


def test_log_likelihood_ratio_is_the_g_statistic() -> None:
    table = ((12.0, 5.0), (7.0, 30.0))
    n = sum(map(sum, table))
    expected = 0.0
    for i in range(2):
        for j in range(2):
            chance = sum(table[i]) * (table[0][j] + table[1][j]) / n
            expected += 2 * table[i][j] * math.log(table[i][j] / chance)
    assert log_likelihood_ratio(12, 5, 7, 30) == pytest.approx(expected)


@pytest.mark.parametrize(
    "table",
    [(0, 0, 0, 0), (5, 0, 0, 0), (3, 0, -1, 40), (1, 10, 10, 100), (1e-200, 0, 0, 1), (5e-324, 5e-324, 5e-324, 1e50)],
)
def test_log_likelihood_ratio_is_never_negative_nor_undefined(table: tuple[float, float, float, float]) -> None:
    ratio = log_likelihood_ratio(*table)
    assert math.isfinite(ratio)
    assert ratio >= 0.0


def test_one_compilation_serves_whole_numbers_and_fractions() -> None:
    shrunk_lift(1, 2, 3, 4, 1)
    shrunk_lift(1.0, 2, 3.0, 4, 1)
    assert len(signatures(shrunk_lift)) == 1
