"""Frees the indices of item ids that nothing refers to any more, so that made-up ids do not fill the memory.

So it does with the numbers of categories, brands and currencies that no item has any more.

Mark and sweep, a little at a time. Everybody who keeps indices from one turn of the event loop to the next is listed
here, and in no other place:

* the visits and histories of shoppers: marked some shoppers a turn, as they are many. Whatever they gain meanwhile has
  come through `Items.index` or `Items.indices`, which mark it;
* all others: marked together, in the turn in which indices are freed. Indices that they have copied from a visit are
  seen there. What a flush has, and nobody else, it shows through `Items.kept`.

Records and messages name items by id, so an item that comes back just gets another index. No result depends on an
index: ties are settled by id.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np

from streams.wire.pair_deltas import shared_item_partitions
from streams.wire.quoted_ids import shared_quoted_ids
from streams.worker.context import WorkerContext
from streams.worker.neighbour_task import NeighbourTask
from streams.worker.partition_task import PartitionTask
from streams.worker.shopper_task import ShopperTask

logger = logging.getLogger(__name__)

LEAST = 20_000
"""Ids more than after the last sweep before the next one begins: 10 MB."""

LEAST_WORDS = 5_000
"""Likewise, categories, brands and currencies: 10 MB."""

SLICE = 200
"""Shoppers marked in a turn: less than a millisecond."""


class IdSweep:
    """Sweeps when the number of ids has doubled, and grown by `least`; or that of words, and by `least_words`.

    `tasks` gives the partition tasks of the moment.
    """

    def __init__(
        self,
        context: WorkerContext,
        tasks: Callable[[], Iterable[PartitionTask]],
        least: int = LEAST,
        least_words: int = LEAST_WORDS,
    ) -> None:
        self._context, self._tasks, self._least, self._least_words = context, tasks, least, least_words
        self._marking: Iterator[None] | None = None

    def step(self) -> bool:
        """Do a little; returns whether there is more to do at once."""
        items = self._context.items
        if self._marking is None:
            if not (items.due(self._least) or self._context.tables.catalog.words_due(self._least_words)):
                return False
            items.begin()
            self._marking = self._mark_shoppers()
        if next(self._marking, self) is None:
            return True
        if items.keeping:
            return False  # a snapshot or a policy is being read; the next step looks again
        self._marking = None
        self._sweep()
        return False

    def _mark_shoppers(self) -> Iterator[None]:
        tasks = [task for task in self._tasks() if isinstance(task, ShopperTask)]
        for visits, histories in [(task.visits, task.histories) for task in tasks]:
            shoppers = iter(visits.shoppers().tolist())
            while some := list(islice(shoppers, SLICE)):
                self._mark(item for slot in some for item in visits.held(slot))
                yield None
            shoppers = iter(histories.shoppers())
            while some := list(islice(shoppers, SLICE)):
                self._context.items.mark(np.concatenate([histories.held(user_id) for user_id in some]))
                yield None

    def _mark(self, indices: Iterable[int]) -> None:
        self._context.items.mark(np.fromiter(indices, np.int64))

    def _sweep(self) -> None:
        context, predictor = self._context, self._context.batcher.predictor
        items, tables = context.items, context.tables
        expected = tables.expected_rows, context.expected_pairs
        for holder in (tables.catalog, tables.neighbours, *expected, context.recommender, context.batcher):
            items.mark(holder.held())
        for task in self._tasks():
            if isinstance(task, NeighbourTask):
                items.mark(task.rows.held())
            elif isinstance(task, ShopperTask):
                items.mark(task.pending_items())
        before, freed = items.used, items.free()
        if len(freed):
            tables.catalog.freed(freed)
            shared_quoted_ids(items).freed(freed)
            shared_item_partitions(items, context.partitions("pairs")).freed(freed)
            if predictor is not None:
                predictor.clear()
        words = tables.catalog.words
        tables.catalog.free_words(*context.recommender.words_held())
        logger.info("%d of %d categories, brands and currencies are freed", words - tables.catalog.words, words)
        logger.info("%d of %d item ids are freed: nothing refers to them any more", len(freed), before)
