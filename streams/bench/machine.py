"""Whether the machine did anything else while it was measured: figures of a busy machine are not valid.

The time that processors were busy (`/proc/stat`, with what the hypervisor took) is compared with what our own processes
used: this one and all below it, with those that have ended.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

BEFORE_S = 2.0
"""How long we do nothing and watch the others, before anything is measured."""

MOST_OTHERS = 0.05
"""Share of all cores that others may use. A system at rest, with the kernel's work for us, takes 0.01 to 0.02."""


class Times(NamedTuple):
    """Processor seconds so far."""

    at_s: float  # of a clock that does not stop
    busy_s: float  # of all cores, stolen time included
    ours_s: float  # of it our processes


def times(proc: Path = Path("/proc")) -> Times | None:
    """Processor seconds as of now; None where the system does not tell."""
    try:
        first = (proc / "stat").read_text(encoding="ascii").split("\n", 1)[0].split()
    except OSError:
        return None
    user, nice, system, steal = (int(first[column]) for column in (1, 2, 3, 8))
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    return Times(time.monotonic(), (user + nice + system + steal) * tick_s, _ours(proc, os.getpid()) * tick_s)


def _ours(proc: Path, root: int) -> int:
    """Ticks of a process and of all below it, with those that they have waited for."""
    below: dict[int, list[int]] = {}
    ticks: dict[int, int] = {}
    for folder in proc.iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        below.setdefault(int(fields[1]), []).append(int(folder.name))
        ticks[int(folder.name)] = sum(map(int, fields[11:15]))
    found, waiting = 0, [root]
    while waiting:
        pid = waiting.pop()
        found += ticks.get(pid, 0)
        waiting += below.get(pid, ())
    return found


def others(before: Times, after: Times, cores: int) -> float:
    """Share of all cores that others used between two moments.

    >>> others(Times(0.0, 100.0, 10.0), Times(10.0, 116.0, 24.0), cores=2)
    0.1
    """
    used = (after.busy_s - before.busy_s) - (after.ours_s - before.ours_s)
    return round(max(0.0, used / (cores * (after.at_s - before.at_s))), 3)


class MachineWatch:
    """What others used, phase by phase; watches from its construction on, which takes `BEFORE_S`."""

    def __init__(self, pause: Callable[[float], None] = time.sleep) -> None:
        self.load = round(os.getloadavg()[0], 2)  # of the minute before
        self.cores = os.cpu_count() or 1
        self.others: dict[str, float | None] = {}  # share of all cores, by phase
        self._last = times()
        pause(BEFORE_S)
        self.end("before")

    def end(self, phase: str) -> None:
        """A phase ends, and the next begins."""
        now = times()
        self.others[phase] = others(self._last, now, self.cores) if self._last and now else None
        self._last = now

    def disturbed(self) -> list[str]:
        """Why figures of this run are not valid; empty: nothing disturbed it."""
        return disturbed(self.load, self.cores, self.others)


def disturbed(load: float, cores: int, shares: Mapping[str, float | None]) -> list[str]:
    """Sentences on what else the machine did, by its load before and what others used of all cores in each phase.

    >>> disturbed(0.4, 2, {"before": 0.01, "turn 1": 0.2})
    ['other processes used up to 20 % of all cores (turn 1)']
    """
    found = []
    if load >= cores:
        found.append(f"the load of the minute before was {load:g} on {cores} cores")
    busy = {phase: share for phase, share in shares.items() if share is not None and share > MOST_OTHERS}
    if busy:
        phases = ", ".join(busy)
        found.append(f"other processes used up to {100 * max(busy.values()):.0f} % of all cores ({phases})")
    if None in shares.values():
        found.append("this system does not tell what other processes use (/proc)")
    return found
