"""What is written twice must agree: options and settings, compose files and settings, the Makefile and its help."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from streams import __main__ as command_line
from streams.cli.entry import app
from streams.cli.options import CONNECTION_OPTIONS, SETTING_OPTIONS
from streams.errors import CrosscurrentError
from streams.settings import Settings

ROOT = Path(__file__).parents[3]
OPTIONS = {**CONNECTION_OPTIONS, **SETTING_OPTIONS}
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        command_line.main(arguments)
    return int(ended.value.code or 0)


@pytest.mark.parametrize("name", sorted(set(OPTIONS) - {"config"}))
def test_every_option_is_a_setting_and_tells_its_default(name: str) -> None:
    assert name in Settings.model_fields
    default = getattr(Settings(), name)
    text = get_args(OPTIONS[name])[1].help
    if default not in (None, "") and not isinstance(default, bool):
        assert str(default) in text


def test_the_password_has_no_option() -> None:
    assert not any("password" in name for name in OPTIONS)


def test_a_wrong_option_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("topics", "create", "--partitions", "many") == 2
    assert run("topics", "create", "--prefx", "x-") == 2
    assert run("brokr") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 3


def test_a_wrong_setting_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("topics", "check", "--bootstrap-servers", "nowhere") == 1
    assert capsys.readouterr().err == (
        "--bootstrap-servers must be HOST:PORT, or several separated by commas, got 'nowhere'\n"
    )


def test_an_error_of_ours_is_one_sentence_and_a_bug_keeps_its_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(error: Exception) -> Any:
        def app(*arguments: Any, **options: Any) -> None:
            raise error

        return app

    monkeypatch.setattr(command_line, "app", fail(CrosscurrentError("the kettle is empty")))
    assert run("worker") == 1
    assert capsys.readouterr().err == "the kettle is empty\n"
    monkeypatch.setattr(command_line, "app", fail(KeyError("a bug")))
    with pytest.raises(KeyError):
        command_line.main(["worker"])


@pytest.mark.parametrize(("command", "code"), [("worker", 0), ("trainer", 0), ("tail", -signal.SIGHUP)])
def test_sighup_ends_no_service_before_its_event_loop_runs(command: str, code: int) -> None:
    program = (
        "import os, signal; from streams import __main__ as program; signal.signal(signal.SIGHUP, signal.SIG_DFL); "
        "program.app = lambda *_, **__: os.kill(os.getpid(), signal.SIGHUP); "
        f"program.main(['{command}'])"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == code


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    names = [[command.name or ""] for command in app.registered_commands]
    for group in app.registered_groups:
        assert group.typer_instance is not None
        names += [[group.name or "", command.name or ""] for command in group.typer_instance.registered_commands]
    for name in names:
        assert run(*name, "--help") == 0
        assert "Usage: crosscurrent" in capsys.readouterr().out


def test_compose_sets_only_what_there_is() -> None:
    names = {f"CROSSCURRENT_{name.upper()}" for name in Settings.model_fields}
    for service in COMPOSE["services"].values():
        ours = {name for name in service.get("environment", {}) if name.startswith("CROSSCURRENT_")}
        assert ours <= names


def test_compose_makes_topics_before_workers_start_and_no_topic_makes_itself() -> None:
    services = COMPOSE["services"]
    assert services["kafka"]["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert services["topics"]["depends_on"]["kafka"]["condition"] == "service_healthy"
    for worker in ("worker-1", "worker-2", "trainer"):
        assert services[worker]["depends_on"]["topics"]["condition"] == "service_completed_successfully"
    assert services["replay"]["profiles"] == ["replay"]
    known = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    for name in set(services) - {"kafka"}:
        assert services[name]["command"][0] in known


def test_make_help_names_every_target() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony is not None
    helped = set(re.findall(r"^([a-z-]+):.*## ", text, re.MULTILINE))
    assert helped == set(phony.group(1).split())
