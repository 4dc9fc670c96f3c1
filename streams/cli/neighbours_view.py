"""Rows of neighbours on a terminal, for people and for scripts."""

from __future__ import annotations

import orjson
from rich.console import Console

from models.shop.events import PAIR_KIND_NAMES
from streams.cli.printing import new_table, printable
from streams.kafka.blocking import TopicReader
from streams.kafka.global_tables import GlobalTables
from streams.metrics import Metrics
from streams.settings import Settings


class Published:
    """All rows of neighbours now published, in the tables that a worker serves from; with titles from the catalogue.

    Raises:
        TopicsError: a topic is missing.
        BrokerError: no broker answers.
    """

    def __init__(self, settings: Settings, *, with_titles: bool) -> None:
        tables = self._tables = GlobalTables(settings, Metrics())
        self.neighbours = tables.neighbours
        with TopicReader(settings, ["neighbours", "catalog"] if with_titles else ["neighbours"]) as reader:
            for batch in reader.read(from_start=True, until_end=True):
                for record in batch:
                    tables.apply(record)

    def __contains__(self, item_id: str) -> bool:
        """Whether an item has a row."""
        return self.neighbours.row(item_id) is not None

    def as_json(self, item_id: str) -> bytes:
        """An item's row, as `crosscurrent neighbours --json` prints it."""
        rows = [
            {"item_id": name, **dict(zip(PAIR_KIND_NAMES, weights, strict=True)), "lift": lift}
            for name, weights, lift in self._row(item_id)
        ]
        return orjson.dumps({"item_id": item_id, "neighbours": rows})

    def print_table(self, item_id: str) -> None:
        """Print an item's row, for people."""
        headings = [kind.replace("_", " ") for kind in (*PAIR_KIND_NAMES, "lift")]
        table = new_table(printable(f"{self._title(item_id)} ({item_id})"), ["neighbour"], headings)
        for name, weights, lift in self._row(item_id):
            figures = [f"{weight:.3f}" if weight else "-" for weight in weights]
            table.add_row(printable(f"{self._title(name)} ({name})"), *figures, f"{lift:.2f}" if weights[1] else "-")
        Console(markup=False, highlight=False).print(table)

    def _row(self, item_id: str) -> list[tuple[str, list[float], float]]:
        """Neighbours of an item, strongest first: id, weights by kind, lift of bought-with."""
        row = self.neighbours.row(item_id)
        assert row is not None
        lifts = self.neighbours.lifts(self._tables.items.find(item_id))
        return list(zip(row.neighbours, row.weights.tolist(), lifts, strict=True))

    def _title(self, item_id: str) -> str:
        item = self._tables.catalog.get(self._tables.items.find(item_id))
        return item.title if item is not None else "not in the catalogue"
