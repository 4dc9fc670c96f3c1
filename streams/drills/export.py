"""Exports the log of a drill, its suggestions, policy and settings for `evaluate prequential`.

The recommender driven over this log offline must come to the figures of the workers that ran, up to differences of
timing; see [evaluation.md](../../docs/evaluation.md#beside-what-workers-sent).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, is_dataclass
from pathlib import Path

import orjson

from streams.drills.evidence import Evidence
from streams.settings import Settings

TIMING = ("train_every_s", "snapshot_every_s")
"""Settings of every drill that differ from the defaults and change what is suggested."""


def export(evidence: Evidence, settings: Settings, own: Iterable[str], policy: str, folder: Path) -> None:
    """Write the files of a run, over those of an earlier one; raises `OSError` if one cannot be written.

    `own` are the names of further settings in which the drill differs from the defaults.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "catalog.jsonl", map(orjson.dumps, evidence.catalog.values()))
    for name in ("clicks", "purchases", "suggestions"):
        _write(folder / f"{name}.jsonl", (record.value for record in getattr(evidence, name) if record.value))
    (folder / "policy.toml").write_text(policy, encoding="utf-8")
    (folder / "settings.toml").write_text(_settings_text(settings, [*TIMING, *own]), encoding="utf-8")


def _settings_text(settings: Settings, names: Iterable[str]) -> str:
    """Settings as a TOML file: numbers first, then a table for each group."""
    values = {name: getattr(settings, name) for name in names}
    lines = [f"{name} = {value}" for name, value in values.items() if not is_dataclass(value)]
    for name, value in values.items():
        if is_dataclass(value) and not isinstance(value, type):
            lines += [f"[{name}]", *(f"{field} = {number}" for field, number in asdict(value).items())]
    return "\n".join([*lines, ""])


def _write(file: Path, values: Iterable[bytes]) -> None:
    with file.open("wb") as lines:
        lines.writelines(value + b"\n" for value in values)
