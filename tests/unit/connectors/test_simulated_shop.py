"""The shop whose right answers are known: one for a seed, in time order, as the contract says, and hard to guess."""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import orjson
import pytest

from streams.connectors.replay import SourceEvent
from streams.connectors.simulated_shop import NAME, SimulatedShop
from streams.wire.codec import decode_catalog, decode_click, decode_purchase
from streams.wire.record import Header

START_S = 1_714_564_800.0


@dataclass
class Rec:
    key: bytes
    value: bytes
    timestamp: int
    topic: str = "clicks"
    partition: int = 0
    offset: int = 0
    headers: tuple[Header, ...] = ()


@pytest.fixture(scope="module")
def shop() -> SimulatedShop:
    return SimulatedShop(seed=7, shoppers=3000)


@pytest.fixture(scope="module")
def events(shop: SimulatedShop) -> list[SourceEvent]:
    return list(islice(shop.events(100, START_S), 24_000))


def test_the_data_have_a_name_with_a_version(shop: SimulatedShop) -> None:
    assert NAME == "simulated_shop_v1"
    assert shop.name == "simulated_shop_v1-7"


def test_these_are_the_data_of_that_name(events: list[SourceEvent]) -> None:
    """Changed on purpose? Then NAME takes the next number."""
    assert events[0].value["item_id"] == "coffee-coffee-grinders-rustic-2"
    users = [event.value["user_id"] for event in events[1000:1003]]
    assert users == ["shopper-02016", "shopper-01463", "shopper-01011"]


def test_a_seed_gives_one_shop_and_one_stream() -> None:
    shop, same, other = (SimulatedShop(seed, shoppers=1000) for seed in (1, 1, 2))
    assert list(shop.catalog()) == list(same.catalog()) != list(other.catalog())
    first = list(islice(shop.events(50, START_S), 500))
    assert first == list(islice(same.events(50, START_S), 500)) == list(islice(shop.events(50, START_S), 500))
    assert first != list(islice(other.events(50, START_S), 500))


def test_every_record_is_as_the_contract_says(shop: SimulatedShop, events: list[SourceEvent]) -> None:
    for item in shop.catalog():
        offered = decode_catalog(Rec(item["item_id"].encode(), orjson.dumps(item), 0))
        assert offered is not None
        assert offered.title
    for event in events[:3000]:
        record = Rec(event.value["user_id"].encode(), orjson.dumps(event.value), round(event.at * 1000))
        sent = decode_purchase(record) if event.topic == "purchases" else decode_click(record)
        assert sent.at == event.at


def test_events_come_in_order_at_the_rate_asked_for(events: list[SourceEvent]) -> None:
    times = [event.at for event in events]
    assert times == sorted(times)
    assert times[0] >= START_S
    assert len(events) / (times[-1] - START_S) == pytest.approx(100, rel=0.05)


def test_the_first_seconds_are_like_all_others(events: list[SourceEvent]) -> None:
    def bought(some: list[SourceEvent]) -> float:
        return sum(event.topic == "purchases" for event in some) / len(some)

    assert bought(events[:2000]) == pytest.approx(bought(events[2000:]), rel=0.4)


def test_too_few_shoppers_are_told() -> None:
    with pytest.raises(ValueError, match="need at least 160 shoppers, got 159"):
        next(SimulatedShop(seed=1, shoppers=159).events(10, START_S))


def test_ids_are_never_used_twice(events: list[SourceEvent]) -> None:
    ids = [event.value.get("event_id") or event.value["order_id"] for event in events]
    assert len(set(ids)) == len(ids)


def test_a_purchase_is_the_cart_of_its_visit(events: list[SourceEvent]) -> None:
    visits: dict[str, tuple[str, list[str]]] = {}
    whole = 0
    for event in events:
        user_id, value = event.value["user_id"], event.value
        if event.topic == "purchases":
            _, cart = visits[user_id] if user_id in visits else ("", [])
            bought = [line["item_id"] for line in value["items"]]
            assert set(cart) <= set(bought)  # what came before the start of the stream is not seen
            whole += cart == bought
            continue
        session, cart = visits.get(user_id, ("", []))
        if session != value["session_id"]:
            session, cart = visits[user_id] = (value["session_id"], [])
        if value["action"] == "add_to_cart":
            cart.append(value["item_id"])
        elif value["action"] == "remove_from_cart" and value["item_id"] in cart:
            cart.remove(value["item_id"])
    assert whole > 0.6 * sum(event.topic == "purchases" for event in events)


def test_truth_keeps_the_two_promises(shop: SimulatedShop) -> None:
    items = {item["item_id"]: item for item in shop.catalog()}
    assert len({item["title"] for item in items.values()}) > 300
    for anchor, item in items.items():
        for other in shop.truth.complements(anchor):
            assert items[other]["category"] != item["category"]
            assert shop.truth.is_right("cross-sell", other, anchor)
        for other in shop.truth.upgrades(anchor):
            assert items[other]["category"] == item["category"]
            assert 1.05 * item["price"] <= items[other]["price"] <= 2 * item["price"]
            assert items[other]["rating"] >= item["rating"]
        assert not shop.truth.is_right("upsell", anchor, anchor)
    assert shop.truth.complements("no such item") == ()
    assert sum(bool(shop.truth.upgrades(anchor)) for anchor in items) >= 256
    assert sum(len(shop.truth.complements(anchor)) == 9 for anchor in items) == 384


def test_counting_finds_the_answer_and_popularity_does_not(shop: SimulatedShop, events: list[SourceEvent]) -> None:
    items = {item["item_id"]: item for item in shop.catalog()}
    bought, max_batch = Counter[str](), defaultdict[str, Counter[str]](Counter)
    for event in events[:20_000]:
        if event.topic == "purchases":
            basket = [line["item_id"] for line in event.value["items"]]
            bought.update(basket)
            for anchor in basket:
                max_batch[anchor].update(other for other in basket if other != anchor)
    anchors = [event.value["item_id"] for event in events[20_000:] if event.topic == "clicks"]

    def right(ranked: Callable[[str], list[str]]) -> float:
        found = [
            shop.truth.is_right("cross-sell", anchor, other)
            for anchor in anchors
            for other in [item for item in ranked(anchor) if items[item]["category"] != items[anchor]["category"]][:4]
        ]
        return sum(found) / len(found)

    assert right(lambda anchor: [other for other, _ in max_batch[anchor].most_common()]) > 0.6
    assert right(lambda _: [other for other, _ in bought.most_common()]) < 0.15
