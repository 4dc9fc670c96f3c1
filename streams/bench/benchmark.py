"""The worker and a bare echo alternately, on one broker: apply a backlog, then answer a steady load.

Conditions of a fair comparison:

* One process each, the same events as the same bytes, topics of the same shape, acknowledgements by all replicas.
* The backlog is complete before the process starts; nothing is fed while it is applied. Its first part does not count:
  processes and caches warm up. A whole turn before the first one does not count either: the broker compiles its code.
* The steady load comes from a separate process, at half the throughput that the echo has just shown, for both.
* The echo's producer lingers, which raises its throughput. Its latency is measured again without lingering, and the
  better result counts.
* The worker runs with default settings, learns all the time, and answers with everything: a sequence model (unless
  `--counting`), a learnt order, and histories of all shoppers. Two points of its policy differ from the defaults: no
  suggestion is too old, and empty ones are sent, so that every trigger is answered.
* Turns are repeated until the interval of the throughput ratio is narrow, or there are too many.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from models.snapshot import Snapshot
from streams.bench import serving_models
from streams.bench.application import OUTPUT, PROGRESS, Application, SteadyLoad
from streams.bench.events import LEAD_S, BenchShop, Event, write
from streams.bench.interval import MOST_TURNS, interval, mean, settled
from streams.bench.load import preload
from streams.bench.machine import MachineWatch
from streams.bench.measure import Answers, Latency, events_per_s, latency
from streams.bench.scoring import SIZES
from streams.brokers.broker import Broker
from streams.kafka import topic_admin
from streams.processes import Process, cpu_s, crosscurrent, environment, resident_mb
from streams.settings import Settings
from streams.snapshots.registry import SnapshotRegistry
from streams.wire.topics import full_name

LINGER_MS = 20.0
"""Of the echo's producer: raises its throughput by half; longer lingering does not raise it further."""

WARM_SHARE = 0.25
"""Part of a backlog that comes before the events that count, in addition to them."""

WARM_S = 2.0
"""Seconds at the start of a steady load that do not count: connections and caches warm up."""

SETTLE_S = 2.0
"""The worker has learnt, published and saved everything when its topics have not grown for so long."""

SHARES = (25, 50, 75)
"""Percent of the worker's own throughput, at which its latency is measured."""

INPUTS = ("clicks", "purchases")

LEARNT = ("pairs", "neighbours", PROGRESS)
"""Topics that grow while the worker still learns from what it has answered."""

LEAST_SERVED = 0.9
"""Part of the answers of a backlog that each model must have taken part in. The arms `none` and `popular` are off."""


@dataclass(frozen=True, slots=True)
class BenchmarkConfig:
    """How much is measured."""

    events: int = 60_000  # of each backlog, without those that do not count
    seconds: float = 12.0  # of each steady load, with those that do not count
    repeats: int = 3  # turns of each application, at least
    most_turns: int = MOST_TURNS  # where the ratio has not settled by then
    warm_up: int = 40_000  # events that the worker learns from before the first measurement
    seed: int = 7  # of the simulated shops
    models: bool = True  # whether the worker answers with a sequence model, too
    items: tuple[int, ...] = SIZES  # numbers of items that the sequence model scores
    quix: bool = False  # whether a bare Quix Streams echo takes turns, too


class Backlog(NamedTuple):
    """Events that wait for an application before it starts."""

    uncounted: Sequence[Event]  # the first part
    counted: Sequence[Event]

    @property
    def events(self) -> list[Event]:
        """All of them."""
        return [*self.uncounted, *self.counted]


class Applied(NamedTuple):
    """How a backlog was applied, without the part that does not count."""

    rate: float  # answers a second
    cpu_us: float | None  # processor time of the process for an event, in microseconds; None without /proc
    broker_us: float | None  # ... of the broker
    answers: Answers
    last_ms: int  # append time of the last answer


class Steady(NamedTuple):
    """How a steady load was answered."""

    latency: Latency
    cpu_us: float | None  # processor time of the process for an event, in microseconds; None without /proc


@dataclass(slots=True)
class Measurement:
    """One measurement of one application."""

    events_per_s: float
    cpu_us: float | None  # processor time of the process for an event of the backlog, in us; None without /proc
    latency: Latency
    broker_us: float | None = None  # ... of the broker
    bytes_a_record: float | None = None
    steady_us: float | None = None  # processor time of the process for an event of the steady load
    rss_mb: float | None = None  # resident memory of the process after both
    served: Mapping[str, float] = field(default_factory=dict)
    """Part of the answers that each model took part in."""
    more: Mapping[str, Any] = field(default_factory=dict)


