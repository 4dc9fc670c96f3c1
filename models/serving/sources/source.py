"""What a source of candidates is made of, and words that reasons share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from models.shop.events import CatalogItem


class Worth(NamedTuple):
    """What a share counts in the sum of the evidence."""

    cross_sell: float
    upsell: float


class Sentence(NamedTuple):
    """How a reason is put into words."""

    source: str
    """Name of the source, as it is sent."""
    text: Callable[[CatalogItem, str | None, int, bool], str]
    """Sentence about an item: with the title of the anchor (None: it is about none), the number of events behind it,
    and whether these are views."""


class Source(NamedTuple):
    """A source of candidates. Its functions are compiled (`inline_njit`), and those that it does not need are None."""

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


def times(count: int) -> str:
    """How often something was counted."""
    return "once" if count == 1 else f"{count} times"


def known_by(count: int, of_views: bool) -> str:
    """How often an item was bought, or viewed: of all events but taking it out of the cart."""
    return f"viewed or added to the cart {times(count)}" if of_views else f"bought {times(count)}"
