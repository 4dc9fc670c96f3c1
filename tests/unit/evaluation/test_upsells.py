"""Protocol C by hand-checked cases: what is allowed, what counts as taken, and what each method ranks."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from models.evaluation.upgrades import Upgrades
from models.evaluation.upsells.protocol import METHODS, Evaluation, Span, UpsellsConfig, evaluate
from models.shop.catalog import Catalog
from models.shop.events import Action, CatalogItem, Click, Line, Profile, Purchase
from models.shop.items import Items
from models.shop.policy import Policy
from tests.support.evaluate_command import run as run_command

POLICY = Policy(max_items=10, max_cross_sell=0, max_upsell=10, max_per_category=0)
PANS = [("pan", 10.0), ("pan-plus", 12.0), ("pan-pro", 18.0), ("pan-royal", 40.0)]
USERS = ["ann", "eve", "zoe"]
CONFIG = UpsellsConfig(window_s=1_000.0)


def shop() -> tuple[Items, Catalog]:
    items = Items()
    catalog = Catalog(items)
    for name, price in PANS:
        catalog.put(CatalogItem(name, name, "Pans", price))
    catalog.put(CatalogItem("mug", "Mug", "Mugs", 11.0))
    return items, catalog


def look(at: float, item: str = "pan", user: str = "ann", action: Action = Action.VIEW) -> Click:
    return Click(user, item, action, at)


def buy(at: float, *items: str, user: str = "ann") -> Purchase:
    return Purchase(user, f"{user}-{at}", at, tuple(map(Line, items)))


def run(*events: Click | Purchase | Profile, cut: float = 0.0, last: float = 10_000.0, methods: tuple[str, ...] = METHODS, policy: Policy = POLICY) -> Evaluation:  # fmt: skip  # noqa: E501
    items, catalog = shop()
    return evaluate(items, catalog, events, Span(0.0, last, cut), policy, methods, lambda done: None, 1, CONFIG)


def test_allowed_are_those_of_the_category_within_the_steps_rated_no_lower() -> None:
    items, catalog = shop()
    catalog.put(CatalogItem("pan-euro", "pan", "Pans", 12.0, currency="EUR"))
    catalog.put(CatalogItem("pan-bad", "pan", "Pans", 12.0, rating=2.0))
    catalog.put(CatalogItem("pan-gone", "pan", "Pans", 12.0, in_stock=False))
    catalog.put(CatalogItem("pan", "pan", "Pans", 10.0, rating=4.0))
    upgrades = Upgrades(catalog, len(items), POLICY)
    assert [items.name(index) for index in upgrades.of(items.find("pan")).tolist()] == ["pan-plus", "pan-pro"]
    assert upgrades.of(items.find("pan-royal")).tolist() == upgrades.of(items.find("mug")).tolist() == []
    assert upgrades.step(items.find("pan-pro"), items.find("pan")) == pytest.approx(0.8)


def test_an_upsell_is_taken_by_cart_or_purchase_later_and_within_the_window() -> None:
    assert run(look(100.0), buy(200.0, "mug", "pan-pro")).taken.shoppers == ["ann"]
    assert run(look(100.0), look(200.0, "pan-pro", action=Action.ADD_TO_CART)).taken.shoppers == ["ann"]
    for other in (
        look(200.0, "pan-pro"),  # looked at only; it asks about nothing, since royal is too expensive
        buy(1_200.0, "pan-pro"),  # too late
        buy(200.0, "pan-royal"),  # not allowed
        buy(200.0, "pan-pro", user="bob"),
        buy(100.0, "pan-pro"),  # not later
    ):
        found = run(look(100.0), other)
        assert (found.asked, found.taken.shoppers) == (1, [])


def test_open_windows_do_not_count_nor_do_looks_before_the_cut_nor_a_second_look() -> None:
    found = run(look(100.0), look(300.0), buy(400.0, "pan-plus"), last=1_000.0)
    assert (found.asked, found.open) == (0, 1)
    found = run(look(100.0), buy(200.0, "pan-plus"), cut=150.0)
    assert (found.asked, found.open) == (0, 0)
    found = run(look(100.0), look(1_099.0), look(1_100.0))
    assert found.asked == 2


def test_what_is_in_the_cart_or_was_bought_recently_is_not_allowed() -> None:
    found = run(look(50.0, "pan-plus", action=Action.ADD_TO_CART), look(100.0), buy(200.0, "pan-plus"))
    assert found.asked == 2  # of the plus, the pro; of the pan, too
    assert found.taken.shoppers == []
    found = run(buy(50.0, "pan-plus", "pan-pro"), look(100.0))
    assert found.asked == 0


def test_what_consent_excludes_and_what_is_repeated_is_passed_over() -> None:
    refused = run(Profile("ann", 50.0, consent=False), look(100.0), look(150.0, user="bob"), buy(200.0, "pan-pro"))
    assert (refused.asked, refused.taken.shoppers) == (1, [])
    forgotten = run(look(100.0), Profile("ann", 150.0, forget=True), buy(150.0, "pan-pro"), buy(200.0, "pan-plus"))
    assert forgotten.taken.gains["nearest-price"] == [(1.0, 1.0, 1.0)]  # the plus only
    order = buy(50.0, "pan-pro")
    again = replace(order, at=200.0)
    policy = replace(POLICY, bought_days=0)
    assert run(order, look(100.0), again, policy=policy).taken.shoppers == []
    other, taken = buy(60.0, "pan-plus", user="bob"), buy(200.0, "pan-plus", user="zoe")
    once = run(order, order, other, look(100.0, user="zoe"), taken, methods=("popularity",))
    assert once.taken.gains["popularity"] == [(1.0, 1.0, 1.0)]  # both were bought once: ties go by id


def test_what_is_due_is_allowed_again_where_the_policy_learns_rhythms() -> None:
    day = 86_400.0
    past = [buy(day, "pan-plus"), buy(8 * day, "pan-plus")]
    barred, learnt = (
        run(
            *past,
            look(15 * day),
            buy(15 * day + 500.0, "pan-plus"),
            cut=14 * day,
            last=16 * day,
            policy=replace(POLICY, repurchase=repurchase),
        )
        for repurchase in ("bar", "learn")
    )
    assert (barred.asked, barred.taken.shoppers) == (1, [])
    assert (learnt.asked, learnt.taken.shoppers) == (1, ["ann"])
    assert {name: gains[0][0] for name, gains in learnt.taken.gains.items()} == dict.fromkeys(METHODS, 1.0)


def test_methods_rank_by_price_by_popularity_by_pairs_and_by_what_the_shopper_has_bought() -> None:
    past = [buy(10.0 * n, "pan-pro", user="bob") for n in range(1, 4)]
    past += [buy(50.0 + n, "pan", "pan-plus", user=f"cem-{n}") for n in range(2)]
    methods = ("nearest-price", "popularity", "last-item", "household")
    found = run(*past, look(500.0), buy(600.0, "pan-pro"), methods=methods)
    assert found.taken.shoppers == ["ann"]
    reciprocal = {name: gains[0][2] for name, gains in found.taken.gains.items()}
    assert reciprocal == {"nearest-price": 0.5, "popularity": 1.0, "last-item": 0.5, "household": 1.0}
    assert found.steps_shown["popularity"] == pytest.approx([0.8, 0.2])
    assert found.steps_taken["popularity"] == pytest.approx([0.8])


def test_personal_terms_know_what_the_shopper_buys_together_with_the_anchor() -> None:
    """Ann has the plus as often as the pro, and the pro beside the pan; all buy the plus."""
    past = [buy(n, "pan-plus", user="bob") for n in (1.0, 2.0, 3.0)]
    past += [buy(10.0, "pan-plus"), buy(20.0, "pan-pro", "pan"), buy(30.0, "pan-plus"), buy(40.0, "pan-pro", "pan")]
    methods = ("popularity", "household", "personal-terms")
    policy = replace(POLICY, bought_days=0)
    found = run(*past, look(100.0), buy(200.0, "pan-pro"), cut=50.0, methods=methods, policy=policy)
    places = {name: gains[0][2] for name, gains in found.taken.gains.items()}
    assert places == {"popularity": 0.5, "household": 0.5, "personal-terms": 1.0}


def test_tifu_knn_knows_what_similar_shoppers_buy() -> None:
    """Of bob's three baskets the plus has 0.73 of a vector; dan and eve have nothing but the pro."""
    past = [buy(1.0, "mug"), *(buy(2.0 + n, "pan-plus", user="bob") for n in range(3))]
    past += [buy(10.0, "pan-pro", user="dan"), buy(11.0, "pan-pro", user="eve")]
    methods = ("popularity", "household", "personal-terms", "tifu-knn")
    found = run(*past, look(100.0), buy(200.0, "pan-pro"), cut=50.0, methods=methods)
    places = {name: gains[0][2] for name, gains in found.taken.gains.items()}
    assert places == {"popularity": 0.5, "household": 0.5, "personal-terms": 0.5, "tifu-knn": 1.0}


