"""`crosscurrent` with a fault built in: `python -m tests.support.faulty_process worker ...`, the fault in `FAULT`."""

from __future__ import annotations

import asyncio
import os
import time
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


class BuiltInError(Exception):
    """The fault."""


def _fail(*_: object) -> NoReturn:
    raise BuiltInError


async def _fail_soon(*_: object) -> NoReturn:
    await asyncio.sleep(0)
    raise BuiltInError


async def _hang(*_: object) -> None:
    await asyncio.Event().wait()


def _start_work(self: ProcessService) -> None:
    self.spawn(_fail_soon(), "faulty")


def _connect_while_warm(self: ProcessService) -> None:
    time.sleep(3600)


def build_in(fault: str) -> None:
    """Make one part fail."""
    for service in (Worker, Trainer):
        if fault == "warming up":
            service.warm = _fail  # type: ignore[method-assign]
        elif fault == "warming up for an hour":
            service.warm = _connect_while_warm  # type: ignore[method-assign]
        elif fault == "tables read":
            service.on_tables_read = _fail  # type: ignore[method-assign]
        elif fault == "task":
            service.start_work = _start_work  # type: ignore[method-assign]
        elif fault == "stop":
            service.on_stop = _hang  # type: ignore[method-assign]
    if fault == "record":
        GlobalTables.apply = _fail  # type: ignore[method-assign]
    elif fault == "reader":
        GlobalTableReader.run = _fail_soon  # type: ignore[method-assign]
    elif fault == "group":
        GroupConsumer.start = _fail_soon  # type: ignore[method-assign]
    elif fault == "assignment":
        GroupConsumer._take = _fail  # type: ignore[method-assign]
    elif fault == "swallowed":
        GlobalTableReader.run = _fail_soon  # type: ignore[method-assign]
        ProcessService.on_start = _hang  # type: ignore[method-assign]
        App.crash = _hang  # type: ignore[method-assign]
        start = ProcessService._start

        async def on_start(self: Any) -> None:
            asyncio.get_running_loop().create_task(start(self))
            await _hang()

        ProcessService.on_start = on_start  # type: ignore[method-assign]
    faust_app.FAILED_S = BOUND_S
    lifecycle.STOP_SPARE_S = BOUND_S
    lifecycle.CLOSE_S = 0.0 if fault == "stop" else lifecycle.CLOSE_S
    if fault == "stop":
        Worker.stop_s = Trainer.stop_s = 0.0


if __name__ == "__main__":
    build_in(os.environ[VARIABLE])
    main()
