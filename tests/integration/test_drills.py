"""Short runs of drills: nothing is missing, nothing wrong. `make drills` runs all of them, and longer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from streams.__main__ import main
from streams.brokers.broker import Broker
from streams.brokers.embedded import EmbeddedBroker
from streams.drills.disturbances import DRILLS
from streams.drills.run import Run, RunConfig
from streams.kafka.admin import administration

SECONDS = 8.0
"""Of feeding, which continues until the killed worker is ready again."""

SWAP_SECONDS = 16.0
"""Of the drill with a trainer: time for one or two swaps and two kills."""

FREQUENT = {"train_every_s": 1.5, "snapshot_every_s": 3.0}
"""Settings of trainers: nobody waits long for the last snapshot."""


@pytest.mark.parametrize(
    ("drill", "rate", "broker"),
    # on the embedded broker the drill below kills a worker
    [("kill", 250.0, "kafka"), ("hostile", 50.0, "embedded"), ("hostile", 50.0, "kafka")],
    indirect=["broker"],
)
def test_nothing_is_missing_and_nothing_wrong(
    drill: str, rate: float, broker: Broker, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if DRILLS[drill].trained:
        pytest.importorskip(
            "torch", reason="pip install 'crosscurrent[learning]' brings torch, which the trainer needs"
        )
    monkeypatch.setitem(DRILLS, drill, replace(DRILLS[drill], settings=FREQUENT))
    said: list[str] = []
    config = RunConfig(drill, rate=rate, seconds=SECONDS)
    outcome = Run(config, broker.settings(prefix=prefix), said.append).run()
    verdict = outcome.verdict
    assert outcome.complaints == []
    assert verdict.missing == []
    assert verdict.broken == {}
    assert verdict.examples == []
    assert (verdict.wrong, verdict.recount_wrong) == (0, 0)
    assert verdict.events > 0.8 * config.rate * SECONDS
    assert verdict.suggested_items > verdict.triggers
    assert all(difference.compared for difference in verdict.undisturbed.values())
    if (attacks := outcome.attacks) is not None:
        assert attacks.bad > attacks.letters > 100
        assert len(attacks.refused) < 20  # the broker took the others
    with administration(broker.settings()) as client:
        assert not [name for name in client.list_topics() if name.startswith(prefix)]


@pytest.mark.slow
def test_every_look_is_learnt_once_though_trainer_and_worker_are_killed(
    embedded_broker: EmbeddedBroker, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="pip install 'crosscurrent[learning]' brings torch, which the trainer needs")
    quick = replace(DRILLS["swap"], unseen=2_000, settings=FREQUENT)  # latency is not tested here
    monkeypatch.setitem(DRILLS, "swap", quick)
    said: list[str] = []
    settings = embedded_broker.settings(prefix=prefix)
    outcome = Run(RunConfig("swap", rate=50.0, seconds=SWAP_SECONDS, keep=tmp_path), settings, said.append).run()
    verdict, swaps = outcome.verdict, outcome.swaps
    assert (verdict.missing, verdict.examples, verdict.wrong, verdict.recount_wrong) == ([], [], 0, 0)
    assert swaps is not None
    assert swaps.looks == swaps.learnt + swaps.held > 0.5 * 50 * SWAP_SECONDS
    assert swaps.held > 0
    assert swaps.fewest > 0
    assert swaps.dead_letters == 0
    # The number of swaps and the latency are judged by longer runs on a machine that is not full.
    for fault in ("ended by itself", "did not end", "exited with", "not worked off"):
        assert not [sentence for sentence in outcome.complaints if fault in sentence]
    # On the exported log the engine suggests most of what the workers sent, and for all events.
    figures = tmp_path / "figures.json"
    options = ["--config", str(tmp_path / "settings.toml"), "--policy", str(tmp_path / "policy.toml")]
    options += ["--suggestions", str(tmp_path / "suggestions.jsonl"), "--window", "5s", "--json", str(figures)]
    methods = ["--methods", "counting,sent"]
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "prequential", "jsonl", str(tmp_path), *options, *methods])
    assert not ended.value.code
    sent = orjson.loads(figures.read_bytes())["sent"]
    assert (sent["lists"], sent["without_event"], sent["events_without"]) == (verdict.triggers, 0, 0)
    assert sent["same_items"]["counting"] > 50.0
