"""Arms of protocol E: who fills the lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from models.evaluation.prequential.baselines import MostPopular
from models.evaluation.prequential.replay import Answered, Engine, Event
from models.shop.events import Action, Click, Profile
from models.shop.kinds import KIND_NAMES


class Shown(NamedTuple):
    """An item of a list."""

    item_id: str
    kind: str
    """`cross-sell` or `upsell`."""
    anchor: str


class Suggestions(NamedTuple):
    """The list for an event, best first."""

    anchors: Sequence[str] = ()
    """Items of the trigger and the cart."""
    items: Sequence[Shown] = ()


class Arm(Protocol):
    """Answers events one by one, and learns from them."""

    def suggest(self, event: Event) -> Suggestions:
        """The list for an event; empty if there is none."""


class NoLists:
    """The arm `none`: nobody gets a list."""

    def suggest(self, event: Event) -> Suggestions:
        """Nothing."""
        return Suggestions()


class Served:
    """One of an engine's recommenders, in event time.

    Each event is a batch of its own: a shopper answers a list before the next event happens.
    """

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine, self._name = engine, name

    def suggest(self, event: Event) -> Suggestions:
        """What a worker would send."""
        (answered,) = self._engine.run((event,))
        items = answered.lists.get(self._name, ())
        shown = [Shown(item["item_id"], item["kind"], item["anchor"]) for item in items]
        return Suggestions(_anchors(self._engine, answered), shown)


class Popular:
    """The most popular items so far, by the same rules. The engine gives visits and carts and needs no recommender."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._popular = MostPopular(engine.items, engine.catalog, engine.policy)

    def suggest(self, event: Event) -> Suggestions:
        """What popularity would send."""
        (answered,) = self._engine.run((event,))
        if not answered.applied or isinstance(event, Profile):
            return Suggestions()
        name, places = self._engine.items.name, []
        if answered.query is not None:
            places = self._popular.suggest(answered.query)
        if not isinstance(event, Click):
            self._popular.update(list(map(self._engine.items.index, event.item_ids)))
        elif event.action is not Action.REMOVE_FROM_CART:
            self._popular.update([self._engine.items.index(event.item_id)])
        shown = [Shown(name(place.item), KIND_NAMES[place.kind], name(place.anchor)) for place in places]
        return Suggestions(_anchors(self._engine, answered), shown)


def _anchors(engine: Engine, answered: Answered) -> list[str]:
    query = answered.query
    return [] if query is None else list(map(engine.items.name, (*query.trigger, *query.visit.cart)))
