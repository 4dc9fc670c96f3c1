"""A trainer's state as snapshots, and back.

A snapshot of the sequence model also holds the training state of everything else. It is one cut: all that is applied
up to its positions has been learnt, or waits in the learner.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.errors import SnapshotShapeError
from models.ranking.attribution import Attribution
from models.ranking.ranker import CODE as RANKER_CODE
from models.ranking.ranker import MODEL as RANKER
from models.ranking.ranker import Ranker
from models.ranking.upsell_attribution import UpsellAttribution
from models.sequence.config import CODE, MODEL, LearnerConfig
from models.sequence.learner import Learner
from models.sequence.vocabulary import NOBODY
from models.sequence.windowing import WindowBuilder
from models.shop.items import Items
from models.snapshot import Snapshot
from models.stored_state import nest, nested, pack, unpack
from streams.errors import SnapshotCorruptError
from streams.snapshots.store import SnapshotStore
from streams.trainer.log_reader import Cut
from streams.wire.pool_records import DESCRIBED_BY

logger = logging.getLogger(__name__)


class Parts(NamedTuple):
    """Everything that a trainer learns with."""

    items: Items
    learner: Learner
    window_builder: WindowBuilder
    attribution: Attribution
    """Of lists."""
    pools: Attribution
    """... and of pools of candidates."""
    upsell_pools: UpsellAttribution
    ranker: Ranker


def newest_version(store: SnapshotStore) -> str | None:
    """Version of the newest readable snapshot with a trainer's state; None: there is none."""
    for version in reversed(store.versions(MODEL)):
        try:
            if store.stored(MODEL, version).manifest.training is not None:
                return version
        except SnapshotCorruptError:
            continue
    return None


def newest(store: SnapshotStore) -> tuple[Snapshot, dict[str, NDArray[Any]]] | None:
    """The newest readable snapshot with a trainer's state, and that state; a corrupt one is passed over."""
    for version in reversed(store.versions(MODEL)):
        try:
            training = store.training(MODEL, version)
            if training is not None:
                return store.load(MODEL, version), training
        except SnapshotCorruptError as error:
            logger.warning("%s %s is passed over: %s", MODEL, version, error)
    return None


def restore(parts: Parts, config: LearnerConfig, snapshot: Snapshot, training: Mapping[str, NDArray[Any]]) -> None:
    """Put a snapshot into new parts. All but the attributions, which are restored when every profile is known.

    Raises:
        SnapshotShapeError: the arrays have another shape than the settings ask for.
    """
    for path in ("looks", "buffer", "vocabulary", "network.units"):  # all else may change
        then, wanted = snapshot.config, asdict(config)
        for name in path.split("."):
            then, wanted = then[name], wanted[name]
        if then != wanted:
            where = f"{MODEL} {snapshot.version}"
            raise SnapshotShapeError.of(where, f"config.{path}", f"{wanted}, as the settings say", str(then))
    left = training.get("items.left")  # older snapshots have none
    parts.items.restore(unpack(training["items.names"], training["items.ends"]), 0 if left is None else int(left[0]))
    parts.learner.restore(snapshot.arrays, nested("learner", training))
    parts.window_builder.restore(nested("curriculum", training))
    order = nested("ranker", training)
    if order and not parts.ranker.restore(order):
        logger.warning("the order of lists was learnt by other code, and is learnt again from here on")


def restore_attributions(parts: Parts, training: Mapping[str, NDArray[Any]]) -> None:
    """Put the open lists and pools into new parts; those pools are dropped that other features describe."""
    parts.attribution.restore(nested("outcomes", training))
    pools = nested("pools", training)
    if pools and bytes(pools["described_by"]).decode() != DESCRIBED_BY:
        logger.warning("open pools of candidates have other features than this version's, and are not learnt")
    else:
        parts.pools.restore(pools)
        parts.upsell_pools.restore(nested("upsell_pools", training))


def sequence_snapshot(
    parts: Parts, config: LearnerConfig, cut: Cut, metrics: Mapping[str, int | float]
) -> tuple[Snapshot, dict[str, NDArray[Any]]]:
    """The sequence model, and the training state of all parts; takes time. All windows must have been gathered."""
    items, learner, window_builder, attribution, pools, upsell_pools, ranker = parts
    names, ends = pack(items.names())
    training: dict[str, NDArray[Any]] = {
        **nest("items", {"names": names, "ends": ends, "left": np.array([items.left], np.int64)}),
        **nest("learner", learner.training()),
        **nest("curriculum", window_builder.training()),
        **nest("outcomes", attribution.training()),
        **nest("pools", pools.training() | {"described_by": np.frombuffer(DESCRIBED_BY.encode(), np.uint8)}),
        **nest("upsell_pools", upsell_pools.training()),
        **nest("ranker", ranker.training()),
        **nest("appended_ms", cut.appended_ms),
    }
    snapshot = Snapshot(
        model=MODEL,
        code=CODE,
        arrays=learner.arrays(),
        vocabulary=tuple(items.name(item) if item != NOBODY else "" for item in learner.vocabulary.item.tolist()),
        config=asdict(config),
        positions=cut.positions,
        learnt={
            "events": window_builder.events,
            "held": window_builder.held,
            "positions": learner.positions,
            "chunks": learner.chunks,
        },
        metrics=metrics,
        at=window_builder.at,
        topic_ids=cut.topic_ids,
    )
    return snapshot, training


def order_snapshot(parts: Parts, cut: Cut) -> Snapshot:
    """The learnt order of lists. It has no training state of its own: that is in the sequence model's snapshot."""
    ranker = parts.ranker
    items, arrays = ranker.snapshot_arrays()
    return Snapshot(
        model=RANKER,
        code=RANKER_CODE,
        arrays=arrays,
        vocabulary=tuple(map(parts.items.name, items.tolist())),
        config=ranker.config_of(),
        positions=cut.positions,
        learnt={"events": ranker.learnt},
        metrics=ranker.metrics(),
        at=parts.window_builder.at,
        topic_ids=cut.topic_ids,
    )
