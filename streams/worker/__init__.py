"""The worker: turns clicks and purchases into suggestions and into rows of neighbours.

`service` joins all parts, and `app` runs it under Faust. `assignment` starts a `partition_task` for each group of
partitions: `shopper_task` (all of them share the `suggestion_batcher`), `neighbour_task` or `catalog_task`.
`model_loader` loads announced snapshots, `backpressure` pauses partitions, `watchdog` reads what was not delivered.
"""
