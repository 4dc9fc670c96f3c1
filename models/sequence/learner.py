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
from models.sequence.kernels import Neighbours, neighbours_of
from models.sequence.network import Network
from models.sequence.vocabulary import UNKNOWN, Vocabulary
from models.sequence.window_buffer import LookWindow, Windows
from models.stored_state import nest, nested

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
"""What Adam keeps of each parameter."""

_FIRST_SLOTS = 1024

_SLICE = 4_096
"""Windows whose slots are looked up together: bounds memory."""


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
        self._neighbours = _no_neighbours(len(self.vocabulary), config.neighbours)
        self.learnt = self.chunks = self.positions = 0
        self.loss = 0.0

    @property
    def waiting(self) -> int:
        """Windows added and not yet learnt."""
        return len(self._new)

    @property
    def nbytes(self) -> int:
        """Memory that it takes: windows, neighbours, and four times the weights (two moments of Adam, a gradient)."""
        weights = sum(parameter.numel() * parameter.element_size() for parameter in self.network.parameters())
        return self._new.nbytes + self._old.nbytes + self._neighbours.nbytes + 4 * weights

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
            if self.chunks % self._config.neighbour_chunks == 0:
                self._count_neighbours()
            once = (new, np.arange(len(new)))
            again = (old, self._draw_again(self._config.replay * len(new), chance))
            self._learn_batches(_Batch.of(*[once] * self._config.passes, again), chance)
        self.learnt += int((new.length[: len(new)] - new.first[: len(new)]).sum())
        self.chunks += 1
        old.take(new)
        new.clear()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The weights by name: what a scorer needs.

        Items' own vectors have their neighbours in them, so that the sums with those of their content are smoothed.
        """
        weights = {name: tensor.numpy(force=True) for name, tensor in self.network.state_dict().items()}
        weights["items.weight"] = self._smoothed()
        return {name: array.copy() for name, array in weights.items()}

    def training(self) -> dict[str, NDArray[Any]]:
        """All the rest that a learner needs to continue, by name."""
        found: dict[str, NDArray[Any]] = {
            "vocabulary.item": self.vocabulary.item,
            "vocabulary.uses": self.vocabulary.uses,
            "vocabulary.at": self.vocabulary.at,
            "counts": np.array([self.learnt, self.chunks, self.positions], np.int64),
            "own": self._own().numpy(force=True),
        }
        found |= nest("neighbours", self._neighbours._asdict())
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
        """Continue where another learner of the same configuration gave `arrays` and `training`.

        Training state of before items had neighbours is read, too: weights were stored as they were learnt, and
        neighbours are counted in due course.
        """
        self.vocabulary.restore(training["vocabulary.item"], training["vocabulary.uses"], training["vocabulary.at"])
        self._make_room(len(self.vocabulary))
        self._neighbours = _no_neighbours(len(self.vocabulary), self._config.neighbours)
        if counted := nested("neighbours", training):
            self._neighbours = Neighbours(**{name: array.copy() for name, array in counted.items()})
            weights = {**weights, "items.weight": training["own"]}
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
        self._forget_neighbours(void)
        slots = torch.from_numpy(void)
        with torch.no_grad():
            weights = self.network.items.weight
            weights[slots] = torch.randn(len(void), weights.shape[1]) / weights.shape[1] ** 0.5
            for moments in self._item_optimiser.state.values():
                moments["exp_avg"][slots] = moments["exp_avg_sq"][slots] = 0.0

    def _forget_neighbours(self, void: NDArray[np.int64]) -> None:
        """Slots that have another item now, or their first one, have no neighbours and are none."""
        before = self._neighbours
        slots, shares = _no_neighbours(len(self.vocabulary), before.slots.shape[1])
        slots[: len(before.slots)], shares[: len(before.slots)] = before
        lost = np.zeros(len(slots), np.bool_)
        lost[void] = True
        shares[lost[slots] | lost[:, None]] = 0.0
        self._neighbours = Neighbours(slots, shares)

    def _count_neighbours(self) -> None:
        """Count which items are looked at side by side, in the new windows and the latest old ones."""
        new, old, config = self._new, self._old, self._config
        if not config.neighbours:
            self._neighbours = _no_neighbours(len(self.vocabulary), 0)
            return
        latest = old.row(np.arange(min(len(old), max(0, config.neighbour_windows - len(new)))))
        windows = _Batch.of((new, np.arange(len(new))), (old, latest))
        slots = np.empty(windows.items.shape, np.int32)
        for start in range(0, len(slots), _SLICE):
            slots[start : start + _SLICE] = self.vocabulary.slots(windows.items[start : start + _SLICE])
        self._neighbours = neighbours_of(slots, windows.first, len(self.vocabulary), config.neighbours)

    def _own(self) -> Tensor:
        """(slots, units) items' own vectors as they are learnt."""
        return self.network.items.weight.detach()[: len(self.vocabulary)]

    def _smoothed(self) -> NDArray[np.float32]:
        """(slots, units) items' own vectors, with what makes the vectors of the items smoothed ones."""
        content = torch.from_numpy(self._contents.of(self.vocabulary.item))
        slots = torch.arange(len(content))
        near, shares = (torch.from_numpy(column) for column in self._neighbours)
        with torch.no_grad():
            whole = self.network.unsmoothed(slots, content, slots != UNKNOWN)
            added = self.network.neighbours(torch.nn.functional.normalize(whole, dim=-1), near, shares)
            # Neighbours are added to vectors of length 1, which this one becomes only in the scorer.
            smoothed: NDArray[np.float32] = (self._own() + whole.norm(dim=-1, keepdim=True) * added).numpy()
        return smoothed

    def _vectors(self, items: NDArray[np.integer]) -> Tensor:
        """(n, units) smoothed vectors of (n,) items that are all different."""
        slots = self.vocabulary.slots(items)
        near, shares = (column[slots] for column in self._neighbours)
        others = np.setdiff1d(near[shares > 0.0], slots)
        needed = np.concatenate([slots, others])
        rows = np.zeros(len(self.vocabulary), np.int64)
        rows[needed] = np.arange(len(needed))
        content = self._contents.of(np.concatenate([items, self.vocabulary.item[others]]))
        parts = (needed, content, rows[near], shares)
        return self.network.vectors(*(torch.from_numpy(part) for part in parts))

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
        different, rows = np.unique(np.concatenate([items.ravel(), self.vocabulary.item[draws]]), return_inverse=True)
        vectors = self._vectors(different)[torch.from_numpy(rows)]
        drawn = vectors[items.size :]
        vectors = vectors[: items.size].view(*items.shape, -1)
        told = (windows.actions, windows.gaps)
        actions, gaps = (torch.from_numpy(column[:, : longest - 1].astype(np.int64)) for column in told)
        there = torch.from_numpy(asked)
        expected = network(vectors[:, :-1], actions, gaps)[there]
        right = vectors[:, 1:][there]
        targets = slots[:, 1:][asked]
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


def _no_neighbours(slots: int, most: int) -> Neighbours:
    return Neighbours(np.zeros((slots, most), np.int32), np.zeros((slots, most), np.float32))


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
