"""The worker: turns clicks and purchases into suggestions and into rows of neighbours.

`service` joins all parts into one process and `app` runs it under Faust. `assignment` starts a `partition_task` for
each group of partitions that belong together: `shopper_task`, `neighbour_task` or `catalog_task`. Shopper tasks share
the `suggestion_batcher`; `model_loader` brings announced snapshots; `backpressure` decides when partitions are paused
and `watchdog` reads what delivery left out.
"""
