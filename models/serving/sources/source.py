"""What a source of candidates is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from models.serving.sources.sentence import Sentence


class Worth(NamedTuple):
    """What a share counts in the sum of the evidence."""

    cross_sell: float
    upsell: float


class Source(NamedTuple):
    """A source of candidates. Its functions are compiled (`forward_njit`), and those that it does not need are None."""

    worth: Mapping[str, Worth] = MappingProxyType({})
    """Of its shares, by their names in `models.ranking.features.SOURCES`. A share without a reason must be worth 0: an
    item with evidence has no other reason."""
    add: Callable[..., None] | None = None
    """`add(query, batch, state)` adds candidates with their shares, before the evidence is summed up."""
    join: Callable[..., None] | None = None
    """`join(query, batch, state)` lets candidates join the pool, or describes those in it by a share. It is called
    where a learnt order ranks or the pool is logged."""
    explain: Callable[..., None] | None = None
    """`explain(chosen, size, query, batch, state, found)` finds the reasons of the items of a list (by place) that are
    the source's. That of a share is written to the share's column."""
    sentences: Mapping[int, Sentence] = MappingProxyType({})
    """By the code of the reason: the column of a share, or a relation (`models.serving.state`)."""
