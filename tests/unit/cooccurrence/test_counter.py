"""Counting at the owner of a partition of items, in a world small enough to know the answer."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from models.block_pool import NOWHERE, block_size
from models.cooccurrence.cell_pool import MOST, Cells
from models.cooccurrence.config import CoOccurrenceConfig
from models.cooccurrence.count_kernel import TOTAL
from models.cooccurrence.counter import CoOccurrence, Row
from models.shop.events import BOUGHT_WITH, VIEWED_THEN_BOUGHT, VIEWED_WITH
from models.shop.items import Items
from tests.support.compiled import signatures

DAY = 86400.0
NOON = 1_750_000_000.0
MONTH = 30 * DAY


def rows_of(**config: float) -> tuple[Items, CoOccurrence]:
    items = Items()
    return items, CoOccurrence(items, CoOccurrenceConfig(**config))  # type: ignore[arg-type]


def message(rows: CoOccurrence, items: Items, offset: int, *deltas: tuple[str, str | None, int, float, float]) -> None:
    """Deltas of (a, b, kind, weight, at), as one message."""
    a, b, kind, weight, at = zip(*deltas, strict=True)
    rows.learn_many(
        np.array([items.index(one) for one in a], np.int32),
        np.array([TOTAL if one is None else items.index(one) for one in b], np.int32),
        np.array(kind, np.int8),
        np.array(weight, np.float64),
        np.array(at, np.float64),
        offset,
    )


def test_the_kettle_goes_with_the_mug_that_was_bought_and_less_with_the_pot_that_was_looked_at() -> None:
    items, rows = rows_of()
    rows.learn_one("kettle", "pot", VIEWED_WITH, NOON)
    rows.learn_one("kettle", "mug", BOUGHT_WITH, NOON)
    row = rows.row(items.find("kettle"), 0)
    assert row.neighbours == ["mug", "pot"]
    assert row.counts.tolist() == [[0, 1, 0], [1, 0, 0]]


def test_a_weight_is_half_after_a_half_life_and_the_count_stays() -> None:
    items, rows = rows_of()
    rows.learn_one("kettle", "mug", BOUGHT_WITH, NOON, 0.8)
    rows.learn_one("kettle", "kettle", VIEWED_WITH, NOON + MONTH)
    row = rows.row(items.find("kettle"), 0)
    assert row.at == NOON + MONTH
    assert row.weights[0] == pytest.approx([0.0, 0.4, 0.0])
    assert (row.own, row.own_count) == ((1.0, 0.0), (1, 0))


def test_a_late_event_counts_for_what_is_left_of_it() -> None:
    items, rows = rows_of()
    rows.learn_one("kettle", "mug", VIEWED_THEN_BOUGHT, NOON)
    rows.learn_one("kettle", "pot", VIEWED_THEN_BOUGHT, NOON - 3 * MONTH)
    row = rows.row(items.find("kettle"), 0)
    assert row.at == NOON
    assert dict(zip(row.neighbours, row.weights[:, VIEWED_THEN_BOUGHT], strict=True)) == pytest.approx(
        {"mug": 1.0, "pot": 0.125}
    )


@pytest.mark.parametrize("half_life_s", [60.0, 3600.0, MONTH, 400 * DAY])
def test_twenty_five_years_of_events_neither_overflow_nor_lose_the_newest(half_life_s: float) -> None:
    items, rows = rows_of(half_life_s=half_life_s)
    first = 946_684_800.0  # the year 2000
    for day in range(0, 25 * 365, 7):
        rows.learn_one("kettle", "mug", BOUGHT_WITH, first + day * DAY)
        rows.learn_one("kettle", None, BOUGHT_WITH, first + day * DAY)
    week = 0.5 ** (7 * DAY / half_life_s)
    number = len(range(0, 25 * 365, 7))
    expected = (1 - week**number) / (1 - week)
    row = rows.row(items.find("kettle"), 0)
    assert row.weights[0, BOUGHT_WITH] == pytest.approx(expected, rel=1e-7 if half_life_s < 3600 else 1e-9)
    assert row.counts[0, BOUGHT_WITH] == number
    assert rows.totals.baskets == pytest.approx(expected, rel=1e-7 if half_life_s < 3600 else 1e-9)
    rows.learn_one("kettle", "pot", BOUGHT_WITH, first)  # 25 years late: nothing of it is left, and nothing breaks
    assert np.isfinite(rows.row(items.find("kettle"), 0).weights).all()


def test_own_marginals_are_of_views_and_baskets_only() -> None:
    items, rows = rows_of()
    message(
        *(rows, items, 0),
        ("mug", "mug", VIEWED_WITH, 1.0, NOON),
        ("mug", "mug", BOUGHT_WITH, 0.5, NOON),
        ("mug", "mug", BOUGHT_WITH, 0.25, NOON),
        ("mug", "mug", VIEWED_THEN_BOUGHT, 1.0, NOON),
    )
    row = rows.row(items.find("mug"), 1)
    assert row.own == pytest.approx((1.0, 0.75))
    assert row.own_count == (1, 2)
    assert rows.dirty() == [items.find("mug")]
    assert row.neighbours == []
    assert row.weights.shape == row.counts.shape == (0, 3)


def test_a_total_makes_no_row() -> None:
    items, rows = rows_of()
    message(rows, items, 0, ("mug", None, BOUGHT_WITH, 0.5, NOON), ("pot", None, BOUGHT_WITH, 1.0, NOON + MONTH))
    assert len(rows) == 0
    assert rows.dirty() == []
    assert rows.totals.baskets == pytest.approx(1.25)
    assert rows.totals.at == NOON + MONTH


def test_totals_can_be_handed_over() -> None:
    _, rows = rows_of()
    rows.learn_one("mug", None, BOUGHT_WITH, NOON)
    _, heir = rows_of()
    heir.totals = rows.totals
    for one in (rows, heir):
        one.learn_one("mug", None, BOUGHT_WITH, NOON + 0.3 * MONTH)
    assert heir.totals.at == rows.totals.at
    assert heir.totals.baskets == pytest.approx(rows.totals.baskets, rel=1e-12)


def test_strongest_first_and_ties_by_id_whatever_the_order_of_arrival() -> None:
    items, rows = rows_of()
    for name in ("pot", "mug", "tea", "cup"):
        rows.learn_one("kettle", name, VIEWED_WITH, NOON)
    rows.learn_one("kettle", "tea", VIEWED_WITH, NOON)
    assert rows.row(items.find("kettle"), 0).neighbours == ["tea", "cup", "mug", "pot"]


def test_the_weakest_gives_way_to_a_newcomer_and_of_equals_the_largest_id() -> None:
    items, rows = rows_of(neighbours=2, newcomers=1)
    for name in ("cup", "mug", "cup", "pot", "tea"):
        rows.learn_one("kettle", name, VIEWED_WITH, NOON)
    assert rows.row(items.find("kettle"), 0).neighbours == ["cup", "mug"]  # tea has taken the place of pot
    rows.learn_one("kettle", "tea", VIEWED_WITH, NOON)
    rows.learn_one("kettle", "pot", VIEWED_WITH, NOON)  # takes that of mug, and starts at 0
    row = rows.row(items.find("kettle"), 0)
    assert row.neighbours == ["cup", "tea"]
    assert row.counts[:, VIEWED_WITH].tolist() == [2, 2]


def test_a_newcomer_that_keeps_coming_gets_in_among_passers_by() -> None:
    items, rows = rows_of(neighbours=4, newcomers=4)
    for name in ("cup", "mug", "pot", "tea"):
        for _ in range(5):
            rows.learn_one("kettle", name, BOUGHT_WITH, NOON)
    for n in range(60):
        name = "tray" if n % 3 == 0 else f"passer-by-{n}"
        rows.learn_one("kettle", name, BOUGHT_WITH, NOON + n)
    assert "tray" in rows.row(items.find("kettle"), 0).neighbours


def test_importance_says_which_kind_keeps_a_cell() -> None:
    items, rows = rows_of(neighbours=1, newcomers=0, importance=(0.0, 1.0, 0.0))  # type: ignore[arg-type]
    rows.learn_one("kettle", "mug", BOUGHT_WITH, NOON)
    rows.learn_one("kettle", "pot", VIEWED_WITH, NOON)
    rows.learn_one("kettle", "tea", BOUGHT_WITH, NOON)
    assert rows.row(items.find("kettle"), 0).neighbours == ["tea"]


def test_rows_wait_in_the_order_of_their_first_change_and_are_clean_once_published() -> None:
    items, rows = rows_of()
    pairs = [("tea", "mug"), ("cup", "mug")]
    message(rows, items, 0, *((a, b, VIEWED_WITH, 1.0, NOON) for a, b in pairs))
    rows.learn_one("apron", "mug", VIEWED_WITH, NOON)
    rows.learn_one("tea", "pot", VIEWED_WITH, NOON)
    assert [items.name(index) for index in rows.dirty()] == ["cup", "tea", "apron"]
    rows.published(items.find("cup"))
    rows.published(items.find("tea"))
    rows.mark_dirty(items.find("cup"))
    rows.mark_dirty(items.find("apron"))  # waits already
    rows.mark_dirty(items.find("mug"))  # has no row
    rows.mark_dirty(items.index("brand new"))
    assert [items.name(index) for index in rows.dirty()] == ["apron", "cup"]


def test_an_item_without_a_row_is_named() -> None:
    items, rows = rows_of()
    rows.learn_one("kettle", "mug", VIEWED_WITH, NOON)
    for ask in (lambda i: rows.row(i, 0), rows.published):
        with pytest.raises(KeyError, match="mug"):
            ask(items.find("mug"))


def test_an_adopted_row_skips_the_messages_it_includes_and_only_they_and_only_it() -> None:
    items, rows = rows_of()
    rows.adopt(Row("kettle", 10, NOON, (3.0, 2.0), (3, 2), ["mug"], np.array([[1.0, 2.0, 0.0]]), np.array([[1, 2, 0]])))
    assert rows.dirty() == []
    deltas = [
        ("kettle", "mug", VIEWED_WITH, 1.0, NOON),
        ("kettle", "kettle", VIEWED_WITH, 1.0, NOON),
        ("tea", "mug", VIEWED_WITH, 1.0, NOON),
        ("kettle", None, BOUGHT_WITH, 1.0, NOON),
    ]
    message(rows, items, 9, *deltas)
    row = rows.row(items.find("kettle"), 10)
    assert (row.weights.tolist(), row.own_count) == ([[1.0, 2.0, 0.0]], (3, 2))
    assert row.own == pytest.approx((3.0, 2.0))
    assert [items.name(index) for index in rows.dirty()] == ["tea"]
    assert rows.totals.baskets == pytest.approx(1.0)
    message(rows, items, 10, *deltas)
    row = rows.row(items.find("kettle"), 11)
    assert (row.weights[0].tolist(), row.own_count) == (pytest.approx([2.0, 2.0, 0.0]), (4, 2))
    assert rows.totals.baskets == pytest.approx(2.0)


def test_adopting_takes_the_place_of_what_was_there() -> None:
    items, rows = rows_of()
    for number in range(40):
        rows.learn_one("kettle", f"item-{number}", VIEWED_WITH, NOON)
    rows.adopt(Row("kettle", 3, NOON, (0.0, 1.0), (0, 1), ["mug"], np.array([[0.0, 1.0, 0.0]]), np.array([[0, 1, 0]])))
    row = rows.row(items.find("kettle"), 3)
    assert (row.neighbours, row.counts.tolist()) == (["mug"], [[0, 1, 0]])
    assert len(rows) == 1
    rows.adopt(Row("kettle", 4, NOON, (0.0, 1.0), (0, 1), [], np.zeros((0, 3)), np.zeros((0, 3), np.int64)))
    assert rows.row(items.find("kettle"), 4).neighbours == []
    rows.learn_one("kettle", "tea", VIEWED_WITH, NOON)
    assert rows.row(items.find("kettle"), 4).neighbours == ["tea"]


def test_a_row_longer_than_its_room_is_adopted_as_far_as_it_fits() -> None:
    items, rows = rows_of(neighbours=1, newcomers=1)
    names = ["mug", "pot", "tea"]
    rows.adopt(
        Row("kettle", 0, NOON, (0.0, 0.0), (0, 0), names, np.eye(3) * [3.0, 0.5, 0.2], np.eye(3, dtype=np.int64))
    )
    rows.learn_one("kettle", "pot", BOUGHT_WITH, NOON, 9.0)
    assert rows.row(items.find("kettle"), 0).neighbours == ["pot"]
    assert rows.row(items.find("kettle"), 0).counts.tolist() == [[0, 2, 0]]


def test_counts_stay_at_their_most() -> None:
    items, rows = rows_of()
    counts = np.array([[MOST, MOST, MOST - 1]], np.int32)
    rows.adopt(Row("kettle", 0, NOON, (0.0, 0.0), (0, 0), ["mug"], np.ones((1, 3)), counts))
    for kind in (VIEWED_WITH, BOUGHT_WITH, VIEWED_THEN_BOUGHT):
        rows.learn_one("kettle", "mug", kind, NOON)
    assert rows.row(items.find("kettle"), 0).counts.tolist() == [[MOST, MOST, MOST]]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("a", -1), ("a", 3), ("b", -2), ("b", 3), ("kind", 3), ("kind", -1)),
        *(("weight", -0.1), ("weight", math.inf), ("weight", math.nan), ("at", math.nan), ("at", -math.inf)),
    ],
)
def test_a_delta_that_is_none_is_named_and_nothing_is_counted(column: str, value: float) -> None:
    items, rows = rows_of()
    for name in ("kettle", "mug", "pot"):
        items.index(name)
    columns: dict[str, Any] = {
        "a": np.array([0, 1], np.int32),
        "b": np.array([1, 0], np.int32),
        "kind": np.array([0, 0], np.int8),
        "weight": np.array([1.0, 1.0]),
        "at": np.array([NOON, NOON]),
    }
    columns[column][1] = value
    with pytest.raises(ValueError, match="delta 1 of offset 7 is none of 3 items"):
        rows.learn_many(**columns, offset=7)
    with pytest.raises(ValueError, match="columns of 2, 1, 2, 2 and 2"):
        rows.learn_many(**columns | {"b": np.zeros(1, np.int32)}, offset=7)
    assert len(rows) == 0


def test_columns_that_cannot_be_written_or_have_gaps_do_not_compile_anything_again() -> None:
    from models.cooccurrence.count_kernel import count

    items, rows = rows_of()
    rows.learn_one("kettle", "mug", VIEWED_WITH, NOON)
    before = len(signatures(count))
    a = np.zeros(4, np.int32)[::2]
    at = np.frombuffer(np.full(2, NOON).tobytes(), np.float64)
    rows.learn_many(a, a + 1, np.zeros(2, np.int64), np.ones(2, np.float32), at, 0)
    assert len(signatures(count)) == before == 1
    assert rows.row(0, 0).counts[0, 0] == 3


@pytest.mark.parametrize(
    "wrong",
    [
        *({"neighbours": 0}, {"neighbours": 10_001}, {"newcomers": -1}, {"half_life_s": 0.0}),
        *(
            {"half_life_s": math.inf},
            {"half_life_s": math.nan},
            {"importance": (1.0, -1.0, 1.0)},
            {"importance": (1.0,)},
        ),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CoOccurrenceConfig(**wrong)  # type: ignore[arg-type]


def test_memory_grows_with_cells_and_not_beyond_the_limit() -> None:
    _, rows = rows_of(neighbours=20, newcomers=12)
    random = np.random.default_rng(5)
    sizes = []
    for n in range(3000):
        rows.learn_one("kettle", f"item-{random.integers(10**9)}", VIEWED_WITH, NOON + n)
        sizes.append(int(rows._cells.heads[0]))
    assert max(sizes) == sizes[-1] == 8 + 16 + 32


def test_a_block_is_used_again_and_a_row_without_cells_has_none() -> None:
    cells = Cells(room=16)
    first = cells.place(NOWHERE, 0, 8)
    second = cells.place(NOWHERE, 0, 3)
    cells.ids[first : first + 8] = range(8)
    third = cells.place(second, 3, 30)  # grows the pool; what is in use is kept
    assert cells.ids[first : first + 8].tolist() == list(range(8))
    assert len(cells.ids) >= 48
    assert cells.place(third, 30, 0) == NOWHERE
    assert cells.place(NOWHERE, 0, 0) == NOWHERE
    assert cells.place(NOWHERE, 0, 1) == second
    assert cells.place(first, 8, 5) == first  # fits as it is
    assert cells.place(NOWHERE, 0, 17) == third
    assert [block_size(n) for n in (0, 1, 8, 9, 16, 17, 128)] == [0, 8, 8, 16, 16, 32, 128]


def knows(items: Items, *names: str) -> Callable[[Any], Any]:
    """The catalogue's answer."""
    return lambda indices: np.isin(indices, [items.index(name) for name in names])


