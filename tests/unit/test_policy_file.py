"""The policy file: what each key may be, and where an error says the trouble is."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path

import pytest

from models.errors import PolicyError
from models.shop.policy import Policy
from streams.policy_file import parse_policy, read_policy
from tests.support.corner_shop import CornerShop

ALL_KEYS = """
triggers = ["view", "purchase"]
emit_empty = true
max_items = 8
max_cross_sell = 5
max_upsell = 3
min_step = 0.1
max_step = 2
category_depth = 2
bought_days = 90
repurchase = "learn"
allow_pairs = [["Kitchen", "Food"], ["Kitchen/Kettles", "Kitchen/Mugs"]]
deny_pairs = [["Toys", "Wine"]]
exclude_items = ["gift-card"]
exclude_categories = ["Tobacco"]
exclude_brands = ["Acme"]
max_per_brand = 2
max_per_category = 3
min_support = 2
explore = 0.05
credit = 0.25
step_power = 1.5
max_suggestion_age_s = 30
misplaced = "dead-letter"

[arms]
none = 0.1
popular = 0.25
"""


def test_nothing_said_is_the_default() -> None:
    assert parse_policy("# nothing yet\n", "policy.toml") == Policy()


def test_every_key_can_be_given() -> None:
    policy = parse_policy(ALL_KEYS, "policy.toml")
    assert all(getattr(policy, field.name) != getattr(Policy(), field.name) for field in fields(Policy))
    assert policy.allow_pairs == (("Kitchen", "Food"), ("Kitchen/Kettles", "Kitchen/Mugs"))
    assert policy.triggers == ("view", "purchase")
    assert policy.arms == (("none", 0.1), ("popular", 0.25))


def test_the_largest_numbers_that_are_accepted_can_be_served_by() -> None:
    whole = ("max_cross_sell", "max_upsell", "category_depth", "max_per_brand", "max_per_category", "min_support")
    numbers = ("min_step", "max_step", "max_suggestion_age_s")
    text = "".join(f"{key} = 9223372036854775807\n" for key in whole) + "".join(f"{key} = 1e308\n" for key in numbers)
    shop = CornerShop(parse_policy(text, "policy.toml"))
    shop.offer("kettle", "Kitchen/Kettles", 100.0)
    shop.offer("better", "Kitchen/Kettles", 150.0)
    shop.offer("mug", "Kitchen/Mugs", 8.0)
    assert shop.kinds("kettle") == {"mug": "cross-sell"}


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("max_item = 3", "shop.toml:1: max_item ", "not a key"),
        ("\n# max_items = 3\nmax_items = true", "shop.toml:3: max_items ", "whole number from 0 to 100, got True"),
        ("max_items = 101", "shop.toml:1: max_items ", "0 to 100"),
        ("max_items = 2.0", "shop.toml:1: max_items ", "whole number"),
        ("emit_empty = 1", "shop.toml:1: emit_empty ", "true or false"),
        ("min_step = -0.1", "shop.toml:1: min_step ", "from 0 on"),
        ("explore = 1.5", "shop.toml:1: explore ", "from 0 to 1"),
        ("misplaced = 'drop'", "shop.toml:1: misplaced ", '"warn" or "dead-letter", got \'drop\''),
        ("misplaced = true", "shop.toml:1: misplaced ", '"warn" or "dead-letter", got True'),
        ("\nrepurchase = 'never'", "shop.toml:2: repurchase ", '"bar" or "learn", got \'never\''),
        ("repurchase = true", "shop.toml:1: repurchase ", '"bar" or "learn", got True'),
        ("explore = nan", "shop.toml:1: explore ", "from 0 to 1"),
        ("bought_days = inf", "shop.toml:1: bought_days ", "from 0 on"),
        ("explore = '0.1'", "shop.toml:1: explore ", "got '0.1'"),
        ('triggers = ["view", "buy"]', "shop.toml:1: triggers ", "add_to_cart"),
        ("exclude_items = [\n  'a',\n  'max_step = 9',\n]\nmax_step = 'b'", "shop.toml:5: max_step ", "number"),
        ("max_upsell = 1\nexclude_brands = [\n  'a',\n  3,\n]", "shop.toml:2: exclude_brands ", "non-empty strings"),
        ('deny_pairs = [["Toys"]]', "shop.toml:1: deny_pairs ", "[anchor's category, cross-sell's category]"),
        ('allow_pairs = [["Toys", ""]]', "shop.toml:1: allow_pairs ", "[anchor's category, cross-sell's category]"),
        ("[arms]\nnone = 0.1\npopular = 1.5", "shop.toml:3: arms.popular ", "a number from 0 to 1, got 1.5"),
        ("[arms]\nnone = true", "shop.toml:2: arms.none ", "a number from 0 to 1, got True"),
        ("[arms]\nnone = nan", "shop.toml:2: arms.none ", "a number from 0 to 1, got nan"),
        ("[arms]\nnone = {}", "shop.toml:2: arms.none ", "a number from 0 to 1, got {}"),
        (
            "[arms]\nnone = 0.1\n\nours = 0.5",
            "shop.toml:4: arms.ours ",
            "no arm; these are: default, none, popular, fi",
        ),
        ("arms.none = 0.1\narms.'a\tb' = 0.5", "shop.toml:2: 'arms.a\\tb' ", "no arm"),
        ("max_items = 1\narms = {none = 0.1, stacked = 1}", "shop.toml:2: arms.stacked ", "no arm"),
        ("[arms]\nnone = 0.7\npopular = 0.4", "shop.toml:1: arms ", "shares that sum to at most 1, got 1.1"),
        ("arms = 0.5", "shop.toml:1: arms ", "a table of arms and their shares of the shoppers, got 0.5"),
        ("arms = [['none', 0.1]]", "shop.toml:1: arms ", "a table of arms"),
        ("[arms]\nnone = 2\n[policy]\nnone = 1", "shop.toml:2: arms.none ", "from 0 to 1, got 2"),
        ("[policy]\nmax_items = 3", "shop.toml:1: policy ", "not a key"),
        ("\nexclude_items = [\n'a'\n]\nmax_items = \nmax_step = 1", "shop.toml:5: max_items", "Invalid value"),
        ("max_items = 1\nmax_items = 2", "shop.toml:2: max_items", "overwrite"),
        ("min_step = 0.2\n\nmax_step = 0.1", "shop.toml:3: max_step ", "at least min_step (0.2)"),
        ("min_step = 2", "shop.toml:1: max_step ", "at least min_step (2), got 1"),
        ("max_upsell = -1", "shop.toml:1: max_upsell ", "must be a whole number from 0 on, got -1"),
        ('exclude_items = ["]", """\n[\n""", \'#\']  # [\nexplore = 7', "shop.toml:4: explore ", "from 0 to 1, got 7"),
        ("explore = 7\nmax_items = 'x'\nemit = 1", "shop.toml:1: explore ", "from 0 to 1, got 7"),
        ("max_items = 1\nexclude_items = [\n'a',\nmax_step = 1", "shop.toml:2: exclude_items: ", "Invalid value"),
        ("max_items = 1\nexclude_items = [\n'a',\n", "shop.toml:2: exclude_items: ", "(at end of document)"),
        ("max_cross_sell = 9223372036854775808", "shop.toml:1: max_cross_sell: ", "at most 64 bits"),
        ("\nmax_upsell = -9223372036854775809", "shop.toml:2: max_upsell: ", "at most 64 bits"),
        ("max_items = 1\nmin_step = 1" + "0" * 5000, "shop.toml:2: min_step: ", "at most 64 bits"),
        ("max_items = 0x" + "f" * 100_000, "shop.toml:1: max_items: ", "at most 64 bits"),
        ("exclude_items = [\n'a',\n[" + "9" * 30 + "]]", "shop.toml:1: exclude_items: ", "at most 64 bits"),
        ("explore = 1" + "0" * 400 + ".0", "shop.toml:1: explore ", "from 0 to 1, got inf"),
        ("\nexclude_items = " + "[" * 100_000, "shop.toml:2: exclude_items: ", "nested more than 32 levels deep"),
        ("max_items = 1\na = " + "{a = " * 500 + "1" + "}" * 500, "shop.toml:2: a: ", "nested more than 32 levels"),
        ("[" + ".".join("a" * 50_000) + "]", "shop.toml:1: ", "nested more than 32 levels deep"),
        (".".join(["'a'"] * 50_000) + " = 1", "shop.toml:1: 'a'.'a'.", ".: nested more than 32 levels deep"),
        ("max_items = 1\nx = " + '"\\' * 50_000, "shop.toml:2: x: ", "in a string"),
        ('"a\\nb\\u001b[2J" = 1', "shop.toml:1: 'a\\nb\\x1b[2J' ", "not a key"),
        ("k" * 100_000 + " = 1", "shop.toml:1: " + "k" * 60 + " ", "not a key"),
        ("exclude_items = [" + "1," * 100_000 + "]", "shop.toml:1: exclude_items ", "got [1, 1, 1"),
        ("deny_pairs = [" + "['a', 'b']," * 10_001 + "]", "shop.toml:1: deny_pairs ", "a list of at most 10,000 ["),
        ('max_items = 1\nexclude_brands = ["""\na\n', "shop.toml:2: exclude_brands: ", "(at end of document)"),
    ],
)
def test_an_error_names_file_line_and_key(text: str, where: str, what: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy(text, "shop.toml")
    message = str(caught.value)
    assert message.startswith(where)
    assert what in message
    assert len(message) < 450
    assert message.isprintable()


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b'exclude_brands = ["Caf\xe9"]')
    for name in ("none.toml", "latin.toml"):
        with pytest.raises(PolicyError, match=name):
            read_policy(tmp_path / name, memory_s=1e9)


