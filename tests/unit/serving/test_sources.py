"""One suite for every source of the served list: a known answer with its reason, rules, bounds, batches, restarts.

A source is taught, as a worker would learn it, that items go with the kettle, the first of them most. To test another
source, add an entry to `SOURCES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from models.ranking.candidate_pool import MOST
from models.ranking.features import FEATURES, LEARNT, SHARE_UNIT, no_order
from models.ranking.features import SOURCES as SHARE_NAMES
from models.ranking.ranker import CODE as RANKER_CODE
from models.ranking.ranker import MODEL as RANKER
from models.ranking.ranker import order_of
from models.sequence.config import CODE as SEQUENCE_CODE
from models.sequence.config import MODEL as SEQUENCE
from models.sequence.predictor import ITEMS, Expected
from models.sequence.snapshot import read_predictor, shapes
from models.serving import sources
from models.serving.explanations import MOST_REASONS
from models.serving.popularity import PLACES
from models.serving.reason_text import Reason
from models.serving.recommender import Answer, Learnt, Query, SuggestedItem, expected_of
from models.serving.sources.fallbacks import PER_ANCHOR
from models.serving.sources.most_bought import MOST_BOUGHT
from models.serving.sources.source import Worth
from models.serving.sources.walk import BETWEEN
from models.serving.sources.walk import ITEMS as WALKED_FROM
from models.serving.state import MAX_CONTEXT, SHARES, TOP
from models.sessions.histories import DAY_S, Histories, HistoryConfig
from models.shop.events import BOUGHT_WITH, PAIR_KINDS, VIEWED_THEN_BOUGHT, VIEWED_WITH, Action
from models.shop.kinds import CROSS_SELL, UPSELL
from models.shop.policy import FIXED, POPULAR, Policy
from models.snapshot import Snapshot
from streams.kafka.memory_log import StoredRecord
from streams.snapshots.format import decode_manifest, decode_snapshot, encode_snapshot
from streams.wire.history_rows import decode_history, encode_history
from streams.wire.neighbour_rows import decode_row, encode_row
from streams.wire.topics import Identity
from tests.support.corner_shop import NOW, WIDE, CornerShop

FEW: dict[str, Any] = {"max_items": 6, "explore": 0.5}
"""A policy that leaves candidates out, and the last place to chance."""


class SourceShop(CornerShop):
    """A kettle, and the state behind the sources in the forms that workers publish or load."""

    def __init__(self, first: Sequence[str] = (), **policy: Any) -> None:
        super().__init__(Policy(**{**WIDE, **policy}), first)
        self.histories = Histories(self.items, HistoryConfig())
        self.snapshots: list[Snapshot] = []
        self.offer("kettle", "Kitchen/Kettles", 100.0, brand="Acme")

    def load(self, snapshot: Snapshot) -> None:
        """Take a snapshot into use, as a worker does."""
        self.snapshots.append(snapshot)
        if snapshot.model == SEQUENCE:
            self.predictor = read_predictor(snapshot, self.items, self.catalog)
        else:
            self.recommender.learnt = Learnt(order_of(snapshot, self.items), snapshot.version)

    def ann(self, *trigger: str, **more: Any) -> Query:
        """A query of the one shopper who has a history; arguments as of `query`."""
        return self.query(*(trigger or ["kettle"]), history=self.histories.of("ann"), **more)

    def listed(self, **more: Any) -> dict[str, SuggestedItem]:
        """What Ann gets for a look at the kettle, by item; arguments as of `query`."""
        return {one["item_id"]: one for one in self.ask("kettle", history=self.histories.of("ann"), **more)}


# -- the sources -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """A source of candidates, and what is to be seen of it."""

    name: str
    teach: Callable[[SourceShop, Sequence[str]], None]
    """Teaches that items go with the kettle, the first most."""
    reason: Reason
    """The first of the mug, which alone was taught."""
    most: int
    """Items that it brings at most."""
    by_pool: bool = False
    """Whether the bound is that of the pool, not of what is listed for its reason."""
    reranked: bool = False
    """Whether its items are listed only where a learnt order serves."""
    kind: str = "cross-sell"
    category: str = "{}"
    """Of its items, by their ids."""
    brand: str | None = None

    def shop(self, names: Sequence[str], gone: Sequence[str] = (), **more: Any) -> SourceShop:
        """A shop that offers items, but for those that are gone, and that the source was taught."""
        shop = SourceShop(**more)
        for name in names:
            if name not in gone:
                self.offer(shop, name)
        self.teach(shop, names)
        if self.reranked:
            shop.load(learnt_order())
        return shop

    def offer(self, shop: SourceShop, name: str, **more: Any) -> None:
        """Offer an item that the source may bring."""
        price = 150.0 if self.kind == "upsell" else 5.0
        shop.offer(name, self.category.format(name), price, brand=self.brand, **more)

    def brought(self, shop: SourceShop) -> set[str]:
        """What the source brings of its items, by the pool or by the reasons of the list."""
        if self.by_pool:
            return set(shop.pool("kettle", history=shop.histories.of("ann")))
        return {
            name
            for name, one in shop.listed().items()
            if any(reason["source"] == self.reason["source"] for reason in one["reasons"])
        }


def strengths(names: Sequence[str]) -> dict[str, float]:
    """By item; 3 of the last."""
    return {name: 3.0 + place for place, name in enumerate(reversed(names))}


def neighbours(kind: int) -> Callable[[SourceShop, Sequence[str]], None]:
    """Teaches one kind of neighbours of the kettle."""

    def teach(shop: SourceShop, names: Sequence[str]) -> None:
        row: dict[str, tuple[float, float, float]] = {}
        for name, strength in strengths(names).items():
            views_with, bought_with, bought_after = (strength * (kind == one) for one in range(PAIR_KINDS))
            row[name] = (views_with, bought_with, bought_after)
        shop.learn("kettle", row)

    return teach


def baskets(shop: SourceShop, names: Sequence[str]) -> None:
    """Teaches how often items are bought."""
    for name, strength in strengths(names).items():
        shop.learn(name, {}, views=0.0, baskets=strength)


def history(shop: SourceShop, names: Sequence[str]) -> None:
    """Teaches what Ann bought, an item a day, the first yesterday."""
    for place, name in enumerate(names):
        shop.histories.learn("ann", [shop.items.index(name)], NOW - (place + 1) * DAY_S, place)


def sequence(shop: SourceShop, names: Sequence[str]) -> None:
    """Teaches a sequence model to expect what is like the last look: the kettle, then the items on a circle from it."""
    vocabulary = ("", "kettle", *names)
    arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes(2, len(vocabulary)).items()}
    angles = 0.02 * np.arange(len(vocabulary) - 1)
    arrays["items.weight"][1:] = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    arrays["lstm.weight_ih_l0"][4:6] = np.eye(2)  # what is new is the look
    arrays["lstm.bias_ih_l0"][[0, 1, 6, 7]] = 9.0  # all of it enters, and all comes out
    shop.load(
        Snapshot(
            model=SEQUENCE,
            code=SEQUENCE_CODE,
            arrays=arrays,
            vocabulary=vocabulary,
            config={"network": {"units": 2, "scale": 16.0}},
            positions={},
            learnt={"events": 1},
            metrics={},
            at=NOW,
        )
    )


def learnt_order() -> Snapshot:
    """An order of whole pools that serves for both kinds, as it is before anything was taken."""
    order = no_order()._replace(uptake=np.zeros((2, 2, 1), np.float32))
    order.serves[[CROSS_SELL, UPSELL]] = LEARNT
    return Snapshot(
        model=RANKER,
        code=RANKER_CODE,
        arrays=order._asdict(),
        vocabulary=("kettle",),
        config={},
        positions={},
        learnt={"events": 1},
        metrics={},
        at=NOW,
    )


def about_the_kettle(source: str, text: str) -> Reason:
    return {"source": source, "anchor": "kettle", "count": 3, "text": text}


SOURCES = [
    Source(
        "viewed with",
        neighbours(VIEWED_WITH),
        about_the_kettle("viewed_with", "Viewed or added to the cart together with Kettle 3 times"),
        TOP,
        by_pool=True,
    ),
    Source(
        "bought with",
        neighbours(BOUGHT_WITH),
        about_the_kettle("bought_with", "Bought together with Kettle in 3 baskets"),
        TOP,
        by_pool=True,
    ),
    Source(
        "viewed, then bought",
        neighbours(VIEWED_THEN_BOUGHT),
        about_the_kettle("viewed_then_bought", "Bought 3 times after Kettle was viewed or added to the cart"),
        TOP,
        by_pool=True,
    ),
    Source(
        "sequence model",
        sequence,
        {
            "source": "sequence",
            "count": 0,
            "text": "Similar in category and price to what is expected next in visits like this one",
        },
        ITEMS - 1,  # the kettle itself is one of those expected
    ),
    Source(
        "history",
        history,
        {"source": "history", "count": 1, "text": "Bought before, once"},
        MOST // 2,
        by_pool=True,
        reranked=True,
    ),
    Source(
        "most bought items",
        baskets,
        {"source": "popularity", "count": 3, "text": "From mug: bought 3 times"},
        MOST_BOUGHT,
        by_pool=True,
        reranked=True,
    ),
    Source(
        "top items of the anchor's category",
        baskets,
        about_the_kettle("popularity", "From Kettles, an alternative to Kettle: bought 3 times"),
        PLACES,
        by_pool=True,
        reranked=True,
        kind="upsell",
        category="Kitchen/Kettles",
    ),
    Source(
        "fall-back: upsells",
        baskets,
        about_the_kettle("popularity", "From Kettles, an alternative to Kettle: bought 3 times"),
        PER_ANCHOR,
        kind="upsell",
        category="Kitchen/Kettles",
    ),
    Source(
        "fall-back: brand",
        baskets,
        about_the_kettle("content", "From Acme, like Kettle: bought 3 times"),
        PER_ANCHOR,
        brand="Acme",
    ),
    Source(
        "fall-back: near",
        baskets,
        about_the_kettle("content", "From mug, close to Kettle: bought 3 times"),
        PER_ANCHOR,
        category="Kitchen/{}",
    ),
    Source(
        "fall-back: popular",
        baskets,
        {"source": "popularity", "count": 3, "text": "From mug: bought 3 times"},
        PER_ANCHOR,
    ),
]

every_source = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)


def things(number: int) -> list[str]:
    """Ids in their order."""
    return [f"thing {place:03}" for place in range(number)]


# -- the suite ---------------------------------------------------------------------------------------------------------


@every_source
def test_it_brings_what_it_was_taught_and_says_why(source: Source) -> None:
    mug = source.shop(["mug"]).listed()["mug"]
    assert (mug["kind"], mug["anchor"], mug["reasons"][0]) == (source.kind, "kettle", source.reason)
    untaught = SourceShop()
    source.offer(untaught, "mug")
    assert all(source.reason not in one["reasons"] for one in untaught.listed().values())


@every_source
def test_the_first_taught_come_first(source: Source) -> None:
    names = things(6)
    assert list(source.shop(names).listed()) == names


@every_source
def test_an_item_that_the_catalogue_does_not_have_is_not_brought_and_does_no_harm(source: Source) -> None:
    """... nor one beyond all rows and facts so far."""
    crowd = [f"seen {number}" for number in range(3_000)]
    shop = source.shop(["mug", "gone", "cup"], gone=["gone"], first=crowd)
    assert set(shop.listed()) == {"mug", "cup"}
    assert set(shop.pool("kettle", history=shop.histories.of("ann"))) == {"mug", "cup"}
    assert shop.recommender.suggest_many([shop.ann("nobody"), shop.ann("gone")]) == [[], []]


@every_source
def test_what_must_not_be_suggested_is_not_brought(source: Source) -> None:
    shop = source.shop(["mug", "cup"])
    assert set(shop.listed()) == {"mug", "cup"}
    assert set(shop.listed(cart=["mug"])) == {"cup"}
    assert set(shop.listed(bought=["mug"])) == {"cup"}
    shop.recommender.policy = Policy(**WIDE, exclude_items=("mug",))
    assert set(shop.listed()) == {"cup"}
    shop.recommender.policy = Policy(**WIDE)
    source.offer(shop, "mug", in_stock=False)
    assert set(shop.listed()) == {"cup"}
    shop.catalog.withdraw("cup")
    assert not shop.listed()
    source.offer(shop, "mug")
    assert set(shop.listed()) == {"mug"}


@every_source
def test_it_brings_no_more_than_its_bound_and_those_taught_most(source: Source) -> None:
    names = things(source.most + 12)
    assert source.brought(source.shop(names)) == set(names[: source.most])


@every_source
def test_a_query_is_answered_alone_as_in_a_batch_with_others(source: Source) -> None:
    """... and of the others it does not matter which arm they are of and whether their pools are logged."""
    shop = source.shop(things(12), **FEW)
    queries = [
        shop.ann(seed="0", logs_pool=True),
        shop.ann("nobody", seed="1"),
        shop.query("kettle", cart=["thing 000"], seed="2", logs_pool=True),
        shop.ann("kettle", "thing 001", action=Action.PURCHASE, cart=["thing 002"], bought=["thing 003"], seed="3"),
        shop.ann(arm=POPULAR, seed="4"),
        shop.ann(arm=FIXED, seed="5", logs_pool=True),
        shop.ann(seed="0"),
    ]
    expected = expected_of(shop.predictor, queries)
    together = [plain(answer) for answer in shop.recommender.answer_each(queries, expected)]
    for number, query in enumerate(queries):
        first, end = expected.ends[number : number + 2]
        alone = Expected(expected.items[first:end], expected.shares[first:end], np.array([0, end - first]))
        assert expected_of(shop.predictor, [query]).items.tolist() == alone.items.tolist()
        assert [plain(answer) for answer in shop.recommender.answer_each([query], alone)] == [together[number]]
    assert together[0][0] == together[6][0]
    assert together[1] == ([], None)


def plain(answer: Answer) -> tuple[list[SuggestedItem], list[Any] | None]:
    return answer.items, None if answer.pool is None else [column.tolist() for column in answer.pool]


@every_source
def test_the_same_seed_gives_the_same_answer_in_a_process_that_saw_other_items_first(source: Source) -> None:
    names = things(12)
    here, there = source.shop(names, **FEW), source.shop(names, first=["other", *reversed(names)], **FEW)
    for seed in range(12):
        assert rounded(here.listed(seed=str(seed))) == rounded(there.listed(seed=str(seed)))


@every_source
def test_after_a_restart_it_answers_as_before(source: Source) -> None:
    shop = source.shop(["mug", "gone", "cup"], gone=["gone"])
    assert rounded(restarted(shop).listed()) == rounded(shop.listed())


def rounded(answer: dict[str, SuggestedItem]) -> list[dict[str, object]]:
    """A list without the last digits of its scores: shares are sums over items in an order that each process has."""
    return [{**one, "score": round(one["score"], 9)} for one in answer.values()]


def restarted(shop: SourceShop) -> SourceShop:
    """A shop that has read what another has published, and numbers its items otherwise."""
    other = SourceShop(first=["other", *shop.items.names()[::-1]])
    for index in range(len(shop.items)):
        item = shop.catalog.get(index)
        if item is not None:
            other.catalog.put(item)
    for item_id in shop.neighbours:
        row = shop.neighbours.row(item_id)
        assert row is not None
        other.neighbours.put(decode_row(stored("neighbours", item_id, encode_row(row))))
    for user_id in shop.histories.shoppers():
        bought = shop.histories.row(user_id)
        assert bought is not None
        value = encode_history(bought, Identity("id of purchases", 1))
        other.histories.adopt(user_id, decode_history(stored("histories", user_id, value)).row)
    for snapshot in shop.snapshots:
        manifest, weights = encode_snapshot(snapshot)
        other.load(decode_snapshot(decode_manifest(manifest, "manifest"), weights, "weights"))
    return other


def stored(topic: str, key: str, value: bytes) -> StoredRecord:
    return StoredRecord(topic, 0, 0, round(NOW * 1000), key.encode(), value)


def test_each_reason_has_one_sentence_and_each_share_a_worth() -> None:
    codes = [code for source in sources.SOURCES for code in source.sentences]
    of_shares, relations = range(MOST_REASONS), range(SHARES, SHARES + 4)
    assert sorted(codes) == [*of_shares, *relations]
    assert tuple(sources.SENTENCES[column].source for column in of_shares) == SHARE_NAMES[:MOST_REASONS]
    assert set(sources.WORTH) == set(SHARE_NAMES)
    assert not any(sources.WORTH[name] != Worth(0.0, 0.0) for name in SHARE_NAMES[MOST_REASONS:])  # no reason, no worth


# -- sources that only describe what others bring ----------------------------------------------------------------------


def share(shop: SourceShop, name: str, item_id: str, **more: Any) -> float:
    """A share of an item of the pool for a look at the kettle."""
    described = shop.pool("kettle", history=shop.histories.of("ann"), **more)[item_id][f"{name} share"]
    return math.expm1(described) * SHARE_UNIT


def test_likeness_is_the_mean_cosine_with_the_items_of_the_visit() -> None:
    """Of plain numbers, whatever the weights; an item without a row says nothing."""
    shop = SourceShop()
    shop.offer("mug", "Mugs", 5.0)
    shop.learn("kettle", {"mug": (1.5, 0.0, 0.0)}, views=16.0, counts={"mug": (8, 0, 0)})
    shop.learn("pot", {"mug": (0.5, 0.0, 0.0)}, views=4.0, counts={"mug": (2, 0, 0)})
    shop.learn("mug", {}, views=25.0)
    assert share(shop, "likeness", "mug") == pytest.approx(8 / math.sqrt(16 * 25), rel=1e-4)
    assert share(shop, "likeness", "mug", visit=["new", "pot"]) == pytest.approx((8 / 20 + 2 / 10) / 2, rel=1e-4)


def test_a_walk_leads_over_the_strongest_neighbours() -> None:
    shop = SourceShop()
    bridges = things(BETWEEN + 1)
    shop.learn("kettle", {bridge: (5.0, 0.0, 0.0) for bridge in bridges}, views=20.0)
    for name in ("mug", "far"):
        shop.offer(name, name, 5.0)
        shop.histories.learn("ann", [shop.items.index(name)], NOW - DAY_S, 0)
    shop.learn(bridges[0], {"mug": (4.0, 0.0, 0.0)}, views=15.0)
    shop.learn(bridges[1], {"mug": (2.0, 0.0, 0.0)}, views=15.0)
    shop.learn(bridges[-1], {"far": (4.0, 0.0, 0.0)}, views=15.0)
    assert share(shop, "walk", "mug") == pytest.approx(5 / 25 * 4 / 20 + 5 / 25 * 2 / 20, rel=1e-4)
    assert share(shop, "walk", "far") == 0.0


def test_too_few_events_describe_nothing() -> None:
    """`min_support` of the policy holds for every step."""
    for first, second, described in [(3, 3, True), (2, 3, False), (3, 2, False)]:
        shop = SourceShop(min_support=3)
        shop.offer("mug", "Mugs", 5.0)
        shop.histories.learn("ann", [shop.items.index("mug")], NOW - DAY_S, 0)
        both = {"tray": (5.0, 0.0, 0.0), "mug": (5.0, 0.0, 0.0)}
        shop.learn("kettle", both, counts={"tray": (first, 0, 0), "mug": (min(first, second), 0, 0)})
        shop.learn("tray", {"mug": (4.0, 0.0, 0.0)}, counts={"mug": (second, 0, 0)})
        assert [share(shop, name, "mug") > 0.0 for name in ("likeness", "walk")] == [described, described]


def test_a_walk_begins_at_the_latest_items() -> None:
    shop = SourceShop()
    shop.offer("mug", "Mugs", 5.0)
    shop.histories.learn("ann", [shop.items.index("mug")], NOW - DAY_S, 0)
    shop.learn("pot", {"tray": (5.0, 0.0, 0.0)}, views=20.0)
    shop.learn("tray", {"mug": (4.0, 0.0, 0.0)}, views=15.0)
    looks = things(WALKED_FROM)
    assert share(shop, "walk", "mug", visit=["pot", *looks]) > 0.0
    assert share(shop, "walk", "mug", visit=[*looks, "pot"]) == 0.0


def test_pools_are_described_alike_alone_and_in_a_batch() -> None:
    shop = SourceShop()
    for place, name in enumerate(things(30)):
        shop.offer(name, name, 5.0)
        others = {other: (1.0 + place % 4, 0.0, 0.0) for other in things(30)[: place % 7] if other != name}
        shop.learn(name, others, views=40.0 + place)
    queries = [shop.query(name, visit=things(30)[:8:3], logs_pool=True) for name in things(30)]
    alone = [next(shop.recommender.answer_each([query])).pool for query in queries]
    for one, other in zip(alone, shop.recommender.answer_each(queries), strict=True):
        assert one is not None
        assert other.pool is not None
        np.testing.assert_array_equal(one.items, other.pool.items)
        np.testing.assert_array_equal(one.features, other.pool.features)
    described = np.concatenate([one.features for one in alone if one is not None])
    assert all((described[:, FEATURES.index(f"{name} share")] > 0.0).any() for name in ("likeness", "walk"))


def test_of_a_long_visit_the_latest_items_are_looked_up() -> None:
    shop = SourceShop()
    looks = [f"look {number:02}" for number in range(MAX_CONTEXT + 5)]
    for number, look in enumerate(looks):
        shop.learn(look, {f"mug {number:02}": (9.0, 0.0, 0.0)})
        shop.offer(f"mug {number:02}", f"Mugs/{number}", 5.0)
    listed = shop.listed(visit=looks)
    found = {name for name, one in listed.items() if one["reasons"][0]["source"] == "viewed_with"}
    assert found == {f"mug {number:02}" for number in range(MAX_CONTEXT - 1)}  # the trigger is one of them, too
