"""The attacks are what they say, and the verdict tells what became of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest
from aiokafka.record.memory_records import MemoryRecords

from streams.drills import memory
from streams.drills.attack_verdict import AttackVerdict, error_lines, judge_attacks, reasons
from streams.drills.attacker import Attacker
from streams.drills.attacks import ANSWERED, MIRRORED, Attack, attacks
from streams.drills.evidence import Place, Raw
from streams.drills.raw_producer import CODECS, RawRecord, batch_of
from streams.errors import RecordError
from streams.kafka.global_tables import GlobalTables
from streams.metrics import Metrics
from streams.settings import Settings
from streams.wire.codec import dead_letter
from streams.wire.history_rows import decode_history
from streams.wire.record import check_at
from streams.wire.topics import TOPICS
from tests.support.shop_records import DECODERS, Rec

ATTACKS = list(attacks(["kettle", "mug", "tray"], "1"))
PLAIN = [attack for attack in ATTACKS if not any(record.headers for record in attack.records)]
BAD: Place = ("clicks", 3, 7)


def rec(attack: Attack, number: int) -> Rec:
    record = attack.records[number]
    return Rec(attack.topic, record.key, record.value, offset=number, timestamp=NOW_MS)


NOW_MS = 4_102_444_800_000  # 2100, after all times of the attacks


@pytest.mark.parametrize("attack", [attack for attack in PLAIN if attack.topic in DECODERS], ids=lambda a: a.name)
def test_decoders_refuse_what_is_bad_and_take_what_is_good(attack: Attack) -> None:
    if attack.misplaced or "far ahead" in attack.name:  # bad by the partition, and by the append time
        return
    for number in range(len(attack.records)):
        if number in attack.bad:
            with pytest.raises(RecordError):
                DECODERS[attack.topic](rec(attack, number))
        else:
            DECODERS[attack.topic](rec(attack, number))


def test_forged_records_are_passed_over_and_counted() -> None:
    metrics = Metrics()
    tables = GlobalTables(Settings(), metrics)
    forged = [attack for attack in PLAIN if attack.topic in MIRRORED]
    for attack in forged:
        tables.apply(rec(attack, 0))
    counted = {topic: metrics.unusable.labels(topic)._value.get() for topic in MIRRORED}
    assert counted == Counter(attack.topic for attack in forged)


@pytest.mark.parametrize("attack", [attack for attack in PLAIN if attack.topic == "histories"], ids=lambda a: a.name)
def test_forged_histories_are_refused(attack: Attack) -> None:
    with pytest.raises(RecordError):
        check_at(rec(attack, 0), decode_history(rec(attack, 0)).row.history.last, NOW_MS / 1000)


def test_every_topic_is_attacked() -> None:
    assert {attack.topic for attack in ATTACKS} == {topic.name for topic in TOPICS}


@pytest.mark.parametrize("codec", CODECS)
def test_batches_hold_their_records(codec: str) -> None:
    records = [RawRecord(b"ann", b"view " * 50), RawRecord(None, None, (("header", b"1"),))]
    batch = MemoryRecords(bytes(batch_of(records, codec))).next_batch()
    assert batch is not None
    assert batch.validate_crc()
    assert batch.compression_type == CODECS[codec]
    assert [(found.key, found.value, tuple(found.headers)) for found in batch] == [tuple(one) for one in records]


def judged(letters: dict[Place, str], logs: str | None = "", forged: Place | None = None) -> AttackVerdict:
    attacker = Attacker.__new__(Attacker)  # without a broker
    attacker._settings = Settings()
    attacker.bad, attacker.refused = {BAD: "rubbish"} | ({forged: "forged"} if forged else {}), Counter()
    return judge_attacks(attacker, letters, logs, Counter())


def test_a_bad_record_with_a_reason_in_the_dead_letters_is_no_complaint() -> None:
    error = RecordError("$", "JSON", "rubbish")
    key, value = dead_letter(Rec("clicks", b"ann", b"rubbish", partition=3, offset=7), error, NOW_MS)
    found = judged(reasons([Raw("dead-letters", 0, 0, 0, key, value)]))
    assert found.complaints == []
    assert (found.bad, found.letters) == (1, 1)


def test_bad_records_without_letter_and_letters_of_good_records_are_complaints() -> None:
    assert judged({}).without == ["clicks-3@7 (rubbish)"]
    assert judged({BAD: ""}).without == ["clicks-3@7 (rubbish)"]
    assert judged({BAD: "why", ("clicks", 3, 8): "why not"}).unexplained == ["clicks-3@8 (why not)"]
    assert len(judged({("clicks", 3, 8): "why not"}).complaints) == 2


def test_forged_records_must_be_named_in_a_log() -> None:
    forged = ("neighbours", 2, 5)
    assert judged({BAD: "why"}, "neighbours-2@5: no row", forged).complaints == []
    assert judged({BAD: "why"}, "neighbours-2@6: no row", forged).unlogged == ["neighbours-2@5 (forged)"]
    assert judged({BAD: "why"}, None, forged).complaints == []
    assert {*ANSWERED, *MIRRORED} < {topic.name for topic in TOPICS}


def test_error_lines_are_counted_by_kind(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_text("INFO fine\n[12:01] ERROR no broker at '127.0.0.1:9'\n[12:02] ERROR no broker at '10.0.0.1:9'\n")
    assert error_lines([log]) == {"ERROR no broker at #": 2}


def test_memory_that_grows_is_a_complaint(tmp_path: Path) -> None:
    flat = [(float(second), 300.0) for second in range(90)]
    growing = [(float(second), 300.0 + 5 * second) for second in range(90)]
    samples = {"worker 1": flat, "worker <2>": growing, "trainer": []}
    assert memory.growth(samples) == pytest.approx({"worker 1": 1.0, "worker <2>": 672.5 / 522.5}, rel=0.01)
    assert [sentence.split(" holds")[0] for sentence in memory.complaints(samples)] == ["worker <2>"]
    memory.write_plot(samples, tmp_path / "memory.svg")
    drawn = ElementTree.parse(tmp_path / "memory.svg").getroot()
    assert len(drawn.findall("{*}circle")) == len(flat) + len(growing)
