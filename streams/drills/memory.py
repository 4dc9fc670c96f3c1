"""The memory of processes over time, and its plot."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import median
from typing import Any, Self

from streams.processes import Process, resident_mb

MOST_SAMPLES = 720
"""Of each process: one every 5 s for an hour."""

GROWTH, GROWTH_MB = 1.25, 50.0
"""In the last third of the time a process may hold so much more than in the second third, as a factor and in MB: by
then it has seen all that it keeps."""

WIDTH, HEIGHT, MARGIN = 900, 400, 50
COLOURS = ("#1b6ca8", "#d1495b", "#2e933c", "#8f4fbf", "#b07d10", "#3b3b3b")

Samples = Mapping[str, Sequence[tuple[float, float]]]
"""Seconds since the start, and MB, by the name of the process."""


class MemoryLog:
    """Samples the resident memory of processes from a thread. A context manager; `seconds` is how long it will run."""

    def __init__(self, processes: Sequence[Process], seconds: float) -> None:
        self._processes = processes
        self._pause_s = max(1.0, seconds / MOST_SAMPLES)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)
        self.samples: dict[str, list[tuple[float, float]]] = {process.name: [] for process in processes}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        begin = time.monotonic()
        while not self._stop.wait(self._pause_s):
            for process in self._processes:
                if (pid := process.pid) is not None and (resident := resident_mb(pid)) is not None:
                    self.samples[process.name].append((time.monotonic() - begin, resident))


def growth(samples: Samples) -> dict[str, float]:
    """Median memory of the last third of the time over that of the second third, by process."""
    found = {}
    for name, taken in samples.items():
        end = taken[-1][0] if taken else 0.0
        second = [mb for at_s, mb in taken if end / 3 < at_s <= 2 * end / 3]
        last = [mb for at_s, mb in taken if at_s > 2 * end / 3]
        if second and last:
            found[name] = median(last) / median(second)
    return found


def as_json(samples: Samples) -> dict[str, Any]:
    """As `drill --json` writes it."""
    grown = growth(samples)
    return {
        name: {
            "most_mb": round(max(mb for _, mb in taken)),
            "growth": round(grown[name], 3) if name in grown else None,
            "samples": [[round(at_s, 1), round(mb, 1)] for at_s, mb in taken],
        }
        for name, taken in samples.items()
        if taken
    }


def complaints(samples: Samples) -> list[str]:
    """A sentence for each process whose memory grows."""
    found = []
    for name, factor in growth(samples).items():
        newest_mb = median(mb for _, mb in samples[name][-len(samples[name]) // 3 :])
        if factor > GROWTH and newest_mb * (1 - 1 / factor) > GROWTH_MB:
            found.append(f"{name} holds {factor:.2f} times as much at the end as in the middle: {newest_mb:.0f} MB")
    return found


def write_plot(samples: Samples, file: Path) -> None:
    """Draw the samples as SVG; raises `OSError` if the file cannot be written."""
    points = [point for taken in samples.values() for point in taken]
    end_s = max((at_s for at_s, _ in points), default=0.0) or 1.0
    most_mb = max((mb for _, mb in points), default=0.0) * 1.1 or 1.0
    wide, high = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = MARGIN + share * wide, HEIGHT - MARGIN - share * high
        parts += [
            f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>',
            f'<text x="4" y="{y + 4:.1f}" font-size="11">{share * most_mb:.0f} MB</text>',
            f'<text x="{x - 12:.1f}" y="{HEIGHT - MARGIN + 18}" font-size="11">{share * end_s / 60:.1f} min</text>',
        ]
    for number, (name, taken) in enumerate(samples.items()):
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f'<text x="{MARGIN + 120 * number}" y="24" font-size="13" fill="{colour}">{escape(name)}</text>')
        for at_s, mb in taken:
            x, y = MARGIN + at_s / end_s * wide, HEIGHT - MARGIN - mb / most_mb * high
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.5" fill="{colour}"/>')
    file.write_text("\n".join([*parts, "</svg>", ""]), encoding="utf-8")
