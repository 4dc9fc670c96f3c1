"""The benchmark: the worker against a bare stateful Faust echo, and where the time of an event goes.

`benchmark` measures each `application` by turns: `load` sends the `events` of a shop, at once or at a steady rate,
`echo` is the application to compare with, `measure` computes figures from append times. `breakdown` times the worker's
own code on the `workbench`, without a broker, with `stopwatch`; `scoring` times the sequence model. `run` is one run
from start to end, `report` shows it.
"""
