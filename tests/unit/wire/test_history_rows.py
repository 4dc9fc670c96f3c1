"""Rows of histories go out and come back bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from models.sessions.histories import Histories, HistoryConfig
from models.shop.items import Items
from streams.errors import RecordError
from streams.wire.history_rows import decode_history, encode_history
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
