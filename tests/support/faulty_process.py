"""`crosscurrent` with a fault built in: `python -m tests.support.faulty_process worker ...`, the fault in `FAULT`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from streams import faust_app, lifecycle
from streams.__main__ import main
from streams.faust_app import App
from streams.kafka.global_tables import GlobalTableReader, GlobalTables
from streams.kafka.group_consumer import GroupConsumer
from streams.lifecycle import ProcessService
from streams.trainer.service import Trainer
from streams.worker.service import Worker

VARIABLE = "FAULT"
"""Environment variable that names the fault."""

BOUND_S = 3.0
"""Longest time from a failure or a signal to the end, where Faust hangs."""


AHEAD_S = 120.0
"""Of a clock that is wrong."""


class BuiltInError(Exception):
    """The fault."""


def _fail(*_: object) -> NoReturn:
    raise BuiltInError


async def _fail_soon(*_: object) -> NoReturn:
    await asyncio.sleep(0)
    raise BuiltInError


async def _hang(*_: object) -> None:
    await asyncio.Event().wait()


def _work(_: object) -> None:
    time.sleep(3600)


_time = time.time


def _time_ahead() -> float:
    return _time() + AHEAD_S


def _start_work(self: ProcessService) -> None:
    self.spawn(_fail_soon(), "faulty")


async def _start_and_hang(self: ProcessService) -> None:
    asyncio.get_running_loop().create_task(self._start())
    await _hang()


FAULTS: Mapping[str, Sequence[tuple[Any, str, Any]]] = {
    "clock": [(time, "time", _time_ahead)],
    "warming up": [(Worker, "warm", _fail), (Trainer, "warm", _fail)],
    "warming up for an hour": [(Worker, "warm", _work), (Trainer, "warm", _work)],
    "record": [(GlobalTables, "apply_some", _fail)],
    "reader": [(GlobalTableReader, "run", _fail_soon)],
    "tables read": [(Worker, "on_tables_read", _fail), (Trainer, "on_tables_read", _fail)],
    "group": [(GroupConsumer, "start", _fail_soon)],
    "assignment": [(GroupConsumer, "_take", _fail)],
    "task": [(Worker, "start_work", _start_work), (Trainer, "start_work", _start_work)],
    "swallowed": [
        (GlobalTableReader, "run", _fail_soon),
        (ProcessService, "on_start", _start_and_hang),
        (App, "crash", _hang),
    ],
    "stop": [(Worker, "on_stop", _hang), (Trainer, "on_stop", _hang)],
}
"""What is replaced, by the fault's name."""


if __name__ == "__main__":
    for owner, name, replacement in FAULTS[os.environ[VARIABLE]]:
        setattr(owner, name, replacement)
    faust_app.FAILED_S = lifecycle.STOP_SPARE_S = BOUND_S
    Worker.stop_s = Trainer.stop_s = lifecycle.CLOSE_S = BOUND_S
    main()
