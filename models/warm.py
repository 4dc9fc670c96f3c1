"""`python -m models.warm`: compiles all kernels ahead of time; the machine code is cached beside the source.

Otherwise the first worker compiles them when it starts.
"""

from __future__ import annotations

from models.cooccurrence import counter, index, pair_columns
from models.cooccurrence.config import CoOccurrenceConfig
from models.cooccurrence.index import Neighbours
from models.sequence import predictor
from models.serving.recommender import Recommender, RecommenderConfig
from models.sessions import histories, visits
from models.shop.catalog import Catalog
from models.shop.items import Items
from models.shop.policy import Policy


def warm() -> None:
    """Compile all kernels, or load them from the cache."""
    counter.warm()
    index.warm()
    pair_columns.warm()
    histories.warm()
    predictor.warm()
    visits.warm()
    items = Items()
    neighbours = Neighbours(items, CoOccurrenceConfig().half_life_s)
    Recommender(items, Catalog(items), neighbours, Policy(), RecommenderConfig()).warm()


if __name__ == "__main__":
    warm()
