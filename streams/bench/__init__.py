"""The benchmark: the worker against a bare stateful Faust echo, and where the time of an event goes.

`run` is one whole run. `benchmark` measures worker and `echo` alternately, each an `application`, under the `load` of
`events`; `measure` computes figures from append times. `breakdown` times the worker's code on the `workbench` with
`stopwatch`, without a broker; `scoring` times the sequence model. `take_over` measures starts with histories to adopt.
`report` shows the result.
"""
