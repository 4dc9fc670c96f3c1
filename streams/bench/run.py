"""One run of the benchmark: what is measured on a broker and without one, and the machine that it ran on."""

from __future__ import annotations

import asyncio
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from streams.bench import breakdown, catalogue_sizes, quix_echo, scoring, serving_models, sources
from streams.bench.application import BenchError
from streams.bench.benchmark import Benchmark, BenchmarkConfig, disturbed
from streams.bench.breakdown import ServingWorker
from streams.bench.events import LEAD_S, BenchShop
from streams.bench.machine import MachineWatch
from streams.bench.replaying import ReplayConfig, replayed
from streams.bench.scaling import Scaling
from streams.bench.take_over import TakeOverConfig, take_over
from streams.bench.workbench import PURCHASES
from streams.brokers.broker import Broker
from streams.brokers.embedded import EmbeddedBroker
from streams.brokers.kafka import KafkaBroker
from streams.interrupts import ended_as_by_ctrl_c
from streams.settings import Settings

PACKAGES = ("crosscurrent", "faust-streaming", "aiokafka", "numba", "numpy", "orjson", "msgspec", "uvloop")
"""Packages whose versions the figures depend on."""

STAGES = "where a microsecond goes: the worker's own code, without a broker"
SOURCES = "what each source of candidates costs: the kernel with and without it"
"""Said before they are measured."""


