"""Snapshots on a terminal, for people and for scripts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec
from rich.table import Table

from models.errors import SnapshotError
from streams.cli.printing import printable, table_console
from streams.errors import StoreError, StoreUnreachableError
from streams.snapshots.format import Manifest
from streams.snapshots.registry import SnapshotRegistry
from streams.snapshots.store import Stored
from streams.wire.codec import written

MEGABYTE = 1_000_000

COLUMNS: dict[str, Literal["left", "right"]] = {
    "version": "left",
    "": "left",
    "metrics": "left",
    "events": "right",
    "items": "right",
    "MB": "right",
}
"""Of the table of versions, and how each is justified."""


@dataclass(frozen=True)
class Line:
    """One version."""

    version: str
    announced: bool
    manifest: Manifest | None
    """None where it cannot be read."""
    fault: str | None
    """Why not."""

    def as_json(self) -> bytes:
        """The line that `crosscurrent models list --json` prints."""
        line: dict[str, object] = {"version": self.version, "announced": self.announced}
        if (it := self.manifest) is not None:
            line |= {"at": written(it.at), "code": it.code, "learnt": it.learnt, "metrics": it.metrics}
            line |= {"items": _items(it), "bytes": it.weights.bytes}
        else:
            line["fault"] = self.fault
        return msgspec.json.encode(line)


def listed(registry: SnapshotRegistry) -> list[Line]:
    """All versions of a model, oldest first; the announced one also where the store does not have it."""
    announced = registry.announced.version if registry.announced is not None else None
    versions = set(registry.store.versions(registry.model)) | ({announced} if announced is not None else set())
    lines = []
    for version in sorted(versions):
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
    """Print versions for people; below the table why some cannot be read."""
    table = Table(title=f"snapshots of {model}", title_justify="left")
    for name, justify in COLUMNS.items():
        table.add_column(name, justify=justify, no_wrap=True)
    for line in lines:
        cells = (
            ["cannot be read"]
            if (it := line.manifest) is None
            else [
                _numbers(it.metrics),
                f"{it.learnt.get('events', 0):,}",
                f"{_items(it):,}",
                f"{it.weights.bytes / MEGABYTE:.1f}",
            ]
        )
        table.add_row(line.version, "announced" if line.announced else "", *cells)
    console = table_console()
    console.print(table)
    for line in lines:
        if line.fault is not None:
            console.print(printable(line.fault), markup=False, soft_wrap=True)


def print_manifest(stored: Stored) -> None:
    """Print what a manifest says for people: all but the ids of its items."""
    it = stored.manifest
    table = Table(title=f"{it.model} {it.version}", title_justify="left", show_header=False)
    rows = {
        "code": it.code,
        "up to": written(it.at),
        "learnt": _numbers(it.learnt),
        "metrics": _numbers(it.metrics),
        "items": f"{_items(it):,} in {len(it.ids):,} slots",
        "config": msgspec.json.encode(it.config).decode(),
        "positions": "\n".join(f"{topic} {_numbers(at)}" for topic, at in it.positions.items()),
        "arrays": "\n".join(f"{name} {form.dtype} {tuple(form.shape)}" for name, form in it.arrays.items()),
        "weights": f"{it.weights.bytes:,} bytes, SHA-256 {it.weights.sha256}",
        "training": "none" if it.training is None else f"{it.training.bytes:,} bytes, SHA-256 {it.training.sha256}",
        "store": stored.url,
    }
    for name, text in rows.items():
        table.add_row(name, "\n".join(printable(line) for line in text.split("\n")))
    table_console().print(table)


def _items(manifest: Manifest) -> int:
    return sum(map(bool, manifest.ids))


def _numbers(numbers: Mapping[str, int | float] | Mapping[int, int]) -> str:
    return ", ".join(
        f"{name} {number:.6g}" if isinstance(number, float) else f"{name} {number}" for name, number in numbers.items()
    )
