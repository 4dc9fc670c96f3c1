"""Prints the figures of a run for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from streams.bench.scoring import TOGETHER

FIGURES = (
    ("events/s, a backlog", "events_per_s", "throughput", "{:,.0f}"),
    ("p50 ms, at half of the echo's events/s", "p50_ms", "p50", "{:,.1f}"),
    ("p99 ms", "p99_ms", "p99", "{:,.1f}"),
)


def show(figures: Mapping[str, Any], console: Console) -> None:
    """Print the tables, and what they were measured on."""
    console.print(_comparison(figures))
    console.print(_where(figures))
    console.print(_sources(figures))
    console.print(_index(figures))
    learnt = figures["learning"]
    console.print(
        f"the trainer learns {learnt['positions_per_s']:,} looks a second with one thread, "
        f"{learnt['new_positions_per_s']:,} of them new"
    )
    _show_machine(figures, console)


def show_sources(figures: Mapping[str, Any], console: Console) -> None:
    """Print the table of `streams.bench.run.run_sources`, and what it was measured on."""
    console.print(_sources(figures))
    console.print(_circumstances(figures), soft_wrap=True)


def show_take_over(figures: Mapping[str, Any], console: Console) -> None:
    """Print the table of `streams.bench.run.run_take_over`, and what it was measured on."""
    console.print(_take_over(figures["take_over"]))
    _show_machine(figures, console)


def _show_machine(figures: Mapping[str, Any], console: Console) -> None:
    console.print(f"{figures['broker']}, everything on one machine: {_circumstances(figures)}", soft_wrap=True)


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
    if echo["cpu_us_per_event"] and worker["cpu_us_per_event"]:
        cpu = (echo["cpu_us_per_event"], worker["cpu_us_per_event"])
        table.add_row("processor time, us an event", *(f"{us:,.0f}" for us in cpu), f"{cpu[1] / cpu[0]:.2f}")
    table.add_row(
        "learnt and published after, s", "", f"{max(turn['learnt_after_s'] for turn in worker['turns']):.1f}", ""
    )
    return table


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
