"""What a second worker, or a second thread of one, gains: a backlog is applied by each set-up in turn, on one broker.

Where processors are few, the broker takes part of them from the workers; a shop's runs elsewhere. So each throughput is
also given as it would be had the broker taken nothing. A worker of one thread already uses more than one processor: it
applies events while those before are answered in another. What is gained is measured against that.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from streams.bench.application import Application
from streams.bench.benchmark import LEARNT, SETTLE_S, WARM_SHARE, Applied, Backlog, Benchmark, median_of, triggers
from streams.bench.interval import mean

ONE = "one worker"
SET_UPS = {ONE: (1, 1), "one worker, two threads": (1, 2), "two workers": (2, 1)}
"""Numbers of workers and of threads of each, by name."""


class Scaling(Benchmark):
    """The measurement, on a running broker; arguments as of [`Benchmark`][]."""

    async def run(self) -> dict[str, Any]:
        """Run it; returns the figures by set-up."""
        await self._warm_up()
        set_ups = {name: self.workers(*numbers) for name, numbers in SET_UPS.items()}
        for name, app in set_ups.items():  # the broker compiles its code, the machine its kernels
            await self._apply(f"{name}, warm-up", app, round(WARM_SHARE * self._config.events))
        turns: dict[str, list[Applied]] = {name: [] for name in set_ups}
        for turn in range(1, self._config.repeats + 1):
            for name, app in set_ups.items():
                turns[name].append(await self._apply(f"{name}, turn {turn}", app, self._config.events))
            self._watch.end(f"turn {turn}")
        return compared(turns, os.cpu_count() or 1)

    async def _apply(self, title: str, app: Application, events: int) -> Applied:
        """Have a backlog of so many events applied, and what it teaches published."""
        backlog = Backlog(self._next(round(WARM_SHARE * events)), self._next(events))
        await self._preload(app, backlog.events)
        async with app.running():
            counts = triggers(backlog.uncounted), triggers(backlog.counted)
            applied = await self._apply_backlog(title, app, *counts)
            await app.await_quiet(SETTLE_S, *LEARNT)
        return applied


def compared(turns: Mapping[str, Sequence[Applied]], cores: int) -> dict[str, Any]:
    """Medians of each set-up, and throughputs divided by those of one worker in the same turn."""
    found = {}
    for name, measured in turns.items():
        ratios = [mine.rate / one.rate for mine, one in zip(measured, turns[ONE], strict=True)]
        without = [
            _without_broker(mine, cores) / _without_broker(one, cores)
            for mine, one in zip(measured, turns[ONE], strict=True)
        ]
        found[name] = {
            "events_per_s": median_of(measured, "rate"),
            "cpu_us": median_of(measured, "cpu_us"),
            "broker_us": median_of(measured, "broker_us"),
            "ratio": round(mean(ratios), 2),
            "ratio_without_broker": round(mean(without), 2),
            "turns": [round(applied.rate, 1) for applied in measured],
        }
    return found


def _without_broker(applied: Applied, cores: int) -> float:
    """Events a second, had the broker left its part of so many processors to the others."""
    return applied.rate / (1.0 - min(0.9, applied.rate * (applied.broker_us or 0.0) / 1e6 / cores))
