"""The catalogue: what is offered now, and the tree of its categories."""

from __future__ import annotations

import math

from models.shop.catalog import KNOWN, NONE, OFFERED, Catalog
from models.shop.categories import Categories
from models.shop.events import CatalogItem
from models.shop.items import Items


def _catalog() -> tuple[Items, Catalog]:
    items = Items()
    return items, Catalog(items)


def test_an_item_is_as_it_was_put_last() -> None:
    items, catalog = _catalog()
    catalog.put(CatalogItem("kettle", "Kettle", "Kitchen/Kettles", 30.0, brand="Acme", rating=4.0, currency="EUR"))
    catalog.put(CatalogItem("kettle", "Kettle 2", "Kitchen/Kettles", 35.0, in_stock=False))
    fact = catalog.facts[items.find("kettle")]
    assert (fact["price"], fact["brand"], fact["currency"], fact["state"]) == (35.0, NONE, NONE, KNOWN)
    assert math.isnan(fact["rating"])
    item = catalog.get(items.find("kettle"))
    assert item is not None
    assert item.title == "Kettle 2"
    assert (len(catalog), catalog.version) == (1, 2)


def test_a_path_of_any_number_of_parts_is_a_node_under_its_prefixes() -> None:
    categories = Categories()
    parts = [str(number) for number in range(2_000)]
    deepest = categories.node("/".join(parts))
    assert len(categories) == 2_001
    assert categories.path(categories.at_depth(deepest, 1_234)) == "/".join(parts[:1_234])
    assert categories.node("0/1/other") == 2_001
    assert categories.path(categories.parent[2_001]) == "0/1"


def test_a_withdrawn_item_is_unknown_until_it_is_put_again() -> None:
    items, catalog = _catalog()
    item = CatalogItem("kettle", "Kettle", "Kitchen/Kettles", 30.0)
    catalog.put(item)
    catalog.withdraw("kettle")
    catalog.withdraw("kettle")
    catalog.withdraw("never seen")
    assert (catalog.get(0), len(catalog), catalog.version) == (None, 0, 2)
    assert catalog.facts[0]["state"] == 0
    assert items.find("never seen") == -1
    assert catalog.get(items.find("never seen")) is None
    catalog.put(item)
    assert (catalog.get(0), catalog.facts[0]["state"]) == (item, OFFERED)


def test_facts_cover_items_that_others_have_seen() -> None:
    items, catalog = _catalog()
    catalog.put(CatalogItem("kettle", "Kettle", "Kitchen/Kettles", 30.0))
    for number in range(5000):
        items.index(f"seen-{number}")
    catalog.make_room()
    assert len(catalog.facts) >= len(items)
    assert not catalog.facts["state"][1:].any()
    assert catalog.facts[0]["price"] == 30.0


def test_equal_words_have_equal_codes_and_no_word_is_one_of_its_own() -> None:
    items, catalog = _catalog()
    for name, brand in (("a", "Acme"), ("b", None), ("c", "Acme"), ("d", "")):
        catalog.put(CatalogItem(name, name, "Kitchen", 1.0, brand=brand))
    codes = catalog.facts["brand"][: len(items)].tolist()
    assert codes[0] == codes[2] != codes[1] == NONE
    assert codes[3] not in codes[:3]


def test_beginnings_of_paths_are_by_parts() -> None:
    categories = Catalog(Items()).categories
    deep, short, other = (categories.node(path) for path in ("A/B/C", "A", "A/Bx"))
    assert categories.at_depth(deep, 1) == categories.at_depth(other, 1) == short
    assert categories.at_depth(deep, 2) != categories.at_depth(other, 2) == other
    assert categories.at_depth(short, 2) == short
    assert [categories.path(categories.at_depth(deep, depth)) for depth in (0, 1, 2, 3, 9)] == [
        "A/B/C",
        "A",
        "A/B",
        "A/B/C",
        "A/B/C",
    ]


def test_many_categories_keep_their_places() -> None:
    categories = Catalog(Items()).categories
    nodes = [categories.node(f"{number % 7}/{number}") for number in range(500)]
    assert [categories.path(node) for node in nodes] == [f"{number % 7}/{number}" for number in range(500)]
    assert [categories.path(int(categories.parent[node])) for node in nodes[:9]] == [str(n % 7) for n in range(9)]
