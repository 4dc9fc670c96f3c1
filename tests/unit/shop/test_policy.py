"""The policy file: what each key may be, and where an error says the trouble is."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from models.errors import PolicyError
from models.shop.policy import Policy

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
allow_pairs = [["Kitchen", "Food"], ["Kitchen/Kettles", "Kitchen/Mugs"]]
deny_pairs = [["Toys", "Wine"]]
exclude_items = ["gift-card"]
exclude_categories = ["Tobacco"]
exclude_brands = ["Acme"]
max_per_brand = 2
max_per_category = 3
min_support = 2
explore = 0.05
max_suggestion_age_s = 30
"""


def test_nothing_said_is_the_default() -> None:
    assert Policy.from_toml("# nothing yet\n", "policy.toml") == Policy()


def test_every_key_can_be_given() -> None:
    policy = Policy.from_toml(ALL_KEYS, "policy.toml")
    assert all(getattr(policy, field.name) != getattr(Policy(), field.name) for field in fields(Policy))
    assert policy.allow_pairs == (("Kitchen", "Food"), ("Kitchen/Kettles", "Kitchen/Mugs"))
    assert policy.triggers == ("view", "purchase")


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
        ("explore = nan", "shop.toml:1: explore ", "from 0 to 1"),
        ("bought_days = inf", "shop.toml:1: bought_days ", "from 0 on"),
        ("explore = '0.1'", "shop.toml:1: explore ", "got '0.1'"),
        ('triggers = ["view", "buy"]', "shop.toml:1: triggers ", "add_to_cart"),
        ("exclude_items = [\n  'a',\n  'max_step = 9',\n]\nmax_step = 'b'", "shop.toml:5: max_step ", "number"),
        ("max_upsell = 1\nexclude_brands = [\n  'a',\n  3,\n]", "shop.toml:2: exclude_brands ", "non-empty strings"),
        ('deny_pairs = [["Toys"]]', "shop.toml:1: deny_pairs ", "[anchor's category, cross-sell's category]"),
        ('allow_pairs = [["Toys", ""]]', "shop.toml:1: allow_pairs ", "[anchor's category, cross-sell's category]"),
        ("[policy]\nmax_items = 3", "shop.toml:1: policy ", "not a key"),
        ("\nexclude_items = [\n'a'\n]\nmax_items = \nmax_step = 1", "shop.toml:5: max_items", "Invalid value"),
        ("max_items = 1\nmax_items = 2", "shop.toml:2: max_items", "overwrite"),
        ("min_step = 0.2\n\nmax_step = 0.1", "shop.toml:3: max_step ", "at least min_step (0.2)"),
        ("min_step = 2", "shop.toml:1: max_step ", "at least min_step (2), got 1"),
    ],
)
def test_an_error_names_file_line_and_key(text: str, where: str, what: str) -> None:
    with pytest.raises(PolicyError) as caught:
        Policy.from_toml(text, "shop.toml")
    assert str(caught.value).startswith(where)
    assert what in str(caught.value)


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b'exclude_brands = ["Caf\xe9"]')
    for name in ("none.toml", "latin.toml"):
        with pytest.raises(PolicyError, match=name):
            Policy.from_file(tmp_path / name)


def test_a_policy_made_in_memory_is_checked_too() -> None:
    with pytest.raises(PolicyError, match="max_upsell must be a whole number from 0 on, got -1"):
        Policy(max_upsell=-1)


def test_the_hash_names_what_is_said_and_not_how() -> None:
    said = Policy.from_toml('explore = 0\nexclude_items = ["b", "a"]', "one.toml")
    again = Policy.from_toml('exclude_items = ["a", "b"]', "two.toml")
    assert said.hash == again.hash != Policy().hash
    assert len(said.hash) == 12
    assert {Policy(), Policy(bought_days=30)} == {Policy()}
