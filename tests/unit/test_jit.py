"""Machine code on disk belongs to the sources it was compiled from, those of imported modules included."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CALLER = """
from models.jit import cached_njit
from models.shop.decay import decayed
from models.weights import Weight

@cached_njit()
def faded(weight, at, half_life_s):
    return decayed(weight.value, weight.since, at, half_life_s)

def print_faded() -> None:
    value = faded(Weight(8.0, 0.0), 10.0, 10.0)
    print(decayed(8.0, 0.0, 10.0, 10.0), value, sum(faded.stats.cache_hits.values()))
"""

WEIGHTS = """
from typing import NamedTuple

class Weight(NamedTuple):
    value: float
    since: float
"""

PROGRAM = "from models.caller import print_faded; print_faded()"

OTHER_PROGRAM = """
from elsewhere import Weight
from models.caller import faded

print(faded(Weight(8.0, 0.0), 10.0, 10.0))
"""


NEGATIVE = """
import numpy as np
from models.jit import forward_njit

@forward_njit
def sum_of(values, places):
    total = 0.0
    for place in places:
        total += values[place]
    return total

print(sum_of(np.array([1.0, 2.0, 4.0]), np.array([0, 2])))
try:
    sum_of(np.array([1.0, 2.0, 4.0]), np.array([0, -2]))
except IndexError:
    print(1)
"""

PROMISES = Path("tests") / "property" / "serving" / "test_promises.py"


def run(folder: Path, program: str = PROGRAM) -> list[float]:
    environment = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(folder)},
        text=True,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return [float(word) for word in done.stdout.split()]


def edit(file: Path, old: str, new: str) -> None:
    source = file.read_text(encoding="utf-8")
    assert old in source
    file.write_text(source.replace(old, new), encoding="utf-8")


def _models_in(folder: Path) -> Path:
    models = folder / "models"
    shutil.copytree(ROOT / "models", models, ignore=shutil.ignore_patterns("__pycache__"))
    (models / "caller.py").write_text(CALLER, encoding="utf-8")
    (models / "weights.py").write_text(WEIGHTS, encoding="utf-8")
    return models


@pytest.mark.slow
def test_a_program_starts_where_another_one_has_called_a_kernel_with_types_of_its_own(tmp_path: Path) -> None:
    _models_in(tmp_path)
    (tmp_path / "elsewhere.py").write_text(WEIGHTS, encoding="utf-8")
    assert run(tmp_path, OTHER_PROGRAM) == [4.0]
    (tmp_path / "elsewhere.py").unlink()
    assert run(tmp_path) == [4.0, 4.0, 0]
    assert run(tmp_path) == [4.0, 4.0, 1]


@pytest.mark.slow
def test_an_edit_of_an_imported_module_is_in_force_at_the_next_start(tmp_path: Path) -> None:
    models = _models_in(tmp_path)
    assert run(tmp_path) == [4.0, 4.0, 0]  # compiled
    assert run(tmp_path) == [4.0, 4.0, 1]  # read from the cache

    edit(models / "shop" / "decay.py", "return weight", "return 3.0 * weight")
    assert run(tmp_path) == [12.0, 12.0, 0]  # the kernel's own file has not changed
    assert run(tmp_path) == [12.0, 12.0, 1]

    edit(models / "weights.py", "class Weight(", "class Faded(")
    edit(models / "weights.py", "    since: float\n", "    since: float\n\nWeight = Faded\n")
    assert run(tmp_path) == [12.0, 12.0, 0]  # the cached signature names a class that is gone


def _bounds_checked(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with every index of compiled code checked."""
    environment = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        text=True,
        capture_output=True,
        check=False,
        timeout=900,
    )


def test_a_negative_index_is_found_by_the_bounds_check(tmp_path: Path) -> None:
    done = _bounds_checked(tmp_path, "-c", NEGATIVE)
    assert done.stdout.split() == ["5.0", "1"], done.stderr


@pytest.mark.slow
def test_serving_uses_no_index_out_of_bounds(tmp_path: Path) -> None:
    done = _bounds_checked(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(PROMISES))
    assert done.returncode == 0, done.stdout
