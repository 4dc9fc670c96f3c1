"""Parts of the benchmark: events, figures from append times, timing of functions."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from io import StringIO
from itertools import count, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from models.ranking.features import FEATURES, LEARNT
from models.ranking.features import SOURCES as SHARES
from models.ranking.ranker import MODEL as RANKER
from models.serving.batch import empty_output
from models.shop.kinds import CROSS_SELL, UPSELL
from models.snapshot import Snapshot
from streams.bench import (
    benchmark,
    breakdown,
    events,
    measure,
    quix_echo,
    report,
    run,
    scoring,
    serving_models,
    sources,
)
from streams.bench.application import BenchError
from streams.bench.echo import create_echo
from streams.bench.stopwatch import Stopwatch
from streams.bench.workbench import PURCHASES, Workbench
from streams.cli import bench as bench_command
from streams.kafka.memory_log import StoredRecord
from streams.wire.codec import decode_catalog, decode_click, decode_purchase
from streams.wire.history_rows import PublishedHistory, decode_histories
from streams.wire.partitioner import partition_of

ROOT = Path(__file__).parents[3]
START_S = 1_750_000_000.0
SERIALS = count(sources.FIRST_SERIAL, 32)
"""Of batches of queries."""


@pytest.fixture(scope="module")
def shop() -> tuple[list[events.Event], list[events.Event]]:
    bench_shop = events.BenchShop(7, 8, START_S)
    return bench_shop.catalog(), bench_shop.take(3_000)


@pytest.fixture(scope="module")
def taught(shop: tuple[list[events.Event], list[events.Event]]) -> list[Snapshot]:
    torch = pytest.importorskip("torch", reason="the sequence model learns with torch (extra `learning`)")
    threads = torch.get_num_threads()
    found = serving_models.learn(shop[0], shop[1][:1_500])
    assert torch.get_num_threads() == threads
    return found


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


def test_a_stopwatch_keeps_threads_apart() -> None:
    def here() -> None:
        thread.start()
        time.sleep(0.05)

    registry = SimpleNamespace(there=lambda: time.sleep(0.2), here=here)
    watch, thread = Stopwatch(time.perf_counter), threading.Thread(target=lambda: registry.there())
    with watch.around([(registry, "there", "there"), (registry, "here", "here")]):
        registry.here()
        thread.join()
    assert watch.seconds("here") == pytest.approx(0.05, abs=0.04)
    assert watch.seconds("there") >= 0.19


def test_answers_are_counted_once_with_their_bytes_and_models() -> None:
    found, value = measure.Answers({}), b'{"suggestion_id":"clicks-0-1","models":{"sequence":"v","cooccurrence":"c"}}'
    found.add(value, 1_000)
    found.add(value, 2_000)
    found.add(b'{"suggestion_id":"clicks-0-2","count":3}', 3_000)  # the echo's
    assert found.at_ms == {"clicks-0-1": 1_000, "clicks-0-2": 3_000}
    assert found.value_bytes == len(value) + 40
    assert found.models == {"sequence": 1, "cooccurrence": 1}


def test_every_shopper_has_a_history_that_a_worker_adopts(
    shop: tuple[list[events.Event], list[events.Event]],
) -> None:
    bench_shop, known = events.BenchShop(7, 8, START_S), {event.key.decode() for event in shop[0]}
    rows = {event.key: event for event in bench_shop.histories(PURCHASES)}
    assert len(rows) == events.BRANCHES * events.SHOPPERS
    assert {event.key for event in shop[1]} <= set(rows)
    for row in list(rows.values())[:: len(rows) // 50]:
        (published,) = decode_histories([record(row)])
        assert isinstance(published, PublishedHistory)
        assert len(set(published.row.item_ids) & known) == events.BOUGHT
        assert row.partition == partition_of(row.key, 8)


def test_the_models_of_the_benchmark_serve_in_a_worker(
    shop: tuple[list[events.Event], list[events.Event]], taught: list[Snapshot]
) -> None:
    assert {snapshot.model for snapshot in taught} == set(serving_models.MODELS)
    bench = Workbench(shop[0], round(START_S * 1000))
    bench.install(taught)
    assert bench.sizes()["sequence model"] > 0
    order = next(snapshot for snapshot in taught if snapshot.model == RANKER)
    assert order.arrays["serves"][[CROSS_SELL, UPSELL]].tolist() == [LEARNT, LEARNT]


def test_the_quix_echo_counts_by_shopper_and_names_the_event() -> None:
    class State(dict[str, int]):
        set = dict.__setitem__

    value, state = orjson.dumps({"user_id": "ann"}), State()
    found = [quix_echo.echoed(value, state, f"clicks-0-{offset}") for offset in range(2)]
    assert [orjson.loads(record) for record in found] == [
        {"suggestion_id": "clicks-0-0", "count": 1},
        {"suggestion_id": "clicks-0-1", "count": 2},
    ]


def test_a_stopwatch_restores_functions_after_an_exception() -> None:
    registry = {"bad": lambda: 1 / 0}
    bad = registry["bad"]
    with pytest.raises(ZeroDivisionError), Stopwatch().around([(registry, "bad", "bad")]):
        registry["bad"]()
    assert registry["bad"] is bad


def test_every_stage_of_the_worker_is_timed_on_the_workbench(
    shop: tuple[list[events.Event], list[events.Event]], taught: list[Snapshot]
) -> None:
    catalog, happened = shop
    paces = [breakdown.Pace("full", 200, 400, 1), breakdown.Pace("single", 4, 200, 1)]
    bench_shop = events.BenchShop(7, 8, START_S)
    worker = breakdown.ServingWorker(catalog, taught, islice(bench_shop.histories(PURCHASES), 500))
    figures = breakdown.breakdown(worker, happened[:1_000], happened[1_000:], paces)
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
        shares = state.pool.shares[: state.pool.size[0]]
        for name, describe in sources.DESCRIBERS.items():
            shares[:] = 0.0
            describe(2, batch, state)
            written[name] |= {SHARES[column] for column in np.flatnonzero(shares.any(axis=0))}
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
    latency = measure.Latency(p50_ms, p99_ms, p99_ms, p99_ms, 1_000, 500.0)
    return benchmark.Measurement(events_per_s, cpu_us, latency, more={"learnt_after_s": 1.0})


def test_the_median_of_the_measurements_counts() -> None:
    found = benchmark.medians([measurement(1_000, 9, 90), measurement(3_000, 2, 50), measurement(2_000, 3, 70)])
    assert (found["events_per_s"], found["p50_ms"], found["p99_ms"]) == (2_000, 3, 70)
    assert [turn["events_per_s"] for turn in found["turns"]] == [1_000, 3_000, 2_000]
    assert benchmark.medians([measurement(1, 1, 1, None)])["cpu_us_per_event"] is None


def test_the_ratio_is_worker_to_echo() -> None:
    compared = benchmark.compared([measurement(4_000, 20, 40)], [measurement(12_000, 5, 20)])
    ratio = compared["ratio"]
    assert (ratio["throughput"], ratio["p50"], ratio["p99"]) == (3.0, 0.25, 0.5)
    assert ratio["interval"] is None
    assert not ratio["settled"]


def test_the_throughput_ratio_is_the_mean_of_the_turns_with_its_interval() -> None:
    echoes = [measurement(rate, 20, 40, 200.0) for rate in (4_000, 5_000, 4_500)]
    workers = [measurement(rate, 5, 20, 50.0) for rate in (12_000, 15_300, 13_400)]
    ratio = benchmark.compared(echoes, workers)["ratio"]
    low, high = ratio["interval"]
    assert low < ratio["throughput"] < high
    assert ratio["throughput"] == pytest.approx(3.01, abs=0.01)
    assert ratio["settled"]
    assert ratio["throughput_without_broker"] == 4.0
    workers[0] = measurement(6_000, 5, 20, None)
    assert not benchmark.compared(echoes, workers)["ratio"]["settled"]


def test_turns_are_taken_until_the_ratio_settles_or_there_are_too_many() -> None:
    config, echo = benchmark.BenchmarkConfig(repeats=3, most_turns=5), measurement(1_000, 1, 1)
    steady = [measurement(rate, 1, 1) for rate in (3_000, 3_050, 2_980)]
    assert benchmark.another_turn(config, [], [])
    assert benchmark.another_turn(config, [echo] * 2, steady[:2])
    assert not benchmark.another_turn(config, [echo] * 3, steady)
    restless = [measurement(rate, 1, 1) for rate in (3_000, 5_000, 2_000, 4_500, 2_200)]
    assert benchmark.another_turn(config, [echo] * 4, restless[:4])
    assert not benchmark.another_turn(config, [echo] * 5, restless)


def test_another_echo_is_compared_turn_by_turn() -> None:
    found = benchmark.against([measurement(3_000, 1, 1), measurement(6_000, 1, 1)], [10_000.0, 20_000.0])
    assert found == {"events_per_s": 15_000.0, "ratio": 0.3}


def test_models_that_did_not_serve_make_a_run_invalid() -> None:
    assert benchmark.disturbed({"sequence": 1.0, "ranker": 0.2}, ["sequence", "ranker"]) == [
        "the model `ranker` took part in 20 % of the answers only"
    ]
    assert benchmark.disturbed({"ranker": 0.95}, ["ranker"]) == []
    assert benchmark.disturbed({}, ["ranker"]) == ["the model `ranker` took part in 0 % of the answers only"]


@pytest.fixture
def figures() -> dict[str, Any]:
    stages = {"suggest: kernel": 40.0, breakdown.REST: 10.0}
    pace = {"total_us": 50.0, "stages_us": stages, "events_offered_together": 4_000}
    costs = {"us_alone": 7.77, "us_a_shopper": 1.25, "mass": 0.962, "taken_s": 31.0}
    found = benchmark.compared([measurement(4_000, 20, 40)], [measurement(12_000, 5, 20)])
    share = {"p50_ms": 3.0, "p95_ms": 4.0, "p99_ms": 5.5, "max_ms": 61.0, "events": 100, "rate": 3_000.0}
    found["worker"] |= {"latency_at": {"25": share}, "us_steady": 68.0, "rss_mb": 512.0}
    return found | {
        "quix": {"events_per_s": 31_000.0, "ratio": 0.39},
        "valid": False,
        "invalid_because": ["other processes used up to 20 % of all cores (turn 1)"],
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
        "25 %",
        "61.0",
        "31,000",
        "no interval",
        "INVALID: other processes used up to 20 % of all cores (turn 1)",
    ):
        assert part in text


def test_the_command_measures_the_sources_alone_where_it_is_told_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, figures: dict[str, Any]
) -> None:
    few = {name: figures[name] for name in ("sources", "valid", "date", "seconds", "machine")} | {"valid": True}
    monkeypatch.setattr(run, "run_sources", lambda config, say: few)
    done = bench("--sources", "--json", str(tmp_path / "out.json"))
    assert done.exit_code == 0, done.output
    assert "most bought items" in done.output and "Python 3.11.7" in done.output
    assert "INVALID" not in done.output
    assert orjson.loads((tmp_path / "out.json").read_bytes()) == few


def bench(*arguments: str) -> Result:
    from typer import Typer

    app = Typer()
    app.command()(bench_command.command)
    return CliRunner().invoke(app, arguments)


def test_the_command_measures_the_stages_alone_where_it_is_told_to(
    monkeypatch: pytest.MonkeyPatch, figures: dict[str, Any]
) -> None:
    configs: list[benchmark.BenchmarkConfig] = []
    few = {name: figures[name] for name in ("where_time_goes", "date", "seconds", "machine")} | {"valid": True}

    def measured(config: benchmark.BenchmarkConfig, say: object) -> dict[str, Any]:
        configs.append(config)
        return few

    monkeypatch.setattr(run, "run_stages", measured)
    done = bench("--stages", "--counting")
    assert done.exit_code == 0, done.output
    assert "suggest: kernel" in done.output and "Python 3.11.7" in done.output
    assert not configs[0].models


def test_the_command_measures_by_items_alone_where_it_is_told_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, figures: dict[str, Any]
) -> None:
    asked: list[Sequence[int]] = []
    size = {"us": 44.0, "us_steady": 71.0, "rss_mb": 2_345, "parts_mb": {"catalog": 678.0}, "started_s": 9.0}
    few = {name: figures[name] for name in ("valid", "invalid_because", "date", "seconds", "machine")}

    def measured(config: benchmark.BenchmarkConfig, sizes: Sequence[int], say: object) -> dict[str, Any]:
        asked.append(sizes)
        return few | {"items": {str(number): size for number in sizes}}

    monkeypatch.setattr(run, "run_items", measured)
    done = bench("--items", "10000,1000000", "--json", str(tmp_path / "out.json"))
    assert done.exit_code == 0, done.output
    assert asked == [(10_000, 1_000_000)]
    assert all(part in done.output for part in ("1,000,000", "2,345", "678", "INVALID"))
    assert orjson.loads((tmp_path / "out.json").read_bytes())["items"]["10000"] == size


@pytest.mark.parametrize("text", ["", "10,", "ten", "10000,1999"])
def test_numbers_of_items_must_be_numbers_of_at_least_the_shops_own(text: str) -> None:
    done = bench("--items", text)
    assert done.exit_code == 2
    assert "at least 2,000 each" in " ".join(done.output.split())


def test_another_echo_that_is_not_installed_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quix_echo, "find_spec", lambda name: None)
    done = bench("--against", "quix")
    assert done.exit_code == 1
    assert isinstance(done.exception, BenchError)
    assert "pip install 'crosscurrent[quix]'" in str(done.exception)


def test_the_command_writes_the_figures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, figures: dict[str, Any]
) -> None:
    configs: list[tuple[benchmark.BenchmarkConfig, bool]] = []

    def measured(config: benchmark.BenchmarkConfig, *, kafka: bool, say: object) -> dict[str, Any]:
        configs.append((config, kafka))
        return figures

    monkeypatch.setattr(run, "run", measured)
    done = bench("--kafka", "--quick", "--json", str(tmp_path / "out.json"))
    assert done.exit_code == 0, done.output
    assert orjson.loads((tmp_path / "out.json").read_bytes()) == figures
    ((config, kafka),) = configs
    assert kafka
    assert config.repeats == config.most_turns == 1
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
