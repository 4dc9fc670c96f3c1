"""A sequence model that expects nothing of anybody, when it is let, and notes who asks."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.sequence.prediction import WindowBatch
from models.sequence.predictor import Expected, SequencePredictor
from models.sessions.visits import Window
from models.thread_team import ALONE, ThreadTeam


class SilentModel(SequencePredictor):
    """See the module.

    Args:
        version: of it.
        prompt: as of `SequencePredictor`.
        together: likewise.
        error: raised instead of an answer.
    """

    def __init__(self, version: str, inline_limit: int, max_batch: int = 1000, error: Exception | None = None) -> None:
        self.version, self.inline_limit, self.max_batch, self.error = version, inline_limit, max_batch, error
        self.asked: list[tuple[int, int]] = []  # how many, and in which thread
        self.let = threading.Event()
        self.let.set()

    def expect(self, shoppers: Sequence[tuple[str, Window]]) -> Expected:
        """See [`SequencePredictor.expect`][models.sequence.predictor.SequencePredictor.expect]."""
        return self._silence(len(shoppers))

    def expect_batch(self, keys: NDArray[np.int64], looks: WindowBatch, team: ThreadTeam = ALONE) -> Expected:
        """See [`SequencePredictor.expect_batch`][models.sequence.predictor.SequencePredictor.expect_batch]."""
        return self._silence(len(keys))

    def _silence(self, shoppers: int) -> Expected:
        self.asked.append((shoppers, threading.get_ident()))
        assert self.let.wait(10)
        if self.error is not None:
            raise self.error
        return Expected(np.empty(0, np.int32), np.empty(0), np.zeros(shoppers + 1, np.int64))

    def held(self) -> NDArray[np.int64]:
        """No items."""
        return np.empty(0, np.int64)

    def clear(self) -> None:
        """Nothing is kept."""

    def forget(self, user_id: str) -> None:
        """Nothing is kept."""
