"""Reasons in words: a template for each case, of which dictionaries and JSON bytes are made alike.

A sentence says what its number counts, and no more. Looks and additions to the cart are counted together, so it names
both. Where nothing was counted it names what the catalogue says: brand, category, or likeness by them.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

TITLE, CATEGORY, BRAND, COUNT = FIELDS = ("title", "category", "brand", "count")
"""What differs from one reason to the next: the title of the anchor, the last part of the item's category, its brand,
and the number of events behind the reason."""

STRANGER = "another item of this visit"
"""Title of an anchor that the catalogue does not have."""


class Case(NamedTuple):
    """What decides on the words of a sentence, besides its fields."""

    anchored: bool
    """It is about an anchor."""
    events: int
    """Behind the reason: none, one, or 2 for more."""
    of_views: bool
    """These are views, else purchases."""
    branded: bool
    """The item has a brand."""


CASES = tuple(
    Case(anchored, events, of_views, branded)
    for anchored in (False, True)
    for events in (0, 1, 2)
    for of_views in (False, True)
    for branded in (False, True)
)
"""All there are, in the order of `case_number`."""


def case_number(anchored: bool, count: int, of_views: bool, branded: bool) -> int:
    """Place in `CASES`; kernels compile it.

    >>> CASES[case_number(True, 7, False, True)]
    Case(anchored=True, events=2, of_views=False, branded=True)
    """
    return ((anchored * 3 + min(count, 2)) * 2 + of_views) * 2 + branded


class Sentence(NamedTuple):
    """How a reason is put into words.

    Templates have the fields of `FIELDS`, and these, which are words by the case: `{times}` (once, 3 times),
    `{baskets}` (1 basket, 3 baskets), `{known}` (viewed or added to the cart, or bought, so many times), `{traits}`
    (what the model knows of an item that nobody has looked at). A case without a template takes the one for an anchor,
    or for some events; a title is empty there.

    >>> Sentence("history", "Like {title}, {known}", alone="Bought {times}").pieces(Case(False, 2, False, True))
    ('Bought ', 'count', ' times')
    """

    source: str
    """Name of the source, as it is sent."""
    text: str
    """About an anchor, with events behind it."""
    uncounted: str = ""
    """... with none."""
    alone: str = ""
    """About no anchor."""
    uncounted_alone: str = ""
    """... with no events behind it."""

    def pieces(self, case: Case) -> tuple[str, ...]:
        """The sentence of a case: text, name of a field, text, and so on; text first and last."""
        return _pieces(self, case)


@cache
def _pieces(sentence: Sentence, case: Case) -> tuple[str, ...]:
    template = sentence.text if case.events else sentence.uncounted or sentence.text
    if not case.anchored:
        template = (sentence.alone if case.events else sentence.uncounted_alone or sentence.alone) or template
    times = "once" if case.events == 1 else "{count} times"
    words = {
        "times": times,
        "baskets": "1 basket" if case.events == 1 else "{count} baskets",
        "known": f"viewed or added to the cart {times}" if case.of_views else f"bought {times}",
        "traits": "category, brand and price" if case.branded else "category and price",
    }
    filled = template.format(**words, **{field: f"{{{field}}}" for field in FIELDS})
    return tuple(re.split(r"{(\w+)}", filled))
