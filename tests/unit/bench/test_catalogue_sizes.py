"""The cost of an event by items of the catalogue: copies of the shop, with traffic and a model of all."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import orjson
import pytest

from models.snapshot import Snapshot
from streams.bench import catalogue_sizes, serving_models
from streams.bench.breakdown import BACKLOG, STEADY, Pace
from streams.bench.catalogue_sizes import Copies
from streams.bench.events import BenchShop, Event, write
from streams.bench.workbench import PURCHASES
from streams.snapshots.store import SnapshotStore

SIZE = 8_500  # four copies and a part of the fifth
START_S = 1_750_000_000.0


@pytest.fixture(scope="module")
def shop() -> BenchShop:
    return BenchShop(7, 8, START_S)


def items_of(event: Event) -> list[str]:
    value = orjson.loads(event.value)
    if event.topic == "histories":
        return list(value["items"])
    return [line["item_id"] for line in value["items"]] if event.topic == "purchases" else [value["item_id"]]


def copy_of(item_id: str) -> str:
    return item_id.partition("~")[2]


def test_the_catalogue_has_so_many_items_with_ids_of_their_own(shop: BenchShop) -> None:
    records = list(Copies(shop.catalog(), SIZE, 7).items())
    ids = [orjson.loads(record.value)["item_id"] for record in records]
    assert len(set(ids)) == SIZE
    assert [record.key.decode() for record in records] == ids


def test_a_shopper_stays_in_one_copy_and_the_first_copies_have_most(shop: BenchShop) -> None:
    copies = Copies(shop.catalog(), SIZE, 7)
    catalog = {item_id for record in copies.items() for item_id in items_of(record)}
    visited: dict[bytes, str] = {}
    for event in map(copies.spread, [*shop.take(6_000), *islice(shop.histories(PURCHASES), 300)]):
        found = set(map(copy_of, items_of(event)))
        assert set(items_of(event)) <= catalog
        assert found == {visited.setdefault(event.key, next(iter(found)))}
    counts = Counter(visited.values())
    assert [copy for copy, _ in counts.most_common()] == ["", "1", "2", "3"]


def test_a_copy_of_a_sequence_model_knows_the_copies(shop: BenchShop) -> None:
    own = np.random.default_rng(1).standard_normal((3, 16)).astype(np.float32)
    learnt = Snapshot(
        model="sequence",
        code="any",
        arrays={"items.weight": own, "lstm": np.ones(2, np.float32)},
        vocabulary=("a", "", "b"),
        config={},
        positions={},
        learnt={"events": 1},
        metrics={},
        at=1e9,
    )
    found = Copies(shop.catalog(), SIZE, 7).enlarged(learnt)
    assert found.vocabulary == ("a", "b", "a~1", "b~1", "a~2", "b~2", "a~3", "b~3")
    vectors = found.arrays["items.weight"]
    assert np.array_equal(vectors[:2], own[[0, 2]])
    assert not np.array_equal(vectors[2], vectors[4])
    near = vectors[2] @ own[0] / np.linalg.norm(vectors[2]) / np.linalg.norm(own[0])
    assert near > 0.8
    order = replace(learnt, model="ranker")
    assert Copies(shop.catalog(), SIZE, 7).enlarged(order) is order


async def test_a_worker_of_one_size_is_measured(tmp_path: Path) -> None:
    pytest.importorskip("river", reason="the order learns with river (extra `learning`)")
    shop = BenchShop(7, 8, START_S)
    catalog, events = shop.catalog(), shop.take(2_000)
    store = SnapshotStore(str(tmp_path / "snapshots"))
    for snapshot in serving_models.learn(catalog, events[:500], sequence=False):
        store.save(snapshot)
    write(tmp_path / "events", events)
    write(tmp_path / "histories", list(islice(shop.histories(PURCHASES), 200)))
    paces = [Pace(BACKLOG.name, 200, 300, 1), Pace(STEADY.name, 8, 100, 1)]
    found = await catalogue_sizes.cost(Copies(catalog, 4_000, 7), tmp_path, paces, warm_up=1_000)
    assert found["us"] > 0.0
    assert found["us_steady"] > 0.0
    assert found["rss_mb"] > found["parts_mb"]["catalog"] > 0.0
    assert found["parts_mb"]["histories"] > 0.0
