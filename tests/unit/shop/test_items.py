"""Numbers of items, and the keys that settle ties between them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.shop.items import UNKNOWN, Items


def key(items: Items, item_id: str) -> tuple[int, int]:
    index = items.index(item_id)
    first, second = items.order[index]  # read after `index`, which may have replaced it
    return int(first), int(second)


def test_ids_keep_their_numbers_as_the_tables_grow() -> None:
    items = Items()
    names = [f"item {n}" for n in range(3000)]
    assert [items.index(name) for name in names] == list(range(3000))
    assert [items.find(name) for name in names] == list(range(3000))
    assert [items.name(n) for n in (0, 1023, 1024, 2999)] == ["item 0", "item 1023", "item 1024", "item 2999"]
    assert len(items) == 3000 <= len(items.order)
    assert items.order.dtype == np.uint64
    fresh = Items()
    assert all(key(items, name) == key(fresh, name) for name in names)  # whatever was interned before


@given(st.lists(st.sampled_from(["kettle", "mug", "tea", "pot"])), st.lists(st.sampled_from(["tea", "cup", "lid"])))
def test_ids_together_are_numbered_and_kept_as_one_by_one(before: list[str], now: list[str]) -> None:
    alone, together = Items(), Items()
    for items in (alone, together):
        for name in before:
            items.index(name)
        items.begin()
    indices = together.indices(now)
    assert indices.dtype == np.int32
    assert indices.tolist() == [alone.index(name) for name in now]
    assert together.free().tolist() == alone.free().tolist()
    assert together.names() == alone.names()


def test_an_id_that_was_never_seen_is_unknown_and_stays_so() -> None:
    items = Items()
    assert items.find("kettle") == UNKNOWN
    assert len(items) == 0


ids = st.text(min_size=1, max_size=12).filter(lambda text: len(text.encode()) <= 16 and not text.endswith("\0"))


@given(ids, ids)
def test_keys_of_short_ids_compare_as_the_ids_do(first: str, second: str) -> None:
    items = Items()
    assert (key(items, first) < key(items, second)) == (first.encode() < second.encode())
    assert (key(items, first) == key(items, second)) == (first == second)


def test_long_ids_with_one_beginning_are_told_apart_in_whatever_order_they_come() -> None:
    names = [f"{'x' * 250}{n}" for n in range(50)]
    there, back = Items(), Items()
    keys = [key(there, name) for name in names]
    assert len(set(keys)) == 50
    assert [key(back, name) for name in reversed(names)] == keys[::-1]
    assert key(there, "a" * 40) < key(there, "b" * 40)
    assert len({key(there, "a" + n * "\0") for n in range(20)}) == 20


@given(st.lists(st.sampled_from("abcdef")), st.sets(st.integers(0, 5)), st.lists(st.sampled_from("abcdefgh")))
def test_compiled_code_finds_the_same_indices(before: list[str], kept: set[int], after: list[str]) -> None:
    items = Items()
    for name in before:
        items.index(name)
    items.begin()
    items.mark(np.array([index for index in kept if index < len(items)], np.int64))
    items.free()
    for name in after:
        items.index(name)
    assert [items.numbered.find(name) for name in "abcdefgh"] == [items.find(name) for name in "abcdefgh"]
    assert len(items.numbered) == items.used
