"""Every setting, in one frozen object; only `Settings.load` reads flags, environment and file.

A flag beats a variable, a variable beats the file, the file beats the default. Tests and tools build `Settings(...)` by
hand, which looks at nothing but its arguments.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from models.cooccurrence import CoOccurrenceConfig
from models.visits import VisitConfig


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    bootstrap_servers: str = "127.0.0.1:9092"
    prefix: str = ""
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None
    embedded: bool = False
    group: str = "crosscurrent"
    partitions: int = 8
    item_partitions: int = 8
    replication: int = 1
    session_timeout_s: float = 15.0
    flush_interval_s: float = 1.0
    publish_bytes_per_s: int = 4_000_000
    batch_records: int = 500
    max_message_bytes: int = 512_000
    send_timeout_s: float = 120.0
    outbox_bytes: int = 32 << 20
    watchdog_s: float = 3.0
    web_host: str = "127.0.0.1"
    web_port: int = 6066
    web_enabled: bool = True
    policy: Path | None = None
    visits: VisitConfig = Field(default_factory=VisitConfig)
    cooccurrence: CoOccurrenceConfig = Field(default_factory=CoOccurrenceConfig)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Look at arguments only."""
        return (init_settings,)

    @property
    def full_group(self) -> str:
        """Consumer group, under the prefix."""
        return self.prefix + self.group

    def kafka_python_options(self) -> dict[str, Any]:
        """Connection options as kafka-python's clients take them."""
        return {"bootstrap_servers": self.bootstrap_servers.split(",")}

    def aiokafka_options(self) -> dict[str, Any]:
        """Connection options as aiokafka's clients take them."""
        return {"bootstrap_servers": self.bootstrap_servers}
