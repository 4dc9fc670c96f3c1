"""A policy is read in a thread at a request; the last request wins, and a bad file changes nothing."""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path

import pytest

from models.shop.policy import Policy
from streams.kafka.global_tables import at_once
from streams.metrics import Metrics
from streams.policy_file import read_policy
from streams.worker.policy_loader import PolicyLoader
from tests.support.corner_shop import WIDE, CornerShop
from tests.support.loaders import running, until


class Counter:
    """A corner shop whose policy is in a file."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "policy.toml"
        self.shop = CornerShop(Policy(**WIDE))
        self.shop.offer("kettle", "Kitchen/Kettles", 100.0)
        self.shop.offer("mug", "Kitchen/Mugs", 8.0)
        self.shop.offer("tea", "Food/Tea", 5.0)
        self.metrics = Metrics()
        self.threads: list[str] = []
        self.loader = PolicyLoader(self.read, self.shop.recommender, self.metrics, at_once)

    def read(self) -> Policy:
        self.threads.append(threading.current_thread().name)
        return read_policy(self.file, memory_s=1e9)

    def write(self, text: str) -> None:
        wide = "".join(f"{key} = {value}\n" for key, value in WIDE.items())
        self.file.write_text(wide + text)

    def reads(self, result: str) -> float:
        return self.metrics.registry.get_sample_value("crosscurrent_policy_reads_total", {"result": result}) or 0.0


@pytest.fixture
def counter(tmp_path: Path) -> Counter:
    return Counter(tmp_path)


async def test_a_request_reads_the_file_in_a_thread_and_the_next_query_is_answered_by_it(counter: Counter) -> None:
    assert counter.shop.kinds("kettle") == {"mug": "cross-sell", "tea": "cross-sell"}
    counter.write("exclude_items = ['mug']")
    async with running(counter.loader):
        counter.loader.request()
        await until(lambda: counter.reads("in force"))
    assert counter.shop.kinds("kettle") == {"tea": "cross-sell"}
    assert counter.threads == ["policy"]


async def test_a_request_before_the_loader_runs_is_served(counter: Counter) -> None:
    counter.write("exclude_items = ['tea']")
    counter.loader.request()
    async with running(counter.loader):
        await until(lambda: counter.reads("in force"))
    assert counter.shop.kinds("kettle") == {"mug": "cross-sell"}


async def test_of_many_requests_while_a_file_is_read_the_last_wins(counter: Counter) -> None:
    """The first reading waits until four more requests have come; one more reading serves them all."""
    first_read, go_on = threading.Event(), threading.Event()

    def read() -> Policy:
        policy = counter.read()
        if len(counter.threads) == 1:
            first_read.set()
            go_on.wait(30)
        return policy

    loader = PolicyLoader(read, counter.shop.recommender, counter.metrics, at_once)
    counter.write("exclude_items = ['mug']")
    async with running(loader):
        loader.request()
        await until(first_read.is_set)
        for text in ("max_items = 'x'", "max_items = 0", "exclude_brands = [3]", "exclude_items = ['tea']"):
            counter.file.write_text(text)
            loader.request()
            await asyncio.sleep(0)
        counter.write("exclude_items = ['tea']")
        go_on.set()
        await until(lambda: counter.reads("in force") == 2)
    assert counter.shop.kinds("kettle") == {"mug": "cross-sell"}
    assert (len(counter.threads), counter.reads("refused")) == (2, 0)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("\n\nexplore = 7\n", "policy.toml:7: explore must be a number from 0 to 1, got 7"),
        ("deny_pairs = " + "[" * 100_000, "policy.toml:5: deny_pairs: nested more than 32 levels deep"),
        ("min_support = " + "9" * 30, "policy.toml:5: min_support: an integer must have at most 64 bits"),
    ],
)
async def test_a_bad_file_changes_nothing_and_is_named(
    counter: Counter, caplog: pytest.LogCaptureFixture, text: str, sentence: str
) -> None:
    counter.write(text)
    async with running(counter.loader):
        with caplog.at_level(logging.ERROR):
            counter.loader.request()
            await until(lambda: counter.reads("refused"))
        assert sentence in caplog.text
        assert "the policy in force is kept" in caplog.text
        assert counter.shop.recommender.policy == Policy(**WIDE)
        counter.write("exclude_items = ['mug']")
        counter.loader.request()
        await until(lambda: counter.reads("in force"))
    assert counter.shop.kinds("kettle") == {"tea": "cross-sell"}


async def test_a_failure_of_another_kind_does_not_stop_the_worker(
    counter: Counter, caplog: pytest.LogCaptureFixture
) -> None:
    def read() -> Policy:
        raise MemoryError

    loader = PolicyLoader(read, counter.shop.recommender, counter.metrics, at_once)
    async with running(loader):
        loader.request()
        await until(lambda: counter.reads("refused"))
    assert "the policy cannot be used: MemoryError(); the policy in force is kept" in caplog.text


async def test_a_hundred_thousand_excluded_items_come_into_force(counter: Counter) -> None:
    ids = ["mug", *(f"item-{number}" for number in range(100_000)), "teapot"]
    counter.write("exclude_items = [\n" + "".join(f"  '{item_id}',\n" for item_id in ids) + "]\n")
    async with running(counter.loader):
        counter.loader.request()
        await until(lambda: counter.reads("in force"))
    counter.shop.offer("teapot", "Kitchen/Pots", 20.0)  # which the policy named before the catalogue did
    counter.shop.offer("cup", "Kitchen/Cups", 3.0)
    assert counter.shop.kinds("kettle") == {"tea": "cross-sell", "cup": "cross-sell"}
