"""Protocol A: the next item of a session, on the session files of the literature (`sessions`).

`protocol` trains every method on the same sessions and scores its ranking of the next item. `methods`, `session_knn`
and `implicit_models` are the literature's; `counting_method` (ranked by `neighbour_ranking`) and `hybrid` are ours.
`returns` learns how often shoppers view an item of the session again.
"""
