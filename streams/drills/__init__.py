"""The drills: workers are killed, restarted and paused under load, and nothing may be missing or wrong afterwards.

`shop` is what happens, `feed` sends it at a steady rate, `workers` are real processes, `disturbances` says what is done
to them, `quiet` waits until everything is worked off. Then the topics are judged by code that shares nothing with the
worker but the contracts: `evidence` reads them, `rehearsal` runs the same events undisturbed, `counts` compares what
was learnt, `recount` counts once more by the documented weights, `promises` looks at every suggestion, and `verdict`
adds up. `run` is one run from start to end, `report` shows it.
"""
