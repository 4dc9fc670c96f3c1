"""A shop of twelve items that are cross-sells of each other, and an evaluation engine with a trainer beside it."""

from __future__ import annotations

from typing import Any

from models.cooccurrence.config import CoOccurrenceConfig
from models.evaluation.ordering import Ordering
from models.evaluation.prequential.protocol import OURS, RANKINGS
from models.evaluation.prequential.replay import Engine, Event
from models.evaluation.prequential.training import StreamTraining
from models.ranking.attribution import AttributionConfig
from models.ranking.ranker import RankerConfig
from models.sequence.config import GateConfig, LearnerConfig, NetworkConfig
from models.sessions.visits import VisitConfig
from models.shop.events import Action, CatalogItem, Click, Line, Purchase
from models.shop.policy import Policy

AT = 1_699_990_000.0
ITEMS = [f"item-{number}" for number in range(12)]
"""Each in a category of its own, so that all are cross-sells of each other."""
NONE_HELD = GateConfig(share=0.0)
QUICK = RankerConfig(least_credits=5.0, least_judged=5.0)
SMALL = LearnerConfig(network=NetworkConfig(units=8), chunk=16, replay=2, looks=5, batch=32, negatives=16)


def engine(gate: GateConfig = NONE_HELD, every_s: float = 60.0, learner: LearnerConfig = SMALL) -> Engine:
    made = Engine(Policy(), VisitConfig(), CoOccurrenceConfig(), RANKINGS, flush_interval_s=1.0)
    for item in ITEMS:
        made.catalog.put(CatalogItem(item, item, item.title(), 9.0))
    made.training = StreamTraining(made.items, made.catalog, VisitConfig(), learner, gate, 10.0, every_s, seed=1)
    made.orderings[OURS] = Ordering(made.items, AttributionConfig(window_s=60.0), QUICK, 10.0, every_s, made.policy)
    return made


def look(user: str, item: int, at: float, **more: Any) -> Click:
    return Click(user, ITEMS[item % len(ITEMS)], Action.VIEW, AT + at, **more)


def walks(shoppers: int) -> list[Event]:
    """Each looks at four items in a row, every 7 s; every third buys the last."""
    events: list[Event] = []
    for shopper in range(shoppers):
        user, at = f"u{shopper}", 30.0 * shopper
        events += [look(user, shopper + step, at + 7.0 * step) for step in range(4)]
        if shopper % 3 == 0:
            line = Line(ITEMS[(shopper + 3) % len(ITEMS)])
            events.append(Purchase(user, f"o{shopper}", AT + at + 25.0, (line,)))
    return sorted(events, key=lambda event: event.at)
