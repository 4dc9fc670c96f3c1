"""The sequence model: what a shopper looks at next, by the order of what he looked at before.

Looks become numbers in [`features`][models.sequence.features] and item slots in
[`vocabulary`][models.sequence.vocabulary]; [`network`][models.sequence.network] is taught by
[`learner`][models.sequence.learner] in the trainer, with torch; [`scorer`][models.sequence.scorer] answers in the
worker, with numpy alone.
"""
