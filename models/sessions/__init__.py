"""Sessions: what each shopper has looked at, put into the cart and bought recently.

[`visits`][models.sessions.visits] keeps the shoppers of a partition, and [`pairs`][models.sessions.pairs] makes the
pairs that `cooccurrence` counts. [`consent`][models.sessions.consent] says whose events may be used.
"""
