"""The drills: workers are killed, restarted or paused under load; afterwards nothing may be missing, wrong or late.

`run` carries out one run: `feed` sends the events of `shop` at a steady rate, `disturbances` acts on the processes of
`process_group`, `catch_up` waits until everything is applied, `baseline_run` repeats the events undisturbed.
Code that shares nothing with the worker but the contracts then judges the topics: `evidence` reads them, `counts`
compares what was learnt, `recount` counts it again, `promises` checks every suggestion, `swaps` the effect of new
snapshots, `verdict` sums up. `report` shows the result, `export` keeps the log.
"""
