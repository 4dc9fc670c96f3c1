"""Shelves of popular items: exact once all has been looked at, whatever came, rose, fell, moved or went before."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from models import change_log
from models.cooccurrence.counter import Row
from models.cooccurrence.index import Neighbours
from models.serving import popularity
from models.serving.popularity import PLACES, SHARE, Popularity
from models.shop.catalog import Catalog
from models.shop.categories import ROOT
from models.shop.events import CatalogItem
from models.shop.items import Items

NOW = 1_700_000_000.0
HALF_LIFE_S = 86400.0


class _Town:
    """A catalogue that changes, and what its shelves should hold."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.items = Items()
        self.catalog = Catalog(self.items)
        self.neighbours = Neighbours(self.items, HALF_LIFE_S)
        self.popularity = Popularity(self.items, self.catalog, self.neighbours)
        self.letters = "ABC"  # of categories
        self.offers: dict[str, CatalogItem] = {}
        self.weights: dict[str, float] = {}

    def change(self, item_id: str) -> None:
        """One item comes, moves, sells out, goes, rises or falls."""
        what = self.random.random()
        if what < 0.5:
            path = "/".join(self.random.choice(self.letters) for _ in range(self.random.randint(1, 3)))
            brand = self.random.choice([None, "Acme", self.letters])
            item = CatalogItem(item_id, item_id, path, 1.0, brand, in_stock=self.random.random() < 0.9)
            self.offers[item_id] = item
            self.catalog.put(item)
        elif what < 0.6:
            self.offers.pop(item_id, None)
            self.catalog.withdraw(item_id)
        else:
            views, baskets = self.random.randint(0, 9), self.random.randint(0, 3)
            at = NOW - 1000 * self.random.randint(0, 99)  # never whole half-lives apart, so that keys tie only if equal
            self.weights[item_id] = (views + 4 * baskets) * 2 ** ((at - NOW) / HALF_LIFE_S)
            none = np.zeros((0, 3))
            self.neighbours.put(
                Row(item_id, 1, at, (views, baskets), (views, baskets), [], none, none.astype(np.int64))
            )

    def popular(self, path: str) -> list[str]:
        node = self.catalog.categories.node(path) if path else ROOT
        self.popularity._make_room()
        top = self.popularity.by_category
        return [self.items.name(index) for index in top.items[node, : top.length[node]].tolist()]

    def best(self, path: str) -> list[str]:
        """The expected top items: the best of each branch, and of those the best."""
        offered = [one for one in self.offers.values() if one.in_stock]
        below = [one for one in offered if not path or one.category == path or one.category.startswith(path + "/")]
        below.sort(key=lambda one: (-round(self.weights.get(one.item_id, 0.0), 9), one.item_id))
        taken: dict[str, int] = {}
        best = []
        for one in below:
            rest = one.category[len(path) + 1 if path else 0 :]
            branch = rest.split("/")[0] if one.category != path else ""
            taken[branch] = taken.get(branch, 0) + 1
            if not branch or taken[branch] <= SHARE:
                best.append(one.item_id)
        return best[:PLACES]


@pytest.mark.parametrize("kept", [5, 20, 1000])  # changes, of which 37 come between two batches
@pytest.mark.parametrize("seed", range(2))
def test_shelves_hold_the_best_after_a_round_and_where_some_went_after_another(
    seed: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(popularity, "SLICE", 50)
    monkeypatch.setattr(change_log, "KEPT", kept)
    town = _Town(seed)
    names = [f"item-{number:03}" for number in range(400)]
    for number, name in enumerate(names * 3):
        town.change(town.random.choice(names) if number > 400 else name)
        if number % 37 == 0:
            town.popularity.refresh()
    for _ in range(2 * math.ceil(len(names) / 50) + 1):
        town.popularity.refresh()
    for path in ("", "A", "B", "A/B", "C/C/C"):
        assert town.popular(path) == town.best(path), path


def test_a_small_shop_is_seen_whole_by_each_batch() -> None:
    town = _Town(7)
    for number in range(30):
        for _ in range(10):
            town.change(f"item-{town.random.randrange(40)}")
        town.popularity.refresh()
        for path in ("", "A", "A/B"):
            assert town.popular(path) == town.best(path), (number, path)


def test_numbers_of_categories_and_brands_are_given_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(popularity, "SLICE", 15)
    town = _Town(3)
    for number in range(60):
        town.letters = "ABCDEFGHIJKLMNOPQRST"[number // 4 :][:3]
        for _ in range(12):
            town.change(f"item-{town.random.randrange(40)}")
            town.popularity.refresh()
            town.catalog.free_words(*town.popularity.words_held())
        for _ in range(7):
            town.popularity.refresh()
        town.catalog.free_words(*town.popularity.words_held())
        for path in ("", town.letters[0], "/".join(town.letters[:2])):
            assert town.popular(path) == town.best(path), (number, path)
    assert len(town.catalog.categories) < town.catalog.categories.added / 2
    assert town.catalog.brands.reused > 3


def test_one_large_branch_leaves_places_to_others() -> None:
    town = _Town(0)
    for number in range(200):
        town.catalog.put(CatalogItem(f"phone-{number:03}", "Phone", "Phones", 1.0))
    town.catalog.put(CatalogItem("strap", "Strap", "Straps", 1.0))
    town.popularity.refresh()
    assert len(town.popular("Phones")) == PLACES
    assert len(town.popular("")) == SHARE + 1


def test_nothing_is_scanned_until_something_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(popularity, "SLICE", 15)
    monkeypatch.setattr(change_log, "KEPT", 5)
    town, scanned, scan = _Town(5), list[int](), popularity.scan
    for number in range(40):
        town.change(f"item-{number}")

    def counted(first: int, number: int, state: popularity.ScanState) -> None:
        scanned.append(number)
        scan(first, number, state)

    monkeypatch.setattr(popularity, "scan", counted)
    for _ in range(2):  # the first time all are scanned at once
        for _ in range(12):
            town.popularity.refresh()
        assert 0 < len(scanned) < 12
        scanned.clear()
        town.popularity.refresh()
        assert scanned == []
        for number in range(10):
            town.change(f"item-{number}")
    for _ in range(7):
        town.popularity.refresh()
    assert town.popular("") == town.best("")


def test_a_change_is_seen_by_the_next_batch_however_many_items_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(popularity, "SLICE", 1)
    town = _Town(9)
    for number in range(60):
        town.catalog.put(CatalogItem(f"cup-{number:02}", "Cup", "Cups", 1.0))
    town.popularity.refresh()
    town.catalog.put(CatalogItem("jug", "Jug", "Jugs", 1.0))
    none = np.zeros((0, 3))
    town.neighbours.put(Row("cup-59", 1, NOW, (9, 9), (9, 9), [], none, none.astype(np.int64)))
    town.popularity.refresh()
    assert (town.popular("Jugs"), town.popular("Cups")[0]) == (["jug"], "cup-59")
