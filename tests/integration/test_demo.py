"""The demo from start to end: right suggestions, figures, and nothing left behind however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from streams.brokers.embedded import EmbeddedBroker

LONG_S = 180.0
"""For a start on a machine that still has to compile the kernels."""

SHORT = """
from functools import partial
from streams.__main__ import main
from streams.demo import demo
demo.DemoConfig = partial(demo.DemoConfig, history=300)
main()
"""
"""The demo with little history, where only its end is tested."""

PROC = Path("/proc")
MARK = "DEMO_UNDER_TEST"

pytestmark = pytest.mark.skipif(not PROC.is_dir(), reason="needs /proc to find processes left behind: run it on Linux")


class Demo:
    """A demo in a session of its own, all of whose processes can be found by a variable of their environment."""

    def __init__(self, output: Path, program: tuple[str, str], *options: str) -> None:
        self._mark = f"{MARK}={uuid.uuid4().hex}"
        name, value = self._mark.split("=")
        self._output = output
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, *program, "demo", *options],
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, name: value, "CROSSCURRENT_PREFIX": "not-for-the-demo-"},
                start_new_session=True,
            )

    def text(self) -> str:
        return self._output.read_text(encoding="utf-8")

    def await_text(self, text: str) -> None:
        deadline = time.monotonic() + LONG_S
        while text not in self.text():
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.05)

    def end(self, timeout_s: float) -> int:
        return self.process.wait(timeout_s)

    def alive(self) -> dict[int, str]:
        """Processes of this demo that run: id and command line."""
        found = {}
        for folder in PROC.iterdir():
            try:
                if folder.name.isdigit() and self._mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # it has ended meanwhile
        return found

    def await_nothing_alive(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while (alive := self.alive()) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not alive


@pytest.fixture
def start(tmp_path: Path, embedded_broker: EmbeddedBroker) -> Iterator[Callable[..., Demo]]:
    """Starts a demo; what a test leaves behind is ended."""
    started: list[Demo] = []

    def start(*options: str, program: tuple[str, str] = ("-m", "streams")) -> Demo:
        started.append(Demo(tmp_path / "output.txt", program, *options))
        return started[-1]

    yield start
    for demo in started:
        for pid in demo.alive():
            os.kill(pid, signal.SIGKILL)
        demo.process.wait()


@pytest.fixture
def demo(start: Callable[..., Demo]) -> Demo:
    """A running demo that nobody ends."""
    return start("--rate", "20", program=("-c", SHORT))


def test_it_shows_right_suggestions_and_ends_by_itself(tmp_path: Path, start: Callable[..., Demo]) -> None:
    figures = tmp_path / "figures.json"
    demo = start("--seconds", "12", "--rate", "40", "--json", str(figures))
    assert demo.end(LONG_S) == 0, demo.text()
    assert not demo.alive()
    found = orjson.loads(figures.read_bytes())
    assert found["promises_broken"] == {}
    assert found["events"]["live"] > 300
    assert found["suggestions"]["live"] > 200
    for kind in ("cross-sell", "upsell", "both"):
        sides = found["share_right"][kind]
        assert sides["crosscurrent"]["share"] > sides["popularity"]["share"] + 0.1, found
    assert found["latency_ms"]["worker"]["p50"] is not None
    text = demo.text()
    for words in ("broker", "topics", "workers", "shop", "cross-sell", "upsell", "popularity", "promises broken"):
        assert words in text
    assert "\x1b" not in text  # no terminal, no colours


@pytest.mark.parametrize(
    ("number", "to_group", "when"),
    [
        (signal.SIGINT, True, "live for"),  # Ctrl-C
        (signal.SIGTERM, False, "live for"),
        (signal.SIGTERM, True, "\nshop "),
        (signal.SIGINT, False, "\nworkers "),
    ],
)
def test_a_signal_ends_it_and_leaves_nothing_behind(
    demo: Demo, number: signal.Signals, to_group: bool, when: str
) -> None:
    demo.await_text(when)
    assert len(demo.alive()) > 2
    (os.killpg if to_group else os.kill)(demo.process.pid, number)
    assert demo.end(40.0) == 0, demo.text()
    assert not demo.alive()
    assert "Traceback" not in demo.text()


def test_nothing_is_left_behind_where_it_is_killed(demo: Demo) -> None:
    demo.await_text("\nshop ")
    demo.process.kill()
    demo.await_nothing_alive(30.0)


def test_a_worker_that_dies_is_told_and_everything_ends(demo: Demo) -> None:
    demo.await_text("live for")
    worker = next(pid for pid, command in demo.alive().items() if "-m streams worker" in command)
    os.kill(worker, signal.SIGKILL)
    assert demo.end(40.0) == 1
    assert "ended with exit code -9" in demo.text()
    assert not demo.alive()
