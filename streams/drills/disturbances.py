"""What a drill does to the workers and the trainer while events are fed: one function a drill, and their table."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from models.sessions.visits import VisitConfig
from streams.drills.attacker import Attacker, AttackStream
from streams.drills.feed import Feeder
from streams.drills.foreign_commit import commit_ends
from streams.drills.process_group import SESSION_TIMEOUT_S, ProcessGroup, start_all
from streams.drills.promise_audit import POLICY
from streams.drills.swaps import Fault
from streams.settings import Settings

PAUSE_S = SESSION_TIMEOUT_S + 3.0
"""Long enough that the partitions are assigned to other workers, which make progress, before the paused one resumes."""

BETWEEN_S = 1.0
"""Between two restarts of a rolling restart."""

WARM_S = 10.0
"""After the first event: the broker warms up, the trainer learns for the first time, and all suggestions are late."""

AFTER_S = 3.0
"""Events are fed for so long after the last fault: what happens right then must be right, too."""

LOOK_S = 0.1
"""Between two checks of the processes."""


BAD_SHARE = 0.1
"""Of the events of a soak: so many bad records are sent beside them."""

UP_S, DOWN_S = (15.0, 60.0), (0.0, 10.0)
"""Between two ends of processes in a soak, and from the end of one to its start, at least and at most."""

TELL_S = 60.0
"""Between two lines of progress of a soak."""

HOSTILE_POLICY = f'{POLICY}misplaced = "dead-letter"\n'

SOAK_SETTINGS = {"flush_interval_s": 5.0, "visits": VisitConfig(window_s=120.0, click_memory_s=480.0)}
"""Settings of a soak. Rows are published seldom, as brokers keep all of them and every start reads them. Clicks are
remembered for minutes, so that the memory of workers reaches its bound while they are watched."""


@dataclass(slots=True)
class DrillContext:
    """What a drill acts on."""

    settings: Settings
    seed: int
    workers: ProcessGroup
    trainers: ProcessGroup  # one trainer if the drill is `trained`, else none
    feeder: Feeder
    victim: int  # number of the worker that is hit, if only one is
    seconds: float  # events are fed at least so long
    opened: float  # when feeding began, by the monotonic clock
    say: Callable[[str], None]  # what is done, for the notes
    tell: Callable[[], None]  # reports progress
    faults: list[Fault]  # so far
    attacker: Attacker

    def until(self, share: float) -> None:
        """Wait until this share of the time is over."""
        self.wait(self.opened + share * self.seconds - time.monotonic())

    def wait(self, seconds: float, check: Callable[[], None] = lambda: None) -> None:
        """Wait and watch the processes; raises `DrillError` if feeding has failed, and what `check` raises."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            check()
            self.feeder.check()
            self.workers.check()
            self.trainers.check()
            time.sleep(min(LOOK_S, left))

    @contextmanager
    def fault(self, what: str) -> Iterator[None]:
        """Record the start and the end of a fault."""
        begin_s = time.time()
        self.say(what)
        yield
        self.faults.append(Fault(what, begin_s, time.time()))


def kill(context: DrillContext) -> None:
    """Kill a worker with SIGKILL after a third of the time, start it again after two thirds."""
    victim = context.workers[context.victim]
    context.until(1 / 3)
    context.say(f"kill -9 of worker {context.victim + 1}")
    victim.kill()
    context.until(2 / 3)
    context.say(f"worker {context.victim + 1} starts again")
    victim.start().await_ready()


def rolling(context: DrillContext) -> None:
    """Restart one worker after the other with SIGTERM."""
    context.until(1 / 6)
    for number in range(len(context.workers)):
        context.say(f"worker {number + 1} is restarted")
        context.workers.stop(number)
        context.workers[number].start().await_ready()
        context.wait(BETWEEN_S)


