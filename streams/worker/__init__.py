"""The worker: turns clicks and purchases into suggestions and into rows of neighbours.

`service` joins all parts, and `app` runs it under Faust. `assignment` starts a `partition_task` for each group of
partitions: `shopper_task` (all of them share the `suggestion_batcher`), `neighbour_task` or `catalog_task`.
`model_loader` loads announced snapshots and `policy_loader` the policy; `backpressure` pauses partitions, and
`watchdog` reads what was not delivered. Tasks ask `placement` whether a record is in its key's partition, and
`source_ends` how far the sources of pair deltas go. `id_sweep` frees item ids that nothing refers to.
"""
