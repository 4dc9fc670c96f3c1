"""Machine code on disk belongs to the sources it was compiled from, those of imported modules included."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

CALLER = """
from models.jit import cached_njit
from models.shop.decay import decayed

@cached_njit()
def faded(weight, as_of, at, half_life_s):
    return decayed(weight, as_of, at, half_life_s)
"""

PROGRAM = """
from models.shop.decay import decayed
from models.caller import faded
print(decayed(8.0, 0.0, 10.0, 10.0), faded(8.0, 0.0, 10.0, 10.0), sum(faded.stats.cache_hits.values()))
"""


def run(folder: Path) -> list[float]:
    environment = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(folder)},
        text=True,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return [float(word) for word in done.stdout.split()]


def test_an_edit_of_an_imported_module_is_in_force_at_the_next_start(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "models", tmp_path / "models", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "models" / "caller.py").write_text(CALLER, encoding="utf-8")
    assert run(tmp_path) == [4.0, 4.0, 0]  # compiled
    assert run(tmp_path) == [4.0, 4.0, 1]  # read from the cache

    decay = tmp_path / "models" / "decay.py"
    source = decay.read_text(encoding="utf-8")
    edited = source.replace("return weight", "return 3.0 * weight")
    assert edited != source
    decay.write_text(edited, encoding="utf-8")
    assert run(tmp_path) == [12.0, 12.0, 0]  # the caller's own file has not changed
    assert run(tmp_path) == [12.0, 12.0, 1]
