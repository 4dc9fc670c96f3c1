"""Rows of histories go out and come back bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from models.sessions.histories import Histories, HistoryConfig, HistoryRow
from models.shop.items import Items
from streams.errors import RecordError
from streams.wire.history_rows import decode_histories, decode_history, encode_history
from streams.wire.topics import Identity
from tests.support.shop_records import Rec

PURCHASES = Identity("JkH0bOoQTqyWqjC0hHj9Jg", 8)


def histories_of(items: int, purchases: int, user_id: str = "ann/é") -> Histories:
    chance, names = np.random.default_rng(1), Items()
    histories = Histories(names, HistoryConfig())
    known = [names.index(f"item-{n:05d}") for n in range(items)]
    for offset in range(purchases):
        basket = chance.permutation(known)[: max(1, items // 2)].tolist()
        histories.learn(user_id, basket, 1_700_000_000.123 + 1e5 * chance.normal(), 2**53 + offset)
    return histories


@pytest.mark.parametrize(("items", "purchases"), [(1, 1), (3, 2), (200, 9)])
def test_a_row_comes_back_bit_for_bit(items: int, purchases: int) -> None:
    row = histories_of(items, purchases).row("ann/é")
    assert row is not None
    value = encode_history(row, PURCHASES)
    back, of = decode_history(Rec("histories", "ann/é".encode(), value))
    assert of == PURCHASES
    assert (back.user_id, back.item_ids, back.history[1:]) == (row.user_id, row.item_ids, row.history[1:])
    for name in ("count", "first", "last", "fast", "slow"):
        assert back.history.cells[name].tolist() == row.history.cells[name].tolist()
    assert set(back.history.cells["item"].tolist()) == {-1}
    assert encode_history(back, of) == value


def test_a_row_takes_some_sixty_bytes_an_item() -> None:
    row = histories_of(200, 9).row("ann/é")
    assert row is not None
    assert len(encode_history(row, PURCHASES)) / len(row.item_ids) == pytest.approx(62, abs=3)


def test_a_row_of_an_older_version_has_one_count_more() -> None:
    row = histories_of(3, 2).row("ann/é")
    assert row is not None
    value = encode_history(row, PURCHASES)
    older = value.replace(b'"slow":', b'"fast":1.5,"slow":', 1)
    assert older != value
    found, same = (decode_history(Rec("histories", "ann/é".encode(), each)) for each in (older, value))
    assert encode_history(*found) == encode_history(*same)


def test_the_key_is_the_shopper() -> None:
    row = histories_of(3, 2).row("ann/é")
    assert row is not None
    with pytest.raises(RecordError, match="user_id"):
        decode_history(Rec("histories", b"ann", encode_history(row, PURCHASES)))


def row_of(user_id: str, items: int) -> HistoryRow:
    row = histories_of(items, 3, user_id).row(user_id)
    assert row is not None
    return row


def test_rows_that_are_read_together_are_as_if_read_alone_and_only_bad_ones_are_refused() -> None:
    rows = [row_of(f"user-{n}", items) for n, items in enumerate((1, 30, 4, 7, 2, 200, 3, 5))]
    for n, change in ((1, {"last": 0.0}), (4, {"first": 3e9}), (6, {"baskets": 0})):
        rows[n] = rows[n]._replace(history=rows[n].history._replace(**change))
    cells = rows[3].history.cells.copy()
    cells["count"][-1] = 4  # of three baskets
    rows[3] = rows[3]._replace(history=rows[3].history._replace(cells=cells))
    records = [Rec("histories", row.user_id.encode(), encode_history(row, PURCHASES)) for row in rows]
    records[7] = Rec("histories", b"somebody else", records[7].value)
    records.append(Rec("histories", b"ann", None))
    together = decode_histories(records)
    bad = {n: error for n, error in enumerate(together) if isinstance(error, RecordError)}
    assert {n: error.path for n, error in bad.items()} == {
        1: "$.table", 3: "$.table", 4: "$.table", 6: None, 7: "$.user_id", 8: None,
    }  # fmt: skip
    assert "counts from 1 to 3" in bad[3].expected
    assert "times" in bad[1].expected and "times" in bad[4].expected
    for row, found in zip(rows, together, strict=False):
        if not isinstance(found, RecordError):
            assert encode_history(found.row, found.purchases) == encode_history(row, PURCHASES)


def test_without_records_there_are_no_rows() -> None:
    assert decode_histories([]) == []
