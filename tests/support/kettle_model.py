"""Snapshots of a model small enough to know by heart: the kettle shop's network, three slots, one of them free."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.snapshot import Snapshot


def kettle_snapshot(events: int = 822, **changes: Any) -> Snapshot:
    """A snapshot after so many events, one a second; whatever is named differs."""
    fields: dict[str, Any] = {
        "model": "sequence",
        "code": "lstm-1",
        "arrays": {
            "items": np.arange(6, dtype=np.float32).reshape(3, 2) + events,
            "bias": np.array([True, False, True]),
            "scale": np.array(0.5),
        },
        "vocabulary": ("kettle", "", "mug/é"),
        "config": {"units": 2, "dropout": 0.25, "sizes": [2, 3], "name": None},
        "positions": {"clicks": {0: 812, 11: 7}, "purchases": {0: 3}},
        "learnt": {"events": events, "hours": 0.1 + 0.2},
        "metrics": {"hr@20": 0.41, "n": 7},
        "at": 1_773_480_000.5 + events,
        "topic_ids": {"clicks": "id-1"},
    }
    return Snapshot(**fields | changes)
