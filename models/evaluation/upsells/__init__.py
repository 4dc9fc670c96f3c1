"""upsells."""
