"""A simulated shop whose right answers are known: which items go together, and which are upgrades.

The shop sells for occasions, such as a cup of tea or a night in a tent. An occasion takes items of four categories. In
each category every style has a family of three models, each more expensive and rated better than the last. Shoppers
have a style, come for an occasion, look around, sometimes trade up, and put what goes together into one basket. The
catalogue has neither occasion nor style; only what is looked at and bought together shows them (and ids, to people).

* **Complements** of an item: the items of its occasion and style in the other categories, 9 of 396.
* **Upgrades** of an item: the better models of its family, up to twice its price.

Treats, batteries and gift cards sell best and go with nothing, so popularity is a weak answer.

No Kafka, no clock: the data are a function of the seed. A change that gives other data for a seed takes another `NAME`.
"""

from __future__ import annotations

import heapq
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, count
from math import ceil
from typing import Any, Generic, TypeVar

from streams.connectors.replay import SourceEvent
from streams.wire.codec import written

T = TypeVar("T")

NAME = "simulated_shop_v1"
"""Version of the data. Figures are comparable only under the same name."""

# occasion -> (category, what one is called, price of the first model)
OCCASIONS: dict[str, tuple[tuple[str, str, float], ...]] = {
    "tea": (
        ("Kitchen/Kettles", "kettle", 32.0),
        ("Kitchen/Mugs", "mug", 9.0),
        ("Kitchen/Teapots", "teapot", 24.0),
        ("Pantry/Tea", "loose tea", 6.0),
    ),
    "coffee": (
        ("Kitchen/Coffee makers", "coffee maker", 48.0),
        ("Kitchen/Coffee grinders", "coffee grinder", 35.0),
        ("Kitchen/Milk frothers", "milk frother", 19.0),
        ("Pantry/Coffee", "coffee beans", 11.0),
    ),
    "supper": (
        ("Kitchen/Pans", "frying pan", 29.0),
        ("Kitchen/Knives", "kitchen knife", 22.0),
        ("Kitchen/Chopping boards", "chopping board", 15.0),
        ("Textiles/Aprons", "apron", 17.0),
    ),
    "camping": (
        ("Outdoor/Tents", "tent", 129.0),
        ("Outdoor/Sleeping bags", "sleeping bag", 69.0),
        ("Outdoor/Camping mats", "camping mat", 34.0),
        ("Lighting/Lanterns", "lantern", 21.0),
    ),
    "running": (
        ("Sport/Running shoes", "pair of running shoes", 79.0),
        ("Sport/Running socks", "pair of running socks", 8.0),
        ("Sport/Water bottles", "water bottle", 12.0),
        ("Electronics/Sports watches", "sports watch", 99.0),
    ),
    "cycling": (
        ("Cycling/Helmets", "helmet", 44.0),
        ("Cycling/Bike lights", "bike light", 18.0),
        ("Cycling/Locks", "bike lock", 27.0),
        ("Textiles/Rain jackets", "rain jacket", 58.0),
    ),
    "desk": (
        ("Office/Notebooks", "notebook", 7.0),
        ("Office/Pens", "fountain pen", 16.0),
        ("Lighting/Desk lamps", "desk lamp", 39.0),
        ("Electronics/Headphones", "pair of headphones", 59.0),
    ),
    "garden": (
        ("Garden/Secateurs", "pair of secateurs", 18.0),
        ("Garden/Watering cans", "watering can", 14.0),
        ("Garden/Plant pots", "plant pot", 10.0),
        ("Textiles/Gardening gloves", "pair of gardening gloves", 9.0),
    ),
}
STAPLES = (
    ("Treats/Chocolate", "chocolate bar", 2.5),
    ("Electronics/Batteries", "pack of batteries", 5.0),
    ("Gifts/Gift cards", "gift card", 20.0),
)
STYLES = ("plain", "rustic", "bright", "sleek")
MODELS = ("", "Plus", "Pro")
BRANDS = (
    "Alder & Finch, Brightside, Casa Lume, Dovetail, Eastwind, Fernhill, "
    "Gullwing, Hearthstone, Ironwood, Juniper, Kestrel, Larkspur"
).split(", ")

