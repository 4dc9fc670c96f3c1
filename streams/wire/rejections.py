"""Why a record cannot be used, in a sentence for its sender.

It names topic-partition@offset, the path of the field, what was expected and what came. Called only for records that
are bad or may be, so speed does not matter here.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any, cast

import msgspec

from streams.errors import RecordError
from streams.wire.record import SHOWN, Record, refusal
from streams.wire.schemas import AT_WORDS, ID_WORDS, MAX_PARSED_BYTES, MAX_TEXT_BYTES, MAX_VALUE_BYTES, expected

_STEP = re.compile(r"\.(\w+)|\[(\d+)\]|\[\.\.\.\]")
_MISSING = re.compile(r"Object missing required field `(\w+)`")
_AT_PATH = re.compile(r" - at `(\$[^`]*)`$")
_OBJECT = "a JSON object in UTF-8"
_NOTHING = "nothing"
_expected = cache(expected)


class _Number(str):
    """A number as written, of any length."""

    __slots__ = ()


class _Repeating(dict[str, Any]):
    """A JSON object that gives some names twice."""

    twice: Sequence[str]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object."""
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    repeating = _Repeating(value)
    repeating.twice = [name for name, times in Counter(name for name, _ in pairs).items() if times > 1]
    return repeating


def _twice(value: Any) -> Sequence[str]:
    """Names that an object gives twice."""
    return value.twice if isinstance(value, _Repeating) else ()


def too_long(record: Record, path: str, name: str) -> RecordError:
    """The error for an id that is too long."""
    return refusal(record, path, ID_WORDS, f"{len(name.encode())} bytes, {shown(name)}")


def out_of_time(record: Record, too_old: bool) -> RecordError:
    """The error for an `at` too long ago or too far ahead."""
    wanted = "a time of 2000 or later" if too_old else "a time at most an hour after the record was appended"
    return refusal(record, "$.at", wanted, shown(_read_again(record)["at"]))


def explained(record: Record, record_type: type[msgspec.Struct], error: Exception) -> RecordError:
    """The error for a record whose value could not be decoded to a type.

    `error` is one of msgspec's, UnicodeDecodeError or RecursionError.
    """
    if not isinstance(error, msgspec.ValidationError):
        return _not_json(record, error)
    path = _path_of(error)
    try:
        part: Any = _read_again(record)
    except RecordError as not_json:  # further on, where the decoder did not get to
        return not_json
    words, wanted = _expected(record_type), _OBJECT
    for step in _STEP.finditer(path):
        name, index = step.groups()
        if name:
            wanted, part = words.get(name, wanted), _part(part, name)
        elif index:
            wanted, part = "an object", _part(part, int(index))
        else:  # the decoder does not say which value of an object is wrong: take the first that is
            path = path[: step.start()]
            values = part.items() if isinstance(part, dict) else ()
            wrong = next((name for name, value in values if not _plain(value)), None)
            if wrong is not None:
                wanted, part = "a string of at most 1,024 bytes in UTF-8, a number or a boolean", part[wrong]
                path = f"{path}[{shown(wrong)}]"
            break
    return refusal(record, path, wanted, part if part is _NOTHING else shown(part))


def too_large(record: Record, decoder: msgspec.json.Decoder[Any]) -> RecordError:
    """The error for a value that is too large; it is that of a field if one is at fault."""
    size = len(record.value or b"")
    if size <= MAX_PARSED_BYTES:
        try:
            decoder.decode(record.value or b"")
        except msgspec.ValidationError as error:
            path = _path_of(error).removesuffix("[...]")
            wanted = _expected(cast(type[msgspec.Struct], decoder.type)).get(path.rpartition(".")[2], _OBJECT)
            return refusal(record, path, wanted, f"something else in a value of {size:,} bytes")
        except (ValueError, RecursionError):
            pass
    return refusal(record, "$", f"of at most {MAX_VALUE_BYTES:,} bytes", f"{size:,} bytes")


def check_given_once(record: Record, record_type: type[msgspec.Struct]) -> None:
    """Raise RecordError if a decoded record gives a known field twice."""
    value, words = _read_again(record), _expected(record_type)
    lines: Any = value.get("items")
    attributes: Any = value.get("attributes")
    parts = [("$", value)]
    if "items" in words and isinstance(lines, list):
        parts += [(f"$.items[{number}]", line) for number, line in enumerate(lines)]
    for path, part in parts:
        for name in _twice(part):
            if name in words:
                raise refusal(record, f"{path}.{name}", "one value", f"two, the last {shown(part[name])}")
    if "attributes" in words:
        for name in _twice(attributes):
            path = f"$.attributes[{shown(name)}]"
            raise refusal(record, path, "one value", f"two, the last {shown(attributes[name])}")


def check_zone(record: Record) -> None:
    """Raise RecordError if the zone of a written `at` lacks the colon that RFC 3339 requires."""
    at = _read_again(record)["at"]
    if at[-1] not in "Zz" and at[-3] != ":":
        raise refusal(record, "$.at", AT_WORDS, shown(at))


def shown(came: Any) -> str:
    """A value as one short line of ASCII.

    >>> shown("12,50"), shown(None), shown(b"key"), shown([1, 2])
    ('"12,50"', 'null', '"key"', 'a list of 2')
    """
    match came:
        case _Number():
            text = str(came)
        case bytes():
            text = json.dumps(came[: 4 * SHOWN].decode("utf-8", "replace"))
        case list():
            return f"a list of {len(came):,}"
        case dict():
            return f"an object of {len(came):,}"
        case _:
            text = json.dumps(came)
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def _path_of(error: msgspec.ValidationError) -> str:
    """Path of the field that the decoder refuses."""
    text = str(error)  # may quote the value
    found, missing = _AT_PATH.search(text), _MISSING.match(text)
    return (found[1] if found else "$") + (f".{missing[1]}" if missing else "")


def _part(value: Any, step: str | int) -> Any:
    """A field or an element.

    The decoder refuses the first of two fields of one name. What is read again here is the last, and may have no such
    part.
    """
    match value:
        case dict():
            return value.get(step, _NOTHING)
        case list() if isinstance(step, int) and step < len(value):
            return value[step]
        case _:
            return _NOTHING


def _not_json(record: Record, error: Exception) -> RecordError:
    why = "nested too deeply" if isinstance(error, RecursionError) else str(error)[:SHOWN]
    return refusal(record, "$", _OBJECT, f"{shown(record.value)} ({why})")


def _read_again(record: Record) -> dict[str, Any]:
    """The value as plain objects, to be quoted."""
    text = (record.value or b"").decode()
    try:
        value: dict[str, Any] = json.loads(
            text, object_pairs_hook=_object, parse_int=_Number, parse_float=_Number, parse_constant=_Number
        )
    except (ValueError, RecursionError) as error:
        raise _not_json(record, error) from None
    return value


def _plain(value: Any) -> bool:
    match value:
        case _Number():
            return math.isfinite(float(value))
        case str():
            return len(value) <= MAX_TEXT_BYTES
        case _:
            return isinstance(value, bool)
