"""The pages on events are what the code says, and their examples work."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from streams.cli.docs import pages
from streams.cli.event_pages import PAGES, asyncapi, topics
from streams.wire.codec import (
    decode_catalog,
    decode_click,
    decode_dead_letter,
    decode_feedback,
    decode_profile,
    decode_purchase,
    decode_suggestion,
)
from streams.wire.record import Header
from streams.wire.topics import TOPICS

DECODERS = {
    "clicks": decode_click,
    "purchases": decode_purchase,
    "catalog": decode_catalog,
    "profiles": decode_profile,
    "feedback": decode_feedback,
    "suggestions": decode_suggestion,
    "dead-letters": decode_dead_letter,
}


@dataclass
class Rec:
    topic: str
    key: bytes
    value: bytes
    timestamp: int = 1_800_000_000_000
    partition: int = 0
    offset: int = 0
    headers: tuple[Header, ...] = ()


@pytest.mark.parametrize("path", list(pages()), ids=lambda path: path.name)
def test_pages_are_as_the_code_makes_them(path: Any) -> None:
    assert path.read_text(encoding="utf-8") == pages()[path], "run `make docs`"


def test_every_public_topic_has_a_page() -> None:
    assert set(PAGES) == set(DECODERS) == {topic.name for topic in TOPICS if not topic.internal}


@pytest.mark.parametrize("topic", list(PAGES))
def test_examples_decode(topic: str) -> None:
    example = PAGES[topic].example
    key = example["topic"] if topic == "dead-letters" else example[{t.name: t.key for t in topics()}[topic]]
    DECODERS[topic](Rec(topic, key.encode(), json.dumps(example).encode()))


def test_every_reference_of_the_document_leads_somewhere() -> None:
    document = asyncapi()
    assert yaml.safe_load(yaml.safe_dump(document)) == document
    assert document["asyncapi"] == "3.0.0"
    references = list(_references(document))
    assert len(references) > 20
    for reference in references:
        place: Any = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def _references(part: Any) -> Any:
    if isinstance(part, dict):
        for name, value in part.items():
            if name == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(part, list):
        for value in part:
            yield from _references(value)