STAPLE_SHARE = 0.35
"""Share of visits that buy a staple: enough to make staples the best sellers."""

OWN_STYLE = 0.85
"""Probability that a choice follows the shopper's own style; the rest is noise."""

MEAN_GAP_S = 8.0
"""Between two events of one visit, in seconds of event time."""

WARM_UP_EVENTS = 16
"""Upper bound of the events before the start in each visit. A visit has 5 on average; without these, the first half
minute would have views only."""

MAX_STEP = 2.0
"""Highest price of an upgrade, as a multiple: what the default policy allows."""


@dataclass(frozen=True)
class Model:
    """An item of the shop, with what the catalogue does not have: occasion (None: a staple), style, rung."""

    item_id: str
    title: str
    category: str
    brand: str
    price: float
    rating: float
    occasion: str | None = None
    style: str = ""
    rung: int = 0

    def record(self) -> dict[str, Any]:
        """The item as a value of the `catalog` topic."""
        return {
            "v": 1,
            "item_id": self.item_id,
            "title": self.title,
            "category": self.category,
            "price": self.price,
            "brand": self.brand,
            "in_stock": True,
            "rating": self.rating,
            "currency": "EUR",
        }


class Truth:
    """The right suggestions.

    >>> truth = SimulatedShop(seed=7).truth
    >>> truth.is_right("upsell", "tea-kettles-plain-1", "tea-kettles-plain-2")
    True
    >>> truth.is_right("cross-sell", "tea-kettles-plain-1", "tea-mugs-plain-3")
    True
    >>> truth.is_right("cross-sell", "tea-kettles-plain-1", "tea-mugs-rustic-3")
    False
    >>> truth.is_right_for_any("cross-sell", ["tea-kettles-plain-1", "tea-teapots-rustic-2"], "tea-mugs-rustic-3")
    True
    """

    def __init__(self, models: Sequence[Model]) -> None:
        self._models = {model.item_id: model for model in models}
        groups = defaultdict[tuple[str | None, str], list[Model]](list)
        for model in models:
            groups[model.occasion, model.style].append(model)
        self._complements: dict[str, tuple[str, ...]] = {}
        self._upgrades: dict[str, tuple[str, ...]] = {}
        for model in models:
            kin = groups[model.occasion, model.style] if model.occasion else []
            self._complements[model.item_id] = tuple(other.item_id for other in kin if other.category != model.category)
            family = (other for other in kin if other.category == model.category)
            self._upgrades[model.item_id] = tuple(
                other.item_id for other in family if other.rung > model.rung and other.price <= MAX_STEP * model.price
            )

    def complements(self, item_id: str) -> tuple[str, ...]:
        """Items that complete this one; none for unknown items."""
        return self._complements.get(item_id, ())

    def upgrades(self, item_id: str) -> tuple[str, ...]:
        """Better models of this one, the next better first."""
        return self._upgrades.get(item_id, ())

    def is_right(self, kind: str, anchor: str, item_id: str) -> bool:
        """Whether a suggestion of this kind (`cross-sell` or `upsell`) is right for its anchor."""
        return item_id in (self.complements(anchor) if kind == "cross-sell" else self.upgrades(anchor))

    def is_right_for_any(self, kind: str, anchors: Iterable[str], item_id: str) -> bool:
        """Whether a suggestion is right for at least one of its anchors."""
        return any(self.is_right(kind, anchor, item_id) for anchor in anchors)


