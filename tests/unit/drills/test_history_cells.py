"""Histories of two runs are compared cell by cell, with no code of the worker."""

from __future__ import annotations

import pytest

from models.sessions.histories import Histories, HistoryConfig
from models.shop.items import Items
from streams.drills.evidence import Raw
from streams.drills.history_cells import compare_histories, published_histories
from streams.wire.history_rows import encode_history
from streams.wire.topics import Identity

AT = 1_700_000_000.0


def row(*baskets: tuple[list[str], float]) -> bytes:
    items = Items()
    histories = Histories(items, HistoryConfig())
    for offset, (names, day) in enumerate(baskets):
        histories.learn("ann", [items.index(name) for name in names], AT + 86_400 * day, offset)
    found = histories.row("ann")
    assert found is not None
    return encode_history(found, Identity("id", 2))


def records(*values: bytes | None, partition: int = 0) -> list[Raw]:
    return [Raw("histories", partition, offset, 0, b"ann", value) for offset, value in enumerate(values)]


ONE = (["kettle", "mug"], 0.0)
TWO = (["mug"], 40.0)


def test_equal_rows_differ_in_no_cell() -> None:
    cells = published_histories(records(row(ONE, TWO)))
    assert cells[0, "ann", "mug"][:3] == (2, AT, AT + 40 * 86_400)
    difference = compare_histories(cells, published_histories(records(row(ONE, TWO))))
    assert (difference.compared, difference.wrong) == (3, 0)


@pytest.mark.parametrize(
    ("other", "wrong"),
    [
        (records(row(ONE)), 2),  # mug, and all baskets
        (records(row(ONE, (["mug"], 41.0))), 2),
        (records(row((["mug", "tea"], 0.0), TWO)), 2),  # tea for the kettle
        (records(row(ONE, TWO), partition=1), 6),
        (records(row(ONE, TWO), None), 3),
        ([], 3),
    ],
)
def test_each_cell_that_differs_is_wrong(other: list[Raw], wrong: int) -> None:
    difference = compare_histories(published_histories(other), published_histories(records(row(ONE, TWO))))
    assert difference.wrong == wrong
    assert difference.examples[0].startswith("history of ann, ")


def test_the_row_with_the_greatest_position_counts_though_a_late_owner_wrote_after_it() -> None:
    late = published_histories(records(row(ONE), row(ONE, TWO), row(ONE)))
    assert late == published_histories(records(row(ONE, TWO)))
