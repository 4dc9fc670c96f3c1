"""Shows the demo: a live screen on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from streams.connectors.simulated_shop import Model
from streams.demo.feed import Published
from streams.demo.score import Score

SHOWN_EVERY_S = 1.5
"""Between two suggestions on the screen, so that each can be read; the others are not shown."""

WIDE = 110
"""Columns from which whole titles fit, with their reasons on one line."""

PLAIN_WIDTH = 150
"""Columns without a terminal: a reason fits."""

ROWS_BELOW = 13
"""Rows of the figures below the suggestions."""

ROWS_EACH, ROWS_EACH_NARROW = 8, 14
"""Rows of one suggestion at most: its event, six items (with reasons on two lines on a narrow terminal), a gap."""

DID = {"view": "looks at", "click": "clicks", "add_to_cart": "puts into the cart", "purchase": "buys"}


@dataclass(frozen=True, slots=True)
class Shown:
    """A suggestion to show."""

    suggestion: Mapping[str, Any]
    event: Published
    right: list[bool]  # by item


class Screen(ABC):
    """Base of both screens; the shop's models are given by item id. A context manager."""

    refresh_s: ClassVar[float]
    """Between two refreshes of the figures."""

    def __init__(self, console: Console, models: Mapping[str, Model], score: Score) -> None:
        self._console = console
        self._models = models
        self._score = score
        self._last_shown = 0.0
        self._refreshed = time.monotonic()
        self._mark = marks(console)

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    @property
    def _wide(self) -> bool:
        return self._console.width >= WIDE

    @property
    def is_due(self) -> bool:
        """Whether it is time for another suggestion."""
        return time.monotonic() - self._last_shown >= SHOWN_EVERY_S

    def show(self, shown: Shown) -> None:
        """Show a suggestion."""
        self._last_shown = time.monotonic()
        self._show(shown)

    def refresh(self, state: str) -> None:
        """Show the figures, if it is time to; `state` says in a few words what the demo does."""
        if time.monotonic() - self._refreshed >= self.refresh_s:
            self._refreshed = time.monotonic()
            self._show_figures(state)

    @abstractmethod
    def _show(self, shown: Shown) -> None: ...

    @abstractmethod
    def _show_figures(self, state: str) -> None: ...

    def _event_line(self, shown: Shown) -> Text:
        suggestion, event = shown.suggestion, shown.event
        first = self._models[event.item_ids[0]]
        more = f" and {len(event.item_ids) - 1} more" if len(event.item_ids) > 1 else ""
        line = Text(f"{suggestion['user_id']} {DID[event.action]} ", style="bold")
        line.append(first.title, "bold cyan").append(f" {first.price:.2f}{more}", "cyan")
        return line.append(f"   in {suggestion['latency_ms']:.1f} ms", "dim")

    def _items(self, shown: Shown) -> Table:
        table = Table.grid(padding=(0, 1))
        widths = 3, 10, 36 if self._wide else 26, 8
        table.add_column(width=widths[0], justify="right")
        table.add_column(width=widths[1])
        table.add_column(width=widths[2], no_wrap=True, overflow="ellipsis")
        table.add_column(width=widths[3], justify="right")
        left = max(8, self._console.width - sum(widths) - len(widths))
        table.add_column(max_width=left, style="dim", no_wrap=self._wide, overflow="ellipsis" if self._wide else "fold")
        for item, right in zip(shown.suggestion["items"], shown.right, strict=True):
            style = "green" if right else ""
            reason = item["reasons"][0]["text"] if item["reasons"] else ""
            table.add_row(
                Text(self._mark[right], style),
                Text(item["kind"], "magenta" if item["kind"] == "upsell" else "blue"),
                Text(item["title"], style),
                f"{item['price']:.2f}",
                reason,
            )
        return table


