"""`crosscurrent evaluate arms`: what each arm of an experiment brings in, from the topics alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams.cli.evaluation_frame import EvaluationFrame, Seed, complain
from streams.cli.figures import FiguresFile
from streams.cli.options import with_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from streams.settings import Settings
    from streams.wire.record import Record


CANNOT_TELL = (
    "Not told: whether a list was looked at; what shoppers bought before their first list, or without any; an effect "
    "between arms (all learn from all shoppers); who shops under several ids. An interval with 0 in it shows no effect."
)


@with_settings()
def command(settings: Settings, json: FiguresFile = None, seed: Seed = 1) -> None:
    """Revenue per shopper in each arm of the policy's [arms], with 95 % intervals, from the topics alone.

    Reads all of `suggestions`, `purchases` and `catalog` that is kept. A shopper belongs to the arm of the first record
    that was sent for him since the experiment began, and his orders count from then on. Intervals are bootstrapped over
    shoppers.
    """
    from models.evaluation.arms import ArmLedger
    from streams.errors import RecordError
    from streams.wire.codec import decode_answer, decode_catalog, decode_purchase, written

    ledger, unusable = ArmLedger(), 0

    def add_item(record: Record) -> None:
        if (item := decode_catalog(record)) is not None:
            ledger.add_item(item)

    def add_suggestion(record: Record) -> None:
        suggestion, at = decode_answer(record)
        ledger.add_suggestion(suggestion.user_id, suggestion.arm, at, record.timestamp)

    def add_purchase(record: Record) -> None:
        ledger.add_purchase(decode_purchase(record))

    for topic, add in (("catalog", add_item), ("suggestions", add_suggestion), ("purchases", add_purchase)):
        for record in _records(settings, topic):
            try:
                add(record)
            except RecordError:
                unusable += 1
    found = ledger.figures(seed)
    begin_s = found.pop("begin_ms") / 1000
    figures: dict[str, Any] = {"protocol": "arms", "begin": written(begin_s), "unusable": unusable} | found
    EvaluationFrame(json=json).finish(figures, _table(figures))
    for name in ("moved", "orders_in_other_currencies", "lines_without_price", "unusable"):
        if figures[name]:
            complain(f"{_NOTES[name]}: {figures[name]:,}")
    complain(CANNOT_TELL)


_NOTES = {
    "moved": "records of a second arm for one shopper, as the shares were changed; the first one counts",
    "orders_in_other_currencies": "orders left out, as they are not in the currency of most",
    "lines_without_price": "lines left out, as neither they nor the catalogue have a price",
    "unusable": "records that cannot be used",
}


def _records(settings: Settings, topic: str) -> Iterator[Record]:
    from streams.kafka.blocking import TopicReader

    with TopicReader(settings, [topic]) as reader:
        for batch in reader.read(from_start=True, until_end=True):
            yield from batch


def _table(figures: dict[str, Any]) -> Table:
    from models.evaluation.arms import COMPARED
    from streams.cli.printing import new_table

    differences = [heading for other in COMPARED for heading in (f"over {other}", "95 %")]
    headings = ("shoppers", "buyers", "orders", "revenue", "a shopper", "95 %", *differences)
    title = f"arms since {figures['begin']}" + (f", in {figures['currency']}" if figures["currency"] else "")
    table = new_table(title, ["arm"], headings)
    for arm, row in figures["arms"].items():
        cells = [f"{row[name]:,}" for name in ("shoppers", "buyers", "orders")]
        cells += [f"{row['revenue']:,.2f}", *_mean(row)]
        for other in COMPARED:
            cells += _mean(row["difference"][other]) if other in row["difference"] else ["", ""]
        table.add_row(arm, *cells)
    return table


def _mean(row: dict[str, Any]) -> list[str]:
    low, high = row["interval"]
    return [f"{row['per_shopper']:.2f}", f"{low:.2f} to {high:.2f}"]
