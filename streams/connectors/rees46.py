"""REES46's multi-category store: views, cart changes and purchases as a CSV file, gzipped or not.

The file is read twice, for the catalogue and for the events, so that it need not fit in memory; events are sent in its
order, which is that of time.

* Catalogue: every product with a price above 0 in some line, with its last price, brand and category. Category: the
  code with `/` for `.`; a third of the lines have none and get `unnamed/<category_id>`.
* Prices of 0 or less mean unknown: the line counts as bad, and its event is sent without the price.
* Consecutive purchases of one shopper, session and time are one order.
* Lines that cannot be read as events are named and left out.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, NamedTuple

from streams.connectors.replay import BadLines, DataMissingError, DataSet, SourceEvent
from streams.wire.codec import written

HEADER = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session"
COLUMNS = HEADER.split(",")
ACTIONS = {"view": "view", "cart": "add_to_cart", "remove_from_cart": "remove_from_cart", "purchase": "purchase"}
CURRENCY = "USD"


class _Line(NamedTuple):
    number: int
    at: float
    action: str
    product: str
    category: str
    title: str
    brand: str
    price: float | None
    user: str
    session: str


def rees46(path: Path, report: Callable[[str], None]) -> DataSet:
    """A CSV file as a data set; the first bad lines are reported.

    Raises:
        DataMissingError: the file cannot be read, or has another header.
    """
    bad = BadLines(path.name, report)
    catalog: dict[str, dict[str, Any]] = {}
    products, count = set(), 0
    for line in _lines(path, bad):
        products.add(line.product)
        count += 1
        if line.price is not None:
            catalog[line.product] = _item(line, line.price)
    notes = [f"{lines} lines: {kind}" for kind, lines in bad.counts.items()]
    if without := len(products) - len(catalog):
        notes.append(f"{without} products never have a price and are not in the catalogue")
    silent = BadLines(path.name, lambda _: None)  # they were named the first time
    return DataSet(list(catalog.values()), _events(_lines(path, silent)), count, notes)


def _events(lines: Iterator[_Line]) -> Iterator[SourceEvent]:
    order: SourceEvent | None = None
    last: tuple[str, str, float] | None = None
    for line in lines:
        this = (line.user, line.session, line.at)
        if line.action == "purchase":
            bought = {"item_id": line.product} | ({} if line.price is None else {"price": line.price})
            if order is not None and last == this:
                order.value["items"].append(bought)
                continue
        if order is not None:
            yield order
        order, last = None, this
        common = {"v": 1, "user_id": line.user, "at": written(line.at)}
        name = f"{line.session or 'line'}-{line.number}"
        if line.action == "purchase":
            value = common | {"order_id": name, "items": [bought], "currency": CURRENCY}
            order = SourceEvent("purchases", line.at, value)
            continue
        value = common | {"item_id": line.product, "action": line.action, "event_id": name}
        if line.session:
            value["session_id"] = line.session
        yield SourceEvent("clicks", line.at, value)
    if order is not None:
        yield order


def _item(line: _Line, price: float) -> dict[str, Any]:
    return {
        "v": 1,
        "item_id": line.product,
        "title": line.title,
        "category": line.category,
        "price": price,
        "brand": line.brand or None,
        "currency": CURRENCY,
    }


def _lines(path: Path, bad: BadLines) -> Iterator[_Line]:
    """Usable lines, in order."""
    with _opened(path) as text:
        reader = csv.reader(text)
        try:
            header = next(reader, [])
        except csv.Error:
            header = []
        if header != COLUMNS:
            message = f"{path} is no file of REES46 events: its first line must be {HEADER}"
            raise DataMissingError(message)
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                bad.add(reader.line_num, "a line must be CSV", str(error))
                continue
            line = _line(reader.line_num, row, bad)
            if line is not None:
                yield line


def _line(number: int, row: list[str], bad: BadLines) -> _Line | None:
    """A line; None if it cannot be used."""
    if len(row) != len(COLUMNS):
        bad.add(number, f"a line must have {len(COLUMNS)} fields", str(len(row)))
        return None
    when, kind, product, category_id, code, brand, price_text, user, session = row
    at = _at(when)
    if at is None:
        bad.add(number, "event_time must be like 2019-10-01 00:00:00 UTC", when)
    elif kind not in ACTIONS:
        bad.add(number, f"event_type must be one of {', '.join(ACTIONS)}", kind)
    elif not product:
        bad.add(number, "product_id must be there", product)
    elif not user:
        bad.add(number, "user_id must be there", user)
    else:
        price = _price(price_text)
        if price is None:
            bad.add(number, "price must be a number above 0 (the event is sent without it)", price_text)
        parts = [part for part in code.replace("/", " ").split(".") if part]
        category = "/".join(parts) or f"unnamed/{category_id.replace('/', ' ') or 'unknown'}"
        noun = parts[-1].replace("_", " ") if parts else "item"
        title = f"{brand} {noun} {product}".strip().capitalize()
        return _Line(number, at, ACTIONS[kind], product, category, title, brand, price, user, session)
    return None


def _at(text: str) -> float | None:
    """Epoch seconds of a time; UTC if it has no zone."""
    try:
        at = datetime.fromisoformat(text.removesuffix(" UTC"))
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _price(text: str) -> float | None:
    try:
        price = float(text)
    except ValueError:
        return None
    return price if 0 < price < float("inf") else None


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        how: Any = gzip.open if packed else open
        with how(path, "rt", encoding="utf-8", errors="replace", newline="") as text:
            yield text
    except (OSError, EOFError, gzip.BadGzipFile) as error:
        message = f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"
        raise DataMissingError(message) from error
