"""The command `crosscurrent evaluate`, run in this process."""

from __future__ import annotations

import pytest

from streams.__main__ import main


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *arguments])
    return int(ended.value.code or 0)
