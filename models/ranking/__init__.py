"""Learns the order of lists from the outcomes of earlier lists.

[`attribution`][models.ranking.attribution] says what shoppers took of the pools that lists were chosen from
(`candidate_pool`), and [`ranker`][models.ranking.ranker] learns from it, watched by `drift`. The
[`features`][models.ranking.features] describe candidates. `pools` and `stacked` blend the `evidence` of sources in
evaluations only. Stands on `shop/`.
"""
