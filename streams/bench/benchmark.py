"""The worker and a bare echo alternately, on one broker: apply a backlog, then answer a steady load.

Conditions of a fair comparison:

* One process each, the same events as the same bytes, topics of the same shape, acknowledgements by all replicas.
* The backlog is complete before the process starts; nothing is fed while it is applied.
* The steady load comes from a separate process, at half the throughput that the echo has just shown, for both.
* The echo's producer lingers, which raises its throughput. Its latency is measured again without lingering, and the
  better result counts.
* The worker runs with default settings, learns all the time, and answers with a sequence model that a trainer has
  learnt from earlier events (`--counting`: without). Two points of its policy differ from the defaults: no suggestion
  is too old, and empty ones are sent, so that every trigger is answered.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from streams.bench.application import OUTPUT, PROGRESS, Application, BenchError, SteadyLoad
from streams.bench.events import BenchShop, Event, write
from streams.bench.load import preload
from streams.bench.measure import Latency, events_per_s, latency
from streams.bench.scoring import SIZES
from streams.brokers.broker import Broker
from streams.processes import READY_S, Process, cpu_s, crosscurrent, environment
from streams.settings import Settings

LINGER_MS = 20.0
"""Of the echo's producer: raises its throughput by half; longer lingering does not raise it further."""

WARM_S = 2.0
"""Seconds at the start of a steady load that do not count: connections and caches warm up."""

SETTLE_S = 2.0
"""The worker has learnt, published and saved everything when its topics have not grown for so long."""

SNAPSHOT_EVERY_S = 5
"""Between two snapshots of the trainer, which has learnt everything when it announces none for three times as long."""

LEAD_S = 3000.0
"""How long ago the first event happened: event times may be at most an hour ahead of append times."""

INPUTS = ("clicks", "purchases")

LEARNT = ("pairs", "neighbours", PROGRESS)
"""Topics that grow while the worker still learns from what it has answered."""


@dataclass(frozen=True, slots=True)
class BenchmarkConfig:
    """How much is measured."""

    events: int = 60_000  # of each backlog
    seconds: float = 12.0  # of each steady load, with those that do not count
    repeats: int = 2  # measurements of each application
    warm_up: int = 40_000  # events that the worker learns from before the first measurement
    seed: int = 7  # of the simulated shops
    models: bool = True  # whether the worker answers with a sequence model, too
    items: tuple[int, ...] = SIZES  # numbers of items that the sequence model scores


@dataclass(slots=True)
class Measurement:
    """One measurement of one application."""

    events_per_s: float
    cpu_us: float | None  # CPU time an event of the backlog, in microseconds; None without /proc
    latency: Latency
    more: dict[str, Any]


