"""What was learnt, in a form that can be compared: weights as of one time, and numbers of events.

The rows of the run, the rows of the baseline run and the recount all become [`Counts`][].
"""

from __future__ import annotations

import base64
import struct
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from math import isclose
from typing import Any, NamedTuple

import orjson

from models.shop.events import PAIR_KIND_NAMES
from streams.drills.evidence import Raw

MARGINS = ("views", "baskets")
"""Kinds of cells of the item itself."""

TOTAL = "all_baskets"
"""Kind of the cell that the position records have."""

CELL_KINDS = (*PAIR_KIND_NAMES, *MARGINS, TOTAL)

TOLERANCE = 1e-6
"""Relative or absolute. Differences by the order of addition are a million times smaller."""

EXAMPLES = 3
"""Differences reported for each kind."""


class Cell(NamedTuple):
    """What a weight belongs to."""

    kind: str  # one of CELL_KINDS
    item: str
    neighbour: str  # the item itself for its margins


class Counts:
    """Weights and counts by cell. All weights are decayed to `as_of_s` (epoch seconds) by the half-life.

    >>> counts = Counts(as_of_s=1000.0, half_life_s=100.0)
    >>> counts.add(Cell("viewed_with", "kettle", "mug"), 1.0, at_s=900.0)
    >>> counts.add(Cell("viewed_with", "kettle", "mug"), 1.0, at_s=1000.0)
    >>> counts[Cell("viewed_with", "kettle", "mug")]
    (1.5, 2)
    """

    def __init__(self, as_of_s: float, half_life_s: float) -> None:
        self._as_of_s = as_of_s
        self._half_life_s = half_life_s
        self._weights: dict[Cell, float] = {}
        self._numbers: Counter[Cell] = Counter()

    def add(self, cell: Cell, weight: float, at_s: float, number: int = 1) -> None:
        """Add a weight as of a time, and its number of events."""
        now = weight * 2.0 ** ((at_s - self._as_of_s) / self._half_life_s)
        self._weights[cell] = self._weights.get(cell, 0.0) + now
        self._numbers[cell] += number

    def __getitem__(self, cell: Cell) -> tuple[float, int]:
        return self._weights.get(cell, 0.0), self._numbers[cell]

    def __iter__(self) -> Iterator[Cell]:
        return iter(self._weights)

    def longest_row(self) -> int:
        """Largest number of neighbours of an item."""
        neighbours = {(cell.item, cell.neighbour) for cell in self if cell.kind in PAIR_KIND_NAMES}
        return max(Counter(item for item, _ in neighbours).values(), default=0)


def published(neighbours: Iterable[Raw], as_of_s: float, half_life_s: float) -> Counts:
    """What the workers have published, from all records of `neighbours`: each item's row of the greatest position.

    Rows that were dropped are not among them.
    """
    rows: dict[str, dict[str, Any]] = {}
    positions: dict[int, dict[str, Any]] = {}
    for record in neighbours:
        if record.value is None:
            rows.pop((record.key or b"").decode(errors="replace"), None)
            continue
        value = orjson.loads(record.value)
        if not record.key:
            if value["position"] >= positions.get(record.partition, value)["position"]:
                positions[record.partition] = value
        elif value["position"] >= rows.get(value["item_id"], value)["position"]:
            rows[value["item_id"]] = value
    counts = Counts(as_of_s, half_life_s)
    for item, row in rows.items():
        _add_row(counts, item, row)
    for position in positions.values():
        counts.add(Cell(TOTAL, "", ""), position["baskets"], position["at"], 0)
    return counts


def _add_row(counts: Counts, item: str, row: dict[str, Any]) -> None:
    size = len(row["neighbours"]) * len(PAIR_KIND_NAMES)
    weights = struct.unpack(f"<{size}d", base64.b64decode(row["weights"]))
    numbers = struct.unpack(f"<{size}i", base64.b64decode(row["counts"]))
    for place, neighbour in enumerate(row["neighbours"]):
        for column, kind in enumerate(PAIR_KIND_NAMES):
            index = place * len(PAIR_KIND_NAMES) + column
            if weights[index] or numbers[index]:
                counts.add(Cell(kind, item, neighbour), weights[index], row["at"], numbers[index])
    for kind, weight, number in zip(MARGINS, row["own"], row["own_count"], strict=True):
        if weight or number:
            counts.add(Cell(kind, item, item), weight, row["at"], number)


@dataclass(slots=True)
class Difference:
    """How two `Counts` differ in the cells of one kind."""

    compared: int = 0
    wrong: int = 0
    examples: list[str] = field(default_factory=list)


def compare(found: Counts, expected: Counts, items: Container[str] | None = None) -> dict[str, Difference]:
    """Compare the cells of both, by kind; a cell is wrong if its weight or its number of events differs.

    With `items`, cells of other items are left out: what workers learn of items without a catalogue record they drop.
    """
    differences = {kind: Difference() for kind in CELL_KINDS}
    for cell in sorted({*found, *expected}):
        if items is not None and cell.item and not (cell.item in items and cell.neighbour in items):
            continue
        (weight, number), (right_weight, right_number) = found[cell], expected[cell]
        difference = differences[cell.kind]
        difference.compared += 1
        if number == right_number and isclose(weight, right_weight, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            continue
        difference.wrong += 1
        if len(difference.examples) < EXAMPLES:
            difference.examples.append(
                f"{cell.kind} {cell.item} -> {cell.neighbour}: {weight:.9g} of {number} events, "
                f"not {right_weight:.9g} of {right_number}"
            )
    return differences
