"""What is done to the workers while the shop is open: one function a drill, and the table of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from streams.drills.feed import Feeder
from streams.drills.workers import Workers

SESSION_TIMEOUT_S = 6.0
"""Of the workers, on both brokers: the shortest that Apache Kafka takes by default."""

PAUSE_S = SESSION_TIMEOUT_S + 3.0
"""Long enough that the group has given the partitions to others, who have gone on, before the paused one wakes."""

BETWEEN_S = 1.0
"""Between two restarts of a rolling restart."""

AFTER_S = 3.0
"""The shop stays open so long after the last blow: what happens right then must be right, too."""

LOOK_S = 0.1
"""Between two looks whether all goes on."""


@dataclass(slots=True)
class Scene:
    """Where a drill takes place."""

    workers: Workers
    feeder: Feeder
    victim: int
    """Number of the worker that is hit, where only one is."""
    seconds: float
    """How long the shop is open, at least."""
    opened: float
    """Since when, by the monotonic clock."""
    say: Callable[[str], None]
    """Told what happens."""

    def until(self, share: float) -> None:
        """Wait until this share of the time is over.

        Raises:
            DrillError: feeding has failed.
        """
        self.wait(self.opened + share * self.seconds - time.monotonic())

    def wait(self, seconds: float) -> None:
        """Wait so long.

        Raises:
            DrillError: feeding has failed.
        """
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.feeder.check()
            self.workers.check()
            time.sleep(min(LOOK_S, left))


def kill(scene: Scene) -> None:
    """Kill a worker with SIGKILL a third in, start it again after two thirds."""
    scene.until(1 / 3)
    scene.say(f"kill -9 of worker {scene.victim + 1}")
    scene.workers.kill(scene.victim)
    scene.until(2 / 3)
    scene.say(f"worker {scene.victim + 1} starts again")
    scene.workers.start(scene.victim)
    scene.workers.await_ready(scene.victim)


def rolling(scene: Scene) -> None:
    """Restart one worker after the other, in the friendly way."""
    scene.until(1 / 6)
    for number in range(len(scene.workers)):
        scene.say(f"worker {number + 1} is restarted")
        scene.workers.stop(number)
        scene.workers.start(number)
        scene.workers.await_ready(number)
        scene.wait(BETWEEN_S)


def pause(scene: Scene) -> None:
    """Pause a worker for longer than its session lasts, then wake it."""
    scene.until(1 / 4)
    scene.say(f"worker {scene.victim + 1} is paused for {PAUSE_S:g} s")
    scene.workers.pause(scene.victim)
    scene.wait(PAUSE_S)
    scene.say(f"worker {scene.victim + 1} wakes")
    scene.workers.wake(scene.victim)


DRILLS: Mapping[str, Callable[[Scene], None]] = {"kill": kill, "rolling": rolling, "pause": pause}
"""All drills, by name."""
