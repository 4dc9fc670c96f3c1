"""The order of lists, learnt from what became of lists before.

[`attribution`][models.ranking.attribution] credits actions to the suggestions before them, and
[`ranker`][models.ranking.ranker] learns from closed lists, by the blends of `pools` and `stacked`, watched by `drift`.
[`features`][models.ranking.features] are what a worker describes suggestions by. Stands on `shop/`.
"""
