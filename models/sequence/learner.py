"""Continual learning of the sequence model: new looks as they come, and older ones again from a replay buffer.

Windows are gathered into chunks. A chunk is learnt together with a sample of those before it, so that the network does
not forget (D. Rolnick and others, Experience replay for continual learning, 2019).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.sequence.config import LearnerConfig
from models.sequence.features import Contents
from models.sequence.network import Network
from models.sequence.vocabulary import UNKNOWN, Vocabulary
from models.sequence.window_buffer import LookWindow, Windows
from models.stored_state import nest, nested

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
"""What Adam keeps of each parameter."""

_FIRST_SLOTS = 1024


class Learner:
    """Learns windows as they come. The same windows give the same weights, also over a restart between chunks.

    Not for use by several threads at once. Contents may change at any time.

    Attributes:
        vocabulary: which items have a vector of their own; grows in `learn` only.
        learnt: new looks that were predicted.
        chunks: chunks learnt.
        positions: looks that were predicted, repetitions included.
        loss: mean cross-entropy of the last chunk, in nats; 0 before the first.
    """

    def __init__(self, config: LearnerConfig, contents: Contents, seed: int) -> None:
        self._config = config
        self._contents = contents
        self._seed = seed
        self.vocabulary = Vocabulary(config.vocabulary, config.use_half_life_s)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = Network(_FIRST_SLOTS, config.network)
        self._dense = [weights for name, weights in self.network.named_parameters() if name != "items.weight"]
        self._dense_optimiser = torch.optim.Adam(self._dense, lr=config.rate)
        self._item_optimiser = torch.optim.SparseAdam([self.network.items.weight], lr=config.rate)
        self._new = Windows(1 << 62, config.looks + 1)
        self._old = Windows(config.buffer, config.looks + 1)
        self.learnt = self.chunks = self.positions = 0
        self.loss = 0.0

    @property
    def waiting(self) -> int:
        """Windows added and not yet learnt."""
        return len(self._new)

    @property
    def nbytes(self) -> int:
        """Memory that it takes: windows, and four times the weights (Adam keeps two moments, learning a gradient)."""
        weights = sum(parameter.numel() * parameter.element_size() for parameter in self.network.parameters())
        return self._new.nbytes + self._old.nbytes + 4 * weights

    def held(self) -> NDArray[np.int64]:
        """Indices of the items of all windows and of the vocabulary; negative ones are none."""
        windows = (kept.items[: len(kept)].ravel() for kept in (self._new, self._old))
        return np.concatenate([self.vocabulary.item, *windows])

    def add(self, window: LookWindow) -> bool:
        """Add a window; returns whether a chunk is full, and `learn` is due."""
        self._new.add(window)
        return len(self._new) >= self._config.chunk

    def learn(self) -> None:
        """Learn the windows added since the last call, with some of those before."""
        new, old = self._new, self._old
        if not len(new):
            return
        chance = np.random.default_rng((self._seed, self.chunks))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(chance.integers(1 << 62)))
            self._admit()
            once = (new, np.arange(len(new)))
            again = (old, self._draw_again(self._config.replay * len(new), chance))
            self._learn_batches(_Batch.of(*[once] * self._config.passes, again), chance)
        self.learnt += int((new.length[: len(new)] - new.first[: len(new)]).sum())
        self.chunks += 1
        old.take(new)
        new.clear()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The weights and the vocabulary's items, by name: what a scorer needs."""
        weights = {name: tensor.numpy(force=True) for name, tensor in self.network.state_dict().items()}
        weights["items.weight"] = weights["items.weight"][: len(self.vocabulary)]
        return {name: array.copy() for name, array in weights.items()}

    def training(self) -> dict[str, NDArray[Any]]:
        """All the rest that a learner needs to continue, by name."""
        found: dict[str, NDArray[Any]] = {
            "vocabulary.item": self.vocabulary.item,
            "vocabulary.uses": self.vocabulary.uses,
            "vocabulary.at": self.vocabulary.at,
            "counts": np.array([self.learnt, self.chunks, self.positions], np.int64),
        }
        for prefix, windows in (("new", self._new), ("old", self._old)):
            found |= nest(prefix, windows.arrays())
        for prefix, optimiser in (("dense", self._dense_optimiser), ("items", self._item_optimiser)):
            for number, moments in optimiser.state_dict()["state"].items():
                for name in _MOMENTS:
                    moment = np.asarray(moments[name])
                    if prefix == "items" and moment.ndim:
                        moment = moment[: len(self.vocabulary)]
                    found[f"{prefix}.{number}.{name}"] = moment
        return {name: array.copy() for name, array in found.items()}

    def restore(self, weights: Mapping[str, NDArray[Any]], training: Mapping[str, NDArray[Any]]) -> None:
        """Continue where another learner of the same configuration gave `arrays` and `training`."""
        self.vocabulary.restore(training["vocabulary.item"], training["vocabulary.uses"], training["vocabulary.at"])
        self._make_room(len(self.vocabulary))
        with torch.no_grad():
            for name, tensor in self.network.state_dict().items():
                learnt = torch.from_numpy(np.array(weights[name]))
                tensor[: len(learnt)].copy_(learnt)
        self.learnt, self.chunks, self.positions = training["counts"].tolist()
        for prefix, windows in (("new", self._new), ("old", self._old)):
            windows.restore(nested(prefix, training))
        for prefix, optimiser in (("dense", self._dense_optimiser), ("items", self._item_optimiser)):
            state = optimiser.state_dict()
            for name, array in nested(prefix, training).items():
                number, moment = name.split(".", 1)
                parameter = optimiser.param_groups[0]["params"][int(number)]
                value: int | Tensor = _padded(array, parameter) if array.ndim else torch.from_numpy(np.array(array))
                if prefix == "items" and moment == "step":
                    value = int(array)
                state["state"].setdefault(int(number), {})[moment] = value
            optimiser.load_state_dict(state)

    # -- learning --------------------------------------------------------------------------------------------------

    def _admit(self) -> None:
        """Count the new looks, and give slots to new items."""
        new = self._new
        rows = np.arange(len(new))
        place = np.arange(new.items.shape[1])[None, :]
        length, fresh = new.length[rows, None], new.fresh[rows, None]
        looked = (place < length) & (place >= length - fresh)
        ats = np.broadcast_to(new.at[rows, None], looked.shape)[looked]
        void = self.vocabulary.use(new.items[rows][looked], ats)
        self._make_room(len(self.vocabulary))
        if not len(void):
            return
        slots = torch.from_numpy(void)
        with torch.no_grad():
            weights = self.network.items.weight
            weights[slots] = torch.randn(len(void), weights.shape[1]) / weights.shape[1] ** 0.5
            for moments in self._item_optimiser.state.values():
                moments["exp_avg"][slots] = moments["exp_avg_sq"][slots] = 0.0

    def _draw_again(self, number: int, chance: np.random.Generator) -> NDArray[np.int64]:
        """Rows of older windows, recent ones more often."""
        kept = len(self._old)
        if not kept:
            return np.empty(0, np.int64)
        ages = chance.exponential(self._config.recent, number).astype(np.int64)
        evenly = chance.random(number) < self._config.evenly
        ages[evenly | (ages >= kept)] = chance.integers(0, kept, number)[evenly | (ages >= kept)]
        return self._old.row(ages)

    def _learn_batches(self, windows: _Batch, chance: np.random.Generator) -> None:
        self.network.train()
        drawing = self.vocabulary.uses**self._config.popularity
        drawing[UNKNOWN] = 0.0
        drawing /= drawing.sum()
        cumulated = np.cumsum(drawing)
        # Windows of similar length together, so that less of a batch is filling; then batches in random order.
        order = chance.permutation(len(windows.length))
        order = order[np.argsort(windows.length[order], kind="stable")]
        batches = [order[first : first + self._config.batch] for first in range(0, len(order), self._config.batch)]
        shares = self._shares(windows)
        losses, before = 0.0, self.positions
        for number in chance.permutation(len(batches)):
            draws = np.searchsorted(cumulated, chance.random(self._config.negatives))
            draws = np.minimum(draws, len(drawing) - 1)
            losses += self._step(windows.rows(batches[number]), draws, drawing, shares)
        self.loss = losses / max(1, self.positions - before)

    def _shares(self, windows: _Batch) -> NDArray[np.float64]:
        """How often each slot is the target, per target."""
        place = np.arange(windows.items.shape[1])[None, :]
        asked = (place >= windows.first[:, None]) & (place < windows.length[:, None])
        counts = np.bincount(self.vocabulary.slots(windows.items[asked]), minlength=len(self.vocabulary))
        shares: NDArray[np.float64] = counts / max(1, counts.sum())
        return shares

    def _step(
        self, windows: _Batch, draws: NDArray[np.int64], drawing: NDArray[np.float64], shares: NDArray[np.float64]
    ) -> float:
        """Learn some windows at once; returns the sum of their losses."""
        longest = int(windows.length.max())
        items = windows.items[:, :longest]
        slots = self.vocabulary.slots(items)
        place = np.arange(1, longest)[None, :]
        asked = (place >= windows.first[:, None]) & (place < windows.length[:, None]) & (slots[:, 1:] != UNKNOWN)
        if not asked.any():
            return 0.0
        network = self.network
        content = torch.from_numpy(self._contents.of(items))
        vectors = network.vectors(torch.from_numpy(slots), content)
        told = (windows.actions, windows.gaps)
        actions, gaps = (torch.from_numpy(column[:, : longest - 1].astype(np.int64)) for column in told)
        there = torch.from_numpy(asked)
        expected = network(vectors[:, :-1], actions, gaps)[there]
        right = vectors[:, 1:][there]
        targets = slots[:, 1:][asked]
        drawn_content = torch.from_numpy(self._contents.of(self.vocabulary.item[draws]))
        drawn = network.vectors(torch.from_numpy(draws), drawn_content)
        wrong = np.concatenate([targets, draws])
        often = len(targets) * shares[wrong] + len(draws) * drawing[wrong]
        same = torch.from_numpy(targets[:, None] == wrong[None, :])
        log_draws = torch.from_numpy(np.log(often)).float()
        loss = network.loss(expected, right, torch.cat([right, drawn]), same, log_draws)
        for optimiser in (self._dense_optimiser, self._item_optimiser):
            optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for optimiser in (self._dense_optimiser, self._item_optimiser):
            optimiser.step()
        self.positions += len(targets)
        return float(loss.detach()) * len(targets)

    def _make_room(self, slots: int) -> None:
        """Grow the table of item vectors to at least this many slots; what was learnt stays."""
        weights = self.network.items.weight
        if slots <= len(weights):
            return
        size = min(max(slots, 2 * len(weights)), max(slots, self._config.vocabulary))
        state = self._item_optimiser.state_dict()
        table = torch.zeros((size, weights.shape[1]))
        table[: len(weights)] = weights.detach()
        # Without random initialisation: later draws must not depend on when the table grew.
        self.network.items = torch.nn.Embedding.from_pretrained(table, freeze=False, sparse=True)  # type: ignore[no-untyped-call]
        grown = self.network.items.weight
        self._item_optimiser = torch.optim.SparseAdam([grown], lr=self._config.rate)
        for moments in state["state"].values():
            for name in ("exp_avg", "exp_avg_sq"):
                more = torch.zeros_like(grown)
                more[: len(weights)] = moments[name]
                moments[name] = more
        self._item_optimiser.load_state_dict(state)


def _padded(rows: NDArray[Any], parameter: Tensor) -> Tensor:
    """Moments, padded with zeros to the shape of their parameter.

    Those of item vectors are stored for the vocabulary only. So were, by mistake, those of any table of equal shape.
    """
    table = torch.zeros_like(parameter.data)
    table[: len(rows)] = torch.from_numpy(np.array(rows))
    return table


class _Batch(NamedTuple):
    """Windows that are learnt together; columns as in `Windows`."""

    items: NDArray[Any]
    actions: NDArray[Any]
    gaps: NDArray[Any]
    length: NDArray[Any]
    first: NDArray[Any]

    @classmethod
    def of(cls, *parts: tuple[Windows, NDArray[np.int64]]) -> _Batch:
        """The given rows of each part."""
        return cls(*(np.concatenate([getattr(part, name)[rows] for part, rows in parts]) for name in cls._fields))

    def rows(self, rows: NDArray[np.int64]) -> _Batch:
        """Some of the windows."""
        return _Batch(*(column[rows] for column in self))
