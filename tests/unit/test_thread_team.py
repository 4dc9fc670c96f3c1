"""A team of threads: results in order, the caller's thread first, and errors only after everything has ended."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from models.thread_team import ThreadTeam


def test_parts_are_equal_and_large_enough() -> None:
    team = ThreadTeam(3, "test")
    assert team.parts(10, 1) == [slice(0, 3), slice(3, 6), slice(6, 10)]
    assert team.parts(10, 4) == [slice(0, 5), slice(5, 10)]
    assert team.parts(7, 4) == [slice(0, 7)]
    assert team.parts(0, 4) == [slice(0, 0)]
    assert ThreadTeam(1, "test").parts(10, 1) == [slice(0, 10)]


def test_calls_are_made_at_once_each_in_a_thread_of_its_own_that_is_kept() -> None:
    team, meeting = ThreadTeam(3, "meeting"), threading.Barrier(3, timeout=10)

    def meet(number: int) -> tuple[int, str]:
        meeting.wait()
        return number, threading.current_thread().name

    for _ in range(2):
        met = team.run([lambda number=number: meet(number) for number in range(3)])  # type: ignore[misc]
        assert met == [(0, threading.current_thread().name), (1, "meeting-1"), (2, "meeting-2")]
    threads = [thread for thread in threading.enumerate() if thread.name in ("meeting-1", "meeting-2")]
    assert len(threads) == 2
    assert all(thread.daemon for thread in threads)
    assert team.run([]) == []


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_an_error_is_raised_once_all_calls_have_ended(failing: int) -> None:
    team, ended, slow = ThreadTeam(3, "test"), list[int](), threading.Event()

    def call(number: int) -> None:
        if number == failing:
            slow.set()
            raise ValueError(number)
        assert slow.wait(10)
        ended.append(number)

    with pytest.raises(ValueError, match=str(failing)):
        team.run([lambda number=number: call(number) for number in range(3)])  # type: ignore[misc]
    assert sorted(ended) == [number for number in range(3) if number != failing]
    assert team.run([lambda: 1, lambda: 2]) == [1, 2]


def test_a_thread_that_waits_holds_nothing_of_its_last_call() -> None:
    class Large:
        pass

    team, large = ThreadTeam(2, "test"), Large()
    gone = weakref.ref(large)
    team.run([str, lambda held=large: str(held)])  # type: ignore[misc]
    del large
    team.run([str, str])  # the thread has begun to wait after the first call
    gc.collect()
    assert gone() is None
