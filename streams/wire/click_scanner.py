"""A compiled scanner for records of `clicks` in their usual form, which are nearly all of them.

It accepts a record only if `decode_click` is certain to return a click, and gives that one's values; it knows the forms
below, and no others. What it does not accept may be a click all the same: `decode_click` decides.

* a flat object of known fields, each once, in any order, of at most `MAX_PLAIN_BYTES`; an optional one may be null;
* strings of printable ASCII without escapes; the user id is the key, and the key belongs in the record's partition;
* numbers in plain decimal digits;
* `at` in epoch milliseconds, or as `2026-03-14T09:26:53.589Z` with up to six digits of a second, `Z` or `+00:00`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.jit import cached_njit, inline_njit
from models.sessions.click_columns import ADD_TO_CART, CLICK, CLICKED, NOT_PLAIN, REMOVE_FROM_CART, VIEW
from streams.wire.backfill import is_backfilled
from streams.wire.partitioner import hash_of
from streams.wire.record import NEWEST_S, Unreadable
from streams.wire.record_run import (
    COLUMNS,
    FLAGS,
    HEADERS,
    KEY_END,
    KEY_START,
    OBJECT,
    OFFSET,
    TIMESTAMP,
    VALUE_END,
    VALUE_START,
    RecordRun,
)
from streams.wire.schemas import MAX_AHEAD_MS, MAX_ID_BYTES, OLDEST_MS

MAX_PLAIN_BYTES = 4096
"""Of a value: four times that of a click with ids of the greatest length, without spaces."""

BACKFILLED = FLAGS
"""What stands in place of the flags where a record's row of the table is scanned: whether it is history."""

_BACKFILLED, _UNREADABLE = 1, 2

_NOWHERE = -1
_NEWEST_MS = 1000 * NEWEST_S
_MOST_DIGITS = 15  # of a part of a number

# names of fields, and their numbers: bits of the set of those given, and codes here
_NAMES = ("v", "user_id", "item_id", "action", "at", "dwell_ms", "rating", "session_id", "event_id")
_V, _USER_ID, _ITEM_ID, _ACTION, _AT, _DWELL_MS, _RATING, _SESSION_ID, _EVENT_ID = range(len(_NAMES))
_REQUIRED = 1 << _V | 1 << _USER_ID | 1 << _ITEM_ID | 1 << _ACTION | 1 << _AT
_LONGEST = max(map(len, _NAMES))
_NAME_BYTES = np.array([list(name.encode().ljust(_LONGEST, b"\0")) for name in _NAMES], np.uint8)
_NAME_LENGTHS = np.array(list(map(len, _NAMES)), np.int64)

_ACTIONS = {"view": VIEW, "click": CLICKED, "add_to_cart": ADD_TO_CART, "remove_from_cart": REMOVE_FROM_CART}
_LONGEST_ACTION = max(map(len, _ACTIONS))
_ACTION_BYTES = np.array([list(name.encode().ljust(_LONGEST_ACTION, b"\0")) for name in _ACTIONS], np.uint8)
_ACTION_LENGTHS = np.array(list(map(len, _ACTIONS)), np.int64)
assert list(_ACTIONS.values()) == list(range(len(_ACTIONS)))

_NULL = np.array([list(b"null")], np.uint8)
_FORM = np.array(list(b"0000-00-00T00:00:00"), np.uint8)
_MONTH_DAYS = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], np.int64)
_FIRST_YEAR, _LAST_YEAR = 2000, 2199  # microseconds of these years are exact in float64
_FIRST_DAY = 10_957  # 2000-01-01, in days since 1970


class ScannedClicks(NamedTuple):
    """Records of `clicks` as rows."""

    buffer: NDArray[np.uint8]
    """Their keys and values."""
    rows: NDArray[np.void]
    """(n,) of `CLICK`, in the order of the records."""


