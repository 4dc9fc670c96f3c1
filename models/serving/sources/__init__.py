"""Sources of candidates. Each is a module that says what it counts, adds its candidates and words its reason.

To add a source, write its module, with a `SOURCE` (`models.serving.sources.source`), import it below, and add its line
to `SOURCES`. If it has a share, add the share's name to `SOURCES` of `models.ranking.features`, too: that makes it a
column of the candidates' shares and a feature of the learnt order. Raise `CODE` of `models.ranking.ranker` then. Shares
with a reason come before those without one, and `MOST_REASONS` of `models.serving.explanations` is how many have one.
If the source has no share but a reason of its own, the reason is a relation of `models.serving.state`.
"""

from __future__ import annotations

from models.jit import in_turn
from models.serving.sources import fallbacks, history, likeness, most_bought, neighbours, sequence, shelf, walk

SOURCES = (
    neighbours.SOURCE,
    sequence.SOURCE,
    most_bought.SOURCE,
    history.SOURCE,
    shelf.SOURCE,
    likeness.SOURCE,
    walk.SOURCE,
    fallbacks.SOURCE,
)
"""All sources, in the order in which they are asked: those that describe the pool after those that join it."""

add_candidates = in_turn([source.add for source in SOURCES if source.add])
"""Compiled: `add` of all sources that have one."""

join_candidates = in_turn([source.join for source in SOURCES if source.join])
"""Compiled: `join` of all sources that have one."""

explain = in_turn([source.explain for source in SOURCES if source.explain])
"""Compiled: `explain` of all sources that have one."""

SENTENCES = {code: sentence for source in SOURCES for code, sentence in source.sentences.items()}
"""By the code of the reason."""

WORTH = {name: worth for source in SOURCES for name, worth in source.worth.items()}
"""By the name of the share."""
