"""One run of a drill, on a running broker."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from models.sequence.config import MODEL
from streams.drills import memory
from streams.drills.attack_verdict import AttackVerdict, await_letters, error_lines, judge_attacks
from streams.drills.attacker import Attacker
from streams.drills.baseline_run import copy
from streams.drills.catch_up import CAUGHT_UP_S, await_caught_up, await_learnt
from streams.drills.disturbances import AFTER_S, DRILLS, WARM_S, DrillContext
from streams.drills.errors import DrillError
from streams.drills.evidence import Evidence, Place, StoredTopic, first_events, gather
from streams.drills.export import export
from streams.drills.feed import Feeder, publish_catalog
from streams.drills.process_group import SETTINGS, ProcessGroup, start_all
from streams.drills.shop import DrillShop
from streams.drills.swaps import Fault, Swaps, judge_swaps, unlearnt
from streams.drills.verdict import Verdict, judge
from streams.errors import CrosscurrentError
from streams.kafka import topic_admin
from streams.kafka.admin import administration
from streams.settings import Settings
from streams.snapshots.store import SnapshotStore
from streams.wire.topics import TOPICS, full_name

UNDISTURBED = "undisturbed-"
"""Appended to a run's prefix for its baseline run."""

EVENTS_PER_S = 1_000
"""Pace at which workers catch up at least, on a busy machine."""

JUDGED_S = 600.0
"""Runs at least so long are judged by the memory of their processes, too."""


@dataclass(frozen=True, slots=True)
class RunConfig:
    """What a run does."""

    drill: str  # one of `DRILLS`
    rate: float = 500.0  # events a second
    seconds: float = 20.0  # events are fed at least so long; longer if the faults take longer
    workers: int = 2
    seed: int = 1  # of the shop; also decides which worker is hit
    keep: Path | None = None  # folder for the log and the suggestions, which otherwise go with the topics
    so_far: Path | None = None  # file for figures while it runs
    plot: Path | None = None  # file for a plot of the processes' memory (SVG)


@dataclass(slots=True)
class Outcome:
    """The result of a run."""

    config: RunConfig
    verdict: Verdict
    swaps: Swaps | None  # if the drill judges them
    attacks: AttackVerdict | None  # if the drill has attacks
    memory: memory.Samples  # of processes, if the drill has attacks
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
            **(self.attacks.as_json() | {"memory": memory.as_json(self.memory)} if self.attacks else {}),
            "drill": self.config.drill,
            "rate": self.config.rate,
            "workers": self.config.workers,
            "complaints": self.complaints,
            "notes": self.notes,
            "seconds": round(self.seconds, 1),
        }


