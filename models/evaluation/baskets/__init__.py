"""Protocol B: which items complete a basket, given its first half.

`protocol` cuts the baskets, asks and scores; `registry` lists the methods. `baselines` are those of the literature.
`ours` stacks the worker's recommender with further sources: `category_pairs`, `first_purchases`, `purchase_history`.
`features` makes candidates and their features, `acceptance` and `item_bias` learn from what was taken.
"""
