"""What one shopper has bought is bounded; what was appended first leaves first."""

from __future__ import annotations

from models.sessions.baskets import MAX_LINES, MAX_PURCHASES, Baskets

MEMORY_S = 1e6


def test_of_too_many_purchases_the_last_ones_appended_are_kept() -> None:
    baskets = Baskets()
    for number in range(MAX_PURCHASES + 5):
        baskets.add(1e5 - number, str(number), (number,), float(number), MEMORY_S)
    assert (len(baskets), baskets.lines) == (MAX_PURCHASES, MAX_PURCHASES)
    assert sorted(baskets.since(0.0)) == list(range(5, MAX_PURCHASES + 5))


def test_of_too_many_lines_whole_purchases_are_kept_and_always_the_last() -> None:
    baskets, half = Baskets(), MAX_LINES // 2
    for number in range(3):
        baskets.add(float(number), str(number), tuple(range(number * half, (number + 1) * half)), 9.0, MEMORY_S)
    assert (len(baskets), baskets.lines, min(baskets.since(-1.0))) == (2, MAX_LINES, half)
    baskets.add(3.0, "one more", (0,), 10.0, MEMORY_S)
    assert (len(baskets), baskets.since(2.5)) == (2, [0])


def test_lines_are_counted_as_purchases_come_and_go() -> None:
    baskets = Baskets()
    for number, lines in enumerate([(1, 2), (3, 4, 5), (6,), (7, 8)]):
        baskets.add(float(number), str(number), lines, float(number), MEMORY_S)
    baskets.repeat(9.0, "1", (3, 4, 5), 4.0, MEMORY_S)
    assert baskets.lines == 8
    baskets.expire(1.0)
    assert baskets.lines == 6
    baskets.forget(2.0)
    assert (baskets.lines, baskets.since(-1.0)) == (2, [7, 8])
    baskets.add(1e7, "far later", (9,), 5.0, MEMORY_S)
    assert (baskets.lines, len(baskets)) == (1, 1)
