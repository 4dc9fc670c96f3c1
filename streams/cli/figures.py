"""Files that commands write after minutes or hours of work, so the option that names one is checked before it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from streams.errors import CrosscurrentError


def check_file(file: Path | None) -> Path | None:
    """Callback of an option that names a file to write.

    Raises:
        BadParameter: it cannot be written.
    """
    if file is not None:
        if not file.parent.is_dir():
            message = f"there is no folder {str(file.parent)!r}"
            raise typer.BadParameter(message)
        if not os.access(file if file.exists() else file.parent, os.W_OK):
            message = f"{str(file)!r} cannot be written"
            raise typer.BadParameter(message)
    return file


def make_folder(folder: Path | None) -> Path | None:
    """Callback of an option that names a folder to write to; makes the folder.

    Raises:
        BadParameter: it cannot be made, or not written to.
    """
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"{str(folder)!r} cannot be made: {error.strerror}"
            raise typer.BadParameter(message) from error
        check_file(folder / "clicks.jsonl")
    return folder


FiguresFile = Annotated[
    Path | None,
    typer.Option(
        "--json",
        metavar="OUT",
        help="Write the figures to a file",
        show_default=False,
        dir_okay=False,
        callback=check_file,
    ),
]
"""The option of all commands that measure."""


def write_figures(file: Path | None, figures: Mapping[str, Any]) -> None:
    """Write figures as JSON, if a file is named."""
    import orjson

    if file is not None:
        write_file(file, orjson.dumps(figures, option=orjson.OPT_INDENT_2) + b"\n")


def write_file(file: Path, content: bytes) -> None:
    """Write a file.

    Raises:
        CrosscurrentError: it cannot be written, as on a full disk.
    """
    try:
        file.write_bytes(content)
    except OSError as error:
        message = f"{str(file)!r} cannot be written: {error.strerror}"
        raise CrosscurrentError(message) from error
