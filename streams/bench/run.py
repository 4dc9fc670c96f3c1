"""One run of the benchmark: what is measured on a broker and without one, and the machine that it ran on."""

from __future__ import annotations

import asyncio
import os
import platform
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from streams.bench import breakdown, scoring, sources
from streams.bench.benchmark import LEAD_S, Benchmark, BenchmarkConfig
from streams.bench.events import BenchShop
from streams.bench.take_over import TakeOverConfig, take_over
from streams.brokers.broker import Broker
from streams.brokers.embedded import EmbeddedBroker
from streams.brokers.kafka import KafkaBroker
from streams.interrupts import ended_as_by_ctrl_c
from streams.settings import Settings

PACKAGES = ("crosscurrent", "faust-streaming", "aiokafka", "numba", "numpy", "orjson", "msgspec", "uvloop")
"""Packages whose versions the figures depend on."""

SOURCES = "what each source of candidates costs: the kernel with and without it"
"""Said before it is measured."""


def run(config: BenchmarkConfig, *, kafka: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Start a broker, measure, stop it; returns the figures, as `--json` writes them.

    Raises:
        BrokerError: the broker cannot be started.
        BenchError: an application failed.
        ProcessError: a process ended.
    """
    broker: Broker = KafkaBroker() if kafka else EmbeddedBroker()
    started_at, load_before = datetime.now(UTC), os.getloadavg()
    with ended_as_by_ctrl_c(), tempfile.TemporaryDirectory(prefix="crosscurrent-bench-") as folder:
        with broker:
            say(f"{broker.title} at {broker.bootstrap_servers}")
            benchmark = Benchmark(broker, config, Path(folder), say)
            figures = asyncio.run(benchmark.run())
        say("where a microsecond goes: the worker's own code, without a broker")
        events = benchmark.events(config.warm_up + breakdown.EVENTS)
        where = breakdown.breakdown(benchmark.catalog, events[: config.warm_up], events[config.warm_up :])
        say(SOURCES)
        by_source = sources.costs(benchmark.catalog, events[: sources.EVENTS])
        say("what the sequence model costs")
        indexed, learnt = scoring.index(events[: scoring.EVENTS], config.items, say), scoring.learning()
    return figures | {
        "where_time_goes": where,
        "sources": by_source,
        "index": indexed,
        "learning": learnt,
        "broker": broker.title,
        **_circumstances(started_at, load_before[0]),
    }


def run_sources(config: BenchmarkConfig, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure only what each source of candidates costs, without a broker; returns the figures as `run` does."""
    started_at, load_before = datetime.now(UTC), os.getloadavg()
    say(SOURCES)
    shop = BenchShop(config.seed, Settings().partitions, time.time() - LEAD_S)
    found = sources.costs(shop.catalog(), shop.take(sources.EVENTS))
    return {"sources": found, **_circumstances(started_at, load_before[0])}


def run_take_over(config: TakeOverConfig, *, kafka: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure only take-overs, on a broker that is started for it; returns the figures, and raises, as `run` does."""
    broker: Broker = KafkaBroker() if kafka else EmbeddedBroker()
    started_at, load_before = datetime.now(UTC), os.getloadavg()
    with ended_as_by_ctrl_c(), tempfile.TemporaryDirectory(prefix="crosscurrent-bench-") as folder, broker:
        say(f"{broker.title} at {broker.bootstrap_servers}")
        found = take_over(broker, config, Path(folder), say)
    return {"take_over": found, "broker": broker.title, **_circumstances(started_at, load_before[0])}


def _circumstances(started_at: datetime, load_before: float) -> dict[str, Any]:
    """When and where it was measured."""
    return {
        "date": started_at.isoformat(timespec="seconds"),
        "seconds": round((datetime.now(UTC) - started_at).total_seconds()),
        "machine": _machine() | {"load_before": round(load_before, 2), "load_after": round(os.getloadavg()[0], 2)},
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
