"""How a process ends: by signals, in an orderly way, and at the latest after a bound in time."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Event, Timer
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
def signals_of_a_service() -> Iterator[None]:
    """Let SIGTERM end the process with 0 at once, while it holds nothing that has to be written, and SIGHUP do nothing.

    A worker takes SIGHUP as soon as it has a policy, and both take SIGTERM as soon as their event loop runs.
    """
    with _handled((signal.SIGTERM,), lambda *_: end_at_once(0)), _handled((signal.SIGHUP,), lambda *_: None):
        yield


def end_at_once(code: int, sentence: str | None = None) -> NoReturn:
    """End the process without waiting for its threads; one may hang in an unreachable store or in a compiler."""
    if sentence is not None:
        print(sentence, file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            pass  # its reader has gone
    os._exit(code)


def end_within(seconds: float, sentence: str) -> None:
    """End the process with 1 and a sentence after so many seconds, whatever it does; there is no way back.

    A second later it ends without the sentence, as nobody may be reading standard error.
    """
    for timer in (Timer(seconds, end_at_once, (1, sentence)), Timer(seconds + 1, os._exit, (1,))):
        timer.daemon = True
        timer.start()


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
