"""The recommender: a visit becomes a list of suggestions.

[`recommender`][models.serving.recommender] turns queries into arrays, and [`kernel`][models.serving.kernel] answers
them: `candidates`, classified by `rules`, are queued, described and ranked in `pooling`, chosen by `selection`, filled
up by `fallbacks` and put into words by `explanations`.
"""
