"""The drills: workers are killed, restarted, paused under load; nothing may be missing or wrong afterwards, or late.

`shop` is what happens, `feed` sends it at a steady rate, `processes` are real ones, `disturbances` says what is done to
them, `quiet` waits until everything is worked off. Then the topics are judged by code that shares nothing with the
worker but the contracts: `evidence` reads them, `rehearsal` runs the same events undisturbed, `counts` compares what
was learnt, `recount` counts once more by the documented weights, `promises` looks at every suggestion, and `verdict`
adds up; `swaps` says whether new snapshots made suggestions late, and whether the trainer learnt every look once. `run`
is one run from start to end, `report` shows it.
"""
