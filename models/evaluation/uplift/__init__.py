"""Protocol E: what suggestions earn in a shop whose shoppers answer them with known probabilities.

`arms` suggest: ours, popularity, or nothing. `loop` lets the same shoppers go through the shop with the lists of one
arm; what they accept goes into their orders and comes back to the arm as events. `figures` compares the revenue of the
arms.
"""
