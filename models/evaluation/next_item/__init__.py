"""Protocol A: the next item of a session, on the session files of the literature (`sessions`).

`protocol` trains every method on the same sessions and scores its ranking of the next item. `methods`, `session_knn`
and `implicit_models` are the literature's. `hybrid` teaches counting (`counting_method`, ranked by `neighbour_ranking`)
and the sequence model once for all that rank by them: `served` is the worker's recommender, `blends` are baselines.
`returns` learns how often shoppers view an item of the session again.
"""
