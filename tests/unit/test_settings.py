from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from models.cooccurrence.config import CoOccurrenceConfig
from models.sequence.config import LearnerConfig, NetworkConfig
from models.sessions.visits import VisitConfig
from streams.errors import SettingsError
from streams.settings import EMBEDDED_SESSION_TIMEOUT_S, Settings

LOGIN = {
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "SCRAM-SHA-512",
    "sasl_username": "shop",
    "sasl_password": "kettle-4711",
}


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    file = tmp_path / "crosscurrent.toml"
    file.write_text('prefix = "file-"\npartitions = 3\nreplication = 2\n[visits]\nitems = 7\nwindow_s = 60\n')
    return file


def test_flag_beats_variable_beats_file_beats_default(config_file: Path) -> None:
    environ = {"CROSSCURRENT_PARTITIONS": "5", "CROSSCURRENT_PREFIX": "variable-", "CROSSCURRENT_VISITS__ITEMS": "9"}
    settings = Settings.load({"prefix": "flag-", "partitions": None}, environ, config_file)
    assert (settings.prefix, settings.partitions, settings.replication) == ("flag-", 5, 2)
    assert settings.batch_records == Settings().batch_records
    assert settings.visits == dataclasses.replace(VisitConfig(), items=9, window_s=60.0)
    assert settings.cooccurrence == CoOccurrenceConfig()


def test_every_setting_has_a_variable_and_a_key(tmp_path: Path) -> None:
    texts: dict[str, str] = {
        "bootstrap_servers": "kafka:9092",
        "prefix": "x-",
        "ssl_cafile": "ca.pem",
        "ssl_certfile": "cert.pem",
        "ssl_keyfile": "key.pem",
        "group": "g",
        "suggestions_compression": "lz4",
        "web_host": "0.0.0.0",
        "policy": "policy.toml",
        "snapshot_store": "s3://shop/snapshots",
        "embedded": "true",
        "web_enabled": "false",
        "session_timeout_s": "20.5",
        **LOGIN,
    }
    tables = {"visits", "histories", "cooccurrence", "learner", "gate", "pools", "outcomes", "ranker"}
    names = set(Settings.model_fields) - tables
    texts |= dict.fromkeys(names - set(texts), "20")
    texts |= {
        "max_message_bytes": "20000",
        "publish_bytes_per_s": "20000",
        "outbox_bytes": "2000000",
        "snapshot_bytes": "2000000",
    }
    environ = {f"CROSSCURRENT_{name.upper()}": text for name, text in texts.items()}
    by_variable = Settings.load({}, environ)
    file = tmp_path / "all.toml"
    file.write_text("".join(f"{n} = {t if t[0].isdigit() and '.0.' not in t else repr(t)}\n" for n, t in texts.items()))
    assert Settings.load({}, {}, file) == by_variable
    changed = {name for name in names if getattr(by_variable, name) != getattr(Settings(), name)}
    assert changed == names


def test_nested_tables_have_variables_too() -> None:
    environ = {"CROSSCURRENT_COOCCURRENCE__IMPORTANCE": "[1, 2, 3]", "CROSSCURRENT_COOCCURRENCE__NEIGHBOURS": "50"}
    found = Settings.load({}, environ).cooccurrence
    assert found == dataclasses.replace(CoOccurrenceConfig(), importance=(1.0, 2.0, 3.0), neighbours=50)


def test_a_table_in_a_table_has_variables_and_keys_too(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[learner]\nchunk = 64\n[learner.network]\nunits = 16\n")
    by_variable = {"CROSSCURRENT_LEARNER__CHUNK": "64", "CROSSCURRENT_LEARNER__NETWORK__UNITS": "16"}
    wanted = dataclasses.replace(LearnerConfig(), chunk=64, network=dataclasses.replace(NetworkConfig(), units=16))
    assert Settings.load({}, {}, file).learner == Settings.load({}, by_variable).learner == wanted


def test_a_variable_names_the_file(config_file: Path) -> None:
    assert Settings.load({}, {"CROSSCURRENT_CONFIG": str(config_file)}).prefix == "file-"


def test_an_empty_variable_is_none() -> None:
    assert Settings.load({}, {"CROSSCURRENT_SASL_USERNAME": "", "CROSSCURRENT_WEB_PORT": ""}) == Settings()


def test_other_variables_are_not_read() -> None:
    """A container platform sets such for a service called crosscurrent."""
    assert Settings.load({}, {"CROSSCURRENT_SERVICE_HOST": "10.0.0.1", "PREFIX": "x-"}) == Settings()


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("CROSSCURRENT_SESION_TIMEOUT_S", "CROSSCURRENT_SESSION_TIMEOUT_S"),
        ("CROSSCURRENT_VISIT__ITEMS", "CROSSCURRENT_VISITS__ITEMS"),
        ("CROSSCURRENT_BOOTSTRAP_SERVER", "CROSSCURRENT_BOOTSTRAP_SERVERS"),
    ],
)
def test_a_variable_that_is_nearly_a_setting_is_refused(variable: str, meant: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable} is no setting: did you mean {meant}?"):
        Settings.load({}, {variable: "7"})


