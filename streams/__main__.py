"""`crosscurrent` and `python -m streams`: runs a command and turns errors into one sentence and an exit code."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import NoReturn

import typer

from models.errors import ModelError
from streams.cli.entry import app
from streams.errors import CrosscurrentError
from streams.interrupts import signals_of_a_service

# Before numpy is imported: its library would start a thread per core for small matrix products. Work is shared among
# processes here, and more threads in each only wait for each other. An existing value is kept.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SERVICES = (["worker"], ["trainer"])
"""Commands that SIGTERM ends with 0 and that SIGHUP does not end, also before their event loop runs."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit: 0 only on success, 1 after an error, 2 for wrong usage.

    Args:
        arguments: of the command line; None: the process's own.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    with signals_of_a_service() if arguments[:1] in SERVICES else nullcontext():
        _run(arguments)


def _run(arguments: Sequence[str]) -> NoReturn:
    # Client libraries log every broken connection; a command reports an error once.
    for library in ("kafka", "aiokafka"):
        logging.getLogger(library).addHandler(logging.NullHandler())
    try:
        code = app(arguments, prog_name="crosscurrent", standalone_mode=False)
    except (CrosscurrentError, ModelError) as error:
        _fail(str(error), 1)
    except typer.Abort:
        _fail("stopped", 130)
    except typer.TyperException as error:
        _fail(error.format_message(), error.exit_code)
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(sentence: str, code: int) -> NoReturn:
    print(sentence, file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
