"""One run of a drill from start to end, on a broker that is there."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from models.sequence.config import MODEL
from streams.drills.disturbances import (
    AFTER_S,
    DRILLS,
    SESSION_TIMEOUT_S,
    SNAPSHOT_EVERY_S,
    TRAIN_EVERY_S,
    WARM_S,
    DrillContext,
)
from streams.drills.errors import DrillError
from streams.drills.evidence import gather, read
from streams.drills.feed import Feeder, publish_catalog
from streams.drills.keeping import keep
from streams.drills.processes import Processes
from streams.drills.promises import POLICY
from streams.drills.quiet import await_learnt, await_quiet
from streams.drills.rehearsal import copy
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
"""Put behind a run's prefix: that of the same events undisturbed."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is to do."""

    drill: str
    """One of `DRILLS`."""
    rate: float = 500.0
    """Events a second."""
    seconds: float = 20.0
    """How long they are fed, at least; longer if the disturbance takes longer."""
    workers: int = 2
    seed: int = 1
    """Of the shop. It settles which worker is hit, too."""
    keep: Path | None = None
    """Folder for the log and what was suggested; None: they are deleted with the topics."""


@dataclass(slots=True)
class Outcome:
    """What came out."""

    plan: Plan
    verdict: Verdict
    swaps: Swaps | None
    """What swaps did, where the drill has a trainer."""
    complaints: list[str]
    """Of processes that ended as they should not, of what was not worked off in time, and of what swaps did."""
    seconds: float
    """The run took, everything included."""
    logs: Path | None = None
    """Where the workers' logs are kept, if there was something to complain of."""
    notes: list[str] = field(default_factory=list)
    """What was done to the workers, and when."""

    @property
    def good(self) -> bool:
        """Whether nothing is missing, nothing wrong, and nobody to blame."""
        return self.verdict.good and not self.complaints

    def as_json(self) -> dict[str, Any]:
        """As `drill --json` writes it."""
        return {
            **self.verdict.as_json(),
            **(self.swaps.as_json() if self.swaps else {}),
            "drill": self.plan.drill,
            "rate": self.plan.rate,
            "workers": self.plan.workers,
            "complaints": self.complaints,
            "notes": self.notes,
            "seconds": round(self.seconds, 1),
        }


class Run:
    """One run.

    Args:
        plan: what to do.
        settings: where, and under which prefix; the topics are made, and deleted at the end.
        say: told what is going on.
        environ: of the workers.
    """

    def __init__(self, plan: Plan, settings: Settings, say: Say, environ: Mapping[str, str] | None = None) -> None:
        self._plan = plan
        self._drill = DRILLS[plan.drill]
        self._settings = settings
        self._say = say
        self._environ = os.environ if environ is None else environ
        self._complaints: list[str] = []
        self._notes: list[str] = []
        self._blows: list[Fault] = []
        self._opened = 0.0

    def run(self) -> Outcome:
        """Carry it out and judge it.

        Raises:
            DrillError: it could not be carried out.
            CrosscurrentError: the broker fails.
        """
        began = time.monotonic()
        logs = Path(tempfile.mkdtemp(prefix="crosscurrent-drill-"))
        keep = True
        try:
            verdict, swaps = self._play(logs)
            self._complaints += swaps.complaints() if swaps else []
            outcome = Outcome(self._plan, verdict, swaps, self._complaints, time.monotonic() - began, logs, self._notes)
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

    def _play(self, logs: Path) -> tuple[Verdict, Swaps | None]:
        plan, environ = self._plan, self._environ
        shop = DrillShop(plan.seed, self._drill.unseen)
        settings = self._settings.model_copy(
            update={
                "session_timeout_s": SESSION_TIMEOUT_S,
                "snapshot_store": str(logs / "snapshots"),
                "train_every_s": TRAIN_EVERY_S,
                "snapshot_every_s": SNAPSHOT_EVERY_S,
            }
        )
        other = settings.model_copy(update={"prefix": settings.prefix + UNDISTURBED})
        self._say("making topics")
        topic_admin.create(settings)
        publish_catalog(settings, shop)
        policy = logs / "policy.toml"
        policy.write_text(POLICY, encoding="utf-8")
        with (
            Processes("worker", settings, logs, plan.workers, environ, policy) as workers,
            Processes("trainer", settings, logs, int(self._drill.trained), environ) as trainers,
        ):
            self._say("starting the workers")
            workers.start_all()
            trainers.start_all()
            open_s = self._disturb(workers, trainers, shop)
            self._await_quiet(settings, workers)
            if self._drill.trained:
                await_learnt(settings, MODEL, trainers.check)
            trainers.stop_all()
            workers.stop_all()
            self._complaints += workers.complaints + trainers.complaints
        self._say("running the same events undisturbed")
        copy(settings, other)
        alone = logs / "undisturbed"
        alone.mkdir()
        with Processes("worker", other, alone, 1, environ, policy) as workers:
            workers.start_all()
            self._await_quiet(other, workers)
            workers.stop_all()
            self._complaints += workers.complaints
        self._say("counting")
        evidence = gather(settings)
        if plan.keep is not None:
            keep(evidence, settings, plan.keep)
        verdict = judge(evidence, read(other, "neighbours"), open_s, settings.visits, settings.cooccurrence)
        if verdict.longest_row >= settings.cooccurrence.neighbours:
            message = f"a row has {verdict.longest_row} neighbours: cells may have given way, and cannot be compared"
            raise DrillError(message)
        if not self._drill.trained:
            return verdict, None
        newest = SnapshotStore.of(settings).newest(MODEL)
        return verdict, judge_swaps(evidence, self._blows, newest.manifest.learnt if newest else {}, MODEL)

    def _disturb(self, workers: Processes, trainers: Processes, shop: DrillShop) -> tuple[float, float]:
        """Feed, and do what the drill is about; returns since when and until when events were fed, epoch seconds."""
        plan = self._plan
        with Feeder(self._settings, shop, plan.rate) as feeder:
            self._opened = time.monotonic()
            self._say("feeding")
            victim = plan.seed % plan.workers
            scene = DrillContext(workers, trainers, feeder, victim, plan.seconds, self._opened, self._note, self._blows)
            self._blows.append(Fault("the start", feeder.started_s, feeder.started_s + WARM_S))
            self._drill.act(scene)
            scene.wait(max(AFTER_S, self._opened + plan.seconds - time.monotonic()))
            feeder.end()
            self._note(f"{feeder.sent:,} events were fed")
            return feeder.started_s, feeder.ended_s

    def _await_quiet(self, settings: Settings, workers: Processes) -> None:
        if left := await_quiet(settings, workers.check):
            self._complaints.append(f"not worked off in time: {', '.join(left)}")

    def _note(self, what: str) -> None:
        self._notes.append(f"{time.monotonic() - self._opened:.1f} s: {what}")
        self._say(what)

    def _delete_topics(self) -> None:
        prefixes = self._settings.prefix, self._settings.prefix + UNDISTURBED
        names = [full_name(prefix, topic.name) for prefix in prefixes for topic in TOPICS]
        with administration(self._settings) as client:
            there = set(client.list_topics())
            client.delete_topics([name for name in names if name in there], raise_errors=False)