class SimulatedShop:
    """The shop and its shoppers. The seed decides prices, tastes and visits."""

    def __init__(self, seed: int = 7, shoppers: int = 20_000) -> None:
        self.name = f"{NAME}-{seed}"
        self._seed = seed
        self._random = random.Random(f"{NAME} {seed} world")
        self.models = [*self._ladders(), *self._staples()]
        self.truth = Truth(self.models)
        self._by_id = {model.item_id: model for model in self.models}
        self._families = defaultdict[tuple[str, str], list[Model]](list)  # (category, style) -> its ladder
        for model in self.models:
            self._families[model.category, model.style].append(model)
        self._staple_choice = _Zipf([model for model in self.models if model.occasion is None], self._random)
        self._category_choice = {
            occasion: _Zipf([category for category, *_ in parts], self._random) for occasion, parts in OCCASIONS.items()
        }
        aims = self._occasion_choice = _Zipf(list(OCCASIONS), self._random)
        styles = _Zipf(STYLES, self._random)
        self._shoppers = [(styles.draw(self._random), aims.draw(self._random)) for _ in range(shoppers)]

    def catalog(self) -> Iterator[dict[str, Any]]:
        """Values of the `catalog` topic, one an item."""
        return (model.record() for model in self.models)

    def user_id(self, shopper: int) -> str:
        """Id of a shopper by number, from 0."""
        return f"shopper-{shopper:05d}"

    def events(self, events_per_s: float, start_s: float) -> Iterator[SourceEvent]:
        """Endless clicks and purchases from an event time on, in time order, so many a second of event time on average.

        At the start shoppers are in the middle of their visits, so that views, carts and purchases come in their usual
        shares from the first second on.

        Raises:
            ValueError: fewer than twice as many shoppers as are in the shop at once, eight for each event per second.
        """
        chance = random.Random(f"{NAME} {self._seed} visits {events_per_s} {start_s}")
        at_once = ceil(events_per_s * MEAN_GAP_S)  # visits
        if 2 * at_once > len(self._shoppers):
            message = f"{events_per_s} events a second need at least {2 * at_once} shoppers, got {len(self._shoppers)}"
            raise ValueError(message)
        gap_s = at_once / events_per_s  # between two events of one visit
        run, numbers, inside = f"{round(start_s * 1000):x}", count(), set[int]()
        places = [self._visits(run, numbers, inside, chance) for _ in range(at_once)]
        for place in places:
            for _ in range(chance.randrange(WARM_UP_EVENTS)):
                next(place)
        queue = [(start_s + chance.expovariate(1 / gap_s), number) for number in range(len(places))]
        heapq.heapify(queue)
        while True:
            at, number = queue[0]
            topic, value = next(places[number])
            at = round(at, 3)
            value["at"] = written(at)
            yield SourceEvent(topic, at, value)
            heapq.heapreplace(queue, (at + chance.expovariate(1 / gap_s), number))

    def _ladders(self) -> Iterator[Model]:
        for occasion, parts in OCCASIONS.items():
            for category, noun, base in parts:
                for style in STYLES:
                    brand = self._random.choice(BRANDS)
                    price, rating = base * self._random.uniform(0.8, 1.25), self._random.uniform(3.2, 4.2)
                    for rung, model in enumerate(MODELS):
                        item_id = f"{occasion}-{_slug(category)}-{style}-{rung + 1}"
                        title = f"{brand} {noun} {model}".strip()
                        yield Model(
                            item_id, title, category, brand, round(price, 2), round(rating, 1), occasion, style, rung
                        )
                        price *= self._random.uniform(1.25, 1.6)
                        rating += self._random.uniform(0.1, 0.3)

    def _staples(self) -> Iterator[Model]:
        for category, noun, base in STAPLES:
            for number, brand in enumerate(self._random.sample(BRANDS, 4), start=1):
                price, rating = base * self._random.uniform(0.7, 2.0), self._random.uniform(3.5, 4.8)
                item_id, title = f"{_slug(category)}-{number}", f"{brand} {noun}"
                yield Model(item_id, title, category, brand, round(price, 2), round(rating, 1))

    def _visits(
        self, run: str, numbers: Iterator[int], inside: set[int], chance: random.Random
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """One visit after another, each of a shopper who is not in the shop."""
        while True:
            shopper = chance.randrange(len(self._shoppers))
            while shopper in inside:
                shopper = chance.randrange(len(self._shoppers))
            inside.add(shopper)
            yield from self._visit(shopper, run, numbers, chance)
            inside.discard(shopper)

    def _visit(
        self, shopper: int, run: str, numbers: Iterator[int], chance: random.Random
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """The events of one visit, without their times."""
        style, aim = self._shoppers[shopper]
        if chance.random() > OWN_STYLE:
            aim = self._occasion_choice.draw(chance)
        user_id, session_id = self.user_id(shopper), f"{run}-{next(numbers)}"
        cart: list[Model] = []
        for action, model in self._clicks(style, aim, cart, chance):
            value = {"v": 1, "user_id": user_id, "item_id": model.item_id, "action": action}
            if action in ("view", "click"):
                value["dwell_ms"] = round(chance.lognormvariate(8.5, 0.8))
            yield "clicks", value | {"session_id": session_id, "event_id": f"{run}-{next(numbers)}"}
        if cart and chance.random() < 0.8:
            lines = [
                {"item_id": item.item_id, "quantity": chance.choice((1, 1, 1, 2)), "price": item.price} for item in cart
            ]
            order_id = f"{run}-{next(numbers)}"
            yield "purchases", {"v": 1, "user_id": user_id, "order_id": order_id, "items": lines, "currency": "EUR"}

    def _clicks(self, style: str, aim: str, cart: list[Model], chance: random.Random) -> Iterator[tuple[str, Model]]:
        """Actions of one visit, before the purchase: look around, then fill the cart that is given."""
        model = self._model(self._category_choice[aim].draw(chance), style, chance)
        yield "view", model
        while chance.random() < 0.55:
            model = self._next_look(model, style, chance)
            yield "click" if chance.random() < 0.25 else "view", model
        occasion = model.occasion
        if occasion is None or chance.random() < 0.4:
            return
        better = self.truth.upgrades(model.item_id)
        if better and chance.random() < 0.3:
            model = self._by_id[better[0]]
            yield "view", model
        cart.append(model)
        yield "add_to_cart", model
        for category in self._category_choice[occasion].choices:
            if category != model.category and chance.random() < 0.55:
                other = self._model(category, model.style if chance.random() < OWN_STYLE else style, chance)
                yield "view", other
                if chance.random() < 0.75:
                    cart.append(other)
                    yield "add_to_cart", other
        if chance.random() < STAPLE_SHARE:
            cart.append(self._staple_choice.draw(chance))
            yield "add_to_cart", cart[-1]
        if len(cart) > 1 and chance.random() < 0.08:
            yield "remove_from_cart", cart.pop(chance.randrange(len(cart)))

    def _model(self, category: str, style: str, chance: random.Random) -> Model:
        if chance.random() > OWN_STYLE:
            style = chance.choice(STYLES)
        return chance.choices(self._families[category, style], (5, 3, 2))[0]

    def _next_look(self, model: Model, style: str, chance: random.Random) -> Model:
        """The next item looked at: a better model, another of the category, a staple, or any other."""
        dice = chance.random()
        better = self.truth.upgrades(model.item_id)
        if dice < 0.5 and better:
            return self._by_id[better[0] if chance.random() < 0.7 else better[-1]]
        if dice < 0.85 and model.occasion is not None:
            return self._model(model.category, style, chance)
        if dice < 0.93:
            return self._staple_choice.draw(chance)
        occasion = self._occasion_choice.draw(chance)
        return self._model(self._category_choice[occasion].draw(chance), style, chance)


def _slug(category: str) -> str:
    return category.rpartition("/")[2].lower().replace(" ", "-")


class _Zipf(Generic[T]):
    """Choices in random order, the n-th of which is drawn 1/n as often as the first."""

    def __init__(self, choices: Sequence[T], order: random.Random) -> None:
        self.choices = order.sample(choices, len(choices))
        self._weights = list(accumulate(1 / rank for rank in range(1, len(choices) + 1)))

    def draw(self, chance: random.Random) -> T:
        """One of the choices."""
        return chance.choices(self.choices, cum_weights=self._weights)[0]
