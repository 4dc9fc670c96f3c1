"""What the sequence model answers with, from learnt weights, with numpy alone: a worker needs no torch.

`step` carries a shopper's hidden state on by one look; `read` makes it anew from a window of looks. Both agree with
[`Network`][models.sequence.network.Network] to the precision of float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.sequence.features import Contents
from models.sequence.vocabulary import NOBODY, UNKNOWN, Vocabulary

_TINY = 1e-12
"""Length below which a vector counts as none: torch's."""


NO_ITEMS = np.empty(0, np.int64)


class Hidden(NamedTuple):
    """State of the network after some looks, a row a shopper."""

    hidden: NDArray[np.float32]
    """(n, units)."""
    cell: NDArray[np.float32]
    """(n, units)."""


class Look(NamedTuple):
    """A look as the network takes it, a place a shopper."""

    items: NDArray[np.int64]
    """(n,) indices of the items."""
    actions: NDArray[np.int64]
    """(n,) classes."""
    gaps: NDArray[np.int64]
    """(n,) classes of the time before the look."""


class Scorer:
    """Answers from the weights it was made of.

    Args:
        weights: arrays by name, as `Learner.arrays` gives them: `models.sequence.snapshot.shapes`.
        items: (slots,) index of each slot's item, NOBODY where there is none.
        contents: what items are, by index.
        scale: of cosines, to make logits: `NetworkConfig.scale`.
        cold: (m,) indices of items without a slot that are ranked by their content, where it says anything.

    Attributes:
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
        self._own = np.ascontiguousarray(weights["items.weight"], np.float32)
        self._content = [np.asarray(weights[f"content.{table}.weight"], np.float32) for table in range(3)]
        self._actions = np.asarray(weights["actions.weight"], np.float32)
        self._gaps = np.asarray(weights["gaps.weight"], np.float32)
        self._from_look = np.ascontiguousarray(weights["lstm.weight_ih_l0"].T, np.float32)
        self._from_hidden = np.ascontiguousarray(weights["lstm.weight_hh_l0"].T, np.float32)
        self._bias = (weights["lstm.bias_ih_l0"] + weights["lstm.bias_hh_l0"]).astype(np.float32)
        self.units = self._own.shape[1]
        self._vocabulary = Vocabulary(len(items), 1.0)
        self._vocabulary.restore(items, np.zeros(len(items)), np.zeros(len(items)))
        ranked = np.concatenate([items[items != NOBODY], cold[contents.of(cold).any(axis=1)]])
        there = np.zeros(int(ranked.max(initial=-1)) + 1, np.bool_)
        there[ranked] = True
        self.items = np.flatnonzero(there)
        self.vectors = self._vectors(self._vocabulary.slots(self.items), self.items)

    def start(self, number: int) -> Hidden:
        """State of so many shoppers before their first look."""
        return Hidden(*np.zeros((2, number, self.units), np.float32))

    def step(self, state: Hidden, look: Look) -> Hidden:
        """State after one more look of each shopper."""
        vectors = self._vectors(self._vocabulary.slots(look.items), look.items)
        told = vectors + self._actions[look.actions] + self._gaps[look.gaps]
        gates = told @ self._from_look + state.hidden @ self._from_hidden + self._bias
        entry, keep, new, out = np.split(gates, 4, axis=1)
        cell = _sigmoid(keep) * state.cell + _sigmoid(entry) * np.tanh(new)
        return Hidden(_sigmoid(out) * np.tanh(cell), cell)

    def read(self, windows: Sequence[tuple[Sequence[int], Sequence[int], Sequence[int]]]) -> Hidden:
        """State after whole windows.

        Args:
            windows: for each shopper the indices of the items, classes of the actions and of the times before, in
                order.
        """
        state = self.start(len(windows))
        lengths = np.array([len(items) for items, *_ in windows])
        looks = np.zeros((3, len(windows), int(lengths.max(initial=0))), np.int64)
        for row, window in enumerate(windows):
            looks[:, row, : lengths[row]] = window
        for place in range(looks.shape[2]):
            there = np.flatnonzero(lengths > place)
            after = self.step(Hidden(state.hidden[there], state.cell[there]), Look(*looks[:, there, place]))
            state.hidden[there], state.cell[there] = after.hidden, after.cell
        return state

    def expected(self, state: Hidden) -> NDArray[np.float32]:
        """(n shoppers, units) of length 1: the vector of what is expected next."""
        return _unit(state.hidden)

    def logits(self, state: Hidden) -> NDArray[np.float32]:
        """(n shoppers, n items): how much each item of `items` is expected next; softmax makes probabilities."""
        logits: NDArray[np.float32] = np.float32(self.scale) * (self.expected(state) @ self.vectors.T)
        return logits

    def _vectors(self, slots: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.float32]:
        """(n,) slots and items to (n, units), of length 1."""
        whole = self._own[slots]
        whole[slots == UNKNOWN] = 0.0
        classes = self._contents.of(items)
        if classes.any():
            for table, column in zip(self._content, classes.T, strict=True):
                whole += table[column]
        return _unit(whole)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, units), each of length 1."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    scaled: NDArray[np.float32] = vectors / np.maximum(lengths, np.float32(_TINY))[:, None]
    return scaled


def _sigmoid(gates: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 / (1 + exp(-x)), without overflow."""
    value: NDArray[np.float32] = np.float32(0.5) * (np.tanh(np.float32(0.5) * gates) + np.float32(1.0))
    return value
