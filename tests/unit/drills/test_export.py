"""The settings that a drill leaves behind are those that it ran with."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.drills.disturbances import DRILLS
from streams.drills.evidence import Evidence
from streams.drills.export import TIMING, export
from streams.settings import Settings

NOTHING = Evidence(clicks=[], purchases=[], catalog={}, suggestions=[], neighbours=[])


@pytest.mark.parametrize("drill", sorted(DRILLS))
def test_exported_settings_are_those_of_the_drill(drill: str, tmp_path: Path) -> None:
    ran_with = Settings().model_copy(update={"train_every_s": 7.0, **DRILLS[drill].settings})
    export(NOTHING, ran_with, DRILLS[drill].settings, "", tmp_path)
    loaded = Settings.load({}, {}, tmp_path / "settings.toml")
    for name in [*TIMING, *DRILLS[drill].settings]:
        assert getattr(loaded, name) == getattr(ran_with, name)
