"""Parts of the benchmark: events, figures from append times, timing of functions."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from io import StringIO
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest
from rich.console import Console
from typer.testing import CliRunner

from models.ranking.features import FEATURES
from models.ranking.features import SOURCES as SHARES
from models.serving.batch import empty_output
from models.shop.kinds import CROSS_SELL, UPSELL
from streams.bench import benchmark, breakdown, events, measure, report, run, scoring, sources
from streams.bench.echo import create_echo
from streams.bench.stopwatch import Stopwatch
from streams.cli import bench as bench_command
from streams.kafka.memory_log import StoredRecord
from streams.wire.codec import decode_catalog, decode_click, decode_purchase
from streams.wire.partitioner import partition_of

ROOT = Path(__file__).parents[3]
START_S = 1_750_000_000.0
SERIALS = count(sources.FIRST_SERIAL, 32)
"""Of batches of queries."""


@pytest.fixture(scope="module")
def shop() -> tuple[list[events.Event], list[events.Event]]:
    bench_shop = events.BenchShop(7, 8, START_S)
    return bench_shop.catalog(), bench_shop.take(3_000)


def record(event: events.Event) -> StoredRecord:
    return StoredRecord(event.topic, event.partition, 0, round(START_S * 1000) + 60_000, event.key, event.value)


def test_every_event_and_item_keeps_the_contract_and_the_partition_of_its_key(
    shop: tuple[list[events.Event], list[events.Event]],
) -> None:
    catalog, happened = shop
    decode = {"clicks": decode_click, "purchases": decode_purchase, "catalog": decode_catalog}
    for event in [*catalog, *happened]:
        assert decode[event.topic](record(event)) is not None
        assert event.partition == partition_of(event.key, 8)
    assert len({event.key for event in catalog}) == len(catalog) == 1_980


def test_every_bought_and_viewed_item_is_in_the_catalogue(
    shop: tuple[list[events.Event], list[events.Event]],
) -> None:
    catalog, happened = shop
    known = {event.key.decode() for event in catalog}
    for event in happened:
        if event.topic == "clicks":
            assert decode_click(record(event)).item_id in known
        else:
            assert {line.item_id for line in decode_purchase(record(event)).lines} <= known


def test_no_event_repeats_another(shop: tuple[list[events.Event], list[events.Event]]) -> None:
    ids = [orjson.loads(event.value).get("event_id") or orjson.loads(event.value)["order_id"] for event in shop[1]]
    assert len(set(ids)) == len(ids)


def test_the_same_seed_and_start_give_the_same_bytes(shop: tuple[list[events.Event], list[events.Event]]) -> None:
    assert events.BenchShop(7, 8, START_S).take(500) == shop[1][:500]
    assert events.BenchShop(8, 8, START_S).take(500) != shop[1][:500]


def test_removals_from_the_cart_do_not_trigger(shop: tuple[list[events.Event], list[events.Event]]) -> None:
    quiet = [event for event in shop[1] if not event.triggers]
    assert quiet
    assert all(orjson.loads(event.value)["action"] == "remove_from_cart" for event in quiet)


def test_events_survive_a_file(tmp_path: Path, shop: tuple[list[events.Event], list[events.Event]]) -> None:
    events.write(tmp_path / "events", shop[1][:50])
    assert events.read(tmp_path / "events") == shop[1][:50]


def test_a_rate_counts_the_middle_of_a_run_only() -> None:
    slow_start, steady, slow_end = range(0, 9_000, 1_000), range(10_000, 10_820, 10), range(11_000, 20_000, 1_000)
    assert measure.events_per_s([*slow_start, *steady, *slow_end]) == pytest.approx(100.0)


def test_latency_goes_from_append_to_append_and_leaves_the_first_seconds_out() -> None:
    sent = {f"clicks-0-{n}": 1_000 + 100 * n for n in range(101)}  # ten a second, for ten seconds
    answered = {one: at + (500 if at < 3_000 else 7 if at < 10_000 else 9) for one, at in sent.items()}
    found = measure.latency(sent, answered, skip_s=2.0)
    assert (found.p50_ms, found.p99_ms, found.max_ms, found.events) == (7, 9, 9, 81)
    assert found.rate == pytest.approx(10.1)


def test_a_stopwatch_gives_each_function_its_own_time_only() -> None:
    now_s = 0.0

    def work(seconds: float) -> float:
        nonlocal now_s
        now_s += seconds
        return now_s

    registry = SimpleNamespace()
    registry.inner = lambda: work(2.0)
    registry.outer = lambda: (work(1.0), registry.inner())
    registry.parts = lambda: (work(0.25) for _ in range(2))
    watch, inner = Stopwatch(lambda: now_s), registry.inner
    with watch.around([(registry, "inner", "inner"), (registry, "outer", "outer"), (registry, "parts", "parts")]):
        registry.outer()
        list(registry.parts())
    assert registry.inner is inner
    assert [watch.seconds(stage) for stage in ("outer", "inner", "parts")] == [1.0, 2.0, 0.5]


def test_a_stopwatch_restores_functions_after_an_exception() -> None:
    registry = {"bad": lambda: 1 / 0}
    bad = registry["bad"]
    with pytest.raises(ZeroDivisionError), Stopwatch().around([(registry, "bad", "bad")]):
        registry["bad"]()
    assert registry["bad"] is bad


def test_every_stage_of_the_worker_is_timed_on_the_workbench(
    shop: tuple[list[events.Event], list[events.Event]],
) -> None:
    catalog, happened = shop
    paces = [breakdown.Pace("full", 200, 400, 1), breakdown.Pace("single", 4, 200, 1)]
    figures = breakdown.breakdown(catalog, happened[:1_000], happened[1_000:], paces)
    assert list(figures) == ["full", "single"]
    for pace in figures.values():
        stages = pace["stages_us"]
        assert pace["total_us"] == pytest.approx(sum(stages.values()), abs=0.5)
        assert all(us > 0 for stage, us in stages.items() if stage != breakdown.REST), stages


def test_the_cost_of_every_source_is_measured(shop: tuple[list[events.Event], list[events.Event]]) -> None:
    catalog, happened = shop
    figures = sources.costs(catalog, happened, queries=64, repeats=2)
    names = [sources.ALL, *(cost.source for cost in sources.COSTS), *sources.DESCRIBERS]
    assert {size: list(found) for size, found in figures.items()} == {"1": names, "32": names}
    for found in figures.values():
        assert found[sources.ALL]["low"] > 0.0
        assert all(cost["low"] <= cost["us"] <= cost["high"] for cost in found.values())


def test_a_source_whose_cost_is_measured_is_there_with_it_and_gone_without_it(
    shop: tuple[list[events.Event], list[events.Event]],
) -> None:
    found = {name: pooled(calls) for name, calls in sources.calls(*sources.taught(*shop, 64), 32).items()}
    whole = found[sources.ALL]
    assert all(whole[name] > 0 for name in whole)
    assert all(found["no neighbours"][name] == 0 for name in ("viewed_with share", "likeness share", "walk share"))
    assert found["no sequence model"]["sequence share"] == found["no histories"]["had"] == 0
    assert found[sources.LONG]["had"] > whole["had"]
    assert found["no most bought items"]["joined"] < whole["joined"]
    assert found["no top items"]["upsells joined"] < whole["upsells joined"]
    assert found["no top items"]["joined"] == whole["joined"]


def test_a_describer_writes_its_own_share_of_the_pool_that_the_kernel_has_left(
    shop: tuple[list[events.Event], list[events.Event]],
) -> None:
    written: dict[str, set[str]] = {name: set() for name in sources.DESCRIBERS}
    for batch, state in sources.calls(*sources.taught(*shop, 64), 1)[sources.ALL]:
        size, places = len(batch.at), state.limits.items
        sources.answered(batch._replace(serial=next(SERIALS)), state, empty_output(size, places, 0))
        shares = state.pool.shares[: state.pool.size[0]].view(np.uint64)  # bits: what is no candidate may be NaN
        for name, describe in sources.DESCRIBERS.items():
            before = shares.copy()
            describe(2, batch, state)
            written[name] |= {SHARES[column] for column in np.flatnonzero((shares != before).any(axis=0))}
    assert written == {name: {name} for name in sources.DESCRIBERS}


def pooled(calls: list[sources.Call]) -> Counter[str]:
    """What the pools of some calls have, in all."""
    found: Counter[str] = Counter()
    for batch, state in calls:
        size, places = len(batch.at), state.limits.items
        output = empty_output(size, places, size)
        out = output.answers
        logging = batch._replace(serial=next(SERIALS), logged=np.arange(size))
        sources.answered(logging, state, output)
        for query in range(size):
            rows = out.pool_features[query, : out.pool_size[query]]
            kinds = out.pool_kind[query, : out.pool_size[query]]
            for name in ("viewed_with share", "sequence share", "likeness share", "walk share", "had"):
                found[name] += int(np.count_nonzero(rows[:, FEATURES.index(name)]))
            counted = rows[:, FEATURES.index("counted")] > 0.0
            found["joined"] += int(np.count_nonzero(~counted & (kinds == CROSS_SELL)))
            found["upsells joined"] += int(np.count_nonzero(~counted & (kinds == UPSELL)))
    return found


def measurement(
    events_per_s: float, p50_ms: float, p99_ms: float, cpu_us: float | None = 100.0
) -> benchmark.Measurement:
    latency = measure.Latency(p50_ms, p99_ms, p99_ms, 1_000, 500.0)
    return benchmark.Measurement(events_per_s, cpu_us, latency, {"learnt_after_s": 1.0})


def test_the_median_of_the_measurements_counts() -> None:
    found = benchmark.medians([measurement(1_000, 9, 90), measurement(3_000, 2, 50), measurement(2_000, 3, 70)])
    assert (found["events_per_s"], found["p50_ms"], found["p99_ms"]) == (2_000, 3, 70)
    assert [turn["events_per_s"] for turn in found["turns"]] == [1_000, 3_000, 2_000]
    assert benchmark.medians([measurement(1, 1, 1, None)])["cpu_us_per_event"] is None


def test_the_ratio_is_worker_to_echo() -> None:
    compared = benchmark.compared([measurement(4_000, 20, 40)], [measurement(12_000, 5, 20)])
    assert compared["ratio"] == {"throughput": 3.0, "p50": 0.25, "p99": 0.5}


@pytest.fixture
def figures() -> dict[str, Any]:
    stages = {"suggest: kernel": 40.0, breakdown.REST: 10.0}
    pace = {"total_us": 50.0, "stages_us": stages, "events_offered_together": 4_000}
    costs = {"us_alone": 7.77, "us_a_shopper": 1.25, "mass": 0.962, "taken_s": 31.0}
    return benchmark.compared([measurement(4_000, 20, 40)], [measurement(12_000, 5, 20)]) | {
        "where_time_goes": {"backlog": pace, "steady": pace},
        "sources": {size: {"most bought items": {"us": 5.4, "low": 4.9, "high": 6.6}} for size in ("1", "32")},
        "index": {"200000": costs},
        "learning": {"positions_per_s": 8_765, "new_positions_per_s": 876},
        "broker": "Apache Kafka",
        "date": "2026-01-01T00:00:00+00:00",
        "seconds": 300,
        "machine": {"processor": "one", "cores": 2, "python": "3.11.7", "load_before": 0.1, "load_after": 2.0},
    }


def test_the_report_has_all_tables_and_the_machine(figures: dict[str, Any]) -> None:
    console = Console(file=StringIO(), width=120)
    report.show(figures, console)
    assert isinstance(console.file, StringIO)
    text = console.file.getvalue()
    for part in (
        "4,000",
        "12,000",
        "3.00",
        "0.50",
        "suggest: kernel",
        "of 32 together",
        "5.4 (4.9 to 6.6)",
        "Apache Kafka",
        "Python 3.11.7",
        "200,000",
        "0.962",
        "8,765",
    ):
        assert part in text


def test_the_command_measures_the_sources_alone_where_it_is_told_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, figures: dict[str, Any]
) -> None:
    few = {name: figures[name] for name in ("sources", "date", "seconds", "machine")}
    monkeypatch.setattr(run, "run_sources", lambda config, say: few)
    from typer import Typer

    app = Typer()
    app.command()(bench_command.command)
    done = CliRunner().invoke(app, ["--sources", "--json", str(tmp_path / "out.json")])
    assert done.exit_code == 0, done.output
    assert "most bought items" in done.output and "Python 3.11.7" in done.output
    assert orjson.loads((tmp_path / "out.json").read_bytes()) == few


def test_the_command_writes_the_figures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, figures: dict[str, Any]
) -> None:
    configs: list[tuple[benchmark.BenchmarkConfig, bool]] = []

    def measured(config: benchmark.BenchmarkConfig, *, kafka: bool, say: object) -> dict[str, Any]:
        configs.append((config, kafka))
        return figures

    monkeypatch.setattr(run, "run", measured)
    from typer import Typer

    app = Typer()
    app.command()(bench_command.command)
    done = CliRunner().invoke(app, ["--kafka", "--quick", "--json", str(tmp_path / "out.json")])
    assert done.exit_code == 0, done.output
    assert orjson.loads((tmp_path / "out.json").read_bytes()) == figures
    ((config, kafka),) = configs
    assert kafka
    assert config.repeats == 1
    assert config.events < benchmark.BenchmarkConfig().events


def test_what_the_sequence_model_costs_is_timed_on_its_own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "VISITS", 40)
    monkeypatch.setattr(scoring, "ASKED", 24)
    shop = events.BenchShop(7, 8, 1e9)
    costs = scoring.index(shop.take(2_000), (100, 25_000), lambda _: None)
    assert list(costs) == ["100", "25000"]
    assert costs["100"]["mass"] == 1.0
    assert 0.9 < costs["25000"]["mass"] <= 1.0
    assert all(costs[size]["us_alone"] > 0 and costs[size]["us_a_shopper"] > 0 for size in costs)
    assert scoring.learning()["positions_per_s"] > 0


def test_the_echo_is_stock_faust_with_its_own_group_and_no_web_server() -> None:
    app = create_echo("127.0.0.1:9092", "echo1-", 20.0, 8)
    assert app.conf.id == "echo1-echo"
    assert not app.conf.web_enabled
    assert app.conf.producer_linger == pytest.approx(0.02)
    (agent,) = app.agents.values()
    assert set(agent.channel.topics) == {"echo1-clicks", "echo1-purchases"}
    assert app.tables["counts"].partitions == 8


def test_sigterm_ends_a_bench_that_was_started_in_the_background() -> None:
    """Shells start background jobs with SIGINT ignored; SIGTERM must still end everything that the bench started."""
    program = """
import os, signal
from streams.interrupts import ended_as_by_ctrl_c
with ended_as_by_ctrl_c():
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()
"""
    command = [sys.executable, "-c", program]
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        done = subprocess.run(command, text=True, capture_output=True, cwd=ROOT, timeout=60, check=False)
    finally:
        signal.signal(signal.SIGINT, before)
    assert done.stderr.splitlines()[-1] == "KeyboardInterrupt"