def test_tifu_knn_finds_again_who_is_nearest_after_ten_publications_and_never_looks_ahead() -> None:
    """Bob has the plus; then two buy the pro, before the vectors of all are brought up to date and after it."""
    past = [buy(1.0, "pan-plus", user="bob"), *(buy(at, "mug", user=user) for at, user in enumerate(USERS, 2))]
    pros = [buy(30.0, "pan-pro", user="dan"), buy(31.0, "pan-pro", user="cem")]
    pause = [look(40.0 + 20.0 * n, "mug", user="mia") for n in range(11)]
    asked = look(10.0, user="ann"), look(35.0, user="eve"), look(300.0, user="zoe")
    taken = [buy(at, "pan-pro", user=user) for at, user in enumerate(USERS, 400)]
    found = run(*past, asked[0], *pros, asked[1], *pause, asked[2], *taken, methods=("tifu-knn",))
    assert found.taken.shoppers == USERS
    assert [gains[2] for gains in found.taken.gains["tifu-knn"]] == [0.5, 0.5, 1.0]


def test_ours_is_the_workers_recommender_with_upsells_of_the_anchor_only() -> None:
    past = [click for n in range(9) for click in (look(10.0 * n, user=f"u{n}"), look(10.0 * n + 1, "pan-pro", f"u{n}"))]
    found = run(*past, look(500.0), buy(600.0, "pan-pro"), cut=400.0, methods=("crosscurrent",))
    assert found.taken.gains["crosscurrent"] == [(1.0, 1.0, 1.0)]
    figures = found.as_json(1)["crosscurrent"]
    assert (figures["hr@2"], figures["mrr@10"], figures["acceptance@2"], figures["n"]) == (100.0, 100.0, 100.0, 1)
    assert (figures["step_taken"], figures["lift_per_anchor"]) == (80.0, 80.0)
    assert figures["revenue_per_1000_lists"] == 18_000.0


