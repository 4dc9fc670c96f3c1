"""Rows depend on which deltas were counted: not on their order, nor on who counted, nor on where they broke off."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.cooccurrence.config import CoOccurrenceConfig
from models.cooccurrence.count_kernel import TOTAL
from models.cooccurrence.counter import CoOccurrence, Row, Totals, warm
from models.cooccurrence.index import Neighbours
from models.shop.items import Items

warm()

NAMES = [f"item-{n}" for n in range(12)]
YEARS_25 = (946_684_800.0, 1_735_689_600.0)  # 2000 to 2025
CONFIG = CoOccurrenceConfig()
SMALL = CoOccurrenceConfig(neighbours=3, newcomers=2)

Delta = tuple[int, int, int, float, float]

times = st.one_of(
    st.floats(*YEARS_25),
    st.floats(1.7e9, 1.7e9 + 3 * 86400.0),
    st.sampled_from([1.7e9, 1.7e9 + CONFIG.half_life_s]),  # ties, and the edges of half-lives
)
places = st.one_of(st.integers(0, 1), st.integers(0, len(NAMES) - 1))  # some items come often
deltas = st.tuples(
    places,
    st.one_of(places, st.just(TOTAL)),
    st.integers(0, 2),
    st.floats(0, 1).map(lambda weight: round(weight, 4)),
    times,
)
messages = st.lists(st.lists(deltas, min_size=1, max_size=12), min_size=1, max_size=12)


def fresh(config: CoOccurrenceConfig = CONFIG) -> CoOccurrence:
    items = Items()
    for name in NAMES:
        items.index(name)
    return CoOccurrence(items, config)


def count(rows: CoOccurrence, message: list[Delta], offset: int) -> None:
    a, b, kind, weight, at = zip(*message, strict=True)
    rows.learn_many(
        np.array(a, np.int32),
        np.array(b, np.int32),
        np.array(kind, np.int8),
        np.array(weight, np.float64),
        np.array(at, np.float64),
        offset,
    )


def rows_of(rows: CoOccurrence) -> dict[str, Row]:
    found = {}
    for index, name in enumerate(NAMES):
        try:
            found[name] = rows.row(index, 0)
        except KeyError:
            continue
    assert len(found) == len(rows)
    return found


def assert_same(one: CoOccurrence, other: CoOccurrence) -> None:
    """Counts and times alike; weights to 1e-9 of themselves, or of what one event weighs now."""
    left, right = rows_of(one), rows_of(other)
    assert left.keys() == right.keys()
    for name, row in left.items():
        twin = right[name]
        assert (row.at, row.own_count) == (twin.at, twin.own_count)
        assert row.own == pytest.approx(twin.own, rel=1e-9, abs=1e-12)
        assert sorted(row.neighbours) == sorted(twin.neighbours)
        places = [twin.neighbours.index(neighbour) for neighbour in row.neighbours]
        assert row.counts.tolist() == twin.counts[places].tolist()
        np.testing.assert_allclose(row.weights, twin.weights[places], rtol=1e-9, atol=1e-12)
    assert one.totals.at == other.totals.at
    assert one.totals.baskets == pytest.approx(other.totals.baskets, rel=1e-9, abs=1e-12)


@settings(deadline=None)
@given(st.lists(deltas, min_size=1, max_size=80).flatmap(lambda d: st.tuples(st.just(d), st.permutations(d))))
def test_any_order_of_the_same_deltas_gives_the_same_rows(orders: tuple[list[Delta], list[Delta]]) -> None:
    one, other = fresh(), fresh()
    count(one, orders[0], 0)
    count(other, orders[1], 0)
    assert_same(one, other)


@settings(deadline=None)
@given(st.lists(deltas, min_size=1, max_size=80))
def test_rows_are_what_a_plain_sum_says(counted: list[Delta]) -> None:
    rows = fresh()
    count(rows, counted, 0)
    for name, row in rows_of(rows).items():
        mine = [delta for delta in counted if NAMES[delta[0]] == name and delta[1] != TOTAL]
        mine = [delta for delta in mine if delta[0] != delta[1] or delta[2] < 2]
        assert row.at == max(at for *_, at in mine)
        expected = np.zeros((len(NAMES), 3))
        counts = np.zeros((len(NAMES), 3), np.int64)
        for _, b, kind, weight, at in mine:
            expected[b, kind] += weight * 2.0 ** ((at - row.at) / CONFIG.half_life_s)
            counts[b, kind] += 1
        own = NAMES.index(name)
        assert row.own == pytest.approx(tuple(expected[own, :2]), rel=1e-9, abs=1e-12)
        assert row.own_count == tuple(counts[own, :2])
        for place, neighbour in enumerate(row.neighbours):
            b = NAMES.index(neighbour)
            np.testing.assert_allclose(row.weights[place], expected[b], rtol=1e-9, atol=1e-12)
            assert row.counts[place].tolist() == counts[b].tolist()
        assert len(row.neighbours) == len({b for _, b, *_ in mine} - {own})


@settings(deadline=None)
@given(messages, st.sampled_from([CONFIG, SMALL]))
def test_one_by_one_and_many_at_once_agree(history: list[list[Delta]], config: CoOccurrenceConfig) -> None:
    one, many = fresh(config), fresh(config)
    for offset, message in enumerate(history):
        count(many, message, offset)
        for a, b, kind, weight, at in message:
            one.learn_one(NAMES[a], None if b == TOTAL else NAMES[b], kind, at, weight)
    assert_same(one, many)
    left, right = rows_of(one), rows_of(many)
    assert [row.neighbours for row in left.values()] == [row.neighbours for row in right.values()]
    assert sorted(one.dirty()) == sorted(many.dirty())


@settings(deadline=None)
@given(messages)
def test_rows_are_bounded_and_sorted_whatever_comes(history: list[list[Delta]]) -> None:
    rows = fresh(SMALL)
    for offset, message in enumerate(history):
        count(rows, message, offset)
    importance = np.array(SMALL.importance)
    for row in rows_of(rows).values():
        assert len(row.neighbours) == len(set(row.neighbours)) <= SMALL.neighbours
        assert row.item_id not in row.neighbours
        strength = (row.weights @ importance).astype(np.float32)
        assert (np.diff(strength) <= 1e-6 * strength[:-1]).all()
    assert (rows._rows["length"][: len(rows)] <= SMALL.neighbours + SMALL.newcomers).all()


@dataclass
class Published:
    """A compacted topic of rows and positions, as one partition's owner writes it and everyone mirrors it."""

    rows: dict[str, Row] = field(default_factory=dict)
    position: int = 0
    totals: Totals = field(default_factory=Totals)


