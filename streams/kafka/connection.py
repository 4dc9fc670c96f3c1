"""Errors of connections: a check before clients connect, and their errors as errors of the broker.

The clients say "unable to bootstrap" for every fault, and kafka-python tries again until its time is up, which locks
accounts where logins are counted. The check makes one connection step by step, so each fault has its own sentence.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiokafka.errors
import kafka.errors
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.admin import SaslHandShakeRequest
from aiokafka.protocol.metadata import MetadataRequest

from streams.errors import BrokerError, LoginError, RightsError
from streams.settings import Settings

WAIT_S = 10.0
"""Longest wait for one answer."""

CLOSE_S = 0.2
"""Longest wait for the end of a connection; one that was never made has none."""

WRONG_NAME = (62, 64)
"""OpenSSL's codes for a certificate of another host name or address."""

NOT_NOW = (9, 10)
"""Its codes for a certificate that is not valid yet, and for one that has expired."""

_FAULTS = (aiokafka.errors.KafkaError, OSError, TimeoutError)


def check_connection(settings: Settings, wait_s: float = WAIT_S) -> None:
    """Make sure that a broker answers and accepts our connection. Blocks, also where an event loop runs.

    Raises:
        LoginError: TLS or the login fail; a retry would, too.
        OSError: no broker answers now.
    """
    with ThreadPoolExecutor(1, "connection check") as thread:
        thread.submit(asyncio.run, _check(settings, wait_s)).result()


@asynccontextmanager
async def connecting(settings: Settings) -> AsyncIterator[None]:
    """Raise errors of an aiokafka client that starts as errors of the broker.

    Raises:
        LoginError: TLS or the login fail.
        BrokerError: no broker answers, or it refuses.
    """
    try:
        yield
    except (aiokafka.errors.KafkaError, OSError) as error:
        if isinstance(error, aiokafka.errors.KafkaConnectionError | OSError):
            try:
                await _check(settings, WAIT_S)
            except OSError:
                pass
        raise broker_error(settings, error) from error


@contextmanager
def reaching(settings: Settings, operation: str = "READ") -> Iterator[None]:
    """Raise errors of a Kafka client as errors of the broker; `operation` is what is tried on topics.

    Raises:
        BrokerError: a client failed.
    """
    try:
        yield
    except (aiokafka.errors.KafkaError, OSError, kafka.errors.KafkaError) as error:
        raise broker_error(settings, error, operation) from error


def broker_error(settings: Settings, error: BaseException, operation: str = "READ") -> BrokerError | RightsError:
    """The error for an operator, given that of a client; `operation` is what was tried on the topics it names."""
    names = error.args[0] if error.args else ""
    if isinstance(error, aiokafka.errors.TopicAuthorizationFailedError | kafka.errors.TopicAuthorizationFailedError):
        named = names if isinstance(names, set | frozenset | list) else [names]
        topics = sorted({str(getattr(it, "topic", it)) for it in named})  # names, or partitions
        return RightsError(settings.principal, [f"{operation} on topic {name}" for name in topics])
    if isinstance(error, aiokafka.errors.GroupAuthorizationFailedError):
        return RightsError(settings.principal, [f"READ on group {names}"])
    if isinstance(error, kafka.errors.GroupAuthorizationFailedError):
        return RightsError(settings.principal, [f"READ on the group ({error})"])
    return BrokerError.unreachable(settings.bootstrap_servers, error)


async def _check(settings: Settings, wait_s: float) -> None:
    options = settings.aiokafka_options()
    faults: list[OSError | LoginError] = []
    for address in options.pop("bootstrap_servers").split(","):
        host, _, port = address.rpartition(":")
        peer = _Peer(host.strip("[]"), int(port), options, wait_s)
        try:
            await peer.ask(options)
        except _FAULTS as error:
            said = await peer.diagnose(error)
            faults.append(OSError(str(error) or type(error).__name__) if said is None else LoginError(address, said))
        else:
            return
    raise next((fault for fault in faults if isinstance(fault, LoginError)), faults[0])


