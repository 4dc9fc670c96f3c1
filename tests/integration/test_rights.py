"""Rights and logins, on Apache Kafka with TLS, SCRAM and access control lists.

Each process and command logs in as a user of its own, which has what `RIGHTS` says and nothing else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner, Result

from streams.cli.entry import app
from streams.connectors.rees46 import COLUMNS
from streams.errors import LoginError, RightsError
from streams.kafka import topic_admin
from streams.kafka.admin import CONNECT_S, administration
from streams.kafka.blocking import Sender, TopicReader
from streams.kafka.connection import WAIT_S
from streams.kafka.log import KafkaLog
from streams.kafka.rights import ALL_TOPICS, LOOK, RIGHTS, TRAINER, WORKER, Rights, require
from streams.settings import ENV_PREFIX, Settings
from tests.support.processes import WorkerProcess, eventually
from tests.support.secured_kafka import PASSWORD, Grant, SecuredKafka, grants_of

PREFIX = "s-"
WRONG = "not-the-password"

LEARNING = {
    "learner__network__units": "16",
    "train_every_s": "0.5",
    "snapshot_every_s": "1",
}

ARGUMENTS = {
    "publish": ["publish", "clicks", "--null", "nobody"],
    "tail": ["tail", "clicks", "--until-end"],
    "neighbours": ["neighbours", "--all"],
    "neighbours --json": ["neighbours", "--all", "--json"],
    "replay": ["replay", "rees46", "no-such-file"],
    "backfill": ["backfill", "rees46", "no-such-file"],
    "dead-letters --replay": ["dead-letters", "--replay"],
    "models rollback": ["models", "rollback", "1"],
}
"""Of commands that need some."""


def user_of(rights: Rights) -> str:
    return rights.command.replace(" ", "")


@pytest.fixture(scope="module")
def kafka(secured_broker: SecuredKafka) -> SecuredKafka:
    """The broker, with all topics and a user for each row of the table."""
    plain = secured_broker.broker.settings(prefix=PREFIX)
    topic_admin.create(plain, partitions=2)
    secured_broker.add_users([user_of(rights) for rights in RIGHTS])
    secured_broker.grant({user_of(rights): grants_of(rights, plain) for rights in RIGHTS})
    return secured_broker


def environ_of(settings: Settings, **more: str) -> dict[str, str]:
    """The environment of a process with these settings, password included."""
    names = ("bootstrap_servers", "prefix", "security_protocol", "sasl_mechanism", "sasl_username", "ssl_cafile")
    values = {name: str(getattr(settings, name)) for name in names} | {"sasl_password": PASSWORD} | more
    return {ENV_PREFIX + name.upper(): value for name, value in values.items()}


@pytest.fixture
def run(kafka: SecuredKafka, tmp_path: Path) -> Callable[..., Result]:
    """Runs a command in this process, as the user of its row."""

    def run(rights: Rights, *arguments: str, stdin: bytes | None = None) -> Result:
        environ = environ_of(
            kafka.settings(user_of(rights), prefix=PREFIX), snapshot_store=str(tmp_path / "store"), embedded="false"
        )
        return CliRunner().invoke(app, arguments, input=stdin, env=environ, prog_name="crosscurrent")

    return run


# -- logins ------------------------------------------------------------------------------------------------------------


def wrong_settings(kafka: SecuredKafka) -> dict[str, tuple[Settings, str]]:
    """Settings that do not fit the broker, and what its sentence must say."""
    user, plain = user_of(WORKER), kafka.broker.bootstrap_servers
    secured = f"127.0.0.1:{kafka.port}"
    return {
        "password": (kafka.settings(user, sasl_password=WRONG), f"refuses the login of '{user}' with SCRAM-SHA-512"),
        "authority": (kafka.settings(user, ssl_cafile=None), "has a certificate that is not trusted"),
        "name": (
            kafka.settings(user, bootstrap_servers=f"localhost:{kafka.port}"),
            "has a certificate for another name (Hostname mismatch",
        ),
        "mechanism": (
            kafka.settings(user, sasl_mechanism="PLAIN"),
            "does not take sasl_mechanism PLAIN, but SCRAM-SHA-512",
        ),
        "plaintext to TLS": (Settings(bootstrap_servers=secured), "speaks TLS at this port"),
        "TLS to plaintext": (kafka.settings(user, bootstrap_servers=plain), "does not speak TLS at this port"),
        "no login": (
            Settings(bootstrap_servers=secured, security_protocol="SSL", ssl_cafile=kafka.cafile),
            "wants a login: set security_protocol to SASL_SSL, with sasl_mechanism SCRAM-SHA-512",
        ),
        "a login where none is taken": (
            kafka.settings(user, bootstrap_servers=plain, security_protocol="SASL_PLAINTEXT"),
            "takes no login at this port",
        ),
    }


def test_each_fault_of_a_login_has_its_own_sentence(kafka: SecuredKafka) -> None:
    async def start(settings: Settings) -> None:
        log = KafkaLog(settings)
        try:
            await log.start()
        finally:
            await log.stop()

    for fault, (settings, words) in wrong_settings(kafka).items():
        started = time.monotonic()
        with pytest.raises(LoginError) as by_command:
            topic_admin.check(settings)
        told = time.monotonic()
        with pytest.raises(LoginError) as by_process:
            asyncio.run(start(settings))
        at_once = told - started < CONNECT_S and time.monotonic() - told < WAIT_S
        assert at_once, f"{fault}: told after further tries"
        for raised in (by_command, by_process):
            sentence = str(raised.value)
            assert f"{settings.bootstrap_servers} {words}" in sentence
            assert PASSWORD not in sentence
            assert WRONG not in sentence
        assert sum(words in str(by_command.value) for _, words in wrong_settings(kafka).values()) == 1


def test_a_worker_that_is_not_let_in_ends_with_the_sentence(kafka: SecuredKafka, tmp_path: Path) -> None:
    settings = kafka.settings(user_of(WORKER), prefix=PREFIX)
    environ = environ_of(settings, sasl_password=WRONG, policy="", web_port="0")
    result = CliRunner().invoke(app, ["worker"], env=environ, prog_name="crosscurrent")
    assert isinstance(result.exception, LoginError)
    assert "refuses the login of 'worker'" in str(result.exception)
    assert WRONG not in str(result.exception) + result.output


# -- rights ------------------------------------------------------------------------------------------------------------


def suggestions(operation: str) -> Grant:
    return operation, "topic", f"{PREFIX}suggestions"


def cases() -> Iterator[tuple[Rights, Grant]]:
    """Each right of each row; where a row has one on all topics, or needs one of several topics, for one of them."""
    for rights in RIGHTS:
        for operation, kind, name in grants_of(rights, Settings(prefix=PREFIX)):
            uniform = operation in LOOK if rights.looks else rights.chosen
            if operation != "CREATE" and (not uniform or name in (f"{PREFIX}clicks", f"{PREFIX}pairs")):
                yield rights, (operation, kind, name)


def test_without_one_of_its_rights_a_command_names_it(kafka: SecuredKafka, run: Callable[..., Result]) -> None:
    with ExitStack() as connections:
        clients = {
            rights: connections.enter_context(administration(kafka.settings(user_of(rights), prefix=PREFIX)))
            for rights in (WORKER, TRAINER)
        }
        for rights, grant in cases():
            if rights.command == "models import" or (rights.command, grant[0]) == ("models rollback", "WRITE"):
                continue  # they look at the snapshot first
            with kafka.without(user_of(rights), grant):
                if rights in clients:
                    with pytest.raises(RightsError) as raised:
                        require(clients[rights], kafka.settings(user_of(rights), prefix=PREFIX), rights)
                    error: BaseException | None = raised.value.needed_by(f"crosscurrent {rights.command}")
                else:
                    error = run(rights, *ARGUMENTS.get(rights.command, rights.command.split())).exception
                assert isinstance(error, RightsError), (rights.command, grant, error)
            check_named(error, rights, grant)


def check_named(error: BaseException | None, rights: Rights, grant: Grant) -> None:
    operation, kind, name = grant
    assert f"`crosscurrent {rights.command.partition(' --')[0]}" in str(error)
    assert f" needs {operation} on {kind} {name} for User:{user_of(rights)} (" in str(error)


def test_a_trainer_that_may_not_read_suggestions_ends_before_it_says_ready(kafka: SecuredKafka, tmp_path: Path) -> None:
    settings = kafka.settings(user_of(TRAINER), prefix=PREFIX)
    with kafka.without(user_of(TRAINER), suggestions("READ")):
        with process(settings, tmp_path, "trainer", {}) as trainer:
            assert trainer.wait() == 1
    assert trainer.printed == ""
    assert "`crosscurrent trainer` needs READ on topic s-suggestions for User:trainer" in trainer.complaints


def test_topics_that_may_not_be_made_are_named(kafka: SecuredKafka) -> None:
    settings = kafka.settings("topicscreate", prefix="other-")
    kafka.grant({"topicscreate": [(it, "topic", f"other-{topic}") for topic in ALL_TOPICS for it in LOOK]})
    with pytest.raises(RightsError, match="CREATE on topic other-clicks, CREATE on topic other-purchases"):
        topic_admin.create(settings)


def process(settings: Settings, folder: Path, command: str, more: Mapping[str, str]) -> WorkerProcess:
    environ = {name.removeprefix(ENV_PREFIX): value for name, value in environ_of(settings).items()}
    return WorkerProcess(settings, folder / command, None, command, {**environ, **more})


def test_with_exactly_these_rights_everything_works_until_one_is_taken_away(
    kafka: SecuredKafka, run: Callable[..., Result], tmp_path: Path
) -> None:
    table = {rights.command: rights for rights in RIGHTS}
    plain = kafka.broker.settings(prefix=PREFIX)
    store = {"snapshot_store": str(tmp_path / "store"), "send_timeout_s": "2"}
    seen: list[str] = []

    def works(command: str, *arguments: str, stdin: bytes | None = None) -> str:
        result = run(table[command], *(arguments or command.split()), stdin=stdin)
        assert result.exit_code == 0, (command, result.output, result.exception)
        assert PASSWORD not in result.output
        seen.append(command)
        return result.stdout

    def lines(*values: object) -> bytes:
        return b"\n".join(map(orjson.dumps, values))

    works("topics create", "topics", "create", "--partitions", "2")
    works("topics check")
    with (
        process(kafka.settings("worker", prefix=PREFIX), tmp_path, "worker", store) as worker,
        process(kafka.settings("trainer", prefix=PREFIX), tmp_path, "trainer", LEARNING | store) as trainer,
    ):
        items = [
            {"v": 1, "item_id": f"i{n}", "title": f"Item {n}", "category": f"c{n % 3}", "price": 1 + n}
            for n in range(6)
        ]
        works("publish", "publish", "catalog", stdin=lines(*items))
        worker.await_ready()
        trainer.await_ready()
        now = round(time.time() * 1000)
        clicks = [
            {"v": 1, "user_id": f"u{number // 3}", "item_id": f"i{number % 6}", "action": "view", "at": now}
            for number in range(300)
        ]
        works("publish", "publish", "clicks", stdin=lines(*clicks))
        works("publish", "publish", "clicks", "--raw", stdin=b"no JSON")
        works("publish", "publish", "profiles", stdin=lines({"v": 1, "user_id": "gone", "at": now, "forget": True}))
        bought = {"v": 1, "user_id": "u1", "order_id": "o1", "at": now, "items": [{"item_id": "i1"}, {"item_id": "i2"}]}
        works("publish", "publish", "purchases", stdin=lines(bought))

        def written() -> bool:
            with TopicReader(plain, WORKER.write) as reader:
                filled = {tp.topic for tp, end in reader.ends().items() if end}
            return len(filled) == len(WORKER.write)

        eventually(written, "the worker writes to all topics that it may write to")
        listed = ("models list", "models", "list", "--json")
        eventually(lambda: '"announced":true' in works(*listed), "a model is announced")
        assert works("tail", "tail", "suggestions", "--from-start", "--until-end", "--json")
        works("tail", "tail", "dead-letters", "--from-start", "--until-end")
        works("dead-letters")
        works("dead-letters --replay")
        works("neighbours", "neighbours", "--all")
        works("neighbours --json", "neighbours", "--all", "--json")
        version = orjson.loads(works(*listed).splitlines()[0])["version"]
        works("models rollback", "models", "rollback", version)
        works("models list", "models", "export", version, str(tmp_path / "model.tar"))
        works("models import", "models", "import", str(tmp_path / "model.tar"))
        changes = {"models rollback": version, "models import": str(tmp_path / "model.tar")}
        for command, argument in changes.items():
            grant = ("WRITE", "topic", f"{PREFIX}snapshots")
            with kafka.without(user_of(table[command]), grant):
                result = run(table[command], *command.split(), argument)
            check_named(result.exception, table[command], grant)
        events = tmp_path / "events.csv"
        row = "2024-05-01 12:00:00 UTC,view,1,2,a.b,brand,9.5,3,session"
        events.write_text(f"{','.join(COLUMNS)}\n{row}\n")
        works("replay", "replay", "rees46", str(events))
        works("backfill", "backfill", "rees46", str(events))
        works("evaluate arms")
        assert {*seen, "worker", "trainer"} == set(table)

        kafka.revoke("trainer", suggestions("READ"))
        kafka.revoke("worker", suggestions("WRITE"))
        works("publish", "publish", "clicks", stdin=lines(*clicks))
        assert (worker.wait(), trainer.wait()) == (1, 1)
    kafka.grant({"trainer": [suggestions("READ")], "worker": [suggestions("WRITE")]})
    assert "the worker stops: a send to s-suggestions-" in worker.complaints
    assert "this process needs WRITE on topic s-suggestions for User:worker" in worker.complaints
    assert "the trainer stops: rights are missing: this process needs READ on topic s-suggestions" in trainer.complaints
    assert PASSWORD not in worker.complaints + trainer.complaints + worker.printed + trainer.printed


def test_a_sender_and_a_reader_name_the_right_that_they_lack(kafka: SecuredKafka) -> None:
    settings = kafka.settings("tail", prefix=PREFIX)
    with pytest.raises(RightsError, match="needs WRITE on topic s-clicks for User:tail"):
        Sender(settings, ["clicks"])
    with pytest.raises(RightsError, match="needs READ on group s-dead-letters-replay for User:tail"):
        TopicReader(settings, ["dead-letters"], group="dead-letters-replay")
