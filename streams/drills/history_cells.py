"""What workers have published of shoppers' histories, in a form that can be compared, by the records alone."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable
from math import isclose
from typing import Any

import orjson

from streams.drills.counts import EXAMPLES, TOLERANCE, Difference
from streams.drills.evidence import Raw

Cells = dict[tuple[int, str, str], tuple[float, ...]]
"""Count, first and last time, and decayed counts, by partition, shopper and item; empty item: of all baskets."""


def published_histories(records: Iterable[Raw]) -> Cells:
    """The cells of all records of `histories`: those of each shopper's row of the greatest position in a partition."""
    rows: dict[tuple[int, str], dict[str, Any]] = {}
    for record in records:
        place = (record.partition, (record.key or b"").decode(errors="replace"))
        if record.value is None:
            rows.pop(place, None)
            continue
        row = orjson.loads(record.value)
        if row["position"] >= rows.get(place, row)["position"]:
            rows[place] = row
    cells: Cells = {}
    for (partition, user_id), row in rows.items():
        cells[partition, user_id, ""] = (row["baskets"], row["first"], row["last"], row["slow"])
        table = struct.iter_unpack("<i4d", base64.b64decode(row["table"]))
        cells |= {(partition, user_id, item): cell for item, cell in zip(row["items"], table, strict=True)}
    return cells


def compare_histories(found: Cells, expected: Cells) -> Difference:
    """Compare the cells of both; one that is in one of them only is wrong."""
    difference = Difference()
    for place in sorted({*found, *expected}):
        cell, right = found.get(place, ()), expected.get(place, ())
        difference.compared += 1
        if len(cell) == len(right) and all(map(_close, cell, right)):
            continue
        difference.wrong += 1
        if len(difference.examples) < EXAMPLES:
            _, user_id, item = place
            difference.examples.append(f"history of {user_id}, {item or 'all'}: {cell}, not {right}")
    return difference


def _close(number: float, right: float) -> bool:
    return isclose(number, right, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
