"""What each arm of an experiment brings in: a small log with a known answer."""

from __future__ import annotations

import numpy as np
import pytest

from models.evaluation.arms import ArmLedger
from models.shop.events import CatalogItem, Line, Purchase


def order(user: str, at: float, *lines: Line, name: str = "order-1", currency: str | None = None) -> Purchase:
    return Purchase(user, name, at, lines, currency)


def mug(price: float | None, quantity: float = 1.0) -> Line:
    return Line("mug", quantity, price)


def test_orders_count_once_after_the_first_record_and_in_its_arm() -> None:
    ledger = ArmLedger()
    for user, arm in [("ann", "none"), ("bob", "default"), ("cid", "popular"), ("dan", "default")]:
        ledger.add_suggestion(user, arm, 100.0, 1)
        ledger.add_suggestion(user, arm, 300.0, 3)
    ledger.add_purchase(order("ann", 200.0, mug(10.0)))
    ledger.add_purchase(order("ann", 50.0, mug(99.0), name="before the experiment"))
    ledger.add_purchase(order("bob", 100.0, mug(99.0), name="what the first record answers"))
    ledger.add_purchase(order("bob", 200.0, mug(8.0, 2.0), Line("pot", 0.5, 30.0)))
    ledger.add_purchase(order("bob", 200.0, mug(8.0, 2.0), Line("pot", 0.5, 30.0)))  # delivered again
    ledger.add_purchase(order("bob", 400.0, mug(9.0), name="order-2"))
    ledger.add_purchase(order("eve", 200.0, mug(99.0)))  # never had a record
    found = ledger.figures(seed=1)
    columns = ("shoppers", "buyers", "orders", "revenue", "per_shopper")
    assert {arm: tuple(row[name] for name in columns) for arm, row in found["arms"].items()} == {
        "default": (2, 1, 2, 40.0, 20.0),
        "none": (1, 1, 1, 10.0, 10.0),
        "popular": (1, 0, 0, 0.0, 0.0),
    }
    differences = {
        (arm, other): of["per_shopper"] for arm, row in found["arms"].items() for other, of in row["difference"].items()
    }
    assert differences == {
        ("default", "none"): 10.0,
        ("none", "default"): -10.0,
        ("popular", "none"): -10.0,
        ("popular", "default"): -20.0,
    }
    assert found["arms"]["default"]["interval"] == [0.0, 40.0]
    assert (found["orders_not_counted"], found["moved"]) == (3, 0)


def test_an_experiment_begins_with_the_first_record_of_another_arm() -> None:
    ledger = ArmLedger()
    for number in range(10):  # before it everyone has the default's lists
        ledger.add_suggestion(f"user-{number}", "default", 100.0, 1_000)
        ledger.add_purchase(order(f"user-{number}", 150.0, mug(50.0)))
    for number in range(4):
        ledger.add_suggestion(f"user-{number}", "none", 200.0, 2_000)
    for number in range(4, 8):
        ledger.add_suggestion(f"user-{number}", "default", 200.0, 2_000 + number)
        ledger.add_purchase(order(f"user-{number}", 250.0, mug(6.0), name="order-2"))
    found = ledger.figures(seed=1)
    assert found["begin_ms"] == 2_000
    shoppers = {arm: (row["shoppers"], row["per_shopper"]) for arm, row in found["arms"].items()}
    assert shoppers == {"default": (4, 6.0), "none": (4, 0.0)}
    assert found["orders_not_counted"] == 10


def test_a_shopper_of_two_arms_keeps_the_first_and_is_told() -> None:
    ledger = ArmLedger()
    for at, arm in [(100.0, "none"), (200.0, "popular"), (300.0, "none")]:
        ledger.add_suggestion("ann", arm, at, round(at))
    found = ledger.figures(seed=1)
    assert list(found["arms"]) == ["none"]
    assert found["moved"] == 1


def test_prices_come_from_the_catalogue_where_lines_have_none_and_one_currency_is_counted() -> None:
    ledger = ArmLedger()
    ledger.add_item(CatalogItem("mug", "Mug", "Mugs", 7.0, currency="EUR"))
    ledger.add_suggestion("ann", "none", 100.0, 1)
    ledger.add_purchase(order("ann", 200.0, mug(None), Line("unknown"), name="1", currency="EUR"))
    ledger.add_purchase(order("ann", 200.0, mug(5.0), name="2", currency="EUR"))
    ledger.add_purchase(order("ann", 200.0, mug(None), name="3", currency="USD"))
    found = ledger.figures(seed=1)
    assert found["arms"]["none"]["revenue"] == 12.0
    assert (found["currency"], found["orders_in_other_currencies"], found["lines_without_price"]) == ("EUR", 1, 2)


def test_intervals_are_those_of_the_mean_and_the_same_by_seed() -> None:
    chance = np.random.default_rng(3)
    ledger = ArmLedger()
    spent = {arm: chance.exponential(20.0, 400) * (chance.random(400) < 0.5) for arm in ("default", "none")}
    for arm, amounts in spent.items():
        for number, amount in enumerate(amounts.tolist()):
            ledger.add_suggestion(f"{arm}-{number}", arm, 100.0, 1)
            ledger.add_purchase(order(f"{arm}-{number}", 200.0, mug(amount)))
    found = ledger.figures(seed=1)
    assert found == ledger.figures(seed=1)
    assert found["arms"] != ledger.figures(seed=2)["arms"]
    deviations = {arm: amounts.std() / 20.0 for arm, amounts in spent.items()}
    for arm, amounts in spent.items():
        row, mean, half = found["arms"][arm], amounts.mean(), 1.96 * deviations[arm]
        assert row["per_shopper"] == pytest.approx(mean, abs=1e-3)
        assert row["interval"] == pytest.approx([mean - half, mean + half], abs=0.4)
    low, high = found["arms"]["default"]["difference"]["none"]["interval"]
    assert (high - low) / 2 == pytest.approx(1.96 * np.hypot(*deviations.values()), rel=0.1)


def test_no_records_are_no_arms() -> None:
    ledger = ArmLedger()
    ledger.add_purchase(order("ann", 200.0, mug(5.0)))
    assert ledger.figures(seed=1)["arms"] == {}
