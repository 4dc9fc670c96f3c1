"""`python -m streams.cli.docs`: writes the generated pages. For developers, so it is no subcommand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from streams.cli.event_pages import asyncapi, events_page
from streams.cli.settings_page import settings_page

DOCS = Path(__file__).parents[2] / "docs"
_HEAD = "# Made by `make docs` from streams/wire/schemas.py and streams/wire/topics.py; a test compares.\n"


def pages() -> dict[Path, str]:
    """What each page must be."""
    return {
        DOCS / "events.md": events_page(),
        DOCS / "asyncapi.yaml": _HEAD + _yaml(asyncapi()),
        DOCS / "settings.md": settings_page(),
    }


def command(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit with 1 if a page is out of date")] = False,
) -> None:
    """Write the generated pages that are out of date."""
    stale = {
        path: text for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text
    }
    for path, text in stale.items():
        if check:
            typer.echo(f"docs/{path.name} is out of date: `make docs` writes it again", err=True)
        else:
            path.write_text(text, encoding="utf-8")
            print(f"docs/{path.name} written")
    if check and stale:
        raise typer.Exit(1)


def _yaml(document: dict[str, Any]) -> str:
    import yaml  # of the extra `dev`

    class Plain(yaml.SafeDumper):
        """Repeats equal parts instead of writing anchors."""

        def ignore_aliases(self, data: object) -> bool:
            return True

    text: str = yaml.dump(document, Dumper=Plain, sort_keys=False, allow_unicode=True, width=120)
    return text


if __name__ == "__main__":
    typer.run(command)
