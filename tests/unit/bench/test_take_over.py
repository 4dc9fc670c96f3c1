"""Parts of the measurement of take-overs: made-up rows, their way to the broker, figures, the report, the command."""

from __future__ import annotations

import asyncio
from io import StringIO
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from rich.console import Console
from typer import Typer
from typer.testing import CliRunner

from streams.bench import load, report, run
from streams.bench.events import Event
from streams.bench.take_over import Start, TakeOverConfig, compared, rows
from streams.cli import bench as bench_command
from streams.kafka.memory_log import StoredRecord
from streams.wire.history_rows import decode_history
from streams.wire.partitioner import partition_of
from streams.wire.record import check_at
from streams.wire.topics import Identity

PURCHASES, NOW_S = Identity("JkH0bOoQTqyWqjC0hHj9Jg", 8), 1_750_000_000.0


def made(config: TakeOverConfig) -> list[Event]:
    return list(rows(config, PURCHASES, NOW_S))


@pytest.mark.parametrize("items", [1, 20, 200])
def test_made_up_rows_are_rows_that_a_worker_adopts_on_an_empty_log(items: int) -> None:
    events = made(TakeOverConfig(30, items))
    assert len({event.key for event in events}) == 30
    for event in events:
        assert (event.topic, event.partition) == ("histories", partition_of(event.key, 8))
        record = StoredRecord(event.topic, event.partition, 0, round(NOW_S * 1000), event.key, event.value)
        row, purchases = decode_history(record)
        assert (purchases, row.history.position, len(row.item_ids)) == (PURCHASES, 0, items)
        check_at(record, row.history.last, NOW_S)


def test_the_same_seed_makes_the_same_rows() -> None:
    assert made(TakeOverConfig(10, 5)) == made(TakeOverConfig(10, 5))
    assert made(TakeOverConfig(10, 5)) != made(TakeOverConfig(10, 5, seed=8))


def test_events_that_fill_more_than_one_batch_are_all_sent_in_order() -> None:
    sent: list[tuple[int, Any]] = []

    class Producer:
        def create_batch(self) -> BatchBuilder:
            return BatchBuilder(1_100, 0)

        async def send_batch(self, batch: BatchBuilder, topic: str, *, partition: int) -> None:
            assert topic == "x-histories"
            sent.append((partition, batch))

    events = [Event("histories", n % 2, b"%d" % n, b"v" * 300) for n in range(12)]
    events.append(Event("histories", 0, b"large", b"v" * 3_000))
    asyncio.run(load._send(Producer(), "x-", events))
    assert [(partition, batch.record_count()) for partition, batch in sent] == [(0, 3), (0, 3), (0, 1), (1, 3), (1, 3)]


def starts(ready_s: float, *partitions_s: float, cpu_s: float | None, resident_mb: float | None) -> list[Start]:
    """Two of them; the second is a tenth of a second slower."""
    return [Start(ready_s + more, partitions_s, cpu_s, resident_mb) for more in (0.0, 0.1)]


@pytest.fixture
def figures() -> dict[str, Any]:
    without = starts(4.0, 0.01, 0.02, cpu_s=3.0, resident_mb=200.0)
    with_rows = starts(9.0, 4.02, 3.5, cpu_s=7.0, resident_mb=300.0)
    return compared(TakeOverConfig(100_000, 20), 150_000_000, without, with_rows)


def test_a_row_costs_what_it_adds_to_a_start_without_rows(figures: dict[str, Any]) -> None:
    assert (figures["without"]["ready_s"], figures["with"]["ready_s"]) == (4.05, 9.05)
    assert (figures["without"]["longest_s"], figures["with"]["longest_s"]) == (0.02, 4.02)
    assert figures["with"]["starts"][1]["partitions_s"] == (4.02, 3.5)
    assert (figures["bytes_a_row"], figures["us_a_row"], figures["cpu_us_a_row"]) == (1_500, 40.0, 40.0)
    assert figures["resident_bytes_a_row"] == pytest.approx(1_048.6)


def test_what_the_system_does_not_tell_is_unknown(figures: dict[str, Any]) -> None:
    blind = starts(4.0, 0.5, cpu_s=None, resident_mb=None)
    assert compared(TakeOverConfig(10, 5), 10_000, blind, blind)["cpu_us_a_row"] is None
    assert "unknown" in shown(compared(TakeOverConfig(10, 5), 10_000, blind, blind))
    assert "unknown" not in shown(figures)


def shown(figures: dict[str, Any]) -> str:
    console = Console(file=StringIO(), width=120)
    machine = {"processor": "one", "cores": 2, "python": "3.11.7", "load_before": 0.1, "load_after": 2.0}
    about = {"broker": "Apache Kafka", "date": "2026-01-01T00:00:00+00:00", "seconds": 300, "machine": machine}
    report.show_take_over({"take_over": figures, "valid": True} | about, console)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_the_report_says_what_was_taken_over_and_where(figures: dict[str, Any]) -> None:
    text = shown(figures)
    for part in (
        "100,000 made-up histories of 20 items",
        "9.1",
        "4.02",
        "40 us",
        "1,049 bytes",
        "1,500 bytes",
        "Kafka",
    ):
        assert part in text


def test_the_command_measures_take_overs_only_and_writes_the_figures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, figures: dict[str, Any]
) -> None:
    configs: list[object] = []
    about = {"broker": "", "date": "", "seconds": 1, "valid": True}
    machine = dict.fromkeys(("processor", "cores", "python", "load_before", "load_after"), "")

    def measured(config: object, *, kafka: bool, say: object) -> dict[str, Any]:
        configs.append(config)
        return {"take_over": figures, "machine": machine} | about

    monkeypatch.setattr(run, "run_take_over", measured)
    app = Typer()
    app.command()(bench_command.command)
    out = tmp_path / "out.json"
    done = CliRunner().invoke(app, ["--take-over", "2000", "160", "--repeats", "3", "--json", str(out)])
    assert done.exit_code == 0, done.output
    assert configs == [TakeOverConfig(2_000, 160, repeats=3)]
    assert orjson.loads(out.read_bytes())["take_over"]["us_a_row"] == 40.0
    for size in (["0", "5"], ["5", "0"], ["5", "2001"]):
        assert CliRunner().invoke(app, ["--take-over", *size]).exit_code == 2
    assert len(configs) == 1
