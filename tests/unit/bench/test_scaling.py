"""What more workers or threads gain: the figures, the report, the command."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.console import Console
from typer import Typer
from typer.testing import CliRunner

from streams.bench import report, run
from streams.bench.benchmark import Applied, BenchmarkConfig
from streams.bench.measure import Answers
from streams.bench.scaling import ONE, SET_UPS, compared
from streams.cli import bench as bench_command


def applied(rate: float, cpu_us: float | None = 50.0, broker_us: float | None = 20.0) -> Applied:
    return Applied(rate, cpu_us, broker_us, Answers({}), 0)


def test_a_set_up_is_compared_with_one_worker_in_the_same_turn() -> None:
    one, two = [applied(10_000.0), applied(5_000.0)], [applied(20_000.0, 60.0), applied(10_000.0, 60.0)]
    found = compared({ONE: one, "two workers": two}, cores=2)
    assert found[ONE] | {"turns": []} == {
        "events_per_s": 7_500.0,
        "cpu_us": 50.0,
        "broker_us": 20.0,
        "ratio": 1.0,
        "ratio_without_broker": 1.0,
        "turns": [],
    }
    assert (found["two workers"]["ratio"], found["two workers"]["cpu_us"]) == (2.0, 60.0)


def test_without_the_broker_its_part_of_the_processors_is_left_to_the_workers() -> None:
    found = compared({ONE: [applied(10_000.0)], "two workers": [applied(20_000.0)]}, cores=2)
    assert found["two workers"]["ratio_without_broker"] == pytest.approx(2.0 * 0.9 / 0.8, abs=0.01)
    unknown = compared({ONE: [applied(1.0, None, None)], "two workers": [applied(2.0, None, None)]}, cores=2)
    assert (unknown[ONE]["cpu_us"], unknown["two workers"]["ratio_without_broker"]) == (None, 2.0)


def test_the_command_measures_the_set_ups_and_prints_them(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    figures = {"workers": compared({name: [applied(10_000.0)] for name in SET_UPS}, 2)} | {
        "broker": "Apache Kafka",
        "valid": True,
        "date": "2026-01-01T00:00:00+00:00",
        "seconds": 300,
        "machine": {"processor": "one", "cores": 2, "python": "3.11.7", "load_before": 0.1, "load_after": 2.0},
    }

    def measure(config: BenchmarkConfig, *, kafka: bool, say: Any) -> dict[str, Any]:
        asked.append((config.events, kafka))
        return figures

    monkeypatch.setattr(run, "run_workers", measure)
    app = Typer()
    app.command()(bench_command.command)
    result = CliRunner().invoke(app, ["--workers", "--events", "5000"])
    assert result.exit_code == 0, result.output
    assert asked == [(5_000, False)]
    console = Console(file=StringIO(), width=120)
    report.show_workers(figures, console)
    assert isinstance(console.file, StringIO)
    for name in SET_UPS:
        assert name in console.file.getvalue()
