"""Snapshots on a terminal, for people and for scripts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from rich.table import Table

from models.errors import SnapshotError
from streams.cli.printing import new_table, printable, table_console
from streams.errors import StoreError, StoreUnreachableError
from streams.snapshots.format import FileForm, Manifest
from streams.snapshots.registry import SnapshotRegistry
from streams.snapshots.store import Stored
from streams.wire.codec import written


@dataclass(frozen=True)
class Line:
    """One version."""

    version: str
    announced: bool
    manifest: Manifest | None
    """None: it cannot be read."""
    fault: str | None
    """Why it cannot be read."""

    def as_json(self) -> bytes:
        """The line that `crosscurrent models list --json` prints."""
        line: dict[str, object] = {"version": self.version, "announced": self.announced}
        if (found := self.manifest) is None:
            line["fault"] = self.fault
        else:
            line |= {"at": written(found.at), "code": found.code, "learnt": found.learnt, "metrics": found.metrics}
            line |= {"items": _items(found), "bytes": found.weights.bytes}
        return msgspec.json.encode(line)


def listed(registry: SnapshotRegistry) -> list[Line]:
    """All versions of a model, oldest first; the announced one even if the store does not have it."""
    announced = None if registry.announced is None else registry.announced.version
    lines = []
    for version in sorted({*registry.store.versions(registry.model), *([announced] if announced else [])}):
        manifest, fault = None, None
        try:
            manifest = registry.store.stored(registry.model, version).manifest
        except StoreUnreachableError:
            raise
        except (StoreError, SnapshotError) as error:
            fault = str(error)
        lines.append(Line(version, version == announced, manifest, fault))
    return lines


def print_table(lines: list[Line], model: str) -> None:
    """Print versions for people, and below the table why some cannot be read."""
    table = new_table(f"snapshots of {model}", ("version", "", "metrics"), ("events", "items", "MB"), no_wrap=True)
    for line in lines:
        cells = ["cannot be read"]
        if (found := line.manifest) is not None:
            events, megabytes = found.learnt.get("events", 0), found.weights.bytes / 1_000_000
            cells = [_numbers(found.metrics), f"{events:,}", f"{_items(found):,}", f"{megabytes:.1f}"]
        table.add_row(line.version, "announced" if line.announced else "", *cells)
    console = table_console()
    console.print(table)
    for line in lines:
        if line.fault is not None:
            console.print(printable(line.fault), markup=False, soft_wrap=True)


def print_manifest(stored: Stored) -> None:
    """Print a manifest for people, without the ids of its items."""
    manifest = stored.manifest
    table = Table(title=f"{manifest.model} {manifest.version}", title_justify="left", show_header=False)
    rows = {
        "code": manifest.code,
        "up to": written(manifest.at),
        "learnt": _numbers(manifest.learnt),
        "metrics": _numbers(manifest.metrics),
        "items": f"{_items(manifest):,} in {len(manifest.ids):,} slots",
        "config": msgspec.json.encode(manifest.config).decode(),
        "positions": "\n".join(f"{topic} {_numbers(at)}" for topic, at in manifest.positions.items()),
        "arrays": "\n".join(f"{name} {form.dtype} {tuple(form.shape)}" for name, form in manifest.arrays.items()),
        "weights": _file(manifest.weights),
        "training": "none" if manifest.training is None else _file(manifest.training),
        "store": stored.url,
    }
    for name, text in rows.items():
        table.add_row(name, "\n".join(printable(line) for line in text.split("\n")))
    table_console().print(table)


def _file(form: FileForm) -> str:
    return f"{form.bytes:,} bytes, SHA-256 {form.sha256}"


def _items(manifest: Manifest) -> int:
    return sum(map(bool, manifest.ids))


def _numbers(numbers: Mapping[str, int | float] | Mapping[int, int]) -> str:
    return ", ".join(
        f"{name} {number:.6g}" if isinstance(number, float) else f"{name} {number}" for name, number in numbers.items()
    )