def scan_clicks(run: RecordRun, partitions: int, partition: int) -> ScannedClicks:
    """Records of a partition of `clicks` as rows; `partitions` is the number of the topic's."""
    rows = np.empty(len(run), CLICK)
    kinds = np.zeros(len(run), np.int8)
    for number in np.flatnonzero(run.table[FLAGS, run.start : run.stop] & (HEADERS | OBJECT)).tolist():
        record = run[number]
        kinds[number] = _UNREADABLE if type(record) is Unreadable else int(is_backfilled(record))
    scan(run.buffer, run.table, run.start, kinds, partitions, partition, rows)
    return ScannedClicks(run.buffer, rows)


def warm() -> None:
    """Compile, or load what was compiled before."""
    scan_clicks(RecordRun.of([]), 1, 0)


@cached_njit(nogil=True)
def scan(  # noqa: PLR0913 - a kernel's arguments are flat
    buffer: NDArray[np.uint8],
    table: NDArray[np.int64],
    start: int,
    kinds: NDArray[np.int8],
    partitions: int,
    partition: int,
    rows: NDArray[np.void],
) -> None:
    """Write a row of `CLICK` for each record of a partition, from the `start` of a run's table on."""
    record = np.empty(COLUMNS, np.int64)
    for number in range(len(rows)):
        place = start + number
        for row in range(FLAGS):
            record[row] = table[row, place]
        record[BACKFILLED] = kinds[number] == _BACKFILLED
        if kinds[number] == _UNREADABLE:
            record[VALUE_END] = record[VALUE_START]
        _scan_record(buffer, record, rows[number])
        if hash_of(buffer, record[KEY_START], record[KEY_END] - record[KEY_START]) % partitions != partition:
            rows[number].action = NOT_PLAIN


@inline_njit
def _scan_record(buffer: NDArray[np.uint8], record: NDArray[np.int64], row: Any) -> None:
    """Write the row of a record, NOT_PLAIN where it cannot tell."""
    end = record[VALUE_END]
    row.action = NOT_PLAIN
    row.event_start = row.event_end = 0
    row.offset = record[OFFSET]
    row.appended_s, row.appended_ms = record[TIMESTAMP] / 1000.0, record[TIMESTAMP]
    row.backfilled = record[BACKFILLED]
    if record[TIMESTAMP] < 0 or end - record[VALUE_START] > MAX_PLAIN_BYTES:
        return
    place = _after_spaces(buffer, record[VALUE_START], end)
    if not _holds(buffer, place, end, ord("{")):
        return
    given = 0
    while True:
        place = _after_spaces(buffer, place + 1, end)
        name_end = _string_end(buffer, place, end)
        if name_end == _NOWHERE:
            break
        field = _which(buffer, place + 1, name_end, _NAME_BYTES, _NAME_LENGTHS)
        place = _after_spaces(buffer, name_end + 1, end)
        if field == _NOWHERE or given >> field & 1 or not _holds(buffer, place, end, ord(":")):
            break
        given |= 1 << field
        place = _after_spaces(buffer, place + 1, end)
        if place < end:
            place = _read_value(buffer, place, field, record, row)
        if place == _NOWHERE:
            break
        place = _after_spaces(buffer, place, end)
        if not _holds(buffer, place, end, ord(",")):
            if not _holds(buffer, place, end, ord("}")) or _after_spaces(buffer, place + 1, end) < end:
                break
            if given & _REQUIRED == _REQUIRED:
                return
            break
    row.action = NOT_PLAIN


@inline_njit
def _read_value(buffer: NDArray[np.uint8], place: int, field: int, record: NDArray[np.int64], row: Any) -> int:
    """Read a field; returns the place behind it, _NOWHERE if it is not plain."""
    end = record[VALUE_END]
    if buffer[place] == ord("n"):
        is_null = field >= _DWELL_MS and place + 4 <= end and _same(buffer, place, _NULL, 0, 4)
        return place + 4 if is_null else _NOWHERE
    if field == _V:
        return place + 1 if buffer[place] == ord("1") else _NOWHERE
    if field == _AT:
        if buffer[place] == ord('"'):
            return _read_written_at(buffer, place, end, record[TIMESTAMP], row)
        return _read_at(buffer, place, end, record[TIMESTAMP], row)
    if field == _DWELL_MS or field == _RATING:
        return _number_end(buffer, place, end, field == _RATING)
    start = place + 1
    stop = _string_end(buffer, place, end)
    if stop == _NOWHERE or stop == start or stop - start > MAX_ID_BYTES:
        return _NOWHERE
    return stop + 1 if _take_text(buffer, start, stop, field, record, row) else _NOWHERE


