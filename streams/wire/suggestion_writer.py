"""Records of `suggestions`, written by compiled code: from the arrays of a batch's answers straight to JSON.

The bytes are those that orjson gives for the dictionaries of `models.serving.recommender.SuggestedItem`, but with fewer
digits: `SCORE_DIGITS` significant ones of a score, `LIFT_DIGITS` of a lift, `PROPENSITY_DIGITS` of a propensity.

The texts of an item are kept as JSON from its first use to its next change, in an arena of fixed size. New pieces
overwrite the oldest; pieces that are used again in time are written once more before that. So the store is never
rebuilt as a whole, and items that are in no list take no memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from models.jit import cached_njit, inline_njit
from models.serving.batch import Answers, empty_output
from models.serving.explanations import MOST_REASONS, Reasons
from models.serving.sources import SENTENCES
from models.serving.sources.sentence import CASES, FIELDS, STRANGER, case_number
from models.shop.catalog import Catalog
from models.shop.events import MAX_TRIGGER_IDS, Action
from models.shop.items import Items
from models.shop.kinds import KIND_NAMES
from models.shop.policy import NONE
from streams.wire import record_batches
from streams.wire.json_text import MOMENT, NUMBER, put, put_decimal, put_figure, put_moment, put_whole
from streams.wire.raw_bytes import Text
from streams.wire.record_batches import Block, BlockWriter
from streams.wire.schemas import MAX_ID_BYTES, MAX_TEXT_BYTES

SCORE_DIGITS, LIFT_DIGITS, PROPENSITY_DIGITS = 6, 4, 9

OUTCOMES = NOTHING, SUGGESTED, WITHHELD = range(3)
"""Of a query: nothing to suggest, a list, a list that the arm `none` withholds."""

COLUMNS = 13
(
    TOPIC, PARTITION, OFFSET, APPENDED_MS, AT_MS, ACTION, ARM, MODELS, ITEM_COUNT, USER_AT, IDS_AT, KEY_AT, KEY_END,
) = range(COLUMNS)  # fmt: skip
"""Columns of `Requests.columns`; the last four are bounds in `Requests.texts`."""

ACTIONS = {action: number for number, action in enumerate(Action)}
"""Code of an action."""

MAX_PIECES = 6 * (2 * MAX_ID_BYTES + 2 * MAX_TEXT_BYTES) + 6 + NUMBER
"""Most bytes of one item: id, title, category and brand, each byte of which may be escaped by six; quotes, price."""

BYTES_AN_ITEM = 256
"""Of the arena, of which half holds what is in use: ids of 20 bytes, titles of 30 and categories of 40 take 110."""

BUFFER_BYTES = 1 << 22
"""Records that are written before they are made blocks of."""

PIECES = np.dtype(
    [
        ("start", np.int64),  # bytes written to the arena before them
        ("revision", np.int64),  # of the item, plus 1
        ("id", np.uint16),  # sizes, in this order; texts with quotes
        ("title", np.uint16),
        ("category", np.uint16),
        ("price", np.uint16),
        ("brand", np.uint16),  # without quotes
        ("last", np.uint16),  # of the category's last part, without quotes, which ends it
    ],
    align=True,
)
"""Where the pieces of an item are. Its revision is 0 before there are any."""

_LISTED = -1
"""Revision while pieces are being made."""

_WORDS = {
    "id": '{"v":1,"suggestion_id":"',
    "user": '","user_id":',
    "at": ',"at":"',
    "topic": '","trigger":{"topic":"',
    "partition": '","partition":',
    "offset": ',"offset":',
    "action": ',"action":"',
    "item_ids": '","item_ids":',
    "item_count": ',"item_count":',
    "items": '},"items":[',
    "models": '],"models":',
    "item": '{"item_id":',
    "anchor": '","anchor":',
    "score": ',"score":',
    "price": ',"price":',
    "category": ',"category":',
    "title": ',"title":',
    "reasons": ',"reasons":[',
    "propensity": '],"propensity":',
    "source": '{"source":"',
    "about": '","anchor":',
    "count_about": ',"count":',
    "count": '","count":',
    "lift": ',"lift":',
    "text": ',"text":"',
    "end": '"}',
    "kind": ',"kind":"',
}
(
    _ID, _USER, _AT, _TOPIC, _PARTITION, _OFFSET, _ACTION, _ITEM_IDS, _ITEM_COUNT, _ITEMS, _MODELS, _ITEM, _ANCHOR,
    _SCORE, _PRICE, _CATEGORY, _TITLE, _REASONS, _PROPENSITY, _SOURCE, _ABOUT, _COUNT_ABOUT, _COUNT, _LIFT, _TEXT, _END,
    _KIND,
) = range(len(_WORDS))  # fmt: skip
_ACTION_NAMES = len(_WORDS)
_KINDS = _ACTION_NAMES + len(ACTIONS)
_SOURCES = _KINDS + len(KIND_NAMES)
_CODES = max(SENTENCES) + 1
_TOPICS = _SOURCES + _CODES
_DASH, _OPEN, _COMMA, _BRACE = map(ord, "-[,}")
_OF_TITLE, _OF_CATEGORY, _OF_BRAND, _OF_COUNT = range(len(FIELDS))


class Words(NamedTuple):
    """All that is the same in every record."""

    text: Text
    spans: NDArray[np.int64]  # (words, 2): start and size in the text
    first: NDArray[np.int64]  # (codes * cases + 1): of a sentence among the steps
    steps: NDArray[np.int64]  # (steps, 3): start and size of a text, the field behind it, -1: none
    bounds: NDArray[np.int64]  # (3,): most bytes of a record, of an item and of a reason, besides what is looked up
    topics: int


class Models(NamedTuple):
    """What records say of the models, by the column `MODELS`."""

    text: Text
    ends: NDArray[np.int64]  # (texts + 1,)


def models_of(texts: Sequence[bytes]) -> Models:
    """From JSON of models, policy and arm, with the names of the latter two and of the latency."""
    return Models(np.frombuffer(b"".join(texts), np.uint8), np.cumsum([0, *map(len, texts)]))


class Requests(NamedTuple):
    """What was asked, beside the queries."""

    columns: NDArray[np.int64]  # (queries, COLUMNS)
    texts: bytes  # for each query the shopper's id and a list of ids of the trigger, both as JSON, and the record's key
    models: Models


class Written(NamedTuple):
    """The records of a batch."""

    blocks: list[tuple[int, Block]]
    """Of a partition each, in the order of its queries."""
    outcomes: NDArray[np.int64]
    """Numbers of queries, by topic and outcome."""
    kinds: NDArray[np.int64]
    """Numbers of items sent, by kind."""
    latency_tenths: NDArray[np.int64]
    """Of the queries, in tenths of a millisecond; -1: nothing is sent."""


class _Batch(NamedTuple):
    """What the kernel reads of one batch."""

    columns: NDArray[np.int64]
    texts: Text
    models: Models
    size: NDArray[np.int64]
    item: NDArray[np.int32]
    kind: NDArray[np.int8]
    anchor: NDArray[np.int32]
    score: NDArray[np.float64]
    propensity: NDArray[np.float64]
    source: NDArray[np.int8]
    about: NDArray[np.int32]
    events: NDArray[np.int64]
    of_views: NDArray[np.bool_]
    lift: NDArray[np.float64]
    now_ms: float
    emit_empty: bool


class _Store(NamedTuple):
    """Pieces of the items."""

    arena: Text
    pieces: NDArray[Any]  # (items,) of `PIECES`
    revisions: NDArray[np.int64]  # (items,): of the catalogue
    missing: NDArray[np.int32]  # items whose pieces are to be made


class _Out(NamedTuple):
    """What the kernel writes."""

    text: Text
    ends: NDArray[np.int64]  # (queries + 1,) or more: where the record of a query ends, from the second on
    latency_tenths: NDArray[np.int64]  # (queries,) or more
    outcomes: NDArray[np.int64]  # (topics, len(OUTCOMES)): numbers of queries
    kinds: NDArray[np.int64]  # (len(KIND_NAMES),): items sent
    progress: NDArray[np.int64]  # (1,): queries done


class SuggestionWriter:
    """Writes the records of batches.

    Args:
        topics: full names of the topics of triggers, by their codes.
        partitions: of the topic of the records.
    """

    def __init__(self, items: Items, catalog: Catalog, topics: Sequence[str], partitions: int) -> None:
        self._items, self._catalog = items, catalog
        self._block_writer = BlockWriter(partitions)
        self._words = _words(topics)
        self._written = 0  # bytes, to the arena, since it was made
        self._store = self._new_store(1)
        self._out = self._new_out(BUFFER_BYTES, 64)

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        store, out = self._store, self._out
        kept = out.text.nbytes + store.pieces.nbytes + self._block_writer.nbytes
        return kept + min(self._written, len(store.arena))

    def warm(self) -> None:
        """Compile, or load what was compiled before."""
        nothing = Requests(np.empty((0, COLUMNS), np.int64), b"", models_of([]))
        self.write(nothing, *empty_output(0, 1, 0), 0.0, emit_empty=False)
        record_batches.warm()

    def write(
        self, requests: Requests, answers: Answers, reasons: Reasons, now_ms: float, *, emit_empty: bool
    ) -> Written:
        """The records of the answers to requests, in the first rows of the arrays, and their numbers.

        Items are those that the answers are of: no index has been freed.

        Empty lists are sent where `emit_empty`, and those of the arm `none` have no items. `now_ms`: in epoch
        milliseconds, for the latency.
        """
        self._catalog.make_room()
        places, queries = answers.item.shape[1], len(requests.columns)
        if self._store.revisions is not self._catalog.revisions or len(self._store.missing) < _most_missing(places):
            self._store = self._new_store(places)
        if len(self._out.ends) <= queries:
            self._out = self._new_out(len(self._out.text), 2 * queries)
        batch = _Batch(
            requests.columns,
            np.frombuffer(requests.texts, np.uint8),
            requests.models,
            *answers[:6],
            *reasons[:4],
            reasons.lift,
            now_ms,
            emit_empty,
        )
        out, store, blocks, made = self._out, self._store, list[tuple[int, Block]](), False
        out.progress[0], done = 0, 0
        while True:
            number = _write(batch, self._words, store, self._written, made, out)
            if made := number > 0:
                self._make_pieces(number)
            before, done = done, int(out.progress[0])
            if done > before:
                bounds = np.ascontiguousarray(requests.columns[before:done, KEY_AT:])
                blocks += self._block_writer.blocks(batch.texts, bounds, out.text, out.ends[before + 1 : done + 1])
            if done == queries:
                return Written(blocks, out.outcomes.copy(), out.kinds.copy(), out.latency_tenths[:queries].copy())
            if number < 0 and done == before:  # not even one has room
                self._out = out = out._replace(text=np.empty(-2 * number, np.uint8))

    def _new_store(self, places: int) -> _Store:
        """A store without any pieces."""
        self._written, items = 0, len(self._catalog.revisions)
        missing = np.empty(_most_missing(places), np.int32)
        # a quarter for what one call lacks; memory is taken only as far as it is used
        arena = np.empty(max(BYTES_AN_ITEM * items, 4 * MAX_PIECES * (len(missing) + 1)), np.uint8)
        return _Store(arena, np.zeros(items, PIECES), self._catalog.revisions, missing)

    def _new_out(self, size: int, queries: int) -> _Out:
        """Room for so many bytes of records, and queries."""
        return _Out(
            np.empty(size, np.uint8),
            np.empty(queries + 1, np.int64),
            np.empty(queries, np.int64),
            np.empty((self._words.topics, len(OUTCOMES)), np.int64),
            np.empty(len(KIND_NAMES), np.int64),
            np.empty(1, np.int64),
        )

    def _make_pieces(self, number: int) -> None:
        """Write the pieces of the first missing items."""
        arena, pieces, revisions, missing = self._store
        for index in missing[:number].tolist():
            raw, sizes = self._pieces_of(index)
            if len(raw) > MAX_PIECES:
                raise ValueError(self._items.name(index), len(raw))  # beyond the bounds of the catalogue's records
            at = self._written % len(arena)
            if at + len(raw) > len(arena):
                self._written += len(arena) - at
                at = 0
            arena[at : at + len(raw)] = np.frombuffer(raw, np.uint8)
            pieces[index] = (self._written, revisions[index] + 1, *sizes)
            self._written += len(raw)

    def _pieces_of(self, index: int) -> tuple[bytes, tuple[int, ...]]:
        """Pieces of an item, and their sizes, as `PIECES` has them."""
        offer = self._catalog.get(index)
        name = orjson.dumps(self._items.name(index))
        if offer is None:
            title = orjson.dumps(STRANGER)
            return name + title, (len(name), len(title), 0, 0, 0, 0)
        category, brand = orjson.dumps(offer.category), orjson.dumps(offer.brand or "")[1:-1]
        pieces = (name, orjson.dumps(offer.title), category, orjson.dumps(offer.price), brand)
        last = len(category) - 1 - max(1, category.rfind(b"/") + 1)
        return b"".join(pieces), (*map(len, pieces), last)


def _most_missing(places: int) -> int:
    """Most items that one list of so many places names, or some more: so many pieces are made at once."""
    return max(64, places * (2 + MOST_REASONS))


def _words(topics: Sequence[str]) -> Words:
    """What is the same in every record, with what is said of each code and case."""
    text = bytearray()

    def kept(word: str) -> tuple[int, int]:
        raw = orjson.dumps(word)[1:-1]
        text.extend(raw)
        return len(text) - len(raw), len(raw)

    spans = []
    for word in _WORDS.values():
        spans.append((len(text), len(word)))
        text.extend(word.encode())
    sources = [SENTENCES[code].source if code in SENTENCES else "" for code in range(_CODES)]
    spans += map(kept, [*Action, *KIND_NAMES, *sources, *topics])
    first, steps, longest = [0], list[tuple[int, int, int]](), 0
    for code in range(_CODES):
        for case in CASES if code in SENTENCES else ():
            pieces = SENTENCES[code].pieces(case)
            fields = [*map(FIELDS.index, pieces[1::2]), -1]
            steps += [(*kept(piece), field) for piece, field in zip(pieces[::2], fields, strict=True)]
            first.append(len(steps))
            assert max(map(fields.count, fields)) == 1  # noqa: S101 - `_bound` counts on it
            longest = max(longest, sum(map(len, pieces[::2])) * 6)
        if code not in SENTENCES:
            first += [len(steps)] * len(CASES)
    sizes = [size for _, size in spans]
    of_record = sum(sizes[:_ITEM]) + max(sizes[_ACTION_NAMES:_KINDS]) + 7 * NUMBER + MOMENT + 8
    of_item = sum(sizes[_ITEM:_SOURCE]) + sizes[_KIND] + max(sizes[_KINDS:_SOURCES]) + 2 * NUMBER + 8
    of_reason = sum(sizes[_SOURCE:_KIND]) + max(sizes[_SOURCES:_TOPICS]) + longest + 3 * NUMBER + 8
    return Words(
        np.frombuffer(bytes(text), np.uint8),
        np.array(spans, np.int64),
        np.array(first, np.int64),
        np.array(steps, np.int64),
        np.array([of_record, of_item, of_reason], np.int64),
        len(topics),
    )


# -- compiled ----------------------------------------------------------------------------------------------------------


@inline_njit
def _word(out: Text, at: int, words: Words, number: int) -> int:
    return put(out, at, words.text, words.spans[number, 0], words.spans[number, 1])


@inline_njit
def _is_kept(item: int, oldest: int, store: _Store) -> bool:
    """Whether the pieces of an item are those of its last change, and not overwritten."""
    pieces = store.pieces[item]
    return bool(pieces.revision == store.revisions[item] + 1 and pieces.start >= oldest)


@inline_njit
def _miss(item: int, oldest: int, store: _Store, number: int) -> int:
    """List an item if its pieces are to be made."""
    if _is_kept(item, oldest, store) or store.pieces[item].revision == _LISTED:
        return number
    if number < len(store.missing):
        store.missing[number] = item
        store.pieces[item].revision = _LISTED
        return number + 1
    return number


@inline_njit
def _list_missing(first: int, oldest: int, batch: _Batch, store: _Store) -> int:
    """List the items of queries whose pieces are to be made, those of the first query first."""
    number = 0
    for query in range(first, len(batch.columns)):
        for place in range(_shown(query, batch)):
            number = _miss(batch.item[query, place], oldest, store, number)
            number = _miss(batch.anchor[query, place], oldest, store, number)
            for rank in range(MOST_REASONS):
                if batch.source[query, place, rank] < 0:
                    break
                if batch.about[query, place, rank] >= 0:
                    number = _miss(batch.about[query, place, rank], oldest, store, number)
        if number == len(store.missing):
            break
    return number


@inline_njit
def _shown(query: int, batch: _Batch) -> int:
    """Items that are sent."""
    return 0 if batch.columns[query, ARM] == NONE else batch.size[query]


@inline_njit
def _bound(query: int, oldest: int, batch: _Batch, words: Words, store: _Store) -> int:
    """Bytes that a record may take, -1 where pieces are missing."""
    columns = batch.columns[query]
    bound = columns[KEY_AT] - columns[USER_AT] + words.bounds[0] + 2 * words.spans[_TOPICS + columns[TOPIC], 1]
    bound += batch.models.ends[columns[MODELS] + 1] - batch.models.ends[columns[MODELS]]
    for place in range(_shown(query, batch)):
        item, anchor = batch.item[query, place], batch.anchor[query, place]
        if not _is_kept(item, oldest, store) or not _is_kept(anchor, oldest, store):
            return -1
        of_item = store.pieces[item]
        bound += words.bounds[1] + store.pieces[anchor].id
        bound += of_item.id + of_item.title + of_item.category + of_item.price
        for rank in range(MOST_REASONS):
            if batch.source[query, place, rank] < 0:
                break
            bound += words.bounds[2] + of_item.last + of_item.brand
            about = batch.about[query, place, rank]
            if about >= 0:
                if not _is_kept(about, oldest, store):
                    return -1
                bound += store.pieces[about].id + store.pieces[about].title
    return int(bound)


@inline_njit
def _put_reason(
    out: Text, at: int, query: int, place: int, rank: int, batch: _Batch, words: Words, store: _Store
) -> int:
    arena, code = store.arena, batch.source[query, place, rank]
    about, count = batch.about[query, place, rank], batch.events[query, place, rank]
    of_item = store.pieces[batch.item[query, place]]
    start = of_item.start % len(arena)
    at = _word(out, at, words, _SOURCE)
    at = _word(out, at, words, _SOURCES + code)
    title_at, title_size = 0, 0
    if about >= 0:
        of_anchor = store.pieces[about]
        anchor_at = of_anchor.start % len(arena)
        title_at, title_size = anchor_at + of_anchor.id + 1, of_anchor.title - 2
        at = _word(out, at, words, _ABOUT)
        at = put(out, at, arena, anchor_at, of_anchor.id)
        at = _word(out, at, words, _COUNT_ABOUT)
    else:
        at = _word(out, at, words, _COUNT)
    at = put_whole(out, at, count)
    lift = batch.lift[query, place, rank]
    if about >= 0 and lift == lift:
        at = _word(out, at, words, _LIFT)
        at = put_figure(out, at, lift, LIFT_DIGITS)
    at = _word(out, at, words, _TEXT)
    case = code * len(CASES) + _case_number(about >= 0, count, batch.of_views[query, place, rank], of_item.brand > 0)
    for step in range(words.first[case], words.first[case + 1]):
        at = put(out, at, words.text, words.steps[step, 0], words.steps[step, 1])
        field = words.steps[step, 2]
        if field == _OF_TITLE:
            at = put(out, at, arena, title_at, title_size)
        elif field == _OF_CATEGORY:
            ends = start + of_item.id + of_item.title + of_item.category - 1
            at = put(out, at, arena, ends - of_item.last, of_item.last)
        elif field == _OF_BRAND:
            brand_at = start + of_item.id + of_item.title + of_item.category + of_item.price
            at = put(out, at, arena, brand_at, of_item.brand)
        elif field == _OF_COUNT:
            at = put_whole(out, at, count)
    return _word(out, at, words, _END)


_case_number = inline_njit(case_number)


@inline_njit
def _put_item(out: Text, at: int, query: int, place: int, batch: _Batch, words: Words, store: _Store) -> int:
    arena, pieces = store.arena, store.pieces[batch.item[query, place]]
    of_anchor = store.pieces[batch.anchor[query, place]]
    start = pieces.start % len(arena)
    at = _word(out, at, words, _ITEM)
    at = put(out, at, arena, start, pieces.id)
    at = _word(out, at, words, _KIND)
    at = _word(out, at, words, _KINDS + batch.kind[query, place])
    at = _word(out, at, words, _ANCHOR)
    at = put(out, at, arena, of_anchor.start % len(arena), of_anchor.id)
    at = _word(out, at, words, _SCORE)
    at = put_figure(out, at, batch.score[query, place], SCORE_DIGITS)
    at = _word(out, at, words, _PRICE)
    at = put(out, at, arena, start + pieces.id + pieces.title + pieces.category, pieces.price)
    at = _word(out, at, words, _CATEGORY)
    at = put(out, at, arena, start + pieces.id + pieces.title, pieces.category)
    at = _word(out, at, words, _TITLE)
    at = put(out, at, arena, start + pieces.id, pieces.title)
    at = _word(out, at, words, _REASONS)
    for rank in range(MOST_REASONS):
        if batch.source[query, place, rank] < 0:
            break
        if rank:
            out[at] = _COMMA
            at += 1
        at = _put_reason(out, at, query, place, rank, batch, words, store)
    at = _word(out, at, words, _PROPENSITY)
    at = put_figure(out, at, batch.propensity[query, place], PROPENSITY_DIGITS)
    out[at] = _BRACE
    return at + 1


@inline_njit
def _put_record(out: Text, at: int, query: int, latency: int, batch: _Batch, words: Words, store: _Store) -> int:
    columns = batch.columns[query]
    at = _word(out, at, words, _ID)
    at = _word(out, at, words, _TOPICS + columns[TOPIC])
    out[at] = _DASH
    at = put_whole(out, at + 1, columns[PARTITION])
    out[at] = _DASH
    at = put_whole(out, at + 1, columns[OFFSET])
    at = _word(out, at, words, _USER)
    at = put(out, at, batch.texts, columns[USER_AT], columns[IDS_AT] - columns[USER_AT])
    at = _word(out, at, words, _AT)
    at = put_moment(out, at, columns[AT_MS])
    at = _word(out, at, words, _TOPIC)
    at = _word(out, at, words, _TOPICS + columns[TOPIC])
    at = _word(out, at, words, _PARTITION)
    at = put_whole(out, at, columns[PARTITION])
    at = _word(out, at, words, _OFFSET)
    at = put_whole(out, at, columns[OFFSET])
    at = _word(out, at, words, _ACTION)
    at = _word(out, at, words, _ACTION_NAMES + columns[ACTION])
    at = _word(out, at, words, _ITEM_IDS)
    at = put(out, at, batch.texts, columns[IDS_AT], columns[KEY_AT] - columns[IDS_AT])
    if columns[ITEM_COUNT] > MAX_TRIGGER_IDS:
        at = _word(out, at, words, _ITEM_COUNT)
        at = put_whole(out, at, columns[ITEM_COUNT])
    at = _word(out, at, words, _ITEMS)
    for place in range(_shown(query, batch)):
        if place:
            out[at] = _COMMA
            at += 1
        at = _put_item(out, at, query, place, batch, words, store)
    at = _word(out, at, words, _MODELS)
    start = batch.models.ends[columns[MODELS]]
    at = put(out, at, batch.models.text, start, batch.models.ends[columns[MODELS] + 1] - start)
    at = put_decimal(out, at, latency, -1)
    out[at] = _BRACE
    return at + 1


@cached_njit(nogil=True, error_model="numpy")
def _write(batch: _Batch, words: Words, store: _Store, written: int, made: bool, out: _Out) -> int:
    """Write the records of as many queries as there is room and pieces for, from the buffer's first byte.

    Returns the number of items whose pieces are to be made first, then `made`; or minus the bytes that the next record
    needs; or 0. What was written to the arena in its last half is not made again; what was made for this call, in a
    quarter of it, cannot overwrite that. So after it at least one record is written, if it has room.
    """
    half, first = len(store.arena) // 2, out.progress[0]
    if first == 0:
        out.outcomes[:] = 0
        out.kinds[:] = 0
    if not made:
        number = _list_missing(first, written - half, batch, store)
        if number:
            return number
    at = 0
    for query in range(first, len(batch.columns)):
        withheld = batch.columns[query, ARM] == NONE
        sent = batch.size[query] > 0 or batch.emit_empty
        bound = _bound(query, written - 2 * half, batch, words, store)
        if sent and bound < 0:
            return 0
        if sent and at + bound > len(out.text):
            return -bound
        outcome = NOTHING if batch.size[query] == 0 else WITHHELD if withheld else SUGGESTED
        out.outcomes[batch.columns[query, TOPIC], outcome] += 1
        out.latency_tenths[query] = -1
        if sent:
            late_ms = max(0.0, batch.now_ms - batch.columns[query, APPENDED_MS])
            latency = int(np.rint(10.0 * late_ms))
            at = _put_record(out.text, at, query, latency, batch, words, store)
            out.latency_tenths[query] = latency
            for place in range(_shown(query, batch)):
                out.kinds[batch.kind[query, place]] += 1
        out.ends[query + 1] = at
        out.progress[0] = query + 1
    return 0