class Benchmark:
    """The whole comparison, on a running broker. The folder is for logs and events; `say` gets the progress."""

    def __init__(
        self, broker: Broker, config: BenchmarkConfig, folder: Path, watch: MachineWatch, say: Callable[[str], None]
    ) -> None:
        self._broker = broker
        self._config = config
        self._folder = folder
        self._watch = watch
        self._say = say
        self.shop = BenchShop(config.seed, Settings().partitions, time.time() - LEAD_S)
        self._happened: list[Event] = []
        self.catalog = self.shop.catalog()
        self.snapshots: list[Snapshot] = []
        self._worker = self.workers()
        self._echoes = 0

    def workers(self, number: int = 1, threads: int = 1) -> Application:
        """So many workers of so many threads each, on the topics of all workers of the benchmark."""
        folder = self._folder
        policy, snapshots = folder / "policy.toml", folder / "snapshots"
        policy.write_text("emit_empty = true\nmax_suggestion_age_s = 0\n", encoding="utf-8")
        settings = self._broker.settings(prefix="worker-", snapshot_store=str(snapshots))
        command = crosscurrent("worker", "--policy", str(policy), "--no-web", settings=settings)
        environ = environment(snapshot_store=snapshots, threads=threads)
        names = ("the worker", *(f"worker {other}" for other in range(2, number + 1)))
        return Application(settings, *(Process(name, command, folder / f"{name}.log", environ) for name in names))

    def events(self, count: int) -> list[Event]:
        """The first events of the shop, those of the comparison included."""
        self._next(count - len(self._happened))
        return self._happened[:count]

    def _next(self, count: int) -> list[Event]:
        events = self.shop.take(max(0, count))
        self._happened += events
        return events

    async def run(self) -> dict[str, Any]:
        """Run it; returns the figures of both applications and of their comparison."""
        await self._warm_up()
        config = self._config
        echoes, workers, quixes = list[Measurement](), list[Measurement](), list[float]()
        await self._take_turn("warm-up", round(WARM_SHARE * config.events))
        while another_turn(config, echoes, workers):
            title = f"turn {len(workers) + 1}"
            echo, worker, backlog = await self._take_turn(title, config.events)
            echoes.append(echo)
            workers.append(worker)
            if config.quix:
                quixes.append(await self._measure_quix(f"Quix echo, {title}", backlog))
            self._watch.end(title)
        found = compared(echoes, workers)
        found["worker"]["latency_at"] = await self._latencies(found["worker"]["events_per_s"])
        self._watch.end("shares of its throughput")
        if quixes:
            found["quix"] = against(workers, quixes)
        return found | {"plan": asdict(config)}

    async def _warm_up(self) -> None:
        """Let the worker learn the catalogue and the first events, so that there are rows to suggest from."""
        events = self._next(self._config.warm_up)
        self._say(f"warming up: {len(self.catalog):,} items, {len(events):,} events for the worker to learn from")
        worker = self._worker
        worker.create_topics()
        identities = topic_admin.identities(worker.settings)
        purchases = identities[full_name(worker.settings.prefix, "purchases")]
        await self._preload(worker, self.catalog)
        await self._preload(worker, self.shop.histories(purchases))
        await self._preload(worker, events)
        async with worker.running():
            await worker.await_answers(worker.answered, triggers(events))
            await worker.await_quiet(SETTLE_S, *LEARNT)
        self._say("models learn from the same")
        self.snapshots = await asyncio.to_thread(
            lambda: serving_models.learn(self.catalog, events, sequence=self._config.models)
        )
        for snapshot in self.snapshots:  # the next start of the worker takes them
            registry = SnapshotRegistry(worker.settings, snapshot.model)
            registry.announce(registry.store.save(snapshot), "import")
        self._watch.end("warm-up")

    async def _take_turn(self, title: str, events: int) -> tuple[Measurement, Measurement, Backlog]:
        """Measure the echo and the worker, with a backlog of so many events."""
        backlog = Backlog(self._next(round(WARM_SHARE * events)), self._next(events))
        echo, load = await self._measure_echo(f"echo, {title}", backlog)
        return echo, await self._measure_worker(f"worker, {title}", backlog, load), backlog

    async def _measure_echo(self, title: str, backlog: Backlog) -> tuple[Measurement, SteadyLoad]:
        echo = self._echo(LINGER_MS)
        await self._preload(echo, backlog.events)
        async with echo.running():
            applied = await self._apply_backlog(title, echo, len(backlog.uncounted), len(backlog.counted))
            load = self._load(applied.rate / 2)
            lingering = await self._answer_load(f"{title}, linger", echo, load, len(load.events))
        echo = self._echo(0.0)
        async with echo.running():
            immediate = await self._answer_load(f"{title}, no linger", echo, load, len(load.events))
        latencies = {f"linger {LINGER_MS:g} ms": lingering.latency, "no linger": immediate.latency}
        better = min(lingering, immediate, key=lambda found: found.latency.p99_ms)
        more = {"latencies": {name: asdict(found) for name, found in latencies.items()}}
        return Measurement(applied.rate, applied.cpu_us, better.latency, applied.broker_us, more=more), load

    async def _measure_worker(self, title: str, backlog: Backlog, load: SteadyLoad) -> Measurement:
        worker = self._worker
        await self._preload(worker, backlog.events)
        async with worker.running():
            applied = await self._apply_backlog(title, worker, triggers(backlog.uncounted), triggers(backlog.counted))
            await worker.await_quiet(SETTLE_S, *LEARNT)
            learnt_ms = max((await worker.topics.appended(worker.written)).values())
            steady = await self._answer_load(title, worker, load, triggers(load.events))
            rss_mb = resident_mb(worker.process.pid)
        answers = applied.answers
        more = {
            "learnt_after_s": max(0, learnt_ms - applied.last_ms) / 1000,
            "latencies": {"default": asdict(steady.latency)},
        }
        return Measurement(
            applied.rate,
            applied.cpu_us,
            steady.latency,
            applied.broker_us,
            answers.value_bytes / len(answers.at_ms),
            steady.cpu_us,
            rss_mb,
            {name: count / len(answers.at_ms) for name, count in answers.models.items()},
            more,
        )

    async def _measure_quix(self, title: str, backlog: Backlog) -> float:
        """Events a second of a bare Quix Streams echo."""
        self._echoes += 1
        settings = self._broker.settings(prefix=f"quix{self._echoes}-")
        arguments = [settings.bootstrap_servers, settings.prefix, str(LINGER_MS), str(self._folder / settings.prefix)]
        command = [sys.executable, "-m", "streams.bench.quix_echo", *arguments]
        quix = Application(
            settings, Process(title, command, self._folder / f"{settings.prefix}echo.log", environment())
        )
        quix.create_topics()
        await self._preload(quix, backlog.events)
        async with quix.running():
            counts = len(backlog.uncounted), len(backlog.counted)
            return (await self._apply_backlog(title, quix, *counts)).rate

    async def _latencies(self, throughput: float) -> dict[str, Any]:
        """Latency of the worker at shares of its own throughput, by percent."""
        found, worker = {}, self._worker
        async with worker.running():
            for percent in SHARES:
                load = self._load(throughput * percent / 100)
                steady = await self._answer_load(f"worker, {percent} %", worker, load, triggers(load.events))
                found[str(percent)] = asdict(steady.latency)
        return found

    def _load(self, rate: float) -> SteadyLoad:
        return SteadyLoad(self._next(round(rate * self._config.seconds)), rate)

    def _echo(self, linger_ms: float) -> Application:
        """An echo with a group and topics of its own."""
        self._echoes += 1
        settings = self._broker.settings(prefix=f"echo{self._echoes}-")
        arguments = [settings.bootstrap_servers, settings.prefix, str(linger_ms), str(settings.partitions)]
        command = [sys.executable, "-m", "streams.bench.echo", *arguments]
        log = self._folder / f"{settings.prefix}echo.log"
        echo = Application(settings, Process("the echo", command, log, environment(), ready=".*Worker ready"))
        echo.create_topics()
        return echo

    async def _preload(self, app: Application, events: Iterable[Event]) -> None:
        await preload(app.settings.bootstrap_servers, app.settings.prefix, events)

    async def _apply_backlog(self, title: str, app: Application, warm: int, answers: int) -> Applied:
        """Wait for the answers to a backlog, of which the first `warm` do not count."""
        await app.await_answers(app.answered, warm)
        started, done = self._used(app), await app.topics.count(OUTPUT) - sum(app.answered.values())
        await app.await_answers(app.answered, warm + answers)
        us = _us(started, self._used(app), warm + answers - done)
        found = await app.topics.answers(app.answered)
        times = sorted(found.at_ms.values())
        rate = events_per_s(times[warm:])
        self._say(f"{title}: a backlog of {answers:,} answered at {rate:,.0f} events/s")
        return Applied(rate, *us, found, times[-1])

    async def _answer_load(self, title: str, app: Application, load: SteadyLoad, answers: int) -> Steady:
        """Feed a steady load from another process, and measure the latency of the answers."""
        file = self._folder / "events"
        write(file, load.events)
        inputs, output = await app.topics.ends(*INPUTS), await app.topics.ends(OUTPUT)
        arguments = [app.settings.bootstrap_servers, app.settings.prefix, str(load.rate), str(file)]
        command = [sys.executable, "-m", "streams.bench.load", *arguments]
        started = self._used(app)
        with Process("the feeder", command, self._folder / "feeder.log") as feeder:
            while feeder.running:
                await app.pause()
            if feeder.exit_code:
                feeder.check()
        await app.await_answers(output, answers)
        cpu_us, _ = _us(started, self._used(app), answers)
        answered = await app.topics.answers(output)
        found = latency(await app.topics.appended(inputs), answered.at_ms, WARM_S)
        self._say(f"{title}: {found.rate:,.0f} events/s answered in {found.p50_ms} ms (p50), {found.p99_ms} ms (p99)")
        return Steady(found, cpu_us)

    def _used(self, app: Application) -> tuple[float | None, float | None]:
        """Processor seconds of an application and of the broker so far."""
        return app.cpu_s, cpu_s(self._broker.pid)


