"""The policy: what the shop wants suggested, how many, and what never. Read from a file by `streams.policy_file`."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, fields
from functools import cached_property

ARMS = ("default", "none", "popular", "fixed")
"""Arms of an experiment: our lists; none, to measure what lists bring in; the most popular items within the same rules;
and ours ordered by the sum of the evidence, without what was learnt from outcomes."""

DEFAULT, NONE, POPULAR, FIXED = range(len(ARMS))

_SALT = b"crosscurrent-arm"


@dataclass(frozen=True)
class Policy:
    """What may be suggested. Immutable and hashable.

    >>> Policy(max_items=3).max_per_category, Policy(bought_days=30.0).hash == Policy().hash
    (2, True)
    """

    triggers: tuple[str, ...] = ("view", "click", "add_to_cart", "purchase")
    """Actions that are answered."""
    emit_empty: bool = False
    """Answer also where there is nothing to suggest."""
    max_items: int = 6
    max_cross_sell: int = 4
    max_upsell: int = 2
    min_step: float = 0.05
    """An upsell costs more than its anchor by at least this share; smaller steps go unnoticed."""
    max_step: float = 1.0
    """... and by at most this share: beyond twice the price it is another kind of thing."""
    category_depth: int = 0
    """Compare the first n parts of category paths; 0: whole paths."""
    bought_days: float = 30
    """Items bought within this many days are not suggested."""
    repurchase: str = "bar"
    """Items bought within these days: "bar" suggests none of them, "learn" suggests those again that are due by the
    shopper's rhythm (`models.sessions.repurchase`)."""
    allow_pairs: tuple[tuple[str, str], ...] = ()
    """(anchor's category, cross-sell's category), path prefixes: if there are any, only these are cross-sold."""
    deny_pairs: tuple[tuple[str, str], ...] = ()
    """... never these."""
    exclude_items: tuple[str, ...] = ()
    exclude_categories: tuple[str, ...] = ()
    """Path prefixes."""
    exclude_brands: tuple[str, ...] = ()
    max_per_brand: int = 0
    """Items of one brand per record; 0: no cap."""
    max_per_category: int = 2
    """Items of one category (to `category_depth`) per record; 0: no cap."""
    min_support: int = 1
    """Undecayed number of events that a neighbour needs to count as evidence."""
    explore: float = 0.0
    """Probability that the last place is drawn at random."""
    credit: float = 1.0
    """Share of a taking that has to be earned while the order of lists is learnt: 1 counts the part that the item's
    popularity does not explain, and completes the basket; 0 counts all of it, and sells what sells."""
    step_power: float = 0.25
    """An upsell is ranked by its acceptance times this power of its step in price: 1 by the revenue that it adds, 0 by
    acceptance alone."""
    max_suggestion_age_s: float = 60
    """Events older than this, by append time, are learnt from and get no suggestion; 0: no bound."""
    misplaced: str = "warn"
    """Events in a partition other than their key's: "warn" uses them where they are, "dead-letter" refuses them."""

    arms: tuple[tuple[str, float], ...] = ()
    """(one of `ARMS`, share of the shoppers): the shares sum to at most 1, what is left gets the default."""

    def arm_of(self, user_id: str) -> int:
        """Index into `ARMS` of a shopper's arm: the same in every process, drawn by a hash of the id.

        >>> Policy().arm_of("ann"), Policy(arms=(("none", 1.0),)).arm_of("ann")
        (0, 1)
        """
        if not self.arms:
            return DEFAULT
        digest = hashlib.blake2b(user_id.encode(), digest_size=8, salt=_SALT).digest()
        drawn = (int.from_bytes(digest, "big") >> 11) * 2.0**-53
        return next((arm for arm, end in self._ends if drawn < end), DEFAULT)

    @cached_property
    def _ends(self) -> list[tuple[int, float]]:
        """Where the share of each arm but the default ends, in the order of `ARMS`."""
        shares = [dict(self.arms).get(arm, 0.0) for arm in ARMS[1:]]
        return [(arm, math.fsum(shares[:arm])) for arm in range(1, len(ARMS))]

    @cached_property
    def hash(self) -> str:
        """12 hexadecimal digits that identify the content, whatever the order of its lists and keys."""
        content: dict[str, object] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple):
                value = sorted(value)
            elif field.type == "float":  # 30 and 30.0 are the same policy
                value = float(value)
            content[field.name] = value
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