class LiveScreen(Screen):
    """For a terminal: the latest suggestions above the figures."""

    refresh_s = 0.25

    def __init__(self, console: Console, models: Mapping[str, Model], score: Score) -> None:
        super().__init__(console, models, score)
        self._latest: deque[Shown] = deque()
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> LiveScreen:
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.update(Group(*self._suggestions()), refresh=True)  # the summary that follows has the figures
        self._live.stop()

    def _show(self, shown: Shown) -> None:
        self._latest.append(shown)

    def _show_figures(self, state: str) -> None:
        rows = ROWS_EACH if self._wide else ROWS_EACH_NARROW
        while len(self._latest) > max(1, (self._console.height - ROWS_BELOW) // rows):
            self._latest.popleft()
        table = figures(self._score, self._score.pace, self._mark[True])
        self._live.update(Group(*self._suggestions(), table, Text(state, "dim")), refresh=True)

    def _suggestions(self) -> list[RenderableType]:
        parts: list[RenderableType] = []
        for shown in self._latest:
            parts += [self._event_line(shown), self._items(shown), Text()]
        return parts


class PlainScreen(Screen):
    """For a pipe or a file: a few lines a suggestion, and a line of figures every few seconds."""

    refresh_s = 5.0

    def _show(self, shown: Shown) -> None:
        self._console.print(self._event_line(shown))
        self._console.print(self._items(shown))

    def _show_figures(self, state: str) -> None:
        score, latency = self._score, self._score.latencies_ms()["worker"]
        line = f"[{state}]"
        if latency["p50"] is not None:
            shares = ", ".join(
                f"{kind} {percent(ours.get())} (popularity {percent(popular.get())})"
                for kind, ours, popular in score.by_kind()
            )
            times = f"p50 {latency['p50']} ms, p99 {latency['p99']} ms"
            line += f" right: {shares}; {score.pace:.0f} suggestions/s, {times}"
        self._console.print(line, markup=False, soft_wrap=True)


def marks(console: Console) -> dict[bool, str]:
    """Marks of right and wrong items that the terminal can show."""
    return {True: "✓", False: "·"} if console.encoding.startswith("utf") else {True: "+", False: "-"}


def console() -> Console:
    """Standard output."""
    standard = Console(highlight=False)
    return standard if standard.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


def screen_for(console: Console, models: Iterable[Model], score: Score) -> Screen:
    """A live screen on a terminal, plain lines elsewhere."""
    by_id = {model.item_id: model for model in models}
    return (LiveScreen if console.is_terminal else PlainScreen)(console, by_id, score)


def figures(score: Score, pace: float, mark: str) -> Table:
    """The score as a table. `pace` is the suggestions a second, `mark` that of items that are right.

    A model or an order has a row once an item of it was suggested.
    """
    table = Table(box=None, padding=(0, 2, 0, 0), title_justify="left")
    table.add_column(f"right ({mark}) by the shop's truth", no_wrap=True)
    for name in ("Crosscurrent", "popularity", "items judged"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, ours, popular in score.by_kind():
        judged = f"{ours.judged:,} and {popular.judged:,}"
        table.add_row(name, Text(percent(ours.get()), "bold green"), percent(popular.get()), judged)
    for name, share in [*score.by_model.items(), *score.by_order.items()]:
        if share.judged:
            table.add_row(f"  {name}", percent(share.get()), "", f"{share.judged:,}")
    latency = score.latencies_ms()
    for words, name in (("latency in the worker", "worker"), ("from append to append", "append_to_append")):
        p50, p99 = latency[name]["p50"], latency[name]["p99"]
        table.add_row(words, f"p50 {p50} ms", f"p99 {p99} ms", "") if p50 is not None else None
    table.add_row("suggestions", f"{score.suggestions:,}", f"{pace:.0f}/s", "")
    broken = sum(score.broken.values())
    table.add_row("promises broken", Text(str(broken), "bold red" if broken else ""), "", "")
    return table


def percent(share: float | None) -> str:
    """A share in percent.

    >>> percent(0.5678), percent(None)
    ('56.8 %', '-')
    """
    return "-" if share is None else f"{100 * share:.1f} %"
