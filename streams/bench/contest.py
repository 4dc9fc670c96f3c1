"""Both sides by turns, on one broker: work a backlog off, then answer a steady stream.

What is fair, and how it is seen to:

* One process a side, the same events as the same bytes, topics of the same shape, acknowledgements by all copies.
* The backlog lies there before the process starts; nothing is fed while it is worked off.
* The steady stream comes from a process of its own, at half of what the echo has just managed, to both.
* The echo's producer lingers, which makes it the faster; for latency it runs a second time without, and the better of
  both counts.
* The worker runs with default settings, learns all the while, and answers with a sequence model that a trainer has
  learnt from the events before (`--counting`: without). Its policy differs from the default in two points: no
  suggestion is too old, and an empty one is sent too, so that there is an answer to every trigger.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from streams.bench.events import BenchShop, Event, write
from streams.bench.load import preload
from streams.bench.measure import Ends, Latency, Topics, events_per_s, latency
from streams.bench.scoring import SIZES
from streams.brokers.broker import Broker
from streams.brokers.child import Child
from streams.errors import CrosscurrentError
from streams.kafka import topic_admin
from streams.kafka.admin import administration
from streams.settings import ENV_PREFIX, Settings
from streams.wire.topics import APPEND_TIME, full_name

LINGER_MS = 20.0
"""Of the echo's producer: it works off half as much again as with none, more brings nothing."""

LOOK_S = 0.25
"""Between two looks at the end of a topic: rare, as each look costs the broker something."""

READY_S = 240.0
"""Longest start of a process: on a fresh machine the worker compiles its kernels."""

STALLED_S = 60.0
"""A side that answers nothing for so long has failed."""

SETTLE_S = 2.0
"""First seconds of a steady stream that count for neither side: connections and caches warm up."""

SNAPSHOT_EVERY_S = 5
"""Between two snapshots of the trainer."""

LEARNT_S = 3 * SNAPSHOT_EVERY_S
"""The trainer has learnt what there is when it has announced something, and nothing more for so long."""

LEAD_S = 3000.0
"""How long ago the shop's first event happened: event times may not be ahead of append times by more than an hour."""

INPUTS = ("clicks", "purchases")
OUTPUT = "suggestions"
PROGRESS = "progress"
LEARNT = ("pairs", "neighbours", PROGRESS)
"""Topics that grow while the worker still learns from what it has answered."""