def test_what_is_new_what_is_credited_lift_and_revenue_are_as_of_the_anchor() -> None:
    """Ann has the plus in one of her two baskets; of all three baskets one has the plus, one the pro."""
    past = [buy(10.0, "pan-plus"), buy(20.0, "mug"), buy(30.0, "pan-pro", user="bob")]
    policy = replace(POLICY, bought_days=0)
    found = run(*past, look(100.0), look(150.0, user="zoe"), buy(200.0, "pan-plus"), buy(210.0, "pan-pro"), cut=50.0, policy=policy)  # fmt: skip  # noqa: E501
    figures = found.as_json(1)["household"]
    assert (found.asked, figures["n"], figures["acceptance@2"]) == (2, 1, 50.0)
    plus, pro = 1 - (1 + 5 / 3) / (2 + 5), 1 - (0 + 5 / 3) / (2 + 5)
    new, credited = figures["new to household"], figures["credited"]
    assert (new["hr@2"], new["mrr@10"], new["n"]) == (100.0, 50.0, 1)  # the pro, behind the plus
    assert (credited["hr@2"], credited["acceptance@2"]) == pytest.approx((100 * pro, 50 * pro), abs=1e-2)
    assert credited["mrr@10"] == pytest.approx(100 * max(plus, pro / 2), abs=1e-2)
    assert figures["lift_per_anchor"] == pytest.approx(0.5 * (20.0 + 80.0) / 2)  # acceptance times mean step taken
    assert figures["revenue_per_1000_lists"] == 15_000.0  # 12 and 18 of two lists


