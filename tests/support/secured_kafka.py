"""Apache Kafka with TLS, SCRAM logins and access control lists, on one node, for tests of rights and of logins.

It has two ports. The plaintext one is for administration: who comes there is a super user. The other speaks SASL_SSL
with SCRAM-SHA-512 only, and a user may do what the lists say.
"""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from streams.brokers.broker import HOST, free_ports
from streams.brokers.kafka import KafkaBroker
from streams.kafka.admin import administration
from streams.kafka.rights import Rights
from streams.settings import Settings
from streams.wire.topics import full_name
from tests.support.processes import eventually

PASSWORD = "kettle-4711"

Grant = tuple[str, str, str]
"""Operation, kind of resource and its full name, such as ("READ", "topic", "s-clicks")."""

LISTENERS = "PLAINTEXT://{host}:{plain},SECURE://{host}:{secure}"


class SecuredKafka:
    """The broker, its certificate authority and its lists. A context manager; files go to `folder`."""

    def __init__(self, folder: Path) -> None:
        self.cafile = folder / "ca.pem"
        keys = _certificate(folder, self.cafile)
        plain, controller, self.port = free_ports(3)
        listeners = LISTENERS.format(host=HOST, plain=plain, secure=self.port)
        self.broker = KafkaBroker(
            plain,
            configs={
                "listeners": f"{listeners},CONTROLLER://{HOST}:{controller}",
                "advertised.listeners": listeners,
                "controller.quorum.voters": f"1@{HOST}:{controller}",
                "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL",
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": "User:ANONYMOUS",
                "listener.name.secure.ssl.keystore.type": "PEM",
                "listener.name.secure.ssl.keystore.location": str(keys),
                "listener.name.secure.sasl.enabled.mechanisms": "SCRAM-SHA-512",
                "listener.name.secure.scram-sha-512.sasl.jaas.config": (
                    "org.apache.kafka.common.security.scram.ScramLoginModule required;"
                ),
            },
        )

    def __enter__(self) -> SecuredKafka:
        self.broker.__enter__()
        self._closing = ExitStack()
        self._admin = self._closing.enter_context(administration(self.broker.settings()))
        return self

    def __exit__(self, *exception: object) -> None:
        self._closing.close()
        self.broker.__exit__(*exception)

    def settings(self, user: str, **more: object) -> Settings:
        """Settings that log in at the secured port."""
        login = {
            "bootstrap_servers": f"{HOST}:{self.port}",
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": user,
            "sasl_password": PASSWORD,
            "ssl_cafile": self.cafile,
            "embedded": False,
        }
        return Settings.model_validate(login | more)

    def add_users(self, users: Collection[str]) -> None:
        logins = [UserScramCredentialUpsertion(user, ScramMechanism.SCRAM_SHA_512, PASSWORD) for user in users]
        assert self._admin.alter_user_scram_credentials(logins) == dict.fromkeys(users)

    def grant(self, grants: Mapping[str, Collection[Grant]]) -> None:
        """Grant, by user, and wait until the broker knows."""
        answer = self._admin.create_acls([_acl(user, grant) for user, those in grants.items() for grant in those])
        assert not answer["failed"], answer
        for user, those in grants.items():
            eventually(partial(self._knows, user, those), "the broker knows what it grants")

    def revoke(self, user: str, grant: Grant) -> None:
        self._admin.delete_acls([_acl(user, grant)])
        eventually(lambda: not self._knows(user, [grant]), "the broker knows what it grants no more")

    @contextmanager
    def without(self, user: str, grant: Grant) -> Iterator[None]:
        """Revoked for a while."""
        self.revoke(user, grant)
        try:
            yield
        finally:
            self.grant({user: [grant]})

    def _knows(self, user: str, grants: Collection[Grant]) -> bool:
        """Whether the broker grants all of these."""
        everything = ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY)
        mine = ACLFilter(f"User:{user}", None, ACLOperation.ANY, ACLPermissionType.ANY, everything)
        found, _ = self._admin.describe_acls(mine)
        return {_grant(acl) for acl in found} >= set(grants)


def grants_of(rights: Rights, settings: Settings) -> list[Grant]:
    """What `rights` come to, without the DESCRIBE that READ and WRITE include."""
    grants = []
    for topic, operations in rights.of_topics().items():
        included = {"READ", "WRITE"} & set(operations)
        name = full_name(settings.prefix, topic)
        grants += [(it, "topic", name) for it in operations if it != "DESCRIBE" or not included]
    if rights.group:
        grants.append(("READ", "group", settings.prefix + rights.group.format(group=settings.group)))
    return grants


def _grant(acl: ACL) -> Grant:
    resource = acl.resource_pattern
    return acl.operation.name, resource.resource_type.name.lower(), resource.resource_name


def _acl(user: str, grant: Grant) -> ACL:
    operation, kind, name = grant
    resource = ResourcePattern(ResourceType[kind.upper()], name)
    return ACL(f"User:{user}", "*", ACLOperation[operation], ACLPermissionType.ALLOW, resource)


def _certificate(folder: Path, cafile: Path) -> Path:
    """Make an authority and a certificate for 127.0.0.1; returns the file with its key and chain."""
    key, request, signed, names = (folder / name for name in ("key.pem", "request.pem", "signed.pem", "names"))
    names.write_text(f"subjectAltName=IP:{HOST}\n")
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    authority = ["-keyout", str(folder / "ca-key.pem"), "-out", str(cafile), "-subj", "/CN=test authority"]
    _openssl("req", "-x509", "-days", "2", *new_key, *authority)
    _openssl("req", *new_key, "-keyout", str(key), "-out", str(request), "-subj", "/CN=broker")
    by = ["-CA", str(cafile), "-CAkey", str(folder / "ca-key.pem"), "-CAcreateserial"]
    _openssl("x509", "-req", "-days", "2", "-in", str(request), *by, "-extfile", str(names), "-out", str(signed))
    keys = folder / "broker.pem"
    keys.write_text(key.read_text() + signed.read_text() + cafile.read_text())
    return keys


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