@inline_njit
def _take_text(
    buffer: NDArray[np.uint8], start: int, stop: int, field: int, record: NDArray[np.int64], row: Any
) -> bool:
    """Take the text of a field, unless it must not be."""
    if field == _USER_ID:
        row.user_start, row.user_end = start, stop
        length = record[KEY_END] - record[KEY_START]
        return stop - start == length and _equal(buffer, start, record[KEY_START], length)
    if field == _ITEM_ID:
        row.item_start, row.item_end = start, stop
    elif field == _EVENT_ID:
        row.event_start, row.event_end = start, stop
    elif field == _ACTION:
        row.action = _which(buffer, start, stop, _ACTION_BYTES, _ACTION_LENGTHS)
        return bool(row.action != _NOWHERE)
    return True


@inline_njit
def _holds(buffer: NDArray[np.uint8], place: int, end: int, byte: int) -> bool:
    return place < end and bool(buffer[place] == byte)


@inline_njit
def _after_spaces(buffer: NDArray[np.uint8], place: int, end: int) -> int:
    """The first place that holds no JSON white space, or `end`."""
    while place < end and (
        buffer[place] == 0x20 or buffer[place] == 0x0A or buffer[place] == 0x0D or buffer[place] == 0x09
    ):
        place += 1
    return place


@inline_njit
def _string_end(buffer: NDArray[np.uint8], place: int, end: int) -> int:
    """Where the closing quote of a plain string is whose opening one is at a place; _NOWHERE if there is no such."""
    if place >= end or buffer[place] != ord('"'):
        return _NOWHERE
    place += 1
    while place < end and buffer[place] != ord('"'):
        if buffer[place] < 0x20 or buffer[place] > 0x7E or buffer[place] == ord("\\"):
            return _NOWHERE
        place += 1
    return place if place < end else _NOWHERE


@inline_njit
def _which(
    buffer: NDArray[np.uint8], start: int, end: int, names: NDArray[np.uint8], lengths: NDArray[np.int64]
) -> int:
    """Which of some names some bytes are, _NOWHERE if none."""
    for name in range(len(lengths)):
        if end - start == lengths[name] and _same(buffer, start, names, name, lengths[name]):
            return name
    return _NOWHERE


@inline_njit
def _same(buffer: NDArray[np.uint8], start: int, names: NDArray[np.uint8], name: int, length: int) -> bool:
    for place in range(length):
        if buffer[start + place] != names[name, place]:
            return False
    return True


@inline_njit
def _equal(buffer: NDArray[np.uint8], first: int, second: int, length: int) -> bool:
    for place in range(length):
        if buffer[first + place] != buffer[second + place]:
            return False
    return True


@inline_njit
def _digits_end(buffer: NDArray[np.uint8], place: int, end: int) -> int:
    """Behind the digits that begin at a place."""
    while place < end and ord("0") <= buffer[place] <= ord("9"):
        place += 1
    return place


@inline_njit
def _number_end(buffer: NDArray[np.uint8], place: int, end: int, is_rating: bool) -> int:
    """Behind a plain decimal number >= 0, or from 1 to 5; _NOWHERE where it is none."""
    start = place
    place = _digits_end(buffer, start, end)
    length = place - start
    if length == 0 or length > _MOST_DIGITS or (length > 1 and buffer[start] == ord("0")):
        return _NOWHERE
    if is_rating and (length > 1 or buffer[start] < ord("1") or buffer[start] > ord("5")):
        return _NOWHERE
    if place < end and buffer[place] == ord("."):
        first = place + 1
        place = _digits_end(buffer, first, end)
        if place == first or place - first > _MOST_DIGITS:
            return _NOWHERE
        if is_rating and buffer[start] == ord("5"):
            for digit in range(first, place):
                if buffer[digit] != ord("0"):
                    return _NOWHERE
    return place


