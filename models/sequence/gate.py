"""Whether newly learnt weights may replace those that serve: both are measured on looks that neither has learnt.

The windows of some shoppers are held back for an hour. A candidate is compared with the serving weights on them, look
by look; it is worse if chance does not explain the difference.
"""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.sequence.config import GateConfig
from models.sequence.kernels import Hidden, LookBatch
from models.sequence.scorer import Scorer
from models.sequence.window_buffer import LookWindow, Windows

TOP = 20
"""Places of a ranking that count: hit rate and reciprocal rank at 20, as in the evaluation."""

BATCH = 64
"""Shoppers ranked together: 25 MB with 100,000 items."""

_BUCKETS = 10_000


class Comparison(NamedTuple):
    """A candidate and the weights that serve, on the same windows."""

    windows: int
    hr: float
    """Share of looks that were among the first 20, from 0 to 1; mean over windows."""
    mrr: float
    """Reciprocal rank, 0 behind the 20th."""
    served_hr: float
    """NaN where nothing serves."""
    served_mrr: float
    worse: bool

    def metrics(self) -> dict[str, int | float]:
        """Metrics of the snapshot: only what was measured."""
        if not self.windows:
            return {}
        found: dict[str, int | float] = {"hr@20": self.hr, "mrr@20": self.mrr, "n": self.windows}
        if not math.isnan(self.served_hr):
            found |= {"served_hr@20": self.served_hr, "served_mrr@20": self.served_mrr}
        return found


class Gate:
    """Windows that are held back; `looks` is the longest.

    >>> gate = Gate(GateConfig(age_s=60.0), 3)
    >>> gate.hold(LookWindow([1, 2], [0, 0], [9, 1], 2, 5.0), 1000.0)
    >>> gate.release(1060.0), len(gate), [window.items for window in gate.release(1060.1)], len(gate)
    ([], 1, [[1, 2]], 0)
    """

    def __init__(self, config: GateConfig, looks: int) -> None:
        self._config = config
        self._looks = looks
        self._held: deque[tuple[float, LookWindow]] = deque()
        self._share = round(config.share * _BUCKETS)

    def __len__(self) -> int:
        """Windows held back."""
        return len(self._held)

    def holds(self, user_id: str) -> bool:
        """Whether a shopper's windows are held back; the same in every process."""
        digest = hashlib.blake2b(user_id.encode(errors="surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "big") % _BUCKETS < self._share

    def hold(self, window: LookWindow, appended_s: float) -> None:
        """Hold a window back; the append time of the newest record is no smaller than before."""
        self._held.append((appended_s, window))

    def release(self, appended_s: float) -> list[LookWindow]:
        """Windows that may be learnt now, oldest first; they are held no longer."""
        held, free = self._held, []
        while held and (len(held) > self._config.windows or appended_s - held[0][0] > self._config.age_s):
            free.append(held.popleft()[1])
        return free

    def held(self) -> NDArray[np.int64]:
        """Indices of the items of all windows that are held back."""
        return np.fromiter((item for _, window in list(self._held) for item in window.items), np.int64)

    def compare(self, candidate: Scorer, served: Scorer | None) -> Comparison:
        """Compare a candidate with what serves, on what is held back now; anything is better than nothing."""
        windows = [window for _, window in self._held]
        found = scores(candidate, windows)
        n = len(found)
        hr, mrr = found.mean(axis=0).tolist() if n else (math.nan, math.nan)
        if served is None or not n:
            return Comparison(n, hr, mrr, math.nan, math.nan, False)
        before = scores(served, windows)
        gained = found - before
        worse = False
        if n >= max(2, self._config.least):
            errors = gained.std(axis=0, ddof=1) / math.sqrt(n)
            worse = bool((gained.mean(axis=0) + self._config.errors * errors < 0.0).any())
        served_hr, served_mrr = before.mean(axis=0).tolist()
        return Comparison(n, hr, mrr, served_hr, served_mrr, worse)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that is held back, by name, to be stored and given to `restore`."""
        windows = Windows(1 << 62, self._looks)
        for _, window in self._held:
            windows.add(window)
        return windows.arrays() | {"appended_s": np.array([appended_s for appended_s, _ in self._held], np.float64)}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `arrays` gave."""
        windows = Windows(1 << 62, self._looks)
        windows.restore(dict(arrays))
        self._held = deque(zip(arrays["appended_s"].tolist(), windows.each(), strict=True))


def scores(scorer: Scorer, windows: Sequence[LookWindow]) -> NDArray[np.float64]:
    """(n, 2) hit rate and reciprocal rank at 20 of the new looks, by window.

    An unknown item is a miss, ties count against an item. Windows of a single look have nothing to predict, and are
    left out.
    """
    asked = [window for window in windows if len(window.items) > 1]
    rows = [_scores(scorer, asked[first : first + BATCH]) for first in range(0, len(asked), BATCH)]
    return np.concatenate(rows) if rows else np.empty((0, 2))


def _scores(scorer: Scorer, windows: Sequence[LookWindow]) -> NDArray[np.float64]:
    lengths = np.array([len(window.items) for window in windows])
    firsts = np.array([max(1, len(window.items) - window.fresh) for window in windows])
    looks = np.zeros((3, len(windows), int(lengths.max())), np.int64)
    for row, window in enumerate(windows):
        looks[:, row, : lengths[row]] = window[:3]
    sums = np.zeros((len(windows), 2))
    state = scorer.start(len(windows))
    for place in range(1, looks.shape[2]):
        there = np.flatnonzero(lengths > place)
        carried = Hidden(state.hidden[there], state.cell[there])
        items, actions, gaps = np.ascontiguousarray(looks[:, there, place - 1])
        scorer.carry_on(carried, LookBatch(items, actions, gaps, np.arange(len(there) + 1)))
        state.hidden[there], state.cell[there] = carried
        rows = there[firsts[there] <= place]
        if len(rows):
            ranks = _ranks(scorer, Hidden(state.hidden[rows], state.cell[rows]), looks[0, rows, place])
            sums[rows, 0] += ranks <= TOP
            sums[rows, 1] += np.where(ranks <= TOP, 1.0 / ranks, 0.0)
    means: NDArray[np.float64] = sums / (lengths - firsts)[:, None]
    return means


def _ranks(scorer: Scorer, state: Hidden, items: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,) rank of each shopper's item; infinite where it is not known."""
    known = scorer.items
    if not len(known):
        return np.full(len(items), math.inf)
    places = np.minimum(np.searchsorted(known, items), len(known) - 1)
    logits = scorer.logits(state)
    own = logits[np.arange(len(items)), places]
    ranks = (logits >= own[:, None]).sum(axis=1).astype(np.float64)
    found: NDArray[np.float64] = np.where(known[places] == items, ranks, math.inf)
    return found
