"""Arms of an experiment: stable shares of the shoppers."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from models.shop.policy import ARMS, Policy

SHOPPERS = [f"shopper-{number}" for number in range(20_000)]


@pytest.mark.parametrize(
    ("arms", "shares"),
    [
        ((), {"default": 1.0}),
        ((("popular", 0.3), ("none", 0.1)), {"none": 0.1, "popular": 0.3, "default": 0.6}),
        ((("fixed", 0.2), ("none", 0.5), ("popular", 0.3)), {"none": 0.5, "popular": 0.3, "fixed": 0.2}),
        ((("default", 0.5),), {"default": 1.0}),
        ((("none", 1.0),), {"none": 1.0}),
    ],
)
def test_each_arm_gets_its_share_of_the_shoppers(arms: tuple[tuple[str, float], ...], shares: dict[str, float]) -> None:
    policy = Policy(arms=arms)
    found = Counter(ARMS[policy.arm_of(shopper)] for shopper in SHOPPERS)
    assert set(found) == set(shares)
    for arm, share in shares.items():
        assert abs(found[arm] / len(SHOPPERS) - share) < 0.015, arm  # four standard deviations of a half


def test_the_order_of_the_table_and_of_the_shoppers_does_not_matter() -> None:
    one, other = (Policy(arms=arms) for arms in [(("none", 0.2), ("popular", 0.3)), (("popular", 0.3), ("none", 0.2))])
    assert one.hash == other.hash != Policy().hash
    assert [one.arm_of(shopper) for shopper in SHOPPERS] == [other.arm_of(shopper) for shopper in SHOPPERS[::-1]][::-1]


def test_a_shopper_has_the_same_arm_in_every_process() -> None:
    policy = Policy(arms=(("none", 0.3), ("popular", 0.3)))
    program = (
        "from models.shop.policy import Policy; policy = Policy(arms=(('none', 0.3), ('popular', 0.3)));"
        "print(*(policy.arm_of(f'shopper-{number}') for number in range(50)))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    assert run.stdout.split() == [str(policy.arm_of(shopper)) for shopper in SHOPPERS[:50]]
    assert run.stdout.startswith("1 2 0 1 1 2 0 1 0 0 0 1 ")
