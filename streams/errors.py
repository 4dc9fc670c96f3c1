"""All errors of streams/, and what the operator does about each.

```
CrosscurrentError
├── SettingsError    a flag, variable or key of the configuration file is wrong: correct it
├── TopicsError      topics are missing or differ: `crosscurrent topics check` says how, `topics create` makes them
├── CodecError       compressed records cannot be read: install the missing package, `make install` has it
├── BrokerError      no broker answers, or a broker does not start: check the address and the security settings
├── LoginError       a broker refuses the connection: the sentence says which setting does not fit the broker's
├── RightsError      rights on the broker are missing: grant those that it names
├── RecordError      a record cannot be used: it goes to `dead-letters` and the stream goes on
├── SendError        a send was not acknowledged: the worker tries again, then stops; repair the broker, start it again
├── TakeOverError    state cannot be taken over: the worker stops; the sentence says which topics to recreate
└── StoreError       a snapshot cannot be loaded or saved; workers keep serving theirs and try again
    ├── SnapshotMissingError     it is not in the store: `crosscurrent models list` says what is
    ├── SnapshotCorruptError     its content is not what was saved: import a good copy, or roll back
    ├── SnapshotTooLargeError    it is larger than snapshot_bytes: raise that, or see who wrote it
    └── StoreUnreachableError    the store does not answer: check snapshot_store, rights and the package for its URL
```

Every message is one sentence for the operator. The command line prints it without a traceback and exits with 1; any
other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_LEARN_AGAIN = (
    "to learn again from what the shop's topics hold, stop all workers, delete the topics pairs, neighbours, progress "
    "and, if purchases is another topic now, histories (keep `forgotten`), run `crosscurrent topics create` and start "
    "the workers with another --group"
)

_LEARN_AGAIN_TRAINER = (
    "to learn again from what the shop's topics hold, stop the trainer and start it with another snapshot_store "
    "(workers and commands, too), or delete the model's folder in {url}"
)


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__


class CrosscurrentError(Exception):
    """Base of all errors whose message is meant for an operator."""


class SettingsError(CrosscurrentError):
    """A setting is wrong; the message names the flag, variable or key."""


class TopicsError(CrosscurrentError):
    """Topics are missing or have wrong settings. Other partition counts need another `--prefix`, or new topics."""


class CodecError(CrosscurrentError):
    """Records that producers compress cannot be read, as a package is missing or broken."""

    @classmethod
    def broken(cls, codec: str, client: str, reason: str) -> CodecError:
        """A client cannot decompress what was compressed by a codec."""
        return cls(
            f"records compressed with {codec} cannot be read: the library that {client} needs for it is missing or "
            f"broken ({reason}): install the packages cramjam, lz4, python-snappy and zstandard, as `make install` does"
        )


class BrokerError(CrosscurrentError):
    """No broker answers, or a broker does not start."""

    @classmethod
    def unreachable(cls, bootstrap_servers: str, error: BaseException) -> BrokerError:
        """No usable answer from the broker at this address."""
        return cls(
            f"no Kafka broker could be used at {bootstrap_servers} ({_reason(error)}): check --bootstrap-servers and "
            "the security settings, or start a broker for development with `crosscurrent broker`"
        )

    @classmethod
    def no_records(cls, partition: tuple[str, int], position: int) -> BrokerError:
        """A broker answers, and does not return records that it says it has."""
        topic, number = partition
        return cls(f"the broker returns no records of {topic}-{number} from offset {position} on")

    @classmethod
    def silent(cls, bootstrap_servers: str, seconds: float) -> BrokerError:
        """A process that was connected gets no answers any more."""
        return cls(
            f"no broker at {bootstrap_servers} has answered for {seconds:.0f} s: check the brokers and the network, "
            "then start the process again; nothing is lost"
        )


class LoginError(CrosscurrentError):
    """A broker answers and refuses the connection: TLS or the login fail."""

    def __init__(self, address: str, fault: str) -> None:
        super().__init__(f"the Kafka broker at {address} {fault}")


class RightsError(CrosscurrentError):
    """Rights on the broker are missing, such as `WRITE on topic suggestions`."""

    def __init__(self, principal: str, missing: Sequence[str], process: str = "") -> None:
        self.principal, self.missing = principal, missing
        needs = f"`{process}` needs" if process else "this process needs"
        super().__init__(
            f"rights are missing: {needs} {', '.join(missing)} for {principal} (`kafka-acls --add` grants them; "
            "docs/operations.md lists all)"
        )

    def needed_by(self, process: str) -> RightsError:
        """The same error, which names the command that was run."""
        return RightsError(self.principal, self.missing, process)


class RecordError(CrosscurrentError):
    """A record cannot be used; its sender has to be corrected. The message names the record, such as `clicks-3@81245`.

    Attributes:
        path: of the field within the value, such as `$.items[0].price`; None where the whole record is wrong.
        expected: what it must be.
        got: what it was, shortened.
    """

    def __init__(self, path: str | None, expected: str, got: str, where: str = "") -> None:
        self.path = path
        self.expected = expected
        self.got = got
        field = "the value" if path in (None, "$") else f"field `{path}`"
        super().__init__(f"{where}{': ' if where else ''}{field} must be {expected}, got {got}")

    @classmethod
    def undecodable(cls, where: str, what: str, error: BaseException) -> RecordError:
        """A record of an internal topic that no worker can have written."""
        return cls(None, what, f"something else ({error})", where)


class SendError(CrosscurrentError):
    """A send was not acknowledged. Nothing is lost: no position passes such a send.

    Attributes:
        passing: whether a retry can succeed.
        too_large: whether fewer or shorter records could be sent.
    """

    def __init__(
        self, topic: str, partition: int, reason: str, *, passing: bool = False, too_large: bool = False
    ) -> None:
        self.passing = passing
        self.too_large = too_large
        super().__init__(f"a send to {topic}-{partition} was not acknowledged: {reason}")

    @classmethod
    def over_limit(cls, topic: str, partition: int, size: int, config: str, limit: int | None) -> SendError:
        """The broker takes no record, or packet of records, of this size; `config` of the topic is its limit."""
        allowed = "" if limit is None else f" ({limit:,})"
        reason = (
            f"{size:,} bytes are more than {config} of topic {topic}{allowed} allows: "
            f"set it to {max(1_048_588, 2 * size)} or more (`kafka-configs --alter --add-config`)"
        )
        return cls(topic, partition, reason, too_large=True)


class TakeOverError(CrosscurrentError):
    """State of a partition cannot be taken over. The worker stops, so that nothing is counted wrong."""

    @classmethod
    def another_topic(
        cls, topic: str, then_id: str, then_partitions: int, now_id: str, now_partitions: int, where: str
    ) -> TakeOverError:
        """The recorded positions belong to another topic of this name."""
        then, now = f"{then_partitions} partitions, id {then_id}", f"{now_partitions} partitions, id {now_id}"
        return cls(
            f"topic {topic} is not the one whose positions are in `{where}` (then {then}; now {now}): its offsets mean "
            f"other events now; {_LEARN_AGAIN}, or use another --prefix"
        )

    @classmethod
    def beyond_end(cls, partition: str, position: int, end: int, where: str = "progress") -> TakeOverError:
        """The log ends before the recorded position: records are gone, or another program wrote the position."""
        return cls(
            f"{partition} ends at offset {end}, before the recorded position {position} (in `{where}`): the topic was "
            f"created again, the broker lost acknowledged records, or another program writes to `{where}`; "
            f"{_LEARN_AGAIN}"
        )

    @classmethod
    def another_topic_learnt(cls, topic: str, snapshot: str, url: str) -> TakeOverError:
        """A snapshot was learnt from another topic of this name."""
        return cls(
            f"topic {topic} is not the one that {snapshot} was learnt from (another id, or other partitions): "
            f"{_LEARN_AGAIN_TRAINER.format(url=url)}"
        )

    @classmethod
    def beyond_end_learnt(cls, partition: str, position: int, end: int, url: str) -> TakeOverError:
        """The log ends before a record that was learnt."""
        return cls(
            f"{partition} ends at offset {end}, before {position}, up to which the trainer has learnt: the topic was "
            f"created again or the broker lost acknowledged records; {_LEARN_AGAIN_TRAINER.format(url=url)}"
        )

    @classmethod
    def parted(cls, task: str, got: Sequence[str], wanted: Sequence[str], changes: str) -> TakeOverError:
        """Partitions that belong together were not assigned together; `changes` of the topics explain it, if any."""
        if changes:
            why = f"{changes}; topics must not be deleted or get partitions while workers run: {_LEARN_AGAIN}"
        else:
            why = (
                "the topics are as they were, so a member of the group is no worker of this version with this "
                "--prefix; stop it, or use another --group"
            )
        return cls(
            f"lane {task} got partitions of {', '.join(got)} only, and needs those of {', '.join(wanted)}: {why}"
        )


class StoreError(CrosscurrentError):
    """A snapshot cannot be loaded from the store, or not be saved to it."""


class SnapshotMissingError(StoreError):
    """A snapshot, or a file of it, is not in the store."""

    @classmethod
    def file(cls, place: str) -> SnapshotMissingError:
        """A file is missing."""
        return cls(
            f"there is no {place}: `crosscurrent models list` says what is there; all processes must have the same "
            "snapshot_store and --prefix"
        )

    @classmethod
    def named(cls, model: str, version: str) -> SnapshotMissingError:
        """The name cannot be that of a snapshot."""
        return cls(
            f"there is no snapshot {version!r} of a model {model!r}: `crosscurrent models list` says what is there"
        )

    @classmethod
    def model(cls, model: str) -> SnapshotMissingError:
        """The name cannot be that of a model."""
        return cls(f"there is no model {model!r}: names of models are small letters, digits and dashes")

    @classmethod
    def archive(cls, path: Path) -> SnapshotMissingError:
        """The file to import is missing."""
        return cls(f"there is no file {path}: name one that `crosscurrent models export` wrote")

    @classmethod
    def unannounced(cls, model: str) -> SnapshotMissingError:
        """A rollback without an announced snapshot."""
        return cls(
            f"no snapshot of `{model}` is announced, so there is none before it: name the VERSION to announce "
            "(`crosscurrent models list`)"
        )

    @classmethod
    def none_before(cls, model: str, served: str, url: str) -> SnapshotMissingError:
        """A rollback without an older snapshot."""
        return cls(
            f"there is no snapshot of `{model}` in {url} older than the announced {served}: name another VERSION "
            "(`crosscurrent models list`), or import one"
        )


class SnapshotCorruptError(StoreError):
    """A file of a snapshot is not what was saved, or no snapshot at all."""

    @classmethod
    def of(cls, place: str, expected: str, came: str) -> SnapshotCorruptError:
        """A file is wrong."""
        return cls(f"{place}: expected {expected}, got {came}: `crosscurrent models import` of a good copy mends it")

    @classmethod
    def archive(cls, path: Path, expected: str, came: str) -> SnapshotCorruptError:
        """A file to import is wrong."""
        return cls(f"{path}: expected {expected}, got {came}; nothing was imported")


class SnapshotTooLargeError(StoreError):
    """A file of a snapshot has more bytes than may be read."""

    @classmethod
    def of(cls, place: str, size: int, most: int) -> SnapshotTooLargeError:
        """It was not read, or not written."""
        return cls(
            f"{place} has {size:,} bytes, and at most {most:,} are read: raise snapshot_bytes if it is meant to be so "
            "large (a manifest has 256 MB at most), or find out who wrote it"
        )


class StoreUnreachableError(StoreError):
    """The store does not answer, or denies access."""

    @classmethod
    def of(cls, url: str, reason: str) -> StoreUnreachableError:
        """No usable answer from the store."""
        return cls(
            f"the store of snapshots {url} could not be used ({reason}): check snapshot_store, the rights on "
            "it, and that the package for its kind of URL is installed"
        )

    @classmethod
    def archive(cls, path: Path, error: OSError) -> StoreUnreachableError:
        """A file to export or import cannot be used."""
        return cls(f"{path} cannot be used: {error.strerror or error}")
