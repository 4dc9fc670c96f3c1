"""Child processes: ready lines, ends, restarts, and stopping side by side."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streams.processes import Process, ProcessError, environment, stop_all

TIMEOUT_S = 30.0

Start = Callable[[str], Process]


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Start]:
    """Makes a process that runs a shell script."""
    made: list[Process] = []

    def make(script: str) -> Process:
        name = f"child {len(made)}"
        made.append(Process(name, ["/bin/sh", "-c", script], tmp_path / f"{name}.log"))
        return made[-1]

    yield make
    for process in made:
        process.kill()


def test_the_ready_line_is_that_of_the_present_life(shell: Start) -> None:
    process = shell("echo already; echo ready $$; sleep 60")
    assert (process.pid, process.running, process.ready_line()) == (None, False, None)
    assert process.start().await_ready(TIMEOUT_S) == f"ready {process.pid}"
    process.kill()
    assert (process.pid, process.exit_code) == (None, None)
    assert process.start().await_ready(TIMEOUT_S) == f"ready {process.pid}"


def test_an_end_by_itself_is_an_error_with_the_last_output(shell: Start) -> None:
    process = shell("echo first; echo last; exit 3").start()
    with pytest.raises(ProcessError, match=r"^child 0 ended with exit code 3: first \| last$"):
        process.await_ready(TIMEOUT_S)
    assert process.exit_code == 3


def test_a_process_that_is_never_ready_is_an_error(shell: Start) -> None:
    process = shell("sleep 60").start()
    with pytest.raises(ProcessError, match="^child 0 did not become ready within 0 s: it said nothing$"):
        process.await_ready(0.0)
    assert process.running


def test_a_paused_process_does_not_end_until_it_resumes(shell: Start) -> None:
    process = shell("trap 'exit 7' TERM; echo ready; while true; do sleep 0.01; done").start()
    process.await_ready(TIMEOUT_S)
    process.pause()
    process.signal(signal.SIGTERM)
    assert not process.wait(0.1)
    process.resume()
    assert process.wait(TIMEOUT_S)
    assert process.exit_code == 7


def test_processes_stop_side_by_side_and_those_that_ignore_sigterm_are_killed(
    shell: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.processes.GRACE_S", 0.2)
    polite = shell("echo ready; exec sleep 60").start()
    stubborn = shell("trap '' TERM; echo ready; while true; do sleep 0.01; done").start()
    for process in (polite, stubborn):
        process.await_ready(TIMEOUT_S)
    stop_all([polite, stubborn, shell("exit")])
    assert (polite.running, stubborn.running) == (False, False)


def test_the_environment_has_the_settings_given_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSCURRENT_PREFIX", "mine-")
    monkeypatch.setenv("HOME", "/home/somebody")
    found = environment(train_every_s=4.0)
    assert found["HOME"] == "/home/somebody"
    assert {name: value for name, value in found.items() if name.startswith("CROSSCURRENT_")} == {
        "CROSSCURRENT_TRAIN_EVERY_S": "4.0"
    }
