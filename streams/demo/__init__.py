"""The demo: a broker, two workers and a simulated shop, and a screen that says how good the suggestions are.

`stage` starts everything and runs it; `processes` are the broker and the workers; `feed` is the shop, publishing;
`popularity` is what a shop without a recommender would show; `score` compares both with the truth; `screen` shows it.
"""
