"""A short run of a drill on each broker: nothing missing, nothing wrong. `make drills` runs all of them, and longer."""

from __future__ import annotations

import pytest

from streams.brokers.administration import administration
from streams.brokers.broker import Broker
from streams.drills.run import Plan, Run

SECONDS = 8.0
"""Of feeding; it goes on until the worker that was killed is back."""


@pytest.mark.parametrize("drill", ["kill"])
def test_nothing_is_missing_and_nothing_wrong(drill: str, broker: Broker, prefix: str) -> None:
    said: list[str] = []
    outcome = Run(Plan(drill, seconds=SECONDS), broker.settings(prefix=prefix), said.append).run()
    verdict = outcome.verdict
    assert outcome.complaints == []
    assert verdict.missing == []
    assert verdict.broken == {}
    assert verdict.examples == []
    assert (verdict.wrong, verdict.recount_wrong) == (0, 0)
    assert verdict.events > 0.8 * 500 * SECONDS
    assert verdict.suggested_items > verdict.triggers
    assert all(one.compared for one in verdict.undisturbed.values())
    with administration(broker.settings()) as client:
        assert not [name for name in client.list_topics() if name.startswith(prefix)]
