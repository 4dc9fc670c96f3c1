"""The benchmark: the worker against a bare stateful Faust echo, and where the time of an event goes.

`run` is one whole run, watched by `machine`: figures of a busy machine are not valid. `benchmark` measures worker and
`echo` (and `quix_echo`) by turns, each an `application`, under the `load` of `events`, until the `interval` of their
ratio is narrow; `measure` computes figures from append times, `serving_models` has what the worker serves with.
`breakdown` times the worker's code on the `workbench` with `stopwatch`, without a broker; `catalogue_sizes` does so by
items of the catalogue; `scoring` times the sequence model. `take_over` measures starts with histories to adopt,
`scaling` what more workers or threads gain. `report` shows the result.
"""