def test_the_command_writes_what_scripts_read(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    csv, out = f"{tmp_path}/log.csv", f"{tmp_path}/figures.json"
    lines = ["event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session"]
    for minute in range(50):
        when = f"2019-10-01 00:{minute:02}"
        lines.append(f"{when}:00 UTC,view,1,9,kitchen.pan,,10.0,{minute % 7},s{minute}")
        lines.append(f"{when}:20 UTC,view,2,9,kitchen.pan,,15.0,{minute % 7},s{minute}")
        lines.append(f"{when}:40 UTC,purchase,2,9,kitchen.pan,,15.0,{minute % 7},s{minute}")
    with open(csv, "w") as file:
        file.write("\n".join(lines) + "\n")
    assert run_command("upsells", "rees46", csv, "--window", "2m", "--split", "0", "--json", out) == 0
    with open(out, "rb") as file:
        figures = orjson.loads(file.read())
    assert figures["protocol"] == "upsells"
    assert list(figures["methods"]) == list(METHODS)
    assert figures["asked"] == figures["taken"] > 0
    for found in figures["methods"].values():
        assert found["hr@2"] == found["acceptance@2"] == 100.0
    said = capsys.readouterr().out
    assert len(re.findall(r"crosscurrent +│ +100\.00 │ 100\.0-100\.0 │", said)) == 2  # nothing is cut or wrapped


def offer(item: str, price: float) -> dict[str, Any]:
    return {"v": 1, "item_id": item, "title": item, "category": "Pans", "price": price}


def order(user: str, item: str, at: float) -> dict[str, Any]:
    when = int(1e12 + 1e3 * at)
    return {"v": 1, "user_id": user, "order_id": f"{user}-{at}", "at": when, "items": [{"item_id": item}]}


def write(folder: Path, **files: list[Any]) -> Path:
    for topic, lines in files.items():
        (folder / f"{topic}.jsonl").write_bytes(b"\n".join(map(orjson.dumps, lines)))
    return folder


def test_the_command_takes_a_folder_of_orders_only_in_which_carts_are_the_anchors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    orders = [order("ann", "pan", 0), order("bob", "pan", 10), order("ann", "pan-plus", 60), order("cem", "mug", 500)]
    refused = {"v": 1, "user_id": "bob", "at": int(1e12), "consent": False}
    catalog = [offer("pan", 10.0), offer("pan-plus", 12.0)]
    folder = write(tmp_path, catalog=catalog, purchases=[*orders, {"v": 1}], profiles=[refused])
    out = tmp_path / "out.json"
    given = ("--window", "2m", "--split", "0", "--methods", "popularity,tifu-knn", "--json", str(out))
    assert run_command("upsells", "jsonl", str(folder), *given) == 0
    figures = orjson.loads(out.read_bytes())
    assert (figures["source"], figures["dead_letters"]) == (f"jsonl {folder.name}", 1)
    assert (figures["asked"], figures["taken"], figures["open"]) == (1, 1, 0)
    assert {name: found["hr@2"] for name, found in figures["methods"].items()} == {"popularity": 100, "tifu-knn": 100}
    said = capsys.readouterr().err
    assert "purchases.jsonl:5: " in said
    assert "there is no clicks.jsonl: each item of an order also counts as added to the cart" in said


def test_a_folder_whose_lines_are_all_bad_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path, catalog=[offer("pan", 10.0)], clicks=[{"v": 1}])
    assert run_command("upsells", "jsonl", str(folder)) == 0
    assert "no window has closed before the log ends" in capsys.readouterr().err


def test_the_command_takes_the_simulated_shop_by_its_seed(tmp_path: Path) -> None:
    found = []
    for seed in ("1", "1", "2"):
        out = tmp_path / "out.json"
        given = ("--limit", "600", "--window", "30m", "--split", "0", "--methods", "popularity", "--seed", seed)
        assert run_command("upsells", "simulated", *given, "--json", str(out)) == 0
        figures = orjson.loads(out.read_bytes())
        assert figures["source"] == "simulated"
        found.append((figures["asked"], figures["taken"], figures["methods"]))
    assert found[0] == found[1] != found[2]
    assert found[0][0] > 0
