"""The shop's own terms, on which every other room of models/ stands.

Events, items and their dense numbers, the catalogue with its categories, the policy, the kinds of suggestions, and
the forward decay of weights in event time. Nothing here learns, ranks or knows where records come from.
"""
