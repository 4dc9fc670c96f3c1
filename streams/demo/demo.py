"""The demo from start to end: broker, topics, workers and trainer, history, live events, figures."""

from __future__ import annotations

import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from threading import Event
from typing import Any

import orjson
from kafka import TopicPartition
from rich.console import Console

from models.shop.policy import Policy
from streams.brokers.broker import free_ports
from streams.connectors.simulated_shop import SimulatedShop
from streams.demo.feed import Feed, Published
from streams.demo.score import Score
from streams.demo.screen import Screen, Shown, figures, marks, screen_for
from streams.interrupts import set_by_signals
from streams.kafka import topic_admin
from streams.kafka.consumers import new_blocking_consumer
from streams.processes import READY_S, Process, ProcessError, crosscurrent, environment, stop_all
from streams.settings import Settings
from streams.wire.record import readable
from streams.wire.topics import full_name

BROKER_S = 90.0
"""Longest start of the broker: Apache Kafka on a busy machine."""

QUIET_S, HISTORY_S = 1.5, 60.0
"""The history is applied when nothing of it has been suggested for so long (a flush, and half a second more), or after
a minute."""

TICK_MS = 20
"""Longest wait for suggestions before the shop may publish again."""

LOOK_S = 0.5
"""Between two checks of the processes."""

UNMATCHED_S = 10.0
"""How long a suggestion waits for its event: the broker may acknowledge the event after the worker has answered it."""

SETTINGS = {
    "snapshot_every_s": 10,  # the demo is short
    "train_every_s": 5,
    "outcomes__window_s": 20,  # the simulated shoppers react quickly
    "outcomes__late_s": 1,
}
"""Settings of workers and trainer that differ from the defaults."""


@dataclass(frozen=True, slots=True)
class DemoConfig:
    """What the demo does."""

    seconds: float | None = None  # length of the live part; None: until stopped
    rate: float = 50.0  # events a second
    history: int = 6_000  # events published at once before the live part, to learn from
    seed: int = 7  # of the shop
    workers: int = 2
    kafka: bool = False  # Apache Kafka from `KAFKA_HOME` instead of the embedded broker


