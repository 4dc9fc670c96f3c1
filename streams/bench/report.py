"""Prints the figures of a run for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from streams.bench.interval import WITHIN
from streams.bench.scoring import TOGETHER

FIGURES = (
    ("events/s, a backlog", "events_per_s", "throughput", "{:,.0f}"),
    ("p50 ms, at half of the echo's events/s", "p50_ms", "p50", "{:,.1f}"),
    ("p99 ms", "p99_ms", "p99", "{:,.1f}"),
)


def show(figures: Mapping[str, Any], console: Console) -> None:
    """Print the tables, and what they were measured on."""
    console.print(_comparison(figures))
    console.print(_settled(figures), soft_wrap=True)
    console.print(_latencies(figures["worker"]["latency_at"]))
    console.print(_where(figures))
    console.print(_sources(figures))
    console.print(_index(figures))
    learnt = figures["learning"]
    console.print(
        f"the trainer learns {learnt['positions_per_s']:,} looks a second with one thread, "
        f"{learnt['new_positions_per_s']:,} of them new"
    )
    _show_machine(figures, console)


def show_items(figures: Mapping[str, Any], console: Console) -> None:
    """Print the table of `streams.bench.run.run_items`, and what it was measured on."""
    console.print(_items(figures["items"]))
    _show_circumstances(figures, console)


def show_stages(figures: Mapping[str, Any], console: Console) -> None:
    """Print the table of `streams.bench.run.run_stages`, and what it was measured on."""
    console.print(_where(figures))
    _show_circumstances(figures, console)


def show_sources(figures: Mapping[str, Any], console: Console) -> None:
    """Print the table of `streams.bench.run.run_sources`, and what it was measured on."""
    console.print(_sources(figures))
    _show_circumstances(figures, console)


def show_take_over(figures: Mapping[str, Any], console: Console) -> None:
    """Print the table of `streams.bench.run.run_take_over`, and what it was measured on."""
    console.print(_take_over(figures["take_over"]))
    _show_machine(figures, console)


def show_replay(figures: Mapping[str, Any], console: Console) -> None:
    """Print the figures of `streams.bench.run.run_replay`, and what it was measured on."""
    found = figures["replay"]
    starts = ", ".join(f"{seconds:.2f}" for seconds in found["starts_s"])
    console.print(
        f"{found['clicks']:,} clicks of one partition read again in {found['seconds']:.2f} s ({starts}): "
        f"{found['records_per_s']:,} records/s",
        soft_wrap=True,
    )
    _show_machine(figures, console)


def show_workers(figures: Mapping[str, Any], console: Console) -> None:
    """Print the table of `streams.bench.run.run_workers`, and what it was measured on."""
    console.print(_workers(figures["workers"]))
    _show_machine(figures, console)


def _show_machine(figures: Mapping[str, Any], console: Console) -> None:
    console.print(f"{figures['broker']}, everything on one machine:")
    _show_circumstances(figures, console)


def _show_circumstances(figures: Mapping[str, Any], console: Console) -> None:
    console.print(_circumstances(figures), soft_wrap=True)
    if not figures["valid"]:
        console.print(f"INVALID: {'; '.join(figures['invalid_because'])}. Do not use these figures.", soft_wrap=True)


def _circumstances(figures: Mapping[str, Any]) -> str:
    machine = figures["machine"]
    return (
        f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}, "
        f"load {machine['load_before']} before and {machine['load_after']} after; "
        f"{figures['date']}, {figures['seconds']} s"
    )


def _comparison(figures: Mapping[str, Any]) -> Table:
    echo, worker, ratio = figures["echo"], figures["worker"], figures["ratio"]
    table = Table(title="one process each, the same events", title_justify="left")
    for name in ("", "bare stateful echo", "worker", "ratio"):
        table.add_column(name, justify="right" if name else "left")
    for title, name, compared, form in FIGURES:
        table.add_row(title, form.format(echo[name]), form.format(worker[name]), f"{ratio[compared]:.2f}")
    for title, name in (
        ("processor time of a backlog, us an event", "cpu_us_per_event"),
        ("... of the broker meanwhile", "broker_us"),
        ("... in the steady load", "us_steady_process"),
    ):
        both = echo[name], worker[name]
        cells = ("" if us is None else f"{us:,.0f}" for us in both)
        table.add_row(title, *cells, f"{both[1] / both[0]:.2f}" if all(both) else "")
    without = ratio["throughput_without_broker"]
    table.add_row("events/s without the broker's time", "", "", "" if without is None else f"{without:.2f}")
    if quix := figures.get("quix"):
        table.add_row(
            "events/s of a bare Quix Streams echo", f"{quix['events_per_s']:,.0f}", "", f"{quix['ratio']:.2f}"
        )
    for title, name, form in (
        ("own code, eight events together, us an event", "us_steady", "{:,.0f}"),
        ("bytes of a record", "bytes_a_record", "{:,.0f}"),
        ("resident memory, MB", "rss_mb", "{:,.0f}"),
    ):
        table.add_row(title, "", "" if worker[name] is None else form.format(worker[name]), "")
    table.add_row(
        "learnt and published after, s", "", f"{max(turn['learnt_after_s'] for turn in worker['turns']):.1f}", ""
    )
    return table


def _settled(figures: Mapping[str, Any]) -> str:
    """How sure the throughput ratio is."""
    ratio, turns = figures["ratio"], len(figures["worker"]["turns"])
    if ratio["interval"] is None:
        return "throughput ratio of one turn: no interval"
    low, high = ratio["interval"]
    said = "within" if ratio["settled"] else "NOT SETTLED: not within"
    return f"throughput ratio {low:.2f} to {high:.2f} (95 %, {turns} turns), {said} {100 * WITHIN:.0f} % of the mean"


def _latencies(shares: Mapping[str, Any]) -> Table:
    """Milliseconds at shares of the worker's own throughput."""
    table = Table(title="the worker at shares of its own throughput, ms", title_justify="left")
    for name in ("share", "events/s", "p50", "p95", "p99", "max"):
        table.add_column(name, justify="right")
    for percent, found in shares.items():
        times = (f"{found[name]:,.1f}" for name in ("p50_ms", "p95_ms", "p99_ms", "max_ms"))
        table.add_row(f"{percent} %", f"{found['rate']:,.0f}", *times)
    return table


