"""Which items are looked at and bought together.

[`counter`][models.cooccurrence.counter] counts the pairs of one partition of items into rows, at their owner;
[`index`][models.cooccurrence.index] holds all published rows, for serving. Both keep their cells in a `cell_pool`;
`association` tells pairs from chance.
"""
