"""The recommender: a visit becomes a list of suggestions.

[`recommender`][models.serving.recommender] turns queries into arrays, and [`kernel`][models.serving.kernel] answers
them: `sources` look up the items of the `context` and bring `candidates`, which `rules` classify. They are queued,
described and ranked in `pooling`, and chosen by `selection`; the sources explain them, and `reason_text` puts that into
words.
"""
