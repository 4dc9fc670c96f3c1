"""Options that commands share: connection and settings. `--help` imports this module, so it must import fast."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, TypeVar

import typer

from streams.errors import RightsError

if TYPE_CHECKING:
    from streams.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

CONNECTION = "Connection"
SETTINGS = "Settings"


def _option(kind: Any, declaration: str, text: str, panel: str = CONNECTION) -> Any:
    return Annotated[kind | None, typer.Option(declaration, help=text, show_default=False, rich_help_panel=panel)]


CONNECTION_OPTIONS: dict[str, Any] = {
    "bootstrap_servers": _option(str, "--bootstrap-servers", "Kafka brokers, HOST:PORT,... (127.0.0.1:9092)"),
    "prefix": _option(str, "--prefix", "Put before every topic and group name (nothing)"),
    "config": _option(Path, "--config", "TOML file with settings"),
    "security_protocol": _option(str, "--security-protocol", "PLAINTEXT (default), SSL, SASL_PLAINTEXT or SASL_SSL"),
    "sasl_mechanism": _option(str, "--sasl-mechanism", "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"),
    "sasl_username": _option(str, "--sasl-username", "Who logs in; the password: CROSSCURRENT_SASL_PASSWORD"),
    "ssl_cafile": _option(Path, "--ssl-cafile", "PEM file of the authorities that sign the brokers' certificates"),
    "ssl_certfile": _option(Path, "--ssl-certfile", "PEM file of our own certificate"),
    "ssl_keyfile": _option(Path, "--ssl-keyfile", "PEM file of our certificate's key"),
    "embedded": _option(bool, "--embedded/--no-embedded", "The broker is the embedded one (recognised by itself)"),
}
"""Options of every command that connects, by parameter. The password has none: others could read it."""

SETTING_OPTIONS: dict[str, Any] = {
    "group": _option(str, "--group", "Consumer group of the workers, after the prefix (crosscurrent)", SETTINGS),
    "partitions": _option(int, "--partitions", "Partitions of every topic (8)", SETTINGS),
    "replication": _option(int, "--replication", "Copies of every partition (1)", SETTINGS),
    "policy": _option(Path, "--policy", "TOML file that says what may be suggested", SETTINGS),
    "snapshot_store": _option(
        str, "--snapshot-store", "Folder or URL of snapshots (~/.local/share/crosscurrent/snapshots)", SETTINGS
    ),
    "web_host": _option(str, "--web-host", "Address of /metrics, /health and /ready (127.0.0.1)", SETTINGS),
    "web_port": _option(int, "--web-port", "Port of /metrics, /health and /ready (6066)", SETTINGS),
    "web_enabled": _option(bool, "--web/--no-web", "Whether to serve them (yes)", SETTINGS),
}
"""Options that commands request by name."""


def with_settings(
    *names: str, connect: bool = True
) -> Callable[[Callable[Concatenate[Settings, P], R]], Callable[..., R]]:
    """Give a command connection options and named `SETTING_OPTIONS`, and the settings as its first argument.

    With `connect`, the command asks the broker which kind it is and adapts the settings.
    """

    def load(flags: dict[str, Any]) -> Settings:
        from streams.settings import Settings

        settings = Settings.load(flags, os.environ, flags.pop("config", None))
        if connect:
            from streams.kafka.admin import recognised

            settings = recognised(settings)
        return settings

    return with_options({**CONNECTION_OPTIONS, **{name: SETTING_OPTIONS[name] for name in names}}, load)


def with_options(
    options: Mapping[str, Any], make: Callable[[dict[str, Any]], T]
) -> Callable[[Callable[Concatenate[T, P], R]], Callable[..., R]]:
    """Give a command further options after its own, and as its first argument what `make` makes of their values."""

    def decorate(command: Callable[Concatenate[T, P], R]) -> Callable[..., R]:
        _, *own_parameters = inspect.signature(command).parameters.values()
        namespace = inspect.unwrap(command).__globals__
        own = {it.name: (it.default, eval(it.annotation, namespace)) for it in own_parameters}  # noqa: S307 - our own source

        @wraps(command)
        def run(*arguments: Any, context: typer.Context | None = None, **given: Any) -> R:
            values = {name: given.pop(name) for name in options if name in given}
            try:
                return command(make(values), *arguments, **given)
            except RightsError as error:
                raise error.needed_by(context.command_path if context else "crosscurrent") from None

        all_options = own | {name: (None, annotation) for name, annotation in options.items()}
        all_options["context"] = None, typer.Context
        parameters = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (default, annotation) in all_options.items()
        ]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate
