"""What the sequence model costs: the best items for a shopper, taking a snapshot, and learning a look.

Item vectors are learnt from the benchmark's own events, and copied with noise until there are as many as asked for.
Vectors that are drawn at random lie in clusters of their own, and flatter any index.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from models.sequence.config import LearnerConfig, NetworkConfig
from models.sequence.features import Contents, gap_classes
from models.sequence.prediction import WindowBatch
from models.sequence.predictor import ITEMS, SequencePredictor
from models.sequence.scorer import Scorer
from models.sequence.vector_index import best_cosines
from models.sequence.vocabulary import NOBODY
from streams.bench.events import Event

SIZES = (10_000, 100_000, 1_000_000)
"""Items."""

NOISE = 0.5
"""Length of what is added to the copy of an item vector, which is of length 1, before it is made so again."""

EVENTS = 30_000
"""That vectors are learnt from."""

GAP_S = 20.0
"""Between the looks of a visit."""

TOGETHER = 8
"""Shoppers of a batch."""

ASKED = 256
"""Shoppers."""

REPEATS = 7
"""Of each timing; the median counts."""

VISITS = 3_000
"""Windows to learn, of five looks each."""


class Learnt(NamedTuple):
    """What is learnt from the benchmark's events."""

    weights: Mapping[str, NDArray[Any]]
    visits: list[list[int]]
    """Items of visits of two looks and more, that were not learnt."""


def index(events: Sequence[Event], sizes: Sequence[int], say: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """By number of items: microseconds a shopper for the best ones, one alone and in a batch, and how good they are.

    `mass` is their share of the probability of the true best, and `taken_s` how long a snapshot takes to be taken over.
    """
    learnt = _learnt(events)
    figures: dict[str, dict[str, float]] = {}
    for size in sizes:
        say(f"the best of {size:,} items")
        scorer = _copied(learnt.weights, size)
        started = time.perf_counter()
        predictor = SequencePredictor(scorer, "bench")
        taken_s = time.perf_counter() - started
        figures[str(size)] = {
            "us_a_shopper": _us(predictor, learnt.visits, TOGETHER),
            "us_alone": _us(predictor, learnt.visits, 1),
            "mass": round(_mass(predictor, scorer, learnt.visits), 4),
            "taken_s": round(taken_s, 2),
        }
    return figures


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch compute with one thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def learning() -> dict[str, Any]:
    """Looks learnt a second by one thread, with and without replayed ones."""
    from models.sequence.features import Contents
    from models.sequence.learner import Learner
    from models.sequence.window_buffer import LookWindow

    with one_thread():
        learner, chance = Learner(LearnerConfig(), Contents(), seed=1), np.random.default_rng(1)
        started = time.perf_counter()
        for _ in range(VISITS):
            first = int(chance.integers(0, 2_000))
            if learner.add(LookWindow(range(first, first + 5), [0] * 5, [1] * 5, 5, 0.0)):
                learner.learn()
        learner.learn()
        seconds = time.perf_counter() - started
    return {
        "positions_per_s": round(learner.positions / seconds),
        "new_positions_per_s": round(learner.learnt / seconds),
    }


def _learnt(events: Sequence[Event]) -> Learnt:
    from models.sequence.learner import Learner
    from models.sequence.window_buffer import LookWindow

    numbers: dict[str, int] = {}
    visits = defaultdict[str, list[int]](list)
    for event in events:
        if event.topic == "clicks":
            value = orjson.loads(event.value)
            visits[value["user_id"]].append(numbers.setdefault(value["item_id"], len(numbers)))
    long = [visit[-LearnerConfig().looks :] for visit in visits.values() if len(visit) > 1]
    learner = Learner(LearnerConfig(), Contents(), seed=1)
    for visit in long[ASKED:]:
        if learner.add(LookWindow(visit, [0] * len(visit), gap_classes(_times(visit)), len(visit), 0.0)):
            learner.learn()
    learner.learn()
    return Learnt(learner.arrays(), long[:ASKED])


def _times(visit: Sequence[int]) -> list[float]:
    return [GAP_S * place for place in range(len(visit))]


def _copied(weights: Mapping[str, NDArray[Any]], size: int) -> Scorer:
    """The scorer of so many items, of which the first are those of the weights."""
    own = weights["items.weight"][1:]
    own = own / np.linalg.norm(own, axis=1, keepdims=True)
    chance, spread = np.random.default_rng(1), np.float32(NOISE / np.sqrt(own.shape[1]))
    vectors = np.zeros((size + 1, own.shape[1]), np.float32)
    for first in range(0, size, len(own)):
        copy = own[: size - first]
        noise = spread * chance.standard_normal(copy.shape, np.float32) if first else 0.0
        vectors[1 + first : 1 + first + len(copy)] = copy + noise
    slots = np.arange(-1, size)
    slots[0] = NOBODY
    return Scorer({**weights, "items.weight": vectors}, slots, Contents(), NetworkConfig().scale)


def _windows(visits: Sequence[Sequence[int]]) -> WindowBatch:
    """Visits as the predictor takes them."""
    looks = [item for visit in visits for item in visit]
    ats = [at for visit in visits for at in _times(visit)]
    ends = np.cumsum([0, *map(len, visits)])
    return WindowBatch(np.array(looks, np.int32), np.zeros(len(looks), np.int8), np.array(ats), ends)


def _us(predictor: SequencePredictor, visits: Sequence[Sequence[int]], together: int) -> float:
    """Median processor time for a shopper's next look."""
    times = []
    for repeat in range(REPEATS):
        taken = 0.0
        for first in range(0, len(visits), together):
            some = visits[first : first + together]
            keys = np.arange(len(some)) + repeat * ASKED + first
            predictor.expect_batch(keys, _windows([visit[:-1] for visit in some]))
            windows = _windows(some)
            started = time.thread_time()
            predictor.expect_batch(keys, windows)
            taken += time.thread_time() - started
        times.append(1e6 * taken / len(visits))
    return round(median(times), 1)


def _mass(predictor: SequencePredictor, scorer: Scorer, visits: Sequence[Sequence[int]]) -> float:
    """Mean share of the probability of the true best items that is found."""
    read = scorer.read([(visit, [0] * len(visit), gap_classes(_times(visit))) for visit in visits])
    expected, scale = scorer.expected(read), scorer.scale
    whole = np.exp(scale * (best_cosines(expected, scorer.vectors, min(ITEMS, len(scorer.items))) - 1.0)).sum(axis=1)
    found = predictor.expect_batch(np.arange(len(visits)), _windows(visits))
    shoppers = np.repeat(np.arange(len(visits)), np.diff(found.ends))
    vectors = scorer.vectors[np.searchsorted(scorer.items, found.items)]
    masses = np.exp(scale * ((vectors * expected[shoppers]).sum(axis=1) - 1.0))
    return float((np.bincount(shoppers, masses, len(visits)) / whole).mean())