class Owner:
    """Publishes and breaks off as the owner of a partition may: at any point, in the middle of a round as well."""

    def __init__(self, topic: Published) -> None:
        self.topic = topic
        self.rows = fresh()
        self.tables = Neighbours(Items(), CONFIG.half_life_s)  # another process numbers items differently
        for row in topic.rows.values():
            self.tables.put(row)
        for name in self.tables:
            merged = self.tables.row(name)
            assert merged is not None
            self.rows.adopt(merged)
        self.rows.totals = topic.totals
        self.position = topic.position
        self.round: list[int] = []
        self.recorded: tuple[int, Totals] | None = None

    def apply(self, history: list[list[Delta]], number: int) -> None:
        for offset in range(self.position, min(self.position + number, len(history))):
            count(self.rows, history[offset], offset)
            self.position = offset + 1

    def publish(self, number: int) -> None:
        """Go on with the round that is under way, or begin one; a round that is through writes its position down."""
        if self.recorded is None:
            self.round, self.recorded = self.rows.dirty(), (self.position, self.rows.totals)
        sent = min(number, len(self.round))
        for _ in range(sent):
            index = self.round.pop(0)
            self.topic.rows[NAMES[index]] = self.rows.row(index, self.position)
            self.rows.published(index)
        if number > sent:  # the record is a step of its own: it may be lost while the rows are not
            self.topic.position, self.topic.totals = self.recorded
            self.recorded = None


@settings(deadline=None, max_examples=200)
@given(
    messages,
    st.lists(
        st.tuples(st.sampled_from(["apply", "apply", "publish", "publish", "hand over"]), st.integers(1, 5)),
        max_size=30,
    ),
)
@pytest.mark.slow
def test_a_successor_ends_with_the_rows_of_an_undisturbed_run(
    history: list[list[Delta]], steps: list[tuple[str, int]]
) -> None:
    undisturbed = fresh()
    for offset, message in enumerate(history):
        count(undisturbed, message, offset)
    topic = Published()
    owner = Owner(topic)
    for step, number in steps:
        if step == "apply":
            owner.apply(history, number)
        elif step == "publish":
            owner.publish(number)
        else:
            owner = Owner(topic)
    owner.apply(history, len(history))
    assert_same(owner.rows, undisturbed)
    heir = Owner(topic)
    heir.apply(history, len(history))
    assert_same(heir.rows, undisturbed)


@settings(deadline=None)
@given(messages)
def test_the_mirror_gives_back_exactly_what_the_owner_published(history: list[list[Delta]]) -> None:
    rows = fresh()
    tables = Neighbours(Items(), CONFIG.half_life_s)
    published: dict[str, Row] = {}
    for offset, message in enumerate(history):
        count(rows, message, offset)
        for index in rows.dirty():
            published[NAMES[index]] = rows.row(index, offset + 1)
            tables.put(published[NAMES[index]])
            rows.published(index)
    assert list(tables) == sorted(published)
    for name, row in published.items():
        twin = tables.row(name)
        assert twin is not None
        assert (twin.position, twin.at, twin.own, twin.own_count) == (row.position, row.at, row.own, row.own_count)
        assert twin.neighbours == row.neighbours
        assert twin.weights.tobytes() == row.weights.tobytes()
        assert twin.counts.tobytes() == row.counts.tobytes()


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(1, 120))
def test_rows_that_grow_shrink_and_move_in_the_pool_never_touch_each_other(seed: int, many: int, most: int) -> None:
    random = np.random.default_rng(seed)
    items = Items()
    for number in range(200):
        items.index(f"item-{number:03d}")
    rows = CoOccurrence(items, CONFIG)
    expected: dict[int, dict[int, int]] = {}
    for offset in range(12):
        a = random.integers(0, many, 300).astype(np.int32)
        b = (100 + random.integers(0, most, 300) % 100).astype(np.int32)
        rows.learn_many(a, b, np.zeros(300, np.int8), np.ones(300), np.full(300, 1.7e9), offset)
        for one, other in zip(a.tolist(), b.tolist(), strict=True):
            row = expected.setdefault(one, {})
            row[other] = row.get(other, 0) + 1
        index = int(a[0])
        kept = rows.row(index, 0)
        n = int(random.integers(0, len(kept.neighbours) + 1))
        kept.neighbours, kept.weights, kept.counts = kept.neighbours[:n], kept.weights[:n], kept.counts[:n]
        rows.adopt(kept)
        expected[index] = {items.find(name): expected[index][items.find(name)] for name in kept.neighbours}
    assert len(rows) == len(expected)
    for index, row in expected.items():
        found = rows.row(index, 0)
        assert dict(zip(map(items.find, found.neighbours), found.counts[:, 0].tolist(), strict=True)) == row
        assert found.weights[:, 0] == pytest.approx(found.counts[:, 0], rel=1e-12)
