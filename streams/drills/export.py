"""Exports the log of a drill, its suggestions, policy and settings for `evaluate prequential`.

The recommender driven over this log offline must come to the figures of the workers that ran, up to differences of
timing; see [evaluation.md](../../docs/evaluation.md#beside-what-workers-sent).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import orjson

from streams.drills.evidence import Evidence
from streams.settings import Settings

TIMING = ("train_every_s", "snapshot_every_s")
"""Settings of a drill that differ from the defaults and change what is suggested."""


def export(evidence: Evidence, settings: Settings, policy: str, folder: Path) -> None:
    """Write the files of a run, over those of an earlier one; raises `OSError` if one cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "catalog.jsonl", map(orjson.dumps, evidence.catalog.values()))
    for name in ("clicks", "purchases", "suggestions"):
        _write(folder / f"{name}.jsonl", (record.value for record in getattr(evidence, name) if record.value))
    (folder / "policy.toml").write_text(policy, encoding="utf-8")
    settings_text = "".join(f"{name} = {getattr(settings, name)}\n" for name in TIMING)
    (folder / "settings.toml").write_text(settings_text, encoding="utf-8")


def _write(file: Path, values: Iterable[bytes]) -> None:
    with file.open("wb") as lines:
        lines.writelines(value + b"\n" for value in values)
