"""One run of a drill, on a running broker."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models.sequence.config import MODEL
from streams.drills.baseline_run import copy
from streams.drills.catch_up import await_caught_up, await_learnt
from streams.drills.disturbances import AFTER_S, DRILLS, WARM_S, DrillContext
from streams.drills.errors import DrillError
from streams.drills.evidence import gather, read
from streams.drills.export import export
from streams.drills.feed import Feeder, publish_catalog
from streams.drills.process_group import SETTINGS, ProcessGroup
from streams.drills.promise_audit import POLICY
from streams.drills.shop import DrillShop
from streams.drills.swaps import Fault, Swaps, judge_swaps
from streams.drills.verdict import Verdict, judge
from streams.errors import CrosscurrentError
from streams.kafka import topic_admin
from streams.kafka.admin import administration
from streams.settings import Settings
from streams.snapshots.store import SnapshotStore
from streams.wire.topics import TOPICS, full_name

UNDISTURBED = "undisturbed-"
"""Appended to a run's prefix for its baseline run."""


@dataclass(frozen=True, slots=True)
class RunConfig:
    """What a run does."""

    drill: str  # one of `DRILLS`
    rate: float = 500.0  # events a second
    seconds: float = 20.0  # events are fed at least so long; longer if the faults take longer
    workers: int = 2
    seed: int = 1  # of the shop; also decides which worker is hit
    keep: Path | None = None  # folder for the log and the suggestions, which otherwise go with the topics


@dataclass(slots=True)
class Outcome:
    """The result of a run."""

    config: RunConfig
    verdict: Verdict
    swaps: Swaps | None  # if the drill has a trainer
    complaints: list[str]  # of unexpected ends of processes, of records not applied in time, and of swaps
    notes: list[str]  # what was done to the processes, and when
    seconds: float
    logs: Path | None = None  # folder of the workers' logs, if the run was not good

    @property
    def good(self) -> bool:
        """Whether nothing is missing or wrong, without complaints."""
        return self.verdict.good and not self.complaints

    def as_json(self) -> dict[str, Any]:
        """As `drill --json` writes it."""
        return {
            **self.verdict.as_json(),
            **(self.swaps.as_json() if self.swaps else {}),
            "drill": self.config.drill,
            "rate": self.config.rate,
            "workers": self.config.workers,
            "complaints": self.complaints,
            "notes": self.notes,
            "seconds": round(self.seconds, 1),
        }


class Run:
    """One run. It creates the topics of the settings' prefix and deletes them; `say` gets its progress."""

    def __init__(self, config: RunConfig, settings: Settings, say: Callable[[str], None]) -> None:
        self._config = config
        self._drill = DRILLS[config.drill]
        self._settings = settings
        self._say = say
        self._complaints: list[str] = []
        self._notes: list[str] = []
        self._faults: list[Fault] = []
        self._opened = 0.0

    def run(self) -> Outcome:
        """Carry it out and judge it; raises `DrillError` if it could not be carried out."""
        began = time.monotonic()
        logs = Path(tempfile.mkdtemp(prefix="crosscurrent-drill-"))
        keep = True
        try:
            verdict, swaps = self._run(logs)
            self._complaints += swaps.complaints() if swaps else []
            outcome = Outcome(
                self._config, verdict, swaps, self._complaints, self._notes, time.monotonic() - began, logs
            )
            keep = not outcome.good
        except KeyboardInterrupt:
            keep = False
            raise
        except CrosscurrentError as error:
            message = f"{error}; the workers' logs are in {logs}"
            raise DrillError(message) from error
        finally:
            if not keep:
                shutil.rmtree(logs, ignore_errors=True)
            self._delete_topics()
        return outcome if keep else replace(outcome, logs=None)

    def _run(self, logs: Path) -> tuple[Verdict, Swaps | None]:
        config, trained = self._config, self._drill.trained
        shop = DrillShop(config.seed, self._drill.unseen)
        settings = self._settings.model_copy(update=SETTINGS | {"snapshot_store": str(logs / "snapshots")})
        baseline = settings.model_copy(update={"prefix": settings.prefix + UNDISTURBED})
        self._say("making topics")
        topic_admin.create(settings)
        publish_catalog(settings, shop)
        policy = logs / "policy.toml"
        policy.write_text(POLICY, encoding="utf-8")
        with (
            ProcessGroup("worker", settings, logs, config.workers, policy) as workers,
            ProcessGroup("trainer", settings, logs, int(trained)) as trainers,
        ):
            self._say("starting the workers")
            workers.start_all()
            trainers.start_all()
            open_s = self._disturb(workers, trainers, shop)
            self._await_caught_up(settings, workers)
            if trained:
                await_learnt(settings, MODEL, trainers.check)
            trainers.stop()
            workers.stop()
            self._complaints += workers.complaints + trainers.complaints
        self._say("running the same events undisturbed")
        copy(settings, baseline)
        (logs / "undisturbed").mkdir()
        with ProcessGroup("worker", baseline, logs / "undisturbed", 1, policy) as workers:
            workers.start_all()
            self._await_caught_up(baseline, workers)
            workers.stop()
            self._complaints += workers.complaints
        self._say("counting")
        evidence = gather(settings)
        if config.keep is not None:
            export(evidence, settings, config.keep)
        verdict = judge(evidence, read(baseline, "neighbours"), open_s, settings.visits, settings.cooccurrence)
        if verdict.longest_row >= settings.cooccurrence.neighbours:
            message = f"a row has {verdict.longest_row} neighbours: cells may have given way, and cannot be compared"
            raise DrillError(message)
        if not trained:
            return verdict, None
        newest = SnapshotStore.of(settings).newest(MODEL)
        return verdict, judge_swaps(evidence, self._faults, newest.manifest.learnt if newest else {}, MODEL)

    def _disturb(self, workers: ProcessGroup, trainers: ProcessGroup, shop: DrillShop) -> tuple[float, float]:
        """Feed events while the drill acts; returns when feeding began and ended, epoch seconds."""
        config = self._config
        with Feeder(self._settings, shop, config.rate) as feeder:
            self._opened = opened = time.monotonic()
            self._say("feeding")
            victim = config.seed % config.workers
            self._faults.append(Fault("the start", feeder.started_s, feeder.started_s + WARM_S))
            context = DrillContext(workers, trainers, feeder, victim, config.seconds, opened, self._note, self._faults)
            self._drill.act(context)
            context.wait(max(AFTER_S, opened + config.seconds - time.monotonic()))
            feeder.end()
            self._note(f"{feeder.sent:,} events were fed")
            return feeder.started_s, feeder.ended_s

    def _await_caught_up(self, settings: Settings, workers: ProcessGroup) -> None:
        if left := await_caught_up(settings, workers.check):
            self._complaints.append(f"not worked off in time: {', '.join(left)}")

    def _note(self, what: str) -> None:
        self._notes.append(f"{time.monotonic() - self._opened:.1f} s: {what}")
        self._say(what)

    def _delete_topics(self) -> None:
        prefixes = self._settings.prefix, self._settings.prefix + UNDISTURBED
        names = [full_name(prefix, topic.name) for prefix in prefixes for topic in TOPICS]
        with administration(self._settings) as client:
            existing = set(client.list_topics())
            client.delete_topics([name for name in names if name in existing], raise_errors=False)
