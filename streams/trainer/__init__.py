"""The trainer: learns the sequence model and the order of lists, stores snapshots and announces them.

`app` joins it to Faust, and `service` learns and publishes while it holds the `leadership`. `state` has all parts that
it learns with: `log_reader` reads the log by positions, `list_attribution` takes suggestions and feedback, and
`snapshot_codec` writes and restores the whole.
"""