class BenchError(CrosscurrentError):
    """A side failed. Operator action: the message has what it said last; a busy machine may only need another try."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    events: int = 60_000
    """Of each backlog."""
    seconds: float = 12.0
    """Of each steady stream, those that do not count included."""
    repeats: int = 2
    """Turns of each side."""
    warm_up: int = 40_000
    """Events that the worker has learnt from before the first turn."""
    seed: int = 7
    """Of the simulated shops."""
    models: bool = True
    """Whether the worker answers with a sequence model, too."""
    items: tuple[int, ...] = SIZES
    """Numbers of items that the sequence model is to find the best of."""


@dataclass(slots=True)
class Turn:
    """What one turn of one side showed."""

    events_per_s: float
    cpu_us: float | None
    """Processor time an event of the backlog, in microseconds; None where the system does not tell."""
    latency: Latency
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stream:
    """What is fed steadily."""

    events: list[Event]
    rate: float
    """Events a second."""


class Side:
    """One of the two.

    Args:
        name: in sentences.
        settings: of the broker, with the side's prefix.
        command: starts its process, after `python -m`.
        ready: what its process says when it is ready.
        folder: for its log.
        environ: settings besides those of the command, by the end of the variable's name.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        command: Sequence[str],
        ready: str,
        folder: Path,
        environ: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.name = name
        self.settings = settings
        self._command = [sys.executable, "-m", *command]
        self._ready = ready
        self._environ = environ
        self._log = folder / f"{name.replace(' ', '-')}-{settings.prefix}.log"

    def create_topics(self) -> None:
        """Make all topics, the output with the broker's append times too."""
        name = full_name(self.settings.prefix, OUTPUT)
        configs = {
            "num_partitions": self.settings.partitions,
            "replication_factor": 1,
            "configs": {"cleanup.policy": "delete", **APPEND_TIME},
        }
        with administration(self.settings) as client:
            client.create_topics({name: configs})
            client.wait_for_topics([name])
        topic_admin.create(self.settings)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Child]:
        """The process, ended with SIGTERM afterwards."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
        environ |= {f"{ENV_PREFIX}{name}": value for name, value in self._environ.items()}
        self._log.write_bytes(b"")  # what an earlier process said is not this one's
        child = Child(self._command, self._log, environ)
        try:
            yield child
        finally:
            await asyncio.to_thread(child.stop)

    async def ready(self, child: Child) -> None:
        """Wait until the process says that it is ready.

        Raises:
            BenchError: it ends, or says nothing.
        """
        deadline = time.monotonic() + READY_S
        while self._ready not in self._log.read_text(encoding="utf-8", errors="replace"):
            self.check(child)
            if time.monotonic() > deadline:
                message = f"{self.name} was not ready within {READY_S:.0f} s: {child.last_words()}"
                raise BenchError(message)
            await asyncio.sleep(0.1)

    def check(self, child: Child) -> None:
        """Make sure that the process runs.

        Raises:
            BenchError: it has ended.
        """
        if not child.running:
            message = f"{self.name} ended with exit code {child.exit_code}: {child.last_words()}"
            raise BenchError(message)


class Benchmark:
    """The whole comparison.

    Args:
        broker: running.
        plan: how much.
        folder: for logs and events.
        say: told what is going on.
    """

    def __init__(self, broker: Broker, plan: Plan, folder: Path, say: Callable[[str], None]) -> None:
        self._broker = broker
        self._plan = plan
        self._folder = folder
        self._say = say
        self._roof = BenchShop(plan.seed, Settings().partitions, time.time() - LEAD_S)
        self._happened: list[Event] = []
        self.catalog = self._roof.catalog()
        policy = folder / "policy.toml"
        policy.write_text("emit_empty = true\nmax_suggestion_age_s = 0\n", encoding="utf-8")
        kind = "--embedded" if broker.embedded else "--no-embedded"
        settings = broker.settings(prefix="worker-")
        where = ["--bootstrap-servers", broker.bootstrap_servers, "--prefix", settings.prefix, kind]
        command = ["streams", "worker", *where, "--policy", str(policy), "--no-web"]
        environ = {"SNAPSHOT_STORE": str(folder / "snapshots"), "SNAPSHOT_EVERY_S": str(SNAPSHOT_EVERY_S)}
        self._worker = Side("the worker", settings, command, "ready\n", folder, environ)
        command = ["streams", "trainer", *where, "--no-web"]
        self._trainer = Side("the trainer", settings, command, "ready\n", folder, environ)
        self._echoes = 0

    def events(self, count: int) -> list[Event]:
        """The first events of the shop; those that both sides have got, and more if there are not enough."""
        self._next(count - len(self._happened))
        return self._happened[:count]

    def _next(self, count: int) -> list[Event]:
        events = self._roof.take(max(0, count))
        self._happened += events
        return events

    async def run(self) -> dict[str, Any]:
        """Run it; returns the figures of both sides and of their comparison."""
        await self._warm_up()
        echoes, workers = [], []
        for number in range(1, self._plan.repeats + 1):
            backlog = self._next(self._plan.events)
            turn, stream = await self._echo_turn(f"echo, turn {number}", backlog)
            echoes.append(turn)
            workers.append(await self._worker_turn(f"worker, turn {number}", backlog, stream))
        return compared(echoes, workers) | {"plan": asdict(self._plan)}

    async def _warm_up(self) -> None:
        """The worker learns the catalogue and the first events, so that there are rows to suggest from."""
        events = self._next(self._plan.warm_up)
        side, address = self._worker, self._broker.bootstrap_servers
        self._say(f"warming up: {len(self.catalog):,} items, {len(events):,} events for the worker to learn from")
        side.create_topics()
        await preload(address, side.settings.prefix, self.catalog)
        await preload(address, side.settings.prefix, events)
        async with Topics(side.settings) as seen, side.running() as child:
            await side.ready(child)
            await self._answered(side, child, seen, {}, _triggers(events))
            await self._settled(side, child, seen)
            if self._plan.models:
                await self._learn_models(seen)

    async def _learn_models(self, seen: Topics) -> None:
        """Let the trainer learn from what there is until it has announced snapshots, and stop it."""
        trainer = self._trainer
        self._say("the trainer learns from the same")
        async with trainer.running() as child:
            await trainer.ready(child)
            announced, moved = 0, time.monotonic()
            while not announced or time.monotonic() - moved < LEARNT_S:
                await asyncio.sleep(LOOK_S)
                trainer.check(child)
                if (now := await seen.count("snapshots")) > announced:
                    announced, moved = now, time.monotonic()
                elif not announced and time.monotonic() - moved > READY_S:
                    message = f"{trainer.name} announced nothing within {READY_S:.0f} s: {child.last_words()}"
                    raise BenchError(message)

    async def _echo_turn(self, title: str, backlog: Sequence[Event]) -> tuple[Turn, Stream]:
        side = self._echo(LINGER_MS)
        await preload(self._broker.bootstrap_servers, side.settings.prefix, backlog)
        async with Topics(side.settings) as seen:
            before = await seen.ends(OUTPUT)
            async with side.running() as child:
                rate, cpu_us, _ = await self._work_off(title, side, child, seen, before, len(backlog))
                stream = Stream(self._next(round(rate / 2 * self._plan.seconds)), rate / 2)
                steady = await self._steady(f"{title}, linger", side, child, seen, stream, lambda _: True)
        side = self._echo(0.0)
        async with Topics(side.settings) as seen, side.running() as child:
            await side.ready(child)
            inline_limit = await self._steady(f"{title}, no linger", side, child, seen, stream, lambda _: True)
        latencies = {f"linger {LINGER_MS:g} ms": asdict(steady), "no linger": asdict(inline_limit)}
        turn = Turn(rate, cpu_us, min(steady, inline_limit, key=lambda one: one.p99_ms), {"latencies": latencies})
        return turn, stream

    async def _worker_turn(self, title: str, backlog: Sequence[Event], stream: Stream) -> Turn:
        side = self._worker
        await preload(self._broker.bootstrap_servers, side.settings.prefix, backlog)
        async with Topics(side.settings) as seen:
            answered, written = await seen.ends(OUTPUT), await seen.ends(PROGRESS)
            async with side.running() as child:
                per_s, cpu_us, last_ms = await self._work_off(title, side, child, seen, answered, _triggers(backlog))
                await self._settled(side, child, seen)
                learnt_ms = max((await seen.appended(written)).values())
                steady = await self._steady(title, side, child, seen, stream, lambda event: event.triggers)
        more = {"learnt_after_s": max(0, learnt_ms - last_ms) / 1000, "latencies": {"default": asdict(steady)}}
        return Turn(per_s, cpu_us, steady, more)

    def _echo(self, linger_ms: float) -> Side:
        """An echo with a group and topics of its own."""
        self._echoes += 1
        settings = self._broker.settings(prefix=f"echo{self._echoes}-")
        partitions = str(settings.partitions)
        command = ["streams.bench.echo", self._broker.bootstrap_servers, settings.prefix, str(linger_ms), partitions]
        side = Side("the echo", settings, command, "Worker ready", self._folder)
        side.create_topics()
        return side

    async def _work_off(
        self, title: str, side: Side, child: Child, seen: Topics, before: Ends, answers: int
    ) -> tuple[float, float | None, int]:
        """Wait until the process has answered its backlog.

        Returns:
            Answers a second, processor time an answer in microseconds, and the last one's append time in milliseconds.
        """
        await side.ready(child)
        started_s, done = _cpu_s(child.pid), await seen.count(OUTPUT) - sum(before.values())
        await self._answered(side, child, seen, before, answers)
        ended_s = _cpu_s(child.pid)
        cpu_us = None
        if started_s is not None and ended_s is not None and done < answers:
            cpu_us = round((ended_s - started_s) / (answers - done) * 1e6, 1)
        times = (await seen.appended(before)).values()
        rate = events_per_s(times)
        self._say(f"{title}: a backlog of {answers:,} answered at {rate:,.0f} events/s")
        return rate, cpu_us, max(times)

    async def _steady(
        self, title: str, side: Side, child: Child, seen: Topics, stream: Stream, answered: Callable[[Event], bool]
    ) -> Latency:
        """Feed at a steady rate from another process, and see how long each answer took."""
        file = self._folder / "events"
        write(file, stream.events)
        inputs, output = await seen.ends(*INPUTS), await seen.ends(OUTPUT)
        command = [sys.executable, "-m", "streams.bench.load", self._broker.bootstrap_servers, side.settings.prefix]
        feeder = Child([*command, str(stream.rate), str(file)], self._folder / "feeder.log")
        try:
            while feeder.running:
                side.check(child)
                await asyncio.sleep(LOOK_S)
            if feeder.exit_code:
                message = f"the feeder ended with exit code {feeder.exit_code}: {feeder.last_words()}"
                raise BenchError(message)
        finally:
            await asyncio.to_thread(feeder.stop)
        await self._answered(side, child, seen, output, sum(map(answered, stream.events)))
        found = latency(await seen.appended(inputs), await seen.answers(output), SETTLE_S)
        self._say(f"{title}: {found.rate:,.0f} events/s answered in {found.p50_ms} ms (p50), {found.p99_ms} ms (p99)")
        return found

    async def _answered(self, side: Side, child: Child, seen: Topics, before: Ends, answers: int) -> None:
        """Wait until there are so many answers more than before.

        Raises:
            BenchError: the process ends, or nothing comes any more.
        """
        wanted, count, moved = sum(before.values()) + answers, -1, time.monotonic()
        while count < wanted:
            await asyncio.sleep(LOOK_S)
            side.check(child)
            now = await seen.count(OUTPUT)
            if now > count:
                count, moved = now, time.monotonic()
            elif time.monotonic() - moved > STALLED_S:
                message = f"{side.name} answered {count - wanted + answers:,} of {answers:,} events and then nothing"
                raise BenchError(message)

    async def _settled(self, side: Side, child: Child, seen: Topics) -> None:
        """Wait until everything learnt is published and written down: nothing has come for a while."""
        before: Ends = {}
        moved = time.monotonic()
        while time.monotonic() - moved < SETTLE_S:
            await asyncio.sleep(LOOK_S)
            side.check(child)
            if (now := await seen.ends(*LEARNT)) != before:
                before, moved = now, time.monotonic()


def _triggers(events: Sequence[Event]) -> int:
    return sum(event.triggers for event in events)


def compared(echoes: Sequence[Turn], workers: Sequence[Turn]) -> dict[str, Any]:
    """Figures of both sides, and the worker's over the echo's."""
    echo, worker = side_of(echoes), side_of(workers)
    ratio = {
        "throughput": worker["events_per_s"] / echo["events_per_s"],
        "p50": worker["p50_ms"] / echo["p50_ms"],
        "p99": worker["p99_ms"] / echo["p99_ms"],
    }
    return {"echo": echo, "worker": worker, "ratio": {name: round(value, 2) for name, value in ratio.items()}}


def side_of(turns: Sequence[Turn]) -> dict[str, Any]:
    """Figures of one side: the middle of its turns, and the turns."""
    cpu_us = [turn.cpu_us for turn in turns if turn.cpu_us is not None]
    return {
        "events_per_s": round(statistics.median(turn.events_per_s for turn in turns), 1),
        "p50_ms": statistics.median(turn.latency.p50_ms for turn in turns),
        "p99_ms": statistics.median(turn.latency.p99_ms for turn in turns),
        "cpu_us_per_event": round(statistics.median(cpu_us), 1) if cpu_us else None,
        "turns": [
            {"events_per_s": round(one.events_per_s, 1), "cpu_us_per_event": one.cpu_us, **one.more} for one in turns
        ],
    }


def _cpu_s(pid: int) -> float | None:
    """Processor time of a process so far, all threads; None where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
