"""The sequence model: what a shopper looks at next, by the order of earlier looks.

Looks become numbers in [`features`][models.sequence.features] and slots in [`vocabulary`][models.sequence.vocabulary].
In the trainer [`learner`][models.sequence.learner] teaches the [`network`][models.sequence.network], with torch; in a
worker [`predictor`][models.sequence.predictor] answers by [`scorer`][models.sequence.scorer], with numpy alone.
"""
