"""All settings, in one frozen object. Only `Settings.load` reads flags, environment and file.

A flag beats a variable, a variable beats the file, the file beats the default. `Settings(...)` itself takes its
arguments only, for tests and tools.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin, get_type_hints

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as PydanticSettingsError

from models.cooccurrence.config import CoOccurrenceConfig
from models.ranking.attribution import AttributionConfig
from models.ranking.ranker import RankerConfig
from models.sequence.config import GateConfig, LearnerConfig
from models.sessions.histories import HistoryConfig
from models.sessions.visits import VisitConfig
from streams.errors import SettingsError
from streams.toml_file import SHOWN, TomlError, parse, read, shown

ENV_PREFIX = "CROSSCURRENT_"

EMBEDDED_SESSION_TIMEOUT_S = 6.0
"""Session timeout on the embedded broker, whose group joins take half of it: 3 s instead of 7. With a shorter one, a
busy laptop would lose its group members."""

LARGEST = 10**15
"""Largest number of a model's table: beyond any count, byte or second that is meant, and exact as a float."""

_NAME = re.compile(r"[A-Za-z0-9._-]*\Z")
_SECRETS = frozenset({"sasl_password", "snapshot_store"})  # a store's URL may hold a login
_TABLES = ("visits", "histories", "cooccurrence", "learner", "gate", "pools", "outcomes", "ranker")

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Compression = Literal["none", "gzip", "snappy", "lz4", "zstd"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@dataclasses.dataclass(frozen=True)
class PoolConfig:
    """Which pools of candidates workers log, for the trainer to learn the order of lists from."""

    bytes_per_s: int = 24 << 10
    """Most bytes of pools that a worker writes a second, on average; 0: none, and no order is learnt. A trainer keeps
    about three pools a second open, of 14 kB each, from all workers together."""

    def __post_init__(self) -> None:
        if self.bytes_per_s < 0:
            message = f"bytes_per_s must be at least 0, got {self.bytes_per_s}"
            raise ValueError(message)


@dataclasses.dataclass(frozen=True)
class _Layer:
    """Values from one source, and how an error names one of them."""

    values: Mapping[str, Any]
    naming: Callable[[tuple[str, ...]], str]

    def names(self, path: tuple[str, ...]) -> str | None:
        """The name that the operator wrote for the setting at this path; None if it is not in this source."""
        value: Any = self.values
        for name in path:
            if not isinstance(value, Mapping) or name not in value:
                return None
            value = value[name]
        return self.naming(path)


class Settings(BaseSettings):
    """All settings of a process."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        use_attribute_docstrings=True,  # the command line shows them
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,  # compose files pass `${VARIABLE:-}` for what is not set
    )

    bootstrap_servers: str = "127.0.0.1:9092"
    """Kafka brokers, HOST:PORT, separated by commas."""
    prefix: str = ""
    """Put before every topic and group name, with nothing between."""
    security_protocol: SecurityProtocol = "PLAINTEXT"
    """How to speak to the brokers: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""
    sasl_mechanism: SaslMechanism | None = None
    """How to log in, with a SASL protocol: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512."""
    sasl_username: str | None = None
    """Who logs in."""
    sasl_password: SecretStr | None = None
    """Password; better given as a variable than as a flag, which others can see."""
    ssl_cafile: Path | None = None
    """PEM file of the authorities that sign the brokers' certificates; the system's own by default."""
    ssl_certfile: Path | None = None
    """PEM file of our own certificate, where brokers ask for one."""
    ssl_keyfile: Path | None = None
    """PEM file of our certificate's key."""
    embedded: bool = False
    """The broker is the embedded one: ends of partitions are found by reading. Commands recognise it by themselves."""
    group: Annotated[str, Field(min_length=1)] = "crosscurrent"
    """Consumer group of the workers, after the prefix; that of the trainers has `-trainer` behind it."""
    partitions: Annotated[int, Field(ge=1, le=10_000)] = 8
    """Partitions of topics keyed by shopper, when they are created: the most workers that can share the work."""
    item_partitions: Annotated[int, Field(ge=1, le=10_000)] = 8
    """Partitions of topics keyed by item, when they are created."""
    replication: Annotated[int, Field(ge=1, le=100)] = 1
    """Copies of every partition, when topics are created; 3 where a broker may be lost."""
    session_timeout_s: Annotated[float, Field(ge=1, le=300)] = 15.0
    """A worker that is not heard of for so long is taken for dead: the shortest gap after a kill."""
    flush_interval_s: Annotated[float, Field(gt=0, le=60)] = 1.0
    """How often what each lane has learnt is published, at most; lanes take turns."""
    publish_bytes_per_s: Annotated[int, Field(ge=10_000, le=10**12)] = 4_000_000
    """Most bytes of item rows that all workers together publish a second, on average; flushes wait longer for it."""
    threads: Annotated[int, Field(ge=1, le=64)] = 1
    """Threads among which a worker divides the answers of a large batch; all else that it does is done by one."""
    batch_records: Annotated[int, Field(ge=1, le=100_000)] = 500
    """Most records that are worked off together."""
    max_message_bytes: Annotated[int, Field(ge=10_000, le=900_000)] = 512_000
    """Most bytes of one message of packed pairs; brokers take 1 MB by default."""
    send_timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 120.0
    """A send that is not acknowledged after so long stops the worker; nothing is lost."""
    outbox_bytes: Annotated[int, Field(ge=1 << 20, le=1 << 40)] = 8 << 20
    """Bytes waiting to be sent above which nothing more is applied. A flush waits for what was sent before it, so more
    delays what is learnt; much less leaves the connection idle between two packets."""
    suggestions_compression: Compression = "none"
    """How records of `suggestions` are compressed: none, gzip, snappy, lz4 or zstd. All clients read gzip as they
    install; kafka-python and kafkajs need a package more for the last three. Records shrink several times."""
    watchdog_s: Annotated[float, Field(gt=0, le=3600)] = 3.0
    """A partition that lags and delivers nothing for so long is read from the log directly."""
    web_host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """Address of /metrics, /health and /ready."""
    web_port: Annotated[int, Field(ge=0, le=65_535)] = 6066
    """Port of /metrics, /health and /ready; 0: a free one. Where it is not set and taken, a free one as well."""
    web_enabled: bool = True
    """Whether to serve /metrics, /health and /ready."""
    policy: Path | None = None
    """TOML file that says what may be suggested; read again at SIGHUP."""
    snapshot_store: Annotated[str, Field(min_length=1, repr=False)] = "~/.local/share/crosscurrent/snapshots"
    """Where snapshots of models are kept: a folder, or a URL such as s3://BUCKET/FOLDER, whose package (s3fs) has to be
    installed. The same for trainer, workers and commands."""
    snapshot_bytes: Annotated[int, Field(ge=1 << 20, le=1 << 40)] = 2 << 30
    """Most bytes of one file of a snapshot; a larger one is refused before it is read. Loading takes twice its size."""
    train_every_s: Annotated[float, Field(gt=0, le=3600)] = 10.0
    """The trainer learns what has gathered after so many seconds of append time, and when the log stands still for as
    long; sooner where much gathers. Less learns sooner, with more work for each look."""
    train_threads: Annotated[int, Field(ge=1, le=64)] = 1
    """Threads that the trainer computes with."""
    snapshot_every_s: Annotated[float, Field(ge=1, le=86_400)] = 60.0
    """How often the trainer stores a snapshot, by the clock, where something was learnt: what is learnt again after a
    kill, and what workers lag behind."""
    snapshots_kept: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Newest snapshots that the trainer keeps in the store, besides the announced one."""
    visits: VisitConfig = VisitConfig()
    """What a visit is, and how long it is remembered."""
    histories: HistoryConfig = HistoryConfig()
    """How much of what a shopper has bought outlives the memory of visits."""
    cooccurrence: CoOccurrenceConfig = CoOccurrenceConfig()
    """How many neighbours an item has, and how fast they fade."""
    learner: LearnerConfig = LearnerConfig()
    """How the sequence model is taught, and its shape."""
    gate: GateConfig = GateConfig()
    """When newly learnt weights may serve."""
    pools: PoolConfig = PoolConfig()
    """Which pools of candidates are logged."""
    outcomes: AttributionConfig = AttributionConfig()
    """What counts as an answer to a suggestion."""
    ranker: RankerConfig = RankerConfig()
    """How the order of lists is learnt from the answers."""

    @classmethod
    def load(cls, flags: Mapping[str, Any], environ: Mapping[str, str], config_file: Path | None = None) -> Settings:
        """Settings from flags by field name (None: not given), the environment, and a TOML file.

        `CROSSCURRENT_CONFIG` in the environment names a file, too.

        Raises:
            SettingsError: one is wrong or unknown; the message says where it came from and what it must be.
        """
        if config_file is None and (named := environ.get(f"{ENV_PREFIX}CONFIG")):
            config_file = Path(named)
        given = {name: value for name, value in flags.items() if value is not None}
        layers = [
            _Layer(given, lambda path: "--" + path[0].replace("_", "-")),
            _Layer(_environment(environ), lambda path: ENV_PREFIX + "__".join(path).upper()),
            _Layer(_read(config_file) if config_file else {}, lambda path: f"{shown('.'.join(path))} of {config_file}"),
        ]
        types = {name: field.annotation for name, field in cls.model_fields.items()}
        for layer in layers:
            _check_types(layer, layer.values, types, texts=layer is layers[1])
        merged: dict[str, Any] = {}
        for layer in reversed(layers):
            for name, value in layer.values.items():
                lower = merged.get(name)
                merged[name] = {**lower, **value} if isinstance(lower, dict) and isinstance(value, dict) else value
        try:
            return cls(**merged)
        except ValidationError as error:
            raise SettingsError(_sentence(error, layers)) from None

    def for_embedded_broker(self) -> Settings:
        """These settings for the embedded broker, with a short session timeout unless one was chosen."""
        update: dict[str, Any] = {"embedded": True}
        if "session_timeout_s" not in self.model_fields_set:
            update["session_timeout_s"] = EMBEDDED_SESSION_TIMEOUT_S
        return self.model_copy(update=update)

    def for_trainer(self) -> Settings:
        """These settings, with the trainers' own consumer group: the workers' and `-trainer`."""
        return self.model_copy(update={"group": f"{self.group}-trainer"})

    @property
    def full_group(self) -> str:
        """Consumer group of the workers, prefix included."""
        return self.prefix + self.group

    @property
    def principal(self) -> str:
        """Whom rights on the broker are granted to, as brokers name them by default."""
        if self.security_protocol.startswith("SASL_"):
            return f"User:{self.sasl_username}"
        return "User:ANONYMOUS" if self.ssl_certfile is None else f"the subject of {self.ssl_certfile}"

    def kafka_python_options(self) -> dict[str, Any]:
        """Where and how to connect, as kafka-python's clients take it. Holds the password: not for printing."""
        certificates = {f"ssl_{name}": path for name, path in self._certificates().items()}
        return {"bootstrap_servers": self.bootstrap_servers.split(","), **certificates, **self._security_options()}

    def aiokafka_options(self) -> dict[str, Any]:
        """Where and how to connect, as aiokafka's clients take it. Holds the password: not for printing.

        Raises:
            SettingsError: a certificate or key file cannot be used.
        """
        options = {"bootstrap_servers": self.bootstrap_servers, **self._security_options()}
        if certificates := self._certificates():
            from aiokafka.helpers import create_ssl_context

            try:
                options["ssl_context"] = create_ssl_context(**certificates)
            except OSError as error:  # ssl.SSLError is one
                message = f"the files of ssl_cafile, ssl_certfile and ssl_keyfile cannot be used: {error}"
                raise SettingsError(message) from error
        return options

    def _certificates(self) -> dict[str, str | None]:
        """Paths of the PEM files; empty where connections are not encrypted."""
        if self.security_protocol not in ("SSL", "SASL_SSL"):
            return {}
        paths = {"cafile": self.ssl_cafile, "certfile": self.ssl_certfile, "keyfile": self.ssl_keyfile}
        return {name: None if path is None else str(path) for name, path in paths.items()}

    def _security_options(self) -> dict[str, Any]:
        """The options that both clients name alike."""
        options: dict[str, Any] = {"security_protocol": self.security_protocol, "client_id": "crosscurrent"}
        if self.sasl_password is not None and self.security_protocol.startswith("SASL_"):
            options["sasl_mechanism"] = self.sasl_mechanism
            options["sasl_plain_username"] = self.sasl_username
            options["sasl_plain_password"] = self.sasl_password.get_secret_value()
        return options

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take arguments only; `load` reads the rest."""
        return (init_settings,)

    @field_validator("bootstrap_servers")
    @classmethod
    def _addresses(cls, value: str) -> str:
        addresses = [address.strip() for address in value.split(",")]
        for address in addresses:
            host, _, port = address.rpartition(":")
            if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65_536:
                message = "must be HOST:PORT, or several separated by commas"
                raise ValueError(message)
        return ",".join(addresses)

    @field_validator("prefix", "group")
    @classmethod
    def _kafka_name(cls, value: str) -> str:
        if len(value) > 200 or not _NAME.match(value):
            message = "must be at most 200 letters, digits, dots, dashes or underscores, as Kafka's names are"
            raise ValueError(message)
        return value

    @field_validator(*_TABLES, mode="wrap")
    @classmethod
    def _table(cls, value: Any, validate: Callable[[Any], Any], info: ValidationInfo) -> Any:
        config = validate(_checked_keys(value, type(cls.model_fields[info.field_name or ""].default)))
        _check_numbers(config)
        return config

    @model_validator(mode="after")
    def _login(self) -> Self:
        if self.security_protocol.startswith("SASL_"):
            missing = [n for n in ("sasl_mechanism", "sasl_username", "sasl_password") if getattr(self, n) is None]
            if missing:
                message = f"security_protocol {self.security_protocol} needs {', '.join(missing)} too"
                raise ValueError(message)
        elif self.sasl_mechanism is not None:
            message = "sasl_mechanism needs security_protocol SASL_SSL (or SASL_PLAINTEXT)"
            raise ValueError(message)
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            message = "ssl_keyfile needs ssl_certfile too"
            raise ValueError(message)
        return self


class _Environment(EnvSettingsSource):
    """The settings in an environment that is handed in."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        super().__init__(Settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in self._environ.items() if value}

    def __call__(self) -> dict[str, Any]:
        try:
            return super().__call__()
        except (PydanticSettingsError, RecursionError):
            tables = (ENV_PREFIX + name.upper() for name in _TABLES)
            wrong = " or ".join(name for name in tables if name in self._environ)
            easier = f"a variable for each key, such as {ENV_PREFIX}VISITS__ITEMS, is easier"
            message = f"{wrong} must be a JSON object; {easier}"
            raise SettingsError(message) from None


def _environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Settings in variables. A name close to a setting's is refused; others are ignored (Kubernetes sets some)."""
    known = [f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields] + [f"{ENV_PREFIX}CONFIG"]
    for name in sorted(environ):
        table = name.partition("__")[0]
        if not name.startswith(ENV_PREFIX) or table in known:
            continue
        if near := difflib.get_close_matches(table, known, 1, 0.9):
            message = f"{name} is no setting: did you mean {name.replace(table, near[0])}?"
            raise SettingsError(message)
    return _Environment(environ)()


def _read(config_file: Path) -> dict[str, Any]:
    try:
        return parse(read(config_file))
    except OSError as error:
        message = f"the configuration file {config_file} cannot be read: {error.strerror}"
        raise SettingsError(message) from error
    except ValueError as error:
        message = f"the configuration file {config_file} cannot be read as UTF-8 text: {error}"
        raise SettingsError(message) from error
    except TomlError as error:
        message = f"the configuration file {config_file} is not TOML: line {error.line}: {error}"
        raise SettingsError(message) from error


def _check_types(
    layer: _Layer, values: Mapping[str, Any], types: Mapping[str, Any], texts: bool, above: tuple[str, ...] = ()
) -> None:
    """Refuse what pydantic would convert: true and 3.0 are no integers, and only a variable gives a number as text."""
    for name, value in values.items():
        kind = types.get(name)
        if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
            _check_types(layer, value, get_type_hints(kind), texts, (*above, name))
            continue
        several = get_origin(kind) is tuple and isinstance(listed := _listed(value), list)
        pairs = zip(listed, get_args(kind), strict=False) if several else [(value, kind)]
        for part, of in pairs:
            if wanted := _mistyped(part, of, texts and not several):
                message = f"{layer.naming((*above, name))} must be a valid {wanted}, got {value!r:.{SHOWN}}"
                raise SettingsError(message)


def _mistyped(value: Any, kind: Any, texts: bool) -> str | None:
    """What a value must be if it is none; None: it may be one."""
    if kind is int:
        wrong = isinstance(value, bool | float) or (isinstance(value, str) and ("." in value or not texts))
        return "integer" if wrong else None
    if kind is float:
        return "number" if isinstance(value, bool) or (isinstance(value, str) and not texts) else None
    return "boolean" if kind is bool and type(value) in (int, float) else None


def _listed(value: Any) -> Any:
    """A list that a variable gives as JSON; anything else as it is."""
    if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _checked_keys(value: Any, config: type, above: str = "") -> Any:
    """A table whose keys are fields of a dataclass, or of a nested one; lists may be written as JSON."""
    if not isinstance(value, dict):
        return value
    fields = {field.name: field for field in dataclasses.fields(config)}
    if unknown := sorted(set(value) - set(fields)):
        raise _wrong_key(above + unknown[0], "is no setting" + _hint(unknown[0], fields))
    checked = {}
    for name, part in value.items():
        if dataclasses.is_dataclass(inner := fields[name].default):
            part = _checked_keys(part, type(inner), f"{above}{name}.")
        else:
            part = _listed(part)
        checked[name] = part
    return checked


def _check_numbers(value: Any, above: str = "") -> None:
    """All numbers of a dataclass, and of nested ones, are from 0 to `LARGEST`."""
    for field in dataclasses.fields(value):
        part = getattr(value, field.name)
        if dataclasses.is_dataclass(part):
            _check_numbers(part, f"{above}{field.name}.")
            continue
        for number in part if isinstance(part, tuple) else (part,):
            if not isinstance(number, str) and not 0 <= number <= LARGEST:
                raise _wrong_key(above + field.name, f"must be a number of at least 0 and at most {LARGEST:,}")


def _wrong_key(key: str, message: str) -> PydanticCustomError:
    """The error of a validator about a key of a table; `_sentence` names the key."""
    return PydanticCustomError("wrong_key", "{message}", {"key": key, "message": message})


def _hint(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {close[0]}?" if close else ""


def _sentence(error: ValidationError, layers: list[_Layer]) -> str:
    """What is wrong, with each setting named as the operator wrote it."""
    sentences = []
    for wrong in error.errors(include_url=False):
        path, got = tuple(str(part) for part in wrong["loc"]), wrong["input"]
        if "key" in (context := wrong.get("ctx", {})):
            for key in context["key"].split("."):
                path, got = (*path, key), got.get(key) if isinstance(got, dict) else getattr(got, key)
        names = (layer.names(path[:depth]) for depth in range(len(path), 0, -1) for layer in layers)
        name = next((name for name in names if name is not None), None)
        if wrong["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            sentences.append(f"{name} is no setting{_hint(path[-1], Settings.model_fields)}")
            continue
        must = wrong["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        silent = name is None or path[0] in _SECRETS or must.startswith("is no setting")
        sentences.append(f"{name + ' ' if name else ''}{must}" + ("" if silent else f", got {got!r:.{SHOWN}}"))
    return "; ".join(sentences)
