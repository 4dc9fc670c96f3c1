"""The rule of consent and forgetting, case by case."""

from __future__ import annotations

from math import inf

from models.sessions.consent import Consent
from models.shop.events import Profile


def test_events_may_be_used_until_consent_is_withdrawn() -> None:
    consent = Consent()
    assert not consent.refuses("ann", 0.0)
    assert consent.apply(Profile("ann", 10.0)) is None
    assert not consent.refuses("ann", 0.0)
    assert consent.apply(Profile("ann", 20.0, consent=False)) is None
    assert consent.refuses("ann", 1e12)
    assert consent.refused_until("ann") == inf
    assert not consent.refuses("bob", 0.0)


def test_consent_that_is_given_again_leaves_unused_what_came_before_it() -> None:
    consent = Consent()
    consent.apply(Profile("ann", 10.0, consent=False))
    assert consent.apply(Profile("ann", 20.0)) == 20.0
    assert consent.apply(Profile("ann", 30.0)) is None
    assert (consent.refuses("ann", 20.0), consent.refuses("ann", 20.001)) == (True, False)


def test_the_latest_time_to_forget_counts_and_no_profile_lifts_it() -> None:
    consent = Consent()
    assert consent.apply(Profile("ann", 50.0, forget=True)) == 50.0
    assert consent.apply(Profile("ann", 30.0, forget=True)) == 50.0
    assert consent.forget("ann", 40.0) == 50.0
    assert consent.apply(Profile("ann", 60.0)) is None
    assert consent._forgotten == {"ann": 50.0}
    assert consent.refused_until("ann") == 50.0


def test_who_is_forgotten_and_refuses_is_forgotten_up_to_then_when_consent_is_given_again() -> None:
    consent = Consent()
    assert consent.apply(Profile("ann", 10.0, consent=False, forget=True)) == 10.0
    assert consent.refused_until("ann") == inf
    assert consent.apply(Profile("ann", 5.0)) == 10.0
    assert consent.refused_until("ann") == 10.0