def run(config: BenchmarkConfig, *, kafka: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Start a broker, measure, stop it; returns the figures, as `--json` writes them.

    Raises:
        BrokerError: the broker cannot be started.
        BenchError: an application failed, or a package is missing.
        ProcessError: a process ended.
    """
    if config.quix and not quix_echo.is_installed():
        raise BenchError(quix_echo.MISSING)
    started_at, watch = _begin(say)
    broker: Broker = KafkaBroker() if kafka else EmbeddedBroker()
    with ended_as_by_ctrl_c(), tempfile.TemporaryDirectory(prefix="crosscurrent-bench-") as folder:
        with broker:
            say(f"{broker.title} at {broker.bootstrap_servers}")
            benchmark = Benchmark(broker, config, Path(folder), watch, say)
            figures = asyncio.run(benchmark.run())
        say(STAGES)
        events = benchmark.events(config.warm_up + breakdown.EVENTS)
        worker = ServingWorker(benchmark.catalog, benchmark.snapshots, benchmark.shop.histories(PURCHASES))
        where = breakdown.breakdown(worker, events[: config.warm_up], events[config.warm_up :])
        figures["worker"]["us_steady"] = where[breakdown.STEADY.name]["total_us"]
        watch.end("where a microsecond goes")
        say(SOURCES)
        by_source = sources.costs(benchmark.catalog, events[: sources.EVENTS])
        say("what the sequence model costs")
        indexed, learnt = scoring.index(events[: scoring.EVENTS], config.items, say), scoring.learning()
        watch.end("sources and scoring")
    not_served = disturbed(figures["worker"]["served"], (snapshot.model for snapshot in benchmark.snapshots))
    return figures | {
        "where_time_goes": where,
        "sources": by_source,
        "index": indexed,
        "learning": learnt,
        "broker": broker.title,
        **_circumstances(started_at, watch, not_served),
    }


def run_stages(config: BenchmarkConfig, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure only where a microsecond of an event goes, without a broker; returns the figures as `run` does."""
    started_at, watch = _begin(say)
    shop = BenchShop(config.seed, Settings().partitions, time.time() - LEAD_S)
    catalog, warm_up, events = shop.catalog(), shop.take(config.warm_up), shop.take(breakdown.EVENTS)
    say("models learn from the first events")
    snapshots = serving_models.learn(catalog, warm_up, sequence=config.models)
    watch.end("learning")
    say(STAGES)
    where = breakdown.breakdown(ServingWorker(catalog, snapshots, shop.histories(PURCHASES)), warm_up, events)
    watch.end("where a microsecond goes")
    return {"where_time_goes": where, **_circumstances(started_at, watch)}


def run_sources(config: BenchmarkConfig, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure only what each source of candidates costs, without a broker; returns the figures as `run` does."""
    started_at, watch = _begin(say)
    say(SOURCES)
    shop = BenchShop(config.seed, Settings().partitions, time.time() - LEAD_S)
    found = sources.costs(shop.catalog(), shop.take(sources.EVENTS))
    watch.end("sources")
    return {"sources": found, **_circumstances(started_at, watch)}


def run_take_over(config: TakeOverConfig, *, kafka: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure only take-overs, on a broker that is started for it; returns the figures, and raises, as `run` does."""
    started_at, watch = _begin(say)
    broker: Broker = KafkaBroker() if kafka else EmbeddedBroker()
    with ended_as_by_ctrl_c(), tempfile.TemporaryDirectory(prefix="crosscurrent-bench-") as folder, broker:
        say(f"{broker.title} at {broker.bootstrap_servers}")
        found = take_over(broker, config, Path(folder), say)
        watch.end("take-over")
    return {"take_over": found, "broker": broker.title, **_circumstances(started_at, watch)}


def run_replay(config: ReplayConfig, *, kafka: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure only how fast the log is read again, on a broker that is started for it; as `run_take_over`."""
    started_at, watch = _begin(say)
    broker: Broker = KafkaBroker() if kafka else EmbeddedBroker()
    with ended_as_by_ctrl_c(), tempfile.TemporaryDirectory(prefix="crosscurrent-bench-") as folder, broker:
        say(f"{broker.title} at {broker.bootstrap_servers}")
        found = replayed(broker, config, Path(folder), say)
        watch.end("replay")
    return {"replay": found, "broker": broker.title, **_circumstances(started_at, watch)}


def run_workers(config: BenchmarkConfig, *, kafka: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure only what a second worker or thread gains, on a broker that is started for it; as `run`."""
    started_at, watch = _begin(say)
    broker: Broker = KafkaBroker() if kafka else EmbeddedBroker()
    with ended_as_by_ctrl_c(), tempfile.TemporaryDirectory(prefix="crosscurrent-bench-") as folder, broker:
        say(f"{broker.title} at {broker.bootstrap_servers}")
        found = asyncio.run(Scaling(broker, config, Path(folder), watch, say).run())
    return {"workers": found, "broker": broker.title, **_circumstances(started_at, watch)}


def run_items(config: BenchmarkConfig, sizes: Sequence[int], say: Callable[[str], None]) -> dict[str, Any]:
    """Measure only what an event costs by size of the catalogue, without a broker; returns the figures as `run` does.

    Raises:
        ProcessError: a process of one size ended by itself.
    """
    started_at, watch = _begin(say)
    with ended_as_by_ctrl_c(), tempfile.TemporaryDirectory(prefix="crosscurrent-bench-") as folder:
        found = catalogue_sizes.measured(sizes, Path(folder), config.seed, models=config.models, watch=watch, say=say)
    return {"items": found, **_circumstances(started_at, watch)}


def _begin(say: Callable[[str], None]) -> tuple[datetime, MachineWatch]:
    """The time now, and a watch over what else the machine does."""
    say("looking at what else the machine does")
    return datetime.now(UTC), MachineWatch()


def _circumstances(started_at: datetime, watch: MachineWatch, disturbed: Sequence[str] = ()) -> dict[str, Any]:
    """When and where it was measured, and whether the figures are valid."""
    reasons = [*watch.disturbed(), *disturbed]
    return {
        "valid": not reasons,
        "invalid_because": reasons,
        "date": started_at.isoformat(timespec="seconds"),
        "seconds": round((datetime.now(UTC) - started_at).total_seconds()),
        "machine": _machine()
        | {"load_before": watch.load, "load_after": round(os.getloadavg()[0], 2), "others": watch.others},
    }


def _machine() -> dict[str, Any]:
    """The machine and the installed packages."""
    packages = {}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            packages[package] = version(package)
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "packages": packages,
    }


def _processor() -> str:
    """Name of the processor, if the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
