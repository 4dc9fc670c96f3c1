"""The drills: workers are killed, restarted or paused under load; afterwards nothing may be missing, wrong or late.

`run` is one run: `feed` sends the events of `shop`, `disturbances` acts on the `process_group`, `catch_up` waits, and
`baseline_run` repeats the events undisturbed. `verdict` judges the topics by `evidence`, `counts`, `recount`,
`promises` and `swaps`, which share only the contracts with the worker. `report` shows it, `export` keeps the log.
"""