@inline_njit
def _read_at(buffer: NDArray[np.uint8], start: int, end: int, appended_ms: int, row: Any) -> int:
    """Read an event time in milliseconds; returns the place behind it, _NOWHERE if it is not plain or out of bounds."""
    place = _digits_end(buffer, start, end)
    if place == start or place - start > _MOST_DIGITS or buffer[start] == ord("0"):
        return _NOWHERE
    at_ms = _whole(buffer, start, place)
    row.at = at_ms / 1000.0
    return place if OLDEST_MS <= at_ms <= min(appended_ms + MAX_AHEAD_MS, _NEWEST_MS) else _NOWHERE


@inline_njit
def _read_written_at(buffer: NDArray[np.uint8], place: int, end: int, appended_ms: int, row: Any) -> int:
    """As `_read_at`, of a time in a string."""
    start, close = place + 1, _string_end(buffer, place, end)
    if close == _NOWHERE or close - start < 20 or not _has_form(buffer, start):
        return _NOWHERE
    year, month = _whole(buffer, start, start + 4), _whole(buffer, start + 5, start + 7)
    days = _days(year, month, _whole(buffer, start + 8, start + 10))
    hour, minute = _whole(buffer, start + 11, start + 13), _whole(buffer, start + 14, start + 16)
    second = _whole(buffer, start + 17, start + 19)
    if days == _NOWHERE or hour > 23 or minute > 59 or second > 59:
        return _NOWHERE
    micros = 0
    zone = start + 19
    if buffer[zone] == ord("."):
        first = zone + 1
        zone = _digits_end(buffer, first, close)
        if zone == first or zone - first > 6:
            return _NOWHERE
        micros = _whole(buffer, first, zone)
        for _ in range(6 - (zone - first)):
            micros *= 10
    micros += (((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000
    row.at = micros / 1_000_000.0
    fits = OLDEST_MS <= row.at * 1000.0 <= min(appended_ms + MAX_AHEAD_MS, _NEWEST_MS)
    return close + 1 if fits and _is_utc(buffer, zone, close) else _NOWHERE


@inline_njit
def _has_form(buffer: NDArray[np.uint8], start: int) -> bool:
    """Whether there is a date and a time to the second, of any digits."""
    for number in range(len(_FORM)):
        byte = buffer[start + number]
        if byte != _FORM[number] and not (_FORM[number] == ord("0") and ord("0") <= byte <= ord("9")):
            return False
    return True


@inline_njit
def _days(year: int, month: int, day: int) -> int:
    """Days from 1970 to a date, _NOWHERE if it is none or of another time."""
    if year < _FIRST_YEAR or year > _LAST_YEAR or month < 1 or month > 12:
        return _NOWHERE
    leap = 1 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 0
    if day < 1 or day > _MONTH_DAYS[month - 1] + (leap if month == 2 else 0):
        return _NOWHERE
    past = year - _FIRST_YEAR
    days = _FIRST_DAY + 365 * past + (past + 3) // 4 - (past + 99) // 100 + (past + 399) // 400 + day - 1
    for before in range(month - 1):
        days += _MONTH_DAYS[before]
    return days + (leap if month > 2 else 0)


@inline_njit
def _whole(buffer: NDArray[np.uint8], start: int, end: int) -> int:
    """The number that some digits are."""
    number = 0
    for place in range(start, end):
        number = 10 * number + int(np.int64(buffer[place])) - 48
    return number


@inline_njit
def _is_utc(buffer: NDArray[np.uint8], start: int, end: int) -> bool:
    """Whether some bytes are `Z` or `+00:00`."""
    if end - start == 1:
        return bool(buffer[start] == ord("Z"))
    return bool(
        end - start == 6
        and buffer[start] == ord("+")
        and buffer[start + 1] == ord("0")
        and buffer[start + 2] == ord("0")
        and buffer[start + 3] == ord(":")
        and buffer[start + 4] == ord("0")
        and buffer[start + 5] == ord("0")
    )
