"""Signals that end a command in an orderly way, so that everything it started is ended too."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import NoReturn


@contextmanager
def ended_as_by_ctrl_c() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise `KeyboardInterrupt`, unless they are ignored, as under nohup."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    with _handled([number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN], _interrupt):
        yield


@contextmanager
def set_by_signals(event: Event) -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP set an event and do nothing else."""
    with _handled((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), lambda *_: event.set()):
        yield


@contextmanager
def _handled(numbers: Iterable[signal.Signals], handler: Callable[..., object]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt  # not SIGINT: a shell starts background jobs with SIGINT ignored
