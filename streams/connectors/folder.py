"""A folder of JSON lines as a data set: `catalog.jsonl`, `clicks.jsonl` and `purchases.jsonl`, as `publish` takes them.

* Events are sorted by time; at equal times clicks come before purchases, and lines of one file keep their order. Only
  the time and the place of each line are held in memory, 17 bytes an event.
* Without `clicks.jsonl`, each item of an order is also an add_to_cart click just before the order.
* Lines that cannot be used are named and left out. Null values of the catalogue (items withdrawn) are skipped.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import file_digest, sha256
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.connectors.jsonl import usable
from streams.connectors.replay import DataMissingError, DataSet, RejectedRecords, SourceEvent, cart_clicks

TOPICS = ("clicks", "purchases")
"""Topics of events, in the order of events with equal times."""

WITH_NULLS = ("catalog", "profiles")
"""Topics whose values may be null."""

_any_json = msgspec.json.Decoder()


class _Lines:
    """The lines of a file, and the place of the current one."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.start = 0

    def __iter__(self) -> Iterator[bytes]:
        end = 0
        for line in self._file:
            self.start, end = end, end + len(line)
            yield line


def folder(path: Path, report: Callable[[str], None]) -> DataSet:
    """A folder as a data set; the first bad lines are reported.

    Raises:
        DataMissingError: a file cannot be read.
    """
    rejected, now_ms = RejectedRecords(report), round(time.time() * 1000)
    catalog: dict[bytes, dict[str, Any]] = {}
    for _, key, value, _ in usable_lines(path, "catalog", now_ms, rejected):
        catalog[key] = _any_json.decode(value)
    files = event_files(path)
    carts = len(files) < len(TOPICS)
    times, places, numbers, count = array("d"), array("q"), array("b"), 0
    for number, name in enumerate(files):
        with reading(name) as file:
            tracked = _Lines(file)
            for _, _, _, event in usable(name.stem, tracked, name.name, lambda: now_ms, rejected):
                times.append(event.at)
                places.append(tracked.start)
                numbers.append(number)
                count += 1 + len(event.item_ids) if carts else 1
    at = np.frombuffer(times) if times else np.empty(0)
    notes = ["there is no clicks.jsonl: each item of an order also counts as added to the cart"] if carts else []
    if rejected.count:
        notes.append(f"{rejected.count} lines cannot be used and are left out")
    return DataSet(list(catalog.values()), _events(files, at, places, numbers, carts=carts), count, notes)


def event_files(path: Path) -> list[Path]:
    """Files of events in a folder, in the order of events with equal times; purchases are always expected."""
    return [path / f"{topic}.jsonl" for topic in TOPICS if topic != "clicks" or (path / "clicks.jsonl").exists()]


def digest_of(files: list[Path]) -> str:
    """Tells files from others by their content.

    Raises:
        DataMissingError: a file cannot be read.
    """
    digest = sha256()
    for path in files:
        with reading(path) as file:
            digest.update(file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def usable_lines(
    path: Path, topic: str, now_ms: int, rejected: RejectedRecords
) -> Iterator[tuple[int, bytes, bytes, Any]]:
    """What `usable` makes of a topic's file in a folder; null lines where null is a value of the topic are left out.

    Raises:
        DataMissingError: the file cannot be read.
    """
    file = path / f"{topic}.jsonl"
    with reading(file) as lines:
        values = (b"" if topic in WITH_NULLS and line.strip() == b"null" else line for line in lines)
        yield from usable(topic, values, file.name, lambda: now_ms, rejected)


@contextmanager
def reading(path: Path) -> Iterator[BufferedReader]:
    """A file of a source, open; errors of reading it raise DataMissingError."""
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        message = (
            f"{path} cannot be read ({error.strerror}): a folder of events holds catalog.jsonl, clicks.jsonl and "
            "purchases.jsonl, a value of the topic a line"
        )
        raise DataMissingError(message) from error


def _events(
    paths: list[Path], at: NDArray[np.float64], places: array[int], numbers: array[int], *, carts: bool
) -> Iterator[SourceEvent]:
    with ExitStack() as stack:
        files = [stack.enter_context(reading(path)) for path in paths]
        for index in np.argsort(at, kind="stable").tolist():
            number = numbers[index]
            files[number].seek(places[index])
            value = _any_json.decode(files[number].readline())
            if carts:
                item_ids = list(dict.fromkeys(line["item_id"] for line in value["items"]))
                yield from cart_clicks(value["user_id"], value["order_id"], at[index], item_ids)
            yield SourceEvent(paths[number].stem, at[index], value)
