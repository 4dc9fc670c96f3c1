"""The sequence model as a worker runs it: learnt weights, numpy and numba, no torch.

`carry_on` updates shoppers' hidden states by new looks; `read` computes them from windows of looks. Both agree with
[`Network`][models.sequence.network.Network] to the precision of float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.sequence.features import Contents
from models.sequence.kernels import LSTM, Hidden, LookBatch, carry_on, constant, item_vectors, units_of
from models.sequence.products import blocks_of
from models.sequence.vocabulary import NOBODY, Vocabulary

NO_ITEMS = np.empty(0, np.int64)

SLICE = 4_096
"""Vectors that are computed together: intermediate results stay in the processor's cache, and other threads run after
each slice. All of 90,000 at once take twice as long, and much of the memory bandwidth of all cores."""


class Scorer:
    """Answers from the weights it was made of.

    Args:
        weights: arrays by name, as `Learner.arrays` gives them: `models.sequence.snapshot.shapes`.
        items: (slots,) index of each slot's item, NOBODY where there is none.
        contents: what items are, by index.
        scale: of cosines, to make logits: `NetworkConfig.scale`.
        cold: (m,) indices of items without a slot that are ranked by their content, where it says anything.

    Attributes:
        lstm: weights of the recurrent layer.
        items: (n,) indices of the items that are ranked, ascending: those with a slot, and the cold ones.
        vectors: (n, units) of those, of length 1.
    """

    def __init__(
        self,
        weights: Mapping[str, NDArray[Any]],
        items: NDArray[np.int64],
        contents: Contents,
        scale: float,
        cold: NDArray[np.int64] = NO_ITEMS,
    ) -> None:
        self.scale = scale
        self._contents = contents
        self._own = constant(weights["items.weight"])
        self._content = [constant(weights[f"content.{table}.weight"]) for table in range(3)]
        self.units = self._own.shape[1]
        halves = np.repeat(np.array([0.5, 0.5, 1.0, 0.5], np.float32), self.units)  # see `LSTM`
        self.lstm = LSTM(
            constant(weights["actions.weight"]),
            constant(weights["gaps.weight"]),
            blocks_of(weights["lstm.weight_ih_l0"] * halves[:, None]),
            blocks_of(weights["lstm.weight_hh_l0"] * halves[:, None]),
            ((weights["lstm.bias_ih_l0"] + weights["lstm.bias_hh_l0"]) * halves).astype(np.float32),
        )
        self._vocabulary = Vocabulary(len(items), 1.0)
        self._vocabulary.restore(items, np.zeros(len(items)), np.zeros(len(items)))
        ranked = np.concatenate([items[items != NOBODY], cold[contents.of(cold).any(axis=1)]])
        there = np.zeros(int(ranked.max(initial=-1)) + 1, np.bool_)
        there[ranked] = True
        self.items = np.flatnonzero(there)
        self.vectors = np.empty((len(self.items), self.units), np.float32)
        for first in range(0, len(self.items), SLICE):
            some = self.items[first : first + SLICE]
            self.vectors[first : first + SLICE] = self._vectors(self._vocabulary.slots(some), some)

    def start(self, number: int) -> Hidden:
        """State of shoppers before their first look."""
        return Hidden(*np.zeros((2, number, self.units), np.float32))

    def carry_on(self, state: Hidden, looks: LookBatch) -> None:
        """Carry the state of each shopper on by the new looks, in place."""
        vectors = self._vectors(self._vocabulary.slots(looks.items), looks.items)
        carry_on(looks, vectors, self.lstm, state)

    def read(self, windows: Sequence[tuple[Sequence[int], Sequence[int], Sequence[int]]]) -> Hidden:
        """State after whole windows; arguments as of `LookBatch.of`."""
        state = self.start(len(windows))
        self.carry_on(state, LookBatch.of(windows))
        return state

    def expected(self, state: Hidden) -> NDArray[np.float32]:
        """(n shoppers, units) of length 1: the vector of what is expected next."""
        vectors: NDArray[np.float32] = units_of(state.hidden)
        return vectors

    def logits(self, state: Hidden) -> NDArray[np.float32]:
        """(n shoppers, n items): how much each item of `items` is expected next; softmax makes probabilities."""
        logits: NDArray[np.float32] = np.float32(self.scale) * (self.expected(state) @ self.vectors.T)
        return logits

    def _vectors(self, slots: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.float32]:
        """(n,) slots and items to (n, units), of length 1."""
        vectors: NDArray[np.float32] = item_vectors(slots, self._contents.of(items), self._own, *self._content)
        return vectors
