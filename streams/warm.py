"""`python -m streams.warm`: compiles all kernels of a worker ahead of time, those of `models.warm` among them."""

from __future__ import annotations

from models import warm as models_warm
from models.shop.catalog import Catalog
from models.shop.items import Items
from streams.kafka import expected_rows
from streams.wire import batch_reader, click_scanner, merging, pair_deltas, partitioner, waiting_requests
from streams.wire.neighbour_rows import RowWriter
from streams.wire.suggestion_writer import SuggestionWriter


def warm() -> None:
    """Compile all kernels, or load them from the cache."""
    models_warm.warm()
    batch_reader.warm()
    merging.warm()
    click_scanner.warm()
    items = Items()
    SuggestionWriter(items, Catalog(items), [], 1).warm()
    RowWriter(items).warm()
    expected_rows.warm()
    pair_deltas.warm()
    partitioner.warm()
    waiting_requests.warm()


if __name__ == "__main__":
    warm()
