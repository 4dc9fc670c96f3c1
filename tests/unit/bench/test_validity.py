"""Whether a run of the benchmark is valid: what else the machine did, and how sure a ratio is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streams.bench import interval, machine


def written(proc: Path, cpu: str, processes: dict[int, tuple[int, list[int]]]) -> Path:
    """A made-up /proc: processes by id, each with its parent and its four times."""
    (proc / "stat").parent.mkdir(parents=True)
    (proc / "stat").write_text(f"cpu  {cpu}\ncpu0 1 2 3\n")
    for pid, (parent, ticks) in processes.items():
        (proc / str(pid)).mkdir()
        before = " ".join("0" for _ in range(9))
        fields = f"{pid} (a name) with) brackets) S {parent} {before} {' '.join(map(str, ticks))} 20 0"
        (proc / str(pid) / "stat").write_text(fields)
    return proc


def test_our_time_is_that_of_all_processes_below_us_and_of_those_that_have_ended(tmp_path: Path) -> None:
    us, tick_s = os.getpid(), 1 / os.sysconf("SC_CLK_TCK")
    processes = {
        us: (1, [10, 1, 400, 40]),  # 440 ticks of children that it has waited for
        us + 1: (us, [100, 20, 0, 0]),
        us + 2: (us + 1, [1000, 200, 0, 0]),
        us + 3: (1, [7, 7, 7, 7]),
    }
    found = machine.times(written(tmp_path / "proc", "3000 200 500 99999 8 77 66 50 0 0", processes))
    assert found is not None
    assert found.ours_s == pytest.approx(1771 * tick_s)
    assert found.busy_s == pytest.approx(3750 * tick_s)  # neither idle nor waiting, but stolen


def test_a_system_without_proc_tells_nothing(tmp_path: Path) -> None:
    assert machine.times(tmp_path / "nothing") is None
    assert machine.disturbed(0.0, 2, {"before": None}) == ["this system does not tell what other processes use (/proc)"]


def test_what_others_use_is_the_rest_of_what_the_cores_did() -> None:
    before = machine.Times(100.0, 1_000.0, 50.0)
    assert machine.others(before, machine.Times(110.0, 1_012.0, 59.0), 2) == 0.15
    assert machine.others(before, machine.Times(110.0, 1_010.0, 61.0), 2) == 0.0  # ticks are rounded


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="this system has no /proc")
def test_the_work_of_a_child_is_ours_while_it_runs_and_afterwards() -> None:
    before = machine.times()
    work = "import time\nwhile time.process_time() < 0.5: pass\nprint('done', flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", work], stdin=-1, stdout=-1, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        running = machine.times()
    ended = machine.times()
    assert before is not None and running is not None and ended is not None
    assert running.ours_s - before.ours_s >= 0.45
    assert ended.ours_s >= running.ours_s
    assert running.busy_s - before.busy_s >= 0.45


def test_a_quiet_machine_is_valid_and_a_busy_one_is_not() -> None:
    quiet = {"before": 0.01, "turn 1": 0.02}
    assert machine.disturbed(1.9, 2, quiet) == []
    assert machine.disturbed(2.5, 2, quiet) == ["the load of the minute before was 2.5 on 2 cores"]
    assert machine.disturbed(0.1, 2, quiet | {"turn 2": 0.31, "turn 3": 0.06}) == [
        "other processes used up to 31 % of all cores (turn 2, turn 3)"
    ]


def test_a_watch_measures_each_phase_from_the_end_of_the_one_before() -> None:
    paused: list[float] = []

    def pause(seconds: float) -> None:
        paused.append(seconds)
        time.sleep(0.05)

    watch = machine.MachineWatch(pause)
    time.sleep(0.05)
    watch.end("turn 1")
    assert paused == [machine.BEFORE_S]
    assert list(watch.others) == ["before", "turn 1"]


def test_the_interval_is_students_t_of_the_logarithms() -> None:
    """Three turns: mean log 0, standard deviation ln 1.1, t 4.303."""
    low, high = interval.interval([1.0, 1.1, 1 / 1.1]) or (0.0, 0.0)
    assert high == pytest.approx(1.1 ** (4.303 / 3**0.5), rel=1e-6)
    assert low == pytest.approx(1 / high)


def test_ratios_settle_once_their_interval_is_narrow() -> None:
    assert not interval.settled([3.0])  # one turn says nothing
    assert not interval.settled([3.0, 3.1])
    assert interval.settled([3.0, 3.1, 3.05])
    assert not interval.settled([3.0, 3.6, 2.7])
    assert interval.settled([3.0, 3.6, 2.7, *[3.1] * 7])


def test_every_number_of_turns_has_an_interval() -> None:
    reaches = []
    for turns in range(2, interval.MOST_TURNS + 1):
        low, high = interval.interval([2.0, 2.2] * (turns // 2) + [2.1] * (turns % 2)) or (0.0, 0.0)
        assert low < interval.mean([2.0, 2.2]) < high
        reaches.append(high / low)
    assert reaches == sorted(reaches, reverse=True)
