"""Work that can wait gives way: a thread to the others of its process, a process to those of other sessions."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from streams.threads import NICENESS, give_way

AUTOGROUP = Path("/proc/self/autogroup")
PROGRAM = f"""
import os
from pathlib import Path
from streams.threads import give_way_as_process
before = os.nice(0)
give_way_as_process()
print(os.nice(0) - before)
print(Path("{AUTOGROUP}").read_text() if os.path.exists("{AUTOGROUP}") else "")
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="niceness is kept by thread on Linux only")


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_a_thread_gives_way_alone() -> None:
    found, before = list[int](), niceness()

    def work() -> None:
        give_way()
        found.append(niceness())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [min(19, before + NICENESS)]
    assert niceness() == before


def given_way(*, own_session: bool) -> list[str]:
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=True, start_new_session=own_session)
    return done.stdout.split("\n", 1)


def test_a_process_gives_way_with_the_session_that_it_has_begun() -> None:
    added, group = given_way(own_session=True)
    assert int(added) == NICENESS
    if AUTOGROUP.exists():
        assert group.split()[-1] == str(NICENESS)


def test_a_process_leaves_the_session_of_others_as_it_is() -> None:
    before = AUTOGROUP.read_text() if AUTOGROUP.exists() else ""
    added, group = given_way(own_session=False)
    assert int(added) == NICENESS
    assert group.strip() == before.strip()
