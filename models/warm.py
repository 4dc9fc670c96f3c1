"""`python -m models.warm`: compiles all kernels ahead of time; the machine code is kept beside the source.

Without it the first worker compiles them at its start, while others wait for it.
"""

from __future__ import annotations

from models.cooccurrence import counter
from models.cooccurrence.config import CoOccurrenceConfig
from models.cooccurrence.index import Neighbours
from models.sequence import kernels
from models.serving.recommender import Recommender, RecommenderConfig
from models.shop.catalog import Catalog
from models.shop.items import Items
from models.shop.policy import Policy


def warm() -> None:
    """Compile what learning and suggesting run, or read it from the cache."""
    counter.warm()
    kernels.warm()
    items = Items()
    neighbours = Neighbours(items, CoOccurrenceConfig().half_life_s)
    Recommender(items, Catalog(items), neighbours, Policy(), RecommenderConfig()).warm()


if __name__ == "__main__":
    warm()
