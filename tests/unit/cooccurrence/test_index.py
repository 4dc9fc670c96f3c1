"""The index of published rows."""

import numpy as np
import pytest

from models.cache_lines import LINE
from models.cooccurrence.association import STRENGTH, shrunk_lift
from models.cooccurrence.cell_pool import MOST
from models.cooccurrence.config import CoOccurrenceConfig
from models.cooccurrence.counter import CoOccurrence, Row
from models.cooccurrence.index import Neighbours
from models.shop.decay import decayed
from models.shop.events import BOUGHT_WITH, VIEWED_WITH
from models.shop.items import Items

NOON = 1_750_000_000.0
DAY = 86400.0


def row_of(item_id: str, neighbours: list[str], seed: int = 0, position: int = 1) -> Row:
    random = np.random.default_rng(seed)
    n = len(neighbours)
    return Row(
        item_id,
        position,
        NOON + random.random(),
        (float(random.random()), float(random.random())),
        (int(random.integers(2**50)), int(random.integers(9))),
        neighbours,
        np.exp(random.normal(0, 50, (n, 3))),
        random.integers(0, MOST, (n, 3), np.int32, endpoint=True),
    )


def same(one: Row | None, other: Row) -> bool:
    assert one is not None
    return (
        (one.item_id, one.position, one.at, one.own, one.own_count, one.neighbours)
        == (other.item_id, other.position, other.at, other.own, other.own_count, other.neighbours)
        and np.array_equal(one.weights, other.weights)
        and np.array_equal(one.counts, other.counts)
        and one.weights.dtype == np.float64
        and one.counts.dtype == np.int32
    )


def test_a_row_comes_back_bit_for_bit() -> None:
    tables = Neighbours(Items(), DAY)
    row = row_of("kettle", [f"item-{n}" for n in range(100)])
    tables.put(row)
    assert same(tables.row("kettle"), row)
    assert tables.row("item-0") is None
    assert tables.row("unheard of") is None


def test_a_row_that_comes_back_is_a_copy() -> None:
    tables = Neighbours(Items(), DAY)
    row = row_of("kettle", ["mug"])
    tables.put(row)
    first = tables.row("kettle")
    assert first is not None
    first.weights[:] = 0.0
    assert same(tables.row("kettle"), row)


def test_plain_lists_are_taken_too() -> None:
    tables = Neighbours(Items(), DAY)
    tables.put(Row("kettle", 0, NOON, (1, 2), (3, 4), ["mug"], [[0.1, 0.2, 0.3]], [[1, 2, 3]]))  # type: ignore[arg-type]
    row = tables.row("kettle")
    assert row is not None
    assert (row.weights.tolist(), row.counts.tolist()) == ([[0.1, 0.2, 0.3]], [[1, 2, 3]])


def test_a_row_by_index_is_the_row_by_name() -> None:
    items, chance = Items(), np.random.default_rng(5)
    for number in range(40):
        items.index(f"i{number * 7 % 40}")
    rows = CoOccurrence(items, CoOccurrenceConfig(neighbours=6, newcomers=3))
    a, b = (chance.integers(0, 40, 500).astype(np.int32) for _ in range(2))
    weights, times = chance.random(500), NOON + 1e6 * chance.random(500)
    rows.learn_many(a, b, chance.integers(0, 3, 500).astype(np.int8), weights, times, 1)
    by_name, by_index = (Neighbours(items, rows.config.half_life_s) for _ in range(2))
    for index in rows.dirty():
        by_name.put(rows.row(index, 2))
        by_index.put_cut(index, 2, rows.cuts([index])[0])
    assert list(by_name) == list(by_index) != []
    for name in by_name:
        one, other = by_name.row(name), by_index.row(name)
        assert one is not None
        assert other is not None
        assert (one.neighbours, one.at, one.own, one.own_count) == (
            other.neighbours,
            other.at,
            other.own,
            other.own_count,
        )
        assert one.weights.tobytes() == other.weights.tobytes()
        assert one.counts.tobytes() == other.counts.tobytes()


def test_rows_that_change_their_length_leave_the_others_alone() -> None:
    tables = Neighbours(Items(), DAY)
    random = np.random.default_rng(3)
    held: dict[str, Row] = {}
    for step in range(1500):
        name = f"item-{random.integers(40)}"
        if random.random() < 0.1:
            tables.remove(name)
            held.pop(name, None)
        else:
            length = int(random.choice([0, 1, 7, 8, 9, 16, 17, 60, 100, 128]))
            held[name] = row_of(name, [f"item-{n}" for n in range(length)], seed=step, position=step)
            tables.put(held[name])
        assert len(tables) == len(held)
    assert list(tables) == sorted(held)
    for name, row in held.items():
        assert same(tables.row(name), row)


def test_arrays_hold_what_rows_say() -> None:
    items = Items()
    tables = Neighbours(items, DAY)
    for number in range(3000):  # beyond what there was room for
        items.index(f"other-{number}")
    row = row_of("kettle", ["mug", "pot"])
    tables.put(row)
    kettle = items.find("kettle")
    cells = slice(tables.start[kettle], tables.start[kettle] + tables.length[kettle])
    assert [items.name(i) for i in tables.ids[cells].tolist()] == ["mug", "pot"]
    assert np.array_equal(tables.weights[cells], row.weights)
    assert tables.own[kettle].tolist() == list(row.own)
    assert tables.own_count[kettle].tolist() == list(row.own_count)
    assert tables.at[kettle] == row.at
    assert tables.items_with_rows().tolist() == [kettle]
    assert [array.dtype for array in (tables.start, tables.length, tables.ids, tables.counts)] == [
        *(np.int64, np.int32, np.int32, np.int32)
    ]


