"""`crosscurrent models`: lists, shows, rolls back, exports and imports snapshots."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.options import with_settings

if TYPE_CHECKING:
    from streams.settings import Settings

app = typer.Typer(help="Show snapshots of models, go back to one, carry them.", no_args_is_help=True)

Model = Annotated[str, typer.Option(help="Which model")]
SEQUENCE = "sequence"


@app.command("list")
@with_settings("snapshot_store")
def list_(
    settings: Settings,
    model: Model = SEQUENCE,
    json: Annotated[bool, typer.Option("--json", help="A line of JSON a version, oldest first")] = False,
) -> None:
    """List the versions in the store, oldest first, and say which is announced: workers serve it once they have it."""
    from streams.cli.models_view import listed, print_table
    from streams.snapshots.registry import SnapshotRegistry

    lines = listed(SnapshotRegistry(settings, model))
    if json:
        for line in lines:
            typer.echo(line.as_json())
    else:
        print_table(lines, model)


@app.command("show")
@with_settings("snapshot_store", connect=False)
def show(
    settings: Settings,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="As `models list` prints it")],
    model: Model = SEQUENCE,
    json: Annotated[bool, typer.Option("--json", help="The manifest unchanged, with the vocabulary")] = False,
) -> None:
    """Show what the manifest of a version says: how much was learnt, up to where, how good it was, and its shapes."""
    from streams.cli.models_view import print_manifest
    from streams.snapshots.store import SnapshotStore

    stored = SnapshotStore.of(settings).stored(model, version)
    if json:
        typer.echo(stored.content)
    else:
        print_manifest(stored)


@app.command("rollback")
@with_settings("snapshot_store")
def rollback(
    settings: Settings,
    version: Annotated[
        str | None,
        typer.Argument(metavar="[VERSION]", help="The one before the announced by default", show_default=False),
    ] = None,
    model: Model = SEQUENCE,
) -> None:
    """Check another version and announce it, so that workers change over. None to go back to: exit code 1."""
    from streams.snapshots.registry import SnapshotRegistry

    registry = SnapshotRegistry(settings, model)
    chosen = version if version is not None else registry.before_announced()
    registry.store.load(model, chosen)
    registry.announce(registry.store.stored(model, chosen), "rollback")
    print(f"announced {model} {chosen}")


@app.command("export")
@with_settings("snapshot_store", connect=False)
def export(
    settings: Settings,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="As `models list` prints it")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A tar is written to it")],
    model: Model = SEQUENCE,
) -> None:
    """Write a version to one file, for the store of another shop or for keeping."""
    from streams.snapshots.archive import write_archive
    from streams.snapshots.store import SnapshotStore

    size = write_archive(SnapshotStore.of(settings).load(model, version), file)
    print(f"wrote {model} {version} to {file}, {size} bytes")


@app.command("import")
@with_settings("snapshot_store")
def import_(
    settings: Settings,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="As `models export` wrote it")],
    model: Model = SEQUENCE,
    announce: Annotated[bool, typer.Option(help="Let workers change over to it")] = True,
) -> None:
    """Check a file that `models export` wrote, put its version into the store, and announce it."""
    from streams.errors import SnapshotCorruptError
    from streams.snapshots.archive import read_archive
    from streams.snapshots.registry import SnapshotRegistry

    snapshot = read_archive(file, settings.snapshot_bytes)
    if snapshot.model != model:
        raise SnapshotCorruptError.archive(file, f"a snapshot of `{model}` (--model)", f"one of `{snapshot.model}`")
    registry = SnapshotRegistry(settings, model)
    if not registry.store.is_intact(model, snapshot.version):  # an intact one may have the trainer's state, too
        registry.store.save(snapshot)
    print(f"imported {model} {snapshot.version} into {registry.store.url}")
    if announce:
        registry.announce(registry.store.stored(model, snapshot.version), "import")
        print(f"announced {model} {snapshot.version}")
