"""TIFU-KNN by hand: the own vector is as of now, the others' are as of the last refresh."""

from __future__ import annotations

import pytest

from models.evaluation.tifu_knn import KEPT, TifuKnn, TifuKnnConfig

CONFIG = TifuKnnConfig(neighbours=1, own=0.75)
ANN, BOB, CEM = ("ann", [0, 1]), ("bob", [0, 2]), ("cem", [3, 4])


def learnt(*baskets: tuple[str, list[int]], config: TifuKnnConfig = CONFIG) -> TifuKnn:
    similar = TifuKnn(5, config)
    for household, items in baskets:
        similar.learn(household, items)
    similar.refresh()
    return similar


def scores(similar: TifuKnn, household: str) -> dict[int, float]:
    items, found = similar.scores(household)
    assert items.tolist() == sorted(items.tolist())
    return dict(zip(items.tolist(), found.tolist(), strict=True))


def test_own_baskets_count_at_once_and_those_of_others_after_a_refresh() -> None:
    similar = learnt(ANN, BOB, CEM)
    assert scores(similar, "ann") == {0: 1.0, 1: 0.75, 2: 0.25}
    similar.learn("bob", [4])
    assert scores(similar, "ann") == {0: 1.0, 1: 0.75, 2: 0.25}
    similar.learn("ann", [4])  # two groups: the older one decays by 0.7
    older = 0.75 * 0.7 / 2
    assert scores(similar, "ann") == pytest.approx({0: older + 0.25, 1: older, 2: 0.25, 4: 0.75 / 2})
    similar.refresh()
    assert scores(similar, "ann") == pytest.approx({0: 0.35, 1: older, 2: 0.25 * 0.35, 4: 0.5})


def test_a_household_that_came_after_the_refresh_has_neighbours_and_is_none() -> None:
    similar = learnt(ANN, CEM)
    similar.learn("bob", [3])
    assert scores(similar, "bob") == {3: 1.0, 4: 0.25}  # of cem
    assert scores(similar, "ann") == {0: 0.75, 1: 0.75, 3: 0.25, 4: 0.25}  # of cem, the only other one
    assert scores(similar, "nobody") == {}


def test_equally_near_households_are_taken_by_first_purchase() -> None:
    similar = learnt(("ann", [0]), ("bob", [2]), ("cem", [1]))
    assert scores(similar, "ann") == {0: 0.75, 2: 0.25}


@pytest.mark.parametrize("config", [CONFIG, TifuKnnConfig()])
def test_one_household_alone_has_its_own_vector(config: TifuKnnConfig) -> None:
    assert scores(learnt(ANN, config=config), "ann") == {0: config.own, 1: config.own}
    nobody = learnt(config=config)
    nobody.learn(*ANN)
    assert scores(nobody, "ann") == {0: config.own, 1: config.own}


def test_however_many_ask_all_get_their_own_scores() -> None:
    households = [(f"h{number:03}", [number % 5]) for number in range(KEPT + 5)]
    similar = learnt(*households, config=TifuKnnConfig(own=1.0))
    for _ in range(2):
        assert [list(scores(similar, household)) for household, _ in households] == [items for _, items in households]
