"""Protocol D: the worker's recommender over a log of events: suggest, score what shoppers do next, then learn.

`replay` is a worker without topics; `training` and `ordering` add the trainer's two models. `protocol` opens and closes
the windows in which lists are scored, `tallies` adds up the results and `figures` reports them. `baselines` suggest
under the same rules and caps; `sent` scores lists that running workers sent.
"""
