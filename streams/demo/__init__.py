"""The demo: a broker, two workers, a trainer and a simulated shop, and a screen that says how good suggestions are.

`demo` starts and runs everything; `feed` publishes what happens in the shop; `popularity` is the baseline, what a shop
without a recommender would show; `score` judges both by the shop's truth; `screen` shows the result.
"""
