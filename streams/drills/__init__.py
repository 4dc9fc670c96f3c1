"""The drills: workers are disturbed under load; afterwards nothing may be missing, wrong or late.

`run` is one run: `feed` sends the events of `shop`, `disturbances` acts on the `process_group`, `catch_up` waits, and
`baseline_run` repeats the events undisturbed. `verdict` judges the topics by `evidence`, `counts`, `history_cells`,
`recount`, `promise_audit` and `swaps`, which share only the contracts with the worker. `report` shows it, `export`
keeps the log.

`attacks` are bad records; `attacker` sends them with `raw_producer`, and `attack_verdict` judges what became of them.
`memory` samples the processes of a long run.
"""