class Benchmark:
    """The whole comparison, on a running broker. The folder is for logs and events; `say` gets the progress."""

    def __init__(self, broker: Broker, config: BenchmarkConfig, folder: Path, say: Callable[[str], None]) -> None:
        self._broker = broker
        self._config = config
        self._folder = folder
        self._say = say
        self._shop = BenchShop(config.seed, Settings().partitions, time.time() - LEAD_S)
        self._happened: list[Event] = []
        self.catalog = self._shop.catalog()
        policy = folder / "policy.toml"
        policy.write_text("emit_empty = true\nmax_suggestion_age_s = 0\n", encoding="utf-8")
        settings = broker.settings(prefix="worker-")
        environ = environment(snapshot_store=folder / "snapshots", snapshot_every_s=SNAPSHOT_EVERY_S)
        worker = crosscurrent("worker", "--policy", str(policy), "--no-web", settings=settings)
        trainer = crosscurrent("trainer", "--no-web", settings=settings)
        self._worker = Application(settings, Process("the worker", worker, folder / "worker.log", environ))
        self._trainer = Application(settings, Process("the trainer", trainer, folder / "trainer.log", environ))
        self._echoes = 0

    def events(self, count: int) -> list[Event]:
        """The first events of the shop, those of the comparison included."""
        self._next(count - len(self._happened))
        return self._happened[:count]

    def _next(self, count: int) -> list[Event]:
        events = self._shop.take(max(0, count))
        self._happened += events
        return events

    async def run(self) -> dict[str, Any]:
        """Run it; returns the figures of both applications and of their comparison."""
        await self._warm_up()
        echoes, workers = [], []
        for number in range(1, self._config.repeats + 1):
            backlog = self._next(self._config.events)
            measurement, load = await self._measure_echo(f"echo, turn {number}", backlog)
            echoes.append(measurement)
            workers.append(await self._measure_worker(f"worker, turn {number}", backlog, load))
        return compared(echoes, workers) | {"plan": asdict(self._config)}

    async def _warm_up(self) -> None:
        """Let the worker learn the catalogue and the first events, so that there are rows to suggest from."""
        events = self._next(self._config.warm_up)
        self._say(f"warming up: {len(self.catalog):,} items, {len(events):,} events for the worker to learn from")
        self._worker.create_topics()
        await self._preload(self._worker, self.catalog)
        await self._preload(self._worker, events)
        async with self._worker.running():
            await self._worker.await_answers(self._worker.answered, _triggers(events))
            await self._worker.await_quiet(SETTLE_S, *LEARNT)
            if self._config.models:
                await self._train()

    async def _train(self) -> None:
        """Let the trainer learn from the events so far until it has announced snapshots, and stop it."""
        self._say("the trainer learns from the same")
        trainer = self._trainer
        async with trainer.running():
            deadline = time.monotonic() + READY_S
            while not await trainer.topics.count("snapshots"):
                await trainer.pause()
                if time.monotonic() > deadline:
                    words = trainer.process.last_words()
                    message = f"{trainer.process.name} announced nothing within {READY_S:.0f} s: {words}"
                    raise BenchError(message)
            await trainer.await_quiet(3 * SNAPSHOT_EVERY_S, "snapshots")

    async def _measure_echo(self, title: str, backlog: Sequence[Event]) -> tuple[Measurement, SteadyLoad]:
        echo = self._echo(LINGER_MS)
        await self._preload(echo, backlog)
        async with echo.running():
            rate, cpu_us, _ = await self._apply_backlog(title, echo, len(backlog))
            load = SteadyLoad(self._next(round(rate / 2 * self._config.seconds)), rate / 2)
            lingering = await self._answer_load(f"{title}, linger", echo, load, len(load.events))
        echo = self._echo(0.0)
        async with echo.running():
            immediate = await self._answer_load(f"{title}, no linger", echo, load, len(load.events))
        latencies = {f"linger {LINGER_MS:g} ms": asdict(lingering), "no linger": asdict(immediate)}
        better = min(lingering, immediate, key=lambda found: found.p99_ms)
        return Measurement(rate, cpu_us, better, {"latencies": latencies}), load

    async def _measure_worker(self, title: str, backlog: Sequence[Event], load: SteadyLoad) -> Measurement:
        worker = self._worker
        await self._preload(worker, backlog)
        async with worker.running():
            rate, cpu_us, last_ms = await self._apply_backlog(title, worker, _triggers(backlog))
            await worker.await_quiet(SETTLE_S, *LEARNT)
            learnt_ms = max((await worker.topics.appended(worker.written)).values())
            steady = await self._answer_load(title, worker, load, _triggers(load.events))
        more = {"learnt_after_s": max(0, learnt_ms - last_ms) / 1000, "latencies": {"default": asdict(steady)}}
        return Measurement(rate, cpu_us, steady, more)

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

    async def _preload(self, app: Application, events: Sequence[Event]) -> None:
        await preload(app.settings.bootstrap_servers, app.settings.prefix, events)

    async def _apply_backlog(self, title: str, app: Application, answers: int) -> tuple[float, float | None, int]:
        """Wait for the answers to a backlog: answers a second, CPU microseconds each, append time (ms) of the last."""
        started_s = cpu_s(app.process.pid)
        done = await app.topics.count(OUTPUT) - sum(app.answered.values())
        await app.await_answers(app.answered, answers)
        ended_s = cpu_s(app.process.pid)
        cpu_us = None
        if started_s is not None and ended_s is not None and done < answers:
            cpu_us = round((ended_s - started_s) / (answers - done) * 1e6, 1)
        times = (await app.topics.appended(app.answered)).values()
        rate = events_per_s(times)
        self._say(f"{title}: a backlog of {answers:,} answered at {rate:,.0f} events/s")
        return rate, cpu_us, max(times)

    async def _answer_load(self, title: str, app: Application, load: SteadyLoad, answers: int) -> Latency:
        """Feed a steady load from another process, and measure the latency of the answers."""
        file = self._folder / "events"
        write(file, load.events)
        inputs, output = await app.topics.ends(*INPUTS), await app.topics.ends(OUTPUT)
        arguments = [app.settings.bootstrap_servers, app.settings.prefix, str(load.rate), str(file)]
        command = [sys.executable, "-m", "streams.bench.load", *arguments]
        with Process("the feeder", command, self._folder / "feeder.log") as feeder:
            while feeder.running:
                await app.pause()
            if feeder.exit_code:
                feeder.check()
        await app.await_answers(output, answers)
        found = latency(await app.topics.appended(inputs), await app.topics.answers(output), WARM_S)
        self._say(f"{title}: {found.rate:,.0f} events/s answered in {found.p50_ms} ms (p50), {found.p99_ms} ms (p99)")
        return found


def _triggers(events: Iterable[Event]) -> int:
    return sum(event.triggers for event in events)


def compared(echoes: Sequence[Measurement], workers: Sequence[Measurement]) -> dict[str, Any]:
    """Figures of both applications, and the worker's divided by the echo's."""
    echo, worker = medians(echoes), medians(workers)
    ratio = {
        "throughput": worker["events_per_s"] / echo["events_per_s"],
        "p50": worker["p50_ms"] / echo["p50_ms"],
        "p99": worker["p99_ms"] / echo["p99_ms"],
    }
    return {"echo": echo, "worker": worker, "ratio": {name: round(value, 2) for name, value in ratio.items()}}


def medians(turns: Sequence[Measurement]) -> dict[str, Any]:
    """Medians of the measurements of one application, and all measurements."""
    cpu_us = [turn.cpu_us for turn in turns if turn.cpu_us is not None]
    return {
        "events_per_s": round(statistics.median(turn.events_per_s for turn in turns), 1),
        "p50_ms": statistics.median(turn.latency.p50_ms for turn in turns),
        "p99_ms": statistics.median(turn.latency.p99_ms for turn in turns),
        "cpu_us_per_event": round(statistics.median(cpu_us), 1) if cpu_us else None,
        "turns": [
            {"events_per_s": round(turn.events_per_s, 1), "cpu_us_per_event": turn.cpu_us} | turn.more for turn in turns
        ],
    }