class Run:
    """One run. It creates the topics of the settings' prefix and deletes them.

    `say` gets what it does, `tell` how far it is, about once a minute of a long run.
    """

    def __init__(
        self,
        config: RunConfig,
        settings: Settings,
        say: Callable[[str], None],
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._config = config
        self._drill = DRILLS[config.drill]
        self._settings = settings
        self._say, self._tell = say, tell
        self._complaints: list[str] = []
        self._notes: list[str] = []
        self._faults: list[Fault] = []
        self._opened = 0.0
        self._sent = 0

    def run(self) -> Outcome:
        """Carry it out and judge it; raises `DrillError` if it could not be carried out."""
        began = time.monotonic()
        logs = Path(tempfile.mkdtemp(prefix="crosscurrent-drill-"))
        keep = True
        try:
            verdict, swaps, attacks, samples = self._run(logs)
            self._complaints += swaps.complaints() if swaps else []
            self._complaints += attacks.complaints if attacks else []
            outcome = Outcome(
                config=self._config,
                verdict=verdict,
                swaps=swaps,
                attacks=attacks,
                memory=samples,
                complaints=self._complaints,
                notes=self._notes,
                seconds=time.monotonic() - began,
                logs=logs,
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

    def _run(self, logs: Path) -> tuple[Verdict, Swaps | None, AttackVerdict | None, memory.Samples]:
        config, drill = self._config, self._drill
        shop = DrillShop(config.seed, drill.unseen)
        more = {**SETTINGS, **drill.settings, "snapshot_store": str(logs / "snapshots")}
        settings = self._settings.model_copy(update=more)
        baseline = settings.model_copy(update={"prefix": settings.prefix + UNDISTURBED})
        self._say("making topics")
        topic_admin.create(settings)
        publish_catalog(settings, shop)
        policy = logs / "policy.toml"
        policy.write_text(drill.policy, encoding="utf-8")
        with (
            ProcessGroup("worker", settings, logs, config.workers, policy) as workers,
            ProcessGroup("trainer", settings, logs, int(drill.trained)) as trainers,
            Attacker(settings, sorted(shop.item_ids)) as attacker,
            memory.MemoryLog([*workers, *trainers] if drill.attacked else [], config.seconds) as memory_log,
        ):
            self._say("starting the workers")
            start_all(workers, trainers)
            open_s = self._disturb(settings, workers, trainers, shop, attacker, memory_log)
            self._await_caught_up(settings, workers, attacker)
            letters = await_letters(settings, attacker, workers.check) if drill.attacked else {}
            if drill.trained:
                await_learnt(settings, MODEL, trainers.check)
            trainers.stop()
            workers.stop()
            self._complaints += workers.complaints + trainers.complaints
        self._say("running the same events undisturbed")
        copy(settings, baseline, attacker.bad)
        (logs / "undisturbed").mkdir()
        with ProcessGroup("worker", baseline, logs / "undisturbed", 1, policy) as workers:
            start_all(workers)
            self._await_caught_up(baseline, workers, attacker)
            workers.stop()
            self._complaints += workers.complaints
        self._say("counting")
        evidence = gather(settings, attacker.bad)
        if config.keep is not None:
            export(evidence, settings, drill.settings, drill.policy, config.keep)
        verdict = judge(
            evidence,
            StoredTopic(baseline, "neighbours"),
            open_s,
            settings.visits,
            settings.cooccurrence,
            evidence.catalog if drill.attacked else None,
            StoredTopic(baseline, "histories"),
        )
        if verdict.longest_row >= settings.cooccurrence.neighbours:
            message = f"a row has {verdict.longest_row} neighbours: cells may have given way, and cannot be compared"
            raise DrillError(message)
        return verdict, self._swaps(evidence, settings), self._attacks(attacker, letters, logs), memory_log.samples

    def _swaps(self, evidence: Evidence, settings: Settings) -> Swaps | None:
        if not self._drill.trained:
            return None
        newest = SnapshotStore.of(settings).newest(MODEL)
        learnt = newest.manifest.learnt if newest else {}
        if self._drill.swapped:
            return judge_swaps(evidence, self._faults, learnt, MODEL)
        looks = sum(click.triggers for click in first_events(evidence.clicks))
        self._complaints += unlearnt(looks, int(learnt.get("events", 0)), int(learnt.get("held", 0)))
        return None

    def _attacks(self, attacker: Attacker, letters: Mapping[Place, str], logs: Path) -> AttackVerdict | None:
        if not self._drill.attacked:
            return None
        files = sorted(logs.glob("*.log"))
        short = self._config.seconds < JUDGED_S
        text = "".join(file.read_text(encoding="utf-8", errors="replace") for file in files) if short else None
        return judge_attacks(attacker, letters, text, error_lines(files))

    def _disturb(
        self,
        settings: Settings,
        workers: ProcessGroup,
        trainers: ProcessGroup,
        shop: DrillShop,
        attacker: Attacker,
        memory_log: memory.MemoryLog,
    ) -> tuple[float, float]:
        """Feed events while the drill acts; returns when feeding began and ended, epoch seconds."""
        config = self._config
        with Feeder(self._settings, shop, config.rate) as feeder:
            self._opened = opened = time.monotonic()
            self._say("feeding")
            self._faults.append(Fault("the start", feeder.started_s, feeder.started_s + WARM_S))
            context = DrillContext(
                settings=settings,
                seed=config.seed,
                workers=workers,
                trainers=trainers,
                feeder=feeder,
                victim=config.seed % config.workers,
                seconds=config.seconds,
                opened=opened,
                say=self._note,
                tell=lambda: self._say_how_far(feeder, attacker, memory_log.samples),
                faults=self._faults,
                attacker=attacker,
            )
            self._drill.act(context)
            context.wait(max(AFTER_S, opened + config.seconds - time.monotonic()))
            feeder.end()
            self._sent = feeder.sent
            self._note(f"{feeder.sent:,} events were fed")
            if config.seconds >= JUDGED_S:
                self._complaints += memory.complaints(memory_log.samples)
            self._write_plot(memory_log.samples)
            return feeder.started_s, feeder.ended_s

    def _say_how_far(self, feeder: Feeder, attacker: Attacker, samples: memory.Samples) -> None:
        now = {name: round(taken[-1][1]) for name, taken in samples.items() if taken}
        minutes = (time.monotonic() - self._opened) / 60
        held = ", ".join(f"{name} {mb} MB" for name, mb in now.items())
        self._tell(f"{minutes:.1f} min: {feeder.sent:,} events, {len(attacker.bad):,} bad records; {held}")
        self._write_plot(samples)
        if self._config.so_far is not None:
            figures = {
                "minutes": round(minutes, 1),
                "events": feeder.sent,
                "bad_records": len(attacker.bad),
                "refused_by_the_broker": attacker.refused,
                "memory": memory.as_json(samples),
                "notes": self._notes,
            }
            part = self._config.so_far.with_suffix(".part")
            with self._noted_failure():
                part.write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2) + b"\n")
                os.replace(part, self._config.so_far)

    def _write_plot(self, samples: memory.Samples) -> None:
        if self._config.plot is not None:
            with self._noted_failure():
                memory.write_plot(samples, self._config.plot)

    @contextmanager
    def _noted_failure(self) -> Iterator[None]:
        """Go on where a file cannot be written, as on a full disk: the verdict is worth more."""
        try:
            yield
        except OSError as error:
            self._note(str(error))

    def _await_caught_up(self, settings: Settings, workers: ProcessGroup, attacker: Attacker) -> None:
        within_s = CAUGHT_UP_S + self._sent / EVENTS_PER_S
        if left := await_caught_up(settings, workers.check, attacker.bad, within_s):
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
