"""Sessions: what each shopper has looked at, put into the cart and bought recently.

Events come from [`shop`][models.shop]. [`visits`][models.sessions.visits] keeps a partition's shoppers, from looks,
carts, baskets and repeated ids, and [`pairs`][models.sessions.pairs] makes the pairs that
[`cooccurrence`][models.cooccurrence] counts. [`consent`][models.sessions.consent] says whose events may be used.
"""
