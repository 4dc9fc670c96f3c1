"""Reports drills: a progress line while they run, a table for people, figures for scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from streams.drills.run import Outcome


def progress(console: Console) -> Progress:
    """A line with the current run, what it does, and the time taken."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.fields[name]}"),
        BarColumn(bar_width=20),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
        console=console,
        transient=True,
    )


def line(outcome: Outcome) -> str:
    """One line about a run."""
    verdict, swaps = outcome.verdict, outcome.swaps
    of_swaps = ""
    if swaps is not None:
        around, away = swaps.around, swaps.away
        of_swaps = (
            f"; {swaps.fewest} swaps, p99 {around.p99_ms:.0f} ms around them and {away.p99_ms:.0f} ms elsewhere, "
            f"above {swaps.bound_ms:.0f} ms {len(swaps.late)} of {around.n:,} and {swaps.late_away} of {away.n:,}; "
            f"looks {swaps.looks:,}, learnt or held back {swaps.learnt + swaps.held:,}"
        )
    return (
        f"{outcome.config.drill}: {verdict.events:,} events, missing {len(verdict.missing)}, wrong {verdict.wrong}, "
        f"duplicates {verdict.duplicates}, longest gap {verdict.longest_gap_s:.2f} s, "
        f"recount wrong {verdict.recount_wrong}{of_swaps}; {outcome.seconds:.0f} s"
    )


def complaints(outcome: Outcome) -> list[str]:
    """What was wrong with a run; empty if it was good."""
    if outcome.good:
        return []
    sentences = [*outcome.complaints, *outcome.verdict.examples, *outcome.notes]
    return [*sentences, f"the workers' logs are in {outcome.logs}"]


def table(broker: str, outcomes: Sequence[Outcome]) -> Table:
    """All runs as a table."""
    shown = Table(title=f"drills on {broker}", title_justify="left")
    shown.add_column("drill")
    for name in ("events", "answers due", "missing", "wrong", "duplicates", "longest gap", "cells", "recount wrong"):
        shown.add_column(name, justify="right")
    for outcome in outcomes:
        found = outcome.verdict
        cells = sum(difference.compared for difference in found.undisturbed.values())
        before = (found.events, found.triggers, len(found.missing), found.wrong, found.duplicates)
        after = (f"{found.longest_gap_s:.2f} s", f"{cells:,}", f"{found.recount_wrong:,}")
        shown.add_row(outcome.config.drill, *(f"{n:,}" for n in before), *after)
    return shown


def figures(drill: str, kafka: bool, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """All runs as `drill --json` writes them."""
    runs = [outcome.as_json() for outcome in outcomes]
    return {"drill": drill, "broker": "kafka" if kafka else "embedded", "runs": runs}