def test_the_environment_is_read_only_by_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSCURRENT_PREFIX", "surprise-")
    assert Settings().prefix == ""
    assert Settings.load({}, {}).prefix == ""


def test_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().prefix = "x-"


@pytest.mark.parametrize(
    ("flags", "environ", "says"),
    [
        ({"bootstrap_servers": "kafka"}, {}, "--bootstrap-servers must be HOST:PORT, or several separated by commas"),
        ({"bootstrap_servers": "kafka:0"}, {}, "--bootstrap-servers must be HOST:PORT"),
        ({"prefix": "my shop"}, {}, "--prefix must be at most 200 letters, digits, dots"),
        ({}, {"CROSSCURRENT_PARTITIONS": "many"}, "CROSSCURRENT_PARTITIONS must be a valid integer.*got 'many'"),
        ({}, {"CROSSCURRENT_PARTITIONS": "0"}, "CROSSCURRENT_PARTITIONS must be greater than or equal to 1, got '0'"),
        ({}, {"CROSSCURRENT_WEB_PORT": "70000"}, "CROSSCURRENT_WEB_PORT must be less than or equal to 65535"),
        ({}, {"CROSSCURRENT_VISITS__ITEM": "7"}, "CROSSCURRENT_VISITS__ITEM is no setting; did you mean items?"),
        ({}, {"CROSSCURRENT_VISITS__ITEMS": "x"}, "CROSSCURRENT_VISITS__ITEMS must be a valid integer"),
        ({}, {"CROSSCURRENT_VISITS__WINDOW_S": "-1"}, "CROSSCURRENT_VISITS__WINDOW_S must be a number of at least 0"),
        ({}, {"CROSSCURRENT_VISITS__WINDOW_S": "inf"}, "CROSSCURRENT_VISITS__WINDOW_S must be"),
        ({}, {"CROSSCURRENT_COOCCURRENCE__IMPORTANCE": "[1,x]"}, "CROSSCURRENT_COOCCURRENCE"),
        ({}, {"CROSSCURRENT_LEARNER__NETWORK__UNIT": "7"}, "LEARNER__NETWORK__UNIT is no setting; did you mean units?"),
        ({}, {"CROSSCURRENT_LEARNER__NETWORK__SCALE": "-1"}, "LEARNER__NETWORK__SCALE must be a number of at least 0"),
        (
            {},
            {"CROSSCURRENT_RANKER__PRIOR_PRECISION": "0"},
            "CROSSCURRENT_RANKER.*prior_precision must be at least 0.001",
        ),
        ({}, {"CROSSCURRENT_VISITS": "20"}, "CROSSCURRENT_VISITS must be"),
        ({}, {"CROSSCURRENT_VISITS": '{"a":' * 100_000}, "CROSSCURRENT_VISITS must be a JSON object"),
        (
            {},
            {"CROSSCURRENT_VISITS": '{"items": true}'},
            "CROSSCURRENT_VISITS__ITEMS must be a valid integer, got True",
        ),
        ({}, {"CROSSCURRENT_PARTITIONS": "3.0"}, "CROSSCURRENT_PARTITIONS must be a valid integer, got '3.0'"),
        ({}, {"CROSSCURRENT_PARTITIONS": "true"}, "CROSSCURRENT_PARTITIONS must be a valid integer.*got 'true'"),
        ({}, {"CROSSCURRENT_OUTBOX_BYTES": "9" * 30}, "CROSSCURRENT_OUTBOX_BYTES must be less than or equal"),
        (
            {},
            {"CROSSCURRENT_COOCCURRENCE__IMPORTANCE": "[true,1,1]"},
            "IMPORTANCE must be a valid number, got '.true,1",
        ),
        (
            {},
            {"CROSSCURRENT_COOCCURRENCE__IMPORTANCE": "[" * 50_000 + "]" * 50_000},
            "IMPORTANCE must be a valid tuple",
        ),
        ({"security_protocol": "ssl"}, {}, "--security-protocol must be 'PLAINTEXT', 'SSL'"),
        ({"security_protocol": "SASL_SSL"}, {}, "SASL_SSL needs sasl_mechanism, sasl_username, sasl_password too"),
        ({"sasl_mechanism": "PLAIN"}, {}, "sasl_mechanism needs security_protocol SASL_SSL"),
        ({"ssl_keyfile": "key.pem"}, {}, "ssl_keyfile needs ssl_certfile too"),
    ],
)
def test_errors_are_one_sentence_that_names_the_origin(
    flags: dict[str, Any], environ: dict[str, str], says: str
) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        Settings.load(flags, environ)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("partitons = 3", "partitons of .*c.toml is no setting; did you mean partitions?"),
        ("partitions = 'x'", "partitions of .*c.toml must be a valid integer"),
        ("[visits]\nwindow_s = 'x'", "visits.window_s of .*c.toml must be a valid number"),
        ("[visits]\nx = 1", "visits.x of .*c.toml is no setting"),
        ("visits = 3", "visits of .*c.toml must be"),
        ("prefix = a\n", "c.toml is not TOML: .*line 1"),
        ("partitions = true", "partitions of .*c.toml must be a valid integer, got True"),
        ("partitions = 3.0", "partitions of .*c.toml must be a valid integer, got 3.0"),
        ("partitions = '3'", "partitions of .*c.toml must be a valid integer, got '3'"),
        ("partitions = 1e400", "partitions of .*c.toml must be a valid integer, got inf"),
        ("send_timeout_s = true", "send_timeout_s of .*c.toml must be a valid number, got True"),
        ("send_timeout_s = '3'", "send_timeout_s of .*c.toml must be a valid number, got '3'"),
        ("send_timeout_s = inf", "send_timeout_s of .*c.toml must be less than or equal to 86400, got inf"),
        ("web_enabled = 1", "web_enabled of .*c.toml must be a valid boolean, got 1"),
        ("[visits]\nitems = true", "visits.items of .*c.toml must be a valid integer, got True"),
        (
            "[visits]\nwindow_s = 1e300",
            "visits.window_s of .*c.toml must be a number of at least 0 and at most 1,000,0",
        ),
        ("[learner.network]\nunits = 2.0", "learner.network.units of .*c.toml must be a valid integer, got 2.0"),
        (
            "[cooccurrence]\nimportance = [1, true, 1]",
            "cooccurrence.importance of .* must be a valid number, got .1, Tr",
        ),
        ("\nvisits = " + "[" * 100_000, "c.toml is not TOML: line 2: visits: nested more than 32 levels deep"),
        (
            "\npartitions = " + "9" * 5_000,
            "c.toml is not TOML: line 2: partitions: an integer must have at most 64 bits",
        ),
        ('"a\\nb" = 1', "'a.*nb' of .*c.toml is no setting"),
    ],
)
def test_errors_name_the_file(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "c.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=says) as caught:
        Settings.load({}, {}, file)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_whole_numbers_are_numbers_and_booleans_may_be_text(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("send_timeout_s = 20\nweb_enabled = 'false'\n[visits]\nwindow_s = 60\n")
    settings = Settings.load({}, {}, file)
    assert (settings.send_timeout_s, settings.web_enabled, settings.visits.window_s) == (20.0, False, 60.0)


@pytest.mark.parametrize("name", ["pipe.toml", "long.toml", "latin.toml"])
def test_a_file_that_is_no_text_of_a_bounded_length_is_named(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "latin.toml").write_bytes(b"prefix = '\xe9'")
    with (tmp_path / "long.toml").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(SettingsError, match=f"{name} cannot be read as UTF-8 text"):
        Settings.load({}, {}, tmp_path / name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none.toml cannot be read: No such file"):
        Settings.load({}, {}, tmp_path / "none.toml")


@pytest.mark.parametrize("wrong", [{"sasl_mechanism": "PLAN"}, {"security_protocol": "SSL"}, {"partitions": "x"}])
def test_the_password_is_never_shown(wrong: dict[str, str]) -> None:
    good = Settings.load(LOGIN, {})
    assert "4711" not in repr(good)
    assert "4711" not in str(good.model_dump())
    with pytest.raises(SettingsError) as caught:
        Settings.load(LOGIN | wrong, {})
    assert "4711" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_both_clients_get_the_login() -> None:
    settings = Settings.load(LOGIN | {"security_protocol": "SASL_PLAINTEXT", "bootstrap_servers": "a:1, b:2"}, {})
    login = {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "shop",
        "sasl_plain_password": "kettle-4711",
        "client_id": "crosscurrent",
    }
    assert settings.kafka_python_options() == {"bootstrap_servers": ["a:1", "b:2"], **login}
    assert settings.aiokafka_options() == {"bootstrap_servers": "a:1,b:2", **login}


def test_both_clients_get_the_certificates(tmp_path: Path) -> None:
    settings = Settings(security_protocol="SSL", ssl_cafile=tmp_path / "ca.pem")
    assert settings.kafka_python_options()["ssl_cafile"] == str(tmp_path / "ca.pem")
    with pytest.raises(SettingsError, match="ssl_cafile, ssl_certfile and ssl_keyfile cannot be used: .*No such file"):
        settings.aiokafka_options()
    assert "ssl_context" in Settings(security_protocol="SSL").aiokafka_options()


def test_the_embedded_broker_has_short_sessions_unless_told_otherwise() -> None:
    assert Settings().for_embedded_broker().session_timeout_s == EMBEDDED_SESSION_TIMEOUT_S
    assert Settings(session_timeout_s=20).for_embedded_broker().session_timeout_s == 20
    assert Settings().for_embedded_broker().embedded


def test_the_group_takes_the_prefix() -> None:
    assert Settings(prefix="spring-").full_group == "spring-crosscurrent"