def pause(context: DrillContext) -> None:
    """Pause a worker for longer than its session timeout, then resume it."""
    victim = context.workers[context.victim]
    context.until(1 / 4)
    context.say(f"worker {context.victim + 1} is paused for {PAUSE_S:g} s")
    victim.pause()
    context.wait(PAUSE_S)
    context.say(f"worker {context.victim + 1} wakes")
    victim.resume()


def swap(context: DrillContext) -> None:
    """Let snapshots be swapped; kill the trainer after a third, a worker after two thirds, and restart each at once."""
    for share, process in ((1 / 3, context.trainers[0]), (2 / 3, context.workers[context.victim])):
        context.until(share)
        with context.fault(f"kill -9 of {process.name}"):
            process.kill()
            process.start().await_ready()
        context.say(f"{process.name} is ready again")


def hostile(context: DrillContext) -> None:
    """Send all attacks; stop all processes, commit foreign offsets, and start them again."""
    context.wait(BETWEEN_S)
    context.say("attacks begin")
    for attack in context.attacker.attacks():
        context.attacker.send(attack)
        context.wait(LOOK_S if attack.heavy else 0.0)
    context.say(f"{len(context.attacker.bad):,} bad records were sent")
    context.until(1 / 2)
    context.say("all are stopped; a foreign program commits offsets for the workers' group")
    context.workers.stop()
    context.trainers.stop()
    if refusal := commit_ends(context.settings):
        context.say(f"the broker refused the foreign commit: {refusal}")
    start_all(context.workers, context.trainers)
    context.say("all are ready again")


def soak(context: DrillContext) -> None:
    """Send attacks beside the events; end a worker or the trainer by kill -9 or SIGTERM now and then."""
    chance = random.Random(f"soak {context.seed}")
    end = context.opened + context.seconds
    told = context.opened
    with AttackStream(context.attacker, BAD_SHARE * context.feeder.rate, context.seed) as stream:
        while (left := end - time.monotonic()) > UP_S[0]:
            context.wait(min(left, chance.uniform(*UP_S)), stream.check)
            group = chance.choice([context.workers, context.workers, context.trainers])
            number, killed = chance.randrange(len(group)), chance.random() < 1 / 2
            context.say(f"{'kill -9' if killed else 'SIGTERM'} of {group[number].name}")
            if killed:
                group[number].kill()
            else:
                group.stop(number)
            context.wait(chance.uniform(*DOWN_S), stream.check)
            context.workers.revive()
            context.trainers.revive()
            if time.monotonic() > told + TELL_S:
                told = time.monotonic()
                context.tell()
        context.wait(max(0.0, left), stream.check)


@dataclass(frozen=True, slots=True)
class Drill:
    """A drill and its defaults."""

    act: Callable[[DrillContext], None]
    rate: float = 500.0
    seconds: float = 20.0
    trained: bool = False  # whether there is a trainer
    swapped: bool = False  # whether swaps of its snapshots are judged
    unseen: int = 0  # items in the catalogue without any event
    attacked: bool = False  # whether bad records are sent
    policy: str = POLICY
    settings: Mapping[str, object] = field(default_factory=dict)  # that differ from those of the others


DRILLS: Mapping[str, Drill] = {
    "kill": Drill(kill),
    "rolling": Drill(rolling),
    "pause": Drill(pause),
    # At this rate a third of two cores stays idle, all processes included; on a full machine every suggestion is late.
    # The unseen items make a swap as much work as in a large shop.
    "swap": Drill(swap, rate=50.0, seconds=120.0, trained=True, swapped=True, unseen=50_000),
    "hostile": Drill(hostile, rate=100.0, seconds=30.0, trained=True, attacked=True, policy=HOSTILE_POLICY),
    "soak": Drill(
        soak,
        rate=200.0,
        seconds=120.0,
        trained=True,
        attacked=True,
        policy=HOSTILE_POLICY,
        settings=SOAK_SETTINGS,
    ),
}
