"""Protocol C: which of the allowed upsells of a viewed item the shopper takes in the following days.

`protocol` ranks the allowed upsells of each view, in time order, by the worker's recommender and by baselines, and
scores them by what the shopper puts into the cart or buys within the window.
"""