def test_of_unknown_items_the_least_looked_at_are_dropped_and_of_equals_the_stalest() -> None:
    items, rows = rows_of()
    for place, name in enumerate(["kettle", "once", "twice", "later", "latest"]):
        rows.learn_one(name, name, VIEWED_WITH, NOON + place)
        rows.learn_one(name, "kettle", VIEWED_WITH, NOON + place)
    rows.learn_one("twice", "twice", VIEWED_WITH, NOON)
    for name in ("once", "kettle"):
        rows.published(items.find(name))
    assert rows.drop_unknown(knows(items, "kettle"), 2, 0.0, adopted=True) == [items.find("once")]  # the published one
    assert len(rows) == 3
    for name in ("kettle", "twice", "latest"):
        assert rows.row(items.find(name), 0).own_count[0] >= 1
    for name in ("once", "later"):
        with pytest.raises(KeyError):
            rows.row(items.find(name), 0)


def test_what_was_bought_counts_for_more_than_what_was_looked_at_and_a_row_without_either_for_nothing() -> None:
    items, rows = rows_of()
    for _ in range(3):
        rows.learn_one("viewed", "viewed", VIEWED_WITH, NOON)
    rows.learn_one("bought", "bought", BOUGHT_WITH, NOON)
    rows.learn_one("neither", "viewed", VIEWED_WITH, NOON)
    rows.drop_unknown(knows(items), 1, 0.0, adopted=True)
    assert len(rows) == 1
    assert rows.row(items.find("bought"), 0).own_count == (0, 1)


