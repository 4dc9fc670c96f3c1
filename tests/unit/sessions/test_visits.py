"""What a shopper is about, and which pairs his events make, in worlds small enough to count by hand."""

from __future__ import annotations

from math import log2

from models.sessions.pairs import TOTAL, Pair
from models.sessions.visits import EventStatus, VisitConfig, Visits
from models.shop.events import BOUGHT_WITH, VIEWED_THEN_BOUGHT, VIEWED_WITH, Action, Click, Line, Profile, Purchase
from models.shop.items import Items

AT = 1_700_000_000.0


class Shop:
    """Visits, and the offsets and append times of two logs."""

    def __init__(self, **config: float) -> None:
        self.items = Items()
        self.visits = Visits(self.items, VisitConfig(**config))  # type: ignore[arg-type]
        self.offset = 0

    def look(
        self, item: str, at: float, action: Action = Action.VIEW, appended: float | None = None, **more: str
    ) -> tuple[EventStatus, dict[tuple[str, str], float]]:
        click = Click("ann", item, action, AT + at, **more)  # type: ignore[arg-type]
        self.offset += 1
        verdict, pairs = self.visits.apply_click(click, AT + (at if appended is None else appended), self.offset)
        return verdict, self.named(pairs)

    def buy(self, *items: str, at: float, order: str = "o", appended: float | None = None) -> list[Pair]:
        purchase = Purchase("ann", order, AT + at, tuple(Line(item) for item in items))
        self.offset += 1
        appended_s = AT + (at if appended is None else appended)
        return self.visits.apply_purchase(purchase, appended_s, self.offset)[1]

    def named(self, pairs: list[Pair]) -> dict[tuple[str, str], float]:
        return {(self.items.name(a), self.items.name(b)): w for a, b, _, w in pairs}

    def seen(self, at: float, bought_s: float = 1e6) -> tuple[list[str], list[str], list[str]]:
        visit = self.visits.snapshot("ann", AT + at, bought_s)
        name = self.items.name
        return [name(i) for i in visit.items], [name(i) for i in visit.cart], [name(i) for i in visit.bought]


def test_a_look_pairs_with_the_looks_before_it_by_distance_and_direction() -> None:
    shop = Shop()
    assert shop.look("kettle", 0) == (EventStatus.APPLIED, {("kettle", "kettle"): 1.0})
    assert shop.look("mug", 1)[1] == {
        ("mug", "mug"): 1.0,
        ("kettle", "mug"): round(1 / log2(3), 4),
        ("mug", "kettle"): round(0.7 / log2(3), 4),
    }
    third = shop.look("tea", 2)[1]
    assert third["mug", "tea"] == round(1 / log2(4), 4)
    assert third["kettle", "tea"] == round(2**-0.7 / log2(4), 4)


def test_an_item_pairs_once_by_its_nearest_look_and_never_with_itself() -> None:
    shop = Shop()
    for n, item in enumerate(["mug", "kettle", "mug"]):
        shop.look(item, n)
    pairs = shop.look("tea", 3)[1]
    assert pairs["mug", "tea"] == round(1 / log2(5), 4)
    assert ("tea", "tea") in pairs
    assert len(pairs) == 1 + 2 * 2


def test_a_late_look_joins_at_its_place_and_one_older_than_the_window_counts_for_its_item_only() -> None:
    shop = Shop(window_s=100)
    shop.look("kettle", 0)
    shop.look("tea", 50)
    late = shop.look("mug", 25, appended=51)[1]
    assert late["kettle", "mug"] > late["mug", "kettle"]
    assert late["mug", "tea"] > late["tea", "mug"]
    assert shop.seen(60)[0] == ["tea", "mug", "kettle"]
    assert shop.look("pot", -60, appended=52)[1] == {("pot", "pot"): 1.0}
    assert shop.seen(60)[0] == ["tea", "mug", "kettle"]


def test_what_is_older_than_the_window_has_left_it() -> None:
    shop = Shop(window_s=100)
    shop.look("kettle", 0)
    assert shop.look("mug", 101)[1] == {("mug", "mug"): 1.0}
    assert shop.seen(101)[0] == ["mug"]


def test_looks_appended_before_the_memory_are_not_paired_with() -> None:
    shop = Shop(click_memory_s=100)
    shop.look("kettle", 0, appended=0)
    assert shop.look("mug", 1, appended=101)[1] == {("mug", "mug"): 1.0}


def test_a_basket_pairs_every_two_of_its_items_and_counts_once_in_the_total() -> None:
    shop = Shop()
    pairs = shop.buy("kettle", "mug", "kettle", at=0)
    kettle, mug = shop.items.find("kettle"), shop.items.find("mug")
    assert pairs[0] == (kettle, TOTAL, BOUGHT_WITH, 1.0)
    assert sorted(pairs[1:]) == sorted((a, b, BOUGHT_WITH, 1.0) for a in (kettle, mug) for b in (kettle, mug))
    assert {w for *_, w in shop.buy(*"abcd", at=1, order="p")} == {0.5}


