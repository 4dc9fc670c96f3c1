"""The sequence model as a snapshot: its arrays, and the predictor that a worker makes of it."""

from __future__ import annotations

import numpy as np

from models.errors import SnapshotShapeError
from models.sequence.config import CODE
from models.sequence.features import ACTIONS, BRANDS, CATEGORIES, GAPS, PRICES, Contents, contents_of
from models.sequence.predictor import SequencePredictor
from models.sequence.scorer import Scorer
from models.sequence.vocabulary import NOBODY
from models.shop.catalog import Catalog
from models.shop.items import Items
from models.snapshot import Snapshot


def shapes(units: int, slots: int) -> dict[str, tuple[int, ...]]:
    """Shapes of all arrays, by name."""
    classes = {"items": slots, "content.0": CATEGORIES, "content.1": BRANDS, "content.2": PRICES}
    tables = classes | {"actions": ACTIONS, "gaps": GAPS}
    gates = 4 * units
    return {f"{name}.weight": (length, units) for name, length in tables.items()} | {
        "lstm.weight_ih_l0": (gates, units),
        "lstm.weight_hh_l0": (gates, units),
        "lstm.bias_ih_l0": (gates,),
        "lstm.bias_hh_l0": (gates,),
    }


def read_predictor(snapshot: Snapshot, items: Items, catalog: Catalog) -> SequencePredictor:
    """The predictor of a worker; new ids are numbered. Items that nobody has looked at are ranked by their content.

    Raises:
        SnapshotFormatError: it is for other code.
        SnapshotShapeError: its arrays do not fit each other.
    """
    where = f"{snapshot.model} {snapshot.version}"
    network = snapshot.config.get("network", {})
    units, scale = network.get("units"), network.get("scale")
    if not isinstance(units, int) or not isinstance(scale, float):
        raise SnapshotShapeError.of(where, "config.network", "units (integer) and scale (float)", repr(dict(network)))
    snapshot.require(CODE, shapes(units, len(snapshot.vocabulary)))
    slots = np.array([items.index(name) if name else NOBODY for name in snapshot.vocabulary], np.int64)
    classes = contents_of(catalog)
    cold = np.flatnonzero(classes.any(axis=1))
    return SequencePredictor(Scorer(snapshot.arrays, slots, Contents(classes), scale, cold), snapshot.version)
