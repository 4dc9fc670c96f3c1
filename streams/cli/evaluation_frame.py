"""What the `evaluate` commands share: options, choice of methods, logs, progress bars, and where figures go.

A command says `@evaluation("json", "policy")` and gets an [`EvaluationFrame`][] as its first argument; the names become
options, after its own. What is here must import fast, since `--help` reads it.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec

import typer

from streams.cli.options import with_options

if TYPE_CHECKING:
    from models.shop.policy import Policy
    from streams.connectors.event_log import EventLog
    from streams.settings import Settings

P = ParamSpec("P")

UNITS_S = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}

FILE_OPTIONS: dict[str, Any] = {
    "json": Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="Write the figures to a file", show_default=False)
    ],
    "html": Annotated[
        Path | None, typer.Option("--html", metavar="OUT", help="Write a report with plots", show_default=False)
    ],
    "policy": Annotated[
        Path | None, typer.Option("--policy", help="TOML file that says what may be suggested", show_default=False)
    ],
    "config": Annotated[Path | None, typer.Option("--config", help="TOML file with settings", show_default=False)],
}

Seed = Annotated[int, typer.Option("--seed", help="Of everything that is drawn")]
Methods = Annotated[str | None, typer.Option("--methods", metavar="A,B", help="Only these (all)")]


@dataclass(frozen=True)
class EvaluationFrame:
    """The file options of a command, and what depends on them."""

    json: Path | None = None
    html: Path | None = None
    policy: Path | None = None
    config: Path | None = None

    def settings(self) -> tuple[Settings, Policy]:
        """Settings from the environment and the files, and the policy in force."""
        from streams.cli.worker import read_policy
        from streams.settings import Settings

        settings = Settings.load({"policy": self.policy}, os.environ, self.config)
        return settings, read_policy(settings.policy, settings.visits.purchase_memory_s)

    def check_plots(self) -> None:
        """Check before hours of work that a report can be drawn, if one is wanted."""
        from streams.cli.evaluation_report import check_plots

        if self.html is not None:
            check_plots()

    def write(self, figures: Mapping[str, Any]) -> None:
        """Write the files that were asked for."""
        import orjson

        from streams.cli.evaluation_report import report

        if self.json is not None:
            self.json.write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2) + b"\n")
        if self.html is not None:
            self.html.write_text(report(figures), encoding="utf-8")


def evaluation(*names: str) -> Callable[[Callable[Concatenate[EvaluationFrame, P], None]], Callable[..., None]]:
    """Give a command file options, and the frame made of them as its first argument.

    Args:
        names: from `FILE_OPTIONS`.
    """
    return with_options({name: FILE_OPTIONS[name] for name in names}, lambda given: EvaluationFrame(**given))


def chosen(methods: str | None, choices: Sequence[str]) -> list[str]:
    """The methods that `--methods` names; all by default.

    Raises:
        typer.BadParameter: one of them is none of `choices`.
    """
    names = list(choices) if methods is None else [name.strip() for name in methods.split(",")]
    if unknown := [name for name in names if name not in choices]:
        message = f"no method {unknown[0]!r}: choose from {', '.join(choices)}"
        raise typer.BadParameter(message, param_hint="--methods")
    return names


def sampled(seed: int, size: int | None, possible: int) -> list[int]:
    """Numbers of at most `size` of `possible` tests, drawn by a seed, in the order drawn."""
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


def complain(sentence: str) -> None:
    """Say something about the log on standard error."""
    print(sentence, file=sys.stderr)


def check_path(source: str, path: Path | None, with_path: Collection[str]) -> None:
    """Check that a path is given exactly where a source needs one.

    Raises:
        typer.BadParameter: it is missing, or superfluous.
    """
    if (path is not None) != (source in with_path):
        message = f"{source} needs a path" if source in with_path else f"{source} takes no path"
        raise typer.BadParameter(message, param_hint="PATH")


def log_of(source: str, path: Path | None = None, limit: int | None = None, seed: int = 1) -> EventLog:
    """The log of a source.

    Args:
        source: completejourney, rees46, simulated or jsonl.
        path: of the file of rees46, of the folder of jsonl.
        limit: most events.
        seed: of the simulated shop.
    """
    from streams.connectors.event_log import SIMULATED_EVENTS, log_of_folder, log_of_past, simulated

    now_ms = round(time.time() * 1000)
    if source == "simulated":
        past = simulated(seed, limit or SIMULATED_EVENTS)
    elif path is None:
        from streams.connectors.complete_journey import complete_journey

        past = complete_journey()
    elif source == "jsonl":
        return log_of_folder(path, limit, now_ms, complain)
    else:
        from streams.connectors.rees46 import rees46

        past = rees46(path, complain)
    return log_of_past(past, limit, now_ms, complain)


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
    """A progress bar over stages; yields a function of stage, steps done and steps in all.

    Args:
        width: of the longest stage's name.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(f"{{task.description:<{width}}}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True, highlight=False), transient=True) as progress:
        task = progress.add_task("reading", total=None)
        yield lambda stage, done, of: progress.update(task, description=stage, completed=done, total=of)
