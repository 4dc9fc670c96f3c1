"""What is done to the workers and the trainer while the shop is open: one function a drill, and the table of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from streams.drills.feed import Feeder
from streams.drills.processes import Processes
from streams.drills.swaps import Fault

SESSION_TIMEOUT_S = 6.0
"""Of the workers, on both brokers: the shortest that Apache Kafka takes by default."""

PAUSE_S = SESSION_TIMEOUT_S + 3.0
"""Long enough that the group has given the partitions to others, who have gone on, before the paused one wakes."""

BETWEEN_S = 1.0
"""Between two restarts of a rolling restart."""

WARM_S = 10.0
"""From the first event on: the broker compiles itself, the trainer learns for the first time, and all is late."""

AFTER_S = 3.0
"""The shop stays open so long after the last blow: what happens right then must be right, too."""

LOOK_S = 0.1
"""Between two looks whether all goes on."""


@dataclass(slots=True)
class DrillContext:
    """Where a drill takes place."""

    workers: Processes
    trainers: Processes
    """One, where the drill is `trained`, else none."""
    feeder: Feeder
    victim: int
    """Number of the worker that is hit, where only one is."""
    seconds: float
    """How long the shop is open, at least."""
    opened: float
    """Since when, by the monotonic clock."""
    say: Callable[[str], None]
    """Told what happens."""
    blows: list[Fault] = field(default_factory=list)
    """What was done, so far."""

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
            self.trainers.check()
            time.sleep(min(LOOK_S, left))

    @contextmanager
    def blow(self, what: str) -> Iterator[None]:
        """Note since when and until when something was done to a process."""
        begin_s = time.time()
        self.say(what)
        yield
        self.blows.append(Fault(what, begin_s, time.time()))


def kill(scene: DrillContext) -> None:
    """Kill a worker with SIGKILL a third in, start it again after two thirds."""
    scene.until(1 / 3)
    scene.say(f"kill -9 of worker {scene.victim + 1}")
    scene.workers.kill(scene.victim)
    scene.until(2 / 3)
    scene.say(f"worker {scene.victim + 1} starts again")
    scene.workers.start(scene.victim)
    scene.workers.await_ready(scene.victim)


def rolling(scene: DrillContext) -> None:
    """Restart one worker after the other, in the friendly way."""
    scene.until(1 / 6)
    for number in range(len(scene.workers)):
        scene.say(f"worker {number + 1} is restarted")
        scene.workers.stop(number)
        scene.workers.start(number)
        scene.workers.await_ready(number)
        scene.wait(BETWEEN_S)


def pause(scene: DrillContext) -> None:
    """Pause a worker for longer than its session lasts, then wake it."""
    scene.until(1 / 4)
    scene.say(f"worker {scene.victim + 1} is paused for {PAUSE_S:g} s")
    scene.workers.pause(scene.victim)
    scene.wait(PAUSE_S)
    scene.say(f"worker {scene.victim + 1} wakes")
    scene.workers.wake(scene.victim)


def swap(scene: DrillContext) -> None:
    """Let snapshots be swapped; kill the trainer a third in, a worker after two, and start each again at once."""
    for share, processes, number in ((1 / 3, scene.trainers, 0), (2 / 3, scene.workers, scene.victim)):
        scene.until(share)
        with scene.blow(f"kill -9 of {processes.name(number)}"):
            processes.kill(number)
            processes.start(number)
            processes.await_ready(number)
        scene.say(f"{processes.name(number)} is ready again")


@dataclass(frozen=True, slots=True)
class Drill:
    """A drill, and how it is carried out unless somebody wants it otherwise."""

    act: Callable[[DrillContext], None]
    rate: float = 500.0
    """Events a second."""
    seconds: float = 20.0
    """How long they are fed, at least; longer if the disturbance takes longer."""
    trained: bool = False
    """Whether there is a trainer, and swaps are judged."""
    unseen: int = 0
    """Items in the catalogue that nobody looks at."""


DRILLS: Mapping[str, Drill] = {
    "kill": Drill(kill),
    "rolling": Drill(rolling),
    "pause": Drill(pause),
    # The rate leaves a third of two cores idle, all processes included: on a full machine everything is late. The items
    # make a swap the work that it is in a large shop.
    "swap": Drill(swap, rate=50.0, seconds=120.0, trained=True, unseen=50_000),
}
"""All drills, by name."""

TRAIN_EVERY_S, SNAPSHOT_EVERY_S = 4.0, 8.0
"""Of the trainer: often enough that two minutes see many swaps, between which all is quiet for some seconds."""
