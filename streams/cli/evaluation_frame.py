"""What the `evaluate` commands share: file options, choice of methods, logs and progress bars.

`--help` loads this module: heavy imports belong into functions.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, Literal, ParamSpec

import typer

from streams.cli.figures import FiguresFile, check_file, write_figures, write_file
from streams.cli.options import with_options
from streams.errors import CrosscurrentError

if TYPE_CHECKING:
    from rich.table import Table

    from models.evaluation.prequential.replay import Engine
    from models.shop.policy import Policy
    from streams.connectors.event_log import EventLog
    from streams.settings import Settings

P = ParamSpec("P")

UNITS_S = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


FILE_OPTIONS: dict[str, Any] = {
    "json": FiguresFile,
    "html": Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="OUT",
            help="Write a report with plots",
            show_default=False,
            dir_okay=False,
            callback=check_file,
        ),
    ],
    "policy": Annotated[
        Path | None, typer.Option("--policy", help="TOML file that says what may be suggested", show_default=False)
    ],
    "config": Annotated[Path | None, typer.Option("--config", help="TOML file with settings", show_default=False)],
}

Seed = Annotated[int, typer.Option("--seed", help="Of everything that is drawn")]
Methods = Annotated[str | None, typer.Option("--methods", metavar="A,B", help="Only these (all)")]

Source = Annotated[
    Literal["completejourney", "rees46", "simulated", "jsonl"], typer.Argument(help="Which log", show_default=False)
]
SourcePath = Annotated[Path | None, typer.Argument(help="rees46: CSV file; jsonl: folder", show_default=False)]
Limit = Annotated[int | None, typer.Option(min=1, help="Most events (all; simulated: 50000)")]
SourceSeed = Annotated[int, typer.Option("--seed", help="Of everything that is drawn, the simulated shop too")]


@dataclass(frozen=True)
class EvaluationFrame:
    """The file options of a command."""

    json: Path | None = None
    html: Path | None = None
    policy: Path | None = None
    config: Path | None = None

    def settings(self) -> tuple[Settings, Policy]:
        """Settings from the environment and the files, and the policy in force."""
        from streams.policy_file import read_policy
        from streams.settings import Settings

        settings = Settings.load({"policy": self.policy}, os.environ, self.config)
        return settings, read_policy(settings.policy, settings.visits.purchase_memory_s)

    def check_plots(self) -> None:
        """Check before hours of work that a report can be drawn, if one is wanted."""
        from streams.cli.evaluation_report import check_plots

        if self.html is not None:
            check_plots()

    def finish(self, figures: Mapping[str, Any], *tables: Table) -> None:
        """Write the files that were asked for, and print the tables."""
        from streams.cli.evaluation_report import report
        from streams.cli.printing import table_console

        write_figures(self.json, figures)
        if self.html is not None:
            write_file(self.html, report(figures).encode())
        for table in tables:
            table_console().print(table)


def evaluation(*names: str) -> Callable[[Callable[Concatenate[EvaluationFrame, P], None]], Callable[..., None]]:
    """Give a command options from `FILE_OPTIONS`, and the frame made of them as its first argument."""
    return with_options({name: FILE_OPTIONS[name] for name in names}, lambda given: EvaluationFrame(**given))


def chosen(methods: str | None, choices: Sequence[str]) -> list[str]:
    """The methods that `--methods` names, all by default; BadParameter for one that is none of the choices."""
    names = list(choices) if methods is None else [name.strip() for name in methods.split(",")]
    if unknown := [name for name in names if name not in choices]:
        message = f"no method {unknown[0]!r}: choose from {', '.join(choices)}"
        raise typer.BadParameter(message, param_hint="--methods")
    return names


def sampled(seed: int, size: int | None, possible: int) -> list[int]:
    """At most `size` numbers below `possible`, drawn by a seed."""
    return random.Random(seed).sample(range(possible), min(size or possible, possible))  # noqa: S311 - no secret


def window_of(text: str) -> float:
    """Seconds of a time such as `30m`."""
    try:
        window_s = float(text[:-1]) * UNITS_S[text[-1:]]
    except (KeyError, ValueError):
        window_s = 0.0
    if not 0 < window_s < float("inf"):
        message = f"must be a time above 0 such as 90s, 30m, 24h or 7d; got {text!r}"
        raise typer.BadParameter(message)
    return window_s


complain: Callable[[str], None] = partial(typer.echo, err=True)
"""Say something about the log on standard error."""


def log_of(source: str, path: Path | None = None, limit: int | None = None, seed: int = 1) -> EventLog:
    """The log of a `Source`: of rees46 (path: a file), jsonl (path: a folder) or others; `limit`: most events.

    Raises:
        BadParameter: a path is missing, or given for a source that takes none.
    """
    from streams.connectors.event_log import SIMULATED_EVENTS, log_of_data_set, log_of_folder, simulated

    needs_path = source in ("rees46", "jsonl")
    if (path is not None) != needs_path:
        message = f"{source} {'needs a path' if needs_path else 'takes no path'}"
        raise typer.BadParameter(message, param_hint="PATH")
    now_ms = round(time.time() * 1000)
    if source == "simulated":
        data_set = simulated(seed, limit or SIMULATED_EVENTS)
    elif path is None:
        from streams.connectors.complete_journey import complete_journey

        data_set = complete_journey()
    elif source == "jsonl":
        return log_of_folder(path, limit, now_ms, complain)
    else:
        from streams.connectors.rees46 import rees46

        data_set = rees46(path, complain)
    return log_of_data_set(data_set, limit, now_ms, complain)


def learn_beside(engine: Engine, ranked: Sequence[str], settings: Settings, seed: int, otherwise: str = "") -> None:
    """Give an engine the training of the sequence model, and of the rankers of some recommenders.

    Raises:
        CrosscurrentError: the extra `learning` is not installed; `otherwise` says what to do without it.
    """
    times = settings.train_every_s, settings.snapshot_every_s
    try:
        from models.evaluation.ordering import Ordering
        from models.evaluation.prequential.training import StreamTraining

        for name in ranked:
            engine.orderings[name] = Ordering(engine.items, settings.outcomes, settings.ranker, *times, engine.policy)
    except ModuleNotFoundError as error:
        message = (
            "the sequence model needs PyTorch, and the order of lists river: pip install 'crosscurrent[learning]'"
            + otherwise
        )
        raise CrosscurrentError(message) from error
    engine.training = StreamTraining(
        engine.items, engine.catalog, settings.visits, settings.learner, settings.gate, *times, seed
    )


def hit_rate(figures: dict[str, Any]) -> tuple[str, str]:
    """Cells of the first hit rate of some figures in percent, and of its interval."""
    name = next(key for key in figures if key.startswith("hr@"))
    return rounded(figures[name], 2), "-".join(rounded(end, 1) for end in figures["interval"][name])


def rounded(value: float | None, digits: int) -> str:
    """A cell with a number, or an empty one."""
    return "" if value is None else f"{value:.{digits}f}"


def source_name(source: str, path: Path | None) -> str:
    """A source as figures name it."""
    return source if path is None else f"{source} {path.name}"


@contextmanager
def counting_progress(description: str = "events", total: int | None = None) -> Iterator[Callable[..., None]]:
    """A progress bar over events; yields a function that takes what `rich.progress.Progress.update` takes."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True, highlight=False), transient=True) as progress:
        task = progress.add_task(description, total=total)
        yield lambda **changes: progress.update(task, **changes)


@contextmanager
def staged_progress(width: int) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar over stages with names of a width; yields a function of stage, steps done, steps in all."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(f"{{task.description:<{width}}}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True, highlight=False), transient=True) as progress:
        task = progress.add_task("reading", total=None)
        yield lambda stage, done, of: progress.update(task, description=stage, completed=done, total=of)