def test_a_file_that_never_ends_or_never_begins_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    for path in (tmp_path / "pipe.toml", Path("/dev/zero"), tmp_path):
        with pytest.raises(PolicyError, match=f"{path}: cannot be read as UTF-8 text: it is no regular file"):
            read_policy(path, memory_s=1e9)
    with (tmp_path / "long.toml").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(
        PolicyError, match="long.toml: cannot be read as UTF-8 text: it is longer than 67,108,864 bytes"
    ):
        read_policy(tmp_path / "long.toml", memory_s=1e9)


def test_purchases_must_be_remembered_for_as_long_as_they_bar(tmp_path: Path) -> None:
    file = tmp_path / "shop.toml"
    file.write_text("bought_days = 36")
    with pytest.raises(PolicyError, match="shop.toml: bought_days is 36, but purchases are remembered for 35 days"):
        read_policy(file, memory_s=35 * 86_400)
    assert read_policy(file, memory_s=36 * 86_400) == Policy(bought_days=36)
    assert read_policy(None, memory_s=1) == Policy()


def test_a_long_list_is_read_and_located_in_linear_time() -> None:
    ids = [f"item-{number}" for number in range(100_000)]
    text = "exclude_items = [\n" + "".join(f"  '{item_id}',\n" for item_id in ids) + "]\n"
    assert parse_policy(text, "shop.toml").exclude_items == tuple(ids)
    with pytest.raises(PolicyError, match="shop.toml:100003: max_items must be a whole number from 0 to 100, got 'x'"):
        parse_policy(f"{text}max_items = 'x'", "shop.toml")
    with pytest.raises(PolicyError, match="shop.toml:100003: max_items: Invalid value"):
        parse_policy(f"{text}max_items = x", "shop.toml")


def test_the_hash_names_what_is_said_and_not_how() -> None:
    policy = parse_policy('explore = 0\nexclude_items = ["b", "a"]', "one.toml")
    again = parse_policy('exclude_items = ["a", "b"]', "two.toml")
    assert policy.hash == again.hash != Policy().hash
    assert len(policy.hash) == 12
    assert {Policy(), Policy(bought_days=30)} == {Policy()}
