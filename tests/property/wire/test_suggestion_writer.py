"""Records written by the kernel are, byte for byte, what orjson makes of the dictionaries of the same answers."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.cooccurrence.index import Neighbours
from models.serving.batch import Answers, empty_output
from models.serving.explanations import MOST_REASONS, Reasons
from models.serving.recommender import Recommender, RecommenderConfig
from models.serving.sources import SENTENCES
from models.shop.catalog import Catalog
from models.shop.events import MAX_TRIGGER_IDS, Action, CatalogItem
from models.shop.items import Items
from models.shop.kinds import CROSS_SELL, UPSELL
from models.shop.policy import ARMS, NONE, Policy
from streams.wire import suggestion_writer
from streams.wire.codec import written
from streams.wire.json_text import figure
from streams.wire.partitioner import partition_of
from streams.wire.record_batches import decoded_records
from streams.wire.suggestion_writer import (
    ACTIONS,
    LIFT_DIGITS,
    MAX_PIECES,
    PROPENSITY_DIGITS,
    SCORE_DIGITS,
    Requests,
    SuggestionWriter,
    Written,
    models_of,
)

TOPICS = ("shop.clicks", "shop.purchases")
PARTITIONS = 5
NOW_MS = 1_795_000_000_123.0
MODELS = {"cooccurrence": "counts-1", "sequence": 'a "version"'}
FIGURES = (
    0.0,
    1e-7,
    1e-5,
    0.00012345678,
    1.0,
    0.999999999,
    7.0,
    123456.789,
    1e15,
    1e16,
    2.5e17,
    1e-250,
    1e300,
    0.1 + 0.2,
)


class Desk:
    """A writer, and the dictionaries that it has to equal."""

    def __init__(self, seed: int = 0, places: int = 6) -> None:
        self.items = Items()
        self.catalog = Catalog(self.items)
        self.recommender = Recommender(
            self.items, self.catalog, Neighbours(self.items, 86_400.0), Policy(), RecommenderConfig()
        )
        self.writer = SuggestionWriter(self.items, self.catalog, TOPICS, PARTITIONS)
        self.chance, self.places = random.Random(seed), places

    def answers(self, offered: Sequence[int], others: Sequence[int], queries: int) -> tuple[Answers, Reasons]:
        """Random lists of items that are offered, with reasons about any item."""
        chance = self.chance
        out, why = empty_output(queries, self.places, 0)
        for query in range(queries):
            out.size[query] = chance.randint(0, self.places) if offered else 0
            for place in range(out.size[query]):
                out.item[query, place], out.anchor[query, place] = chance.choice(offered), chance.choice(offered)
                out.kind[query, place] = chance.choice([CROSS_SELL, UPSELL])
                out.score[query, place] = chance.choice([*FIGURES, chance.random(), math.exp(chance.uniform(-50, 50))])
                out.propensity[query, place] = chance.choice([1.0, 1.0, chance.random(), 0.4 / 6])
                for rank in range(chance.randint(0, MOST_REASONS)):
                    at = query, place, rank
                    why.source[at] = chance.choice(list(SENTENCES))
                    why.anchor[at] = chance.choice([-1, *offered, *others])
                    why.events[at] = chance.choice([0, 1, 2, 9, 10, 99, 100, 2**62])
                    why.of_views[at] = chance.random() < 0.5
                    why.lift[at] = chance.choice([math.nan, 0.0, 1.99571, 1234.56, chance.expovariate(0.1)])
        return out, why

    def asked(self, ids: Sequence[str], queries: int) -> list[dict[str, Any]]:
        """What is asked by random events."""
        chance = self.chance
        return [
            {
                "topic": chance.choice(TOPICS),
                "partition": chance.choice([0, 3, 99_999]),
                "offset": chance.choice([0, 10, 2**63 - 1]),
                "timestamp": int(NOW_MS) - chance.choice([-5, 0, 1, 12, 1234, 86_400_000, int(NOW_MS)]),
                "at": chance.choice([946_684_800.0, 1_795_000_000.0, 4e9]) + chance.randrange(10**6) / 1000,
                "action": chance.choice(list(Action)),
                "arm": chance.randrange(len(ARMS)),
                "user_id": chance.choice(ids),
                "item_ids": chance.choices(ids, k=chance.choice([1, 2, 99, 100, 101, 250])),
            }
            for _ in range(queries)
        ]

    def write(
        self, asked: Sequence[dict[str, Any]], answers: Answers, reasons: Reasons, *, emit_empty: bool = True
    ) -> Written:
        """What the kernel writes."""
        texts, columns = bytearray(), []
        for one in asked:
            bounds = [len(texts)]
            for text in (
                orjson.dumps(one["user_id"]),
                orjson.dumps(one["item_ids"][:MAX_TRIGGER_IDS]),
                one["user_id"].encode(),
            ):
                texts += text
                bounds.append(len(texts))
            columns.append(
                (
                    TOPICS.index(one["topic"]),
                    one["partition"],
                    one["offset"],
                    one["timestamp"],
                    round(one["at"] * 1000),
                    ACTIONS[one["action"]],
                    one["arm"],
                    one["arm"],
                    len(one["item_ids"]),
                    *bounds,
                )
            )
        models = [
            orjson.dumps({"models": MODELS, "policy": "hash", "arm": arm})[len('{"models":') : -1] + b',"latency_ms":'
            for arm in ARMS
        ]
        requests = Requests(np.array(columns, np.int64), bytes(texts), models_of(models))
        return self.writer.write(requests, answers, reasons, NOW_MS, emit_empty=emit_empty)

    def expected(
        self, asked: Sequence[dict[str, Any]], answers: Answers, reasons: Reasons, *, emit_empty: bool = True
    ) -> list[bytes | None]:
        """What orjson makes of the dictionaries."""
        records: list[bytes | None] = []
        for one, items in zip(asked, self._lists(answers, reasons), strict=True):
            trigger = {
                "topic": one["topic"],
                "partition": one["partition"],
                "offset": one["offset"],
                "action": one["action"],
                "item_ids": one["item_ids"][:MAX_TRIGGER_IDS],
            }
            if len(one["item_ids"]) > MAX_TRIGGER_IDS:
                trigger["item_count"] = len(one["item_ids"])
            record = {
                "v": 1,
                "suggestion_id": f"{one['topic']}-{one['partition']}-{one['offset']}",
                "user_id": one["user_id"],
                "at": written(one["at"]),
                "trigger": trigger,
                "items": [] if one["arm"] == NONE else items,
                "models": MODELS,
                "policy": "hash",
                "arm": ARMS[one["arm"]],
                "latency_ms": max(0.0, round(NOW_MS - one["timestamp"], 1)),
            }
            records.append(orjson.dumps(record) if items or emit_empty else None)
        return records

    def _lists(self, answers: Answers, reasons: Reasons) -> list[list[Any]]:
        lists = [list(items) for items in self.recommender._suggested(answers, reasons, len(answers.size))]
        for query, items in enumerate(lists):
            for place, item in enumerate(items):
                item["score"] = nearest(item["score"], SCORE_DIGITS)
                item["propensity"] = nearest(item["propensity"], PROPENSITY_DIGITS)
                for rank, reason in enumerate(item["reasons"]):
                    if "lift" in reason:
                        reason["lift"] = nearest(reasons.lift[query, place, rank], LIFT_DIGITS)
        return lists

    def check(self, offered: Sequence[int], others: Sequence[int], ids: Sequence[str], queries: int) -> Written:
        """Compare the records of random answers."""
        answers, reasons = self.answers(offered, others, queries)
        asked, emit_empty = self.asked(ids, queries), self.chance.random() < 0.5
        records = self.write(asked, answers, reasons, emit_empty=emit_empty)
        values = self.expected(asked, answers, reasons, emit_empty=emit_empty)
        assert sent(records) == by_partition(asked, values)
        shown = answers.size * np.array([one["arm"] != NONE for one in asked], np.int64)
        kinds = [
            int((answers.kind[query, : shown[query]] == kind).sum()) for query in range(queries) for kind in (1, 2)
        ]
        assert records.kinds.tolist() == [0, sum(kinds[::2]), sum(kinds[1::2])]
        outcomes = np.array(records.outcomes)
        assert outcomes.sum() == queries
        assert outcomes[:, suggestion_writer.SUGGESTED].sum() == (shown > 0).sum()
        assert outcomes[:, suggestion_writer.NOTHING].sum() == (answers.size == 0).sum()
        late = [orjson.loads(value)["latency_ms"] for value in values if value is not None]
        tenths = records.latency_tenths
        assert (tenths[tenths >= 0] / 10).tolist() == late
        return records


def keys_of(asked: Sequence[dict[str, Any]]) -> list[bytes]:
    """Keys of the events."""
    return [one["user_id"].encode() for one in asked]


def sent(records: Written) -> dict[int, list[tuple[bytes | None, bytes | None]]]:
    """Keys and values by partition."""
    found: defaultdict[int, list[tuple[bytes | None, bytes | None]]] = defaultdict(list)
    for partition, block in records.blocks:
        found[partition] += decoded_records(block.records)
    return dict(found)


def by_partition(
    asked: Sequence[dict[str, Any]], values: Sequence[bytes | None]
) -> dict[int, list[tuple[bytes | None, bytes | None]]]:
    """Values with the keys of their events, by partition."""
    expected: defaultdict[int, list[tuple[bytes | None, bytes | None]]] = defaultdict(list)
    for key, value in zip(keys_of(asked), values, strict=True):
        if value is not None:
            expected[partition_of(key, PARTITIONS)].append((key, value))
    return dict(expected)


def nearest(number: float, digits: int) -> float:
    """The float nearest to a number with so many significant digits."""
    whole, power = figure(float(number), digits)
    return float(f"{whole}e{power}")


hostile = st.sampled_from(list('"\\/\n\t\0\x1f\x7f\u2028\u2029é日😀 a') + ["\ud7ff", "\uffff", "{title}"])
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.lists(hostile, max_size=170).map("".join)
ids = texts.filter(lambda text: 0 < len(text.encode()) <= 256)
offers = st.lists(
    st.tuples(
        ids,
        texts,
        st.lists(texts.filter(lambda part: part and "/" not in part), min_size=1, max_size=3).map("/".join),
        st.floats(0, allow_infinity=False) | st.integers(0, 2**53) | st.sampled_from([1e16, 123456.789, 1.0, 1e-7]),
        st.none() | st.just("") | texts.filter(lambda text: len(text.encode()) <= 256),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(offers, min_size=1, max_size=3), st.integers(0, 2**32))
def test_records_equal_those_of_the_dictionaries_while_the_catalogue_changes(
    rounds: list[list[tuple[str, str, str, float, str | None]]], seed: int
) -> None:
    desk = Desk(seed)
    for changes in rounds:
        for item_id, title, category, price, brand in changes:
            desk.catalog.put(CatalogItem(item_id, title[:160], category[:160], price, brand))
            if desk.chance.random() < 0.2:
                desk.catalog.withdraw(item_id)
        strangers = [desk.items.index(f"stranger {number}") for number in range(3)]
        offered = desk.catalog.held().tolist()
        others = [desk.items.find(item_id) for item_id, *_ in changes] + strangers
        desk.check(offered, others, [change[0] for change in changes], 12)
        for _ in range(2):  # with pieces that are there
            desk.check(offered, others, [change[0] for change in changes], 5)


def test_an_index_that_is_given_to_another_item_gets_its_texts() -> None:
    desk = Desk(1)
    for name in ("kettle", "mug", "pot"):
        desk.catalog.put(CatalogItem(name, name.title(), f"Kitchen/{name}", 3.0))
    desk.check([0, 1, 2], [desk.items.index("stranger")], ["kettle"], 30)
    desk.catalog.withdraw("mug")
    desk.items.begin()
    desk.items.mark(np.array([0, 2]))
    freed = desk.items.free()
    assert freed.tolist() == [1, 3]
    desk.catalog.freed(freed)
    assert (desk.items.index("cup"), desk.items.index("jug")) == (1, 3)
    desk.check([0, 2], [1, 3], ["cup"], 30)
    desk.catalog.put(CatalogItem("jug", "Jug", "Kitchen/Jugs", 5.0))
    desk.check([0, 2, 3], [1], ["jug"], 30)


def test_pieces_that_were_overwritten_are_written_again() -> None:
    desk = Desk(2, places=1)
    wide = "\0" * 1000
    for number in range(700):
        desk.catalog.put(CatalogItem(f"{number:03}", f"{number} {wide}", f"{number} {wide}", 1.0, brand=wide[:200]))
    around = 0
    for _ in range(12):
        desk.check(range(700), [], ["ann"], 150)
        around = desk.writer._written // len(desk.writer._store.arena)
    assert around >= 2
    _, pieces, *_ = store = desk.writer._store
    kept = desk.writer._out.text.nbytes + len(store.arena) + pieces.nbytes
    assert desk.writer.nbytes == kept + desk.writer._block_writer.nbytes


@pytest.mark.parametrize("field", ["about title", "category", "brand"])
def test_the_longest_record_fits_into_a_buffer_of_its_bound(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel refuses a record that might not fit, and writes none beyond what it took for its bound."""
    monkeypatch.setattr(suggestion_writer, "BUFFER_BYTES", 64)
    desk = Desk(3, places=100)
    wide = "\0" * 1024
    for number in range(3):
        name = str(number) + "\0" * 255
        desk.catalog.put(CatalogItem(name, wide, wide, 1.7976931348623157e308, brand="\0" * 256))
        raw, _ = desk.writer._pieces_of(number)
        assert 0.99 * MAX_PIECES < len(raw) <= MAX_PIECES
    answers, reasons = desk.answers([0, 1, 2], [], 3)
    answers.size[:] = 100
    answers.item[:], answers.anchor[:], answers.kind[:] = 0, 1, CROSS_SELL
    answers.score[:], answers.propensity[:] = -1.23456e-250, 1.23456789e-250
    reasons.source[:], reasons.anchor[:], reasons.events[:], reasons.lift[:] = -1, 2, 2**63 - 1, 1.234e250
    for rank in range(MOST_REASONS):
        reasons.source[..., rank] = list(SENTENCES)[-1 - rank if field != "about title" else rank]
    asked = desk.asked(["\0" * 256], 3)
    for one in asked:
        one |= {"partition": 2**63 - 1, "offset": 2**63 - 1, "arm": 0, "item_ids": ["\0" * 256] * 200}
    guard = _Guard()
    monkeypatch.setattr("streams.wire.suggestion_writer.np.empty", guard.empty)
    records = desk.write(asked, answers, reasons)
    monkeypatch.undo()
    assert sent(records) == by_partition(asked, desk.expected(asked, answers, reasons))
    assert guard.intact()


class _Guard:
    """Buffers with bytes behind them that nobody may write."""

    def __init__(self) -> None:
        self._behind: list[Any] = []
        self._empty = np.empty

    def empty(self, size: int, dtype: Any) -> Any:
        if dtype is not np.uint8:
            return self._empty(size, dtype)
        whole = np.full(size + 4096, 171, np.uint8)
        self._behind.append(whole[size:])
        return whole[:size]

    def intact(self) -> bool:
        assert self._behind
        return all((behind == 171).all() for behind in self._behind)