class Demo:
    """One run of the demo, shown on a console."""

    def __init__(self, config: DemoConfig, console: Console) -> None:
        self._config = config
        self._console = console
        self._stop = Event()
        self._processes: list[Process] = []
        self._started = time.monotonic()
        self._checked = 0.0
        self._first_s: float | None = None
        self._live_s = 0.0
        self._events = {"history": 0, "live": 0}
        self._shop = SimulatedShop(config.seed, shoppers=max(20_000, round(config.rate * 50)))
        self._policy = Policy()
        self._score = Score(self._shop.models, self._shop.truth, self._policy)
        self._unmatched: deque[tuple[float, dict[str, Any], int]] = deque()
        self._followed: tuple[Published, dict[str, Any]] | None = None

    def run(self) -> dict[str, Any]:
        """Run to the end; returns the figures, as `--json` writes them.

        Raises:
            CrosscurrentError: something could not be started, or a process ended by itself.
        """
        with set_by_signals(self._stop), ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="crosscurrent-demo-")))
            stack.callback(self._stop_processes)
            settings = self._start_broker(folder)
            if settings is not None:
                self._serve(settings, folder, stack)
            self._console.print("Ending: the workers, then the broker.")
        return self._figures()

    def _start(self, name: str, command: list[str], folder: Path) -> Process:
        environ = environment(**SETTINGS, snapshot_store=folder / "snapshots")
        process = Process(name, command, folder / f"{name}.log", environ).start()
        self._processes.append(process)
        return process

    def _stop_processes(self) -> None:
        """Stop the broker last: until they end, workers and trainer write to it."""
        stop_all(self._processes[1:])
        stop_all(self._processes[:1])

    def _start_broker(self, folder: Path) -> Settings | None:
        """Start the broker and create the topics; None if the demo was stopped meanwhile."""
        kafka = self._config.kafka
        broker = self._start("the broker", crosscurrent("broker", *(["--kafka"] if kafka else [])), folder)
        line = broker.await_ready(BROKER_S, self._stop)
        if line is None:
            return None
        settings = Settings(bootstrap_servers=line.removeprefix("ready "), embedded=not kafka)
        title = "Apache Kafka, one node" if kafka else "embedded, all in memory"
        self._say("broker", f"{title}, at {settings.bootstrap_servers}")
        made = topic_admin.create(settings)
        self._say("topics", f"{', '.join(made)}, with {settings.partitions} partitions each")
        return settings

    def _serve(self, settings: Settings, folder: Path, stack: ExitStack) -> None:
        config, shop = self._config, self._shop
        ports = free_ports(config.workers)
        workers = [
            self._start(f"worker {number}", crosscurrent("worker", "--web-port", str(port), settings=settings), folder)
            for number, port in enumerate(ports, start=1)
        ]
        self._start("the trainer", crosscurrent("trainer", "--no-web", settings=settings), folder)
        pages = ", ".join(f"127.0.0.1:{port}/metrics" for port in ports)
        self._say("workers", f"{config.workers}, counting at {pages}")
        feed = stack.enter_context(Feed(settings, shop, self._policy, config.rate))
        feed.publish_catalog()
        past = self._events["history"] = feed.publish_history(config.history)
        sold = f"{shop.name}: {len(shop.models)} items"
        self._say("shop", f"{sold}, {past:,} events of history, then {config.rate:g} events a second")
        self._say("look in", f"crosscurrent tail --bootstrap-servers {settings.bootstrap_servers}")
        after = f"after {config.seconds:g} s of that, or by " if config.seconds else "by "
        self._say("ends", f"{after}Ctrl-C\n")
        reader = stack.enter_context(_suggestions(settings))
        with screen_for(self._console, shop.models, self._score) as screen:
            for state in chain(self._until_ready(workers), self._until_history_is_applied(), self._live(feed)):
                if self._stop.is_set():
                    return
                self._step(feed, reader, screen, state)

    def _until_ready(self, workers: list[Process]) -> Iterator[str]:
        """Yields the state until the workers are ready."""
        deadline = time.monotonic() + READY_S
        while not all(worker.ready_line() for worker in workers):
            if time.monotonic() > deadline:
                message = f"the workers did not become ready within {READY_S:.0f} s"
                raise ProcessError(message)
            yield "workers are starting"

    def _until_history_is_applied(self) -> Iterator[str]:
        deadline = time.monotonic() + HISTORY_S
        seen, since = 0, 0.0
        while time.monotonic() < deadline and not (seen and time.monotonic() - since > QUIET_S):
            yield "the history is worked off"
            if self._score.history_suggestions != seen:
                seen, since = self._score.history_suggestions, time.monotonic()

    def _live(self, feed: Feed) -> Iterator[str]:
        opened, seconds = time.monotonic(), self._config.seconds
        feed.open()
        while True:
            self._live_s = time.monotonic() - opened
            if seconds is not None and self._live_s >= seconds:
                return
            feed.publish_due()
            self._events["live"] = feed.live_events
            pace = feed.live_events / max(1.0, self._live_s)
            to_go = f"{seconds - self._live_s:.0f} s to go" if seconds is not None else "Ctrl-C ends"
            yield f"live for {self._live_s:.0f} s, {pace:.0f} events/s, {to_go}"

    def _step(self, feed: Feed, reader: Any, screen: Screen, state: str) -> None:
        """Read suggestions, judge and show them."""
        now = time.monotonic()
        for records in reader.poll(timeout_ms=TICK_MS, max_records=2_000).values():
            for record in readable(records):
                self._unmatched.append((now, orjson.loads(record.value or b""), record.timestamp))
        for _ in range(len(self._unmatched)):
            since, suggestion, appended_ms = self._unmatched.popleft()
            event = feed.take(suggestion["suggestion_id"])
            if event is not None:
                self._judge(event, suggestion, appended_ms, screen)
            elif now - since < UNMATCHED_S:  # else it was sent a second time
                self._unmatched.append((since, suggestion, appended_ms))
        screen.refresh(state)
        if now - self._checked > LOOK_S:
            self._checked = now
            feed.forget_old()
            for process in self._processes:
                process.check()

    def _judge(self, event: Published, suggestion: dict[str, Any], appended_ms: int, screen: Screen) -> None:
        self._score.update(suggestion, appended_ms, event)
        if event.live and len({item["kind"] for item in suggestion["items"]}) == 2:
            self._followed = event, suggestion
        if suggestion["items"] and screen.is_due:
            if self._first_s is None:
                self._first_s = time.monotonic() - self._started
            right = [self._score.is_right(item["kind"], item["item_id"], event) for item in suggestion["items"]]
            screen.show(Shown(suggestion, event, right))

    def _say(self, what: str, text: str) -> None:
        self._console.print(f"[bold]{what:8}[/] {text}")

    def _figures(self) -> dict[str, Any]:
        score = self._score
        return {
            "demo": self._shop.name,
            "broker": "kafka" if self._config.kafka else "embedded",
            "workers": self._config.workers,
            "first_suggestion_s": self._first_s and round(self._first_s, 1),
            "live_s": round(self._live_s, 1),
            "events": self._events,
            "events_per_s": round(self._events["live"] / self._live_s, 1) if self._live_s else None,
            "suggestions": {"history": score.history_suggestions, "live": score.suggestions},
            "share_right": {
                kind: {"crosscurrent": ours.as_json(), "popularity": popular.as_json()}
                for kind, ours, popular in score.by_kind()
            },
            "share_right_by_model": {model: share.as_json() for model, share in score.by_model.items()},
            "share_right_by_order": {order: share.as_json() for order, share in score.by_order.items()},
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
def _suggestions(settings: Settings) -> Iterator[Any]:
    """A reader of all suggestions. It verifies no checksums: kafka-python does that in Python, at 8 MB/s."""
    topic = full_name(settings.prefix, "suggestions")
    with closing(new_blocking_consumer(settings, fetch_max_wait_ms=TICK_MS, check_crcs=False)) as reader:
        reader.assign([TopicPartition(topic, partition) for partition in range(settings.partitions)])
        reader.seek_to_beginning()
        yield reader
