"""The trainer: learns from the log, stores snapshots of the models and announces them to the workers.

`service` joins all parts into one process and `app` runs it under Faust. `leadership` says which trainer of a group
works; `state` is what the working one has learnt; `metrics` are its own. It stands beside `streams.worker` and shares
nothing with it but the topics.
"""
