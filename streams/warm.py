"""`python -m streams.warm`: compiles all kernels of a worker ahead of time, those of `models.warm` among them."""

from __future__ import annotations

from models import warm as models_warm
from models.shop.catalog import Catalog
from models.shop.items import Items
from streams.wire import waiting_requests
from streams.wire.suggestion_writer import SuggestionWriter


def warm() -> None:
    """Compile all kernels, or load them from the cache."""
    models_warm.warm()
    items = Items()
    SuggestionWriter(items, Catalog(items), []).warm()
    waiting_requests.warm()


if __name__ == "__main__":
    warm()
