"""Blends: how the scores of several sources become one ranking.

Every source gives each candidate a probability ([`evidence`][models.ranking.evidence]). The `average` and the `weighted`
blend pool their logarithms ([`pools`][models.ranking.pools]); the `stacked` one
([`stacked`][models.ranking.stacked]) is a logistic regression over them, their ranks and the context. Weights are learnt
from outcomes, and [`drift`][models.ranking.drift] tells which source has become worse.
"""
