"""Configuration of the sequence model; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

MODEL = "sequence"
"""Name of the model in snapshots and suggestions."""

CODE = "lstm-1"
"""Layout of the arrays in a snapshot."""


@dataclass(frozen=True)
class NetworkConfig:
    """Shape of the network."""

    units: int = 100
    """Of the item vectors and of the hidden state: what the papers use."""
    dropout: float = 0.4
    """Of the inputs and of the hidden state, while learning."""
    item_dropout: float = 0.1
    """Share of items whose own vector is left out while learning, where their content says something: so that content
    alone comes to say what it can, as it has to for a cold item (M. Volkovs and others, DropoutNet, 2017)."""
    scale: float = 16.0
    """Of cosines, to make logits: NISER's; with 1 the softmax could not tell one item from tens of thousands."""
    smoothing: float = 1.0
    """Weight of an item's neighbours in its vector, where its own counts 1. Items with few looks learn from those that
    are looked at beside them."""


@dataclass(frozen=True)
class LearnerConfig:
    """How the network is taught."""

    network: NetworkConfig = NetworkConfig()
    vocabulary: int = 100_000
    """Items with a vector of their own, at most: 40 MB, and 80 more of the optimiser."""
    use_half_life_s: float = 14 * 86_400.0
    """Looks count half as much after two weeks when a slot is to be given to another item."""
    chunk: int = 1_024
    """Windows that are learnt together; what comes between is learnt with the next chunk. Small, so that a small shop
    need not wait."""
    passes: int = 2
    """Times that a new window is learnt at once."""
    replay: int = 8
    """... and older windows learnt again for each new one: one pass is far from enough for item vectors."""
    recent: int = 32_768
    """Mean age of those, in windows: what is sold changes, and the latest would otherwise be learnt the least often."""
    evenly: float = 0.2
    """Share of them that are drawn from all that is kept."""
    buffer: int = 400_000
    """Windows that are kept for that; when it is full, the oldest go. 50 MB."""
    looks: int = 20
    """Longest window."""
    batch: int = 128
    """Windows in a step."""
    negatives: int = 1_024
    """Items drawn in a step, besides the other targets of the step: what smoothed vectors were measured with."""
    popularity: float = 0.5
    """Power of an item's looks that it is drawn by: between evenly and as often as it is looked at. As `negatives`."""
    neighbours: int = 10
    """Neighbours that smooth an item's vector: those that are looked at beside it most often. 80 bytes an item. 0 turns
    smoothing off and saves the trainer's time; choose 512 `negatives` and a `popularity` of 0.75 then."""
    neighbour_windows: int = 150_000
    """Most recent windows that neighbours are counted from; at most what is kept. 60 MB while they are counted."""
    neighbour_chunks: int = 4
    """Neighbours are counted again each time that so many chunks are learnt: they change slowly."""
    rate: float = 5e-3
    """Of Adam."""


@dataclass(frozen=True)
class GateConfig:
    """What is held back, and when a candidate is worse."""

    share: float = 0.1
    """Share of shoppers whose windows are held back before they are learnt; 0: none, and everything is announced."""
    age_s: float = 3600.0
    """How long, in append time."""
    windows: int = 1_024
    """Windows that are held back at most; when there are more, the oldest are learnt. They are ranked twice for each
    snapshot: some seconds of a core with 100,000 items."""
    least: int = 50
    """Windows that have to be there to judge; with fewer a candidate passes."""
    errors: float = 2.0
    """A candidate is worse if its hit rate or its reciprocal rank is below the serving one's by more than so many
    standard errors of the paired difference: of equal ones, some four in a hundred are refused for nothing."""
