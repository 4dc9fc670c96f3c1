"""What README and pages say is so: commands, options, targets and links exist, and the code works as printed."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import models.errors
import streams.errors
from models.shop.policy import Policy
from streams.brokers.embedded import EmbeddedBroker
from streams.cli.entry import app
from streams.kafka import topic_admin
from streams.metrics import OUTCOMES, Metrics
from streams.processes import Process, crosscurrent
from streams.settings import Settings
from streams.trainer.metrics import TrainerMetrics
from streams.wire.topics import TOPICS

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
OPERATIONS = ROOT / "docs" / "operations.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
PAGES = [README, ROOT / "CHANGELOG.md", CONTRIBUTING, *sorted((ROOT / "docs").glob("*.md"))]
READY_S = 180.0


def python_blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands_of(page: Path) -> list[str]:
    """Everything on a page that begins with `crosscurrent` and a word: in fences at the start of a line, and inline."""
    text = page.read_text(encoding="utf-8")
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line.strip().removeprefix("$ ") for block in fenced for line in block.splitlines()]
    inline = re.findall(r"`([^`\n]+)`", text)
    said = [line.partition("  #")[0].strip() for line in (*lines, *inline)]
    return [line for line in said if re.match(r"crosscurrent [a-z]", line)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_exist(page: Path) -> None:
    for line in commands_of(page):
        command: Any = typer.main.get_command(app)
        words = line.split()[1:]
        while words and hasattr(command, "commands"):  # a group
            name = words.pop(0)
            assert name in command.commands, f"{page.name}: `{line}`: there is no {name}"
            command = command.commands[name]
        options = {"--help"} | {
            option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        for word in words:
            if word.startswith("--"):
                assert word in options, f"{page.name}: `{line}`: there is no {word}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`make ([a-z-]+)", text) + re.findall(r"^make ([a-z-]+)", text, re.MULTILINE)
    assert set(named) <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file) if file else page
        assert path.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(path), f"{page.name}: {target}"


def test_a_newcomer_reads_the_readme_to_the_end() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"`((?:models|streams|tests)/[\w/.]*)`", text):
        assert (ROOT / name).exists(), f"{page.name}: {name}"
    tests = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert set(re.findall(r"`(test_\w+\.py)`", text)) <= tests


def test_the_site_has_every_page() -> None:
    listed = set(re.findall(r": ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    assert listed == {page.name for page in (ROOT / "docs").glob("*.md")}


def table(page: Path, head: str) -> dict[str, list[str]]:
    """Rows of the table whose head begins so, by the words in code style of their first cell; the other cells."""
    lines = page.read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(head))
    rows: dict[str, list[str]] = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        first, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        for name in re.findall(r"`([^`]+)`", first):
            rows[name] = [*rows.get(name, []), *cells]
    return rows


def test_all_metrics_are_explained() -> None:
    registered = {metric.name: metric for metric in Metrics().registry.collect()}
    real = {name + ("_total" if metric.type == "counter" else "") for name, metric in registered.items()}
    explained = {name.partition("{")[0] for name in table(OPERATIONS, "| metric |")}
    assert explained == real
    of_trainer = {
        metric.name: metric for metric in TrainerMetrics().registry.collect() if metric.name not in registered
    }
    real = {name + ("_total" if metric.type == "counter" else "") for name, metric in of_trainer.items()}
    assert {name.partition("{")[0] for name in table(OPERATIONS, "| metric of a trainer |")} == real
    assert set(table(OPERATIONS, "| outcome |")) == set(OUTCOMES)


def test_the_policy_is_explained_with_its_defaults() -> None:
    explained = table(OPERATIONS, "| key | default |")
    assert set(explained) == {field.name for field in dataclasses.fields(Policy)}
    for field in dataclasses.fields(Policy):
        said = explained[field.name][0].strip("`")
        default: Any = "none" if field.default == () else field.default
        if isinstance(default, tuple):
            default = json.dumps(default)
        assert said in (str(default), str(default).lower()), field.name


def test_every_error_is_explained() -> None:
    leaves = {
        kind.__name__
        for module in (streams.errors, models.errors)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Exception) and not kind.__subclasses__()
    }
    assert set(table(OPERATIONS, "| class | message |")) == leaves


def test_topics_are_as_the_pages_say() -> None:
    assert set(table(ARCHITECTURE, "| topic | key | cleanup |")) == {topic.name for topic in TOPICS}
    for topic in TOPICS:
        assert table(ARCHITECTURE, "| topic | key | cleanup |")[topic.name][1] == topic.cleanup
    kept = {topic.name: topic.retention_ms for topic in TOPICS}
    for name, (said, *_) in table(OPERATIONS, "| topic | default retention |").items():
        days = int(said.split()[0])
        assert kept[name] == days * 86_400_000


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.fixture
def served(tmp_path: Path, embedded_broker: EmbeddedBroker) -> Iterator[str]:
    """A broker with topics under their plain names, and a worker; its address."""
    with EmbeddedBroker() as broker:
        settings: Settings = broker.settings()
        topic_admin.create(settings)
        command = crosscurrent("worker", "--no-web", settings=settings)
        with Process("the worker", command, tmp_path / "worker.log") as worker:
            worker.await_ready(READY_S)
            yield settings.bootstrap_servers


def test_the_producer_and_the_consumer_work_as_printed(served: str) -> None:
    produce, consume = python_blocks()
    for block in (produce, consume):
        assert len([line for line in block.splitlines() if line.strip()]) <= 10
    environ = {**os.environ, "CROSSCURRENT_BOOTSTRAP_SERVERS": served}

    def run(code: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True, timeout=90
        ).stdout

    said = ""
    for _ in range(3):  # a busy machine may take longer than the producer waits for the catalogue to travel
        if not said:
            assert run(produce) == ""
            said = run(consume)
    assert said
    assert set(said.splitlines()) <= set(README.read_text(encoding="utf-8").splitlines()), said
    assert "ann upsell kettle-pro 48" in said
