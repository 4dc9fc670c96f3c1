"""Long calls are made at low priority, and leave that of their caller as it is."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from models.low_priority import NICENESS, at_low_priority


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="niceness is kept by thread on Linux only")
def test_a_call_gives_way_and_its_caller_does_not() -> None:
    before = niceness()
    assert at_low_priority(niceness) == min(19, before + NICENESS)
    assert niceness() == before


def test_what_a_call_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        at_low_priority(lambda: 1 // 0)
