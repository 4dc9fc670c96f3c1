from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from streams.cli.event_pages import PAGES
from streams.cli.printing import Parts, dead_letter_lines, print_lines, print_value, printable, suggestion_lines
from streams.wire.record import Record
from tests.support.shop_records import Rec

ATTACKS = ["\x1b[2J\x1b]0;owned\x07", "\x9b31m", "\r\nforged line", "\u202eevil", "\x7f", "\ud800"]


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_is_shown_has_no_control_characters_and_says_which_there_were(attack: str) -> None:
    shown = printable(f"kettle {attack} mug")
    assert shown.isprintable()
    assert json.loads(f'"{shown}"') == f"kettle {attack} mug"


@pytest.mark.parametrize("attack", ATTACKS[:-1])
@pytest.mark.parametrize(
    ("topic", "lines_of"), [("suggestions", suggestion_lines), ("dead-letters", dead_letter_lines)]
)
def test_no_field_of_a_record_steers_the_terminal(
    topic: str, lines_of: Callable[[Record], Iterator[Parts]], attack: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    value = poisoned(dict(PAGES[topic].example), attack)
    print_lines(lines_of, Rec(topic, b"key", json.dumps(value).encode()))
    printed = capsysbinary.readouterr().out.decode()
    assert all(line.isprintable() for line in printed.split("\n"))
    assert printable(attack) in printed


def poisoned(value: object, attack: str) -> object:
    """The value with all texts that may be anything made hostile."""
    if isinstance(value, dict):
        free = ("user_id", "title", "text", "reason", "path", "item_ids", "topic")
        return {
            name: ([attack] if name == "item_ids" else attack) if name in free else poisoned(part, attack)
            for name, part in value.items()
        }
    return [poisoned(part, attack) for part in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize(
    "value", [b'{"title": "\x1b[31m"}', '{"title": "\x9b31m"}'.encode(), b"\xff\xfe\x1b", b"two\nlines", None]
)
def test_a_value_is_unchanged_or_escaped(value: bytes | None, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    record = Rec("clicks", b"key", value)
    print_value(record, unchanged=True)
    assert capsysbinary.readouterr().out == (b"null" if value is None else value) + b"\n"
    print_value(record, unchanged=False)
    shown = capsysbinary.readouterr().out.decode().removesuffix("\n")
    assert shown.isprintable()


def test_escaping_does_not_change_what_json_means(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    value = json.dumps({"title": "kettle \x9b31m \u202e é 🫖"}, ensure_ascii=False).encode()
    print_value(Rec("catalog", b"i", value), unchanged=False)
    shown = capsysbinary.readouterr().out
    assert json.loads(shown) == json.loads(value)
    assert b"\xc2\x9b" not in shown