def test_a_removed_row_leaves_nothing_behind() -> None:
    items = Items()
    tables = Neighbours(items, DAY)
    tables.put(row_of("kettle", ["mug"]))
    tables.remove("kettle")
    tables.remove("kettle")
    tables.remove("unheard of")
    kettle = items.find("kettle")
    assert (len(tables), list(tables), tables.row("kettle")) == (0, [], None)
    assert tables.length[kettle] == 0
    assert tables.own[kettle].tolist() == [0.0, 0.0]
    assert tables.own_count[kettle].tolist() == [0, 0]


def test_baskets_of_all_partitions_fade_to_one_time() -> None:
    tables = Neighbours(Items(), DAY)
    assert tables.baskets(NOON) == 0
    tables.set_total(0, 4.0, NOON)
    tables.set_total(1, 4.0, NOON - DAY)
    tables.set_total(1, 8.0, NOON - DAY)
    assert tables.baskets(NOON) == pytest.approx(8.0)
    assert tables.baskets(NOON + DAY) == pytest.approx(4.0)


def test_lift_brings_all_weights_to_one_time() -> None:
    items = Items()
    rows = CoOccurrence(items, CoOccurrenceConfig(half_life_s=DAY))
    baskets = [
        (0.0, "kettle", "mug"),
        (0.5, "kettle", "mug"),
        (0.7, "pot", "tea"),
        (2.0, "tea", "mug"),
        (3.0, "pot", "tea"),
    ]
    for day, one, other in baskets:
        for a, b in ((one, other), (other, one), (one, one), (other, other), (one, None)):
            rows.learn_one(a, b, BOUGHT_WITH, NOON + day * DAY)
    rows.learn_one("kettle", "tea", VIEWED_WITH, NOON + DAY)
    tables = Neighbours(items, DAY)
    for name in ("kettle", "mug", "pot", "tea"):
        tables.put(rows.row(items.find(name), 0))
    tables.set_total(3, rows.totals.baskets, rows.totals.at)

    def weight(*names: str) -> float:
        days = [day for day, *basket in baskets if set(names) <= set(basket)]
        return sum(decayed(1.0, day * DAY, 3.0 * DAY, DAY) for day in days)

    def expected(a: str, b: str) -> float:
        return shrunk_lift(weight(a, b), weight(a), weight(b), weight(), STRENGTH)

    for a in ("kettle", "mug", "pot", "tea"):
        row = tables.row(a)
        assert row is not None
        index = items.find(a)
        assert tables.lifts(index) == pytest.approx([expected(a, b) for b in row.neighbours])
        assert tables.lifts(index) == [tables.lift(index, items.find(b)) for b in row.neighbours]
    assert tables.lift(items.find("kettle"), items.find("pot")) == pytest.approx(expected("kettle", "pot"))
    assert tables.lift(items.find("kettle"), items.find("pot")) < 1.0


def test_lift_of_what_is_not_known_is_one() -> None:
    items = Items()
    tables = Neighbours(items, DAY)
    tables.put(row_of("kettle", ["mug"]))
    assert tables.lift(items.find("kettle"), items.find("mug")) == 1.0
    assert tables.lift(items.find("mug"), items.find("kettle")) == 1.0
    assert tables.lift(9_999_999, -1) == 1.0
    assert tables.lifts(9_999_999) == []


def test_memory_in_use_grows_with_rows_and_is_used_again() -> None:
    tables = Neighbours(Items(), DAY)
    row = row_of("kettle", [f"item-{n}" for n in range(100)])
    tables.put(row)
    assert tables._cells.heads[0] == 128
    for _ in range(50):
        tables.remove("kettle")
        tables.put(row)
    assert tables._cells.heads[0] == 128


def test_all_of_an_item_lies_on_one_line_and_survives_growth() -> None:
    items = Items()
    neighbours = Neighbours(items, half_life_s=100.0)
    rows = [row_of(f"item-{n}", [f"item-{n + 1}"], seed=n, position=n) for n in range(2500)]
    for row in rows:
        neighbours.put(row)
    columns = neighbours.at, neighbours.start, neighbours.length, neighbours.own, neighbours.own_count
    assert {column.strides[0] for column in columns} == {LINE}
    first = neighbours.at.ctypes.data
    assert first % LINE == 0
    assert all(0 <= column.ctypes.data - first < LINE for column in columns)
    assert all(same(neighbours.row(row.item_id), row) for row in rows)
    assert neighbours.nbytes >= LINE * len(neighbours.at)


def test_what_is_known_of_one_kind_lies_together() -> None:
    neighbours = Neighbours(Items(), half_life_s=100.0)
    assert neighbours.weights[:, VIEWED_WITH].flags.c_contiguous
    assert neighbours.counts[:, VIEWED_WITH].flags.c_contiguous
