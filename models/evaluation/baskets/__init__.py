"""Protocol B: which items complete a basket, given its first half.

`protocol` cuts the baskets, asks and scores; `registry` lists the methods. `baselines` and `tifu_knn` are those of the
literature, `served` is what a worker serves.
"""
