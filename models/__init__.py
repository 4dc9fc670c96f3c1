"""What is learnt and suggested, on plain values: no Kafka, no Faust, no clock, no environment.

Rooms, each importing only from those before it:

    shop           events, items, catalogue, policy, the kinds of suggestions
    sessions       visits, carts and baskets; the pairs that an event makes
    cooccurrence   pairs counted into rows at their owner; an index of all rows
    ranking        outcomes attributed to suggestions, and the order of lists learnt from them
    sequence       the network that predicts the next look
    serving        candidates -> rules -> ranking -> selection -> explanations: the recommender
    evaluation     all of it measured on recorded events
"""
