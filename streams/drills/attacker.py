"""Sends attacks, and remembers where each bad record lies."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Self

from streams.drills.attacks import ANSWERED, MIRRORED, Attack, attacks
from streams.drills.errors import DrillError
from streams.drills.evidence import Place
from streams.drills.raw_producer import RawProducer, RefusedError, batch_of
from streams.settings import Settings
from streams.wire.partitioner import partition_of
from streams.wire.topics import full_name

FRESH_S = 30.0
"""The events of attacks get new times so often."""

HEAVY_S = 5.0
"""Between two heavy attacks of a stream."""

TICK_S = 0.05
"""Between two checks for attacks that are due."""

LAST_S = 60.0
"""Longest wait for the last attack."""


class Attacker:
    """Sends attacks to the topics of the settings. A context manager."""

    def __init__(self, settings: Settings, item_ids: Sequence[str]) -> None:
        self._settings = settings
        self._item_ids = item_ids
        self._producer = RawProducer(settings.bootstrap_servers)
        self._calls = 0
        self.bad: dict[Place, str] = {}
        """The bad records, and the attacks they belong to."""
        self.refused: Counter[str] = Counter()
        """Attacks that the broker refused."""
        self.sent: Counter[str] = Counter()
        """Attacks that it took."""

    def attacks(self) -> Iterator[Attack]:
        """All attacks, with times of now and shoppers of their own."""
        self._calls += 1
        return attacks(self._item_ids, str(self._calls))

    def send(self, attack: Attack) -> None:
        """Send an attack; a refusal of the broker is noted.

        Raises:
            DrillError: the broker does not answer.
        """
        topic, count = full_name(self._settings.prefix, attack.topic), self._settings.partitions
        partition = (partition_of(attack.records[0].key or b"", count) + attack.misplaced) % count
        batch = attack.alter(batch_of(attack.records, attack.codec))
        try:
            first = self._producer.send(topic, partition, batch)
        except RefusedError as error:
            self.refused[f"{attack.name} ({error})"] += 1
            return
        self.sent[attack.name] += 1
        self.bad |= {(topic, partition, first + number): attack.name for number in attack.bad}

    def due_letters(self) -> dict[Place, str]:
        """The bad records that must be in the dead letters."""
        return self._of(ANSWERED)

    def forged(self) -> dict[Place, str]:
        """The bad records of topics that every worker holds whole."""
        return self._of(MIRRORED)

    def _of(self, topics: Sequence[str]) -> dict[Place, str]:
        names = {full_name(self._settings.prefix, topic) for topic in topics}
        return {place: name for place, name in self.bad.items() if place[0] in names}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._producer.__exit__(*exception)


class AttackStream:
    """Sends attacks of all kinds by chance, at a steady rate of bad records, from a thread. A context manager."""

    def __init__(self, attacker: Attacker, rate: float, seed: int) -> None:
        self._attacker = attacker
        self._rate = rate
        self._chance = random.Random(f"attacks {seed}")
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="attacks", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        self._stop.set()
        self._thread.join(LAST_S)
        if kind is None:
            self.check()

    def check(self) -> None:
        """Raise `DrillError` if sending has failed."""
        if self._failure is not None:
            message = f"sending the drill's attacks failed: {self._failure}"
            raise DrillError(message) from self._failure

    def _run(self) -> None:
        try:
            self._send()
        except Exception as error:
            self._failure = error

    def _send(self) -> None:
        begin, sent, made, heavy = time.monotonic(), len(self._attacker.bad), float("-inf"), 0.0
        light: dict[str, list[Attack]] = {}
        large: list[Attack] = []
        while not self._stop.wait(TICK_S):
            now = time.monotonic()
            if now > made + FRESH_S:
                made, light, large = now, {}, []
                for attack in self._attacker.attacks():
                    (large if attack.heavy else light.setdefault(attack.name, [])).append(attack)
                names = list(light)
            if now > heavy + HEAVY_S:
                heavy = now
                self._attacker.send(self._chance.choice(large))
            while len(self._attacker.bad) - sent < (now - begin) * self._rate and not self._stop.is_set():
                self._attacker.send(self._chance.choice(light[self._chance.choice(names)]))
