"""The LSTM that predicts the next item of a visit.

After GRU4Rec (B. Hidasi and others, Session-based recommendations with recurrent neural networks, 2016; B. Hidasi,
A. Karatzoglou, Recurrent neural networks with top-k gains, 2018) and NISER (P. Gupta and others, NISER: normalized
item and session representations, 2019). Where it differs from the first two, and why:

* an LSTM instead of a GRU;
* one table of item vectors for input and output (tied), scaled to length 1 on both sides as in NISER: without that,
  scores follow popularity;
* an item's vector is the sum of its own and those of its category, brand and step in price, so that an item without
  any look has one;
* it is smoothed by the vectors of the items that are looked at beside it, wherever it is used, so that items with few
  looks learn from their neighbours. Graph networks do that by learnt layers (S. Wu and others, Session-based
  recommendation with graph neural networks, 2019); here the weights are counted;
* the action and the time since the look before are inputs;
* cross-entropy over sampled negatives, corrected by how often each is drawn (Y. Bengio, J.-S. Senecal, 2008), instead
  of pairwise losses: its scores are log-probabilities, which blends can weigh.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from models.sequence.config import NetworkConfig
from models.sequence.features import ACTIONS, BRANDS, CATEGORIES, GAPS, PRICES
from models.sequence.vocabulary import UNKNOWN


class Network(nn.Module):
    """Next-item network over slots; slot `UNKNOWN` is of all items without a vector of their own."""

    def __init__(self, slots: int, config: NetworkConfig) -> None:
        super().__init__()
        units = config.units
        self.config = config
        self.items = nn.Embedding(slots, units, sparse=True)
        self.content = nn.ModuleList(
            nn.Embedding(classes, units, padding_idx=0) for classes in (CATEGORIES, BRANDS, PRICES)
        )
        self.actions = nn.Embedding(ACTIONS, units)
        self.gaps = nn.Embedding(GAPS, units)
        self.lstm = nn.LSTM(units, units, batch_first=True)
        self.dropout = nn.Dropout(config.dropout)
        nn.init.normal_(self.items.weight, std=1.0 / math.sqrt(units))
        for table in (*self.content, self.actions, self.gaps):
            nn.init.zeros_(table.weight)

    def vectors(self, slots: Tensor, content: Tensor, near: Tensor, shares: Tensor) -> Tensor:
        """(n, units) smoothed item vectors of length 1; 0 where nothing is known.

        Args:
            slots: (m,), of which the first n are asked for, and all others are neighbours of those.
            content: (m, 3) of the items.
            near: (n, k) rows of the neighbours among the m.
            shares: (n, k) of the neighbours.
        """
        known = slots != UNKNOWN
        if self.training and self.config.item_dropout:
            described = content.any(dim=-1)
            known = known & ~(described & (torch.rand(slots.shape) < self.config.item_dropout))
        whole = self.unsmoothed(slots, content, known)
        # The gradient of a vector of 0 would be immense, and Adam would learn nothing more of its content.
        alone = nn.functional.normalize(whole, dim=-1) * whole.detach().any(dim=-1, keepdim=True)
        asked = len(near)
        near_ones = self.neighbours(alone, near, shares * known[:asked, None])  # as cold items: without any
        return nn.functional.normalize(alone[:asked] + near_ones, dim=-1)

    def unsmoothed(self, slots: Tensor, content: Tensor, known: Tensor) -> Tensor:
        """(m, units) sums of the items' own vectors, where `known` (m,), and those of their content."""
        whole: Tensor = self.items(slots) * known[:, None]
        if content.any():
            for table, classes in zip(self.content, content.unbind(-1), strict=True):
                whole = whole + table(classes)
        return whole

    def neighbours(self, vectors: Tensor, near: Tensor, shares: Tensor) -> Tensor:
        """(n, units): what the neighbours, (n, k) rows of `vectors` and their shares, add to vectors of length 1."""
        if not near.shape[1]:  # `embedding_bag` takes no empty rows
            return vectors.new_zeros((len(near), vectors.shape[1]))
        mean = nn.functional.embedding_bag(near, vectors, mode="sum", per_sample_weights=shares)
        return self.config.smoothing * mean

    def forward(self, vectors: Tensor, actions: Tensor, gaps: Tensor) -> Tensor:
        """(windows, looks, units) vectors of length 1, expected after each look.

        Item vectors are (windows, looks, units); classes of actions and of the time before each look (windows, looks).
        """
        looks = self.dropout(vectors + self.actions(actions) + self.gaps(gaps))
        hidden, _ = self.lstm(looks)
        return nn.functional.normalize(self.dropout(hidden), dim=-1)

    def loss(self, expected: Tensor, right: Tensor, wrong: Tensor, same: Tensor, log_draws: Tensor) -> Tensor:
        """Mean cross-entropy of the targets over a sample of all items.

        The sum over all items is estimated without bias: each negative counts one over how often it is expected to be
        drawn.

        Args:
            expected: (n, units) of length 1.
            right: (n, units) vectors of the targets.
            wrong: (m, units) vectors of the negatives, some more than once.
            same: (n, m) where a negative is the target.
            log_draws: (m,) logarithm of how often each negative is drawn, in the mean.
        """
        scale = self.config.scale
        hit = scale * (expected * right).sum(-1)
        missed = torch.addmm(-log_draws, expected, wrong.T, alpha=scale).masked_fill(same, -math.inf)
        return (torch.logsumexp(torch.cat([hit[:, None], missed], dim=1), dim=1) - hit).mean()
