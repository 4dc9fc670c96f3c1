"""Which modules have no doctests to collect where the extra `learning` is not installed."""

from __future__ import annotations

from importlib.util import find_spec

NEED_TORCH = [
    "models/evaluation/next_item/hybrid.py",
    "models/evaluation/next_item/protocol.py",
    "models/evaluation/prequential/training.py",
    "models/sequence/learner.py",
    "models/sequence/network.py",
    "streams/trainer/app.py",
    "streams/trainer/service.py",
    "streams/trainer/snapshot_codec.py",
    "streams/trainer/state.py",
]
"""Modules that import torch, or one that does; tests/unit/test_architecture.py compares."""

NEED_RIVER = ["models/ranking/drift.py"]
"""Modules whose doctests use it."""

collect_ignore = [
    *([] if find_spec("torch") else NEED_TORCH),
    *([] if find_spec("river") else NEED_RIVER),
]


def pytest_report_header() -> str | None:
    """One sentence where tests are missing."""
    if not collect_ignore:
        return None
    return f"install the extra `learning` to run the doctests of {', '.join(collect_ignore)}"
