"""Sources of events, and ways to send them to the shop's topics.

`complete_journey` and `rees46` read public data sets, `simulated_shop` generates one whose right answers are known, and
`answering_shop` says how its shoppers answer lists. `event_log` reads any of the sources for the evaluation. `replay`,
`jsonl` and `dead_letter_replay` send events, lines and dead letters through the sender that they are given.
"""