def _us(
    started: Sequence[float | None], ended: Sequence[float | None], events: int
) -> tuple[float | None, float | None]:
    """Microseconds an event of an application and of the broker, from their seconds before and after."""
    app, broker = (
        None if before is None or after is None or events <= 0 else round((after - before) / events * 1e6, 1)
        for before, after in zip(started, ended, strict=True)
    )
    return app, broker


def triggers(events: Iterable[Event]) -> int:
    """How many of some events are answered."""
    return sum(event.triggers for event in events)


def _ratios(echoes: Sequence[Measurement], workers: Sequence[Measurement]) -> list[float]:
    """Throughput of the worker divided by the echo's, of each turn."""
    return [worker.events_per_s / echo.events_per_s for echo, worker in zip(echoes, workers, strict=True)]


def another_turn(config: BenchmarkConfig, echoes: Sequence[Measurement], workers: Sequence[Measurement]) -> bool:
    """Whether to take another turn: there are too few, or the ratio has not settled and there may be more."""
    turns = len(workers)
    return turns < config.repeats or (turns < config.most_turns and not settled(_ratios(echoes, workers)))


def compared(echoes: Sequence[Measurement], workers: Sequence[Measurement]) -> dict[str, Any]:
    """Figures of both applications, and the worker's divided by the echo's.

    The throughput ratio is the mean of those of the turns, with its interval; the others are of medians. Without the
    broker's time it is that of the processor time of the applications alone.
    """
    echo, worker = medians(echoes), medians(workers)
    turns = _ratios(echoes, workers)
    ratio = {
        "throughput": mean(turns),
        "p50": worker["p50_ms"] / echo["p50_ms"],
        "p99": worker["p99_ms"] / echo["p99_ms"],
    }
    found: dict[str, Any] = {name: round(value, 2) for name, value in ratio.items()}
    bounds, cpu = interval(turns), (echo["cpu_us_per_event"], worker["cpu_us_per_event"])
    found["interval"] = bounds and [round(bound, 2) for bound in bounds]
    found["settled"] = settled(turns)
    found["throughput_without_broker"] = round(cpu[0] / cpu[1], 2) if all(cpu) else None
    return {"echo": echo, "worker": worker | {"us_backlog": worker["cpu_us_per_event"]}, "ratio": found}


