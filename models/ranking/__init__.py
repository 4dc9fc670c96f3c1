"""Learns the order of lists from the outcomes of earlier lists.

[`attribution`][models.ranking.attribution] credits actions to the suggestions before them, and
[`ranker`][models.ranking.ranker] learns from closed lists, by the blends of `pools` and `stacked`, watched by `drift`.
[`features`][models.ranking.features] describe suggestions. Stands on `shop/`.
"""
