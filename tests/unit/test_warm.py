"""Whatever is compiled is compiled before the first event: it takes seconds, for which all shoppers would wait."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="install the extra `learning` to run this")

ROOT = Path(__file__).parents[2]

PROGRAM = """
import gc
from numba.core.registry import CPUDispatcher
from models.warm import warm
from models.sequence.snapshot import read_predictor
from dataclasses import asdict
from models.evaluation.prequential.protocol import OURS
from tests.support.prequential_shop import SMALL, engine, walks
from tests.support.sequence_model import frozen

def kinds():
    return {(one.py_func.__module__, one.py_func.__name__): len(one.signatures)
            for one in gc.get_objects() if isinstance(one, CPUDispatcher)}

warm()
before = kinds()
assert before["models.serving.popularity", "scan"] and before["models.sequence.kernels", "carry_on"]
ours = engine()
list(ours.run(walks(20)))
assert ours.training.snapshots
snapshot = frozen(ours.training.learner, config=asdict(SMALL))  # as one from a store: not to be written to
ours.predictor = read_predictor(snapshot, ours.items, ours.catalog)
ours.training = None
list(ours.run(walks(3)))
print(*sorted(f"{module}.{name}" for (module, name), n in kinds().items() if n > before.get((module, name), 0)))
"""


@pytest.mark.slow
def test_nothing_is_compiled_once_events_come() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], text=True, capture_output=True, cwd=ROOT, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