def test_a_huge_basket_is_cut_to_its_first_items() -> None:
    shop = Shop(max_pair_items=3)
    pairs = shop.buy(*"abcdefgh", at=0)
    assert {shop.items.name(a) for a, *_ in pairs} == set("abc")
    assert len(pairs) == 1 + 9
    assert len(shop.seen(1)[2]) == 8  # still all bought


def test_views_before_a_purchase_are_joined_with_it_once_no_earlier_click_can_come() -> None:
    shop = Shop(join_grace_s=2)
    shop.look("kettle", 0)
    shop.look("mug", 1)
    shop.buy("tea", at=2)
    assert shop.visits.ripen(AT + 4) == []
    assert shop.visits.first_pending == 3
    shop.look("pot", 1.5, appended=3)  # viewed before, appended after: within the grace
    ((offset, at, pairs),) = shop.visits.ripen(AT + 4.1)
    assert (offset, at) == (3, AT + 2)
    assert shop.named(pairs) == {
        ("pot", "tea"): 1.0,
        ("mug", "tea"): round(2**-0.7, 4),
        ("kettle", "tea"): round(3**-0.7, 4),
    }
    assert {kind for _, _, kind, _ in pairs} == {VIEWED_THEN_BOUGHT}
    assert shop.visits.first_pending is None


def test_a_view_appended_after_the_grace_or_seen_after_the_purchase_is_not_joined() -> None:
    shop = Shop(join_grace_s=2)
    shop.buy("tea", at=2)
    shop.look("mug", 3, appended=3)
    shop.look("kettle", 1, appended=4.5)
    assert shop.named(shop.visits.ripen(AT + 10)[0][2]) == {}


def test_the_cart_is_emptied_by_a_purchase_and_settled_by_event_time() -> None:
    shop = Shop()
    shop.look("kettle", 0, Action.ADD_TO_CART)
    shop.look("mug", 1, Action.ADD_TO_CART)
    shop.look("mug", 2, Action.REMOVE_FROM_CART)
    assert shop.seen(3)[1] == ["kettle"]
    shop.look("tea", 6, Action.ADD_TO_CART)
    shop.buy("kettle", at=5)  # applied after, happened before the tea
    assert shop.seen(7)[1:] == (["tea"], ["kettle"])
    shop.look("mug", 4, Action.ADD_TO_CART, appended=8)  # late: before the purchase
    assert shop.seen(8)[1] == ["tea"]


def test_repeated_ids_change_nothing() -> None:
    shop = Shop()
    assert shop.look("kettle", 0, event_id="e")[0] is EventStatus.APPLIED
    assert shop.look("mug", 1, event_id="e") == (EventStatus.REPEATED, {})
    assert shop.seen(2)[0] == ["kettle"]
    assert shop.buy("kettle", at=3, order="o")
    assert shop.buy("mug", at=4, order="o") == []
    assert shop.seen(5)[2] == ["kettle"]


def test_the_same_id_after_the_memory_is_another_event() -> None:
    shop = Shop(click_memory_s=100)
    shop.look("kettle", 0, event_id="e")
    assert shop.look("mug", 101, event_id="e")[0] is EventStatus.APPLIED


def test_a_shopper_is_forgotten_up_to_a_time_and_for_ever() -> None:
    shop = Shop()
    shop.look("kettle", 0, Action.ADD_TO_CART)
    shop.buy("pot", at=1)
    shop.look("mug", 10, Action.ADD_TO_CART)
    shop.visits.forget("ann", AT + 5)
    shop.visits.forget("ann", AT + 3)
    assert shop.visits.consent._forgotten == {"ann": AT + 5}
    assert shop.seen(11) == (["mug"], ["mug"], [])
    assert shop.look("tea", 5, appended=12) == (EventStatus.FORGOTTEN, {})
    assert shop.look("tea", 6, appended=12)[0] is EventStatus.APPLIED
    assert all(offset > 2 for offset, *_ in shop.visits.ripen(AT + 100))


def test_without_consent_nothing_is_used_until_it_is_given() -> None:
    shop = Shop()
    shop.visits.apply_profile(Profile("ann", AT - 1, consent=False))
    assert shop.look("kettle", 0) == (EventStatus.FORGOTTEN, {})
    shop.visits.apply_profile(Profile("ann", AT, consent=True))
    assert shop.look("kettle", 1)[0] is EventStatus.APPLIED


def test_removing_from_the_cart_is_no_look() -> None:
    shop = Shop()
    assert shop.look("kettle", 0, Action.REMOVE_FROM_CART) == (EventStatus.APPLIED, {})
    assert shop.seen(1)[0] == []


def test_only_purchases_within_the_days_asked_for_are_bought() -> None:
    shop = Shop()
    shop.buy("kettle", at=0)
    shop.buy("mug", at=100, order="p")
    assert shop.seen(101, bought_s=50)[2] == ["mug"]
    assert sorted(shop.seen(101, bought_s=500)[2]) == ["kettle", "mug"]


def test_the_length_of_the_window_is_bounded() -> None:
    shop = Shop(items=4)
    for n in range(40):
        pairs = shop.look(f"item {n}", n)[1]
    assert shop.seen(40)[0] == [f"item {n}" for n in (39, 38, 37, 36)]
    assert len(pairs) == 1 + 2 * 4
    assert VIEWED_WITH == 0