def disturbed(served: Mapping[str, float], wanted: Iterable[str]) -> list[str]:
    """Which wanted models took part in too few of the worker's answers, as sentences."""
    return [
        f"the model `{name}` took part in {100 * part:.0f} % of the answers only"
        for name in wanted
        if (part := served.get(name, 0.0)) < LEAST_SERVED
    ]


def against(workers: Sequence[Measurement], rates: Sequence[float]) -> dict[str, float]:
    """Events a second of another echo, by turn, and the worker's throughput divided by them."""
    ratio = mean([worker.events_per_s / rate for worker, rate in zip(workers, rates, strict=True)])
    return {"events_per_s": round(statistics.median(rates), 1), "ratio": round(ratio, 2)}


def medians(turns: Sequence[Measurement]) -> dict[str, Any]:
    """Medians of the measurements of one application, and all measurements."""
    served = {name for turn in turns for name in turn.served}
    return {
        "events_per_s": median_of(turns, "events_per_s"),
        "p50_ms": statistics.median(turn.latency.p50_ms for turn in turns),
        "p99_ms": statistics.median(turn.latency.p99_ms for turn in turns),
        "cpu_us_per_event": median_of(turns, "cpu_us"),
        "us_steady_process": median_of(turns, "steady_us"),
        "broker_us": median_of(turns, "broker_us"),
        "bytes_a_record": median_of(turns, "bytes_a_record"),
        "rss_mb": median_of(turns, "rss_mb"),
        "served": {
            name: round(statistics.fmean(turn.served.get(name, 0.0) for turn in turns), 3) for name in sorted(served)
        },
        "turns": [
            {"events_per_s": round(turn.events_per_s, 1), "cpu_us_per_event": turn.cpu_us, **turn.more}
            for turn in turns
        ],
    }


def median_of(turns: Sequence[Any], name: str) -> float | None:
    """Median of what is known, to a tenth."""
    known = [value for turn in turns if (value := getattr(turn, name)) is not None]
    return round(statistics.median(known), 1) if known else None
