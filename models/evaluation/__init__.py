"""Measures rankings and suggestions on logs of events in their order: suggest, score, then learn.

One package for each protocol: `next_item` (A), `baskets` (B), `upsells` (C), `prequential` (D), with our methods and
the baselines. `lists` and `ranks` compute figures and their intervals, `upgrades` says which upsells are allowed, and
`worker_counts` counts events as a worker does. Worker and trainer import nothing from here.
"""
