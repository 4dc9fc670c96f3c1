"""Sessions: what each shopper has looked at, put into the cart and bought recently.

[`visits`][models.sessions.visits] keeps the shoppers of a partition. The looks of all partitions of a process lie in a
[`look_table`][models.sessions.look_table], whose kernel makes the [`pairs`][models.sessions.pairs] that `cooccurrence`
counts. [`histories`][models.sessions.histories] remembers purchases for longer, and
[`repurchase`][models.sessions.repurchase] says which bought items may be suggested again.
[`consent`][models.sessions.consent] says whose events may be used.
"""
