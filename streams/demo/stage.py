"""Start everything, run it, end everything."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from kafka import KafkaConsumer, TopicPartition
from rich.console import Console

from models.shop.policy import Policy
from streams.brokers.broker import free_ports
from streams.connectors.simulated_shop import SimulatedShop
from streams.demo.feed import Feed, Published
from streams.demo.processes import ProcessEndedError, Processes
from streams.demo.score import Score
from streams.demo.screen import Screen, Shown, figures, marks, screen_for
from streams.kafka import topic_admin
from streams.settings import ENV_PREFIX, Settings
from streams.wire.topics import full_name

BROKER_S = 90.0
"""Longest start of the broker: Apache Kafka on a busy machine."""

READY_S = 240.0
"""Longest start of the workers: on a fresh machine they compile their kernels, all on the same cores."""

QUIET_S = 1.5
"""The history is worked off when nothing of it has been suggested for so long: a flush, and half a second more."""

HISTORY_S = 60.0
"""Longest wait for that."""

TICK_MS = 20
"""How long to wait for suggestions before looking whether the shop has something to publish."""

LOOK_S = 0.5
"""Between two looks at the processes."""

SNAPSHOT_EVERY_S = 10
"""Between two snapshots of the trainer: the demo is short."""

TRAIN_EVERY_S = 5
"""Between two chunks that the trainer learns."""

WINDOW_S, LATE_S = 20, 1
"""How long an answer to a suggestion is waited for: the simulated shoppers are quick."""

UNMATCHED_S = 10.0
"""How long a suggestion waits for its event: the broker's answer to the shop may come after the worker's suggestion."""


@dataclass(frozen=True, slots=True)
class DemoConfig:
    """What the demo is to do."""

    seconds: float | None = None
    """How long the live part lasts; None: until stopped."""
    rate: float = 50.0
    """Events a second."""
    history: int = 6_000
    """Events published at once before the live part, so that something is learnt."""
    seed: int = 7
    """Of the shop."""
    workers: int = 2
    """Worker processes."""
    kafka: bool = False
    """Apache Kafka from `KAFKA_HOME` instead of the embedded broker."""


class Demo:
    """One run of the demo.

    Args:
        play: what to do.
        console: where to show it.
    """

    def __init__(self, play: DemoConfig, console: Console) -> None:
        self._play = play
        self._console = console
        self._stop = threading.Event()
        self._started = time.monotonic()
        self._looked = 0.0
        self._first_s: float | None = None
        self._live_s = 0.0
        self._events = {"history": 0, "live": 0}
        self._shop = SimulatedShop(play.seed, shoppers=max(20_000, round(play.rate * 50)))
        policy = Policy()
        self._policy = policy
        self._score = Score(self._shop.models, self._shop.truth, policy)
        self._unmatched: deque[tuple[float, dict[str, Any], int]] = deque()
        self._followed: tuple[Published, dict[str, Any]] | None = None

    def run(self) -> dict[str, Any]:
        """Run to the end; returns the figures, as `--json` writes them.

        Raises:
            ProcessEndedError: a process ended by itself.
            CrosscurrentError: something could not be started.
        """
        environ = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
        with _stopping_signals(self._stop), ExitStack() as stack:
            logs = stack.enter_context(tempfile.TemporaryDirectory(prefix="crosscurrent-demo-"))
            environ |= {
                f"{ENV_PREFIX}SNAPSHOT_STORE": f"{logs}/snapshots",
                f"{ENV_PREFIX}SNAPSHOT_EVERY_S": str(SNAPSHOT_EVERY_S),
                f"{ENV_PREFIX}TRAIN_EVERY_S": str(TRAIN_EVERY_S),
                f"{ENV_PREFIX}OUTCOMES__WINDOW_S": str(WINDOW_S),
                f"{ENV_PREFIX}OUTCOMES__LATE_S": str(LATE_S),
            }
            processes = stack.enter_context(Processes(Path(logs), environ))
            settings = self._start_broker(processes)
            if settings is not None:
                self._play_on(settings, processes, stack)
            self._console.print("Ending: the workers, then the broker.")
        return self._figures()

    def _start_broker(self, processes: Processes) -> Settings | None:
        """Start the broker and make the topics; None if the demo was stopped meanwhile."""
        processes.start("broker", ["broker", *(["--kafka"] if self._play.kafka else [])])
        line = self._wait(processes, "broker", BROKER_S)
        if line is None:
            return None
        settings = Settings(bootstrap_servers=line.removeprefix("ready "), embedded=not self._play.kafka)
        title = "Apache Kafka, one node" if self._play.kafka else "embedded, all in memory"
        self._say("broker", f"{title}, at {settings.bootstrap_servers}")
        made = topic_admin.create(settings)
        self._say("topics", f"{', '.join(made)}, with {settings.partitions} partitions each")
        return settings

    def _wait(self, processes: Processes, name: str, timeout_s: float) -> str | None:
        deadline = time.monotonic() + timeout_s
        while not self._stop.wait(0.05):
            if line := processes.line(name, "ready"):
                return line
            processes.check()
            if time.monotonic() > deadline:
                message = f"the {name} did not become ready within {timeout_s:.0f} s"
                raise ProcessEndedError(message)
        return None

    def _play_on(self, settings: Settings, processes: Processes, stack: ExitStack) -> None:
        play, shop, where = self._play, self._shop, settings.bootstrap_servers
        ports = free_ports(play.workers)
        kind = "--embedded" if settings.embedded else "--no-embedded"
        workers = [f"worker {number + 1}" for number in range(play.workers)]
        for worker, port in zip(workers, ports, strict=True):
            processes.start(worker, ["worker", "--bootstrap-servers", where, kind, "--web-port", str(port)])
        processes.start("trainer", ["trainer", "--bootstrap-servers", where, kind, "--no-web"])
        self._say("workers", f"{play.workers}, counting at {', '.join(f'127.0.0.1:{port}/metrics' for port in ports)}")
        feed = stack.enter_context(Feed(settings, shop, self._policy, play.rate, play.history))
        feed.publish_catalog()
        self._events["history"] = feed.publish_history()
        past, items = self._events["history"], len(shop.models)
        self._say("shop", f"{shop.name}: {items} items, {past:,} events of history, then {play.rate:g} events a second")
        self._say("look in", f"crosscurrent tail --bootstrap-servers {where}")
        after = f"after {play.seconds:g} s of that, or by " if play.seconds else "by "
        self._say("ends", f"{after}Ctrl-C\n")
        reader = stack.enter_context(_suggestions(settings))
        with screen_for(self._console, shop.models, self._score) as screen:

            def turn(state: str) -> None:
                self._turn(feed, processes, reader, screen, state)

            if self._until_ready(processes, workers, turn) and self._until_quiet(turn):
                self._live(feed, turn)

    def _until_ready(self, processes: Processes, workers: list[str], turn: Callable[[str], None]) -> bool:
        """Show what is made of the history while workers start; whether all got ready before a stop."""
        deadline = time.monotonic() + READY_S
        while not self._stop.is_set():
            if all(processes.line(worker, "ready") for worker in workers):
                return True
            if time.monotonic() > deadline:
                message = f"the workers did not become ready within {READY_S:.0f} s"
                raise ProcessEndedError(message)
            turn("workers are starting")
        return False

    def _until_quiet(self, turn: Callable[[str], None]) -> bool:
        """Show what is made of the rest of the history; whether it was worked off before a stop."""
        deadline = time.monotonic() + HISTORY_S
        seen, since = -1, 0.0
        while not self._stop.is_set():
            turn("the history is worked off")
            now = time.monotonic()
            if self._score.history_suggestions != seen:
                seen, since = self._score.history_suggestions, now
            if (seen and now - since > QUIET_S) or now > deadline:
                return True
        return False

    def _live(self, feed: Feed, turn: Callable[[str], None]) -> None:
        opened, seconds = time.monotonic(), self._play.seconds
        feed.open()
        while not self._stop.is_set():
            self._live_s = time.monotonic() - opened
            if seconds is not None and self._live_s >= seconds:
                return
            feed.publish_due()
            self._events["live"] = feed.live_events
            pace = feed.live_events / max(1.0, self._live_s)
            to_go = f"{seconds - self._live_s:.0f} s to go" if seconds is not None else "Ctrl-C ends"
            turn(f"live for {self._live_s:.0f} s, {pace:.0f} events/s, {to_go}")

    def _turn(self, feed: Feed, processes: Processes, reader: Any, screen: Screen, state: str) -> None:
        """Take what has been suggested, judge it, show it."""
        now = time.monotonic()
        for records in reader.poll(timeout_ms=TICK_MS, max_records=2_000).values():
            for record in records:
                self._unmatched.append((now, orjson.loads(record.value), record.timestamp))
        for _ in range(len(self._unmatched)):
            since, suggestion, appended_ms = self._unmatched.popleft()
            event = feed.take(suggestion["suggestion_id"])
            if event is None:
                if now - since < UNMATCHED_S:  # else: sent a second time
                    self._unmatched.append((since, suggestion, appended_ms))
                continue
            self._score.update(suggestion, appended_ms, event)
            if event.live and len({item["kind"] for item in suggestion["items"]}) == 2:
                self._followed = event, suggestion
            if suggestion["items"] and screen.wants_one:
                if self._first_s is None:
                    self._first_s = now - self._started
                screen.show(Shown(suggestion, event, [self._score.right(item, event) for item in suggestion["items"]]))
        screen.refresh(state)
        if now - self._looked > LOOK_S:
            self._looked = now
            feed.forget_old()
            processes.check()

    def _say(self, what: str, text: str) -> None:
        self._console.print(f"[bold]{what:8}[/] {text}")

    def _figures(self) -> dict[str, Any]:
        score = self._score
        shares = {
            kind: {
                side: {"right": share.right, "judged": share.judged, "share": share.get()}
                for side, share in (("crosscurrent", ours), ("popularity", popular))
            }
            for kind, ours, popular in score.by_kind()
        }
        return {
            "demo": self._shop.name,
            "broker": "kafka" if self._play.kafka else "embedded",
            "workers": self._play.workers,
            "first_suggestion_s": self._first_s and round(self._first_s, 1),
            "live_s": round(self._live_s, 1),
            "events": self._events,
            "events_per_s": round(self._events["live"] / self._live_s, 1) if self._live_s else None,
            "suggestions": {"history": score.history_suggestions, "live": score.suggestions},
            "share_right": shares,
            "share_right_by_model": {
                model: {"right": share.right, "judged": share.judged, "share": share.get()}
                for model, share in score.by_model.items()
            },
            "share_right_by_order": {
                order: {"right": share.right, "judged": share.judged, "share": share.get()}
                for order, share in score.by_order.items()
            },
            "snapshots_served": sorted(score.versions),
            "latency_ms": score.latencies_ms(),
            "promises_broken": dict(score.broken),
        }

    def summary(self) -> None:
        """Print the figures for people."""
        events = f"{self._events['live']:,} events after {self._events['history']:,} of history"
        first = f"the first suggestion after {self._first_s:.1f} s" if self._first_s is not None else "no suggestion"
        self._console.print(f"\n{self._live_s:.0f} s live, {events}; {first}")
        pace = self._score.suggestions / max(1.0, self._live_s)
        self._console.print(figures(self._score, pace, marks(self._console)[True]))

    def follow(self) -> None:
        """Print the last event that got both kinds of suggestions, and the record that answered it."""
        if self._followed is None:
            return
        event, suggestion = self._followed
        trigger = suggestion["trigger"]
        where = f"{trigger['topic']}, partition {trigger['partition']}, offset {trigger['offset']}"
        self._console.print(f"\n[bold]This event[/] ({where})")
        self._console.print_json(data=event.value)
        self._console.print(f"[bold]was answered after {suggestion['latency_ms']} ms by[/]")
        self._console.print_json(data=suggestion)


@contextmanager
def _stopping_signals(stop: threading.Event) -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP set an event instead of ending us anywhere."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _suggestions(settings: Settings) -> Iterator[Any]:
    """A reader of all suggestions, from the first.

    It checks no sums: kafka-python does that in Python, eight megabytes a second, and these records cross no network.
    """
    topic = full_name(settings.prefix, "suggestions")
    reader = KafkaConsumer(**settings.kafka_python_options(), fetch_max_wait_ms=TICK_MS, check_crcs=False)
    try:
        reader.assign([TopicPartition(topic, partition) for partition in range(settings.partitions)])
        reader.seek_to_beginning()
        yield reader
    finally:
        reader.close()