class _Peer:
    """One broker's port."""

    def __init__(self, host: str, port: int, options: dict[str, Any], wait_s: float) -> None:
        self._host, self._port, self._wait_s = host, port, wait_s
        self._protocol: str = options["security_protocol"]
        self._mechanism: str = options.get("sasl_mechanism", "")
        self._user: str = options.get("sasl_plain_username", "")
        self._context: ssl.SSLContext | None = options.get("ssl_context")

    async def ask(self, options: dict[str, Any]) -> None:
        """Connect, log in, and ask for the brokers."""
        await self._exchange(MetadataRequest([]), options)

    async def diagnose(self, error: BaseException) -> str | None:
        """What is wrong with TLS or the login; None where nothing is known to be."""
        if isinstance(error, ssl.SSLCertVerificationError):
            return _certificate_fault(error)
        if isinstance(error, aiokafka.errors.SaslAuthenticationFailed | aiokafka.errors.AuthenticationFailedError):
            said = error.args[0] if error.args else error
            return (
                f"refuses the login of {self._user!r} with {self._mechanism} ({said}): check sasl_username and "
                "CROSSCURRENT_SASL_PASSWORD"
            )
        if isinstance(error, aiokafka.errors.UnsupportedSaslMechanismError):
            offered = ", ".join(await self._mechanisms()) or "others"
            return f"does not take sasl_mechanism {self._mechanism}, but {offered}"
        if isinstance(error, aiokafka.errors.IllegalSaslStateError):
            return f"takes no login at this port: set security_protocol to {self._protocol.removeprefix('SASL_')}"
        if isinstance(error, ConnectionRefusedError):
            return None
        return await self._other_protocol() or (
            f"breaks TLS off ({error})" if isinstance(error, ssl.SSLError) else None
        )

    async def _other_protocol(self) -> str | None:
        """What is wrong with `security_protocol`."""
        encrypted, sasl = "SSL" in self._protocol, self._protocol.startswith("SASL_")
        if encrypted and await self._answers({"security_protocol": "PLAINTEXT"}):
            wanted = "SASL_PLAINTEXT" if sasl else "PLAINTEXT"
            return f"does not speak TLS at this port: set security_protocol to {wanted}, or choose its port for TLS"
        if not encrypted and await self._speaks_tls():
            wanted = "SASL_SSL" if sasl else "SSL or SASL_SSL"
            return f"speaks TLS at this port: set security_protocol to {wanted}, or choose its port for plaintext"
        if not sasl and (offered := await self._mechanisms()):
            wanted = "SASL_SSL" if encrypted else "SASL_PLAINTEXT"
            return f"wants a login: set security_protocol to {wanted}, with sasl_mechanism {' or '.join(offered)}"
        return None

    async def _mechanisms(self) -> Sequence[str]:
        """What it takes for a login; nothing where it takes none."""
        unnamed = {"security_protocol": "SSL" if self._context else "PLAINTEXT", "ssl_context": self._context}
        try:
            answer = await self._exchange(SaslHandShakeRequest("none"), unnamed)
        except _FAULTS:
            return ()
        return list(answer.enabled_mechanisms)

    async def _answers(self, options: dict[str, Any]) -> bool:
        try:
            await self._exchange(SaslHandShakeRequest("none"), options)
        except _FAULTS:
            return False
        return True

    async def _speaks_tls(self) -> bool:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # only to see what it speaks
        try:
            async with asyncio.timeout(self._wait_s):
                _, writer = await asyncio.open_connection(self._host, self._port, ssl=context)
        except (OSError, TimeoutError):
            return False
        writer.transport.abort()
        return True

    async def _exchange(self, request: Any, options: dict[str, Any]) -> Any:
        wait_ms = round(self._wait_s * 1000)
        connection = AIOKafkaConnection(self._host, self._port, request_timeout_ms=wait_ms, **options)
        try:
            await connection.connect()
            return await connection.send(request)
        finally:
            await asyncio.wait([connection.close()], timeout=CLOSE_S)


def _certificate_fault(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in WRONG_NAME:
        return (
            f"has a certificate for another name ({error.verify_message}): name the broker as its certificate does, or "
            "have it signed for this name"
        )
    if error.verify_code in NOT_NOW:
        return f"has a certificate that is not valid now ({error.verify_message}): renew it, or set the clock right"
    return (
        f"has a certificate that is not trusted ({error.verify_message}): ssl_cafile must name the PEM file of the "
        "authority that signed it"
    )
