"""models/ is the shop and the method; it must be usable, and understandable, without Kafka."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = ("aiokafka", "confluent_kafka", "faust", "kafka", "msgspec", "orjson", "pydantic", "streams")

PROGRAM = f"""
import importlib, sys
for name in sys.stdin.read().split():
    importlib.import_module(name)
print(*sorted(set({FORBIDDEN!r}) & set(sys.modules)))
"""


def modules_of(package: str) -> list[str]:
    return sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / package).rglob("*.py")
    )


@pytest.mark.slow
def test_models_import_nothing_of_kafka_or_faust_or_streams() -> None:
    pytest.importorskip("torch", reason="install the extra `learning` to run this")
    names = modules_of("models")
    assert "models" in names
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input="\n".join(names), text=True, capture_output=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_a_worker_needs_no_torch_and_no_river() -> None:
    program = (
        "import sys, streams.worker.service, models.sequence.scorer; print(*({'torch', 'river'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


WITHOUT_TORCH = """
import importlib, sys
sys.modules["torch"] = sys.modules["river"] = None
for name in sys.stdin.read().split():
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        print(name)
"""


@pytest.mark.slow
def test_only_the_trainer_and_the_evaluation_need_torch() -> None:
    """Without the extra `learning`, doctests of all others are collected; no module imports river when imported."""
    from conftest import NEED_TORCH

    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH],
        input="\n".join(modules_of("models") + modules_of("streams")),
        text=True,
        capture_output=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [f"{name.replace('.', '/')}.py" for name in done.stdout.split()] == NEED_TORCH


def test_help_needs_no_heavy_library() -> None:
    """`crosscurrent --help` answers in a third of a second as long as nothing heavy is imported for it."""
    program = "import sys, streams.cli.entry; print(*({'numba', 'faust', 'aiokafka', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_no_test_file_imports_another() -> None:
    """What several tests use stands in tests/support, so that a test file can be read, moved and deleted by itself."""
    parts = ("unit", "property", "integration")
    pattern = re.compile(rf"\b(?:from|import)\s+tests\.(?:{'|'.join(parts)})\b")
    found = [path for part in parts for path in (ROOT / "tests" / part).rglob("*.py")]
    assert len(found) > 50
    assert [str(path.relative_to(ROOT)) for path in found if pattern.search(path.read_text(encoding="utf-8"))] == []
