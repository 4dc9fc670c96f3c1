"""Checks the promises on every record of `suggestions`, from the topics alone.

This code shares nothing with the rules of `models/serving`, so that neither hides a mistake of the other. Item,
category, price step, rating, stock, policy, reasons and limits are always checked. Cart and earlier purchases are
checked only where the topics prove that the worker knew them. A drill lasts minutes and nothing is due within a
day, so what was bought in it may not be suggested again, under whatever `repurchase` of the policy.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from streams.drills.evidence import Event, Raw, epoch_s

MIN_STEP, MAX_STEP = 0.3, 0.9
"""Of the drills' policy. The next better models cost 25 to 60 percent more, the ones after them even more: some of each
are allowed, some are not."""

MAX_ITEMS, MAX_CROSS_SELL, MAX_UPSELL, MAX_PER_CATEGORY = 6, 4, 2, 2

CART_CHANGES = ("add_to_cart", "remove_from_cart")
"""Actions."""

MAX_TRIGGER_IDS = 100
"""Of the contract; `item_count` says where a trigger has more."""

EXCLUDED = "tea-mugs-plain-1"
"""An item that shoppers view and the policy excludes."""

POLICY = f"""\
emit_empty = true
max_suggestion_age_s = 0
max_items = {MAX_ITEMS}
max_cross_sell = {MAX_CROSS_SELL}
max_upsell = {MAX_UPSELL}
max_per_category = {MAX_PER_CATEGORY}
min_step = {MIN_STEP}
max_step = {MAX_STEP}
exclude_items = ["{EXCLUDED}"]
"""
"""The policy of the drills: every trigger is answered, even late."""


class Promises:
    """Checks suggestions. Clicks and purchases come by partition and offset, without repeated ones.

    `suggestions` is iterated twice, each partition in order; their values are not kept. Workers remember carts for
    `cart_memory_s` by append time.
    """

    def __init__(
        self,
        catalog: Mapping[str, Mapping[str, Any]],
        clicks: Sequence[Event],
        purchases: Sequence[Event],
        suggestions: Iterable[Raw],
        cart_memory_s: float,
    ) -> None:
        self._catalog, self._cart_memory_s = catalog, cart_memory_s
        self._events = {event.record.id: event for event in (*clicks, *purchases)}
        self._cart_changes = _by_shopper([click for click in clicks if click.action in CART_CHANGES])
        self._purchases = _by_shopper(purchases)
        self._ever_in_cart = {
            user_id: {change.item_ids[0] for change in changes if change.action == "add_to_cart"}
            for user_id, changes in self._cart_changes.items()
        }
        self._suggestions = suggestions
        self._answers: defaultdict[str, list[Raw]] = defaultdict(list)
        for record in suggestions:
            name = orjson.loads(record.value or b"null")["suggestion_id"]
            self._answers[name].append(record._replace(value=None))
        self.items = 0
        """Suggested items that were checked."""

    @property
    def answers(self) -> Mapping[str, list[Raw]]:
        """All suggestions by their ids, in order, without their values."""
        return self._answers

    def broken(self) -> Iterator[tuple[str, str]]:
        """Each broken promise: id of the suggestion, and what is wrong with it."""
        for record in self._suggestions:
            value = orjson.loads(record.value or b"null")
            name = value["suggestion_id"]
            event = self._events.get(name)
            if event is None or not event.triggers:
                yield name, "answers nothing that asks for an answer"
                continue
            self.items += len(value["items"])
            for sentence in self._of_record(event, record, value):
                yield name, sentence

    def _of_record(self, event: Event, record: Raw, value: dict[str, Any]) -> Iterator[str]:
        items, trigger, source = value["items"], value["trigger"], event.record
        if (record.key or b"").decode() != event.user_id or value["user_id"] != event.user_id:
            yield "is keyed by another shopper"
        where = (trigger["topic"], trigger["partition"], trigger["offset"])
        if where != (source.topic, source.partition, source.offset):
            yield "names another trigger than its id does"
        item_ids = tuple(trigger["item_ids"])
        if trigger["action"] != event.action or item_ids != event.item_ids[:MAX_TRIGGER_IDS]:
            yield "tells its trigger wrong"
        if trigger.get("item_count", len(item_ids)) != len(event.item_ids):
            yield "tells another number of items than its trigger has"
        if abs(epoch_s(value["at"]) - event.at_s) > 0.0005:
            yield "has another time than its trigger"
        kinds = Counter(item["kind"] for item in items)
        if len(items) > MAX_ITEMS or kinds["cross-sell"] > MAX_CROSS_SELL or kinds["upsell"] > MAX_UPSELL:
            yield "has more items than the policy allows"
        if max(Counter(item["category"] for item in items).values(), default=0) > MAX_PER_CATEGORY:
            yield "has more items of a category than the policy allows"
        if len({item["item_id"] for item in items}) < len(items):
            yield "suggests an item twice"
        in_cart = self._surely_in_cart(event, record)
        not_again = self._surely_bought(event, record) | in_cart
        for item in items:
            yield from self._of_item(event, item, in_cart, not_again)

    def _of_item(self, event: Event, item: dict[str, Any], in_cart: set[str], not_again: set[str]) -> Iterator[str]:
        item_id, anchor_id = item["item_id"], item["anchor"]
        offered = self._catalog.get(item_id)
        anchor = self._catalog.get(anchor_id)
        if offered is None:
            yield "suggests an item that the catalogue does not have"
            return
        told_wrong = any(item[name] != offered[name] for name in ("price", "category", "title"))
        reasons = [reason["text"] and reason["source"] for reason in item["reasons"]]
        checks = (
            (not offered["in_stock"], "suggests an item that is out of stock"),
            (item_id in event.item_ids, "suggests an item of its own trigger"),
            (item_id in not_again, "suggests an item that is in the cart or was bought"),
            (item_id == EXCLUDED, "suggests an item that the policy excludes"),
            (told_wrong, "tells price, category or title wrong"),
            (not reasons or not all(reasons), "gives no reason"),
        )
        yield from (sentence for wrong, sentence in checks if wrong)
        ever_in_cart = self._ever_in_cart.get(event.user_id, ())
        if anchor is None or not (anchor_id in event.item_ids or anchor_id in ever_in_cart):
            yield "has an anchor that is neither of its trigger nor in the cart, or is unknown"
            return
        if item["kind"] == "upsell":
            if event.action == "purchase":
                yield "upsells after a purchase"
            yield from upsell_faults(offered, anchor, MIN_STEP, MAX_STEP)
        elif item["kind"] != "cross-sell":
            yield "is of a kind that there is not"
        elif offered["category"] in self._categories({*event.item_ids, *in_cart, anchor_id}):
            yield "cross-sells an item of a category that an anchor has"

    def _categories(self, item_ids: set[str]) -> set[str]:
        return {self._catalog[item_id]["category"] for item_id in item_ids if item_id in self._catalog}

    def _surely_in_cart(self, event: Event, answer: Raw) -> set[str]:
        """Items certainly in the cart at a click: added by it or lately in the log, and not emptied by a purchase.

        Clicks of a partition are applied in the order of the log. A purchase may have been applied unless it was
        appended after the answer.
        """
        if event.action == "purchase":
            return set()
        last: dict[str, tuple[float, int, bool]] = {}
        for click in self._cart_changes[event.user_id]:
            if click.record.offset > event.record.offset:
                break
            if answer.timestamp / 1000 - click.appended_s >= self._cart_memory_s:
                continue
            change = (click.at_s, click.record.offset, click.action == "add_to_cart")
            last[click.item_ids[0]] = max(change, last.get(click.item_ids[0], change))
        purchases = self._purchases[event.user_id]
        emptied_s = max((p.at_s for p in purchases if p.record.timestamp <= answer.timestamp), default=float("-inf"))
        return {item_id for item_id, (at_s, _, added) in last.items() if added and at_s > emptied_s}

    def _surely_bought(self, event: Event, answer: Raw) -> set[str]:
        """Items certainly bought before an event.

        Before a purchase: by all purchases earlier in the log. Before a click: by the purchases answered before it, if
        click and purchase were answered once only: then one state applied both in this order, or was rebuilt from a
        checkpoint after the purchase.
        """
        purchases, name = self._purchases[event.user_id], event.record.id
        if event.action == "purchase":
            before = [earlier for earlier in purchases if earlier.record.offset < event.record.offset]
        elif len(self._answers[name]) == 1:
            before = [bought for bought in purchases if self._answered_once_before(bought.record.id, answer)]
        else:
            before = []
        return {item_id for purchase in before for item_id in purchase.item_ids}

    def _answered_once_before(self, name: str, answer: Raw) -> bool:
        answers = [(earlier.partition, earlier.offset < answer.offset) for earlier in self._answers[name]]
        return answers == [(answer.partition, True)]


def _by_shopper(events: Sequence[Event]) -> Mapping[str, list[Event]]:
    found: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        found[event.user_id].append(event)
    return found


def upsell_faults(
    offered: Mapping[str, Any], anchor: Mapping[str, Any], min_step: float, max_step: float
) -> Iterator[str]:
    """Why an item is no upsell of its anchor, by their values in the catalogue; nothing if it is one.

    The policy allows rises of the price from `min_step` to `max_step`, as shares of the anchor's price.
    """
    if offered["category"] != anchor["category"]:
        yield "upsells to another category"
    if offered["currency"] != anchor["currency"]:
        yield "upsells to another currency"
    if not anchor["price"] * (1 + min_step) <= offered["price"] <= anchor["price"] * (1 + max_step):
        yield "upsells by a step that the policy does not allow"
    if "rating" in offered and "rating" in anchor and offered["rating"] < anchor["rating"]:
        yield "upsells to a worse item"
