"""What the sequence model costs: scoring all items for a shopper, and learning a look.

Item vectors are drawn around common centres, as learnt ones lie; times do not depend on their values.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.sequence.config import LearnerConfig, NetworkConfig
from models.sequence.predictor import ITEMS, ROWS
from models.sequence.vector_index import EXACT, Exact, Finder, Indexed

SIZES = (10_000, 100_000, 1_000_000)
"""Items."""

REPEATS = 9
"""Of each timing; the median counts."""

CENTRES, SPREAD = 500, 0.7
"""Number of centres, and the share of noise in an item vector."""

VISITS = 3_000
"""Windows to learn, of five looks each."""


def scoring(sizes: Sequence[int], say: Callable[[str], None]) -> dict[str, Any]:
    """Milliseconds a shopper for the best items, for one shopper alone and in a batch, by number of items."""
    chance, config = np.random.default_rng(1), NetworkConfig()
    figures: dict[str, Any] = {}
    for size in sizes:
        say(f"scoring {size:,} items")
        vectors = _vectors(chance, size, config.units)
        asked = _vectors(chance, ROWS, config.units)
        figures[str(size)] = {"exact": _costs(Exact(vectors), asked, config.scale)}
        if size > EXACT:
            started = time.perf_counter()
            indexed = Indexed(vectors, seed=1)
            made_s = round(time.perf_counter() - started, 1)
            costs = _costs(indexed, asked, config.scale)
            figures[str(size)]["index"] = costs | {"made_s": made_s, "recall": round(indexed.recall, 3)}
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


def _vectors(chance: np.random.Generator, number: int, units: int) -> NDArray[np.float32]:
    """(number, units), of length 1, in clusters."""
    centres = np.random.default_rng(0).standard_normal((CENTRES, units), np.float32)
    found = SPREAD * chance.standard_normal((number, units), np.float32)
    found += centres[chance.integers(0, CENTRES, number)]
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


def _costs(finder: Finder, asked: NDArray[np.float32], scale: float) -> dict[str, float]:
    return {
        "one_ms": _ms(lambda: finder.nearest(asked[:1], scale, ITEMS)),
        "together_ms": round(_ms(lambda: finder.nearest(asked, scale, ITEMS)) / len(asked), 4),
    }


def _ms(work: Callable[[], object]) -> float:
    """Median of several timings, in milliseconds."""
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return round(1000 * median(times), 3)
