"""A file that cannot be written is reported before the work, or in a sentence after it."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.__main__ import main
from streams.cli.figures import write_figures
from streams.errors import CrosscurrentError

FULL = Path("/dev/full")

OPTIONS = (
    ["bench", "--json"],
    ["demo", "--seconds", "1", "--json"],
    ["drill", "kill", "--json"],
    ["evaluate", "next-item", "--train", "train.txt", "--test", "test.txt", "--json"],
    ["evaluate", "next-item", "--train", "train.txt", "--test", "test.txt", "--html"],
    ["evaluate", "baskets", "completejourney", "--json"],
    ["evaluate", "upsells", "simulated", "--json"],
    ["evaluate", "prequential", "simulated", "--json"],
    ["evaluate", "prequential", "simulated", "--html"],
)


def _refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("command", OPTIONS, ids=" ".join)
def test_a_file_that_cannot_be_written_is_refused_at_once(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "missing"
    sentence = _refused([*command, str(folder / "figures.json")], capsys)
    assert sentence == f"Invalid value for '{command[-1]}': there is no folder '{folder}'\n"
    sentence = _refused([*command, str(tmp_path)], capsys)
    assert sentence == f"Invalid value for '{command[-1]}': file '{tmp_path}' is a directory.\n"


def test_a_folder_that_cannot_be_made_is_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    sentence = _refused(["drill", "kill", "--keep", str(tmp_path / "file" / "kept")], capsys)
    assert sentence == f"Invalid value for '--keep': '{tmp_path / 'file' / 'kept'}' cannot be made: Not a directory\n"


def test_figures_are_written_where_a_file_is_named(tmp_path: Path) -> None:
    write_figures(None, {"events": 1})
    write_figures(tmp_path / "figures.json", {"events": 1})
    assert (tmp_path / "figures.json").read_text() == '{\n  "events": 1\n}\n'


@pytest.mark.skipif(not FULL.exists(), reason="there is no full device")
def test_a_full_disk_is_a_sentence() -> None:
    with pytest.raises(CrosscurrentError, match=r"^'/dev/full' cannot be written: No space left on device$"):
        write_figures(FULL, {"events": 1})
