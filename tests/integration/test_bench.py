"""The measurement of take-overs from start to end; `make bench` runs the others."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from streams.__main__ import main


@pytest.mark.usefixtures("embedded_broker")  # skipped where there is none
def test_a_worker_adopts_all_made_up_histories(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    with pytest.raises(SystemExit) as ended:
        main(["bench", "--take-over", "300", "100", "--repeats", "1", "--json", str(out)])
    assert not ended.value.code
    figures = orjson.loads(out.read_bytes())
    found = figures["take_over"]
    assert figures["broker"] == "the embedded broker"
    for side in ("without", "with"):
        (start,) = found[side]["starts"]
        assert len(start["partitions_s"]) == 8
        assert start["ready_s"] > max(start["partitions_s"]) >= 0
    assert found["bytes_a_row"] == pytest.approx(6_000, rel=0.1)


@pytest.mark.usefixtures("embedded_broker")
def test_a_worker_reads_made_up_clicks_again(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    with pytest.raises(SystemExit) as ended:
        main(["bench", "--replay", "3000", "--repeats", "1", "--json", str(out)])
    assert not ended.value.code
    found = orjson.loads(out.read_bytes())["replay"]
    assert found["clicks"] == 3_000
    assert len(found["starts_s"]) == 1
    assert found["records_per_s"] == pytest.approx(3_000 / found["starts_s"][0], abs=1)
