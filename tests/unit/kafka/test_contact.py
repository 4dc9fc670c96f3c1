"""Whether any broker answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from streams.kafka.contact import BrokerContact


def client(*answered_at: float) -> Any:
    """A client with connections, by the times of their last answers, in aiokafka's terms."""
    return SimpleNamespace(_conns={number: SimpleNamespace(_last_action=at) for number, at in enumerate(answered_at)})


def test_silence_begins_with_the_last_answer_of_any_broker_and_ends_with_the_next() -> None:
    clients = [client(10.0), client(10.5)]
    contact = BrokerContact(lambda: clients)
    for now in (11.0, 12.0, 13.0):
        contact.look(now)
    assert contact.silent_s == 2.0
    clients[:] = [client()]  # its connections are gone
    contact.look(14.0)
    assert contact.silent_s == 3.0
    clients[:] = [client(14.5)]
    contact.look(15.0)
    assert contact.silent_s == 0.0


def test_a_process_that_was_stopped_for_an_hour_has_not_waited_for_an_hour() -> None:
    contact = BrokerContact(lambda: [client(10.0)])
    contact.look(10.5)
    contact.look(3610.0)
    assert contact.silent_s == 2.0


def test_without_clients_there_is_no_silence() -> None:
    clients: list[Any] = []
    contact = BrokerContact(lambda: clients)
    for now in range(20):
        contact.look(float(now))
    assert contact.silent_s == 0.0
    clients.append(client())
    for now in range(20, 24):
        contact.look(float(now))
    assert contact.silent_s == 4.0
