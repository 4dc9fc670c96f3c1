"""The trainer: learns the sequence model and the order of lists, stores snapshots and announces them.

[`app`][streams.trainer.app] joins it to Faust, and [`service`][streams.trainer.service] leads, learns and publishes
while [`leadership`][streams.trainer.leadership] lasts. [`state`][streams.trainer.state] joins what it learns with:
[`log_reader`][streams.trainer.log_reader] reads the log by positions,
[`list_attribution`][streams.trainer.list_attribution] takes suggestions and feedback,
[`snapshot_codec`][streams.trainer.snapshot_codec] writes and restores the whole.
"""
