"""Which events of a shopper may be used: the one rule of consent and forgetting, for worker, trainer and evaluation."""

from __future__ import annotations

from math import inf

from models.shop.events import Profile

SHOPPER_BYTES = 150
"""Of a shopper who has said something."""


class Consent:
    """What the shoppers of one partition have said in their profiles.

    * Events may be used until consent is withdrawn.
    * `forget` excludes all events up to and including an event time. The latest such time counts; no profile lifts it.
    * Consent that is given again forgets what came before it: a successor that reads only the last profile, and one
      that saw the refusal, use the same events.

    >>> consent = Consent()
    >>> consent.apply(Profile("ann", 10.0, consent=False))
    >>> consent.refuses("ann", 99.0)
    True
    >>> consent.apply(Profile("ann", 20.0, consent=True))
    20.0
    >>> consent.refuses("ann", 20.0), consent.refuses("ann", 20.1)
    (True, False)
    """

    def __init__(self) -> None:
        self._forgotten: dict[str, float] = {}
        self._withdrawn: set[str] = set()

    @property
    def nbytes(self) -> int:
        """Memory that it takes, about."""
        return SHOPPER_BYTES * (len(self._forgotten) + len(self._withdrawn))

    def apply(self, profile: Profile) -> float | None:
        """Take a profile, in the order of its log; returns until when the shopper is forgotten, if it says so."""
        user_id = profile.user_id
        forgets = profile.forget or (profile.consent and user_id in self._withdrawn)
        if profile.consent:
            self._withdrawn.discard(user_id)
        else:
            self._withdrawn.add(user_id)
        return self.forget(user_id, profile.at) if forgets else None

    def forget(self, user_id: str, before: float) -> float:
        """Exclude a shopper's events up to and including an event time; returns the latest such time."""
        before = self._forgotten[user_id] = max(before, self._forgotten.get(user_id, -inf))
        return before

    def refused_until(self, user_id: str) -> float:
        """Event time up to which a shopper's events must not be used; -inf: all may be, inf: none."""
        return inf if user_id in self._withdrawn else self._forgotten.get(user_id, -inf)

    def refuses(self, user_id: str, at: float) -> bool:
        """Whether an event of a shopper with this event time must not be used."""
        return at <= self.refused_until(user_id)