def _items(sizes: Mapping[str, Any]) -> Table:
    """Cost of an event and memory, a column for each size of the catalogue."""
    table = Table(title="a worker without a broker, by items of the catalogue", title_justify="left")
    table.add_column("")
    for size in sizes:
        table.add_column(f"{int(size):,}", justify="right")
    for words, name in (("us an event of a backlog", "us"), ("... of eight together", "us_steady")):
        table.add_row(words, *(f"{found[name]:,.0f}" for found in sizes.values()))
    table.add_row("resident memory, MB", *(_whole(found["rss_mb"]) for found in sizes.values()))
    for part in next(iter(sizes.values()))["parts_mb"]:
        table.add_row(f"... {part}", *(_whole(found["parts_mb"][part]) for found in sizes.values()))
    table.add_row("started and warm after, s", *(_whole(found["started_s"]) for found in sizes.values()))
    return table


def _workers(set_ups: Mapping[str, Any]) -> Table:
    """Throughput and processor time, a row for each set-up."""
    table = Table(title="a backlog applied by more workers or threads", title_justify="left")
    for name in ("", "events/s", "ratio", "... without the broker's time", "us an event", "... of the broker"):
        table.add_column(name, justify="right" if name else "left")
    for name, found in set_ups.items():
        ratios = f"{found['ratio']:.2f}", f"{found['ratio_without_broker']:.2f}"
        times = (_whole(found[us]) for us in ("cpu_us", "broker_us"))
        table.add_row(name, f"{found['events_per_s']:,.0f}", *ratios, *times)
    return table


def _whole(number: float | None) -> str:
    return "unknown" if number is None else f"{number:,.0f}"


def _take_over(figures: Mapping[str, Any]) -> Table:
    """A start without and with histories, and what each row adds."""
    title = f"a worker takes over {figures['shoppers']:,} made-up histories of {figures['items']} items"
    table = Table(title=title, title_justify="left")
    for name in ("", "without rows", "with them", "a row"):
        table.add_column(name, justify="right" if name else "left")
    for words, name, a_row, unit, form in (
        ("from start to ready, s", "ready_s", "", "", "{:,.1f}"),
        ("longest take-over of a partition, s", "longest_s", "us_a_row", "us", "{:,.2f}"),
        ("processor time, s", "cpu_s", "cpu_us_a_row", "us", "{:,.1f}"),
        ("resident memory, MB", "resident_mb", "resident_bytes_a_row", "bytes", "{:,.0f}"),
    ):
        sides = (figures[side][name] for side in ("without", "with"))
        cells = ("unknown" if figure is None else form.format(figure) for figure in sides)
        each = figures.get(a_row)
        table.add_row(words, *cells, "" if each is None else f"{each:,.0f} {unit}")
    table.add_row("rows on the broker", "", "", f"{figures['bytes_a_row']:,} bytes")
    return table


def _index(figures: Mapping[str, Any]) -> Table:
    """What the best items of so many cost, and how good they are."""
    table = Table(title="the best of so many items, us a shopper", title_justify="left")
    for name in ("items", "one alone", f"of {TOGETHER} together", "mass found", "snapshot taken in, s"):
        table.add_column(name, justify="right")
    for size, costs in figures["index"].items():
        figures_of_size = (costs["us_alone"], costs["us_a_shopper"], costs["mass"], costs["taken_s"])
        table.add_row(f"{int(size):,}", *map(str, figures_of_size))
    return table


def _sources(figures: Mapping[str, Any]) -> Table:
    """Microseconds a query by source, with quartiles, a column for each size of a batch."""
    sizes: Mapping[str, Any] = figures["sources"]
    table = Table(title="the kernel, us a query by source: median (quartiles)", title_justify="left")
    table.add_column("source")
    for size in sizes:
        table.add_column("one alone" if size == "1" else f"of {size} together", justify="right")
    for source in next(iter(sizes.values())):
        costs = [of_size[source] for of_size in sizes.values()]
        table.add_row(source, *(f"{cost['us']:.1f} ({cost['low']:.1f} to {cost['high']:.1f})" for cost in costs))
    return table


def _where(figures: Mapping[str, Any]) -> Table:
    """Microseconds by stage, a column for each pace."""
    paces: Mapping[str, Any] = figures["where_time_goes"]
    table = Table(title="where a microsecond of an event goes, without a broker", title_justify="left")
    table.add_column("stage")
    for name, pace in paces.items():
        table.add_column(f"{name}, us\n({pace['events_offered_together']:,} at a time)", justify="right")
    for stage in next(iter(paces.values()))["stages_us"]:
        table.add_row(stage, *(f"{pace['stages_us'][stage]:.1f}" for pace in paces.values()))
    table.add_section()
    table.add_row("in all", *(f"{pace['total_us']:.1f}" for pace in paces.values()))
    return table
