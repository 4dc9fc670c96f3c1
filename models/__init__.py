"""What is learnt and suggested, on plain values: no Kafka, no Faust, no clock, no environment.

An event passes through here in this order: `visits` says what the shopper is about and which pairs the event makes;
`neighbours` mirrors what all events of all shoppers have taught; `candidates` are drawn from it for every item of the
visit, each source apart, and from what the `sequence` model expects next; `rules` lets through what the two promises
and the policy allow; `recommender` ranks, caps and explains. `cooccurrence` is the other side: rows of neighbours at
their owner, learning from pairs; `blends` put several rankings together; `evaluation` measures all of it.
"""