def test_stale_rows_of_unknown_items_are_dropped_however_few_they_are() -> None:
    items, rows = rows_of()
    for name in ("kettle", "old"):
        rows.learn_one(name, name, VIEWED_WITH, NOON)
    rows.learn_one("new", "new", VIEWED_WITH, NOON + DAY)
    assert rows.drop_unknown(knows(items, "kettle"), 10, NOON + 1.0, adopted=True) == []  # nothing is published
    assert sorted(items.name(index) for index in rows.dirty()) == ["kettle", "new"]


def test_adopted_rows_may_be_spared() -> None:
    items, rows = rows_of()
    row = Row("old", 7, NOON, (1.0, 0.0), (1, 0), ["kettle"], np.ones((1, 3)), np.ones((1, 3), np.int64))
    rows.adopt(row)
    rows.learn_one("new", "new", VIEWED_WITH, NOON)
    assert rows.drop_unknown(knows(items), 0, 0.0, adopted=False) == []
    assert len(rows) == 1
    assert rows.drop_unknown(knows(items), 0, 0.0, adopted=True) == [items.find("old")]
    assert len(rows) == 0


def test_rows_that_stay_are_as_if_the_others_had_never_been_and_dropped_ones_start_from_nothing() -> None:
    items, rows = rows_of()
    others, calm = rows_of()
    names = [f"item-{n}" for n in range(40)]
    random = np.random.default_rng(1)
    for number in range(3_000):
        a, b = random.integers(0, 40, 2)
        for table, wanted in ((rows, True), (calm, a % 2 == 0)):
            if wanted:
                table.learn_one(names[a], names[b], number % 3, NOON + number)
        if number % 500 == 499:
            rows.drop_unknown(knows(items, *names[::2]), 0, 0.0, adopted=True)
            assert {items.name(index) for index in rows.dirty()} == set(names[::2])
    for name in names[::2]:
        kept, right = rows.row(items.find(name), 1), calm.row(others.find(name), 1)
        assert (kept.neighbours, kept.at, kept.own, kept.own_count) == (
            right.neighbours, right.at, right.own, right.own_count,
        )  # fmt: skip
        assert (kept.weights == right.weights).all()
        assert (kept.counts == right.counts).all()
    rows.learn_one(names[1], names[1], VIEWED_WITH, NOON)
    again = rows.row(items.find(names[1]), 1)
    assert (again.at, again.own_count, again.neighbours) == (NOON, (1, 0), [])


def test_memory_does_not_grow_with_rows_that_are_dropped() -> None:
    items, rows = rows_of()
    ids = np.array([items.index(f"id-{n}") for n in range(400)], np.int32)
    sizes = set()
    for turn in range(50):
        a = np.repeat(ids, 20)
        n = len(a)
        deltas = a, np.tile(ids[:20], len(ids)), np.zeros(n, np.int8), np.ones(n), np.full(n, NOON + turn)
        rows.learn_many(*deltas, turn)
        rows.drop_unknown(knows(items), 10, 0.0, adopted=True)
        assert len(rows) == 10
        sizes.add(len(rows._cells.ids))
    assert len(sizes) == 1
