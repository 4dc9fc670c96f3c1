"""A process that can wait gives way to those of other sessions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from streams.threads import NICENESS

AUTOGROUP = Path("/proc/self/autogroup")
PROGRAM = f"""
import os
from pathlib import Path
from streams.threads import give_way
before = os.nice(0)
give_way()
print(os.nice(0) - before)
print(Path("{AUTOGROUP}").read_text() if os.path.exists("{AUTOGROUP}") else "")
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux shares processors among sessions")


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
